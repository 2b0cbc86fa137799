"""A replayed step gives the bits of an ordinary one, or it is an ordinary one."""
import gc
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigrad import (
    Tensor, add_layer_norm, add_rms_norm, conv1d, cross_attention, cross_entropy,
    distillation_loss, embedding, exact_gelu, gelu, gru, keyed_dropout, layer_norm, linear,
    linear_cross_entropy, log_softmax, lstm, mingru, placed_embedding, pool, qk_rotary,
    relu_squared, rms_norm, rnn, rotary_angles, self_attention, silu, swiglu, use, watch)
from minigrad.kernels import jit, memory, threads
from minigrad.kernels.replay import Replay
from minigrad.tensor import OPS, pick

pytestmark = pytest.mark.skipif(not jit.COMPILED, reason="there are no kernels to replay")
B, T, C, V = 4, 16, 32, 16                # large enough for kernels; ids are lengths, too
COS, SIN = rotary_angles(T, C // 4, dtype=np.float32)

THEIRS = log_softmax(np.random.default_rng(1).standard_normal((B, T, V), np.float32))

# op -> from y (B, T, C), the head and targets to the loss
LOSSES = {
    cross_entropy: lambda y, head, t: cross_entropy(linear(y, head), t),
    linear_cross_entropy: linear_cross_entropy,
    distillation_loss: lambda y, head, t: distillation_loss(
        linear(y, head), log_p=THEIRS, targets=t, n=np.float64(7))}

# op -> from x (B, T, C), ids (B, T) and the weights to (B, T, C)
CASES = {
    "add": lambda x, ids, w: x + linear(x, w["square"]),
    "add_layer_norm": lambda x, ids, w: add_layer_norm(gelu(x), x, w["gain"], w["bias"])[1],
    "add_rms_norm": lambda x, ids, w: add_rms_norm(*add_rms_norm(x, silu(x)), w["gain"])[0],
    "conv1d": lambda x, ids, w: conv1d(x, w["taps"], w["earlier"]),
    "cross_attention": lambda x, ids, w: cross_attention(
        x, linear(x, w["pair"]), 2, key_lengths=ids[:, 0]),
    "embedding": lambda x, ids, w: embedding(ids, w["wide"]),
    "exact_gelu": lambda x, ids, w: exact_gelu(x),
    "gelu": lambda x, ids, w: gelu(x),
    "gru": lambda x, ids, w: gru(linear(x, w["wide"]), w["wide"], w["bias"], w["state"]),
    "keyed_dropout": lambda x, ids, w: keyed_dropout(x, 7, 0.2),
    "layer_norm": lambda x, ids, w: layer_norm(x, w["gain"], w["bias"]),
    "linear": lambda x, ids, w: linear(linear(x, w["square"], w["bias"]), w["square"]),
    "lstm": lambda x, ids, w: lstm(linear(x, w["gates"]), w["gates"], w["state"], w["state"])[0],
    "mingru": lambda x, ids, w: mingru(linear(x, w["pair"]), w["state"]),
    "pick": lambda x, ids, w: add_layer_norm(x, x)[0],
    "placed_embedding": lambda x, ids, w: placed_embedding(ids, w["table"], w["places"], start=1),
    "pool": lambda x, ids, w: linear(
        pool(x, ids[:, 0], ["max", "last", "mean"]), w["all"]).reshape(B, T, C),
    "qk_rotary": lambda x, ids, w: qk_rotary(x, COS, SIN, 1, norm=True),
    "relu_squared": lambda x, ids, w: relu_squared(x),
    "reshape": lambda x, ids, w: gelu(x.reshape(B * T, C)).reshape(B, T, C),
    "rms_norm": lambda x, ids, w: rms_norm(x, w["gain"]),
    "rnn": lambda x, ids, w: rnn(x, w["square"], w["state"]),
    "self_attention": lambda x, ids, w: self_attention(
        linear(x, w["wide"]), 2, key_lengths=ids[:, 1], first=ids),
    "silu": lambda x, ids, w: silu(x),
    "swiglu": lambda x, ids, w: swiglu(linear(x, w["pair"])),
}


class Trial:
    """A function with weights, the Replay of it, and how often it was called."""

    def __init__(self, body, loss=cross_entropy, seed=0):
        rng = np.random.default_rng(seed)
        make = lambda *shape: Tensor(rng.standard_normal(shape, np.float32), requires_grad=True)
        w = {"table": make(V, C), "places": make(T + 3, C), "gain": make(C), "bias": make(C),
             "square": make(C, C), "all": make(T * C, 3 * C),
             "wide": make(3 * C, C), "head": make(V, C),
             "pair": make(2 * C, C), "gates": make(4 * C, C), "state": make(B, C),
             "taps": make(3, C), "earlier": make(B, 2, C)}
        self.rng, self.weights, self.calls = rng, list(w.values()), 0

        def function(ids, targets):
            self.calls += 1
            y = body(embedding(ids, w["table"]), ids, w)
            return LOSSES[loss](y, w["head"], targets)
        self.function = function
        self.replay = Replay(function, self.weights)

    def batch(self):
        ids, targets = self.rng.integers(0, V, (2, B, T))
        targets[self.rng.random((B, T)) < self.rng.random() / 2] = -100
        return ids, targets

    def gradients(self):
        found = [None if x.grad is None else x.grad.copy() for x in self.weights]
        for x in self.weights:
            x.grad = None
        return found

    def agrees(self, batch=None):
        """Take a step both ways, and change the weights."""
        batch = batch or self.batch()
        calls, expected = self.calls, self.function(*batch)
        expected.backward()
        gradients = self.gradients()
        self.calls = calls
        loss = self.replay(*batch)
        same = loss == expected.item() and all(
            (g is None) == (x is None) and (g is None or np.array_equal(g, x))
            for g, x in zip(gradients, self.gradients()))
        for x in self.weights:
            x.data *= np.float32(0.9)
        return same


@pytest.mark.parametrize("name", sorted(
    op.name for op in {*OPS.values(), pick} - LOSSES.keys() if op.replayed))
def test_an_operation_is_replayed_to_the_bit_for_other_numbers(name):
    trial = Trial(CASES[name])
    assert all(trial.agrees() for _ in range(8))
    assert trial.calls == 3                              # to prepare, to record, to confirm


@pytest.mark.parametrize("loss", sorted(LOSSES, key=lambda op: op.name), ids=str)
def test_so_is_a_loss(loss):
    trial = Trial(CASES["linear"], loss)
    assert all(trial.agrees() for _ in range(8)) and trial.calls == 3


@given(st.lists(st.sampled_from(sorted(CASES)), min_size=1, max_size=4), st.integers(0, 99))
def test_so_are_operations_together(names, seed):
    def body(x, ids, w):
        y = x
        for name in names:
            y = add_rms_norm(CASES[name](y, ids, w), x)[1]
        return y
    trial = Trial(body, seed=seed)
    assert all(trial.agrees() for _ in range(6)) and trial.calls == 3


def test_what_is_checked_in_an_ordinary_step_is_checked_in_a_replay():
    trial = Trial(CASES["gelu"])
    for _ in range(5):
        assert trial.agrees()
    ids, targets = trial.batch()
    for wrong, name in (((ids + V, targets), "ids"), ((ids, targets + 200), "targets")):
        with pytest.raises(IndexError, match=name):
            trial.replay(*wrong)
    assert trial.agrees() and trial.calls == 3


def test_a_gradient_that_is_kept_is_never_overwritten():
    trial = Trial(CASES["linear"])
    for _ in range(5):
        trial.agrees()
    for hold in (lambda g: g, lambda g: g[1:], lambda g: g.T):
        trial.replay(*trial.batch())
        kept = [hold(x.grad) for x in trial.weights if x.grad is not None]
        copies = [g.copy() for g in kept]
        trial.gradients()
        calls = trial.calls
        assert trial.agrees() and trial.calls == calls + 1    # an ordinary step
        assert all(np.array_equal(g, copy) for g, copy in zip(kept, copies))
        del kept
        assert trial.agrees() and trial.calls == calls + 1    # replayed again


def test_gradients_that_are_there_are_added_to():
    trial = Trial(CASES["linear"])
    for _ in range(5):
        trial.agrees()
    one, other = trial.batch(), trial.batch()
    expected = [trial.function(*batch) for batch in (one, other)]
    for loss in expected:
        loss.backward()
    gradients = trial.gradients()
    trial.replay(*one)
    trial.replay(*other)
    assert all(g is x is None or np.array_equal(g, x)
               for g, x in zip(gradients, trial.gradients()))


def hash_of_ids(x, ids, w):
    return embedding((ids * 7 + 3) % V, w["table"])           # NumPy, not an operation


def operation_without_a_kernel(x, ids, w):
    return x * x


def two_losses(x, ids, w):
    return linear(x * cross_entropy(x, np.zeros((B, T), np.int64)), w["square"])


kept = []


def keeps_an_array(x, ids, w):
    kept.append(linear(x, w["square"]).data)
    return gelu(x)


def keeps_a_part(x, ids, w):
    kept.append(gelu(w["square"]).data[:2])                   # of 4 KB: not from the usual pool
    return gelu(x)


@pytest.mark.parametrize("body", [hash_of_ids, operation_without_a_kernel, two_losses,
                                  keeps_an_array, keeps_a_part])
def test_what_cannot_be_replayed_is_not(body):
    trial = Trial(body)
    copies = []
    for _ in range(7):
        assert trial.agrees()
        copies = [x.copy() for x in kept]
    assert trial.calls == 7 + (body is hash_of_ids)           # which takes a look at a replay
    assert all(each.recording is None for each in trial.replay.attempts.values())
    assert trial.replay.obstacle
    assert all(np.array_equal(x, copy) for x, copy in zip(kept, copies))
    kept.clear()


def test_the_same_numbers_again_confirm_nothing():
    trial, batch = Trial(hash_of_ids), [np.zeros((B, T), np.int64)] * 2
    assert all(trial.agrees(batch) for _ in range(4))
    assert all(trial.agrees() for _ in range(4)) and trial.calls > 7


def test_a_step_that_is_not_as_it_was_is_an_ordinary_one():
    trial = Trial(CASES["linear"])
    for _ in range(5):
        trial.agrees()
    calls = trial.calls

    def ordinary():
        nonlocal calls
        calls += 1
        return trial.agrees() and trial.calls == calls
    with use("reference"):
        trial.replay(*trial.batch())
        assert trial.calls == calls + 1
    trial.gradients()
    calls += 1
    seen = []
    with watch(seen.append):
        assert ordinary()
    assert len({node.op for node in seen}) == 3
    n = threads.n_threads()
    try:
        threads.set_threads(n % 2 + 1)
        assert ordinary()
    finally:
        threads.set_threads(n)
    answers = []
    thread = threading.Thread(target=lambda: answers.append(ordinary()))
    thread.start()
    thread.join()
    assert answers == [True]
    trial.weights[-1].data = trial.weights[-1].data.copy()
    assert ordinary()


def test_other_shapes_are_recorded_anew():
    trial = Trial(CASES["gelu"])
    for _ in range(5):
        assert trial.agrees()
    trial.batch = lambda: trial.rng.integers(0, V, (2, B + 1, T))
    assert all(trial.agrees() for _ in range(5)) and trial.calls == 6


def test_batches_of_two_alternating_shapes_are_replayed():
    trial = Trial(CASES["gelu"])
    for i in range(12):
        assert trial.agrees(tuple(trial.rng.integers(0, V, (2, B + i % 2, T))))
    assert trial.calls == 8     # each to prepare, to record, to confirm; the smaller one two more,
    #                             as the larger is recorded second


def test_shapes_of_fewer_numbers_work_in_the_memory_of_the_largest():
    trial = Trial(lambda x, ids, w: self_attention(linear(x, w["wide"]), 2))
    held = {}
    for rows in (6, 12, 7, 9, 11):
        for _ in range(4):
            assert trial.agrees(tuple(trial.rng.integers(0, V, (2, rows * B, T))))
        gc.collect()
        held[rows] = trial.replay.pool.held_bytes
    assert held[6] < 0.8 * held[12] and held[11] < 1.1 * held[12]


def test_an_error_while_recording_leaves_nothing_behind():
    trial = Trial(CASES["gelu"])
    trial.agrees()
    ids, targets = trial.batch()
    with pytest.raises(IndexError):
        trial.replay(ids + V, targets)
    assert jit.recorder is None
    for _ in range(4):
        assert trial.agrees()
    assert trial.calls == 4                              # with the one that failed


def test_what_is_no_tensor_is_refused():
    with pytest.raises(TypeError, match="a parameter is array.*model.parameters"):
        Replay(lambda: None, [np.ones(3)])
    with pytest.raises(TypeError, match="returned 1.5, but must return the loss"):
        Replay(lambda x: 1.5, [])(np.ones(3))


def test_lists_are_arrays():
    table = Tensor(np.ones((3, 2)), requires_grad=True)
    loss = Replay(lambda ids: embedding(ids, table).sum(), [table])([0, 2])
    assert loss == 4 and table.grad.sum() == 4


def test_its_memory_is_counted_and_goes_with_it():
    gc.collect()
    before = memory.usage()["in_use"]
    trial = Trial(lambda x, ids, w: self_attention(linear(x, w["wide"]), 2))
    for _ in range(5):
        trial.agrees()
    assert memory.usage()["in_use"] > before
    del trial.replay                                     # at once, with nobody to look for cycles
    assert memory.usage()["in_use"] == before
