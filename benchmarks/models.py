"""Train every net on the same text for the same CPU-seconds of one thread; write docs/models.md.

    python benchmarks/models.py [--text TEXT] [--seconds 10 60] [--seeds 3] [--nets lstm fast]
    python benchmarks/models.py --write                        the page alone, from what is kept

What is measured stands in benchmarks/models.jsonl and is not measured again on the same machine, so
this goes on where it stopped. Each run has a process of its own. Counted is the CPU time of its
steps, so that other programs count little, though not nothing: they share the caches. The rates
fall with the same clock, so two runs are not the same to the bit. Measured on the whole held-out
tenth, by characters; sizes and settings are those that `minigrad train` takes for such a budget.
"""
import argparse
import datetime
import json
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

from results import commit, machine  # noqa: E402

import numpy as np  # noqa: E402

KEPT = ROOT / "benchmarks" / "models.jsonl"
PAGE = ROOT / "docs" / "models.md"
ORDER = 7                          # of Kneser-Ney
NETS = {"rnn": {"net": "rnn"}, "gru": {"net": "gru"}, "lstm": {"net": "lstm"},
        "mingru": {"net": "mingru"}, "conv": {"net": "conv"}, "gpt2": {"preset": "gpt2"},
        "llama": {"preset": "llama"}, "portable": {"preset": "portable"},
        "fast": {"preset": "fast"}}
COUNTED = "Kneser-Ney"
# Of one thread with AVX-512 and nothing beside it (with AVX2 60). Measured beside other programs
# it is 157 to 250, and nets of one budget would differ in size.
PEAK_GFLOPS = 250


# ---- one run ----

def train_for(run, seconds, told=print):
    """Take the steps of a run for so many CPU-seconds of this process, the rates falling with them.

    Returns
    -------
    used_s : float
    n_tokens : int
    """
    from gpt.training.step import train_steps
    n_tokens, used, began = 0, 0.0, time.process_time()
    for record in train_steps(run):
        n_tokens += record.n_tokens
        used = time.process_time() - began
        if used > seconds or run.step >= run.plan.steps:
            break
        if run.step in (5, 20) or run.step % 50 == 0:         # as the pacer does, by CPU time
            left = (seconds - used) * run.step / used
            run.plan = run.plan.replanned(run.step, run.step + max(1, int(left)))
        if run.step % 100 == 0:
            told(f"step {run.step}, {used:.0f} CPU-s: {record.loss:.3f}", flush=True)
    return used, n_tokens


def characters(text, folder):
    """Return the characters of a text, 90/10, and the corpus."""
    from gpt.data.corpora import load_corpus
    from gpt.data.documents import prepare
    from gpt.training.config import Config
    corpus = load_corpus([text])
    return prepare(corpus, Config.make(tokenizer="char").data, folder), corpus


def measure(name, text, seconds, seed):
    """Train one net and return what is kept of it."""
    with tempfile.TemporaryDirectory() as folder:
        data, corpus = characters(text, folder)
        if name == COUNTED:
            return count(data)
        return learn(data, corpus, NETS[name], seconds, seed)


def learn(data, corpus, given, seconds, seed):
    from gpt.training.memory import peak_bytes
    from gpt.training.plan import Plan
    from gpt.training.recipes import choose_settings
    from gpt.training.run import Run
    from gpt.training.step import train_steps
    from gpt.training.task import read
    given = dict(given)
    preset = given.pop("preset", "fast")
    given |= dict(tokenizer="char", seed=seed, minutes=seconds / 60)
    config = choose_settings(corpus, preset, given, PEAK_GFLOPS)
    config = config.changed(vocab_size=data.tokenizer.vocab_size)
    warm = train_steps(Run.start(config, data, Plan.fixed(100)))
    for _ in range(2):
        next(warm)                                    # compiles, where nothing is kept yet
    run = Run.start(config, data, Plan.fixed(1_000_000))
    used, n_tokens = train_for(run, seconds)
    found = read(run.measures())
    return {"loss": found.nats_per_token, "tokens": n_tokens, "steps": run.step, "used_s": used,
            "parameters": sum(x.size for x in run.trained), "memory": peak_bytes()}


def count(data):
    from gpt.models.counting import KneserNey
    from gpt.training.memory import peak_bytes
    began = time.process_time()
    model = KneserNey(np.asarray(data.train, np.int64), ORDER, data.tokenizer.vocab_size)
    used = time.process_time() - began
    loss = model.surprise(np.asarray(data.val, np.int64))[1:].mean()
    return {"loss": float(loss), "tokens": len(data.train), "steps": 1, "used_s": used,
            "parameters": 0, "memory": peak_bytes()}


# ---- all of them ----

def kept():
    """Return what has been measured, a dict a run."""
    lines = KEPT.read_text(encoding="utf-8").splitlines() if KEPT.exists() else []
    return [json.loads(line) for line in lines]


