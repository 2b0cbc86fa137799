"""The record of the stepper says what the engine did, and its experiments what they claim."""
import json
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
from expressions import programs, run_program, scalars, training_step
from hypothesis import given
from hypothesis import strategies as st

from minigrad import OPS, Tensor, attention, layer_norm, linear, nn, softmax, sum as sum_, tanh, use
from minigrad.mode import mode
from minigrad.stepper import cost, html_page
from minigrad.stepper.example import doubled
from minigrad.stepper.numbers import numbers, short
from minigrad.stepper.command import main
from minigrad.stepper.record import record, trace
from minigrad.stepper.variants import VARIANTS, run
from minigrad.stepper.words import backward_of, label, sentence
from minigrad.testing.adapters import Subject
from minigrad.testing.strategies import SizedDraw, make_case

NUMBERS = st.floats(-2, 2, allow_nan=False).map(lambda x: round(x, 3))


def traced(program, a, b):
    leaves = scalars(a, b)
    with trace() as t:
        out = run_program(program, leaves)
        out.backward()
    return t, leaves


def value(numbers):
    return numbers.cells[0, 0]


@given(programs(), NUMBERS, NUMBERS)
def test_tracing_changes_no_gradient(program, a, b):
    plain = scalars(a, b)
    run_program(program, plain).backward()
    _, leaves = traced(program, a, b)
    assert [x.grad for x in plain] == [x.grad for x in leaves]


@given(st.sampled_from([(1,), (6,), (2, 3), (1, 1, 2, 2), (0,), (3, 0)]), st.integers(0, 99))
def test_a_few_numbers_are_written_out_in_their_shape(shape, seed):
    x = np.random.default_rng(seed).standard_normal(shape)
    written = np.array(json.loads(short(numbers(x))))
    assert written.shape == shape and np.allclose(written, x, rtol=1e-3)
    assert short(numbers(np.ones((7,)))) == "7 of norm 2.646"


@pytest.mark.parametrize("shape, over", [
    ((2, 1, 2), "axis 1 to 2x1x2"), ((2,), "axes 0, 1 to 2"), ((), "axes 0, 1, 2 to one "
     "number"), ((3, 1), "axes 0, 2 to 3x1"), ((1, 3, 2), "axis 0 to 1x3x2")])
def test_the_words_show_the_sum_over_broadcast_copies(shape, over):
    x, y = Tensor(np.ones(shape), requires_grad=True), Tensor(np.full((2, 3, 2), 2.0))
    with trace() as t:
        (x * y).sum().backward()
    e = next(e for e in t.events if e.kind == "send" and e.raw)
    words = backward_of(t, e)
    assert words == f"dx = g * y = g[2x3x2] * y[2x3x2], summed over {over} = {short(e.sent)}"


@given(programs(), NUMBERS, NUMBERS)
def test_each_sum_grows_by_what_was_sent(program, a, b):
    t, leaves = traced(program, a, b)
    sums = {}
    for e in t.events:
        if e.kind == "send":
            assert (e.before is None) == (e.to not in sums)
            sums[e.to] = sums.get(e.to, 0.0) + value(e.sent)
            assert value(e.total) == sums[e.to]
        elif e.kind == "leaf":
            assert value(e.total) == sums[e.node]
    for x in leaves:
        if x.grad is not None:
            assert x.grad in [value(e.total) for e in t.events if e.kind == "leaf"]


@given(programs(), NUMBERS, NUMBERS)
def test_a_node_sends_only_when_nothing_more_will_come(program, a, b):
    t, _ = traced(program, a, b)
    acted = set()
    for e in t.events:
        if e.kind == "send":
            acted.add(e.node)
            assert e.to not in acted
            sums = [s for s in t.events if s.kind == "send" and s.to == e.node]
            assert not sums or value(sums[-1].total) == value(e.g)


@given(programs(), NUMBERS, NUMBERS)
def test_the_formula_with_the_numbers_put_in_gives_what_was_sent(program, a, b):
    t, _ = traced(program, a, b)
    names = {"np": np, "log": np.log, "where": np.where, "tanh": np.tanh,
             "sigmoid": lambda x: 1 / (1 + np.exp(-x))}
    for e in t.events:
        node = t.nodes[e.node]
        if e.kind == "make":
            found = eval(node.with_numbers, dict(names))
            np.testing.assert_allclose(found, node.value, rtol=1e-4, atol=2e-5)
        if e.kind == "send":
            found = eval(e.with_numbers, dict(names))
            np.testing.assert_allclose(found, value(e.sent), rtol=1e-4,
                                       atol=2e-5 * (1 + abs(value(e.g))))


