"""The graph as pictures need it, and the story of an input."""

import json
from typing import Any

import pytest

import treadle as td
from treadle.views.graph import graph, messages


def same(value: Any) -> Any:
    """Give back what came."""
    return value


def second_only(value: int) -> int:
    """Fail for all but 2."""
    if value != 2:
        raise ValueError(f"not {value}")
    return value


def telling(value: Any, *, seen: int = td.state_of("seen"), last: int = td.latest("a")) -> Any:
    """Read a state and a history."""
    return value, seen, last


def seen_twice(value: Any, *, count: int = td.count("seen")) -> bool:
    """Read a history while planning."""
    return count > 1 and value is not None


def step(name: str) -> Any:
    """Give a step that passes its value on."""
    return td.step(same, name=name)


def edges(workflow: Any) -> list[tuple[str, str, str]]:
    """Give the edges as tuples."""
    return [(edge["source"], edge["target"], edge["kind"]) for edge in graph(workflow)["edges"]]


def entry(workflow: Any, name: str, *, state: bool = False) -> dict[str, Any]:
    """Give what is told of one component."""
    (found,) = [each for each in graph(workflow, state=state)["components"] if each["name"] == name]
    return dict(found)


def counts(workflow: Any, name: str) -> dict[str, int]:
    """Give the counts of one component that are not zero."""
    told = entry(workflow, name, state=True)["counts"]
    return {what: count for what, count in told.items() if count}


def status(workflow: Any) -> dict[str, str]:
    """Give the status of each component."""
    return {each["name"]: each["status"] for each in graph(workflow, state=True)["components"]}


def story(workflow: Any) -> list[tuple[str, str, str, Any]]:
    """Give the messages as tuples."""
    return [
        (each["kind"], each["source"], each["target"], each["value"]) for each in messages(workflow)
    ]


# --------------------------------------------------------------------------------------- the graph


def test_whole_answer() -> None:
    """A small workflow, told in full."""
    workflow = td.workflow("w", steps=[(step("a"), [td.map(same, name="b")])])

    assert graph(workflow) == {
        "name": "w",
        "components": [
            {
                "name": "a",
                "kind": "step",
                "inside": [],
                "parents": ["INPUT"],
                "is_output": False,
                "prefix": "",
            },
            {
                "name": "b",
                "kind": "map",
                "inside": [],
                "parents": ["a"],
                "is_output": True,
                "prefix": "",
            },
        ],
        "edges": [
            {"source": "INPUT", "target": "a", "kind": "value"},
            {"source": "a", "target": "b", "kind": "value"},
        ],
    }


def test_inner_nodes_collapse() -> None:
    """What joins for a rule, asks its condition or opens a scope is no node of the picture."""
    workflow = (
        td.workflow("w", steps=[step("a"), step("b")])
        .add(td.rule(same, name="r", condition=bool), to=["a", "b"])
        .add(td.rule(same, name="slow", condition=bool, dispatch=True), to="r")
        .add(td.map(same, name="m"), to=["a", "b"], join="any")
        .add(
            td.accumulator(lambda x, y: x + y, initial=0, merge=lambda x, y: x + y, name="sum"),
            to="b",
        )
    )

    assert edges(workflow)[2:] == [
        ("a", "r", "value"),
        ("b", "r", "value"),
        ("r", "slow", "value"),
        ("a", "m", "value"),
        ("b", "m", "value"),
        ("b", "sum", "value"),
    ]
    assert entry(workflow, "r")["parents"] == ["a", "b"]


