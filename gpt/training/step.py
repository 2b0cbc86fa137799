"""The step of training: batch, loss, backward, clip, update; a record for each.

Nothing random outlives a step: the batch of step 7 follows from the seed and the number 7 alone.
So a run can stop anywhere, and goes on as if it had not.
"""
import math
import time
from contextlib import contextmanager, nullcontext
from typing import NamedTuple

import numpy as np

from gpt.batch import Batch
from gpt.training.checkpoint import below
from gpt.training.divergence import Diverged, where_it_began
from gpt.training.parallel.world import Alone
from gpt.training.plan import rate_at
from minigrad.kernels import threads
from minigrad.kernels.replay import Replay
from minigrad.mode import changed, use
from minigrad.optim import clip_grad_norm


class StepRecord(NamedTuple):
    """What there is to know about a step."""

    step: int                      # how many are done, with this one
    progress: float
    loss: float                    # nats per target, on the batch, before the step
    grad_norm: float
    rate: float                    # the learning rate, as a share of the highest
    n_tokens: int
    elapsed_s: float               # for this step
    n_threads: int                 # that took it
    notes: dict = {}               # what else the task tells of its batch, by name


def train_steps(run):
    """Take optimizer steps to the end of the plan, yielding a StepRecord for each.

    Whoever reads the records may save the run between two of them, or change `run.plan`.

    Raises
    ------
    Diverged
        Before a step that would spoil the weights.
    """
    way = run.way
    way.renew()
    while way.goes_on():
        if run.thaw():
            way.renew()
        began, progress = time.perf_counter(), run.plan.progress(run.step)
        with way.at_hand():
            batch = next_batch(run)
            n = np.float64(max(1, batch.n_targets))
            with use(precision=run.precision):
                loss = way.gradients(batch, n)
            grad_norm = checked_norm(run, batch, n, loss)
        rate = rate_at(run.config.train, run.plan, run.step)
        way.update(rate)
        run.step += 1
        elapsed_s = way.agreed(time.perf_counter() - began)
        yield StepRecord(run.step, progress, loss, grad_norm, rate, batch.ids.size, elapsed_s,
                         threads.n_threads(), run.task.notes(batch))


def next_batch(run):
    """Draw the batch of the step to come."""
    return run.batch(np.random.default_rng((run.config.train.seed, run.step)))


def checked_norm(run, batch, n, loss):
    """Clip the gradients and return their norm; a step that is not finite ends the run."""
    try:
        if math.isfinite(loss):
            return run.way.norm(run.config.train.clip_norm or math.inf)
    except FloatingPointError:
        pass
    with run.way.at_hand(all_of_it=True):
        raise Diverged(where_it_began(run, batch, n))


# ---- who does the work of a step ----

class OneProcess:
    """How the work of a step is done where one process does all of it.

    Other ways (gpt/training/parallel) do it with others, who all call the same methods at the same
    time; rank 0 decides, evaluates and saves.

    Parameters
    ----------
    run : Run
    world : Alone or World
    """

    def __init__(self, run, world=None):
        self.run, self.world = run, world or Alone()

    def on(self, run):
        """Return the same way for another run."""
        return type(self)(run, self.world)

    def described(self):
        """Say who does the work, where it is not this process alone: lines."""
        return ()

    shares = 1, 1, 1       # of weights, gradients and moments, that this process keeps
    micro_batches_kept = 1         # at a time, as if of the whole net

    @property
    def recomputes(self):
        """Whether blocks run anew on the way back."""
        return self.run.config.train.recompute

    def passing_bytes(self):
        """Return the memory that is taken for a while beside what is kept and computed."""
        return 0

    def measure(self, step_s):
        """Find out, all ranks together, what is worth saying of a step that takes so long."""

    def rows(self, B):
        """Return how many of the B rows of a step this process computes at a time, at most."""
        return B

    def by_rows(self, n, compute, piece):
        """Return arrays of n rows for all ranks, of which each makes some: see `Alone.by_rows`."""
        return self.world.by_rows(n, compute, piece)

    def goes_on(self):
        """Whether there is one more step; rank 0 says it, and by which plan."""
        return self.run.step < self.run.plan.steps

    def stop(self):
        """Let no rank take a further step: rank 0 alone calls it, in place of `goes_on`."""

    def renew(self):
        """Begin anew, as other parameters learn from now on, without what was recorded."""
        self.loss_and_gradients = Replay(loss_of(self.run), self.run.trained)

    def at_hand(self, all_of_it=False):
        """Return a block within which all ranks have what they need to run the net together; or
        all of its weights."""
        return nullcontext()

    def gradients(self, batch, n, first=0):
        """Add the gradients of a whole step to those in `.grad`, and return its loss.

        Parameters
        ----------
        batch : Batch
        n : float64
            The targets of the step.
        first : int
            The number of the first row of the batch in that of the step.
        """
        loss = 0.0
        for part, rng in micro_batches(self.run, batch, first):
            loss += self.loss_and_gradients(*part, n, rng=rng)
        self.run.obstacle = self.loss_and_gradients.obstacle
        return loss

    def norm(self, max_norm):
        """Clip the gradients, and return what their norm was."""
        return clip_grad_norm(self.run.trained, max_norm)

    def update(self, rate):
        """Change the weights, and drop the gradients."""
        for optimizer in self.run.optimizers:
            optimizer.step(rate)
            optimizer.zero_grad()

    def agreed(self, x):
        """Return what rank 0 has."""
        return x

    @contextmanager
    def whole(self):
        """Inside the block rank 0 has the whole net, to evaluate and to save; the others wait."""
        yield

    def tensors(self):
        """Return what a checkpoint holds, by name: the same however many processes there are."""
        return {f"{prefix}.{name}": x for prefix, part in self.run.parts().items()
                for name, x in part.state_dict().items()}

    def n_bytes(self):
        """Return the size of all that."""
        return sum(x.nbytes for x in self.tensors().values())

    def load(self, tensors):
        """Take over what `tensors` returned."""
        for prefix, part in self.run.parts().items():
            part.load_state_dict(below(tensors, prefix))


def loss_of(run):
    """Return the function from the arrays of a batch, and n, to the loss."""
    def loss(*arrays, rng):
        *part, n = arrays
        with changed("recomputing", run.config.train.recompute):
            return run.loss(Batch(*part), n, rng)
    return loss


def micro_batches(run, batch, first=0, size=None):
    """Cut a batch into what is computed at a time, each with the generator of its dropout.

    That follows from the step and the number of its first row, so it does not matter who computes
    it; `first` is that of the first row here. Unless said, the settings choose the size.
    """
    for part in batch.parts(size or run.micro_batch(batch)):
        yield part, np.random.default_rng((run.config.train.seed, run.step, 1 + first))
        first += len(part.ids)
