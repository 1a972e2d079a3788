"""Filling in a form: what is typed becomes values, and what does not fit is refused with the path to it."""

import datetime as dt
import enum
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
import pytest
from pydantic import BaseModel

from treadle.errors import BadValue
from treadle.model.filling import check, read
from treadle.model.forms import Choice, Field
from treadle.model.schemas import fit, json_schema


class Colour(enum.Enum):
    """One of two."""

    RED = 1
    BLUE = 2


@dataclass
class Line:
    """One line."""

    price: Decimal
    day: dt.date | None = None


@dataclass
class Bill:
    """Some lines."""

    lines: list[Line]
    colour: Colour = Colour.RED


class Cat(msgspec.Struct, tag=True):
    """One sort."""

    lives: int


class Dog(msgspec.Struct, tag=True):
    """Another sort."""

    name: str


class Model(BaseModel):
    """Another library's."""

    n: int


Small = Annotated[int, msgspec.Meta(ge=1, multiple_of=2)]
UID = UUID("12345678-1234-5678-1234-567812345678")


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (bool, True),
        (float, 3),
        (Small, 2),
        (Decimal, "1.50"),
        (Decimal, Decimal("1.50")),
        (Decimal, 2),
        (dt.date, dt.date(2026, 1, 2)),
        (dt.datetime, "2026-01-02T10:00:00"),
        (dt.datetime, dt.datetime(2026, 1, 2, tzinfo=dt.UTC)),
        (dt.timedelta, "PT90M"),
        (bytes, b"abc"),
        (UUID, UID),
        (Colour, 2),
        (Colour, Colour.BLUE),
        (Literal["a", 1] | None, None),
        (set[int], {1, 2}),
        (tuple[int, str], (1, "a")),
        (dict[str, Line], {"a": Line(Decimal(1))}),
        (Bill, Bill([Line(Decimal(1), dt.date(2026, 1, 2))])),
        (Bill, {"lines": [], "more": "is passed over"}),
        (Cat | Dog, Dog("Rex")),
        (Cat | Dog | None, {"type": "Cat", "lives": 9}),
        (int | str, "a"),
        (Model, Model(n=1)),
        (Model, {"n": 1}),
        (object, object()),
    ],
)
def test_nothing_is_refused_that_the_wait_takes(kind: Any, value: Any):
    """The form may know less than the type, never more."""
    fit("it", value, kind)
    check("it", value, json_schema(kind))


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        (bool, 1, r"Expected `bool`, got `int`"),
        (Small, 3, r"multiple of 2"),
        (Small, 0, r">= 1"),
        (Bill, {"lines": [{"price": "x"}]}, r"at `\$.lines\[0\].price`"),
        (Bill, {"lines": [{"price": "1", "day": "soon"}]}, r"at `\$.lines\[0\].day`"),
        (Bill, {"colour": 1}, r"missing required field `lines`"),
        (Bill, {"lines": [], "colour": 3}, r"Invalid enum value 3 - at `\$.colour`"),
        (Bill, Bill([Line(Decimal(1), "soon")]), r"at `\$.lines\[0\].day`"),  # type: ignore[arg-type]
        (Model, {"n": "x"}, r"at `\$.n`"),
        (Literal["a", "b"], "c", r"Invalid enum value 'c'"),
        (int | None, "c", r"Expected `int \| null`"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_place(kind: Any, value: Any, expected: str):
    """By the text in the log alone."""
    with pytest.raises(BadValue, match=expected):
        check("it", value, json_schema(kind))


COLOUR = Field(
    name="colour", kind="choice", choices=(Choice(1, "Red"), Choice("blue", "Dark blue"))
)


@pytest.mark.parametrize(
    ("field", "typed", "value"),
    [
        (Field(name="", kind="boolean"), "Yes", True),
        (Field(name="", kind="boolean"), " n ", False),
        (Field(name="", kind="integer"), "12", 12),
        (Field(name="", kind="number"), "12", 12.0),
        (Field(name="", kind="decimal"), " 12.50", "12.50"),
        (Field(name="", kind="text"), " as it is ", " as it is "),
        (Field(name="", kind="date"), "2026-11-22", "2026-11-22"),
        (Field(name="", kind="date", nullable=True), "null", None),
        (Field(name="", kind="any"), '{"a": 1}', {"a": 1}),
        (Field(name="", kind="any"), "no JSON", "no JSON"),
        (Field(name="", kind="list", item=Field(name="", kind="integer")), "[1]", [1]),
        (COLOUR, "1", 1),
        (COLOUR, "2", "blue"),
        (COLOUR, "dark blue", "blue"),
        (COLOUR, "blue", "blue"),
    ],
)
def test_what_is_typed_becomes_a_value(field: Field, typed: str, value: Any):
    """Of the type that JSON has for it."""
    found = read(field, typed)
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("field", "typed", "expected"),
    [
        (Field(name="", kind="boolean"), "2", "'2' is not yes or no"),
        (Field(name="", kind="integer"), "1.5", "'1.5' is not a whole number"),
        (Field(name="", kind="integer", maximum=3), "4", "<= 3"),
        (Field(name="", kind="text", min_length=2), "a", "length >= 2"),
        (Field(name="", kind="date"), "22.11.2026", "Invalid"),
        (Field(name="", kind="list", item=Field(name="", kind="integer")), "1", "Expected `array`"),
        (Field(name="", kind="list", item=Field(name="", kind="integer")), "[", "is not JSON"),
        (COLOUR, "3", "'3' is not one of 1, blue"),
    ],
)
def test_what_is_typed_and_does_not_fit_is_refused(field: Field, typed: str, expected: str):
    """With what would fit."""
    with pytest.raises(BadValue, match=expected):
        read(field, typed)
