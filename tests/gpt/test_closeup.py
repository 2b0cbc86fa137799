"""Single steps from close by: what is shown is the step, and the run does not notice."""
import re

import pytest

from gpt.settings import ConfigError
from gpt.show.closeup import PAGE_TOKENS, profile_steps, steps_with_trace, trace_step
from gpt.training.plan import Plan
from gpt.training.run import Run
from gpt.training.step import next_batch, train_steps
from tests.gpt.test_training import bytes_of, finished


def start(tiny, data, **changes):
    return Run.start(tiny(**changes), data, Plan.fixed(4))


def test_the_page_holds_the_loss_of_the_very_step(tiny, data, tmp_path):
    run, said = start(tiny, data), []
    losses = [r.loss for r in steps_with_trace(run, 3, tmp_path, said.append)]
    page = (tmp_path / "step_3.html").read_text(encoding="utf-8")
    assert f"{losses[2]:.4g}" in page and len(page) < 5_000_000 and len(losses) == 4
    assert said == [f"step 3, gradient by gradient: {tmp_path / 'step_3.html'}"]
    shell = page[:page.index('id="data"')]
    assert not re.search(r"(src|href)\s*=\s*[\"']http", shell)


def test_a_run_that_was_looked_at_ends_in_the_same_bytes(tiny, data, tmp_path):
    plain = bytes_of(finished(start(tiny, data, dropout=0.1, n_layer=1)), tmp_path / "plain")
    run = start(tiny, data, dropout=0.1, n_layer=1)
    profile_steps(run, tmp_path)
    list(steps_with_trace(run, 2, tmp_path, print))
    assert bytes_of(run, tmp_path / "looked_at") == plain


def test_of_a_large_batch_the_first_sequences_are_recorded(tiny, data, tmp_path):
    run = start(tiny, data, batch_tokens=4096, n_layer=1)
    said = trace_step(run, tmp_path / "page.html")
    assert f"{PAGE_TOKENS // 16} of its 256 sequences" in said
    assert next_batch(run).ids.shape == (256, 16) and run.step == 0
    long = start(tiny, data, context_length=200, batch_tokens=400, n_layer=1)
    assert f"1 of its 2 sequences and {PAGE_TOKENS} of their 200" in trace_step(
        long, tmp_path / "page.html")


@pytest.mark.parametrize("number", [-1, 0, 2, 5])
def test_a_step_that_does_not_come_is_refused_at_once(tiny, data, tmp_path, number):
    run = start(tiny, data)
    steps = train_steps(run)
    next(steps), next(steps)
    with pytest.raises(ConfigError, match=f"trace_step is {number}, .* 3 to 4"):
        steps_with_trace(run, number, tmp_path, print)


def test_a_step_for_which_there_was_no_time_is_told(tiny, data, tmp_path):
    run, said = start(tiny, data), []
    for _ in steps_with_trace(run, 4, tmp_path, said.append):
        run.plan = Plan.fixed(2)
    assert said == ["step 4 was not recorded: there was time for 2 steps"]


def test_the_profile_accounts_for_every_step(tiny, data, tmp_path):
    table = profile_steps(start(tiny, data), tmp_path)
    rows = [line.split() for line in table.splitlines()[2:-1]]
    calls = {tuple(row[:2]): row[2] for row in rows}
    assert calls["self_attention", "forward"] == calls["self_attention", "backward"] == "20"
    assert calls["Muon", "part"] == calls["AdamW", "part"] == "10"
    wall_ms = float(re.search(r"wall ([\d.]+) ms", table)[1])
    parts_ms = [float(row[1] if row[0] == "nobody's" else row[3]) for row in rows]
    assert sum(parts_ms) == pytest.approx(wall_ms, abs=0.01 * len(rows))
    assert (tmp_path / "profile.txt").read_text(encoding="utf-8") == table + "\n"
    assert (tmp_path / "roofline.svg").read_text(encoding="utf-8").startswith("<svg")
