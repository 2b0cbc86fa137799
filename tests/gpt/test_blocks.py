"""Surprise by blocks of text, and intervals that are as sure as they say."""
import math
from itertools import pairwise

import numpy as np
import pytest

from gpt.training.config import Config
from gpt.training.intervals import FEWEST, Interval, half_width, significant, t_quantile
from gpt.training.task import read
from gpt.training.tasks.causal import causal_measure
from gpt.verdicts.blocks import (
    Blocks, Reading, bits_of_bytes, bits_per_byte, blocks_of, difference, read_tokens)
from gpt.verdicts.luck import compared, gap_told, spread_of


def net_of(data, name):
    config = Config.make(net=name, vocab_size=data.tokenizer.vocab_size, n_layer=1, d_model=24,
                         context_length=16)
    net = config.new_net(np.random.default_rng(0))
    net.unembedding.weight.data[:] = np.random.default_rng(1).standard_normal(
        net.unembedding.weight.shape)
    return net


@pytest.mark.parametrize("name", ["decoder", "lstm", "conv"])
def test_a_reading_is_the_evaluation_token_by_token(name, data):
    model, ids = net_of(data, name), np.asarray(data.val[:2000])
    found, whole = read_tokens(model, ids), read(causal_measure(model, data, ids))
    assert found.places.tolist() == [*range(1, len(ids))]
    assert found.nats.sum() == pytest.approx(whole.nats, rel=1e-5)
    blocks = blocks_of(bits_of_bytes(found, ids, data.tokenizer.token_bytes))
    assert blocks.n_bytes.sum() == whole.n_bytes
    assert bits_per_byte(blocks).mean == pytest.approx(whole.bits_per_byte, rel=1e-5)


def test_a_part_of_a_text_is_compared_on_its_own_bytes(data):
    model, ids = net_of(data, "decoder"), np.asarray(data.val[:2000])
    token_bytes = data.tokenizer.token_bytes
    found = read_tokens(model, ids, n_tokens=200)
    bits = bits_of_bytes(found, ids, token_bytes)
    asked = ~np.isnan(bits)
    mine, theirs = blocks_of(bits), blocks_of(np.where(asked, 1.0, np.nan))
    assert 0 < asked.sum() == mine.n_bytes.sum() < len(asked)
    assert theirs.n_bytes.tolist() == mine.n_bytes.tolist()
    assert bits_per_byte(theirs).mean == 1


def test_tokens_of_many_bytes_and_of_none_keep_their_surprise():
    token_bytes, ids = np.array([1, 3, 0]), np.array([0, 1, 2, 1])
    found = Reading(np.array([1, 2, 3]), math.log(2) * np.array([3.0, 1.0, 6.0]), *[ids[1:]] * 4)
    bits = bits_of_bytes(found, ids, token_bytes)
    assert np.isnan(bits[0]) and bits[1:].tolist() == [1, 1, 2, 2, 2, 2]


# Student's t at 97.5 %, from its tables.
@pytest.mark.parametrize("df, t", [(7, 2.3646), (10, 2.2281), (30, 2.0423), (99, 1.9842)])
def test_the_quantiles_are_those_of_the_tables(df, t):
    assert t_quantile(df) == pytest.approx(t, abs=1e-3)


def test_two_runs_that_are_alike_differ_significantly_in_one_case_of_twenty():
    """With the losses of the two swapped at random in each block, 200 draws."""
    rng = np.random.default_rng(0)
    hard = rng.lognormal(0, 0.5, 60)                       # some blocks are hard for both
    n_bytes = rng.integers(900, 1100, 60)
    losses = [n_bytes * 2 * (hard + 0.1 * rng.lognormal(0, 1, 60)) for _ in range(2)]
    said = 0
    for _ in range(200):
        swapped = rng.random(60) < 0.5
        one = Blocks(np.where(swapped, *losses), n_bytes)
        other = Blocks(np.where(swapped, *losses[::-1]), n_bytes)
        said += significant(difference(one, other))
    assert 0.02 <= said / 200 <= 0.08


def test_an_interval_holds_the_truth_nineteen_times_of_twenty():
    rng, n_bytes = np.random.default_rng(1), np.full(40, 1000)
    held = [abs(x.mean - math.exp(0.125)) < x.half for x in (
        bits_per_byte(Blocks(1000 * rng.lognormal(0, 0.5, 40), n_bytes)) for _ in range(400))]
    assert 0.9 <= np.mean(held) <= 0.98


def test_few_blocks_have_no_interval():
    assert math.isnan(half_width(np.ones(FEWEST - 1), 1.0))
    few = bits_per_byte(Blocks(np.ones(3), np.ones(3)))
    assert str(few) == "1.000" and not significant(few)
    assert str(Interval(2.0, 0.5)) == "2.000 ± 0.500"


def test_paired_blocks_see_a_difference_that_two_intervals_do_not():
    rng = np.random.default_rng(2)
    hard = np.repeat(rng.lognormal(0, 0.5, 60), 1000)
    one, other = hard, hard + np.repeat(0.02 + 0.01 * rng.standard_normal(60), 1000)
    a, b = (bits_per_byte(blocks_of(bits)) for bits in (one, other))
    gap, n = compared(one, other)
    assert a.high > b.low and significant(gap) and gap.mean < 0
    said = gap_told("one", gap, n, "other")
    assert said.startswith("one is 0.0") and "lower than other" in said and "chance" not in said


def test_more_seeds_say_more_surely_where_another_ends():
    rng = np.random.default_rng(3)
    values = rng.normal(2, 0.1, 100).tolist()
    halves = [spread_of(values[:n]).half for n in (3, 10, 100)]
    assert all(a > b for a, b in pairwise(halves)) and math.isinf(spread_of(values[:2]).half)
