"""The kinds of values that MessagePack does not know: a small number for each, and how it is taken apart and made.

`take` gives the parts of a value, which are values again and are packed in their turn; `make` builds the value from the
parts. Tags are for ever: a number is never given a new meaning, and the parts of a kind are only ever added to.
"""

from __future__ import annotations

import datetime as dt
import pathlib
import types
import uuid
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from treadle.codec.classes import Classes
from treadle.codec.refusals import Refused, shown, what_is
from treadle.errors import Corrupt, UnknownType

Take = Callable[[Any, Classes], Sequence[Any]]
Make = Callable[[list[Any], Classes], Any]
Label = Callable[[Sequence[Any], int], str]


def by_index(_: Sequence[Any], index: int) -> str:
    """How a path names a part of a sequence."""
    return f"[{index}]"


def by_key(parts: Sequence[Any], index: int) -> str:
    """How a path names a part of what is taken apart into keys and values by turns."""
    return f".<key {shown(parts[index])}>" if index % 2 == 0 else f"[{shown(parts[index - 1])}]"


class Kind(msgspec.Struct, frozen=True):
    """One kind: its number, how to take a value apart and make it again, and how a path names its parts."""

    tag: int
    take: Take
    make: Make
    label: Label = by_index
    verify: Callable[[Any], None] | None = None
    """Refuses what `take` would refuse, where that costs less than taking it apart."""
    is_leaf: bool = False
    """Its parts are not the user's, so a path ends here."""
    is_unordered: bool = False
    """Its parts are written in the order of their bytes, so that equal values are equal bytes."""


def _pairs(value: Any) -> list[Any]:
    return [part for pair in value.items() for part in pair]


def _unpaired(parts: list[Any]) -> zip[tuple[Any, Any]]:
    return zip(parts[::2], parts[1::2], strict=True)


def _one(parts: list[Any]) -> Any:
    (part,) = parts
    return part


# ------------------------------------------------------------------------------ numbers and text


def _take_int(value: int, _: Classes) -> Sequence[Any]:
    return (value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True),)


def _take_fraction(value: Fraction, _: Classes) -> Sequence[Any]:
    return (value.numerator, value.denominator)


def _take_path(value: pathlib.PurePath, _: Classes) -> Sequence[Any]:
    return (PATHS.index(type(value)), str(value))


def _make_path(parts: list[Any], _: Classes) -> Any:
    index, text = parts
    if not 0 <= index < len(PATHS):
        raise Corrupt(f"There is no sort of path of number {index}.")
    try:
        return PATHS[index](text)
    except NotImplementedError:
        kind = PATHS[index].__name__
        raise UnknownType(
            f"A {kind} was stored, which cannot be made on this system.",
            hint="store a PurePath, or text.",
        ) from None


PATHS: Final[tuple[type[pathlib.PurePath], ...]] = (
    pathlib.PurePosixPath,
    pathlib.PureWindowsPath,
    pathlib.PosixPath,
    pathlib.WindowsPath,
)
SAFETY: Final = tuple(uuid.SafeUUID)


def _make_uuid(parts: list[Any], _: Classes) -> uuid.UUID:
    return uuid.UUID(bytes=parts[0], is_safe=SAFETY[parts[1]])


# --------------------------------------------------------------------------------------- moments


def _take_datetime(value: dt.datetime, _: Classes) -> Sequence[Any]:
    date = (value.year, value.month, value.day)
    return (*date, value.hour, value.minute, value.second, value.microsecond, value.fold, value.tzinfo)  # fmt: skip


def _make_datetime(parts: list[Any], _: Classes) -> Any:
    make: Any = dt.datetime
    return make(*parts[:7], fold=parts[7], tzinfo=parts[8])


def _take_time(value: dt.time, _: Classes) -> Sequence[Any]:
    return (value.hour, value.minute, value.second, value.microsecond, value.fold, value.tzinfo)


def _make_time(parts: list[Any], _: Classes) -> Any:
    make: Any = dt.time
    return make(*parts[:4], fold=parts[4], tzinfo=parts[5])


def _take_timezone(value: dt.timezone, _: Classes) -> Sequence[Any]:
    offset, *name = value.__getinitargs__()  # type: ignore[attr-defined]
    return (offset, *name)


def _take_zone(value: ZoneInfo, _: Classes) -> Sequence[Any]:
    key: Any = value.key  # None of one that was read from a file
    if key is None:
        raise Refused("is a time zone that is not known by its name")
    return (key,)


def _make_zone(parts: list[Any], _: Classes) -> ZoneInfo:
    try:
        return ZoneInfo(_one(parts))
    except ZoneInfoNotFoundError:
        raise UnknownType(
            f"The time zone {parts[0]!r} is not known here.",
            hint='install the data of time zones: pip install "tzdata".',
        ) from None


def _label_datetime(_: Sequence[Any], __: int) -> str:
    return ".tzinfo"


# ------------------------------------------------------------------------------------ collections

FACTORIES: Final = {
    kind.__name__: kind
    for kind in (bool, int, float, complex, str, bytes, bytearray, list, tuple, dict, set, frozenset)
} | {"deque": deque, "OrderedDict": OrderedDict, "Counter": Counter, "Decimal": Decimal}  # fmt: skip
FACTORY_NAMES: Final = {kind: name for name, kind in FACTORIES.items()}


