"""An index over patterns: which of them can match a value, without asking each.

A discrimination tree. A pattern becomes *alternatives*, each a conjunction of *tests*: what has to stand at one
place of a value (a literal, a span of an order, a class, a length, or just anything). Each alternative is filed under
its most selective test, by count; where many share that one, their other tests tell them apart, in a tree below
it. A search goes only where the value leads, so its cost depends on what it finds.

Tests are necessary, not sufficient: a search gives a superset, and `matches` has the last word. Leaving a test out is
always sound.

Trees never change once built, so searches may run in several threads. Later additions make a small tree of their
own, and trees are merged as they come: a few of them, each several times larger than the next.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any, Final, TypeAlias

from treadle.engine.alternatives import (
    ATTRIBUTE,
    CLASS,
    KEY,
    LENGTH,
    LITERAL,
    ONE_OF,
    SPAN,
    Alternative,
    Place,
    Step,
    Test,
    alternatives,
)
from treadle.engine.spans import NUMBER, ROUNDED, UNKNOWN, Span, SpanTree, family_of
from treadle.model.literals import BOOLEANS
from treadle.model.matching import MISSING, SEQUENCES, attribute_of, value_at
from treadle.model.patterns import Pattern

Row: TypeAlias = tuple[int, Alternative]
Entry: TypeAlias = tuple[int, Pattern]

LEAF_SIZE: Final = 8
"""So many candidates are sooner asked than told apart."""
DEPTH_MAX: Final = 8
"""Tests of one alternative that are tried one below the other."""
GROWTH: Final = 4
"""A tree is merged with the newer ones when it is less than so many times their size."""


# --------------------------------------------------------------------------------------- the tree


class Branch:
    """Numbers filed under one test, and a tree for those that have other tests to pass."""

    __slots__ = ("deeper", "numbers")

    def __init__(self, numbers: tuple[int, ...], deeper: Level) -> None:
        self.numbers = numbers
        self.deeper = deeper


Filed: TypeAlias = tuple[int, ...] | Branch


class ClassEntry:
    """What is filed under one class: all its instances, and their attributes."""

    __slots__ = ("attributes", "filed")

    def __init__(self) -> None:
        self.filed: Filed | None = None
        self.attributes: dict[str, Level] | None = None


class Level:
    """What is filed under the tests of one place of a value. Tables that nothing needs are `None`."""

    __slots__ = ("always", "checked", "classes", "items", "keys", "lengths", "literals", "spans")

    def __init__(self) -> None:
        self.always: Filed | None = None
        self.literals: dict[Hashable, Filed] | None = None
        self.spans: dict[str, tuple[SpanTree[int], SpanTree[Level] | None]] | None = None
        self.classes: dict[type, ClassEntry] | None = None
        self.checked: dict[type, ClassEntry] | None = None  # classes that decide themselves
        self.keys: dict[Any, Level] | None = None
        self.items: dict[int, Level] | None = None
        self.lengths: dict[int | None, Filed] | None = None  # None: of any length

    def file(self, kind: int, payload: Any, filed: Filed) -> None:
        """File under a test of this place. Spans are filed together, by `file_spans`."""
        if kind == LITERAL:
            self.literals = literals = self.literals if self.literals is not None else {}
            literals[payload] = filed
        elif kind == CLASS:
            self.entry(payload).filed = filed
        elif kind == LENGTH:
            self.lengths = lengths = self.lengths if self.lengths is not None else {}
            lengths[payload] = filed
        else:
            self.always = filed

    def file_spans(self, family: str, filed: dict[Span, Filed]) -> None:
        """File under all spans of one family at this place."""
        numbers = [one.numbers if isinstance(one, Branch) else one for one in filed.values()]
        deeper = {span: (one.deeper,) for span, one in filed.items() if isinstance(one, Branch)}
        self.spans = spans = self.spans if self.spans is not None else {}
        spans[family] = (
            SpanTree(list(filed), numbers),
            SpanTree(list(deeper), list(deeper.values())) if deeper else None,
        )

    def entry(self, cls: type) -> ClassEntry:
        """Return the entry of a class, making it if need be."""
        if type(cls).__instancecheck__ is type.__instancecheck__:
            self.classes = table = self.classes if self.classes is not None else {}
        else:
            self.checked = table = self.checked if self.checked is not None else {}
        return table.setdefault(cls, ClassEntry())

    def below(self, step: Step) -> Level:
        """Return the level of a part of the value, making it if need be."""
        if step[0] == KEY:
            self.keys = keys = self.keys if self.keys is not None else {}
            return keys.setdefault(step[1], Level())
        if step[0] == ATTRIBUTE:
            entry = self.entry(step[1])
            entry.attributes = attributes = entry.attributes if entry.attributes is not None else {}
            return attributes.setdefault(step[2], Level())
        self.items = items = self.items if self.items is not None else {}
        return items.setdefault(step[1], Level())


def plant(rows: list[Row], depth: int = 0) -> Level:
    """Build the tree that tells these rows apart."""
    root = Level()
    levels: dict[Place, Level] = {}
    spans: dict[tuple[Place, str], dict[Span, Filed]] = {}
    for test, members in _sorted_out(rows).items():
        place, kind, payload = test
        filed = _gather(test, members, depth)
        if kind == SPAN:
            spans.setdefault((place, payload[0]), {})[payload] = filed
        else:
            _level_at(place, root, levels).file(kind, payload, filed)
    for (place, family), filed_spans in spans.items():
        _level_at(place, root, levels).file_spans(family, filed_spans)
    return root


def _sorted_out(rows: list[Row]) -> dict[Test, list[Row]]:
    """Put each row under its most selective test."""
    tally = _tally(rows) if any(len(tests) > 1 for _, tests in rows) else {}
    found: dict[Test, list[Row]] = {}
    for row in rows:
        tests = row[1]
        chosen = tests[0]
        if len(tests) > 1:
            chosen = min(tests, key=lambda test: (_cost(test, tally), test[1]))
        for test in _each(chosen):
            members = found.get(test)
            if members is None:
                found[test] = [row]
            else:
                members.append(row)
    return found


def _gather(test: Test, rows: list[Row], depth: int) -> Filed:
    """Make what is filed under a test; its rows go by their other tests, if there are many."""
    if len(rows) <= LEAF_SIZE or depth == DEPTH_MAX:
        return tuple([number for number, _ in rows])
    numbers: list[int] = []
    divisible: list[Row] = []
    for number, tests in rows:
        others = tuple([other for other in tests if not _implies(test, other)])
        if others:
            divisible.append((number, others))
        else:
            numbers.append(number)
    return Branch(tuple(numbers), plant(divisible, depth + 1)) if divisible else tuple(numbers)


def _implies(test: Test, other: Test) -> bool:
    place, kind, payload = test
    if other[0] is not place:
        return False
    if kind == LITERAL and other[1] == ONE_OF:
        return payload in other[2]
    return bool(kind == other[1] and payload == other[2])


def _level_at(place: Place, root: Level, levels: dict[Place, Level]) -> Level:
    if place.above is None:
        return root
    level = levels.get(place)
    if level is None:
        level = _level_at(place.above, root, levels).below(place.step)
        levels[place] = level
    return level


def _each(test: Test) -> list[Test]:
    """Return what a test is filed under: one of several literals under each."""
    place, kind, payload = test
    return [(place, LITERAL, key) for key in payload] if kind == ONE_OF else [test]


def _tally(rows: list[Row]) -> dict[Hashable, int]:
    """Count how many rows share a test, and how many have a span at a place."""
    tally: dict[Hashable, int] = {}
    for _, tests in rows:
        for test in tests:
            for one in _each(test):
                tally[one] = tally.get(one, 0) + 1
            if test[1] == SPAN:
                tally[test[0]] = tally.get(test[0], 0) + 1
    return tally


def _cost(test: Test, tally: dict[Hashable, int]) -> float:
    """Guess how many rows a search would find beside this one, were all filed under such tests."""
    if test[1] == ONE_OF:
        return max([tally[one] for one in _each(test)])
    if test[1] != SPAN:
        return tally[test]
    _, low, _, high, _ = test[2]
    part = 0.5 if low is MISSING or high is MISSING else 0.1
    return max(tally[test], part * tally[test[0]])


# ------------------------------------------------------------------------------------- the search


def search(level: Level, value: Any, root: Any, found: list[int]) -> None:
    """Add the numbers that a value leads to; `root` is the whole value, for the trees below."""
    if level.always is not None:
        _take(level.always, root, found)
    if level.literals is not None:
        try:
            filed = level.literals.get(BOOLEANS[value] if type(value) is bool else value)
        except (TypeError, AttributeError):
            filed = None
        if filed is not None:
            _take(filed, root, found)
    if level.keys is not None:
        _search_keys(level.keys, value, root, found)
    if level.spans is not None:
        _search_spans(level.spans, value, root, found)
    if level.classes is not None or level.checked is not None:
        _search_classes(level, value, root, found)
    if (level.lengths is not None or level.items is not None) and isinstance(value, SEQUENCES):
        _search_sequence(level, value, root, found)


def _take(filed: Filed, root: Any, found: list[int]) -> None:
    if isinstance(filed, Branch):
        found += filed.numbers
        search(filed.deeper, root, root, found)
    else:
        found += filed


def _search_keys(keys: dict[Any, Level], value: Any, root: Any, found: list[int]) -> None:
    kind = type(value)
    if kind is dict:
        if len(keys) <= len(value):
            for key, level in keys.items():
                part = value.get(key, MISSING)
                if part is not MISSING:
                    search(level, part, root, found)
        else:
            _search_own_keys(keys, value, root, found)
    elif issubclass(kind, dict) and _looks_up_like_dict(kind):  # a defaultdict, an OrderedDict
        _search_own_keys(keys, value, root, found)
    elif isinstance(value, Mapping):
        for key, level in keys.items():  # it may have values for keys that it does not list
            part = value_at(value, key)
            if part is not MISSING:
                search(level, part, root, found)


def _search_own_keys(
    keys: dict[Any, Level], value: dict[Any, Any], root: Any, found: list[int]
) -> None:
    for key, part in dict.items(value):
        level = keys.get(key)
        if level is not None:
            search(level, part, root, found)


def _looks_up_like_dict(kind: type) -> bool:
    return all(
        getattr(kind, name) is getattr(dict, name) for name in ("__getitem__", "__contains__")
    )


def _search_spans(
    spans: dict[str, tuple[SpanTree[int], SpanTree[Level] | None]],
    value: Any,
    root: Any,
    found: list[int],
) -> None:
    family = family_of(value)
    deeper: list[Level] = []
    if family in spans:
        numbers, levels = spans[family]
        numbers.find(value, found)
        if levels is not None:
            levels.find(value, deeper)
    elif family == UNKNOWN:
        for numbers, levels in spans.values():
            numbers.find_all(found)
            if levels is not None:
                levels.find_all(deeper)
    elif family == ROUNDED and NUMBER in spans:
        numbers, levels = spans[NUMBER]
        numbers.find_about(value, found)
        if levels is not None:
            levels.find_about(value, deeper)
    for level in deeper:
        search(level, root, root, found)


def _search_classes(level: Level, value: Any, root: Any, found: list[int]) -> None:
    kind = type(value)
    if level.classes is not None:
        classes = kind.__mro__ if kind is not bool else (bool, object)
        if value.__class__ is not kind:  # a stand-in is an instance of what it claims to be, too
            classes = tuple(dict.fromkeys((*classes, *value.__class__.__mro__)))
        for cls in classes:
            entry = level.classes.get(cls)
            if entry is not None:
                _search_instance(entry, value, root, found)
    if level.checked is not None:
        for cls, entry in level.checked.items():
            if isinstance(value, cls):
                _search_instance(entry, value, root, found)


def _search_instance(entry: ClassEntry, value: Any, root: Any, found: list[int]) -> None:
    if entry.filed is not None:
        _take(entry.filed, root, found)
    if entry.attributes is not None:
        for name, level in entry.attributes.items():
            part = attribute_of(value, name)
            if part is not MISSING:
                search(level, part, root, found)


def _search_sequence(level: Level, value: Any, root: Any, found: list[int]) -> None:
    if level.lengths is not None:
        for length in (len(value), None):
            filed = level.lengths.get(length)
            if filed is not None:
                _take(filed, root, found)
    if level.items is not None:
        for place, part_level in level.items.items():
            if place < len(value):
                search(part_level, value[place], root, found)


# -------------------------------------------------------------------------------------- the index


class Index:
    """Patterns by number, and a quick answer to "which of them can match this?".

    Additions may come while other threads search; two threads must not add or remove at the same time.

    >>> from treadle.components.match import gt, match
    >>> index = Index()
    >>> index.add(1, match(kind="order", amount=gt(100)))
    >>> index.add(2, match(kind="refund"))
    >>> index.candidates({"kind": "refund", "amount": 250})
    [2]
    """

    __slots__ = ("_added", "_built", "_patterns")

    def __init__(self) -> None:
        self._patterns: dict[int, Pattern] = {}
        self._added: list[tuple[int, Pattern]] = []
        self._built = Built([], 0)

    def __len__(self) -> int:
        return len(self._patterns)

    def add(self, number: int, pattern: Pattern) -> None:
        """File a pattern under a number, in place of the one it had before."""
        self._patterns[number] = pattern
        self._added.append((number, pattern))

    def remove(self, number: int) -> None:
        """Forget a number.

        Errors: KeyError if there is none.
        """
        del self._patterns[number]

    def candidates(self, value: Any) -> list[int]:
        """Return the numbers of all patterns that match a value, and of few others, in ascending order.

        Nothing that a value does when it is looked at makes this raise; then all are candidates.
        """
        found: list[int] = []
        try:
            built = self._built
            if built.count != len(self._added) or built.size > 2 * len(self._patterns) + LEAF_SIZE:
                built = self._settle(built)
            for tree in built.trees:
                search(tree.root, value, value, found)
        except Exception:  # noqa: BLE001 - the user's code; who asks `matches` will see it again
            return sorted(self._patterns)
        if built.size != len(self._patterns):
            found = [number for number in found if number in self._patterns]
        return sorted(set(found)) if len(found) > 1 else found

    def _settle(self, built: Built) -> Built:
        """Build trees of what was added since, and let the larger ones absorb the smaller."""
        count = len(self._added)
        entries = self._kept(self._added[built.count : count])
        trees = built.trees.copy()
        mostly_gone = built.size > 2 * len(self._patterns)
        while trees and (mostly_gone or len(trees[-1].entries) < GROWTH * len(entries)):
            entries = self._kept(trees.pop().entries) + entries
        if entries:
            trees.append(Tree(entries))
        self._built = Built(trees, count)
        return self._built

    def _kept(self, entries: list[Entry]) -> list[Entry]:
        return [entry for entry in entries if self._patterns.get(entry[0]) is entry[1]]


class Tree:
    """A tree and what it was built from."""

    __slots__ = ("entries", "root")

    def __init__(self, entries: list[Entry]) -> None:
        self.entries = entries
        place = Place()
        self.root = plant(
            [
                (number, tests)
                for number, pattern in entries
                for tests in alternatives(pattern, place)
            ]
        )


class Built:
    """The trees, and how many additions they hold; replaced as a whole."""

    __slots__ = ("count", "size", "trees")

    def __init__(self, trees: list[Tree], count: int) -> None:
        self.trees = trees
        self.count = count
        self.size = sum(len(tree.entries) for tree in trees)
