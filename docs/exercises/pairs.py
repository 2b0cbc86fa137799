"""Forward and backward passes, each held to the engine; what is wrong, the laws explain."""
import numpy as np
from judge import Wrong, call, hold, is_same, listed, numbers, short

from minigrad import Tensor
from minigrad.testing import GradientError, check_op

EXPLAIN = True                              # whether to look for the smallest counterexample
WHOLE = 0.0                                 # small whole numbers, of which many are equal
LAWS = ("shapes", "purity", "slope", "linearity", "layout")     # of dtypes, nothing was said
SCALES = (1.0, 1e-6, WHOLE, 1e-3, 1e-30, 30.0)


class Pair:
    """The check of an exercise that has `forward` and `vjp`.

    Parameters
    ----------
    reference : callable
        The forward pass, of arrays or of Tensors.
    signature : str
        As in `check_op`.
    largest : float
        The magnitude of the inputs in the last cases.
    settings
        More arguments of `check_op`.
    """

    def __init__(self, reference, signature, largest=3e3, **settings):
        self.reference, self.signature, self.settings = reference, signature, settings
        self.largest, self.domain = largest, settings.get("domain", {})
        self.names = reference.__code__.co_varnames[:reference.__code__.co_argcount]

    def __call__(self, names):
        cases = list(self.cases(np.random.default_rng(0)))
        for _, arrays in cases:
            expected = np.asarray(self.reference(*arrays))
            hold("forward", call(names, "forward", *arrays), expected,
                 dict(zip(self.names, arrays)))
        for g, arrays in cases:
            problem = self.problem_of_vjp(names, g, arrays)
            if problem:
                if EXPLAIN:
                    self.explain(names)
                raise Wrong("vjp", problem + listed({**dict(zip(self.names, arrays)), "g": g}))

    def problem_of_vjp(self, names, g, arrays):
        """Compare a backward pass with the engine's."""
        grads = as_tuple(call(names, "vjp", g, *arrays))
        if len(grads) != len(arrays):
            raise Wrong("vjp", f"it gives {len(grads)} results for {len(arrays)} inputs: "
                        "return a gradient for each")
        leaves = [Tensor(x, requires_grad=x.dtype.kind == "f") for x in arrays]
        self.reference(*leaves).backward(g)
        for name, x, dx, leaf in zip(self.names, arrays, grads, leaves):
            if x.dtype.kind != "f":
                if dx is not None:
                    raise Wrong("vjp", f"{name} holds integers, which have no gradient: give None")
                continue
            dx = numbers("vjp", dx, x.shape, f"the gradient of {name}")
            if not is_same(dx, leaf.grad, 1e-12 * np.abs(g).max(initial=0)):
                return (f"the gradient of {name} is {short(dx)},\n"
                        f"but the slopes are {short(leaf.grad)}")
        return None

    def explain(self, names):
        """Raise what a broken law says of a backward pass, on the smallest input."""
        def vjp(g, *arrays):
            if 0 in [x.size for x in arrays]:           # of nothing, nobody asked
                return tuple(np.zeros_like(x) if x.dtype.kind == "f" else None for x in arrays)
            grads = as_tuple(names["vjp"](g, *arrays))
            return tuple(np.asarray(dx, dtype=x.dtype) if x.dtype.kind == "f" else dx
                         for x, dx in zip(arrays, grads))
        try:
            check_op(named_vjp(self.reference), vjp, self.signature, verbose=False, laws=LAWS,
                     **self.settings)
        except GradientError as error:
            text = str(error).replace("vjp breaks", "it breaks", 1)
            if error.law == "slope":
                text = text.replace("Hint:", "Hint (a guess from the pattern of the errors):")
            raise Wrong("vjp", text) from error

    def cases(self, rng):
        """Yield g and inputs: small and large, square and not, near zero and far from it."""
        letters = sorted({c for c in self.signature if c.isalpha()})
        alone = "batched" in self.settings
        for k in range(30):
            most = (2, 3, 4, 20, 8)[k // 6]
            sizes = {c: int(rng.integers(1, most + 1)) for c in letters}
            if k % 4 == 3:
                sizes = dict.fromkeys(letters, most)
            leading = () if alone else ((2,), (), (3, 1))[(k + k // 12) % 3]
            yield self.case(rng, leading, sizes, SCALES[k % 6])
        for n in (2, 3, 5):
            sizes = dict.fromkeys(letters, n)
            yield self.case(rng, () if alone else (4,), sizes, self.largest)

    def case(self, rng, leading, sizes, scale):
        arrays = [self.make(rng, name, leading, shape, sizes, scale)
                  for name, shape in zip(self.names, shapes(self.signature))]
        g = rng.standard_normal(np.shape(self.reference(*arrays)))
        return np.asarray(g * 10.0 ** rng.integers(-2, 3)), arrays

    def make(self, rng, name, leading, shape, sizes, scale):
        shape = (*leading, *(sizes[c] for c in shape))
        if self.domain.get(name, "").startswith("index"):
            return rng.integers(sizes[self.domain[name][6]], size=shape)
        if scale == WHOLE and self.domain.get(name) != "away_from_zero":
            return np.asarray(rng.integers(-2, 3, shape), dtype=np.float64)
        x = np.asarray(rng.standard_normal(shape) * (scale or 1))
        return np.array(x, order="F" if rng.random() < 0.3 else "C")


def shapes(signature):
    """List the letters of each input: "(m,k),(k)->(m)" -> ["mk", "k"]."""
    inputs = signature.split("->")[0].strip("()").split("),(")
    return [shape.replace(",", "") for shape in inputs]


def as_tuple(grads):
    """Take one gradient without a tuple around it as well."""
    if grads is None:
        raise Wrong("vjp", "it gives None: nothing was returned")
    return tuple(grads) if isinstance(grads, (tuple, list)) else (grads,)


def named_vjp(reference):
    """Let verdicts speak of vjp: the forward pass has been found right."""
    reference.__name__ = "vjp"
    return reference
