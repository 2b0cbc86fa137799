"""Check an operation: find a case that breaks a law, make it small, and say what is wrong."""
import sys
import time
from collections import Counter
from dataclasses import dataclass, field

import numpy as np

import minigrad.testing.engine_laws  # noqa: F401  (adds to LAWS)
from minigrad.testing.adapters import Broken, judging, subjects
from minigrad.testing.arrays import is_array
from minigrad.testing.laws import LAWS
from minigrad.testing.points import points_of, run_point
from minigrad.testing.simplify import simplify
from minigrad.testing.strategies import Case, examples, replay, shrink
from minigrad.testing.verdict import write_verdict

MANY_KINKS = 0.2
EXAMPLES = 30


class GradientError(AssertionError):
    """A backward pass that breaks a law.

    Attributes
    ----------
    law : str
    op, level : str
    arrays, params, g : tuple, dict, tuple
        The smallest counterexample: inputs, keyword arguments, and the gradient of the outputs.
    other_g : tuple or None
        The second gradient, if the law needs two ("linearity").
    hints : list of str
    """

    def __init__(self, subject, broken, verdict):
        super().__init__(verdict)
        self.law, self.hints = broken.law, broken.hints
        self.op, self.level = subject.name, subject.level
        case = broken.case or Case((), {}, 0, ())
        self.arrays, self.params = case.arrays, case.params
        self.g, self.other_g, self.seed = case.g, case.other_g, case.seed


@dataclass
class Report:
    """What was checked: `str(report)` is the verdict."""
    name: str
    laws: tuple = ()
    examples: dict = field(default_factory=dict)       # level -> number
    tally: Counter = field(default_factory=Counter)
    elapsed_s: float = 0.0

    @property
    def kinks(self):
        """Return the share of slopes that could not be measured."""
        missed = self.tally["kinks"] + self.tally["unclear"]
        return missed / max(self.tally["slopes"], 1)

    def __str__(self):
        runs = ", ".join(f"{n} at {level}" for level, n in self.examples.items())
        text = (f"{self.name} keeps {len(self.laws)} laws ({', '.join(self.laws)}); "
                f"examples: {runs}; {self.tally['slopes']} slopes measured, "
                f"{self.tally['kinks']} skipped at kinks, {self.tally['unclear']} too steep to "
                f"tell; {self.elapsed_s:.2f} s")
        if self.kinks > MANY_KINKS:
            text += (f"\nwarning: {self.kinks:.0%} of the slopes could not be measured: declare "
                     'a domain such as "away_from_zero" or "spread"')
        return text


def check_op(forward, vjp=None, signature: str | None = None, *, domain=None, inputs=None,
             level: str | None = None, laws=None, reference=None, jvp=None,
             symmetries: dict | None = None, batched: tuple | None = None, rtol: float = 1e-7,
             max_examples: int | None = None, seed: int = 0, shrink: bool = True,
             verbose: bool = True):
    """Check a backward pass by the laws that every backward pass keeps.

    Parameters
    ----------
    forward : Op, function of arrays, function of Tensors, or torch.autograd.Function subclass
    vjp : callable, optional
        vjp(g, *arrays) -> gradients, None for integer inputs; for a plain pair of functions.
    signature : str
        Such as "(m,k),(k)->(m)"; an Op has its own. Leading axes broadcast.
    domain : dict, tuple or str, optional
        Which values the inputs take; see docs/testing.md for the words.
    inputs : callable or list, optional
        In place of a signature: inputs(draw) -> (arrays, params), or a list of tuples of arrays.
    level : str, optional
        Check one body of an Op; all that it has unless told.
    laws : iterable of str, optional
        Check only these.
    reference : callable, optional
        Another forward pass that must give the same outputs.
    jvp : callable, optional
        jvp(tangents, *arrays): forward mode, to be held against the backward pass.
    symmetries : dict, optional
        Name -> function(f, *inputs) that returns two arrays which must be equal.
    batched : tuple of str, optional
        Only these inputs take leading axes; () for none.
    rtol : float
        Relative tolerance of a slope.
    max_examples : int, optional
        For each level; 30 unless told, or what the loaded profile of hypothesis says.
    seed : int
    shrink : bool
        Whether to look for the smallest counterexample and the reason.
    verbose : bool
        Whether to print the verdict.

    Returns
    -------
    Report

    Raises
    ------
    GradientError
        With the smallest counterexample that was found.
    ValueError
        If there is neither a signature nor inputs=, if the signature cannot be read, or if a law,
        a word of a domain or an input that a domain names does not exist.

    Examples
    --------
    >>> def square(x): return x * x
    >>> def square_vjp(g, x): return 2 * g * x,
    >>> check_op(square, square_vjp, "()->()", verbose=False).kinks
    0.0
    """
    if isinstance(vjp, str):                           # check_op(function, "(n)->(n)")
        vjp, signature = None, vjp
    names = tuple(LAWS) if laws is None else tuple(laws)
    for name in names:
        if name not in LAWS:
            raise ValueError(f"there is no law {name!r}: choose from {', '.join(LAWS)}")
    drawn = inputs if callable(inputs) else None
    found = subjects(forward, vjp, signature, drawn, domain, level, reference, jvp,
                     explicit=inputs is not drawn)
    start, report = time.perf_counter(), Report(found[0].name)
    others_agree = len(found) > 1 and "agreement" in names
    found[0].is_judge = others_agree and reference is None
    for subject in found:
        subject.judges = found[0].judges
        if batched is not None:
            subject.batched = batched
        subject.symmetries.update(symmetries or {})
        with judging():
            broken = search(subject, names, rtol, report, seed, shrink,
                            max_examples or default_examples(), explicit_cases(inputs))
            verdict = broken and write_verdict(subject, broken, explain=shrink)
        if broken is not None:
            raise GradientError(subject, broken, verdict) from broken.__cause__
    report.elapsed_s = time.perf_counter() - start
    if verbose:
        print(report)
    return report


