"""What a teacher is worth: an LSTM of 112 thousand weights alone, and taught, at equal tokens.

    MINIGRAD_DATA=data python benchmarks/distilling.py runs/gpt --weak runs/weak

The runs named learnt the characters of tinyshakespeare.txt. A row is written into distilling.jsonl
for each training that is finished, and what stands there is not run again. Rates are the best known
for the student alone; validated is all of the held-out tenth.
"""
import argparse
import datetime
import json
import math
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

from gpt.data.corpora import load_corpus  # noqa: E402
from gpt.data.documents import prepare  # noqa: E402
from gpt.data.taught import Said  # noqa: E402
from gpt.opening import fingerprint, open_model, weights_of  # noqa: E402
from gpt.training.config import Config  # noqa: E402
from gpt.training.plan import Plan  # noqa: E402
from gpt.training.run import Run  # noqa: E402
from gpt.training.step import train_steps  # noqa: E402
from gpt.training.task import read  # noqa: E402

KEPT = Path(__file__).parent / "distilling.jsonl"
STUDENT = dict(net="lstm", d_model=128, d_embedding=64, n_layer=1, context_length=128,
               batch_tokens=2048, carry_state=False, optimizer="adamw", learning_rate=6e-3)
PASS = 490                         # steps of 16 windows of 128 that go once over the text
# row -> teacher, share of the text, steps, seeds, greatest difference wanted in nats (None: told)
ROWS = {"1 pass": ("good", 1, PASS, 3, -0.03),
        "a tenth of the text x 10": ("good", 0.1, PASS, 3, -0.18),
        "1 pass, weak teacher": ("weak", 1, PASS, 3, None),
        "4 passes, weak teacher": ("weak", 1, 4 * PASS, 3, None),
        "4 passes": ("good", 1, 4 * PASS, 4, 0)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, epilog=HELP,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("teacher")
    parser.add_argument("--weak", help="one that the student alone overtakes in 4 passes")
    parser.add_argument("--rows", nargs="*", default=[*ROWS], help="which to run")
    args = parser.parse_args()
    known, teachers = kept(), {"good": args.teacher, "weak": args.weak}
    for name in args.rows:
        which, share, steps, seeds, _ = ROWS[name]
        missing = [(mix, seed) for seed in range(seeds) for mix in (0.0, 0.9)
                   if (name, mix, seed) not in known]
        if not missing or not teachers[which]:
            continue
        with tempfile.TemporaryDirectory() as folder:
            data = taught(teachers[which], Path(folder), share)
            for mix, seed in missing:
                began = time.process_time()
                nats = student(data, mix, seed, steps)
                known[name, mix, seed] = nats
                keep(row=name, mix=mix, seed=seed, nats=nats,
                     teacher=data.teacher["nats_per_token"],
                     cpu_s=round(time.process_time() - began, 1))
    tell(known)


def taught(place, folder, share):
    """Return the text with what a teacher says of it, or of the first share of it."""
    opened = open_model(place)
    text = Path(os.environ["MINIGRAD_DATA"]) / "tinyshakespeare.txt"
    data = prepare(load_corpus([str(text)]), Config().data, folder, opened.tokenizer)
    config = config_of(opened, seed=0, steps=1)
    run = Run.start(config, data, Plan.fixed(1))
    run.beside, run.beside_sha256 = opened.model, fingerprint(weights_of(opened))
    run.task.prepared(run, folder)
    data = run.data
    W = int(share * len(data.said.log_p))
    said = Said(data.said.log_p[:W], None)
    return replace(data, train=np.asarray(data.train[:128 * W + 1]), said=said)


def config_of(opened, **settings):
    return Config.make(task="distil", teacher="named above", warmup_steps=20,
                       vocab_size=len(opened.model.head), **STUDENT, **settings)


def student(data, mix, seed, steps):
    """Train a student, alone with mix 0; return its nats over all that is held out."""
    config = Config.make(task="distil", teacher="named above", mix=mix, seed=seed, steps=steps,
                         vocab_size=data.tokenizer.vocab_size, **STUDENT)
    run = Run.start(config, data, Plan.fixed(steps))
    for _ in train_steps(run):
        pass
    return read(run.measures()).nats_per_token


def kept():
    """Return {(row, mix, seed): nats}."""
    if not KEPT.exists():
        return {}
    rows = map(json.loads, KEPT.read_text(encoding="utf-8").splitlines())
    return {(row["row"], row["mix"], row["seed"]): row["nats"] for row in rows}


def keep(**row):
    print(row, flush=True)
    with open(KEPT, "a", encoding="utf-8") as file:
        file.write(json.dumps(row | {"date": datetime.date.today().isoformat()}) + "\n")


def tell(known):
    """Print each row: alone, taught, and the paired difference with its deviation over seeds."""
    for name, (_, _, _, seeds, target) in ROWS.items():
        pairs = [(known[name, 0.0, seed], known[name, 0.9, seed]) for seed in range(seeds)
                 if {(name, 0.0, seed), (name, 0.9, seed)} <= known.keys()]
        if not pairs:
            continue
        alone, with_teacher = np.mean(pairs, axis=0)
        apart = np.diff(pairs, axis=1)[:, 0]
        spread = apart.std(ddof=1) if len(apart) > 1 else math.nan
        print(f"{name:26} alone {alone:.3f}  taught {with_teacher:.3f}  difference "
              f"{apart.mean():+.3f} (sd {spread:.3f}, {len(apart)} seeds)")
        if target is not None:
            verdict(f"distil-{name.replace(' ', '-')}", apart.mean(), target, at_most=True)
            verdict(f"distil-{name.replace(' ', '-')}-in-sd", -apart.mean() / spread, 3)


if __name__ == "__main__":
    sys.exit(main())
