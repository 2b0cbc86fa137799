"""Turn lines into vectors whose dot products say how alike their meanings are.

    minigrad embed MODEL < lines.txt > vectors.txt
"""
import sys
from itertools import islice
from pathlib import Path

import numpy as np

from bpe.console import read_lines
from gpt.batch import Batch
from gpt.command import add_base, find_run, make_parser, report_errors
from gpt.models.encoder import Encoder, sentence_vectors
from gpt.opening import facts_of, open_model
from gpt.settings import ConfigError
from minigrad import no_grad

LINES = 32                                            # of one pass
POOLING = Path("1_Pooling") / "config.json"           # in folders of sentence-transformers


def main(args=None):
    parser = make_parser("embed", "Turn lines of standard input into vectors of length 1: a line "
                         "of numbers for each.")
    parser.add_argument("model", help="a folder with an encoder, such as all-MiniLM-L6-v2")
    add_base(parser)
    args = parser.parse_args(args)
    with report_errors(parser.prog):
        place = find_run(args.model)
        opened = open_model(place, base=args.base)
        check_pooling(place, opened.model)
        for vector in embed(opened, read_lines()):
            print(*[f"{x:.7g}" for x in vector])


def embed(opened, lines):
    """Yield the vector of each line, (C,) float32.

    Parameters
    ----------
    opened : Opened
        An encoder with its tokenizer.
    lines : iterable of str
    """
    lines = iter(lines)
    while texts := list(islice(lines, LINES)):
        batch = padded(opened, texts)
        with no_grad():
            vectors = sentence_vectors(opened.model, batch).data                # (B, C)
        yield from vectors


def padded(opened, texts):
    """Return the ids of texts as a Batch, each within what the model expects around a text."""
    before, after = opened.tokenizer.frame
    room = opened.model.config.context_length - len(before) - len(after)
    rows = []
    for text in texts:
        ids = opened.tokenizer.encode_array(text, disallowed_special=())
        if len(ids) > room:
            print(f"{text[:20]!r}... has {len(ids)} tokens, of which the first {room} count",
                  file=sys.stderr)
        rows.append([*before, *ids[:room].tolist(), *after] or [0])
    lengths = np.array([*map(len, rows)])
    ids = np.zeros((len(rows), lengths.max()), np.int64)                        # (B, T)
    for row, place in zip(rows, ids):
        place[:len(row)] = row
    return Batch(ids, lengths=lengths)


def check_pooling(folder, model):
    """Refuse models that are no encoders, and those whose vectors are other than means."""
    if not isinstance(model, Encoder):
        raise ConfigError(f"{folder} holds no encoder: vectors are made by models such as BERT "
                          "and MiniLM")
    asked = (folder / POOLING).is_file()
    if asked and not facts_of(folder, POOLING).get("pooling_mode_mean_tokens"):
        raise ConfigError(f"{folder / POOLING} asks for another vector than the mean over "
                          "tokens, which is what can be made here")


if __name__ == "__main__":
    main()
