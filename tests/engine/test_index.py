"""The index: it never misses a pattern, and asks for few that do not match."""

import contextlib
import datetime as dt
import decimal
import fractions
import math
import numbers
import threading
from collections import OrderedDict, UserDict, defaultdict
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.model.test_patterns import Order, patterns, values
from treadle.components.match import anything, between, ge, gt, le, lt, match, ne, one_of, regex
from treadle.engine.index import LEAF_SIZE, Index
from treadle.model.patterns import Pattern

MANY = 2_000


def filled(many: list[Pattern]) -> Index:
    """Give an index of patterns, numbered from 0."""
    index = Index()
    for number, pattern in enumerate(many):
        index.add(number, pattern)
    return index


def matching(many: list[Pattern], value: Any) -> list[int]:
    """Give the numbers of the patterns that match, by asking each."""
    return [number for number, pattern in enumerate(many) if pattern.matches(value)]


# ------------------------------------------------------------------------------------------- laws


@given(st.lists(patterns, max_size=12), st.lists(values, max_size=4))
def test_nothing_is_missed(many: list[Pattern], asked: list[Any]) -> None:
    """Every pattern that matches is a candidate, once and in order."""
    index = filled(many)
    for value in asked:
        found = index.candidates(value)

        assert found == sorted(set(found))
        assert set(matching(many, value)) <= set(found) <= set(range(len(many)))


@given(st.lists(patterns, min_size=1, max_size=4), st.integers(9, 30), st.lists(values, max_size=4))
def test_nothing_is_missed_where_many_share_a_test(
    few: list[Pattern], count: int, asked: list[Any]
) -> None:
    """Crowded tests are divided by the others; what matches is still found."""
    many = [few[number % len(few)] & match(n=number % 7) for number in range(count)] + few * 9
    index = filled(many)
    for value in asked:
        for fact in (value, {"n": 3}, {"n": 3, **value} if isinstance(value, dict) else value):
            assert set(matching(many, fact)) <= set(index.candidates(fact))


@given(st.lists(st.tuples(st.integers(0, 9), st.none() | patterns, values), max_size=25))
def test_edits_and_searches_mix(edits: list[tuple[int, Pattern | None, Any]]) -> None:
    """After any additions, removals and replacements the index knows what a dict of patterns knows."""
    index = Index()
    known: dict[int, Pattern] = {}
    for number, pattern, value in edits:
        if pattern is not None:
            index.add(number, pattern)
            known[number] = pattern
        elif number in known:
            index.remove(number)
            del known[number]
        found = index.candidates(value)

        assert {n for n, one in known.items() if one.matches(value)} <= set(found) <= set(known)
        assert len(index) == len(known)


ends = st.integers(-4, 4) | st.sampled_from(
    [
        0.5,
        -1.5,
        math.inf,
        -math.inf,
        decimal.Decimal("0.5"),
        fractions.Fraction(1, 2),
        fractions.Fraction(1, 3),
    ]
)


def spans_between(one: Any, other: Any) -> Pattern:
    """Give the pattern between two ends, in whatever order they came."""
    return between(min(one, other), max(one, other))


spans = st.one_of(
    st.builds(lambda make, end: make(end), st.sampled_from([gt, ge, lt, le]), ends),
    st.builds(spans_between, ends, ends),
    st.builds(
        lambda low, high, one, other: low(one) & high(other),
        st.sampled_from([gt, ge]),
        st.sampled_from([lt, le]),
        ends,
        ends,
    ),
)


@given(st.lists(spans, min_size=LEAF_SIZE, max_size=40), st.lists(ends, min_size=1))
def test_spans_are_exact(many: list[Pattern], asked: list[Any]) -> None:
    """Of thresholds and bands over any numbers, exactly those that match are found."""
    index = filled([match(amount=span) for span in many])
    for value in asked:
        assert index.candidates({"amount": value}) == matching(many, value)


# ------------------------------------------------------------------------------------- selectivity

