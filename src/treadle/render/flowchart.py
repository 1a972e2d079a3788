"""The flowchart: one shape per kind of component, dark as in the guide, outputs green."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from treadle.model.sentinels import INPUT_KEY
from treadle.render.boxes import Boxes, Closed, Opened
from treadle.render.colours import OF_ROOT, OF_STATUS, Colours, of_component
from treadle.render.labels import counted
from treadle.render.mermaid_text import ROOT, escape, identifiers, is_plain
from treadle.views.graph import ComponentEntry, EdgeEntry, Graph

DIRECTIONS: Final = ("TD", "TB", "BT", "LR", "RL")

SHAPES: Final = {
    "step": ("[", "]"),
    "rule": ("{", "}"),
    "condition": ("{", "}"),
    "map": ("[[", "]]"),
    "reduce": ("[\\", "/]"),
    "collect": ("[\\", "/]"),
    "accumulator": ("[(", ")]"),
}
OTHER_SHAPE: Final = ("([", "])")

INDENT: Final = "    "


def flowchart(graph: Graph, direction: str, *, state: bool) -> str:
    """A graph as Mermaid text: boxes, edges, colours; each node is described where it is first named."""
    drawing = _Drawing(graph)
    lines = [f"flowchart {direction}", *drawing.boxes(), *drawing.edges(), *drawing.loners(), ""]
    lines += [_style(ROOT, OF_ROOT), *(drawing.statuses() if state else drawing.styles())]
    return "\n".join(lines)


class _Drawing:
    """The identifiers of one picture, and which nodes were described already."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.entries = {entry["name"]: entry for entry in graph["components"]}
        self.forest = Boxes(graph)
        self.ids = identifiers([*self.entries, *(box.key for box in self.forest.above)])
        self.described: set[str] = set()

    def boxes(self) -> Iterator[str]:
        """The boxes with their nodes."""
        for step in self.forest.walk():
            indent = INDENT * (step.depth + 1)
            if isinstance(step, Opened):
                yield f'{indent}subgraph {self.ids[step.box.key]}["{escape(step.box.label)}"]'
            elif isinstance(step, Closed):
                yield f"{indent}end"
            else:
                yield indent + self.node(step.name)

    def edges(self) -> Iterator[str]:
        """The edges, in the order in which their targets were added."""
        for edge in self.graph["edges"]:
            source, target = self.node(edge["source"]), self.node(edge["target"])
            yield f"{INDENT}{source} {_arrow(edge)} {target}"

    def loners(self) -> Iterator[str]:
        """The root, if nothing hangs on it."""
        if INPUT_KEY not in self.described:
            yield INDENT + self.node(INPUT_KEY)

    def node(self, name: str) -> str:
        """A node's identifier; with its shape and label where it is named first."""
        seen = name in self.described
        self.described.add(name)
        if name == INPUT_KEY:
            return ROOT if seen else f"{ROOT}(({ROOT}))"
        if seen:
            return self.ids[name]
        entry = self.entries[name]
        before, after = SHAPES.get(entry["kind"], OTHER_SHAPE)
        return f"{self.ids[name]}{before}{_label(entry)}{after}"

    def styles(self) -> Iterator[str]:
        """A colour for each node, by kind."""
        for name, entry in self.entries.items():
            yield _style(self.ids[name], of_component(entry))

    def statuses(self) -> Iterator[str]:
        """A class for each status that occurs."""
        for status, colours in OF_STATUS.items():
            names = [name for name, entry in self.entries.items() if entry.get("status") == status]
            if names:
                yield f"{INDENT}classDef {status} {_css(colours)}"
                yield f"{INDENT}class {','.join(self.ids[name] for name in names)} {status}"


def _label(entry: ComponentEntry) -> str:
    counts = counted(entry)
    if not counts and is_plain(entry["name"]):
        return entry["name"]
    return '"' + "<br/>".join([escape(entry["name"]), *counts]) + '"'


def _arrow(edge: EdgeEntry) -> str:
    return "-->" if edge["kind"] == "value" else f"-. {edge['kind']} .->"


def _style(identifier: str, colours: Colours) -> str:
    return f"{INDENT}style {identifier} {_css(colours)}"


def _css(colours: Colours) -> str:
    return f"fill:{colours.fill},stroke:{colours.stroke},color:{colours.text}"
