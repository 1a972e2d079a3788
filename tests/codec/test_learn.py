"""The classes of annotations are found, wherever in them they stand; those of a workflow's ports by themselves."""

import typing
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import (
    Annotated,
    Any,
    Generic,
    Literal,
    NamedTuple,
    NewType,
    Protocol,
    TypedDict,
    TypeVar,
)

import msgspec
import pytest

import treadle as td
from treadle.codec import Codec, annotations_of
from treadle.errors import EncodeError


class Unit(Enum):
    """An enum."""

    PIECE = 1


@dataclass
class Part:
    """Refers to what refers to it."""

    unit: Unit
    whole: "list[Whole] | None" = None


class Whole(msgspec.Struct):
    """A struct."""

    parts: tuple[Part, ...]
    extra: "Extra | None" = None


class Extra(NamedTuple):
    """A named tuple."""

    by_name: "dict[str, Deep]"


class Deep:
    """A plain class."""


class Given(TypedDict):
    """A dict by its type, whose fields are classes."""

    whole: Whole


class Shown(Protocol):
    """Has no instances."""

    def show(self) -> str: ...


T = TypeVar("T")
B = TypeVar("B", bound=Part)
Alias = NewType("Alias", Part)


class Box(msgspec.Struct, Generic[T]):
    """A struct with a parameter."""

    content: T


def learnt(*annotations: Any) -> set[str]:
    """The names that a codec has after learning."""
    made = Codec()
    made.learn(annotations)
    return {name.rpartition(":")[2] for name in made._classes.yours()}


ALL = {"Unit", "Part", "Whole", "Extra", "Deep"}


@pytest.mark.parametrize(
    ("annotation", "found"),
    [
        (Unit, {"Unit"}),
        (Part, ALL),
        (Given, ALL),
        (list[Part], ALL),
        (dict[str, Deep] | None, {"Deep"}),
        (typing.Optional[Deep], {"Deep"}),  # noqa: UP045
        (Annotated[Deep, "note"], {"Deep"}),
        (Callable[[Deep], Unit], {"Deep", "Unit"}),
        (Literal[Unit.PIECE], {"Unit"}),
        (Sequence[Iterable[Deep]], {"Deep"}),
        (type[Deep], {"Deep"}),
        (Box[Deep], {"Box", "Deep"}),
        (B, ALL),
        (Alias, ALL),
        (Shown, set()),
        (Any, set()),
        (None, set()),
        ("Part", set()),
        (int | str | list[bytes], set()),
    ],
    ids=str,
)
def test_classes_are_found_in_annotations(annotation: Any, found: set[str]) -> None:
    """In parameters, unions, aliases, and in the fields of what is found."""
    assert learnt(annotation) == found


def test_annotations_that_cannot_be_read_are_passed_over() -> None:
    """A name that does not exist spoils its own field only."""

    @dataclass
    class Broken:
        good: Deep
        bad: "Missing"  # type: ignore[name-defined]  # noqa: F821

    assert {"Deep"} <= learnt(Broken)


def order(number: int) -> Part:
    """A step that gives a part."""
    return Part(Unit.PIECE)


def join(part: Part, box: Box[Deep]) -> Any:
    """A step that takes two."""
    return (part, box)


def box(number: int) -> Box[Deep]:
    """A step that gives a box."""
    return Box(Deep())


def test_a_workflow_registers_the_types_of_its_ports() -> None:
    """What its steps take and give can be stored; before, it could not."""
    flow = td.workflow("flow").add(order).add(box, to=[td.INPUT])
    flow = flow.add(join, to=["order", "box"])
    made = Codec()
    with pytest.raises(EncodeError, match="annotate the step's port"):
        made.check(order(1))

    assert Part in annotations_of(flow.definition)
    for graph in (flow.definition, flow.definition.program()):
        made = Codec()
        made.learn_from(graph)

        assert made.decode(made.encode(order(1))) == order(1)
        assert type(made.decode(made.encode(box(1))).content) is Deep


def test_an_alias_that_was_given_stays() -> None:
    """Learning takes nothing back."""
    made = Codec()
    made.register(Extra, name="extra")
    made.learn([Extra])

    assert b"extra" in made.encode(Extra({}))
    assert b"Extra" not in made.encode(Extra({}))


def test_a_runner_registers_them(tmp_path: Path) -> None:
    """What a step gives is stored in a file, and read by another runner, though nobody registered its class."""
    flow = td.workflow("flow").add(order)
    with td.Runner(store=f"sqlite:///{tmp_path}/runs.db") as runner:
        runner.start(flow, "one")
        runner.run("one", 1).result(timeout=20)

    with td.Runner(store=f"sqlite:///{tmp_path}/runs.db", workflows=[flow]) as runner:
        runner.resume("one")

        assert runner.get_results("one") == {"order": Part(Unit.PIECE)}
