"""Reading a workflow: behaviours J."""

import json
from typing import Any

import pytest

import treadle as td
from treadle import errors


def increment(x: Any) -> Any:
    """One more."""
    return x + 1


def double(x: Any) -> Any:
    """Twice the value."""
    return x * 2


def pipeline() -> td.Workflow:
    """Increment, then double."""
    return td.workflow("pipeline", steps=[(increment, [double])])


def twice() -> td.Workflow:
    """A pipeline after two inputs."""
    return pipeline().react_until_satisfied(1).react_until_satisfied(10)


def mapped() -> td.Workflow:
    """A fan-out with a fold beside it."""
    w = td.workflow("w", components=[td.map(double, name="m")])
    return w.add(td.reduce(lambda a, b: a + b, initial=0, name="sum"), to="m")


# ----------------------------------------------------------------------------------------- results


def test_results_are_of_the_outputs():
    """J147: without names, the components that nothing takes from, by name."""
    w = td.workflow("w", steps=[(increment, [double, td.step(str, name="text")]), td.step(abs)])

    assert w.react_until_satisfied(1).results() == {"double": 4, "text": "2", "abs": 1}


def test_results_of_names():
    """J148: those components, in the order asked for."""
    assert twice().results("double", "increment") == {"double": 22, "increment": 11}
    assert list(twice().results("double", "increment")) == ["double", "increment"]


def test_results_are_of_the_last_input():
    """Section 4: by default the last accepted; numbers from 0, negative from the end."""
    w = twice()

    assert w.results() == w.results(input=1) == w.results(input=-1) == {"double": 22}
    assert w.results(input=0) == w.results(input=-2) == {"double": 4}


def test_results_of_an_input_that_is_under_way():
    """Section 4: the last accepted, not the last finished."""
    w = twice().plan_eagerly(100)

    assert w.results() == {}
    assert w.results("double") == {"double": td.ABSENT}
    assert w.results(input=1) == {"double": 22}


def test_results_over_all_inputs_are_the_latest():
    """Section 4, S6: input=td.ALL gives the latest in the log, of each component."""
    w = td.workflow("w", rules=[td.rule(lambda x: x, name="odd", condition=lambda x: x % 2)])
    w = w.add(double)
    for x in (1, 3, 4):
        w = w.react_until_satisfied(x)

    assert w.results() == {"double": 8}
    assert w.results(input=td.ALL) == {"odd": 3, "double": 8}


def test_latest_is_latest_in_the_log():
    """J147: cardinality one is the latest in time, not in input order."""
    w = td.workflow("w", steps=[double]).plan_eagerly(1).plan_eagerly(2)
    w, [one, two] = w.prepare_for_dispatch()
    w = w.apply_runnable(td.execute_runnable(two)).apply_runnable(td.execute_runnable(one))

    assert w.results(input=td.ALL) == {"double": 2}
    assert w.raw_productions() == [4, 2]


def test_an_output_not_produced_is_left_out():
    """Section 4: and a name asked for gives ABSENT."""
    w = td.workflow("w", rules=[td.rule(lambda x: x, name="r", condition=lambda x: x > 10)])
    w = w.add(double).react_until_satisfied(1)

    assert w.results() == {"double": 2}
    assert w.results("r", "double") == {"r": td.ABSENT, "double": 2}


def test_absent_never_appears_among_the_outputs():
    """Section 4: a step that gave ABSENT produced nothing."""
    w = td.workflow("w", steps=[td.step(lambda x: td.ABSENT, name="skip"), double])
    w = w.react_until_satisfied(1)

    assert w.results() == {"double": 2}
    assert w.raw_productions() == [2]
    assert w.productions_by_component()["skip"] == []


def test_none_is_a_result():
    """S4: None was produced."""
    w = td.workflow("w", steps=[td.step(lambda x: None, name="n")]).react_until_satisfied(1)

    assert w.results() == {"n": None}
    assert w.raw_productions() == [None]


def test_results_before_any_input():
    """J147: nothing yet: empty, and ABSENT for names."""
    assert pipeline().results() == {}
    assert pipeline().results("double") == {"double": td.ABSENT}
    assert pipeline().results(input=td.ALL) == {}
    assert not any([pipeline().raw_productions(), pipeline().facts(), pipeline().inputs()])


def test_unknown_names_are_errors():
    """Section 4: in every reading method, with the nearest name; also before the first input."""
    for w in (pipeline(), twice()):
        for ask in (
            lambda w=w: w.results("duoble"),
            lambda w=w: w.raw_productions("duoble"),
            lambda w=w: w.facts("duoble"),
        ):
            with pytest.raises(errors.UnknownComponent, match="Did you mean 'double'"):
                ask()


