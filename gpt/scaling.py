"""Find how big a model is best for a budget: runs of equal FLOPs, and a law through them.

    minigrad scaling runs.json                        of runs that there are: parameters,
                                                      compute_budget, final_loss
    minigrad scaling book.txt --total_flops 3e12      plan runs, make them as a sweep, fit
    minigrad scaling runs.json --predict 1e24         what a larger budget would reach

Stopped or killed? The same command goes on.
"""
import json
import math
import time
from contextlib import closing
from pathlib import Path

import numpy as np

from bpe.console import finite, whole
from gpt.command import make_parser, report_errors
from gpt.laws.intervals import Law
from gpt.laws.planning import (
    EPOCHS, FEWEST_STEPS, budgets_of, family, matrices, settings_of, sizes_for)
from gpt.settings import ConfigError
from gpt.show.scaling_page import law_lines, law_page
from gpt.sweep import GRACE_S, say, storage_of, work
from gpt.sweeping.ranking import ranking
from gpt.sweeping.table import Table
from gpt.training import checkpoint
from gpt.training.config import Config
from gpt.training.tasks.causal import CAUSAL

COLUMNS = "parameters", "compute_budget", "final_loss"
FEWEST_RUNS = 8                    # for five numbers and what is known of them
# What all runs have alike: nothing that the length of a run would choose.
ALIKE = dict(tokenizer="bpe", context_length=128, batch_tokens=512, ngram_rows=0,
             weight_decay=0.0, evaluations=1, eval_tokens=32768)
LEARNING_RATE = 0.006              # of adamw at a width of 192 and 1,000 steps


def parse(args):
    """Read the command line."""
    parser = make_parser("scaling", "Find how big a model is best for a budget.")
    add = parser.add_argument
    add("source", nargs="+", help="a .json of runs, or the text to train on")
    add("--total_flops", type=finite, default=0.0, help="of all runs together")
    add("--budgets", type=whole, default=4, help="each twice the one before [4]")
    add("--sizes", type=whole, default=5, help="of nets in each [5]")
    add("--vocabulary", type=whole, default=1024, help="tokens of bpe [1024]")
    add("--learning_rate", type=finite, default=LEARNING_RATE, help="of adamw, at a width of 192 "
        f"and 1,000 steps [{LEARNING_RATE}]")
    add("--predict", type=finite, default=0.0, help="a budget in FLOPs [ten times the largest]")
    add("--name", default="scaling", help="of the sweep: the same name goes on with it [scaling]")
    add("--folder", default="sweeps", help="where sweeps are kept [sweeps]")
    add("--storage", help="the database of the sweep, as minigrad sweep takes it")
    add("--total_minutes", type=finite, default=0.0, help="for this command")
    add("--workers", type=whole, default=0, help="processes on this machine [one for each core]")
    add("--grace", type=finite, default=GRACE_S, help="seconds of silence after which a machine "
        f"is taken for dead [{GRACE_S}]")
    args = parser.parse_args(args)
    for sentence in contradictions(args):
        parser.error(sentence)
    return parser, args


def contradictions(args):
    """Yield a sentence for everything that cannot be meant as it was said."""
    for name, least in (("budgets", 2), ("sizes", 3), ("vocabulary", 257), ("workers", 0),
                        ("total_flops", 0), ("predict", 0), ("total_minutes", 0)):
        if getattr(args, name) < least:
            yield f"{name} is {getattr(args, name):g}, but must be at least {least}"
    nets = family(args.vocabulary)
    if args.sizes > len(nets):
        yield (f"sizes is {args.sizes}, but there are {len(nets)} nets from {nets[0].d_model} to "
               f"{nets[-1].d_model} wide: say fewer")
    for name in ("grace", "learning_rate"):
        if getattr(args, name) <= 0:
            yield f"{name} is {getattr(args, name):g}, but must be above 0"
    if not args.name.strip() or args.name != Path(args.name).name:
        yield f"name is {args.name!r}, but must name a folder: say where with --folder"


def main(args=None):
    parser, args = parse(args)
    with report_errors(parser.prog):
        files = [name for name in args.source if name.endswith(".json")]
        if files and len(args.source) > 1:
            raise ConfigError(f"{files[0]} holds runs that were made: name it alone")
        if files:
            page = Path(files[0]).with_suffix(".html")
            return tell(*read_runs(files[0]), args.predict, page)
        made = train_runs(args)
        if made:
            folder = Path(args.folder) / args.name
            write_runs(folder / "runs.json", *made)
            tell(*made, args.predict, folder / "scaling.html")