def test_edges_that_carry_no_value_say_so() -> None:
    """Error ports, markers and named conditions are edges of their own kind."""
    workflow = (
        td.workflow("w", steps=[step("a")])
        .add(td.accumulator(lambda n, _: n + 1, initial=0, name="seen"), to="a")
        .add(td.condition(bool, name="filled"), to="a")
        .add(step("handle"), to=[td.error_of("a")])
        .add(td.step(telling), to="a")
        .add(
            td.rule(same, name="r", condition=td.all_of("filled", seen_twice)),
            to="a",
        )
    )

    assert edges(workflow)[3:] == [
        ("a", "handle", "error"),
        ("a", "telling", "value"),
        ("seen", "telling", "state"),
        ("a", "telling", "state"),
        ("a", "r", "value"),
        ("filled", "r", "condition"),
        ("seen", "r", "state"),
    ]


def test_places_are_told_from_the_outside_in() -> None:
    """A map stands where it is called from; what follows is inside until the fan-out closes."""
    workflow = (
        td.workflow("w")
        .add(td.map(same, name="outer"))
        .add(td.map(same, name="inner"), to="outer")
        .add(td.step(second_only), to="inner")
        .add(step("handle"), to=td.error_of("second_only"))
        .add(td.collect(name="both", over="outer"), to="second_only")
    )
    inside = {each["name"]: each["inside"] for each in graph(workflow)["components"]}

    assert inside == {
        "outer": [],
        "inner": ["outer"],
        "second_only": ["outer", "inner"],
        "handle": ["outer", "inner"],
        "both": [],
    }


def test_sub_workflows_are_told_by_prefix() -> None:
    """Components of a sub-workflow have its prefix, and what they refer to is found in it."""
    sub = (
        td.workflow("sub")
        .add(td.condition(bool, name="filled"))
        .add(td.rule(same, name="r", condition="filled"))
    )
    workflow = td.workflow("w").add(td.workflow("top").add(sub))

    assert [each["prefix"] for each in graph(workflow)["components"]] == ["top.sub", "top.sub"]
    assert ("top.sub.filled", "top.sub.r", "condition") in edges(workflow)


def test_graph_follows_edits_under_way() -> None:
    """Pictures show the graph as it is now, and tell what removed components have done."""
    done = td.workflow("w", steps=[(step("a"), [(step("b"), [step("c")])])])
    done = done.react_until_satisfied(1).remove("b")

    assert edges(done) == [("INPUT", "a", "value"), ("a", "c", "value")]
    assert entry(done, "c")["parents"] == ["a"]
    assert ("value", "a", "b", 1) in story(done)
    assert status(done) == {"a": "done", "c": "done"}


# --------------------------------------------------------------------------------------- the state


def test_template_is_idle() -> None:
    """Before the first input, nothing is done and nothing waits."""
    workflow = td.workflow("w", steps=[step("a")])

    assert status(workflow) == {"a": "idle"}
    assert counts(workflow, "a") == {}


def test_items_are_counted_by_what_came_of_them() -> None:
    """Items done and failed are counted each; a failure weighs most."""
    workflow = (
        td.workflow("w")
        .add(td.map(same, name="each"))
        .add(td.step(second_only), to="each")
        .add(td.collect(name="all", on_item_failure="skip"), to="second_only")
    )
    done = workflow.react_until_satisfied([1, 2, 3]).react_until_satisfied([2])

    assert counts(done, "each") == {"done": 4}
    assert counts(done, "second_only") == {"done": 2, "failed": 2}
    assert counts(done, "all") == {"done": 2}
    assert status(done) == {"each": "done", "second_only": "failed", "all": "done"}


def test_absent_is_skipped_and_a_failure_is_not() -> None:
    """A step that gives ABSENT skipped; one that failed under `on_failure="skip"` failed."""
    workflow = (
        td.workflow("w")
        .add(td.step(lambda _: td.ABSENT, name="nothing"))
        .add(td.step(second_only, on_failure="skip"))
    )
    done = workflow.react_until_satisfied(1)

    assert counts(done, "nothing") == {"skipped": 1}
    assert counts(done, "second_only") == {"failed": 1}
    assert status(done) == {"nothing": "idle", "second_only": "failed"}


