"""Calls of the user's that hold up the loop: hooks, observers and callbacks are called in its own thread."""

from __future__ import annotations

import logging
from typing import Final

from treadle.model.one_line import one_line

logger = logging.getLogger("treadle.runner")

HELD_S: Final = 0.25
"""Whoever takes longer than that holds up all runs of the runner."""

QUIET_S: Final = 60.0
"""So long nothing more is said of one who was warned about; his calls are counted all the same."""


class Holdups:
    """How often each hook took longer than `limit_s`; a warning of each, at most once a minute."""

    def __init__(self, limit_s: float = HELD_S) -> None:
        self.limit_s = limit_s
        self.counts: dict[str, int] = {}
        self._told_at: dict[str, float] = {}

    def note(self, name: str, took_s: float, now: float) -> None:
        """A call that began `took_s` seconds ago has ended; `now` is in seconds of any clock, always the same one."""
        if took_s <= self.limit_s:
            return
        count = self.counts[name] = self.counts.get(name, 0) + 1
        told_at = self._told_at.get(name)
        if told_at is not None and now - told_at < QUIET_S:
            return
        self._told_at[name] = now
        logger.warning(
            "%s took %.2f s, and every run of this runner waited for it (%d so far): it is called in the runner's"
            " own thread, so hand what takes time to another one",
            one_line(name),
            took_s,
            count,
            extra={"hook": name, "seconds": took_s},
        )
