"""Check an operation: find a case that breaks a law, make it small, and say what is wrong."""
import time
from collections import Counter
from dataclasses import dataclass, field

import hypothesis
import numpy as np
from hypothesis import HealthCheck, Phase, given, settings

from minigrad.testing.adapters import Broken, judging, subjects
from minigrad.testing.diagnosis import diagnose, simplify
from minigrad.testing.engine_laws import complete
from minigrad.testing.laws import LAWS, Point
from minigrad.testing.strategies import Case, SizedDraw, cases, make_case

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
    hints : list of str
    """

    def __init__(self, subject, broken, verdict):
        super().__init__(verdict)
        self.law, self.op, self.level = broken.law, subject.name, subject.level
        self.hints = broken.hints
        self.arrays, self.params, self.g, self.seed = (
            (broken.case.arrays, broken.case.params, broken.case.g, broken.case.seed)
            if broken.case else ((), {}, (), 0))


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
        return (self.tally["kinks"] + self.tally["unclear"]) / max(self.tally["slopes"], 1)

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


def check_op(forward, vjp=None, signature=None, *, domain=None, inputs=None, level=None, laws=None,
             reference=None, jvp=None, symmetries=None, batched=None, rtol=1e-7, max_examples=None,
             seed=0, shrink=True, verbose=True):
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
        For each level; that of the hypothesis profile unless told.
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

    Examples
    --------
    >>> def square(x): return x * x
    >>> def square_vjp(g, x): return 2 * g * x,
    >>> check_op(square, square_vjp, "()->()", verbose=False).kinks
    0.0
    """
    if isinstance(vjp, str):
        vjp, signature = None, vjp
    names = tuple(LAWS) if laws is None else tuple(laws)
    for name in names:
        if name not in LAWS:
            raise ValueError(f"there is no law {name!r}: choose from {', '.join(LAWS)}")
    found = subjects(forward, vjp, signature, inputs if callable(inputs) else None, domain, level,
                     reference, jvp, explicit=inputs is not None and not callable(inputs))
    start, report = time.perf_counter(), Report(found[0].name)
    for subject in found:
        subject.batched = subject.batched if batched is None else batched
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


def op_test(forward, vjp=None, signature=None, **options):
    """Make a pytest test of `check_op` with the same arguments."""
    def test():
        check_op(forward, vjp, signature, **{"verbose": False, **options})
    test.__name__ = test.__qualname__ = f"test_{getattr(forward, 'name', None) or forward.__name__}"
    return test


def default_examples():
    """Return what the loaded profile of hypothesis says; 30 where its own default stands."""
    number = settings().max_examples
    return EXAMPLES if number == settings.get_profile("default").max_examples else number


def explicit_cases(inputs):
    """Make cases of a list of tuples of arrays."""
    if inputs is None or callable(inputs):
        return None
    return [Case(tuple(np.asarray(x) if x is not None else None for x in arrays), {}, seed)
            for seed, arrays in enumerate(inputs)]


# ---- the search ------------------------------------------------------------------------------

def search(subject, names, rtol, report, seed, shrink, max_examples, explicit):
    """Return the smallest Broken, or None; count into the report."""
    names = [name for name in names if LAWS[name].applies(subject)]
    report.laws = tuple(dict.fromkeys((*report.laws, *names)))
    each = [LAWS[name] for name in names if not LAWS[name].once]
    count = 0

    def examine(case, laws=each):
        """Check the laws on one case; after a failure only the law that failed."""
        nonlocal count
        count += 1
        point = complete_or_broken(subject, case, rtol, report.tally)
        for law in laws:
            failing = failure(law.check, point)
            if failing is not None:
                failing.law, failing.case = law.name, point.case
                raise failing

    found = first_failure(subject, examine, explicit, seed, shrink, max_examples) if each else None
    if found is not None and shrink:
        found = simplest(subject, found, rtol)
    report.examples[subject.level] = count
    if found is None and explicit is None:
        found = first_of_once(subject, names, rtol, report, seed)
    return found


def failure(check, *args):
    """Run a check; any exception is a failure, of which Broken speaks for itself."""
    try:
        check(*args)
    except Broken as broken:
        return broken
    except Exception as error:
        broken = Broken(f"{type(error).__name__}: {error}")
        broken.__cause__ = error
        return broken


