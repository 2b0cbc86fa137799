"""The pool hands memory out again only when nobody can see it any more."""
import gc
import threading

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from minigrad.kernels import memory


@given(st.lists(st.tuples(st.integers(0, 4), st.sampled_from([3000, 3001, 9000]), st.booleans()),
                max_size=40))
def test_an_array_that_is_kept_is_never_overwritten(steps):
    kept = {}                                                 # slot -> (array or view, value)
    for value, (slot, n, as_view) in enumerate(steps):
        x = memory.empty((n,), np.float32)
        x[:] = value
        kept[slot] = (x[10:-10:3] if as_view else x, value)
        del x
        assert all((y == v).all() for y, v in kept.values())


def test_memory_is_used_again_once_the_last_view_is_gone():
    x = memory.empty((100, 100), np.float32)
    address = x.ctypes.data
    view = x.reshape(-1)[5:]
    del x
    gc.collect()
    other = memory.empty((100, 100), np.float32)
    assert other.ctypes.data != address
    del view
    assert memory.empty((100, 100), np.float32).ctypes.data == address


@given(st.integers(1, 200), st.integers(1, 200), st.sampled_from([np.float32, np.float64]))
def test_arrays_have_the_shape_and_dtype_asked_for_and_large_ones_are_aligned(m, n, dtype):
    x = memory.empty((m, n), dtype)
    assert x.shape == (m, n) and x.dtype == dtype and x.flags.c_contiguous and x.flags.writeable
    assert x.nbytes < memory.LARGE or x.ctypes.data % memory.ALIGNMENT == 0


def test_switched_off_nothing_is_pooled():
    memory.reuse(False)
    try:
        before = memory.usage()
        x = memory.empty((5000,), np.float64)
        assert memory.usage() == before and x.ctypes.data % memory.ALIGNMENT == 0
    finally:
        memory.reuse(True)


def test_usage_counts_live_arrays_and_trim_frees_the_others():
    before = memory.usage()["in_use"]
    x = memory.empty((10_000,), np.float64)
    assert memory.usage()["in_use"] - before == 81_920       # whole pages
    assert memory.usage()["peak"] >= 81_920
    del x
    assert memory.usage()["in_use"] == before
    memory.trim()
    assert memory.usage()["idle"] == 0


def test_threads_never_share_a_block():
    wrong = []

    def work(seed):
        rng, kept = np.random.default_rng(seed), []
        for i in range(300):
            x = memory.empty((int(rng.integers(2100, 2110)),), np.float32)
            x[:] = seed * 1000 + i
            kept.append((x, seed * 1000 + i))
            kept = kept[-5:]
            wrong.extend(v for y, v in kept if not (y == v).all())
    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong


def test_memory_apart_is_never_given_back_to_the_system():
    """Whoever keeps it may write there again: what is idle counts as held."""
    with memory.apart() as pool:
        for n in (50_000, 1_000, 100_000, 2_000, 150_000):
            memory.empty((n,), np.float64)
        assert pool.held_bytes == pool.idle_bytes() > 8 * (50_000 + 100_000 + 150_000)
