"""What the extras `docs` and `ui` are for: the site builds, and a terminal shows a live panel."""
import io
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from gpt.show.display import Live, Status
from gpt.training.step import StepRecord

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
    elsewhere = re.compile(r"<(script|link)[^>]*=.https?:[^>]*\.(js|css)")
    assert not any(map(elsewhere.search, pages))


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


@pytest.mark.extra("rich")
@pytest.mark.parametrize("width", [20, 40, 71, 72, 100])
def test_the_panel_fits_any_terminal_and_shows_no_control_byte(width):
    import rich
    from rich.cells import cell_len
    from rich.console import Console
    record = StepRecord(1234, 0.1, 3.1, 1.5, 0.1, 100, 0.1, 2)
    status = Status(1000, 100.0, 20000, record, 3.2, 123456.0, 2.5, "bits/byte", {}, [3, 2, 1] * 12,
                    "\x1b[31mred \x07" + "x" * 120 + "\n\u6f22\u5b57", 4000.0)
    live = Live(rich)
    live.console = Console(file=io.StringIO(), width=width, color_system=None)
    live.console.print(live.panel(status))
    shown = live.console.file.getvalue()
    assert "\\x1b[31mred" in shown and "\x1b" not in shown and "\x07" not in shown
    lines = shown.splitlines()
    assert {cell_len(line) for line in lines} == {min(width, 90)} and lines[-1][0] == "\u2570"


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
