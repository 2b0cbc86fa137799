"""What is read of dumps, crawls and files, what is dropped of it, what is the same."""
import bz2
import gzip
import os
import random
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_up_texts import dump, prose

from gpt.data.cleaning.duplicates import (
    band_keys, exact_line_deduplication, jaccard, minhash_deduplication, minhashes)
from gpt.data.cleaning.htmltext import strip_html
from gpt.data.cleaning.losses import Loss
from gpt.data.cleaning.look import Look
from gpt.data.cleaning.quality import (
    c4_lines, c4_page, contaminated, fineweb_lines, gopher_quality, gopher_quality_filter,
    gopher_repetition, held_out_keys, menu, repeated_n_grams)
from gpt.data.cleaning.repair import (
    identify_language, mask_emails, mask_ips, mask_phone_numbers, mask_pii, repair_unicode)
from gpt.data.cleaning.sources import Document, Unit, can_be_parted, read_unit
from gpt.data.cleaning.wikitext import strip_wikitext
from gpt.data.reading import END_OF_TEXT

ROOT = Path(__file__).parent.parent.parent


# ---- wikitext ----

@pytest.mark.parametrize("wikitext, text", [
    ("'''A''' {{x|{{y}}}} is [[b]].", "A is b."),
    ("a [[b|c]] [[File:x.jpg|thumb|A [[dog]] runs]] [[:d]]", "a c d"),
    ("a<ref name=\"x\">{{cite|[[z]]}}</ref> b<ref name=y/> c", "a b c"),
    ("a<!-- {{ -->b [http://x.org the site] [http://y.org]", "ab the site"),
    ("{| class=x\n| a\n{| inner\n|}\n|}\nb", "b"),
    ("== A ==\n\n=== B ===\ntext\n\n== See also ==\n", "A\n\nB\n\ntext"),
    ("* one\n# two\n: three", "one\ntwo\nthree"),
    ("a {{ never closed [[b]]", "a never closed b"),
    ("}} ]] a [[de:Haus]] [[Category:C]]", "a"),
    ("x ({{lang|y}}; ) &amp; z&nbsp;w", "x & z w"),
    ("<math>a {{b</math> c <gallery>d</gallery>", "c")])
def test_wikitext_is_stripped(wikitext, text):
    assert strip_wikitext(wikitext) == text


MARKS = "{{ }} [[ ]] {| |} <ref> </ref> <ref/> a | == <!-- --> &lt;".split()


@given(st.lists(st.sampled_from([*MARKS, "\n"]), max_size=30))
def test_any_wikitext_has_a_text_without_marks_that_nest(parts):
    text = strip_wikitext("".join(parts))
    assert not any(mark in text for mark in ("{{", "[[", "<ref"))


def test_deep_nesting_takes_time_in_proportion_to_its_length():
    began = time.process_time()
    for text in ("{{a|[[b" * 10_000, "{{" * 10_000 + "x" + "]]" * 10_000):
        strip_wikitext(text)                          # once for a minute
    assert time.process_time() - began < 5


# ---- dumps ----

TEXTS = [f"The text of page {i}. " * (1 + i % 7) for i in range(40)] + ["", "#REDIRECT [[T1]]"]


def read(path, step=None):
    size = path.stat().st_size
    firsts = range(0, size, step or size)
    units = [Unit(str(path), first, min(first + (step or size), size)) for first in firsts]
    return [each for unit in units for each in read_unit(unit)]


@pytest.mark.parametrize("step", [None, 37, 1000])
@pytest.mark.parametrize("pack", ["plain", "one stream", "many streams"])
def test_a_page_is_read_once_wherever_a_dump_is_parted(tmp_path, step, pack):
    data, path = dump(TEXTS), tmp_path / "x.xml.bz2"
    if pack == "plain":
        path = tmp_path / "x.xml"
        path.write_bytes(data)
    else:
        size = len(data) if pack == "one stream" else 500
        parts = [bz2.compress(data[i:i + size]) for i in range(0, len(data), size)]
        path.write_bytes(b"".join(parts))
    found, left_out = read(path, step)[:40], read(path, step)[40:]
    assert [each.place for each in found] == [f"T{i}" for i in range(40)]
    assert [each.text for each in found] == [text.strip() for text in TEXTS[:40]]
    assert [each.reason for each in left_out] == ["a page of another namespace", "a redirect"]


