"""Few labels of SMS spam: a base tuned on unlabelled messages, beside what knows less.

    MINIGRAD_DATA=data python benchmarks/tuning.py runs/own-s0 runs/own-s1 --random runs/own-s0
    MINIGRAD_DATA=data python benchmarks/tuning.py --texts FOLDER     the texts that bases learn

A row is written into tuning.jsonl for each run that is finished, and what stands there is not run
again. The test is 300 messages of each label that stand in no text of a language model and count
in no idf; labels are drawn 15 times, as many of each. Every method learns the same draws.
"""
import argparse
import datetime
import json
import math
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
sys.path[:1] = [str(ROOT), str(ROOT / "benchmarks")]      # or gpt would be gpt.py beside this
from results import HELP, verdict  # noqa: E402
from tuning_texts import draw, general, messages  # noqa: E402

from gpt.data.labelled import Labelled, Texts, encode, spans_of  # noqa: E402
from gpt.opening import open_model, weights_of  # noqa: E402
from gpt.training.character_ngrams import Rows, fitted_rows, tfidf  # noqa: E402
from gpt.training.config import Config  # noqa: E402
from gpt.training.plan import Plan  # noqa: E402
from gpt.training.recipes import choose_tuning  # noqa: E402
from gpt.training.run import Run  # noqa: E402
from gpt.training.step import train_steps  # noqa: E402
from gpt.training.tasks.classify import features, predicted, probe  # noqa: E402

KEPT = Path(__file__).parent / "tuning.jsonl"
LABELS = "ham", "spam"
COUNTS, DRAWS, SLOW_DRAWS = (20, 50, 100), 15, 4
TARGETS = {20: 95.5, 50: 96.2, 100: 96.4}
EPOCHS = {20: 20, 50: 12, 100: 8}
B = 8                              # texts of a step
RIVAL = "n-grams"

# how all of the weights learn; the others are no runs
ULMFIT = dict(divide_rates=2.6, unfreeze=0.6, schedule="slanted")
RUNS = {"full": {}, "head": {"freeze": "[!c]*"}, "gradual": ULMFIT,
        "probe, then gradual": ULMFIT}

HOW = """python train.py general.txt --vocabulary 2048 --n_layer 4 --n_head 2 --d_model 128 \\
    --context_length 96 --batch_tokens 3072 --steps 680 --seed SEED --name general-sSEED
python train.py own.txt --base runs/general-sSEED --batch_tokens 3072 --steps 550 --seed SEED \\
    --name own-sSEED"""


def main():
    parser = argparse.ArgumentParser(description=__doc__, epilog=HELP,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bases", nargs="*", help="runs that learnt own.txt")
    parser.add_argument("--random", help="a run whose net, with new weights, is one more base")
    parser.add_argument("--texts", help="write the texts into this folder")
    parser.add_argument("--quick", action="store_true", help="no runs of all weights")
    args = parser.parse_args()
    if args.texts:
        return write_texts(Path(args.texts))
    pool, test = messages()
    known = kept()
    for name, method in methods(args, pool, test):
        for n in COUNTS:
            for seed in range(SLOW_DRAWS if name.split(": ")[-1] in RUNS else DRAWS):
                if (name, n, seed) not in known:
                    share = method(draw(pool, n, seed), n, seed)
                    known[name, n, seed] = share
                    keep(method=name, labels=n, draw=seed, right=share)
    tell(known)


def write_texts(folder):
    pool, test = messages()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "general.txt").write_text(general(), encoding="utf-8")
    own = "".join(f"{text}\n" for _, text in pool)
    (folder / "own.txt").write_text(own, encoding="utf-8")
    print(HOW)


# ---- what was measured ----

def kept():
    """Return {(method, labels, draw): share right}."""
    if not KEPT.exists():
        return {}
    rows = map(json.loads, KEPT.read_text(encoding="utf-8").splitlines())
    return {(row["method"], row["labels"], row["draw"]): row["right"] for row in rows}


def keep(**row):
    with open(KEPT, "a", encoding="utf-8") as file:
        file.write(json.dumps(row | {"date": datetime.date.today().isoformat()}) + "\n")


# ---- methods: (draw, labels, seed) -> share right of the test ----

def methods(args, pool, test):
    """Yield (name, method), the rival first."""
    yield RIVAL, NGrams(pool, test)
    if args.random:
        opened = open_model(args.random)
        new = Config(opened.model.config).new_net(np.random.default_rng(0))
        yield "random: probe", Probe(opened._replace(model=new), pool, test)
    for place in args.bases:
        opened, name = open_model(place), Path(place).name
        yield f"{name}: probe", Probe(opened, pool, test)
        for how, settings in {} if args.quick else RUNS.items():
            yield f"{name}: {how}", Tuned(opened, pool, test, settings, "probe" in how)


