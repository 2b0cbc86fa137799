"""Loggers: what the user has installed is used, what is missing is named."""
import sys
from types import SimpleNamespace

import pytest

from gpt.settings import ConfigError
from gpt.show.loggers import LOGGERS, make_logger


def test_without_a_name_nothing_is_logged(tmp_path):
    make_logger(None, tmp_path)(1, loss=2.0)


@pytest.mark.parametrize("name", LOGGERS)
def test_a_package_that_is_missing_is_named(name, tmp_path, monkeypatch):
    for module in ("torch", "torch.utils", "torch.utils.tensorboard", "tensorboard",
                   "tensorboard.summary", "wandb", "trackio"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigError, match=f"pip install {name}"):
        make_logger(name, tmp_path)


def test_numbers_reach_wandb_with_their_step(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(
        init=lambda **_: None, log=lambda numbers, step: seen.append((step, numbers))))
    make_logger("wandb", tmp_path)(3, loss=1.5, rate=0.5)
    assert seen == [(3, {"loss": 1.5, "rate": 0.5})]


def test_numbers_reach_trackio_with_their_step(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setitem(sys.modules, "trackio", SimpleNamespace(
        init=lambda **_: None, log=lambda numbers, step: seen.append((step, numbers))))
    make_logger("trackio", tmp_path)(3, loss=1.5)
    assert seen == [(3, {"loss": 1.5})]
