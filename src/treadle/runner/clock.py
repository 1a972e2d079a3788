"""The clock of a runner: the time of day at its start, carried on by a clock that nobody sets."""

from __future__ import annotations

from time import monotonic, time


class SteadyClock:
    """Seconds since 1970 UTC that never go back or jump, whatever is done to the machine's clock meanwhile."""

    __slots__ = ("_offset",)

    def __init__(self) -> None:
        self._offset = time() - monotonic()

    def now(self) -> float:
        """The time."""
        return self._offset + monotonic()
