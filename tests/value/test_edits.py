"""Edits that were once wrong."""

from typing import Literal

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


def test_a_log_with_an_added_rule_is_read_without_its_functions():
    """S27: what is missing is told when its work is prepared or planned, not when the log is read."""
    rule = td.rule(same, name="r", condition=td.match(1))
    w = td.workflow("w").add(td.step(same, name="a")).react_until_satisfied(1).add(rule)

    again = td.Workflow.from_log(td.workflow("w").add(td.step(same, name="a")), w.log())
    with pytest.raises(td.errors.MissingFunction, match="'r'"):
        again.react_until_satisfied(1)

    given = td.Workflow.from_log(w.at(0), w.log(), components={"r": rule})
    assert given.react_until_satisfied(1).results() == {"a": 1, "r": 1}


def test_replaced_code_is_found_by_its_fingerprint():
    """S27: old code never runs for new events, nor new code for old ones."""

    def double(x: int) -> int:
        return x * 2

    def times_five(x: int) -> int:
        return x * 5

    template = td.workflow("w").add(td.step(double, name="a"))
    new = td.step(times_five, name="a")
    w = template.plan_eagerly(1).replace("a", new)

    without = td.Workflow.from_log(template, w.log())
    with pytest.raises(td.errors.MissingFunction):
        without.react_until_satisfied()
    given = td.Workflow.from_log(template, w.log(), components={"a": new})
    assert given.react_until_satisfied().results() == {"a": 5}
    assert given.at(2).react_until_satisfied().results() == {"a": 2}
    assert w.at(2) == given.at(2)


def test_a_component_that_comes_back_is_another():
    """S6: after remove and add under the same name, old outcomes are orphaned and keys differ."""
    w = td.workflow("w").add(td.step(lambda x: "old", name="a")).plan_eagerly(0)
    w, (old,) = w.prepare_for_dispatch()
    w = w.remove("a").add(td.step(lambda x: "new", name="a"), backfill=True)
    w = w.apply_runnable(td.execute_runnable(old))
    (new,) = w.next_runnables()

    assert type(w.log()[-1]).__name__ == "Orphaned"
    assert (new.id, new.idempotency_key) != (old.id, old.idempotency_key)
    assert w.react_until_satisfied().results() == {"a": "new"}


def test_reset_drops_the_state_and_no_update():
    """S22, S27: queued values are folded into the fresh state, one at a time."""
    keep = td.accumulator(lambda seen, x: [*seen, x], initial=[], name="seen")
    w = td.workflow("w").add(keep)
    for value in range(4):
        w = w.plan_eagerly(value)
    w = w.replace("seen", keep, reset=True).plan_eagerly(9)
    w, runnables = w.prepare_for_dispatch()

    assert len(runnables) == 1
    done = w.apply_runnable(td.execute_runnable(runnables[0])).react_until_satisfied()
    assert done.states() == {"seen": {None: [0, 1, 2, 3, 9]}}


def test_another_form_is_refused_while_work_is_pending():
    """S27: pending work of a join is not taken over by something that takes one value."""
    w = td.workflow("w").add(td.step(same, name="a")).add(td.step(same, name="b"))
    w = w.add(td.step(lambda x, y: (x, y), name="j"), to=["a", "b"])
    other = td.accumulator(lambda s, x, y: s + 1, initial=0, name="j")
    half = w.plan_eagerly(1)
    half, (first, _) = half.prepare_for_dispatch()
    half = half.apply_runnable(td.execute_runnable(first))

    with pytest.raises(td.errors.DefinitionError, match="work pending"):
        half.replace("j", other)

    assert w.react_until_satisfied(1).replace("j", other).react_until_satisfied(2).states() == {
        "j": {None: 1}
    }


def test_a_backfilled_collect_knows_the_items_that_failed():
    """S21: it fails, skips or shows them as one that was there from the start."""
    w = td.workflow("w").add(td.map(same, name="m"))
    w = w.add(td.step(lambda x: 1 / (x - 2), name="s"), to="m").react_until_satisfied([1, 2, 3])

    cases: list[tuple[Literal["fail", "skip", "collect"], dict[str, int]]] = [
        ("fail", {}),
        ("skip", {"c": 2}),
        ("collect", {"c": 3}),
    ]
    for policy, gave in cases:
        collect = td.collect(len, name="c", on_item_failure=policy)
        assert w.add(collect, to="s", backfill=True).react_until_satisfied().results() == gave


