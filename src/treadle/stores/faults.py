"""What stores say when a run is not there, not as long as expected, or not as it was written."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from treadle.errors import Conflict, Corrupt, DuplicateRun, Fenced, UnknownRun
from treadle.interfaces import RunInfo
from treadle.stores.chain import LINK_BYTES, next_link, row_seal, sealed_intent


def check_chain(
    run_id: str,
    rows: Sequence[tuple[int, int, bytes, bytes]],
    *,
    begin: int,
    head: int,
    link: bytes,
    last: bytes,
) -> None:
    """Read the chain over the events of a log, from a known link to the run's own. Errors: `Corrupt`."""
    for expected, (position, epoch, body, written) in enumerate(rows, begin):
        if position != expected:
            raise damaged(run_id, expected, "an event is missing")
        link = next_link(link, position, epoch, body)
        if link != written:
            raise damaged(run_id, position, "an event")
    if len(rows) != head - begin:
        raise damaged(run_id, begin + len(rows), "an event is missing")
    if link != last:
        raise damaged(run_id, head, "the end of the log")


def check_row(info: RunInfo, written: bytes) -> None:
    """What a run's row says besides its log is what was written. Errors: `Corrupt`."""
    if row_seal(info.id, info) != written:
        raise damaged(info.id, info.position, "what is noted beside its log")


def opened_intents(run_id: str, stored: Iterable[bytes]) -> frozenset[bytes]:
    """The marks of attempts that were about to begin. Errors: `Corrupt`."""
    found = set()
    for mark in stored:
        attempt = bytes(mark[LINK_BYTES:])
        if mark != sealed_intent(run_id, attempt):
            raise damaged(run_id, 0, "the mark of an attempt")
        found.add(attempt)
    return frozenset(found)


def fenced(run_id: str, owner: str | None, epoch: int, claimed: int) -> Fenced:
    """Somebody else has the run now."""
    return Fenced(
        f"{run_id!r} was taken over by {owner or 'another runner'} (epoch {epoch}, not {claimed}).",
        hint="leave it to that runner.",
    )


def damaged(run_id: str, position: int, what: str) -> Corrupt:
    """Something of a run is not as it was written, or is missing."""
    told = what if what.endswith("missing") else f"{what} is not what was written"
    return Corrupt(
        f"the log of {run_id!r} is damaged at position {position}: {told}.",
        hint="restore a backup; other runs are not touched by it.",
    )


def unknown(run_id: str) -> UnknownRun:
    """There is no such run."""
    return UnknownRun(f"there is no run {run_id!r}.", hint="create it, or correct its id.")


def duplicate(run_id: str) -> DuplicateRun:
    """There is a run of this id."""
    return DuplicateRun(
        f"there is a run {run_id!r} already.",
        hint="take another id, or resume the one that is there.",
    )


def conflict(run_id: str, head: int, expected: int) -> Conflict:
    """The log is not as long as the writer thought."""
    return Conflict(
        f"the log of {run_id!r} is {head} events long, not {expected}.",
        hint="somebody else appended to it: load the run and go on from there.",
    )


def damaged_entry(key: str) -> Corrupt:
    """What was kept in the cache is not as it was written."""
    return Corrupt(
        f"the cached entry {key!r:.80} is damaged.", hint="what it was is computed anew, and kept."
    )
