"""Two profiles: `quick` by default, and `thorough` with HYPOTHESIS_PROFILE=thorough.

What only says more of the same, at length, is marked `@pytest.mark.thorough` and skipped in quick.
"""
import os

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


def pytest_configure(config):
    config.addinivalue_line("markers", "thorough: left out unless HYPOTHESIS_PROFILE=thorough")


def pytest_collection_modifyitems(items):
    skip = pytest.mark.skip(reason="takes long: HYPOTHESIS_PROFILE=thorough runs it")
    for item in items:
        if not THOROUGH and item.get_closest_marker("thorough"):
            item.add_marker(skip)
