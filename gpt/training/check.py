"""`train.py --check`: does the model of these settings compute what it should?"""
import math
import time
from dataclasses import replace

import numpy as np

from gpt.models.decoder import GPT
from gpt.settings import ConfigError
from gpt.training.plan import Plan
from gpt.training.run import Run
from gpt.training.step import train_steps
from minigrad import no_grad

SECONDS = 50                       # for all checks together


def check_run(run, say):
    """Run every check on a model of a run's settings and say the verdicts.

    Raises
    ------
    ConfigError
        If one fails.
    """
    rng, failed = np.random.default_rng(0), []
    for name, check in CHECKS.items():
        began = time.perf_counter()
        ok, detail = check(run, rng)
        say(f"{'ok  ' if ok else 'FAIL'}  {name}: {detail} ({time.perf_counter() - began:.1f} s)")
        if not ok:
            failed.append(name)
    if failed:
        raise ConfigError(f"{len(failed)} of {len(CHECKS)} checks failed: {'; '.join(failed)}")
    say(f"all {len(CHECKS)} checks hold for these settings")


def small(run, dtype=np.float64, n_layer=2):
    """Make a model like the run's, of few layers, with no weight at zero."""
    config = replace(run.config.model, n_layer=min(n_layer, run.config.model.n_layer), dropout=0.0)
    rng = np.random.default_rng(1)
    model = GPT(config, rng, dtype)
    for x in model.parameters():
        x.data += (0.05 * rng.standard_normal(x.shape)).astype(dtype)
    return model


def batch_of(run, model, rng, B=2, T=16):
    shape = B, min(T, run.config.model.context_length)
    return run.task.batch(run.data, shape, rng, model)


def mean_loss(run, model, batch):
    """Return the loss of a batch by itself, a Tensor."""
    return run.task.loss(model, batch, batch.n_targets, None)


def check_initial_loss(run, rng):
    """A new model knows nothing: every token is as likely as any other."""
    model = GPT(run.config.model, np.random.default_rng(run.config.train.seed))
    V = run.config.model.vocab_size
    loss = mean_loss(run, model, batch_of(run, model, rng, 8)).item()
    return abs(loss - math.log(V)) < 0.15, f"{loss:.4f} nats, ln {V} is {math.log(V):.4f}"


def check_gradient(run, rng, per_parameter=2, h=1e-5):
    """The gradient of the loss is its slope, in float64, at elements of every parameter."""
    model = small(run)
    batch = batch_of(run, model, rng)
    loss = lambda: mean_loss(run, model, batch).item()
    mean_loss(run, model, batch).backward()
    worst, where, count, kinks = 0.0, "", 0, 0
    stop = time.perf_counter() + SECONDS / 2
    for name, x in model.named_parameters():
        flat, g = x.data.reshape(-1), x.grad.reshape(-1)
        scale = max(np.abs(g).max(), 1e-8)
        for i in np.argsort(-np.abs(g))[:50][rng.permutation(min(50, len(g)))[:per_parameter]]:
            slopes = [slope(loss, flat, i, step) for step in (h, h / 2)]
            count += 1
            if abs(slopes[0] - slopes[1]) > 1e-6 * scale:     # a kink of relu within reach
                kinks += 1
            elif abs(slopes[1] - g[i]) / scale > worst:
                worst, where = abs(slopes[1] - g[i]) / scale, name
        if time.perf_counter() > stop:
            break
    return worst < 1e-6 and kinks < count / 2, (
        f"largest relative error {worst:.1e}{' in ' + where if where else ''}, at {count} elements"
        f"{f', {kinks} of them at kinks' if kinks else ''}")


def slope(f, flat, i, h):
    """Return the central difference of f in element i, which is put back."""
    before = flat[i]
    flat[i] = before + h
    above = f()
    flat[i] = before - h
    below = f()
    flat[i] = before
    return (above - below) / (2 * h)


def check_causality(run, rng):
    """A changed token changes no score before it, and some from it on."""
    model = small(run, np.float32)
    inputs = batch_of(run, model, rng).ids
    place = inputs.shape[1] // 2
    other = inputs.copy()
    other[:, place] = (other[:, place] + 1) % run.config.model.vocab_size
    with no_grad():
        change = np.abs(model(inputs).data - model(other).data).max(axis=(0, 2))
    return change[:place].max() == 0 and change[place:].max() > 0, (
        f"before the token {change[:place].max():g}, from it on {change[place:].max():.2g}")


def check_cache(run, rng):
    """Token by token with a cache gives the scores of the whole at once."""
    model = small(run, np.float32)
    batch = batch_of(run, model, rng)
    inputs, cache = batch.ids, model.start(batch)
    with no_grad():
        whole = model(inputs).data
        parts = [model(inputs[:, i:i + 1], cache).data for i in range(inputs.shape[1])]
    error = np.abs(np.concatenate(parts, axis=1) - whole).max() / np.abs(whole).max()
    return error < 1e-5, f"largest difference {error:.1e} of the largest score"


def check_learns_one_batch(run, rng):
    """What one small batch says can be learnt by heart."""
    config = run.config.changed(batch_tokens=64, micro_batch=0, warmup_steps=5, dropout=0.0,
                                n_layer=min(2, run.config.model.n_layer), context_growth=False)
    T = min(32, config.model.context_length)
    data = replace(run.data, train=np.asarray(run.data.train[:T + 1]))
    copy = Run.start(config.changed(context_length=T), data, Plan.fixed(300))
    first = last = None
    stop = time.perf_counter() + SECONDS / 3
    for record in train_steps(copy):
        first, last = first or record.loss, record.loss
        if last < 0.1 * first or time.perf_counter() > stop:
            break
    return last < 0.1 * first, f"from {first:.2f} to {last:.3f} nats in {record.step} steps"


CHECKS = {"the loss of a new model is that of knowing nothing": check_initial_loss,
          "the gradient of the whole model is its slope": check_gradient,
          "no token sees those behind it": check_causality,
          "the cache of keys and values changes no score": check_cache,
          "one batch can be learnt by heart": check_learns_one_batch}
