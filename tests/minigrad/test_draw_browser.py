"""In a browser the page answers every control, and its numbers are the engine's."""
import re

import pytest
from expressions import contents

from minigrad.stepper.cost import of_modules
from minigrad.stepper.variants import VARIANTS

pytestmark = pytest.mark.extra("playwright")


@pytest.fixture(scope="module")
def window(browser):
    with browser.new_context(accept_downloads=True) as context:
        yield context


@pytest.fixture
def visit(browser, window, pages):
    """Open a page, and fail if it reports an error or asks for anything but itself."""
    troubles, opened = [], []

    def go(name, **options):
        tab = browser.new_page(**options) if options else window.new_page()
        opened.append(tab)
        tab.on("pageerror", lambda error: troubles.append(str(error)))
        tab.on("console", lambda m: troubles.append(m.text) if m.type == "error" else None)
        tab.on("request", lambda r: None if r.url.startswith(("file:", "blob:"))
               else troubles.append(r.url))
        tab.goto((pages[0] / f"{name}.html").as_uri())
        tab.wait_for_selector("#panel h2")
        return tab
    yield go
    for tab in opened:
        tab.close()
    assert troubles == []


def says(tab):
    return tab.inner_text("#says")


def test_every_step_shows_the_engines_numbers(visit, pages):
    tab, t = visit("neuron"), pages[1]["neuron"]
    for i, e in enumerate(t.events):
        assert says(tab).startswith(f"{i + 1}. ")
        if e.kind == "send":
            shown = [float(x) for x in tab.locator("#panel b.value").all_inner_texts()]
            before = [] if e.before is None else [e.before]
            assert shown == [x.cells[0, 0] for x in (e.g, e.sent, *before, e.total)]
            assert e.with_numbers in tab.inner_text("#panel")
        tab.keyboard.press("n")


def test_the_controls_move(visit):
    tab = visit("neuron")
    n = int(tab.inner_text("#count"))
    def at():
        return int(tab.input_value("#jump"))
    for press, where in (("#last", n), ("#back", n - 1), ("#first", 1), ("#next", 2)):
        tab.click(press)
        assert at() == where
    for key, where in (("End", n), ("p", n - 1), ("ArrowLeft", n - 2), ("Home", 1), ("n", 2),
                       ("ArrowRight", 3)):
        tab.keyboard.press(key)
        assert at() == where
    tab.fill("#jump", "5")
    tab.press("#jump", "Enter")
    assert at() == 5
    tab.locator("#slider").fill("7")
    assert at() == 7
    tab.clock.install()                                    # time passes when the test says so
    tab.select_option("#speed", "250")
    tab.click("#play")
    tab.clock.run_for(500)
    assert at() == 9 and tab.get_attribute("#play", "aria-pressed") == "true"
    tab.click("#play")
    assert tab.get_attribute("#play", "aria-pressed") == "false"
    tab.clock.run_for(1000)
    assert at() == 9


def test_breakpoints_and_search(visit, pages):
    tab, t = visit("neuron"), pages[1]["neuron"]
    tab.fill("#stopvalue", "0.9")
    tab.click("#continue")
    first = next(i for i, e in enumerate(t.events) if i and e.g is not None
                 and max(x.peak for x in (e.g, e.sent, e.total) if x is not None) > 0.9)
    assert int(tab.input_value("#jump")) == first + 1
    tab.keyboard.press("Home")
    tab.select_option("#stop", "name")
    tab.fill("#stopvalue", "tanh")
    tab.press("#stopvalue", "Enter")
    assert "tanh" in says(tab)
    tab.select_option("#stop", "bad")
    tab.click("#continue")
    assert "not met" in says(tab)
    tab.fill("#search", "w2")
    tab.press("#search", "Enter")
    assert "w2" in says(tab)
    assert tab.locator(".box.found").count() == 1


def test_the_mistakes_are_one_click_away(visit):
    tab = visit("neuron")
    tab.click("#example")
    assert "First wrong number" in says(tab)
    for i, final in enumerate((8, 1, 8, 8), 1):
        tab.select_option("#run", str(i))
        assert tab.inner_text("#verdict").startswith("The first wrong number")
        last_row = tab.locator("#panel table").last.locator("td").all_inner_texts()
        assert last_row == ["a", "4", str(final)]
    tab.select_option("#record", "0")
    assert tab.inner_text("#run option:checked", timeout=1000) == "as it should be"


