"""The graph as lines of a tree: every component once, below one of its parents."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from msgspec import Struct

from treadle.value import Workflow
from treadle.views.graph import graph

PREFIX_MAX: Final = 36
"""Deeper than this the branches are no longer drawn out, so that names keep their room."""


class Row(Struct, frozen=True):
    """One component: its branches, and which other parents it has."""

    name: str
    prefix: str
    note: str


class Guides(Struct, frozen=True):
    """How branches are drawn."""

    more: str
    last: str
    beside: str
    below: str = "   "


LINES: Final = Guides("├─ ", "└─ ", "│  ")
ASCII: Final = Guides("|- ", "`- ", "|  ")


def rows_of(workflow: Workflow, guides: Guides) -> list[Row]:
    """The components in the order of a tree."""
    parents = parents_of(workflow)
    above = parents_shown(parents)
    below: dict[str | None, list[str]] = {}
    for name, parent in above.items():
        below.setdefault(parent, []).append(name)
    rows: list[Row] = []
    stack = [(name, "", name == below[None][-1]) for name in reversed(below.get(None, []))]
    while stack:
        name, prefix, is_last = stack.pop()
        branch = guides.last if is_last else guides.more
        rows.append(Row(name, shortened(prefix + branch), note_of(parents[name], above[name])))
        inside = prefix + (guides.below if is_last else guides.beside)
        children = below.get(name, [])
        stack += [(child, inside, child == children[-1]) for child in reversed(children)]
    return rows


def parents_shown(parents: Mapping[str, Mapping[str, str]]) -> dict[str, str | None]:
    """For each component the parent below which it is shown.

    Rather not one of a branch that only failures take; then the one that was added last, which in a graph
    without cycles has what it needs above it.
    """
    order = {name: place for place, name in enumerate(parents)}
    failures: dict[str, int] = {}
    shown: dict[str, str | None] = {}
    for name, edges in parents.items():
        ranks = {
            parent: (failures.get(parent, 0) + (kind == "error"), -order[parent])
            for parent, kind in edges.items()
        }
        shown[name] = min(ranks, key=ranks.__getitem__, default=None)
        failures[name] = min(ranks.values(), default=(0, 0))[0]
    return shown


def parents_of(workflow: Workflow) -> dict[str, dict[str, str]]:
    """For each component the components it gets something from, with the kind of edge."""
    parents: dict[str, dict[str, str]] = {name: {} for name in workflow.components()}
    for edge in graph(workflow)["edges"]:
        source, target = edge["source"], edge["target"]
        if edge["kind"] in {"value", "error"} and source in parents and source != target:
            parents[target][source] = edge["kind"]
    return parents


def shortened(prefix: str) -> str:
    """The innermost branches of a deep tree."""
    return prefix if len(prefix) <= PREFIX_MAX else "..." + prefix[3 - PREFIX_MAX :]


def note_of(parents: Mapping[str, str], above: str | None) -> str:
    """What the tree does not show of a component's parents."""
    if above is None:
        return ""
    others = [parent for parent in parents if parent != above]
    note = "on failure" if parents[above] == "error" else ""
    return f"+ {', '.join(others)}" if others else note
