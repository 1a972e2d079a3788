"""Trials: runs that may have been what took their process are begun again a few at a time, and in the end alone.

Whoever finds a run that its owner was lost with cannot know whether it was to blame: all that were at work there are
under suspicion. The first times all of them just go on, since most processes end for other reasons. After that they
have turns: few at once, and one that had bad luck with its few, alone. That a run has its turn is noted in the store
before it begins, to be known should this process end, too. As soon as it has come further, or has lived for a while, it
is the next one's turn.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from typing import Final

from treadle.interfaces import RunInfo
from treadle.runner import stimuli as say
from treadle.runner.record import Held, Run

FEW: Final = 32
"""So many suspects have their turn at once, as long as none of them had one that ended badly."""

BOX_S: Final = 1.0
"""How long a turn lasts where the run comes no further; twice as long for each process that ended with it."""
LONGEST_S: Final = 3600.0

LOST: Final = 10
"""A run that so many times more processes ended with than are allowed is given up, although it was never alone."""


def suspected_from(most: int) -> int:
    """From so many processes that ended with it on, a run is begun only when it is its turn."""
    return max(1, min(2, most))


def turns(most: int) -> int:
    """So many turns of a run may end with its process; the last of them it has alone."""
    return max(1, most + 1 - suspected_from(most))


def is_guilty(info: RunInfo, most: int) -> bool:
    """Whether more processes ended with a run than are allowed, the last of them when no other suspect was at work."""
    return info.trials >= turns(most) or info.crashes > LOST * (most + 1)


class Trials:
    """Whose turn it is. All methods are called in the loop's thread."""

    def __init__(
        self,
        most: int,
        now: Callable[[], float],
        note: Callable[[Run, int, Callable[[Exception | None], None]], None],
        begin: Callable[[Run, Held], None],
    ) -> None:
        self._last = turns(most) - 1
        """Who had so many turns that ended badly has the next one alone."""
        self._now = now
        self._note = note
        """Has it stored how many turns of a run ended badly, if this one does."""
        self._begin = begin
        self._waiting: list[tuple[int, int, Run, Held]] = []
        self._numbers = itertools.count()
        self._on: dict[Run, tuple[Held, float | None]] = {}
        """Who has its turn, and until when; None: that is not noted yet."""

    @property
    def is_busy(self) -> bool:
        """Whether there are suspects."""
        return bool(self._on or self._waiting)

    def hold(self, run: Run, info: RunInfo) -> None:
        """Let a run that is brought back wait for its turn; those that had bad luck least often come first."""
        run.held = Held(info.crashes, info.trials)
        self._wait(run, run.held)

    def _wait(self, run: Run, held: Held) -> None:
        heapq.heappush(self._waiting, (held.trials, next(self._numbers), run, held))

    def look(self) -> None:
        """End the turns that are over, and begin the next."""
        for run, (held, until) in list(self._on.items()):
            if until is not None and self._is_over(run, until):
                del self._on[run]
                if run.machine is not None:  # it did nothing that would say so in the store
                    self._note(run, held.trials, lambda _: None)
        later = []
        while self._waiting and self._has_room(self._waiting[0][0]):
            _, _, run, held = heapq.heappop(self._waiting)
            if run.held is not held:  # it was let go of meanwhile
                continue
            if run.machine is None:  # it waits for the store
                later.append((run, held))
            else:
                self._try(run, held)
        for each in later:
            self._wait(*each)

    def came_further(self, run: Run) -> None:
        """What a run did by itself is stored: it is under suspicion no more."""
        _, until = self._on.get(run, (None, None))
        if until is not None:  # else it has not begun, and that was somebody else's doing
            del self._on[run]
            self.look()

    def _has_room(self, trials: int) -> bool:
        if trials >= self._last:
            return not self._on
        return len(self._on) < FEW

    def _try(self, run: Run, held: Held) -> None:
        self._on[run] = held, None

        def noted(fault: Exception | None) -> None:
            if self._on.get(run) != (held, None):
                return
            if fault is not None or run.held is not held:
                del self._on[run]
                self.look()
                return
            self._on[run] = held, self._now() + min(BOX_S * 2.0**held.crashes, LONGEST_S)
            self._begin(run, held)

        self._note(run, held.trials + 1, noted)

    def _is_over(self, run: Run, until: float) -> bool:
        machine = run.machine
        if machine is None:
            return run.missed is None
        return run.status != say.RUNNING or machine.has_nothing_to_do or self._now() >= until