def test_every_view_opens_by_mouse_and_key(visit):
    tab = visit("gpt")
    names = tab.locator("#tabs button").all_inner_texts()
    assert names == "Step List Parts Mistakes Memory Cost Levels Quiz Keys".split()
    for i, name in enumerate(names):
        tab.locator("#tabs button", has_text=name).first.click()
        assert len(tab.inner_text("#panel")) > 20
        tab.keyboard.press("1")
        tab.keyboard.press(str(i + 1))
        assert tab.inner_text("#tabs [aria-selected=true]") == name
    tab.keyboard.press("6")
    for i in range(6):
        tab.locator("#panel th button").nth(i).click()


def test_memory_and_levels_show_the_records_numbers(visit, pages):
    tab = visit("gpt")
    data = contents((pages[0] / "gpt.html").read_text(encoding="utf-8"))
    tab.keyboard.press("5")
    assert f"at step {data['records'][0]['memory']['place'] + 1}." in tab.inner_text("#memory")
    tab.keyboard.press("7")
    rows = {row["node"]: row["boxes"] for level in data["levels"] for row in level["rows"]
            if level["level"] == "parts"}
    assert max(rows.values()) >= 5
    tab.locator("#panel button", has_text="Open parts").click()
    assert "level parts" in tab.inner_text("#record option:checked")
    assert tab.locator("#panel button", has_text="Back to").count() == 1


OVERLAPS = """() => {
  const found = [], boxes = graph.boxes, {WIDTH: width, HEIGHT: height} = data.box;
  const inside = (x, y, b) => Math.abs(x - b.x) < width / 2 - 1
    && Math.abs(y - b.y) < height / 2 - 1;
  boxes.forEach((a, i) => boxes.slice(i + 1).forEach(b => {
    if (Math.abs(a.x - b.x) < width && Math.abs(a.y - b.y) < height) {
      found.push([a.nodes, b.nodes]);
    }
  }));
  for (const {from, to, drawn} of graph.lines) {
    const n = drawn.getTotalLength();
    for (let s = 0; s < n; s += 8) {
      const {x, y} = drawn.getPointAtLength(s);
      for (const b of boxes) {
        if (b === from || b === to) continue;
        if (inside(x, y, b)) found.push([from.nodes, to.nodes, b.nodes]);
      }
    }
  }
  return found;
}"""


def test_no_box_lies_on_another_nor_on_a_line(visit):
    for name in ("neuron", "gpt"):
        tab = visit(name)
        for control in ("#collapse", "#expand"):
            tab.click(control)
            assert tab.evaluate(OVERLAPS) == []
    tab.keyboard.press("7")
    tab.locator("#panel button", has_text="Open parts").click()
    tab.click("#expand")
    assert tab.evaluate(OVERLAPS) == [] and tab.locator(".box").count() > 100


ALL = "record().nodes.flatMap(node => pathsOf(node.group))"
OPEN_ONE = f"""path => {{
  state.collapsed = new Set({ALL});
  for (const outer of pathsOf(path.split(" / "))) state.collapsed.delete(outer);
  layoutChanged();
  render();
}}"""


def test_a_picture_with_some_modules_open_shows_each_node_once_and_close_together(visit):
    tab = visit("gpt")
    tab.evaluate("openRecord(2)")
    tab.click("#expand")
    height, n_nodes = tab.evaluate("graph.height"), tab.evaluate("record().nodes.length")
    modules = tab.evaluate(f"[...new Set({ALL})]")
    assert len(modules) > 10
    for path in modules:
        tab.evaluate(OPEN_ONE, path)
        assert tab.evaluate(OVERLAPS) == []
        shown = tab.evaluate("graph.boxes.flatMap(box => box.nodes)")
        assert sorted(shown) == list(range(n_nodes))
        assert tab.evaluate("graph.height") < height
        left, right = tab.evaluate("""[Math.min(...graph.boxes.map(b => b.x)),
                                       Math.max(...graph.boxes.map(b => b.x)) - graph.width]""")
        assert left == pytest.approx(114) and -600 < right < -113.9


def test_modules_open_and_close(visit):
    tab = visit("gpt")
    collapsed = tab.locator(".box").count()
    tab.locator(".box.module").first.click()
    opened = tab.locator(".box").count()
    assert opened > collapsed
    tab.keyboard.press("3")
    tab.locator("#panel input[type=checkbox]").first.uncheck()
    assert tab.locator(".box").count() == collapsed
    tab.click("#expand")
    tab.locator(".box:not(.module)").last.click()
    tab.locator("#panel button", has_text="Back to the step").click()
    assert tab.locator(".box.selected").count() == 0


