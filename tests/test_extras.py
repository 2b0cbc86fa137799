"""What the extras `docs` and `ui` are for: the site builds, and a terminal shows a live panel."""
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ENV = {**os.environ, "PYTHONPATH": str(ROOT)}
TINY = ["--n_layer", "1", "--n_head", "2", "--d_model", "16", "--context_length", "16",
        "--batch_tokens", "64", "--tokenizer", "char", "--steps", "3", "--eval_tokens", "64"]


@pytest.mark.extra("sphinx", "furo", "myst_parser", "latex2mathml")
def test_the_site_builds_without_a_warning(tmp_path):
    site = tmp_path / "site"
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "-d", tmp_path / "trees", "docs", site]
    done = subprocess.run(command, cwd=ROOT, env=ENV, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    listed = (site / "ops" / "README.html").read_text(encoding="utf-8")
    assert 'href="softmax.html"' in listed and (site / "ops" / "softmax.html").exists()
    assert (site / "ops" / "steps" / "softmax.html").exists()
    pages = [page.read_text(encoding="utf-8") for page in site.rglob("*.html")]
    assert any("<math" in page for page in pages)       # without a script from elsewhere
    assert not any(re.search(r"<(script|link)[^>]*=.https?:[^>]*\.(js|css)", page) for page in pages)


@pytest.mark.extra("rich")
@pytest.mark.skipif(os.name != "posix", reason="terminals are made in another way there")
def test_a_terminal_shows_a_panel_with_the_numbers_of_the_step(tmp_path):
    (tmp_path / "text.txt").write_text((ROOT / "README.md").read_text(encoding="utf-8") * 4)
    ours, theirs = os.openpty()
    command = [sys.executable, ROOT / "train.py", "text.txt", *TINY]
    with subprocess.Popen(command, cwd=tmp_path, stdin=theirs, stdout=theirs, stderr=theirs,
                          env=ENV | {"COLUMNS": "100", "TERM": "xterm"}) as process:
        os.close(theirs)
        shown = read_all(ours)
    text = re.sub(rb"\x1b\[[0-9;?]*[A-Za-z]", b"", shown).decode("utf-8", "replace")
    assert process.returncode == 0, text
    assert "╭" in text and "step 3 of 3" in text, text


def read_all(terminal):
    """Read what a program writes into a terminal until it ends, which Linux calls an error."""
    parts = []
    try:
        while part := os.read(terminal, 65536):
            parts.append(part)
    except OSError:
        pass
    os.close(terminal)
    return b"".join(parts)
