"""The model for one more token in one compiled call, for generation.

A token takes some 55 operations, and Python needs longer to get from one to the next than memory
needs to deliver the weights. So here the kernels of the same operations call each other: what
`GPT.stream` and `Block` say, for a single position and without gradients.
"""
import numpy as np

from minigrad.kernels import jit, threads
from minigrad.kernels.cache import compiled_before
from minigrad.kernels.jit import helper, kernel
from minigrad.kernels.llvm import widest_vectors
from minigrad.kernels.pieces import array_at
from minigrad.kernels.rows import BLOCK, SMALL
from minigrad.kernels.twins import lanes
from minigrad.mode import mode, no_grad
from minigrad.ops.activations import gelu_kernel, relu_squared_kernel, silu_kernel, swiglu_kernel
from minigrad.ops.attention import QUERIES, attention_kernel, layout_of
from minigrad.ops.linear import few_rows_kernel
from minigrad.ops.norm import normalize_kernel, vector
from minigrad.ops.rotary import qk_rotary_kernel

attend, few_rows, normalize, turn, relu_squared, gelu, silu, swiglu = (k.driver for k in (
    attention_kernel, few_rows_kernel, normalize_kernel, qk_rotary_kernel,
    relu_squared_kernel, gelu_kernel, silu_kernel, swiglu_kernel))
MLPS = "relu_squared", "gelu_tanh", "silu", "swiglu"
RELU_SQUARED, GELU, SILU, SWIGLU = range(4)
EPS = 1e-5                                 # of all norms


def suits(model, cache, may_compile=True):
    """Whether there is such a call for a model and its cache, if need be without compiling it."""
    config, (batch, _, _, D) = model.config, cache.layers[0].k.shape
    return (jit.COMPILED and mode.level == "fast" and batch == 1
            and D % lanes(model.head.dtype) == 0 and config.causal and config.mlp in MLPS
            and config.norm_position == "pre" and config.position != "rotary_interleaved"
            and (may_compile or compiled_before(__file__)))


