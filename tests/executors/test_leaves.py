"""Messages point at the part of a value that pickle refuses."""

import threading

import pytest

from tests.executors.bodies import Holder
from treadle.executors.leaves import bad_leaf

LOCK = threading.Lock()


class Slotted:
    """Holds what it holds in slots, one of them empty."""

    __slots__ = ("empty", "held")

    def __init__(self, held: object) -> None:
        self.held = held


@pytest.mark.parametrize(
    ("value", "path"),
    [
        (LOCK, ""),
        ([1, LOCK], "[1]"),
        ((0, {"a": [LOCK]}), "[1]['a'][0]"),
        ({LOCK: 1}, ".keys()[0]"),
        ({LOCK}, "[0]"),
        (Holder([LOCK]), ".held[0]"),
        ({"a": Slotted(LOCK)}, "['a'].held"),
        (Exception("text", LOCK), ""),
    ],
)
def test_the_way_to_it_is_written_as_one_would_write_it(value: object, path: str):
    """Elements, entries, keys, attributes and slots are looked into; an opaque object is a leaf itself."""
    found, leaf = bad_leaf(value)

    assert found == path
    assert leaf is (value if path == "" else LOCK)


def test_a_value_that_holds_itself_ends():
    """A cycle is walked once."""
    ring: list[object] = []
    ring += [ring, [LOCK]]

    assert bad_leaf(ring) == ("[1][0]", LOCK)


def test_a_descriptor_that_raises_harms_nothing():
    """A user's attribute may fail in any way."""

    class Odd:
        __slots__ = ("gone",)

        def __getattribute__(self, name: str) -> object:
            raise RuntimeError(name)

    path, leaf = bad_leaf([Odd()])

    assert path == "[0]"
    assert type(leaf) is Odd
