"""How well classes are told apart, beside what knows less."""
import numpy as np

from gpt.training import character_ngrams
from gpt.training.intervals import wilson
from gpt.training.task import read
from gpt.training.tasks.classify import predicted, probe_of

RESAMPLES = 400                    # of the texts, from which intervals are taken
MOST_CELLS = 10_000_000            # characters times n-grams of them, of which n-grams are made
CELL_BYTES = 110                   # that one takes (measured)
MOST_PRODUCTS = 1e11               # weights times tokens, up to which random weights are asked


def conclude(run):
    """Judge a run on the validation part.

    Returns
    -------
    result : dict
    simpler : dict
        Empty: what is beside it is no bits per byte, and stands in the result.
    lines : list of str
    """
    data = run.data
    p = predicted(run.model, data.val)                                          # (n, K)
    targets = data.val.spans[:, 2]
    result = judged(targets, p, data.labels)
    found = read(run.measures())
    result["nats_per_token"] = found.nats_per_token
    result["beside"] = rivals(data) | random_base(run)
    lines = told(result, data.labels)
    return result, {}, list(lines)


def judged(targets, p, labels):
    """Return what there is to know of n answers, targets (n,) and p (n, K), in numbers: shares,
    each with its interval behind it."""
    confusion = confused(targets, p)
    right = confusion.diagonal().tolist()
    asked = confusion.sum(axis=1).tolist()
    n, n_right, recall = len(targets), sum(right), {}
    for label, k, of in zip(labels, right, asked):
        recall[label] = [k / max(1, of), *wilson(k, of)]
    found = shares(targets, p), *intervals(targets, p)
    balanced, surplus, *f1 = np.transpose(found).tolist()                   # (2 + K, 3)
    return {"n_texts": n,
            "accuracy": n_right / n,
            "interval": wilson(n_right, n),
            "balanced_accuracy": balanced,
            "surer_than_right": surplus,
            "recall": recall,
            "f1": dict(zip(labels, f1)),
            "confusion": confusion.tolist()}


def confused(targets, p):
    """Count how often each label was taken for which: (K, K)."""
    K = p.shape[1]
    pairs = K * targets + p.argmax(axis=1)
    return np.bincount(pairs, minlength=K * K).reshape(K, K)


def shares(targets, p):
    """Return balanced accuracy, how much surer it is than right, and the F1 of each: (2 + K,)."""
    confusion = confused(targets, p)
    right = confusion.diagonal()                                                # (K,)
    asked, said = confusion.sum(axis=1), confusion.sum(axis=0)
    there = asked > 0
    balanced = (right[there] / asked[there]).mean()
    f1 = 2 * right / np.maximum(1, asked + said)                                # (K,)
    surplus = p.max(axis=1).mean() - right.sum() / len(targets)
    return np.array([balanced, surplus, *f1])


def intervals(targets, p):
    """Return between what `shares` are, to 95 %: (2, 2 + K), of texts drawn again (Efron 1979)."""
    rng, n, found = np.random.default_rng(0), len(targets), []
    for _ in range(RESAMPLES):
        rows = rng.integers(0, n, n)
        found.append(shares(targets[rows], p[rows]))
    return np.quantile(found, [0.025, 0.975], axis=0)


def rivals(data):
    """Return the accuracy of what knows less, by name; n-grams where they take little memory."""
    learnt, targets = data.train.spans[:, 2], data.val.spans[:, 2]
    majority = np.bincount(learnt).argmax()
    right = targets == majority
    found = {"majority class": float(right.mean())}
    if cells(data) <= MOST_CELLS:
        texts, others = map(data.strings, (data.train, data.val))
        answers = character_ngrams.predicted(texts, learnt, others, len(data.labels))
        right = answers == targets
        found["logistic regression on character n-grams"] = float(right.mean())
    return found


def random_base(run):
    """Return the accuracy of the head that a base of random weights would begin with, by name;
    nothing without a base, or where that takes long."""
    data = run.data
    n_tokens = len(data.train.ids) + len(data.val.ids)
    products = sum(x.size for x in run.model.parameters()) * n_tokens
    if not run.config.train.base or products > MOST_PRODUCTS:
        return {}
    rng = np.random.default_rng(run.config.train.seed)
    weight, bias, others = probe_of(run.config.new_net(rng), data)
    scores = others @ weight.T + bias                                           # (n, K)
    right = scores.argmax(axis=1) == data.val.spans[:, 2]
    return {"the same with random weights": float(right.mean())}


def cells(data):
    return data.n_bytes * character_ngrams.LONGEST


def rivals_bytes(data):
    """Predict the memory of what is beside the result."""
    return CELL_BYTES * cells(data) if cells(data) <= MOST_CELLS else 0


def told(result, labels):
    """Yield the lines of the closing."""
    low, high = result["interval"]
    yield (f"right: {100 * result['accuracy']:.1f} % of {result['n_texts']:,} texts held out (95 % "
           f"interval {100 * low:.1f} to {100 * high:.1f}); balanced "
           f"{in_percent(result['balanced_accuracy'])}; {result['nats_per_token']:.4f} nats a text")
    yield f"calibration: surer than right by {in_percent(result['surer_than_right'])}"
    yield "beside it: " + ", ".join(
        f"{name} {100 * share:.1f} %" for name, share in result["beside"].items())
    for name, row in zip(labels, result["confusion"]):
        taken = ", ".join(f"{n} as {other}" for n, other in zip(row, labels))
        yield (f"{name}: {taken}; {in_percent(result['recall'][name])} found, "
               f"F1 {in_percent(result['f1'][name])}")


def in_percent(row):
    share, low, high = row
    return f"{100 * share:.1f} % ({100 * low:.1f} to {100 * high:.1f})"