def complete_or_broken(subject, case, rtol, tally):
    try:
        return complete(subject, case, rtol, tally)
    except Broken as broken:
        broken.law, broken.case = "shapes", case._replace(g=())
        raise


def first_failure(subject, examine, explicit, seed, shrink, max_examples):
    """Run the cases until one fails; hypothesis then looks for a smaller one that fails alike."""
    last = None

    def run(case):
        nonlocal last
        try:
            examine(case, *([] if last is None or last.law is None else [[LAWS[last.law]]]))
        except Broken as broken:
            last = broken
            raise

    try:
        if explicit is not None:
            for case in explicit:
                run(case)
        else:
            phases = (Phase.generate, Phase.shrink) if shrink else (Phase.generate,)
            options = settings(max_examples=max_examples, deadline=None, database=None,
                               phases=phases, suppress_health_check=list(HealthCheck),
                               report_multiple_bugs=False, derandomize=False, print_blob=False)
            hypothesis.seed(seed)(options(given(cases(subject))(run)))()
    except Broken as broken:
        return broken
    except hypothesis.errors.Flaky:
        last.hints.append("this case did not fail each time: the passes remember earlier calls")
        return last
    return None


def simplest(subject, found, rtol):
    """Round the values of the counterexample while the same law fails."""
    if not found.case.g:
        return found

    def fails(case):
        broken = failure(LAWS[found.law].check, Point(subject, case, rtol))
        if broken is not None:
            broken.law, broken.case = found.law, case
        return broken
    return fails(simplify(found.case, fails, subject.domain_of)) or found


def first_of_once(subject, names, rtol, report, seed):
    for name in names:
        if LAWS[name].once:
            broken = failure(LAWS[name].check, subject, rtol, report.tally, seed)
            if broken is not None:
                broken.law = name
                return broken
    return None


# ---- the verdict -----------------------------------------------------------------------------

def write_verdict(subject, broken, explain):
    """Say which law is broken, where, what might be the reason, and for which inputs."""
    lines = [f"{subject.name}{f' at level {subject.level}' if not subject.is_plain else ''} breaks "
             f'the law "{broken.law}": {LAWS[broken.law].text}', ""]
    if explain and broken.case is not None and broken.case.g and broken.law in ("slope", "sizes"):
        lines += details(subject, broken)
    else:
        lines.append(broken.message)
    lines += [f"Hint: {hint}." for hint in dict.fromkeys(broken.hints)]
    if broken.case is not None:
        lines += ["", "The smallest counterexample found:", *write_case(subject, broken.case)]
    return "\n".join(lines)


def details(subject, broken):
    """Say which element of which input is wrong, beside the measured slopes."""
    found = diagnose(Point(subject, broken.case), larger_points(subject))
    if found is None:
        return [broken.message]
    message, rows, hints = found
    broken.hints[:0] = hints
    return [message, rows]


def larger_points(subject):
    """Make a few more points with sides from 3 to 19, in which less coincides by chance."""
    points = []
    for seed, size in enumerate((3, 5, 11, 19) * (not subject.explicit)):
        draw = SizedDraw(np.random.default_rng(seed), size, 0)
        points.append(complete(subject, make_case(subject, draw, seed)))
    return points


def write_case(subject, case):
    named = [(subject.names[i] if i < len(subject.names) else f"input_{i}", x)
             for i, x in enumerate(case.arrays)]
    named += list(case.params.items())
    named += [("g" if len(case.g) == 1 else f"g_{i}", x) for i, x in enumerate(case.g)]
    return [f"    {name} = {written(x)}" for name, x in named]


def written(x):
    """Write a value as Python, long arrays by their shape."""
    if not isinstance(x, np.ndarray):
        return repr(x)
    if x.size > 64:
        return f"<array of shape {x.shape}, from {x.min():.3g} to {x.max():.3g}>"
    text = np.array2string(x, separator=", ", precision=17, floatmode="unique", threshold=100)
    shape = f".reshape{x.shape}" if x.size == 0 else ""
    text = " ".join(text.split()).replace("inf", "np.inf").replace("nan", "np.nan")
    return f"np.array({text}){shape}"
