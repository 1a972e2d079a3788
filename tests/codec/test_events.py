"""Events come back as they were; large values in them stand out of line; formats to come are told from damage."""

import hashlib
from typing import Any, get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import msgpack, structs

import treadle as td
from tests.codec.logs import EVENTS, kind_of, nothing
from tests.codec.same import same
from tests.codec.samples import VALUES, Celsius, Money, codec
from tests.oracle.graph import build
from tests.oracle.strategies import cases
from treadle.codec import Codec
from treadle.errors import Corrupt, EncodeError, SchemaTooNew, UnknownType
from treadle.interfaces import Codec as CodecProtocol
from treadle.model.errordata import describe
from treadle.model.events import (
    Applied,
    Baseline,
    Event,
    Expanded,
    Failed,
    InputAccepted,
    Signalled,
)

CODEC = codec()


def back(made: Codec, event: Event) -> Event:
    """Write it, and read it."""
    body, blobs = made.encode_event(event)
    return made.decode_event(body, blobs.__getitem__)


def test_the_samples_are_of_every_kind() -> None:
    """A new kind of event needs a sample, and a golden file."""
    assert set(map(kind_of, EVENTS.values())) == {kind.__name__ for kind in get_args(Event)}
    plug: CodecProtocol = CODEC
    assert plug is CODEC


@pytest.mark.parametrize("name", EVENTS)
@pytest.mark.parametrize(
    "options", [{}, {"inline": 0}, {"compress_over": 0}, {"compare": True}], ids=str
)
def test_every_kind_of_event_comes_back_as_it_was(name: str, options: dict[str, Any]) -> None:
    """With values in line and out of line, compressed and not."""
    event = EVENTS[name]

    assert same_event(back(codec(**options), event), event)


def same_event(left: Any, right: Any) -> bool:
    """Equal, with fields of equal types."""
    return left == right and all(map(same, structs.astuple(left), structs.astuple(right)))


@given(st.sampled_from(sorted(VALUES)), st.sampled_from([0, 30, 1024]))
def test_values_in_events_come_back_as_they_were(name: str, inline: int) -> None:
    """Every kind of value, where values of the user stand."""
    value = VALUES[name]
    made = codec(inline=inline)

    for event in (
        Applied(1, "n", (0,), value, 0),
        Signalled(1, "n", [value]),
        Expanded(1, "n", (0,), (value, value), 0),
        Baseline(1, EVENTS["defined"], {"cells": {"n": {value_key(value): value}}}),  # type: ignore[arg-type]
    ):
        assert same_fields(back(made, event), event)


def value_key(value: Any) -> Any:
    """The value as a key, where it can be one."""
    try:
        hash(value)
    except TypeError:
        return "key"
    return value


def same_fields(left: Any, right: Any) -> bool:
    """Of one class, with fields that are the same."""
    return type(left) is type(right) and all(
        map(same, structs.astuple(left), structs.astuple(right))
    )


def test_a_failure_can_always_be_stored() -> None:
    """Also one whose text is no text: names of files may hold any bytes."""
    told = describe(FileNotFoundError(2, "no such file", "caf\udce9"))
    event = Failed(1, "n", (0,), told, 0)

    assert told.text == "[Errno 2] no such file: 'caf\\udce9'"
    assert describe(ValueError("caf\udce9 \u00e9")).text == "caf\\udce9 \u00e9"
    assert back(CODEC, event) == event


class Key(str):
    """Text of a class of its own."""

    __slots__ = ()


class Broken(Exception):
    """Says what it says in a class of its own."""

    def __str__(self) -> str:
        return Key("broken")


def test_keys_and_names_of_their_own_class_are_text() -> None:
    """They are no values, so equal is enough."""
    event = InputAccepted(0, (0,), 1, Key("k"), at=Celsius(1.5))

    found: Any = back(CODEC, event)

    assert found == event
    assert (type(found.key), type(found.at)) == (str, float)
    assert type(describe(Broken()).text) is str
    failed = Failed(1, "n", (0,), describe(Broken()), 0)
    assert back(CODEC, failed) == failed


# ------------------------------------------------------------------------------------ out of line


def test_large_values_stand_out_of_line() -> None:
    """By the SHA-256 of what is stored; small ones stay in the event."""
    event = Applied(1, "n", (0,), "x" * 1025, 0)
    body, blobs = CODEC.encode_event(event)

    ((digest, blob),) = blobs.items()
    assert digest == hashlib.sha256(blob).digest()
    assert len(body) < 60
    assert CODEC.decode_event(body, blobs.__getitem__) == event
    assert CODEC.encode_event(Applied(1, "n", (0,), "x" * 1000, 0))[1] == {}


def test_equal_values_are_stored_once() -> None:
    """Equal values are equal bytes, so they have one hash: in one event, and in several."""
    long = [Money(index) for index in range(100)]
    _, first = CODEC.encode_event(Expanded(1, "n", (0,), (long, [*long], 1), 0))
    _, second = CODEC.encode_event(Applied(2, "m", (0,), [*long], 1))

    assert first == second
    assert len(first) == 1


