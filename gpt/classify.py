"""Tell which label a text has, by a run of the task classify.

    minigrad classify runs/NAME "a text"
    minigrad classify runs/NAME < texts.txt          a line of answer for each line
"""
import sys
from itertools import islice

import numpy as np

from gpt.command import find_run, make_parser, report_errors
from gpt.data.labelled import Texts, encode
from gpt.data.tokens.kinds import framed
from gpt.opening import open_model
from gpt.settings import ConfigError
from gpt.training.tasks.classify import predicted

LINES = 32                                            # that are waited for, of a stream


def main(args=None):
    parser = make_parser("classify", "Tell which label a text has: label, probability, text.")
    parser.add_argument("run", help="the folder of a run of the task classify, last for the newest")
    parser.add_argument("text", nargs="*", help="texts [the lines of standard input]")
    args = parser.parse_args(args)
    with report_errors(parser.prog):
        opened = open_model(find_run(args.run))
        if not hasattr(opened.model, "classifier"):
            raise ConfigError(f"{args.run} learnt the task {opened.task}, and no labels: train "
                              "with --task classify")
        texts = args.text or (line.rstrip("\r\n") for line in sys.stdin)
        for label, p, text in classified(opened, texts):
            print(f"{label}\t{p:.3f}\t{text}", flush=True)


def classified(opened, texts):
    """Yield (label, its probability, text) for each of some texts."""
    texts, labels = iter(texts), opened.model.classifier.labels
    while some := list(islice(texts, LINES)):
        p = predicted(opened.model, as_texts(opened.tokenizer, some))           # (n, K)
        best = p.argmax(axis=1)
        yield from zip([labels[i] for i in best], p.max(axis=1).tolist(), some)


def as_texts(tokenizer, strings):
    """Return strings as the task reads them: `Texts` without labels."""
    rows = [framed(tokenizer, encode(tokenizer, text)) or [0] for text in strings]
    ends = np.cumsum([*map(len, rows)])
    begins = ends - [*map(len, rows)]
    spans = np.stack([begins, ends, np.zeros_like(ends)], axis=1)
    return Texts(np.concatenate(rows), spans)


if __name__ == "__main__":
    main()
