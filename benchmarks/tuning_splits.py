"""All labels of SMS spam: what is frozen beside n-grams, on 10 splits by text.

    MINIGRAD_DATA=data python benchmarks/tuning_splits.py runs/own-s0 --also smollm2.gguf
    ... --also smollm2.gguf --adapt 3            with adapters, too, on the first 3 splits

As many messages of each label are drawn, none twice, and a fifth is held out. Messages without
their labels are at hand for all: the idf counts all of them, the base has read 88 %. Rows go where
tuning.py has its own, and what stands there is not measured again.
"""
import argparse
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
from tuning import (
    HELP, LABELS, PROBE, RIVAL, TOGETHER, NGrams, Probe, Together, cell, error_of, keep, kept,
    numbers, open_model, predicted, probe, run_from, share_right, shares, train_steps, verdict)
from tuning_texts import messages

SPLITS, TEST = 10, 0.2
BASE = 0                           # of the messages that the first base has read
# The head stays: where it learnt, too, 99.0 % fell to 95.1 of a fifth of what split 0 learns.
LORA = dict(lora_rank=8, learning_rate=3e-4, schedule="slanted", freeze="classifier*")
STEPS = 20                         # of 8 texts


def main():
    parser = argparse.ArgumentParser(description=__doc__, epilog=HELP,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base", help="the run own-s0")
    parser.add_argument("--also", help="a published model, to be frozen as well")
    parser.add_argument("--adapt", type=int, default=0, help="splits on which it gets adapters")
    args = parser.parse_args()
    known, pairs = kept(), balanced()
    made = {RIVAL: partial(NGrams, pairs), PROBE: partial(opened, Probe, args.base, pairs),
            TOGETHER: partial(opened, Together, args.base, pairs)}
    if args.also:
        name = Path(args.also).stem
        made[f"{name}, frozen"] = partial(opened, Probe, args.also, pairs)
        made[f"{name}, adapters"] = partial(opened, WithAdapters, args.also, pairs)
    n = len(split(pairs, 0)[0])
    for name, make in made.items():
        began = time.process_time()
        splits = args.adapt if name.endswith("adapters") else SPLITS
        measure(known, name, make, pairs, n, splits)
        print(f"{name}: {cell(known, name, BASE, n)} {time.process_time() - began:.0f} CPU-s")
    _, apart = shares(known, PROBE, BASE, n)
    verdict("spam-all-labels-above-ngrams", apart.mean() / error_of(apart), 2)


def opened(method, place, pairs):
    return method(open_model(place), pairs)


def balanced():
    """Return as many messages of each label as the rarer one has: lists of (label, text)."""
    both = sum(messages(BASE), [])
    of = [[pair for pair in both if pair[0] == label] for label in LABELS]
    n = min(map(len, of))
    return [pair for some in of for pair in some[:n]]


def split(pairs, seed):
    """Return what is learnt and what is held out."""
    order = np.random.default_rng(seed).permutation(len(pairs))
    n = round(TEST * len(pairs))
    return [pairs[i] for i in order[n:]], [pairs[i] for i in order[:n]]


class WithAdapters(Probe):
    """Adapters that learn, below the head that is best for the frozen net."""

    def __init__(self, opened, pairs):
        super().__init__(opened, pairs)
        self.opened = opened

    def __call__(self, drawn, test, n, seed):
        run = run_from(self.opened, drawn, test, LORA, seed, STEPS)
        weight, bias = probe(self.rows(drawn), numbers(drawn), self.at_hand, len(LABELS))
        head = run.model.classifier.linear
        head.weight.data[...], head.bias.data[...] = weight, bias
        for _ in train_steps(run):
            pass
        return predicted(run.model, run.data.val)


def measure(known, name, make, pairs, n, splits):
    missing = [seed for seed in range(splits) if (name, BASE, n, seed) not in known]
    method = make() if missing else None
    for seed in missing:
        learnt, test = split(pairs, seed)
        right = known[name, BASE, n, seed] = share_right(method(learnt, test, n, seed), test)
        keep(method=name, base=BASE, labels=n, draw=seed, right=right)


if __name__ == "__main__":
    sys.exit(main())
