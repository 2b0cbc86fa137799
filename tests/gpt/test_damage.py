"""What is damaged in the folder of a run is noticed in one sentence, or changes nothing."""
import contextlib
import errno
import io
import os
import random
import shutil
from pathlib import Path

import pytest

from gpt import evaluate, export, generate
from gpt import train as program
from gpt.data.corpora import CorpusError, stories
from gpt.data.documents import load_dataset
from gpt.settings import ConfigError
from gpt.training import checkpoint, task
from gpt.training.clock import Rates
from gpt.training.folder import Metrics, alone_in, read_manifest, read_metrics, write_manifest

SETTINGS = ["--n_layer", "1", "--n_head", "2", "--d_model", "16", "--context_length", "16",
            "--batch_tokens", "64", "--tokenizer", "char", "--plain", "--eval_every", "2"]
STEPS = 6
TRIALS = 150 if os.environ.get("HYPOTHESIS_PROFILE") == "thorough" else 30


@pytest.fixture(scope="module")
def quick():
    """Let runs of this file write short samples and measure nothing beforehand."""
    write = task.write
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(task, "write", lambda *args: write(*args[:5], 3))
        patch.setattr("gpt.training.forecast.measure_rates", lambda run: Rates(0.01, 1e-5))
        yield


@pytest.fixture(scope="module")
def stopped(tmp_path_factory, quick):
    """The folder of a run that was killed after step 4 of 6."""
    folder, look = tmp_path_factory.mktemp("damage"), program.look

    def killed(run, *args):
        look(run, *args)
        if run.step == 4:
            raise SystemExit(137)
    (folder / "text.txt").write_bytes(stories(40).documents[0])
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(program, "look", killed)
        program.main([str(folder / "text.txt"), *SETTINGS, "--steps", str(STEPS), "--runs",
                      str(folder), "--name", "run"])
    return folder / "run"


@pytest.fixture(scope="module")
def whole(stopped, tmp_path_factory):
    """What comes of it undamaged."""
    return outcomes(shutil.copytree(stopped, tmp_path_factory.mktemp("whole") / "run"))


@pytest.fixture(scope="module")
def before(stopped, tmp_path_factory):
    """What comes of it if it was killed while it saved step 4: facts are written last."""
    run = shutil.copytree(stopped, tmp_path_factory.mktemp("before") / "run")
    (run / "checkpoints" / "step-00000004.json").unlink()
    return outcomes(run)


COMMANDS = {"write": lambda run: generate.main([run, "x", "--max_tokens", "5"]),
            "evaluate": lambda run: evaluate.main([run, "--tokens", "32"]),
            "export": lambda run: export.main([run, f"{run}-shared"]),
            "resume": lambda run: program.main(["--resume", run, "--plain"])}


def outcomes(run):
    """Return what each command makes of a run, or the sentence in which it refuses."""
    found = {}
    for name, command in COMMANDS.items():
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                command(str(run))
                found[name] = out.getvalue()
            except SystemExit as left:
                assert left.code == 2 and err.getvalue().count("\n") == 1, err.getvalue()
                found[name] = err.getvalue()
    if not is_refusal(found["export"]):
        found["export"] = Path(f"{run}-shared", "model.safetensors").read_bytes()
    if not is_refusal(found["resume"]):
        found["resume"] = (run / "checkpoints" / f"step-{STEPS:08d}.safetensors").read_bytes()
    return found


def flip(data, rng):
    data = bytearray(data)
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(data)


DAMAGES = {"flipped": flip,
           "cut": lambda data, rng: data[:rng.randrange(len(data))],
           "emptied": lambda data, rng: b"",
           "text": lambda data, rng: b"Once upon a time",
           "a list": lambda data, rng: b"[1, 2]\n",
           "removed": None}


def damage(path, how, rng):
    if DAMAGES[how] is None:
        path.unlink()
    else:
        path.write_bytes(DAMAGES[how](path.read_bytes(), rng))


@pytest.mark.parametrize("trial", range(TRIALS))
def test_any_damage_is_told_or_changes_nothing(stopped, whole, before, tmp_path, trial):
    run = shutil.copytree(stopped, tmp_path / "run")
    files = sorted(path for path in run.rglob("*") if path.is_file())
    i, k = trial % len(files), trial // len(files)
    path, how, rng = files[i], [*DAMAGES][(i + k) % len(DAMAGES)], random.Random(trial)
    damage(path, how, rng)
    right = before if how == "removed" and path.stem == "step-00000004" else whole
    for name, said in outcomes(run).items():
        assert said == right[name] or is_refusal(said), (path, how, name, said)


def is_refusal(said):
    return isinstance(said, str) and said.startswith(("train.py: ", "python -m gpt "))


def test_tokens_of_another_text_are_told(stopped, tmp_path):
    run = shutil.copytree(stopped, tmp_path / "run")
    path = run / "data" / "train.npy"
    data = bytearray(path.read_bytes())
    data[200] ^= 1                                    # still a token
    path.write_bytes(data)
    assert len(load_dataset(run / "data").train)
    for name in ("evaluate", "resume"):
        assert "train.npy is not as it was written" in outcomes(run)[name]


def test_logs_that_are_no_logs_are_left_out(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "loss": 2}\n[1, 2]\nx\n3\n{"loss": 2}\n')
    assert read_metrics(tmp_path) == [{"step": 1, "loss": 2}]
    for text in ("[1]", "", "\xff", "[" * 100_000):
        (tmp_path / "manifest.json").write_text(text, encoding="latin-1")
        assert read_manifest(tmp_path) == {}
    write_manifest(tmp_path, a=1)
    assert read_manifest(tmp_path) == {"a": 1}


def test_a_log_that_cannot_be_written_is_told_and_stops_nothing(tmp_path, capsys):
    for name in ("metrics.jsonl", "manifest.json"):
        (tmp_path / name / "in the way").mkdir(parents=True)
    metrics = Metrics(tmp_path)
    metrics.write(step=1)
    metrics.close()
    write_manifest(tmp_path, a=1)
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 2 and all("cannot be written" in line for line in said)


def test_what_may_not_be_read_is_not_called_damaged(stopped, monkeypatch):
    def refused(path):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))
    monkeypatch.setattr(checkpoint, "file_sha256", refused)
    monkeypatch.setattr("gpt.data.documents.file_sha256", refused)
    with pytest.raises(checkpoint.CheckpointError, match="cannot be read.*make it readable"):
        checkpoint.load(stopped / "checkpoints")
    with pytest.raises(CorpusError, match="train.npy may not be read: make it readable"):
        load_dataset(stopped / "data")


def test_two_runs_in_one_folder_are_told(stopped):
    with alone_in(stopped):
        with pytest.raises(ConfigError, match="another process trains in"), alone_in(stopped):
            pass
        assert "another process trains" in outcomes(stopped)["resume"]
    with alone_in(stopped):
        pass


def test_what_a_killed_process_left_half_written_is_cleared(stopped):
    left = [stopped / name for name in ("manifest.json.7.partial", "data/val.npy.7.partial",
                                        "checkpoints/step-00000004.json.7.partial",
                                        "checkpoints/.tmpX1y2")]
    for path in left:
        path.write_text("half of it")
    with alone_in(stopped):
        assert not any(path.exists() for path in left)


@pytest.mark.skipif(os.name != "posix", reason="rights are of another kind there")
def test_others_may_read_what_a_run_leaves(stopped):
    umask = os.umask(0)
    os.umask(umask)
    for path in Path(stopped).rglob("*"):
        if path.is_file():
            assert path.stat().st_mode & 0o777 == 0o666 & ~umask, path