def test_a_long_event_of_small_values_has_nothing_out_of_line() -> None:
    """Values are judged one by one: a fan-out of many small ones stays whole."""
    event = Expanded(1, "n", (0,), tuple(range(5000)), 0)
    body, blobs = CODEC.encode_event(event)

    assert blobs == {}
    assert CODEC.decode_event(body, blobs.__getitem__) == event


def test_what_is_fetched_is_verified() -> None:
    """A blob that is gone or was changed is found; an error of the store itself is passed on."""
    body, blobs = CODEC.encode_event(Applied(1, "n", (0,), "x" * 5000, 0))
    ((digest, blob),) = blobs.items()

    with pytest.raises(Corrupt, match=f"{digest.hex()} is not there any more"):
        CODEC.decode_event(body, nothing)
    with pytest.raises(Corrupt, match="is not what was written"):
        CODEC.decode_event(body, lambda _: blob[:-1])
    with pytest.raises(td.errors.StoreUnavailable):
        CODEC.decode_event(body, lambda _: raising(td.errors.StoreUnavailable("off")))
    with pytest.raises(ConnectionError, match="cut"):  # as the driver of a store has it
        CODEC.decode_event(body, lambda _: raising(ConnectionError("cut")))


def raising(error: Exception) -> bytes:
    """A store that fails."""
    raise error


def test_a_reference_where_none_can_be_is_damage() -> None:
    """In a value, in a blob, and in an event that says that it has none."""
    body, blobs = CODEC.encode_event(Applied(1, "n", (0,), "x" * 5000, 0))
    reference = msgpack.encode(msgpack.Ext(50, next(iter(blobs))))

    with pytest.raises(Corrupt, match="out of line where there can be none"):
        CODEC.decode(b"\x10" + reference)
    with pytest.raises(Corrupt, match="out of line where there can be none"):
        CODEC.decode_event(b"\x10" + body[1:], blobs.__getitem__)
    loop = b"\x14" + reference
    with pytest.raises(Corrupt):
        CODEC.decode_event(body, lambda _: loop)


def test_what_is_too_large_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is stored."""
    monkeypatch.setattr("treadle.codec.codec.BYTES_MAX", 5000)
    with pytest.raises(EncodeError, match="value comes to more than 5000 bytes"):
        CODEC.encode_event(Applied(1, "n", (0,), "x" * 6000, 0))
    with pytest.raises(EncodeError, match="value comes to more than 5000 bytes"):
        CODEC.encode("x" * 6000)
    with pytest.raises(EncodeError, match="Expanded comes to more than 5000 bytes"):
        CODEC.encode_event(Expanded(1, "n", (0,), ("x" * 900,) * 10, 0))


# ----------------------------------------------------------------------------------- other versions


def test_fields_may_be_added_and_may_be_missing() -> None:
    """What an earlier version wrote lacks the newest fields; what a later one wrote has more."""
    assert CODEC.decode_event(b"\x10" + msgpack.encode([3, 5, "n", [0], 7, 4]), nothing) == Applied(
        5, "n", (0,), 7, 4
    )
    body, _ = CODEC.encode_event(EVENTS["applied"])
    longer = b"\x10" + msgpack.encode([*msgpack.decode(body[1:]), "later", {"more": 1}])
    assert CODEC.decode_event(longer, nothing) == EVENTS["applied"]


def test_later_formats_are_told_from_damage() -> None:
    """An unknown kind of event, an unknown format, an unknown kind of value."""
    with pytest.raises(SchemaTooNew, match="an event of kind 99"):
        CODEC.decode_event(b"\x10" + msgpack.encode([99, 1, "x"]), nothing)
    for read in (CODEC.decode, lambda body: CODEC.decode_event(body, nothing)):
        with pytest.raises(
            SchemaTooNew, match="has format 2; this version of the library reads up to 1"
        ):
            read(b"\x20\x00")
        with pytest.raises(Corrupt, match="begins with 0x00"):
            read(b"\x00\x00")
        with pytest.raises(Corrupt, match="Nothing is stored"):
            read(b"")
    with pytest.raises(UnknownType, match="a value of kind 99"):
        CODEC.decode(b"\x10" + msgpack.encode(msgpack.Ext(99, b"\x90")))
    with pytest.raises(Corrupt, match=r"Expected `str`, got `int` - at `\$\[2\]`"):
        CODEC.decode_event(b"\x10" + msgpack.encode([3, 5, 7, [0], 7, 4]), nothing)


# ------------------------------------------------------------------------------------- whole logs

relaxed = settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@pytest.mark.slow
@relaxed
@given(
    case=cases(), retain=st.sampled_from(["all", 0, 1, "results"]), rounds=st.sampled_from([1, 8])
)
def test_logs_of_random_workflows_come_back_as_they_were(
    case: Any, retain: Any, rounds: int
) -> None:
    """With baselines, where what is retained makes them; and what is replayed from them is the workflow that was."""
    graph, inputs, _ = case
    whole = build(graph, td)
    flow = td.workflow(whole.name, retain=retain).merge(whole)
    for value in (inputs * 40)[: 8 * rounds]:
        flow = flow.react_until_satisfied(value)

    log = [back(CODEC, event) for event in flow.log()]

    assert log == list(flow.log())
    assert td.Workflow.from_log(whole, log) == flow
