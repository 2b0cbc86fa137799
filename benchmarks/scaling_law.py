"""Fit a law to small runs, and hold its prediction against runs of ten times the largest budget.

    python benchmarks/scaling_law.py FOLDER TEXT... --total_flops 9.6e12 --sizes 4

Three sizes a factor 1.5 apart are trained with ten times the largest budget, the predicted one in
the middle, and the size that training takes for so many FLOPs unless told. A table holds all of
these sizes against the law. Stopped or killed? The same command goes on.
"""
import argparse
import os
import sys
import time
from contextlib import closing
from operator import methodcaller
from pathlib import Path
from types import SimpleNamespace

ROOT = Path(__file__).resolve().parent.parent
sys.path[:1] = [str(ROOT), str(ROOT / "benchmarks")]      # or gpt would be gpt.py beside this

from gpt import scaling  # noqa: E402
from gpt.laws.intervals import Law  # noqa: E402
from gpt.laws.planning import Size, family, matrices, settings_of  # noqa: E402
from gpt.models.config import ModelConfig  # noqa: E402
from gpt.show.scaling_page import law_lines  # noqa: E402
from gpt.sweep import work  # noqa: E402
from gpt.sweeping.table import Table  # noqa: E402
from gpt.training.recipes import REFERENCE_GFLOPS, SIZES, USUAL_SHARE  # noqa: E402

APART = 1.5
FLOPS_A_MINUTE = 60e9 * USUAL_SHARE * REFERENCE_GFLOPS
PASSED = "total_flops", "vocabulary", "budgets", "sizes"
BEGAN = time.monotonic()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("source", nargs="+")
    parser.add_argument("--total_flops", type=float, default=1e13)
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
    print(*recipe_lines(law, settings.vocabulary), sep="\n")
    check(law, budget, settings)


def recipe_lines(law, vocab_size):
    """Yield what the law says of the sizes that training takes unless told."""
    heads = "minutes", "FLOPs", "N taken", "best N", "from", "to", "lost"
    yield " ".join(f"{head:>9}" for head in heads)
    for minutes, *_ in SIZES[:-1]:
        C = minutes * FLOPS_A_MINUTE
        N, best = usual_size(C, vocab_size).n, law.surface.best_size(C)
        low, high = law.interval(methodcaller("best_size", C))
        lost = law.surface.loss(N, C / (6 * N)) / law.surface.best_loss(C) - 1
        yield f"{minutes:9} {C:9.2g} {N:9,} {best:9.3g} {low:9.3g} {high:9.3g} {lost:9.2%}"


def usual_size(C, vocab_size):
    """Return the net that training takes for a budget on the machine that its table is for."""
    row = next(row for row in SIZES if C <= row.minutes * FLOPS_A_MINUTE)
    model = ModelConfig(vocab_size, n_layer=row.n_layer, d_model=row.d_model, n_head=row.n_head)
    return Size(row.n_layer, row.d_model, matrices(model))


def check(law, budget, settings):
    """Train three sizes with a budget, and say what of the prediction came true."""
    best = law.surface.best_size(budget)
    sizes = [nearest(best * APART ** i, settings.vocabulary) for i in (-1, 0, 1)]
    sizes.append(usual_size(budget, settings.vocabulary))
    batch_tokens = scaling.ALIKE["batch_tokens"]
    points = [settings_of(size, budget, batch_tokens, settings.learning_rate) for size in sizes]
    spec, _ = scaling.planned(settings)
    spec |= {"points": points, "trials": len(points)}
    settings = SimpleNamespace(**{**vars(settings), "name": "check"})
    folder = Path("sweeps/check")
    folder.mkdir(parents=True, exist_ok=True)
    with closing(Table(f"sqlite:///{folder / 'sweep.db'}", "check")) as table:
        work(table, spec, folder, settings, BEGAN)
        rows = {row.trial: row for row in scaling.ranking(table.jobs())}
    for _, row in sorted(rows.items()):
        N, D = scaling.count(folder / "runs" / row.folder), row.step * batch_tokens
        loss, (low, high) = law.predicted(N, D)
        inside = "inside" if low <= row.value <= high else "OUTSIDE"
        print(f"N {N:,} D {D:,}: {row.value:.4f}, predicted {loss:.4f} ({low:.4f} to {high:.4f}), "
              f"{inside}, off by {row.value / loss - 1:+.2%}")
    ranks = sorted(rows.keys() - {3}, key=lambda i: rows[i].value)
    if len(ranks) == 3:
        print(f"the predicted size (1) is number {1 + ranks.index(1)} of 3: {ranks}")


def nearest(n, vocab_size):
    return min(family(vocab_size), key=lambda size: abs(size.n / n - 1))


if __name__ == "__main__":
    main()
