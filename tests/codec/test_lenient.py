"""A codec that only looks: what it does not know is stood in for, and written again as it was."""

from dataclasses import dataclass
from typing import Any

import pytest

from treadle.codec import Codec
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
