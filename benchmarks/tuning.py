"""Few labels of SMS spam: a base tuned on unlabelled messages, beside what knows less.

    MINIGRAD_DATA=data python benchmarks/tuning.py --texts FOLDER     the texts that bases learn
    MINIGRAD_DATA=data python benchmarks/tuning.py runs/own-s0 runs/own-s1 runs/own-s2
    python benchmarks/tuning.py                                       what is known

A row is written into tuning.jsonl for each run that is finished, and what stands there is not run
again. Each base, own-sSEED, has a test of its own: 300 messages of each label that it has not read.
(Of these the idf and the scale of features count the bare text.) Labels are drawn 15 times, as many
of each; every method learns the same.
"""
import argparse
import datetime
import json
import math
import sys
from dataclasses import replace
from fnmatch import fnmatchcase
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
sys.path[:1] = [str(ROOT), str(ROOT / "benchmarks")]      # or gpt would be gpt.py beside this
from results import HELP, verdict  # noqa: E402
from tuning_texts import as_documents, draw, general, messages  # noqa: E402

from gpt.data.labelled import Labelled, Texts, encode, spans_of  # noqa: E402
from gpt.opening import open_model, weights_of  # noqa: E402
from gpt.training.character_ngrams import Dense, Rows, fitted, fitted_rows, tfidf  # noqa: E402
from gpt.training.config import Config  # noqa: E402
from gpt.training.plan import Plan  # noqa: E402
from gpt.training.recipes import choose_tuning  # noqa: E402
from gpt.training.run import Run  # noqa: E402
from gpt.training.step import train_steps  # noqa: E402
from gpt.training.tasks.classify import features, predicted, probe  # noqa: E402
from minigrad import softmax  # noqa: E402

KEPT = Path(__file__).parent / "tuning.jsonl"
LABELS = "ham", "spam"
COUNTS, DRAWS, SLOW_DRAWS = (20, 50, 100), 15, 5
TARGETS = {20: 95.5, 50: 96.2, 100: 96.4}
EPOCHS = {20: 20, 50: 12, 100: 8}
B = 8                              # texts of a step
LONGEST = 256                      # tokens of a text
BASES = 3
RIVAL = "n-grams"

# how weights learn; the other methods are no runs
ULMFIT = dict(divide_rates=2.6, unfreeze=0.6, schedule="slanted")
HEAD_ALONE = {"freeze": "[!c]*"}
RUNS = {"head alone": HEAD_ALONE, "all at one rate": {}, "ULMFiT": ULMFIT}
RUNS |= {f"ULMFiT without {name}": {key: x for key, x in ULMFIT.items() if key != name}
         for name in ULMFIT}
RANDOM, PROBE, TOGETHER = "new weights, frozen", "frozen", "frozen and n-grams"
CLIPPED = "frozen, clipped"

# The words of messages have to be tokens: with those of general text spam falls into pieces.
HOW = """python -m bpe train own-sSEED.txt --vocab_size 2048 --special '<|endoftext|>' \\
    --output own-sSEED.json
python train.py general.txt --preset gpt2 --tokenizer own-sSEED.json --n_layer 4 --n_head 4 \\
    --d_model 128 --context_length 96 --batch_tokens 3072 --steps 680 --learning_rate 2e-3 \\
    --weight_decay 0.1 --beta2 0.98 --seed SEED --name general-sSEED
python train.py own-sSEED.txt --base runs/general-sSEED --batch_tokens 3072 --steps 550 \\
    --val_fraction 0.02 --seed SEED --name own-sSEED"""


