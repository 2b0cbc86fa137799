"""What preferences and rewards change: quotation marks, a file of pairs, sums of two numbers.

    MINIGRAD_DATA=data python benchmarks/preferences.py quotes runs/stories
    MINIGRAD_DATA=data python benchmarks/preferences.py file runs/sft
    python benchmarks/preferences.py sums runs/sums

A row is written into preferences.jsonl for each training that is finished, and what stands there is
not run again: of three seeds each, from one base. HOW says how bases are trained.
"""
import argparse
import datetime
import json
import os
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
sys.path[:1] = [str(ROOT), str(ROOT / "benchmarks")]      # or gpt would be gpt.py beside this
from results import HELP, verdict  # noqa: E402

from gpt.batch import Batch  # noqa: E402
from gpt.data.corpora import Corpus, load_corpus  # noqa: E402
from gpt.data.windows import random_windows  # noqa: E402
from gpt.models.rollouts import rollouts  # noqa: E402
from gpt.opening import open_model, weights_of  # noqa: E402
from gpt.training.config import Config  # noqa: E402
from gpt.training.measures import token_loss  # noqa: E402
from gpt.training.plan import Plan  # noqa: E402
from gpt.training.recipes import choose_tuning  # noqa: E402
from gpt.training.run import Run  # noqa: E402
from gpt.training.step import train_steps  # noqa: E402
from gpt.training.task import read  # noqa: E402
from gpt.training.tasks import task_named  # noqa: E402
from gpt.training.tasks.reward import reward_measure  # noqa: E402
from minigrad import no_grad  # noqa: E402

KEPT = Path(__file__).parent / "preferences.jsonl"
DATA = Path(os.environ.get("MINIGRAD_DATA", "data"))
SEEDS = 3
SUMS_S = 120                       # CPU-seconds of a training on sums
HOW = """python train.py tinystories_2MB.txt --vocabulary 2048 --n_layer 4 --n_head 2 \\
    --d_model 128 --context_length 96 --batch_tokens 3072 --steps 680 --name stories
python benchmarks/preferences.py texts FOLDER               (writes general.txt and mixed.json)
python train.py general.txt --vocabulary 2048 --n_layer 4 --n_head 2 --d_model 128 \\
    --context_length 256 --batch_tokens 3072 --steps 680 --name general
python train.py mixed.json --task instruct --base runs/general --steps 200 --name sft
python train.py sums --task instruct --n_layer 2 --n_head 2 --d_model 64 --batch_tokens 2048 \\
    --steps 185 --name sums         (47 % of drawn answers are right then)"""


def main():
    parser = argparse.ArgumentParser(description=__doc__ + "\n" + HOW, epilog=HELP,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("gate", choices=[*GATES, "texts", "tell"])
    parser.add_argument("place", nargs="?", help="of the base; of the texts")
    args = parser.parse_args()
    if args.gate == "texts":
        return write_texts(Path(args.place))
    known = kept()
    if args.gate in GATES:
        opened = open_model(args.place)
        for seed in range(SEEDS):
            for name, measure in GATES[args.gate].items():
                if (name, seed) not in known:
                    began = time.process_time()
                    row = measure(opened, seed)
                    row["cpu_s"] = round(time.process_time() - began, 1)
                    known[name, seed] = row
                    keep(gate=name, seed=seed, **row)
    tell(known)


def write_texts(folder):
    from tuning_texts import general
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "general.txt").write_text(general(), encoding="utf-8")
    rows = []
    for pair in json.loads(pairs_text()):
        for name in ("chosen", "rejected"):
            rows.append({**pair, "output": pair[name]})
    (folder / "mixed.json").write_text(json.dumps(rows), encoding="utf-8")
    print(HOW)


def pairs_text():
    path = DATA / "finetune" / "instruction-data-with-preference.json"
    return path.read_text(encoding="utf-8")


def begun(opened, task, corpus, folder, steps, **settings):
    """Make a run of a task from a base, as the command does."""
    model, row = opened.model.config, task_named(task)
    tuning = choose_tuning(model, dict(task=task, steps=steps, **settings))
    corpus = row.made(opened, corpus, tuning.train, print)
    data = row.prepare(corpus, replace(tuning.data, template=opened.template or ""), folder,
                       opened.tokenizer)
    config = Config(model, tuning.data, tuning.train)
    run = Run.start(config, data, Plan.fixed(steps), weights=weights_of(opened))
    run.task.prepared(run, folder)
    return run


# ---- gates: (base, seed) -> numbers ----

