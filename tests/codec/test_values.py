"""Values come back as they were: equal, and of equal types at every level."""

import copy
import datetime as dt
import math
import string
import uuid
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.codec.same import same
from tests.codec.samples import (
    CLASSES,
    VALUES,
    Bits,
    Careful,
    Celsius,
    Colour,
    Line,
    Money,
    Order,
    OutOfStock,
    Point,
    Rank,
    Stack,
    Triple,
    codec,
)
from treadle.codec import Codec
from treadle.errors import RemoteFailure, StepFailed, UnknownType

CODEC = codec()
COMPARING = codec(compare=True)

TEXT = st.text(st.characters(codec=None, categories=None), max_size=5)
ATOMS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    TEXT,
    st.binary(max_size=5),
)
HASHABLE = st.recursive(
    st.one_of(
        ATOMS,
        st.complex_numbers(),
        st.decimals(allow_nan=False),
        st.fractions(),
        st.datetimes(timezones=st.none() | st.timezones()),
        st.dates(),
        st.times(timezones=st.none() | st.just(dt.UTC)),
        st.timedeltas(),
        st.uuids(),
        st.sampled_from([Colour.RED, Rank.LOW, Bits.A | Bits.B, ..., range(3), Path("a/b")]),
        st.builds(Celsius, st.floats(allow_nan=False)),
    ),
    lambda inner: st.one_of(
        st.tuples(inner, inner),
        st.frozensets(inner, max_size=3),
        st.builds(Line, TEXT, inner),
        st.builds(Money, inner),
        st.builds(lambda items: Triple(items), st.lists(inner, max_size=3)),
    ),
    max_leaves=4,
)
VALUE = st.recursive(
    HASHABLE | st.binary(max_size=4).map(bytearray),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(TEXT, inner, max_size=4),
        st.dictionaries(HASHABLE, inner, max_size=3),
        st.dictionaries(HASHABLE, inner, max_size=3).map(OrderedDict),
        st.sets(HASHABLE, max_size=3),
        st.builds(deque, st.lists(inner, max_size=2), st.none() | st.integers(2, 5)),
        st.builds(Point, inner, inner),
        st.builds(Order, st.integers(), st.lists(inner, max_size=2), TEXT),
        st.lists(inner, max_size=3).map(Stack),
    ),
    max_leaves=8,
)


@pytest.mark.parametrize("name", VALUES)
def test_every_kind_comes_back_as_it_was(name: str) -> None:
    """Alone, and inside a list, a dict and a tuple."""
    value = VALUES[name]

    for each in (value, [value], {"k": value}, ({"k": [value]},)):
        CODEC.check(each)
        back = CODEC.decode(CODEC.encode(each))
        assert same(back, each), back


@pytest.mark.slow
@given(VALUE)
def test_what_is_encoded_is_decoded_as_it_was(value: Any) -> None:
    """The law, over values that nest all kinds in one another."""
    back = CODEC.decode(CODEC.encode(value))

    assert same(back, value)
    assert CODEC.encode(back) == CODEC.encode(value)


@pytest.mark.slow
@given(VALUE)
def test_comparing_finds_nothing_to_complain_of(value: Any) -> None:
    """The check for development agrees with the law; `check` agrees with encoding."""
    COMPARING.encode(value)
    COMPARING.check(value)


def test_equal_sets_are_equal_bytes() -> None:
    """Sets are written in the order of their bytes, whatever order they happen to have."""
    words = [
        "".join(pair) for pair in zip(string.ascii_letters, string.ascii_letters[1:], strict=False)
    ]

    assert CODEC.encode(set(words)) == CODEC.encode({*words[5:], *words[:5]})


def test_special_floats_are_exact() -> None:
    """NaN, infinities and the sign of zero, alone and as parts of other kinds."""
    back = CODEC.decode(CODEC.encode([math.nan, -0.0, (math.inf, -math.inf)]))

    assert math.isnan(back[0])
    assert math.copysign(1, back[1]) == -1
    assert back[2] == (math.inf, -math.inf)


def test_real_paths_and_safety_of_uuids_are_kept() -> None:
    """What depends on the system: the class of Path, and whether a UUID was made safely."""
    made = uuid.UUID(int=5, is_safe=uuid.SafeUUID.safe)
    path, back = CODEC.decode(CODEC.encode((Path("/tmp/\udcff"), made)))

    assert (path, type(path)) == (Path("/tmp/\udcff"), type(Path()))
    assert back.is_safe is uuid.SafeUUID.safe


def test_sentinels_and_enum_members_keep_their_identity() -> None:
    """Members are compared by `is`."""
    assert CODEC.decode(CODEC.encode([Colour.CRIMSON, VALUES["absent"]])) == [
        Colour.RED,
        VALUES["absent"],
    ]
    assert CODEC.decode(CODEC.encode(VALUES["absent"])) is VALUES["absent"]


def test_state_comes_back_and_no_constructor_runs() -> None:
    """An instance in a state that its constructor would refuse comes back in that state."""
    value = copy.copy(VALUES["dataclass-init-false"])

    back = CODEC.decode(CODEC.encode(value))

    assert (back.size, back.double) == (-1, 6)


def test_attributes_that_were_never_set_stay_unset() -> None:
    """A dataclass whose field was deleted has none afterwards either."""
    value = Careful(1)
    del value.double

    assert not hasattr(CODEC.decode(CODEC.encode(value)), "double")


