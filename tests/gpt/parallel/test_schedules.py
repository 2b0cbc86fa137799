"""Laws of the orders in which stages of a pipeline work."""
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpt.training.parallel.schedules import (
    BACKWARD, FORWARD, INPUT, SCHEDULES, WEIGHT, Pass, bubble_share, foreseen, laid_out,
    most_alive, needs)

UNIT = {FORWARD: 1, INPUT: 1, WEIGHT: 1, BACKWARD: 2}
sides = dict(name=st.sampled_from(sorted(SCHEDULES)), p=st.integers(1, 8), m=st.integers(1, 24))


def orders(name, p, m):
    return [[*SCHEDULES[name](stage, p, m)] for stage in range(p)]


def timeline(name, p, m, *seconds, **how):
    return [*laid_out(SCHEDULES[name], p, m, *seconds, **how)]


@given(**sides)
def test_every_stage_takes_every_micro_batch_once_forward_and_once_back(name, p, m):
    back = {INPUT, WEIGHT} if name == "zero_bubble" else {BACKWARD}
    for stage, order in enumerate(orders(name, p, m)):
        wanted = {Pass(stage, i, kind) for i in range(m) for kind in {FORWARD, *back}}
        assert Counter(order) == Counter(wanted)


@given(**sides)
def test_micro_batches_come_in_order_so_that_gradients_add_in_order(name, p, m):
    for order in orders(name, p, m):
        for kind in UNIT:
            numbers = [each.micro_batch for each in order if each.kind == kind]
            assert numbers == sorted(numbers)


@given(**sides, seconds=st.dictionaries(st.sampled_from(sorted(UNIT)), st.integers(1, 9)),
       message_s=st.integers(0, 3))
def test_no_pass_begins_before_what_it_needs_and_no_stage_does_two_things(
        name, p, m, seconds, message_s):
    durations = UNIT | seconds
    done, free = {}, Counter()
    for each, began, ended in timeline(name, p, m, lambda x: durations[x.kind],
                                       message_s=message_s):
        assert began >= free[each.stage] and ended == began + durations[each.kind]
        free[each.stage] = ended
        for source in needs(each, p):
            late = message_s if source.stage != each.stage else 0
            assert began >= done[source] + late
        done[each._replace(kind=INPUT) if each.kind == BACKWARD else each] = ended


@given(p=st.integers(1, 8), m=st.integers(1, 24))
def test_activations_alive_are_as_published(p, m):
    for stage in range(p):
        kept = {name: most_alive(orders(name, p, m)[stage]) for name in SCHEDULES}
        assert kept == {"gpipe": m, "1f1b": min(m, p - stage), "zero_bubble": min(m, p)}
        whole = most_alive(orders("zero_bubble", p, m)[stage], until=(INPUT,))
        assert whole == min(m, p - stage)              # what the way back needs: as with 1f1b


def waits(name, p, m, seconds=UNIT):
    """Return how much longer a step takes than its passes."""
    last = max(x.ended for x in timeline(name, p, m, lambda x: seconds[x.kind]))
    return last - m * (seconds[FORWARD] + seconds[BACKWARD])


@given(p=st.integers(1, 8), m=st.integers(1, 24))
def test_the_bubble_of_equal_passes_is_as_published(p, m):
    for name in "gpipe", "1f1b":
        assert waits(name, p, m) == 3 * (p - 1)
        assert bubble_share(timeline(name, p, m), p) == pytest.approx((p - 1) / (m + p - 1))
    if m >= p:                                         # enough to fill the pipe
        assert waits("zero_bubble", p, m) == p - 1


@given(p=st.integers(1, 6), more=st.integers(0, 12), forward=st.integers(1, 9),
       back=st.integers(1, 9), weight=st.integers(1, 9))
def test_the_bubble_of_unequal_passes_is_as_published(p, more, forward, back, weight):
    seconds = {FORWARD: forward, INPUT: back, WEIGHT: weight, BACKWARD: back + weight}
    m = p + more
    usual = (p - 1) * (forward + back + weight)
    assert waits("gpipe", p, m, seconds) == waits("1f1b", p, m, seconds) == usual
    assert waits("zero_bubble", p, m, seconds) <= usual
    if weight <= min(forward, back):                   # 2401.10241, table 2
        assert waits("zero_bubble", p, m, seconds) == (p - 1) * (forward + back - weight)


def test_a_bubble_is_foreseen_from_how_long_the_passes_of_each_stage_took():
    """Those of a kind that are alike on all stages wait as published; one slow stage makes more."""
    for name in SCHEDULES:
        took = timeline(name, 4, 8, lambda x: UNIT[x.kind])
        assert foreseen(took, SCHEDULES[name], 4) == pytest.approx(bubble_share(took, 4))
        slow = timeline(name, 4, 8, lambda x: UNIT[x.kind] * (1 + 0.5 * (x.stage == 2)))
        assert foreseen(slow, SCHEDULES[name], 4) == pytest.approx(bubble_share(slow, 4))
        assert foreseen(slow, SCHEDULES[name], 4, 0.1) > bubble_share(slow, 4)
    uneven = timeline("1f1b", 2, 8, lambda x: 1 + x.micro_batch % 2)
    wanted = bubble_share(timeline("1f1b", 2, 8, lambda x: 1.5), 2)
    assert foreseen(uneven, SCHEDULES["1f1b"], 2) == pytest.approx(wanted)


def test_a_schedule_in_which_all_wait_is_told():
    def backwards_first(stage, p, m):
        yield Pass(stage, 0, BACKWARD)
    with pytest.raises(ValueError, match="no stage of 2 can go on"):
        list(laid_out(backwards_first, 2, 1, lambda x: 1))
