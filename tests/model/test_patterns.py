"""Patterns: what they match, what cannot be one, how they are compared and shown."""

import copy
import datetime as dt
import decimal
import enum
import fractions
import math
import pickle
import re
import subprocess
import sys
from collections import OrderedDict, UserDict, defaultdict
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol, TypedDict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.components.match import (
    anything,
    between,
    ge,
    gt,
    instance,
    le,
    lt,
    match,
    ne,
    one_of,
    regex,
)
from treadle.errors import DefinitionError, PatternError
from treadle.model.patterns import And, Literal, Or, Pattern, to_pattern

NAN = float("nan")
UTC = dt.UTC


class Color(enum.Enum):
    """An enumeration without an order."""

    RED = 1
    BLUE = 2


class Level(enum.IntEnum):
    """An enumeration of numbers."""

    LOW = 1
    HIGH = 2


class Kind(enum.StrEnum):
    """An enumeration of texts."""

    ORDER = "order"


class Point(NamedTuple):
    """A tuple with names."""

    x: int
    y: int


class Order:
    """Equal by value and so unhashable, with a property that may fail."""

    def __init__(self, status: str, amount: Any = 0, error: Exception | None = None) -> None:
        self.status = status
        self.amount = amount
        self.error = error

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Order) and self.status == other.status

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Order({self.status!r})"

    @property
    def total(self) -> int:
        """Fail, if there is an error to fail with."""
        if self.error is not None:
            raise self.error
        return 7


class SubOrder(Order):
    """A kind of order."""


