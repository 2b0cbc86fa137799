"""The program: runs from the command line, survives being killed, tells what is wrong."""
import errno
import io
import json
import os
import random
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from gpt import train as program
from gpt.data.corpora import stories
from gpt.data.documents import load_dataset
from gpt.evaluate import main as evaluate
from gpt.generate import main as generate
from gpt.show import closing
from gpt.training import task
from gpt.training.clock import Rates
from gpt.training.divergence import Diverged

ROOT = Path(__file__).parent.parent.parent
TINY = ["--n_layer", "1", "--n_head", "2", "--d_model", "16", "--context_length", "16",
        "--batch_tokens", "64", "--tokenizer", "char", "--plain"]
KILLS = 50 if os.environ.get("HYPOTHESIS_PROFILE") == "thorough" else 2
STEPS = 100 + 40 * KILLS           # a kill comes within 20 steps, some more while it is decided


@pytest.fixture
def text(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "text.txt"
    path.write_bytes(stories(100).documents[0])
    return str(path)


def start(folder, *args):
    """Start train.py in a process of its own, on one thread: so small a net gains by no other."""
    return subprocess.Popen([sys.executable, str(ROOT / "train.py"), *args], cwd=folder,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                            env={**os.environ, "PYTHONPATH": str(ROOT), "MINIGRAD_THREADS": "1"})


def finish(process):
    out, err = process.communicate(timeout=600)
    assert process.returncode == 0, err
    return out


def checkpoints(run):
    return {path.name: path.read_bytes() for path in (run / "checkpoints").iterdir()}


def test_a_run_killed_at_any_moment_ends_in_the_same_bytes(text, tmp_path):
    """By turns while it steps, evaluates or saves, and while it starts; never after its end."""
    settings = [text, *TINY, "--steps", str(STEPS), "--eval_every", "15", "--eval_tokens", "64"]
    finish(start(tmp_path, *settings, "--name", "whole"))
    whole, killed = (tmp_path / "runs" / name for name in ("whole", "killed"))
    rng, reached = random.Random(os.environ.get("SEED", 0)), [0]
    process = start(tmp_path, *settings, "--name", "killed")
    wait_for(process, killed, 0)
    for i in range(KILLS):
        if i % 2:
            wait_for(process, killed, reached[-1] + 1, rng.uniform(0, 3))
        else:
            wait_for(process, killed, reached[-1] + rng.randrange(1, 20))
        time.sleep(rng.uniform(0, 0.02))              # a step takes about 0.004
        assert process.poll() is None
        process.kill()                                # SIGKILL, where there is one
        process.communicate()
        reached.append(newest(killed / "checkpoints"))
        process = start(tmp_path, "--resume", str(killed), "--plain")
    finish(process)
    assert len({*reached}) > KILLS // 2 and reached[-1] < STEPS
    assert checkpoints(killed) == checkpoints(whole)
    assert steps_of(killed) == list(range(1, STEPS + 1))
    assert metrics_of(killed) == metrics_of(whole)
    files = [{path.relative_to(run) for path in run.rglob("*")} for run in (killed, whole)]
    assert files[0] == files[1]                       # nothing half written is left behind


def steps_of(run):
    return [row["step"] for row in rows(run) if "loss" in row]


def metrics_of(run):
    """Return what was measured, but for the times."""
    return [{name: row[name] for name in row if name not in ("elapsed_s", "tokens_s")}
            for row in rows(run)]


def rows(run):
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def newest(folder):
    return max((int(path.stem[5:]) for path in folder.glob("step-*.json")), default=-1)


def wait_for(process, run, step, seconds=600):
    """Wait until a run has saved a step, or has ended, or the time is over."""
    stop = time.monotonic() + seconds
    while process.poll() is None and newest(run / "checkpoints") < step and time.monotonic() < stop:
        time.sleep(0.002)


@pytest.mark.skipif(sys.platform == "win32", reason="signals are sent in another way there")
def test_ctrl_c_saves_and_says_how_to_go_on(text, tmp_path):
    process = start(tmp_path, text, *TINY, "--steps", "1000000", "--yes", "--name", "a")
    wait_for(process, tmp_path / "runs" / "a", 0)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in err
    assert f"--resume {Path('runs') / 'a'}" in out and newest(tmp_path / "runs/a/checkpoints") > 0


def run(*args, sample_tokens=5):
    """Run train.py in this process, as far as it leaves; its samples are short."""
    write = task.write
    short = lambda *args, max_tokens=None, **more: write(*args[:5], sample_tokens, **more)
    with pytest.MonkeyPatch.context() as patch:
        if sample_tokens:
            patch.setattr(task, "write", short)
        program.main([*args, "--plain"])


def test_20_steps_make_all_that_is_promised(text, tmp_path, capsys):
    run(text, *TINY, "--steps", "20", "--name", "a", sample_tokens=None)
    out, folder = capsys.readouterr().out, tmp_path / "runs" / "a"
    for words in ("parameters", "MFLOP a token", "tokens/s measured", "MB at most",
                  "about", "Kneser-Ney 7", "xz -9", "copied", "bits/byte", "-m gpt generate"):
        assert words in out, words
    assert [row["step"] for row in rows(folder) if "loss" in row] == list(range(1, 21))
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["result"]["bits_per_byte"] > 0 and len(manifest["corpus_sha256"]) == 64
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "@DATA@" not in page and "http://" not in page.replace("http://www.w3.org/2000/svg", "")


def test_a_text_of_ones_own_to_validate_on(text, tmp_path, capsys):
    held_out = tmp_path / "held_out.txt"
    held_out.write_bytes(stories(20, seed=7).documents[0])
    run(text, *TINY, "--steps", "3", "--name", "a", "--val", str(held_out))
    data = load_dataset(tmp_path / "runs" / "a" / "data")
    assert data.text(data.val) == held_out.read_bytes()
    assert data.text(data.train) == Path(text).read_bytes()
    assert json.loads((tmp_path / "runs/a/plan.json").read_text())["val"] == str(held_out)
    with pytest.raises(SystemExit) as left:
        run(text, *TINY, "--steps", "3", "--val", "nowhere.txt")
    said = capsys.readouterr().err
    assert left.value.code == 2 and "nowhere.txt" in said and said.count("\n") == 1


def test_the_manifest_repeats_a_run_that_was_planned_by_time(text, tmp_path, monkeypatch):
    rates = Rates(0.01, 1e-5)                         # however busy the machine is
    monkeypatch.setattr("gpt.training.forecast.measure_rates", lambda run: rates)
    run(text, *TINY, "--minutes", "0.05", "--name", "timed")
    timed = tmp_path / "runs" / "timed"
    repeat = json.loads((timed / "manifest.json").read_text())["repeat"]
    repeat = shlex.split(repeat)
    assert len(" ".join(repeat)) < 200
    run(*repeat[repeat.index("train") + 1:], "--name", "again")
    tensors = [sorted((folder / "checkpoints").glob("*.safetensors"))[-1]
               for folder in (timed, tmp_path / "runs" / "again")]
    assert tensors[0].name == tensors[1].name
    assert tensors[0].read_bytes() == tensors[1].read_bytes()


def test_a_run_that_was_killed_at_its_end_gets_its_report(text, tmp_path, monkeypatch):
    def killed(folder, asked):
        raise SystemExit(137)
    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr("gpt.show.closing.write_report", killed)
        run(text, *TINY, "--steps", "5", "--name", "a")
    folder = tmp_path / "runs" / "a"
    before = checkpoints(folder)
    run("--resume", str(folder))
    assert (folder / "report.html").is_file() and checkpoints(folder) == before
    assert steps_of(folder) == [1, 2, 3, 4, 5]
    with pytest.raises(SystemExit):
        run("--resume", str(folder))


def test_what_was_recorded_gives_its_memory_back_before_simpler_means_take_theirs(
        text, monkeypatch):
    recorded, of_run = [], []

    def note(run):
        of_run.append(run)
        recorded.append(len(run.way.loss_and_gradients.attempts))
    real = closing.measured, closing.simpler_means
    monkeypatch.setattr(closing, "measured", lambda run, may_s: note(run) or real[0](run, may_s))
    monkeypatch.setattr(closing, "simpler_means", lambda *args: note(*of_run) or real[1](*args))
    run(text, *TINY, "--steps", "5", "--name", "a")
    assert recorded[0] > 0 == recorded[1]


def test_a_finished_run_is_trained_longer(text, tmp_path):
    run(text, *TINY, "--steps", "5", "--name", "a")
    folder = str(tmp_path / "runs" / "a")
    with pytest.raises(SystemExit):
        run("--resume", folder)
    run("--resume", folder, "--steps", "8")
    assert newest(tmp_path / "runs" / "a" / "checkpoints") == 8


def test_any_console_and_any_name_will_do(tmp_path, monkeypatch):
    """A text without a line break, with what cp1252 has no character for, and control bytes."""
    monkeypatch.chdir(tmp_path)
    out = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(out, encoding="cp1252", write_through=True))
    (tmp_path / "mein Täxt").mkdir()
    Path("mein Täxt/漢.txt").write_text("Über 漢字 → \x1b[31m\x07 " * 99, encoding="utf-8")
    run("mein Täxt", *TINY, "--steps", "3", "--runs", "a b", "--name", "ü 漢", sample_tokens=20)
    run("--resume", "last", "--runs", "a b", "--steps", "5")
    folder = tmp_path / "a b" / "ü 漢"
    assert steps_of(folder) == [1, 2, 3, 4, 5] and (folder / "report.html").is_file()
    said = out.getvalue().decode("cp1252")
    written = shlex.split(re.search("write with: (.*)", said)[1])
    assert written[0] == sys.executable and written[-2:] == ["generate", r"a b/ü \u6f22"]
    assert not set(out.getvalue()) & {7, 27}
    generate([str(folder), "Über 漢", "--max_tokens", "5"])
    evaluate([str(folder), "mein Täxt/漢.txt"])


