"""How well classes are told apart, beside what knows less."""
import math

import numpy as np

from gpt.training import character_ngrams
from gpt.training.tasks.classify import predicted

MOST_CELLS = 10_000_000            # characters times n-grams of them, of which n-grams are made
CELL_BYTES = 110                   # that one takes (measured)


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
    targets, found = data.val.spans[:, 2], p.argmax(axis=1)
    nats = -np.log(np.maximum(p[np.arange(len(p)), targets], 1e-30)).mean()
    result = judged(targets, found, data.labels) | {"nats_per_token": float(nats)}
    result["beside"] = rivals(data)
    return result, {}, [*told(result, data.labels)]


def judged(targets, found, labels):
    """Return what there is to know of n answers, (n,) each, in numbers."""
    K = len(labels)
    confusion = np.bincount(K * targets + found, minlength=K * K).reshape(K, K)
    right, asked, said = confusion.diagonal(), confusion.sum(axis=1), confusion.sum(axis=0)
    recall = right / np.maximum(asked, 1)
    f1 = 2 * right / np.maximum(asked + said, 1)
    there = asked > 0
    return {"n_texts": len(targets), "accuracy": float(right.sum() / len(targets)),
            "interval": wilson(int(right.sum()), len(targets)),
            "balanced_accuracy": float(recall[there].mean()),
            "recall": {name: [r, *wilson(int(n), int(of))] for name, r, n, of in zip(
                labels, recall.tolist(), right, asked)},
            "f1": dict(zip(labels, f1.tolist())), "confusion": confusion.tolist()}


def wilson(k, n, z=1.96):
    """Return the 95 % interval of a share of which k of n were seen (Wilson 1927)."""
    if n == 0:
        return 0.0, 1.0
    middle = (k + z * z / 2) / (n + z * z)
    half = z / (n + z * z) * math.sqrt(k * (n - k) / n + z * z / 4)
    return max(0.0, middle - half), min(1.0, middle + half)


def rivals(data):
    """Return the accuracy of what knows less, by name; n-grams where they take little memory."""
    learnt, targets = data.train.spans[:, 2], data.val.spans[:, 2]
    majority = np.bincount(learnt).argmax()
    found = {"majority class": float((targets == majority).mean())}
    if cells(data) <= MOST_CELLS:
        answers = character_ngrams.predicted(data.strings(data.train), learnt,
                                             data.strings(data.val), len(data.labels))
        found["logistic regression on character n-grams"] = float((answers == targets).mean())
    return found


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
           f"{100 * result['balanced_accuracy']:.1f} %; {result['nats_per_token']:.4f} nats a text")
    yield "beside it: " + ", ".join(
        f"{name} {100 * share:.1f} %" for name, share in result["beside"].items())
    for name, row in zip(labels, result["confusion"]):
        share, low, high = result["recall"][name]
        taken = ", ".join(f"{n} as {other}" for n, other in zip(row, labels))
        yield (f"{name}: {taken}; {100 * share:.1f} % found ({100 * low:.1f} to "
               f"{100 * high:.1f}), F1 {result['f1'][name]:.3f}")
