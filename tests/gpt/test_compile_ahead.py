"""A second process compiles what the first one will need, and is started only when that helps."""
import json
import sys

import numpy as np
import pytest

from gpt.models.decoder import GPT
from gpt.training import compile_ahead
from gpt.training.config import PRESETS, Config
from gpt.training.run import make_optimizers
from minigrad import optim, use, watch
from minigrad.kernels import jit
from minigrad.tensor import OPS


@pytest.mark.parametrize("preset", PRESETS)
def test_all_that_a_step_of_a_preset_runs_is_run_ahead(preset, monkeypatch):
    """But for the products, with which the first process begins."""
    config = Config.make(preset, **compile_ahead.SMALL)
    ran, stepped = set(), []
    def noted(op, place, body):
        def run(*args, **params):
            ran.add((op.name, place))
            return body(*args, **params)
        run.asks = getattr(body, "asks", False)
        return run
    for op in OPS.values():
        if "fast" in op.bodies:
            bodies = [noted(op, place, body) for place, body in enumerate(op.bodies["fast"])]
            monkeypatch.setitem(op.bodies, "fast", bodies)
    monkeypatch.setattr(optim.AdamW, "step", lambda self, rate=1.0: stepped.append("adamw"))
    monkeypatch.setattr("minigrad.optim.muon.Muon.step",
                        lambda self, rate=1.0: stepped.append("muon"))
    compile_ahead.compile_all(config)
    names = []
    model = GPT(config.model, np.random.default_rng(0))
    ids = np.zeros((2, config.model.context_length), np.int64)
    with use("reference"), watch(lambda node: names.append(node.op.name)):
        model.loss(ids, ids)
    needed = {name for name in names if name in OPS and "fast" in OPS[name].bodies}
    needed -= {*compile_ahead.PRODUCTS}
    assert ran >= {(name, place) for name in needed for place in (0, 1)} and len(needed) >= 4
    assert len(stepped) == len(make_optimizers(model, config.train))


@pytest.mark.parametrize("n_threads, before, cache, worth_it", [
    (2, False, True, True), (1, False, True, False), (2, True, True, False),
    (2, False, False, False)])
def test_it_is_worth_it_with_an_empty_cache_that_keeps_and_two_cores(n_threads, before, cache,
                                                                     worth_it, monkeypatch):
    monkeypatch.setattr(jit, "COMPILED", True)
    monkeypatch.setattr(compile_ahead.threads, "available_cores", lambda: 2)
    monkeypatch.setattr(compile_ahead.threads, "n_threads", lambda: n_threads)
    monkeypatch.setattr(compile_ahead.cache, "compiled_before", lambda source: before)
    monkeypatch.setattr(compile_ahead.cache, "cache_directory",
                        lambda source: "somewhere" if cache else None)
    assert compile_ahead.is_worth_it() == worth_it


def test_the_process_ends_with_the_block(monkeypatch):
    started = []
    popen = compile_ahead.subprocess.Popen

    def sleep(args, **_):
        started.append((args, popen([sys.executable, "-c", "import time; time.sleep(60)"])))
        return started[-1][1]
    monkeypatch.setattr(compile_ahead, "is_worth_it", lambda: True)
    monkeypatch.setattr(compile_ahead.subprocess, "Popen", sleep)
    with compile_ahead.compiling_ahead("llama", {"steps": 7}):
        ((program, *module, settings), process), = started
        assert program == sys.executable and module == ["-m", "gpt.training.compile_ahead"]
        assert json.loads(settings) == ["llama", {"steps": 7}] and process.poll() is None
    assert process.returncode not in (0, None)


def test_a_system_without_processes_is_no_error(monkeypatch):
    def refuse(*args, **_):
        raise OSError("no more processes")
    monkeypatch.setattr(compile_ahead, "is_worth_it", lambda: True)
    monkeypatch.setattr(compile_ahead.subprocess, "Popen", refuse)
    with compile_ahead.compiling_ahead("fast", {}):
        pass


@pytest.mark.parametrize("given", [{"d_model": 7, "steps": 3}, {"dropout": 7}])
def test_the_process_itself_runs_from_anywhere(given, monkeypatch, tmp_path):
    """What is wrong with the settings, the first process says."""
    monkeypatch.chdir(tmp_path)
    helper = compile_ahead.start("fast", given)
    assert helper.wait() == 0