@pytest.mark.parametrize("name", ["x.xml", "x.xml.bz2", "w-articles1.xml-p10p3030",
                                  "W-Articles1.xml-p10p3030-short.BZ2"])
def test_a_dump_is_known_by_its_name(tmp_path, name):
    data, path = dump(TEXTS), tmp_path / name
    path.write_bytes(bz2.compress(data) if name.lower().endswith("bz2") else data)
    assert can_be_parted(path)
    assert sum(isinstance(each, Document) for each in read(path)) == 40


def test_a_damaged_stream_costs_its_pages_and_is_named(tmp_path):
    data, path = dump(TEXTS), tmp_path / "x.xml.bz2"
    parts = [bytearray(bz2.compress(data[i:i + 900])) for i in range(0, len(data), 900)]
    parts[2][30] ^= 255
    path.write_bytes(b"".join(parts))
    for step in (None, 100):
        found = read(path, step)
        losses = [each for each in found if isinstance(each, Loss)]
        assert [each.place for each in losses] == [
            f"the stream at byte {len(parts[0] + parts[1])}"]
        assert 30 < sum(isinstance(each, Document) for each in found) < 40


# ---- other sources ----

PAGE = ("<html><head><title>x</title></head><body><nav>Home</nav><p>One &amp; <b>two</b>\nthree."
        "</p><ul><li>four<li>five</ul><script>if (a < b) {}</script></body></html>")


def warc(*records):
    text = b""
    for kind, body in records:
        text += (f"WARC/1.0\r\nWARC-Type: {kind}\r\nWARC-Target-URI: http://x.org\r\n"
                 f"Content-Length: {len(body)}\r\n\r\n").encode() + body + b"\r\n\r\n"
    return text


def test_pages_are_stripped():
    assert strip_html(PAGE) == "One & two three.\n\nfour\nfive"
    assert strip_html("<form>a<div>b</form>c") == "c" and strip_html("</nav>a < b") == "a < b"


def test_a_crawl_is_read_with_its_addresses_and_up_to_what_is_damaged(tmp_path):
    http = b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=latin-1\r\n\r\n<p>\xe9"
    image = b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\n\r\n..."
    records = warc(("warcinfo", b""), ("response", http), ("response", image),
                   ("conversion", b"plain"))
    path = tmp_path / "x.warc.gz"
    path.write_bytes(gzip.compress(records) + b"damaged")
    *found, loss = read(path)
    assert [each[:3] for each in found] == [("é", "x.warc.gz", "http://x.org"),
                                            ("plain", "x.warc.gz", "http://x.org")]
    assert isinstance(loss, Loss)


def test_lines_columns_and_files_are_read(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "one", "id": 7}\nno\n\n{"other": 1}\n')
    (tmp_path / "b.csv").write_text('text,url\n"two\nlines",http://y\n')
    (tmp_path / "c.txt").write_text(f"three{END_OF_TEXT}four")
    (tmp_path / "d.txt").write_bytes(b"\xff\xfe")
    (tmp_path / "e.csv").write_text("a,b\n1,2\n")
    found = [each for path in sorted(tmp_path.iterdir()) for each in read(path)]
    assert [each.text for each in found if not isinstance(each, Loss)] == [
        "one", "two\nlines", "three", "four"]
    assert [each.source for each in found if isinstance(each, Loss)] == [
        "a.jsonl", "a.jsonl", "d.txt", "e.csv"]


# ---- characters, addresses, languages ----

def test_a_line_that_is_too_long_is_one_loss(tmp_path, monkeypatch):
    monkeypatch.setattr("gpt.data.cleaning.sources.MOST_BYTES", 40)
    rows = ['{"text": "one"}', '{"text": "' + "x" * 300 + '"}', '{"text": "two"}']
    (tmp_path / "a.jsonl").write_text("\n".join(rows))
    one, lost, two = read(tmp_path / "a.jsonl")
    assert (one.text, two.text) == ("one", "two") and lost.place == "line 2"
    assert "longer than 40 bytes" in lost.reason


