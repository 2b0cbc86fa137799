"""How large are numbers and gradients in each layer, and which units never say anything?"""
from typing import NamedTuple

import numpy as np

from gpt.training.layers import BEHIND, depths
from gpt.verdicts.case import FAILS, OK, WARNS, Figure, Line, Unfit
from minigrad import watch
from minigrad.tensor import Tensor

# What makes units of numbers: a unit is a place of the last axis of what these give.
UNITS = {"relu", "relu_squared", "gelu", "exact_gelu", "silu", "swiglu", "sigmoid", "tanh",
         "rnn", "lstm", "gru", "mingru"}
DEAD = 1e-6                        # of the layer's mean square: a unit that varies less is dead
HUGE = 1e4                         # as a mean, float32 has lost the small numbers beside it


class Activity(NamedTuple):
    """What was seen in one forward pass and the way back, by depth."""

    sizes: dict                    # depth -> the largest root mean square of any operation
    units: dict                    # depth -> list of (n,) variance of each unit over all places
    gradients: dict                # depth -> the norm of the gradient of its parameters


def activity(case):
    """Look at one batch: `Activity`, made once."""
    if "activity" not in case.known:
        case.known["activity"] = look(case)
    return case.known["activity"]


def look(case):
    layer, nodes, batch = depths(case.model), [], case.batch(B=8, T=128)
    parameters = case.model.parameters()
    learnt = [x.requires_grad for x in parameters]
    for x in parameters:
        x.requires_grad, x.grad = True, None
    with watch(nodes.append):
        loss = case.loss(case.model, batch)
    sizes, units, depth = {}, {}, 0
    for node in nodes:
        known = [layer[x] for x in node.inputs if isinstance(x, Tensor) and x in layer]
        depth = max([depth, *known])
        for y in node.data if isinstance(node.data, tuple) else (node.data,):
            if np.ndim(y) >= 2 and y.dtype.kind == "f":
                note(node.op.name, y, sizes.setdefault(depth, []), units.setdefault(depth, []))
    loss.backward()
    gradients = {}
    for x in parameters:
        square = 0.0 if x.grad is None else float((x.grad.astype(np.float64) ** 2).sum())
        gradients[layer[x]] = gradients.get(layer[x], 0.0) + square
    for x, requires_grad in zip(parameters, learnt):
        x.requires_grad, x.grad = requires_grad, None
    largest = {depth: max(found) for depth, found in sizes.items() if found}
    return Activity(largest, units, {depth: g ** 0.5 for depth, g in gradients.items()})


def note(op, y, sizes, units):
    """Take note of what an operation gave."""
    rows = y.reshape(-1, y.shape[-1]).astype(np.float64)                    # (n, units)
    sizes.append(float(np.sqrt((rows ** 2).mean())))
    if op in UNITS:
        units.append(rows.var(axis=0) / max((rows ** 2).mean(), 1e-30))


def named(depth, highest):
    if depth == 0:
        return "embedding"
    return "head" if depth > highest else f"layer {depth}"


def sizes_by_layer(case, seconds):
    """Numbers and gradients are finite, and no layer's are out of all proportion."""
    sizes, _, gradients = activity(case)
    highest = case.config.model.n_layer
    digits = lambda x: float(f"{x:.4g}")
    rows = [(named(depth, highest), digits(sizes.get(depth, 0.0)), digits(gradients.get(depth, 0.0)))
            for depth in sorted({*sizes, *gradients}) if depth != BEHIND]
    most, least = max(row[1] for row in rows), min(row[2] for row in rows)
    finite = np.isfinite([row[1:] for row in rows]).all()
    verdict = OK if finite and most < HUGE else FAILS
    steepest = max(row[2] for row in rows)
    if verdict == OK and least < 1e-6 * steepest:
        verdict = WARNS
    figure = Figure("By layer", ("layer", "largest mean size", "gradient norm"), rows, "table",
                    "The root mean square of the largest array, and the norm of the gradient.")
    return Line(f"the largest numbers have a mean size of {most:.3g}; gradient norms of layers go "
                f"from {least:.2g} to {steepest:.2g}", verdict, (figure,))


def dead_units(case, seconds):
    """Few units say the same whatever is read."""
    _, units, _ = activity(case)
    rows = []
    for depth, found in sorted(units.items()):
        if found:
            dead = np.concatenate(found) < DEAD
            rows.append((named(depth, case.config.model.n_layer), int(dead.sum()), len(dead)))
    if not rows:
        raise Unfit("no operation of this net makes units with a nonlinearity")
    shares = [dead / n for _, dead, n in rows]
    worst = max(shares)
    verdict = OK if worst <= 0.1 else WARNS if worst <= 0.5 else FAILS
    figure = Figure("Dead units", ("layer", "dead", "of"), rows)
    return Line(f"{sum(row[1] for row in rows):,} of {sum(row[2] for row in rows):,} units never "
                f"change, in one layer at most {worst:.0%}", verdict, (figure,))