def main():
    parser = argparse.ArgumentParser(description=__doc__, epilog=HELP,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bases", nargs="*", help="runs own-sSEED that learnt own-sSEED.txt")
    parser.add_argument("--texts", help="write the texts into this folder")
    parser.add_argument("--only", default="*", help="a glob over the methods to run")
    args = parser.parse_args()
    if args.texts:
        return write_texts(Path(args.texts))
    known = kept()
    for place in args.bases:
        base = int(place[-1])
        for name, made in methods(place, base).items():
            if fnmatchcase(name, args.only):
                measure(known, name, base, made)
    tell(known)


def measure(known, name, base, made):
    """Measure with a method what is not known of it."""
    draws = product(COUNTS, range(SLOW_DRAWS if name in RUNS else DRAWS))
    missing = [(n, seed) for n, seed in draws if (name, base, n, seed) not in known]
    method, (pool, test) = made() if missing else None, messages(base)
    for n, seed in missing:
        p = method(draw(pool, n, seed), test, n, seed)
        right = known[name, base, n, seed] = share_right(p, test)
        keep(method=name, base=base, labels=n, draw=seed, right=right)


def write_texts(folder):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "general.txt").write_text(general(), encoding="utf-8")
    for base in range(BASES):
        own = as_documents(text for _, text in messages(base)[0])
        (folder / f"own-s{base}.txt").write_text(own, encoding="utf-8")
    print(HOW)


# ---- what was measured ----

def kept():
    """Return {(method, base, labels, draw): share right}."""
    if not KEPT.exists():
        return {}
    rows = map(json.loads, KEPT.read_text(encoding="utf-8").splitlines())
    names = "method", "base", "labels", "draw"
    return {tuple(row[name] for name in names): row["right"] for row in rows}


def keep(**row):
    with open(KEPT, "a", encoding="utf-8") as file:
        file.write(json.dumps(row | {"date": datetime.date.today().isoformat()}) + "\n")


# ---- methods: (drawn, test, labels, seed) -> probabilities of the classes, (n, 2) ----

def methods(place, base):
    """Return {name: what makes the method}, the rival first."""
    pairs, opened = sum(messages(base), []), open_model(place)
    new = Config(opened.model.config).new_net(np.random.default_rng(base))
    random = opened._replace(model=new)
    made = {RIVAL: partial(NGrams, pairs), RANDOM: partial(Probe, random, pairs),
            PROBE: partial(Probe, opened, pairs), CLIPPED: partial(Clipped, opened, pairs),
            TOGETHER: partial(Together, opened, pairs)}
    for name, settings in RUNS.items():
        made[name] = partial(Tuned, opened, settings)
    return made


class NGrams:
    """Logistic regression on character n-grams, the idf from all messages without a label."""

    def __init__(self, pairs):
        self.place = {text: i for i, (_, text) in enumerate(pairs)}
        self.X = tfidf([*self.place])

    def __call__(self, drawn, test, n, seed):
        w, bias = fitted_rows(self.rows(drawn), numbers(drawn), len(LABELS))
        return softmax(self.rows(test) @ w + bias)

    def rows(self, pairs):
        return rows_of(self.X, [self.place[text] for _, text in pairs])


def rows_of(X, places):
    """Return some rows of a sparse matrix, in their order."""
    at = np.full(X.shape[0], -1)
    at[places] = np.arange(len(places))
    chosen = at[X.r] >= 0
    return Rows(at[X.r[chosen]], X.c[chosen], X.x[chosen], (len(places), X.shape[1]))


class Probe:
    """Logistic regression on what a frozen net makes of messages, scaled over all of them."""

    def __init__(self, opened, pairs):
        model = run_from(opened, pairs[:2 * B], pairs[:B], HEAD_ALONE, 0).model
        self.at_hand = features(model, texts_of(pairs, opened.tokenizer))
        self.x = {text: x for (_, text), x in zip(pairs, self.at_hand)}

    def __call__(self, drawn, test, n, seed):
        weight, bias = probe(self.rows(drawn), numbers(drawn), self.at_hand, len(LABELS))
        return softmax(self.rows(test) @ weight.T + bias)

    def rows(self, pairs):
        return np.array([self.x[text] for _, text in pairs])


MOST = 2                           # deviations from the mean; chosen on base 0

class Clipped(Probe):
    """The same, where no feature lies further from its mean than MOST deviations."""

    def __init__(self, opened, pairs):
        super().__init__(opened, pairs)
        mean, most = self.at_hand.mean(axis=0), MOST * self.at_hand.std(axis=0)
        self.at_hand = np.clip(self.at_hand, mean - most, mean + most)
        self.x = {text: x for (_, text), x in zip(pairs, self.at_hand)}


UNIT_C = 0.5                       # of rows of length 1; of 0.15, 0.5, 1.5 the best on base 0

