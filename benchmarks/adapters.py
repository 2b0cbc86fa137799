"""Adapters beside full tuning: to words that the base never saw, within its words, and in time.

    MINIGRAD_DATA=data python benchmarks/adapters.py --texts FOLDER   the texts, and what to run
    python benchmarks/adapters.py runs                                what became of it
    python benchmarks/adapters.py --step                              the time of a step
    python benchmarks/adapters.py --chats runs/chats                  before and after instructions

The base learns the Old Testament. Of the plays many words are new to it, of the New few are. Full
tuning is taken at its best rate; losses are of the whole last tenth of a text, in nats a token.
"""
import argparse
import os
import sys
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
sys.path[:1] = [str(ROOT), str(ROOT / "benchmarks")]      # or gpt would be gpt.py beside this
from results import HELP, verdict  # noqa: E402

from gpt.batch import Batch  # noqa: E402
from gpt.data.windows import evenly_spread  # noqa: E402
from gpt.models.lora import adapted, is_adapter  # noqa: E402
from gpt.opening import open_model  # noqa: E402
from gpt.training.config import Config  # noqa: E402
from gpt.training.intervals import half_width  # noqa: E402
from gpt.training.layers import freeze  # noqa: E402
from gpt.training.measures import token_loss  # noqa: E402
from gpt.training.tasks import task_named  # noqa: E402
from gpt.training.tasks.instruct import batch_of  # noqa: E402
from minigrad import no_grad  # noqa: E402
from minigrad.kernels.replay import Replay  # noqa: E402
from minigrad.optim import AdamW, clip_grad_norm  # noqa: E402

BOOKS = Path(os.environ.get("MINIGRAD_DATA", "data")) / "books"
OLD_VERSES = 23145
FULL = "full-1", "full-3", "full-10"            # thousandths of AdamW's rate
WITHIN, MOST_PARAMETERS, MOST_TIME = 1.02, 0.05, 0.85

ON = "--base runs/old --steps 150 --warmup_steps 10 --evaluations 1"
HOW = f"""python train.py old.txt --vocabulary 1024 --n_layer 4 --n_head 2 --d_model 128 \\
    --context_length 128 --steps 600 --evaluations 4 --name old
for text in plays new; do
    for rate in 1 3 10; do
        python train.py $text.txt {ON} --learning_rate ${{rate}}e-3 --name $text-full-$rate
    done
done
python train.py plays.txt {ON} --learning_rate 1e-2 --lora_rank 16 --lora_beside '*embedding*' \\
    --name plays-adapters
python train.py new.txt {ON} --learning_rate 2e-2 --lora_rank 8 --name new-adapters"""


def main():
    parser = argparse.ArgumentParser(description=__doc__, epilog=HELP,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="?", type=Path, help="the folder of the runs")
    parser.add_argument("--texts", type=Path, help="write the texts into this folder")
    parser.add_argument("--chats", type=Path, help="a run of adapters that learnt instructions")
    parser.add_argument("--step", action="store_true", help="time steps of 6 x 384")
    args = parser.parse_args()
    if args.texts:
        write_texts(args.texts)
    if args.runs:
        losses(args.runs)
    if args.chats:
        answers(args.chats)
    if args.step:
        step_times()


def write_texts(folder):
    folder.mkdir(parents=True, exist_ok=True)
    verses = (BOOKS / "king_james_bible.txt").read_text(encoding="utf-8").splitlines(True)
    texts = {"old": verses[:OLD_VERSES], "new": verses[OLD_VERSES:],
             "plays": (BOOKS / "shakespeare_plays.txt").read_text(encoding="utf-8")}
    for name, text in texts.items():
        (folder / f"{name}.txt").write_text("".join(text), encoding="utf-8")
    print(HOW)


# ---- losses ----

