"""The clock of a runner: the time of day at its start, carried on by a clock that nobody sets."""

from __future__ import annotations

from time import monotonic, time
from typing import Final

LOOK_S: Final = 60.0
"""So often it is looked what time it is, while something waits for its moment: a clock may be put forward."""


class SteadyClock:
    """Seconds since 1970 UTC that never go back or jump, whatever is done to the machine's clock meanwhile."""

    __slots__ = ("_offset",)

    def __init__(self) -> None:
        self._offset = time() - monotonic()

    def now(self) -> float:
        """The time."""
        return self._offset + monotonic()