@given(programs(), NUMBERS, NUMBERS)
def test_a_nudge_at_any_node_finds_its_gradient(program, a, b):
    t, _ = traced(program, a, b)
    gradients = {e.node: value(e.g) for e in t.events if e.kind != "make"}
    for node, g in gradients.items():
        np.testing.assert_allclose(t.slope(node), g, rtol=1e-5, atol=1e-7 * (1 + abs(g)))


def test_a_nudge_finds_the_gradient_of_matrix_elements():
    model, ids, targets = training_step(B=1, C=16)
    t = record(lambda: model(ids, targets))
    for e in [e for e in t.events if e.kind == "leaf"][:4]:
        i, j = np.unravel_index(abs(e.g.cells).argmax(), e.g.cells.shape)
        slope = t.slope(e.node, (int(e.g.rows[i]), int(e.g.columns[j])))
        np.testing.assert_allclose(slope, e.g.cells[i, j], rtol=1e-3)     # g is float32


# ---- levels ----

def test_a_fused_op_is_one_box_or_nine_with_equal_gradients():
    x = Tensor(np.random.default_rng(0).standard_normal((3, 5)), requires_grad=True)
    w = Tensor(np.arange(5.0), requires_grad=True)
    with use("fast"), trace() as t:
        sum_(layer_norm(x, w) * x.data).backward()
    parts = t.at_level("parts")
    fused = next(n for n in t.nodes if n.op and n.op.name == "layer_norm")
    boxes = [n for n in parts.nodes if n.origin == fused.id and n.op]
    assert len(boxes) > 5 and all("layer_norm" in n.place.group for n in boxes)
    assert any("centered" in n.place.inner for n in boxes)
    for name in "xw":
        one, other = (next(e.total.cells for e in r.events if e.kind == "leaf"
                           and r.nodes[e.node].label == name) for r in (t, parts))
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12)


def test_a_replay_at_the_same_level_is_the_same_record():
    model, ids, targets = training_step()
    t = record(lambda: model(ids, targets))
    again = t.at_level(t.level)
    assert again.text() == t.text()
    assert [n.label for n in again.nodes] == [n.label for n in t.nodes]


# ---- wrong on purpose ----

def leaf_gradients(outcome):
    return {e.node: value(e.total) for e in outcome.events if e.kind == "leaf"}


def test_the_classic_mistakes_give_the_classic_numbers():
    t = record(doubled, a=Tensor(1.0, requires_grad=True))
    found = [leaf_gradients(run(t, variant))[0] for variant in VARIANTS]
    assert found == [8.0, 1.0, 8.0, 8.0]                   # and 4 is right
    assert [run(t, variant).first_wrong for variant in VARIANTS] == [7, 2, 5, 11]


@given(programs(), NUMBERS, NUMBERS)
def test_a_verdict_of_no_mistake_means_right_gradients(program, a, b):
    t, _ = traced(program, a, b)
    right = {e.node: value(e.total) for e in t.events if e.kind == "leaf"}
    for variant in VARIANTS:
        outcome = run(t, variant)
        found = leaf_gradients(outcome)
        if outcome.first_wrong < 0 and "stopped" not in outcome.verdict:
            assert found == pytest.approx(right, rel=1e-6, abs=1e-12)
        if variant.name in ("twice", "no_zero_grad"):
            assert found == pytest.approx({i: 2 * g for i, g in right.items()})


def test_recursion_is_right_where_nothing_is_shared():
    with trace() as t:
        a, b = scalars(0.5, 2.0)
        tanh(a * b).backward()
    assert run(t, VARIANTS[0]).first_wrong == -1


def test_recursion_that_never_ends_is_stopped_with_a_word():
    with trace() as t:
        x = a = scalars(1.0)[0]
        for _ in range(12):
            x = x + x
        x.backward()
    assert a.grad == 2.0 ** 12
    assert "doubles the work" in run(t, VARIANTS[0]).verdict


# ---- memory and work ----

