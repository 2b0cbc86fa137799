"""What a right solution satisfies. Reading this is allowed, but try without."""
import random

import numpy as np
from judge import Wrong, call, hold, is_same, numbers
from pairs import Pair
from stages import check_schedule
from writing import (
    check_kv_cache, check_mlp, check_rotary, check_sampling, check_topological_order)

from bpe import reference
from minigrad import Tensor, cross_entropy, nn, pool, relu, softmax, sqrt

EPS = 1e-5


def layer_norm(x):
    centered = x - x.mean(axis=-1, keepdims=True)
    return centered / sqrt((centered * centered).mean(axis=-1, keepdims=True) + EPS)


# ---- attention ---------------------------------------------------------------------------------

def check_attention(names):
    rng = np.random.default_rng(0)
    for T, D, size in ((1, 2, 1), (2, 3, 1), (5, 4, 1), (4, 1, 1), (7, 16, 1), (12, 2, 6)):
        q, k = size * rng.standard_normal((2, T, D))
        given = {"q": q, "k": k}
        weights = numbers("weights", call(names, "weights", q, k), (T, T))
        if np.triu(weights, 1).any():
            raise Wrong("weights", f"a position looks into the future:\n{np.round(weights, 3)}")
        sums = weights.sum(axis=1)
        if not np.allclose(sums, 1):
            raise Wrong("weights", f"the weights of the positions sum to {sums}, not to 1",
                        "what was hidden still took its share of the softmax")
        hold("weights", weights, masked_softmax(q @ k.T / np.sqrt(D)), given, guesses=[
            ("the scores are not divided by the root of D", masked_softmax(q @ k.T)),
            ("the scores are divided by D, not by its root", masked_softmax(q @ k.T / D)),
            ("q and k are exchanged", masked_softmax(k @ q.T / np.sqrt(D))),
            ("all earlier positions have the same weight", masked_softmax(np.zeros((T, T))))])


def masked_softmax(scores):
    return np.asarray(softmax(np.where(np.tri(len(scores)), scores, -np.inf)))


# ---- batch -------------------------------------------------------------------------------------

def check_batch(names):
    ids = np.arange(100) * 7 % 101                      # no two are equal
    for seed in range(20):
        drawn(names, ids, 4, 9, seed)
    first, second = drawn(names, ids, 4, 9, 0), drawn(names, ids, 4, 9, 0)
    if first != second:
        raise Wrong("batch", "the same rng gives another batch: draw from rng alone")
    five = np.arange(100, 112)                          # starts 0 to 4, for T = 7
    pairs = [tuple(drawn(names, five, 2, 7, seed)) for seed in range(300)]
    counts = np.bincount([start for pair in pairs for start in pair], minlength=5)
    if counts.min() < 85:                               # of 120 to be expected
        raise Wrong("batch", f"a text of 12 tokens has 5 places where 7 tokens and their targets "
                    f"fit; of 600 rows, {counts.tolist()} begin at each: all should be as likely")
    if len(set(pairs)) < 10:                            # those without order, no place twice
        raise Wrong("batch", f"two rows begin at {sorted(set(pairs))} only: each should be drawn "
                    "by itself")
    drawn(names, ids[:8], 1, 7, 0)                      # one place


def drawn(names, ids, B, T, seed):
    """Check one batch and return where its rows begin."""
    result = call(names, "batch", ids, B, T, np.random.default_rng(seed))
    if not isinstance(result, (tuple, list)) or len(result) != 2:
        raise Wrong("batch", "it should give two arrays, x and y")
    x, y = (numbers("batch", part, (B, T), name).astype(int) for part, name in zip(result, "xy"))
    starts = []
    for row_x, row_y in zip(x, y):
        places = [i for i in range(len(ids) - T + 1) if np.array_equal(ids[i:i + T], row_x)]
        if not places:
            raise Wrong("batch", f"{row_x} in x does not stand in the text {ids}")
        start = places[0]
        if not np.array_equal(row_y, ids[start + 1:start + T + 1]):
            raise Wrong("batch", f"for inputs {row_x} the targets are {row_y}: each target should "
                        "be the token that comes next, or the model sees its answer")
        starts.append(start)
    return starts


# ---- training ----------------------------------------------------------------------------------