def test_heat_maps_tell_their_values(visit, pages):
    tab, t = visit("gpt"), pages[1]["gpt"]
    tab.keyboard.press("End")
    map_ = tab.locator("#panel canvas").first
    map_.hover(position={"x": 2, "y": 2})
    tip = tab.inner_text("#tip")
    cells = t.events[-1].g.cells
    assert float(tip.split("= ")[1]) == pytest.approx(cells[0, 0], rel=1e-4)
    map_.focus()
    tab.keyboard.press("ArrowRight")
    tab.keyboard.press("ArrowRight")
    assert re.search(r"\[0, \d+\] = ", says(tab))


def test_the_quiz_asks_checks_and_keeps_the_score(visit, pages):
    tab, t = visit("neuron"), pages[1]["neuron"]
    tab.keyboard.press("q")
    sends = [e for e in t.events if e.kind == "send"]
    assert "What is the sum" in tab.inner_text("#question")
    tab.fill("#answer", str(sends[0].total.cells[0, 0] * 1.005))
    tab.press("#answer", "Enter")
    assert tab.inner_text("#marked").startswith("Right")
    assert tab.inner_text("#score") == "Score: 1 of 1"
    tab.fill("#answer", "1234")
    tab.click("#check")
    assert tab.inner_text("#marked").startswith("Not quite")
    tab.fill("#answer", "abc")
    tab.click("#check")
    assert tab.inner_text("#marked") == "Type a number."
    tab.click("#skip")
    assert tab.inner_text("#score") == "Score: 1 of 2"
    tab.reload()
    tab.wait_for_selector("#panel h2")
    tab.keyboard.press("8")
    tab.click("#startquiz")
    assert tab.inner_text("#score") == "Score: 1 of 2"
    tab.click("#resetquiz")
    assert tab.inner_text("#score") == "Score: 0 of 0"
    tab.click("#stopquiz")


def test_every_question_of_the_quiz_asks_for_a_gradient(visit):
    tab = visit("gpt")
    asked = tab.evaluate("""() => {
      const found = [];
      startQuiz();
      while (state.quiz.question) {
        found.push([state.quiz.question.text, state.quiz.question.want]);
        ask(state.quiz.question.at);
      }
      return found;
    }""")
    assert len(asked) > 30 and all(isinstance(want, float | int) for _, want in asked)
    assert all("gradient" in text or "What is the sum" in text for text, _ in asked)
    assert {text.split()[0] for text, _ in asked} == {"The", "At", "Element"}
    for text, want in asked:
        if text.startswith("Element"):
            change, = re.findall(r"differs by (\S+)", text)
            assert float(change) / 1.2e-5 == pytest.approx(want, rel=2e-3)
        if text.startswith("The"):
            held, sent = map(float, re.findall(r"(?:holds|sends) (\S+)", text))
            assert held + sent == pytest.approx(want, rel=1e-3, abs=1e-7)


@pytest.mark.parametrize("name", ["doubled", "neuron", "gpt"])
def test_on_a_small_screen_the_numbers_of_a_step_are_seen_at_once(visit, name):
    tab = visit(name, viewport={"width": 390, "height": 800})
    send = tab.evaluate("events().findIndex(e => e.kind === 'send')")
    tab.evaluate(f"go({send})")
    for shown in ("#says", ".box.now", ".box.to", ".flow", "#panel pre", "#panel .array"):
        frame = tab.locator(shown).first.bounding_box()
        assert frame["y"] >= 0 and frame["y"] + min(frame["height"], 60) <= 800, shown
        assert frame["x"] >= 0 and frame["x"] + frame["width"] <= 390
    assert tab.evaluate("document.documentElement.scrollWidth") <= 390


def test_boxes_are_walked_by_arrow_keys_and_say_what_they_hold(visit):
    tab = visit("doubled")
    tab.keyboard.press("End")
    assert tab.locator("#canvas > svg").get_attribute("role") == "group"
    assert tab.locator(".box[tabindex='0']").count() == 1
    tab.locator(".box[tabindex='0']").focus()
    name = "document.activeElement.getAttribute('aria-label')"
    assert tab.evaluate(name) == "a, 1, g 4, acts, has all"
    for key, start in (("ArrowDown", "b · add, 2, g 2"), ("ArrowDown", "c · add, 4, g 1"),
                       ("ArrowRight", "c · add"), ("ArrowUp", "b · add")):
        tab.keyboard.press(key)
        assert tab.evaluate(name).startswith(start)
    tab.keyboard.press("Enter")
    assert "formula" in tab.inner_text("#panel").lower()
    tab.locator("[role=tab][tabindex='0']").focus()
    tab.keyboard.press("ArrowRight")
    assert tab.evaluate("document.activeElement.textContent") == "List"


