"""Refuse what a scheduler cannot be made of, and say what it can."""

from __future__ import annotations

import math
from typing import Any

from treadle.errors import UsageError


def check_count(name: str, value: Any, least: int, hint: str) -> None:
    """A number of things."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise UsageError(
            f"{name}={value!r:.80} is not a whole number of at least {least}.", hint=hint
        )


def check_number(name: str, value: Any, low: float, high: float, hint: str) -> None:
    """A number from `low` to `high`, both included."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if is_number and low <= value <= high:
        return
    span = f"of at least {low:g}" if high == math.inf else f"from {low:g} to {high:g}"
    raise UsageError(f"{name}={value!r:.80} is not a number {span}.", hint=hint)
