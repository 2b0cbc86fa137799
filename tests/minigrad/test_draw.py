"""The page says what the record says, needs nothing else, and answers every control."""
import re

import numpy as np
import pytest
from expressions import (
    contents, gpt_step, neuron, programs, run_program, scalars, training_step)
from hypothesis import given, settings

from minigrad import Tensor, nn, split, tanh
from minigrad.stepper.example import doubled
from minigrad.stepper.html_page import Arrays, array, page
from minigrad.stepper.layout import (
    GAP_X, GAP_Y, HEIGHT, MARGIN, SIDE, WIDTH, common_prefix, lay_out, overview, paths)
from minigrad.stepper.numbers import numbers
from minigrad.stepper.record import record, trace
from minigrad.stepper.words import label


def test_the_same_record_gives_the_same_bytes(tmp_path):
    t = neuron()
    for name in ("one", "two"):
        t.html(tmp_path / f"{name}.html")
    assert (tmp_path / "one.html").read_bytes() == (tmp_path / "two.html").read_bytes()


def test_the_page_needs_nothing_else():
    text = page(neuron())
    shell = text[:text.index('id="data"')] + text[text.index("</script>"):]
    assert not re.search(r"(src|href)\s*=\s*[\"']|@import|url\(|fetch\(|import\(", shell)
    assert "default-src 'none'" in text and "/*DATA*/" not in text


def test_a_training_step_of_a_gpt_stays_under_five_megabytes(pages):
    assert len(pages[1]["gpt"].nodes) >= 60
    assert 500_000 < (pages[0] / "gpt.html").stat().st_size < 5_000_000


@given(programs())
@settings(max_examples=10)
def test_every_number_on_the_page_is_the_engines(program):
    leaves = scalars(0.3, -1.2)
    with trace() as t:
        run_program(program, leaves).backward()
    data = contents(page(t, levels=()))
    mine = data["records"][0]
    for node, shown in zip(t.nodes, mine["nodes"]):
        assert data["arrays"][shown["value"]]["cells"] == [float(node.value)]
    for e, shown in zip(t.events, mine["runs"][0]["events"]):
        for key in ("g", "sent", "total"):
            if getattr(e, key) is not None:
                assert data["arrays"][shown[key]]["cells"] == [e._asdict()[key].cells[0, 0]]
    grads = [data["arrays"][e["total"]]["cells"][0] for e in mine["runs"][0]["events"]
             if e["kind"] == "leaf"]
    assert set(grads) == {float(x.grad) for x in leaves if x.grad is not None}


def test_large_arrays_are_sampled_and_small_ones_kept_whole():
    x = np.arange(6000.0).reshape(60, 100)
    shown = array(numbers(x), 8)
    assert len(shown["cells"]) == 64 and shown["rows"][-1] == 59 and shown["columns"][-1] == 99
    for i, row in enumerate(shown["rows"]):
        for j, column in enumerate(shown["columns"]):
            assert shown["cells"][8 * i + j] == x[row, column]
    third = np.float32(1) / 3
    assert array(numbers(np.array([third])), 8)["cells"] == [float(str(third))]


def test_numbers_that_are_not_finite_survive():
    shown = array(numbers(np.array([np.nan, np.inf, -np.inf, 1.0])), 8)
    assert shown["cells"] == ["nan", "inf", "-inf", 1.0] and shown["bad"] == 3


def test_equal_arrays_are_kept_once():
    table = Arrays()
    assert table.add(numbers(np.ones(3))) == table.add(numbers(np.ones(3))) == 0
    assert table.add(numbers(np.ones(4))) == 1 and table.add(None) == -1


def test_a_function_around_everything_is_no_box():
    assert common_prefix([("f", "a"), ("f", "b", "c"), ("f",)]) == ("f",)
    assert common_prefix([("a",), ("b",)]) == ()


@given(programs())
@settings(max_examples=10)
def test_boxes_of_a_picture_do_not_overlap(program):
    with trace() as t:
        run_program(program, scalars(0.3, -1.2)).backward()
    boxes = lay_out(t.nodes, [()] * len(t.nodes)).boxes
    for i, a in enumerate(boxes):
        assert all(abs(a.y - b.y) >= HEIGHT + GAP_Y or abs(a.x - b.x) >= WIDTH + GAP_X - 1e-6
                   for b in boxes[i + 1:])


@given(programs())
@settings(max_examples=10)
def test_lines_lead_down_layer_by_layer_and_a_leaf_stands_above_its_first_user(program):
    with trace() as t:
        run_program(program, scalars(0.3, -1.2)).backward()
    graph, step = lay_out(t.nodes, [()] * len(t.nodes)), HEIGHT + GAP_Y
    inputs = {box: [] for box in graph.boxes}
    users = {box: [] for box in graph.boxes}
    for edge in graph.edges:
        stops = [edge.start, *edge.bends, edge.end]
        assert [b.y - a.y for a, b in zip(stops, stops[1:])] == [step] * (len(stops) - 1)
        inputs[edge.end].append(edge.start)
        users[edge.start].append(edge.end)
    for box in graph.boxes:
        if not inputs[box]:
            assert box.y == min(user.y for user in users[box]) - step
        else:
            assert box.y == max(x.y for x in inputs[box]) + step
    items = graph.boxes + [bend for edge in graph.edges for bend in edge.bends]
    assert min(item.x - item.width / 2 for item in items) == pytest.approx(SIDE)
    assert max(item.x + item.width / 2 for item in items) == pytest.approx(graph.width - SIDE)
    assert min(box.y for box in graph.boxes) == MARGIN + HEIGHT / 2
    assert max(box.y for box in graph.boxes) == graph.height - MARGIN - HEIGHT / 2


