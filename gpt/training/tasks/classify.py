"""To tell which label a text has."""
import numpy as np

from gpt.batch import Batch
from gpt.models.classifier import Classifier
from gpt.settings import ConfigError
from gpt.training.character_ngrams import Dense, fitted
from gpt.training.task import Measure
from minigrad import cross_entropy, no_grad, softmax
from minigrad.kernels.rows import kernels_from

TEXTS = 32                 # of one forward pass that measures


def with_classifier(net, settings, rng, dtype):
    """Put the head onto a net: its field `classifier`."""
    labels = settings.labels.split(",")
    net.classifier = Classifier(net.head.shape[1], labels, settings.pooling, rng, dtype,
                                settings.hidden)
    return net


def classify_batch(data, shape, rng, model, class_weights=""):
    """Take texts at random, none twice while there are others; the targets are their labels."""
    B, T = shape
    n = len(data.train)
    rows = rng.permutation(n)[:B] if B <= n else rng.integers(0, n, B)
    batch = labelled_batch(data.train, rows, T)
    if not class_weights:
        return batch
    return batch._replace(weights=weight_of_each(class_weights, data)[batch.targets])


def weight_of_each(given, data):
    """Return what a text of each label counts, (K,) float32: 1 in the mean over all texts.

    Raises
    ------
    ConfigError
        If these are no numbers above 0, one for each label.
    """
    labels = data.train.spans[:, 2]
    n = np.bincount(labels, minlength=len(data.labels))                         # (K,)
    try:
        balanced = given == "balanced"
        weights = 1 / np.maximum(1, n) if balanced else np.array([*map(float, given.split(","))])
    except ValueError:
        weights = np.zeros(0)
    fits = weights.shape == n.shape and np.isfinite(weights).all()
    if not fits or weights.min() <= 0:
        raise ConfigError(f"class_weights is {given!r}, but must be a number above 0 for each of "
                          f"{', '.join(data.labels)}, commas between, or balanced")
    weights *= len(labels) / (n @ weights)
    return weights.astype(np.float32)


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
        scores = class_scores(model, batch, rng)                                # (B, K)
        if batch.weights is None:
            return cross_entropy(scores, batch.targets, n=n)
        losses = cross_entropy(scores, batch.targets, reduction="none")         # (B,)
        weights = batch.weights.astype(losses.dtype)
        return (losses * weights).sum() / float(n)


def classify_measure(model, data, texts):
    """Yield the surprise at the labels of `texts`, some at a time."""
    for batch in batches(model, texts, np.arange(len(texts))):
        with no_grad():
            scores = class_scores(model, batch)
            loss = cross_entropy(scores, batch.targets, n=1.0)
        right = int((scores.data.argmax(axis=1) == batch.targets).sum())
        n = len(batch.ids)
        yield Measure(loss.item(), n, 0, right, n)


def batches(model, texts, order):
    """Yield texts in an order, some at a time, as wide as the longest of them."""
    lengths = np.minimum(texts.lengths, model.config.context_length)            # (n,)
    for first in range(0, len(texts), TEXTS):
        rows = order[first:first + TEXTS]
        yield labelled_batch(texts, rows, int(lengths[rows].max()))


def of_each(model, texts, compute):
    """Return what is computed of each text, (n, ...), of those of about one length together."""
    order = np.argsort(texts.lengths, kind="stable")
    with no_grad():
        found = [compute(batch) for batch in batches(model, texts, order)]
    return np.concatenate(found)[np.argsort(order)]


def predicted(model, texts):
    """Return the probabilities of the classes of each text, (n, classes)."""
    return of_each(model, texts, lambda batch: softmax(class_scores(model, batch).data))


def features(model, texts):
    """Return what the head reads of each text, (n, width) float64."""
    def pooled(batch):
        x = model.stream(batch)                                                 # (B, T, C)
        return model.classifier.pooled(x, batch.lengths).data
    return of_each(model, texts, pooled).astype(np.float64)


PROBE_C = 0.0015                   # 0.003 where two classes have one row of weights


def probe(x, labels, at_hand, n_classes):
    """Return the head that logistic regression finds on what the frozen net makes of texts.

    So hard is that to beat with few labels that all else should begin there (Kumar et al. 2022,
    arXiv:2202.10054). Features are scaled by their mean and deviation over all texts at hand,
    whose labels are not asked for; the scale then goes into the weights.

    Parameters
    ----------
    x : (n, width)
        Features of labelled texts.
    labels : (n,) int
    at_hand : (N, width)
    n_classes : int

    Returns
    -------
    weight : (n_classes, width)
    bias : (n_classes,)
    """
    mean = at_hand.mean(axis=0)                                                 # (width,)
    deviation = at_hand.std(axis=0) + 1e-6
    scaled = Dense((x - mean) / deviation)
    w, bias = fitted(scaled, labels, n_classes, PROBE_C)
    w = w / deviation[:, None]                                                  # (width, K)
    return w.T, bias - mean @ w


def begin_with_probe(run, folder=None):
    """Do that for a new run from a base, where the head is one layer."""
    head = run.model.classifier
    if head.between:
        return
    weight, bias, _ = probe_of(run.model, run.data)
    head.linear.weight.data[...] = weight
    head.linear.bias.data[...] = bias


def probe_of(model, data):
    """Return what `probe` finds on a model's features of the labelled texts, (K, width) and (K,);
    and the features of the others, (n, width)."""
    learnt, others = (features(model, part) for part in (data.train, data.val))
    at_hand = np.concatenate([learnt, others])
    labels = data.train.spans[:, 2]
    return *probe(learnt, labels, at_hand, len(data.labels)), others


def show_nothing(model, data, seed, max_tokens):
    """Yield nothing: how it went is told in numbers."""
    return iter(())