def tell(N, C, D, losses, predict, page):
    """Fit the law, say what it says, and write its page."""
    if len(N) < FEWEST_RUNS or len({*C}) < 2:
        raise ConfigError(f"there are {len(N)} runs of {len({*C})} budgets, but a law needs "
                          f"{FEWEST_RUNS} or more, of 2 or more")
    law = Law(N, D, losses)
    budget = predict or 10 * C.max()
    for line in law_lines(law, C, budget):
        say(line)
    try:
        page.write_text(law_page(law, C, budget), encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{page} cannot be written: {error}") from error
    say(f"look at: {page}")


# ---- runs that there are ----

def read_runs(path):
    """Read runs from JSON: (N, C, D, losses), each (n,)."""
    try:
        rows = json.loads(Path(path).read_text(encoding="utf-8"))
        columns = [np.array([float(row[name]) for row in rows]) for name in COLUMNS]
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise ConfigError(f"{path} holds no runs ({error}): it is to be a list of objects with "
                          f"{', '.join(COLUMNS)}") from error
    N, C, losses = columns
    for name, values in zip(COLUMNS, columns):
        bad = values[~((values > 0) & np.isfinite(values))]
        if len(bad):
            raise ConfigError(f"{path} has a run whose {name} is {bad[0]:g}, but must be above 0")
    D = np.array([float(row.get("tokens") or c / (6 * n)) for row, c, n in zip(rows, C, N)])
    return N, C, D, losses


def write_runs(path, N, C, D, losses):
    names = "parameters", "compute_budget", "tokens", "final_loss"
    rows = [dict(zip(names, map(float, row))) for row in zip(N, C, D, losses)]
    path.write_text(json.dumps(rows, indent=1), encoding="utf-8")


# ---- runs to be made ----

def train_runs(args):
    """Plan runs and make them as a sweep: (N, C, D, losses), or None if it is not over."""
    began = time.monotonic()
    if not args.total_flops:
        raise ConfigError("say how many FLOPs all runs may take together: --total_flops 3e12 is "
                          "some minutes of a laptop")
    spec, budgets = planned(args)
    folder = Path(args.folder) / args.name
    folder.mkdir(parents=True, exist_ok=True)
    with closing(Table(storage_of(args, folder), args.name, say)) as table:
        if not work(table, spec, folder, args, began):
            return None
        rows = [row for row in ranking(table.jobs()) if math.isfinite(row.value)]
    return measured(rows, budgets, folder / "runs")


def planned(args):
    """Return what the sweep is, and the budget of each of its runs."""
    corpus = CAUSAL.corpus(args.source, binary=True)
    most = EPOCHS * 0.9 * corpus.size_bytes / (0.24 * math.log2(args.vocabulary))   # tokens, about
    points, budgets = [], []
    for C in budgets_of(args.total_flops, args.budgets, args.sizes):
        for size in sizes_for(C, args.vocabulary, args.sizes):
            settings = settings_of(size, C, ALIKE["batch_tokens"], args.learning_rate)
            n_tokens = settings["steps"] * ALIKE["batch_tokens"]
            if settings["steps"] < FEWEST_STEPS:
                raise ConfigError(f"a net of {size.n:,} weights would have {settings['steps']} "
                                  "steps: say more --total_flops, or fewer --sizes or --budgets")
            if n_tokens > most:
                raise ConfigError(f"a net of {size.n:,} weights would see the text more than "
                                  f"{EPOCHS} times: take more text, or fewer --total_flops")
            points.append(settings)
            budgets.append(C)
    given = ALIKE | {"vocabulary": args.vocabulary}
    return {"text": args.source, "preset": "fast", "given": given, "axes": {}, "method": "points",
            "trials": len(points), "draw_seed": 0, "tokens": 0, "halving": [3, 1, True],
            "total_flops": 0.0, "points": points}, budgets


def measured(rows, budgets, runs):
    """Return (N, C, D, losses) of runs: the budget as planned, what they learnt as it was."""
    found = [(count(runs / row.folder), budgets[row.trial],
              row.step * ALIKE["batch_tokens"], row.value) for row in rows]
    return [np.array(column, float) for column in zip(*sorted(found, key=lambda x: x[1::-1]))]


def count(folder):
    """Return the N of a run, from its last checkpoint."""
    _, facts = checkpoint.load(folder / "checkpoints")
    return matrices(Config.from_dict(facts["config"]).model)


if __name__ == "__main__":
    main()
