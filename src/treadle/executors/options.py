"""What the constructors of executors take, checked where it is given."""

from __future__ import annotations

from treadle.errors import UsageError


def check_count(what: str, value: object) -> None:
    """A whole number of at least 1. `what` is how the caller wrote it: `ThreadExecutor(capacity=...)`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise UsageError(
            f"{what} is a whole number of at least 1, and was given {value!r}.",
            hint="it says how many may be there at once.",
        )


def check_seconds(what: str, value: object) -> None:
    """A number of seconds, 0 or more."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value >= 0:
        raise UsageError(f"{what} is a number of seconds, 0 or more, and was given {value!r}.")
