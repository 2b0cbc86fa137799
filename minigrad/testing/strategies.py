"""Example inputs for an operation, made from its signature and domain.

Hypothesis draws a tape of bytes and a seed. The bytes decide the structure (sizes, which axes
broadcast, which optional input is left out), smaller ones for simpler choices, and so it can be
shrunk; the values come from a generator with that seed. One tape, not one draw for each choice,
keeps the choices independent: hypothesis likes to repeat values that it drew before.
"""
import re
from typing import NamedTuple

import numpy as np
from hypothesis import strategies as st

from minigrad.testing import domains

TAPE = 64                                              # bytes; choices beyond it are the simplest
LONGEST = 33                                           # 2 w + 1 for vectors of w = 16 floats


class Case(NamedTuple):
    """One example: what an operation is called with, and the gradient of its outputs."""
    arrays: tuple
    params: dict
    seed: int                                          # of g and of the directions
    g: tuple = None


# ---- drawing ---------------------------------------------------------------------------------

class Draw:
    """What an `inputs(draw)` function draws from.

    Parameters
    ----------
    integer : callable
        From (low, high) to an integer between them, both included; small ones are simpler.
    rng : numpy.random.Generator
        For the values of arrays.
    """

    def __init__(self, integer, rng):
        self.integer, self.rng = integer, rng
        self.styles = domains.STYLES
        self.may_be_long = True                        # one long side is enough for an example
        self.sides = []

    def choice(self, options):
        """Choose one; the first is the simplest."""
        return options[self.integer(0, len(options) - 1)]

    def boolean(self):
        return self.integer(0, 1) == 1

    def side(self, low=0, high=4):
        """Choose the size of an axis: mostly `low` to `high`, now and then the same as another
        (matrices should be square at times), now and then up to 33."""
        again = [n for n in self.sides if max(low, 1) <= n <= high] * 8
        sizes = sorted(range(low, high + 1), key=lambda n: n or LONGEST)       # 0 is not simple
        ordinary = [n for n in sizes for _ in range(8 if n else 3)] + again
        longer = range(high + 1, LONGEST + 1) if self.may_be_long else []
        n = self.choice([*ordinary, *longer])
        self.may_be_long &= n <= high
        self.sides.append(n)
        return n

    def shape(self, min_dims=0, max_dims=3, min_side=0, max_side=4):
        n = self.integer(min_dims, max_dims)
        return tuple(self.side(min_side, max_side) for _ in range(n))

    def array(self, shape=None, domain="real", below=None):
        """Make an array of a shape (or any) with values of a domain."""
        shape = self.shape() if shape is None else shape
        return domains.make_values(self.rng, shape, domain, self.choice(self.styles), below)

    def indices(self, shape, n):
        """Make an integer array with values below n, often the same ones."""
        return domains.make_indices(self.rng, shape, n, self.choice(("ties", "normal")))

    def permutation(self, n):
        """Choose an order of range(n), the simplest being the usual one."""
        rest = list(range(n))
        return tuple(rest.pop(self.integer(0, len(rest) - 1)) for _ in range(n))


class SizedDraw(Draw):
    """A draw without hypothesis in which side number `which`, or every side, has a given size.

    Where every side has it, arrays with named axes get one leading axis at most.
    """

    def __init__(self, rng, size, which=None):
        super().__init__(lambda low, high: int(rng.integers(low, high, endpoint=True)), rng)
        self.size, self.which, self.drawn, self.styles = size, which, 0, ("normal",)

    def shape(self, min_dims=0, max_dims=3, min_side=0, max_side=4):
        fewest = max(min_dims, min(1, max_dims))
        if self.which is None:                        # but of 160**4 numbers there is no room
            n = fewest if self.drawn else max_dims
        else:
            n = self.integer(fewest, max_dims)
        return tuple(self.side(min_side, max_side) for _ in range(n))

    def side(self, low=0, high=4):
        self.drawn += 1
        if self.which is None:
            return max(self.size, low)
        return self.size if self.drawn == self.which + 1 else self.integer(max(low, 1), 3)