def test_a_baseline_after_a_removed_map_can_be_read():
    """S2, S3: scopes of a fan-out that was removed leave with it."""
    w = td.workflow("w", retain=0).add(td.step(same, name="hold")).add(td.map(same, name="m"))
    w = w.add(td.step(same, name="in"), to="m").plan_eagerly([1, 2])
    w, runnables = w.prepare_for_dispatch()
    w = w.apply_runnable(td.execute_runnable(runnables[1]))
    while w.is_runnable():
        w, ready = w.prepare_for_dispatch()
        for runnable in ready:
            w = w.apply_runnable(td.execute_runnable(runnable))
    w = w.remove("in").remove("m")
    for number in range(200):
        w = w.react_until_satisfied(number)

    assert type(w.log()[0]).__name__ == "Baseline"
    assert td.Workflow.from_log(w, w.log()) == w


def test_a_baseline_knows_what_was_removed():
    """S3, S6: generations go on counting through a fold, a removal and a return."""
    w = td.workflow("w", retain=0).add(td.step(same, name="a")).react_until_satisfied(1)
    w = w.remove("a").add(td.step(same, name="a"))
    for number in range(200):
        w = w.react_until_satisfied(number)
    again = td.Workflow.from_log(w, w.log())

    assert type(w.log()[0]).__name__ == "Baseline"
    assert again == w
    assert again.plan_eagerly(1).next_runnables()[0].generation == 1
    assert (
        again.remove("a")
        .add(td.step(same, name="a"))
        .plan_eagerly(1)
        .next_runnables()[0]
        .generation
        == 2
    )


def test_failures_that_a_reduce_goes_on_without_are_handled():
    """S24, S26: told to go on without failed items, the input is done and nothing is raised."""
    w = td.workflow("w").add(td.map(lambda x: 1 / x, name="m"))
    skipping = w.add(td.collect(name="c", on_item_failure="skip"), to="m")
    failing = w.add(td.collect(name="c"), to="m")

    done = skipping.run_or_raise([1, 0])
    assert done.results() == {"c": [1.0]}
    assert [(failure.component, failure.handled) for failure in done.failures()] == [("m", True)]
    assert done.inputs()[0]["status"] == "done"

    done = failing.react_until_satisfied([1, 0])
    [item, whole] = done.failures()
    assert (item.handled, whole.handled) == (False, False)
    told = done.why(whole)["because"]
    assert [entry.get("value", entry.get("error")) for entry in told] == [
        1.0,
        "ZeroDivisionError: division by zero",
    ]


def test_a_backfill_gives_what_was_absent_also_after_a_fold():
    """No event tells of it where it was only passed on; a baseline does."""
    w = td.workflow("w").add(td.step(lambda x: td.ABSENT, name="skips"))
    w = w.add(td.step(lambda x: x, name="passes"), to="skips")
    done = w.react_until_satisfied(1)
    folded = td.Workflow.from_log(w, [done.baseline()])

    for each in (done, folded):
        both = td.step(lambda *x: x, name="both")
        fed = each.add(both, to=["passes", td.INPUT], backfill=True)
        assert fed.react_until_satisfied().results() == {"both": (td.ABSENT, 1)}


@pytest.mark.parametrize("join", ["any", 1, 2])
def test_a_join_that_fired_does_not_fire_again_when_its_parents_change(join: str | int):
    """What takes a removed parent's place gives to a join that gave its one fact in this input already."""
    names = ("a", "b", "c")
    workflow = td.workflow("w", steps=[td.step(lambda x: x, name=name) for name in names])
    workflow = workflow.add(td.step(lambda a, b: (a, b), name="between"), to=["a", "b"])
    workflow = workflow.add(
        td.step(lambda *values: len(values), name="race"), to=["between", td.INPUT, "c"], join=join
    )
    workflow, out = workflow.plan_eagerly(1).prepare_for_dispatch()
    early = [runnable for runnable in out if runnable.node in {"c", "race"}]
    late = [runnable for runnable in out if runnable not in early]
    for runnable in early:
        workflow = workflow.apply_runnable(td.execute_runnable(runnable))
    if not workflow.facts("race"):
        workflow, [runnable] = workflow.prepare_for_dispatch()
        workflow = workflow.apply_runnable(td.execute_runnable(runnable))
    (fact,) = workflow.facts("race")
    workflow = workflow.remove("between")
    for runnable in late:
        workflow = workflow.apply_runnable(td.execute_runnable(runnable))
    workflow = workflow.react_until_satisfied()
    assert workflow.facts("race") == [fact]
    assert td.Workflow.from_log(workflow, workflow.log()) == workflow


def test_a_join_whose_work_was_withdrawn_fires_with_what_comes():
    """Nothing came of its first firing, so it gives what its new parents bring."""
    workflow = td.workflow("w", steps=[td.step(lambda x: x, name=name) for name in ("a", "b")])
    workflow = workflow.add(td.step(lambda a, b: (a, b), name="between"), to=["a", "b"])
    workflow = workflow.add(td.step(lambda x: x, name="race"), to=["between", td.INPUT], join="any")
    workflow = workflow.plan_eagerly(1).remove("between").react_until_satisfied()
    assert [fact.value for fact in workflow.facts("race")] == [1]
