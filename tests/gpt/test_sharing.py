"""A model can be opened from whatever holds it, and shared without its text."""
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from gpt import evaluate, export, generate
from gpt import train as program
from gpt.data.corpora import stories
from gpt.data.documents import prepare
from gpt.opening import KINDS, Kind, Opened, open_model
from gpt.settings import ConfigError
from gpt.training.checkpoint import CheckpointError
from gpt.training.config import Config
from gpt.training.folder import save, write_manifest
from gpt.training.plan import Plan
from gpt.training.run import Run

SECRET = "/home/ada/diary.txt"


@pytest.fixture(scope="module")
def run(tmp_path_factory, tiny):
    """A run of steps 0 and 2, the earlier one of which is better."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    corpus = stories(50)
    data = prepare(corpus, Config.make(tokenizer="char").data, folder / "data")
    config = tiny(vocab_size=data.tokenizer.vocab_size)
    run = Run.start(config, data, Plan.fixed(9))
    for run.step, loss in (1, 2.0), (2, 3.0):
        run.model.token_embedding.weight.data += 0.1
        if loss < run.best_loss:
            run.best_loss, run.best_step = loss, run.step
        save(run, folder)
    write_manifest(folder, corpus=SECRET, command=f"train.py {SECRET}", corpus_name="diary",
                   corpus_sha256=corpus.fingerprint(), corpus_bytes=corpus.size_bytes,
                   result={"best_step": 1, "bits_per_byte": 2.25, "nats_per_token": 1.5,
                           "n_tokens": 640}, baselines={"trigram": 2.5})
    return folder


@pytest.fixture
def shared(run, tmp_path, capsys):
    export.main([str(run), str(tmp_path / "shared")])
    capsys.readouterr()
    return tmp_path / "shared"


def weights(place, step=None):
    return open_model(place, step).model.state_dict()


def test_the_best_weights_are_opened_unless_a_step_is_named(run):
    assert open_model(run).step == 1 and open_model(run, 2).step == 2
    name = "token_embedding.weight"
    np.testing.assert_allclose(weights(run, 2)[name], weights(run)[name] + 0.1, rtol=1e-5)


def test_what_is_shared_writes_the_same(run, shared, capsys):
    said = []
    for place in run, shared:
        generate.main([str(place), "Ada", "--max_tokens", "9"])
        said.append(capsys.readouterr().out)
    assert said[0] == said[1]
    for name, x in weights(run).items():
        np.testing.assert_array_equal(weights(shared)[name], x)


def test_it_is_measured_on_a_text_that_is_named(run, shared, tmp_path, capsys):
    (tmp_path / "text.txt").write_bytes(stories(3, seed=1).documents[0])
    said = []
    for place in run, shared:
        evaluate.main([str(place), str(tmp_path / "text.txt")])
        said.append(capsys.readouterr().out.splitlines())
    assert said[0][0] == said[1][0] and "Kneser-Ney" in said[0][1] and len(said[1]) == 1
    with pytest.raises(SystemExit) as left:
        evaluate.main([str(shared)])
    assert left.value.code == 2 and "name a text" in capsys.readouterr().err


def test_nothing_of_the_text_or_of_training_is_in_it(run, shared):
    assert sorted(path.name for path in shared.iterdir()) == [
        "README.md", "config.json", "model.safetensors", "tokenizer.json"]
    text = stories(50).documents[0]
    for path in shared.iterdir():
        data = path.read_bytes()
        assert SECRET.encode() not in data and text[:12] not in data
    assert (shared / "model.safetensors").stat().st_size < 1.2 * sum(
        x.nbytes for x in weights(run).values())


def test_the_card_says_what_the_run_measured(shared):
    card = (shared / "README.md").read_text(encoding="utf-8")
    for words in "diary, 0.01 MB, SHA256", "2.2500 bits per byte", "trigram 2.50", "1 steps":
        assert words in card, card


@pytest.mark.skipif(os.name != "posix", reason="rights are of another kind there")
def test_others_may_read_it(shared):
    umask = os.umask(0)
    os.umask(umask)
    assert {path.stat().st_mode & 0o777 for path in shared.iterdir()} == {0o666 & ~umask}


def test_a_shared_model_is_shared_again(shared, tmp_path):
    export.main([str(shared), str(tmp_path / "again")])
    for name in "config.json", "model.safetensors", "tokenizer.json":
        assert (tmp_path / "again" / name).read_bytes() == (shared / name).read_bytes()


def test_writing_needs_no_text(run, tmp_path, capsys):
    copy = shutil.copytree(run, tmp_path / "copy")
    for name in "train.npy", "val.npy":
        (copy / "data" / name).unlink()
    generate.main([str(copy), "Ada", "--max_tokens", "5"])
    assert capsys.readouterr().out.startswith("Ada")


@pytest.mark.parametrize("name, words", [
    ("model.safetensors", "damaged: copy the folder again"), ("tokenizer.json", "damaged"),
    ("config.json", "neither a run nor a shared model")])
def test_damage_of_a_shared_model_is_told(shared, name, words):
    data = (shared / name).read_bytes()
    (shared / name).write_bytes(data[:len(data) // 2])
    with pytest.raises((CheckpointError, ConfigError), match=words):
        open_model(shared)
    (shared / name).unlink()
    with pytest.raises((CheckpointError, ConfigError)):
        open_model(shared)


@pytest.mark.parametrize("change, words", [
    ({"format": 9}, "has format 9"), ({"model": {"n_layer": 1}}, "damaged"),
    ({"model": {"wings": 2}}, "wings"), ({"sha256": {}}, "damaged"), ({"model": 3}, "damaged")])
def test_settings_that_do_not_fit_are_told(shared, change, words):
    path = shared / "config.json"
    facts = json.loads(path.read_text())
    path.write_text(json.dumps(facts | change))
    with pytest.raises((CheckpointError, ConfigError), match=words):
        open_model(shared)


def test_a_new_kind_is_a_row(tmp_path, monkeypatch):
    made = Opened("model", "tokenizer")
    row = Kind(lambda place: place.suffix == ".x", lambda place, step, base: made)
    monkeypatch.setitem(KINDS, "an x", row)
    assert open_model(tmp_path / "a.x") is made and made.task == "causal"
    with pytest.raises(ConfigError, match="no steps to choose from: leave out --from_step"):
        open_model(tmp_path / "a.x", 3)
    with pytest.raises(ConfigError, match="neither a run nor a shared model nor .* nor an x"):
        open_model(tmp_path)


@pytest.mark.parametrize("command, args, words", [
    (export, ["{run}", "{run}"], "not empty: name a new folder"),
    (export, ["{run}", "{run}/manifest.json"], "not empty"),
    (export, ["{run}"], "required"), (export, ["nowhere", "new"], "there is no run nowhere"),
    (export, ["{run}", "new", "--from_step", "7"], "of step 7"),
    (generate, ["{shared}", "x", "--from_step", "7"], "no steps to choose from"),
    (program, ["--resume", "{shared}"], "is no run that can go on")])
def test_what_cannot_work_is_one_sentence_and_status_2(run, shared, tmp_path, monkeypatch, capsys,
                                                       command, args, words):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as left:
        command.main([arg.format(run=run, shared=shared) for arg in args])
    said = capsys.readouterr().err
    assert left.value.code == 2 and words in said and said.count("\n") == 1, said
    assert not Path("new").exists()
