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
    stretched: tuple = ()                              # (input, shape of its own leading axes)
    long: tuple = ()                                   # sizes, one of which a side gets
    side: int = None                                   # what the other sides get
    many: bool = False                                 # at least MANY elements
    style: str = None                                  # of the values


ALL = ((None, ()),)                                    # no input is stretched
WISHES = (
    Wish((3, 2), ((0, (3, 1)),)), Wish((2, 3), ((1, ()),)), Wish((2, 3), ((1, (2, 1)), (2, (3,)))),
    Wish((2, 3), ((0, (2, 1)), (1, (1, 3)))), Wish((2,), ((0, ()), (2, (1,)))),
    Wish((3, 4), ALL, style="near 0.001"), Wish((1,), ALL, side=1), Wish((3,), ((0, (1,)),)),
    Wish((2,), ALL, long=(65, 66, 71, 79, 100), side=2), Wish((3, 4), ALL, style="near 0.0001"),
    Wish((2, 2), ALL, many=True), Wish((2, 3), ((1, (1, 1)),), side=2),
    Wish((4, 3), ALL, style="near 0.01"), Wish((3, 2), ALL, style="ties"),
    Wish((2,), ALL, long=(257, 263, 270, 289), side=1), Wish((3,), ALL, side=3))


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
        self.rng, self.wish, self.which = rng, wish or Wish(), which
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
            n = int(self.random.integers(low, high if usual is None else usual, endpoint=True))
        self.tape.append(n - low)
        return n

    def choice(self, options, wished=None, usual=None):
        """Choose one; the first is the simplest."""
        at = options.index(wished) if wished is not None and wished in options else None
        return options[self.integer(0, len(options) - 1, at, usual)]

    def boolean(self):
        return self.integer(0, 1) == 1

    def side(self, low=0, high=4, wished=None):
        """Choose the size of an axis: mostly `low` to `high`, now and then the same as another
        (matrices should be square at times), now and then up to 33."""
        again = [n for n in self.sides if max(low, 1) <= n <= high] * 8
        sizes = sorted(range(low, high + 1), key=lambda n: n or LARGEST)       # 0 is not simple
        ordinary = [n for n in sizes for _ in range(8 if n else 3)] + again
        longer = [*range(high + 1, LARGEST + 1)]
        usual = len(ordinary) - 1 + max(0, LONGEST - high) * self.may_be_long
        wished = self.wished_side(low, high) if wished is None else wished
        n = self.choice([*ordinary, *longer], wished, usual)
        self.may_be_long &= n <= high
        self.sides.append(n)
        return n

    def wished_side(self, low, high):
        """Return the size that the wish asks for, if any."""
        if len(self.sides) == self.which and self.wish.long:
            return int(self.random.choice(self.wish.long))
        if self.wish.stretched and self.wish.side is None and not self.wish.many:
            return min(high, int(self.random.integers(2, 5)))
        if self.wish.side is None:
            return None
        return max(low, self.wish.side if self.wish.many else min(high, self.wish.side))

    def shape(self, min_dims=0, max_dims=3, min_side=0, max_side=4, wished=None):
        """Choose the sizes of some axes."""
        like = self.wish.leading if wished is None else wished
        n = None if like is None else min(max(len(like), min_dims), max_dims)
        n = self.integer(min_dims, max_dims, n)
        return tuple(self.side(min_side, max_side, wished and wished[i]) for i in range(n))

    def array(self, shape=None, domain="real", below=None):
        """Make an array of a shape (or any) with values of a domain."""
        shape = self.shape() if shape is None else shape
        style = self.choice(self.styles, self.wish.style)
        return domains.make_values(self.rng, shape, domain, style, below)

    def indices(self, shape, n):
        """Make an integer array with values below n, often the same ones."""
        return domains.make_indices(self.rng, shape, n, self.choice(("ties", "normal")))

    def permutation(self, n):
        """Choose an order of range(n), the simplest being the usual one."""
        rest = list(range(n))
        return tuple(rest.pop(self.integer(0, len(rest) - 1)) for _ in range(n))

    def absent(self):
        """Choose whether to leave an optional input out: not if there is a wish."""
        return self.integer(0, 1, None if self.wish == Wish() else 0) == 1

    def leading(self):
        """Choose the axes that stand before those of a signature, for all inputs together."""
        wish = self.wish
        if self.batch is not None:
            return self.batch
        return self.shape(0, 2, 0, 3, None if wish.many or wish.long else wish.leading)

    def leading_of(self, batch, i):
        """Choose which of the leading axes input i has, and which of those have size 1."""
        if self.wish.stretched:
            wished = dict(self.wish.stretched).get(i, batch)
            missing, ones = len(batch) - len(wished), [3 * (n == 1) for n in wished]
        else:
            missing, ones = None, [None] * len(batch)
        kept = batch[self.integer(0, len(batch), missing):]
        return tuple(1 if self.integer(0, 3, one) == 3 else n for n, one in zip(kept, ones))


