"""Scaling laws: the published surface, known surfaces found again, honest intervals."""
import json
import os
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from gpt.__main__ import main
from gpt.laws.intervals import Law, bias_of_parabolas
from gpt.laws.parabolas import lowest_runs, parabolas
from gpt.laws.planning import budgets_of, settings_of, sizes_for
from gpt.laws.surface import Surface, fit_surface
from gpt.training.config import Config

CHINCHILLA = Surface(1.69, 406.4, 410.7, 0.34, 0.28)     # Hoffmann et al. 2022
DATA = os.environ.get("MINIGRAD_DATA")


def planned(surface, sizes=6):
    """Return budgets and sizes around the best ones, (C, N)."""
    C = np.repeat(10.0 ** np.arange(17, 20.1, 0.75), sizes)
    steps = 2.0 ** np.linspace(-2, 2, sizes)
    N = np.concatenate([surface.best_size(c) * steps for c in np.unique(C)])
    return C, N


def noisy(surface, C, N, seed, noise=0.005):
    rng = np.random.default_rng(seed)
    return surface.loss(N, C / (6 * N)) * np.exp(noise * rng.standard_normal(len(N)))


@pytest.fixture
def published():
    if not DATA:
        pytest.skip("MINIGRAD_DATA does not name the folder with scaling/isoflops_curves.json")
    rows = json.loads((Path(DATA) / "scaling" / "isoflops_curves.json").read_text())
    columns = "compute_budget", "parameters", "final_loss"
    return [np.array([row[name] for row in rows], float) for name in columns]


def test_the_published_runs_give_the_published_sizes(published):
    lowest, curved = lowest_runs(*published), parabolas(*published)
    assert f"{lowest.best_size(1e24):.3g} {curved.best_size(1e24):.3g}" == "2.06e+11 2.98e+11"
    assert f"{lowest.exponent:.3f} {curved.exponent:.3f}" == "0.469 0.515"
    C, N, losses = published
    fit = fit_surface(N, C / (6 * N), losses)
    assert fit.surface.best_size(1e24) == pytest.approx(curved.best_size(1e24), rel=0.02)


def test_a_surface_without_noise_is_found_to_its_digits():
    C, N = planned(CHINCHILLA)
    fit = fit_surface(N, C / (6 * N), CHINCHILLA.loss(N, C / (6 * N)))
    assert fit.surface == pytest.approx(CHINCHILLA, rel=1e-5)
    assert fit.gradient < 1e-6 and fit.n_alike > 1


def test_the_best_size_is_where_the_loss_is_least():
    C = 1e20
    N = CHINCHILLA.best_size(C) * np.exp(np.linspace(-0.1, 0.1, 201))
    assert CHINCHILLA.loss(N, C / (6 * N)).argmin() == 100
    assert CHINCHILLA.best_loss(C) == CHINCHILLA.loss(N[100], C / (6 * N[100]))


def test_a_run_that_went_wrong_hardly_moves_the_fit():
    C, N = planned(CHINCHILLA)
    losses = noisy(CHINCHILLA, C, N, 0)
    before = fit_surface(N, C / (6 * N), losses).surface.exponent
    losses[7] *= 1.5
    after = fit_surface(N, C / (6 * N), losses).surface.exponent
    assert abs(after - before) < 0.02


def test_parabolas_are_biased_where_sizes_are_not_spread_alike():
    C, N = planned(CHINCHILLA)
    exponent, sizes = bias_of_parabolas(CHINCHILLA, C, N)
    assert abs(exponent) < 1e-6                       # around the best size, by the same factors
    one_grid = np.tile(np.geomspace(N.min(), N.max(), 6), 5)
    exponent, sizes = bias_of_parabolas(CHINCHILLA, C, one_grid)
    assert abs(exponent) > 0.01
    assert abs(np.log(sizes(1e24))) > 0.05


def test_parabolas_without_a_bottom_count_for_nothing():
    C, N = np.repeat([1e17, 1e18], 3), np.tile([1e6, 2e6, 4e6], 2)
    assert parabolas(C, N, np.array([3, 2, 1, 3, 2, 1.5])) is None


