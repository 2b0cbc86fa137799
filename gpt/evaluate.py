"""How well a model predicts a text: nats per token, bits per byte, perplexity.

    python -m gpt evaluate runs/NAME other.txt
    python -m gpt evaluate runs/NAME --questions hellaswag.jsonl piqa.jsonl
"""
import math
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np

from bpe.console import whole
from gpt.command import add_base, find_run, interruptible, make_parser, report_errors
from gpt.data.documents import Dataset
from gpt.data.encoding import encoded
from gpt.opening import open_model
from gpt.questions import answers, read_questions, score, spread, told
from gpt.settings import ConfigError
from gpt.training.baselines import baselines
from gpt.training.task import read
from gpt.training.tasks import TASKS

IN_TURN = 256                      # tokens that are hidden in turn, a pass each, unless told
LEAST_S = 5                        # for simpler means; else as long again as the evaluation took


def parse(args):
    """Read the command line."""
    parser = make_parser("evaluate", "Measure how well a trained model predicts a text.")
    parser.add_argument("run", help="the folder of a run, or last for the newest")
    parser.add_argument("text", nargs="*", default=[], help="files, folders, globs, or - for what "
                        "is piped in [what the run held out]")
    parser.add_argument("--tokens", type=whole, help="take about so many, spread evenly")
    parser.add_argument("--questions", action="store_true", help="the files hold questions with "
                        "endings to choose from, a line of JSON each, as HellaSwag, ARC, PIQA and "
                        "WinoGrande do")
    parser.add_argument("--items", type=whole, help="take so many questions of each file, spread "
                        "evenly")
    parser.add_argument("--from_step", type=whole, help="a checkpoint other than the best")
    add_base(parser)
    args = parser.parse_args(args)
    for sentence in contradictions(args):
        parser.error(sentence)
    return parser, args


def main(args=None):
    parser, args = parse(args)
    with report_errors(parser.prog):
        opened = open_model(find_run(args.run), args.from_step, args.base)
        if opened.task not in TASKS:
            raise ConfigError(f"{args.run} learnt the task {opened.task}, but what can be measured "
                              f"is {', '.join(TASKS)}")
        if TASKS[opened.task].conclude:
            raise ConfigError(f"{args.run} learnt the task {opened.task}: how well it does stands "
                              "in its report")
        if args.questions:
            ask(opened, args.text, args.items)
        else:
            measure(opened, args.text, args.tokens)


def measure(opened, names, tokens):
    """Measure on a text, or on what the run held out, and print what was found."""
    task, began = TASKS[opened.task], time.monotonic()
    data = other_text(names, opened, task) if names else opened.data()
    if len(data.val) < 2 and not task.encode:
        raise ConfigError(f"this text has {len(data.val)} token, and no second one to predict")
    found = read(task.measure(opened.model, data, data.val), tokens or math.inf)
    step = "" if opened.step is None else f" (step {opened.step})"
    print(f"{found.nats_per_token:.4f} nats/token  {found.bits_per_byte:.4f} bits/byte  "
          f"perplexity {found.perplexity:.2f}  over {found.n_targets:,} tokens, "
          f"{found.n_bytes:,} bytes{step}")
    if found.n_asked:
        print(f"right: {found.share_right:.2%} of {found.n_asked:,}")
    if task.in_turn:
        nats = task.in_turn(opened.model, data, data.val[:tokens or IN_TURN])
        print(f"each token hidden in turn (pseudo-log-likelihood): {nats.mean():.4f} nats/token "
              f"over the first {len(nats):,}")
    if opened.text and task.whole_text:
        learnt = opened.data() if names else data
        texts = partial(learnt.text, learnt.train), partial(data.text, data.val)
        simpler = baselines(*texts, seconds=max(LEAST_S, time.monotonic() - began))
        print("beside it, in bits/byte: " + ", ".join(
            f"{name} {bits:.2f}" for name, bits in simpler.items() if "xz" not in name))


def contradictions(args):
    """Yield a sentence for everything that cannot be meant as it was said."""
    for name in ("tokens", "items"):
        value = getattr(args, name)
        if value is not None and value < 1:
            yield f"{name} is {value}, but must be at least 1"
    if args.questions and not args.text:
        yield "--questions needs the files that hold them: name one"
    if args.questions and args.tokens is not None:
        yield f"tokens is {args.tokens}, but of questions take some with --items"
    if args.items is not None and not args.questions:
        yield f"items is {args.items}, but counts questions: add --questions, or say --tokens"


def ask(opened, names, items):
    """Ask questions from files; Ctrl-C ends with what was answered so far."""
    if opened.task != "causal":
        raise ConfigError(f"this model learnt the task {opened.task}, and is not asked questions: "
                          "name one that writes")
    files = [(name, spread(read_questions(name), items)) for name in names]
    with interruptible("stopping with the questions that are answered") as asked:
        for name, questions in files:
            found = []
            for answer in answers(opened, questions):
                found.append(answer)
                if sys.stderr.isatty():
                    print(f"\r{len(found):,} of {len(questions):,}", end="\r", file=sys.stderr)
                if asked:
                    break
            print(*told(Path(name).name, score(found)), sep="\n", flush=True)
            if asked:
                raise KeyboardInterrupt


def other_text(names, opened, task):
    """Read a text to measure on; nothing is learnt from it."""
    corpus = task.corpus(names, binary=True)
    tokenizer = opened.tokenizer
    if task.encode:
        return Dataset(tokenizer, None, task.encode(corpus, tokenizer, opened.template))
    return Dataset(tokenizer, None, encode(corpus, tokenizer))


def encode(corpus, tokenizer):
    """Encode another text with the tokenizer of a model, its documents joined."""
    try:
        if corpus.together > 1:
            return np.concatenate([*encoded(corpus.pieces(), tokenizer)])
        parts = [tokenizer.encode_array(text, disallowed_special=())
                 for text, _ in corpus.pieces()]
    except ValueError as error:
        raise ConfigError(f"this text cannot be encoded: {error}") from error
    return np.concatenate(parts)


if __name__ == "__main__":
    main()