class SizedDraw(Draw):
    """A draw in which side number `which`, or every side, has a given size; others are random.

    Where every side has it, arrays with named axes get one leading axis at most.
    """

    def __init__(self, rng, size, which=None):
        super().__init__(rng, rng)
        self.size, self.which, self.drawn, self.styles = size, which, 0, ("normal",)

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
        most = 3 if self.size <= LONGEST else max(low, 1)
        return self.size if self.drawn == self.which + 1 else self.integer(max(low, 1), most)


# ---- examples --------------------------------------------------------------------------------

def examples(subject, n, seed):
    """Yield n examples: those of WISHES, then random ones."""
    for i in range(n):
        own = int(np.random.default_rng([seed, i]).integers(2**24))
        own = 30 * own + (seed + i) % 30               # what goes by the seed takes turns
        yield make_example(subject, own, WISHES[i] if i < len(WISHES) else Wish())


def make_example(subject, seed, wish):
    """Make the case of a seed; what the wish depends on is found by a first try."""
    def attempt(wish, which=-1):
        choose = np.random.default_rng([seed, 3])
        draw = Draw(np.random.default_rng(seed), choose, wish, which)
        case = make_case(subject, draw, seed)
        return case._replace(tape=tuple(draw.tape)), draw
    found, draw = attempt(wish)
    if wish.many:
        ndim = max((x.ndim for x in found.arrays if isinstance(x, np.ndarray)), default=0)
        found, draw = attempt(wish._replace(side=int(np.ceil(MANY ** (1 / max(ndim, 1))))))
    if wish.long and draw.sides:
        found, draw = attempt(wish, seed % len(draw.sides))
    return found


def replay(subject, tape, seed):
    """Make the case of a tape, which may have been cut or altered."""
    return make_case(subject, Draw(np.random.default_rng(seed), tape), seed)


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
    for n in sorted({0, len(tape) // 4, len(tape) // 2, len(tape) - 1} - {-1}):
        yield tape[:n]
    for i, n in enumerate(tape):
        for less in sorted({0, 1, n // 2, n - 1}):
            if less < n:
                yield (*tape[:i], less, *tape[i + 1:])
    for i in range(len(tape)):
        yield tape[:i] + tape[i + 1:]


def make_case(subject, draw, seed, sizes=()):
    """Make the inputs of a subject: by its `inputs`, or from the signature with given sizes."""
    if subject.op.inputs:
        arrays, params = subject.op.inputs(draw)
        arrays = [np.asarray(x) if isinstance(x, (np.generic, float)) else x for x in arrays]
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

def from_signature(subject, draw, sizes):
    """Draw the sizes of all axes and an array for each input."""
    inputs, _ = parse_signature(subject.op.signature)
    missing = {name for core in inputs for name in core if name.endswith("?")}
    missing = {name for name in sorted(missing) if name[:-1] not in sizes and draw.boolean()}
    needed = {domains.index_axis(subject.domain_of(i)) for i in range(len(inputs))}
    for name in axis_names(subject.op.signature):
        if name not in sizes:
            sizes[name] = draw.side(1 if name in needed else 0)
    batch = draw.leading()
    arrays = []
    for i, core in enumerate(inputs):
        if i in subject.optional and draw.absent():
            arrays.append(None)
            continue
        present = [name for name in core if name not in missing]
        leading = () if len(present) < len(core) else leading_axes(subject, draw, batch, i)
        shape = (*leading, *(axis_size(name, sizes) for name in present))
        domain = subject.domain_of(i)
        arrays.append(draw.array(shape, domain, sizes.get(domains.index_axis(domain))))
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
    rng, scale = np.random.default_rng([seed, 1]), SCALES[seed % len(SCALES)]

    def part(shape):
        g = rng.normal(size=shape)
        return np.asarray(g * (10 ** rng.uniform(-3, 3, shape) if scale is None else scale))
    return tuple(part(y.shape) if y.dtype.kind == "f" else None for y in outputs)