class Angry:
    """Raises when it is compared."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def __eq__(self, other: object) -> bool:
        raise self.error

    def __gt__(self, other: object) -> bool:
        raise self.error

    def __hash__(self) -> int:
        return hash("x")


class Answers:
    """Answers a comparison with several answers at once, as an array does."""

    def __gt__(self, other: object) -> Any:
        return self

    def __bool__(self) -> bool:
        raise ValueError("the truth of several answers is ambiguous")


# pattern, what it matches, what it does not
MATCHES: list[tuple[Pattern, list[Any], list[Any]]] = [
    (match("x"), ["x"], ["y", b"x", None, ["x"], {"x": 1}]),
    (match(Kind.ORDER), ["order", Kind.ORDER], ["x"]),
    (match("order"), ["order", Kind.ORDER], ["x"]),
    (match(1), [1, 1.0, decimal.Decimal(1), fractions.Fraction(1), Level.LOW], [True, 2, "1", NAN]),
    (match(0), [0, -0.0], [False, None, ""]),
    (match(True), [True], [1, 1.0, "True"]),
    (match(False), [False], [0, None, ""]),
    (match(None), [None], [False, 0, "", ...]),
    (match(Color.RED), [Color.RED], [Color.BLUE, 1]),
    (match(type(None)), [None], [0]),
    (match(Order("open")), [Order("open")], [Order("shut"), "open", None]),
    (match(int), [0, 1, Level.LOW, 10**40], [True, 1.0, "1", None]),
    (match(bool), [True, False], [0, 1]),
    (match(float), [1.0, NAN, math.inf], [1]),
    (match(object), [1, None, True, []], []),
    (match(list), [[], [1]], [(), "ab"]),
    (match(Mapping), [{}, UserDict()], [[]]),
    (match(int | None), [1, None], ["x", True]),
    (match(Order), [Order("a"), SubOrder("a")], ["a", Color.RED]),
    (match(Order, status="open"), [Order("open"), SubOrder("open")], [Order("shut"), {"status": "open"}]),
    (match(Order, missing=anything), [], [Order("open")]),
    (match(Order, total=7), [Order("a")], [Order("a", error=AttributeError()), Order("a", error=TypeError())]),
    (instance(Order, amount=gt(5)), [Order("a", 6)], [Order("a", 5), Order("a", "6"), Order("a", None)]),
    (gt(5), [6, 5.5, decimal.Decimal("5.1"), fractions.Fraction(11, 2), math.inf], [5, True, "6", None, [6]]),
    (gt(-1), [0], [True, False, NAN, decimal.Decimal("nan"), decimal.Decimal("snan"), 1j]),
    (ge(5), [5, 5.0, 6], [4, NAN]),
    (gt(decimal.Decimal(5)), [6, 5.5], [5, NAN, decimal.Decimal("nan"), True, "6"]),
    (lt(5), [4, -math.inf], [5, None, NAN, False, {}]),
    (le(5), [5, 4], [6]),
    (gt("m"), ["n", "ma"], ["m", "a", 1, b"n"]),
    (gt(5), [], [Answers(), Order("a")]),
    (gt(dt.date(2024, 1, 1)), [dt.date(2024, 1, 2)], [dt.datetime(2025, 1, 1, tzinfo=UTC), 1]),
    (lt(dt.datetime(2024, 1, 1, tzinfo=UTC)), [dt.datetime(2023, 1, 1, tzinfo=UTC)],
     [dt.datetime(2023, 1, 1), dt.date(2023, 1, 1)]),  # noqa: DTZ001
    (between(1, 3), [1, 2, 2.5, 3], [0, 3.5, True, "2", NAN]),
    (between(1, 2.5), [1, 2.5], [3]),
    (between("a", "c"), ["a", "b", "c"], ["d", 1]),
    (ne("x"), ["y", None, 1, []], ["x"]),
    (ne(1), [True, 2, "x"], [1, 1.0]),
    (one_of("a", "b"), ["a", "b" ], ["c", None, [], {}]),
    (one_of(1, 2), [1, 2.0, Level.LOW], [True, 3]),
    (one_of(True, None), [True, None], [1, False, 0]),
    (one_of(Order("open"), "x"), [Order("open"), "x"], [Order("shut"), "y", []]),
    (regex(r"\d+"), ["42"], ["42 ", "", 42, b"42", None, "42\n"]),
    (regex("(?i)yes|no"), ["YES", "no"], ["maybe", "no way"]),
    (anything, [None, 0, NAN, [], object()], []),
    (match(items=list, customer_id=str),
     [{"items": [], "customer_id": "c", "more": 1}, OrderedDict(items=[], customer_id=""),
      UserDict(items=[], customer_id="")],
     [{"items": []}, {"items": (), "customer_id": "c"}, {}, None, "items", [("items", [])], Order("a")]),
    (match({"a": {"b": {"c": 1}}}), [{"a": {"b": {"c": 1}}}], [{"a": {"b": 1}}, {"a": None}, {"a": {"b": {}}}]),
    (match({1: "x", (2, 3): "y", None: "z"}), [{1: "x", (2, 3): "y", None: "z"}], [{1: "x"}]),
    (match(a=None), [{"a": None}], [{}]),
    (match(a=anything), [{"a": NAN}, {"a": None}], [{}, {"b": 1}]),
    (match(a=~match("x")), [{"a": 1}], [{}, {"a": "x"}]),
    (match([]), [[], ()], [[1], "", {}, None]),
    (match([int, str]), [[1, "a"], (1, "a"), Point(1, "a")], [[1], [1, "a", 2], ["a", 1], "1a"]),  # type: ignore[arg-type]
    (match((int, ...)), [[1], (1, "x", None)], [[], ["x", 1]]),
    (match([...]), [[], (), [1, 2]], ["", {}]),
    (match([[1, 2], {"a": int}]), [[(1, 2), {"a": 1}]], [[[1], {"a": 1}]]),
    (match(int) & gt(5), [6], [5, 6.5]),
    (match(int) | match(str), [1, "a"], [1.5, None]),
    (~match(int), ["a", None, True], [1]),
    (~gt(5), [5, "text", None, NAN], [6]),
    (int & gt(5), [6], [6.5]),
    (match("a") | "b" | None, ["a", "b", None], ["c"]),
    ({"a": 1} | match(b=2), [{"a": 1}, {"b": 2}], [{"a": 2}]),
    (match(match(a=1) | match(b=2)), [{"a": 1}, {"b": 2}], [{}, {"a": 2}]),
]  # fmt: skip


@pytest.mark.parametrize(("pattern", "yes", "no"), MATCHES, ids=lambda value: repr(value)[:40])
def test_matches(pattern: Pattern, yes: list[Any], no: list[Any]) -> None:
    """A pattern matches what it says, and a value of another shape is just no match."""
    assert [value for value in yes if pattern.matches(value) is not True] == []
    assert [value for value in no if pattern.matches(value) is not False] == []


@pytest.mark.parametrize(
    "error", [ValueError("mine"), RuntimeError("mine"), ZeroDivisionError("mine")]
)
def test_errors_of_the_user_pass_through(error: Exception) -> None:
    """What a comparison or a property of the user's raises is the user's to see."""
    for pattern, value in [
        (match("x"), Angry(error)),
        (gt(5), Angry(error)),
        (match(Order, total=7), Order("a", error=error)),
    ]:
        with pytest.raises(type(error), match="mine"):
            pattern.matches(value)


@pytest.mark.parametrize("error", [TypeError("shape"), AttributeError("shape")])
def test_errors_of_shape_are_no_match(error: Exception) -> None:
    """A comparison that does not know the other's type, or misses an attribute, is false."""
    assert not match("x").matches(Angry(error))
    assert not gt(5).matches(Angry(error))
    assert not match(Order("x")).matches(Angry(error))


