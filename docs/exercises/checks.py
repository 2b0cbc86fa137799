"""What a right solution satisfies. Reading this is allowed, but try without."""
import random

import numpy as np

from bpe import reference
from minigrad import nn
from minigrad.testing import check_op


def pair(signature, **settings):
    """Check `forward` and `vjp` of an exercise by the laws of every backward pass."""
    def run(names):
        check_op(names["forward"], names["vjp"], signature, verbose=False, **settings)
    return run


def check_attention(names):
    rng = np.random.default_rng(0)
    for T, D in ((1, 2), (2, 3), (5, 4)):
        q, k, v = rng.standard_normal((3, T, D))
        weights = names["weights"](q, k)
        assert not np.triu(weights, 1).any(), "a position looks into the future"
        sums = weights.sum(axis=1)
        assert np.allclose(sums, 1), (f"the weights of the positions sum to {sums}, not to 1: what "
                                      "was hidden still took its share of the softmax")


def check_batch(names):
    ids = np.arange(100) * 7 % 50
    for seed in range(20):
        x, y = names["batch"](ids, 4, 9, np.random.default_rng(seed))
        assert x.shape == y.shape == (4, 9), f"shapes are {x.shape} and {y.shape}, not (4, 9)"
        for row_x, row_y in zip(x, y):
            start = next(i for i in range(92) if np.array_equal(ids[i:i + 9], row_x))
            assert np.array_equal(row_y, ids[start + 1:start + 10]), (
                f"for inputs {row_x} the targets are {row_y}: each target should be the token "
                "that comes next, or the model sees its answer")


def check_training(names):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((64, 3))
    y = x @ np.array([[1.0, -2, 3]]).T
    model = nn.Linear(3, 1, rng=rng, dtype=np.float64)
    losses = names["train"](model, x, y, steps=200, learning_rate=0.1)
    assert all(np.isfinite(losses)), "the loss runs off to infinity"
    assert losses[-1] < 1e-3 * losses[0], (
        f"after 200 steps the loss is {losses[-1]:.3g}, from {losses[0]:.3g}: with these data it "
        "should fall below a thousandth. Print the size of the gradient at each step")
    assert all(b <= a * (1 + 1e-9) for a, b in zip(losses, losses[1:])), (
        "the loss goes up again and again: each step follows more than its own gradient")


def check_adam(names):
    rng = np.random.default_rng(0)
    for scale in (1e-3, 1.0, 1e3):
        p, g = np.zeros(5), rng.standard_normal(5) * scale
        m, v = np.zeros(5), np.zeros(5)
        names["step"](p, g, m, v, 1, learning_rate=0.01)
        assert np.allclose(np.abs(p), 0.01, rtol=1e-4), (
            f"the first step moves the parameters by {np.abs(p)}, but Adam moves each by the "
            "learning rate 0.01, whatever the gradient: m and v start at zero and are too small")


def check_tokenizer(names):
    merges = {(98, 99): 256, (97, 97): 257, (97, 98): 258, (258, 256): 259, (257, 98): 260}
    rng = random.Random(0)
    for length in [1, 2, 3] + [rng.randrange(12) for _ in range(200)]:
        word = bytes(rng.choice(b"abc") for _ in range(length))
        want = tuple(word)
        while known := [pair for pair in zip(want, want[1:]) if pair in merges]:
            pair = min(known, key=merges.get)
            want = reference.merge(want, pair, merges[pair])
        got = tuple(names["encode_word"](word, merges))
        assert got == want, (f"{word} became {got}, but the pair that was learnt first is merged "
                             f"first: {want}")


CHECKS = {
    "sum_of_paths": pair("()->()"),
    "broadcast": pair("(n,m),(m)->(n,m)", batched=()),
    "matmul": pair("(m,k),(k,n)->(m,n)", batched=()),
    "relu": pair("()->()", domain={"x": "away_from_zero"}),
    "softmax": pair("(n)->(n)"),
    "layer_norm": pair("(n)->(n)", domain={"x": "spread"}),
    "embedding": pair("(t),(v,c)->(t,c)", domain={"ids": "index(v)"}, batched=()),
    "attention": check_attention,
    "batch": check_batch,
    "training": check_training,
    "adam": check_adam,
    "tokenizer": check_tokenizer,
}
