"""The page of benchmarks holds what was recorded, and what is recorded is what was measured."""
import importlib
import json
import sys
from pathlib import Path

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