CROWDS: dict[str, tuple[Callable[[int], Pattern], Any, int]] = {
    "literals": (lambda i: match(f"v{i}"), "v5", 1),
    "literals of a key": (lambda i: match(kind=f"k{i}"), {"kind": "k5"}, 1),
    "literals, no such": (lambda i: match(kind=f"k{i}"), {"kind": "other"}, 0),
    "literals, no such key": (lambda i: match(kind=f"k{i}"), {"else": "k5"}, 0),
    "choices": (lambda i: match(kind=one_of(i, -i)), {"kind": -5}, 1),
    "choices by |": (lambda i: match(kind=match(i) | match(-i)), {"kind": -5}, 1),
    "literals or others": (lambda i: match(a=i) | match(b=i), {"a": 5, "b": 6}, 2),
    "lower limits": (lambda i: match(amount=gt(i)), {"amount": 0.5}, 1),
    "upper limits": (lambda i: match(amount=lt(-i)), {"amount": -0.5}, 1),
    "bands": (lambda i: match(amount=between(i, i + 0.5)), {"amount": 5.25}, 1),
    "bands by &": (lambda i: match(amount=ge(i) & lt(i + 1)), {"amount": 5}, 1),
    "bands by & of mappings": (lambda i: match(a=ge(i)) & match(a=lt(i + 1)), {"a": 5}, 1),
    "bands around a point": (lambda i: match(a=between(-i, i)), {"a": MANY - 1}, 1),
    "limits of text": (lambda i: match(name=ge(f"{i:05}")), {"name": "00000"}, 1),
    "dates": (
        lambda i: match(day=ge(dt.date(2000, 1, 1) + dt.timedelta(i))),
        {"day": dt.date(2000, 1, 1)},
        1,
    ),
    "a shared literal and bands": (
        lambda i: match(kind="order", amount=between(i, i + 0.5)),
        {"kind": "order", "amount": 5.25},
        1,
    ),
    "a shared band and literals": (
        lambda i: match(amount=gt(1), sku=i),
        {"amount": 2, "sku": 5},
        1,
    ),
    "a shared limit and limits": (lambda i: match(a=gt(1), b=gt(i)), {"a": 2, "b": 0.5}, 1),
    "few kinds and limits": (
        lambda i: match(kind=i % 10, amount=gt(i)),
        {"kind": 5, "amount": 5.5},
        1,
    ),
    "keys of their own": (lambda i: match({f"key{i}": int}), {"key5": 1, "z": 2}, 1),
    "keys of their own, in a large value": (
        lambda i: match({f"key{i}": int}),
        {"key5": 1, **dict.fromkeys(range(2 * MANY))},
        1,
    ),
    "nested": (
        lambda i: match(customer={"address": {"zip": i}}),
        {"customer": {"address": {"zip": 5}}},
        1,
    ),
    "positions": (lambda i: match(["event", i, ...]), ("event", 5, "x"), 1),
    "lengths": (lambda i: match([int] * (i % 10)), [1] * 5, MANY // 10),
    "classes": (lambda i: match(type(f"C{i}", (), {})), "none of them", 0),
    "attributes": (lambda i: match(Order, status=i), Order(status=5), 1),  # type: ignore[arg-type]
    "not, of a key": (lambda i: match(kind=ne(i)), {"else": 1}, 0),
    "expressions of text": (lambda i: match(kind=regex(f"{i}.*")), {"kind": 5}, 0),
    "anything at a key": (lambda i: match({f"key{i}": anything}), {"key5": None}, 1),
}


@pytest.mark.parametrize("name", CROWDS)
def test_few_are_asked_of_many(name: str) -> None:
    """Of thousands of patterns only those that match, and at most a leaf of others, are candidates."""
    make, value, count = CROWDS[name]
    many = [make(number) for number in range(MANY)]
    found = filled(many).candidates(value)

    assert len(matching(many, value)) == count
    assert set(matching(many, value)) <= set(found)
    assert len(found) <= count + LEAF_SIZE


class Counted(int):
    """A number that counts how often it is compared."""

    count = 0

    def __lt__(self, other: Any) -> bool:
        Counted.count += 1
        return int(self) < other

    def __gt__(self, other: Any) -> bool:
        Counted.count += 1
        return int(self) > other

    def __eq__(self, other: object) -> bool:
        Counted.count += 1
        return int(self) == other

    __hash__ = int.__hash__


@pytest.mark.parametrize("make", [gt, lambda i: between(i, i + 0.5)], ids=["limits", "bands"])
def test_a_value_is_compared_with_few_limits(make: Callable[[int], Pattern]) -> None:
    """The comparisons grow with the logarithm of the number of limits."""
    index = filled([match(amount=make(number)) for number in range(MANY)])
    index.candidates(None)
    Counted.count = 0

    assert index.candidates({"amount": Counted(1)}) != []
    assert Counted.count <= 4 * math.log2(4 * MANY)


def test_later_additions_are_merged() -> None:
    """Additions one by one, with a search after each, leave a few trees."""
    index = Index()
    for number in range(300):
        index.add(number, match(kind=number))

        assert index.candidates({"kind": number}) == [number]
    assert len(index._built.trees) <= math.log2(300)


def test_what_is_removed_is_let_go() -> None:
    """Trees are built anew when most of their patterns are gone."""
    index = filled([match(kind=number) for number in range(100)])

    assert index.candidates({"kind": 99}) == [99]
    for number in range(99):
        index.remove(number)

    assert index.candidates({"kind": 5}) == []
    assert index.candidates({"kind": 99}) == [99]
    assert index._built.size == 1


def test_removing_what_is_not_there_is_an_error() -> None:
    """A number can be removed once."""
    index = filled([match("x")])
    index.remove(0)

    with pytest.raises(KeyError):
        index.remove(0)
    assert index.candidates("x") == []


def test_a_number_has_its_newest_pattern() -> None:
    """Adding a number again replaces its pattern."""
    index = filled([match("x")])
    index.add(0, match("y"))

    assert index.candidates("y") == [0]
    assert index.candidates("x") == []


def test_an_empty_index_finds_nothing() -> None:
    """No patterns, no candidates."""
    assert Index().candidates({"a": 1}) == []


def test_searches_run_in_several_threads() -> None:
    """Threads that search an index that is being built and added to find what was there."""
    index = filled([match(kind=number) for number in range(500)])
    wrong: list[list[int]] = []

    def ask() -> None:
        for number in range(500):
            found = index.candidates({"kind": number})
            if found != [number]:
                wrong.append(found)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for number in range(500, 600):
        index.add(number, match(kind=number))
    for thread in threads:
        thread.join()

    assert wrong == []


# ---------------------------------------------------------------------------------- odd values


class Unequal:
    """Raises whatever one asks of it."""

    def __getattribute__(self, name: str) -> Any:
        if name == "__class__":
            raise RuntimeError("go away")
        return object.__getattribute__(self, name)

    def __hash__(self) -> int:
        raise RuntimeError("go away")

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("go away")

    def __lt__(self, other: object) -> bool:
        raise RuntimeError("go away")


class StandIn:
    """Claims to be an order."""

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        return Order


class Rounded(float):
    """Compares itself with rounded numbers, as short floats of numpy do."""

    def __lt__(self, other: Any) -> bool:
        return float(self) < round(float(other), 1)

    def __gt__(self, other: Any) -> bool:
        return float(self) > round(float(other), 1)

    def __le__(self, other: Any) -> bool:
        return float(self) <= round(float(other), 1)

    def __ge__(self, other: Any) -> bool:
        return float(self) >= round(float(other), 1)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, numbers.Real) and float(self) == round(float(other), 1)

    __hash__ = float.__hash__


