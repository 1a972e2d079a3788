"""A codec that only looks: what it does not know is stood in for, and written again as it was."""

import sys
from dataclasses import dataclass
from enum import Enum
from pathlib import PurePath
from typing import Any

import pytest

from treadle.codec import Codec
from treadle.codec.classes import modules_of_main
from treadle.errors import UnknownType
from treadle.model.events import Applied


@dataclass(frozen=True)
class Order:
    """A class that only the one who writes knows."""

    number: int
    lines: tuple[str, ...] = ()


VALUE = {"order": Order(7, ("tea",)), "all": [Order(8), {"in": Order(9)}], "set": {Order(1)}}


def test_a_class_that_is_not_registered_is_named() -> None:
    """Around it all is as it was; a codec that is to run workflows refuses it."""
    body, blobs = Codec([Order]).encode_event(Applied(3, "s", (0,), VALUE, 1))
    event = Codec(is_lenient=True).decode_event(body, blobs.__getitem__)

    assert isinstance(event, Applied)
    assert event.node == "s"
    assert repr(event.value["order"]) == f"<not registered: {__name__}:Order>"
    assert list(event.value) == ["order", "all", "set"]
    with pytest.raises(UnknownType):
        Codec().decode_event(body, blobs.__getitem__)


def test_what_was_stood_in_for_is_written_as_it_was() -> None:
    """Whoever knows the class reads the same values, also where they were large."""
    knowing, looking = Codec([Order], inline=8), Codec(is_lenient=True, inline=8)
    written = Applied(3, "s", (0,), VALUE, 1)
    body, blobs = knowing.encode_event(written)
    seen: Any = looking.decode_event(body, blobs.__getitem__)
    body, blobs = looking.encode_event(seen)

    assert knowing.decode_event(body, blobs.__getitem__) == written
    assert looking.decode_event(body, blobs.__getitem__) == seen
    assert len(seen.value["set"]) == 1


def test_a_signed_pickle_is_stood_in_for_where_there_is_no_key() -> None:
    """It is not looked into, and stays what it was."""
    knowing, looking = Codec(pickle_key=b"0123456789abcdef"), Codec(is_lenient=True)
    stored = knowing.encode(range(3).__iter__())
    seen = looking.decode(stored)

    assert repr(seen).startswith("<not registered: ")
    assert list(knowing.decode(looking.encode(seen))) == [0, 1, 2]


class Colour(Enum):
    """One that only the one who writes knows."""

    RED = 1


def test_what_is_stood_in_for_shows_what_it_has() -> None:
    """Its attributes by name, a member by its own; nothing where only the class could tell."""
    body, blobs = Codec([Order, Colour]).encode_event(
        Applied(3, "s", (0,), [Order(7, ("tea",)), Colour.RED, OSError("away")], 1)
    )
    order, colour, error = Codec(is_lenient=True).decode_event(body, blobs.__getitem__).value  # type: ignore[union-attr]

    assert order.stands_for() == {"number": 7, "lines": ("tea",)}
    assert colour.stands_for() == "RED"
    assert isinstance(error, OSError)


def test_a_codec_that_runs_workflows_may_look_for_a_while() -> None:
    """Only as long as it is told to, and only in that context; what it knows is made as always."""
    body, blobs = Codec([Order, Colour]).encode_event(
        Applied(3, "s", (0,), [Order(7), Colour.RED, b"x" * 5_000], 1)
    )
    codec = Codec([Colour])
    with codec.leniently():
        event: Any = codec.decode_event(body, blobs.__getitem__)
    order, colour, large = event.value

    assert (repr(order), colour, len(large)) == (
        f"<not registered: {__name__}:Order>",
        Colour.RED,
        5_000,
    )
    with pytest.raises(UnknownType):
        codec.decode_event(body, blobs.__getitem__)


def test_one_file_may_have_two_names() -> None:
    """What was stored of its classes when it was run by itself is read where it was imported."""
    writer, reader = Codec([Order]), Codec([Order])
    writer.register(Order, name="__main__:Order")
    body = writer.encode({"it": Order(7)})
    with pytest.raises(UnknownType):
        reader.decode(body)
    reader.also_called("__main__", __name__)

    assert reader.decode(body) == {"it": Order(7)}


def test_the_programs_own_file_is_known_by_its_name() -> None:
    """As a script, and as a module that is run: what the command line stored of it is read."""
    main = sys.modules["__main__"]
    spec = getattr(main, "__spec__", None)
    expected = spec.name if spec is not None else PurePath(str(main.__file__)).stem

    assert modules_of_main() == {expected: "__main__"}
