"""Settings of all tests."""

from hypothesis import settings

# A slow machine is no failure: no test says anything about elapsed time. Based on the profile that
# Hypothesis has chosen, which in CI is one without randomness.
settings.register_profile("treadle", settings(), deadline=None)
settings.load_profile("treadle")
