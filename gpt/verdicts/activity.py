"""How large are numbers and gradients in each layer, and which units never say anything?"""
from typing import NamedTuple

import numpy as np

from gpt.training.layers import BEHIND, depths
from gpt.verdicts.case import (
    FAILS, OK, WARNS, Figure, Line, Unfit, all_learning, row_of)
from minigrad import watch
from minigrad.tensor import Tensor

# What makes units of numbers: a unit is a place of the last axis of what these give.
UNITS = {"relu", "relu_squared", "gelu", "exact_gelu", "silu", "swiglu", "sigmoid", "tanh",
         "rnn", "lstm", "gru", "mingru"}
DEAD = 1e-6                        # of the layer's mean square: a unit that varies less is dead
HUGE = 1e4                         # as a mean, float32 has lost the small numbers beside it


class Seen(NamedTuple):
    """What one operation gave."""

    depth: int                     # of the layer: 0 before the blocks, then each block
    op: str
    array: np.ndarray              # (..., n)


def watched(model, run):
    """Yield Seen for each array of floats that `run` makes, and call it.

    An operation is of the highest layer whose parameters have been used so far.
    """
    nodes, layer, depth = [], depths(model), 0
    with watch(nodes.append):
        run()
    for node in nodes:
        known = [layer[x] for x in node.inputs if isinstance(x, Tensor) and x in layer]
        depth = max([depth, *known])
        outputs = node.data if isinstance(node.data, tuple) else [node.data]
        for y in outputs:
            if np.ndim(y) >= 2 and y.dtype.kind == "f":
                yield Seen(depth, node.op.name, y)


class Activity(NamedTuple):
    """What was seen in one forward pass and the way back, by depth."""

    sizes: dict                    # depth -> the largest root mean square of any operation
    units: dict                    # depth -> (n,) the variance of each unit, of the mean square
    gradients: dict                # depth -> the norm of the gradient of its parameters


def activity(case):
    """Look at one batch: `Activity`, made once."""
    if "activity" not in case.known:
        with all_learning(case.model):
            case.known["activity"] = look(case)
    return case.known["activity"]


def look(case):
    sizes, units, losses = {}, {}, []
    batch = case.batch(B=8, T=128)
    forward = lambda: losses.append(case.loss(case.model, batch))
    for depth, op, y in watched(case.model, forward):
        rows = y.reshape(-1, y.shape[-1]).astype(np.float64)                    # (n, units)
        square = (rows ** 2).mean()
        size = float(np.sqrt(square))
        sizes[depth] = max(sizes.get(depth, 0.0), size)
        if op in UNITS:
            varies = rows.var(axis=0) / max(square, 1e-30)
            units[depth] = np.concatenate([units.get(depth, []), varies])
    losses[0].backward()
    return Activity(sizes, units, gradients_by_depth(case.model))


def gradients_by_depth(model):
    squares = {}
    for x, depth in depths(model).items():
        square = 0.0
        if x.grad is not None:
            square = float((x.grad.astype(np.float64) ** 2).sum())
        squares[depth] = squares.get(depth, 0.0) + square
    return {depth: square ** 0.5 for depth, square in squares.items()}


def named(depth, case):
    if depth == 0:
        return "embedding"
    return "head" if depth > case.config.model.n_layer else f"layer {depth}"


def sizes_by_layer(case, seconds):
    """Numbers and gradients are finite, and no layer's are out of all proportion."""
    sizes, _, gradients = activity(case)
    rows = []
    for depth in sorted({*sizes, *gradients} - {BEHIND}):
        numbers = sizes.get(depth, 0.0), gradients.get(depth, 0.0)
        rows.append(row_of(named(depth, case), *numbers))
    names, largest, norms = zip(*rows)
    most, least, steepest = max(largest), min(norms), max(norms)
    finite = np.isfinite([*largest, *norms]).all()
    verdict = OK if finite and most < HUGE else FAILS
    if verdict == OK and least < 1e-6 * steepest:
        verdict = WARNS
    figure = Figure("By layer", ("layer", "largest mean size", "gradient norm"), rows, "table",
                    "The root mean square of the largest array, and the norm of the gradient.")
    return Line(f"the largest numbers have a mean size of {most:.3g}; gradient norms of layers go "
                f"from {least:.2g} to {steepest:.2g}", verdict, (figure,))


def dead_units(case, seconds):
    """Few units say the same whatever is read."""
    rows, shares = [], []
    for depth, varies in sorted(activity(case).units.items()):
        dead, n = int((varies < DEAD).sum()), len(varies)
        shares.append(dead / n)
        rows.append((named(depth, case), dead, n))
    if not rows:
        raise Unfit("no operation of this net makes units with a nonlinearity")
    worst = max(shares)
    verdict = OK if worst <= 0.1 else WARNS if worst <= 0.5 else FAILS
    _, dead, of = zip(*rows)
    figure = Figure("Dead units", ("layer", "dead", "of"), rows)
    return Line(f"{sum(dead):,} of {sum(of):,} units never change, in one layer at most "
                f"{worst:.0%}", verdict, (figure,))
