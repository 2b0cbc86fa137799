"""What is computed both here and by torch: expressions, and the arrays they are given.

`make_torch_values.py` evaluates the second column, with torch, and keeps values and gradients;
tests/minigrad/test_torch_values.py evaluates the first one. No case draws random numbers from a
stream that a library may change.
"""
import numpy as np

CASES = {}                                            # name -> (ours, theirs, inputs)
INF = np.inf


def case(ours, theirs=None, label="", **inputs):
    """Add one case; without a second expression, torch's is the same as ours."""
    name = f"{ours} [{label}]" if label else ours
    assert name not in CASES, name
    inputs = {k: v if isinstance(v, np.ndarray) else np.asarray(v) for k, v in inputs.items()}
    CASES[name] = ours, theirs or ours, inputs


def upstream(shape):
    """Make the gradient that comes from above: no two elements alike."""
    size = int(np.prod(shape))
    return (np.linspace(-1.3, 0.9, size) if size > 1 else np.full(size, 0.7)).reshape(shape)


def real(*shape, seed=0, low=-2.3, high=2.9):
    """Make distinct numbers on a grid, shuffled: the same on every machine."""
    size = int(np.prod(shape))
    grid = low + (high - low) * (np.arange(size) + 0.375) / max(size, 1)
    return grid[np.random.RandomState(seed + size).permutation(size)].reshape(shape)


def positive(*shape, seed=0):
    return real(*shape, seed=seed, low=0.25, high=3.25)


def layouts(make):
    """Yield (label, array) for the shapes and memory layouts that trip implementations."""
    yield "0-d", make()
    yield "empty", make(0)
    yield "empty matrix", make(2, 0, 3)
    yield "size 1", make(1, 1)
    yield "matrix", make(3, 5)
    yield "negative strides", make(6, 8)[::-2, ::-3]
    yield "transposed", make(4, 2).T
    yield "zero stride", np.broadcast_to(make(3), (2, 3))


# ---- elementwise -----------------------------------------------------------------------------

EXTREMES = np.array([-0.0, 0.0, 1e-9, -1e-9, 1.0, -1.0, 19.0, -19.0, 800.0, -800.0, 1e4, -1e4])
BEYOND = np.array([INF, -INF])
ANYWHERE = {
    "-x": None, "exp(x)": "x.exp()", "tanh(x)": "x.tanh()", "sigmoid(x)": "x.sigmoid()",
    "relu(x)": "x.relu()", "relu_squared(x)": "x.relu() ** 2", "silu(x)": "F.silu(x)",
    "gelu(x)": "F.gelu(x, approximate='tanh')", "x.abs()": None, "abs(x)": None, "x.sin()": None,
    "x.cos()": None, "x.erf()": None, "softplus(x)": "F.softplus(x)", "x.square()": None,
    "x.exp2()": None, "leaky_relu(x)": "F.leaky_relu(x)",
    "leaky_relu(x, slope=0.2)": "F.leaky_relu(x, 0.2)", "elu(x)": "F.elu(x)",
    "elu(x, alpha=0.5)": "F.elu(x, 0.5)", "x.clip(-1.0, 1.0)": None, "x.clip(max=0.5)": None,
    "x.clip(min=0.0)": None, "x ** 2": None, "x ** 3": None, "x ** 1": None, "x ** 0": None,
    "x + 1": None, "1 - x": None, "x - 0.5": None, "3 * x": None, "x / 4": None, "2.0 ** x": None,
    "x.sign() * x": None, "x.floor() * x": None, "x.ceil() * x": None, "x.round() * x": None,
    "x * (x > 0.1)": None, "x[x >= 0.1]": None, "x[(x < 0.1) | ~(x <= 1.0)]": None,
    "x[(x != 0.5) & (x == x)]": None, "x.masked_fill(x > 0, -7.0)": None}
POSITIVE = {
    "x.log()": None, "x.sqrt()": None, "x.log2()": None, "x.rsqrt()": None, "x.reciprocal()": None,
    "x ** 0.5": None, "x ** -1": None, "x ** -1.5": None, "1 / x": None}

for ours, theirs in ANYWHERE.items():
    for label, x in layouts(real):
        case(ours, theirs, label, x=x)
for ours, theirs in POSITIVE.items():
    for label, x in layouts(positive):
        case(ours, theirs, label, x=x)
for ours, theirs in {**ANYWHERE, **POSITIVE}.items():
    if "softplus" not in ours:                        # torch's is x itself beyond 20
        case(ours, theirs, "extremes", x=EXTREMES[1:] if ours == "x ** 0.5" else EXTREMES)
    if ours not in ("gelu(x)", "silu(x)", "relu_squared(x)") and "*" not in ours:
        case(ours, theirs, "beyond", x=BEYOND)

for label, x in [("vector", real(6)), ("matrix", real(3, 4)), ("three axes", real(2, 3, 8)),
                 ("empty", real(0, 4)), ("no features", real(3, 0)), ("extremes", EXTREMES),
                 ("negative strides", real(6, 8)[::-2, ::-2]), ("transposed", real(4, 3).T),
                 ("of a kernel's size", real(7, 70))]:
    case("swiglu(x)", "F.silu(x.chunk(2, -1)[0]) * x.chunk(2, -1)[1]", label, x=x)

SHAPE_PAIRS = [((), ()), ((3,), ()), ((), (2, 3)), ((2, 3), (3,)), ((3,), (2, 3)),
               ((2, 1), (1, 3)), ((1,), (2, 3)), ((2, 3), (1, 1)), ((2, 1, 3), (4, 1)),
               ((4, 1), (2, 1, 3)), ((0,), (1,)), ((1, 1), (2, 0)), ((2, 0), (2, 1)), ((1,), ())]
