"""Are values and gradients torch's? Every operation, on generated inputs and special values.

    python benchmarks/torch_values.py [exp softmax ...] [--examples 40] [--seed 0]

Each example runs at the levels reference, parts and fast, the last with kernels from one element
on, in float64 and float32; a few have sides of 255, 256 and 257, at which kernels take over. Then
single elements of one input become special values. Needs torch (extra `bench`).

A difference is relative to the largest element, in a gradient at least to 2, about the largest of
the gradient from above, and in a value of an operation on single numbers to each element.
Float32 is compared with torch's float32 and with its float64 on the same numbers, and must be near
one of them. What is not finite must be so in the same places, infinite with the same sign; in a
gradient inf and nan count as one, and that of an input that is nan itself is not compared (torch's
is 0, g or nan, and differs with the size of the array).
"""
import argparse
import inspect
import sys
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
from results import HELP, verdict

import minigrad
from minigrad import OPS, Tensor, use
from minigrad.kernels.rows import kernels_from
from minigrad.testing import domains
from minigrad.testing.adapters import Subject
from minigrad.testing.strategies import Draw, SizedDraw, make_case

LIMITS = {"float64": 1e-12, "float32": 1e-5}
SPECIAL = [-np.inf, np.inf, np.nan, -0.0, 0.0, 1.0, -1.0, 1e20, -1e20, 1e-20, -40.0, 88.0, 700.0,
           1e200, -1e200, 1e-200]
SIDES = (255, 256, 257)
LARGEST_G = 2.0                                       # about that of a few normal numbers

# ---- the counterparts ------------------------------------------------------------------------
# Names are the parameters of the operation; `arrays` are those of one that takes any number.

THEIRS = {
    "abs": "x.abs()", "add": "x + y", "arcsinh": "x.asinh()", "arctan2": "y.atan2(x)",
    "add_layer_norm": "(x + residual, F.layer_norm(x + residual, x.shape[-1:], gain, bias, eps))",
    "add_rms_norm": "(x + residual, F.rms_norm(x + residual, x.shape[-1:], gain, eps))",
    "attention": "attend(q, k, v, causal, scale, key_lengths, bias, mask)",
    "broadcast_to": "x.broadcast_to(shape)", "cbrt": "x.sign() * x.abs() ** (1 / 3)",
    "clip": "x if min is max else x.clip(min, max)", "concatenate": "torch.cat(arrays, axis)",
    "conv1d": "convolve(torch.cat([before, x], 1).mT, weight, dilation).mT",
    "cos": "x.cos()", "cosh": "x.cosh()",
    "cross_entropy": "surprise(logits, targets, ignore_index, reduction, label_smoothing, weight)",
    "cumsum": "x.flatten().cumsum(0) if axis is None else x.cumsum(axis)", "div": "x / y",
    "einsum": "torch.einsum(subscripts, *arrays)", "elu": "F.elu(x, alpha)",
    "embedding": "F.embedding(ids, weight)", "erf": "x.erf()", "exp": "x.exp()",
    "exp2": "x.exp2()", "expm1": "x.expm1()", "gelu": "F.gelu(x, approximate='tanh')",
    "gru": "gru(x, weight, bias, h0)", "hypot": "x.hypot(y)",
    "index": "x.flatten()[places(x.shape)[key]]",
    "keyed_dropout": "x * kept(key, rate, x)",
    "kl_divergence": "(log_p.exp() * (log_p - log_q)).sum(-1)",
    "layer_norm": "F.layer_norm(x, x.shape[-1:], gain, bias, eps)",
    "leaky_relu": "F.leaky_relu(x, slope)", "linear": "F.linear(x, weight, bias)",
    "linear_cross_entropy": "surprise(F.linear(x, weight), targets, ignore_index, reduction)",
    "exact_gelu": "F.gelu(x)",
    "log": "x.log()", "log10": "x.log10()", "log1p": "x.log1p()", "log2": "x.log2()",
    "log_softmax": "x.log_softmax(axis)", "logaddexp": "x.logaddexp(y)",
    "logsumexp": "x.logsumexp(axes(x, axis), keepdims)", "lstm": "lstm(x, weight, h0, c0)",
    "matmul": "a @ b",
    "max": "x.amax(axes(x, axis), keepdims)", "maximum": "x.maximum(y)",
    "mean": "x.mean(axes(x, axis), keepdims)", "minimum": "x.minimum(y)",
    "mingru": "mingru(x, h0)", "mul": "x * y",
    "neg": "-x",
    "placed_embedding": "F.embedding(ids, weight) + places[start:start + ids.shape[-1]]",
    "pow": "x ** y", "qk_rotary": "turn_heads(qkv, cos, sin, n_value_head, norm, eps)",
    "reciprocal": "x.reciprocal()", "relu": "x.relu()", "relu_squared": "x.relu() ** 2",
    "reshape": "x.reshape(shape)", "rnn": "rnn(x, weight, h0)",
    "rms_norm": "F.rms_norm(x, x.shape[-1:], gain, eps)",
    "rotary": "turn(x, cos, sin, interleaved)", "rsqrt": "x.rsqrt()",
    "scatter": "torch.zeros(int(np.prod(shape)), dtype=g.dtype).index_add(0, "
               "torch.as_tensor(places(shape)[key].copy()).flatten(), g.flatten()).reshape(shape)",
    "self_attention": "self_attend(qkv, n_head, n_kv_head, causal)", "sigmoid": "x.sigmoid()",
    "silu": "F.silu(x)", "sin": "x.sin()", "sinh": "x.sinh()", "softmax": "x.softmax(axis)",
    "softplus": "F.softplus(x, threshold=40.0)", "split": "x.tensor_split(sections, axis)",
    "sqrt": "x.sqrt()", "square": "x.square()",
    "std": "x.std(axes(x, axis), correction=ddof, keepdim=keepdims)", "sub": "x - y",
    "sum": "x.sum(axes(x, axis), keepdims)",
    "swiglu": "F.silu(x.chunk(2, -1)[0]) * x.chunk(2, -1)[1]", "tanh": "x.tanh()",
    "transpose": "x.permute(axes)",
    "var": "x.var(axes(x, axis), correction=ddof, keepdim=keepdims)",
    "where": "torch.where(condition, x, y)"}
