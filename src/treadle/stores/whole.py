"""All that a store keeps of one run, beside its log, too: what must go with it where it moves."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Final, Protocol

from msgspec import Struct, structs

from treadle.errors import Corrupt, Overloaded
from treadle.interfaces import (
    Append,
    Finding,
    Inbox,
    Message,
    Reply,
    RunInfo,
    StoredRun,
    Transactions,
)
from treadle.model.events import Baseline, Event

AT_ONCE: Final = 2_000
"""So many events go into one transaction."""

HELD_BACK: Final = "stopped"
"""What a run is until all of it is there: no runner takes it over by itself."""


class Left(Struct, frozen=True, array_like=True):
    """A message that was left for a run, and what became of it."""

    message: Message
    """Of one that was taken the body is not known any more."""
    is_taken: bool = False
    input: int | None = None
    """Which input it became."""
    reply: bytes | None = None
    """What came of it."""


class Beside(Struct, kw_only=True):
    """What belongs to a run and is not in its log."""

    messages: list[Left] = []
    """What was left for it, in order."""
    results: list[tuple[str, Any]] = []
    """What its transactional steps gave, by key."""


class Whole(Protocol):
    """A store that can give all of a run."""

    def load_all(self, run_id: str) -> StoredRun:
        """A run with all of its log."""
        ...

    def beside(self, run_id: str) -> Beside:
        """What belongs to it beside the log."""
        ...


class Source(Whole, Protocol):
    """A store that can give all of its runs as they were at one moment."""

    def list(self) -> list[RunInfo]:
        """Runs in the order of their creation."""
        ...

    def at_one_moment(self) -> AbstractContextManager[None]:
        """Whatever this thread reads meanwhile was so at one moment."""
        ...


class Copied(Struct, kw_only=True):
    """What was copied, and what could not be read."""

    runs: int = 0
    events: int = 0
    left_out: list[Finding] = []


def write_run(
    store: Any,
    info: RunInfo,
    events: Sequence[Event],
    *,
    intents: Iterable[bytes] = (),
    beside: Beside | None = None,
    is_synced: bool = True,
) -> None:
    """Put a run with all of its log into a store, wholly or not at all. Errors: `DuplicateRun`, those of the store."""
    if beside is not None and store.info(info.id) is None:
        give(
            store, info.run_key, beside.results
        )  # before anybody can find the run and do its steps
    parts = [events[start : start + AT_ONCE] for start in range(0, len(events), AT_ONCE)] or [()]
    first = structs.replace(info, position=0, status=HELD_BACK, wake_at=None)
    letters = [] if beside is None else beside.messages
    if letters:  # whoever takes the run over finds all that was left for it
        parts.append(())
    position, is_begun = 0, False
    try:
        for number, part in enumerate(parts):
            is_first, is_last = number == 0, number == len(parts) - 1
            if is_last:
                leave(store, info.id, letters)
            append = Append(
                run_id=info.id,
                expected=position,
                events=tuple(part),
                status=info.status if is_last else None,
                note=info.note,
                at=info.updated_at,
                wake_at=info.wake_at,
                deadline_at=info.deadline_at,
                durability=info.durability,
                create=first if is_first else None,
                intents=tuple(intents) if is_first else (),
                is_synced=is_synced,
            )
            add(store, append)
            is_begun = True
            position = end_of(part, position)
    except BaseException:
        if is_begun:
            store.delete(info.id)  # half a run is none
        raise


def add(store: Any, append: Append) -> None:
    """One append, or what was wrong with it."""
    (fault,) = store.append([append])
    if fault is not None:
        raise fault


def end_of(events: Sequence[Event], position: int) -> int:
    """How long a log is after these; a baseline takes no position."""
    if not events:
        return position
    return events[-1].position + (not isinstance(events[-1], Baseline))


def give(store: Any, run_key: str, results: Iterable[tuple[str, Any]]) -> None:
    """Note what a run's transactional steps gave, where the store is one that has such."""
    for key, value in results if isinstance(store, Transactions) else ():
        with store.transaction(key, run_key) as step:
            if not step.has_result:
                step.keep(value)


def leave(store: Any, run_id: str, messages: Iterable[Left]) -> None:
    """Leave the messages that were left for a run; those that were taken are not to be taken again, or answered.

    They were never all waiting together, so that room is made for more where as many wait as may. Errors: `Overloaded`,
    where those that were not taken are too many for this store.
    """
    left: list[Left] = []
    for each in messages if isinstance(store, Inbox) else ():
        message = structs.replace(each.message, run_id=run_id)
        try:
            store.post(message)
        except Overloaded:
            if not any(known.is_taken for known in left):
                raise
            take(store, run_id, left)
            left = []
            store.post(message)
        left.append(each)
    take(store, run_id, left)


def take(store: Any, run_id: str, left: Sequence[Left]) -> None:
    """Note which of these messages were taken, and what was told of them."""
    taken = tuple([each.message.id for each in left if each.is_taken])
    replies = tuple(
        [
            Reply(message=each.message.id, input=each.input, body=each.reply)
            for each in left
            if each.input is not None or each.reply is not None
        ]
    )
    if taken or replies:
        add(store, Append(run_id=run_id, expected=None, consumed=taken, replies=replies))


def bare(info: RunInfo) -> RunInfo:
    """A run as nobody has it."""
    return structs.replace(info, owner=None, lease_until=None, epoch=0, crashes=0, trials=0)


def copy_runs(
    source: Source, target: Any, told: Callable[[RunInfo], None] = lambda _: None
) -> Copied:
    """Put all runs of one store, as they are at one moment, into another, also of another kind.

    The cache is left out, and so are the epochs of claims; idempotency keys stay. A run that cannot be read is named in
    `left_out`. Errors: `DuplicateRun`; those of either store. What was written until then is taken back.
    """
    copied = Copied()
    done: list[str] = []
    try:
        with source.at_one_moment():
            for info in source.list():
                stored = _read(source, info.id, copied)
                if stored is None:
                    continue
                run, beside = stored
                write_run(
                    target,
                    bare(run.info),
                    run.events,
                    intents=sorted(run.intents),
                    beside=beside,
                    is_synced=False,
                )
                done.append(info.id)
                copied.runs += 1
                copied.events += len(run.events)
                told(info)
        if done:  # one commit that is synced carries all before it to the disk
            add(target, Append(run_id=done[-1], expected=None))
    except BaseException:
        for run_id in done:
            target.delete(run_id)
        raise
    return copied


def _read(source: Source, run_id: str, copied: Copied) -> tuple[StoredRun, Beside] | None:
    try:
        return source.load_all(run_id), source.beside(run_id)
    except Corrupt as error:
        copied.left_out.append(Finding(run_id=run_id, position=None, what=str(error)))
        return None
