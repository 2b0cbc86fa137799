"""The memory that a run takes, at its highest, is at most what it said before."""
import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import numpy as np
import pytest

from gpt.training import memory
from minigrad.kernels.memory import trim

ROOT = Path(__file__).parent.parent.parent
SMALL = ["--n_layer", "2", "--d_model", "64", "--n_head", "2", "--context_length", "64",
         "--batch_tokens", "1024", "--steps", "5", "--evaluations", "1", "--val_fraction", "0.01"]


def any_bytes(folder):
    path = folder / "any.bin"
    path.write_bytes(np.random.default_rng(0).integers(0, 256, 5_000_000, np.uint8).tobytes())
    return [path, "--tokenizer", "byte"]


def code(folder):
    library = Path(sysconfig.get_paths()["stdlib"])
    texts = [path.read_bytes() for path in sorted(library.glob("*.py"))]
    (folder / "code.py").write_bytes(b"\n".join(texts))
    return [folder / "code.py"]


def small_files(folder):
    for i in range(3000):
        (folder / f"{i}.txt").write_text(f"This is text {i} of many, all of them small. " * 10)
    return [folder]


@pytest.mark.thorough
@pytest.mark.parametrize("texts", [any_bytes, code, small_files], ids=lambda f: f.__name__)
def test_a_run_takes_no_more_than_it_said(texts, tmp_path):
    folder = tmp_path / "texts"
    folder.mkdir()
    command = [sys.executable, ROOT / "train.py", *texts(folder), *SMALL, "--name", "run",
               "--runs", tmp_path, "--plain"]
    subprocess.run(list(map(str, command)), check=True, capture_output=True,
                   env=os.environ | {"PYTHONPATH": str(ROOT)})
    facts = json.loads((tmp_path / "run" / "manifest.json").read_text())
    said, taken = facts["forecast_bytes"], facts["result"]["peak_bytes"]
    assert 0.6 * said < taken <= said


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the system does not tell")
def test_memory_that_is_free_goes_back_to_the_system():
    """Small pieces, which glibc would keep: they lie below one that is not free."""
    pieces = [np.ones(1000) for _ in range(10_000)]           # 80 MB
    last, before = np.ones(1000), memory.used_bytes()
    del pieces
    trim()
    assert before - memory.used_bytes() > 60e6 and last.all()
