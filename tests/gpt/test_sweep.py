"""Sweeps: which trial trains how far, who may do what, and what a whole one ends with."""
import json
import math
import multiprocessing
import os
import time
from contextlib import ExitStack, closing
from pathlib import Path
from queue import Queue
from threading import Thread

import numpy as np
import pytest

from gpt.__main__ import main
from gpt.data.reading import CorpusError
from gpt.files.weights import FileError
from gpt.settings import ConfigError
from gpt.show.sweep_page import sweep_lines, sweep_page
from gpt.sweeping.copies import copy_folder, usable
from gpt.sweeping.desk import Ledger, Watch
from gpt.sweeping.draws import suggested
from gpt.sweeping.halving import Halving, cost, wanted
from gpt.sweeping.ranking import importance
from gpt.sweeping.space import Axis
from gpt.sweeping.table import DONE, FAILED, RUNNING, WAITING, Job, Lost, Table
from gpt.sweeping.worker import folder_of, of_this_machine, remove_earlier
from gpt.training.checkpoint import CheckpointError
from gpt.training.folder import alone_in

SURFACE = os.environ.get("MINIGRAD_SURFACE")          # losses of trials at each step, (n, steps)


# ---- halving ----

def halved(losses, halving, n_workers, ends):
    """Play a sweep of recorded losses, (n, steps), a step of each worker at a time.

    Returns
    -------
    results : dict of (trial, rung) to float
    """
    results, at_work, trained = {}, [], {}
    while True:
        due = sorted(wanted(results, len(losses), halving) - set(results) - {*at_work},
                     key=lambda key: (-key[1], key[0]))
        at_work += due[:n_workers - len(at_work)]
        if not at_work:
            return results
        for key in [*at_work]:
            trial, rung = key
            trained[trial] = trained.get(trial, 0) + 1
            if trained[trial] >= ends[rung]:
                results[key] = losses[trial, ends[rung] - 1]
                at_work.remove(key)


def best_gap(losses, results, n_rungs):
    last = [value for (_, rung), value in results.items() if rung == n_rungs - 1]
    return min(last) - losses[:, -1].min()


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("n_workers", [1, 3, 9])
def test_halving_finds_about_the_best_at_a_third_of_the_cost(together, n_workers):
    rng, steps = np.random.default_rng(0), np.arange(1, 82)
    ends = 1.7 + (np.linspace(-1.5, 1.5, 27)) ** 2 / 10
    losses = ends[:, None] + 2 / steps ** 0.7 + 0.005 * rng.standard_normal((27, 81))
    if SURFACE:
        losses = np.load(SURFACE)
    halving = Halving(3, 4, together)
    for seed in range(20 if SURFACE else 5):
        order = np.random.default_rng(seed).permutation(27)
        results = halved(losses[order], halving, n_workers, (3, 9, 27, 81))
        assert cost(results, halving) <= 0.30
        assert best_gap(losses[order], results, 4) <= 0.01


def test_a_rung_is_decided_when_it_is_complete_or_with_each_that_comes_in():
    results = {(k, 0): float(k) for k in range(5)}
    assert wanted(results, 6, Halving(3, 2)) == {(k, 0) for k in range(6)}
    assert wanted(results, 6, Halving(3, 2, False)) == {(k, 0) for k in range(6)} | {(0, 1)}
    results[5, 0] = -1.0
    assert {(5, 1), (0, 1)} == wanted(results, 6, Halving(3, 2)) - {(k, 0) for k in range(6)}


def test_nobody_rises_alone_while_more_may_come():
    halving = Halving(3, 2, False)
    assert wanted({(0, 0): 1.0}, 1, halving, final=False) == {(0, 0)}
    assert (0, 1) in wanted({(0, 0): 1.0}, 1, halving)
    assert Ledger.of([job(0, DONE, value=1.0)]).missing(Halving(3, 2), 3) == []


def test_who_has_not_risen_may_rise_later():
    halving = Halving(3, 2, False)
    results = {(0, 0): 3.0, (1, 0): 2.0, (2, 0): 4.0}
    assert (0, 1) not in wanted(results, 9, halving)
    later = results | {(k, 0): 5.0 for k in range(3, 9)}
    assert (0, 1) in wanted(later, 9, halving)