for ours, theirs in {
        "x + y": None, "x - y": None, "x * y": None, "x / y": None, "x ** y": None,
        "maximum(x, y)": "torch.maximum(x, y)", "minimum(x, y)": "torch.minimum(x, y)"}.items():
    for a, b in SHAPE_PAIRS:
        case(ours, theirs, f"{a} {b}", x=positive(*a), y=positive(*b, seed=1) - 0.125)
    case(ours, theirs, "negative strides", x=positive(4, 6)[::-1, ::-2], y=positive(2, 4).T[:, :1])
for name in ("maximum", "minimum"):
    case(f"{name}(x, y)", f"torch.{name}(x, y)", "ties", x=[1.0, 2.0, 3.0], y=[1.0, 3.0, 2.0])
    case(f"{name}(x, x)", f"torch.{name}(x, x)", "itself", x=real(3))
case("x / y", label="by zero", x=[1.0, -1.0, 0.0], y=[0.0, 0.0, 0.0])
case("x ** y", label="zero base", x=[0.0, 0.0, 0.0], y=[0.0, 1.0, 2.0])
case("x * x + x", label="used three times", x=real(2, 3))

for shapes in [((2, 3), (2, 3), (2, 3)), ((3,), (2, 1), ()), ((), (2, 3), (3,)),
               ((2, 1), (1, 3), (2, 3)), ((0, 1), (1, 2), (1,))]:
    c, a, b = shapes
    case("where(c, x, y)", "torch.where(c, x, y)", str(shapes), c=real(*c) > 0, x=real(*a),
         y=real(*b, seed=1))
case("where(c, x, 0.0)", "torch.where(c, x, 0.0)", x=real(2, 2), c=[True, False])


# ---- shapes and places -----------------------------------------------------------------------

for label, x in layouts(real):
    for ours, theirs in {"x.reshape(-1)": None, "x.T": "x.permute(tuple(range(x.ndim))[::-1])",
                         "x.flatten()": None, "x.squeeze()": None, "x.unsqueeze(-1)": None,
                         "x.flip()": "x.flip(tuple(range(x.ndim)))", "x.expand(2, *x.shape)": None,
                         "broadcast_to(x, (2, *x.shape))": "x.broadcast_to((2, *x.shape))",
                         "x.tile((2, 3))": "x.tile((2, 3))",
                         "x.pad(2, 0.5)": "F.pad(x, (2, 2) * x.ndim, value=0.5)"}.items():
        case(ours, theirs, label, x=x)

X = real(3, 4, 5)[:, ::-1]
for ours, theirs in {
        "x.reshape(4, -1, 3)": None, "x.view(2, 30)": "x.reshape(2, 30)",
        "x.transpose(1, 2, 0)": "x.permute(1, 2, 0)", "x.permute(-1, 0, 1)": None,
        "x.swapaxes(0, -1)": None, "x.mT": None, "x.expand(2, -1, 4, -1)": None,
        "x.flatten(1)": None, "x.flatten(0, 1)": None, "x.flatten(1, 1)": None,
        "x.unsqueeze(1)": None, "x.unsqueeze(0).squeeze(0)": None, "x.flip(1)": "x.flip(1)",
        "x.flip((0, -1))": None, "x.tril()": None, "x.tril(-1)": None, "x.triu(1)": None,
        "x.triu()": None, "x.tril(10)": None,
        "x.pad(((1, 0), (0, 2), (1, 1)))": "F.pad(x, (1, 1, 0, 2, 1, 0))",
        "x.pad(((0, 0), (0, 0), (2, 0)), -inf)": "F.pad(x, (2, 0), value=-torch.inf)",
        "x.chunk(2, 1)": None, "x.chunk(3, 2)": None, "x.chunk(4, 2)": None, "x.chunk(7)": None,
        "x.split([1, 3], 1)": "x.tensor_split([1, 3], 1)", "x.split(2, 1)": "x.chunk(2, 1)",
        "x.repeat(2, 1)": "x.repeat_interleave(2, 1)", "x.repeat(3)": "x.repeat_interleave(3)",
        "x.repeat([2, 0, 1], 0)": "x.repeat_interleave(torch.tensor([2, 0, 1]), 0)",
        "x.tile((2, 1, 3))": None, "x.tile((2,))": None, "x.tile((2, 1, 1, 1))": None,
        "x[0]": None, "x[-1, 2]": None, "x[1, 2, 3]": None, "x[...]": None, "x[..., 0]": None,
        "x[:, None, 1:]": None, "x[1:1]": None, "x[:, :, ::2]": None, "x[[0, 2, 0, 0]]": None,
        "x[..., ::-1]": "x.flip(-1)",
        "x[[[0, 1], [1, 1]], [2]]": None, "x[:, [1, 1], [0, 0]]": None,
        "x[[0, 0], :, [1, 1]]": None,
        "x[x > 0]": None, "x[[True, False, True]]": None, "x[0, [-1, -1, 0]]": None,
        "concatenate([x, x, x[:0]], 1 - 1)": "torch.cat([x, x, x[:0]], 0)",
        "concatenate([x[:, :1], x, x], -2)": "torch.cat([x[:, :1], x, x], -2)",
        "stack([x, 2 * x], -1)": "torch.stack([x, 2 * x], -1)",
        "stack([x[0], x[0]])": "torch.stack([x[0], x[0]])",
        "sum(stack([row * row for row in x]))": "sum(row * row for row in x).sum()"}.items():
    case(ours, theirs, x=X)