class NGrams:
    """Logistic regression on character n-grams, the idf from all messages without a label."""

    def __init__(self, pool, test):
        self.place = {text: i for i, (_, text) in enumerate([*pool, *test])}
        self.X = tfidf([*self.place])
        self.test = rows_of(self.X, [self.place[text] for _, text in test])
        self.targets = numbers(test)

    def __call__(self, drawn, n, seed):
        X = rows_of(self.X, [self.place[text] for _, text in drawn])
        w, bias = fitted_rows(X, numbers(drawn), len(LABELS))
        scores = self.test @ w + bias
        return share(scores.argmax(axis=1), self.targets)


def rows_of(X, places):
    """Return some rows of a sparse matrix, in their order."""
    at = np.full(X.shape[0], -1)
    at[places] = np.arange(len(places))
    chosen = at[X.r] >= 0
    return Rows(at[X.r[chosen]], X.c[chosen], X.x[chosen], (len(places), X.shape[1]))


class Probe:
    """Logistic regression on what a frozen net makes of messages, scaled over those unlabelled."""

    def __init__(self, opened, pool, test):
        run = run_from(opened, test, test, {}, 0)
        self.x = {text: x for part in (pool, test) for (_, text), x in zip(
            part, features(run.model, texts_of(part, opened.tokenizer)))}
        self.at_hand = np.array([self.x[text] for _, text in pool])
        self.test = np.array([self.x[text] for _, text in test])
        self.targets = numbers(test)

    def __call__(self, drawn, n, seed):
        x = np.array([self.x[text] for _, text in drawn])
        weight, bias = probe(x, numbers(drawn), self.at_hand, len(LABELS))
        scores = self.test @ weight.T + bias
        return share(scores.argmax(axis=1), self.targets)


class Tuned:
    """A run of the task classify from a base."""

    def __init__(self, opened, pool, test, settings, probes):
        self.opened, self.test, self.settings = opened, test, settings
        self.probe = Probe(opened, pool, test) if probes else None

    def __call__(self, drawn, n, seed):
        steps = EPOCHS[n] * n // B
        run = run_from(self.opened, drawn, self.test, self.settings, seed, steps)
        if self.probe:
            x = np.array([self.probe.x[text] for _, text in drawn])
            head = run.model.classifier.linear
            head.weight.data[...], head.bias.data[...] = probe(
                x, numbers(drawn), self.probe.at_hand, len(LABELS))
        for _ in train_steps(run):
            pass
        p = predicted(run.model, run.data.val)
        return share(p.argmax(axis=1), numbers(self.test))


def run_from(opened, drawn, test, settings, seed, steps=1):
    model, tokenizer = opened.model.config, opened.tokenizer
    given = dict(task="classify", labels=",".join(LABELS), seed=seed, steps=steps, warmup_steps=0,
                 batch_tokens=B * model.context_length, **settings)
    tuning = choose_tuning(model, given)
    config = Config(replace(model, dropout=0.1), tuning.data, tuning.train)
    data = Labelled(tokenizer, texts_of(drawn, tokenizer), texts_of(test, tokenizer), {}, LABELS)
    return Run.start(config, data, Plan.fixed(steps), weights=weights_of(opened))


def texts_of(pairs, tokenizer):
    rows = [encode(tokenizer, text) for _, text in pairs]
    return Texts(np.concatenate(rows), spans_of(rows, numbers(pairs)))


def numbers(pairs):
    return np.array([LABELS.index(label) for label, _ in pairs])


def share(found, targets):
    return float((found == targets).mean())


# ---- what is told ----

def tell(known):
    """Print a table, and a verdict for each target: paired, in percent and standard errors."""
    names = list(dict.fromkeys(name for name, _, _ in known))
    width = max(map(len, names))
    for name in names:
        cells = [cell(known, name, n) for n in COUNTS]
        print(f"{name:{width}}  " + "  ".join(cells))
    probes = [name for name in names if name.startswith("own") and name.endswith(": probe")]
    for n in COUNTS if probes else ():
        mean, paired = [], []
        for name in probes:
            mean += [100 * known[name, n, seed] for seed in range(DRAWS)]
            paired += [100 * (known[name, n, seed] - known[RIVAL, n, seed])
                       for seed in range(DRAWS)]
        error = np.std(paired, ddof=1) / math.sqrt(len(paired))
        verdict(f"spam-{n}-labels", np.mean(mean), TARGETS[n])
        verdict(f"spam-{n}-labels-above-ngrams", np.mean(paired) / error, 3)


def cell(known, name, n):
    """Return mean, deviation over draws and paired difference with its standard error."""
    seeds = [seed for seed in range(DRAWS) if (name, n, seed) in known]
    if not seeds:
        return f"{'':28}"
    right = np.array([100 * known[name, n, seed] for seed in seeds])
    apart = right - [100 * known[RIVAL, n, seed] for seed in seeds]
    spread = right.std(ddof=1) if len(right) > 1 else 0.0
    error = apart.std(ddof=1) / math.sqrt(len(apart)) if len(apart) > 1 else 0.0
    return f"{right.mean():5.2f} ({spread:4.2f}) {apart.mean():+5.2f} +- {error:4.2f}"


if __name__ == "__main__":
    sys.exit(main())