@pytest.mark.thorough
@pytest.mark.parametrize("alpha, beta", [(0.34, 0.28), (0.3, 0.3), (0.45, 0.25)])
def test_intervals_cover_as_often_as_they_say(alpha, beta):
    true = CHINCHILLA._replace(alpha=alpha, beta=beta)
    C, N = planned(true)
    D, hits = C / (6 * N), np.zeros(3)
    for seed in range(100):
        law = Law(N, D, noisy(true, C, N, seed), seed)
        asked = (lambda one: one.exponent, lambda one: one.best_size(1e21),
                 lambda one: one.best_loss(1e21))
        for i, f in enumerate(asked):
            low, high = law.interval(f)
            hits[i] += low <= f(true) <= high
    assert np.all((hits >= 82) & (hits <= 98)), hits


def test_an_interval_holds_what_is_true_and_is_not_endless():
    C, N = planned(CHINCHILLA)
    law = Law(N, C / (6 * N), noisy(CHINCHILLA, C, N, 0))
    low, high = law.interval(lambda one: one.exponent)
    assert low < CHINCHILLA.exponent < high < low + 0.1
    n = CHINCHILLA.best_size(1e21)
    loss, (low, high) = law.predicted(n, 1e21 / (6 * n))
    assert low < CHINCHILLA.best_loss(1e21) < high and low < loss < high < 1.05 * low


def test_runs_in_a_file_give_a_law_and_a_page(tmp_path, capsys):
    C, N = planned(CHINCHILLA)
    rows = [dict(parameters=n, compute_budget=c, final_loss=loss)
            for n, c, loss in zip(N, C, noisy(CHINCHILLA, C, N, 0))]
    path = tmp_path / "runs.json"
    path.write_text(json.dumps(rows))
    main(["scaling", str(path), "--predict", "1e21"])
    said = capsys.readouterr().out
    assert "30 runs of 5 budgets" in said and "parabolas: C^" in said and "90 % interval" in said
    assert said.splitlines()[-2].split()[0] == "1e+21"
    assert "<svg" in (tmp_path / "runs.html").read_text()


@pytest.mark.parametrize("rows, said", [
    ([], "there are 0 runs"), ([{"parameters": 1}], "compute_budget"), (5, "holds no runs"),
    ([dict(parameters=-1, compute_budget=1, final_loss=1)], "parameters is -1")])
def test_runs_that_make_no_law_are_named(tmp_path, capsys, rows, said):
    path = tmp_path / "runs.json"
    path.write_text(json.dumps(rows))
    with pytest.raises(SystemExit) as left:
        main(["scaling", str(path)])
    assert left.value.code == 2 and said in capsys.readouterr().err


def test_planned_runs_have_equal_budgets_and_sizes_apart():
    for C in budgets_of(1e13, 4, 5):
        sizes = sizes_for(C, 512, 5)
        ratios = [b.n / a.n for a, b in pairwise(sizes)]
        assert len(sizes) == 5 and all(1.2 < ratio < 2.6 for ratio in ratios)
        for size in sizes:
            settings = settings_of(size, C, 512, 0.006)
            assert settings["steps"] * 512 * 6 * size.n == pytest.approx(C, rel=0.02)
            rate = 0.006 * 192 / size.d_model * (1000 / settings["steps"]) ** 0.25
            assert settings["learning_rate"] == pytest.approx(rate, rel=1e-3)
            assert (size.d_model / settings["n_head"]) % 2 == 0


def test_a_size_is_that_of_the_matrices_of_its_net_with_the_head():
    size = sizes_for(1e12, 300, 5)[0]
    config = Config.make(vocab_size=300, **settings_of(size, 1e12, 512, 0.006))
    net = config.new_net(np.random.default_rng(0))
    named = net.named_parameters()
    assert size.n == sum(x.size for name, x in named if x.ndim == 2 and "token_emb" not in name)
