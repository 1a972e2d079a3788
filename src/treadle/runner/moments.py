"""When which run is to be woken; where somebody puts the clock back, all are, to look again at what they wait for."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from itertools import count
from typing import Final

from treadle.runner.record import Run

LEAST: Final = 256
"""With fewer moments than that nobody looks which of them count no more."""


class Moments:
    """The moments of all runs of a runner. Each run has one; those it had before are passed over."""

    __slots__ = ("_heap", "_looked_at", "_most", "_ordinals")

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Run]] = []
        self._most = LEAST
        self._ordinals = count()
        self._looked_at = float("-inf")

    def __len__(self) -> int:
        return len(self._heap)

    def add(self, at: float, run: Run) -> None:
        """A run is to be woken then, and not when it was to be before; it said so at its `updated_at`."""
        run.wake_at = at
        self._looked_at = max(self._looked_at, run.updated_at)
        heapq.heappush(self._heap, (at, next(self._ordinals), run))
        if len(self._heap) > self._most:
            self._heap = [entry for entry in self._heap if is_live(entry)]
            heapq.heapify(self._heap)
            self._most = 2 * len(self._heap) + LEAST

    def first(self) -> float | None:
        """The next moment, if there is one."""
        return self._heap[0][0] if self._heap else None

    def due(self, now: float) -> Iterator[Run]:
        """The runs whose moments have come; all of them, to look again, if it is earlier than it was before."""
        if now < self._looked_at:
            again, self._heap = self._heap, []
            for entry in filter(is_live, again):
                entry[2].wake_at = None
                yield entry[2]
        self._looked_at = now
        while self._heap and self._heap[0][0] <= now:
            at, _, run = heapq.heappop(self._heap)
            if run.wake_at == at:
                run.wake_at = None
                yield run


def is_live(entry: tuple[float, int, Run]) -> bool:
    """Whether somebody still waits for this moment."""
    at, _, run = entry
    return run.wake_at == at and (run.machine is not None or run.missed is not None)
