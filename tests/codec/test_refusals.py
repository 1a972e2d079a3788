"""What cannot be stored is refused: the error names the part that is to blame, and says what to do."""

import datetime as dt
import socket
import sys
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.codec.samples import Bag, Line, Order, Point, Unregistered, codec
from treadle.codec import Codec
from treadle.errors import EncodeError, UsageError
from treadle.model.events import Applied, Defined, Event, Expanded, Planned, Signalled

CODEC = codec()


def gives() -> Iterator[int]:
    """Something lazy."""
    yield 1


class Zone(dt.tzinfo):
    """A time zone of its own."""

    def utcoffset(self, _: dt.datetime | None) -> dt.timedelta:
        return dt.timedelta(0)

    tzname = dst = None  # type: ignore[assignment]


class Handle:
    """What holds something of the system gives it back when it is forgotten."""

    def __del__(self) -> None:
        """Give it back."""


class SubInt(int):
    """An int of its own class."""


LOCK = threading.Lock()
WHERE = "tests.codec"

REFUSED: list[tuple[Any, str]] = [
    (len, "value is a function, which cannot be stored"),
    ({"items": [1, {"callback": gives}]}, "value['items'][1]['callback'] is a function,"),
    ([gives()], "value[0] is a generator,"),
    ((1, [2, sys]), "value[1][1] is a module,"),
    ({(1, 2): {"k": LOCK}}, "value[(1, 2)]['k'] is a _thread.lock,"),
    ({1: 2, len: 3}, "value.<key <built-in function len>> is a function,"),
    ({"k": {1, LOCK}}, "value['k'].<element> is a _thread.lock,"),
    (Order(1, [Line("x", LOCK)]), "value.lines[0][1] is a _thread.lock,"),
    (Point(1, [LOCK]), "value.y[0] is a _thread.lock,"),
    (Bag(1, LOCK), "value._Bag__hidden is a _thread.lock,"),
    (Unregistered, f"value is the class {WHERE}.samples.Unregistered,"),
    ([SubInt(1)], f"value[0] is a {WHERE}.test_refusals.SubInt, which is not registered."),
    (defaultdict(lambda: 1), "value.default_factory is a function, of which only classes"),
    (
        dt.datetime(2024, 1, 1, tzinfo=Zone()),
        f"value.tzinfo is a {WHERE}.test_refusals.Zone, which",
    ),
    (memoryview(b"x"), "value is a memoryview,"),
    (object(), "value is an object,"),
    (ValueError, "value is the class ValueError,"),
]


@pytest.mark.parametrize(("value", "told"), REFUSED)
def test_the_path_to_what_cannot_be_stored_is_told(value: Any, told: str) -> None:
    """By `check` and by `encode`, in the same words."""
    for refuse in (CODEC.check, CODEC.encode):
        with pytest.raises(EncodeError) as caught:
            refuse(value)
        assert str(caught.value).startswith(told)


def test_a_class_that_is_not_registered_is_named_with_the_remedy() -> None:
    """The hint can be copied into the program."""
    with pytest.raises(EncodeError) as caught:
        CODEC.check({"order": [Unregistered()]})

    assert str(caught.value) == (
        "value['order'][0] is a tests.codec.samples.Unregistered, which is not registered. Hint: give the runner "
        "codec=Codec(types=[Unregistered]), or annotate the step's port with Unregistered."
    )


def test_arguments_of_known_exceptions_are_refused_like_any_value() -> None:
    """An exception that comes back would lack them."""
    with pytest.raises(EncodeError, match=r"value.args\[1\]\[0\] is a _thread.lock"):
        CODEC.encode(ValueError("x", [LOCK]))


def nested(depth: int, wrap: Callable[[Any], Any]) -> Any:
    """A value that nests so deep."""
    value: Any = 0
    for _ in range(depth):
        value = wrap(value)
    return value


@pytest.mark.parametrize(
    "wrap",
    [lambda v: [v], lambda v: {"k": v}, lambda v: (v,), lambda v: {1: v}, lambda v: Point(v)],
    ids=["list", "dict", "tuple", "dict-keys", "struct"],
)
def test_what_nests_too_deep_is_refused(wrap: Callable[[Any], Any]) -> None:
    """200 levels are written and read again, 201 are refused, and neither runs out of stack."""
    assert CODEC.encode(CODEC.decode(CODEC.encode(nested(200, wrap)))) == CODEC.encode(
        nested(200, wrap)
    )
    CODEC.check(nested(200, wrap))
    for depth in (201, 5000):
        for refuse in (CODEC.check, CODEC.encode):
            with pytest.raises(EncodeError, match="nests deeper than 200 levels") as caught:
                refuse(nested(depth, wrap))
            assert len(str(caught.value)) < 300


def test_a_value_that_contains_itself_is_refused() -> None:
    """At once, also where it is inside itself many times over."""
    ring: list[Any] = []
    ring.append({"me": ring})
    fan: list[Any] = []
    fan += [fan, fan, (fan,)]
    knot = Bag(1)
    knot.extra = [(knot,)]

    for value, told in [
        (ring, "value[0]['me'] is value again: a value that contains itself cannot be stored."),
        ((1, ring), "value[1][0]['me'] is value[1] again"),
        (fan, "value[0] is value again"),
        (knot, "value.extra[0][0] is value again"),
    ]:
        for refuse in (CODEC.check, CODEC.encode):
            with pytest.raises(EncodeError) as caught:
                refuse(value)
            assert str(caught.value).startswith(told)