@st.composite
def cases(draw, subject):
    """Make a strategy of Case for one subject."""
    tape = iter(draw(st.binary(min_size=TAPE, max_size=TAPE)))
    seed = draw(st.integers(0, 2**32 - 1))

    def integer(low, high):
        return low + next(tape, 0) % (high - low + 1) if high > low else low
    return make_case(subject, Draw(integer, np.random.default_rng(seed)), seed)


def make_case(subject, draw, seed, sizes=()):
    """Make the inputs of a subject: by its `inputs`, or from the signature with given sizes."""
    if subject.op.inputs:
        arrays, params = subject.op.inputs(draw)
        arrays = [remake(draw, x, subject.domain_of(i)) for i, x in enumerate(arrays)]
    else:
        arrays, params = from_signature(subject, draw, dict(sizes))
    return Case(tuple(arrays), {**params, **choose_params(subject, draw)}, seed)


def remake(draw, x, domain):
    """Give an array that `inputs` drew as real the values that its domain asks for."""
    plain = not isinstance(x, np.ndarray) or x.dtype.kind != "f" or domain in ("real", "constant")
    return x if plain else draw.array(x.shape, domain)


def choose_params(subject, draw):
    """Choose the keyword arguments for which the operation declares a list of values."""
    return {name: draw.choice(options) for name, options in subject.op.domain.items()
            if isinstance(options, list)}


# ---- signatures ------------------------------------------------------------------------------

def parse_signature(signature):
    """Split "(m?,k),(k,2h)->(m?)" into inputs and outputs, lists of lists of axis names.

    Returns
    -------
    inputs, outputs : list of list of str
        A name may begin with a factor ("2h") and end with "?" (the axis may be missing).
    """
    text = signature.replace(" ", "")
    if not re.fullmatch(r"(\([\w?,]*\),?)*->(\([\w?,]*\),?)+", text):
        raise ValueError(f'the signature is {signature!r}, but must look like "(m,k),(k)->(m)": '
                         "one pair of parentheses for each input and output")
    return [[[name for name in core.split(",") if name] for core in re.findall(r"\((.*?)\)", side)]
            for side in text.split("->")]


def axis_names(signature):
    """Return the distinct names of axes in a signature, without factors and question marks."""
    inputs, _ = parse_signature(signature)
    plain = [re.sub(r"^\d+|\?$", "", name) for core in inputs for name in core]
    return [name for name in dict.fromkeys(plain) if name]


def from_signature(subject, draw, sizes):
    """Draw the sizes of all axes and an array for each input."""
    inputs, _ = parse_signature(subject.op.signature)
    missing = {name for core in inputs for name in core if name.endswith("?")}
    missing = {name for name in sorted(missing) if name[:-1] not in sizes and draw.boolean()}
    needed = {domains.index_axis(subject.domain_of(i)) for i in range(len(inputs))}
    for name in axis_names(subject.op.signature):
        if name not in sizes:
            sizes[name] = draw.side(1 if name in needed else 0)
    batch = draw.shape(max_dims=2, min_side=0, max_side=3)
    arrays = []
    for i, core in enumerate(inputs):
        if i in subject.optional and draw.boolean():
            arrays.append(None)
            continue
        present = [name for name in core if name not in missing]
        leading = () if len(present) < len(core) else leading_axes(subject, draw, batch, i)
        shape = (*leading, *(axis_size(name, sizes) for name in present))
        domain = subject.domain_of(i)
        arrays.append(draw.array(shape, domain, sizes.get(domains.index_axis(domain))))
    return arrays, {}


def axis_size(name, sizes):
    """Return the size of "n", "n?", "2n" or "3"."""
    factor, name = re.fullmatch(r"(\d*)(\w*)\??", name).groups()
    return int(factor or 1) * (sizes[name] if name else 1)


def leading_axes(subject, draw, batch, i):
    """Choose which of the leading axes input i has, and which of those have size 1."""
    if subject.batched is not None:
        return batch if subject.names[i] in subject.batched else ()
    if subject.n_inputs == 1:
        return batch
    kept = batch[draw.integer(0, len(batch)):]
    return tuple(1 if draw.integer(0, 3) == 3 else n for n in kept)


def make_g(rng, outputs):
    """Make a gradient for each output: never all ones, for which too many mistakes cancel."""
    return tuple(np.asarray(rng.normal(size=y.shape)) if y.dtype.kind == "f" else None
                 for y in outputs)