case("x.gather(1, ids)", x=X[..., 0], ids=[[0, 0, 3], [2, 2, 2]])
case("x.gather(-1, ids)", label="3-d", x=X, ids=np.zeros((3, 2, 2), np.int64) + [[0], [4]])
case("x.gather(0, ids)", label="empty", x=X[0], ids=np.zeros((0, 2), np.int64))
case("x.masked_fill(mask, -inf)", "x.masked_fill(mask, -torch.inf)", x=real(2, 3),
     mask=[[True, False, True]])
case("x.astype(np.float32)", "x.to(torch.float32)", x=real(2, 3))
case("x.astype(np.float32).exp()", "x.to(torch.float32).exp()", x=real(2, 3))


# ---- reductions and scans --------------------------------------------------------------------

REDUCTIONS = {                                        # ours -> theirs with all axes, with some
    "sum": ("x.sum()", "x.sum({0}, {1})"), "mean": ("x.mean()", "x.mean({0}, {1})"),
    "max": ("x.amax()", "x.amax({0}, {1})"), "min": ("x.amin()", "x.amin({0}, {1})"),
    "logsumexp": ("x.logsumexp(tuple(range(x.ndim)))", "x.logsumexp({0}, {1})"),
    "var": ("x.var(correction=0)", "x.var({0}, correction=0, keepdim={1})"),
    "std": ("x.std(correction=0)", "x.std({0}, correction=0, keepdim={1})")}
for name, (everything, some) in REDUCTIONS.items():
    for label, x in layouts(real):
        if x.size or name in ("sum", "logsumexp"):
            case(f"x.{name}()", everything, label, x=x)
    for axis in (0, 1, -1, (0, 2), (0, 1, 2)):
        for keepdims in (False, True):
            case(f"x.{name}({axis}, keepdims={keepdims})", some.format(axis, keepdims), x=X)
    case(f"x.{name}(1)", some.format(1, False), "size 1", x=real(3, 1))
    case(f"x.{name}(1)", some.format(1, False), "no rows", x=real(0, 3))
    case(f"x.{name}(1)", some.format(1, False), "equal", x=np.ones((2, 3)))
case("x.sum(1)", label="empty axis", x=real(3, 0))
case("x.var(1, ddof=1)", "x.var(1)", x=X)
case("x.std(0, ddof=1)", "x.std(0)", x=X)
case("x.prod()", label="0-d", x=2.5)
case("x.prod()", label="empty", x=real(0))
TIES = np.array([[1.0, 3.0, 3.0], [2.0, 2.0, 2.0], [5.0, -1.0, 5.0]])
ZEROS = np.array([[1.0, 0.0, 3.0], [0.0, 0.0, 2.0], [5.0, -1.0, 2.0]])
for ours, theirs in {"x.max(1)": "x.amax(1)", "x.max()": "x.amax()", "x.min(0)": "x.amin(0)",
                     "x.max((0, 1))": "x.amax((0, 1))"}.items():
    case(ours, theirs, "ties", x=TIES)
for ours in ("x.prod()", "x.prod(0)", "x.prod(1)", "x.prod(-1, keepdims=True)"):
    theirs = ours.replace("keepdims", "keepdim")
    case(ours, theirs, "zeros", x=ZEROS)
    case(ours, theirs, x=X[..., 0])
    case(ours, theirs, "size 1", x=real(1, 1))
case("x.prod(1)", label="empty axis", x=real(3, 0))
MASKED = np.array([[1.0, -INF, 3.0, 2.0], [-INF, -INF, -INF, 0.5], [-INF, -INF, -INF, -INF]])
LARGE = np.array([[1e4, -1e4, 1e4 - 1.0], [1e4, 9e3, 0.0], [-1e4, -1e4, -1e4]])
case("x.logsumexp(1)", label="masked", x=MASKED)
case("x.logsumexp(0, keepdims=True)", "x.logsumexp(0, True)", "masked", x=MASKED)
case("x.logsumexp(1)", label="large", x=LARGE)
case("x.logsumexp(1)", label="infinite", x=[[1.0, INF], [2.0, 3.0]])
case("x.max(1)", "x.amax(1)", "masked", x=MASKED)
for axis in (0, 1, -1):
    case(f"x.cumsum({axis})", label="3-d", x=X)
case("x.cumsum()", "x.flatten().cumsum(0)", x=X)
case("x.cumsum(0)", label="empty", x=real(0))
for ours in ("x.argmax()", "x.argmax(1)", "x.argmin(0)", "x.argmax(1, keepdims=True)",
             "x.argmin()", "x.any()", "x.any(1)", "x.all()", "x.all(0)", "(x == x.max()).sum()",
             "x.sign()", "x.floor()", "x.ceil()", "x.round()", "x > 1", "1 >= x", "x != 2"):
    case(ours, f"({ours.replace('keepdims', 'keepdim')}).detach()", "no gradient", x=TIES - 1.5)
case("x.round(decimals=1)", "x.round(decimals=1).detach()", "no gradient",
     x=[0.25, 0.35, -1.75, 12.3456])


# ---- products --------------------------------------------------------------------------------

for a, b in [((3,), (3,)), ((2, 3), (3,)), ((3,), (3, 4)), ((2, 3), (3, 4)), ((5, 2, 3), (3, 4)),
             ((2, 3), (5, 3, 4)), ((5, 1, 2, 3), (4, 3, 2)), ((1, 2, 3), (5, 3, 2)),
             ((5, 2, 3), (3,)), ((3,), (5, 3, 2)), ((2, 0), (0, 3)), ((0, 3), (3, 2)),
             ((0, 2, 3), (3, 2)), ((1, 1), (1, 1)), ((1,), (1, 1)), ((0,), (0,))]:
    case("x @ y", label=f"{a} {b}", x=real(*a), y=real(*b, seed=1))
