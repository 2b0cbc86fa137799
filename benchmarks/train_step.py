"""Time a training step of a GPT through `Tensor.backward`, against PyTorch eager and compiled.

    python benchmarks/train_step.py [small large] [--threads 1,2] [--rounds 12]

A step is loss, backward, clipping of the gradients and AdamW, on one batch in memory; the model is
nanoGPT's on both sides (there with torch's exact GELU, here with GPT-2's, by tanh): `small` its CPU
configuration, `large` 6 layers, 384 wide, 16 x 256 tokens. Ours is taken as `train.py` takes it,
through `minigrad.kernels.replay`; `ordinary` are steps that all go through `Tensor.backward`.
Needs torch (`pip install .[bench]`). Each number of threads has a process of its own; there the
sides take turns, so that a change of the machine's speed meets all of them. Printed are the times
of the best round and, as the targets' ratios, the median of the ratios of all rounds. The engine's
share is the part of a step that is spent outside kernels.
"""
import argparse
import os
import sys
import time

from processes import run_each
from results import HELP, THREADS, verdict

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:1] = [os.path.dirname(HERE), HERE]           # or gpt would be benchmarks/gpt.py

VOCABULARY = 65
SIZES = {"small": (dict(n_layer=4, n_head=4, d_model=128, context_length=64), 12),
         "large": (dict(n_layer=6, n_head=6, d_model=384, context_length=256), 16)}
# (size, threads) -> targets: against eager, against compiled, the engine's share
TARGETS = {("small", "2"): (1.5, 1.4, 0.05), ("small", "1"): (1.2, 1.1, 0.05),
           ("large", "2"): (1.15, None, 0.01), ("large", "1"): (None, None, 0.01)}


def our_step(size, ids, targets, replayed=True):
    from gpt.training.config import Config
    config = Config.make("gpt2", vocab_size=VOCABULARY, bias=False, **size)
    return step_of(config, ids, targets, replayed)


def step_of(config, ids, targets, replayed=True):
    """Return a function that makes a step of a decoder's training; `replay` is a part of it."""
    from gpt.models.decoder import GPT
    from gpt.training.run import make_optimizers
    from minigrad.kernels.replay import Replay
    from minigrad.optim import clip_grad_norm
    model = GPT(config.model, np.random.default_rng(0))
    parameters, optimizers = model.parameters(), make_optimizers(model, config.train)
    replay = Replay(model.loss, parameters)
    gradients = replay if replayed else lambda *arrays: replay.step(arrays)

    def step():
        gradients(ids, targets)
        clip_grad_norm(parameters, 1.0)
        for optimizer in optimizers:
            optimizer.step()
        for optimizer in optimizers:
            optimizer.zero_grad()
    step.replay = replay
    return step


def torch_step(size, ids, targets, compiled):
    import torch
    from nanogpt import NanoGPT
    torch.manual_seed(0)
    model = NanoGPT(VOCABULARY, **size)
    call = torch.compile(model) if compiled else model
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.99), fused=True,
                                  weight_decay=0.1)
    ids, targets = (torch.from_numpy(x.astype(np.int64)) for x in (ids, targets))

    def step():
        call(ids, targets).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return step


def seconds(step, n):
    began = time.perf_counter()
    for _ in range(n):
        step()
    return (time.perf_counter() - began) / n


def engine_share(step, n):
    """Return the part of n steps that is spent outside kernels, by a clock around each of them."""
    from minigrad.kernels import jit
    inside, recording, run = [0.0], step.replay.recording, jit.run

    def clocked(function, *args):
        began = time.perf_counter()
        function(*args)
        inside[0] += time.perf_counter() - began
    if recording:
        recording.calls = [(clocked, (function, *args)) for function, args in recording.calls]
    jit.run = clocked
    wall = n * seconds(step, n)
    jit.run = run                                         # or the next recording hears of nothing
    return 1 - inside[0] / wall


def measure(name, rounds):
    """Compare one size in this process; print the targets' lines."""
    import torch
    torch.set_num_threads(int(THREADS))
    size, B = SIZES[name]
    rng = np.random.default_rng(0)
    ids, targets = rng.integers(0, VOCABULARY, (2, B, size["context_length"]))
    sides = {"ours": our_step(size, ids, targets), "eager": torch_step(size, ids, targets, False),
             "ordinary": our_step(size, ids, targets, replayed=False)}
    target = dict(zip(("eager", "compiled"), TARGETS[name, THREADS]))
    if target["compiled"]:
        sides["compiled"] = torch_step(size, ids, targets, True)
    n = 20 if name == "small" else 1
    for step in sides.values():
        seconds(step, 8)
    times = {side: [] for side in sides}
    for _ in range(rounds):
        for side, step in sides.items():
            times[side].append(seconds(step, n))
    print(f"{name}, {THREADS} threads: " + ", ".join(
        f"{side} {min(found) * 1e3:.1f} ms" for side, found in times.items()), flush=True)
    for side in list(sides)[1:]:
        ratio = np.median(np.array(times[side]) / times["ours"])
        best = min(times[side]) / min(times["ours"])
        print(f"    {side} / ours: best rounds {best:.2f}, median of rounds {ratio:.2f}")
        if target.get(side):
            verdict(f"step-{name}-{side}", ratio, target[side])
    share = engine_share(sides["ours"], 2 * n)
    limit = TARGETS[name, THREADS][2]
    verdict(f"engine-share-{name}", share, limit, at_most=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], epilog=HELP)
    parser.add_argument("sizes", nargs="*", metavar="SIZE", default=[],
                        help=f"which to run: {', '.join(SIZES)} (default: both)")
    parser.add_argument("--threads", default="1,2", help="numbers of threads (default: 1,2)")
    parser.add_argument("--rounds", type=int, default=12)
    args = parser.parse_args()
    unknown = set(args.sizes) - set(SIZES)
    if unknown:
        parser.error(f"no size {unknown.pop()!r}: there are {', '.join(SIZES)}")
    if THREADS:
        for name in args.sizes or SIZES:
            measure(name, args.rounds if name == "small" else max(3, args.rounds // 3))
        return 0
    return run_each(args.threads)


if __name__ == "__main__":
    sys.exit(main())
