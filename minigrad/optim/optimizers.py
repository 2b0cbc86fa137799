"""Optimizers: they keep the settings and what the update rules remember."""
import math
from collections.abc import Iterable

import numpy as np

from minigrad.mistakes import check_state, mark_written
from minigrad.mode import mode
from minigrad.kernels.pieces import Places, check_gradient
from minigrad.optim.kernels import adam_fast, adamw_fast, sgd_fast
from minigrad.optim.rules import adagrad, adam, adamw, rmsprop, sgd
from minigrad.tensor import needs_grad


class Optimizer:
    """Parameters in groups, their settings, and what the update rule remembers of each.

    Parameters
    ----------
    parameters : iterable of Tensor, or of dict
        A dict is a group: its "parameters", and settings that differ from those below.
    **settings
        Keyword arguments of the update rule. They stand in `groups` and may be changed there.

    Raises
    ------
    ValueError
        If a setting does not exist or makes no sense, or a parameter is given twice or requires no
        gradient.

    Notes
    -----
    A subclass defines `rule(p, g, *remembered, **settings)`, and `memory`, which makes what is
    remembered of one parameter: a dict of arrays in the order of the rule's arguments.
    """

    def __init__(self, parameters, **settings):
        if not isinstance(parameters, Iterable):
            raise TypeError(f"a {type(parameters).__name__} is no list of parameters: give "
                            "model.parameters()")
        groups = list(parameters)
        if not groups or not isinstance(groups[0], dict):
            groups = [{"parameters": groups}]
        self.groups = [{**settings, **group} for group in groups]
        self.memories = []                            # name -> array, for each parameter in turn
        for group in self.groups:
            group["parameters"] = list(group["parameters"])
        check_groups(self.groups, settings)
        for group in self.groups:
            self.memories += [self.memory(p.data) for p in group["parameters"]]
        self.places = Places()

    def step(self, scale: float = 1.0):
        """Update every parameter that has a gradient, with learning rates multiplied by `scale`.

        The scale is what the schedules return.

        Raises
        ------
        ValueError, TypeError
            If a gradient has another shape or dtype than its parameter, or a setting was changed
            to what makes no sense; nothing has been updated then.
        """
        memories, jobs = iter(self.memories), []
        for group in self.groups:
            settings = dict(group)
            parameters = settings.pop("parameters")
            settings["learning_rate"] *= scale
            check_settings(settings)
            for p, memory in zip(parameters, memories):
                if p.grad is not None:
                    jobs.append((settings, p.data, p.grad, *memory.values()))
        if mode.level == "fast" and jobs:
            rest = self.fast_rule(jobs)
        else:
            for _, p, g, *_ in jobs:
                check_gradient(p, g)
            rest = jobs
        for settings, *arrays in rest:
            self.rule(*arrays, **settings)
        mark_written(*(job[1] for job in jobs))

    def fast_rule(self, jobs):
        """Take the steps that a kernel can take in one pass over all parameters; return the rest.

        A job is the settings and the arrays of one call of `rule`.
        """
        for _, p, g, *_ in jobs:
            check_gradient(p, g)
        return jobs

    def zero_grad(self):
        """Forget the gradients, so that the next backward starts new ones."""
        for group in self.groups:
            for p in group["parameters"]:
                p.grad = None

    def state_dict(self):
        """Return {"0.m": array, ...}, all that is remembered: copy what is to be kept.

        The settings are not part of it.
        """
        return {f"{i}.{name}": x for i, memory in enumerate(self.memories)
                for name, x in memory.items()}

    def load_state_dict(self, values):
        """Copy arrays, as from `state_dict`, into the memory.

        Parameters
        ----------
        values : dict of str to array

        Raises
        ------
        ValueError
            Naming all that is missing, unexpected, or of another shape or dtype; nothing is
            changed then.
        """
        into, wrong = self.state_dict(), []
        check_state(values, into)
        for name, x in into.items():
            dtype = np.asarray(values[name]).dtype
            if not np.can_cast(dtype, x.dtype, "equiv"):
                wrong.append(f"{name} has dtype {dtype} and not {x.dtype}")
        if wrong:
            raise ValueError("the state does not fit, and nothing was loaded: " + "; ".join(wrong))
        for name, x in into.items():
            x[...] = values[name]


class SGD(Optimizer):
    """Stochastic gradient descent: see `sgd` for the rule (torch: lr for learning_rate)."""

    rule = staticmethod(sgd)

    def fast_rule(self, jobs):
        return sgd_fast(jobs, self.places)

    def __init__(self, parameters, learning_rate: float, momentum: float = 0.0,
                 nesterov: bool = False, weight_decay: float = 0.0, dampening: float = 0.0):
        super().__init__(parameters, learning_rate=learning_rate, momentum=momentum,
                         dampening=dampening, nesterov=nesterov, weight_decay=weight_decay)

    def memory(self, p):
        return {"velocity": np.zeros_like(p), "t": new_count()}

    def load_state_dict(self, values):
        """Copy arrays into the memory; states from before there was a t may lack it."""
        known = self.state_dict()
        counts = {name: known[name] for name in known if name.endswith(".t")}
        super().load_state_dict({**counts, **values})


