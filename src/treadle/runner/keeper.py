"""The keeper: a thread that looks after what a runner has in a store it may share.

It keeps the leases of its runs, takes over runs that nobody has and that have something to do, and fetches the
messages that others left for them, and what came of those it left itself. Polling is the truth; whoever wants it sooner
calls `hurry`.
"""

from __future__ import annotations

import logging
import os
import socket
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from threading import Event, Lock, Thread
from time import monotonic
from typing import Final, Protocol

from treadle.errors import StoreError
from treadle.interfaces import Inbox, Leases, Loads, Message, RunInfo, Store, StoredRun

logger = logging.getLogger("treadle.runner")

LEASE_S: Final = 30.0
"""How long a run stays with a runner that says nothing any more."""

POLL_S: Final = 0.25
"""How often it looks."""

AT_ONCE: Final = 64
"""So many runs are taken over at a time: the runner gets a word in between."""

MESSAGES_AT_ONCE: Final = 256
"""About so many messages are read at a time, some for each run: what is left is read when these were answered."""

FIRST_BITE: Final = 8
"""So many where others may want some too; more by and by, see `next_bite`."""


LEAST_PAUSE_S: Final = 0.005
"""The shortest pause between two bites of a backlog."""


class Shared(Leases, Inbox, Store, Protocol):
    """A store that several may use."""


class Keeps(Protocol):
    """Who is told: each is called in the keeper's thread, and hands it on."""

    def found(self, runs: Sequence[tuple[RunInfo, StoredRun | Exception]]) -> None:
        """These runs are this runner's now."""

    def lost(self, epochs: Mapping[str, int]) -> None:
        """These are not any more, as they were claimed then."""

    def heard(self, messages: Sequence[Message]) -> None:
        """These messages wait for runs of this runner; each comes again until it was answered."""


def owner_name() -> str:
    """A name for a runner that no other has, and that tells a person where it is."""
    return f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"


