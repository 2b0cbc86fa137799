"""Our training steps of some sizes, and clocks inside them: for train_step.py and busy.py."""
import os
import statistics
import sys
import time
from typing import NamedTuple

import numpy as np
from results import THREADS

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:1] = [os.path.dirname(HERE), HERE]                   # or gpt would be benchmarks/gpt.py


clock = time.process_time if THREADS == "1" else time.perf_counter


class Size(NamedTuple):
    shape: dict
    batch: int                     # sequences
    steps: int                     # in a turn
    vocabulary: int = 65
    preset: str = "gpt2"


SIZES = {"small": Size(dict(n_layer=4, n_head=4, d_model=128, context_length=64), 12, 20),
         "6x384": Size(dict(n_layer=6, n_head=6, d_model=384, context_length=256), 16, 1),
         "8x512": Size(dict(n_layer=8, n_head=8, d_model=512, context_length=512), 8, 1),
         "gpt2": Size(dict(n_layer=12, n_head=12, d_model=768, context_length=1024), 1, 1, 50_257),
         "recipe": Size(dict(n_layer=4, n_head=2, d_model=128, context_length=256, look_back=4), 4,
                        10, 1024, "fast")}


def batch_of(size):
    """Return the ids and targets of a step, each (B, T)."""
    shape = size.batch, size.shape["context_length"]
    return np.random.default_rng(0).integers(0, size.vocabulary, (2, *shape))


class Ours:
    """Our steps of a size, as `train.py` takes them."""

    def __init__(self, size, precision="float32"):
        from gpt.models.decoder import GPT
        from gpt.training.config import Config
        from gpt.training.run import make_optimizers
        from minigrad.kernels import bfloat16
        from minigrad.kernels.replay import Replay
        config = Config.make(size.preset, vocab_size=size.vocabulary, bias=False, **size.shape)
        model = GPT(config.model, np.random.default_rng(0))
        self.parameters, self.optimizers = model.parameters(), make_optimizers(model, config.train)
        self.gradients, self.batch = Replay(model.loss, self.parameters), batch_of(size)
        self.precision, self.obstacle = precision, bfloat16.obstacle()

    def __call__(self):
        from minigrad import use
        from minigrad.optim import clip_grad_norm
        with use(precision=self.precision):
            self.gradients(*self.batch)
        clip_grad_norm(self.parameters, 1.0)
        self.update()

    def update(self):
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad()

    @property
    def recording(self):
        return next(iter(self.gradients.attempts.values())).recording


# ---- clocks ----

def seconds(step, n):
    began = clock()
    for _ in range(n):
        step()
    return (clock() - began) / n


def clocked(function, spent):
    """Return the function, which then adds to a list the seconds that it takes."""
    def call(*args):
        began = clock()
        function(*args)
        spent.append(clock() - began)
    return call


def engine(step, n):
    """Return the part of n steps that is spent outside kernels, by a clock around each of them."""
    from minigrad.kernels import jit
    spent, recording, run = [], step.recording, jit.run
    calls = recording.calls
    recording.calls = [(clocked(function, spent), args) for function, args in calls]
    jit.run = lambda function, *args: clocked(function, spent)(*args)
    try:
        wall = n * seconds(step, n)
    finally:
        jit.run, recording.calls = run, calls
    return 1 - sum(spent) / wall


def products(step, n, again=5):
    """Return the rate of products inside n steps by the rate of each of them several times alone.

    The operands are the same in both; alone they are in the cache, as far as they fit.
    """
    recording, inside = step.recording, {}
    calls = recording.calls
    for i, (function, args) in enumerate(calls):
        if is_product(function):
            recording.calls = [*recording.calls]
            inside[i] = []
            recording.calls[i] = clocked(function, inside[i]), args
    try:
        seconds(step, n)
    finally:
        recording.calls = calls
    alone = [statistics.median(alone_seconds(*calls[i], again)) for i in inside]
    return sum(alone) / sum(map(statistics.median, inside.values()))


def is_product(function):
    from minigrad.kernels import gemm, on_tiles
    made = [*gemm._products.overloads.values(), *on_tiles._products.overloads.values()]
    return any(function is each.entry_point for each in made)


def alone_seconds(function, args, n):
    """Return the seconds of each of n calls, one after another."""
    function(*args)                                           # now they are in the cache
    spent = []
    call = clocked(function, spent)
    for _ in range(n):
        call(*args)
    return spent


def optimizers(step, n):
    """Return the part of n steps that their optimizers take."""
    spent, update = [], step.update
    step.update = clocked(update, spent)
    try:
        wall = n * seconds(step, n)
    finally:
        del step.update
    return sum(spent) / wall


CLOCKS = {"engine": engine, "products": products, "optimizers": optimizers}
