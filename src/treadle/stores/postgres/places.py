"""What a store remembers of the runs that it wrote to."""

from __future__ import annotations

from collections.abc import Iterable
from threading import Lock
from typing import Final

from treadle.stores.entries import Place

KNOWN: Final = 4096
"""Of so many runs is remembered where their log ends, which spares a look each time."""


class Places:
    """Where logs end, as far as this store knows. It may be wrong: each append says what it builds on."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._places: dict[str, Place] = {}
        self._doubtful: set[str] = set()

    def get(self, run_id: str) -> Place | None:
        """Where a log ended when it was last written to from here."""
        return self._places.get(run_id)

    def note(self, run_id: str, place: Place) -> None:
        """A log ends there now."""
        with self._lock:
            self._places.pop(run_id, None)
            self._places[run_id] = place
            self._doubtful.discard(run_id)
            if len(self._places) > KNOWN:
                del self._places[next(iter(self._places))]

    def forget(self, run_ids: Iterable[str]) -> None:
        """What was remembered of these may not be so."""
        with self._lock:
            for run_id in run_ids:
                self._places.pop(run_id, None)

    def doubt(self, run_ids: Iterable[str]) -> None:
        """These were to be created, and it is not known whether they were."""
        with self._lock:
            self._doubtful.update(run_ids)

    def is_doubtful(self, run_id: str) -> bool:
        """Whether a run of this id that is there may be the one that was to be created."""
        return run_id in self._doubtful
