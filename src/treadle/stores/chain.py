"""The hash chain over a run's log: what makes damage, loss and reordering visible.

Each link covers the one before it, so that the last alone says what the whole log was.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import Any, Final

from treadle.interfaces import Append, RunInfo
from treadle.model.events import Applied, Event, Expanded, Failed, Skipped

LINK_BYTES: Final = 16

ENDS: Final = frozenset({Applied, Expanded, Failed, Skipped})
"""The events that are the outcome of a runnable: of each runnable there may be one."""


def first_link(run_id: str, run_key: str) -> bytes:
    """What the first event of a run is chained to."""
    named = b"run %d " % len(run_id) + run_id.encode() + run_key.encode()
    return blake2b(named, digest_size=LINK_BYTES).digest()


def next_link(link: bytes, position: int, epoch: int, body: bytes) -> bytes:
    """The link of an event at a position, written under an epoch, with this body."""
    head = b"%d %d " % (position, epoch)
    return blake2b(link + head + body, digest_size=LINK_BYTES).digest()


def links(link: bytes, position: int, epoch: int, bodies: Sequence[bytes]) -> list[bytes]:
    """The links of several events in a row."""
    made = []
    for offset, body in enumerate(bodies):
        link = next_link(link, position + offset, epoch, body)
        made.append(link)
    return made


def seal(link: bytes, position: int, body: bytes) -> bytes:
    """What proves that a snapshot is the one that was taken of this log at this position."""
    return blake2b(link + b"snapshot %d " % position + body, digest_size=LINK_BYTES).digest()


def mark_of(*parts: bytes) -> bytes:
    """What proves that something outside of the logs is what was written, in its place."""
    lengths = b"%d " * len(parts) % tuple(map(len, parts))
    return blake2b(lengths + b"".join(parts), digest_size=LINK_BYTES).digest()


def stamped(body: bytes, *names: str) -> bytes:
    """Something outside of the logs as it is stored under its names: after what proves it."""
    return mark_of(*[name.encode() for name in names], body) + body


def unstamped(stored: Any, *names: str) -> bytes | None:
    """What was stamped under these names; None where it is not what was written, or nothing of its kind at all."""
    if not isinstance(stored, bytes):
        return None
    body = stored[LINK_BYTES:]
    return body if stamped(body, *names) == stored else None


def row_seal(run_id: str, noted: Append | RunInfo) -> bytes:
    """What proves that a run's row says what was noted of it last: what its log does not tell."""
    times = [None if at is None else float(at) + 0.0 for at in (noted.wake_at, noted.deadline_at)]
    said = ascii((run_id, noted.status, noted.note, times, noted.durability))
    return blake2b(said.encode(), digest_size=LINK_BYTES).digest()


def sealed_intent(run_id: str, attempt: bytes) -> bytes:
    """The mark of an attempt as it is stored: after what proves it."""
    return mark_of(b"intent", run_id.encode(), attempt) + attempt


def runnable_mark(event: Event) -> bytes | None:
    """A short name of the runnable whose outcome an event is, for the store's own guard; None for all others.

    Node, generation and scope are what a runnable is.
    """
    if type(event) not in ENDS:
        return None
    node, scope, generation = event.node, event.scope, event.generation  # type: ignore[union-attr]
    return blake2b(f"{node}|{generation}|{scope}".encode(), digest_size=12).digest()
