"""What `wait_for` and `sleep` take and refuse, and how a payload is fitted to its type."""

import pickle
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
import pytest

import treadle as td
from treadle.errors import BadValue, DefinitionError


class Approval(msgspec.Struct):
    """A person's answer."""

    ok: bool
    note: str = ""


@dataclass
class Choice:
    """Another one."""

    number: int


def two(value: Any, other: Any) -> str:
    """A key of two values."""
    return f"{value} {other}"


def marked(value: Any, model: str = td.context("m")) -> str:
    """A key that wants more than the value."""
    return f"{value} {model}"


def waiting(schema: Any) -> td.Workflow:
    """A workflow that waits for an answer of a type."""
    return td.workflow("w").add(td.wait_for("answer", schema=schema)).plan_eagerly("question")


def answered(schema: Any, payload: Any) -> Any:
    """What a wait of this type gives."""
    return waiting(schema).signal("answer", payload).results()["answer"]


@pytest.mark.parametrize(
    ("schema", "payload", "gives"),
    [
        (None, object, object),
        (bool, True, True),
        (list[int], [1, 2], [1, 2]),
        (Approval, {"ok": True}, Approval(True)),
        (Approval, Approval(False, "no"), Approval(False, "no")),
        (Choice, {"number": 3}, Choice(3)),
        (Literal["yes", "no"], "no", "no"),
        (bool | None, None, None),
    ],
)
def test_a_payload_is_what_its_schema_says(schema: Any, payload: Any, gives: Any):
    """Plain data becomes the type that is asked for, and what is of that type already stays as it is."""
    assert answered(schema, payload) == gives


@pytest.mark.parametrize(
    ("schema", "payload", "expected"),
    [
        (bool, 1, "takes bool, and was given 1"),
        (list[int], [*range(100), "x"], r"Expected `int`, got `str` - at `\$\[100\]`"),
        (Approval, {"note": "?"}, "missing required field `ok`"),
        (Literal["yes", "no"], "maybe", "Invalid enum value 'maybe'"),
        (Callable[[], int] | int, "x", "takes .*Callable"),
    ],
)
def test_a_bad_payload_is_refused_and_nothing_is_recorded(schema: Any, payload: Any, expected: str):
    """All of a payload is looked at, before anything is recorded."""
    w = waiting(schema)
    with pytest.raises(BadValue, match=expected):
        w.signal("answer", payload)

    assert len(w.waiting()) == 1
    assert w.position == len(w.log()) == 3


@pytest.mark.parametrize("payload", [td.ABSENT, (each for each in "ab")], ids=["ABSENT", "stream"])
def test_what_is_no_value_is_no_payload(payload: Any):
    """ABSENT and streams cannot be facts."""
    with pytest.raises(BadValue, match="carries a value"):
        waiting(None).signal("answer", payload)


def test_the_shape_has_the_json_schema():
    """A form can be built from the log alone; the type itself is on the component."""
    w = td.workflow("w").add(td.wait_for("answer", schema=Approval)).plan_eagerly("question")
    (entry,) = td.Workflow.from_log(td.workflow("w"), w.log()).waiting()

    assert entry["schema"]["$defs"]["Approval"]["required"] == ["ok"]
    assert w["answer"].schema is Approval  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: td.wait_for(""), "cannot be the name"),
        (lambda: td.wait_for("a", timeout_s=-1), "number of seconds of at least 0"),
        (lambda: td.wait_for("a", timeout_s="1 h"), "number of seconds"),  # type: ignore[arg-type]
        (lambda: td.wait_for("a", default=1), "waits without end"),
        (lambda: td.wait_for("a", key=1.5), "`key=` is text"),  # type: ignore[arg-type]
        (lambda: td.wait_for("a", key=two), "takes 2 values"),  # type: ignore[arg-type]
        (lambda: td.wait_for("a", key=marked), "nothing but the value"),
        (lambda: td.wait_for("a", schema="bool"), "is text"),
        (lambda: td.wait_for("a", schema=7), "is no type"),
        (lambda: td.wait_for("a", on_failure="stop"), "not one of"),  # type: ignore[arg-type]
        (lambda: td.sleep(None), "needs a number"),  # type: ignore[arg-type]
        (lambda: td.sleep(float("inf")), "number of seconds"),
        (lambda: td.sleep(True), "number of seconds"),
    ],
)
def test_what_cannot_be_is_refused_at_once(make: Callable[[], Any], expected: str):
    """Each refusal names the component and what was expected."""
    with pytest.raises(DefinitionError, match=expected):
        make()


def test_an_async_key_is_refused():
    """Keys are asked where nothing can be awaited."""

    async def key(value: Any) -> str:
        return str(value)

    with pytest.raises(DefinitionError, match="is async"):
        td.wait_for("a", key=key)  # type: ignore[arg-type]


def test_a_wait_is_no_function():
    """There is nothing to call."""
    with pytest.raises(TypeError, match="waits, and is no function"):
        td.sleep(1)("value")


def test_types_are_checked_through_waits():
    """A wait gives its schema, a sleep and a timeout path what came to them."""

    def text() -> str:
        return "text"

    def half(number: int) -> float:
        return number / 2

    base = td.workflow("w").add(text).add(td.wait_for("number", schema=int, timeout_s=1), to="text")
    base.add(half, to="number")
    with pytest.raises(td.errors.IncompatibleTypes, match="'text' gives str|gives str"):
        base.add(half, to=td.timeout_of("number"))
    with pytest.raises(td.errors.IncompatibleTypes):
        base.add(td.sleep(1), to="text").add(half, to="sleep")


def test_fingerprints_tell_waits_apart():
    """A change of time, key or type is a change of the component."""
    made = [
        td.wait_for("a"),
        td.wait_for("a", timeout_s=1),
        td.wait_for("a", timeout_s=1, default=None),
        td.wait_for("a", key="k"),
        td.wait_for("a", schema=list[int]),
        td.wait_for("a", schema=list[str]),
        td.sleep(1, name="a"),
    ]

    assert len({each.fingerprint for each in made}) == len(made)
    assert (
        td.wait_for("a", schema=Approval).fingerprint
        == td.wait_for("a", schema=Approval).fingerprint
    )


def test_a_waiting_workflow_pickles():
    """Waits, kept signals and clocks travel with the log."""
    w = td.workflow("w").add(td.wait_for("answer", schema=Approval, timeout_s=5)).add(td.sleep(3))
    w = w.plan_eagerly(1, at=10).signal("answer", Approval(True), "later")
    there = pickle.loads(pickle.dumps(w))

    assert there == w
    assert there.waiting() == w.waiting()
    assert there.next_due() == 13