def quotes(opened, seed):
    """A rule likes a quotation mark; count them in fresh answers, and measure on the stories."""
    text = load_corpus([str(DATA / "tinystories_2MB.txt")])
    with tempfile.TemporaryDirectory() as folder:
        rule = Path(folder) / "rule.py"
        rule.write_text("def quoted(record, text): return '\"' in text\n")
        run = begun(opened, "prefer", text, Path(folder) / "data", 1, seed=seed,
                    rule=f"{rule}:quoted", prompts=500, answer_tokens=32, val_fraction=0.3,
                    batch_tokens=16 * 2 * 48, warmup_steps=3, learning_rate=2e-4)
        steps = max(1, round(3 * len(run.data.train) / 16))
        run.plan = Plan.fixed(steps)
        end = b"\n".join(text.documents)[-60_000:].decode("utf-8", "ignore")
        held_out = opened.tokenizer.encode_array(end, disallowed_special=())
        before = share_quoted(run, held_out, seed), loss_on(run.model, held_out)
        for _ in train_steps(run):
            pass
        after = share_quoted(run, held_out, seed), loss_on(run.model, held_out)
        found = read(run.measures())
    return {"pairs": len(run.data.train), "before": before[0], "after": after[0],
            "held_out": found.share_right, "base_text": after[1] - before[1],
            "chosen": found.means["chosen"]}


def share_quoted(run, ids, seed, n=256):
    rng = np.random.default_rng([7, seed])
    prompts = random_windows(ids, n, 16, rng)[:, :16]
    answers, lengths = rollouts(run.model, prompts, 32, set(), rng)
    texts = [run.data.tokenizer.decode(row[:k].tolist()) for row, k in zip(answers, lengths)]
    return float(np.mean(['"' in text for text in texts]))


def loss_on(model, ids):
    T = model.config.context_length
    windows = random_windows(ids, 64, T, np.random.default_rng(0))
    with no_grad():
        batch = Batch(windows[:, :-1], windows[:, 1:])
        return token_loss(model, batch, float(windows[:, 1:].size)).item()


def of_file(opened, seed):
    """Two passes over 900 pairs of a file."""
    corpus = Corpus("pairs", [pairs_text().encode()], "pairs")
    with tempfile.TemporaryDirectory() as folder:
        run = begun(opened, "prefer", corpus, Path(folder), 1, seed=seed, val_fraction=0.18,
                    too_long="cut", batch_tokens=4096, warmup_steps=5, learning_rate=1e-4)
        T = run.config.model.context_length
        steps = max(1, round(2 * run.data.pass_tokens(T) / 4096))
        run.plan = Plan.fixed(steps)
        for _ in train_steps(run):
            pass
        found = read(run.measures())
    return {"pairs": len(run.data.train), "steps": steps, "held_out": found.share_right,
            "margin": found.means["margin"], "chosen": found.means["chosen"],
            "loss": found.nats_per_token}


def of_sums(reward, opened, seed, seconds=SUMS_S):
    """Reward right sums, or by chance; judge answers that are drawn."""
    with tempfile.TemporaryDirectory() as folder:
        run = begun(opened, "reward", load_corpus(["sums"]), Path(folder), 1, seed=seed,
                    reward=reward, answer_tokens=4, batch_tokens=512 * 10, warmup_steps=5,
                    decay_fraction=0.0, learning_rate=3e-4)
        run.plan = Plan.fixed(100_000)
        right = lambda **how: read(reward_measure(run.model, run.data, run.data.val, "right", 4,
                                                  **how)).share_right
        before, began = right(), time.process_time()
        for _ in train_steps(run):
            if time.process_time() - began > seconds:
                break
        return {"before": before, "after": right(), "greedy": right(greedy=True),
                "steps": run.step}


GATES = {"quotes": {"quotes": quotes}, "file": {"file": of_file},
         "sums": {"sums": lambda *case: of_sums("right", *case),
                  "random": lambda *case: of_sums("random", *case, seconds=SUMS_S / 4)}}


# ---- what was measured ----

def kept():
    """Return {(gate, seed): row}."""
    if not KEPT.exists():
        return {}
    rows = map(json.loads, KEPT.read_text(encoding="utf-8").splitlines())
    return {(row["gate"], row["seed"]): row for row in rows}


def keep(**row):
    print(row, flush=True)
    with open(KEPT, "a", encoding="utf-8") as file:
        file.write(json.dumps(row | {"date": datetime.date.today().isoformat()}) + "\n")


def tell(known):
    """Print means with their deviations over seeds, and a verdict for each target."""
    for gate in ("quotes", "file", "sums", "random"):
        rows = [row for (name, _), row in known.items() if name == gate]
        if not rows:
            continue
        cells = {}
        for name in rows[0]:
            values = [row[name] for row in rows]
            if name not in ("gate", "seed", "date"):
                cells[name] = np.mean(values), np.std(values, ddof=1) if len(rows) > 1 else 0.0
        print(f"{gate}, {len(rows)} seeds: " + "  ".join(
            f"{name} {mean:.3f} (sd {sd:.3f})" for name, (mean, sd) in cells.items()))
        for name, (value, target, at_most) in targets(gate, cells).items():
            verdict(f"{gate}-{name}", value, target, at_most)


def targets(gate, cells):
    mean = {name: mean for name, (mean, _) in cells.items()}
    if gate == "quotes":
        return {"written": (100 * mean["after"], 50, False),
                "held-out": (100 * mean["held_out"], 65, False),
                "base-text": (mean["base_text"], 0.1, True)}
    if gate == "file":
        return {"held-out": (100 * mean["held_out"], 76, False)}
    gain = 100 * (mean["after"] - mean["before"])
    return {"gain": (gain, *((20, False) if gate == "sums" else (0, True)))}


if __name__ == "__main__":
    sys.exit(main())