def test_matching_does_not_change_the_value() -> None:
    """A mapping that makes defaults is not asked for what it does not have."""
    value: defaultdict[str, list[int]] = defaultdict(list)

    assert not match(items=list).matches(value)
    assert not value


def test_mapping_decides_about_its_keys() -> None:
    """A mapping with a mind of its own about keys is asked for them one by one."""

    class Headers(UserDict[str, str]):
        def __contains__(self, key: object) -> bool:
            return str(key).lower() in self.data

        def __getitem__(self, key: str) -> str:
            return self.data[key.lower()]

    assert match({"Content-Type": "x"}).matches(Headers({"content-type": "x"}))


# ------------------------------------------------------------------------------- what cannot be


class NotCheckable(Protocol):
    """A protocol that isinstance() cannot ask about."""


class Typed(TypedDict):
    """A dict to type checkers, no class to isinstance()."""


def predicate(value: Any) -> bool:
    """Be a function."""
    return bool(value)


# how it is made, words of the message, words of the hint
REFUSED: list[tuple[Any, str, str]] = [
    (lambda: match(), r"match\(\) says nothing", "anything"),
    (lambda: match({}), r"match\(...\) was given {}", "any dict"),
    (lambda: match(a={}), r"match\(...\)\['a'\] was given {}", "any dict"),
    (lambda: match({"a": 1}, b=2), r"only a class takes both", "combine two patterns"),
    (lambda: match("x", b=2), r"was given 'x', but takes a class", "class comes first"),
    (lambda: match(match(a=1), b=2), r"only a class takes both", "&"),
    (lambda: match({str: int}), r"was given str, but takes a plain key", "keys"),
    (lambda: match({NAN: int}), r"was given nan", "keys"),
    (lambda: match(a={"b": predicate}), r"match\(...\)\['a'\]\['b'\] was given <function", "td.condition"),
    (lambda: match(lambda value: value), r"was given <function", "td.condition"),
    (lambda: match(a=len), r"built-in function len", "td.condition"),
    (lambda: gt(5) & predicate, r"the right side of & was given", "td.all_of"),
    (lambda: predicate | gt(5), r"the left side of \| was given", "td.all_of"),
    (lambda: match([..., int]), r"match\(...\)\[0\] was given Ellipsis", "last in a list"),
    (lambda: match(a=...), r"\['a'\] was given Ellipsis", "anything"),
    (lambda: match({"a", "b"}), r"was given {'", "one_of"),
    (lambda: match(a=frozenset("ab")), r"was given frozenset", "one_of"),
    (lambda: match(range(3)), r"was given range", "between"),
    (lambda: match(iter([1])), r"was given <list_iterator", "once"),
    (lambda: match(re.compile("a")), r"was given re.compile", r"regex\("),
    (lambda: match(list[int]), r"was given list\[int\]", "plain class"),
    (lambda: match(a=list[int]), r"\['a'\] was given list\[int\]", "plain class"),
    (lambda: match(Any), r"was given", "anything"),
    (lambda: match(NotCheckable), r"isinstance\(\) can ask about", "Python says"),
    (lambda: match(Typed), r"isinstance\(\) can ask about", "Python says"),
    (lambda: match(NAN), r"was given nan", "isnan"),
    (lambda: match(decimal.Decimal("snan")), r"sNaN", "isnan"),
    (lambda: match(Order, status={"a"}), r"match\(...\).status was given {'a'}", "one_of"),
    (lambda: gt(None), r"gt\(None\) was given None, but takes values that have an order", "td.condition"),
    (lambda: gt({}), r"gt\({}\)", "td.condition"),
    (lambda: gt(NAN), r"gt\(nan\)", "td.condition"),
    (lambda: gt(1j), r"gt\(1j\)", "td.condition"),
    (lambda: gt(True), r"gt\(True\)", "Booleans"),
    (lambda: lt(frozenset("a")), r"lt\(frozenset", "Sets"),
    (lambda: le(int), r"le\(int\)", "td.condition"),
    (lambda: ge(match("a")), r"ge\(match\('a'\)\)", "td.condition"),
    (lambda: between(5, 1), r"between\(5, 1\) was given 5, but takes the lower end first", r"between\(1, 5\)"),
    (lambda: between(1, "a"), r"between\(1, 'a'\) was given 'a', but takes two ends of one kind", "number"),
    (lambda: between(1, NAN), r"between\(1, nan\)", "td.condition"),
    (lambda: one_of(), r"one_of\(...\) was given \(\)", "one by one"),
    (lambda: one_of(["a", "b"]), r"one_of\(...\) was given \['a', 'b'\]", r"one_of\(\*values\)"),
    (lambda: one_of("a", int), r"one_of\(...\) was given int", "match"),
    (lambda: one_of("a", gt(5)), r"one_of\(...\) was given gt\(5\)", "&, | and ~"),
    (lambda: one_of(1, NAN), r"was given nan", "isnan"),
    (lambda: ne(int), r"was given int", "~"),
    (lambda: ne([1]), r"was given \[1\]", "~"),
    (lambda: regex(5), r"regex\(...\) was given 5, but takes a text", "flags"),  # type: ignore[arg-type]
    (lambda: regex(b"a"), r"was given b'a'", "flags"),  # type: ignore[arg-type]
    (lambda: regex("(a"), r"was given '\(a', but takes a regular expression", "unterminated"),
    (lambda: instance(5), r"instance\(...\) was given 5, but takes a class", "first"),  # type: ignore[arg-type]
    (lambda: instance(list[int]), r"takes a class", "first"),
    (lambda: bool(match(a=1)), r"neither true nor false", "& for and"),
    (lambda: all([match(a=1), match(b=2)]), r"neither true nor false", "& for and"),
    (lambda: not match(a=1), r"neither true nor false", "~ for not"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "message", "hint"), REFUSED, ids=[row[1] for row in REFUSED])
