"""One run as a file: taken out of one store, put into another, also of another kind, with its history as it was.

With it go the marks of attempts that must not begin twice, its messages with what came of them, and what its
transactional steps gave. Events are written by the codec that is given, large values included; a digest over all of it
tells whether the file is what was written.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Any, Final

import msgspec
from msgspec import Struct, structs

from treadle.errors import Corrupt, SchemaTooNew, UsageError
from treadle.interfaces import Codec, RunInfo, Store
from treadle.model.events import Event
from treadle.stores.whole import Beside, Left, Whole, bare, write_run

MAGIC: Final = b"treadle run\n"
FORMAT: Final = 1
DIGEST_BYTES: Final = 32


class Exported(Struct, array_like=True):
    """What is in the file."""

    format: int
    info: RunInfo
    bodies: list[bytes]
    blobs: dict[bytes, bytes]
    intents: list[bytes] = []
    messages: list[Left] = []
    results: list[tuple[str, bytes]] = []


def export_run(store: Whole, codec: Codec, run_id: str) -> bytes:
    """A run as the bytes of a file. Errors: `UnknownRun`, `Corrupt`, `EncodeError`."""
    stored = store.load_all(run_id)
    bodies: list[bytes] = []
    blobs: dict[bytes, bytes] = {}
    encode_event = getattr(codec, "encode_whole", codec.encode_event)  # what lies apart comes along
    for event in stored.events:
        body, apart = encode_event(event)
        bodies.append(body)
        blobs.update(apart)
    beside = store.beside(run_id)
    results = [(key, codec.encode(value)) for key, value in beside.results]
    exported = Exported(
        *(FORMAT, bare(stored.info), bodies, blobs),
        intents=sorted(stored.intents),
        messages=beside.messages,
        results=results,
    )
    data = msgspec.msgpack.encode(exported)
    return MAGIC + blake2b(data, digest_size=DIGEST_BYTES).digest() + data


def import_run(store: Store, codec: Codec, data: bytes, run_id: str | None = None) -> RunInfo:
    """Put a run into a store, under its own id or another; it stands there as it stood where it came from.

    Its run key stays, and with it the idempotency keys of its work: let only one of the two go on.
    Errors: `UsageError`, `Corrupt`, `SchemaTooNew`, `DuplicateRun`.
    """
    exported = read(data)
    info = structs.replace(exported.info, id=run_id or exported.info.id)
    events = events_in(exported, codec)
    results: list[tuple[str, Any]] = [(key, codec.decode(body)) for key, body in exported.results]
    beside = Beside(messages=exported.messages, results=results)
    write_run(store, info, events, intents=exported.intents, beside=beside)
    return info


def events_in(exported: Exported, codec: Codec) -> tuple[Event, ...]:
    """The log in a file. Errors: `Corrupt`, and those of the codec."""
    blobs = exported.blobs
    return tuple([codec.decode_event(body, blobs.__getitem__) for body in exported.bodies])


def read(data: bytes) -> Exported:
    """What is in such a file. Errors: `UsageError`, `Corrupt`, `SchemaTooNew`."""
    if not data.startswith(MAGIC):
        raise UsageError(
            "this is no exported run.", hint="`treadle export ID --to FILE` makes one."
        )
    digest, rest = data[len(MAGIC) :][:DIGEST_BYTES], data[len(MAGIC) + DIGEST_BYTES :]
    if blake2b(rest, digest_size=DIGEST_BYTES).digest() != digest:
        raise Corrupt("the file of the exported run is not what was written.")
    found = msgspec.msgpack.decode(rest, type=list[msgspec.Raw])
    version = msgspec.msgpack.decode(found[0], type=int)
    if version > FORMAT:
        raise SchemaTooNew(f"the file is of format {version}; this version knows {FORMAT}.")
    return msgspec.msgpack.decode(rest, type=Exported)
