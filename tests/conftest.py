"""Hypothesis profiles: `quick` by default, `thorough` with HYPOTHESIS_PROFILE=thorough."""
import os

from hypothesis import HealthCheck, settings

# The products of the reference level are small here: two threads of a BLAS spend more time on
# waiting for each other than on these. (Before NumPy is imported.)
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

settings.register_profile("quick", max_examples=30, deadline=None, derandomize=True, database=None,
                          suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("thorough", max_examples=1000, deadline=None, print_blob=True,
                          suppress_health_check=[HealthCheck.too_slow])
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))