def test_what_cannot_be_is_refused(make: Any, message: str, hint: str) -> None:
    """The error says where the pattern is wrong, what was found, what was expected and what to write."""
    with pytest.raises(PatternError, match=message) as caught:
        make()

    assert isinstance(caught.value, DefinitionError)
    assert hint.replace("\\", "") in str(caught.value.hint)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


# ------------------------------------------------------------------------ comparing and showing

ALL = [pattern for pattern, _, _ in MATCHES]

NAMES = {
    **{name: value for name, value in globals().items() if isinstance(value, type)},
    **{
        function.__name__: function
        for function in (gt, ge, lt, le, between, match, ne, one_of, regex)
    },
    "anything": anything,
    "datetime": dt,
    "Decimal": decimal.Decimal,
}

EQUAL = [
    (match(a=1, b=2), match(b=2, a=1)),
    (match(a=1), match({"a": 1})),
    (match([1, ...]), match((1, ...))),
    (one_of("a", "b"), one_of("b", "a")),
    (match(int), instance(int)),
    (match(a=Order("x")), match(a=Order("x"))),
    (ne(1), ~match(1)),
    (anything, anything()),
    (gt(1) & lt(5) & match(int), gt(1) & (lt(5) & match(int))),
    (match(int | None), match(int) | match(None)),
]

DIFFERENT = [
    (match(x=1), match(x=True)),
    (match(x=1), match(x=1.0)),
    (match(x=0), match(x=False)),
    (one_of(1), one_of(True)),
    (match({1: "x"}), match({True: "x"})),
    (gt(1), ge(1)),
    (gt(1), gt(1.0)),
    (gt(1), lt(1)),
    (match("a"), one_of("a")),
    (match(a=1), match(a=1, b=2)),
    (match([1]), match([1, ...])),
    (match(1) | match(2), match(1) & match(2)),
    (match(Order), match(Order, status="a")),
    (match(a=Order("x")), match(a=Order("y"))),
    (match("a"), regex("a")),
    (match(int), match(bool)),
]


@pytest.mark.parametrize(("one", "other"), EQUAL, ids=repr)
def test_equal_patterns_share(one: Pattern, other: Pattern) -> None:
    """Patterns that say the same are equal, however they were written."""
    assert one == other
    assert hash(one) == hash(other)
    assert one.sharing_key() == other.sharing_key()
    assert one.fingerprint_data() == other.fingerprint_data()


