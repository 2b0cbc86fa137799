"""The command line and what it shows."""
import html
import io
import re
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from vocabularies import TEXT, texts, tokenizer

import bpe
from bpe import view
from bpe.__main__ import main

OURS = tokenizer()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    OURS.save("tok.json")
    (tmp_path / "text.txt").write_text(TEXT, "utf-8")
    return tmp_path


def test_train_encode_decode_gives_the_text_back(folder, capfdbinary):
    main("train text.txt --vocab_size 300 --special <|x|> --output new.json".split())
    assert bpe.Tokenizer.load("new.json").vocab_size == 300
    main("encode new.json text.txt --output ids.npy".split())
    capfdbinary.readouterr()
    main("decode new.json ids.npy".split())
    assert capfdbinary.readouterr().out == (folder / "text.txt").read_bytes()


def test_ids_go_through_pipes(folder, monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"the lowest<|endoftext|>")))
    main("encode tok.json --allow_special --end_token <|endoftext|>".split())
    ids = capsys.readouterr().out
    assert [int(i) for i in ids.split()] == [*OURS.encode("the lowest"), 406, 406]
    (folder / "ids.txt").write_text(ids.replace(" ", ", "))
    main("decode tok.json ids.txt".split())


def test_what_is_piped_in_is_trained_on_encoded_and_decoded(folder, monkeypatch, capfdbinary):
    def pipe(data):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data)))
    text = (folder / "text.txt").read_bytes()
    pipe(text)
    main("train - --vocab-size 300 --output piped.json".split())
    main("train text.txt --vocab_size 300 --output named.json".split())
    assert (folder / "piped.json").read_bytes() == (folder / "named.json").read_bytes()
    pipe(text)
    main("encode piped.json --output ids.npy".split())
    pipe((folder / "ids.npy").read_bytes())
    capfdbinary.readouterr()
    main("decode piped.json -".split())
    assert capfdbinary.readouterr().out == text


@pytest.mark.parametrize("command, match", [
    ("encode missing.json text.txt", "missing.json: No such file"),
    ("encode text.txt text.txt", r"text.txt:1:1: not JSON"),
    ("encode tok.json missing.txt", "missing.txt: No such file"),
    ("encode tok.json special.txt", "special token '<|endoftext|>': allow it with --allow_special"),
    ("encode tok.json text.txt --output ids.npy --end_token <x>", "end_token is '<x>'"),
    ("encode tok.json text.txt --output text.txt", "both source and target"),
    ("encode tok.json text.txt --threads 0", "threads is 0"),
    ("decode tok.json text.txt", "\"It's\" is no id"),
    ("decode tok.json special.npy", "not a complete token file"),
    ("show tok.json .", ".: Is a directory"),
    ("train missing --vocab_size 300 --output x", "missing"),
])
def test_mistakes_are_one_sentence_and_status_2(folder, capsys, command, match):
    (folder / "special.txt").write_text("a<|endoftext|>")
    np.save(folder / "special.npy", np.zeros(3))
    with pytest.raises(SystemExit) as left:
        main(command.split())
    captured = capsys.readouterr()
    assert left.value.code == 2
    assert captured.err.startswith("python -m bpe ") and captured.err.count("\n") == 1
    assert match in captured.err and captured.out == ""


def test_ctrl_c_leaves_nothing(folder, monkeypatch, capsys):
    def interrupt(*_):
        raise KeyboardInterrupt
    monkeypatch.setattr("bpe.tokenizer.jobs", interrupt)
    with pytest.raises(SystemExit, match="130"):
        main("encode tok.json text.txt --output ids.npy".split())
    assert "interrupted" in capsys.readouterr().err
    assert sorted(p.name for p in folder.iterdir()) == ["text.txt", "tok.json"]


def test_a_closed_pipe_is_no_error(folder):
    command = f"{sys.executable} -m bpe show tok.json text.txt --limit 99999999 | head -c 10"
    done = subprocess.run(command, shell=True, capture_output=True, cwd=folder, timeout=100,
                          env={**__import__("os").environ, "PYTHONPATH": str(_root())})
    assert b"Traceback" not in done.stderr


def _root():
    return __import__("pathlib").Path(bpe.__file__).parent.parent


def test_show_and_explain_write_to_a_terminal_and_a_page(folder, capsys):
    main(["show", "tok.json", "--text", "the lowest<|endoftext|>"])
    assert "|<|endoftext|>" in capsys.readouterr().out
    main("show tok.json text.txt --report".split())
    assert "bytes per token" in capsys.readouterr().out
    main("show tok.json text.txt --html page.html".split())
    assert "<pre>" in (folder / "page.html").read_text("utf-8")
    main(["explain", "tok.json", "the lowest"])
    assert "h + e = 258" in capsys.readouterr().out


@given(texts)
def test_the_page_holds_every_token_once_and_escapes_text(text):
    text += "<b>&amp;</b>"
    ids = OURS.encode(text)
    page = view.as_html(OURS, {"<name>": ids})
    body = page.partition("<pre>")[2].rpartition("</pre>")[0]
    labels = re.findall(r'<b class="\w+" title="(\d+) ', body)
    assert [int(i) for i in labels] == ids
    shown = html.unescape(re.sub(r"<[^>]*>", "", body))
    assert "<b>&amp;</b>" in shown and "<name>" not in page


@given(texts)
def test_the_terminal_shows_the_text_between_its_colours(text):
    ids = OURS.encode(text)
    plain = view.in_terminal(OURS, ids, colour=False)
    coloured = view.in_terminal(OURS, ids)
    assert re.sub("\x1b[^m]*m", "", coloured) == view.in_terminal(
        OURS, ids, colour=False).replace("|", "") or "|" in text
    assert plain.count("|") == max(0, len(ids) - 1) + text.count("|")
    assert not set(map(ord, re.sub("\x1b[^m]*m", "", coloured))) & (set(range(32)) - {10})


@given(texts)
def test_an_explanation_ends_in_the_ids(text):
    lines = list(view.explain(OURS, text))
    ids = [int(part.split()[-1]) for line in lines if line.startswith("    ") and " = " not in line
           for part in [line] for part in line.strip().split("  ")]
    assert ids == OURS.encode(text)


def test_a_report_counts_bytes_and_unused_tokens():
    ids = OURS.encode("the lowest the")
    lines = "\n".join(view.report(OURS, {"a": ids, "b": [406]}))
    assert f"a: 14 bytes, {len(ids)} tokens" in lines and "b: 0 bytes, 1 tokens" in lines
    assert f"{len(set(ids))} of 406" in lines
