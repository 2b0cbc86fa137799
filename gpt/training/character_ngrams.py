"""Logistic regression on character n-grams: what a classifier is to be better than.

TF-IDF as usual: tf * (ln((1 + n) / (1 + df)) + 1), rows of length 1; the idf is from all texts at
hand, labelled or not. The loss is C times the sum of surprises plus half the squared weights
(Fan et al. 2008, LIBLINEAR, JMLR 9), minimised by L-BFGS (Liu & Nocedal 1989, Algorithm 2.1).
"""
from typing import NamedTuple

import numpy as np

LONGEST = 5                        # characters of an n-gram, from 1 on
C, STEPS, MEMORY = 10.0, 100, 10


class Rows(NamedTuple):
    """A sparse matrix: in row r[i] and column c[i] there is x[i]."""

    r: np.ndarray
    c: np.ndarray
    x: np.ndarray
    shape: tuple

    def __matmul__(self, w):
        products = (w[self.c] * self.x[:, None]).T                              # (K, nnz)
        return np.stack([np.bincount(self.r, p, self.shape[0]) for p in products], axis=1)

    def transposed_times(self, g):
        products = (g[self.r] * self.x[:, None]).T                              # (K, nnz)
        return np.stack([np.bincount(self.c, p, self.shape[1]) for p in products], axis=1)


def tfidf(texts):
    """Return the n-grams of texts as Rows, a row for each text and a column for each n-gram."""
    parts = [np.array([*map(ord, text.lower())], np.uint64) for text in texts]
    text_of = np.repeat(np.arange(len(texts)), [*map(len, parts)])
    codes = np.concatenate(parts)
    keys, rows, key = [], [], np.zeros(len(codes), np.uint64)
    for n in range(1, LONGEST + 1):
        m = len(codes) - n + 1
        key = key[:m] * np.uint64(0x9E3779B97F4A7C15) + codes[n - 1:] + np.uint64(1)
        inside = text_of[:m] == text_of[n - 1:]
        keys.append(key[inside])
        rows.append(text_of[:m][inside])
    columns = np.unique(np.concatenate(keys), return_inverse=True)[1]
    V = columns.max() + 1
    cells, tf = np.unique(np.concatenate(rows) * V + columns, return_counts=True)
    r, c = cells // V, cells % V
    idf = np.log((1 + len(texts)) / (1 + np.bincount(c, minlength=V))) + 1
    x = tf * idf[c]
    norm = np.sqrt(np.bincount(r, x * x, len(texts)))
    return Rows(r, c, x / norm[r], (len(texts), V))


def fitted(X, y, n_classes, C=C):
    """Return the weights, (V, K), and the biases, (K,), of logistic regression."""
    one_hot = np.eye(n_classes)[y]                                              # (n, K)

    def loss(flat):
        w = flat.reshape(-1, n_classes)                                         # (V + 1, K)
        z = X @ w[:-1] + w[-1]
        z = z - z.max(axis=1, keepdims=True)
        log_p = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
        g = C * (np.exp(log_p) - one_hot)                                       # (n, K)
        dw = np.concatenate([X.transposed_times(g) + w[:-1], g.sum(axis=0)[None]])
        return -C * (log_p * one_hot).sum() + 0.5 * (w[:-1] ** 2).sum(), dw.ravel()
    w = lbfgs(loss, np.zeros((X.shape[1] + 1) * n_classes)).reshape(-1, n_classes)
    return w[:-1], w[-1]


def lbfgs(f, x):
    """Minimise f, which returns its value and its gradient."""
    pairs, (value, g) = [], f(x)
    for _ in range(STEPS):
        d, share = -direction(g, pairs), 1.0
        if not pairs:
            d /= max(1.0, np.linalg.norm(g))
        slope = g @ d
        while True:
            after = x + share * d
            new_value, new_g = f(after)
            if new_value <= value + 1e-4 * share * slope or share < 1e-8:
                break
            share /= 2
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
        shares.append((s @ d) / (s @ t))
        d -= shares[-1] * t
    if pairs:
        s, t = pairs[-1]
        d *= (s @ t) / (t @ t)
    for (s, t), share in zip(pairs, reversed(shares)):
        d += (share - (t @ d) / (s @ t)) * s
    return d


def predicted(train_texts, labels, texts, n_classes):
    """Learn from labelled texts and return the likeliest label of others; their idf counts, too."""
    X, n = tfidf([*train_texts, *texts]), len(train_texts)
    known = X.r < n
    learnt = Rows(X.r[known], X.c[known], X.x[known], (n, X.shape[1]))
    w, bias = fitted(learnt, np.asarray(labels), n_classes)
    return (X @ w + bias)[n:].argmax(axis=1)
