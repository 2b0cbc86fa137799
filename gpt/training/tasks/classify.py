"""To tell which label a text has."""
import numpy as np

from gpt.batch import Batch
from gpt.models.classifier import Classifier
from gpt.training.task import Measure
from minigrad import cross_entropy, no_grad, softmax
from minigrad.kernels.rows import kernels_from

TEXTS = 32                 # of one forward pass that measures


def with_classifier(net, settings, rng, dtype):
    """Put the head onto a net: its field `classifier`."""
    labels = settings.labels.split(",")
    net.classifier = Classifier(net.head.shape[1], labels, settings.pooling, rng, dtype)
    return net


def classify_batch(data, shape, rng, model):
    """Take texts at random, none twice while there are others; the targets are their labels."""
    B, T = shape
    n = len(data.train)
    rows = rng.permutation(n)[:B] if B <= n else rng.integers(0, n, B)
    return labelled_batch(data.train, rows, T)


def labelled_batch(texts, rows, T):
    ids, lengths = texts.padded(rows, T)
    return Batch(ids, texts.spans[rows, 2], lengths)


def class_scores(model, batch, rng=None):
    """Return the scores of the classes, (B, n)."""
    x = model.stream(batch, rng=rng)                                            # (B, T, C)
    return model.classifier(x, batch.lengths)


def classify_loss(model, batch, n, rng=None):
    """Return the surprise at the labels, in nats, summed and divided by n."""
    with kernels_from(1):                             # however few classes: so it is replayed
        return cross_entropy(class_scores(model, batch, rng), batch.targets, n=n)


def classify_measure(model, data, texts):
    """Yield the surprise at the labels of `texts`, some at a time."""
    for batch in batches(model, texts):
        with no_grad():
            scores = class_scores(model, batch)
            loss = cross_entropy(scores, batch.targets, n=1.0)
        right = int((scores.data.argmax(axis=1) == batch.targets).sum())
        n = len(batch.ids)
        yield Measure(loss.item(), n, 0, right, n)


def batches(model, texts):
    T = model.config.context_length
    for first in range(0, len(texts), TEXTS):
        rows = np.arange(first, min(first + TEXTS, len(texts)))
        yield labelled_batch(texts, rows, T)


def predicted(model, texts):
    """Return the probabilities of the classes of each text, (n, classes)."""
    found = []
    for batch in batches(model, texts):
        with no_grad():
            found.append(softmax(class_scores(model, batch).data))
    return np.concatenate(found)


def show_nothing(model, data, seed, max_tokens):
    """Yield nothing: how it went is told in numbers."""
    return iter(())
