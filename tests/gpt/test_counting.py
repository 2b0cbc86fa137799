"""Counting: distributions, the same one by one as over a text, and as good as they should be."""
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpt.models.counting import KneserNey, discounts, highest_order

TEXTS = st.lists(st.integers(0, 4), min_size=1, max_size=60)


@given(TEXTS, st.lists(st.integers(0, 5), max_size=6), st.integers(1, 5))
def test_what_follows_any_history_is_a_distribution(text, history, order):
    p = KneserNey(np.array(text), order, 6).next(history)
    assert p.shape == (6,) and (p > 0).all() and p.sum() == pytest.approx(1, abs=1e-12)


@given(TEXTS, st.lists(st.integers(0, 5), min_size=1, max_size=9), st.integers(1, 5))
def test_the_surprise_over_a_text_is_that_at_each_symbol(text, other, order):
    model = KneserNey(np.array(text), order, 6)
    nats = model.surprise(np.array(other))
    one_by_one = [-np.log(model.next(other[:i])[x]) for i, x in enumerate(other)]
    np.testing.assert_allclose(nats, one_by_one, atol=1e-12)


def bigrams(text, V):
    """Write the formula down once more, for two symbols and dictionaries."""
    pairs = Counter(zip(text, text[1:]))
    behind = Counter(w for _, w in pairs)                     # after how many symbols each stood
    D2 = discounts(np.array([*pairs.values()]))
    D1 = discounts(np.array([*behind.values()]))
    taken = sum(D1[min(c, 3)] for c in behind.values()) / len(pairs)
    def lower(w):
        c = behind[w]
        return (c - D1[min(c, 3)]) / len(pairs) + taken / V
    def p(w, h):
        of_h = {b: c for (a, b), c in pairs.items() if a == h}
        total = sum(of_h.values())
        left = sum(D2[min(c, 3)] for c in of_h.values())
        c = of_h.get(w, 0)
        return (c - D2[min(c, 3)]) / total + left / total * lower(w)
    return p


def test_it_is_the_formula_of_the_paper():
    text = np.random.default_rng(0).integers(0, 5, 300) ** 2 % 7
    model, p = KneserNey(text, 2, 7), bigrams(text.tolist(), 7)
    for h in set(text.tolist()):
        np.testing.assert_allclose(model.next([h]), [p(w, h) for w in range(7)], atol=1e-12)


def test_a_text_that_repeats_is_continued():
    model = KneserNey(np.arange(300) % 3, 4, 3)
    written = model.generate([0, 1], np.random.default_rng(0))
    assert sum(next(written) == (2 + i) % 3 for i in range(90)) > 70


@pytest.mark.parametrize("ids, order, V, words", [
    ([], 2, 5, "ids are empty"), ([1], 0, 5, "order is 0"), ([1], 9, 256, "use 8"),
    ([1], 5, 50257, "use 4")])
def test_what_cannot_be_counted_is_told(ids, order, V, words):
    with pytest.raises(ValueError, match=words):
        KneserNey(np.array(ids, int), order, V)


def test_the_highest_order_fills_64_bits():
    assert highest_order(256) == 8 and highest_order(2) == 64 and highest_order(1) == 64


DATA = Path(os.environ.get("MINIGRAD_DATA", "nowhere"))

def split(path):
    if not path.is_file():
        pytest.skip(f"{path} is not there: set MINIGRAD_DATA")
    symbols, ids = np.unique(np.frombuffer(path.read_bytes(), np.uint8), return_inverse=True)
    n = len(ids) * 9 // 10
    return ids[:n], ids[n:], len(symbols)


def test_tinyshakespeare_by_characters_costs_1_52_nats():
    train, val, V = split(DATA / "tinyshakespeare.txt")
    assert KneserNey(train, 7, V).surprise(val).mean() <= 1.52


@pytest.mark.thorough
def test_the_plays_cost_2_13_bits_a_byte():
    train, val, V = split(DATA / "books" / "shakespeare_plays.txt")
    assert KneserNey(train, 8, V).surprise(val).mean() / np.log(2) <= 2.13
