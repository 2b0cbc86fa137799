"""Two profiles: `quick` by default, and `thorough` with HYPOTHESIS_PROFILE=thorough.

What only says more of the same, at length, is marked `@pytest.mark.thorough` and skipped in quick.
What needs a package that the extra `test` does not bring is marked `@pytest.mark.extra("package")`
and skipped without it: `pytest -m extra` runs these alone.
"""
import importlib.util
import os
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# The products of the reference level are small here: two threads of a BLAS spend more time on
# waiting for each other than on these. (Before NumPy is imported.)
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
# So do two threads of our kernels, beside other programs a hundred times as long. Tests of threads
# ask for them; thorough runs take all there are.
THOROUGH = os.environ.get("HYPOTHESIS_PROFILE") == "thorough"
if not THOROUGH:
    os.environ.setdefault("MINIGRAD_THREADS", "1")

settings.register_profile("quick", max_examples=30, deadline=None, derandomize=True, database=None,
                          suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("thorough", max_examples=1000, deadline=None, print_blob=True,
                          suppress_health_check=[HealthCheck.too_slow])
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))


BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome", "msedge")


def pytest_collection_modifyitems(items):
    skip = pytest.mark.skip(reason="takes long: HYPOTHESIS_PROFILE=thorough runs it")
    for item in items:
        if not THOROUGH and item.get_closest_marker("thorough"):
            item.add_marker(skip)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Give each file to one worker, those of many tests first: the runs that its tests share are
    trained once, and its kernels compiled once."""
    if config.getvalue("dist") == "load":             # as `-n 2` means it
        from xdist.scheduler import LoadFileScheduling
        return LoadFileScheduling(config, log)


def pytest_runtest_setup(item):
    for marker in item.iter_markers("extra"):
        for package in marker.args:
            if importlib.util.find_spec(package) is None:
                pytest.skip(f"{package} is not installed")


@pytest.fixture(scope="module")
def browser():
    """Chromium, in the order: what MINIGRAD_BROWSER names, the system's, playwright's own."""
    from playwright.sync_api import sync_playwright
    with sync_playwright() as play:
        paths = [os.environ.get("MINIGRAD_BROWSER"), *map(shutil.which, BROWSERS),
                 play.chromium.executable_path]
        path = next((path for path in paths if path and Path(path).exists()), None)
        if path is None:
            pytest.skip("there is no Chromium: `python -m playwright install chromium` gets one")
        chromium = play.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield chromium
        chromium.close()
