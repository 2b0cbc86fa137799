"""Fit a law to small runs, and hold its prediction against runs of ten times the largest budget.

    python benchmarks/scaling_law.py FOLDER TEXT... --total_flops 3e12

Three sizes a factor 1.5 apart are trained with ten times the largest budget, the predicted one in
the middle. Stopped or killed? The same command goes on.
"""
import argparse
import os
import sys
import time
from pathlib import Path
from types import SimpleNamespace

ROOT = Path(__file__).resolve().parent.parent
sys.path[:1] = [str(ROOT), str(ROOT / "benchmarks")]      # or gpt would be gpt.py beside this

from gpt import scaling  # noqa: E402
from gpt.laws.intervals import Law  # noqa: E402
from gpt.laws.planning import family, settings_of  # noqa: E402
from gpt.show.scaling_page import law_lines  # noqa: E402
from gpt.sweep import work  # noqa: E402
from gpt.sweeping.table import Table  # noqa: E402

APART = 1.5
PASSED = "total_flops", "vocabulary", "budgets", "sizes"
BEGAN = time.monotonic()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("source", nargs="+")
    parser.add_argument("--total_flops", type=float, default=3e12)
    parser.add_argument("--vocabulary", type=int, default=512)
    parser.add_argument("--budgets", type=int, default=4)
    parser.add_argument("--sizes", type=int, default=5)
    parser.add_argument("--minutes", type=float, default=9)
    args = parser.parse_args()
    source = [str(Path(name).resolve()) if Path(name).exists() else name for name in args.source]
    args.folder.mkdir(parents=True, exist_ok=True)
    os.chdir(args.folder)
    words = [f"--{name}={getattr(args, name)}" for name in PASSED]
    _, settings = scaling.parse([*source, *words, f"--total_minutes={args.minutes}"])
    made = scaling.train_runs(settings)
    if not made:
        return print("not done yet: say it again")
    N, C, D, losses = made
    scaling.write_runs(Path("runs.json"), N, C, D, losses)
    law, budget = Law(N, D, losses), 10 * C.max()
    print(*law_lines(law, C, budget), sep="\n")
    check(law, budget, settings, source)


def check(law, budget, settings, source):
    """Train three sizes with a budget, and say what of the prediction came true."""
    best = law.surface.best_size(budget)
    sizes = [nearest(best * APART ** i, settings.vocabulary) for i in (-1, 0, 1)]
    batch_tokens = scaling.ALIKE["batch_tokens"]
    points = [settings_of(size, budget, batch_tokens, settings.learning_rate) for size in sizes]
    spec, _ = scaling.planned(settings)
    spec |= {"points": points, "trials": len(points)}
    settings = SimpleNamespace(**{**vars(settings), "name": "check"})
    folder = Path("sweeps/check")
    folder.mkdir(parents=True, exist_ok=True)
    table = Table(f"sqlite:///{folder / 'sweep.db'}", "check")
    work(table, spec, folder, settings, BEGAN)
    rows = {row.trial: row for row in scaling.ranking(table.jobs())}
    for _, row in sorted(rows.items()):
        N, D = scaling.count(folder / "runs" / row.folder), row.step * batch_tokens
        loss, (low, high) = law.predicted(N, D)
        inside = "inside" if low <= row.value <= high else "OUTSIDE"
        print(f"N {N:,} D {D:,}: {row.value:.4f}, predicted {loss:.4f} ({low:.4f} to {high:.4f}), "
              f"{inside}, off by {row.value / loss - 1:+.2%}")
    ranks = sorted(rows, key=lambda i: rows[i].value)
    if len(rows) == 3:
        print(f"the predicted size (1) is number {1 + ranks.index(1)} of 3: {ranks}")


def nearest(n, vocab_size):
    return min(family(vocab_size), key=lambda size: abs(size.n / n - 1))


if __name__ == "__main__":
    main()