class Money:
    """Has an order of its own, also with numbers."""

    def __init__(self, amount: int) -> None:
        self.amount = amount

    def __gt__(self, other: Any) -> bool:
        return self.amount > other

    def __lt__(self, other: Any) -> bool:
        return self.amount < other


class Headers(UserDict[str, str]):
    """Has values for keys that it does not list."""

    def __contains__(self, key: object) -> bool:
        return str(key).lower() in self.data

    def __getitem__(self, key: str) -> str:
        return self.data[key.lower()]


class Shouting(dict[str, int]):
    """A dict with a mind of its own about keys."""

    def __contains__(self, key: object) -> bool:
        return super().__contains__(str(key).upper())

    def __getitem__(self, key: str) -> int:
        return super().__getitem__(key.upper())


EVERYTHING = [
    match("x"), match(1), match(True), match(None), gt(0), between(-1, 1), match(int), match(Order),
    match(list), match(a=1), match(a=gt(0)), match(A=1), match([...]), match([1]), ~match("x"), anything,
    regex("x"), match(Order, status="x"), match(Order, total=7), match(b"x"), lt("z"),
    match(object), match(numbers.Number), match(Order("x")), match(a=match(Order("x")), b=anything),
    gt(dt.datetime(2024, 1, 1)),  # noqa: DTZ001
    gt(dt.datetime(2024, 1, 1, tzinfo=dt.UTC)),
]  # fmt: skip


