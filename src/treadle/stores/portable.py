"""One run as a file: taken out of one store, put into another, also of another kind, with its history as it was.

The events are written by the codec that is given, large values included; a digest over all of it tells whether the file
is what was written.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Final, Protocol

import msgspec
from msgspec import Struct, structs

from treadle.errors import Corrupt, SchemaTooNew, UsageError
from treadle.interfaces import Append, Codec, RunInfo, Store, StoredRun
from treadle.model.events import Event

MAGIC: Final = b"treadle run\n"
FORMAT: Final = 1
DIGEST_BYTES: Final = 32

AT_ONCE: Final = 2_000
"""So many events go into one transaction."""


class Whole(Protocol):
    """A store that can give all of a run."""

    def load_all(self, run_id: str) -> StoredRun:
        """A run with all of its log."""
        ...


class Exported(Struct, array_like=True):
    """What is in the file."""

    format: int
    info: RunInfo
    bodies: list[bytes]
    blobs: dict[bytes, bytes]


def export_run(store: Whole, codec: Codec, run_id: str) -> bytes:
    """A run as the bytes of a file. Errors: `UnknownRun`, `Corrupt`, `EncodeError`."""
    stored = store.load_all(run_id)
    bodies: list[bytes] = []
    blobs: dict[bytes, bytes] = {}
    for event in stored.events:
        body, apart = codec.encode_event(event)
        bodies.append(body)
        blobs.update(apart)
    info = structs.replace(stored.info, owner=None, lease_until=None, epoch=0, crashes=0)
    data = msgspec.msgpack.encode(Exported(FORMAT, info, bodies, blobs))
    return MAGIC + blake2b(data, digest_size=DIGEST_BYTES).digest() + data


def import_run(store: Store, codec: Codec, data: bytes, run_id: str | None = None) -> RunInfo:
    """Put a run into a store, under its own id or another; it stands there as it stood where it came from.

    Its run key stays, and with it the idempotency keys of its work: let only one of the two go on.
    Errors: `UsageError`, `Corrupt`, `SchemaTooNew`, `DuplicateRun`.
    """
    exported = read(data)
    info = structs.replace(exported.info, id=run_id or exported.info.id)
    write_run(store, info, events_in(exported, codec))
    return info


def events_in(exported: Exported, codec: Codec) -> tuple[Event, ...]:
    """The log in a file. Errors: `Corrupt`, and those of the codec."""
    blobs = exported.blobs
    return tuple([codec.decode_event(body, blobs.__getitem__) for body in exported.bodies])


def write_run(store: Store, info: RunInfo, events: tuple[Event, ...]) -> None:
    """Put a run with all of its log into a store, wholly or not at all. Errors: `DuplicateRun`, those of the store."""
    store.create(structs.replace(info, position=0))
    position = 0
    try:
        for start in range(0, len(events), AT_ONCE):
            part = events[start : start + AT_ONCE]
            is_last = start + AT_ONCE >= len(events)
            append = Append(
                run_id=info.id,
                expected=position,
                events=part,
                status=info.status if is_last else None,
                note=info.note,
                at=info.updated_at,
                wake_at=info.wake_at,
            )
            (fault,) = store.append([append])
            if fault is not None:
                raise fault
            position = part[-1].position + 1
    except BaseException:
        store.delete(info.id)  # half a run is none
        raise


def read(data: bytes) -> Exported:
    """What is in such a file. Errors: `UsageError`, `Corrupt`, `SchemaTooNew`."""
    if not data.startswith(MAGIC):
        raise UsageError(
            "this is no exported run.", hint="`treadle export ID --to FILE` makes one."
        )
    digest, rest = data[len(MAGIC) :][:DIGEST_BYTES], data[len(MAGIC) + DIGEST_BYTES :]
    if blake2b(rest, digest_size=DIGEST_BYTES).digest() != digest:
        raise Corrupt("the file of the exported run is not what was written.")
    found = msgspec.msgpack.decode(rest, type=tuple[int, msgspec.Raw, msgspec.Raw, msgspec.Raw])
    if found[0] > FORMAT:
        raise SchemaTooNew(f"the file is of format {found[0]}; this version knows {FORMAT}.")
    return msgspec.msgpack.decode(rest, type=Exported)
