"""Graphviz pictures."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from treadle.model.sentinels import INPUT_KEY
from treadle.render.boxes import Boxes, Closed, Opened
from treadle.render.choices import check_choice
from treadle.render.colours import OF_ROOT, Colours, of_component
from treadle.render.labels import counted
from treadle.views.graph import ComponentEntry, EdgeEntry, Graph, graph

if TYPE_CHECKING:
    from treadle.value import Workflow

DIRECTIONS: Final = ("TB", "BT", "LR", "RL")

SHAPES: Final = {
    "step": "box",
    "rule": "diamond",
    "condition": "diamond",
    "map": "box3d",
    "reduce": "invtrapezium",
    "collect": "invtrapezium",
    "accumulator": "cylinder",
}
OTHER_SHAPE: Final = "oval"

INDENT: Final = "    "

_ESCAPES: Final = str.maketrans({"\\": r"\\", '"': r"\"", "&": "&amp;", "\n": r"\n", "\r": r"\r"})


def to_dot(
    workflow: Workflow, *, direction: str = "TB", state: bool = False, input: Any = None
) -> str:
    """A workflow as a digraph for Graphviz; with `state`, colours say how far each component has come.

    Errors: `UsageError` if there is no such direction.
    """
    check_choice("direction", direction, DIRECTIONS)
    drawn = graph(workflow, state=state, input=input)
    lines = [
        f"digraph {quoted(drawn['name'])} {{",
        f"{INDENT}rankdir={direction};",
        f'{INDENT}node [fontname="sans-serif", style=filled];',
        f'{INDENT}edge [fontname="sans-serif", fontsize=10, color="#94a3b8", fontcolor="#94a3b8"];',
        INDENT + _node(INPUT_KEY, quoted("root"), "circle", OF_ROOT),
        *_nodes(drawn),
        *(INDENT + _edge(edge) for edge in drawn["edges"]),
        "}",
    ]
    return "\n".join(lines)


def quoted(text: str, *, below: str = "") -> str:
    r"""Any text as a quoted identifier or label; `below` is a second line of a label.

    Graphviz reads `\"` as a quote, in labels backslashes and HTML entities too. Different texts stay
    different.

    >>> print(quoted('a "b" \\N'))
    "a \"b\" \\N"
    """
    second = f"\\n{below}" if below else ""
    return f'"{text.translate(_ESCAPES)}{second}"'


def _nodes(drawn: Graph) -> Iterator[str]:
    """Boxes with what they hold, then the components outside of them."""
    entries = {entry["name"]: entry for entry in drawn["components"]}
    forest = Boxes(drawn)
    for step in forest.walk():
        indent = INDENT * (step.depth + 1)
        if isinstance(step, Opened):
            yield f"{indent}subgraph {quoted(f'cluster {step.box.key}')} {{"
            yield f'{indent}{INDENT}label={quoted(step.box.label)}; fontname="sans-serif";'
            yield f'{indent}{INDENT}color="#94a3b8"; style=rounded;'
        elif isinstance(step, Closed):
            yield f"{indent}}}"
        else:
            yield indent + _component(entries[step.name])
    for name, box in forest.box_of.items():
        if box is None:
            yield INDENT + _component(entries[name])


def _component(entry: ComponentEntry) -> str:
    label = quoted(entry["name"], below="".join(counted(entry)))
    shape = SHAPES.get(entry["kind"], OTHER_SHAPE)
    return _node(entry["name"], label, shape, of_component(entry))


def _node(name: str, label: str, shape: str, colours: Colours) -> str:
    return (
        f"{quoted(name)} [label={label}, shape={shape}, "
        f'fillcolor="{colours.fill}", color="{colours.stroke}", fontcolor="{colours.text}"];'
    )


def _edge(edge: EdgeEntry) -> str:
    ends = f"{quoted(edge['source'])} -> {quoted(edge['target'])}"
    if edge["kind"] == "value":
        return f"{ends};"
    return f'{ends} [label="{edge["kind"]}", style=dashed];'