def test_what_diverged_never_rises_and_holds_nobody_up():
    results = {(0, 0): math.inf, (1, 0): 2.0, (2, 0): math.inf}
    assert wanted(results, 3, Halving(3, 2)) >= {(1, 1)}
    nothing = dict.fromkeys(results, math.inf)
    assert wanted(nothing, 3, Halving(3, 2)) == set(results)


# ---- who may do what ----

def job(number, state, trial=0, rung=0, generation=0, value=None, **facts):
    return Job(number, number, state, trial, rung, generation, {"x": trial}, facts, value, 0)


def test_of_jobs_made_twice_the_first_counts():
    ledger = Ledger.of([job(0, WAITING), job(1, WAITING), job(2, WAITING, trial=1)])
    assert [each.number for each in ledger.twice] == [1]
    assert [each.number for each in ledger.in_order(bool)] == [0, 2]


def test_what_was_lost_is_found_in_the_table_alone():
    """Even where a machine was killed between ending a job and making the next one."""
    lost = job(0, FAILED)
    assert [*Ledger.of([lost]).lost()] == [lost]
    assert not [*Ledger.of([lost, job(1, WAITING, generation=1)]).lost()]
    failed = [job(i, FAILED, generation=i, why="x") for i in range(3)]
    assert [*Ledger.of(failed[:2]).lost()] and not [*Ledger.of(failed).lost()]
    assert Ledger.of(failed).results() == {(0, 0): math.inf}
    assert not [*Ledger.of([job(0, FAILED, why="x", impossible=True)]).lost()]


def test_the_silent_are_found_also_before_their_first_word(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    watch, dumb = Watch(8), job(0, RUNNING)
    for clock[0] in range(1, 12):
        found = watch.silent([dumb, job(1, RUNNING, beat=clock[0])])
        assert found == ([dumb] if clock[0] > 9 else [])


def test_nothing_is_held_against_anyone_while_nobody_looked(monkeypatch):
    """This machine was stopped, or the database was gone: it has not seen the others' words."""
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    watch, other = Watch(8), job(0, RUNNING, beat=1)
    watch.silent([other])
    clock[0] = 1000.0
    assert watch.silent([other]) == []


def test_a_copy_shares_no_file_that_is_written_again(tmp_path):
    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    for name in ("metrics.jsonl", "checkpoints/step-1.json", "checkpoints/step-1.safetensors",
                 "x.partial"):
        (run / name).write_text("before")
    copy_folder(run, tmp_path / "copy")
    with open(run / "metrics.jsonl", "a") as file:
        file.write("after")
    assert (tmp_path / "copy/metrics.jsonl").read_text() == "before"
    assert (tmp_path / "copy/checkpoints/step-1.safetensors").read_text() == "before"
    assert not (tmp_path / "copy/x.partial").exists()


def generation(runs, g, checkpoint=True):
    """Make the folder of a generation of a trial, as a run leaves it; return it."""
    folder = folder_of(runs, {"x": 0}, g)
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "data").mkdir()
    (folder / "data" / "tokenizer.json").write_text("{}")
    if checkpoint:
        (folder / "checkpoints" / "step-00000001.json").write_text("{}")
    return folder


def test_earlier_generations_go_when_the_later_is_safe_and_nobody_writes_to_them(tmp_path):
    first, second, third = [generation(tmp_path, g, g < 2) for g in range(3)]
    remove_earlier(tmp_path, {"x": 0}, 2)             # which has no checkpoint yet
    assert first.exists() and second.exists()
    (third / "checkpoints" / "step-00000001.json").write_text("{}")
    (second / "data" / "tokenizer.json").unlink()     # as if its removal had been cut off
    with alone_in(first):                             # taken for dead, and it is not
        remove_earlier(tmp_path, {"x": 0}, 2)
        assert first.exists() and not second.exists()
    remove_earlier(tmp_path, {"x": 0}, 2)
    assert [*tmp_path.iterdir()] == [third]


def test_what_others_may_do_is_told_from_what_nobody_can():
    full = CheckpointError("the disk is full")
    full.__cause__ = FileError("no room")
    full.__cause__.__cause__ = OSError(28, "No space left on device")
    assert of_this_machine(full) and of_this_machine(MemoryError())
    assert not of_this_machine(CheckpointError("damaged"))