@pytest.mark.parametrize("broken, text", [
    ("cafÃ© â€œxâ€\x9d", "café “x”"), ("e\u0301\r\n\ufeff\x07", "é\n"),
    ("Ã la carte", "Ã la carte"),
    ("naïve — façade", "naïve — façade"), ("\ud800a", "a")])
def test_characters_are_mended(broken, text):
    assert repair_unicode(broken) == text


@pytest.mark.parametrize("mask, name, found, left", [
    (mask_emails, "EMAIL_ADDRESS", ["a.b+c@mail.example.co.uk", "x_y@z.org"], ["@home", "a@b"]),
    (mask_phone_numbers, "PHONE_NUMBER",
     ["2831823829", "(283)-182-3829", "(283) 182 3829", "283-182-3829", "+1 283.182.3829"],
     ["ISBN 2831823829", "12345678901234", "0745333427", "1990-2001"]),
    (mask_ips, "IP_ADDRESS", ["192.0.2.146", "255.255.255.255"],
     ["256.1.1.1", "1.2.3", "1.2.3.4.5"])])
def test_what_identifies_people_is_masked_and_counted(mask, name, found, left):
    text = " and ".join(found)
    assert mask(text) == (" and ".join([f"|||{name}|||"] * len(found)), len(found))
    for other in left:
        assert mask(other) == (other, 0)


def test_all_kinds_are_masked_at_once():
    text, counts = mask_pii("to a@b.org from 10.0.0.1 or 283-182-3829")
    assert text == "to |||EMAIL_ADDRESS||| from |||IP_ADDRESS||| or |||PHONE_NUMBER|||"
    assert counts == {"e-mail addresses": 1, "IP addresses": 1, "phone numbers": 1}


@pytest.mark.extra("py3langid")
def test_languages_are_told():
    for text, language in (("This is a sentence in English.", "en"), ("这是一个中文句子。", "zh"),
                           ("Das ist ein deutscher Satz.", "de")):
        found, p = identify_language(text)
        assert found == language and 0.5 < p <= 1


# ---- quality ----

@pytest.mark.parametrize("text, reason", [
    ("too short", "fewer than 50"), (" ".join(["the be"] * 60), "less than 3"),
    (prose() + "#" * 20, "#"), ("\n".join("- " + x for x in prose().split("\n")), "bullet"),
    ("\n".join(x + "..." for x in prose().split("\n")), "ellipsis"),
    (prose() + " 1234" * 90, "have a letter"), ("house river garden " * 40, "stop words"),
    (prose(), "")])
def test_gopher_tells_what_is_no_prose(text, reason):
    assert reason in gopher_quality(text) and bool(gopher_quality(text)) == bool(reason)
    assert gopher_quality_filter(text) == (not reason)


def places(*kinds):
    return "".join(f"\nAa {x}, {kind}" for kind in kinds for x in "abcd")


@pytest.mark.parametrize("text, reason", [
    (prose() + "\n" + "\n".join([prose(15)] * 8), "repeated lines"), (prose(), ""), ("", ""),
    (prose(600, line=600) + " to be" * 99, "one sequence of"),
    ((prose(40, line=40)[:-1] + " ") * 5 + prose(40, 1, 40), "sequences of 5"),
    (prose(100) + places("a river in North Brabant", "one hill of South Devon", "former names for "
                         "what lies in Latvia"), "")])
def test_gopher_tells_what_repeats_itself(text, reason):
    assert reason in gopher_repetition(text) and bool(gopher_repetition(text)) == bool(reason)


@given(st.lists(st.sampled_from("a b c dd".split()), max_size=60))
def test_repeated_sequences_are_what_a_plain_count_finds(words):
    """The reason, by definition, one n at a time."""
    text = " ".join(words)

    def plainly():
        for n in range(2, 11):
            grams = [tuple(words[i:i + n]) for i in range(len(words) - n + 1)]
            if n < 5 and grams:
                top = max(set(grams), key=lambda g: (grams.count(g), -grams.index(g)))
                k = grams.count(top)
                if k > 1 and k * len("".join(top)) > {2: .2, 3: .18, 4: .16}[n] * len(text):
                    return f"one sequence of {n} "
            inside = {j for i, g in enumerate(grams) if g in grams[:i] for j in range(i, i + n)}
            if n >= 5 and sum(len(words[j]) for j in inside) > (0.2 - n / 100) * len(text):
                return f"sequences of {n} "
        return ""
    found = repeated_n_grams(Look(text), len(text), few=0)
    assert plainly() in found and ("sequence" in found) == bool(plainly())


