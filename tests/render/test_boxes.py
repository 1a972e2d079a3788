"""Boxes: they nest or are apart, whatever the workflow does."""

from typing import Any

import pytest
from hypothesis import given

import treadle as td
from tests.render.hostile import workflows
from tests.render.orders import same
from treadle.render.boxes import Boxes, Closed, Held, Opened
from treadle.views.graph import graph


def outline(workflow: Any) -> list[str]:
    """Give the boxes and what they hold, indented."""
    lines = []
    for step in Boxes(graph(workflow)).walk():
        if isinstance(step, Opened):
            lines.append(f"{'  ' * step.depth}[{step.box.label}]")
        elif isinstance(step, Held):
            lines.append(f"{'  ' * step.depth}{step.name}")
    return lines


def inner(name: str, *steps: Any) -> Any:
    """Give a workflow to be put into another."""
    return td.workflow(name, steps=steps)


def test_a_sub_workflow_may_stand_in_a_fan_out() -> None:
    """A map, and a workflow run for each of its items."""
    workflow = (
        td.workflow("w").add(td.map(same, name="each")).add(inner("sub", same), to="each")
    ).add(td.collect(name="all"), to="sub")

    assert outline(workflow) == ["[each item of each]", "  each", "  [sub]", "    sub.same"]


def test_a_fan_out_may_stand_in_a_sub_workflow() -> None:
    """What a sub-workflow opens and closes is drawn inside of it."""
    sub = inner("sub", (td.map(same, name="each"), [(same, [td.collect(name="all")])]))

    assert outline(td.workflow("w").add(sub)) == [
        "[sub]",
        "  sub.all",
        "  [each item of sub.each]",
        "    sub.each",
        "    sub.same",
    ]


def test_sub_workflows_nest() -> None:
    """A workflow in a workflow in a workflow."""
    innermost = inner("deep", same)
    middle = inner("mid", td.step(same, name="own")).add(innermost)

    assert outline(td.workflow("w").add(middle)) == [
        "[mid]",
        "  mid.own",
        "  [mid.deep]",
        "    mid.deep.same",
    ]


def test_of_two_boxes_that_cross_the_larger_is_drawn() -> None:
    """A fan-out that leaves the sub-workflow it was opened in cannot be drawn with it."""
    sub = inner("sub", td.step(same, name="a"), td.step(same, name="b"), td.map(same, name="each"))
    workflow = td.workflow("w").add(sub).add(td.step(same, name="outside"), to="sub.each")

    assert outline(workflow) == ["[sub]", "  sub.a", "  sub.b", "  sub.each"]


def test_a_map_with_nothing_behind_it_has_no_box() -> None:
    """A box around one node says nothing."""
    workflow = td.workflow("w", steps=[(td.map(same, name="each"), [td.collect(name="all")])])

    assert outline(workflow) == []


@pytest.mark.slow
def test_deep_nesting_needs_no_recursion() -> None:
    """A thousand maps in one another can be drawn."""
    workflow = td.workflow("w").add(td.map(same, name="m0"))
    for number in range(1, 1100):
        workflow = workflow.add(td.map(same, name=f"m{number}"), to=f"m{number - 1}")

    assert len(outline(workflow)) == 1099 + 1100
    assert workflow.to_mermaid().count("subgraph") == 1099


@given(workflows())
def test_walk_is_balanced_and_holds_each_once(workflow: Any) -> None:
    """Every box that opens closes, in order; a component is held by its innermost box, once."""
    forest = Boxes(graph(workflow))
    depth, held = 0, []
    for step in forest.walk():
        if isinstance(step, Opened):
            assert step.depth == depth
            depth += 1
        elif isinstance(step, Closed):
            depth -= 1
            assert step.depth == depth
        else:
            assert step.depth == depth
            held.append(step.name)

    assert depth == 0
    assert sorted(held) == sorted(name for name, box in forest.box_of.items() if box is not None)
    assert len({box.key for box in forest.above}) == len(forest.above)
