"""Cases of what nets are made of: softmax, norms, attention, losses, scans over time."""
import numpy as np
from golden.torch_case import INF, case, layouts, positive, real
from golden.torch_cases_of_arrays import LARGE, MASKED, X

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
FEW = "torch.arange(5) < torch.tensor([2, 5]).reshape(2, 1, 1, 1)"
case("self_attention(qkv, 2, causal=False, key_lengths=np.array([2, 5]))",
     f"{SDPA}(*{SPLIT.format(n=6, h=2, g=2)}, attn_mask={FEW}).transpose(1, 2).flatten(2)",
     qkv=real(2, 5, 36))
LATER = "torch.arange(5) >= torch.tensor([[0, 0, 2, 2, 2], [0, 1, 1, 3, 4]])[:, None, :, None]"
case("self_attention(qkv, 2, first=np.array([[0, 0, 2, 2, 2], [0, 1, 1, 3, 4]]))",
     f"{SDPA}(*{SPLIT.format(n=6, h=2, g=2)}, attn_mask=torch.ones(5, 5, dtype=bool).tril() & "
     f"({LATER})).transpose(1, 2).flatten(2)", qkv=real(2, 5, 36))
Q, KV = (f"{name}.unflatten(2, ({n}, 6)).transpose(1, 2)" for name, n in (("q", 4), ("kv", 4)))
case("cross_attention(q, kv, 4, 2)",
     f"{SDPA}({Q}, *{KV}.chunk(2, 1), enable_gqa=True).transpose(1, 2).flatten(2)",
     q=real(2, 3, 24), kv=real(2, 5, 24, seed=1))
case("cross_attention(q, kv, 4, 2, scale=0.5, key_lengths=np.array([2, 5]))",
     f"{SDPA}({Q}, *{KV}.chunk(2, 1), attn_mask={FEW}, scale=0.5, enable_gqa=True)"
     ".transpose(1, 2).flatten(2)", q=real(2, 3, 24), kv=real(2, 5, 24, seed=1))
TWO, ALL = "x[0, :2]", "x[1]"
case("pool(x, np.array([2, 5]), ['last', 'mean', 'max'])",
     f"torch.stack([torch.cat([t[-1], t.mean(0), t.amax(0)]) for t in ({TWO}, {ALL})])",
     x=real(2, 5, 3))

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


# ---- distillation ----------------------------------------------------------------------------

TEACHER = np.log(np.array([[0.7, 0.1, 0.1, 0.1], [0.4, 0.3, 0.2, 0.1], [0.25, 0.25, 0.25, 0.25]]))
P = f"torch.tensor({TEACHER.tolist()}, dtype=torch.float64)"
for tau in (1.0, 2.0):
    for t in ([0, 2, 3], [-100, 2, 0]):
        counts = [float(x >= 0) for x in t]
        case(f"distillation_loss(z, log_p=np.array({TEACHER.tolist()}), targets=np.array({t}), "
             f"mix=0.6, temperature={tau}, n=2)",
             f"(0.4 * F.cross_entropy(z, torch.tensor({t}), reduction='sum') + 0.6 * {tau} ** 2 * "
             f"(torch.tensor({counts}) * F.kl_div((z / {tau}).log_softmax(-1), {P}, "
             "reduction='none', log_target=True).sum(1)).sum()) / 2", "all named", z=real(3, 4))
        case(f"distillation_loss(z, log_p=np.array({TEACHER[:, :2].tolist()}), "
             f"targets=np.array({t}), ids=np.array([[0, 1]] * 3), mix=0.6, temperature={tau}, n=2)",
             f"(0.4 * F.cross_entropy(z, torch.tensor({t}), reduction='sum') + 0.6 * {tau} ** 2 * "
             f"(torch.tensor({counts}) * F.kl_div(torch.cat([(z / {tau}).log_softmax(-1)[:, :2], "
             f"(z / {tau}).log_softmax(-1)[:, 2:].logsumexp(1, keepdim=True)], 1), torch.cat("
             f"[{P}[:, :2], {P}[:, 2:].logsumexp(1, keepdim=True)], 1), reduction='none', "
             "log_target=True).sum(1)).sum()) / 2", "two named", z=real(3, 4))


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
