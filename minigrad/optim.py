"""Optimizers, gradient clipping and learning-rate schedules.

An update rule is a plain function on arrays, which writes into the parameter and into what it
remembers; the classes keep those arrays and the settings.
"""
import ctypes
import functools
import itertools
import math
import operator
import weakref

import numpy as np

from minigrad import jit
from minigrad.mistakes import check_state, mark_written
from minigrad.mode import mode
from minigrad.parallel import array_at, row_kernel, widest_vectors
from minigrad.tensor import Tensor


# ---- update rules ----------------------------------------------------------------------------

def sgd(p, g, velocity, *, learning_rate, momentum, nesterov, weight_decay):
    r"""Take one step of gradient descent with momentum, in place.

    .. math:: g' = g + \lambda p, \quad v \leftarrow \mu v + g', \quad
              p \leftarrow p - \eta \, (g' + \mu v \text{ if nesterov else } v)

    References
    ----------
    Sutskever et al. 2013, Proceedings of ICML, in the form of torch: the rate scales v when it is
    used and not when it is collected.
    """
    g = g + weight_decay * p
    velocity *= momentum
    velocity += g
    p -= learning_rate * (g + momentum * velocity if nesterov else velocity)


def adamw(p, g, m, v, t, *, learning_rate, betas, eps, weight_decay):
    r"""Take one step of Adam with decoupled weight decay, in place; `t` counts the steps.

    .. math:: m \leftarrow \beta_1 m + (1 - \beta_1) g, \quad
              v \leftarrow \beta_2 v + (1 - \beta_2) g^2

    .. math:: p \leftarrow p - \eta \lambda p - \eta \, \hat m / (\sqrt{\hat v} + \epsilon),
              \quad \hat m = m / (1 - \beta_1^t), \quad \hat v = v / (1 - \beta_2^t)

    The division by 1 - beta**t undoes that m and v started at zero.

    References
    ----------
    Loshchilov & Hutter 2019, arXiv:1711.05101, algorithm 2 (the decay is scaled by the learning
    rate, as in torch); Kingma & Ba 2015, arXiv:1412.6980.
    """
    beta1, beta2 = betas
    t += 1
    m *= beta1
    m += (1 - beta1) * g
    v *= beta2
    v += (1 - beta2) * g * g
    m_hat = m / (1 - beta1 ** int(t))
    v_hat = v / (1 - beta2 ** int(t))
    p *= 1 - learning_rate * weight_decay
    p -= learning_rate * m_hat / (np.sqrt(v_hat) + eps)


