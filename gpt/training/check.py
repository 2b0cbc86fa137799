"""`train.py --check`: does the model of these settings compute what it should?"""
import math
import time
from dataclasses import replace

import numpy as np

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
    checks = CHECKS if run.task.whole_text else OF_ANY_TASK
    for name, check in checks.items():
        began = time.perf_counter()
        ok, detail = check(run, rng)
        say(f"{'ok  ' if ok else 'FAIL'}  {name}: {detail} ({time.perf_counter() - began:.1f} s)")
        if not ok:
            failed.append(name)
    if failed:
        raise ConfigError(f"{len(failed)} of {len(checks)} checks failed: {'; '.join(failed)}")
    say(f"all {len(checks)} checks hold for these settings")


def small(run, dtype=np.float64, n_layer=2):
    """Make a model like the run's, of few layers, with no weight at zero."""
    n_layer = min(n_layer, run.config.model.n_layer)
    config = run.config.changed(n_layer=n_layer, dropout=0.0)
    rng = np.random.default_rng(1)
    model = config.new_net(rng, dtype)
    for x in model.parameters():
        noise = 0.05 * rng.standard_normal(x.shape)
        x.data += noise.astype(dtype)
    return model


def batch_of(run, model, rng, B=2, T=16):
    shape = B, min(T, run.config.model.context_length)
    return run.task.batch(run.data, shape, rng, model)


def mean_loss(run, model, batch):
    """Return the loss of a batch by itself, a Tensor."""
    return run.task.loss(model, batch, batch.n_targets, None)


def check_initial_loss(run, rng):
    """A new model knows nothing: every token is as likely as any other."""
    config = run.config
    model = config.new_net(np.random.default_rng(config.train.seed))
    V = config.model.vocab_size
    batch = batch_of(run, model, rng, B=8)
    loss = mean_loss(run, model, batch).item()
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
        steepest = np.argsort(-np.abs(g))[:50]
        for i in rng.permutation(steepest)[:per_parameter]:
            wide, narrow = slope(loss, flat, i, h), slope(loss, flat, i, h / 2)
            error = abs(narrow - g[i]) / scale
            count += 1
            if abs(wide - narrow) > 1e-6 * scale:             # a kink of relu within reach
                kinks += 1
            elif error > worst:
                worst, where = error, name
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
    inputs = batch_of(run, model, rng).ids                    # (B, T)
    place = inputs.shape[1] // 2
    other = inputs.copy()
    other[:, place] += 1
    other[:, place] %= run.config.model.vocab_size
    with no_grad():
        change = np.abs(model(inputs).data - model(other).data)         # (B, T, V)
    before, from_it_on = change[:, :place].max(), change[:, place:].max()
    return before == 0 < from_it_on, (
        f"before the token {before:g}, from it on {from_it_on:.2g}")


def check_cache(run, rng):
    """Token by token, with a state of what came before, gives the scores of the whole at once."""
    model = small(run, np.float32)
    batch = batch_of(run, model, rng)
    inputs, state = batch.ids, model.start(batch)
    with no_grad():
        whole = model(inputs).data
        parts = [model(column[:, None], state).data for column in inputs.T]
    difference = np.concatenate(parts, axis=1) - whole        # (B, T, V)
    error = np.abs(difference).max() / np.abs(whole).max()
    return error < 1e-5, f"largest difference {error:.1e} of the largest score"


def check_learns_one_batch(run, rng):
    """What one small batch says can be learnt by heart."""
    model = run.config.model
    T, n_layer = min(32, model.context_length), min(2, model.n_layer)
    config = run.config.changed(batch_tokens=64, micro_batch=0, warmup_steps=5, dropout=0.0,
                                n_layer=n_layer, context_growth=False, context_length=T)
    passage = np.asarray(run.data.train[:T + 1])
    data = replace(run.data, train=passage)
    copy = Run.start(config, data, Plan.fixed(300))
    first = last = None
    stop = time.perf_counter() + SECONDS / 3
    for record in train_steps(copy):
        first, last = first or record.loss, record.loss
        if last < 0.1 * first or time.perf_counter() > stop:
            break
    return last < 0.1 * first, f"from {first:.2f} to {last:.3f} nats in {record.step} steps"


OF_ANY_TASK = {"the loss of a new model is that of knowing nothing": check_initial_loss,
               "the gradient of the whole model is its slope": check_gradient}
CHECKS = {**OF_ANY_TASK,
          "no token sees those behind it": check_causality,
          "a state of what came before changes no score": check_cache,
          "one batch can be learnt by heart": check_learns_one_batch}