case("x @ y", label="negative strides", x=real(4, 6)[::-1, ::2], y=real(2, 3).T)
case("x @ x", label="itself", x=real(3, 3))
for a, b in [((3,), (3,)), ((2, 3), (3,)), ((2, 3), (3, 4)), ((2, 3), (5, 3, 4)), ((3,), (5, 3, 2)),
             ((2, 4, 3), (5, 2, 3, 2)), ((2, 0), (3, 0, 4))]:
    theirs = "torch.tensordot(x, y, ([-1], [-2]))" if len(b) > 1 else "x @ y"
    case("x.dot(y)", theirs, f"{a} {b}", x=real(*a), y=real(*b, seed=1))
for a in [(3,), (2, 3), (2, 4, 3), (0, 3), (1, 3)]:
    case("linear(x, w, b)", "F.linear(x, w, b)", str(a), x=real(*a), w=real(4, 3), b=real(4))
    case("linear(x, w)", "F.linear(x, w)", str(a), x=real(*a), w=real(4, 3))
case("linear(x, w, b)", "F.linear(x, w, b)", "strides", x=real(6, 3)[::-2], w=real(3, 4).T,
     b=real(8)[::2])
for subscripts, *shapes in [
        ("ij,jk->ik", (2, 3), (3, 4)), ("ij,jk", (2, 3), (3, 4)), ("bij,bjk->bik", (2, 3, 4),
        (2, 4, 2)), ("i,i->", (3,), (3,)), ("i,j->ij", (2,), (3,)), ("ij->ji", (2, 3)),
        ("ij->", (2, 3)), ("ij->j", (2, 3)), ("ji", (2, 3)), ("ii->i", (3, 3)), ("ii", (3, 3)),
        ("iji->j", (2, 3, 2)), ("ii,i->i", (3, 3), (3,)), ("...ij,...jk->...ik", (5, 1, 2, 3),
        (4, 3, 2)), ("...i,i->...", (2, 3), (3,)), ("bhtd,bhsd->bhts", (2, 3, 4, 5),
        (2, 3, 1, 5)), ("ij,kj,kl->il", (2, 3), (4, 3), (4, 2)), ("i,i->i", (3,), (1,)),
        ("ij,jk->ik", (2, 0), (0, 3)), ("ij,k->i", (2, 3), (4,)), ("->", ()),
        ("b...,b...->b", (2, 3, 4), (2, 3, 1)), ("i...,...i", (2, 3), (3, 2)),
        ("i j -> j", (2, 3))]:
    arrays = {name: real(*shape, seed=i) for i, (name, shape) in enumerate(zip("xyz", shapes))}
    case(f"einsum('{subscripts}', {', '.join(arrays)})",
         f"torch.einsum('{subscripts}', {', '.join(arrays)})", str(shapes), **arrays)


# ---- softmax, norms, attention ---------------------------------------------------------------

for name in ("softmax", "log_softmax"):
    for label, x in layouts(real):
        case(f"x.{name}()", f"x.{name}(-1)", label, x=x)
    for axis in (0, 1):
        case(f"x.{name}(axis={axis})", f"x.{name}({axis})", x=X)
    for label, x in {"masked": MASKED[:2], "all masked": MASKED, "large": LARGE,
                     "one": [[3.0]]}.items():
        case(f"x.{name}()", f"x.{name}(-1)", label, x=x)

for label, x in {**dict(layouts(real)), "3-d": X, "equal": np.ones((2, 3)),
                 "large": 1e4 * X}.items():
    if x.ndim and x.size:
        n = x.shape[-1]
        weights = {"gain": real(n, seed=3), "bias": real(n, seed=4)}
        case("layer_norm(x, gain, bias)", "F.layer_norm(x, x.shape[-1:], gain, bias)", label, x=x,
             **weights)
        case("layer_norm(x)", "F.layer_norm(x, x.shape[-1:])", label, x=x)
        case("layer_norm(x, gain, eps=0.1)", "F.layer_norm(x, x.shape[-1:], gain, eps=0.1)", label,
             x=x, gain=weights["gain"])
        case("rms_norm(x, gain)", "F.rms_norm(x, x.shape[-1:], gain, eps=1e-5)", label, x=x,
             gain=weights["gain"])
        case("rms_norm(x, eps=0.1)", "F.rms_norm(x, x.shape[-1:], eps=0.1)", label, x=x)
        r = real(*x.shape, seed=5)
        case("add_layer_norm(x, r, gain, bias)",
             "(x + r, F.layer_norm(x + r, x.shape[-1:], gain, bias))", label, x=x, r=r, **weights)
        case("add_rms_norm(x, r, gain)", "(x + r, F.rms_norm(x + r, x.shape[-1:], gain, eps=1e-5))",
             label, x=x, r=r, gain=weights["gain"])
case("layer_norm(x, gain, bias)", "F.layer_norm(x, (3,), gain, bias)", "no rows", x=real(0, 3),
     gain=real(3), bias=real(3))
case("rms_norm(x, gain)", "F.rms_norm(x, (3,), gain, eps=1e-5)", "no rows", x=real(0, 3),
     gain=real(3))

SDPA = "F.scaled_dot_product_attention"
QKV = {name: real(2, 4, 3, 6, seed=i) for i, name in enumerate("qkv")}
ONE_HEAD = {"q": QKV["q"], "k": QKV["k"][:, :1], "v": QKV["v"][:, :1]}
TWO_HEADS = {"q": QKV["q"], "k": QKV["k"][:, ::-2], "v": QKV["v"][:, ::-2]}
LONGER = {"q": QKV["q"], "k": real(2, 4, 5, 6, seed=3), "v": real(2, 4, 5, 6, seed=4)}
case("attention(q, k, v)", f"{SDPA}(q, k, v, is_causal=True)", **QKV)
case("attention(q, k, v, causal=False)", f"{SDPA}(q, k, v)", **QKV)
case("attention(q, k, v, causal=False, scale=0.3)", f"{SDPA}(q, k, v, scale=0.3)", **QKV)
case("attention(300 * q, k, v)", f"{SDPA}(300 * q, k, v, is_causal=True)", **QKV)
for label, arrays in {"one head": ONE_HEAD, "two heads": TWO_HEADS}.items():
    case("attention(q, k, v)", f"{SDPA}(q, k, v, is_causal=True, enable_gqa=True)", label, **arrays)
