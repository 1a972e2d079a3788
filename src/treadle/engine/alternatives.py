"""What a pattern asks for, as alternatives of tests that can be looked up: the food of `engine/index.py`.

A test names a place of the value and what has to stand there. A pattern matches a value only if all tests of one
of its alternatives pass; the opposite need not hold, so leaving a test out is always right.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import Any, Final, TypeAlias

from treadle.engine.spans import intersection, span_of
from treadle.model.literals import literal_key
from treadle.model.patterns import (
    And,
    Anything,
    Instance,
    Keyed,
    Listed,
    Literal,
    Not,
    OneOf,
    Or,
    Pattern,
    Regex,
    Within,
)

KEY: Final = 0
ITEM: Final = 1
ATTRIBUTE: Final = 2

Step: TypeAlias = tuple[Any, ...]
"""`(KEY, key)`, `(ITEM, number)` or `(ATTRIBUTE, class, name)`."""


class Place:
    """A place in a value. The same steps from the same root lead to the same place, so identity is equality."""

    __slots__ = ("_below", "above", "step")

    def __init__(self, above: Place | None = None, step: Step = ()) -> None:
        self.above = above
        self.step = step
        self._below: dict[Step, Place] | None = None

    def below(self, step: Step) -> Place:
        """Return the place one step further."""
        if self._below is None:
            self._below = {}
        place = self._below.get(step)
        if place is None:
            self._below[step] = place = Place(self, step)
        return place


# In order of how much they tell, where counting them tells nothing.
LITERAL: Final = 0
"""This very literal, as a table key."""
ONE_OF: Final = 1
"""One of these literals: a tuple of table keys."""
SPAN: Final = 2
"""Within this span."""
CLASS: Final = 3
"""An instance of this class."""
LENGTH: Final = 4
"""A list or tuple of this length; `None`: of any."""
PRESENT: Final = 5
"""Anything at all."""

Test: TypeAlias = tuple[Place, int, Any]
Alternative: TypeAlias = tuple[Test, ...]

ALTERNATIVES_MAX: Final = 32
"""Where choices multiply beyond this, some are left to `matches`."""


def alternatives(pattern: Pattern, place: Place) -> list[Alternative]:
    """Return the alternatives of a pattern for what stands at a place; each has at least one test."""
    return _ALTERNATIVES[type(pattern)](pattern, place)


def _of_anything(_: Pattern, place: Place) -> list[Alternative]:
    return [((place, PRESENT, None),)]


def _of_literal(pattern: Literal, place: Place) -> list[Alternative]:
    if not pattern.sharable:
        return _of_anything(pattern, place)
    return [((place, LITERAL, literal_key(pattern.value)),)]


def _of_one_of(pattern: OneOf, place: Place) -> list[Alternative]:
    if not pattern.sharable:
        return _of_anything(pattern, place)
    return [(_one_of(place, map(literal_key, pattern.values)),)]


def _one_of(place: Place, keys: Iterable[Hashable]) -> Test:
    distinct = tuple(dict.fromkeys(keys))
    return (place, LITERAL, distinct[0]) if len(distinct) == 1 else (place, ONE_OF, distinct)


def _of_within(pattern: Within, place: Place) -> list[Alternative]:
    span = span_of(pattern)
    return _of_anything(pattern, place) if span is None else [((place, SPAN, span),)]


def _of_regex(_: Regex, place: Place) -> list[Alternative]:
    return [((place, CLASS, str),)]


def _of_instance(pattern: Instance, place: Place) -> list[Alternative]:
    found: list[Alternative] = [((place, CLASS, pattern.cls),)]
    for name, part in pattern.attributes:
        step = (ATTRIBUTE, pattern.cls, name)
        found = _product(found, alternatives(part, place.below(step)))
    return found


def _of_keyed(pattern: Keyed, place: Place) -> list[Alternative]:
    first, *others = [alternatives(part, place.below((KEY, key))) for key, part in pattern.items]
    for other in others:
        first = _product(first, other)
    return first


def _of_listed(pattern: Listed, place: Place) -> list[Alternative]:
    length = None if pattern.open_ended else len(pattern.parts)
    found: list[Alternative] = [((place, LENGTH, length),)]
    for number, part in enumerate(pattern.parts):
        found = _product(found, alternatives(part, place.below((ITEM, number))))
    return found


def _of_and(pattern: And, place: Place) -> list[Alternative]:
    first, *others = [alternatives(part, place) for part in pattern.parts]
    for other in others:
        first = _product(first, other)
    return first


def _of_or(pattern: Or, place: Place) -> list[Alternative]:
    """Put all alternatives side by side; those that are just literals of one place become one."""
    found: list[Alternative] = []
    literals: dict[Place, list[Hashable]] = {}
    for part in pattern.parts:
        for tests in alternatives(part, place):
            at, kind, payload = tests[0]
            if len(tests) == 1 and kind in (LITERAL, ONE_OF):
                literals.setdefault(at, []).extend([payload] if kind == LITERAL else payload)
            else:
                found.append(tests)
    return found + [(_one_of(at, keys),) for at, keys in literals.items()]


def _product(left: list[Alternative], right: list[Alternative]) -> list[Alternative]:
    if len(left) * len(right) > ALTERNATIVES_MAX:
        return min(left, right, key=len)
    return [_both(one, other) for one in left for other in right]


def _both(one: Alternative, other: Alternative) -> Alternative:
    """Return the tests of both; spans of the same place and family become their intersection."""
    tests = list(one)
    for test in other:
        place, kind, payload = test
        for index, (its_place, its_kind, its_payload) in enumerate(tests if kind == SPAN else ()):
            if its_place is place and its_kind == SPAN and its_payload[0] == payload[0]:
                tests[index] = (place, SPAN, intersection(its_payload, payload))
                break
        else:
            tests.append(test)
    return tuple(tests)


_ALTERNATIVES: Final[dict[type[Pattern], Callable[[Any, Place], list[Alternative]]]] = {
    Anything: _of_anything,
    Not: _of_anything,
    Literal: _of_literal,
    OneOf: _of_one_of,
    Within: _of_within,
    Regex: _of_regex,
    Instance: _of_instance,
    Keyed: _of_keyed,
    Listed: _of_listed,
    And: _of_and,
    Or: _of_or,
}
