"""The whole of training, against PyTorch on the same machine in the same run.

    python benchmarks/gpt.py speed            tokens/s of the loop, eager and compiled (3 minutes)
    python benchmarks/gpt.py reach            seconds from the command to a loss of 1.90 (4 minutes)
    python benchmarks/gpt.py minutes 10 30    the loss that so many minutes reach
    python benchmarks/gpt.py plays            train.py with nothing: bits per byte, memory, time

Text is tinyshakespeare, from the folder that MINIGRAD_DATA names. Needs the `bench` extra. PyTorch
runs nanoGPT's model (nanogpt.py). Sides alternate, since a machine's speed drifts; a ratio is
the median of the rounds'.
"""
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:1] = [os.path.dirname(HERE), HERE]                   # or gpt would be this file

# ruff: noqa: E402, I001
import processes  # noqa: F401  (sets how threads wait, before a library that has them is loaded)

import json
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
from nanogpt import CPU, B, T, TorchTrainer
from results import verdict

from gpt.data.corpora import load_corpus
from gpt.data.documents import prepare
from gpt.opening import open_model
from gpt.training.config import Config
from gpt.training.plan import Plan
from gpt.training.run import Run
from gpt.training.step import train_steps
from minigrad import no_grad

ROOT = Path(__file__).parent.parent
LOSS = 1.90
REACH_STEPS = 160                  # of the preset `fast`, found by trying


def tinyshakespeare():
    if "MINIGRAD_DATA" not in os.environ:
        raise SystemExit("MINIGRAD_DATA names no folder with tinyshakespeare.txt")
    return os.path.join(os.environ["MINIGRAD_DATA"], "tinyshakespeare.txt")


def characters():
    corpus = load_corpus([tinyshakespeare()])
    return prepare(corpus, Config.make(tokenizer="char").data, tempfile.mkdtemp())


# ---- what is measured ----

def speed(rounds=8, n=25):
    """Compare the whole loop, the architecture being GPT-2's on both sides."""
    data = characters()
    V = data.tokenizer.vocab_size
    config = Config.make("gpt2", vocab_size=V, batch_tokens=B * T, bias=False, **CPU)
    ours = train_steps(Run.start(config, data, Plan.fixed(10 ** 6)))
    sides = {"ours": lambda n: [next(ours) for _ in range(n)],
             "eager": TorchTrainer(data, V).take,
             "compiled": TorchTrainer(data, V, compiled=True).take}
    times = {name: [] for name in sides}
    for take in sides.values():
        take(10)
    for _ in range(rounds):
        for name, take in sides.items():
            began = time.perf_counter()
            take(n)
            times[name].append((time.perf_counter() - began) / n)
    for name, found in times.items():
        print(f"{name}: {min(found) * 1e3:.1f} ms a step at best, "
              f"{B * T / statistics.median(found):,.0f} tokens/s in the middle")
    for name, target in (("eager", 1.45), ("compiled", 1.3)):
        ratio = statistics.median(t / o for t, o in zip(times[name], times["ours"]))
        verdict(f"train-tokens-{name}", ratio, target)


def train(folder, *args):
    """Run train.py in a process of its own; return the seconds and the run's folder."""
    began = time.perf_counter()
    subprocess.run([sys.executable, str(ROOT / "train.py"), *map(str, args), "--plain", "--name",
                    "run", "--runs", folder], check=True, env={**os.environ,
                                                               "PYTHONPATH": str(ROOT)})
    return time.perf_counter() - began, Path(folder) / "run"


def val_loss(run, batches=200):
    """Measure as nanoGPT does: the mean over random windows of the validation part."""
    opened = open_model(run)
    model, data = opened.model, opened.data()
    rng, T, losses = np.random.default_rng(5), model.config.context_length, []
    with no_grad():
        for _ in range(batches):
            starts = rng.integers(0, len(data.val) - T, B)
            windows = np.asarray(data.val)[starts[:, None] + np.arange(T + 1)].astype(np.int64)
            losses.append(model.loss(windows[:, :-1], windows[:, 1:]).item())
    return statistics.fmean(losses)


def reach(steps=REACH_STEPS):
    """Compare the wall time to the same validation loss.

    Here from the command to the last checkpoint, whose loss is measured; the samples and the report
    that follow do not count.
    """
    flags = ["--tokenizer", "char", "--n_layer", 4, "--n_head", 2, "--d_model", 128,
             "--context_length", T, "--batch_tokens", B * T, "--eval_every", steps,
             "--eval_tokens", 2048]
    with tempfile.TemporaryDirectory() as folder:
        train(folder, tinyshakespeare(), "--steps", 2, *flags)                     # compile
    with tempfile.TemporaryDirectory() as folder:
        began = time.time()
        _, run = train(folder, tinyshakespeare(), "--steps", steps, *flags)
        seconds = max(f.stat().st_mtime for f in run.rglob("step-*.safetensors")) - began
        loss = val_loss(run)
    print(f"here: val {loss:.4f} nats per character over 200 batches, {seconds:.1f} s from the "
          "command")
    data = characters()
    began = time.perf_counter()
    trainer = TorchTrainer(data, data.tokenizer.vocab_size)
    while trainer.step < trainer.steps:
        trainer.take(50)
        if trainer.step >= 1800 and trainer.val(np.asarray(data.val), 40) <= LOSS:
            break
    theirs = time.perf_counter() - began
    print(f"PyTorch eager: val {trainer.val(np.asarray(data.val)):.4f} after {trainer.step} steps "
          f"and {theirs:.1f} s, not counting its start")
    verdict("reached-loss", loss, LOSS, at_most=True)
    verdict("time-to-loss", seconds / theirs, 1 / 6, at_most=True)


def minutes(*budgets):
    """Report the loss after given minutes; 1.50 and 1.46 are the targets for 10 and 30."""
    for budget in budgets or ("10", "30"):
        with tempfile.TemporaryDirectory() as folder:
            seconds, run = train(folder, tinyshakespeare(), "--tokenizer", "char", "--minutes",
                                 budget)
            target = {"10": 1.50, "30": 1.46}.get(budget, 1.4697)
            verdict(f"val-after-{budget}-minutes", val_loss(run), target, at_most=True)
            off = abs(seconds / 60 / float(budget) - 1)
            verdict(f"time-of-{budget}-minutes", off, 0.05, at_most=True)


def plays():
    """Run train.py with nothing but a name."""
    with tempfile.TemporaryDirectory() as folder:
        seconds, run = train(folder)
        manifest = json.loads((run / "manifest.json").read_text(encoding="utf-8"))
        result = manifest["result"]
        memory_off = abs(result["peak_bytes"] / manifest["forecast_bytes"] - 1)
        verdict("plays-bits-per-byte", result["bits_per_byte"], 2.25, at_most=True)
        verdict("plays-memory-off", memory_off, 0.1, at_most=True)
        verdict("plays-time-off", abs(seconds / 300 - 1), 0.05, at_most=True)


WHAT = {"speed": speed, "reach": reach, "minutes": minutes, "plays": plays}

if __name__ == "__main__":
    what, *numbers = sys.argv[1:] or [""]
    if what not in WHAT or bool(numbers) != (what == "minutes") or not all(
            n.replace(".", "", 1).isdigit() for n in numbers):
        print(__doc__, file=sys.stderr)
        raise SystemExit(2)
    WHAT[what](*numbers)
