"""Edits that were once wrong."""

import pytest

import treadle as td


def same(x: object) -> object:
    """Give what was given."""
    return x


def test_removing_a_map_with_children_is_refused():
    """S27: its children would leave the fan-out, so they do not fit; they are named."""
    w = td.workflow("w").add(td.map(same, name="m")).add(td.step(same, name="s"), to="m")
    w = w.add(td.step(same, name="t"), to="s")

    with pytest.raises(td.errors.DefinitionError, match="'s', 't' would move"):
        w.react_until_satisfied([1]).remove("m")

    assert w.remove("t").remove("s").remove("m").components() == []


def test_a_gate_planned_twice_feeds_a_backfill_once():
    """S27: a second plan of the same fact, for new watchers alone, is no second fact."""
    d = td.workflow("w").add(td.condition(same, name="big")).react_until_satisfied(1)
    d = d.add(td.rule(same, name="r", condition="big"), backfill=True).react_until_satisfied()
    assert len(d.productions_by_component()["big"]) == 1
    d = d.add(td.step(same, name="z"), to="big", backfill=True).react_until_satisfied()

    assert d.results("r", "z") == {"r": 1, "z": 1}
    assert (
        td.Workflow.from_log(
            d.at(0),
            d.log(),
            components={
                "r": td.rule(same, name="r", condition="big"),
                "z": td.step(same, name="z"),
            },
        )
        == d
    )


def test_looking_at_a_template_changes_nothing():
    """Views of a template leave its program open: building stays linear, branches stay what they were."""
    w = td.workflow("w")
    for number in range(30):
        w = w.add(td.step(same, name=f"s{number}"))
        assert w.facts() == []
        assert w.to_edgelist()
        assert not w._definition.program().sealed

    assert len(w.components()) == 30


def test_a_joined_sub_workflow_may_have_a_component_named_input():
    """The node that joins the parents has a name of its own."""
    sub = td.workflow("sub").add(td.step(lambda pair: pair, name="input"))
    w = td.workflow("w").add(td.step(same, name="a")).add(td.step(same, name="b"))

    done = w.add(sub, to=["a", "b"]).react_until_satisfied(1)

    assert done.results() == {"sub.input": (1, 1)}
