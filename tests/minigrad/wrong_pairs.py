"""Backward passes that are wrong in ways seen in real code, as plain pairs for `check_op`."""
import numpy as np

# ---- what is differentiated ------------------------------------------------------------------

def softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True, initial=-np.inf))
    return e / e.sum(axis=-1, keepdims=True)

def softmax_vjp(g, x):
    y = softmax(x)
    return y * (g - (g * y).sum(axis=-1, keepdims=True)),

def plain_softmax(x):
    e = np.exp(x)
    return e / e.sum(axis=-1, keepdims=True)

def normalize(x, eps=1e-5):
    centred = x - x.mean(axis=-1, keepdims=True)
    return centred / np.sqrt((centred * centred).mean(axis=-1, keepdims=True) + eps)

def normalize_vjp(g, x, eps=1e-5, mean=True, projection=True):
    y, centred = normalize(x, eps), x - x.mean(axis=-1, keepdims=True)
    std = np.sqrt((centred * centred).mean(axis=-1, keepdims=True) + eps)
    dx = g - (g * y).mean(axis=-1, keepdims=True) * y * projection
    return (dx - g.mean(axis=-1, keepdims=True) * mean) / std,

def gelu(x):
    return x / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x ** 3)))

def gelu_vjp(g, x, c=0.044715):
    t = np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x ** 3))
    inner = np.sqrt(2 / np.pi) * (1 + 3 * c * x * x)
    return g * ((1 + t) / 2 + x / 2 * (1 - t * t) * inner),

def relu(x):
    return np.maximum(x, 0)

def logsumexp(x):
    m = x.max(axis=-1, keepdims=True, initial=-np.inf)
    return np.log(np.exp(x - m).sum(axis=-1)) + m[..., 0]

def matmul(a, b):
    return a @ b

def summed(g, shape):
    """Sum over the axes along which an array of this shape was stretched."""
    g = g.sum(axis=tuple(range(g.ndim - len(shape))))
    return g.sum(axis=tuple(i for i, n in enumerate(shape) if n == 1), keepdims=True)

def causal_attention(q, k, v):
    scores = np.where(np.tri(*(q @ k.mT).shape[-2:], dtype=bool), q @ k.mT, -np.inf)
    return softmax(scores) @ v

def causal_attention_vjp(g, q, k, v, masked=True):
    scores = q @ k.mT
    if masked:
        scores = np.where(np.tri(*scores.shape[-2:], dtype=bool), scores, -np.inf)
    p = softmax(scores)
    dp = g @ v.mT
    ds = p * (dp - (dp * p).sum(axis=-1, keepdims=True))
    return ds @ k, ds.mT @ q, p.mT @ g

def embedding(ids, w):
    return w[ids]

def nll(x, targets):
    shifted = x - logsumexp(x)[..., None]
    kept = targets >= 0
    picked = np.take_along_axis(shifted, np.where(kept, targets, 0)[..., None], -1)[..., 0]
    return -(picked * kept).sum() / max(kept.sum(), 1)

def nll_vjp(g, x, targets, count=None):
    kept = (targets >= 0)[..., None]
    dx = softmax(x)
    at = np.where(targets >= 0, targets, 0)[..., None]
    np.put_along_axis(dx, at, np.take_along_axis(dx, at, -1) - 1, -1)
    return g * dx * kept / (max(kept.sum(), 1) if count is None else count), None

def draw_nll(draw):
    n, v = draw.side(1, 6), draw.side(1, 6)
    targets = draw.indices((n,), v)
    ignored = draw.array((n,), "mask")
    return (draw.array((n, v)), np.where(ignored, -100, targets)), {}


# ---- the mistakes ----------------------------------------------------------------------------

def spoilt(vjp, change):
    def wrong(g, *arrays):
        return tuple(None if dx is None else change(dx) for dx in vjp(g, *arrays))
    return wrong

def writes_into_g(g, x):
    g *= np.cos(x)
    return g,

def by_memory(g, x):
    g = np.frombuffer(g.tobytes("A"), g.dtype).reshape(g.shape)
    return softmax_vjp(g, x)

def without_tail(g, x):
    dx, n = softmax_vjp(g, x)[0], x.shape[-1]
    dx[..., n - n % 8:] *= n < 8
    return dx,

def assigned(g, ids, w):
    dw = np.zeros_like(w)
    dw[ids] = g
    return None, dw

def not_transposed(g, a, b):
    square = b.shape[-1] == b.shape[-2]
    return g @ (b if square else b.mT), a.mT @ g

def stretched_size_one(g, x, y):
    """Sum over missing axes, but not over those of size 1."""
    def undo(dx, shape):
        dx = dx.sum(axis=tuple(range(dx.ndim - len(shape))))
        return dx if dx.shape == shape else dx[tuple(slice(n) for n in shape)]
    return undo(g, x.shape), undo(g, y.shape)

