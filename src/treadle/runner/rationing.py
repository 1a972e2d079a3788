"""Rationing: a runner's talk with its store about limits, rates and breakers that count over the whole fleet.

The gates (`shared_gates.py`) know what they want; here that is asked, in the thread that writes, and what came of it is
told to them, in the loop's thread. One question is out at a time, and is put together after the answer before it was
heard: so what a question says is kept is never less than what may be in use when it is answered.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from time import monotonic
from typing import Any

from treadle.errors import StoreError
from treadle.interfaces import Quotas
from treadle.model.quotas import Quota, QuotaWish
from treadle.runner.loop import Loop

logger = logging.getLogger("treadle.runner")


class Rationing:
    """What a runner has of what all runners share."""

    def __init__(
        self,
        store: Quotas,
        owner: str,
        ttl_s: float,
        *,
        loop: Loop,
        do: Callable[[Callable[[], Any]], None],
        call: Callable[[Callable[[], None]], None],
        ticks: Callable[[], float] = monotonic,
    ) -> None:
        self._store = store
        self._owner = owner
        self._ttl_s = ttl_s
        self._loop = loop
        self._do = do
        """Has something done in the thread that may wait for the store."""
        self._call = call
        """Has something done in the loop's thread."""
        self._ticks = ticks
        """A clock that nobody sets."""
        self._life = 1
        self._current_until = 0.0
        self._is_out = self._is_due = False
        self._stirred: set[tuple[str, str]] = set()
        """What was asked for out of turn since the last look."""
        self._is_used = False
        loop.admission.share(self)

    @property
    def name(self) -> str:
        """Under which it has what it has. Once nothing was heard of it for too long, it needs another."""
        return f"{self._owner}/{self._life}"

    # --------------------------------------------------------------------- what the gates ask of it

    def is_current(self) -> bool:
        """Whether what the store gave is still this runner's for certain, whatever any clock was set to."""
        return self._ticks() < self._current_until

    def stir(self, key: tuple[str, str]) -> None:
        """Ask the store soon, for a reason: once between two looks, so that a busy gate does not ask all the time."""
        if key in self._stirred:
            return
        self._stirred.add(key)
        self._is_used = True
        self._call(self._ask)

    # ------------------------------------------------------------------------------- asking, hearing

    def look(self) -> None:
        """Say that this runner is there, and see what others want (called in the keeper's thread, now and then)."""
        if not self._is_used:
            return
        name, begin, is_known = self.name, self._ticks(), self._current_until > 0.0
        kept = self._store.beat(name, self._ttl_s) if is_known else None
        wanted: frozenset[str] = frozenset()
        if kept is not None:
            left_s, wanted = kept
            self._stays_until(name, begin + left_s)

        def take() -> None:
            self._stirred.clear()
            if is_known and kept is None:
                self._begin_anew(name)
            self._loop.admission.press(wanted)
            self._ask()

        self._call(take)

    def close(self) -> None:
        """Give all of it back."""
        if self._is_used:
            with suppress(StoreError):  # it ends by itself when nothing is heard of this runner
                self._store.leave(self.name)

    def _ask(self) -> None:
        if self._is_out:
            self._is_due = True
            return
        wishes = self._loop.admission.wishes(self._loop.clock.now())
        self._is_due = False
        if self._is_used and not self._loop.admission.is_shared_now:
            self._retire()
        if wishes:
            self._is_out = True
            name = self.name
            self._do(lambda: self._send(name, wishes))

    def _send(self, name: str, wishes: Sequence[QuotaWish]) -> None:
        begin = self._ticks()
        try:
            quotas = self._store.ration(name, self._ttl_s, wishes)
        except Exception as error:  # noqa: BLE001 - it is asked again; until then nobody begins more than he may
            logger.debug("the limits of the fleet could not be shared: %s", error)
            self._call(self._not_heard)
            return
        if quotas is not None:
            self._stays_until(name, begin + self._ttl_s)
        self._call(lambda: self._hear(name, quotas))

    def _stays_until(self, name: str, moment: float) -> None:
        if name == self.name:
            self._current_until = max(self._current_until, moment)

    def _not_heard(self) -> None:
        self._is_out = False
        self._loop.admission.unsay()

    def _hear(self, name: str, quotas: Sequence[Quota] | None) -> None:
        self._is_out = False
        if quotas is None or name != self.name:
            self._loop.admission.unsay()
            self._begin_anew(name)
            self._is_due = True
        else:
            self._loop.admission.hear(quotas, self._loop.clock.now())
        if self._is_due:
            self._ask()
        self._loop.wake()

    def _retire(self) -> None:
        """Nothing is shared any more: be heard of again when something is."""
        self._is_used = False
        name = self.name
        self._begin_anew(name)
        self._do(lambda: self._store.leave(name))

    def _begin_anew(self, name: str) -> None:
        """Others may have what was this runner's: nothing more begins before the store was asked again."""
        if name == self.name:
            self._life += 1
            self._current_until = 0.0
            self._loop.admission.void()
