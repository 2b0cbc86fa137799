"""How well a model predicts a text: nats per token, bits per byte, perplexity.

    python -m gpt evaluate runs/NAME other.txt
"""
import math
import time
from functools import partial

import numpy as np

from bpe.console import whole
from gpt.command import find_run, make_parser, report_errors
from gpt.data.documents import Dataset, encoded
from gpt.opening import open_model
from gpt.settings import ConfigError
from gpt.training.baselines import baselines
from gpt.training.task import read
from gpt.training.tasks import TASKS

LEAST_S = 5                        # for simpler means; else as long again as the evaluation took


def main(args=None):
    parser = make_parser("evaluate", "Measure how well a trained model predicts a text.")
    parser.add_argument("run", help="the folder of a run, or last for the newest")
    parser.add_argument("text", nargs="*", default=[], help="files, folders, globs, or - for what "
                        "is piped in [what the run held out]")
    parser.add_argument("--tokens", type=whole, help="take about so many, spread evenly")
    parser.add_argument("--from_step", type=whole, help="a checkpoint other than the best")
    args = parser.parse_args(args)
    if args.tokens is not None and args.tokens < 1:
        parser.error(f"tokens is {args.tokens}, but must be at least 1")
    with report_errors(parser.prog):
        opened = open_model(find_run(args.run), args.from_step)
        if opened.task not in TASKS:
            raise ConfigError(f"{args.run} learnt the task {opened.task}, but what can be measured "
                              f"is {', '.join(TASKS)}")
        task, began = TASKS[opened.task], time.monotonic()
        data = other_text(args.text, opened.tokenizer, task) if args.text else opened.data()
        if len(data.val) < 2:
            raise ConfigError(f"this text has {len(data.val)} token, and no second one to predict")
        found = read(task.measure(opened.model, data, data.val), args.tokens or math.inf)
        step = "" if opened.step is None else f" (step {opened.step})"
        print(f"{found.nats_per_token:.4f} nats/token  {found.bits_per_byte:.4f} bits/byte  "
              f"perplexity {found.perplexity:.2f}  over {found.n_targets:,} tokens, "
              f"{found.n_bytes:,} bytes{step}")
        if found.n_asked:
            print(f"right: {found.share_right:.2%} of {found.n_asked:,}")
        if opened.text and task.whole_text:
            learnt = opened.data()
            texts = partial(learnt.text, learnt.train), partial(data.text, data.val)
            simpler = baselines(*texts, seconds=max(LEAST_S, time.monotonic() - began))
            print("beside it, in bits/byte: " + ", ".join(
                f"{name} {bits:.2f}" for name, bits in simpler.items() if "xz" not in name))


def other_text(names, tokenizer, task):
    """Read a text to measure on; nothing is learnt from it."""
    corpus = task.corpus(names, binary=True)
    return Dataset(tokenizer, None, encode(corpus, tokenizer))


def encode(corpus, tokenizer):
    """Encode another text with the tokenizer of a model, its documents joined."""
    try:
        if corpus.together > 1:
            return np.concatenate([*encoded(corpus.documents, tokenizer)])
        parts = [tokenizer.encode_array(text, disallowed_special=())
                 for text in corpus.documents]
    except ValueError as error:
        raise ConfigError(f"this text cannot be encoded: {error}") from error
    return np.concatenate(parts)


if __name__ == "__main__":
    main()