COMPOSED = {                                          # functions of one array without `@op`
    "arccos": "x.acos()", "arccosh": "x.acosh()", "arcsin": "x.asin()", "arctan": "x.atan()",
    "arctanh": "x.atanh()", "celu": "F.celu(x)", "clone": "x.clone()",
    "cumprod": "x.flatten().cumprod(0)", "glu": "F.glu(x)",
    "hardshrink": "F.hardshrink(x)", "hardsigmoid": "F.relu6(x + 3) / 6",
    "hardswish": "F.hardswish(x)", "hardtanh": "F.hardtanh(x)", "logsigmoid": "F.logsigmoid(x)",
    "min": "x.amin(axes(x, None))", "mish": "F.mish(x)", "prod": "x.prod()",
    "relu6": "F.relu6(x)", "selu": "F.selu(x)", "softmin": "F.softmin(x, -1)",
    "softshrink": "F.softshrink(x)", "softsign": "F.softsign(x)",
    "sort": "x.sort(stable=True)[0]", "tan": "x.tan()", "tanhshrink": "F.tanhshrink(x)",
    "trace": "x.diagonal(0, 0, 1).sum(-1)", "tril": "x.tril()", "triu": "x.triu()"}
HUGE = "1e+20 -1e+20 1e+200 -1e+200"
WHY = {                                               # labels, dtype: where torch is no measure
    "add_layer_norm": (HUGE, "float64"),              # it subtracts rounded means: -213974 for 0
    "add_rms_norm": (HUGE, "float64"),                # its squares are inf: 0 for 1.7
    "rms_norm": (HUGE, "float64"),
    "qk_rotary": (HUGE, "float64"),                   # the same
    "std": (HUGE, "float64"),                         # the same
    "gelu": (HUGE, "float64"),                        # its slope is nan, ours 0 or 1
    "arccosh": ("-inf -0.0 0.0 -1.0 -1e+20 1e-20 -40.0 -1e+200 1e-200", ""),   # slopes of nan
    "attention": ("nan inf -inf -40.0 88.0 700.0 1e+200 -1e+200", ""),     # large scores have few
    "self_attention": ("nan inf -inf -40.0 88.0 700.0 1e+200 -1e+200", ""),    # digits; hidden nan
    "cbrt": ("-0.0 0.0 1e-200", ""),                  # it has none: sign(x) |x|**(1/3) has no slope
    "cumprod": ("nan -inf inf 1e+200 -1e+200", ""),   # it divides by the elements
    "hardswish": ("-inf -1e+200", ""),                # it multiplies -inf with 0
    "layer_norm": (HUGE, "float64"),
    "pow": ("-inf -0.0 0.0 -1.0 -40.0 -1e+20 -1e+200", ""),   # x <= 0 has no slope in y
    "prod": ("nan -inf inf 1e+200 -1e+200", ""),
    "softsign": ("-inf inf 1e+200 -1e+200", ""),      # it divides inf by inf
}
ROUGH = {"gelu"}                                      # torch's own values far from 0 are rounded
NORMS = {"add_layer_norm", "add_rms_norm", "layer_norm", "rms_norm"}   # of less, rounding is all
CALM = {"attention", "self_attention"}                # products of products: inputs up to 4


