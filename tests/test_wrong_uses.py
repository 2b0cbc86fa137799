"""Every wrong use of a command is one sentence on standard error, which names it, and status 2."""
import shlex
import sys

import numpy as np
import pytest
from wrong_uses import TABLES

import bpe.__main__
import gpt.__main__
from gpt.data.corpora import stories
from gpt.data.documents import prepare
from gpt.theirs import ROWS
from gpt.training.config import Config
from gpt.training.folder import save
from gpt.training.plan import Plan
from gpt.training.run import Run

LINKS = sys.platform != "win32"        # where everybody may make them


def rows():
    """Yield (main, words, what must be said)."""
    front = gpt.__main__.main
    for name, table in TABLES.items():
        for line in table.strip("\n").splitlines():
            typed, _, said = line.rpartition(" | ")
            words = shlex.split(typed)
            main = bpe.__main__.main if name == "bpe" else front
            before = [name] if name not in ("", "bpe") else []
            yield pytest.param(main, [*before, *words], said, id=f"{name} {typed.strip()}")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Make the files that the table names, good and bad."""
    root = tmp_path_factory.mktemp("wrong")
    write_texts(root)
    (root / "empty").mkdir()
    if LINKS:
        (root / "loop").symlink_to("loop")
        (root / "dangling").symlink_to("nothing")
    bpe.Tokenizer([], special_tokens={"<|endoftext|>": 256}).save(root / "tok.json")
    data = prepare(stories(100), Config.make(tokenizer="char").data, root / "runs/a/data")
    config = Config.make(n_layer=1, n_head=2, d_model=16, context_length=8, tokenizer="char",
                         vocab_size=data.tokenizer.vocab_size)
    save(Run.start(config, data, Plan.fixed(9)), root / "runs/a")
    return root


def write_texts(root):
    text = stories(100).documents[0]
    for name, content in {
            "text.txt": text, "text.jsonl": text, "empty.txt": b"", "blank.txt": b" \n\n",
            "binary.bin": b"\0\xff" * 99, "fake.gz": text, "cut.gz": b"\x1f\x8b\x08\0\0\0\0\0",
            "short.txt": b"ab\n", "tilde.txt": b"Ada ~\n", "one.txt": b"A", "99999.ids": b"99999",
            "minus.ids": b"1 -5", "damaged.npy": b"\x93NUMPY\1\0", "special.txt": b"<|endoftext|>",
            "number.jsonl": b'"Ada"\n5\n', "wrong.py": b"def f(:\n", "raises.py": b"{}['a']\n",
            "good.py": b"x = 1\ndef f(x=2.0):\n    return x * x\ndef needs(x):\n    return x * x\n"
                       b"def number(x=2.0):\n    return 3.0\ndef fails(x=2.0):\n    return 1 / 0\n",
            }.items():
        (root / name).write_bytes(content)


@pytest.fixture
def here(folder, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.setattr("sys.stdin", None)                    # nothing is piped in
    monkeypatch.setattr("gpt.start.matmul_gflops", lambda: 100.0)
    monkeypatch.setattr("gpt.flags.find_spec", lambda name: None)


def said_by(main, words, capsys):
    """Run a command that must refuse, and return its one sentence."""
    with np.errstate(all="ignore"), pytest.raises(SystemExit) as left:
        main(words)
    said = capsys.readouterr().err
    assert left.value.code == 2, said
    assert said.count("\n") == 1 and said.endswith("\n"), said
    assert "Traceback" not in said and "usage" not in said
    return said


@pytest.mark.parametrize("main, words, said", [*rows()])
def test_a_wrong_use_is_one_sentence_that_names_it_and_status_2(here, capsys, main, words, said):
    assert said in said_by(main, words, capsys)


def test_there_are_enough_of_them():
    assert len([*rows()]) >= 300


@pytest.mark.parametrize("row", [row for row in ROWS if row.ours.startswith("--")])
def test_what_others_call_a_flag_leads_to_one_that_is_there(capsys, row):
    name = row.names.split()[0]
    said = said_by(gpt.__main__.main, [row.command, f"--{name}", "1"], capsys)
    assert said.endswith(f"there is no flag '--{name}': here it is {row.ours}\n")