case("attention(q, k, v)",
     f"{SDPA}(q, k, v, attn_mask=torch.ones(3, 5, dtype=bool).tril(2))", "longer", **LONGER)
case("attention(q, k, v, causal=False)", f"{SDPA}(q, k, v)", "longer", **LONGER)
case("attention(q, k, v, causal=False, key_lengths=np.array([2, 0]))",
     f"{SDPA}(q, k, v, attn_mask=torch.arange(3) < torch.tensor([2, 0]).reshape(2, 1, 1, 1))",
     "a sequence without keys", **QKV)
case("attention(q, k, v, key_lengths=np.array([1, 3]))",
     f"{SDPA}(q, k, v, attn_mask=torch.ones(3, 3, dtype=bool).tril() "
     "& (torch.arange(3) < torch.tensor([1, 3]).reshape(2, 1, 1, 1)))", **QKV)
case("attention(q, k, v)", f"{SDPA}(q, k, v, is_causal=True)", "one position",
     **{name: x[:, :, :1] for name, x in QKV.items()})
SPLIT = "qkv.reshape(2, 5, {n}, 6).transpose(1, 2).split([{h}, {g}, {g}], 1)"
case("self_attention(qkv, 2)", f"{SDPA}(*{SPLIT.format(n=6, h=2, g=2)}, is_causal=True)"
     ".transpose(1, 2).flatten(2)", qkv=real(2, 5, 36))
case("self_attention(qkv, 4, 2, causal=False)",
     f"{SDPA}(*{SPLIT.format(n=8, h=4, g=2)}, enable_gqa=True).transpose(1, 2).flatten(2)",
     qkv=real(2, 5, 48))
case("self_attention(qkv, 2)", f"{SDPA}(*{SPLIT.format(n=6, h=2, g=2)}, is_causal=True)"
     ".transpose(1, 2).flatten(2)", "strides", qkv=real(2, 10, 72)[:, ::-2, ::2])

for label, ids in {"repeated": [0, 2, 2, 0, 2], "0-d": 3, "matrix": [[1, 1], [0, 3]],
                   "empty": np.zeros((2, 0), np.int64), "reversed": np.arange(4)[::-1]}.items():
    case("embedding(ids, w)", "F.embedding(ids, w)", label, ids=ids, w=real(4, 3))
    if np.ndim(ids):
        case("placed_embedding(ids, w, p, start=1)", "F.embedding(ids, w) + p[1:1 + ids.shape[-1]]",
             label, ids=ids, w=real(4, 3), p=real(6, 3, seed=1))
ANGLES = np.stack([np.cos(real(5, 3)), np.sin(real(5, 3))])
case("rotary(x, *angles)", "torch.cat([x[..., :3] * angles[0] - x[..., 3:] * angles[1], "
     "x[..., :3] * angles[1] + x[..., 3:] * angles[0]], -1)", x=real(2, 5, 6),
     angles=ANGLES)
case("rotary(x, *angles, interleaved=True)", "torch.view_as_real(torch.view_as_complex("
     "x.reshape(2, 5, 3, 2)) * torch.complex(angles[0], angles[1])).flatten(-2)", x=real(2, 5, 6),
     angles=ANGLES)
TURNED = ("torch.cat([torch.cat([x[..., :3] * angles[0] - x[..., 3:] * angles[1], "
          "x[..., :3] * angles[1] + x[..., 3:] * angles[0]], -1).transpose(1, 2).flatten(2), "
          "qkv[..., 12:]], -1)")
for label, x in {"": "qkv", "norm": "F.rms_norm(qkv.reshape(2, 5, 3, 6), (6,), eps=1e-5)"}.items():
    heads = f"{x}.reshape(2, 5, 3, 6)[:, :, :2].transpose(1, 2)"
    case(f"qk_rotary(qkv, *angles, 1, norm={bool(label)})",
         f"(x := {heads}, {TURNED})[1]", qkv=real(2, 5, 18), angles=ANGLES)