def test_each_operand_has_its_line():
    t = record(doubled, a=Tensor(1.0, requires_grad=True))
    (graph,) = t.pictures.values()
    lines = [(box.start.nodes, box.end.nodes, box.place) for box in graph.edges]
    assert lines == [([0], [1], 0), ([0], [1], 1), ([1], [2], 0), ([1], [2], 1)]
    assert [edge.port for edge in graph.edges] == [-12, 12, -12, 12]


def test_outputs_share_the_box_of_their_op():
    x = Tensor(np.arange(4.0), requires_grad=True)
    with trace() as t:
        p, q = split(x, 2)
        (p * p).sum().backward()
    graph, *_ = t.pictures.values()
    assert [t.names[0][box.nodes[0]] for box in graph.boxes] == [
        "x", "p, q · split", "mul_4", "sum_5"]
    assert graph.boxes[1].nodes == [1, 2, 3]


def test_modules_that_are_alike_are_one_box_until_opened():
    model, ids, targets = training_step(n_layer=4)
    t = record(lambda: model(ids, targets))
    around = {path for group in t.groups for path in paths(group)}
    blocks = ["blocks × 4 / blocks[0]", "blocks × 4 / 3 more like it"]
    assert {*blocks, f"{blocks[1]} / blocks[3]"} <= around and "blocks[0]" not in around
    for closed, graph in t.pictures.items():
        shown = [box.module for box in graph.boxes if box.module]
        assert closed.issuperset(shown)
    first, second, *_ = t.pictures
    assert not first and "blocks × 4" in second
    opened = [box.module for box in t.pictures[second - {"blocks × 4"}].boxes if box.module]
    assert opened == blocks
    two = gpt_step()
    assert {group[0] for group in two.groups if group} == {"blocks[0]", "blocks[1]"}


def test_blocks_stand_beside_each_other_and_lines_rise_between_them():
    graph, t = gpt_step().beside, gpt_step()
    column = [[box.x for box in graph.boxes if t.groups[box.nodes[0]][:1] == (f"blocks[{i}]",)]
              for i in range(2)]
    between = {x for edge in graph.edges for x in edge.turns}
    assert max(column[0]) + WIDTH / 2 < min(between) <= max(between) < min(column[1]) - WIDTH / 2
    for edge in graph.edges:
        stops = [edge.start, *edge.bends, edge.end]
        rises = [above.y >= below.y for above, below in zip(stops, stops[1:])]
        assert sum(rises) == len(edge.turns) <= 1
    tall = t.pictures[frozenset()]
    assert graph.height < 0.7 * tall.height
    assert neuron().beside is None


def test_an_overview_opens_what_is_around_nearly_all():
    inside = [("net", name) for name in "abc"]
    assert overview([("net", "a")] * 9 + inside + [("loss",)]) == {
        "net / a", "net / b", "net / c", "loss"}
    assert overview([()] * 3) == overview([("net",)]) == frozenset()


def test_no_two_boxes_have_one_name():
    t = gpt_step()
    nodes, modules = t.names
    names = [*nodes.values(), *modules.values()]
    assert len(set(names)) == len(names) and all(0 < len(name) <= 19 for name in names)
    labels = {label(node) for node in t.nodes}
    assert {"blocks[1].qkv[2]", "blocks[0].up", "tokens", "unembedding"} <= labels
    assert not any("#" in label(node) for node in t.nodes if node.op is None)


class Deep(nn.Module):
    def __init__(self, rng, depth=3):
        self.inner = Deep(rng, depth - 1) if depth else nn.Linear(2, 2, rng=rng)

    def __call__(self, x):
        return self.inner(x)


def test_parameters_are_called_by_their_whole_paths():
    model = [Deep(np.random.default_rng(0)), Deep(np.random.default_rng(1))]
    t = record(lambda: model[1](model[0](np.ones((1, 2), np.float32))).sum())
    leaves = [label(node) for node in t.nodes if node.requires_grad and not node.op]
    assert leaves[0] == "inner.inner.inner.inner.weight" and len(set(leaves)) == 4
    assert len(set(t.names[0].values())) == len(t.names[0])


def test_a_notebook_shows_the_page():
    text = record(doubled, a=Tensor(1.0, requires_grad=True))._repr_html_()
    assert text.startswith("<iframe srcdoc=") and text.count("<") == 2


def test_text_in_a_record_cannot_end_the_script():
    said = "<!--<script></script><img src=x onerror=alert(1)>"
    text = page(neuron(), title=said)
    assert contents(text)["title"] == said and said not in text
    assert text.count("<script") == text.count("</script>") == 2 and "<!--" not in text


def test_a_record_without_backward_is_an_error_that_says_so():
    with trace() as t:
        tanh(*scalars(1.0))
    with pytest.raises(ValueError, match="call loss.backward"):
        page(t)
