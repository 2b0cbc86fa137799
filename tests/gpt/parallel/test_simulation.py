"""What is simulated agrees with the formulas where these hold, and with itself always."""
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpt.training.parallel.costs import (
    Network, bubble, lost_share, read_network, state_bytes, step_traffic)
from gpt.training.parallel.jobs import Job, Size, check, played
from gpt.training.parallel.schedules import SCHEDULES
from gpt.training.parallel.simulation import (
    Event, Finish, Receive, Send, Start, Work, lost_to_failures, play, spent_s)
from gpt.settings import ConfigError

NET = Size("net", 12e6, 12, 256, 72e6)
FREE = Network(1e30, 0.0)


def job(**changes):
    return Job(**dict(size=NET, ranks=4, batch_tokens=4096, flops=1e11, network=FREE) | changes)


# ---- actions ----

def test_a_message_takes_bytes_over_bandwidth_and_latency():
    network = Network(100.0, 0.5)
    programs = {0: iter([Work("F0", 1.0), Send(1, "F0", 200), Send(1, "F1", 100)]),
                1: iter([Receive(0, "F0"), Receive(0, "F1")])}
    players = play(programs, {0: network, 1: network})
    assert players[0].clock == 1.0 and players[0].sent_bytes == 300
    assert players[1].events == [Event("wait", "F0", 0, 1), Event("communicate", "F0", 1, 3.5),
                                 Event("communicate", "F1", 1, 4.5)]    # the line was taken to 3


def test_a_group_begins_when_the_last_has_come_and_may_compute_meanwhile():
    def rank(seconds):
        yield Work("B0", seconds)
        yield Start("sum", (0, 1), 3.0, 10)
        yield Work("B1", 1.0)
        yield Finish("sum", (0, 1))
    players = play({0: rank(1.0), 1: rank(2.0)}, {0: FREE, 1: FREE})
    assert {player.clock for player in players.values()} == {5.0}
    assert Event("communicate", "sum", 2.0, 5.0) in players[0].events


def test_ranks_that_wait_for_each_other_are_told():
    programs = {0: iter([Receive(1, "x")]), 1: iter([Receive(0, "y")])}
    with pytest.raises(ValueError, match="rank 0 for x, rank 1 for y"):
        play(programs, {0: FREE, 1: FREE})


# ---- steps ----

@given(st.sampled_from([*SCHEDULES]), st.integers(1, 6), st.integers(0, 10))
def test_the_bubble_is_that_of_the_formula(pipeline, p, more):
    m = p + more
    shown = played(job(ranks=p, stages=p, pipeline=pipeline, micro_batches=m))
    assert shown.bubble == pytest.approx(bubble(pipeline, p, m))
    assert shown.efficiency == pytest.approx(1 - bubble(pipeline, p, m))


@given(st.sampled_from([0, 1, 2, 3]), st.booleans(), st.integers(1, 40), st.integers(1, 3))
def test_bytes_and_memory_are_those_of_the_formulas(zero, overlap, ranks, m):
    shown = played(job(ranks=ranks, zero=zero, overlap=overlap, micro_batches=m,
                       network=read_network("1Gbit/s,10us")))
    assert shown.sent_bytes == pytest.approx(step_traffic(12e6, ranks, zero, micro_batches=m))
    assert shown.memory_bytes[0] == state_bytes(12e6, ranks, zero)


def test_a_plain_step_is_compute_and_then_a_sum():
    shown = played(job(network=read_network("1Gbit/s,10us")))
    compute_s = 4096 * 72e6 / 1e11 / 4
    sum_s = 2 * (3 / 4 * 48e6 / 125e6 + 3 * 10e-6)
    assert shown.step_s == pytest.approx(compute_s + sum_s)
    assert shown.tokens_s == pytest.approx(4096 / shown.step_s)


def test_overlap_hides_sums_behind_the_backward_pass():
    plain, overlapped = (played(job(network=read_network("1Gbit/s"), flops=1e10, overlap=overlap))
                         for overlap in (False, True))
    assert overlapped.step_s < plain.step_s
    computed = spent_s(overlapped.players[0].events, "compute")
    assert overlapped.step_s >= max(computed, 2 * 3 / 4 * 48e6 / 125e6)
    assert computed == pytest.approx(spent_s(plain.players[0].events, "compute"))


def test_a_processor_that_serves_the_network_computes_less_meanwhile():
    """All but the last sum go on while something is computed."""
    idle = job(network=read_network("100Gbit/s"), flops=1e10, overlap=True)
    served = played(idle._replace(served_s=1e-9))
    sent_bytes = served.sent_bytes * (1 - 1 / idle.layers)
    assert served.step_s == pytest.approx(played(idle).step_s + 1e-9 * sent_bytes)


def test_all_wait_for_the_straggler_and_the_slow_link():
    quick = played(job(network=read_network("10Gbit/s")))
    late = played(job(network=read_network("10Gbit/s"), stragglers={2: 1.5}))
    slow = played(job(network=read_network("10Gbit/s"), slow_links={1: 125e6}))
    compute_s = spent_s(quick.players[0].events, "compute")
    assert late.step_s == pytest.approx(quick.step_s + compute_s / 2)
    assert slow.step_s == pytest.approx(compute_s + 10 * (quick.step_s - compute_s))
    assert late.alike == {0: 3, 2: 1}


@pytest.mark.parametrize("changes", [
    dict(stages=2, micro_batches=4), dict(zero=3, overlap=True),
    dict(stages=2, micro_batches=4, pipeline="zero_bubble", zero=1, stragglers={3: 2.0})], ids=str)
def test_playing_one_of_each_kind_is_playing_all(changes):
    """A nudge too small to matter makes every copy a kind of its own."""
    alike = job(ranks=8, network=read_network("1Gbit/s,10us"), **changes)
    nudged = {rank: 1 + 1e-12 * rank for rank in range(8)} | alike.stragglers
    each = played(alike._replace(stragglers=nudged))
    assert len(each.players) == 8 > len(played(alike).players)
    assert each.step_s == pytest.approx(played(alike).step_s)
    assert each.bubble == pytest.approx(played(alike).bubble)


def test_a_thousand_ranks_are_two_rows():
    shown = played(job(ranks=1024, batch_tokens=2 ** 20, stragglers={7: 1.2}))
    assert shown.alike == {0: 1023, 7: 1}


@pytest.mark.parametrize("changes, said", [
    (dict(stages=3), "ranks is 4, which 3 stages cannot share: use 6"),
    (dict(ranks=16, stages=16), "stages is 16, but the net has 12 layers"),
    (dict(batch_tokens=3), "batch_tokens is 3, too few for 4 copies"),
    (dict(stragglers={4: 2}), "straggler names rank 4"),
    (dict(slow_links={9: 1}), "slow_link names rank 9")])
def test_what_nobody_could_run_is_refused(changes, said):
    with pytest.raises(ConfigError, match=said):
        check(job(**changes))


def test_failures_that_are_played_lose_what_the_formula_says():
    for cost_s, mtbf_s in ((10, 36000), (60, 7200)):
        interval_s = (2 * cost_s * mtbf_s) ** 0.5
        formula = lost_share(interval_s, cost_s, mtbf_s, 30)
        assert lost_to_failures(interval_s, cost_s, mtbf_s, 30) == pytest.approx(formula, rel=0.1)
