"""Weights in blocks: which parameters of a decoder may hold them, and how they come and go.

A parameter that holds blocks is an ordinary Tensor whose `data` is a `Quantised`: frozen, in
`parameters()` like all others, and read by `linear`, `embedding` and the losses. Gradients pass
through it. To train it, give it `np.asarray` of them: its numbers.
"""
import re


from gpt.files.quantise import quantised
from gpt.models.decoder import GPT
from gpt.settings import ConfigError
from minigrad.kernels.memory import zeros_by_page
from minigrad.kernels.packed import BLOCK
from minigrad.kernels.quantised import Quantised, can_stay

MATRICES = re.compile(r"(blocks\.\d+\..+|token_embedding|unembedding)\.weight"
                      r"|(earlier|ngram)_embedding\.tables\.\d+")


def hold(model, blocks):
    """Let parameters hold blocks in place of their numbers.

    Parameters
    ----------
    model : GPT
    blocks : dict of str to array
        Rows of what a parameter's numbers are to be, by its name.

    Raises
    ------
    ValueError
        If a name or a shape is not one of the model's.
    """
    parameters = dict(model.named_parameters())
    for name, raw in blocks.items():
        held = Quantised(raw)                                                   # (n, k)
        if name not in parameters or parameters[name].shape != held.shape:
            raise ValueError(f"{name} is {held.shape} in blocks, but the model has no such weights")
        parameters[name].data = held
        parameters[name].requires_grad = False         # blocks are rounded: they do not move


def blocks_in(model):
    """Return what is held in blocks, by name."""
    return {name: x.data.blocks for name, x in model.named_parameters()
            if isinstance(x.data, Quantised)}


def quantised_matrices(model, kind):
    """Round the matrices of a decoder to blocks: name -> blocks.

    Rows that are no whole blocks stay out. Where most is felt of rounding, outside of the blocks of
    the net, Q4_0 is Q8_0.

    Raises
    ------
    ConfigError
        If it is another net, or its rows are nowhere whole blocks.
    """
    if not isinstance(model, GPT):
        raise ConfigError("only a decoder can be quantised: leave out --quantize")
    found = {name: x for name, x in model.state_dict().items()
             if MATRICES.fullmatch(name) and x.shape[1] % BLOCK == 0}           # each (n, k)
    if not found:
        raise ConfigError(f"d_model is {model.config.d_model}, but blocks are {BLOCK} weights: "
                          "leave out --quantize")
    inner = lambda name: name.startswith("blocks")
    return {name: quantised(x, kind if inner(name) else "Q8_0") for name, x in found.items()}


def room_for_blocks(model, stored):
    """Make arrays for the matrices that can stay as they are stored: name -> blocks, unfilled.

    Parameters
    ----------
    model : Module
    stored : dict of str to list of array
        By the name of a parameter, what it is made of, as it lies in a file.
    """
    if not isinstance(model, GPT):
        return {}
    room = {}
    for name, x in model.state_dict().items():
        raws = stored.get(name, ())
        alike = len({raw.dtype for raw in raws}) == 1      # q, k and v are rows of one matrix
        if alike and MATRICES.fullmatch(name) and all(map(can_stay, raws)):
            raw = raws[0]
            shape = len(x), raw.shape[1]
            room[name] = zeros_by_page(shape, raw.dtype)   # holes in NumPy's memory would stay
    return room
