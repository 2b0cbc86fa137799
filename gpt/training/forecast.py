"""What a run will cost, before it starts: the rate of this machine, the time of a step, memory."""
import functools
import gc
import time
from dataclasses import dataclass

import numpy as np

from gpt.models.unfilled import NoNumbers
from gpt.settings import ConfigError
from gpt.training.baselines import COUNTED_BYTES, XZ_BYTES
from gpt.training.clock import Rates, check_duration, plan_by_time
from gpt.training.folder import write_manifest
from gpt.training.layers import freeze
from gpt.training.memory import available_bytes, peak_bytes, used_bytes
from gpt.training.plan import batch_shape
from gpt.training.precision import settled
from gpt.training.step import train_steps
from gpt.training.task import Measure
from gpt.training.threads import compare, described, numbers_to_try
from minigrad import matmul, watch
from minigrad.kernels import threads
from minigrad.kernels.memory import trim
from minigrad.mode import changed
from minigrad.stepper.counting import count_nodes
from minigrad.stepper.declines import counting_declines
from minigrad.stepper.recording import memories


@functools.cache
def matmul_gflops(sizes=(384, 768), seconds=0.03, fewest=5):
    """Measure the best rate of a float32 matrix product, in 10**9 operations a second.

    What counts is the fastest product of many: the machine's rate, whatever else runs on it (at
    the very first start a second process compiles). Short products find a quiet moment, and one
    thread finds it where several do not; where all do, long products are the fastest.
    """
    most, best = threads.most_threads(), 0.0
    for n_threads, n in [(1, sizes[0]), *((most, n) for n in sizes)]:
        threads.set_threads(n_threads)
        a = np.random.default_rng(0).standard_normal((n, n), np.float32)
        matmul(a, a)                                  # loads or compiles the kernel
        times = []
        while len(times) < fewest or sum(times) < seconds:
            began = time.perf_counter()
            matmul(a, a)
            times.append(time.perf_counter() - began)
        best = max(best, 2 * n ** 3 / min(times) / 1e9)
    return best


def measure_rates(run, seconds=0.15, most_s=2.0, fewest=4):
    """Take a few steps with a copy of a run, evaluate a few targets, and return their `Rates`.

    From here on kernels use the number of threads that was the fastest. The first step, which
    loads or compiles the kernels, does not count. Of the others the fastest does: some are taken
    several times, to be replayed later, and what else the machine does may end.
    """
    copy, world = run.copy(), run.way.world
    steps = train_steps(copy)
    with counting_declines() as declines:
        next(steps)
    by_threads = compare(steps, numbers_to_try(threads.most_threads()))
    best = min(by_threads, key=by_threads.get)
    threads.set_threads(best)
    times = [by_threads[best]]
    while sum(times) < (seconds if len(times) >= fewest else most_s):
        times.append(next(steps).elapsed_s)
    with copy.way.whole():
        target_s = evaluating_s(copy) if world.rank == 0 else 0.0
    slow = [f"{name} runs without its kernel" for name in declines]
    if copy.obstacle:
        slow.append(f"steps are not replayed, because {copy.obstacle}")
    return world.share(Rates(min(times), target_s, tuple(slow), described(by_threads, best)))


def evaluating_s(run):
    """Measure how long it takes to evaluate a target."""
    measures = run.measures()
    next(measures)
    began = time.perf_counter()
    n_targets = next(measures, Measure()).n_targets
    return (time.perf_counter() - began) / max(1, n_targets)


# ---- memory ----

def check_size(config):
    """Refuse a model whose weights alone, with gradients and moments, do not fit into memory."""
    free, (weights, learnt) = available_bytes(), n_weights(config)
    needed = run_bytes(config, 4 * weights, learnt, 0, 0)
    if free is not None and needed > free:
        raise ConfigError(f"a model of {weights / 1e9:.1f} billion weights needs "
                          f"{needed / 1e9:.0f} GB to train, but "
                          f"{free / 1e9:.1f} GB are free: use a smaller --d_model or --n_layer")