def odd_values() -> list[Any]:
    """Give values that pytest had better not touch."""
    return [
        Unequal(), StandIn(), float("nan"), decimal.Decimal("nan"), decimal.Decimal("snan"), {1}, bytearray(b"x"),
        memoryview(bytearray(b"x")), Rounded(0.5), Money(5), Headers(a="1"), Shouting(A=1), defaultdict(int),
        OrderedDict(a=1), UserDict(a=1), {"a": Unequal()}, [Unequal()], Order("x", error=RuntimeError("no")),
        Order("x", error=AttributeError("no")), object(), type, len, iter([1]), 10**400, -math.inf, 1j, ..., Order,
        {float("nan"): 1}, {"a": []}, {"a": {}}, [[]], ([],), range(3), "\ud800", True, False,
        dt.datetime(2025, 1, 1, fold=1),  # noqa: DTZ001
        dt.datetime(2025, 1, 1, tzinfo=dt.UTC),
    ]  # fmt: skip


@pytest.mark.parametrize("place", range(len(odd_values())))
def test_odd_values_raise_nothing_and_miss_nothing(place: int) -> None:
    """Unhashable, incomparable and hostile values are searched for like all others."""
    value = odd_values()[place]
    many = EVERYTHING + [match(kind="order", a=number) for number in range(20)]
    found = filled(many).candidates(value)

    for number, pattern in enumerate(many):
        if number not in found:
            with contextlib.suppress(RuntimeError, ValueError):
                assert not pattern.matches(value)


def test_a_value_that_raises_is_a_candidate_for_all() -> None:
    """What a value raises in a search is left to whoever asks the patterns themselves."""
    many = [match(a="x"), match(a=1), match(b=1)]

    assert filled(many).candidates({"a": Unequal()}) == [0, 1, 2]


def test_a_search_makes_no_defaults() -> None:
    """A mapping that makes defaults is left as it was."""
    value: defaultdict[str, int] = defaultdict(int)

    assert filled([match(a=0), match(b=0)]).candidates(value) == []
    assert not value


def test_keys_that_are_not_listed_are_found() -> None:
    """A mapping is asked for keys that it may have without listing them."""
    many = [match({"Accept": "x"}), *(match({f"k{n}": 1}) for n in range(50))]

    assert filled(many).candidates(Headers(accept="x")) == [0]
    assert filled([match(b=1), match(a=1)]).candidates(Shouting(A=1)) == [1]


def test_numbers_that_round_find_all_they_equal() -> None:
    """A value that seems equal to several limits is found by each of them."""
    many = [
        match(a=test(limit)) for limit in (0.48, 0.5, 0.52, 0.6, 0.7) for test in (ge, le, gt, lt)
    ]
    value = {"a": Rounded(0.5)}
    found = filled(many).candidates(value)

    assert set(matching(many, value)) <= set(found)
    assert len(found) < len(many)


def test_stand_ins_are_instances_of_what_they_claim() -> None:
    """`isinstance` believes `__class__`, and so does the index."""
    assert match(Order).matches(StandIn())
    assert filled([match(int), match(Order), match(str)]).candidates(StandIn()) == [1]


def test_booleans_are_no_numbers() -> None:
    """As in matching, neither literals nor limits nor `int` are found by a boolean."""
    many = [match(1), gt(0), match(int), match(True), match(bool), one_of(0, 1)]

    assert filled(many).candidates(True) == [3, 4]
    assert filled(many).candidates(1) == [0, 1, 2, 5]


def test_not_is_a_candidate_at_its_place_only() -> None:
    """What cannot be looked up is a candidate where its key, its class or its position is there."""
    many = [
        match(a=~match("x")),
        match(Order, status=ne("x")),
        match(["x", ne("x")]),
        match(b=regex("x")),
    ]
    index = filled(many)

    assert index.candidates({"a": 1, "b": 1}) == [0]
    assert index.candidates({"b": "y"}) == [3]
    assert index.candidates(Order("y")) == [1]
    assert index.candidates(["x", "y"]) == [2]
    assert index.candidates({}) == []