def op_test(forward, vjp=None, signature: str | None = None, **options):
    """Make a pytest test of `check_op` with the same arguments.

    Parameters
    ----------
    forward, vjp, signature, **options
        As for `check_op`; nothing is printed unless told.

    Returns
    -------
    callable
        Without arguments, named after the operation; it raises what `check_op` raises.
    """
    def test():
        check_op(forward, vjp, signature, **{"verbose": False, **options})
    test.__name__ = test.__qualname__ = f"test_{getattr(forward, 'name', None) or forward.__name__}"
    return test


def default_examples():
    """Return what a loaded profile of hypothesis says, if any; 30 where its own default stands."""
    hypothesis = sys.modules.get("hypothesis")
    if hypothesis is None:
        return EXAMPLES
    number = hypothesis.settings().max_examples
    usual = hypothesis.settings.get_profile("default").max_examples
    return EXAMPLES if number == usual else number


def explicit_cases(inputs):
    """Make cases of a list of tuples of arrays."""
    if inputs is None or callable(inputs):
        return None
    cases = []
    for seed, arrays in enumerate(inputs):
        arrays = tuple(None if x is None else np.asarray(x) for x in arrays)
        cases.append(Case(arrays, {}, seed))
    return cases


# ---- the search ------------------------------------------------------------------------------

def search(subject, names, rtol, report, seed, small, max_examples, explicit):
    """Return the Broken that was found, at a small case, or None; count into the report."""
    names = [name for name in names if LAWS[name].applies(subject)]
    if subject.judges and "agreement" in names:            # then its slopes are those of the judge
        names = ["agreement", *(name for name in names if name != "agreement")]
    report.laws = tuple(dict.fromkeys((*report.laws, *names)))
    chosen = [LAWS[name] for name in names]
    each, graphs, once = ([law for law in chosen if law.of == of]
                          for of in ("pass", "graph", "subject"))
    cases = explicit or examples(subject, max_examples, seed)
    found, points = None, []
    try:
        for point in points_of(subject, "examples", cases, rtol, report.tally):
            points.append(point)
            found = first_failure(each, point)
            if found is not None:
                break
    except Broken as broken:                               # the forward pass itself raised
        found, found.law = broken, "shapes"
    report.examples[subject.level] = len(points)
    if subject.judges and not subject.is_judge:            # whose graphs have all been looked at
        points = points[::3]
    for point in () if found else points:                  # these say less about what is wrong
        found = found or first_failure(graphs, point)
    if found is not None:
        return smallest(subject, found, rtol) if small else found
    return first_failure(() if explicit else once, subject, rtol, report.tally, seed)


def first_failure(laws, *args):
    """Run the checks until one fails; return its Broken or None."""
    for law in laws:
        broken = failure(law, *args)
        if broken is not None:
            return broken
    return None


def failure(law, *args):
    """Run a check; any exception is a failure, of which Broken speaks for itself."""
    try:
        law.check(*args)
        return None
    except Broken as error:
        broken = error
    except Exception as error:
        broken = Broken(f"{type(error).__name__}: {error}")
        broken.__cause__ = error
    broken.law = law.name
    broken.case = broken.case or getattr(args[0], "case", None)
    return broken


def smallest(subject, found, rtol):
    """Look for the simplest case that breaks the same law: first its structure, then its values."""
    seed, best = found.case.seed, found

    def fails(case):
        try:
            return failure(LAWS[found.law], run_point(subject, case, rtol))
        except Broken as broken:
            broken.law = "shapes"
            return broken if found.law == "shapes" else None

    def fails_again(tape):
        nonlocal best
        try:
            case = replay(subject, tape, seed)
        except Exception:                                  # `inputs` may not take every tape
            return False
        broken = None if n_elements(case) > n_elements(best.case) else fails(case)
        best = broken or best
        return broken is not None
    if fails(found.case) is None:
        found.hints.append("this case did not fail each time: the passes remember earlier calls")
        return found
    if found.case.tape:
        shrink(found.case.tape, fails_again)
    return simplify(best, fails, subject.domain_of)


def n_elements(case):
    return sum(x.size or 1 for x in filter(is_array, case.arrays))
