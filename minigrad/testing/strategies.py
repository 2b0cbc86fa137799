"""Example inputs for an operation, made from its signature and domain.

A `Draw` answers the questions that decide the structure of an example (sizes, which axes
broadcast, which optional input is left out) and writes its answers on a tape: numbers, smaller ones
for simpler choices. The tape and a seed for the values make the example again, and a smaller tape a
simpler one: so it is shrunk. The first examples follow WISHES, the structures in which mistakes are
known to hide; the others are drawn at random.
"""
from typing import NamedTuple

import numpy as np

from minigrad.testing import domains
from minigrad.testing.arrays import is_array, is_float, replaced
from minigrad.testing.signatures import axis_names, axis_size, parse_signature

LONGEST = 33                                           # 2 w + 1 for vectors of w = 16 floats
LARGEST = 300                                          # of sides that are wished for
MANY = 257                                             # elements: where many kernels take over
TRIES = 300                                            # of shrinking


class Case(NamedTuple):
    """One example: what an operation is called with, and the gradient of its outputs."""
    arrays: tuple
    params: dict
    seed: int                                          # of g and of the directions
    g: tuple = None
    other_g: tuple = None                              # the law of linearity needs two
    tape: tuple = ()                                   # what its structure can be made of again


class Wish(NamedTuple):
    """What an example should look like, as far as an operation allows it."""
    leading: tuple = None                              # the axes before those of the signature
    stretched: dict = {}                               # input -> shape of its own leading axes
    long: tuple = ()                                   # sizes, one of which a side gets
    side: int = None                                   # what the other sides get
    many: bool = False                                 # at least MANY elements
    style: str = None                                  # of the values


ALL = {None: ()}                                       # no input is stretched
WISHES = (
    Wish((3, 2), {0: (3, 1)}),
    Wish((2, 3), {1: ()}),
    Wish((2, 3), {1: (2, 1), 2: (3,)}),
    Wish((2, 3), {0: (2, 1), 1: (1, 3)}),
    Wish((2,), {0: (), 2: (1,)}),
    Wish((3, 4), ALL, style="near 0.001"),
    Wish((1,), ALL, side=1),
    Wish((3,), {0: (1,)}),
    Wish((2,), ALL, long=(65, 66, 71, 79, 100), side=2),
    Wish((3, 4), ALL, style="near 0.0001"),
    Wish((2, 2), ALL, many=True),
    Wish((2, 3), {1: (1, 1)}, side=2),
    Wish((4, 3), ALL, style="near 0.01"),
    Wish((3, 2), ALL, style="ties"),
    Wish((2,), ALL, long=(257, 263, 270, 289), side=1),
    Wish((3,), ALL, side=3),
)


# ---- drawing ---------------------------------------------------------------------------------

