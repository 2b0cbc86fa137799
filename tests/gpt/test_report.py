"""The report: one file, nothing from outside, and it works in a browser."""
import base64
import json
import re

import numpy as np
import pytest

from gpt import train as program
from gpt.batch import Batch
from gpt.data.corpora import stories
from gpt.opening import open_model
from gpt.show.report import as_script, attention_maps, passage, token_map, write_report
from gpt.training.measures import token_surprise

SETTINGS = ["--n_layer", "2", "--n_head", "2", "--d_model", "16", "--context_length", "16",
            "--batch_tokens", "64", "--tokenizer", "char", "--plain", "--steps", "12"]
EVIL = "<script>document.title='hacked'</script><img src=x onerror=document.title='hacked'>\n"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    (folder / "text.txt").write_bytes(stories(40).documents[0] + EVIL.encode() * 30)
    program.main([str(folder / "text.txt"), *SETTINGS, "--runs", str(folder), "--name", "run"])
    return folder / "run"


def facts_of(run):
    page = (run / "report.html").read_text(encoding="utf-8")
    return json.loads(re.search(r'id="data">(.*?)</script>', page, re.S)[1])


def test_the_page_holds_the_run(run):
    facts = facts_of(run)
    assert len(facts["curves"]["loss"]) == 12 and len(facts["samples"]) == 12
    assert facts["manifest"]["result"]["bits_per_byte"] > 0
    assert len(facts["attention"]) == 4 and len(facts["passage"]) == 17
    steps, seconds = zip(*facts["times"])
    assert steps == (*range(1, 13),) and 0 < seconds[0] and sorted(seconds) == [*seconds]
    assert max(map(len, json.dumps(facts["manifest"]).split())) < 200       # no wall of digits


@pytest.mark.parametrize("text", ["</script>", "<!--", "\u2028", "<ScRiPt>", "]]>", "\\u003c"])
def test_no_text_leaves_its_place_and_all_survive(text):
    assert "<" not in as_script({"x": text}) and json.loads(as_script({"x": text})) == {"x": text}


def test_attention_rows_are_distributions_over_the_past(run):
    model, data = open_model(run).model, open_model(run).data()
    maps = attention_maps(model, Batch(np.asarray(data.val[None, :16], np.int64)))
    assert len(maps) == 4
    for found in maps:
        levels = np.frombuffer(base64.b64decode(found["map"]), np.uint8)
        p = (levels.reshape(16, 16) / 255.0) ** 2
        assert (np.triu(p, 1) == 0).all() and np.abs(p.sum(axis=1) - 1).max() < 0.08


def test_surprise_and_tokens_are_those_of_the_model(run):
    model, data = open_model(run).model, open_model(run).data()
    ids = np.asarray(data.val[:9], np.int64)
    found = passage(data, ids, token_surprise(model, ids))
    assert "".join(token["text"] for token in found) == data.tokenizer.decode(data.val[:9])
    assert found[0]["bits"] is None and all(token["bits"] >= 0 for token in found[1:])
    places = token_map(model, data)
    assert max(abs(token["x"]) for token in places) <= 1 and places[0]["count"] > 0


@pytest.mark.extra("playwright")
@pytest.mark.parametrize("width", [1100, 390])
def test_the_page_works_in_a_browser(run, browser, width):
    page = browser.new_page(viewport={"width": width, "height": 900})
    wrong, asked = [], []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else 0)
    page.on("request", lambda request: asked.append(request.url))
    page.goto((run / "report.html").as_uri())
    assert page.title() == "training report" and not wrong and len(asked) == 1
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator(".chart svg path").count() == 6
    assert page.locator("#maps canvas").count() == 4
    chart = page.locator(".chart").first
    chart.locator("svg").hover()
    assert "step" in chart.locator(".tip").inner_text()
    assert chart.locator(".key").all_inner_texts() == ["training", "validation"]
    words = chart.locator("svg text").all_text_contents()
    assert "step" in words and "time" in words and any(word.endswith(" s") for word in words)
    before = page.locator("#sample-step").inner_text()
    page.locator("#when").fill("0")
    assert page.locator("#sample-step").inner_text() != before
    page.locator("#maps figure").first.click()
    page.locator("#passage span").nth(5).hover()
    assert "bits" in page.locator("#passage-tip").inner_text()
    assert page.locator("#passage span.from").count() == 1
    page.close()


def test_a_report_can_be_written_again(run):
    before = facts_of(run)
    write_report(run)
    assert facts_of(run) == before | {"answers": []}   # which nobody asked again