def test_what_is_kept_for_the_vjps_is_what_the_process_holds():
    x = Tensor(np.ones(100_000), requires_grad=True)
    def chain():
        y = x
        for _ in range(6):
            y = tanh(y) * y
        return sum_(y)
    with use("reference"):
        t = record(chain)
        chain().backward()
        tracemalloc.start()
        loss = chain()
        held, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    kept = cost.memory(t).kept
    assert kept[sum(e.kind == "make" for e in t.events) - 1] == pytest.approx(held, rel=0.02)
    assert kept[-1] == 0 and loss.size == 1


def test_products_count_two_operations_for_each_multiply():
    rng = np.random.default_rng(0)
    x, w = (Tensor(rng.standard_normal(s), requires_grad=True) for s in ((4, 5), (6, 5)))
    t = record(lambda: sum_(tanh(linear(x, w))))
    by_op = {t.nodes[i].op.name: n for i, n in cost.flops(t).items()}
    assert by_op["linear"] == (2 * 4 * 5 * 6, 2 * 2 * 4 * 5 * 6)
    assert by_op["tanh"][0] == 24 and by_op["sum"][0] == 24


# ---- where things come from ----

class Net(nn.Module):
    def __init__(self, rng):
        self.layers = [nn.Linear(3, 3, rng=rng), nn.Linear(3, 1, rng=rng)]

    def __call__(self, x):
        for layer in self.layers:
            x = tanh(layer(x))
        return x.sum()


def test_nodes_know_their_module_line_and_name():
    net, x = Net(np.random.default_rng(0)), np.ones((2, 3), np.float32)
    t = record(lambda: net(Tensor(x)))
    made = [n for n in t.nodes if n.op and n.op.name == "linear"]
    assert [n.place.group[-1] for n in made] == ["layers[0]", "layers[1]"]
    assert made[0].place.line.startswith("nn.py:") and "linear(" in made[0].place.text
    tanhs = [n for n in t.nodes if n.op and n.op.name == "tanh"]
    assert all(n.place.line.startswith("test_trace.py:") for n in tanhs)
    assert {"layers[0].weight", "layers[1].bias"} <= {n.label for n in t.nodes}


def test_labels_are_unique_and_every_event_has_a_sentence():
    model, ids, targets = training_step()
    t = record(lambda: model(ids, targets))
    names = [label(n) for n in t.nodes]
    assert len(set(names)) == len(names)
    assert all(sentence(t, e) for e in t.events)
    assert len([e for e in t.events if e.kind == "make"]) == sum(
        n.op is not None and not n.hands_on for n in t.nodes)


def test_ops_with_several_outputs_are_traced():
    x = Tensor(np.arange(6.0), requires_grad=True)
    with trace() as t:
        a, b = x.split(2)
        (a * softmax(b)).sum().backward()
    assert "split_1 = split(x, 2) = a [0, 1, 2], b [3, 4, 5]" in t.text()
    assert "pick" not in t.text()
    assert t.at_level("parts").nodes
    e = next(e for e in t.events if e.kind == "leaf")
    np.testing.assert_array_equal(e.total.cells[0], x.grad)


@pytest.mark.parametrize("name", [op.name for op in OPS.values() if op.name != "pick"])
def test_every_op_can_be_recorded_taken_apart_and_drawn(name):
    """Also where formulas cannot be read, several outputs come, or an input is optional."""
    subject, rng = Subject(OPS[name], "reference"), np.random.default_rng(0)
    arrays, params, *_ = make_case(subject, SizedDraw(rng, 3), 0)
    inputs = [Tensor(x, requires_grad=subject.domain_of(i) != "constant")
              if isinstance(x, np.ndarray) and x.dtype.kind == "f" else x
              for i, x in enumerate(arrays)]
    with np.errstate(all="ignore"), trace() as t:
        out = OPS[name](*inputs, **params)
        loss = sum([sum_(x) for x in out][1:], sum_(out[0])) if type(out) is tuple else sum_(out)
        loss.backward()
    parts = t.at_level("parts")
    for x in inputs:
        if isinstance(x, Tensor) and x.grad is not None:
            norm = pytest.approx(np.sqrt((x.grad**2).sum()), rel=1e-14)   # summed in another order
            assert any(e.kind == "leaf" and e.total.norm == norm for e in t.events)
    assert name in t.text() and "backward starts" in parts.text()
    assert html_page.compare(t, parts)["leaves"] and json.dumps(
        html_page.described(t, html_page.Arrays(), name))


def test_a_second_backward_shows_the_gradient_that_was_there():
    (x,) = scalars(3.0)
    with trace() as t:
        (x * x).backward()
        (x * x).backward()
    last = t.events[-1]
    assert (value(last.before), value(last.g), value(last.total)) == (6.0, 6.0, 12.0)
    assert "held a gradient already" in t.text()


