"""Train an LSTM on characters, against torch's: tokens a CPU-second of one thread, and the loss.

    python benchmarks/recurrent.py [--rounds 5] [--embedding 64 256]
    python benchmarks/recurrent.py --loss TEXT [--seconds 100] [--net lstm]

A step is embedding, LSTM (256 wide), scores of 65 characters, loss, backward, clipping and AdamW,
on one batch of 16 x 128, with the state carried. Each side has a process and one thread of its
own; they take turns. Counted is CPU time, so that other programs count little. Needs torch.
With `--loss` our net learns the first 90 % of a text by characters until so many CPU-seconds are
over, and reads the rest: the rate falls with the clock, so two runs are not the same.
"""
import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]
for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "MINIGRAD_THREADS"):
    os.environ[name] = "1"

from results import HELP, verdict  # noqa: E402

import numpy as np  # noqa: E402

B, T, C, V = 16, 128, 256, 65
STEPS = 10                         # of a round
WHO, PRECISIONS = ("ours", "torch"), ("float32", "bfloat16")
SIDES = [f"{who} {precision}" for who in WHO for precision in PRECISIONS]
TARGET, LOSS_TARGET = 1.3, 1.50    # times torch's tokens; nats a character of tinyshakespeare


# ---- the two sides ----

def our_step(E, precision):
    from gpt.batch import Batch
    from gpt.models.states import rows_at
    from gpt.training.config import Config
    from gpt.training.measures import token_loss
    from gpt.training.run import make_optimizers
    from minigrad import use
    from minigrad.kernels.replay import Replay
    from minigrad.optim import clip_grad_norm
    config = Config.make(net="lstm", vocab_size=V, d_model=C, d_embedding=E)
    model = config.new_net(np.random.default_rng(0))
    state = model.start(Batch(np.zeros((B, 1), int)))
    optimizer, = make_optimizers(model, config.train)
    loss = lambda ids, targets, rows: token_loss(model, Batch(ids, targets), np.float64(B * T),
                                                 state=state.at(rows))
    gradients, parameters = Replay(loss, model.parameters()), model.parameters()

    def step(i, ids, targets):
        with use(precision=precision):
            gradients(ids, targets, rows_at(i, B))
        clip_grad_norm(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
    return step


def torch_step(E, precision):
    import torch
    torch.set_num_threads(1)
    torch.manual_seed(0)
    embedding, lstm = torch.nn.Embedding(V, E), torch.nn.LSTM(E, C, batch_first=True)
    head = torch.nn.Linear(C, V, bias=False)
    parameters = [x for part in (embedding, lstm, head) for x in part.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=0.005, betas=(0.9, 0.99), fused=True)
    carried = [None]

    def step(i, ids, targets):
        ids, targets = torch.from_numpy(ids), torch.from_numpy(targets)
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
            x, state = lstm(embedding(ids), carried[0])
            carried[0] = tuple(part.detach() for part in state)
            loss = torch.nn.functional.cross_entropy(head(x).flatten(0, 1), targets.flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return step


def side(name, E):
    """Take steps whenever a line is read, and print their CPU-seconds."""
    who, precision = name.split()
    step = {"ours": our_step, "torch": torch_step}[who](E, precision)
    ids, targets = np.random.default_rng(0).integers(0, V, (2, B, T))
    for i in range(6):
        step(i, ids, targets)
    print("ready", flush=True)
    for _ in sys.stdin:
        began = time.process_time()
        for i in range(STEPS):
            step(i, ids, targets)
        print(time.process_time() - began, flush=True)


def compare(E, rounds):
    """Let both sides take turns; print their rates, and the verdict."""
    command = [sys.executable, __file__, "--embedding", str(E), "--side"]
    pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
    sides = {name: subprocess.Popen([*command, name], **pipes) for name in SIDES}
    for process in sides.values():
        process.stdout.readline()
    times = {name: [] for name in sides}
    for _ in range(rounds):
        for name, process in sides.items():
            process.stdin.write("\n")
            times[name].append(float(process.stdout.readline()))
    for process in sides.values():
        process.stdin.close()
        process.wait()
    rates = {name: STEPS * B * T / min(found) for name, found in times.items()}
    print(f"embedding {E}: " + ", ".join(f"{name} {rate:,.0f} tokens a CPU-second"
                                         for name, rate in rates.items()))
    best = {who: min((times[f"{who} {p}"] for p in PRECISIONS), key=min) for who in WHO}
    ratio = np.median(np.array(best["torch"]) / best["ours"])
    verdict(f"lstm-embedding-{E}", ratio, TARGET)


# ---- how low the loss gets ----

def learn(text, net, seconds, given):
    """Train until the CPU-seconds are over; print the loss on the held-out tenth."""
    from models import characters, train_for
    from gpt.training.config import Config
    from gpt.training.plan import Plan
    from gpt.training.run import Run
    from gpt.training.task import read
    settings = dict(word.split("=") for word in given)
    settings = {name: float(x) if "." in x else int(x) for name, x in settings.items()}
    config = Config.make(net=net, tokenizer="char", steps=1, **settings)
    with tempfile.TemporaryDirectory() as folder:
        data, _ = characters(text, folder)
        run = Run.start(config.changed(vocab_size=data.tokenizer.vocab_size), data,
                        Plan.fixed(1_000_000))
        used, n_tokens = train_for(run, seconds)
        found = read(run.measures())
    print(f"{net}, {sum(x.size for x in run.trained):,} parameters, {used:.0f} CPU-seconds of one "
          f"thread, {run.step:,} steps, {n_tokens:,} tokens: {found.nats_per_token:.4f} nats over "
          f"{found.n_targets:,} tokens held out")
    verdict(f"{net}-loss", found.nats_per_token, LOSS_TARGET, at_most=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], epilog=HELP)
    parser.add_argument("--embedding", type=int, nargs="*", default=[64, 256])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--loss", metavar="TEXT", help="train on this text instead")
    parser.add_argument("--net", default="lstm")
    parser.add_argument("--seconds", type=float, default=100)
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE",
                        help="other settings of the run")
    args = parser.parse_args()
    if args.side:
        side(args.side, *args.embedding)
    elif args.loss:
        learn(args.loss, args.net, args.seconds, args.set)
    else:
        for E in args.embedding:
            compare(E, args.rounds)


if __name__ == "__main__":
    main()
