"""Compiled code is kept where nothing can be stale, and its absence breaks nothing."""
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numba
import pytest

from bpe import jit

USE = "from bpe.jit import first_bits; print(first_bits(3))"


@pytest.fixture
def fresh(monkeypatch, tmp_path):
    """A cache folder of our own, and cache_directory as in a new process."""
    monkeypatch.setenv("BPE_CACHE_DIR", str(tmp_path))
    jit.cache_directory.cache_clear()
    yield tmp_path
    jit.cache_directory.cache_clear()


def test_the_directory_changes_with_sources_options_and_versions(monkeypatch):
    before = jit._fingerprint()
    assert before == jit._fingerprint()
    monkeypatch.setitem(jit.OPTIONS, "nogil", False)
    changed = jit._fingerprint()
    monkeypatch.setattr(numba, "__version__", "0.1")
    assert len({before, changed, jit._fingerprint()}) == 3


def test_old_directories_are_pruned_and_the_newest_kept(fresh):
    base = fresh / "bpe-kernels"
    for age in range(8):
        (base / f"old{age}").mkdir(parents=True)
        os.utime(base / f"old{age}", (1000 - age, 1000 - age))
    mine = Path(jit.cache_directory())
    left = {path.name for path in base.iterdir()}
    assert left == {mine.name, "old0", "old1", "old2"}


def test_numbas_own_setting_is_left_alone(fresh):
    before = numba.config.CACHE_DIR

    @jit.kernel
    def twice(x):
        return 2 * x

    assert numba.config.CACHE_DIR == before and twice(3) == 6


def run(folder, code=USE):
    """Run code in a new process whose cache is at `folder`; return what it printed."""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, text=True,
                          env={**os.environ, "BPE_CACHE_DIR": str(folder)}, capture_output=True,
                          cwd=Path(__file__).parents[2])
    return done.stdout


def test_kernels_work_where_nothing_can_be_written(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    assert run(blocked) == "7\n"


def test_kernels_work_where_the_disk_is_full(tmp_path):
    full = ("from numba.core.caching import IndexDataCacheFile as File\n"
            "def fail(*_): raise OSError(28, 'No space left on device')\n"
            "File._open_for_write = fail\n")
    assert run(tmp_path, full + USE) == "7\n" and not [*tmp_path.rglob("*.nb?")]


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """A cache folder that has the kernel."""
    folder = tmp_path_factory.mktemp("compiled")
    run(folder)
    return folder


@pytest.mark.parametrize("ending", [".nbi", ".nbc"])
@pytest.mark.parametrize("damage", [lambda data: b"", lambda data: data[:len(data) // 2],
                                    lambda data: data[:-60] + bytes([data[-60] ^ 1]) + data[-59:]],
                         ids=["emptied", "cut", "a bit"])
def test_a_damaged_entry_is_compiled_again(compiled, tmp_path, ending, damage):
    shutil.copytree(compiled, tmp_path, dirs_exist_ok=True)
    path, = tmp_path.rglob(f"*first_bits*{ending}")
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    assert run(tmp_path) == "7\n"
    cache_file, = tmp_path.rglob(f"*first_bits*{ending}")
    assert len(cache_file.read_bytes()) == len(whole), "and is whole again"
    hits = "; print(sum(first_bits.stats.cache_hits.values()))"
    assert run(tmp_path, USE + hits) == "7\n1\n"


def test_an_empty_name_is_no_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("BPE_CACHE_DIR", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(sys, "platform", "linux")
    assert jit._base() == tmp_path


def test_bits_of_64_bytes_and_their_tail():
    import numpy as np
    array = np.arange(100, dtype=np.uint8)
    for start in (0, 3, 36, 60, 99, 120):
        expected = sum(1 << (k - start) for k in range(start, min(start + 64, 100)) if k & 4)
        assert int(jit.bits64(array, start, 4)) == expected
    assert [int(jit.first_bits(n)) for n in (-1, 0, 3, 64, 70)] == [0, 0, 7, 2**64 - 1, 2**64 - 1]
