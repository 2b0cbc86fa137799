"""How well a model predicts a text: nats per token, bits per byte, perplexity.

    python -m gpt.evaluate runs/NAME other.txt
"""
import math
from dataclasses import dataclass

import numpy as np

from gpt.baselines import baselines
from gpt.config import ConfigError, Parser
from gpt.corpora import load_corpus
from gpt.data import even_windows
from gpt.runs import open_model, report_errors
from minigrad import log_softmax, no_grad

WINDOWS_TOKENS = 2048              # of one forward pass


@dataclass(frozen=True)
class Evaluation:
    """The surprise over some text, every token counted once."""

    nats: float                    # in all
    n_tokens: int
    n_bytes: int

    @property
    def nats_per_token(self):
        return self.nats / max(1, self.n_tokens)

    @property
    def bits_per_byte(self):
        return self.nats / math.log(2) / max(1, self.n_bytes)

    @property
    def perplexity(self):
        return math.exp(min(self.nats_per_token, 700))


def evaluate(model, ids, token_bytes, n_tokens=None):
    """Measure the surprise at the tokens of a text.

    The text is cut into windows of the context length, so a token sees from none to all of the
    context before it; nothing is skipped (the usual way, and a little pessimistic).

    Parameters
    ----------
    model : GPT
    ids : (N,) int
    token_bytes : (V,) int
        How many bytes each id stands for.
    n_tokens : int, optional
        Take about so many, in windows spread evenly over the text.
    """
    T = model.config.context_length
    inputs, targets = even_windows(ids, T, n_tokens)
    B = max(1, WINDOWS_TOKENS // T)
    nats = 0.0
    with no_grad():
        for i in range(0, len(inputs), B):
            counted = (targets[i:i + B] != -100).sum()
            nats += model.loss(inputs[i:i + B], targets[i:i + B]).item() * float(counted)
    counted = targets[targets != -100]
    return Evaluation(nats, len(counted), int(np.asarray(token_bytes)[counted].sum()))


def token_surprise(model, ids):
    """Return the surprise at each token but the first of a passage, in nats.

    Parameters
    ----------
    ids : (T + 1,) int, at most context_length + 1

    Returns
    -------
    nats : (T,)
    """
    ids = np.asarray(ids, np.int64)
    with no_grad():
        log_p = log_softmax(model(ids[None, :-1]).data[0])
    return -log_p[np.arange(len(ids) - 1), ids[1:]]


# ---- the command ----

def main(args=None):
    parser = Parser(prog="python -m gpt.evaluate",
                    description="Measure how well a trained model predicts a text.")
    parser.add_argument("run", help="the folder of a run")
    parser.add_argument("text", nargs="*", help="files, folders or globs [what the run held out]")
    parser.add_argument("--tokens", type=int, help="take about so many, spread evenly")
    parser.add_argument("--from_step", type=int, help="a checkpoint other than the best")
    args = parser.parse_args(args)
    if args.tokens is not None and args.tokens < 1:
        parser.error(f"tokens is {args.tokens}, but must be at least 1")
    with report_errors(parser.prog):
        model, data, facts = open_model(args.run, args.from_step)
        ids = encode(load_corpus(args.text, binary=True), data) if args.text else data.val
        if len(ids) < 2:
            raise ConfigError(f"this text has {len(ids)} token, and no second one to predict")
        found = evaluate(model, ids, data.tokenizer.token_bytes, args.tokens)
        print(f"{found.nats_per_token:.4f} nats/token  {found.bits_per_byte:.4f} bits/byte  "
              f"perplexity {found.perplexity:.2f}  over {found.n_tokens:,} tokens, "
              f"{found.n_bytes:,} bytes (step {facts['step']})")
        simpler = baselines(data.text(data.train), data.text(ids))
        print("beside it, in bits/byte: " + ", ".join(
            f"{name} {bits:.2f}" for name, bits in simpler.items() if "xz" not in name))


def encode(corpus, data):
    """Encode another text with a run's tokenizer, its documents joined."""
    try:
        parts = [data.tokenizer.encode_array(text, disallowed_special=())
                 for text in corpus.documents]
    except ValueError as error:
        raise ConfigError(f"this text cannot be encoded: {error}") from error
    return np.concatenate(parts)


if __name__ == "__main__":
    main()