@pytest.mark.parametrize("cause, told", [(None, ConfigError), (OSError(5, "I/O"), CorpusError)])
def test_a_text_that_no_run_can_use_is_not_tried_again(monkeypatch, cause, told):
    def prepare_data(*text):
        raise CorpusError("no labels") from cause
    monkeypatch.setattr("gpt.sweeping.copies.prepare_data", prepare_data)
    with pytest.raises(told, match="no labels"):
        usable()


# ---- what is told ----

SPEC = {"halving": [3, 2, True]}


def of_two_settings():
    """Return jobs whose value depends on one of two settings, up to a little."""
    rng, jobs = np.random.default_rng(0), []
    for i in range(24):
        settings = {"n_layer": i % 3, "learning_rate": float(rng.random())}
        jobs.append(job(i, DONE, trial=i, value=i % 3 + 0.01 * rng.random())._replace(
            settings=settings))
    return jobs


def test_what_matters_is_told_from_what_does_not():
    shares = importance(of_two_settings())
    assert [*shares] == ["n_layer", "learning_rate"]
    assert shares["n_layer"] > 0.99 and shares["learning_rate"] < 0.2
    assert importance(of_two_settings()[:7]) == {}


def test_who_rose_higher_stands_before_and_all_is_told(tmp_path):
    jobs = of_two_settings()
    risen = jobs[2]._replace(number=30, rung=1, value=1.5, step=90)
    lines = [*sweep_lines(SPEC, [*jobs, risen], tmp_path)]
    assert lines[0] == "rung 1: 24 done" and lines[1] == "rung 2: 1 done"
    assert lines[2].startswith("    1.5000  step     90  n_layer=2,")
    assert any(line.startswith("best: n_layer=2,") and "--steps 180" in line for line in lines)
    page = sweep_page("<x>", SPEC, [*jobs, risen], tmp_path)
    assert "<svg" in page and "<x>" not in page and "learning_rate" in page


def test_of_a_sweep_that_has_just_begun_little_is_told(tmp_path):
    assert [*sweep_lines(SPEC, [job(0, RUNNING)], tmp_path)] == ["rung 1: 1 running"]
    assert "nothing to draw" in sweep_page("x", SPEC, [], tmp_path)


# ---- the table ----

POSTGRESQL = os.environ.get("MINIGRAD_POSTGRESQL")    # the address of a database to fill


@pytest.fixture
def table_of(tmp_path):
    """Return a function that opens the table of a sweep; it is closed behind the test."""
    with ExitStack() as opened:
        def open_table(url=f"sqlite:///{tmp_path / 'sweep.db'}", **settings):
            return opened.enter_context(closing(Table(url, f"{tmp_path}", **settings)))
        yield open_table


def taking(url, name, ours):
    """Take all jobs of a table; in a process of its own."""
    with closing(Table(url, name)) as table:
        ours.put([each.number for each in table.jobs() if table.take(each)])


@pytest.mark.extra("optuna")
@pytest.mark.parametrize("n", [20, pytest.param(2000, marks=pytest.mark.thorough)])
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_no_job_is_handed_out_twice(tmp_path, table_of, n, kind):
    if kind == "postgresql" and not POSTGRESQL:
        pytest.skip("MINIGRAD_POSTGRESQL does not name a database")
    url = POSTGRESQL if kind == "postgresql" else f"sqlite:///{tmp_path / 'sweep.db'}"
    table = table_of(url)
    for trial in range(n):
        table.add(trial, 0, 0, {"x": trial}, {})
    context = multiprocessing.get_context("spawn")
    start, ours = (context.Process, context.Queue()) if n > 100 else (Thread, Queue())
    some = [start(target=taking, args=(url, table.name, ours)) for _ in range(4)]
    for each in some:
        each.start()
    taken = [number for _ in some for number in ours.get(timeout=500)]
    for each in some:
        each.join()
    assert sorted(taken) == list(range(n))