@pytest.mark.parametrize(("one", "other"), DIFFERENT, ids=repr)
def test_different_patterns_do_not_share(one: Pattern, other: Pattern) -> None:
    """Booleans, whole numbers and other numbers are told apart."""
    assert one != other
    assert one.sharing_key() is None or one.sharing_key() != other.sharing_key()
    assert one.fingerprint_data() != other.fingerprint_data()


def test_a_pattern_is_no_other_value() -> None:
    """A literal pattern does not equal its literal."""
    assert match("x") != "x"
    assert gt(5) != (5,)


@pytest.mark.parametrize("pattern", ALL, ids=repr)
def test_patterns_survive_pickling_and_copying(pattern: Pattern) -> None:
    """A copy is equal, looks the same, and can be asked."""
    for twin in (pickle.loads(pickle.dumps(pattern)), copy.copy(pattern), copy.deepcopy(pattern)):
        assert twin == pattern
        assert repr(twin) == repr(pattern)
        assert twin.matches(None) == pattern.matches(None)


def test_a_literal_that_could_change_is_not_shared() -> None:
    """Two rules share no condition whose literal somebody could change under them."""
    assert match(a=Order("x")).sharing_key() is None
    assert (match(int) | match([Order("x")])).sharing_key() is None
    assert one_of(Order("x")).sharing_key() is None
    assert isinstance(hash(match(a=Order("x"))), int)


def test_fingerprints_are_plain() -> None:
    """A fingerprint's data has no objects in it."""

    def leaves(part: Any) -> list[Any]:
        return (
            [leaf for item in part for leaf in leaves(item)] if isinstance(part, tuple) else [part]
        )

    kinds = {type(leaf) for pattern in ALL for leaf in leaves(pattern.fingerprint_data())}

    assert kinds <= {str, int, float, bool, bytes, type(None)}


def test_fingerprints_are_the_same_in_every_process() -> None:
    """They depend on neither addresses nor the seed of string hashes."""
    program = (
        "from treadle.components.match import *\n"
        "class A: pass\n"
        "a = A()\n"
        "print(match(a=one_of('x', 'y', 'z'), b={'c': [1, A, ...]}, d=a).fingerprint_data())\n"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={"PYTHONPATH": ":".join(sys.path), "PYTHONHASHSEED": seed},
            capture_output=True, text=True, check=True,
        ).stdout
        for seed in ("1", "2")
    }  # fmt: skip

    assert len(outputs) == 1
    assert "__main__.A" in outputs.pop()


@pytest.mark.parametrize(
    "source",
    [
        "match(items=list, amount=gt(100))",
        "match({'not-a-name': 1, 'class': 2})",
        "match({1: int})",
        "match(customer={'name': 'x', 'age': between(18, 65)})",
        "match([int, str, ...])",
        "match(a=[])",
        "match('x')",
        "match(Order, status='open')",
        "match(a=match(Order, status='open'))",
        "match(Color.RED)",
        "match(Order)",
        "one_of('a', 'b')",
        "ne('x')",
        "~match(a=1)",
        "~(gt(1) & lt(5))",
        "match(a=1) & match(b=2)",
        "match(a=1) & (match(b=2) | match(c=3))",
        "match(a=1) & match(b=2) | match(c=3)",
        "match(a=gt(1) & lt(5), b=match('x') | match('y'))",
        "regex('a+')",
        "match(a=anything)",
        "gt('m')",
    ],
)
def test_repr_is_the_source(source: str) -> None:
    """A pattern shows itself as it was written."""
    assert repr(eval(source, NAMES)) == source


@pytest.mark.parametrize("pattern", ALL, ids=repr)
def test_repr_makes_the_pattern_again(pattern: Pattern) -> None:
    """What a pattern shows is a program for it."""
    assert eval(repr(pattern).replace("NoneType", "None"), NAMES) == pattern


def test_patterns_never_change() -> None:
    """Attributes can be neither set nor deleted."""
    pattern = gt(5)

    with pytest.raises(AttributeError, match="cannot be changed"):
        pattern.matches = len  # type: ignore[assignment]
    with pytest.raises(AttributeError, match="cannot be changed"):
        del pattern.key
    with pytest.raises(AttributeError):
        pattern.other = 1


def test_a_mapping_changed_later_changes_no_pattern() -> None:
    """The dict that a pattern was made from may go on living."""
    source = {"a": 1}
    pattern = match(source)
    source["b"] = 2

    assert pattern == match(a=1)


