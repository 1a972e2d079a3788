"""Forms: what a type asks of a person, said as data, and read from the log alone."""

import datetime as dt
import enum
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Annotated, Any, Literal, NamedTuple, NotRequired, TypedDict
from uuid import UUID

import msgspec
import pytest
from pydantic import BaseModel
from pydantic import Field as Said

import treadle as td
from treadle.model.forms import form_from
from treadle.model.schemas import canonical_schema, json_schema


class Urgency(enum.Enum):
    """How much it matters; in the order of mattering."""

    NOT_NOW = "later"
    AT_ONCE = "now"


class Line(msgspec.Struct, rename="camel"):
    """One line of a bill."""

    unit_price: Decimal
    count: Annotated[int, msgspec.Meta(ge=1, le=9)] = 1


@dataclass
class Verdict:
    """What somebody decides."""

    approved: bool
    urgency: Urgency = Urgency.AT_ONCE
    answer: Literal["no", "maybe", "yes"] = "yes"
    paid_on: Annotated[dt.date, msgspec.Meta(title="Day of payment", description="or later")] = (
        dt.date(2026, 11, 22)
    )
    called_at: dt.datetime | None = None
    lines: list[Line] = field(default_factory=list)
    shares: dict[str, float] = field(default_factory=dict)


class Place(TypedDict):
    """Where."""

    street: str
    floor: NotRequired[int]


class Point(NamedTuple):
    """A row."""

    x: int
    y: float = 0.0


class Model(BaseModel):
    """A model of another library."""

    amount: Decimal = Said(gt=0, description="how much")
    urgency: Urgency = Urgency.AT_ONCE
    note: str | None = None


class Nested(msgspec.Struct):
    """Contains itself."""

    value: int
    below: "Nested | None" = None


def form_of(kind: Any) -> Any:
    """The form of a type as plain data, by way of the log's text."""
    return msgspec.json.decode(msgspec.json.encode(form_from(json_schema(kind))))


def fields_of(kind: Any) -> dict[str, Any]:
    """Its fields by name."""
    return {each["name"]: each for each in form_of(kind)["fields"]}


def only(kind: Any) -> Any:
    """The one field of a form that takes a value alone, without what all of them have."""
    form = form_of(kind)
    assert form["is_single"]
    (found,) = form["fields"]
    return {name: value for name, value in found.items() if name != "name"}


def test_a_dataclass_is_a_form_with_its_fields_in_their_order():
    """Each says what it takes, how it is called, and what counts where nothing is said."""
    form = form_of(Verdict)
    fields = fields_of(Verdict)

    assert (form["title"], form["description"]) == ("Verdict", "What somebody decides.")
    assert list(fields) == [
        "approved",
        "urgency",
        "answer",
        "paid_on",
        "called_at",
        "lines",
        "shares",
    ]
    assert fields["approved"] == {"name": "approved", "kind": "boolean", "title": "Approved"}
    assert fields["urgency"]["choices"] == [
        {"value": "later", "label": "Not now"},
        {"value": "now", "label": "At once"},
    ]
    assert fields["urgency"]["default"] == "now"
    assert [each["value"] for each in fields["answer"]["choices"]] == ["no", "maybe", "yes"]
    assert fields["paid_on"] == {
        "name": "paid_on",
        "kind": "date",
        "title": "Day of payment",
        "description": "or later",
        "required": False,
        "default": "2026-11-22",
    }
    called = fields["called_at"]
    assert (called["kind"], called["nullable"], called["default"]) == ("datetime", True, None)


