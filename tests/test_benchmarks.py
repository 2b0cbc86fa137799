"""The page of benchmarks holds what was recorded, and what is recorded is what was measured."""
import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture
def load(monkeypatch):
    """Import a file of benchmarks/ as its scripts do."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module


def run(ratio, date="2026-01-01", **more):
    return {"machine": "a machine", "date": date, "script": "engine", "name": "x", "ratio": ratio,
            "target": 2, "at_most": False, **more}


def test_the_tables_of_the_page_are_those_of_the_results(load):
    table = load("table")
    written = table.PAGE.read_text(encoding="utf-8")
    assert written == table.page(written), "run `python benchmarks/table.py`"


def test_every_result_belongs_to_a_script_and_says_when_and_where():
    for line in (BENCHMARKS / "results.jsonl").read_text(encoding="utf-8").splitlines():
        found = json.loads(line)
        assert (BENCHMARKS / f"{found['script']}.py").exists() and found["machine"], line
        assert {*run(1)} <= {*found} and len(found["date"]) == 10, line


@pytest.mark.parametrize("ratio, at_most, word", [
    (1.5, False, "ok"), (0.91234, False, "short"), (0.5, True, "ok"), (1, True, "ok")])
def test_a_target_is_met_from_above_or_from_below(load, capsys, monkeypatch, ratio, at_most, word):
    results = load("results")
    monkeypatch.delenv("BENCHMARK_RECORD", raising=False)
    results.verdict("some-ratio", ratio, 1, at_most)
    assert capsys.readouterr().out == f"some-ratio {ratio:.4g} target 1 {word}\n"


def test_a_recorded_result_is_read_back(load, tmp_path, monkeypatch):
    results, table = load("results"), load("table")
    path = tmp_path / "results.jsonl"
    monkeypatch.setattr(results, "FILE", path)
    monkeypatch.setattr(results, "commit", lambda: "1234567")
    monkeypatch.setattr(sys, "argv", ["benchmarks/engine.py"])
    monkeypatch.setenv("BENCHMARK_RECORD", "1")
    results.verdict("some-ratio", 1.23456, 1)
    found, = table.read(path)[results.machine()]["engine"]["some-ratio"]
    assert (found["ratio"], found["target"], found["commit"]) == (1.235, 1, "1234567")


@pytest.mark.parametrize("flags, word", [
    ("fpu avx avx2 fma", " (AVX2)"), ("fpu avx2 avx512f avx512_bf16", " (AVX-512)"),
    ("avx2 avx512f amx_tile", " (AMX)"), ("fpu", "")])
def test_processors_of_one_name_are_told_apart_by_their_vectors(load, tmp_path, flags, word):
    results = load("results")
    path = tmp_path / "cpuinfo"
    core = f"model name\t: A Chip: 2\nflags\t\t: {flags}\nbugs\t\t: avx512f\n\n"
    path.write_text(2 * core)
    assert results.machine(path).startswith(f"A Chip: 2{word}, ")
    assert results.machine(tmp_path / "none").endswith(" cores")


def test_of_a_name_all_runs_of_the_latest_day_count(load, tmp_path):
    table = load("table")
    path = tmp_path / "results.jsonl"
    days = ("2026-01-02", 3.0), ("2026-01-03", 2.5), ("2026-01-03", [1.5, 2.0]), ("2026-01-01", 9.0)
    path.write_text("".join(json.dumps(run(ratio, day)) + "\n" for day, ratio in days))
    runs = table.read(path)["a machine"]["engine"]["x"]
    line, word = table.row("x", runs)
    assert line.startswith("| `x` | 1.5 to 2.5 | at least 2 | **short at times** | several |")
    assert table.row("x", [run(1.0)])[1] == table.SHORT
    assert table.row("x", [run(1.0, at_most=True)])[1] == table.OK


@pytest.mark.extra("torch")
@pytest.mark.parametrize("tables", [{}, {"ngram_rows": 50}])
def test_the_recipe_in_pytorch_is_the_same_net_and_takes_the_same_steps(load, tables):
    found = load("recipe").differences(look_back=2, **tables)
    assert found["loss"] < 1e-4 and found["gradients"] < 1e-5, found
    assert found["steps"] < 0.1, found                    # Muon's, which it rounds to bfloat16


# ---- what is predicted of more cores ----

def product(m, k, n, turned=False):
    """A product as a replay has it, A perhaps turned; its arrays are one number."""
    from minigrad.kernels import gemm
    one = np.zeros(1, np.float32)
    a, b, c = (np.lib.stride_tricks.as_strided(one, (1, 1, *shape), (0, 0, 4 * shape[1], 4))
               for shape in ((k, m) if turned else (m, k), (k, n), (m, n)))
    return gemm._products, (1, a.swapaxes(2, 3) if turned else a, b, c)


@pytest.mark.parametrize("C", [128, 384, 768])
@pytest.mark.parametrize("T", [768, 1024, 4096])
def test_one_thread_has_all_of_a_product_and_more_threads_never_more(load, C, T):
    cores = load("cores")
    for m, k, n, turned in (T, C, 4 * C, False), (T, 4 * C, C, False), (C, T, 4 * C, True):
        call = product(m, k, n, turned)
        shares = [cores.largest_share(*call, threads) for threads in (1, 2, *cores.MORE)]
        assert shares[0] == 1 and shares == sorted(shares, reverse=True)
        assert all(share >= 1 / threads for share, threads in zip(shares[1:], (2, *cores.MORE)))


def test_rows_are_shared_as_whole_ones_and_what_one_thread_does_is_not(load):
    cores, x = load("cores"), np.zeros((12, 64), np.float32)
    shares = [cores.largest_share(np.add, (True, 12, (x, x)), n) for n in (1, 4, 8, 16, 48)]
    assert shares == [1, 1 / 4, 2 / 12, 1 / 12, 1 / 12]
    assert cores.largest_share(np.add, (False, 12, (x, x)), 8) == 1
    assert cores.largest_share(np.add, (x, x, x), 8) == 1


def test_a_step_takes_largest_shares_or_the_time_of_the_bytes_and_starts_and_what_is_alone(load):
    cores, x = load("cores"), np.zeros((12, 64), np.float32)
    assert cores.n_bytes(np.add, (True, 12, (x, x))) == 2 * x.nbytes
    seconds = np.array([6.0, 5.0, 1.0])                   # the last is between the calls
    for size, waits in (10, 0), (400, 1), (9000, 2):      # at most what one thread takes
        calls = [({8: 2 / 12}, size), ({8: 1}, size)]
        parts = cores.predicted(calls, seconds, 8, 0.01, speed=200, of_one=100)
        assert parts.tolist() == pytest.approx([6 / 8, 1 - 6 / 8, waits, 0.07, 6])