def test_lines_of_c4_and_fineweb_and_menus():
    page = prose() + "\nHome\nThis site needs javascript to be shown at all.\n"
    assert c4_lines(page) == prose() and not c4_page(prose())
    assert c4_page("a {b} c. d. e.") == "a curly bracket" and "lorem" in c4_page("Lorem ipsum")
    assert "12 %" in fineweb_lines("\n".join(f"item {i}" for i in range(30)))
    assert "30 characters" in fineweb_lines("\n".join(f"I do {i}." for i in range(30)))
    assert menu("\n".join(f"item {i}" for i in range(30))) and not menu(prose())


def test_what_is_held_out_is_found_by_thirteen_words():
    keys = held_out_keys([prose(60, 1)])
    inside = prose(60, 2) + " " + " ".join(prose(60, 1).split()[20:33])
    assert contaminated(inside, keys) and not contaminated(prose(60, 2), keys)
    assert not contaminated("", keys) and not contaminated(prose(), held_out_keys([]))


# ---- duplicates ----

def changed(words, share, rng):
    return [f"new{rng.random()}" if rng.random() < share else word for word in words]


def test_near_duplicates_meet_and_others_do_not():
    rng, found = random.Random(0), []
    for share in (0.03, 0.3):
        for _ in range(40):
            words = [f"w{n}" for n in rng.choices(range(5000), k=200)]
            pair = [" ".join(words), " ".join(changed(words, share, rng))]
            a, b = (band_keys(minhashes(text)) for text in pair)
            found.append((share, (a == b).any(), jaccard(*(Look(x).n_grams(5) for x in pair))))
    near, far = ([row for row in found if row[0] == share] for share in (0.03, 0.3))
    assert 0.68 < np.mean([s for *_, s in near]) < 0.8
    assert sum(meet for _, meet, _ in near) >= 38 and sum(meet for _, meet, _ in far) <= 1


def test_minhashes_agree_as_often_as_sets_have_in_common():
    a, b = "a b c d e f g h i j", "a b c d e f g h x y"
    same = (minhashes(a, 2000, 2) == minhashes(b, 2000, 2)).mean()
    assert same == pytest.approx(jaccard(Look(a).n_grams(2), Look(b).n_grams(2)), abs=0.04)


def test_duplicates_of_files_by_the_names_of_a_course(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    texts = {"a": "one\ntwo\n", "b": "two\nthree\n", "c": prose(), "d": prose() + " More."}
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    exact_line_deduplication([tmp_path / name for name in "ab"], out)
    assert [(out / name).read_text() for name in "ab"] == ["one\n", "three\n"]
    minhash_deduplication([tmp_path / name for name in "cd"], 100, 20, 5, 0.8, out)
    assert (out / "c").exists() and not (out / "d").exists()


# ---- a real dump ----

SLICE = [*Path(os.environ.get("MINIGRAD_DATA", "/nowhere")).glob("wiki/enwiki*shortened.bz2")]


@pytest.mark.thorough
@pytest.mark.skipif(not SLICE, reason="MINIGRAD_DATA has no folder wiki with the slice of gensim")
def test_a_real_dump_is_read_and_none_of_its_articles_is_taken_for_a_menu(tmp_path):
    path = tmp_path / "slice.xml.bz2"
    path.write_bytes(SLICE[0].read_bytes())
    found = [each for each in read(path) if isinstance(each, Document)]
    assert len(found) == 106 and len(read(path)) == 206
    lines = [line for each in found for line in each.text.split("\n") if line]
    dirty = [line for line in lines if any(mark in line for mark in ("{{", "[[", "<ref"))]
    assert len(dirty) < 0.001 * len(lines)
    assert not [each.place for each in found if gopher_quality(each.text) or menu(each.text)]
    assert [each.place for each in found if gopher_repetition(each.text)] == ["Aa River"]
