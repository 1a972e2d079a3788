"""Mermaid pictures: a flowchart of the graph, or a sequence diagram of what happened."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from treadle.render.choices import check_choice
from treadle.render.flowchart import DIRECTIONS, flowchart
from treadle.render.sequence import sequence
from treadle.views.graph import graph, messages

if TYPE_CHECKING:
    from treadle.value import Workflow

KINDS: Final = ("flowchart", "sequence")


def to_mermaid(
    workflow: Workflow,
    *,
    kind: str = "flowchart",
    direction: str = "TD",
    state: bool = False,
    input: Any = None,
) -> str:
    """A workflow as Mermaid text.

    `kind="flowchart"` is the graph; with `state=True` its colours say how far each component has come.
    `kind="sequence"` tells who gave what to whom in the last input, or in all if little has happened.
    `input` is the number of the input that state and sequence are about.

    Errors: `UsageError` if there is no such kind or direction.
    """
    check_choice("kind", kind, KINDS)
    check_choice("direction", direction, DIRECTIONS)
    if kind == "sequence":
        return sequence(messages(workflow, input), workflow.components())
    return flowchart(graph(workflow, state=state, input=input), direction, state=state)