def n_weights(config):
    """Count the weights of a net, without the memory that it would take: all, those that learn."""
    net = config.new_net(NoNumbers())
    freeze(net, config.train)
    return counted(net.parameters())


def counted(parameters):
    """Count the numbers in parameters: all, and in those that learn."""
    return (sum(x.size for x in parameters),
            sum(x.size for x in parameters if x.requires_grad))


def flops_per_token(run):
    """Count the floating-point operations of training on one token, on one sequence."""
    nodes = []
    with watch(nodes.append):
        _, batch = loss_of_few(run)
    return count_nodes(nodes) // batch.ids.size


def loss_of_few(run):
    """Return the loss of the fewest sequences, as long as the context, a Tensor; and these.

    They are one, or as many as belong together.
    """
    T, rng = run.width, np.random.default_rng(0)
    batch = run.drawn((1, T), rng).widened(T)
    return run.loss(batch, 1.0, rng), batch


def sequence_bytes(run):
    """Measure what one sequence keeps for the backward pass, at most, in bytes.

    Of blocks that are computed anew one at a time keeps more than its input, and has gradients of
    about three quarters of its size (measured). Gradients that the model may have are dropped.
    """
    all_blocks = kept_bytes(run)
    if not run.way.recomputes:
        return all_blocks
    with changed("recomputing", True):
        no_block = kept_bytes(run)
    return no_block + int(1.75 * (all_blocks - no_block) / run.config.model.n_layer)


def kept_bytes(run):
    """Measure what the forward pass of one sequence keeps for the backward pass, in bytes."""
    parameters = run.model.parameters()
    known = memories(x.data for x in parameters)
    blocks, held = {}, []                             # while memory lives, its id is its own

    def count(node):
        outputs = node.data if isinstance(node.data, tuple) else (node.data,)
        held.append(outputs)
        blocks.update(memories((*outputs, *node.saved)))
    with watch(count):
        loss, batch = loss_of_few(run)
    kept = sum(size for i, size in blocks.items() if i not in known) // len(batch.ids)
    loss.backward()                                   # loads the kernels of the way back
    for x in parameters:
        x.grad = None
    return kept


ALL = 1, 1, 1                      # of weights, gradients and moments


def run_bytes(config, held, n_learnt, per_sequence, sequences, shares=ALL):
    """Predict what a run adds to the process: the bytes held by its parameters; gradients and
    moments of those that learn, or of all three the shares that it keeps; one micro-batch.

    On the way back the gradients of a block take the memory that the blocks behind it gave free.
    """
    moments = 2 if config.train.optimizer == "adamw" else 1.5
    of_weights, of_gradients, of_moments = shares
    more = of_weights - 1 + of_gradients + moments * of_moments
    return int(held + 4 * n_learnt * more + per_sequence * sequences)


@dataclass(frozen=True)
class Forecast:
    """What is said before the start."""

    n_parameters: int
    n_learnt: int                  # of them
    flops_per_token: int
    peak_gflops: float
    memory_bytes: int              # of the whole process, at its highest
    free_bytes: int                # None if unknown
    micro_batch: int