def test_a_run_on_several_files_says_what_is_held_out(text, tmp_path, capsys):
    for name in "abc":
        (tmp_path / f"{name}.txt").write_bytes(Path(text).read_bytes())
    run("a.txt", "b.txt", "c.txt", *TINY, "--steps", "1")
    assert "held out to validate on: the end, in c.txt\n" in capsys.readouterr().out
    run("c.txt", "b.txt", "a.txt", *TINY, "--steps", "1", "--val_fraction", "0.5")
    assert "held out to validate on: the end, in b.txt to a.txt\n" in capsys.readouterr().out


@pytest.mark.skipif(sys.platform == "win32", reason="the shell is another one there")
def test_a_printed_command_runs_as_it_is_printed(tmp_path):
    """From any folder, and with an interpreter in a path with a space."""
    python = tmp_path / "my python"
    python.write_text(f"#!/bin/sh\nexec '{sys.executable}' \"$@\"\n")
    python.chmod(0o755)
    script = (f"import sys; sys.path.insert(0, {str(ROOT)!r}); sys.executable = {str(python)!r}\n"
              "from gpt import called; print(called('generate', '--help'))")
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    line = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env=env, text=True,
                          capture_output=True).stdout
    done = subprocess.run(line, shell=True, cwd=tmp_path, env=env, text=True, capture_output=True)
    assert done.returncode == 0 and "Let a trained model write" in done.stdout, done.stderr