class Draw:
    """What an `inputs(draw)` function draws from.

    Parameters
    ----------
    rng : numpy.random.Generator
        For the values of arrays.
    choose : numpy.random.Generator or iterable of int
        Where the structure comes from: at random, or from the tape of another Draw.
    wish : Wish
    which : int
        Which side is to be long.
    """

    def __init__(self, rng, choose=(), wish=None, which=0):
        self.rng, self.which = rng, which
        self.wish = wish or Wish()
        self.random = choose if isinstance(choose, np.random.Generator) else None
        self.given = iter(() if self.random else choose)
        self.tape, self.sides, self.batch = [], [], None
        self.styles = domains.STYLES
        self.may_be_long = not (self.wish.long or self.wish.many)        # one long side is enough

    def integer(self, low, high, wished=None, usual=None):
        """Choose an integer between two, both included; small ones are simpler.

        One that is `wished` is taken; at random, only those up to `usual` are.
        """
        if wished is not None:
            n = wished
        elif self.random is None:
            n = min(low + next(self.given, 0), high)
        else:
            most = high if usual is None else usual
            n = int(self.random.integers(low, most, endpoint=True))
        self.tape.append(n - low)
        return n

    def choice(self, options, wished=None, usual=None):
        """Choose one; the first is the simplest."""
        at = None
        if wished is not None and wished in options:
            at = options.index(wished)
        k = self.integer(0, len(options) - 1, at, usual)
        return options[k]

    def boolean(self):
        return self.integer(0, 1) == 1

    def side(self, low=0, high=4, wished=None):
        """Choose the size of an axis: mostly `low` to `high`, now and then the same as another
        (matrices should be square at times), now and then up to 33."""
        least = max(low, 1)
        again = [n for n in self.sides if least <= n <= high]
        zeros = [0, 0, 0] if low == 0 else []          # seldom, and not simple
        ordinary = sorted(8 * list(range(least, high + 1))) + zeros + 8 * again
        longer = list(range(high + 1, LARGEST + 1))
        usual = len(ordinary) - 1
        if self.may_be_long:
            usual += max(0, LONGEST - high)
        if wished is None:
            wished = self.wished_side(low, high)
        n = self.choice(ordinary + longer, wished, usual)
        self.may_be_long &= n <= high
        self.sides.append(n)
        return n

    def wished_side(self, low, high):
        """Return the size that the wish asks for, if any."""
        wish, is_next = self.wish, len(self.sides) == self.which
        if is_next and wish.long:
            return int(self.random.choice(wish.long))
        if wish.many and wish.side is not None:
            return max(low, wish.side)
        if wish.side is not None:
            return max(low, min(high, wish.side))
        if wish.stretched and not wish.many:
            return min(high, int(self.random.integers(2, 5)))
        return None

    def shape(self, min_dims=0, max_dims=3, min_side=0, max_side=4, wished=None):
        """Choose the sizes of some axes."""
        like = self.wish.leading if wished is None else wished
        n = None
        if like is not None:
            n = min(max(len(like), min_dims), max_dims)
        n = self.integer(min_dims, max_dims, n)
        sizes = wished or (None,) * n
        return tuple(self.side(min_side, max_side, size) for size in sizes[:n])

    def array(self, shape=None, domain="real", below=None):
        """Make an array of a shape (or any) with values of a domain."""
        shape = self.shape() if shape is None else shape
        style = self.choice(self.styles, self.wish.style)
        return domains.make_values(self.rng, shape, domain, style, below)

    def indices(self, shape, n):
        """Make an integer array with values below n, often the same ones."""
        style = self.choice(("ties", "normal"))
        return domains.make_indices(self.rng, shape, n, style)

    def axis(self, ndim):
        """Choose one of some axes, by its place from the front or from the end."""
        return self.integer(-ndim, ndim - 1)

    def axes(self, ndim):
        """Choose all axes as None, one of them, or all by their places."""
        every = tuple(range(ndim))
        return self.choice([None, *range(-ndim, ndim), every])

    def permutation(self, n):
        """Choose an order of range(n), the simplest being the usual one."""
        rest, order = list(range(n)), []
        while rest:
            k = self.integer(0, len(rest) - 1)
            order.append(rest.pop(k))
        return tuple(order)

    def absent(self):
        """Choose whether to leave an optional input out: not if there is a wish."""
        wished = None if self.wish == Wish() else 0
        return self.integer(0, 1, wished) == 1

    def leading(self):
        """Choose the axes that stand before those of a signature, for all inputs together."""
        wish = self.wish
        if self.batch is not None:
            return self.batch
        wished = None if wish.many or wish.long else wish.leading
        return self.shape(0, 2, 0, 3, wished)

    def leading_of(self, batch, i):
        """Choose which of the leading axes input i has, and which of those have size 1."""
        missing, ones = None, [None] * len(batch)
        if self.wish.stretched:
            wished = self.wish.stretched.get(i, batch)
            missing = len(batch) - len(wished)
            ones = [3 * (n == 1) for n in wished]
        kept = batch[self.integer(0, len(batch), missing):]
        choices = [self.integer(0, 3, one) for one in ones[:len(kept)]]
        return tuple(1 if k == 3 else n for k, n in zip(choices, kept))


class SizedDraw(Draw):
    """A draw in which side number `which`, or every side, has a given size; others are random.

    Where every side has it, arrays with named axes get one leading axis at most.
    """

    def __init__(self, rng, size, which=None):
        super().__init__(rng, rng, which=which)
        self.size, self.drawn = size, 0
        self.styles = ("normal",)

    def shape(self, min_dims=0, max_dims=3, min_side=0, max_side=4, wished=None):
        fewest = max(min_dims, min(1, max_dims))
        if self.which is None:                        # but of 160**4 numbers there is no room
            n = fewest if self.drawn else max_dims
        else:
            n = self.integer(fewest, max_dims)
        return tuple(self.side(min_side, max_side) for _ in range(n))

    def side(self, low=0, high=4, wished=None):
        self.drawn += 1
        if self.which is None:
            return max(self.size, low)
        if self.drawn == self.which + 1:
            return self.size
        least = max(low, 1)
        most = 3 if self.size <= LONGEST else least
        return self.integer(least, most)


# ---- examples --------------------------------------------------------------------------------

def examples(subject, n, seed):
    """Yield n examples: those of WISHES, then random ones."""
    for i in range(n):
        rng = np.random.default_rng([seed, i])
        turn = (seed + i) % 30                         # what goes by the seed takes turns
        own = 30 * int(rng.integers(2**24)) + turn
        wish = WISHES[i] if i < len(WISHES) else Wish()
        yield make_example(subject, own, wish)