def mask(key, rate, *shape):
    """Write down what keyed_dropout multiplies with, from whole numbers of Python."""
    dropped, words, size = round(rate * 2 ** 16), [], int(np.prod(shape))
    for i in range(-(-size // 4)):
        z = (key + (i + 1) * 0x9E3779B97F4A7C15) % 2 ** 64
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 % 2 ** 64
        z = (z ^ z >> 27) * 0x94D049BB133111EB % 2 ** 64
        words += [(z ^ z >> 31) >> 16 * j & 0xFFFF for j in range(4)]
    kept = [2 ** 16 / (2 ** 16 - dropped) * (word >= dropped) for word in words[:size]]
    return f"torch.tensor({kept}, dtype=x.dtype).reshape({shape})"

for key, shape in {0: (3, 5), 2 ** 63 - 1: (2, 0, 3), 12345: (17,)}.items():
    case(f"keyed_dropout(x, {key}, 0.25)", f"x * {mask(key, 0.25, *shape)}", x=real(*shape))


# ---- the second tier -------------------------------------------------------------------------

UNIT, ABOVE_1 = real(3, 5) / 3, positive(3, 5) + 1
ON_NUMBERS = {
    "x.expm1()": None, "x.tan()": None, "x.sinh()": None, "x.cosh()": None,
    "x.arctan()": None, "x.arcsinh()": None, "logsigmoid(x)": "F.logsigmoid(x)",
    "relu6(x)": "F.relu6(x)", "hardtanh(x)": "F.hardtanh(x)",
    "hardtanh(x, -0.5, 2.0)": "F.hardtanh(x, -0.5, 2.0)", "hardsigmoid(x)": "F.relu6(x + 3) / 6",
    "hardswish(x)": "F.hardswish(x)", "softsign(x)": "F.softsign(x)", "mish(x)": "F.mish(x)",
    "selu(x)": "F.selu(x)", "celu(x, alpha=0.5)": "F.celu(x, 0.5)", "exact_gelu(x)": "F.gelu(x)",
    "tanhshrink(x)": "F.tanhshrink(x)", "hardshrink(x)": "F.hardshrink(x)",
    "softshrink(x, 0.7)": "F.softshrink(x, 0.7)", "threshold(x, 0.5, -2.0)":
    "F.threshold(x, 0.5, -2.0)", "x.clone()": None, "x.isnan()": "x.isnan()",
    "x.isinf()": None, "x.isfinite()": None, "full_like(x, 2.5)": "torch.full_like(x, 2.5)",
    "zeros_like(x)": "torch.zeros_like(x)", "ones_like(x)": "torch.ones_like(x)"}
for ours, theirs in ON_NUMBERS.items():
    flat = "x.is" in ours or "_like" in ours
    theirs = f"({theirs or ours}).detach()" if flat else theirs
    case(ours, theirs, x=real(3, 5)[:, ::-2])
    case(ours, theirs, "0-d", x=real())
    case(ours, theirs, "empty", x=real(2, 0))
    case(ours, theirs, "extremes", x=EXTREMES)
    if ours not in ("hardswish(x)", "softsign(x)"):   # 0 and 1 for us, nan for torch
        case(ours, theirs, "beyond", x=BEYOND)
for ours, x in {"x.arcsin()": UNIT, "x.arccos()": UNIT, "x.arctanh()": UNIT,
                "x.arccosh()": ABOVE_1, "x.log10()": ABOVE_1, "x.log1p()": ABOVE_1 - 1.5}.items():
    for label, array in {"": x, "0-d": x[0, 0], "empty": x[:0], "border": np.array([1.0]),
                         "inf": BEYOND[:1]}.items():
        if label != "inf" or x is ABOVE_1:
            case(ours, label=label, x=array)
case("x.log1p()", label="extremes", x=[0.0, -0.0, 1e-20, -1e-20, 1e300, -1.0, INF])
case("cbrt(x)", "x.sign() * x.abs() ** (1 / 3)", x=real(3, 5))
for ours in ("hypot", "arctan2", "logaddexp"):
    for a, b in SHAPE_PAIRS[:7]:
        case(f"{ours}(x, y)", f"torch.{ours}(x, y)", f"{a} {b}", x=real(*a), y=real(*b, seed=1))
    case(f"{ours}(x, y)", f"torch.{ours}(x, y)", "extremes", x=[0.0, 1.0, -800.0, 800.0, 1e-9],
         y=[0.0, 0.0, -800.0, 1.0, -1e-9])
case("logaddexp(x, y)", "torch.logaddexp(x, y)", "beyond", x=[-INF, 0.0, INF], y=[1.0, -INF, 0.0])
case("prelu(x, w)", "F.prelu(x, w)", x=real(4, 3), w=real(3, seed=1))
case("glu(x)", "F.glu(x)", x=real(3, 4))
case("glu(x, axis=0)", "F.glu(x, 0)", x=real(4, 3))
case("softmin(x)", "F.softmin(x, -1)", x=real(3, 4))
for ours, theirs in {
        "x.roll(2)": None, "x.roll(-5, 1)": None, "x.roll((1, 2), (0, -1))": None,
        "x.moveaxis(0, -1)": None, "x.moveaxis((0, 1), (1, 2))": None, "x.diagonal()": None,
        "x.diagonal(-1, 1, 2)": None, "x.diagonal(9)": None,
        "x.trace()": "x.diagonal().sum(-1)", "x[0].trace()": None, "x[0].diag()": None,
        "x[0].diag(1)": None, "x[0, 0].diag()": None, "x[0, 0].diag(-2)": None,
        "x.cumprod(1)": None, "x.cumprod()": "x.flatten().cumprod(0)", "x.sort()": "x.sort()[0]",
        "x.sort(1)": "x.sort(1)[0]", "x.sort(None)": "x.flatten().sort()[0]",
        "x.argsort(0)": None, "x.topk(2)[0]": None, "x.topk(3, 1)[1]": None,
        "x.topk(2, 0, largest=False)[0]": None, "x.topk(0)[0]": None,
        "x[0, 0].outer(x[1, 1])": None, "kron(x[0], x[1, :2])": "torch.kron(x[0], x[1, :2])",
        "kron(x[0], x)": "torch.kron(x[0], x)", "cross(x, x * x, 0)":
        "torch.cross(x, x * x, dim=0)",
        "tensordot(x, x[0])": "torch.tensordot(x, x[0])",
        "tensordot(x, x, ((0, 2), (0, 2)))": "torch.tensordot(x, x, ((0, 2), (0, 2)))",
        "tensordot(x[0], x[0], 0)": "torch.tensordot(x[0], x[0], 0)"}.items():
    theirs = f"({theirs or ours}).detach()" if "argsort" in ours or ours[-3:] == "[1]" else theirs
    case(ours, theirs, x=X)
for ours in ("x.cumprod(0)", "x.cumprod(-1)"):
    case(ours, label="zeros", x=ZEROS)
    case(ours, label="empty", x=real(2, 0))
    case(ours, label="size 1", x=real(1, 1))
case("x.sort(1)", "x.sort(stable=True, dim=1)[0]", "ties", x=TIES)
case("one_hot(ids)", "F.one_hot(ids)", ids=[[0, 2], [1, 1]])
case("one_hot(ids, 4)", "F.one_hot(ids, 4)", "0-d", ids=3)


# ---- losses ----------------------------------------------------------------------------------

LOGITS = real(4, 5)
LOSSES = {
    "plain": (LOGITS, [0, 4, 2, 2]), "one ignored": (LOGITS, [0, -100, 2, 2]),
    "all ignored": (LOGITS, [-100] * 4), "one class": (real(3, 1), [0, 0, 0]),
    "one row": (real(1, 5), [3]), "large": (LARGE, [0, 1, 2]), "wrong by 1e4": (LARGE, [1, 2, 0]),
    "masked": (MASKED[:2], [0, 3]), "impossible target": (MASKED[:2], [1, 3]),
    "all masked but ignored": (MASKED, [0, 3, -100]), "negative strides": (real(8, 5)[::-2, ::-1],
                                                                           [1, 1, 4, -100])}
for label, (z, t) in LOSSES.items():
    case("cross_entropy(z, t)", "F.cross_entropy(z, t)", label, z=z, t=t)
case("cross_entropy(z, t, ignore_index=2)", "F.cross_entropy(z, t, ignore_index=2)", z=LOGITS,
     t=[0, 4, 2, 2])
case("cross_entropy(z, t)", "F.cross_entropy(z.flatten(0, 1), t.flatten())", "batches",
     z=real(2, 3, 4), t=[[0, 1, 2], [3, -100, 3]])
case("cross_entropy(z, t)", "F.cross_entropy(z, t)", "one vector", z=real(5), t=2)
for label, t in {"plain": [0, 4, 2, 2], "one ignored": [-100, 4, 2, 2], "none": [-100] * 4}.items():
    case("linear_cross_entropy(x, w, t)", "F.cross_entropy(F.linear(x, w), t)", label,
         x=real(4, 3), w=real(5, 3), t=t)
case("linear_cross_entropy(x, w, t)",
     "F.cross_entropy(F.linear(x, w).flatten(0, 1), t.flatten())", "batches",
     x=real(2, 3, 4), w=real(5, 4), t=[[0, 1, 2], [3, -100, 4]])
for label, a, b in [("rows", (3, 4), (3, 4)), ("one", (4,), (4,)), ("broadcast", (3, 4), (4,)),
                    ("no rows", (0, 4), (4,)), ("size 1", (2, 1), (2, 1))]:
    case("kl_divergence(x.log_softmax(), y.log_softmax())",
         "F.kl_div(y.log_softmax(-1), x.log_softmax(-1), reduction='none', log_target=True)"
         ".sum(-1)", label, x=real(*a), y=real(*b, seed=1))


# ---- losses with options ---------------------------------------------------------------------

WEIGHT = [0.5, 1.0, 0.0, 2.0, 0.25]
OPTIONS = [
    "reduction='mean'", "reduction='sum'", "reduction='none'", "label_smoothing=0.2",
    "label_smoothing=1.0, reduction='none'", "weight=w", "weight=w, reduction='sum'",
    "weight=w, label_smoothing=0.1", "weight=w, label_smoothing=0.1, reduction='none'"]
TARGETS = {"": [0, 4, 2, 3], "one ignored": [-100, 4, 3, 3], "none counts": [-100] * 4}
WANTED = np.array([[0.1, 0.2, 0.3, 0.4, 0.0], [1, 0, 0, 0, 0], [0, 0, 0, 0, 0], [3, -1, 0.5, 0, 1]])
for options in OPTIONS:
    ours = options.replace("=w", f"=np.array({WEIGHT})")
    theirs = options.replace("=w", f"=torch.tensor({WEIGHT}).double()")
    for label, t in TARGETS.items():
        case(f"cross_entropy(z, t, {ours})", f"F.cross_entropy(z, t, {theirs})", label, z=LOGITS,
             t=t)
        if "smoothing" not in options:
            case(f"nll_loss(z, t, {ours})", f"F.nll_loss(z, t, {theirs})", label, z=LOGITS, t=t)
        if "w" not in options and "smoothing" not in options:
            case(f"linear_cross_entropy(x, w, t, {ours})",
                 f"F.cross_entropy(F.linear(x, w), t, {theirs})", label, x=real(4, 3),
                 w=real(5, 3), t=t)
    case(f"cross_entropy(z, q, {ours})", f"F.cross_entropy(z, q, {theirs})", "probabilities",
         z=LOGITS, q=WANTED)
case("cross_entropy(z, q)", "F.cross_entropy(z, q)", "one vector", z=real(5), q=WANTED[0])
case("cross_entropy(z, q)", "F.cross_entropy(z.flatten(0, 1), q.flatten(0, 1))", "batches",
     z=real(2, 2, 5), q=WANTED.reshape(2, 2, 5))
case("cross_entropy(z, t, reduction='none')",
     "F.cross_entropy(z.flatten(0, 1), t.flatten(), reduction='none').reshape(2, 3)", "batches",
     z=real(2, 3, 4), t=[[0, 1, 2], [3, -100, 3]])
case("cross_entropy(z, t, reduction='none')", "F.cross_entropy(z, t, reduction='none')",
     "one vector", z=real(5), t=2)
for label in ("masked", "impossible target", "wrong by 1e4"):
    z, t = LOSSES[label]
    case("cross_entropy(z, t, reduction='none')", "F.cross_entropy(z, t, reduction='none')",
         label, z=z, t=t)
case("nll_loss(z, t, ignore_index=2)", "F.nll_loss(z, t, ignore_index=2)", z=LOGITS,
     t=[0, 4, 2, 2])

TRUTH = np.array([[0.0, 1.0, 0.5, 1.0], [1.0, 0.0, 0.25, 0.0]])
for reduction in ("mean", "sum", "none"):
    for name in ("mse_loss", "l1_loss", "huber_loss", "binary_cross_entropy_with_logits"):
        for label, x in {"": real(2, 4), "large": 300 * real(2, 4)}.items():
            call = f"{name}(x, y, reduction={reduction!r})"
            case(call, f"F.{call}", label, x=x, y=TRUTH)
for label, shape in {"0-d": (), "empty": (0,)}.items():
    for name in ("mse_loss", "l1_loss", "binary_cross_entropy_with_logits"):
        case(f"{name}(x, y)", f"F.{name}(x, y)", label, x=real(*shape), y=positive(*shape) / 4)
case("huber_loss(x, y, delta=0.3)", "F.huber_loss(x, y, delta=0.3)", x=real(2, 4), y=TRUTH)
case(f"binary_cross_entropy_with_logits(x, y, weight=np.array({WEIGHT[:4]}), "
     f"pos_weight=np.array({WEIGHT[1:]}))", "F.binary_cross_entropy_with_logits(x, y, "
     f"weight=torch.tensor({WEIGHT[:4]}).double(), pos_weight=torch.tensor({WEIGHT[1:]}).double())",
     x=real(2, 4), y=TRUTH)


# ---- attention with a mask or a bias ---------------------------------------------------------

MASKS = {"(T, S)": [[True, True, False], [False, False, False], [False, True, True]],
         "keys": [[[[True, False, True]]], [[[False, False, False]]]],
         "all": real(2, 4, 3, 3) > 0}
BIASES = {"(T, S)": real(3, 3), "heads": real(4, 1, 1), "sequences": real(2, 1, 1, 3),
          "full": real(2, 4, 3, 3), "large": 1e4 * real(3, 3),
          "hides": np.array([[0.5, -INF, 1.0], [-INF, -INF, -INF], [2.0, 1.0, -INF]])}
for label, mask_of_own in MASKS.items():
    case("attention(q, k, v, causal=False, mask=m)", f"{SDPA}(q, k, v, attn_mask=m)", label,
         **QKV, m=mask_of_own)
    case("attention(q, k, v, mask=m, scale=0.3)",
         f"{SDPA}(q, k, v, attn_mask=m & torch.ones(3, 3, dtype=bool).tril(), scale=0.3)", label,
         **QKV, m=mask_of_own)
for label, bias in BIASES.items():
    case("attention(q, k, v, bias=b, causal=False)", f"{SDPA}(q, k, v, attn_mask=b)", label, **QKV,
         b=bias)
    case("attention(q, k, v, b)", f"{SDPA}(q, k, v, attn_mask=b.masked_fill("
         "~torch.ones(3, 3, dtype=bool).tril(), -torch.inf))", label, **QKV, b=bias)
case("attention(q, k, v, b, mask=m, causal=False)",
     f"{SDPA}(q, k, v, attn_mask=b.masked_fill(~m, -torch.inf), enable_gqa=True)", **TWO_HEADS,
     b=BIASES["full"], m=MASKS["all"])
case("attention(q, k, v, b, causal=False, key_lengths=np.array([2, 4]))",
     f"{SDPA}(q, k, v, attn_mask=b.masked_fill(torch.arange(5) >= torch.tensor([2, 4])"
     ".reshape(2, 1, 1, 1), -torch.inf))", **LONGER, b=real(3, 5))


# ---- recurrent nets and causal convolution ----------------------------------------------------

STATE = real(2, 3, seed=7)                            # (B, H)
CALL = "False, 1, 0.0, False, False, True)"           # one layer, batches first

def layer(gates, *biases):
    """Make torch's parameters of a layer that takes what the input gives as it is."""
    inputs = f"torch.eye({3 * gates}).double()"
    return f"({inputs}, {', '.join(['weight', *biases])})"

case("rnn(x, weight, h0)", f"torch.rnn_tanh(x, h0[None], {layer(1)}, {CALL}[0]",
     x=real(2, 4, 3), weight=real(3, 3) / 2, h0=STATE)
case("lstm(x, weight, h0, c0)[0]", f"torch.lstm(x, (h0[None], c0[None]), {layer(4)}, {CALL}[0]",
     x=real(2, 4, 12), weight=real(12, 3) / 2, h0=STATE, c0=-STATE)
NONE, HIDDEN = "torch.zeros(9).double()", "torch.cat([torch.zeros(6).double(), bias])"
case("gru(x, weight, bias, h0)",
     f"torch.gru(x, h0[None], {layer(3, NONE, HIDDEN)}, {CALL.replace('False', 'True', 1)}[0]",
     x=real(2, 4, 9), weight=real(9, 3) / 2, bias=real(3), h0=STATE)
FIRST = "h0.lerp(x[:, 0, 3:], x[:, 0, :3].sigmoid())"
case("mingru(x, h0)",
     f"torch.stack([{FIRST}, {FIRST}.lerp(x[:, 1, 3:], x[:, 1, :3].sigmoid())], 1)",
     x=real(2, 2, 6), h0=STATE)
BEHIND = "torch.cat([before, x], 1).mT"
case("conv1d(x, weight, before)", f"F.conv1d({BEHIND}, weight.T[:, None], groups=3).mT",
     x=real(2, 4, 3), weight=real(3, 3), before=real(2, 2, 3))
case("conv1d(x, weight, before, dilation=2)",
     f"F.conv1d({BEHIND}, weight.permute(2, 1, 0), dilation=2).mT",
     x=real(2, 4, 3), weight=real(2, 3, 2), before=real(2, 2, 3))