def check_training(names):
    for seed, n, steps, learning_rate in ((0, 64, 100, 0.1), (1, 10, 3, 0.05), (2, 7, 1, 0.3)):
        rng = np.random.default_rng(seed)
        x = rng.standard_normal((n, 3))
        y = x @ np.array([[1.0, -2, 3]]).T + 0.5
        model = nn.Linear(3, 1, rng=rng, dtype=np.float64)
        before = [p.data.copy() for p in model.parameters()]
        losses = call(names, "train", model, x, y, steps=steps, learning_rate=learning_rate)
        if isinstance(losses, (list, tuple)):
            losses = [float(loss) if isinstance(loss, Tensor) else loss for loss in losses]
        losses = numbers("train", losses, (steps,), "what it gives, the loss of each step,")
        if not np.isfinite(losses).all():
            raise Wrong("train", "the loss runs off to infinity")
        if steps > 50 and losses[-1] >= 1e-3 * losses[0]:
            raise Wrong("train", f"after {steps} steps the loss is {losses[-1]:.3g}, from "
                        f"{losses[0]:.3g}: with these data it should fall below a thousandth. "
                        "Print the size of the gradient at each step")
        expected, parameters = descend(before, x, y, steps, learning_rate)
        given = {"steps": steps, "learning_rate": learning_rate}
        hold("train", losses, expected, given, "the loss before each step", [
            ("each step follows more than its own gradient",
             descend(before, x, y, steps, learning_rate, adds=True)[0])])
        for p, wanted in zip(model.parameters(), parameters):
            hold("train", p.data, wanted, given, "a parameter in the end")


def descend(parameters, x, y, steps, learning_rate, adds=False):
    """Return the losses and parameters of gradient descent on the squares of the errors."""
    weight, bias = (p.copy() for p in parameters)
    losses, dweight, dbias = [], 0, 0
    for _ in range(steps):
        error = x @ weight.T + bias - y                 # (n, 1)
        losses.append((error * error).mean())
        dweight = 2 * error.T @ x / len(x) + adds * dweight
        dbias = 2 * error.mean(axis=0) + adds * dbias
        weight -= learning_rate * dweight
        bias -= learning_rate * dbias
    return losses, (weight, bias)


# ---- Adam --------------------------------------------------------------------------------------

NO_BETAS, SETTINGS = {}, {"beta1": 0.8, "beta2": 0.95, "eps": 0.1}


def check_adam(names):
    rng = np.random.default_rng(0)
    for shape, scale, learning_rate, options in (
            ((5,), 1.0, 0.01, NO_BETAS), ((2, 3), 1e3, 0.1, NO_BETAS), ((5,), 1e-3, 0.01, NO_BETAS),
            ((5,), 1.0, 0.5, SETTINGS)):
        gradients = scale * (1 + rng.random((6, *shape))) * rng.choice([-1, 1], (6, *shape))
        state = [np.ones(shape), np.zeros(shape), np.zeros(shape)]
        forms = [adam(gradients, learning_rate, form, **options) for form in FORMS]
        for t, g in enumerate(gradients, 1):
            p, m, v = state
            call(names, "step", p, g, m, v, t, learning_rate, writes=(0, 2, 3), **options)
            given = {"t": t, "g": g, "learning_rate": learning_rate, **options}
            rest = [form[t - 1] for form in forms]
            for what, got, wanted in zip("mv", (m, v), rest[0][1:]):
                hold("step", got, wanted, given, f"{what} after the step", [
                    ("it is as before: write into it, as in `m += ...`", np.zeros(shape))])
            two = is_same(p, rest[1][0])                             # the paper's other form
            hold("step", p, rest[int(two)][0], given, "p after the step",
                 [(text, form[0]) for text, form in zip(FORMS.values(), rest)][2:])


FORMS = {
    "right": "",
    "efficient": "",
    "uncorrected": "m and v start at zero, so both are too small in the first steps",
    "m alone": "v starts at zero as well, and is too small in the first steps",
    "v alone": "m starts at zero as well, and is too small in the first steps",
    "first": "the correction depends on t: it gets weaker from step to step",
    "sign": "this follows the sign of g alone",
    "inside": "eps is added to the root, not below it",
}


def adam(gradients, learning_rate, form, beta1=0.9, beta2=0.999, eps=1e-8):
    """Return p, m and v after each step, in the form of the paper or in a mistaken one."""
    p, m, v, states = 1.0, 0.0, 0.0, []
    for t, g in enumerate(gradients, 1):
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        t = 1 if form == "first" else t
        of_m = 1 if form in ("uncorrected", "v alone") else 1 - beta1**t
        of_v = 1 if form in ("uncorrected", "m alone") else 1 - beta2**t
        size = np.sqrt(v / of_v) + eps
        if form == "efficient":                         # eps is added before the correction
            size = (np.sqrt(v) + eps) / np.sqrt(of_v)
        elif form == "inside":
            size = np.sqrt(v / of_v + eps)
        p = p - learning_rate * (np.sign(g) if form == "sign" else m / of_m / size)
        states.append((p, m, v))
    return states