def key(row):
    return row["machine"], row["text"], row["net"], row["seconds"], row["seed"]


def run_all(names, text, budgets, seeds):
    """Measure what is not kept yet, the short runs first."""
    known = {key(row) for row in kept()}
    for seconds in budgets:
        for seed in range(seeds):
            for name in names:
                row = {"machine": machine(), "text": Path(text).name, "net": name,
                       "seconds": 0 if name == COUNTED else seconds,
                       "seed": 0 if name == COUNTED else seed}
                if key(row) in known:
                    continue
                known.add(key(row))
                command = [sys.executable, __file__, "--one", name, str(seconds), str(seed),
                           "--text", text]
                done = subprocess.run(command, check=True, capture_output=True, text=True)
                row |= json.loads(done.stdout.splitlines()[-1])
                row |= {"date": datetime.date.today().isoformat(), "commit": commit()}
                with KEPT.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(row) + "\n")
                print(f"{name}, {seconds:g} CPU-s, seed {seed}: {row['loss']:.4f}", flush=True)


# ---- the page ----

HEAD = """# Every net on one text

The characters of {text}, 90/10, in nats a character over the whole held-out tenth: less is
better. Each net had the same CPU-seconds of one thread of {machine}, with the
sizes and settings that `minigrad train` takes for such a budget. Made by `python
benchmarks/models.py --text TEXT`, which goes on where it stopped, {when},
while other programs ran on both cores: counted is the CPU time of the process alone, but caches are
shared, so on a quiet machine all of them get further. What is missing takes longer:
`python benchmarks/models.py --text TEXT --seconds 10 60 300 1800 --seeds 3`.

"""
FIGURE = """
![What each net reaches in how many CPU-seconds](figures/who_wins.svg)
"""


def page(rows):
    """Write docs/models.md from what is kept of the machine with the most of it."""
    machines = [row["machine"] for row in rows]
    here = max(machines, key=machines.count)
    rows = [row for row in rows if row["machine"] == here]
    budgets = sorted({row["seconds"] for row in rows} - {0})
    dates = sorted(row["date"] for row in rows)
    when = f"from {dates[0]} to {dates[-1]}" if dates[0] < dates[-1] else f"on {dates[0]}"
    lines = [HEAD.format(text=rows[0]["text"], machine=here, when=when)]
    columns = ["net", "parameters", "memory", "characters a CPU-second",
               *(f"{seconds:g} CPU-s" for seconds in budgets)]
    lines += ["| " + " | ".join(columns) + " |\n", "|---" * len(columns) + "|\n"]
    for name in sorted({row["net"] for row in rows}, key=[COUNTED, *NETS].index):
        lines.append("| " + " | ".join(cells(name, rows, budgets)) + " |\n")
    for seconds in budgets:
        if len({row["net"] for row in rows if row["seconds"] == seconds}) > 1:
            lines.append(f"\n{verdict_of(rows, seconds)}\n")
    lines.append(FIGURE)
    return "".join(lines)


def cells(name, rows, budgets):
    """Return what the table says of one net."""
    mine = [row for row in rows if row["net"] == name]
    last = max(mine, key=lambda row: row["seconds"])
    rate = last["tokens"] / last["used_s"]
    found = [name, f"{last['parameters']:,}", f"{last['memory'] / 1e6:.0f} MB", f"{rate:,.0f}"]
    if name == COUNTED:
        words = f"{last['loss']:.3f}, in {last['used_s']:.1f} s"
        return [f"{name}, order {ORDER}", "-", *found[2:], words, *[""] * (len(budgets) - 1)]
    for seconds in budgets:
        losses = [row["loss"] for row in mine if row["seconds"] == seconds]
        seeds = f" ({len(losses)} seeds)" if len(losses) > 1 else ""
        found.append(f"{np.mean(losses):.3f}{seeds}" if losses else "-")
    return found


def verdict_of(rows, seconds):
    """Say which nets are the best after so long."""
    losses = {}
    for row in rows:
        if row["seconds"] == seconds:
            losses.setdefault(row["net"], []).append(row["loss"])
    order = sorted(losses, key=lambda name: np.mean(losses[name]))
    return f"After {seconds:g} CPU-seconds, the best first: {', '.join(order)}."


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--text", default="tinyshakespeare.txt")
    parser.add_argument("--seconds", type=float, nargs="+", default=[10, 60])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--nets", nargs="+", default=[COUNTED, *NETS], choices=[COUNTED, *NETS])
    parser.add_argument("--write", action="store_true", help="write the page alone")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        name, seconds, seed = args.one
        print(json.dumps(measure(name, args.text, float(seconds), int(seed))))
        return
    if not args.write:
        run_all(args.nets, args.text, args.seconds, args.seeds)
    PAGE.write_text(page(kept()), encoding="utf-8")


if __name__ == "__main__":
    main()
