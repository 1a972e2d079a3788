"""Cytoscape elements: nodes, compound nodes for the boxes, and edges; JSON-ready."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from treadle.model.sentinels import INPUT_KEY
from treadle.render.boxes import Box, Boxes
from treadle.render.labels import counted
from treadle.views.graph import ComponentEntry, EdgeEntry, graph

if TYPE_CHECKING:
    from treadle.value import Workflow

_NO_CLASS: Final = re.compile(r"[^A-Za-z0-9_-]+")


def to_cytoscape(
    workflow: Workflow, *, state: bool = False, input: Any = None
) -> list[dict[str, Any]]:
    """A workflow as elements for Cytoscape.js: parents first, then components, then edges.

    A component's id is its name, the raw input's is `"INPUT"`; all other ids contain a slash, as no
    name does. With `state`, components have their `status` (a class too) and `counts`.
    """
    drawn = graph(workflow, state=state, input=input)
    forest = Boxes(drawn)
    return [
        *(_box(box, above) for box, above in forest.above.items()),
        {"data": {"id": INPUT_KEY, "label": "root", "kind": "input"}, "classes": "input"},
        *(_component(entry, forest.box_of[entry["name"]]) for entry in drawn["components"]),
        *(_edge(edge) for edge in drawn["edges"]),
    ]


def class_of(text: str) -> str:
    """A kind as one class name: classes are told apart by spaces and found by selectors.

    >>> class_of('my "kind" > *')
    'my-kind-'
    """
    return _NO_CLASS.sub("-", text)


def _box(box: Box, above: Box | None) -> dict[str, Any]:
    data: dict[str, Any] = {"id": box.key, "label": box.label, "kind": box.kind}
    if above is not None:
        data["parent"] = above.key
    return {"data": data, "classes": f"box {box.kind}"}


def _component(entry: ComponentEntry, box: Box | None) -> dict[str, Any]:
    label = "\n".join([entry["name"], *counted(entry)])
    data: dict[str, Any] = {"id": entry["name"], "label": label, "kind": entry["kind"]}
    if box is not None:
        data["parent"] = box.key
    classes = [class_of(entry["kind"])]
    if entry["is_output"]:
        classes.append("output")
    if "status" in entry and "counts" in entry:
        data["status"], data["counts"] = entry["status"], entry["counts"]
        classes.append(entry["status"])
    return {"data": data, "classes": " ".join(classes)}


def _edge(edge: EdgeEntry) -> dict[str, Any]:
    source, target, kind = edge["source"], edge["target"], edge["kind"]
    data = {
        "id": f"{source}/{target}/{kind}",
        "source": source,
        "target": target,
        "kind": kind,
        "label": "" if kind == "value" else kind,
    }
    return {"data": data, "classes": kind}