def test_conditions_count_what_they_let_through() -> None:
    """A condition is done once for each fact that passed, a rule once for each reaction."""
    workflow = (
        td.workflow("w")
        .add(td.condition(lambda x: x > 1, name="large"))
        .add(td.rule(same, name="r", condition="large"))
        .add(td.rule(same, name="broken", condition=lambda x: x["no"]))
        .add(step("after"), to="large")
    )
    done = workflow
    for number in range(4):
        done = done.react_until_satisfied(number)

    assert counts(done, "large") == counts(done, "r") == counts(done, "after") == {"done": 2}
    assert counts(done, "broken") == {"failed": 4}


def test_a_fact_planned_again_counts_once() -> None:
    """A backfill asks a condition about an old fact again; it passed once all the same."""
    done = td.workflow("w").add(td.condition(bool, name="c")).react_until_satisfied(1)
    again = done.add(td.rule(same, name="r", condition="c"), backfill=True).react_until_satisfied()

    assert counts(again, "c") == {"done": 1}
    assert [told for told in story(again) if told[2] == "c"] == [("value", "INPUT", "c", 1)]


def test_pending_work_is_counted_where_it_stands() -> None:
    """Ready, in flight, waiting at a join, queued for a state."""
    workflow = (
        td.workflow("w")
        .add(step("a"))
        .add(step("b"))
        .add(td.step(lambda a, b: a, name="join"), to=["a", "b"])
        .add(td.accumulator(lambda n, _: n + 1, initial=0, name="seen"))
    )
    pending = workflow.plan_eagerly(1).plan_eagerly(2)
    pending, (runnable, *_) = pending.prepare_for_dispatch(limit=3)
    pending = pending.apply_runnable(td.execute_runnable(runnable))

    assert counts(pending, "a") == {"done": 1, "ready": 1}
    assert counts(pending, "b") == {"ready": 1, "in_flight": 1}
    assert counts(pending, "join") == {"waiting": 1}
    assert counts(pending, "seen") == {"in_flight": 1, "waiting": 1}
    assert status(pending) == {"a": "ready", "b": "ready", "join": "waiting", "seen": "ready"}


@pytest.mark.parametrize("retain", ["all", "results", 1])
def test_state_is_of_what_is_remembered(retain: Any) -> None:
    """Counts are of the inputs that `retain` keeps; a folded input has its outputs only."""
    workflow = td.workflow("w", steps=[(step("a"), [step("b")])], retain=retain)
    for number in range(5):
        workflow = workflow.react_until_satisfied(number)
    kept = {"all": (5, 5), "results": (1, 5), 1: (2, 2)}[retain]

    assert (counts(workflow, "a")["done"], counts(workflow, "b")["done"]) == kept
    assert ("result", "b", "INPUT", 4) in story(workflow)


def test_looking_changes_nothing() -> None:
    """All answers are JSON and the same when asked again, and the workflow goes on."""
    workflow, _ = td.workflow("w", steps=[step("a")]).plan_eagerly(1).prepare_for_dispatch()
    before = (workflow.log(), workflow.in_flight())
    told = graph(workflow, state=True)

    assert json.loads(json.dumps(told)) == told == graph(workflow, state=True)
    assert (workflow.log(), workflow.in_flight()) == before


# --------------------------------------------------------------------------------------- the story


def test_story_of_a_join() -> None:
    """Each parent gives what it made; an output gives its result back."""
    workflow = td.workflow("w", steps=[step("a"), step("b")]).add(
        td.step(lambda a, b: a + b, name="sum"), to=["a", "b"]
    )

    assert story(workflow.react_until_satisfied(1)) == [
        ("value", "INPUT", "a", 1),
        ("value", "INPUT", "b", 1),
        ("value", "a", "sum", 1),
        ("value", "b", "sum", 1),
        ("result", "sum", "INPUT", 2),
    ]


