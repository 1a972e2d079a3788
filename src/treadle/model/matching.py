"""Compiled tests: the functions that `model/patterns.py` asks its values with, and how parts of a value are read.

A test is a function of any value to a bool. It raises only what the user's own code raises, and of that no
`TypeError` and no `AttributeError`: these say that the value has another shape, which is just false.
"""

from __future__ import annotations

import enum
import operator
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

from treadle.model.literals import BOOLEANS, is_hashable, is_true, literal_key

Test: TypeAlias = Callable[[Any], bool]


class Missing(enum.Enum):
    """What is not there, where `None` would be a value."""

    MISSING = "<missing>"

    def __repr__(self) -> str:
        return str(self.value)


MISSING: Final = Missing.MISSING

SEQUENCES: Final = (list, tuple)
"""What a list or tuple pattern matches."""


def attribute_of(value: Any, name: str) -> Any:
    """Return an attribute, `MISSING` if there is none."""
    try:
        return getattr(value, name)
    except (AttributeError, TypeError):
        return MISSING


def value_at(mapping: Any, key: Any) -> Any:
    """Return the value of a key of any mapping, `MISSING` if there is none; makes no default."""
    try:
        return mapping[key] if key in mapping else MISSING  # noqa: SIM401 - `get` may make a default
    except (KeyError, TypeError, AttributeError):
        return MISSING


def equals(value: Any) -> Test:
    """Return the test for what equals one value."""
    if value is None or isinstance(value, bool):
        return lambda found: found is value
    if is_hashable(value):
        return equals_any((value,))

    def matches(found: Any) -> bool:
        try:
            return is_true(found == value)
        except (TypeError, AttributeError):
            return False

    return matches


def equals_any(values: tuple[Any, ...]) -> Test:
    """Return the test for what equals one of several hashable values."""
    table = frozenset(map(literal_key, values))

    def matches(found: Any) -> bool:
        try:
            return found in table
        except (TypeError, AttributeError):
            return False

    def matches_strictly(found: Any) -> bool:
        if found is True or found is False:
            return BOOLEANS[found] in table
        return matches(found)

    confusable = 0 in table or 1 in table or not table.isdisjoint(BOOLEANS.values())
    return matches_strictly if confusable else matches


def beyond(compare: Callable[[Any, Any], Any], limit: Any) -> Test:
    """Return the test for what lies on one side of a limit."""

    def matches(found: Any) -> bool:
        if found is True or found is False:
            return False
        try:
            answer = compare(found, limit)
        except (TypeError, AttributeError):
            return False
        except ArithmeticError:  # `decimal` raises where NaN is asked for its order
            if _is_nan(found):
                return False
            raise
        return answer if answer is True or answer is False else is_true(answer)

    return matches


def between(low: Any, high: Any) -> Test:
    """Return the test for what lies between two ends, or on one of them."""
    from_low, to_high = beyond(operator.ge, low), beyond(operator.le, high)
    kind = type(low)
    if kind is not type(high) or kind not in (int, float, str):
        return lambda found: from_low(found) and to_high(found)

    def matches(found: Any) -> bool:
        if type(found) is kind:
            return bool(low <= found <= high)
        return from_low(found) and to_high(found)

    return matches


def _is_nan(value: Any) -> bool:
    is_nan = getattr(
        value, "is_nan", None
    )  # a signalling NaN does not even say whether it is itself
    return is_true(is_nan() if callable(is_nan) else value != value)  # noqa: PLR0124


def fullmatches(text: str) -> Test:
    """Return the test for text that an expression matches from its first to its last character."""
    fullmatch = re.compile(text).fullmatch
    return lambda found: isinstance(found, str) and fullmatch(found) is not None


def is_instance(cls: type) -> Test:
    """Return the test for the instances of a class; booleans are no `int`."""
    if cls is int:
        return lambda found: isinstance(found, int) and found is not True and found is not False
    return lambda found: isinstance(found, cls)


def has_attributes(cls: type, tests: tuple[tuple[str, Test], ...]) -> Test:
    """Return the test for instances of a class whose attributes pass their tests."""
    is_one = is_instance(cls)

    def matches(found: Any) -> bool:
        if not is_one(found):
            return False
        for name, test in tests:
            part = attribute_of(found, name)
            if part is MISSING or not test(part):
                return False
        return True

    return matches if tests else is_one


def has_keys(tests: tuple[tuple[Any, Test], ...]) -> Test:
    """Return the test for mappings with all these keys, whose values pass their tests."""

    def matches(found: Any) -> bool:
        if type(found) is not dict:
            return isinstance(found, Mapping) and matches_mapping(found)
        get = found.get
        for key, test in tests:
            part = get(key, MISSING)
            if part is MISSING or not test(part):
                return False
        return True

    def matches_mapping(found: Mapping[Any, Any]) -> bool:
        for key, test in tests:
            part = value_at(found, key)
            if part is MISSING or not test(part):
                return False
        return True

    return matches


def has_items(tests: tuple[Test, ...], *, open_ended: bool) -> Test:
    """Return the test for lists and tuples whose items pass their tests; `open_ended`: or more items."""
    count = len(tests)
    placed = tuple(enumerate(tests))

    def matches(found: Any) -> bool:
        if not isinstance(found, SEQUENCES):
            return False
        if len(found) != count and (len(found) < count or not open_ended):
            return False
        for place, test in placed:  # noqa: SIM110 - quicker than all()
            if not test(found[place]):
                return False
        return True

    return matches


def passes_all(tests: tuple[Test, ...]) -> Test:
    """Return the test for what passes all tests, asked in order."""
    if len(tests) == 2:
        first, second = tests
        return lambda found: first(found) and second(found)

    def matches(found: Any) -> bool:
        for test in tests:  # noqa: SIM110 - quicker than all()
            if not test(found):
                return False
        return True

    return matches


def passes_any(tests: tuple[Test, ...]) -> Test:
    """Return the test for what passes one of the tests, asked in order."""
    if len(tests) == 2:
        first, second = tests
        return lambda found: first(found) or second(found)

    def matches(found: Any) -> bool:
        for test in tests:  # noqa: SIM110 - quicker than any()
            if test(found):
                return True
        return False

    return matches


def passes_not(test: Test) -> Test:
    """Return the test for what does not pass the test."""
    return lambda found: not test(found)
