"""Kits for tests of workflows: yours and ours."""

from treadle.testing.mutation import MutatedValue, check_mutation

__all__ = ["MutatedValue", "check_mutation"]
