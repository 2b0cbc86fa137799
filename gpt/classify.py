"""Tell which label a text has, by a run of the task classify.

    minigrad classify runs/NAME "a text"
    minigrad classify runs/NAME < texts.txt          a line of answer for each line
"""
import functools
from itertools import islice

import numpy as np

from bpe.console import read_lines, typed
from gpt.command import add_base, find_run, make_parser, report_errors
from gpt.data.labelled import Texts, encode, spans_of
from gpt.opening import open_model
from gpt.settings import ConfigError
from gpt.training.tasks.classify import predicted

LINES = 32                                            # that are waited for, of a stream


def main(args=None):
    parser = make_parser("classify", "Tell which label a text has: label, probability, text.")
    parser.add_argument("run", help="the folder of a run of the task classify, last for the newest")
    parser.add_argument("text", nargs="*", help="texts [the lines of standard input]")
    add_base(parser)
    args = parser.parse_args(args)
    with report_errors(parser.prog):
        opened = open_classifier(args.run, args.base)
        texts = map(typed, args.text) if args.text else read_lines()
        for label, p, text in classified(opened, texts):
            print(f"{label}\t{p:.3f}\t{text}", flush=True)


@functools.cache
def open_classifier(run, base=None):
    """Open a run of the task classify; raise ConfigError if it is of another task."""
    opened = open_model(find_run(run), base=base)
    if not hasattr(opened.model, "classifier"):
        raise ConfigError(f"{run} learnt the task {opened.task}, and no labels: train "
                          "with --task classify")
    return opened


def number_of(run, label):
    """Return which of a run's labels one is; raise ConfigError if it is none."""
    labels = open_classifier(run).model.classifier.labels
    if label not in labels:
        raise ConfigError(f"{run} has no label {label!r}: choose {', '.join(labels)}")
    return labels.index(label)


def probability(run, label, text):
    """Return how likely a text has a label, as a run says."""
    opened = open_classifier(run)
    p = predicted(opened.model, as_texts(opened.tokenizer, [text]))             # (1, K)
    return float(p[0, number_of(run, label)])


def classified(opened, texts):
    """Yield (label, its probability, text) for each of some texts."""
    texts, labels = iter(texts), opened.model.classifier.labels
    while some := list(islice(texts, LINES)):
        ids = as_texts(opened.tokenizer, some)
        for text, p in zip(some, predicted(opened.model, ids)):                 # (K,)
            best = int(p.argmax())
            yield labels[best], float(p[best]), text


def as_texts(tokenizer, strings):
    """Return strings as the task reads them: `Texts` without labels."""
    rows = [encode(tokenizer, text) for text in strings]
    ids = np.concatenate([row or [0] for row in rows])
    return Texts(ids, spans_of(rows, [0] * len(rows)))


if __name__ == "__main__":
    main()