# ---- tokenizer ---------------------------------------------------------------------------------

def check_tokenizer(names):
    merges = {(98, 99): 256, (97, 97): 257, (97, 98): 258, (258, 256): 259, (257, 98): 260}
    rng = random.Random(0)
    for k in range(300):
        if k > 100 and k % 10 == 0:
            merges = random_merges(rng)
        word = bytes(rng.choice(b"abc") for _ in range(k % 4 if k < 12 else rng.randrange(14)))
        want = tuple(word)
        while known := [pair for pair in zip(want, want[1:]) if pair in merges]:
            pair = min(known, key=merges.get)
            want = reference.merge(want, pair, merges[pair])
        got = call(names, "encode_word", word, merges)
        try:
            got = tuple(got)
        except TypeError:
            raise Wrong("encode_word", f"it gives {got!r}, not a list of ids") from None
        if got != want:
            raise Wrong("encode_word", f"{word} became {got}, but should be {want}, with the "
                        f"merges {merges}: the pair that was learnt first is merged first")


def random_merges(rng):
    tokens, merges = [97, 98, 99], {}
    while len(merges) < 8:
        pair = rng.choice(tokens), rng.choice(tokens)
        if pair not in merges:
            merges[pair] = 256 + len(merges)
            tokens.append(merges[pair])
    return merges


# ---- a base and a head ---------------------------------------------------------------------------

KINDS = "last", "max", "mean"


def check_pooling(names):
    rng = np.random.default_rng(0)
    for B, T, C in ((1, 1, 1), (1, 3, 2), (2, 3, 1), (4, 5, 3), (3, 8, 2)):
        for shift in (0, -3, 3):
            x = rng.standard_normal((B, T, C)) + shift
            lengths = rng.integers(1, T + 1, B)
            pooled = call(names, "pool", x, lengths)
            full = np.full(B, T)
            hold("pool", pooled, pool(x, lengths, KINDS), {"x": x, "lengths": lengths}, guesses=[
                ("padding is pooled like text", pool(x, full, KINDS)),
                ("the order is last, largest, mean", pool(x, lengths, ("last", "mean", "max"))),
                ("zeros in the place of padding are larger than what is negative",
                 np.maximum(pool(x, lengths, KINDS), zeros_behind(lengths, T, C)))])


def zeros_behind(lengths, T, C):
    """Return, where a text is padded, 0 as the least of what is largest: (B, 3 C)."""
    least = np.where(lengths < T, 0, -np.inf)                                   # (B,)
    free = np.full((len(lengths), C), -np.inf)
    return np.concatenate([free, np.repeat(least[:, None], C, axis=1), free], axis=1)


CHECKS = {
    "sum_of_paths": Pair(lambda x: x * x, "()->()"),
    "broadcast": Pair(lambda x, bias: x + bias, "(n,m),(m)->(n,m)", batched=()),
    "matmul": Pair(lambda a, b: a @ b, "(m,k),(k,n)->(m,n)", batched=()),
    "relu": Pair(lambda x: relu(x), "()->()", domain={"x": "away_from_zero"}),
    "softmax": Pair(lambda x: softmax(x), "(n)->(n)"),
    "layer_norm": Pair(layer_norm, "(n)->(n)", domain={"x": "spread"}),
    "embedding": Pair(lambda ids, weight: weight[ids], "(t),(v,c)->(t,c)",
                      domain={"ids": "index(v)"}, batched=()),
    "attention": check_attention,
    "batch": check_batch,
    "training": check_training,
    "adam": check_adam,
    "tokenizer": check_tokenizer,
    "topological_order": check_topological_order,
    "cross_entropy": Pair(lambda logits, targets: cross_entropy(logits, targets),
                          "(t,v),(t)->()", domain={"targets": "index(v)"}, batched=()),
    "mlp": check_mlp,
    "rotary": check_rotary,
    "kv_cache": check_kv_cache,
    "sampling": check_sampling,
    "schedule": check_schedule,
    "pooling": check_pooling,
    "low_rank": Pair(lambda x, a, b: 2.0 * (x @ a.T) @ b.T, "(n,i),(r,i),(o,r)->(n,o)",
                     batched=()),
}