def first_copy(g, x, y):
    dy = summed(g, y.shape)
    if y.ndim < g.ndim:
        dy = g[(0,) * (g.ndim - y.ndim)][tuple(slice(n) for n in y.shape)]
    return summed(g, x.shape), np.array(dy)

def mean_of_copies(g, x, y):
    dx = summed(g, x.shape)
    return dx * (x.size / max(g.size, 1)), summed(g, y.shape)

def add(x, y):
    return x + y

def shifted(ids, w):
    return w[ids]

ROWS, PAIR = "(n)->(n)", "(),()->()"
MATRIX = ("(m,k),(k,n)->(m,n)", {"batched": ()})
HEADS = ("(t,d),(t,d),(t,d)->(t,d)", {"batched": ()})
TABLE = ("(),(v,c)->(c)", {"domain": {"ids": "index(v)"}, "batched": ("ids",)})

WRONG = [                                              # name, arguments and options of check_op
    (name, (forward, vjp, *([signature] if isinstance(signature, str) else signature[:1])),
     {} if isinstance(signature, str) else signature[1])
    for name, forward, vjp, signature in [
        ("softmax: the row's sum is forgotten", softmax, lambda g, x: (softmax(x) * g,), ROWS),
        ("softmax: only the diagonal", softmax,
         lambda g, x: (softmax(x) * (1 - softmax(x)) * g,), ROWS),
        ("softmax: g is taken in the order of memory", softmax, by_memory, ROWS),
        ("softmax: the last n % 8 are lost", softmax, without_tail, ROWS),
        ("softmax: it overflows", plain_softmax, softmax_vjp, ROWS),
        ("softmax: float32 on the way", softmax, spoilt(
            softmax_vjp, lambda dx: dx.astype(np.float32).astype(dx.dtype)), ROWS),
        ("layer norm: no mean", normalize, lambda g, x: normalize_vjp(g, x, mean=False), ROWS),
        ("layer norm: no projection", normalize,
         lambda g, x: normalize_vjp(g, x, projection=False), ROWS),
        ("layer norm: eps is forgotten", normalize,
         lambda g, x: normalize_vjp(g, x, eps=1e-12), ROWS),
        ("layer norm: a clip is left in", normalize, spoilt(
            normalize_vjp, lambda dx: np.clip(dx, -1, 1)), ROWS),
        ("gelu: another constant", gelu, lambda g, x: gelu_vjp(g, x, 0.044), "()->()"),
        ("gelu: the factor 3 is forgotten", gelu, lambda g, x: gelu_vjp(g, x, 0.044715 / 3),
         "()->()"),
        ("relu: a mask at -1e-3", relu, lambda g, x: (g * (x > -1e-3),), "()->()"),
        ("relu: the mask of g", relu, lambda g, x: (g * (g > 0),), "()->()"),
        ("logsumexp: g is not stretched", logsumexp, lambda g, x: (softmax(x),), "(n)->()"),
        ("logsumexp: it is not normalized", logsumexp, lambda g, x: (
            g[..., None] * np.exp(x - x.max(axis=-1, keepdims=True, initial=-np.inf)),),
         "(n)->()"),
        ("sin: it writes into g", np.sin, writes_into_g, ROWS),
        ("matmul: b for its transpose when square", matmul, not_transposed, MATRIX),
        ("matmul: exchanged when square", matmul, lambda g, a, b: (
            (a.mT @ g, g @ b.mT) if a.shape == b.shape else (g @ b.mT, a.mT @ g)), MATRIX),
        ("add: axes of size 1 are not summed", add, stretched_size_one, PAIR),
        ("add: one of the copies", add, first_copy, PAIR),
        ("add: the mean of the copies", add, mean_of_copies, PAIR),
        ("attention: no mask in the backward pass", causal_attention,
         lambda g, q, k, v: causal_attention_vjp(g, q, k, v, masked=False), HEADS),
        ("attention: dk and dq are exchanged", causal_attention, lambda g, q, k, v: (
            *causal_attention_vjp(g, q, k, v)[1::-1], causal_attention_vjp(g, q, k, v)[2]), HEADS),
        ("embedding: a repeated id overwrites", embedding, assigned, TABLE),
        ("cross-entropy: divided by all targets", nll, lambda g, x, targets: nll_vjp(
            g, x, targets, targets.size), (None, {"inputs": draw_nll})),
        ("cross-entropy: ignored targets count", nll, lambda g, x, targets: (
            g * softmax(x) / max((targets >= 0).sum(), 1) + nll_vjp(g, x, targets)[0] * 0, None),
         (None, {"inputs": draw_nll}))]]
