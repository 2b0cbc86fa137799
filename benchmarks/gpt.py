"""The whole of training, against PyTorch on the same machine in the same run.

    python benchmarks/gpt.py speed            tokens/s of the loop, eager and compiled (3 minutes)
    python benchmarks/gpt.py reach            seconds from the command to a loss of 1.90, against
                                              nanoGPT and our recipe in PyTorch (8 minutes)
    python benchmarks/gpt.py minutes 10 30    the loss that so many minutes reach
    python benchmarks/gpt.py plays            train.py with nothing: bits per byte, memory, time

Text is tinyshakespeare, from the folder that MINIGRAD_DATA names. Needs the `bench` extra. PyTorch
runs nanoGPT's model (nanogpt.py) and ours (recipe.py). Sides alternate, since a machine's speed
drifts; a ratio is the median of the rounds'.
"""
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:1] = [os.path.dirname(HERE), HERE]                   # or gpt would be this file

# ruff: noqa: E402, I001
import processes  # (sets how threads wait, before a library that has them is loaded)

import json
import math
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

def speed(rounds=8):
    """Compare the whole loop, the architecture being GPT-2's on both sides."""
    names, env = ("ours", "eager", "compiled"), processes.pytorch()
    sides = [processes.Side(sys.executable, __file__, "--side", name,
                            env=None if name == "ours" else env) for name in names]
    found = processes.turns([(side, "steps") for side in sides], rounds, warm=1)
    times = dict(zip(names, np.array(found)[:, :, 0].T))               # (rounds,) each, by clock
    for name, seconds in times.items():
        print(f"{name}: {min(seconds) * 1e3:.1f} ms a step at best, "
              f"{B * T / np.median(seconds):,.0f} tokens/s in the middle")
    for name, target in (("eager", 1.45), ("compiled", 1.3)):
        verdict(f"train-tokens-{name}", np.median(times[name] / times["ours"]), target)


def speed_side(name, n=25):
    """Be a side: take n steps of the loop whenever it is asked."""
    data = characters()
    V = data.tokenizer.vocab_size
    if name == "ours":
        config = Config.make("gpt2", vocab_size=V, batch_tokens=B * T, bias=False, **CPU)
        ours = train_steps(Run.start(config, data, Plan.fixed(10 ** 6)))
        take = lambda n: [next(ours) for _ in range(n)]
    else:
        take = TorchTrainer(data, V, compiled=name == "compiled").take
    take(10)
    processes.serve(lambda what: (lambda: take(n), n))


def train(folder, *args):
    """Run train.py in a process of its own; return the seconds and the run's folder."""
    began = time.perf_counter()
    subprocess.run([sys.executable, str(ROOT / "train.py"), *map(str, args), "--plain", "--name",
                    "run", "--runs", folder], check=True, env={**os.environ,
                                                               "PYTHONPATH": str(ROOT)})
    return time.perf_counter() - began, Path(folder) / "run"


def val_loss(loss, val, T, batches=200):
    """Measure as nanoGPT does: the mean over random windows of the validation part."""
    rng, losses = np.random.default_rng(5), []
    for _ in range(batches):
        starts = rng.integers(0, len(val) - T, B)
        windows = np.asarray(val)[starts[:, None] + np.arange(T + 1)].astype(np.int64)
        losses.append(loss(windows[:, :-1], windows[:, 1:]).item())
    return statistics.fmean(losses)


def val_loss_of(run):
    opened = open_model(run)
    with no_grad():
        return val_loss(opened.model.loss, opened.data().val, opened.model.config.context_length)


# ---- reach: ours and its peers, each in a process of its own ----

def reach(steps=REACH_STEPS):
    """Compare the wall time to the same validation loss.

    Here from the command to the last checkpoint, whose loss is measured; the samples and the report
    that follow do not count. Of PyTorch neither its start nor its evaluations count, nor what the
    first step takes longer than the others, since that compiles; it is printed beside.
    """
    with tempfile.TemporaryDirectory() as folder:
        our_reach(f"{folder}/first", 2)                                            # compile
        ours, theirs = [], {}
        env = {**os.environ, **processes.pytorch()}
        for i, (name, (words, _)) in enumerate(PEERS.items()):
            run = f"{folder}/{i}"
            ours.append(our_reach(run, steps))
            theirs[name] = peer_reach(*words, run, env=env)
            print(f"{name}: val {theirs[name]['loss']:.4f} after {theirs[name]['steps']} steps and "
                  f"{theirs[name]['seconds']:.1f} s, and {theirs[name]['compiling']:.1f} to "
                  "compile", flush=True)
    seconds, losses = zip(*ours)
    seconds = statistics.median(seconds)
    print(f"here: val {min(losses):.4f} to {max(losses):.4f} nats per character over 200 batches, "
          f"{seconds:.1f} s from the command in the middle of {len(ours)} runs, "
          f"{min(ours)[0]:.1f} to {max(ours)[0]:.1f}")
    verdict("reached-loss", max(losses), LOSS, at_most=True)
    for name, (_, target) in PEERS.items():
        verdict(f"time-to-loss-{name}", seconds / theirs[name]["seconds"], target, at_most=True)


