"""Checkpoints: whole or not there, and damage is noticed and named."""
import errno

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpt.training import checkpoint
from gpt.training.checkpoint import CheckpointError, load, save, steps

TENSORS = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "t": np.array(7)}


@pytest.fixture
def folder(tmp_path):
    for step in (1, 2):
        save(tmp_path, step, TENSORS, {"plan": "x", "best": 0.1 + step})
    return tmp_path


def test_what_is_loaded_is_what_was_saved(folder):
    tensors, facts = load(folder)
    assert facts["step"] == 2 and facts["best"] == 2.1
    for name, x in TENSORS.items():
        assert tensors[name].dtype == x.dtype
        np.testing.assert_array_equal(tensors[name], x)


def test_equal_runs_write_equal_bytes(folder, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    save(other, 2, dict(reversed(TENSORS.items())), {"best": 2.1, "plan": "x"})
    for path in other.iterdir():
        assert path.read_bytes() == (folder / path.name).read_bytes()


def test_the_last_two_and_those_to_keep_stay(folder):
    for step in (3, 4, 5):
        save(folder, step, TENSORS, {}, keep={2})
    assert steps(folder) == [2, 4, 5]
    assert len(list(folder.iterdir())) == 6


@given(suffix=st.sampled_from([".json", ".safetensors"]), place=st.floats(0, 0.999),
       cut=st.booleans(), flip=st.integers(1, 255))
def test_any_damage_is_noticed_and_the_one_before_is_offered(tmp_path_factory, suffix, place, cut,
                                                             flip):
    folder = tmp_path_factory.mktemp("runs")
    for step in (1, 2):
        save(folder, step, TENSORS, {"best": 1.5})
    path = folder / f"step-00000002{suffix}"
    data = bytearray(path.read_bytes())
    at = int(place * len(data))
    if cut:
        del data[at:]
    else:
        data[at] ^= flip
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match="step 2 .*damaged.*--from_step 1|has format"):
        load(folder)
    assert load(folder, 1)[1]["step"] == 1


def test_what_a_process_left_that_was_killed_while_it_removed_is_removed(folder):
    (folder / "step-00000001.json").unlink()
    (folder / "step-00000001.safetensors.partial").write_bytes(b"half of it")
    save(folder, 3, TENSORS, {})
    assert sorted(path.name[:13] for path in folder.iterdir()) == 2 * ["step-00000002"] + 2 * [
        "step-00000003"]


def test_a_checkpoint_without_facts_does_not_exist(folder):
    (folder / "step-00000002.json").unlink()
    assert load(folder)[1]["step"] == 1


def test_an_empty_folder_says_so(tmp_path):
    with pytest.raises(CheckpointError, match="does not hold a checkpoint: start anew"):
        load(tmp_path)
    with pytest.raises(CheckpointError, match="of step 7"):
        load(tmp_path, 7)


def test_another_format_is_told_from_damage(folder, monkeypatch):
    monkeypatch.setattr(checkpoint, "FORMAT", 2)
    with pytest.raises(CheckpointError, match="has format 1, but this version reads format 2"):
        load(folder)


def test_a_full_disk_loses_nothing(folder, monkeypatch):
    def full(path, tensors, metadata):
        path.write_bytes(b"half of it")
        raise OSError(errno.ENOSPC, "No space left on device")
    monkeypatch.setattr(checkpoint, "write_safetensors", full)
    with pytest.raises(CheckpointError, match="step 2 is whole.*the disk is full: free"):
        save(folder, 3, TENSORS, {})
    assert steps(folder) == [1, 2] and not list(folder.glob("*.partial"))
    load(folder)
