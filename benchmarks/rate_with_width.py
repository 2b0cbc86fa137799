"""Whether the rate that is planned by width and steps bends a scaling law: others, at its corners.

    python benchmarks/rate_with_width.py FOLDER TEXT... [--total_flops 1e13]

The smallest and the largest net of the smallest and of the largest budget are trained with the
planned rate and with multiples of it. What the best of these gains is what the law does not see.
Stopped or killed? The same command goes on.
"""
import argparse
import os
import sys
import time
from contextlib import closing
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:1] = [str(ROOT), str(ROOT / "benchmarks")]      # or gpt would be gpt.py beside this

from results import verdict  # noqa: E402

from gpt import scaling  # noqa: E402
from gpt.laws.planning import budgets_of, settings_of, sizes_for  # noqa: E402
from gpt.sweep import work  # noqa: E402
from gpt.sweeping.table import Table  # noqa: E402

FACTORS = 0.5, 0.7, 1.0, 1.4, 2.0
MOST = 0.5                         # percent of the loss that a better rate may gain
BEGAN = time.monotonic()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("source", nargs="+")
    parser.add_argument("--total_flops", type=float, default=1e13, help="of the law")
    parser.add_argument("--vocabulary", type=int, default=512)
    parser.add_argument("--minutes", type=float, default=9)
    args = parser.parse_args()
    source = [str(Path(name).resolve()) if Path(name).exists() else name for name in args.source]
    folder = args.folder / "sweeps" / "rates"
    folder.mkdir(parents=True, exist_ok=True)
    os.chdir(args.folder)
    words = [f"--total_flops={args.total_flops}", f"--vocabulary={args.vocabulary}",
             f"--total_minutes={args.minutes}", "--name=rates"]
    _, settings = scaling.parse([*source, *words])
    spec, _ = scaling.planned(settings)
    corners = [*corners_of(settings)]
    points = [planned(size, C, factor) for C, size in corners for factor in FACTORS]
    spec |= {"points": points, "trials": len(points)}
    folder = Path("sweeps/rates")
    with closing(Table(f"sqlite:///{folder / 'sweep.db'}", "rates")) as table:
        if not work(table, spec, folder, settings, BEGAN):
            return print("not done yet: say it again")
        losses = {row.trial: row.value for row in scaling.ranking(table.jobs())}
    for i in range(len(corners)):
        first = i * len(FACTORS)
        tell(points[first], [losses[first + j] for j in range(len(FACTORS))])


def corners_of(settings):
    """Yield (budget, net) at the corners of what a law is fitted to."""
    budgets = budgets_of(settings.total_flops, settings.budgets, settings.sizes)
    for C in (budgets[0], budgets[-1]):
        for size in sizes_for(C, settings.vocabulary, settings.sizes)[::settings.sizes - 1]:
            yield C, size


def planned(size, C, factor):
    rate = factor * scaling.LEARNING_RATE
    return settings_of(size, C, scaling.ALIKE["batch_tokens"], rate)


def tell(point, losses):
    """Print the losses of a net by rate, and how far the planned one lies above the best."""
    width, steps = point["d_model"], point["steps"]
    each = ", ".join(f"x{factor:g} {loss:.4f}" for factor, loss in zip(FACTORS, losses))
    print(f"width {width}, {steps} steps: {each}")
    above = 100 * (losses[FACTORS.index(1.0)] / min(losses) - 1)
    verdict(f"rate-at-width-{width}-steps-{steps}-above-the-best-percent", above, MOST,
            at_most=True)


if __name__ == "__main__":
    main()
