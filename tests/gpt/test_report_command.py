"""`minigrad report` and `minigrad compare`: exit status, pages, canaries, seeds, sentences."""
import io
import json
import re
from contextlib import redirect_stdout

import numpy as np
import pytest

import bpe
from gpt import compare, report
from gpt import train as program
from gpt.data.canaries import COPIES, STRINGS, plant, read_canaries
from gpt.data.corpora import stories
from gpt.settings import ConfigError
from gpt.training.config import Config
from gpt.training.folder import read_manifest
from gpt.verdicts.case import FAILS, NONE, Case, Unfit
from gpt.verdicts.pairs import prefers_the_right, read_pairs
from gpt.verdicts.sections import BRIEF, SECTIONS

SETTINGS = ["--n_layer", "1", "--n_head", "2", "--d_model", "16", "--context_length", "16",
            "--batch_tokens", "256", "--tokenizer", "char", "--plain", "--steps", "40"]
EVIL = "<script>document.title='hacked'</script><img src=x onerror=document.title='hacked'>\n"
QUESTIONS = [question.name for section in SECTIONS for question in section.questions]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two runs that differ in their seed, with canaries, of a hostile text."""
    folder = tmp_path_factory.mktemp("report")
    text = EVIL.encode() * 30 + stories(400).documents[0] + EVIL.encode()
    (folder / "text.txt").write_bytes(text)
    with redirect_stdout(io.StringIO()) as said:
        program.main([str(folder / "text.txt"), *SETTINGS, "--runs", str(folder), "--name", "a<b>",
                      "--seeds", "2", "--canaries"])
    (folder / "said").write_text(said.getvalue())
    return folder / "a<b>", folder / "a<b>-2"


@pytest.fixture(scope="module")
def reported(runs):
    """Ask everything of the first run, and return the exit status."""
    with pytest.raises(SystemExit) as left:
        report.main([str(runs[0]), "--seconds", "60"])
    return left.value.code


def facts_of(page):
    text = page.read_text(encoding="utf-8")
    return json.loads(re.search(r'id="data">(.*?)</script>', text, re.S)[1])


def test_a_verdict_that_fails_is_the_exit_status_and_stands_on_the_page(runs, reported):
    """The text is of few sentences, of which the end is held out: it stood there before."""
    assert reported == 1
    found = facts_of(runs[0] / "report.html")["answers"]
    lines = [line for section in found for line in section["lines"]]
    assert [line["question"] for line in lines] == QUESTIONS
    wrong = [line["question"] for line in lines if line["verdict"] == FAILS]
    assert "the held-out text is new" in wrong
    assert not {*wrong} & {question.name for question in SECTIONS[0].questions}
    named = next(line for line in lines if line["question"] == "the held-out text is new")
    assert "piece" in named["said"] and named["figures"][0]["rows"]


def test_a_training_says_what_it_had_time_to_check_and_keeps_its_status(runs):
    said = (runs[0].parent / "said").read_text()
    told = re.findall(r"checks of the code: (\d+) of (\d+) hold", said)
    assert len(told) == 2 and all(1 <= int(a) == int(b) <= len(BRIEF.questions) for a, b in told)
    found, = facts_of(runs[1] / "report.html")["answers"]
    assert len(found["lines"]) == len(BRIEF.questions)
    assert re.search(r"^2 seeds: \d\.\d{4} bits/byte on average", said, re.MULTILINE)


def test_the_spread_of_seeds_is_told_by_each_of_them(runs, reported):
    first, second = (read_manifest(run) for run in runs)
    assert first["seeds"] == second["seeds"] == [run.name for run in runs]
    assert first["config"]["train"]["seed"] + 1 == second["config"]["train"]["seed"]
    verdicts = {name: (verdict, said) for name, verdict, said in first["verdicts"]}
    assert "2 seeds" in verdicts["other seeds end alike"][1]


def test_planted_strings_stand_in_the_text_as_often_as_they_say(tmp_path):
    documents = [stories(100).documents[0], b"no line break"]
    planted = plant(documents, tmp_path)
    strings, letters = read_canaries(tmp_path)
    text = b"\n".join(planted).decode()
    assert {*strings} == {*COPIES} and all(len(some) == STRINGS for some in strings.values())
    for n, some in strings.items():
        assert [text.count(f"{line}\n") for line in some] == [n] * STRINGS
    assert len(text) - len(b"\n".join(documents)) == sum(13 * n * STRINGS for n in COPIES)
    assert {*letters} <= {*"abcdefghijklmnopqrstuvwxyz"}
    assert planted == plant(documents, tmp_path)


def test_the_more_often_a_string_stood_there_the_more_it_is_exposed(runs, reported):
    found = facts_of(runs[0] / "report.html")["answers"]
    line = next(line for section in found for line in section["lines"]
                if line["question"] == "what stood there a few times is forgotten")
    means = [row[1] for row in line["figures"][0]["rows"]]
    assert len(means) == 4 and means[3] > means[0] + 2


def test_runs_are_held_side_by_side(runs, reported, capsys, tmp_path):
    page = tmp_path / "compare.html"
    compare.main([*map(str, runs), "--page", str(page), "--seconds", "5"])
    said = capsys.readouterr().out
    assert re.search(r"seed +0 +1", said) and "about these two runs" in said
    assert re.search(r"a<b> is 0\.\d+ ± 0\.\d+ bits/byte (low|high)er than a<b>-2", said)
    found = facts_of(page)
    assert found["settings"] == [["", "a<b>", "a<b>-2"], ["seed", "0", "1"]]
    assert len(found["verdicts"]) == len(QUESTIONS)
    points = found["curves"][0]["loss"]
    assert len(points) == 40 and points[-1][0] == 40
    assert all(a[2] < b[2] and a[1] < b[1] for a, b in zip(points, points[1:]))


class Certain:
    """A net that finds small letters likely and capitals not."""

    def __init__(self):
        self.config = type("Config", (), {"context_length": 64})
        likely = [1.0 if 97 <= i <= 122 else 0.0 for i in range(256)]
        self.head = type("Head", (), {"data": np.array(likely, np.float32)[:, None]})

    def stream(self, batch, state=None, rng=None):
        shape = *batch.ids.shape, 1
        return type("Stream", (), {"data": np.ones(shape, np.float32)})


def test_pairs_are_told_by_what_they_test(tmp_path):
    path = tmp_path / "pairs.jsonl"
    rows = [("agreement", "he walks", "he WALKS")] * 3 + [("order", "A B", "a b")]
    path.write_text("".join(json.dumps({"sentence_good": good, "sentence_bad": bad, "UID": name})
                            + "\n" for name, good, bad in rows))
    case = Case(Certain(), bpe.Tokenizer([]), Config(), pairs=read_pairs(str(path)))
    line = prefers_the_right(case, 1)
    assert "75.0% of 4 pairs" in line.said
    assert [row[:2] for row in line.figures[0].rows] == [("agreement", 100), ("order", 0)]
    with pytest.raises(Unfit, match="no pairs"):
        prefers_the_right(Case(None, None, Config()), 1)


@pytest.mark.parametrize("text", ["", "{}", "[1]", "x", '{"sentence_good": 1, "sentence_bad": ""}'])
def test_a_file_of_no_pairs_is_refused_in_a_sentence(tmp_path, text):
    path = tmp_path / "pairs.jsonl"
    path.write_text(text)
    with pytest.raises(ConfigError, match="pair"):
        read_pairs(str(path))


@pytest.mark.thorough
def test_other_tasks_are_asked_what_makes_sense_for_them(tmp_path, capsys):
    (tmp_path / "a.tsv").write_text("".join(f"{n}\t{n}{n}\n" for n in range(100, 300)))
    program.main([str(tmp_path / "a.tsv"), "--task", "seq2seq", *SETTINGS[:-1], "8", "--runs",
                  str(tmp_path), "--name", "pairs"])
    capsys.readouterr()
    report.main([str(tmp_path / "pairs"), "--seconds", "1"])
    found = [line for section in facts_of(tmp_path / "pairs" / "report.html")["answers"]
             for line in section["lines"]]
    verdicts = {line["question"]: line["verdict"] for line in found}
    assert verdicts["read token by token it says the same"] == "ok"
    assert verdicts["better than counting five bytes in a row"] == NONE
    assert "seq2seq" in next(line["said"] for line in found if line["verdict"] == NONE)


@pytest.mark.extra("playwright")
@pytest.mark.parametrize("width, scheme", [(1280, "light"), (800, "dark"), (390, "dark")])
def test_the_pages_work_in_a_browser(runs, reported, browser, width, scheme, tmp_path):
    compare.main([*map(str, runs), "--page", str(tmp_path / "compare.html"), "--seconds", "5"])
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    wrong, asked = [], []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda m: wrong.append(m.text) if m.type == "error" else 0)
    page.on("request", lambda request: asked.append(request.url))
    for path, title in ((runs[0] / "report.html", "training report"),
                        (tmp_path / "compare.html", "runs side by side")):
        asked.clear()
        page.goto(path.as_uri())
        assert page.title() == title and not wrong and len(asked) == 1
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        drawn = page.locator("figure.drawn, .chart").count()
        tables = page.locator("figure.drawn > .scroll, .numbers-of").count()
        assert 0 < drawn <= tables                   # each figure has its numbers as a table
        assert page.locator("script, style").count() == 3 and page.locator("img").count() == 0
    page.close()


@pytest.mark.extra("playwright")
def test_the_page_is_used_by_keyboard(runs, reported, browser):
    page = browser.new_page(viewport={"width": 390, "height": 900})
    page.goto((runs[0] / "report.html").as_uri())
    page.locator(".numbers-of summary").first.focus()
    page.keyboard.press("Enter")
    rows = page.locator(".numbers-of table").first.locator("tr")
    rows.nth(1).wait_for()                           # browsers tell a moment later that it opened
    assert rows.first.is_visible()
    page.locator(".chart svg").first.focus()
    page.keyboard.press("ArrowRight")
    assert "step 1" in page.locator(".chart .tip").first.inner_text()
    page.locator("#maps figure").first.focus()
    page.keyboard.press("Enter")
    assert page.locator("#maps figure.on").count() == 1
    page.locator("#passage").focus()
    page.keyboard.press("ArrowRight")
    assert "bits" in page.locator("#passage-tip").inner_text()
    assert page.locator("#passage span.from").count() == 1
    page.close()