@pytest.mark.parametrize("number", [2, -3, 99])
def test_unknown_inputs_are_errors(number: int):
    """Section 4: in every method that takes input=."""
    w = twice()
    for ask in (
        w.results,
        w.raw_productions,
        w.productions_by_component,
        w.facts,
        w.failures,
        w.starved,
        w.touched,
        w.is_satisfied,
    ):
        with pytest.raises(errors.UsageError, match=f"no input {number}"):
            ask(input=number)


def test_an_input_that_never_came_is_an_error_in_a_template_too():
    """Section 4: an explicit number that is not there."""
    with pytest.raises(errors.UsageError, match="no input 0"):
        pipeline().results(input=0)


# --------------------------------------------------------------------------------------- fan-outs


def test_results_inside_a_fan_out_are_lists_in_item_order():
    """Section 4: what was produced, flat."""
    w = mapped().add(td.rule(lambda x: x, name="big", condition=lambda x: x > 2), to="m")
    w = w.react_until_satisfied([3, 1, 2])

    assert w.results("m", "big", "sum") == {"m": [6, 2, 4], "big": [6, 4], "sum": 12}
    assert w.results() == {"big": [6, 4], "sum": 12}


def test_a_fan_out_that_fired_without_any_gives_an_empty_list():
    """Section 4: [] when its fan-out fired, ABSENT when it did not."""
    w = td.workflow("w", rules=[td.rule(lambda x: x, name="r", condition=lambda x: x is not None)])
    w = w.add(td.map(lambda x: x, name="m"), to="r")
    w = w.add(td.rule(lambda x: x, name="none", condition=lambda x: False), to="m")

    assert w.react_until_satisfied([]).results() == {"none": []}
    assert w.react_until_satisfied([1]).results("m", "none") == {"m": [1], "none": []}
    assert w.react_until_satisfied(None).results() == {}
    assert w.react_until_satisfied(None).results("none") == {"none": td.ABSENT}


def test_a_fan_out_over_all_inputs():
    """Section 4: input=td.ALL gives the list of the latest input that fanned out."""
    w = mapped().react_until_satisfied([1, 2]).react_until_satisfied([3]).react_until_satisfied("x")

    assert w.results("m", input=td.ALL) == {"m": [6]}
    assert w.results("m") == {"m": td.ABSENT}


# --------------------------------------------------------------------- productions, facts, inputs


def test_raw_productions_are_in_log_order_over_all_inputs():
    """Section 4: of the outputs, or of a name; or of one input."""
    w = twice()

    assert w.raw_productions() == [4, 22]
    assert w.raw_productions("increment") == [2, 11]
    assert w.raw_productions(input=1) == [22]
    assert w.raw_productions("increment", input=-1) == [11]


def test_productions_by_component_are_facts():
    """Section 4: of every component, by name, also of those that gave nothing."""
    w = twice().add(abs)
    found = w.productions_by_component()

    assert list(found) == ["increment", "double", "abs"]
    assert [fact.value for fact in found["increment"]] == [2, 11]
    assert all(isinstance(fact, td.Fact) for fact in found["double"])
    assert found["abs"] == []
    assert [fact.value for fact in w.productions_by_component(input=0)["double"]] == [4]


def test_facts_are_in_log_order_inputs_included():
    """Section 4: facts(), of one component, of one input."""
    w = twice()

    assert [(fact.component, fact.value) for fact in w.facts()] == [
        ("INPUT", 1),
        ("increment", 2),
        ("double", 4),
        ("INPUT", 10),
        ("increment", 11),
        ("double", 22),
    ]
    assert [fact.value for fact in w.facts("double")] == [4, 22]
    assert [fact.value for fact in w.facts(input=1)] == [10, 11, 22]
    positions = [fact.position for fact in w.facts()]
    assert positions == sorted(positions)


def test_facts_of_a_gate_are_what_it_let_through():
    """J147: a condition's production is the fact that came through."""
    w = td.workflow("w", components=[td.condition(lambda x: x > 1, name="big")])
    w = w.add(double, to="big").react_until_satisfied(1).react_until_satisfied(5)

    assert w.raw_productions("big") == [5]
    assert [fact.value for fact in w.productions_by_component()["big"]] == [5]


def test_inputs_tell_how_they_stand():
    """Section 4: number, value, key, and open, done, failed or halted."""
    w = pipeline().add(td.step(lambda x: 1 / x, name="bad"), to="increment")
    w = w.react_until_satisfied(1, key="a").react_until_satisfied(-1).plan_eagerly(5)

    assert [(e["number"], e["value"], e["key"], e["status"]) for e in w.inputs()] == [
        (0, 1, "a", "done"),
        (1, -1, None, "failed"),
        (2, 5, None, "open"),
    ]


# ------------------------------------------------------------------------------------- lineage


def diamond() -> td.Workflow:
    """One input, two ways, one join."""
    w = td.workflow("w", steps=[increment, double])
    return w.add(td.step(lambda a, b: a + b, name="sum"), to=["increment", "double"])


