"""From dumps, crawls and files to a corpus, the whole way, killed and not."""
import gzip
import json
import os
import random
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
from made_up_texts import dump, prose

from gpt.corpus import told
from gpt.data.cleaning.pipeline import Settings, make_corpus
from gpt.data.corpora import CorpusError, load_corpus
from gpt.show.corpus_page import corpus_page

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def files(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    pages = [prose(150, i) for i in range(12)]
    (folder / "wiki.xml").write_bytes(dump(["#REDIRECT [[x]]", *pages[:6], "short"]))
    rows = [*pages[5:], pages[7] + " One more.", pages[8], "menu\n" * 80]
    (folder / "rows.jsonl").write_text("".join(json.dumps({"text": x}) + "\n" for x in rows))
    (folder / "bad.gz").write_bytes(gzip.compress(b"x" * 999)[:20])
    return folder


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes()
            for path in sorted(folder.rglob("*")) if path.is_file()}


def test_a_corpus_is_made_told_and_read(files, tmp_path):
    settings, out = Settings("gopher,repetition,menu", ("exact", "minhash"), True), tmp_path / "out"
    facts = make_corpus([str(files)], out, settings)
    assert facts["counts"]["documents read"] == 17 and len(facts["losses"]) == 1
    assert facts["stages"]["reading"] == {"a redirect": 1}
    assert facts["stages"]["gopher"] == {"fewer than 50 words": 1,
                                         "fewer than 2 of the stop words": 1}
    assert facts["duplicates"] == {"exact": 2, "minhash": 1, "largest clusters": [2, 2, 2]}
    corpus = load_corpus([str(out)])
    assert {*map(bytes.strip, corpus.documents)} == {prose(150, i).encode() for i in range(12)}
    assert facts["tables"]["source"]["wiki.xml"]["documents read"] == 7
    kept = [row["documents kept"] for row in facts["tables"]["source"].values()]
    lengths = facts["tables"]["length"].values()
    assert sum(kept) == sum(row.get("documents kept", 0) for row in lengths) == 12
    assert not (out / ".work").exists() and "short" in corpus_page(facts)
    assert any("kept: 12 documents" in line for line in told(facts, out))
    again = tmp_path / "again"
    make_corpus([str(files)], again, settings)
    assert contents(again) == contents(out)
    with pytest.raises(CorpusError, match="holds a corpus"):
        make_corpus([str(files)], out, settings)


def test_shares_on_several_machines_make_the_same_corpus(files, tmp_path):
    settings = Settings("gopher", ("exact", "minhash"))
    make_corpus([str(files)], tmp_path / "whole", settings)
    for i in 3, 1, 2:
        assert make_corpus([str(files)], tmp_path / "out", settings, share=(i, 3)) is None
    said = []
    make_corpus([str(files)], tmp_path / "out", settings, say=said.append)
    assert said == ["3 of 3 are cleaned already"]
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_a_classifier_drops_what_is_not_wanted(files, tmp_path):
    facts = make_corpus([str(files)], tmp_path / "out", Settings("", quality="length"),
                        score=lambda text: len(text) > 500)
    assert facts["stages"]["quality"] == {"by the classifier, it is not wanted": 2}
    assert facts["settings"]["quality"] == "length"


def test_lines_that_are_there_before_are_left_out(tmp_path):
    (tmp_path / "in").mkdir()
    for name, text in (("a", "one\n\ntwo\none"), ("b", "two\nthree"), ("c", "one\ntwo")):
        (tmp_path / "in" / f"{name}.txt").write_text(text)
    facts = make_corpus([str(tmp_path / "in")], tmp_path / "out", Settings("", ("lines",)))
    assert facts["duplicates"]["lines"] == 4
    assert [*load_corpus([str(tmp_path / "out")]).documents] == [b"one\n\ntwo\n", b"three\n"]


def test_another_folder_or_filter_is_asked_for(files, tmp_path):
    with pytest.raises(CorpusError, match="no filter 'ghoper'"):
        make_corpus([str(files)], tmp_path / "out", Settings("ghoper"))
    with pytest.raises(CorpusError, match="is not empty"):
        make_corpus([str(files)], files, Settings(""))


def alive(group):
    """List the processes of a group, but for those that have ended and nobody asks for."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            _, _, facts = path.read_text().rpartition(")")
        except OSError:                               # it has just ended
            continue
        state, _, its_group, *_ = facts.split()
        found += [path] if int(its_group) == group and state != "Z" else []
    return found


@pytest.mark.thorough
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="the system lists no processes")
def test_killed_again_and_again_the_corpus_is_the_same(files, tmp_path):
    for i in range(30):
        rows = [json.dumps({"text": prose(3000, 100 * i + j)}) for j in range(30)]
        (files / f"more{i}.jsonl").write_text("\n".join(rows))
    command = [sys.executable, "-m", "gpt", "corpus", str(files), "--workers", "2", "--out"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    run = partial(subprocess.run, check=True, env=environment, cwd=ROOT)
    run([*command, str(tmp_path / "whole")])
    rng = random.Random(0)
    for _ in range(10):
        child = subprocess.Popen([*command, str(tmp_path / "killed")], env=environment, cwd=ROOT,
                                 start_new_session=True)
        try:
            child.wait(rng.uniform(2, 8))
        except subprocess.TimeoutExpired:
            child.send_signal(signal.SIGKILL)         # the parent alone
            child.wait()
        until = time.monotonic() + 30
        while alive(child.pid) and time.monotonic() < until:
            time.sleep(0.1)
        assert not alive(child.pid)                   # its children have ended with it
    if not (tmp_path / "killed" / "report.html").exists():
        run([*command, str(tmp_path / "killed")])
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")