def helpers(torch):
    """Return the names that the counterparts use."""
    import torch.nn.functional as F

    def axes(x, axis):
        return tuple(range(x.ndim)) if axis is None else axis

    def surprise(z, t, ignore_index, reduction, label_smoothing=0.0, weight=None):
        t = t.reshape(-1, z.shape[-1]) if t.is_floating_point() else t.flatten()
        weight = None if weight is None else torch.as_tensor(weight, dtype=z.dtype)
        y = F.cross_entropy(z.reshape(-1, z.shape[-1]), t, weight, ignore_index=ignore_index,
                            reduction=reduction, label_smoothing=label_smoothing)
        return y.reshape(z.shape[:-1]) if reduction == "none" else y

    def attend(q, k, v, causal, scale=None, key_lengths=None, bias=None, mask=None):
        T, S = q.shape[2], k.shape[2]
        seen = torch.ones(T, S, dtype=torch.bool)
        seen = seen.tril(S - T) if causal else seen
        if key_lengths is not None:
            seen = seen & (torch.arange(S) < key_lengths.reshape(-1, 1, 1, 1))
        mask = seen if mask is None else seen & torch.as_tensor(mask)
        k, v = (x.repeat_interleave(q.shape[1] // x.shape[1], 1) for x in (k, v))
        scores = q @ k.mT * (q.shape[-1] ** -0.5 if scale is None else scale)
        scores = scores if bias is None else scores + bias
        none = ~mask.any(-1, keepdim=True)            # a query that sees nothing gives zeros
        p = scores.masked_fill(~mask, -torch.inf).masked_fill(none, 0.0).softmax(-1)
        return p.masked_fill(none, 0.0) @ v

    def self_attend(qkv, n_head, n_kv_head, causal):
        G = n_head if n_kv_head is None else n_kv_head
        B, T, C = qkv.shape
        heads = qkv.reshape(B, T, n_head + 2 * G, -1).transpose(1, 2)
        return attend(*heads.split([n_head, G, G], 1), causal).transpose(1, 2).flatten(2)

    def turn(x, cos, sin, interleaved):
        a, b = (x[..., ::2], x[..., 1::2]) if interleaved else x.chunk(2, -1)
        a, b = a * cos - b * sin, a * sin + b * cos
        return torch.stack([a, b], -1).flatten(-2) if interleaved else torch.cat([a, b], -1)

    def turn_heads(qkv, cos, sin, n_value_head, norm, eps):
        D = 2 * cos.shape[-1]
        heads = qkv.reshape(*qkv.shape[:-1], -1, D)   # (B, T, H, D)
        n = heads.shape[-2] - n_value_head
        turned = F.rms_norm(heads[..., :n, :], (D,), eps=eps) if norm else heads[..., :n, :]
        turned = turn(turned, cos[:, None], sin[:, None], False)
        return torch.cat([turned, heads[..., n:, :]], -2).flatten(-2)

    def convolve(u, weight, dilation):
        if weight.ndim == 2:
            return F.conv1d(u, weight.T[:, None], dilation=dilation, groups=u.shape[1])
        return F.conv1d(u, weight.permute(2, 1, 0), dilation=dilation)

    def scan(step, x, *state):
        """Carry a state through (B, T, ...), and stack each part of it over time."""
        steps = [state := step(x[:, t], *state) for t in range(x.shape[1])]
        return [torch.stack(part, 1) for part in zip(*steps)]

    def rnn(x, weight, h0):
        return scan(lambda x, h: [torch.tanh(x + h @ weight.T)], x, h0)[0]

    def lstm(x, weight, h0, c0):
        def step(x, h, c):
            i, f, n, o = (x + h @ weight.T).chunk(4, -1)
            c = f.sigmoid() * c + i.sigmoid() * n.tanh()
            return o.sigmoid() * c.tanh(), c
        return tuple(scan(step, x, h0, c0))

    def gru(x, weight, bias, h0):
        def step(x, h):
            (r, z, n), (of_r, of_z, of_n) = x.chunk(3, -1), (h @ weight.T).chunk(3, -1)
            r, z = (r + of_r).sigmoid(), (z + of_z).sigmoid()
            return [(n + r * (of_n + bias)).tanh().lerp(h, z)]
        return scan(step, x, h0)[0]

    def mingru(x, h0):
        def step(x, h):
            z, n = x.chunk(2, -1)
            return [h.lerp(n, z.sigmoid())]
        return scan(step, x, h0)[0]

    def kept(key, rate, x):
        sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "golden"))
        from torch_cases import mask                  # from whole numbers of Python
        return eval(mask(key, rate, *x.shape), {"torch": torch, "x": x})

    def places(shape):
        return np.arange(int(np.prod(shape))).reshape(shape)

    return {**locals(), "np": np}


