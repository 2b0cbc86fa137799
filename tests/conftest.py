"""Hypothesis profiles: `quick` by default, `thorough` with HYPOTHESIS_PROFILE=thorough."""
import os

from hypothesis import HealthCheck, settings

settings.register_profile("quick", max_examples=30, deadline=None, derandomize=True, database=None,
                          suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("thorough", max_examples=1000, deadline=None, print_blob=True,
                          suppress_health_check=[HealthCheck.too_slow])
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))
