"""What torch computes for each operation, and where it is no measure: tables for torch_values.py.

Names are the parameters of the operation; `arrays` are those of one that takes any number.
"""
import sys
from pathlib import Path

import numpy as np

THEIRS = {
    "abs": "x.abs()", "add": "x + y", "arcsinh": "x.asinh()", "arctan2": "y.atan2(x)",
    "add_layer_norm": "(x + residual, F.layer_norm(x + residual, x.shape[-1:], gain, bias, eps))",
    "add_rms_norm": "(x + residual, F.rms_norm(x + residual, x.shape[-1:], gain, eps))",
    "attention": "attend(q, k, v, causal, scale, key_lengths, bias, mask, first)",
    "broadcast_to": "x.broadcast_to(shape)", "cbrt": "x.sign() * x.abs() ** (1 / 3)",
    "clip": "x if min is max else x.clip(min, max)", "concatenate": "torch.cat(arrays, axis)",
    "conv1d": "convolve(torch.cat([before, x], 1).mT, weight, dilation).mT",
    "cos": "x.cos()", "cosh": "x.cosh()",
    "cross_attention": "cross_attend(q, kv, n_head, n_kv_head, scale, key_lengths)",
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
    "pool": "pooled(x, lengths, kinds)", "pow": "x ** y",
    "qk_rotary": "turn_heads(qkv, cos, sin, n_value_head, norm, eps)",
    "reciprocal": "x.reciprocal()", "relu": "x.relu()", "relu_squared": "x.relu() ** 2",
    "reshape": "x.reshape(shape)", "rnn": "rnn(x, weight, h0)",
    "rms_norm": "F.rms_norm(x, x.shape[-1:], gain, eps)",
    "rotary": "turn(x, cos, sin, interleaved)", "rsqrt": "x.rsqrt()",
    "scatter": "torch.zeros(int(np.prod(shape)), dtype=g.dtype).index_add(0, "
               "torch.as_tensor(places(shape)[key].copy()).flatten(), g.flatten()).reshape(shape)",
    "self_attention": "self_attend(qkv, n_head, n_kv_head, causal, scale, key_lengths, first)",
    "sigmoid": "x.sigmoid()",
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
    "cross_attention": ("nan inf -inf -40.0 88.0 700.0 1e+200 -1e+200", ""),
    "pool": ("nan inf -inf", ""),                     # shares of 0 of what is hidden
    "cbrt": ("-0.0 0.0 1e-200", ""),                  # it has none: sign(x) |x|**(1/3) has no slope
    "cumprod": ("nan -inf inf 1e+200 -1e+200", ""),   # it divides by the elements
    "gru": ("inf -inf 1e+200 -1e+200", ""),           # it subtracts inf from inf between states
    "mingru": ("inf -inf 1e+200 -1e+200", ""),        # the same
    "lstm": (HUGE, "float64"),                        # sums of huge products have few digits
    "hardswish": ("-inf -1e+200", ""),                # it multiplies -inf with 0
    "layer_norm": (HUGE, "float64"),
    "pow": ("-inf -0.0 0.0 -1.0 -40.0 -1e+20 -1e+200", ""),   # x <= 0 has no slope in y
    "prod": ("nan -inf inf 1e+200 -1e+200", ""),
    "softsign": ("-inf inf 1e+200 -1e+200", ""),      # it divides inf by inf
}
ROUGH = {"gelu"}                                      # torch's own values far from 0 are rounded
NORMS = {"add_layer_norm", "add_rms_norm", "layer_norm", "rms_norm"}   # of less, rounding is all
CALM = {"attention", "self_attention", "cross_attention",     # products of products: inputs up to 4
        "rnn", "lstm", "gru", "mingru"}


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

    def attend(q, k, v, causal, scale=None, key_lengths=None, bias=None, mask=None, first=None):
        T, S = q.shape[2], k.shape[2]
        seen = torch.ones(T, S, dtype=torch.bool)
        seen = seen.tril(S - T) if causal else seen
        if key_lengths is not None:
            seen = seen & (torch.arange(S) < key_lengths.reshape(-1, 1, 1, 1))
        if first is not None:
            seen = seen & (torch.arange(S) >= first[:, None, :, None])
        mask = seen if mask is None else seen & torch.as_tensor(mask)
        k, v = (x.repeat_interleave(q.shape[1] // x.shape[1], 1) for x in (k, v))
        scores = q @ k.mT * (q.shape[-1] ** -0.5 if scale is None else scale)
        scores = scores if bias is None else scores + bias
        none = ~mask.any(-1, keepdim=True)            # a query that sees nothing gives zeros
        p = scores.masked_fill(~mask, -torch.inf).masked_fill(none, 0.0).softmax(-1)
        return p.masked_fill(none, 0.0) @ v

    def self_attend(qkv, n_head, n_kv_head, causal, scale, key_lengths, first):
        G = n_head if n_kv_head is None else n_kv_head
        B, T, C = qkv.shape
        heads = qkv.reshape(B, T, n_head + 2 * G, -1).transpose(1, 2)
        q, k, v = heads.split([n_head, G, G], 1)
        y = attend(q, k, v, causal, scale, key_lengths, first=first)
        return y.transpose(1, 2).flatten(2)

    def cross_attend(q, kv, n_head, n_kv_head, scale, key_lengths):
        G = n_head if n_kv_head is None else n_kv_head
        q = q.unflatten(2, (n_head, -1)).transpose(1, 2)
        k, v = kv.unflatten(2, (2 * G, -1)).transpose(1, 2).chunk(2, 1)
        return attend(q, k, v, False, scale, key_lengths).transpose(1, 2).flatten(2)

    def pooled(x, lengths, kinds):
        of = {"last": lambda x: x[-1], "mean": lambda x: x.mean(0), "max": lambda x: x.amax(0)}
        none = x[0, 0] * 0
        rows = [torch.cat([of[kind](x[b, :n]) if n else none for kind in kinds])
                for b, n in enumerate(lengths.tolist())]
        return torch.stack(rows)

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
        sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
        from golden.torch_cases import mask                  # from whole numbers of Python
        return eval(mask(key, rate, *x.shape), {"torch": torch, "x": x})

    def places(shape):
        return np.arange(int(np.prod(shape))).reshape(shape)

    return {**locals(), "np": np}