class Keeper:
    """Looks after the leases, and the inbox."""

    def __init__(
        self,
        store: Shared,
        owner: str,
        keeps: Keeps,
        *,
        names: Callable[[], Sequence[str]],
        epochs: Callable[[], Mapping[str, int]],
        unborn: Callable[[], Collection[str]],
        room: Callable[[], int],
        lease_s: float = LEASE_S,
        poll_s: float = POLL_S,
    ) -> None:
        self._store = store
        self._owner = owner
        self._keeps = keeps
        self._names = names
        self._epochs = epochs
        self._unborn = unborn
        self._room = room
        self._lease_s = lease_s
        self._poll_s = poll_s
        self._stir = Event()
        self._is_closing = False
        self._lock = Lock()
        self._leaving: dict[str, int] = {}
        self._bitten: dict[str, int] = {}
        """What it took over last, and under which claims: who was told may not have heard it yet."""
        self._renewed_at = monotonic()
        self._trouble: str | None = None
        self._thread = Thread(target=self._keep, name="treadle keeper", daemon=True)
        self._takes_over = True
        self._loads = store if isinstance(store, Loads) else None
        """Who else there is; None where the store has only this runner, or does not say."""
        self._was_full = False
        """There was more to take over than was taken last."""
        self._taken = 0
        """How many it took last of a backlog."""
        self._pause_s = POLL_S
        """How long the others have their turn then: shorter where what was taken is soon done."""
        self._least = 0
        """How many runs the one who has fewest had, when that was last looked up."""
        self.chores: list[Callable[[], None]] = []
        """What else is to be done in this thread at each look."""
        self.look_at_limits: Callable[[], None] = lambda: None
        """The same, for what all runners share."""

    def start(self, *, takes_over: bool = True) -> None:
        """Begin to look; `takes_over`: also for runs that nobody has."""
        self._takes_over = takes_over
        self._thread.start()

    def hurry(self) -> None:
        """Look now."""
        self._stir.set()

    def leave(self, run_id: str, epoch: int) -> None:
        """This run is not worked on any more: somebody else may have it. From any thread."""
        with self._lock:
            self._leaving[run_id] = epoch

    def keep(self, run_id: str) -> None:
        """There is a new run of this id: it is not the one that was left. From any thread."""
        with self._lock:
            self._leaving.pop(run_id, None)

    def close(self) -> None:
        """Let go of all runs in order, and end."""
        self._is_closing = True
        self._stir.set()
        if self._thread.is_alive():
            self._thread.join()
        try:
            self._store.release({**self._bitten, **self._leaving, **self._epochs()})
        except StoreError as error:
            logger.warning(
                "runs could not be let go of, and stay taken until their leases end: %s", error
            )

    def _keep(self) -> None:
        while not self._is_closing:
            self._stir.clear()
            try:
                found_all = self.look()
            except StoreError as error:
                found_all = True
                self._note(str(error))
            except Exception:
                found_all = True
                logger.exception("the keeper of runner %s stumbled", self._owner)
            else:
                self._note(None)
            if self._loads is not None and self._was_full:  # the others' turn
                self._stir.wait(min(self._poll_s, self._pause_s))
            elif found_all:
                self._stir.wait(self._poll_s)

    def look(self) -> bool:
        """Once: renew, let go, fetch messages and replies, take over; whether there is no more to take over for now."""
        self._renew()
        self.look_at_limits()
        self._let_go()
        messages = self._store.waiting(self._owner, limit=MESSAGES_AT_ONCE)
        if messages:
            self._keeps.heard(messages)
        for chore in self.chores:
            chore()
        return self._take_over()

    def _renew(self) -> None:
        if monotonic() - self._renewed_at < self._lease_s / 3:
            return
        epochs = dict(self._epochs())
        for run_id in self._unborn():  # asked second: what is not among these now was stored before
            epochs.pop(run_id, None)
        begin = monotonic()
        still = self._store.renew(self._owner, self._lease_s, epochs)
        self._renewed_at = begin
        gone = {run_id: epoch for run_id, epoch in epochs.items() if run_id not in still}
        if gone:
            self._keeps.lost(gone)

    def _let_go(self) -> None:
        with self._lock:
            leaving = dict(self._leaving)
        if not leaving:
            return
        self._store.release(leaving)  # if it cannot be done now, they are still to be let go of
        with self._lock:
            for run_id, epoch in leaving.items():
                if self._leaving.get(run_id) == epoch:
                    del self._leaving[run_id]

    def _take_over(self) -> bool:
        was_full, self._was_full = self._was_full, False
        names = self._names()
        if not self._takes_over or not names:
            return True
        bite = self._bite(names, was_full=was_full)
        limit = min(bite, self._room())
        if limit <= 0:
            self._was_full = not bite  # there may be more when the others had their turn
            return True
        infos = self._store.claim(self._owner, self._lease_s, workflows=names, limit=limit)
        if infos:
            self._bitten = {info.id: info.epoch for info in infos}
            self._keeps.found([(info, self._loaded(info.id)) for info in infos])
        self._was_full, self._taken = len(infos) == limit, len(infos)
        return not self._was_full

    def _bite(self, names: Sequence[str], *, was_full: bool) -> int:
        """How many runs to take over now. Whether others are behind is looked up only where there is a backlog."""
        if self._loads is None:
            return AT_ONCE
        if not was_full:
            self._pause_s = POLL_S
            return FIRST_BITE
        loads = dict(self._loads.loads(names))
        mine, before = loads.pop(self._owner, 0), self._least
        self._least = min(loads.values(), default=0)
        is_quick = is_soon_done(mine, self._taken)
        pause_s = self._pause_s / 2 if is_quick else self._pause_s * 2
        self._pause_s = min(POLL_S, max(LEAST_PAUSE_S, pause_s))
        return next_bite(mine, loads.values(), before, self._taken)

    def _loaded(self, run_id: str) -> StoredRun | Exception:
        try:
            return self._store.load(run_id)
        except Exception as error:  # noqa: BLE001 - one run that cannot be read is not to keep others waiting
            return error

    def _note(self, trouble: str | None) -> None:
        if trouble is not None and trouble != self._trouble:
            logger.warning("the store does not answer the keeper: %s", trouble)
        self._trouble = trouble


def is_soon_done(mine: int, taken: int) -> bool:
    """Whether what was taken of a backlog is finished about as quickly as it is taken."""
    return mine <= taken // 2


def next_bite(mine: int, others: Collection[int], least_before: int, taken: int = 0) -> int:
    """How many runs to take of a backlog, with so many running here, and so many at each other runner.

    Who has finished most of what was taken last takes twice as many. Who has more than somebody else takes little, and
    nothing while that one is catching up: `least_before` is what the one with fewest had when this was last asked. Who
    has less than somebody else takes half of what is between them. Otherwise it is a quarter of what is here: those who
    began together stay together, and one alone soon takes many.
    """
    if taken and is_soon_done(mine, taken):
        return min(AT_ONCE, max(FIRST_BITE, 2 * taken))
    least = min(others, default=mine)
    if mine > least:
        is_caught_up_with = mine - least > FIRST_BITE and least > least_before
        return 0 if is_caught_up_with else FIRST_BITE
    behind = max(others, default=mine) - mine
    return min(AT_ONCE, max(FIRST_BITE, mine // 4, behind // 2))
