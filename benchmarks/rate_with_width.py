"""Whether the rate that falls with the width bends a scaling law: other rates, at both ends.

    python benchmarks/rate_with_width.py FOLDER TEXT... [--flops 2e11]

The smallest and the largest net of a budget are trained with the planned rate and with multiples of
it. What the best of these gains is what the law does not see; where both ends gain alike, it is not
bent. Stopped or killed? The same command goes on.
"""
import argparse
import os
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:1] = [str(ROOT), str(ROOT / "benchmarks")]      # or gpt would be gpt.py beside this

from results import verdict  # noqa: E402

from gpt import scaling  # noqa: E402
from gpt.laws.planning import settings_of, sizes_for  # noqa: E402
from gpt.sweep import work  # noqa: E402
from gpt.sweeping.table import Table  # noqa: E402

FACTORS = 0.5, 0.7, 1.0, 1.4, 2.0
MOST = 0.5                         # percent of the loss that a better rate may gain
BEGAN = time.monotonic()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("source", nargs="+")
    parser.add_argument("--flops", type=float, default=2e11, help="of each run")
    parser.add_argument("--vocabulary", type=int, default=512)
    args = parser.parse_args()
    source = [str(Path(name).resolve()) if Path(name).exists() else name for name in args.source]
    folder = args.folder / "sweeps" / "rates"
    folder.mkdir(parents=True, exist_ok=True)
    os.chdir(args.folder)
    words = [f"--total_flops={100 * args.flops}", f"--vocabulary={args.vocabulary}", "--name=rates"]
    _, settings = scaling.parse([*source, *words])
    spec, _ = scaling.planned(settings)
    ends = sizes_for(args.flops, args.vocabulary, 5)[::4]
    points = [planned(size, factor, args, settings) for size in ends for factor in FACTORS]
    spec |= {"points": points, "trials": len(points)}
    folder = Path("sweeps/rates")
    table = Table(f"sqlite:///{folder / 'sweep.db'}", "rates")
    if not work(table, spec, folder, settings, BEGAN):
        return print("not done yet: say it again")
    losses = {row.trial: row.value for row in scaling.ranking(table.jobs())}
    for i, size in enumerate(ends):
        tell(size, [losses[len(FACTORS) * i + j] for j in range(len(FACTORS))])


def planned(size, factor, args, settings):
    rate = factor * settings.learning_rate
    return settings_of(size, args.flops, scaling.ALIKE["batch_tokens"], rate)


def tell(size, losses):
    """Print the losses of a net by rate, and how far the planned one lies above the best."""
    each = ", ".join(f"x{factor:g} {loss:.4f}" for factor, loss in zip(FACTORS, losses))
    print(f"{size.n:,} weights, width {size.d_model}: {each}")
    above = 100 * (losses[FACTORS.index(1.0)] / min(losses) - 1)
    verdict(f"rate-at-width-{size.d_model}-above-the-best-percent", above, MOST, at_most=True)


if __name__ == "__main__":
    main()