def _take_defaultdict(value: defaultdict[Any, Any], classes: Classes) -> Sequence[Any]:
    factory = value.default_factory
    if factory is None:
        return ("", None, *_pairs(value))
    known = FACTORY_NAMES.get(factory) if isinstance(factory, type) else None
    if known is not None:
        return (known, None, *_pairs(value))
    if isinstance(factory, type) and factory in classes.by_class:
        return (":" + classes.by_class[factory].name, None, *_pairs(value))
    raise Refused(
        f".default_factory is {what_is(factory)}, of which only classes known to the codec can be kept",
        hint="use defaultdict(list), a registered class, or a plain dict.",
    )


def _make_defaultdict(parts: list[Any], classes: Classes) -> defaultdict[Any, Any]:
    name = parts[0]
    factory: Any
    if not name:
        factory = None
    elif name.startswith(":"):
        factory = classes.found(name[1:]).cls
    else:
        factory = FACTORIES[name]
    return defaultdict(factory, _unpaired(parts[2:]))


def _make_counter(parts: list[Any], _: Classes) -> Counter[Any]:
    counter: Counter[Any] = Counter()
    dict.update(counter, _unpaired(parts))
    return counter


def _make_deque(parts: list[Any], _: Classes) -> deque[Any]:
    return deque(parts[1:], parts[0])


def _label_deque(_: Sequence[Any], index: int) -> str:
    return f"[{index - 1}]"


BUILT_IN: Final[dict[type, Kind]] = {
    int: Kind(1, _take_int, lambda parts, _: int.from_bytes(_one(parts), "little", signed=True)),
    str: Kind(
        2,
        lambda value, _: (value.encode("utf-8", "surrogatepass"),),
        lambda parts, _: _one(parts).decode("utf-8", "surrogatepass"),
    ),
    tuple: Kind(3, lambda value, _: value, lambda parts, _: tuple(parts)),
    set: Kind(4, lambda value, _: tuple(value), lambda parts, _: set(parts), is_unordered=True),
    frozenset: Kind(
        5, lambda value, _: tuple(value), lambda parts, _: frozenset(parts), is_unordered=True
    ),
    dict: Kind(
        6, lambda value, _: _pairs(value), lambda parts, _: dict(_unpaired(parts)), label=by_key
    ),
    bytearray: Kind(
        7, lambda value, _: (bytes(value),), lambda parts, _: bytearray(_bytes(_one(parts)))
    ),
    complex: Kind(
        8, lambda value, _: (value.real, value.imag), lambda parts, _: complex(*_floats(parts))
    ),
    Decimal: Kind(9, lambda value, _: (str(value),), lambda parts, _: Decimal(_text(_one(parts)))),
    Fraction: Kind(10, _take_fraction, lambda parts, _: Fraction(*_ints(parts))),
    dt.datetime: Kind(11, _take_datetime, _make_datetime, label=_label_datetime),
    dt.date: Kind(
        12,
        lambda value, _: (value.year, value.month, value.day),
        lambda parts, _: dt.date(*parts),
    ),
    dt.time: Kind(13, _take_time, _make_time, label=_label_datetime),
    dt.timedelta: Kind(
        14,
        lambda value, _: (value.days, value.seconds, value.microseconds),
        lambda parts, _: dt.timedelta(*_ints(parts)),
    ),
    dt.timezone: Kind(15, _take_timezone, lambda parts, _: dt.timezone(*parts)),
    ZoneInfo: Kind(16, _take_zone, _make_zone, is_leaf=True),
    uuid.UUID: Kind(
        17, lambda value, _: (value.bytes, SAFETY.index(value.is_safe)), _make_uuid, is_leaf=True
    ),
    **{kind: Kind(18, _take_path, _make_path, is_leaf=True) for kind in PATHS},
    range: Kind(
        19,
        lambda value, _: (value.start, value.stop, value.step),
        lambda parts, _: range(*_ints(parts)),
    ),
    deque: Kind(20, lambda value, _: (value.maxlen, *value), _make_deque, label=_label_deque),
    OrderedDict: Kind(
        21,
        lambda value, _: _pairs(value),
        lambda parts, _: OrderedDict(_unpaired(parts)),
        label=by_key,
    ),
    defaultdict: Kind(22, _take_defaultdict, _make_defaultdict, label=by_key),
    Counter: Kind(23, lambda value, _: _pairs(value), _make_counter, label=by_key),
    types.EllipsisType: Kind(24, lambda _, __: (), lambda _, __: ..., is_leaf=True),
    msgspec.UnsetType: Kind(25, lambda _, __: (), lambda _, __: msgspec.UNSET, is_leaf=True),
}


def _ints(parts: list[Any]) -> list[int]:
    if any(type(part) is not int for part in parts):
        raise Corrupt("Numbers were expected.")
    return parts


def _floats(parts: list[Any]) -> list[float]:
    if any(type(part) is not float for part in parts):
        raise Corrupt("Numbers were expected.")
    return parts


def _text(part: Any) -> str:
    if type(part) is not str:
        raise Corrupt("Text was expected.")
    return part


def _bytes(part: Any) -> bytes:
    if type(part) is not bytes:
        raise Corrupt("Bytes were expected.")
    return part
