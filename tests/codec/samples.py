"""Classes of every form, and a value of every kind that can be stored."""

import datetime as dt
import enum
import math
import pathlib
import uuid
from collections import Counter, OrderedDict, defaultdict, deque
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import msgspec

from treadle.codec import Codec
from treadle.model.errordata import ErrorData, Frame
from treadle.model.events import Applied, AttemptFailed
from treadle.model.facts import Fact, Failure
from treadle.model.sentinels import ABSENT


class Colour(enum.Enum):
    """A member with an alias, and one whose value nothing could store."""

    RED = "red"
    CRIMSON = "red"  # noqa: PIE796 - an alias
    ODD = (1, object())


class Rank(enum.IntEnum):
    """An int."""

    LOW = 1


class Word(enum.StrEnum):
    """A str."""

    YES = "yes"


class Right(enum.Flag):
    """Flags, which combine to members without a name."""

    READ = 1
    WRITE = 2


class Bits(enum.IntFlag):
    """Flags that are ints, and take bits that no member has."""

    A = 1
    B = 2


class Line(NamedTuple):
    """A named tuple."""

    name: str
    price: Any = 0


@dataclass
class Order:
    """A dataclass."""

    id: int
    lines: list[Line] = field(default_factory=list)
    note: str = ""


@dataclass(frozen=True, slots=True)
class Money:
    """A dataclass without `__dict__`."""

    amount: Any
    currency: str = "EUR"


@dataclass
class Careful:
    """Its constructor refuses what a live instance may have become."""

    size: int
    double: int = field(init=False)

    def __post_init__(self) -> None:
        if self.size < 0:
            raise ValueError("too small")
        self.double = self.size * 2


class Point(msgspec.Struct):
    """A struct."""

    x: Any
    y: Any = 0


class Checked(msgspec.Struct, frozen=True, kw_only=True):
    """A struct whose check refuses what a live instance may have become."""

    x: int

    def __post_init__(self) -> None:
        if self.x < 0:
            raise ValueError("too small")


class Loose(msgspec.Struct, dict=True):
    """A struct that takes attributes."""

    x: int


class Bag:
    """A plain class with a slot, attributes, and an equality of its own."""

    __slots__ = ("__dict__", "__hidden", "content")

    def __init__(self, content: Any, hidden: Any = None) -> None:
        self.content = content
        self.__hidden = hidden
        self.extra = [content]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Bag) and (self.content, self.__hidden, self.extra) == (
            other.content,
            other.__hidden,
            other.extra,
        )

    __hash__ = None  # type: ignore[assignment]


class Celsius(float):
    """A subclass of an atom, with an attribute."""

    source: str


class Name(str):
    """A str without `__dict__`."""

    __slots__ = ()


class Stack(list):
    """A list with an attribute."""

    limit: int = 3


class Table(dict):
    """A dict whose `__setitem__` is not to be called."""

    def __setitem__(self, key: Any, value: Any) -> None:
        raise RuntimeError("not while reading")


class Triple(tuple):
    """A tuple of its own class."""

    __slots__ = ()


class Tags(set):
    """A set of its own class."""


class OutOfStock(Exception):
    """An exception whose constructor takes other arguments than it keeps."""

    def __init__(self, item: str, *, left: int) -> None:
        super().__init__(f"{item}: {left} left")
        self.item = item
        self.left = left


class Unregistered:
    """What no codec was told of."""


ENUMS = (Colour, Rank, Word, Right, Bits)
CLASSES = (
    *ENUMS,
    *(Line, Order, Money, Careful, Point, Checked, Loose, Bag),
    *(Celsius, Name, Stack, Table, Triple, Tags, OutOfStock),
)


def codec(**options: Any) -> Codec:
    """A codec that knows the classes of this file."""
    return Codec(CLASSES, **options)


def _with(value: Any, **attributes: Any) -> Any:
    for name, part in attributes.items():
        setattr(value, name, part)
    return value


def _table() -> Table:
    table = Table()
    dict.update(table, {1: "x"})
    return table


def _shrunk() -> Careful:
    """In a state that its constructor would refuse."""
    return _with(Careful(3), size=-1)


def _grown() -> Checked:
    made = Checked(x=1)
    msgspec.structs.force_setattr(made, "x", -1)
    return made


BERLIN = ZoneInfo("Europe/Berlin")
UTC = dt.timezone.utc  # noqa: UP017

