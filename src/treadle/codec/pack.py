"""Values, packed: what MessagePack does not know becomes a tagged piece of bytes (an `Ext`) whose content is its parts.

Packing goes down the value once. What is plain all the way down is handed on as it is, not copied.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from msgspec import Raw, msgpack

from treadle.codec import arrays
from treadle.codec.classes import Classes
from treadle.codec.events import EVENTS, event_to_bytes, values_in, with_values
from treadle.codec.kinds import BUILT_IN, Kind
from treadle.codec.objects import BY_FORM, RAISED
from treadle.codec.plain import ATOMS, DEPTH_MAX, TEXT, is_sayable
from treadle.codec.refusals import Refused, explain, what_is
from treadle.codec.signed import Signer
from treadle.codec.standin import StandIn
from treadle.errors import EncodeError

INT_MIN: Final = -(1 << 63)
INT_END: Final = 1 << 64
EVENT: Final = 34
"""The tag of an event that stands within a value: baselines hold some."""

to_bytes: Final = msgpack.Encoder().encode


class Packer:
    """Packs values, and refuses what could not be read back exactly."""

    def __init__(self, classes: Classes, signer: Signer | None) -> None:
        self.classes = classes
        self.signer = signer
        self.kinds: dict[type, Kind] = dict(BUILT_IN)
        """By class: what was found out about it. Filled as classes are met."""

    def pack(self, value: Any, depth: int = 0) -> Any:
        """The value as MessagePack takes it. Errors: `Refused`."""
        kind = type(value)
        if kind in ATOMS:
            return self._atom(kind, value)
        if depth >= DEPTH_MAX:
            raise Refused(f"nests deeper than {DEPTH_MAX} levels")
        depth += 1
        if kind is list:
            return [self.pack(item, depth) for item in value]
        if kind is dict and TEXT.issuperset(map(type, value)) and all(map(is_sayable, value)):
            return {key: self.pack(item, depth) for key, item in value.items()}
        if kind in EVENTS:
            packed_event = with_values(value, lambda _, part: self.pack(part, depth))
            return msgpack.Ext(EVENT, event_to_bytes(packed_event))
        if kind is StandIn:
            stored = [self.pack(part, depth) for part in value.parts]
            return msgpack.Ext(value.tag, to_bytes(stored))
        found = self.kinds.get(kind) or self.kind_of(value)
        parts = found.take(value, self.classes)
        packed = [self.pack(part, depth) for part in parts]
        if found.is_unordered:
            packed = [Raw(part) for part in sorted(map(to_bytes, packed))]
        return msgpack.Ext(found.tag, to_bytes(packed))

    def _atom(self, kind: type, value: Any) -> Any:
        if kind is int:
            if INT_MIN <= value < INT_END:
                return value
        elif kind is not str or is_sayable(value):
            return value
        found = self.kinds[kind]
        return msgpack.Ext(found.tag, to_bytes(found.take(value, self.classes)))

    def kind_of(self, value: Any) -> Kind:
        """The kind of a value whose class was not met yet. Errors: `Refused`."""
        cls = type(value)
        shape = self.classes.by_class.get(cls)
        found = BY_FORM[shape.form] if shape is not None else arrays.kind_of(cls)
        if found is not None:
            if shape is None:
                self.kinds[cls] = found
            return found
        if self.signer is not None:
            return self.signer.kind
        if isinstance(value, BaseException):
            return RAISED
        raise refusal(value)

    def check(self, value: Any, depth: int = 0) -> None:
        """Refuse what `pack` would refuse, at less cost: no bytes are made. Errors: `Refused`."""
        kind = type(value)
        if kind in ATOMS:
            return
        if depth >= DEPTH_MAX:
            raise Refused(f"nests deeper than {DEPTH_MAX} levels")
        depth += 1
        parts: Iterable[Any]
        if kind is list:
            parts = value
        elif kind is dict:
            parts = value.values()
            if not TEXT.issuperset(map(type, value)):
                parts = [*value, *parts]
        elif kind in EVENTS:
            parts = [part for _, part in values_in(value)]
        else:
            found = self.kinds.get(kind) or self.kind_of(value)
            if found.verify is not None:
                found.verify(value)
                return
            parts = found.take(value, self.classes)
        if not ATOMS.issuperset(map(type, parts)):
            for part in parts:
                if type(part) not in ATOMS:
                    self.check(part, depth)

    # ------------------------------------------------------------------------------------ refusals

    def refusal_of(self, value: Any) -> Refused | None:
        """Why a value is refused, if it is."""
        try:
            self.check(value)
        except Refused as refused:
            return refused
        except Exception as error:  # noqa: BLE001 - its own methods may raise anything
            return Refused(f"cannot be taken apart: {type(error).__name__}: {error}")
        return None

    def parts_of(self, value: Any) -> Iterable[tuple[str, Any]]:
        """The parts of a value, with how a path names each; none where a path ends."""
        kind = type(value)
        if kind in ATOMS:
            return
        if kind in EVENTS:
            for label, part in values_in(value):
                yield f".{label}", part
            return
        if kind is list:
            for index, part in enumerate(value):
                yield f"[{index}]", part
            return
        try:
            found = self.kinds.get(kind) or self.kind_of(value)
            parts = found.take(value, self.classes)
        except Exception:  # noqa: BLE001 - then it is the value itself that is to blame
            return
        if found.is_leaf:
            return
        for index, part in enumerate(parts):
            yield ".<element>" if found.is_unordered else found.label(parts, index), part

    def error_for(self, label: str, value: Any, because: Exception) -> EncodeError:
        """What to raise where a value could not be packed."""
        if self.refusal_of(value) is None:
            return EncodeError(f"{label} cannot be stored: {type(because).__name__}: {because}.")
        return explain(label, value, self.parts_of, self.refusal_of)


def is_built_in(cls: Any) -> bool:
    """Whether instances of a class can be stored without anybody registering it."""
    if not isinstance(cls, type):
        return False
    return cls in ATOMS or cls is list or cls in BUILT_IN or arrays.kind_of(cls) is not None


def refusal(value: Any) -> Refused:
    """A value of a kind that cannot be kept, or whose class nobody registered."""
    cls = type(value)
    told = what_is(value)
    if cls.__module__.startswith("treadle."):
        return Refused(f"is {told}, which means nothing outside of this process")
    if isinstance(value, type) or cls.__module__ in {"builtins", "types", "_thread", "_io"}:
        return Refused(
            f"is {told}, which cannot be stored and read back", "store what it is made from."
        )
    return Refused(
        f"is {told}, which is not registered",
        f"give the runner codec=Codec(types=[{cls.__name__}]), or annotate the step's port with {cls.__name__}.",
    )
