"""A second process compiles what the first one will need, and is started only when that helps."""
import json
import sys

import numpy as np
import pytest

from gpt import compile_ahead
from gpt.config import PRESETS, Config
from gpt.model import GPT
from gpt.training import make_optimizers
from minigrad import jit, optim, use, watch
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
    monkeypatch.setattr("minigrad.muon.Muon.step", lambda self, rate=1.0: stepped.append("muon"))
    compile_ahead.compile_all(config)
    names = []
    model = GPT(config.model, np.random.default_rng(0))
    ids = np.zeros((2, config.model.context_length), np.int64)
    with use("reference"), watch(lambda node: names.append(node.op.name)):
        model.loss(ids, ids)
    needed = {name for name in names if "fast" in OPS[name].bodies} - {*compile_ahead.PRODUCTS}
    assert ran >= {(name, place) for name in needed for place in (0, 1)} and len(needed) >= 4
    assert len(stepped) == len(make_optimizers(model, config.train))


@pytest.mark.parametrize("cores, before, starts", [(2, False, True), (1, False, False),
                                                   (2, True, False)])
def test_a_process_is_started_for_an_empty_cache_and_a_free_core(cores, before, starts,
                                                                 monkeypatch):
    started = []
    monkeypatch.setattr(jit, "COMPILED", True)
    monkeypatch.setattr(jit, "available_cores", lambda: cores)
    monkeypatch.setattr(jit, "compiled_before", lambda source: before)
    monkeypatch.setattr(compile_ahead.subprocess, "Popen", lambda args, **_: started.append(args))
    compile_ahead.start("llama", {"steps": 7})
    assert bool(started) == starts
    for program, *module, settings in started:
        assert program == sys.executable and module == ["-m", "gpt.compile_ahead"]
        assert json.loads(settings) == ["llama", {"steps": 7}]
