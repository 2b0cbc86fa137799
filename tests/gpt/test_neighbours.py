"""Another distribution's package of one of our names is told in a sentence."""
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


def test_a_package_of_another_distribution_in_our_place_is_named(tmp_path):
    (tmp_path / "minigrad").mkdir()
    (tmp_path / "minigrad" / "__init__.py").write_text('"""Another small engine."""\n')
    info = tmp_path / "other_engine-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: other-engine\nVersion: 1.0\n")
    (info / "top_level.txt").write_text("minigrad\n")
    done = subprocess.run([sys.executable, "-c", "import gpt"], text=True, capture_output=True,
                          cwd=tmp_path,
                          env=os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"})
    said = done.stderr.splitlines()[-1]
    assert done.returncode and said.startswith("ImportError: minigrad at ")
    assert "other-engine" in said and "uninstall" in said


def test_our_own_are_let_through():
    subprocess.run([sys.executable, "-c", "import gpt"], check=True, cwd=ROOT)