# ---- examples --------------------------------------------------------------------------------

class Example(NamedTuple):
    """What a function is called with, the gradient of its outputs, and what is special in it."""
    args: tuple
    params: dict
    g_seed: int
    label: str = ""


def examples_of(name, n, seed):
    """Yield examples of a function: ordinary ones, long ones, and ones with special values."""
    rng = np.random.default_rng([seed, sum(map(ord, name))])
    ordinary = [make_example(name, rng) for _ in range(n)]
    yield from ordinary
    for side in SIDES:
        yield make_example(name, rng, side)
    floats = [e for e in ordinary if any(map(is_float, e.args)) and all(map(np.size, e.args))]
    for value in SPECIAL:
        for e in sorted(floats, key=size_of)[:max(len(floats) // 4, 4)]:
            yield with_special(e, value, rng)


def make_example(name, rng, side=None):
    draw = Draw(rng, rng) if side is None else SizedDraw(rng, side, 0)
    draw.styles = ("normal", "log_scale", "ties")
    seed = int(rng.integers(2**32))
    if name in OPS:
        case = make_case(Subject(OPS[name]), draw, seed)
        while name in NORMS and case.arrays[0].shape[-1:] in ((1,), (2,)):
            case = make_case(Subject(OPS[name]), draw, seed)
        if name in CALM:
            case = case._replace(arrays=[domains.calm(x, "real") for x in case.arrays])
        return Example(tuple(case.arrays), case.params, seed)
    low = 2 if name in ("trace", "tril", "triu") else 1
    x = draw.array(draw.shape(min_dims=low, min_side=1))
    x = np.concatenate([x, x[..., ::-1]], -1) if name == "glu" else x
    if name == "arccosh":
        x = 1.1 + abs(x)
    elif name.startswith("arc") and name != "arctan":
        x = 0.9 * np.tanh(x)
    return Example((x,), {}, seed)


def with_special(example, value, rng):
    """Put a special value into one element of one of the inputs that are floats."""
    places = [i for i, x in enumerate(example.args) if is_float(x) and x.size]
    i = places[rng.integers(len(places))]
    x = example.args[i].copy()
    x.flat[rng.integers(x.size)] = value
    args = (*example.args[:i], x, *example.args[i + 1:])
    return example._replace(args=args, label=f"{value}")


def is_float(x):
    return isinstance(x, np.ndarray) and x.dtype.kind == "f"


def moving(name, example):
    """Return which arguments should receive a gradient."""
    subject = Subject(OPS[name]) if name in OPS else None
    return [i for i, x in enumerate(example.args)
            if is_float(x) and (subject is None or subject.moves(i, x))]


def size_of(example):
    return sum(np.size(x) for x in example.args)


def converted(example, dtype):
    return example._replace(args=tuple(x.astype(dtype) if is_float(x) else x
                                       for x in example.args))


# ---- both sides ------------------------------------------------------------------------------

def outputs_and_gradients(outputs, example, backward):
    """Return [value, ..., gradient of each float input, ...] as arrays."""
    outputs = outputs if isinstance(outputs, tuple | list) else (outputs,)
    outputs = [y for y in outputs if str(y.dtype).startswith(("float", "torch.float"))]
    rng = np.random.default_rng(example.g_seed)
    g = [rng.normal(size=tuple(y.shape)) for y in outputs]
    grads = backward(outputs, g)
    return [np.asarray(y.detach().numpy()) for y in outputs] + [
        None if dx is None else np.asarray(dx) for dx in grads]


def ours(name, example):
    """Run our function forward and backward."""
    moves = moving(name, example)
    inputs = [Tensor(x, requires_grad=i in moves) if isinstance(x, np.ndarray) else x
              for i, x in enumerate(example.args)]

    def backward(outputs, g):
        for y, g_y in zip(outputs, g):
            if y.requires_grad:
                y.backward(g_y.astype(y.dtype), retain_graph=True)
        return [inputs[i].grad for i in moves]
    function = OPS[name] if name in OPS else getattr(minigrad.ops, name)
    return outputs_and_gradients(function(*inputs, **example.params), example, backward)


def theirs(name, example, names):
    """Run torch's function forward and backward."""
    torch = names["torch"]
    args = [torch.from_numpy(np.array(x)) if isinstance(x, np.ndarray) else x
            for x in example.args]
    inputs = [args[i].requires_grad_() for i in moving(name, example)]
    if name in OPS:
        bound = inspect.signature(OPS[name].forward).bind(*args, **example.params)
        bound.apply_defaults()
        given = dict(bound.arguments)
        if isinstance(given.get("key_lengths"), np.ndarray):
            given["key_lengths"] = torch.from_numpy(given["key_lengths"])
    else:
        given = {"x": args[0]}
    out = eval(THEIRS.get(name) or COMPOSED[name], names, given)

    def backward(outputs, g):
        g = [torch.from_numpy(np.array(part)).to(y.dtype) for part, y in zip(g, outputs)]
        torch.autograd.backward([y for y in outputs], g)
        return [np.zeros(x.shape, np.float64) if x.grad is None else x.grad.numpy()
                for x in inputs]
    return outputs_and_gradients(out, example, backward)


def difference(found, expected, floor=None, each=False):
    """Return the largest difference, relative to the largest element, or to each.

    With a `floor`, which the size of an element counts as at least, it is one of gradients.
    """
    if (found is None) != (expected is None) or np.shape(found) != np.shape(expected):
        return np.inf
    finite = np.isfinite(expected)
    x, y = found[~finite], expected[~finite]
    alike = (x == y) | (np.isnan(x) & np.isnan(y))
    if floor is not None:
        alike |= ~np.isfinite(x) & (np.isnan(x) | np.isnan(y))
    if not alike.all() or not np.isfinite(found[finite]).all():
        return np.inf
    x, y = found[finite].astype(float), expected[finite].astype(float)
    size = np.abs(y) if each else np.abs(y).max(initial=floor or 0)
    with np.errstate(all="ignore"):
        gap = np.abs(x - y) / np.maximum(size, np.finfo(np.float32).tiny)
    return float(gap.max(initial=0))


def compare(name, example, names, each):
    """Yield (difference, dtype, level, ours, theirs) for every dtype and level."""
    for dtype in ("float64", "float32"):
        narrow = converted(example, dtype)
        answers = [theirs(name, narrow, names)]
        if dtype == "float32":
            answers.append([None if x is None else x.astype("float32") for x in theirs(
                name, converted(narrow, "float64"), names)])
        for level in ("reference", "parts", "fast", "fast by size"):
            with use(level.split()[0]), kernels_from(256 if "size" in level else 1):
                found = ours(name, narrow)
            inputs = [narrow.args[i] for i in moving(name, narrow)]
            gaps = [list(gaps_of(found, answer, inputs, each)) for answer in answers]
            yield max(map(min, zip(*gaps)), default=0.0), dtype, level, found, answers[0]


def gaps_of(found, expected, inputs, each):
    """Yield the differences of values, then of gradients, but of those of inputs that are nan."""
    n = len(expected) - len(inputs)
    for i, (x, y) in enumerate(zip(found, expected, strict=True)):
        if i < n:
            yield difference(x, y, each=each)
            continue
        if np.shape(x) == np.shape(y) == inputs[i - n].shape:
            is_number = ~np.isnan(inputs[i - n])
            x, y = x[is_number], y[is_number]
        yield difference(x, y, LARGEST_G)


# ---- the report ------------------------------------------------------------------------------

def examine(name, n, seed, names):
    """Compare one function; return (examples, skipped, largest by dtype, the smallest failures)."""
    each = name in OPS and OPS[name].signature == "()->()" and name not in ROUGH
    count, skipped, largest, failures = 0, 0, dict.fromkeys(LIMITS, 0.0), {}
    for example in examples_of(name, n, seed):
        try:
            theirs(name, example, names)
        except Exception:                             # torch has no answer, as for empty rows
            skipped += 1
            continue
        count += 1
        try:
            found = list(compare(name, example, names, each))
        except Exception as error:
            found = [(np.inf, "float64", "any", f"{type(error).__name__}: {error}", "an answer")]
        for gap, dtype, level, x, y in found:
            labels, only = WHY.get(name, ("", ""))
            if example.label in labels.split() and only in dtype:
                continue
            largest[dtype] = max(largest[dtype], gap)
            if gap > LIMITS[dtype]:
                note_failure(failures, (dtype, example.label), example, level, gap, x, y)
    return count, skipped, largest, failures


def note_failure(failures, kind, example, level, gap, x, y):
    """Keep the smallest example of a kind, with all levels at which it differs."""
    before = failures.get(kind)
    if before and before[0] is example:
        before[1].append(level)
    elif not before or size_of(example) < size_of(before[0]):
        failures[kind] = example, [level], gap, x, y


def write_failure(kind, failure):
    dtype, label = kind
    example, levels, gap, x, y = failure
    shown = ", ".join(map(short, example.args))
    print(f"    {dtype}{f', with {label}' * bool(label)}: {gap:.2g} for ({shown}) "
          f"{example.params or ''} at {', '.join(levels)}")
    print(f"        ours {x if isinstance(x, str) else ', '.join(map(short, x))}")
    print(f"        torch {y if isinstance(y, str) else ', '.join(map(short, y))}")


def short(x):
    """Write an array in a line, a long one by its shape."""
    if isinstance(x, np.ndarray):
        return (f"<{x.shape}>" if x.size > 16 else
                " ".join(np.array2string(x, precision=6, separator=", ").split()))
    return repr(x)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0], epilog=HELP)
    parser.add_argument("names", nargs="*", metavar="NAME", help="all unless given")
    parser.add_argument("--examples", type=int, default=40, metavar="N")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--failures", type=int, default=4, metavar="N", help="shown for each")
    options = parser.parse_args()
    try:
        import torch
    except ImportError:
        parser.error("torch is needed: python -m pip install torch")
    names, all_names = helpers(torch), [*sorted(OPS), *sorted(COMPOSED)]
    unknown = [name for name in options.names if name not in all_names]
    if unknown:
        parser.error(f"{unknown[0]} has no counterpart here; there are {', '.join(all_names)}")
    good, chosen = 0, options.names or all_names
    for name in chosen:
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            count, skipped, largest, failures = examine(name, options.examples, options.seed,
                                                        names)
        good += not failures and count > 0
        print(f"{name}: {count} examples{f' ({skipped} without an answer)' * bool(skipped)}, "
              f"float64 {largest['float64']:.1e}, float32 {largest['float32']:.1e}, "
              f"{'ok' if not failures else 'short'}", flush=True)
        for kind, failure in [*failures.items()][:options.failures]:
            write_failure(kind, failure)
    ratio = good / len(chosen)
    print()
    verdict("equal_to_torch", ratio, 1)
    return 0 if ratio == 1 else 1


if __name__ == "__main__":
    sys.exit(main())