class OneToken:
    """A model and its cache, to be called for each further token.

    Parameters
    ----------
    model : GPT
        One that `suits`. Its parameters may change, but must stay where they are.
    cache : KVCache
        Of one sequence; it is extended.
    """

    def __init__(self, model, cache):
        config, self.model, self.cache = model.config, model, cache
        H, G, D, T = config.n_head, config.kv_heads, config.d_head, config.context_length
        tokens, dtype = model.token_embedding.weight.data, model.head.dtype
        self.sizes = np.array([H, G, T, config.mlp_width, MLPS.index(config.mlp), config.qk_norm,
                               1 + (config.norm == "layer"), config.embedding_norm])
        self.read = [arrays_of(block, layer) for block, layer in zip(model.blocks, cache.layers)]
        self.places = np.array([[x.ctypes.data for x in arrays] for arrays in self.read])
        self.ends = tokens, *gain_and_bias(model.final_norm, model.head), model.head.data
        self.angles = np.ones((T, D // 2), dtype), np.zeros((T, D // 2), dtype)
        if config.position == "rotary":
            self.angles = model.blocks[0].attention.cos, model.blocks[0].attention.sin
        self.positions = np.zeros((T, config.d_model), dtype)
        if config.position == "learned":
            self.positions = model.position_embedding.weight.data
        if config.position == "sinusoidal":
            self.positions = model.position_table
        q, k = np.empty((1, H, 1, D), dtype), cache.layers[0].k
        self.layout = layout_of((q, k, k, q), k, True, None)

    def __call__(self, ids):
        """Extend the cache by ids, (1, 1), and return the scores of what follows, (1, V)."""
        t, token, V = self.cache.length, ids.item(), len(self.ends[0])
        if not 0 <= token < V:
            raise IndexError(f"the token is {token}, but there are {V}: use 0 to {V - 1}")
        beside = self.positions[t]                                              # (C,)
        if self.model.config.ngram_rows:
            with no_grad():
                beside = beside + self.model.ngram_embedding(ids, self.cache.recent).data[0, 0]
        threads.enter_pool()
        scores = _one_token(threads.n_threads(), self.sizes, self.places, t, token, beside,
                            *self.angles, self.layout, *self.ends)
        self.cache.advance(ids)
        return scores


def arrays_of(block, layer_cache):
    """Return all that a block reads, in the order in which `_one_token` asks for it."""
    like = layer_cache.k
    stream = ((block.keep.data, block.again.data) if "keep" in vars(block)
              else (np.ones((), like.dtype), np.zeros((), like.dtype)))
    attention, mlp = block.attention, block.mlp
    return [*stream, *gain_and_bias(block.norm1, mlp.expand.weight),
            *weight_and_bias(attention.query_key_value), layer_cache.k, layer_cache.v,
            *weight_and_bias(attention.projection), *gain_and_bias(block.norm2, mlp.expand.weight),
            *weight_and_bias(mlp.expand), *weight_and_bias(mlp.projection)]


def weight_and_bias(linear):
    weight = linear.weight.data
    return weight, vector(data_of(linear.bias), len(weight), 0, weight)


def gain_and_bias(norm, weight):
    """Return those of the norm before a weight, (n, C), or what changes nothing."""
    C, weight = weight.shape[1], weight.data
    return vector(data_of(norm.gain), C, 1, weight), vector(data_of(norm.bias), C, 0, weight)


def data_of(x):
    return None if x is None else x.data


# ---- kernels: what differs from layer to layer is given by its address ----

@kernel
def _one_token(n_threads, sizes, places, t, token, beside, cos, sin, layout, tokens, gain, bias,
               head):
    """Return the scores, (1, V), of what follows a token at position t.

    `beside`, (C,), is added to its embedding.
    """
    widest_vectors()
    H, G, T, F, mlp, qk_norm, n_stats, embedding_norm = sizes
    C, D, dtype, threaded = len(beside), 2 * cos.shape[1], beside.dtype, n_threads > 1
    many = threaded and H * D * (t + 1) >= 4 * SMALL            # keys, that threads pay for
    eps, scale = dtype.type(EPS), dtype.type(1) / np.sqrt(dtype.type(D))
    x, x0, y = np.empty((1, C), dtype), np.empty((1, C), dtype), np.empty((1, C), dtype)
    qkv, turned = np.empty((1, H + 2 * G, D), dtype), np.empty((1, H + 2 * G, D), dtype)
    heads, branch = np.empty((1, H * D), dtype), np.zeros((1, C), dtype)
    wide, hidden = np.empty((1, 2 * F if mlp == SWIGLU else F), dtype), np.empty((1, F), dtype)
    work, lse = np.empty((n_threads, (D + t + 3) * QUERIES), dtype), np.empty((1, H, 1), dtype)
    stats, out = np.empty((n_stats, 1), dtype), np.empty((1, len(head)), dtype)
    n, cos, sin = len(x), cos[t:t + 1], sin[t:t + 1]
    layout[3] = layout[-1] = t + 1                                      # how many keys there are
    for j in range(C):
        x0[0, j] = tokens[token, j] + beside[j]
    if embedding_norm:
        normalize(threaded, n, x0, branch, np.ones(C, dtype), branch[0], eps, x, x0, stats[-1:])
    x[:] = x0
    for place in places:
        (keep, again, gain1, bias1, qkv_weight, qkv_bias, keys, values, out_weight, out_bias,
         gain2, bias2, wide_weight, wide_bias, hidden_weight, hidden_bias) = place
        keep, again = array_at(keep, 1, beside)[0], array_at(again, 1, beside)[0]
        for j in range(C):
            x[0, j] = (x[0, j] + branch[0, j]) * keep + x0[0, j] * again
            branch[0, j] = dtype.type(0)

        normalize(threaded, n, x, branch, array_at(gain1, C, beside), array_at(bias1, C, beside),
                  eps, x, y, stats)
        linear(threaded, qkv_weight, qkv_bias, y, qkv.reshape((1, (H + 2 * G) * D)))
        turn(threaded, n, qkv, cos, sin, H + G, qk_norm != 0, eps, turned)
        keys, values = array_at(keys, G * T * D, beside), array_at(values, G * T * D, beside)
        for g in range(G):
            for j in range(D):
                keys[(g * T + t) * D + j] = turned[0, H + g, j]
                values[(g * T + t) * D + j] = turned[0, H + G + g, j]
        attend(many, H, lse, turned.reshape(-1), keys, values, layout, scale, work,
               heads.reshape(-1))
        linear(threaded, out_weight, out_bias, heads, branch)

        normalize(threaded, n, x, branch, array_at(gain2, C, beside), array_at(bias2, C, beside),
                  eps, x, y, stats)
        linear(threaded, wide_weight, wide_bias, y, wide)
        activate(threaded, mlp, wide.reshape(-1), hidden.reshape(-1))
        linear(threaded, hidden_weight, hidden_bias, hidden, branch)
    normalize(threaded, n, x, branch, gain, bias, eps, x, y, stats)
    multiply(threaded, head, y, out)
    return out


@helper
def linear(threaded, weight, bias, x, out):
    """out = x W^T + bias for one row, the weight and the bias being at addresses."""
    n, k, row = out.shape[1], x.shape[1], out.reshape(-1)
    multiply(threaded, array_at(weight, n * k, row).reshape((n, k)), x, out)
    bias = array_at(bias, n, row)
    for j in range(n):
        row[j] += bias[j]


@helper
def multiply(threaded, weight, x, out):
    few_rows(threaded and weight.size >= SMALL, len(weight), weight, x, out)


@helper
def activate(threaded, mlp, x, out):
    """Write the MLP's nonlinearity of x."""
    n = (out.size + BLOCK - 1) // BLOCK
    if mlp == RELU_SQUARED:
        relu_squared(threaded, n, x, out)
    elif mlp == GELU:
        gelu(threaded, n, x, out)
    elif mlp == SILU:
        silu(threaded, n, x, out)
    else:
        swiglu(threaded, 1, x.reshape((1, -1)), out.reshape((1, -1)))