def forecast(run, peak_gflops):
    """Predict the memory, and choose the micro-batch where none is given.

    Raises
    ------
    ConfigError
        If not even one sequence fits into the memory there is.
    """
    config, (n_parameters, n_learnt) = run.config, counted(run.model.parameters())
    held = sum(x.data.nbytes for x in run.model.parameters())
    world, (B, _) = run.way.world, batch_shape(config.train, run.width, 1.0)
    with run.way.at_hand(all_of_it=True):
        per_sequence, flops = sequence_bytes(run), flops_per_token(run)
    free, before = available_bytes(), used_bytes()    # now that the kernels are in memory
    if world.size > 1:
        free = free and free // world.hosts.count(world.hosts[world.rank])
    B = run.way.rows(B)
    per_sequence *= run.way.micro_batches_kept
    if not run.task.whole_text:
        per_sequence *= OF_MANY_WIDTHS
    need = lambda n: run.way.passing_bytes() + run_bytes(
        config, held, n_learnt, per_sequence, n, run.way.shares)
    n = config.train.micro_batch or B
    room = None if free is None else 0.9 * free
    if room is not None and not config.train.micro_batch:
        while n > 1 and need(n) > room:
            n = -(-n // 2)
    if room is not None and need(n) > room:
        smaller = f"--micro_batch {max(1, n // 2)}" if n > 1 else (
            f"--d_model {config.model.d_model // 2} or "
            f"--context_length {max(8, config.model.context_length // 2)}")
        raise ConfigError(f"this run needs {need(n) / 1e9:.1f} GB for {n} sequences at a time, but "
                          f"{free / 1e9:.1f} GB are free: use {smaller}")
    shares = 1, *run.way.shares[1:]                   # then rank 0 has all weights
    kept = 0 if run.task.whole_text else n            # recordings, beside what is small then
    at_the_end = baseline_bytes(run) + run_bytes(config, held, n_learnt, per_sequence, kept, shares)
    if room is not None and at_the_end > room:
        raise ConfigError(f"a text of {run.data.n_bytes / 1e6:,.0f} MB needs "
                          f"{at_the_end / 1e9:.1f} GB at the end, to be counted and compressed, "
                          f"but {free / 1e9:.1f} GB are free: use less of it")
    return Forecast(n_parameters, n_learnt, flops, peak_gflops,
                    max(peak_bytes(), before + max(need(n), at_the_end) + WRITER_BYTES), free, n)


# How often a micro-batch is in memory where rows have many widths: what one of them frees does not
# fit all that another takes (measured: 1.06 times of a large net, 1.56 of a small one).
OF_MANY_WIDTHS = 1.75
WRITER_BYTES = 30_000_000          # what is loaded later or compiled at the first start (measured)


def baseline_bytes(run):
    """Predict what the baselines take: xz or counts, the text, and the surprise at each byte."""
    if run.task.conclude_bytes:
        return run.task.conclude_bytes(run.data)
    n_bytes = run.data.n_bytes if run.task.whole_text else 0
    compressed = min(n_bytes, XZ_BYTES)
    counted = min(n_bytes, COUNTED_BYTES)
    surprised = min(compressed, run.config.data.val_fraction * n_bytes)
    return int(max(16.2 * compressed, 38 * counted) + 8 * surprised)


# ---- all of it, before the first step ----

def measured(run):
    """Forecast and measure a run, which gets its micro-batch and precision; all ranks together.

    Returns
    -------
    cost : Forecast
    rates : Rates
    """
    world = run.way.world
    precision, slow = settled(run)
    run.config = run.config.changed(precision=precision)
    peak_gflops = sum(world.collect(matmul_gflops())) * world.abreast / world.size
    threads.set_threads(1)                            # until it is measured, what is never bad
    cost = forecast(run, peak_gflops)
    run.config = run.config.changed(micro_batch=min(world.collect(cost.micro_batch)))
    rates = measure_rates(run)
    rates = rates._replace(slow=(*slow, *rates.slow))
    gc.collect()                                      # the copy and its way, which hold each other
    trim()
    run.way.measure(rates.step_s)
    if world.watch:
        world.watch.allow(rates.step_s)
    return cost, rates


def plan_run(run, folder, began, agreed):
    """Forecast, measure and plan a run, and write down what was found.

    Parameters
    ----------
    run : Run
        Gets its micro-batch, its precision and, where there are minutes, its plan.
    folder : path
    began : float or None
        When its minutes began, by `time.monotonic`; None where steps are planned.
    agreed : bool
        Whether it may take days.

    Returns
    -------
    cost : Forecast
    rates : Rates
    pacer : Pacer or None
    """
    cost, rates = measured(run)
    pacer = None if began is None else plan_by_time(run, began, rates)
    check_duration((run.plan.steps - run.step) * rates.step_s, agreed)
    write_manifest(folder, forecast_bytes=cost.memory_bytes, slow=rates.slow,
                   threads=rates.threads, precision=run.precision,
                   flops_per_token=cost.flops_per_token)
    return cost, rates, pacer
