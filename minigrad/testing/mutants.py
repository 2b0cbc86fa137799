"""Plausible wrong backward passes, to measure how much a test notices.

Each knows the law that is meant to notice it. The mistakes themselves are in slips.py; one that
makes no difference for an operation is no mistake there, and left out.
"""
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from minigrad.tensor import Op
from minigrad.testing import domains
from minigrad.testing.adapters import Broken, Subject, judging, subjects
from minigrad.testing.arrays import as_tuple
from minigrad.testing.points import Point
from minigrad.testing.slips import from_source, general
from minigrad.testing.strategies import SizedDraw, make_case

TRIED = 24                                             # cases on which a mutant must differ


class Call(NamedTuple):
    """A forward call, kept for the mistakes that depend on more than the vjp saved."""
    arrays: tuple
    params: dict


@dataclass
class Mutant:
    """An operation with one mistake in its backward pass.

    Attributes
    ----------
    name : str
        The mistake in words.
    law : str
        The law that is meant to notice it.
    op : Op
        A copy of the operation with the mistake, at level "reference" only.

    In `with mutant:` the original operation itself makes the mistake, at every level.
    """
    name: str
    law: str
    op: Op
    original: Op
    kept: list = field(default_factory=list)

    def vjp(self, g, *arrays):
                return Subject(self.op).run(arrays, {}).pull(as_tuple(g))

    def __enter__(self):
        self.kept.append((self.original.bodies, self.original.composition))
        self.original.bodies, self.original.composition = self.op.bodies, None
        return self

    def __exit__(self, *error):
        self.original.bodies, self.original.composition = self.kept.pop()


@dataclass
class Score:
    """Which mutants a test noticed."""
    name: str
    killed: list = field(default_factory=list)
    survived: list = field(default_factory=list)

    def __str__(self):
        total = len(self.killed) + len(self.survived)
        text = f"{self.name}: your tests kill {len(self.killed)} of {total} wrong backward passes"
        return text + "".join(f"\n    survived: {m.name} (noticed by the law \"{m.law}\")"
                              for m in self.survived)


def mutation_score(test, forward, vjp=None, signature: str | None = None, **options):
    """Count how many wrong backward passes a test notices.

    Parameters
    ----------
    test : callable
        For an Op, test() while the op is wrong; for a pair, test(wrong_vjp). It notices by
        raising any exception.
    forward, vjp, signature, options
        As for `mutate_op`.

    Returns
    -------
    Score

    Raises
    ------
    ValueError
        As `mutate_op` does; what the test raises is counted and goes no further.
    """
    mutants = mutate_op(forward, vjp, signature, **options)
    score = Score(mutants[0].op.name if mutants else str(forward))
    for mutant in mutants:
        try:
            if isinstance(forward, Op):
                with mutant:
                    test()
            else:
                test(mutant.vjp)
        except Exception:
            score.killed.append(mutant)
        else:
            score.survived.append(mutant)
    return score


def mutate_op(forward, vjp=None, signature: str | None = None, domain=None):
    """Make the wrong backward passes of an op, or of a plain pair with a signature.

    Parameters
    ----------
    forward : Op, or function of arrays
    vjp : callable, optional
        vjp(g, *arrays) -> gradients, of a plain pair.
    signature : str, optional
        Of a plain pair, such as "(m,k),(k)->(m)".
    domain : dict, tuple or str, optional
        As in `check_op`, for a plain pair.

    Returns
    -------
    list of Mutant

    Raises
    ------
    ValueError
        If there is no signature or none that can be read, or the domain names no input.
    """
    if isinstance(forward, Op):
        subject = Subject(forward, "reference")
    else:
        subject, = subjects(forward, vjp, signature, None, domain, None, None, None)
    op, found = subject.op, []
    with judging():
        points = sample(subject)
        for name, law, wrong, applies in (*general(subject), *from_source(op, vjp)):
            if applies is None or any(map(applies, points)):
                found.append(Mutant(name, law, with_vjp(op, wrong), op))
        return [m for m in found if m.law not in PLAIN or differs(subject, m.op, points)]


PLAIN = ("slope", "linearity")                         # mistakes that change the numbers anywhere


def sample(subject):
    """Run a few cases, small and not, of the original."""
    points = []
    for seed in range(TRIED):
        rng = np.random.default_rng(seed)
        size, which = int(rng.integers(2, 12)), int(rng.integers(0, 4))
        draw = SizedDraw(rng, size, which)
        draw.styles = domains.STYLES
        points.append(Point(subject, make_case(subject, draw, seed)))
    return points


def differs(subject, op, points):
    """Say whether a copy gives another gradient somewhere, and mostly any gradient at all."""
    wrong = Subject(op, "reference", subject.names, subject.optional)
    raised, different = 0, False
    for point in points:
        try:
            grads = wrong.run(point.arrays, point.params).pull(point.g)
        except Broken:
            raised += 1
            continue
        for dx, right in zip(grads, point.grads):
            if dx is not None and right is not None:
                if dx.shape != right.shape:
                    return False                       # anybody would notice this at once
                size = np.abs(right).max(initial=0)
                gap = np.abs(dx - right).max(initial=0)
                different |= not gap <= 1e-9 * size + 1e-12 * point.floor       # or it is nan
    return different and raised < len(points) / 4


def with_vjp(op, wrong):
    """Copy an op with `wrong(right, g, saved, call)` as its vjp; `right(g)` is the true one."""
    forward, vjp = op.bodies["reference"]

    def body(*arrays, **params):
        out, saved = forward(*arrays, **params)
        return out, (*saved, Call(arrays, params))
    body.__name__, body.__doc__ = op.name, op.__doc__

    def pull(g, *rest):
        wants = rest[-1:] if vjp.asks else ()
        *saved, call = rest[:len(rest) - len(wants)]

        def right(g, *other):
            return vjp(g, *(other or saved), *wants)
        return wrong(right, g, tuple(saved), call)
    copy = Op(body, op.signature, op.inputs, op.domain)
    copy.core_ndim, copy.forward = op.core_ndim, op.forward
    copy.vjp(pull)
    pull.asks = vjp.asks
    return copy