VALUES: dict[str, Any] = {
    "none": None,
    "true": True,
    "false": False,
    "zero": 0,
    "int-min": -(2**63),
    "int-max": 2**64 - 1,
    "int-below": -(2**63) - 1,
    "int-above": 2**64,
    "int-huge": -(7**300),
    "float": 0.1,
    "float-minus-zero": -0.0,
    "float-nan": math.nan,
    "float-inf": -math.inf,
    "str": "Grüße \U0001f600",
    "str-surrogate": "a\ud800b",
    "bytes": b"\x00\xff",
    "list": [1, [2, "x"], {}],
    "dict": {"b": 1, "a": [None]},
    "dict-keys": {1: "int", (1, "x"): "tuple", None: 3, 2.5: [1]},
    "dict-surrogate-key": {"\udcff": 1},
    "tuple": (1, (2, ()), [3]),
    "set": {3, "x", (1, 2)},
    "frozenset": frozenset({frozenset(), 1}),
    "bytearray": bytearray(b"ab"),
    "complex": complex(-0.0, math.inf),
    "decimal": Decimal("-1.500"),
    "decimal-nan": Decimal("-sNaN123"),
    "decimal-exponent": Decimal("1E+5000"),
    "fraction": Fraction(-3, 7),
    "datetime": dt.datetime(2024, 2, 29, 23, 59, 59, 999_999),  # noqa: DTZ001
    "datetime-utc": dt.datetime(1, 1, 1, tzinfo=UTC),
    "datetime-offset": dt.datetime(
        2024, 1, 2, 3, 4, tzinfo=dt.timezone(dt.timedelta(hours=-5, seconds=1), "odd")
    ),
    "datetime-zone-fold": dt.datetime(2024, 10, 27, 2, 30, tzinfo=BERLIN, fold=1),
    "date": dt.date(2024, 2, 29),
    "time": dt.time(1, 2, 3, 4, tzinfo=UTC, fold=1),
    "timedelta": dt.timedelta(-1, 2, 3),
    "timezone": UTC,
    "zoneinfo": BERLIN,
    "uuid": uuid.UUID("12345678-1234-5678-1234-567812345678"),
    "path-pure": pathlib.PurePosixPath("/a/b"),
    "path-windows": pathlib.PureWindowsPath("C:/a/b"),
    "range": range(10, 0, -3),
    "deque": deque([1, (2,)], maxlen=5),
    "ordered-dict": OrderedDict([("b", 1), (2, "a")]),
    "defaultdict": defaultdict(list, {"a": [1]}),
    "defaultdict-none": defaultdict(None, {1: 2}),
    "defaultdict-registered": defaultdict(Stack, {"a": Stack([1])}),
    "counter": Counter("abca"),
    "ellipsis": ...,
    "unset": msgspec.UNSET,
    "absent": ABSENT,
    "enum": Colour.RED,
    "enum-by-name": Colour.ODD,
    "int-enum": Rank.LOW,
    "str-enum": Word.YES,
    "flag": Right.READ | Right.WRITE,
    "flag-none": Right(0),
    "int-flag": Bits.A | Bits(8),
    "named-tuple": Line("x", Decimal(1)),
    "dataclass": Order(1, [Line("x")], "n"),
    "dataclass-frozen-slots": Money(Decimal("1.0")),
    "dataclass-init-false": _shrunk(),
    "struct": Point((1,), {2}),
    "struct-post-init": _grown(),
    "struct-dict": _with(Loose(1), more=2),
    "plain-class": _with(Bag(1, (2,)), extra={"k": ()}),
    "float-subclass": _with(Celsius(1.5), source="roof"),
    "str-subclass": Name("n"),
    "list-subclass": _with(Stack([1, (2,)]), limit=9),
    "dict-subclass": _table(),
    "tuple-subclass": Triple((1, 2, 3)),
    "set-subclass": Tags({1}),
    "error-data": ErrorData("E", "\udc80", (Frame("f", 1, "g"),), (ErrorData("C", ""),)),
    "failure": Failure("c", None, (0, 1), ((1,),), ErrorData("E", "t")),
    "fact": Fact("c", "p", (0,), {1}, (("a", 0, (0,)),)),
    "event": Applied(3, "n", (0,), (1, 2), (1, 2)),
    "event-nested": [AttemptFailed(4, "n", (0,), ErrorData("E", "t"))],
}