def test_why_tells_what_a_fact_was_made_from():
    """J148: a tree down to the inputs, JSON-ready."""
    w = diamond().react_until_satisfied(3)
    [fact] = w.facts("sum")
    told = w.why(fact)

    assert (told["node"], told["value"]) == ("sum", 10)
    assert [(entry["node"], entry["value"]) for entry in told["because"]] == [
        ("increment", 4),
        ("double", 6),
    ]
    assert {entry["node"] for below in told["because"] for entry in below["because"]} == {"INPUT"}
    assert json.loads(json.dumps(told))["node"] == "sum"


def test_why_of_a_failure():
    """J148: failures have a lineage too."""
    w = (
        pipeline()
        .add(td.step(lambda x: 1 / 0, name="bad"), to="increment")
        .react_until_satisfied(1)
    )
    [failure] = w.failures()
    told = w.why(failure)

    assert told["node"] == "bad"
    assert "ZeroDivisionError" in told["error"]
    assert told["because"][0]["node"] == "increment"


def test_why_of_a_long_chain():
    """J148: without recursion."""
    w = td.workflow("long").add(td.step(increment, name="s0"))
    for number in range(1, 3000):
        w = w.add(td.step(increment, name=f"s{number}"), to=f"s{number - 1}")
    w = w.react_until_satisfied(0)
    [fact] = w.facts("s2999")
    told, depth = w.why(fact), 0
    while told["because"]:
        [told], depth = told["because"], depth + 1

    assert (depth, told["node"]) == (3000, "INPUT")


def test_why_names_the_item():
    """S5: the element of a fan-out that a fact was made from."""
    w = mapped().react_until_satisfied([5, 7])
    fact = w.facts("m")[-1]
    told = w.why(fact)

    assert told["value"] == 14
    assert told["because"][0]["value"] == 7


def test_why_tells_what_stood_on_both_sides_of_a_correlation():
    """S18: facts of several inputs in one tree."""
    w = td.workflow(
        "w",
        rules=[td.rule(lambda x: x, name=n, condition=td.match([n, ...])) for n in ("l", "r")],
    )
    w = w.add(td.step(lambda a, b: (a, b), name="both"), to=["l", "r"], correlate="arrival")
    w = w.react_until_satisfied(("l", 1)).react_until_satisfied(("r", 2))
    [fact] = w.facts("both")

    assert [entry["scope"] for entry in w.why(fact)["because"]] == [(0,), (1,)]


def test_touched_tells_all_that_an_input_caused():
    """J148: the tree from the input down, failures included."""
    w = diamond().add(td.step(lambda x: 1 / 0, name="bad"), to="double")
    w = w.react_until_satisfied(3).react_until_satisfied(4)
    told = w.touched(0)

    assert (told["node"], told["value"]) == ("INPUT", 3)
    assert [entry["node"] for entry in told["led_to"]] == ["increment", "double"]
    assert [entry["node"] for entry in told["led_to"][0]["led_to"]] == ["sum"]
    assert [entry["node"] for entry in told["led_to"][1]["led_to"]] == ["sum", "bad"] or [
        entry["node"] for entry in told["led_to"][1]["led_to"]
    ] == ["bad", "sum"]
    assert w.touched()["value"] == 4


def test_touched_follows_items():
    """J148: into fan-outs and out of them."""
    w = mapped().react_until_satisfied([1, 2])
    told = w.touched()
    items = told["led_to"]

    assert [entry["value"] for entry in items] == [1, 2]
    assert [entry["led_to"][0]["value"] for entry in items] == [2, 4]
    assert all(entry["led_to"][0]["led_to"][0]["node"] == "sum" for entry in items)


# --------------------------------------------------------------------------------------- pictures


@pytest.mark.parametrize("state", [False, True])
def test_pictures_show_each_component(state: bool):
    """J154: Mermaid, DOT, Cytoscape and edge list have a node per component."""
    w = diamond().react_until_satisfied(3)
    texts = [
        w.to_mermaid(state=state),
        w.to_dot(state=state),
        json.dumps(w.to_cytoscape(state=state)),
        repr(w.to_edgelist()),
    ]

    assert all(name in text for text in texts for name in ("increment", "double", "sum"))


def test_pictures_of_a_template():
    """J154: before any input too, and of an empty workflow."""
    for w in (diamond(), td.workflow("empty"), mapped()):
        assert w.to_mermaid()
        assert w.to_dot()
        assert isinstance(w.to_cytoscape(), list)
        assert isinstance(w.to_edgelist(), list)


def test_the_edge_list_names_parents_and_children():
    """J154: (parent, child, kind of edge)."""
    edges = {(parent, child) for parent, child, _ in diamond().to_edgelist()}

    assert {("increment", "sum"), ("double", "sum"), ("INPUT", "increment")} <= edges
