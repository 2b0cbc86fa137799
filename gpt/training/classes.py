"""How well classes are told apart, beside what knows less."""
import numpy as np

from gpt.training import character_ngrams
from gpt.training.intervals import wilson
from gpt.training.task import read
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
    targets = data.val.spans[:, 2]
    result = judged(targets, p.argmax(axis=1), data.labels)
    found = read(run.measures())
    result["nats_per_token"] = found.nats_per_token
    result["beside"] = rivals(data)
    lines = told(result, data.labels)
    return result, {}, list(lines)


def judged(targets, found, labels):
    """Return what there is to know of n answers, (n,) each, in numbers."""
    K = len(labels)
    pairs = K * targets + found
    confusion = np.bincount(pairs, minlength=K * K).reshape(K, K)
    right = confusion.diagonal().tolist()
    asked = confusion.sum(axis=1).tolist()
    said = confusion.sum(axis=0).tolist()
    n, n_right, recall, f1 = len(targets), sum(right), {}, {}
    for label, k, of, as_it in zip(labels, right, asked, said):
        low, high = wilson(k, of)
        recall[label] = [k / max(1, of), low, high]
        f1[label] = 2 * k / max(1, of + as_it)
    there = [k / of for k, of in zip(right, asked) if of]
    return {"n_texts": n,
            "accuracy": n_right / n,
            "interval": wilson(n_right, n),
            "balanced_accuracy": sum(there) / len(there),
            "recall": recall,
            "f1": f1,
            "confusion": confusion.tolist()}


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
