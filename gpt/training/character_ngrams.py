"""Logistic regression on character n-grams: what a classifier is to be better than.

TF-IDF as usual: tf * (ln((1 + n) / (1 + df)) + 1), rows of length 1; the idf is from all texts at
hand, labelled or not. The loss is C times the sum of surprises plus half the squared weights
(Fan et al. 2008, LIBLINEAR, JMLR 9), minimised by L-BFGS (Liu & Nocedal 1989, Algorithm 2.1).
"""
from typing import NamedTuple

import numpy as np

from minigrad import log_softmax

LONGEST = 5                        # characters of an n-gram, from 1 on
C, STEPS, MEMORY = 10.0, 100, 10


class Rows(NamedTuple):
    """A sparse matrix: in row r[i] and column c[i] there is x[i]."""

    r: np.ndarray
    c: np.ndarray
    x: np.ndarray
    shape: tuple

    def __matmul__(self, w):
        """Multiply by w, (V, K): (n, K)."""
        return np.stack([self.gathered(self.r, self.c, column, 0) for column in w.T], axis=1)

    def transposed_times(self, g):
        """Multiply the transpose by g, (n, K): (V, K)."""
        return np.stack([self.gathered(self.c, self.r, column, 1) for column in g.T], axis=1)

    def gathered(self, into, of, column, axis):
        products = column[of] * self.x                                          # (nnz,)
        return np.bincount(into, products, self.shape[axis])


class Dense(NamedTuple):
    """A matrix that is not sparse, with what `fitted` asks of one."""

    x: np.ndarray                  # (n, V)

    @property
    def shape(self):
        return self.x.shape

    def __matmul__(self, w):
        return self.x @ w

    def transposed_times(self, g):
        return self.x.T @ g


def tfidf(texts):
    """Return the n-grams of texts as Rows, a row for each text and a column for each n-gram."""
    n = len(texts)
    rows, keys = hashed(texts)
    columns = np.unique(keys, return_inverse=True)[1]
    V = int(columns.max()) + 1
    cells, tf = np.unique(rows * V + columns, return_counts=True)
    r, c = np.divmod(cells, V)
    df = np.bincount(c, minlength=V)
    idf = np.log((1 + n) / (1 + df)) + 1
    x = tf * idf[c]
    norm = np.sqrt(np.bincount(r, x * x, n))
    return Rows(r, c, x / norm[r], (n, V))


FACTOR = np.uint64(0x9E3779B97F4A7C15)               # of the hash: odd, its bits well mixed


def hashed(texts):
    """Return the number of its text and a hash for each n-gram of characters."""
    parts = [np.array([*map(ord, text.lower())], np.uint64) for text in texts]
    lengths = [*map(len, parts)]
    text_of = np.repeat(np.arange(len(texts)), lengths)
    codes = np.concatenate(parts)
    rows, keys, key = [], [], np.zeros_like(codes)
    for n in range(1, LONGEST + 1):
        first, last = text_of[:len(codes) - n + 1], text_of[n - 1:]
        key = key[:len(first)] * FACTOR
        key = key + codes[n - 1:] + np.uint64(1)
        inside = first == last
        rows.append(first[inside])
        keys.append(key[inside])
    return np.concatenate(rows), np.concatenate(keys)


def fitted(X, y, n_classes, C=C):
    """Return the weights, (V, K), and the biases, (K,), of logistic regression."""
    one_hot = np.eye(n_classes)[y]                                              # (n, K)

    def loss(flat):
        both = flat.reshape(-1, n_classes)                                      # (V + 1, K)
        w, bias = both[:-1], both[-1]
        log_p = log_softmax(X @ w + bias)                                       # (n, K)
        g = C * (np.exp(log_p) - one_hot)
        dw = X.transposed_times(g) + w
        surprise = -(log_p * one_hot).sum()
        value = C * surprise + 0.5 * (w * w).sum()
        return value, np.concatenate([dw.ravel(), g.sum(axis=0)])
    size = (X.shape[1] + 1) * n_classes
    both = lbfgs(loss, np.zeros(size)).reshape(-1, n_classes)
    return both[:-1], both[-1]


def fitted_rows(X, y, n_classes):
    """Do that for Rows that use few of the columns: the weights of all others are 0."""
    used, c = np.unique(X.c, return_inverse=True)
    small = Rows(X.r, c, X.x, (X.shape[0], len(used)))
    some, bias = fitted(small, y, n_classes)
    w = np.zeros((X.shape[1], n_classes))
    w[used] = some
    return w, bias


def lbfgs(f, x):
    """Minimise f, which returns its value and its gradient."""
    pairs, (value, g) = [], f(x)
    for _ in range(STEPS):
        d, share = -direction(g, pairs), 1.0
        if not pairs:
            d /= max(1.0, np.linalg.norm(g))
        slope = g @ d
        after = x + d
        new_value, new_g = f(after)
        while new_value > value + 1e-4 * share * slope and share > 1e-8:
            share /= 2
            after = x + share * d
            new_value, new_g = f(after)
        s, t = after - x, new_g - g
        pairs = [*pairs, (s, t)][-MEMORY:] if s @ t > 0 else pairs
        done = value - new_value <= 1e-7 * max(1.0, abs(value))
        x, value, g = after, new_value, new_g
        if done:
            break
    return x


def direction(g, pairs):
    """Return the inverse Hessian times g, as far as the last steps tell it: the two loops."""
    d, shares = g.copy(), []
    for s, t in reversed(pairs):
        share = (s @ d) / (s @ t)
        shares.append(share)
        d -= share * t
    if pairs:
        s, t = pairs[-1]
        d *= (s @ t) / (t @ t)
    for s, t in pairs:
        other = (t @ d) / (s @ t)
        d += (shares.pop() - other) * s
    return d


def predicted(train_texts, labels, texts, n_classes):
    """Learn from labelled texts and return the likeliest label of others; their idf counts, too."""
    X, n = tfidf([*train_texts, *texts]), len(train_texts)
    known = X.r < n
    parts = [part[known] for part in X[:3]]
    learnt = Rows(*parts, (n, X.shape[1]))
    w, bias = fitted_rows(learnt, np.asarray(labels), n_classes)
    scores = X @ w + bias
    return scores[n:].argmax(axis=1)
