"""The values that are written in patterns: how they are compared, shown and described, and which make no sense.

Nothing here knows patterns.
"""

from __future__ import annotations

import enum
import re
import typing
from collections.abc import Hashable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from typing import Any, Final, final

BOOLEANS: Final[dict[Any, object]] = {False: object(), True: object()}
"""What stands for a boolean in a table of literals, where 1 and True would be the same key."""


def is_true(answer: Any) -> bool:
    """Return a comparison's answer; one that is no truth, such as an array of answers, is false."""
    if isinstance(answer, bool):
        return answer
    try:
        return bool(answer)
    except (TypeError, ValueError):
        return False


def is_hashable(value: Any) -> bool:
    """Whether a value has a hash."""
    try:
        hash(value)
    except TypeError:
        return False
    return True


def literal_key(value: Hashable) -> Hashable:
    """Return what stands for a literal in a table."""
    return BOOLEANS[value] if isinstance(value, bool) else value


def is_itself(value: Any) -> bool:
    """Whether a value equals itself, as NaN does not."""
    try:
        return is_true(value == value)  # noqa: PLR0124 - that is the question
    except Exception:  # noqa: BLE001 - the signalling NaN of `decimal` raises
        return False


@final
class _Unhashable:
    """An unhashable value in a key: equal by value, hashed by its type, which cannot change."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Unhashable) and is_true(self.value == other.value)

    def __hash__(self) -> int:
        return hash(type(self.value))


def exact(value: Any) -> tuple[type, Any]:
    """Return a value beside its type, so that 1, 1.0 and True differ."""
    return type(value), value if is_hashable(value) else _Unhashable(value)


def shown(value: Any) -> str:
    """Return a value, or the name of a class, as people write it."""
    if isinstance(value, enum.Enum) and value.name in type(value).__members__:
        return f"{type(value).__qualname__}.{value.name}"
    return value.__qualname__ if isinstance(value, type) else repr(value)


_PLAIN: Final = frozenset({str, int, float, bool, bytes, type(None)})
_ADDRESS: Final = re.compile(r" at 0x[0-9a-fA-F]+")


def plain(part: Any) -> Any:
    """Return a part of a key without anything that differs between processes."""
    kind = type(part)
    if kind in _PLAIN:
        return part
    if kind is tuple:
        return tuple(map(plain, part))
    if kind is frozenset:
        return tuple(sorted(map(plain, part), key=repr))
    if kind is _Unhashable:
        return plain(part.value)
    if isinstance(part, type):
        return f"{part.__module__}.{part.__qualname__}"
    return str(part.name) if isinstance(part, enum.Enum) else _ADDRESS.sub("", repr(part))


def why_no_literal(value: Any) -> str | None:
    """Return what to write instead of a value that makes no sense as a literal, else `None`."""
    if value is ...:
        return "`...` stands last in a list, as in [int, ...]; `anything` matches any one value."
    if isinstance(value, AbstractSet):
        return "one_of('a', 'b') matches any one of several values."
    if isinstance(value, re.Pattern):
        return "Write regex('...') with the text of the expression; flags go inside: '(?i)yes'."
    if isinstance(value, range):
        return "between(low, high) matches a range of numbers, both ends included."
    if isinstance(value, Iterator):
        return "An iterator can be read only once."
    if typing.get_origin(value) is not None or type(value).__module__ == "typing":
        return "Use a plain class, such as list for list[int], or one_of(...) for Literal[...]."
    if isinstance(value, (list, tuple, Mapping, type)):
        return "Write match(...) for a class, a list or a mapping, and combine patterns with &, | and ~."
    if callable(value):
        return "A function is a condition of its own, td.condition(...), and td.all_of(...) combines conditions."
    if not is_itself(value):
        return "Nothing equals this value, not even itself; td.condition(math.isnan) finds NaN."
    return None


def why_no_limit(limit: Any) -> str | None:
    """Return what to write instead of a value that has no order, else `None`."""
    if isinstance(limit, bool):
        return "Booleans are no numbers here; match(True) matches True."
    if isinstance(limit, AbstractSet):
        return "Sets contain one another, but have no order; use td.condition(...)."
    try:
        ordered = is_true(limit <= limit)  # noqa: PLR0124 - NaN has no order
    except Exception:  # noqa: BLE001 - whatever it raises: it has no order
        ordered = False
    return (
        None
        if ordered
        else "match(...) compares for equality; td.condition(...) takes any function."
    )