def make_example(subject, seed, wish):
    """Make the case of a seed; what the wish depends on is found by a first try."""
    def attempt(wish, which=-1):
        choose = np.random.default_rng([seed, 3])
        draw = Draw(np.random.default_rng(seed), choose, wish, which)
        case = make_case(subject, draw, seed)
        return case._replace(tape=tuple(draw.tape)), draw
    found, draw = attempt(wish)
    if wish.many:
        ndims = [x.ndim for x in found.arrays if is_array(x)]
        side = MANY ** (1 / max([1, *ndims]))
        found, draw = attempt(wish._replace(side=int(np.ceil(side))))
    if wish.long and draw.sides:
        found, draw = attempt(wish, seed % len(draw.sides))
    return found


def replay(subject, tape, seed):
    """Make the case of a tape, which may have been cut or altered."""
    draw = Draw(np.random.default_rng(seed), tape)
    return make_case(subject, draw, seed)


def shrink(tape, fails):
    """Look for the simplest tape for which `fails(tape)` still holds."""
    seen, again = set(), True
    while again:
        again = False
        for simpler in simpler_tapes(tape):
            if simpler in seen:
                continue
            seen.add(simpler)
            if len(seen) > TRIES:
                return tape
            if fails(simpler):
                tape, again = simpler, True
                break
    return tape


def simpler_tapes(tape):
    """Yield tapes with an end cut off, one number smaller, or one left out."""
    length = len(tape)
    lengths = {0, length // 4, length // 2, length - 1}
    for n in sorted(lengths - {-1}):
        yield tape[:n]
    for i, n in enumerate(tape):
        for less in sorted({0, 1, n // 2, n - 1}):
            if less < n:
                yield replaced(tape, i, less)
    for i in range(length):
        yield tape[:i] + tape[i + 1:]


def make_case(subject, draw, seed, sizes=()):
    """Make the inputs of a subject: by its `inputs`, or from the signature with given sizes."""
    if subject.op.inputs:
        arrays, params = subject.op.inputs(draw)
        arrays = [remake(draw, x, subject.domain_of(i)) for i, x in enumerate(arrays)]
    else:
        arrays, params = from_signature(subject, draw, dict(sizes))
    params = {**params, **choose_params(subject, draw)}
    return Case(tuple(arrays), params, seed)


def remake(draw, x, domain):
    """Give an array that `inputs` drew as real the values that its domain asks for."""
    if isinstance(x, (np.generic, float)):
        x = np.asarray(x)
    is_plain = not is_float(x) or domain in ("real", "constant")
    return x if is_plain else draw.array(x.shape, domain)


def choose_params(subject, draw):
    """Choose the keyword arguments for which the operation declares a list of values."""
    declared = subject.op.domain.items()
    return {name: draw.choice(options) for name, options in declared if isinstance(options, list)}


# ---- signatures ------------------------------------------------------------------------------

def from_signature(subject, draw, sizes):
    """Draw the sizes of all axes and an array for each input."""
    inputs, _ = parse_signature(subject.op.signature)
    may_miss = {name for core in inputs for name in core if name.endswith("?")}
    open_names = [name for name in sorted(may_miss) if name[:-1] not in sizes]
    missing = {name for name in open_names if draw.boolean()}
    of_inputs = [subject.domain_of(i) for i in range(len(inputs))]
    indexed = [domains.index_axis(domain) for domain in of_inputs]
    for name in axis_names(subject.op.signature):
        if name not in sizes:
            sizes[name] = draw.side(1 if name in indexed else 0)
    batch = draw.leading()
    arrays = []
    for i, core in enumerate(inputs):
        if i in subject.optional and draw.absent():
            arrays.append(None)
            continue
        present = [name for name in core if name not in missing]
        is_whole = len(present) == len(core)
        leading = leading_axes(subject, draw, batch, i) if is_whole else ()
        shape = (*leading, *(axis_size(name, sizes) for name in present))
        arrays.append(draw.array(shape, of_inputs[i], sizes.get(indexed[i])))
    return arrays, {}


def leading_axes(subject, draw, batch, i):
    """Choose the leading axes of input i."""
    if subject.batched is not None:
        named = subject.names[i:i + 1]                 # of a ufunc none may be known
        return batch if named and named[0] in subject.batched else ()
    return batch if subject.n_inputs == 1 else draw.leading_of(batch, i)


SCALES = (1.0, 1e3, 1.0, 1e-5, None)                   # of g; None: of each element another


def make_g(seed, outputs):
    """Make a gradient for each output: never all ones, for which too many mistakes cancel."""
    rng = np.random.default_rng([seed, 1])
    common = SCALES[seed % len(SCALES)]

    def part(shape):
        g = rng.normal(size=shape)
        scale = 10 ** rng.uniform(-3, 3, shape) if common is None else common
        return np.asarray(g * scale)
    return tuple(part(y.shape) if is_float(y) else None for y in outputs)
