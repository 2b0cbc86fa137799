"""Does this very net learn as it should? Its first loss, its gradient, and one batch by heart."""
import math
import time
from fnmatch import fnmatchcase

import numpy as np

from gpt.settings import ConfigError
from gpt.training.plan import Plan
from gpt.training.run import Run
from gpt.training.step import train_steps
from gpt.verdicts.case import Unfit, all_learning, judged
from minigrad import use

STEP = 1e-5                        # of a finite difference
SLOPES = 50                        # that are measured
LARGE = 50_000_000                 # weights from which on there is no copy in float64
STEPS = 300                        # in which a batch is to be learnt
PLAIN = dict(micro_batch=0, warmup_steps=5, dropout=0.0, base="", context_growth=False,
             carry_state=False, freeze="", unfreeze=0.0, weight_decay=0.0, decay_fraction=0.0,
             schedule="trapezoid")


def begins_with_nothing(case, seconds):
    """A net with new weights knows nothing: each answer is as likely as any other."""
    if case.facts.get("base"):
        raise Unfit("this run went on from a base: it began with what that knew")
    V = case.n_classes
    batch = case.batch(B=8)
    loss = case.loss(case.fresh(), batch).item()
    error = abs(loss / math.log(V) - 1)
    return judged(error < 0.05, f"with new weights the loss is {loss:.3f} nats, ln {V:,} is "
                  f"{math.log(V):.3f}")


def gradient_is_the_slope(case, seconds):
    """The gradient of the whole net is what finite differences say.

    The slopes are those of a float64 copy by the plain formulas; the gradient of training, float32
    by its kernels, is held beside that.
    """
    stop, batch = time.monotonic() + seconds, case.batch(B=2, T=16)
    size = sum(x.size for x in case.model.parameters())
    if size > LARGE:
        raise Unfit(f"a copy in float64 of {size / 1e6:,.0f} million weights and its gradient take "
                    f"{16 * size / 1e9:.1f} GB: ask it of a smaller net of this kind")
    with use("reference"):
        loss = lambda: case.loss(case.exact, batch).item()
        slopes = Slopes(loss, gradients(case, case.exact, batch))
        for name, i in slopes.places(np.random.default_rng(0)):
            slopes.measure(name, i)
            if slopes.n == SLOPES or time.monotonic() > stop:
                break
    error = slopes.beside(gradients(case, case.model, batch))
    kinks = f", {slopes.kinks} of them at kinks" if slopes.kinks else ""
    where = f" in {slopes.where}" if slopes.where else ""
    agrees = slopes.worst < 1e-5 and slopes.kinks < slopes.n / 2
    return judged(agrees and error < 1e-2, f"largest relative error {slopes.worst:.1e}{where}, at "
                  f"{slopes.n} weights{kinks}; of the gradient in float32 {error:.1e}")


def gradients(case, model, batch):
    """Return {name: (array, gradient)} of all parameters; the net is left without gradients."""
    with all_learning(model):
        case.loss(model, batch).backward()
        found = {}
        for name, x in model.named_parameters():
            g = np.zeros(x.shape) if x.grad is None else x.grad
            found[name] = x.data, g
    return found


class Slopes:
    """Slopes of a loss at single weights, beside the gradient.

    Parameters
    ----------
    loss : function of nothing
    known : dict of str to (array, gradient)
    """

    def __init__(self, loss, known):
        self.loss, self.known = loss, known
        self.n = self.kinks = 0
        self.worst, self.where = 0.0, ""
        largest = max(np.abs(g).max() for _, g in known.values())
        self.floor = 1e-6 * largest + 1e-30

    def places(self, rng):
        """Yield (name, index) without end, the parameters in turn, where it is steep."""
        names = [*self.known]
        while True:
            for k in rng.permutation(len(names)):
                _, g = self.known[names[k]]
                size = np.abs(g).reshape(-1)
                steepest = np.argsort(-size)[:50]
                yield names[k], rng.choice(steepest)

    def measure(self, name, i):
        """Take note of one weight; where the slope changes with the step there is a kink."""
        x, g = (array.reshape(-1) for array in self.known[name])
        wide, narrow = (slope(self.loss, x, i, h) for h in (STEP, STEP / 2))
        scale = self.scale(g)
        error = abs(narrow - g[i]) / scale
        self.n += 1
        if abs(wide - narrow) > 1e-5 * scale:
            self.kinks += 1
        elif error > self.worst:
            self.worst, self.where = error, name

    def scale(self, g):
        return max(np.abs(g).max(), self.floor)

    def beside(self, others):
        """Return the largest difference to other gradients, relative as those of the slopes."""
        errors = []
        for name, (_, g) in self.known.items():
            _, other = others[name]
            apart = np.abs(other - g).max()
            errors.append(apart / self.scale(g))
        return max(errors)


def slope(f, flat, i, h):
    """Return the central difference of f in element i, which is put back."""
    before = flat[i]
    flat[i] = before + h
    above = f()
    flat[i] = before - h
    below = f()
    flat[i] = before
    return (above - below) / (2 * h)


def all_have_learnt(case, seconds):
    """Every parameter that may learn, and that counts in the loss, is another than at first."""
    globs, now = case.config.train.freeze.split(","), case.model.state_dict()
    case.text()                                        # which came with the seed
    if not case.step or case.facts.get("base"):
        raise Unfit("what its weights began as is not known" if case.step else "it has no steps")
    before, same, n = case.fresh().state_dict(), [], 0
    for name in used(case):
        frozen = any(fnmatchcase(name, glob) for glob in globs)
        n += not frozen
        if not frozen and np.array_equal(now[name], before[name]):
            same.append(name)
    said = f"as at the start: {', '.join(same)}" if same else f"{n} of {n} have changed"
    return judged(not same, f"of its parameters {said}, after {case.step:,} steps")


def used(case):
    """Name the parameters that the loss depends on."""
    with all_learning(case.model):
        case.loss(case.model, case.batch()).backward()
        return [name for name, x in case.model.named_parameters() if x.grad is not None]


def learns_a_batch(case, seconds):
    """What one small batch says can be learnt by heart, by a net of these settings."""
    case.text()
    if not case.task.surprises:
        raise Unfit("its loss compares answers, and is no surprise at a text")
    shape = case.config.model
    T, n_layer = min(32, shape.context_length), min(2, shape.n_layer)
    narrow = min(0.01, 0.16 / shape.d_model)           # what a narrow net needs to learn so fast
    rate = max(case.config.train.learning_rate, narrow)
    settings = PLAIN | {"batch_tokens": 2 * T, "n_layer": n_layer, "learning_rate": rate}
    try:
        config = case.config.changed(**settings)
        run = OneBatch.start(config, case.data, Plan.fixed(STEPS))
    except ConfigError as error:
        raise Unfit(str(error)) from None
    run.fixed = case.batch(B=2, T=T)
    losses, stop = [], time.monotonic() + seconds
    for record in train_steps(run):
        losses.append(record.loss)
        learnt = losses[-1] < 0.1 * losses[0]
        if learnt or time.monotonic() > stop:
            break
    first, last = losses[0], losses[-1]
    if len(losses) < STEPS and last >= 0.1 * first:
        raise Unfit(f"in the time there was, {len(losses)} steps, the loss fell from {first:.2f} "
                    f"to {last:.2f}: give it more --seconds")
    return judged(last < 0.1 * first, f"from {first:.2f} to {last:.3f} nats in {len(losses)} steps")


class OneBatch(Run):
    """A run whose steps all see the same batch."""

    def batch(self, rng):
        return self.fixed
