"""Spans of an order (more than 5; from 1 to 3), and a structure that finds those around a value.

A *family* is a set of types that Python orders among one another, totally and exactly: `int`, `float`, `Decimal` and
`Fraction` are one; text, bytes, dates, naive and aware datetimes are others. Only spans whose limits are of one family
are kept here, and a value of a known type asks only its own family.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from numbers import Real
from operator import itemgetter
from typing import Any, Final, Generic, TypeAlias, TypeVar

from treadle.model.matching import MISSING
from treadle.model.patterns import Within

Item = TypeVar("Item")

Span: TypeAlias = tuple[str, Any, bool, Any, bool]
"""Family, low end, whether it is left out, high end, whether it is left out; no end is `MISSING`."""

NUMBER: Final = "number"
NAIVE: Final = "naive datetime"
AWARE: Final = "aware datetime"
NONE: Final = "has no order with any family"
ROUNDED: Final = "a number that rounds what it is compared with, as those of numpy do"
UNKNOWN: Final = "has an order of its own"

_FAMILIES: Final[dict[type, str]] = {
    int: NUMBER,
    float: NUMBER,
    Decimal: NUMBER,
    str: "text",
    bytes: "bytes",
    date: "date",
    timedelta: "duration",
    **dict.fromkeys((bool, type(None), dict, list, tuple, set, frozenset), NONE),
}
_BASES: Final = (int, float, str, datetime, date, Decimal, bytes, timedelta)  # datetime is a date
_COMPARISONS: Final = ("__lt__", "__le__", "__gt__", "__ge__", "__eq__")


def family_of(value: Any) -> str:
    """Return the family that a value belongs to, or why it belongs to none."""
    kind = type(value)
    family = _FAMILIES.get(kind)
    return _family_of_rare(kind, value) if family is None else family


def _family_of_rare(kind: type, value: Any) -> str:
    if kind.__module__ == "fractions" and kind.__name__ == "Fraction":
        return NUMBER
    for base in _BASES:
        if isinstance(value, base) and _compares_like(kind, base):
            return _family_of_datetime(value) if isinstance(value, datetime) else _FAMILIES[base]
    if isinstance(value, Real):
        return ROUNDED
    return NONE if _compares_like(kind, object) else UNKNOWN


def _compares_like(kind: type, base: type) -> bool:
    # `__eq__` does not matter where there is no order to agree with.
    names = _COMPARISONS[:4] if base is object else _COMPARISONS
    return all(getattr(kind, name) is getattr(base, name) for name in names)


def _family_of_datetime(value: datetime) -> str:
    if value.tzinfo is None:
        return NAIVE
    # Two datetimes of one zone compare by the wall, of two zones by UTC: no order, but for fixed offsets.
    return AWARE if type(value.tzinfo) is timezone else UNKNOWN


def span_of(pattern: Within) -> Span | None:
    """Return the span of a threshold, `None` if its order is not a known one."""
    first, last = pattern.limits[0], pattern.limits[-1]
    family = family_of(first)
    if family in (NONE, ROUNDED, UNKNOWN) or family_of(last) != family:
        return None
    if pattern.kind == "between":
        return family, first, False, last, False
    if pattern.kind in ("gt", "ge"):
        return family, first, pattern.kind == "gt", MISSING, True
    return family, MISSING, True, last, pattern.kind == "lt"


def intersection(one: Span, other: Span) -> Span:
    """Return the span of what lies in both, of one family; it may be empty."""
    family, low, low_open, high, high_open = one
    _, its_low, its_low_open, its_high, its_high_open = other
    if low is MISSING or (its_low is not MISSING and (its_low, its_low_open) > (low, low_open)):
        low, low_open = its_low, its_low_open
    if high is MISSING or (
        its_high is not MISSING and (its_high, not its_high_open) < (high, not high_open)
    ):
        high, high_open = its_high, its_high_open
    return family, low, low_open, high, high_open


class SpanTree(Generic[Item]):
    """Finds the items of all spans around a value, in O(log n + found).

    Source: the segment tree. The ends of all spans cut their order into slots: before the first end, at it,
    between it and the second, and so on. A span with one end is found by sorting; one with two covers its slots
    with O(log n) nodes of a binary tree over them. The spans around a value are those at the nodes from its slot
    up to the root, and links past empty nodes make this path no longer than what it finds.
    """

    __slots__ = (
        "_above",
        "_all",
        "_ended",
        "_ends",
        "_items",
        "_points",
        "_size",
        "_started",
        "_starts",
    )

    def __init__(self, spans: list[Span], items_of: list[tuple[Item, ...]]) -> None:
        ends = {end for span in spans for end in (span[1], span[3]) if end is not MISSING}
        self._points: list[Any] = sorted(ends)
        self._size = 2 * len(ends) + 1
        self._all: list[Item] = [item for items in items_of for item in items]
        place = {end: index for index, end in enumerate(self._points)}
        started: list[tuple[int, Item]] = []
        ended: list[tuple[int, Item]] = []
        covered: list[tuple[int, int, tuple[Item, ...]]] = []
        for (_, low, low_open, high, high_open), items in zip(spans, items_of, strict=True):
            first = 0 if low is MISSING else 2 * place[low] + 1 + low_open
            after = self._size if high is MISSING else 2 * place[high] + 2 - high_open
            if high is MISSING:
                started += [(first, item) for item in items]
            elif low is MISSING:
                ended += [(after, item) for item in items]
            elif first < after:
                covered.append((first, after, items))
        self._starts, self._started = _unzipped(started)
        self._ends, self._ended = _unzipped(ended)
        self._items: list[list[Item] | tuple[Item, ...] | None] = []
        self._above: list[int] = []
        if covered:
            self._grow(covered)

    def _grow(self, covered: list[tuple[int, int, tuple[Item, ...]]]) -> None:
        self._items = [None] * (2 * self._size)
        for first, after, items in covered:
            self._cover(first + self._size, after + self._size, items)
        self._above = [0] * (2 * self._size)
        for node in range(2, 2 * self._size):
            parent = node >> 1
            self._above[node] = self._above[parent] if self._items[parent] is None else parent

    def _cover(self, first: int, after: int, items: tuple[Item, ...]) -> None:
        while first < after:
            if first & 1:
                self._put(first, items)
                first += 1
            if after & 1:
                after -= 1
                self._put(after, items)
            first >>= 1
            after >>= 1

    def _put(self, node: int, items: tuple[Item, ...]) -> None:
        here = self._items[node]
        if here is None:
            self._items[node] = items
        elif isinstance(here, list):
            here.extend(items)
        else:
            self._items[node] = [*here, *items]

    def find(self, value: Any, found: list[Item]) -> None:
        """Add the items of the spans around a value of this family."""
        if value != value:  # noqa: PLR0124 - NaN is within nothing
            return
        points = self._points
        place = bisect_left(points, value)
        slot = 2 * place
        if place < len(points) and points[place] == value:
            slot += 1
        self._find_at(slot, found)

    def find_about(self, value: Any, found: list[Item]) -> None:
        """Add at least the items around a value that may seem equal to several points; some twice."""
        try:
            first, last = bisect_left(self._points, value), bisect_right(self._points, value)
        except Exception:  # noqa: BLE001 - a comparison of the user's; all is always a right answer
            self.find_all(found)
            return
        for slot in range(2 * first, 2 * last + 1):
            self._find_at(slot, found)

    def find_all(self, found: list[Item]) -> None:
        """Add the items of all spans."""
        found += self._all

    def _find_at(self, slot: int, found: list[Item]) -> None:
        if self._starts:
            found += self._started[: bisect_right(self._starts, slot)]
        if self._ends:
            found += self._ended[bisect_right(self._ends, slot) :]
        if self._items:
            above = self._above
            node = slot + self._size
            while node:
                here = self._items[node]
                if here is not None:
                    found += here
                node = above[node]


def _unzipped(placed: list[tuple[int, Item]]) -> tuple[list[int], list[Item]]:
    placed.sort(key=itemgetter(0))
    return [slot for slot, _ in placed], [item for _, item in placed]
