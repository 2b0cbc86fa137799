"""Cases of operations on arrays: elementwise, shapes, reductions, products."""
import numpy as np
from golden.torch_case import INF, case, layouts, positive, real

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