def our_reach(folder, steps):
    """Return the seconds to the last checkpoint, and its loss."""
    began = time.time()
    _, run = train(folder, tinyshakespeare(), "--steps", steps, "--tokenizer", "char", "--n_layer",
                   4, "--n_head", 2, "--d_model", 128, "--context_length", T, "--batch_tokens",
                   B * T, "--eval_every", steps, "--eval_tokens", 2048, "--precision", "auto")
    ended = max(f.stat().st_mtime for f in run.rglob("step-*.safetensors"))
    return ended - began, val_loss_of(run)


# What a peer is, by name: its net, whether it is compiled, its precision, and for nanoGPT's the
# rate and the steps that take it to the loss, found by trying; and the target.
PEERS = {"nanogpt": (("nanogpt", "eager", "float32", 1e-3, 2000), 1 / 9),
         "nanogpt-3e-3": (("nanogpt", "eager", "float32", 3e-3, 1333), 1 / 6),
         "nanogpt-3e-3-compiled": (("nanogpt", "compiled", "float32", 3e-3, 1333), 1 / 6),
         "recipe": (("recipe", "compiled", "float32", 0, REACH_STEPS), 0.45),
         "recipe-bfloat16": (("recipe", "compiled", "bfloat16", 0, REACH_STEPS), 0.45)}


def peer_reach(*words, env):
    """Return what a peer says of itself: its loss, steps and seconds."""
    command = [sys.executable, __file__, "--peer", *map(str, words)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, env=env)
    return json.loads(done.stdout)


def peer(net, how, precision, rate, steps, run):
    """Be a peer of a run of ours: train, and print what came of it."""
    import torch
    opened, steps = open_model(f"{run}/run"), int(steps)
    data, compiled = opened.data(), how == "compiled"
    if net == "recipe":
        from recipe import RecipeTrainer
        same = Run.start(opened.config, data, Plan.fixed(steps))
        trainer = RecipeTrainer(same, compiled, precision == "bfloat16")
    else:
        trainer = TorchTrainer(data, data.tokenizer.vocab_size, compiled, steps, float(rate))
    call = lambda *batch: trainer.model(*map(torch.from_numpy, batch))
    times, loss = [], math.inf
    while len(times) < steps and loss > LOSS:
        began = time.perf_counter()
        trainer.take(1)
        times.append(time.perf_counter() - began)
        n = len(times)
        if n == steps or n >= 0.9 * steps and n % 25 == 0:         # maybe it is there already
            with torch.no_grad():
                loss = val_loss(call, data.val, T)
    first, usual = times[0], statistics.median(times)
    print(json.dumps({"loss": loss, "steps": len(times), "compiling": first - usual,
                      "seconds": sum(times[1:]) + usual}))


def minutes(*budgets):
    """Report the loss after given minutes; 1.50 and 1.46 are the targets for 10 and 30."""
    for budget in budgets or ("10", "30"):
        with tempfile.TemporaryDirectory() as folder:
            seconds, run = train(folder, tinyshakespeare(), "--tokenizer", "char", "--minutes",
                                 budget)
            target = {"10": 1.50, "30": 1.46}.get(budget, 1.4697)
            verdict(f"val-after-{budget}-minutes", val_loss_of(run), target, at_most=True)
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
    if sys.argv[1:2] in (["--peer"], ["--side"]):
        (peer if sys.argv[1] == "--peer" else speed_side)(*sys.argv[2:])
        raise SystemExit
    what, *numbers = sys.argv[1:] or [""]
    if what not in WHAT or bool(numbers) != (what == "minutes") or not all(
            n.replace(".", "", 1).isdigit() for n in numbers):
        print(__doc__, file=sys.stderr)
        raise SystemExit(2)
    WHAT[what](*numbers)