@pytest.mark.thorough
@pytest.mark.parametrize("tokenizer", [["char"], ["bpe", "--vocabulary", "270"]])
def test_a_run_works_where_nothing_is_compiled(text, tmp_path, tokenizer):
    Path(text).write_bytes(Path(text).read_bytes()[:2000])
    env = {**os.environ, "PYTHONPATH": str(ROOT), "NUMBA_DISABLE_JIT": "1"}
    short = ["--steps", "2", "--eval_tokens", "32", "--tokenizer", *tokenizer]
    for command in ([ROOT / "train.py", text, *TINY, *short],
                    [ROOT / "train.py", "--resume", "last", "--steps", "3", "--plain"],
                    ["-m", "gpt", "generate", "last", "Ada", "--max_tokens", "3"]):
        done = subprocess.run([sys.executable, *command], cwd=tmp_path, env=env, text=True,
                              capture_output=True)
        assert done.returncode == 0, done.stderr


def test_a_corpus_with_markup_does_nothing_in_the_report(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.txt").write_text("</script><script>document.title = 'hacked'</script>\n" * 60)
    run("x.txt", *TINY, "--steps", "3", "--name", "a")
    page = (tmp_path / "runs" / "a" / "report.html").read_text(encoding="utf-8")
    assert page.count("<script") == 2 and page.count("</script>") == 2 and "hacked" not in page


@pytest.mark.parametrize("args, words", [
    (["--n_layr", "2"], "did you mean --n_layer?"), (["missing.txt"], "there is no text"),
    (["text.txt", "--context_length", "100000"], "context_length"),
    (["text.txt", "--d_model", "100", "--n_head", "3"], "99 or 102"),
    (["text.txt", "--plan", "x"], "plan is"), (["--resume", "nowhere"], "there is no run"),
    (["text.txt", "--resume", "x"], "leave out text.txt"),
    (["text.txt", "--tokenizer", "nothing.json"], "choose bpe, char or byte"),
    (["text.txt", "--steps", "3", "--minutes", "1"], "leave one of them out"),
    (["text.txt", "--minutes", "nan"], "no finite number"), (["--from_step", "3"], "--resume RUN"),
    (["text.txt", "--name", "../x"], "must name a folder"), ([""], "is empty"), (["."], "no file"),
    (["text.txt", "stdlib"], "cannot be mixed"), (["text.txt", "--runs", "text.txt"], "--runs"),
    (["text.txt", "--trace_step", "3", "--steps", "2"], "takes the steps 1 to 2"),
    (["text.txt", "--d_model", "65536", "--n_layer", "96", "--steps", "1"], "billion weights"),
    (["text.txt", "--minutes", "0.001"], "use --minutes"),
    (["text.txt", "--vocabulary", "3", "--tokenizer", "bpe"], "256 bytes"),
    (["text.txt", "--no_causal", "--steps", "1"], "sees what comes before alone"),
    (["text.txt", "--batch_tokens", "1000000000"], "use --batch_tokens 1048576"),
    (["text.txt", "--plan", "text.txt"], "text.txt is no plan"),
    (["text.txt", "--steps", "2000000000"], "--yes")])
def test_what_cannot_work_is_one_sentence_and_status_2(text, tmp_path, capsys, args, words):
    if args == ["."]:
        Path(text).unlink()
    with np.errstate(all="ignore"), pytest.raises(SystemExit) as left:
        run(*([*TINY] if "--d_model" not in args and "--resume" not in args else []), *args)
    said = capsys.readouterr().err
    assert left.value.code == 2 and words in said, said
    assert said.startswith("train.py: ") and said.count("\n") == 1
    assert not list(tmp_path.glob("runs/*"))          # nothing is left of it


@pytest.mark.parametrize("rate, words, left", [
    ("1e39", "is not finite", False), ("1e4", "worse than one that knows nothing", True)])
def test_a_run_that_diverges_says_so_and_leaves_with_status_3(text, tmp_path, capsys, rate, words,
                                                              left):
    with np.errstate(all="ignore"), pytest.raises(SystemExit) as ended:
        run(text, *TINY, "--steps", "9", "--eval_every", "9", "--learning_rate", rate,
            "--clip_norm", "0", "--name", "a")
    said = capsys.readouterr().err
    assert ended.value.code == 3 and words in said and said.count("\n") == 1, said
    assert (tmp_path / "runs" / "a").exists() == left


def test_a_wrong_number_of_threads_in_the_environment_is_told_first(text, tmp_path):
    done = subprocess.run([sys.executable, ROOT / "train.py", text], cwd=tmp_path, text=True,
                          env=os.environ | {"MINIGRAD_THREADS": "all"}, capture_output=True)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr == ("train.py: MINIGRAD_THREADS is 'all', but must be a number of threads, "
                           "like 2\n")


@pytest.mark.parametrize("error, status, words", [
    (KeyboardInterrupt(), 130, "step 6 is saved; go on with: "),
    (Diverged("at step 7 all is nan"), 3, "the checkpoint of step 6 is in"),
    (OSError(errno.ENOSPC, "No space left on device"), 2, "the disk is full: make room"),
    (MemoryError(), 2, "the memory is full")])
def test_what_stops_a_run_is_told_and_the_run_goes_on(text, tmp_path, monkeypatch, capsys, error,
                                                      status, words):
    look = program.look

    def stopped(run, *args):
        if run.step > 6:
            raise error
        look(run, *args)
    with monkeypatch.context() as patch, pytest.raises(SystemExit) as left:
        patch.setattr(program, "look", stopped)
        run(text, *TINY, "--steps", "12", "--eval_every", "3", "--name", "a")
    said = "".join(capsys.readouterr())
    assert left.value.code == status and words in said and "Traceback" not in said
    run("--resume", str(Path("runs") / "a"))
    assert steps_of(tmp_path / "runs" / "a") == list(range(1, 13))


def test_a_run_that_does_not_fit_into_memory_is_refused(text, capsys, monkeypatch):
    monkeypatch.setattr("gpt.training.forecast.available_bytes", lambda: 50_000)
    with pytest.raises(SystemExit) as left:
        run(text, *TINY, "--steps", "1")
    assert left.value.code == 2 and "are free: use" in capsys.readouterr().err


def test_checks_hold_for_the_users_settings(text, capsys, tmp_path):
    run(text, *TINY, "--check")
    out = capsys.readouterr().out
    assert "all 14 checks hold" in out and "FAIL" not in out and not (tmp_path / "runs").exists()


@pytest.mark.parametrize("free, words", [
    (9_000, "the tokens of this text take about 0 MB"), (400_000, "the checkpoints of this run")])
def test_a_run_that_does_not_fit_onto_the_disk_is_refused(text, capsys, tmp_path, monkeypatch, free,
                                                          words):
    monkeypatch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(free=free))
    with pytest.raises(SystemExit) as left:
        run(text, *TINY, "--steps", "1")
    said = capsys.readouterr().err
    assert left.value.code == 2 and words in said and "make room" in said
    assert not list(tmp_path.glob("runs/*"))


def test_what_is_said_of_the_disk_holds(text, tmp_path, capsys):
    run(text, *TINY, "--steps", "9", "--eval_every", "3", "--name", "a")
    said = int(re.search(r"disk: ([\d,]+) MB", capsys.readouterr().out)[1].replace(",", ""))
    paths = [path for path in (tmp_path / "runs" / "a").rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in paths) < 1e6 * (said + 0.5)
