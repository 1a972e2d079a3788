"""The codec: events and values as bytes, and back exactly as they were."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from copy import copy
from typing import Any, Final

from msgspec import Raw, msgpack

from treadle.codec.annotations import annotations_of, classes_in
from treadle.codec.classes import Classes
from treadle.codec.compare import difference
from treadle.codec.events import EVENTS, HAS_NONE, HAS_VALUE, event_to_bytes, values_in, with_values
from treadle.codec.pack import Packer, is_built_in, to_bytes
from treadle.codec.plain import DOUBTS, is_plain
from treadle.codec.sealed import BYTES_MAX, PREFIX, REFERS, Cipher, Seal
from treadle.codec.signed import Signer
from treadle.codec.unpack import REFERENCE, Unfetched, Unpacker, as_stored
from treadle.errors import Corrupt, EncodeError, UnknownType, UsageError
from treadle.model.definition import Definition
from treadle.model.events import Event
from treadle.model.program import Program

LENIENT: Final[ContextVar[bool]] = ContextVar("treadle reads leniently", default=False)


class Codec:
    """Turns events and values into bytes, and back exactly as they were: the same values, of the same types.

    `types`: classes of yours that may be stored, besides those that the ports of a workflow are annotated with.
    `pickle_key`: lets what nothing else can store be pickled, signed with this key (at least 16 bytes; or with the
    first of several, by name). `compress_over`: how many bytes are worth compressing, None for never. `cipher`:
    encrypts all that is written. `inline`: how many bytes a value may have and still stand in its event. `compare`:
    reads back whatever is written and refuses what came back otherwise, for development. `is_lenient`: for who only
    looks, what is of a class that is not registered is read as something that says so.
    """

    def __init__(
        self,
        types: Iterable[type] = (),
        *,
        pickle_key: bytes | Mapping[str, bytes] | None = None,
        compress_over: int | None = 4096,
        cipher: Cipher | None = None,
        inline: int = 1024,
        compare: bool = False,
        is_lenient: bool = False,
    ) -> None:
        if inline < 0 or (compress_over is not None and compress_over < 0):
            raise UsageError("inline and compress_over are numbers of bytes, not negative.")
        self.inline = inline
        self.compare = compare
        self.is_lenient = is_lenient
        self._classes = Classes()
        self._seal = Seal(compress_over, cipher)
        self._is_bare = cipher is None and not compare
        """Short events need nothing but the prefix."""
        signer = None if pickle_key is None else Signer(pickle_key)
        self._signer = signer
        self._packer = Packer(self._classes, signer)
        self._unpacker = Unpacker(self._classes, signer, is_lenient=is_lenient)
        self._read_event = self._unpacker.event
        for cls in types:
            self.register(cls)

    # ------------------------------------------------------------------------------------- classes

    def register(self, cls: type, *, name: str | None = None) -> None:
        """Let instances of a class be stored; `name` is a stable alias, by which they are found after it was renamed.

        Errors: `UsageError` where the class cannot be stored, or another one has the name.
        """
        if not is_built_in(cls):
            self._classes.register(cls, name=name)

    def also_called(self, name: str, module: str) -> None:
        """Read what was stored of classes of the module `name` as those of another one: it was that very file.

        Only classes that are registered are read. A program's own file is `__main__`, and stores its classes so.
        """
        self._classes.also_called(name, module)

    def learn(self, annotations: Iterable[Any]) -> None:
        """Register the classes in type annotations, and those of their fields; what cannot be stored is passed over."""
        self._classes.learn(cls for cls in classes_in(annotations) if not is_built_in(cls))

    def learn_from(self, graph: Definition | Program) -> None:
        """Register the classes that a workflow's ports are annotated with; a runner calls this for each it takes."""
        self.learn(annotations_of(graph))

    # -------------------------------------------------------------------------------------- values

    def check(self, value: Any) -> None:
        """Refuse what could not be stored. Errors: `EncodeError`, with the path to the part that cannot."""
        if is_plain(value):
            return
        try:
            self._packer.check(value)
        except Exception as error:  # noqa: BLE001 - the methods of a value may raise anything
            raise self._packer.error_for("value", value, error) from None

    def encode(self, value: Any) -> bytes:
        """A value as bytes. Errors: `EncodeError`, with the path to the part that cannot be stored."""
        stored = self._seal.close(self._packed("value", value))
        if self.compare:
            self._compare("value", value, self.decode(stored), self.decode(stored))
        return stored

    def plain_bytes(self, value: Any) -> bytes:
        """A value as bytes that are neither compressed nor encrypted: equal for equal values. Errors: `EncodeError`."""
        return self._packed("value", value)

    def decode(self, stored: bytes) -> Any:
        """The value. Errors: `UnknownType`, `Corrupt`, `BadSignature`, `SchemaTooNew`."""
        return self._value(stored)

    def _packed(self, label: str, value: Any) -> bytes:
        """A value as bytes that are not sealed yet."""
        data = self._as_bytes(label, value)
        if len(data) > BYTES_MAX:
            raise _too_large(label)
        return data

    def _as_bytes(self, label: str, value: Any) -> bytes:
        if is_plain(value):
            try:
                return to_bytes(value)
            except DOUBTS:
                pass
        try:
            return to_bytes(self._packer.pack(value))
        except Exception as error:  # noqa: BLE001 - the methods of a value may raise anything
            raise self._packer.error_for(label, value, error) from None

    def _value(self, stored: bytes) -> Any:
        data = b""
        try:
            data, _ = self._seal.open(stored)
            return self._unpacker.value(data)
        except Exception as error:
            raise as_stored(error, None) from error

    # -------------------------------------------------------------------------------------- events

    def encode_event(self, event: Event) -> tuple[bytes, dict[bytes, bytes]]:
        """An event as bytes, and the large values in it, which stand out of line: by the SHA-256 of what is stored.

        Errors: `EncodeError`, with the path to what cannot be stored.
        """
        kind = type(event)
        if self._is_bare and (kind in HAS_NONE or (kind in HAS_VALUE and is_plain(event.value))):  # type: ignore[union-attr]
            try:
                body = event_to_bytes(event)
            except DOUBTS:
                pass
            else:
                if len(body) <= self.inline:
                    return PREFIX + body, {}
        return self._encode_with_care(event)

    def _encode_with_care(self, event: Event) -> tuple[bytes, dict[bytes, bytes]]:
        if type(event) not in EVENTS:
            raise EncodeError(f"{type(event).__name__} is no event.")
        blobs: dict[bytes, bytes] = {}

        def stand_in(label: str, value: Any) -> Any:
            data = self._packed(label, value)
            if len(data) <= self.inline or label == "expression":
                return Raw(data)
            blob = self._seal.close(data)
            digest = hashlib.sha256(blob).digest()
            blobs[digest] = blob
            return msgpack.Ext(REFERENCE, digest)

        packed = with_values(event, stand_in)
        try:
            data = event_to_bytes(packed)
        except Exception as error:  # noqa: BLE001 - a field may hold what its annotation does not say
            raise EncodeError(
                f"{type(event).__name__} cannot be stored: {type(error).__name__}: {error}.",
                hint="names and keys are text that can be written as UTF-8.",
            ) from None
        if len(data) > BYTES_MAX:
            raise _too_large(type(event).__name__)
        body = self._seal.close(data, REFERS if blobs else 0)
        if self.compare:
            twice = [self.decode_event(body, blobs.__getitem__) for _ in range(2)]
            self._compare_event(event, *twice)
        return body, blobs

    def decode_event(self, body: bytes, fetch: Callable[[bytes], bytes]) -> Event:
        """The event; `fetch` gives a large value by its hash.

        Errors: `UnknownType`, `Corrupt`, `BadSignature`, `SchemaTooNew`; those of `fetch`, but for `LookupError`.
        """
        data = b""
        try:
            if body[:1] == PREFIX:
                data = body[1:]
                return self._read_event(data)
            data, refers = self._seal.open(body)
            if not refers:
                return self._read_event(data)
            return self._referring(fetch).event(data)
        except Exception as error:
            fault = as_stored(error, data)
            if isinstance(fault, UnknownType) and LENIENT.get() and not self.is_lenient:
                return self._lenient().decode_event(body, fetch)
            raise fault from error

    @contextmanager
    def leniently(self) -> Generator[None]:
        """While this is entered, events are read for who only looks: see `is_lenient`."""
        token = LENIENT.set(True)
        try:
            yield
        finally:
            LENIENT.reset(token)

    def _lenient(self) -> Codec:
        """The same for who only looks; it knows the same classes."""
        twin = copy(self)
        twin.is_lenient = True
        reader = Unpacker(self._classes, self._signer, is_lenient=True)
        twin._unpacker, twin._read_event = reader, reader.event  # noqa: SLF001 - it is one of us
        return twin

    def _referring(self, fetch: Callable[[bytes], bytes]) -> Unpacker:
        def resolve(digest: bytes) -> Any:
            try:
                blob = fetch(digest)
            except LookupError:
                raise Corrupt(f"The value of hash {digest.hex()} is not there any more.") from None
            except Exception as error:
                raise Unfetched(error) from error
            if not blob:  # as `Apart` leaves it in the store
                raise Corrupt(
                    f"The value of hash {digest.hex()} does not lie in the store.",
                    hint="read it with the codec that it was written with: Apart(Codec(), ...).",
                )
            if hashlib.sha256(blob).digest() != digest:
                raise Corrupt(f"The value of hash {digest.hex()} is not what was written.")
            return self._value(blob)

        return Unpacker(self._classes, self._signer, resolve, is_lenient=self.is_lenient)

    # ------------------------------------------------------------------------------------- compare

    def _compare_event(self, event: Event, back: Event, again: Event) -> None:
        triples = zip(values_in(event), values_in(back), values_in(again), strict=True)
        for (label, value), (_, found), (_, other) in triples:
            self._compare(label, value, found, other)
        if type(back) is not type(event):
            raise EncodeError(f"{type(event).__name__} came back as {type(back).__name__}.")

    def _compare(self, label: str, value: Any, back: Any, again: Any) -> None:
        where = difference(label, value, back, again, self._packer)
        if where is not None:
            raise EncodeError(
                f"{where}.", hint="register its class, or store what it is made from."
            )


def _too_large(what: str) -> EncodeError:
    return EncodeError(
        f"{what} comes to more than {BYTES_MAX} bytes.",
        hint="store such a value elsewhere, and give where it is.",
    )
