"""A scaling law in the terminal and in one HTML file: the fits, what is best, what is predicted."""
from html import escape
from operator import attrgetter, methodcaller

import numpy as np

from gpt.laws.intervals import bias_of_parabolas
from gpt.laws.parabolas import lowest_runs, parabolas
from gpt.show.corpus_page import STYLE
from gpt.show.plots import Curve, chart
from gpt.show.sweep_page import table

DIGITS = "{:.3g}".format


def law_lines(law, C, budget):
    """Yield what is said of a law."""
    N, losses, surface = law.N, law.losses, law.surface
    yield f"{len(N)} runs of {len(np.unique(C))} budgets, {C.min():.3g} to {C.max():.3g} FLOPs"
    yield (f"L = {surface.E:.3f} + {surface.A:.4g} / N^{surface.alpha:.3f} + {surface.B:.4g} / "
           f"D^{surface.beta:.3f}; {law.fit.n_alike} of the best starts agree, gradient "
           f"{law.fit.gradient:.0e}, noise {law.noise.std():.4f}")
    low, high = law.interval(attrgetter("exponent"))
    yield f"the best N grows as C^{surface.exponent:.3f}, 90 % interval {low:.3f} to {high:.3f}"
    for name, found in (("lowest runs", lowest_runs(C, N, losses)),
                        ("parabolas", parabolas(C, N, losses))):
        if found:
            yield (f"{name}: C^{found.exponent:.3f}, at {budget:.3g} FLOPs N "
                   f"{found.best_size(budget):.3g}, D {budget / 6 / found.best_size(budget):.3g}")
    exponent, sizes = bias_of_parabolas(surface, C, N)
    yield (f"on this surface without noise parabolas through such runs are off by {exponent:+.3f} "
           f"in the exponent, by a factor {sizes(budget):.2f} in N at {budget:.3g} FLOPs")
    yield " ".join(f"{head:>9}" for head in HEADS)
    for row in best_rows(law, C, budget):
        yield " ".join(f"{cell:>9}" for cell in row)


HEADS = "FLOPs", "best N", "from", "to", "tokens", "loss", "from", "to"


def best_rows(law, C, budget):
    """Yield what is best for each budget, and for one more, with 90 % intervals."""
    for each in [*np.unique(C), budget]:
        N = law.surface.best_size(each)
        D = each / (6 * N)
        sizes = law.interval(methodcaller("best_size", each))
        loss, losses = law.predicted(N, D)
        yield [*map(DIGITS, (each, N, *sizes, D)), *map("{:.4f}".format, (loss, *losses))]


def law_page(law, C, budget):
    """Return the page of a law."""
    said = [f"<p>{escape(line)}</p>" for line in [*law_lines(law, C, budget)][:6]]
    curves = []
    for each in np.unique(C):
        runs = C == each
        points = [*zip(law.N[runs], law.losses[runs])]
        curves.append(Curve(f"{each:.3g} FLOPs, runs", points, False))
        sizes = np.geomspace(law.N[runs].min(), law.N[runs].max(), 40)
        fitted = law.surface.loss(sizes, each / (6 * sizes))
        curves.append(Curve(f"{each:.3g} FLOPs, law", [*zip(sizes, fitted)]))
    parts = ["<!doctype html><meta charset='utf-8'><title>scaling law</title>",
             f"<style>{STYLE}</style><h1>How big a model for a budget</h1>", *said,
             "<h2>Runs, and the law through them</h2>",
             chart(curves, "N, weights of matrices", "loss", log=True),
             "<h2>What is best, with 90 % intervals</h2>",
             table(HEADS, best_rows(law, C, budget))]
    return "\n".join(parts) + "\n"
