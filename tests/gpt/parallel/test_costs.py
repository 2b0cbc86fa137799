"""The formulas give the numbers that were published with them."""
import pytest

from gpt.settings import ConfigError
from gpt.training.parallel.costs import (
    FLOAT32, MIXED, Times, activations_alive, all_gather, all_reduce, best_interval, bubble,
    lost_share, read_network, reduce_scatter, state_bytes, step_traffic, tensor_parallel_traffic)

# Rajbhandari et al. 2020, Table 1: GB on each of so many ranks with ZeRO 1, 2, 3.
TABLE = {(7.5e9, 4): (52.5, 41.3, 30), (7.5e9, 16): (35.6, 21.6, 7.5),
         (7.5e9, 64): (31.4, 16.6, 1.88), (7.5e9, 256): (30.4, 15.4, 0.47),
         (7.5e9, 1024): (30.1, 15.1, 0.12), (128e9, 64): (536, 284, 32)}


@pytest.mark.parametrize("psi, ranks", TABLE)
def test_memory_is_that_of_the_table_in_the_paper_of_zero(psi, ranks):
    for zero, published in enumerate(TABLE[psi, ranks], 1):
        found = state_bytes(psi, ranks, zero, MIXED) / 1e9
        assert found == pytest.approx(published, abs=0.06 if published > 10 else 0.006)


def test_the_example_of_7_5_billion_parameters_on_64_ranks():
    found = [state_bytes(7.5e9, 64, zero, MIXED) / 1e9 for zero in range(4)]
    assert [f"{x:.1f}" for x in found] == ["120.0", "31.4", "16.6", "1.9"]


@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_in_float32_it_is_16_bytes_a_parameter_cut_step_by_step(ranks):
    psi = 1000
    assert [state_bytes(psi, ranks, zero, FLOAT32) for zero in range(4)] == [
        16 * psi, 8 * psi + 8 * psi / ranks, 4 * psi + 12 * psi / ranks, 16 * psi / ranks]


def test_a_sum_is_a_share_summed_and_then_gathered():
    assert reduce_scatter(800, 4) == all_gather(800, 4) == 600
    assert all_reduce(800, 4) == 2 * 3 / 4 * 800
    assert all_reduce(800, 1) == 0


def test_zero_3_sends_half_as_much_again():
    sent = [step_traffic(1e6, 64, zero) for zero in range(4)]
    assert sent[0] == sent[1] == sent[2] == 2 * 4e6 * 63 / 64
    assert sent[3] == 1.5 * sent[0]
    assert step_traffic(1e6, 64, 2, micro_batches=3) == 2 * sent[0]       # 1 + 3 for 1 + 1


def test_tensor_parallelism_sends_four_sums_of_activations_a_layer():
    assert tensor_parallel_traffic(10, 8, 3, 2) == 4 * 3 * all_reduce(4 * 10 * 8, 2)


@pytest.mark.parametrize("p, m", [(2, 4), (4, 8), (8, 8), (8, 64)])
def test_bubbles_are_those_of_the_papers(p, m):
    assert bubble("gpipe", p, m) == bubble("1f1b", p, m) == pytest.approx((p - 1) / (m + p - 1))
    assert bubble("interleaved", p, m, 2) == pytest.approx((p - 1) / (2 * m + p - 1))
    idle = {name: bubble(name, p, m) / (1 - bubble(name, p, m)) for name in ("1f1b", "zero_bubble")}
    assert idle["zero_bubble"] == pytest.approx(idle["1f1b"] / 3)
    assert bubble("zero_bubble", p, m, times=Times(1, 1, 2)) == 0


def test_1f1b_keeps_what_is_under_way_and_gpipe_all():
    assert [activations_alive("gpipe", 4, 8, r) for r in range(4)] == [8] * 4
    assert [activations_alive("1f1b", 4, 8, r) for r in range(4)] == [4, 3, 2, 1]
    assert activations_alive("zero_bubble", 4, 8, 3) == 4
    assert activations_alive("interleaved", 4, 8, 0, 2) == 4 * (1 + 3 / (4 * 2))
    assert activations_alive("1f1b", 4, 2, 0) == 2


def test_no_other_interval_loses_less_than_the_best():
    cost, mtbf = 300, 24 * 3600
    best = best_interval(cost, mtbf)
    assert best == 2 * 3600
    least = lost_share(best, cost, mtbf, 60)
    assert all(lost_share(best * x, cost, mtbf, 60) > least for x in (0.5, 0.9, 1.1, 2))


@pytest.mark.parametrize("text, bytes_s, latency_s", [
    ("1Gbit/s", 125e6, 0), ("10Gbit/s,20us", 1.25e9, 2e-5), ("2.5Mbit/s,1ms", 312500, 1e-3)])
def test_a_network_is_read_as_it_is_written(text, bytes_s, latency_s):
    assert read_network(text) == pytest.approx((bytes_s, latency_s))


@pytest.mark.parametrize("text", ["", "fast", "10", "10Gb", "0Gbit/s", "-1Gbit/s", "nanGbit/s",
                                  "infGbit/s", "1Gbit/s,5", "1Gbit/s,x", "Gbit/s,1us"])
def test_what_is_no_network_is_refused_by_name(text):
    with pytest.raises(ConfigError, match="network is"):
        read_network(text)