class AdamW(Optimizer):
    """Adam with decoupled weight decay: see `adamw` for the rule (torch: lr for learning_rate)."""

    rule = staticmethod(adamw)

    def fast_rule(self, jobs):
        return adamw_fast(jobs, self.places)

    def __init__(self, parameters, learning_rate: float = 1e-3, betas: tuple = (0.9, 0.999),
                 eps: float = 1e-8, weight_decay: float = 0.01):
        super().__init__(parameters, learning_rate=learning_rate, betas=betas, eps=eps,
                         weight_decay=weight_decay)

    def memory(self, p):
        return moments(p)


class Adam(Optimizer):
    """Adam with the decay in the gradient: see `adam` for the rule (torch: lr for the rate)."""

    rule = staticmethod(adam)

    def fast_rule(self, jobs):
        return adam_fast(jobs, self.places)

    def __init__(self, parameters, learning_rate: float = 1e-3, betas: tuple = (0.9, 0.999),
                 eps: float = 1e-8, weight_decay: float = 0.0):
        super().__init__(parameters, learning_rate=learning_rate, betas=betas, eps=eps,
                         weight_decay=weight_decay)

    def memory(self, p):
        return moments(p)


class Adagrad(Optimizer):
    """Adagrad: see `adagrad` for the rule.

    (torch: lr for learning_rate, lr_decay for rate_decay, initial_accumulator_value for initial.)
    """

    rule = staticmethod(adagrad)

    def __init__(self, parameters, learning_rate: float = 0.01, rate_decay: float = 0.0,
                 eps: float = 1e-10, weight_decay: float = 0.0, initial: float = 0.0):
        check_settings({"initial": initial})
        self.initial = initial
        super().__init__(parameters, learning_rate=learning_rate, rate_decay=rate_decay, eps=eps,
                         weight_decay=weight_decay)

    def memory(self, p):
        return {"total": np.full_like(p, self.initial), "t": new_count()}


class RMSprop(Optimizer):
    """RMSprop: see `rmsprop` for the rule (torch: lr for learning_rate, alpha for beta)."""

    rule = staticmethod(rmsprop)

    def __init__(self, parameters, learning_rate: float = 0.01, beta: float = 0.99,
                 eps: float = 1e-8, momentum: float = 0.0, centered: bool = False,
                 weight_decay: float = 0.0):
        super().__init__(parameters, learning_rate=learning_rate, beta=beta, eps=eps,
                         momentum=momentum, centered=centered, weight_decay=weight_decay)

    def memory(self, p):
        return {name: np.zeros_like(p) for name in ("v", "mean", "velocity")}


def new_count():
    return np.zeros((), np.int64)


def moments(p):
    """Return what Adam remembers: the means of the gradient and of its square."""
    return {"m": np.zeros_like(p), "v": np.zeros_like(p), "t": new_count()}


# ---- what is refused -------------------------------------------------------------------------

def check_groups(groups, settings):
    """Refuse unknown settings, parameters given twice, and what requires no gradient."""
    seen = set()
    for group in groups:
        unknown = set(group) - {"parameters", *settings}
        if unknown:
            raise ValueError(f"a group sets {', '.join(sorted(unknown))}, but there are only "
                             f"{', '.join(settings)}")
        check_settings({name: group[name] for name in settings})
        for p in group["parameters"]:
            if not needs_grad(p) or p.op is not None:
                raise ValueError(f"{p!r:.60} cannot be optimized: give leaf tensors that require "
                                 "a gradient")
            if p in seen:
                raise ValueError(f"a parameter of shape {p.shape} is given twice: name each once")
            seen.add(p)


BELOW_ONE = ("betas", "beta")                         # all other settings may be any size


def is_pair(value):
    return isinstance(value, tuple | list) and len(value) == 2


def check_settings(settings):
    """Refuse numbers that no rule can work with, and options that would have no effect."""
    for name, value in settings.items():
        numbers = value if name == "betas" else (value,)
        if name == "betas" and not is_pair(value):
            raise ValueError(f"betas is {value!r}: give two numbers, such as (0.9, 0.999)")
        limit = 1 if name in BELOW_ONE else math.inf
        for number in numbers:
            if not 0 <= number < limit:
                bound = "finite and not negative" if limit > 1 else "from 0 to below 1"
                raise ValueError(f"{name} is {value}, but must be {bound}")
    if "dampening" in settings and not settings["momentum"]:
        if settings["nesterov"]:
            raise ValueError("nesterov looks ahead along the momentum, which is 0: set momentum")
        if settings["dampening"]:
            raise ValueError("dampening is of what enters the momentum, which is 0: set momentum")


# ---- groups ----------------------------------------------------------------------------------

def decay_groups(parameters, weight_decay: float):
    """Make two groups: matrices and embeddings, which decay, and gains and biases, which do not.

    Parameters
    ----------
    parameters : iterable of Tensor
    weight_decay : float
        Of the first group.

    Returns
    -------
    list of dict
        For an Optimizer.
    """
    matrices, vectors = [], []
    for p in parameters:
        (matrices if p.ndim >= 2 else vectors).append(p)
    return [{"parameters": matrices, "weight_decay": weight_decay},
            {"parameters": vectors, "weight_decay": 0.0}]