class Together(Probe):
    """The mean of what n-grams and the frozen base say, whose rows have length 1, as theirs do."""

    def __init__(self, opened, pairs):
        super().__init__(opened, pairs)
        self.grams = NGrams(pairs)
        scaled = (self.at_hand - self.at_hand.mean(axis=0)) / (self.at_hand.std(axis=0) + 1e-6)
        scaled /= np.linalg.norm(scaled, axis=1, keepdims=True)
        self.x = {text: x for (_, text), x in zip(pairs, scaled)}

    def __call__(self, drawn, test, n, seed):
        w, bias = fitted(Dense(self.rows(drawn)), numbers(drawn), len(LABELS), UNIT_C)
        p = softmax(self.rows(test) @ w + bias)
        return (p + self.grams(drawn, test, n, seed)) / 2


class Tuned:
    """A run of the task classify from a base, its head new."""

    def __init__(self, opened, settings):
        self.opened, self.settings = opened, settings

    def __call__(self, drawn, test, n, seed):
        steps = EPOCHS[n] * n // B
        run = run_from(self.opened, drawn, test, self.settings, seed, steps)
        for _ in train_steps(run):
            pass
        return predicted(run.model, run.data.val)


def run_from(opened, drawn, test, settings, seed, steps=1):
    model, tokenizer = opened.model.config, opened.tokenizer
    T = min(LONGEST, model.context_length)
    given = dict(task="classify", labels=",".join(LABELS), seed=seed, steps=steps, warmup_steps=0,
                 batch_tokens=B * T, **settings)
    tuning = choose_tuning(model, given)
    config = Config(replace(model, context_length=T, dropout=0.1), tuning.data, tuning.train)
    data = Labelled(tokenizer, texts_of(drawn, tokenizer), texts_of(test, tokenizer), {}, LABELS)
    return Run.start(config, data, Plan.fixed(steps), weights=weights_of(opened))


def texts_of(pairs, tokenizer):
    rows = [encode(tokenizer, text) for _, text in pairs]
    return Texts(np.concatenate(rows), spans_of(rows, numbers(pairs)))


def numbers(pairs):
    return np.array([LABELS.index(label) for label, _ in pairs])


def share_right(p, pairs):
    return float((p.argmax(axis=1) == numbers(pairs)).mean())


# ---- what is told ----

def tell(known):
    """Print a table, and verdicts on the frozen base, alone, clipped and with n-grams: in percent,
    and paired in standard errors."""
    names = list(dict.fromkeys(name for name, *_ in known))
    width = max(map(len, names))
    print("right, % (deviation over draws), and paired with n-grams +- a standard error")
    for name in names:
        for base in [*range(BASES), None]:
            cells = [cell(known, name, base, n) for n in COUNTS]
            print(f"{name:{width}} {'all' if base is None else f's{base}':4}" + "  ".join(cells))
    judged = (PROBE, ""), (CLIPPED, "-clipped"), (TOGETHER, "-together")
    for n, (name, more) in product(COUNTS, judged):
        right, apart = shares(known, name, None, n)
        if len(right):
            verdict(f"spam-{n}-labels{more}", right.mean(), TARGETS[n])
            verdict(f"spam-{n}-labels{more}-above-ngrams", apart.mean() / error_of(apart), 3)


def cell(known, name, base, n):
    """Return mean, deviation over draws and paired difference with its standard error."""
    right, apart = shares(known, name, base, n)
    if len(right) < 2:
        return f"{'':28}"
    return (f"{right.mean():5.2f} ({right.std(ddof=1):4.2f}) "
            f"{apart.mean():+5.2f} +- {error_of(apart):4.2f}  ")


def shares(known, name, base, n):
    """Return, in percent, what is right and how much more that is than the rival's: (draws,)."""
    found = [(x, known[RIVAL, of, n, seed]) for (method, of, labels, seed), x in known.items()
             if method == name and labels == n and base in (None, of)]
    right, rival = 100 * np.array(found).reshape(-1, 2).T                       # each (draws,)
    return right, right - rival


def error_of(x):
    return x.std(ddof=1) / math.sqrt(len(x))


if __name__ == "__main__":
    sys.exit(main())