# ---- optimizers ------------------------------------------------------------------------------

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
        If a setting does not exist, or a parameter is given twice or requires no gradient.

    Notes
    -----
    A subclass defines `rule(p, g, *remembered, **settings)`, and `memory`, which makes what is
    remembered of one parameter: a dict of arrays in the order of the rule's arguments.
    """

    def __init__(self, parameters, **settings):
        groups = list(parameters)
        if not groups or not isinstance(groups[0], dict):
            groups = [{"parameters": groups}]
        self.groups = [{**settings, **group, "parameters": list(group["parameters"])}
                       for group in groups]
        check_groups(self.groups, settings)
        self.memories = [self.memory(p.data) for group in self.groups for p in group["parameters"]]
        self.places = Places()

    def step(self, scale=1.0):
        """Update every parameter that has a gradient, with learning rates multiplied by `scale`.

        The scale is what the schedules below return.
        """
        memories, jobs = iter(self.memories), []
        for group in self.groups:
            settings = {name: value for name, value in group.items() if name != "parameters"}
            settings["learning_rate"] *= scale
            for p, memory in zip(group["parameters"], memories):
                if p.grad is not None:
                    jobs.append((settings, p.data, p.grad, *memory.values()))
        for settings, *arrays in self.fast_rule(jobs) if mode.level == "fast" and jobs else jobs:
            self.rule(*arrays, **settings)
        mark_written(*(job[1] for job in jobs))

    def fast_rule(self, jobs):
        """Take the steps that a kernel can take in one pass over all parameters; return the rest.

        A job is the settings and the arrays of one call of `rule`.
        """
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
        """Copy arrays, as from `state_dict`, into the memory; a ValueError names all misfits."""
        into = self.state_dict()
        check_state(values, into)
        for name, x in into.items():
            x[...] = values[name]


class SGD(Optimizer):
    """Stochastic gradient descent: see `sgd` for the rule (torch: lr for learning_rate)."""

    rule = staticmethod(sgd)

    def fast_rule(self, jobs):
        return sgd_fast(jobs, self.places)

    def __init__(self, parameters, learning_rate, momentum=0.0, nesterov=False, weight_decay=0.0):
        if nesterov and not momentum:
            raise ValueError("nesterov looks ahead along the momentum, which is 0: set momentum")
        super().__init__(parameters, learning_rate=learning_rate, momentum=momentum,
                         nesterov=nesterov, weight_decay=weight_decay)

    def memory(self, p):
        return {"velocity": np.zeros_like(p)}


class AdamW(Optimizer):
    """Adam with decoupled weight decay: see `adamw` for the rule (torch: lr for learning_rate)."""

    rule = staticmethod(adamw)

    def fast_rule(self, jobs):
        return adamw_fast(jobs, self.places)

    def __init__(self, parameters, learning_rate=1e-3, betas=(0.9, 0.999), eps=1e-8,
                 weight_decay=0.01):
        super().__init__(parameters, learning_rate=learning_rate, betas=betas, eps=eps,
                         weight_decay=weight_decay)

    def memory(self, p):
        return {"m": np.zeros_like(p), "v": np.zeros_like(p), "t": np.zeros((), np.int64)}


def check_groups(groups, settings):
    """Refuse unknown settings, parameters given twice, and what requires no gradient."""
    seen = set()
    for group in groups:
        unknown = set(group) - {"parameters", *settings}
        if unknown:
            raise ValueError(f"a group sets {', '.join(sorted(unknown))}, but there are only "
                             f"{', '.join(settings)}")
        for p in group["parameters"]:
            if not isinstance(p, Tensor) or not p.requires_grad or p.op is not None:
                raise ValueError(f"{p!r:.60} cannot be optimized: give leaf tensors that require "
                                 "a gradient")
            if p in seen:
                raise ValueError(f"a parameter of shape {p.shape} is given twice: name each once")
            seen.add(p)


def decay_groups(parameters, weight_decay):
    """Make two groups: matrices and embeddings, which decay, and gains and biases, which do not."""
    parameters = list(parameters)
    return [{"parameters": [p for p in parameters if p.ndim >= 2], "weight_decay": weight_decay},
            {"parameters": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0}]


# ---- gradients -------------------------------------------------------------------------------

def clip_grad_norm(parameters, max_norm):
    """Scale all gradients together so that their joint norm is at most `max_norm`.

    Parameters
    ----------
    parameters : iterable of Tensor
        Those without a gradient are skipped.
    max_norm : float
        In units of the loss per unit of parameter.

    Returns
    -------
    norm : float
        The joint L2 norm before scaling.

    Raises
    ------
    FloatingPointError
        If the norm is not finite; the gradients are left as they were.

    Notes
    -----
    Gradients are scaled in place. The sum of squares is accumulated in float64. (torch divides
    by norm + 1e-6.)

    References
    ----------
    Pascanu et al. 2013, arXiv:1211.5063, Algorithm 1.

    Examples
    --------
    >>> from minigrad import Tensor
    >>> w = Tensor([0.0, 0.0], requires_grad=True)
    >>> w.grad = np.array([3.0, 4.0]); clip_grad_norm([w], 1.0), w.grad
    (5.0, array([0.6, 0.8]))
    """
    gradients = [p.grad for p in parameters if p.grad is not None]
    norm = math.sqrt(sum_of_squares(gradients))
    if not math.isfinite(norm):
        raise FloatingPointError(f"the norm of the gradients is {norm}: look for the step where "
                                 "the loss stopped being finite, or lower the learning rate")
    if norm > max_norm:
        for g in gradients:
            g *= max_norm / norm
    return norm


def sum_of_squares(arrays):
    """Return the sum of all squared elements of some arrays, in float64."""
    if mode.level == "fast" and arrays:
        return sum_of_squares_fast(arrays)
    return sum(np.square(x, dtype=np.float64).sum() for x in arrays)


# ---- schedules: what to multiply the learning rate with at step 0, 1, ..., total_steps - 1 ---

def cosine_schedule(step, total_steps, warmup_steps=0, final=0.1):
    """Rise linearly to 1, then follow half a cosine to `final` at `total_steps`.

    Source: Loshchilov & Hutter 2017, arXiv:1608.03983, equation 5, without restarts.
    """
    done = progress(step, warmup_steps, total_steps)
    falling = final + (1 - final) * 0.5 * (1 + math.cos(math.pi * done))
    return warmup(step, warmup_steps) * falling


def linear_schedule(step, total_steps, warmup_steps=0, final=0.0):
    """Rise linearly to 1, then fall linearly to `final` at `total_steps`."""
    done = progress(step, warmup_steps, total_steps)
    return warmup(step, warmup_steps) * (1 + (final - 1) * done)


def trapezoid_schedule(step, total_steps, warmup_steps=0, decay_steps=0, final=0.0):
    """Rise linearly to 1, stay, and fall linearly to `final` in the last `decay_steps`.

    Source: Hägele et al. 2024, arXiv:2405.18392.
    """
    done = progress(step, total_steps - decay_steps, total_steps)
    return warmup(step, warmup_steps) * (1 + (final - 1) * done)


def warmup(step, warmup_steps):
    """Return what part of the warm-up is done: never 0, and 1 at the step after it."""
    return min(1.0, (step + 1) / (warmup_steps + 1))


def progress(step, start, stop):
    """Return where `step` lies between start (0) and stop (1)."""
    return min(1.0, max(0.0, (step - start) / max(1, stop - start)))


# ---- fast path -------------------------------------------------------------------------------
# All parameters are cut into pieces, and one kernel call works through a table of them: a model
# of many small parameters costs no more than one large array. What stays where it is, is looked
# up once, since asking 100 arrays for their addresses takes as long as 0.8 million updates.

PIECE = 4_096      # elements


def sgd_fast(jobs, places):
    """Take the steps of `sgd` whose arrays suit a kernel; return the other jobs."""
    def numbers(learning_rate, momentum, nesterov, weight_decay):
        return learning_rate, momentum, nesterov, weight_decay
    ready = places.update([job[1:] for job in jobs])
    rows = [numbers(**settings) for settings, *_ in jobs]
    in_pieces(_sgd, places.dtype, places.table, ready, rows)
    return [job for job, ok in zip(jobs, ready) if not ok]

def adamw_fast(jobs, places):
    """Take the steps of `adamw` whose arrays suit a kernel; return the other jobs."""
    def numbers(t, learning_rate, betas, eps, weight_decay):
        corrections = 1 - betas[0] ** t, 1 - betas[1] ** t
        return (*betas, eps, 1 - learning_rate * weight_decay, learning_rate / corrections[0],
                1 / corrections[1])
    ready = places.update([job[1:-1] for job in jobs])
    rows, known = [], {}
    for job, ok in zip(jobs, ready):
        settings, t = job[0], job[-1]
        n = t.item() + 1
        if ok:
            t[()] = n
        row = known.get((id(settings), n))
        if row is None:
            row = known[id(settings), n] = numbers(n, **settings)
        rows.append(row)
    in_pieces(_adamw, places.dtype, places.table, ready, rows)
    return [job for job, ok in zip(jobs, ready) if not ok]

def sum_of_squares_fast(arrays):
    dtype = arrays[0].dtype
    ready = [suitable(x, dtype, x.shape) for x in arrays]
    table = np.array([[x.size, address(x) if ok else 0] for x, ok in zip(arrays, ready)])
    rest = sum(np.square(x, dtype=np.float64).sum() for x, ok in zip(arrays, ready) if not ok)
    return rest + in_pieces(_sum_of_squares, dtype, table, ready, [()] * len(arrays)).sum()


class Places:
    """A table of where the arrays of jobs lie: a row of size and addresses for each.

    A job is (p, g, *memory). Addresses are looked up again only when one of the arrays is another
    object than last time; gradients, which are not to be kept alive here, are known by weak
    references. What is known is set last: an error on the way leaves nothing half done.
    """

    def __init__(self):
        self.arrays, self.gradients, self.kept, self.ready = [], [], [], []
        self.table = self.dtype = None

    def __reduce__(self):                                 # a copy's arrays lie elsewhere
        return Places, ()

    def update(self, jobs):
        """Bring the table up to date; return whether a kernel can do it, for each job."""
        parameters, gradients, *memory = zip(*jobs)
        arrays = [*parameters, *itertools.chain(*memory)]
        if len(arrays) != len(self.arrays) or any(map(operator.is_not, arrays, self.arrays)):
            self.arrays, self.gradients, self.dtype = [], [], arrays[0].dtype
            self.kept = [(all(suitable(x, self.dtype, p.shape) for x in (p, *rest)), p.shape)
                         for p, _, *rest in jobs]
            self.table = np.array([[p.size, p.ctypes.data, 0, *(x.ctypes.data for x in rest)]
                                   for p, _, *rest in jobs])
            self.arrays = arrays
        known = [g() for g in self.gradients]
        if not known or any(map(operator.is_not, gradients, known)):
            self.gradients = []
            self.ready = [ok and g.dtype == self.dtype and g.shape == shape and g.flags.carray
                          for g, (ok, shape) in zip(gradients, self.kept)]
            self.table[:, 2] = [address(g) if ok else 0 for g, ok in zip(gradients, self.ready)]
            self.gradients = [weakref.ref(g) for g in gradients]
        return self.ready


def suitable(x, dtype, shape):
    """Whether a kernel takes an array: of the float type and shape, not empty, contiguous."""
    return (x.dtype == dtype and x.shape == shape and x.flags.carray
            and dtype.char in "fd" and x.size > 0)

def address(x):
    """Return x.ctypes.data of a contiguous array, in a third of the time."""
    return ctypes.addressof(ctypes.c_char.from_buffer(x))

def in_pieces(kernel, dtype, table, ready, numbers):
    """Run kernel(pieces, table, numbers, like, out) on the jobs that are ready; return `out`.

    A job is a row of the table and a tuple of numbers. `out` has one float64 for each piece.
    """
    if not all(ready):
        table = table[np.array(ready)]
        numbers = [row for row, ok in zip(numbers, ready) if ok]
    pieces = cut(tuple(table[:, 0].tolist()))
    out = np.zeros(len(pieces))
    if len(pieces):
        kernel(len(pieces), pieces, table, np.array(numbers, dtype), np.empty(0, dtype), out)
    return out

@functools.lru_cache(maxsize=8)
def cut(sizes):
    """Return the pieces of arrays: each is (job, where it begins, where it ends)."""
    return np.array([(job, begin, min(begin + PIECE, size)) for job, size in enumerate(sizes)
                     for begin in range(0, size, PIECE)], np.int64).reshape(-1, 3)

@jit.helper
def piece_of(piece, addresses, place, like):
    """View a piece of one of the arrays of its job."""
    return array_at(addresses[piece[0], place] + piece[1] * like.itemsize, piece[2] - piece[1],
                    like)


@row_kernel(small=0)
def _adamw(start, stop, pieces, table, numbers, like, out):
    widest_vectors()
    one = like.dtype.type(1)
    for i in range(start, stop):
        piece, row = pieces[i], numbers[pieces[i, 0]]
        beta1, beta2, eps, keep, rate, correction = row[0], row[1], row[2], row[3], row[4], row[5]
        p, g = piece_of(piece, table, 1, like), piece_of(piece, table, 2, like)
        m, v = piece_of(piece, table, 3, like), piece_of(piece, table, 4, like)
        for j in range(p.size):
            m[j] = beta1 * m[j] + (one - beta1) * g[j]
            v[j] = beta2 * v[j] + (one - beta2) * g[j] * g[j]
            p[j] = keep * p[j] - rate * m[j] / (np.sqrt(v[j] * correction) + eps)

@row_kernel(small=0)
def _sgd(start, stop, pieces, table, numbers, like, out):
    for i in range(start, stop):
        piece, row = pieces[i], numbers[pieces[i, 0]]
        rate, momentum, nesterov, decay = row[0], row[1], row[2], row[3]
        p, g = piece_of(piece, table, 1, like), piece_of(piece, table, 2, like)
        velocity = piece_of(piece, table, 3, like)
        of_velocity = momentum if nesterov else like.dtype.type(1)
        for j in range(p.size):
            step = g[j] + decay * p[j]
            velocity[j] = momentum * velocity[j] + step
            p[j] -= rate * (nesterov * step + of_velocity * velocity[j])

@row_kernel(small=0)
def _sum_of_squares(start, stop, pieces, table, numbers, like, out):
    for i in range(start, stop):
        x, total = piece_of(pieces[i], table, 1, like), 0.0
        for j in range(x.size):
            total += np.float64(x[j]) * np.float64(x[j])
        out[i] = total