# ------------------------------------------------------------------------------------------- laws

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.sampled_from([0.0, 1.0, 1.5, -2.5, math.inf, -math.inf]),
    st.sampled_from([decimal.Decimal(1), decimal.Decimal("1.5"), fractions.Fraction(3, 2)]),
    st.sampled_from(["", "a", "b", "ab", b"a", Color.RED, Level.LOW, Kind.ORDER]),
    st.sampled_from([dt.date(2024, 1, 1), dt.datetime(2024, 1, 1, tzinfo=UTC)]),
)
"""Small values, of which many are equal to one another in one way or another."""

keys = st.sampled_from(["a", "b", "c", 1, None])

odd_values = st.sampled_from(
    [
        NAN,
        decimal.Decimal("nan"),
        decimal.Decimal("snan"),
        1j,
        {1, 2},
        bytearray(b"a"),
        Order("a", 1),
    ]
)

values = st.recursive(
    scalars | odd_values | st.builds(Order, scalars, scalars),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(keys, inner, max_size=3),
        st.dictionaries(keys, inner, max_size=3).map(OrderedDict),
        st.dictionaries(keys, inner, max_size=3).map(UserDict),
        st.builds(Order, inner, inner),
    ),
    max_leaves=6,
)
"""What facts may hold: scalars, odd things, containers and objects."""

limits: st.SearchStrategy[Any] = st.integers(-3, 3) | st.sampled_from(
    [1.5, -2.5, decimal.Decimal("0.5"), fractions.Fraction(1, 2)]
)
texts = st.sampled_from(["", "a", "b", "ab"])

leaves = st.one_of(
    scalars.map(Literal),
    st.lists(scalars, min_size=1, max_size=3).map(lambda each: one_of(*each)),
    st.sampled_from([int, bool, str, list, dict, Mapping, object, Order, SubOrder, Color]).map(
        match
    ),
    st.builds(lambda make, limit: make(limit), st.sampled_from([gt, ge, lt, le]), limits | texts),
    st.lists(limits, min_size=2, max_size=2).map(lambda ends: between(min(ends), max(ends))),
    st.sampled_from([anything, regex("a.*"), ne("a"), gt(dt.date(2023, 1, 1)), match(Order("a"))]),
)

patterns: st.SearchStrategy[Pattern] = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.dictionaries(keys, inner, min_size=1, max_size=3).map(to_pattern),
        st.builds(
            lambda parts, more: to_pattern([*parts, ...] if more else parts),
            st.lists(inner, max_size=3),
            st.booleans(),
        ),
        st.builds(lambda status, amount: match(Order, status=status, amount=amount), inner, inner),
        st.lists(inner, min_size=2, max_size=3).map(And),
        st.lists(inner, min_size=2, max_size=3).map(Or),
        inner.map(lambda one: ~one),
    ),
    max_leaves=6,
)
"""Patterns of all kinds."""


@given(patterns, patterns, values)
def test_operators_are_the_logical_ones(one: Pattern, other: Pattern, value: Any) -> None:
    """`&`, `|` and `~` answer what `and`, `or` and `not` of the answers would."""
    assert (one & other).matches(value) == (one.matches(value) and other.matches(value))
    assert (one | other).matches(value) == (one.matches(value) or other.matches(value))
    assert (~one).matches(value) == (not one.matches(value))


@given(patterns)
def test_random_patterns_survive_pickling(pattern: Pattern) -> None:
    """A pickled pattern comes back equal, and with the same fingerprint."""
    twin = pickle.loads(pickle.dumps(pattern))

    assert twin == pattern
    assert hash(twin) == hash(pattern)
    assert twin.fingerprint_data() == pattern.fingerprint_data()


@given(patterns, patterns, st.lists(values, min_size=3, max_size=3))
def test_equal_patterns_match_the_same(one: Pattern, other: Pattern, asked: list[Any]) -> None:
    """Whatever is shared by equality gives the same answers."""
    if one == other:
        assert [one.matches(v) for v in asked] == [other.matches(v) for v in asked]


@given(scalars, values)
def test_a_literal_matches_what_is_equal(literal: Any, value: Any) -> None:
    """A literal matches by `==`, but that booleans are no numbers and what is unhashable equals nothing."""
    try:
        equal = hash(value) == hash(literal) and value == literal
    except TypeError:
        equal = False

    assert match(literal).matches(value) == (
        equal and isinstance(value, bool) == isinstance(literal, bool)
    )