def test_undone_broadcasting_is_said():
    x, b = Tensor(np.ones((3, 2)), requires_grad=True), Tensor(np.ones(2), requires_grad=True)
    with trace() as t:
        (x + b).sum().backward()
    sent = next(e for e in t.events if e.kind == "send" and t.nodes[e.to].label == "b")
    assert sent.raw.shape == (3, 2) and sent.sent.shape == (2,)


def test_grouped_attention_and_key_lengths_are_traced():
    rng = np.random.default_rng(0)
    q, k = (Tensor(rng.standard_normal((1, H, 3, 2)), requires_grad=True) for H in (4, 2))
    t = record(lambda: attention(q, k, k, key_lengths=np.array([2])).sum())
    assert t.at_level("parts").text()


def test_nothing_is_left_behind_after_an_error():
    before = mode.watchers, mode.reader
    with pytest.raises(IndexError), trace():
        scalars()[0].backward()
    assert (mode.watchers, mode.reader) == before


def test_what_was_computed_before_is_an_error_that_says_so():
    (x,) = scalars(1.0)
    y = x * x
    with pytest.raises(ValueError, match="result of mul.*before the trace began"), trace():
        y.backward()
    with pytest.raises(ValueError, match="inside the with block"), trace():
        tanh(y)


# ---- terminal and command ----

def session(*lines, f=doubled, **leaves):
    out = []
    t = record(f, **(leaves or {"a": Tensor(1.0, requires_grad=True)}))
    t.terminal(lines, out.append)
    return out


def test_the_reader_steps_jumps_and_stops():
    out = "\n".join(session("n", "p", "j 5", "b 3", "b", "c", "s", "l", "?", "q", "n"))
    assert out.splitlines()[0] == "[1/8] b = add(a, a) = 2"
    assert "[5/8] c sends 1 to b: 1 + 1 = 2" in out
    assert "breakpoints: 3" in out and "[7/8] b sends 2 to a: 2 + 2 = 4" in out
    assert "gradient 4, (L(x + h) - L(x - h)) / 2h = 4" in out
    assert out.rstrip().endswith("this help")              # nothing after q


@pytest.mark.parametrize("line, answer", [
    ("j 99", "there is no step 99: the steps are 1 to 8"), ("j zz", "no node is called 'zz'"),
    ("x", "'x' is no command"), ("w", "w 1  naive recursion"), ("w 2", "= in place of +="),
    ("p", "there is no step 0"), ("b nan", "breakpoints: nan"), ("b -", "breakpoints: none"),
    ("c", "no breakpoint was met")])
def test_the_reader_answers(line, answer):
    assert any(answer in text for text in session(line))


def test_the_reader_stops_at_the_first_nan():
    def bad(a):
        return (a - a) / (a - a) * a
    with np.errstate(all="ignore"):
        out = session("b nan", "c", f=bad, a=Tensor(1.0, requires_grad=True))
    assert "nan" in out[-3] or "nan" in out[-4]


def command(*args):
    return subprocess.run([sys.executable, "-m", "minigrad.stepper", *args], capture_output=True,
                          text=True, timeout=60)


def test_the_command_runs_a_function_of_a_file(tmp_path):
    path = tmp_path / "expr.py"
    path.write_text("def f(x=3.0, k=2):\n    return x ** float(k)\n", encoding="utf-8")
    done = command(f"{path}:f", "--set", "x=4", "--text", "--html", str(tmp_path / "page.html"))
    assert done.returncode == 0 and "x.grad = 8" in done.stdout
    assert "expr.py:2  return x ** float(k)" in done.stdout
    assert (tmp_path / "page.html").stat().st_size > 10_000


def test_ctrl_c_in_the_terminal_reader_just_ends(monkeypatch, capsys):
    def interrupted():
        raise KeyboardInterrupt
    monkeypatch.setattr("sys.stdin.readline", interrupted)
    main([])
    said = capsys.readouterr()
    assert said.out.endswith("(step) \n") and not said.err
    monkeypatch.setattr("sys.stdin.readline", lambda: "s")
    monkeypatch.setattr("minigrad.stepper.again.slope", lambda *_: interrupted())
    with pytest.raises(SystemExit) as left:
        main([])
    assert left.value.code == 130 and not capsys.readouterr().err