def losses(runs):
    """Print what each run came to beside the base, and hold adapters to the best of full tuning."""
    for text in "plays", "new":
        names = [f"{text}-{how}" for how in (*FULL, "adapters")]
        opened = [open_model(runs / name) for name in names]
        base = open_model(runs / "old").model
        told("the base", nats(base, opened[0]), base, None)
        found = {}
        for name, each in zip(names, opened):
            found[name] = nats(each.model, each)
            told(name, found[name], each.model, each.config.train)
        best = min(names[:-1], key=lambda name: mean(found[name]))
        verdict(f"adapters-{text}", mean(found[names[-1]]) / mean(found[best]), WITHIN,
                at_most=True)
    verdict("adapters-new-parameters", share_learnt(opened[-1].model, opened[-1].config.train),
            MOST_PARAMETERS, at_most=True)


def nats(model, opened):
    """Return what each part of the validation text took, in nats and tokens: (n, 2)."""
    data, task = opened.data(), task_named(opened.task)
    return np.array([(x.nats, x.n_targets) for x in task.measure(model, data, data.val)])


def mean(parts):
    total, n = parts.sum(axis=0)
    return total / n


def told(name, parts, model, settings):
    residuals = parts[:, 0] - mean(parts) * parts[:, 1]
    half = half_width(residuals, parts[:, 1].sum())
    learnt = f"{share_learnt(model, settings):.1%} learnt" if settings else ""
    print(f"{name:16} {mean(parts):.3f} +- {half:.3f}  {learnt}")


def share_learnt(model, settings):
    """Return what share of the parameters of a net learns."""
    freeze(model, settings)
    sizes = [x.size for x in model.parameters()]
    return sum(x.size for x in model.parameters() if x.requires_grad) / sum(sizes)


# ---- instructions ----

def answers(run, most=60):
    """Print how much less surprising held-out answers have become, with what adapters take."""
    opened = open_model(run)
    chats, base = opened.data().val, open_model(opened.base).model
    places = evenly_spread(len(chats))[:most]
    before, after = (np.array([answered(model, chats, place) for place in places])
                     for model in (base, opened.model))                         # each (n, 2)
    n, fall = before[:, 1], before[:, 0] - after[:, 0]
    half = half_width(fall - n * fall.sum() / n.sum(), n.sum())
    learnt = [x for name, x in opened.model.named_parameters() if is_adapter(name)]
    print(f"{len(n)} held-out conversations: {mean(before):.3f} before, {mean(after):.3f} after, "
          f"{fall.sum() / n.sum():.3f} +- {half:.3f} less; "
          f"{sum(x.data.nbytes for x in learnt) / 1e6:.2f} MB of adapters")
    verdict("adapters-instructions", fall.sum() / n.sum() / half, 1)


def answered(model, chats, place):
    """Return the surprise at the answers of a conversation, in nats, and their tokens."""
    batch = batch_of(chats, [place], int(chats.lengths[place]) - 1)
    with no_grad():
        return token_loss(model, batch, 1.0).item(), batch.n_targets


# ---- time ----

def step_times(rounds=6):
    """Time steps of both, in turns: CPU-seconds of 1,024 tokens."""
    sides, times = [stepper(rank) for rank in (0, 8)], []
    for _ in range(rounds + 4):                       # at first steps are recorded
        times.append([step() for step in sides])
    full, adapters = np.median(times[4:], axis=0)
    print(f"full {full:.3f} s, adapters of rank 8 {adapters:.3f} s")
    verdict("adapters-step", adapters / full, MOST_TIME, at_most=True)


def stepper(rank, B=4, T=256):
    """Return a function that takes a step and returns its CPU-seconds."""
    config = Config.make(n_layer=6, d_model=384, n_head=6, context_length=T, vocab_size=1024)
    rng = np.random.default_rng(0)
    net = config.new_net(rng)
    if rank:
        for x in net.parameters():
            x.requires_grad = False
        net = adapted(net, rank, 0, rng)
    learnt = [x for x in net.parameters() if x.requires_grad]
    optimizer = AdamW(learnt, 1e-4)
    ids = rng.integers(0, 1024, (B, T + 1))
    batch = Batch(ids[:, :-1], ids[:, 1:])
    replay = Replay(lambda *x, rng: token_loss(net, Batch(*x[:-1]), x[-1], rng), learnt)

    def step():
        began = time.process_time()
        replay(*batch, np.float64(B * T), rng=rng)
        clip_grad_norm(learnt, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        return time.process_time() - began
    return step


if __name__ == "__main__":
    sys.exit(main())