def test_shared_parts_are_written_twice() -> None:
    """Identity is not kept: what stood twice in a value stands there as two equal ones."""
    part: Any = (1, [])
    back = CODEC.decode(CODEC.encode([part, part]))

    assert back[0] == back[1]
    assert back[0] is not back[1]


# ------------------------------------------------------------------------------------- exceptions


@pytest.mark.parametrize(
    "error",
    [
        ValueError("x", 3, (1,)),
        KeyError("k"),
        FileNotFoundError(2, "no such", "a", None, "b"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"),
        ImportError("gone", name="n", path="p"),
        ExceptionGroup("both", [ValueError(1), KeyError(2)]),
        StopIteration(5),
        OutOfStock("ink", left=3),
        StepFailed("m", component="c", input=1, attempt=2, hint="h"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_known_exceptions_come_back(error: Exception) -> None:
    """Class, arguments, text, attributes, notes and cause; the traceback does not."""
    error.add_note("seen")
    error.__cause__ = TypeError("why")

    back = CODEC.decode(CODEC.encode(error))

    assert type(back) is type(error)
    assert repr(back) == repr(error)
    assert str(back) == str(error)
    assert same(back.__dict__, error.__dict__)
    assert repr(back.__cause__) == repr(error.__cause__)
    for name in ("filename", "filename2", "name", "path", "value"):
        assert getattr(back, name, None) == getattr(error, name, None)


def test_unknown_exceptions_come_back_as_remote_failures() -> None:
    """What an exception is called and says is kept, also where its class is not registered."""
    told = Codec().encode([OutOfStock("ink", left=3)])

    (back,) = Codec().decode(told)

    assert type(back) is RemoteFailure
    assert str(back) == "tests.codec.samples.OutOfStock: ink: 3 left"
    Codec(compare=True).encode(OutOfStock("ink", left=3))


def test_exceptions_that_were_known_when_written_are_remote_failures_where_they_are_not() -> None:
    """A failure is never lost because its class is."""
    told = CODEC.encode(OutOfStock("ink", left=3))

    assert str(Codec().decode(told)) == "tests.codec.samples:OutOfStock: ink: 3 left"


# ------------------------------------------------------------------------------ changes of classes


class Wide(msgspec.Struct):
    """More fields, with defaults."""

    x: Any
    y: Any = 0
    z: list[int] = []


class Narrow(msgspec.Struct):
    """Fewer fields."""

    x: Any


class Strict(msgspec.Struct):
    """More fields, without defaults."""

    x: Any
    y: Any
    z: Any


@dataclass
class Plain:
    """A dataclass."""

    x: int


@dataclass
class Grown:
    """The same with more fields, with defaults."""

    x: int
    y: str = "n"
    z: list[int] = field(default_factory=list)


@dataclass
class Needy:
    """The same with one more, without a default."""

    x: int
    y: int


def renamed(cls: type, other: type, value: Any) -> Any:
    """Write a value of one class, and read it as another that has its name."""
    writer, reader = Codec(), Codec()
    writer.register(cls, name="thing")
    reader.register(other, name="thing")
    return reader.decode(writer.encode(value))


def test_an_alias_outlives_a_renaming() -> None:
    """What was stored under a name is read as the class that has it now; both names are read."""
    old = Codec()
    old.register(Point, name="place")
    new = Codec()
    new.register(Wide, name="place")

    assert new.decode(old.encode(Point(1, 2))) == Wide(1, 2)
    assert new.decode(CODEC_OF_WIDE.encode(Wide(3))) == Wide(3)


CODEC_OF_WIDE = Codec([Wide])


def test_new_fields_with_defaults_are_filled_in() -> None:
    """Structs and dataclasses alike."""
    assert renamed(Point, Wide, Point(1)) == Wide(1, 0, [])
    assert renamed(Plain, Grown, Plain(1)) == Grown(1, "n", [])


def test_fields_that_do_not_fit_are_refused() -> None:
    """A field that is gone, and one that is missing and has no default."""
    with pytest.raises(
        UnknownType, match=r"'thing' was stored with 'y', for which it has no place"
    ):
        renamed(Point, Narrow, Point(1))
    with pytest.raises(UnknownType, match="'thing' was stored with other fields: Missing required"):
        renamed(Point, Strict, Point(1))
    with pytest.raises(UnknownType, match="'thing' was stored without 'y', which it has now"):
        renamed(Plain, Needy, Plain(1))
    with pytest.raises(UnknownType, match="stored as another sort of class: struct, not object"):
        renamed(Point, Plain, Point(1))


def test_names_that_nobody_registered_are_told() -> None:
    """The error says which, and what to do; nothing is imported."""
    with pytest.raises(
        UnknownType, match=r"'tests.codec.samples:Point' is not registered here.*Codec\(types"
    ):
        Codec().decode(CODEC.encode([Point(1)]))
    with pytest.raises(UnknownType, match=r"'tests.codec.samples:Colour' is not registered"):
        Codec().decode(CODEC.encode({"k": Colour.RED}))


def test_all_sample_classes_can_be_registered() -> None:
    """The samples are of every form there is."""
    assert {shape.form for shape in CODEC._classes.by_class.values()} == {
        *("enum", "struct", "object", "exception")
    }
    assert set(CLASSES) <= set(CODEC._classes.by_class)
