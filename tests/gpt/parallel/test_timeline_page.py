"""The page of a step draws what ranks did, simulated or real, and says it beside the formulas."""
import re
from html.parser import HTMLParser

import pytest

from gpt.__main__ import main
from gpt.show.timeline_page import Line, Told, covered_s, shares, timeline_page

FAST = "--flops", "1e12"


def simulate(capsys, *words):
    main(["simulate", *words, *FAST])
    return capsys.readouterr().out


def bars(page):
    """Return (class, left, width) of all bars, in percent."""
    found = re.findall(r"<rect x='([\d.]+)%' y='\d+' width='([\d.]+)%' height='\d+' rx='2' "
                       r"class='(\w+)'", page)
    return [(kind, float(left), float(width)) for left, width, kind in found]


def test_bars_lie_where_the_events_were_on_any_clock():
    events = [("compute", "forward 0", 101.0, 102.0), ("wait", "B0", 102.0, 103.0),
              ("compute", "input gradient 0", 103.0, 105.0), ("communicate", "sum", 104.0, 105.0)]
    page = timeline_page([Line("rank 0", events, 5)], [])
    assert bars(page) == [("forward", 0, 25), ("wait", 25, 25), ("input", 50, 50),
                          ("communicate", 75, 25)]
    assert shares(Line("rank 0", events, 5e6), 101.0, 4.0) == [
        "rank 0", "75.0%", "25.0%", "25.0%", "5 MB"]


def test_what_overlaps_is_counted_once():
    assert covered_s([(0, 2), (1, 3), (5, 6)]) == 4 and covered_s([]) == 0


def test_names_are_text_and_never_markup():
    events = [("compute", "<b>&'", 0.0, 1.0)]
    page = timeline_page([Line("<i>'\"", events, 0)], ["<u>"], [Told("<s>", "<p>")])
    assert not {"b", "i", "u", "s"} & {*tags(page)} and "script" not in tags(page)


def tags(page):
    found, parser = [], HTMLParser()
    parser.handle_starttag = lambda tag, attributes: found.append(tag)
    parser.feed(page)
    return found


def test_a_simulated_step_fits_a_screen_and_is_the_same_each_time(capsys, tmp_path):
    page = tmp_path / "page.html"
    words = ("gpt2", "--data", "2", "--stages", "4", "--pipeline", "zero_bubble",
             "--micro_batches", "8", "--html", str(page))
    out = simulate(capsys, *words)
    first = page.read_text(encoding="utf-8")
    assert len(out.splitlines()) < 24 and max(map(len, out.splitlines())) <= 100
    assert re.search(r"bubble +1[12]\.\d% +11\.1% without", out)
    assert simulate(capsys, *words) == out and page.read_text(encoding="utf-8") == first
    passes = [kind for kind, *_ in bars(first) if kind in ("forward", "input", "weight")]
    assert len(passes) == 4 * 8 * 3                               # a copy of two that are alike
    assert "rank 0, 1 alike" in first and "1.73 GB" in first


def test_a_thousand_ranks_are_a_row_of_each_kind(capsys, tmp_path):
    page = tmp_path / "page.html"
    out = simulate(capsys, "--ranks", "1024", "--network", "100Gbit/s,5us", "--straggler", "3:1.5",
                   "--mtbf", "1e4", "--html", str(page), "--sweep")
    assert "rank 0, 1,022 alike" in page.read_text(encoding="utf-8")
    assert "991 MB" in out and "best every 5 min 23 s" in out
    assert re.search(r"\n 4,096 +\d", out) and out.count("\n") < 32


@pytest.mark.parametrize("words, said", [
    (("--parameters", "7.5e9", "--ranks", "64", "--zero", "3", "--mixed"), "1.88 GB weights"),
    (("--parameters", "7.5e9", "--ranks", "64", "--zero", "2", "--mixed"), "16.6 GB weights"),
    (("--parameters", "7.5e9", "--ranks", "64", "--zero", "1", "--mixed"), "31.4 GB weights"),
    (("--parameters", "7.5e9", "--ranks", "64", "--mixed"), "120 GB weights")])
def test_the_memory_of_the_published_example_is_said(capsys, words, said):
    assert said in simulate(capsys, *words)
