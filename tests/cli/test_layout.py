"""The tree: every component once, below one of its parents."""

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

import treadle as td
from treadle.cli.layout import ASCII, LINES, PREFIX_MAX, rows_of


def taking(count: int) -> Callable[..., int]:
    """A function for a step with some parents."""
    return lambda *values: count


@st.composite
def graphs(draw: st.DrawFn) -> td.Workflow:
    """Workflows of steps with any parents among those before them, or their failures."""
    workflow = td.workflow("w")
    for number in range(draw(st.integers(0, 12))):
        earlier = [f"s{each}" for each in range(number)]
        parents = (
            draw(st.lists(st.sampled_from(earlier), unique=True, max_size=3)) if earlier else []
        )
        failing = len(parents) == 1 and draw(st.booleans())
        to = [td.error_of(parents[0])] if failing else parents
        step = td.step(taking(len(parents)), name=f"s{number}")
        workflow = workflow.add(step, to=to or None)
    return workflow


@given(graphs())
def test_every_component_has_one_row(workflow: td.Workflow) -> None:
    """None is left out and none is shown twice, whatever the graph."""
    assert sorted(row.name for row in rows_of(workflow, LINES)) == sorted(workflow.components())


@given(graphs())
def test_rows_stand_below_a_parent_and_name_the_others(workflow: td.Workflow) -> None:
    """The row above, one level out, is a parent; the note has the rest of them."""
    parents: dict[str, set[str]] = {name: set() for name in workflow.components()}
    for source, target, _ in workflow.to_edgelist():
        if source in parents:
            parents[target].add(source)
    path: list[str] = []
    for row in rows_of(workflow, LINES):
        depth = len(row.prefix) // 3
        path[depth - 1 :] = [row.name]
        shown = {path[depth - 2]} if depth > 1 else set()
        others = set(row.note[2:].split(", ")) if row.note.startswith("+ ") else set()
        assert shown | others == parents[row.name]
        assert not shown & others


def test_the_guides_way_is_drawn_before_the_way_of_failures() -> None:
    """What comes of a failure hangs beside the main road, and joins it by name."""
    workflow = (
        td.workflow("w", steps=[td.step(taking(1), name="try")])
        .add(td.step(taking(1), name="mend"), to=td.error_of("try"))
        .add(td.step(taking(1), name="go on"), to=["try", "mend"], join="any")
    )

    assert [(row.prefix, row.name, row.note) for row in rows_of(workflow, ASCII)] == [
        ("`- ", "try", ""),
        ("   |- ", "mend", "on failure"),
        ("   `- ", "go on", "+ mend"),
    ]


def test_a_long_chain_keeps_room_for_its_names() -> None:
    """Branches are cut at their outer end, so that the tree does not drift off the screen."""
    workflow = td.workflow("w")
    for number in range(200):
        to = f"s{number - 1}" if number else None
        workflow = workflow.add(td.step(taking(1), name=f"s{number}"), to=to)
    rows = rows_of(workflow, LINES)

    assert len(rows) == 200
    assert max(len(row.prefix) for row in rows) == PREFIX_MAX
    assert rows[-1].prefix.endswith(LINES.last)