def test_story_of_a_fan_out() -> None:
    """A map is given the whole once, and gives each item; what is broadcast is given once."""
    workflow = (
        td.workflow("w", steps=[td.map(same, name="each"), step("factor")])
        .add(td.step(lambda x, f: (x, len(f)), name="pair"), to=["each", "factor"])
        .add(td.collect(name="all"), to="pair")
    )

    assert story(workflow.react_until_satisfied([7, 8])) == [
        ("value", "INPUT", "each", [7, 8]),
        ("value", "INPUT", "factor", [7, 8]),
        ("value", "each", "pair", 7),
        ("value", "factor", "pair", [7, 8]),
        ("value", "each", "pair", 8),
        ("value", "pair", "all", (7, 2)),
        ("value", "pair", "all", (8, 2)),
        ("result", "all", "INPUT", [(7, 2), (8, 2)]),
    ]


def test_story_of_gates() -> None:
    """What passed a condition comes from there; a dispatched check is part of its rule."""
    workflow = (
        td.workflow("w")
        .add(td.condition(bool, name="filled"))
        .add(td.condition(bool, name="again"), to="filled")
        .add(step("after"), to="again")
        .add(td.rule(same, name="slow", condition=bool, dispatch=True), to="filled")
    )

    assert sorted(story(workflow.react_until_satisfied(1))) == [
        ("result", "after", "INPUT", 1),
        ("result", "slow", "INPUT", 1),
        ("value", "INPUT", "filled", 1),
        ("value", "again", "after", 1),
        ("value", "filled", "again", 1),
        ("value", "filled", "slow", 1),
    ]
    assert story(workflow.react_until_satisfied(0)) == []


def test_story_of_failures() -> None:
    """A failure, a skip and a retry are told of the component; a handler is given the failure."""
    workflow = (
        td.workflow("w")
        .add(td.step(second_only))
        .add(
            td.step(lambda failure: failure.component, name="handle"), to=td.error_of("second_only")
        )
        .add(td.rule(same, name="broken", condition=lambda x: 1 / 0))
        .add(td.step(lambda failure: 0, name="mend"), to=td.error_of("broken"))
        .add(td.step(lambda _: td.ABSENT, name="nothing"))
    )
    planned, (runnable, *_) = workflow.plan_eagerly(1).prepare_for_dispatch(limit=1)
    tried = planned.apply_runnable(td.execute_runnable(runnable), retry=True)

    assert sorted(story(tried.react_until_satisfied()), key=str) == sorted(
        [
            ("failed", "broken", "broken", "ZeroDivisionError: division by zero"),
            ("retried", "second_only", "second_only", "ValueError: not 1"),
            ("value", "INPUT", "second_only", 1),
            ("failed", "second_only", "second_only", "ValueError: not 1"),
            ("error", "broken", "mend", "ZeroDivisionError: division by zero"),
            ("result", "mend", "INPUT", 0),
            ("error", "second_only", "handle", "ValueError: not 1"),
            ("result", "handle", "INPUT", "second_only"),
            ("value", "INPUT", "nothing", 1),
            ("skipped", "nothing", "nothing", None),
        ],
        key=str,
    )


def test_state_and_story_of_one_input() -> None:
    """`input=` narrows counts and messages to one input, as everywhere else."""
    workflow = td.workflow("w").add(td.step(lambda x: 1 / x, name="inverse"))
    workflow = workflow.react_until_satisfied(1).react_until_satisfied(0)

    def counted(**about: int) -> tuple[int, int]:
        (entry,) = graph(workflow, state=True, **about)["components"]
        return entry["counts"]["done"], entry["counts"]["failed"]

    assert (counted(), counted(input=0), counted(input=-1)) == ((1, 1), (1, 0), (0, 1))
    assert "ZeroDivisionError" not in workflow.to_mermaid(kind="sequence", input=0)
    assert "ZeroDivisionError" in workflow.to_mermaid(kind="sequence", input=1)
    assert workflow.to_dot(state=True, input=0) != workflow.to_dot(state=True, input=1)
    assert workflow.to_cytoscape(state=True, input=0) != workflow.to_cytoscape(state=True, input=1)
