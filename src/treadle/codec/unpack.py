"""Bytes, unpacked: MessagePack does the plain part, and asks here for each tagged piece.

Whatever the bytes are, nothing is imported, nothing is called that the program did not register, and what comes of
nonsense is an error of the store. Each level of tagged pieces has a decoder of its own, so that how deep they nest is
known without keeping count, and any thread may read.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, get_args

import msgspec
from msgspec import msgpack

from treadle.codec import arrays
from treadle.codec.classes import Classes
from treadle.codec.kinds import BUILT_IN, Make
from treadle.codec.objects import BY_FORM
from treadle.codec.pack import EVENT
from treadle.codec.plain import DEPTH_MAX
from treadle.codec.signed import UNREAD, Signer
from treadle.codec.standin import StandIn
from treadle.errors import BadSignature, Corrupt, SchemaTooNew, StoreError, UnknownType
from treadle.model.events import Event

REFERENCE: Final = 50
"""The tag of a value that stands out of line: its content is the hash."""

MAKERS: Final[dict[int, Make]] = {
    kind.tag: kind.make
    for kind in (
        *BUILT_IN.values(),
        *BY_FORM.values(),
        arrays.ARRAY,
        arrays.SCALAR,
        arrays.TABLE,
        arrays.BATCH,
        UNREAD,
    )
}
EVENT_TYPE: Final[Any] = Event
KINDS: Final[dict[int, type]] = {kind.__struct_config__.tag: kind for kind in get_args(Event)}


class Unpacker:
    """Reads values and events; `resolve` gives what stands out of line, where that may occur.

    `is_lenient`: what cannot be made here is stood in for.
    """

    def __init__(
        self,
        classes: Classes,
        signer: Signer | None,
        resolve: Callable[[bytes], Any] | None = None,
        *,
        is_lenient: bool = False,
    ) -> None:
        self.is_lenient = is_lenient
        self.classes = classes
        self.signer = signer
        self.resolve = resolve
        hook = self._hook(0)
        self.value: Callable[[bytes], Any] = msgpack.Decoder(Any, ext_hook=hook).decode
        self.event: Callable[[bytes], Event] = msgpack.Decoder(EVENT_TYPE, ext_hook=hook).decode
        self._decoders: dict[tuple[int, Any], Callable[[memoryview], Any]] = {}
        """By level: what decodes a tagged piece, made when first needed."""

    def _hook(self, level: int) -> Callable[[int, memoryview], Any]:
        def hook(tag: int, data: memoryview) -> Any:
            if level >= DEPTH_MAX:
                raise Corrupt(f"What is stored nests deeper than {DEPTH_MAX} levels.")
            if tag == EVENT:
                return self._decoder(level + 1, EVENT_TYPE)(data)
            if tag == REFERENCE:
                return self._referred(bytes(data))
            make = MAKERS.get(tag)
            if make is None:
                raise UnknownType(
                    f"What is stored has a value of kind {tag}, which is not known here.",
                    hint="a later version of the library may have written it.",
                )
            parts = self._decoder(level + 1, list[Any])(data)
            if self.is_lenient:
                return self._made_or_stood_in_for(make, tag, parts)
            if tag == UNREAD.tag and self.signer is not None:
                return self.signer.read(parts)
            return make(parts, self.classes)

        return hook

    def _made_or_stood_in_for(self, make: Make, tag: int, parts: list[Any]) -> Any:
        try:
            return make(parts, self.classes)
        except (UnknownType, BadSignature):
            return StandIn(tag, parts)

    def _decoder(self, level: int, kind: Any) -> Callable[[memoryview], Any]:
        decode = self._decoders.get((level, kind))
        if decode is None:
            decode = msgpack.Decoder(kind, ext_hook=self._hook(level)).decode
            self._decoders[level, kind] = decode
        return decode

    def _referred(self, digest: bytes) -> Any:
        if self.resolve is None:
            raise Corrupt("What is stored refers to a value out of line where there can be none.")
        return self.resolve(digest)


class Unfetched(Exception):
    """A large value could not be fetched: that says nothing of the bytes."""

    def __init__(self, why: Exception) -> None:
        super().__init__(str(why))
        self.why = why


def as_stored(error: Exception, body: Any) -> Exception:
    """What is wrong with bytes that could not be read; what kept a large value from being fetched stays what it is."""
    if isinstance(error, Unfetched):
        return error.why
    if isinstance(error, StoreError):
        return error
    if isinstance(error, RecursionError):
        return Corrupt("What is stored nests too deep to be read.")
    kind = _kind_in(body) if isinstance(error, msgspec.ValidationError) else None
    if kind is not None and kind not in KINDS:
        return SchemaTooNew(
            f"What is stored is an event of kind {kind}, which this version does not know.",
            hint="take the version of the library that wrote it, or a later one.",
        )
    return Corrupt(f"What is stored cannot be read: {type(error).__name__}: {error}.")


def _kind_in(body: Any) -> int | None:
    """The number that an event begins with, if it begins like one."""
    try:
        told = msgpack.decode(body, type=list[msgspec.Raw])
        return msgpack.decode(told[0], type=int)
    except Exception:  # noqa: BLE001 - then it does not
        return None
