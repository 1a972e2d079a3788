"""The graph as a list of edges, for networkx, a table, or a test."""

from __future__ import annotations

from typing import TYPE_CHECKING

from treadle.views.graph import graph

if TYPE_CHECKING:
    from treadle.value import Workflow


def to_edgelist(workflow: Workflow) -> list[tuple[str, str, str]]:
    """The edges as (source, target, kind), in the order of adding; the raw input is `"INPUT"`."""
    return [(edge["source"], edge["target"], edge["kind"]) for edge in graph(workflow)["edges"]]