def test_what_is_inside_is_told_too():
    """Items and their fields, by the names that they have in an answer, with their bounds."""
    lines = fields_of(Verdict)["lines"]
    price, count = lines["item"]["fields"]

    assert (lines["kind"], lines["required"], "default" in lines) == ("list", False, False)
    assert (price["name"], price["kind"]) == ("unitPrice", "decimal")
    assert (count["minimum"], count["maximum"], count["default"]) == (1, 9, 1)
    assert fields_of(Verdict)["shares"]["item"] == {"name": "", "kind": "number"}


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (bool, {"kind": "boolean"}),
        (UUID, {"kind": "uuid"}),
        (bytes, {"kind": "binary"}),
        (dt.time, {"kind": "time"}),
        (dt.datetime, {"kind": "datetime"}),
        (dt.timedelta, {"kind": "duration"}),
        (str | None, {"kind": "text", "nullable": True}),
        (Annotated[str, msgspec.Meta(pattern="^a")], {"kind": "text", "pattern": "^a"}),
        (int | str, {"kind": "one_of", "options": [
            {"name": "", "kind": "integer"}, {"name": "", "kind": "text"}
        ]}),
        (Point, {"kind": "tuple", "fields": [
            {"name": "0", "kind": "integer", "title": "0"},
            {"name": "1", "kind": "number", "title": "1", "required": False, "default": 0.0},
        ]}),
        (Any, {"kind": "any", "nullable": True}),
        (None, {"kind": "any", "nullable": True}),
        (complex, {"kind": "any", "nullable": True}),
    ],
)  # fmt: skip
def test_a_type_without_fields_asks_for_one_value(kind: Any, expected: Any):
    """It has no name, and the answer is the value itself."""
    assert only(kind) == expected


def test_a_typed_dict_says_what_it_can_do_without():
    """As a dataclass does by its defaults."""
    assert [each.get("required", True) for each in fields_of(Place).values()] == [True, False]


def test_a_model_of_pydantic_is_a_form_too():
    """With what it says in its own way."""
    fields = fields_of(Model)

    assert fields["amount"]["kind"] == "decimal"
    assert (fields["amount"]["exclusive_minimum"], fields["amount"]["description"]) == (
        0,
        "how much",
    )
    assert [each["label"] for each in fields["urgency"]["choices"]] == ["Not now", "At once"]
    assert (fields["note"]["kind"], fields["note"]["nullable"]) == ("text", True)
    w = td.workflow("w").add(td.wait_for("ok", schema=Model)).plan_eagerly(1)
    assert w.signal("ok", {"amount": "2.5"}).results() == {"ok": Model(amount=Decimal("2.5"))}
    with pytest.raises(td.errors.BadValue, match=r"greater than 0 - at `\$.amount`"):
        w.signal("ok", {"amount": "-2.5"})


def test_what_contains_itself_ends_somewhere():
    """Inside of itself it takes any JSON."""
    below = fields_of(Nested)["below"]

    assert (below["kind"], below["nullable"]) == ("any", True)


def test_the_form_stands_in_the_log():
    """It is the same where the class cannot be imported: of a workflow folded without its code."""
    live = td.workflow("w").add(td.wait_for("ok", schema=Verdict)).plan_eagerly("subject")
    (here,) = live.waiting()
    (there,) = td.Workflow.from_log(td.workflow("w"), live.log()).waiting()

    assert here["form"] == there["form"] == form_of(Verdict)
    assert msgspec.json.decode(msgspec.json.encode(there["form"]), type=td.Form) == form_from(
        json_schema(Verdict)
    )


def test_the_order_of_fields_is_no_change_of_code():
    """What a fingerprint is made of does not say in which order they stand."""

    class One(msgspec.Struct):
        a: int
        b: int

    class Two(msgspec.Struct):
        b: int
        a: int

    One.__name__ = Two.__name__ = "Same"
    one, two = (canonical_schema(kind) for kind in (One, Two))
    assert one is not None
    assert two is not None
    assert (
        msgspec.json.decode(one)["$defs"]["Same"]["properties"]
        == (msgspec.json.decode(two)["$defs"]["Same"]["properties"])
    )
    assert list(fields_of(One)) == ["a", "b"]
    assert list(fields_of(Two)) == ["b", "a"]
