"""Which components a picture draws a box around: sub-workflows, and fan-outs with what is inside of them.

Boxes nest or are apart, as every format wants it, but what they stand for need not: a fan-out opened in a
sub-workflow may go on outside of it. The larger box is drawn then, and the smaller one left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from msgspec import Struct

from treadle.views.graph import Graph

WORKFLOW: Final = "workflow"
FAN_OUT: Final = "fan-out"


class Box(Struct, frozen=True):
    """A box around components; `name` is the sub-workflow's prefix, or the name of the map."""

    kind: str
    name: str

    @property
    def label(self) -> str:
        """What is written on it."""
        return self.name if self.kind == WORKFLOW else f"each item of {self.name}"

    @property
    def key(self) -> str:
        """Unlike the name of any component, which has no slash, and the key of any other box."""
        return f"{self.kind}/{self.name}"


class Opened(Struct, frozen=True):
    """Here a box begins."""

    box: Box
    depth: int


class Closed(Struct, frozen=True):
    """Here the innermost open box ends."""

    depth: int


class Held(Struct, frozen=True):
    """A component, in the box opened last."""

    name: str
    depth: int


class Boxes:
    """The boxes of a graph, as a forest with the components as its leaves."""

    def __init__(self, graph: Graph) -> None:
        self.names = [entry["name"] for entry in graph["components"]]
        self.box_of: dict[str, Box | None] = dict.fromkeys(self.names)
        """The innermost box around each component."""
        self.above: dict[Box, Box | None] = {}
        """The box around each box, larger ones first."""
        for box, members in _candidates(graph):
            around = {self.box_of[name] for name in members}
            if len(around) == 1:
                self.above[box] = around.pop()
                self.box_of.update(dict.fromkeys(members, box))

    def walk(self) -> Iterator[Opened | Closed | Held]:
        """The boxes from the outside in, each with its components; those outside all boxes are left out."""
        held: dict[Box | None, list[str]] = {}
        for name, box in self.box_of.items():
            held.setdefault(box, []).append(name)
        within: dict[Box | None, list[Box]] = {}
        for box, above in self.above.items():
            within.setdefault(above, []).append(box)
        stack: list[Opened | Closed] = [Opened(box, 0) for box in reversed(within.get(None, []))]
        while stack:
            step = stack.pop()
            yield step
            if isinstance(step, Opened):
                yield from (Held(name, step.depth + 1) for name in held.get(step.box, []))
                stack.append(Closed(step.depth))
                inner = reversed(within.get(step.box, []))
                stack.extend(Opened(box, step.depth + 1) for box in inner)


def _candidates(graph: Graph) -> list[tuple[Box, list[str]]]:
    """All boxes that could be drawn, the largest first; a fan-out with nothing inside needs none."""
    found: dict[Box, list[str]] = {}
    for entry in graph["components"]:
        for prefix in _prefixes(entry["prefix"]):
            found.setdefault(Box(WORKFLOW, prefix), []).append(entry["name"])
    known = {entry["prefix"] for entry in graph["components"]}
    for entry in graph["components"]:
        for opener in entry["inside"]:
            found.setdefault(Box(FAN_OUT, opener), [opener]).append(entry["name"])
    listed = [
        (box, members) for box, members in found.items() if box.kind == FAN_OUT or box.name in known
    ]
    return sorted(listed, key=lambda candidate: -len(candidate[1]))


def _prefixes(prefix: str) -> Iterator[str]:
    """A sub-workflow's prefix, after those of the workflows it may stand in."""
    end = prefix.find(".", 1)
    while end > 0:
        yield prefix[:end]
        end = prefix.find(".", end + 1)
    if prefix:
        yield prefix