def test_a_frame_is_saved_as_svg(visit, tmp_path):
    tab = visit("doubled")
    tab.keyboard.press("End")
    with tab.expect_download() as download:
        tab.click("#export")
    path = tmp_path / "frame.svg"
    download.value.save_as(path)
    text = path.read_text(encoding="utf-8")
    assert text.startswith("<svg") and "var(" not in text and "a.grad = 4" in text
    assert download.value.suggested_filename == "step-0008.svg"


CLEAR = """() => {
  const name = picture.flow.getBBox(), found = [];
  for (const {drawn} of graph.lines) {
    if (!drawn.classList.contains("active")) continue;
    for (let s = 0; s < drawn.getTotalLength(); s += 2) {
      const {x, y} = drawn.getPointAtLength(s);
      if (x > name.x && x < name.x + name.width && y > name.y && y < name.y + name.height) {
        found.push([x, y]);
      }
    }
  }
  return found;
}"""


@pytest.mark.parametrize("name", ["doubled", "neuron", "gpt"])
def test_what_is_sent_stands_clear_of_its_line_and_in_sight(visit, name):
    tab = visit(name)
    for control in ("#expand", "#collapse"):
        tab.click(control)
        for at in range(0, tab.evaluate("events().length"), 1 if name != "gpt" else 7):
            tab.evaluate(f"go({at})")
            assert tab.evaluate(CLEAR) == []
            if tab.text_content("#canvas .flow"):
                mark, whole = (tab.locator(x).bounding_box() for x in (".flow", "#graph"))
                assert whole["x"] <= mark["x"]
                assert mark["x"] + mark["width"] <= whole["x"] + whole["width"]


def test_sizes_are_shown_in_boxes_and_as_a_table(visit, pages):
    tab, t = visit("gpt"), pages[1]["gpt"]
    tab.click("#expand")
    tab.keyboard.press("z")
    tab.keyboard.press("3")
    assert tab.locator(".box.now, .box.unmade, .box.done").count() == 0
    rows = [row.split("\t") for row in tab.inner_text("#panel table").split("\n")][1:]
    numbers = [[int(cell.replace(",", "")) for cell in row[2:]] for row in rows]
    assert numbers[0] == list(of_modules(t)[""])
    rows = "[...document.querySelectorAll('#panel tbody tr')]"
    is_node = tab.evaluate(f"{rows}.map(row => row.querySelector('button') !== null)")
    own = [row for row, one in zip(numbers, is_node) if one]
    assert [sum(column) for column in zip(*own)] == numbers[0]
    tab.locator("#panel tbody button").first.click()
    assert "parameters" in tab.inner_text("#panel")
    tab.locator(".box .name", has_text="gelu").first.click()
    assert "FLOP forward" in tab.inner_text("#panel")
    tab.locator("#panel summary").click()
    assert "def gelu" in tab.inner_text("#panel details")
    tab.locator("#panel button", has_text="It sends gradients").click()
    assert "sends" in says(tab) and tab.locator(".box.now").count() == 1


def test_theme_zoom_and_narrow_windows(visit):
    tab = visit("neuron", color_scheme="dark", viewport={"width": 400, "height": 800})
    assert tab.evaluate("document.documentElement.dataset.theme") == "dark"
    assert tab.evaluate("document.documentElement.scrollWidth") <= 400
    tab.click("#theme")
    assert tab.evaluate("document.documentElement.dataset.theme") == "light"
    for control, sign in (("#zoomin", 1), ("#zoomout", -1)):
        before = tab.evaluate("state.zoom")
        tab.click(control)
        assert (tab.evaluate("state.zoom") - before) * sign > 0
    tab.click("#fit")
    for key in "+ - 0 ? b Escape j Escape / Escape c Space Space e".split():
        tab.keyboard.press(key)


def test_a_reader_of_the_screen_hears_every_step(visit, pages):
    tab, t = visit("doubled"), pages[1]["doubled"]
    tab.keyboard.press("2")
    items = tab.locator("#list li button").all_inner_texts()
    assert len(items) == len(t.events)
    assert tab.get_attribute("#list [aria-current]", "aria-current") == "step"
    assert tab.get_attribute("#says", "aria-live") == "polite"
    tab.locator("#list li button").nth(4).click()
    assert says(tab) == "5. c sends 1 to b: 1 + 1 = 2"
    assert len(VARIANTS) == tab.locator("#run option").count() - 1