@pytest.mark.extra("optuna")
def test_what_has_ended_never_changes_so_late_owners_report_nothing(table_of):
    table = table_of()
    table.add(0, 0, 0, {"x": 1}, {"x": Axis("x", (1, 2))})
    mine, = table.jobs()
    assert table.take(mine) and not table.take(mine)
    table.tell(mine, beat=1)
    assert table.fail(mine)                           # by another machine, to which it seemed dead
    for late in (lambda: table.tell(mine, beat=2), lambda: table.done(mine, 1.0, 5, True)):
        with pytest.raises(Lost):
            late()
    ended, = table.jobs()
    assert ended.state == FAILED and ended.value is None
    table.add(0, 0, 1, {"x": 1}, {})
    again = table.jobs()[1]
    table.take(again)
    table.done(again, math.inf, 5, False)
    assert not table.fail(again)                      # too late
    assert table.jobs()[1].state == DONE and table.jobs()[1].value == math.inf


@pytest.mark.extra("optuna")
def test_a_database_that_is_gone_is_waited_for(table_of, monkeypatch):
    said = []
    table = table_of(say=said.append)
    error = table.optuna.exceptions.StorageInternalError("gone")
    answers = [error, error, 5]
    monkeypatch.setattr("gpt.sweeping.table.WAIT_S", 0)

    def answer():
        found = answers.pop(0)
        if found is error:
            raise found
        return found
    assert table.ask(answer) == 5
    assert [line[:30] for line in said] == ["the database does not answer: ",
                                            "the database answers again"]


@pytest.mark.extra("optuna")
def test_the_same_name_is_the_same_sweep(table_of, monkeypatch):
    monkeypatch.setattr("gpt.sweeping.table.AGREE_S", 0)
    table = table_of()
    said = {"axes": {"n_layer": "2,4"}, "trials": 2}
    assert table.agree(said, lambda spec: spec | {"peak_gflops": 1})["peak_gflops"] == 1
    assert table.agree(said, lambda spec: spec | {"peak_gflops": 2})["peak_gflops"] == 1
    with pytest.raises(ConfigError, match="another --name"):
        table.agree(said | {"trials": 3}, dict)


@pytest.mark.extra("optuna")
def test_tpe_goes_to_where_it_was_good_and_follows_from_the_table():
    axes = {"learning_rate": Axis("learning_rate", (), 0.001, 0.1, True)}
    rates = np.geomspace(0.001, 0.1, 40)
    jobs = [job(i, DONE, trial=i, value=abs(math.log(rate / 0.03)))._replace(
        settings={"learning_rate": float(rate)}) for i, rate in enumerate(rates)]
    jobs.append(job(40, DONE, trial=40, value=math.inf)._replace(
        settings={"learning_rate": 0.05}))
    ledger = Ledger.of(jobs)
    drawn = [suggested(axes, ledger, (0, trial))["learning_rate"] for trial in range(8)]
    assert drawn == [suggested(axes, ledger, (0, trial))["learning_rate"] for trial in range(8)]
    assert len({*drawn}) == 8 and 0.015 < np.median(drawn) < 0.06


# ---- all of it ----

TINY = ["--n_layer", "1", "--n_head", "2", "--d_model", "16", "--context_length", "16",
        "--batch_tokens", "64", "--tokenizer", "char", "--eval_tokens", "256"]


@pytest.mark.extra("optuna")
def test_a_sweep_ends_with_a_run_that_goes_on(tmp_path, monkeypatch, capsys):
    from gpt.data.corpora import stories
    monkeypatch.chdir(tmp_path)
    Path("text.txt").write_bytes(stories(100).documents[0])
    words = ["sweep", "text.txt", *TINY, "--steps", "18", "--learning_rate", "0.001,0.01,0.1",
             "--halve", "3", "--rungs", "2", "--workers", "1"]
    main(words)
    said = capsys.readouterr().out
    assert "rung 1: 3 done\nrung 2: 1 done" in said
    assert "halving: 56% of the steps" in said
    assert len([*Path("sweeps/sweep/data").iterdir()]) == 1                # tokenized once
    best = next(Path("sweeps/sweep/runs").glob("*/checkpoints/step-00000018.json")).parent.parent
    assert f"--resume {best} --steps 36" in said
    main(["train", "--resume", str(best), "--steps", "24", "--plain"])
    assert json.loads((best / "manifest.json").read_text())["result"]["steps"] == 24
    main(["sweep", "--show", "sweep"])
    assert "<svg" in Path("sweeps/sweep/sweep.html").read_text()
    assert main(words) is None and "best:" in capsys.readouterr().out      # nothing is left to do