def test_a_shallow_stack_gives_an_error_of_ours() -> None:
    """Where the program itself is nested deep, there may be no room for 200 levels; no RecursionError escapes."""

    def at(depth: int) -> None:
        if depth:
            return at(depth - 1)
        for wrap in (lambda v: (v,), lambda v: [v]):
            value = nested(200, wrap)
            for refuse in (CODEC.check, CODEC.encode, in_event):
                with pytest.raises(EncodeError):
                    refuse(value)
        return None

    at(sys.getrecursionlimit() - 130 - len_of_stack())


def in_event(value: Any) -> None:
    """Write it as the value of an event."""
    CODEC.encode_event(Applied(1, "n", (0,), value, 0))


def len_of_stack() -> int:
    """How deep the calls are nested here."""
    frame: Any = sys._getframe()
    count = 0
    while frame is not None:
        frame, count = frame.f_back, count + 1
    return count


class Nasty(dict):
    """Its methods raise."""

    def __repr__(self) -> str:
        raise RuntimeError("no")

    def items(self) -> Any:
        raise RuntimeError("no")


def test_values_whose_methods_raise_are_refused_in_our_words() -> None:
    """Whatever a user's class does, what comes out is an EncodeError."""
    with pytest.raises(
        EncodeError, match=r"value\[0\] is a tests.codec.test_refusals.Nasty, which is not"
    ):
        CODEC.encode([Nasty()])
    known = Codec([Nasty])
    with pytest.raises(EncodeError, match=r"value\['k'\] is a _thread.lock"):
        known.encode(Nasty(k=LOCK))
    assert type(known.decode(known.encode(Nasty(a=1)))) is Nasty


def test_values_of_events_are_named_by_their_field() -> None:
    """The path begins with the field of the event that holds the value."""
    events: list[tuple[Event, str]] = [
        (Applied(1, "n", (0,), [LOCK], 0), "value[0] is"),
        (Expanded(1, "n", (0,), (1, [LOCK]), 0), "values[1][0] is"),
        (Signalled(1, "s", (LOCK,)), "value[0] is"),
        (Planned(1, "n", (0,), keys=(("total", LOCK),)), "keys['total'] is"),
    ]
    for event, told in events:
        with pytest.raises(EncodeError) as caught:
            CODEC.encode_event(event)
        assert str(caught.value).startswith(told)


def test_fields_of_events_that_are_no_values_are_refused_too() -> None:
    """A name that cannot be written, and what is no event at all."""
    with pytest.raises(EncodeError, match="Applied cannot be stored: UnicodeEncodeError"):
        CODEC.encode_event(Applied(1, "\ud800", (0,), 1, 0))
    with pytest.raises(EncodeError, match="Defined cannot be stored: TypeError"):
        CODEC.encode_event(Defined(0, "n", (), retain=object()))  # type: ignore[arg-type]
    with pytest.raises(EncodeError, match="str is no event"):
        CODEC.encode_event("x")  # type: ignore[arg-type]


def test_classes_that_cannot_be_stored_cannot_be_registered() -> None:
    """What is made of more than attributes, or is no class."""
    for cls in (socket.socket, Handle, type(LOCK), dt.tzinfo):
        with pytest.raises(
            UsageError, match="cannot be registered: its instances are made of more"
        ):
            Codec([cls])
    with pytest.raises(UsageError, match="is no class"):
        Codec([Order(1)])  # type: ignore[list-item]
    Codec([int, dt.datetime, tuple])  # known anyway


def test_an_alias_belongs_to_one_class() -> None:
    """Two classes cannot have one name."""
    made = Codec()
    made.register(Order, name="thing")
    with pytest.raises(
        UsageError, match="'thing' is the name of tests.codec.samples.Order already"
    ):
        made.register(Point, name="thing")


def test_of_two_classes_with_one_name_the_older_is_refused() -> None:
    """A notebook cell that ran twice: values of the first class would come back as the second."""

    def make() -> type:
        class Local:
            pass

        return Local

    first, second = make(), make()
    made = Codec([first, second])

    assert type(made.decode(made.encode(second()))) is second
    with pytest.raises(EncodeError, match="which is not registered"):
        made.encode(first())


class Registered:
    """Knows its instances by a list of its own, so what is read back is another one."""

    known: dict[int, str] = {}  # noqa: RUF012

    def __eq__(self, other: object) -> bool:
        return self.known.get(id(self)) == self.known.get(id(other))

    __hash__ = None  # type: ignore[assignment]


def test_comparing_asks_the_class() -> None:
    """A class whose instances are not all in their attributes is found out in development."""
    value = Registered()
    Registered.known[id(value)] = "first"

    assert Codec([Registered]).encode(value)
    with pytest.raises(EncodeError, match=r"^value came back, and does not equal what it was\."):
        Codec([Registered], compare=True).encode(value)
    with pytest.raises(EncodeError, match=r"^value came back, and does not equal what it was\."):
        Codec([Registered], compare=True).encode_event(Applied(1, "n", (0,), value, 0))


def test_numbers_of_bytes_are_not_negative() -> None:
    """A slip in the options is told at once."""
    with pytest.raises(UsageError, match="not negative"):
        Codec(inline=-1)
    with pytest.raises(UsageError, match="not negative"):
        Codec(compress_over=-1)
