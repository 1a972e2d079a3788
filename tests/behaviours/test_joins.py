"""Joins: behaviours E, rules S16 to S20."""

import itertools
import random
from typing import Any

import pytest

import treadle as td
from treadle import errors


def step(name: str, give: Any = None, log: list[str] | None = None) -> Any:
    """A step of one port that gives the value itself, or what `give` says."""

    def function(x: Any) -> Any:
        if log is not None:
            log.append(name)
        return x if give is None else give(x)

    return td.step(function, name=name)


def fail(x: Any) -> Any:
    """Always fail."""
    message = f"no {x}"
    raise ValueError(message)


def absent(x: Any) -> Any:
    """Give nothing."""
    return td.ABSENT


def pair(name: str = "pair") -> Any:
    """A step of two ports that shows what came."""
    return td.step(lambda a, b: (a, b), name=name)


def triple(name: str = "triple") -> Any:
    """A step of three ports that shows what came."""
    return td.step(lambda a, b, c: (a, b, c), name=name)


def three(a: Any = None, b: Any = None, c: Any = None, **options: Any) -> td.Workflow:
    """Three parents and a join of them."""
    w = td.workflow("w", steps=[step("a", a), step("b", b), step("c", c)])
    return w.add(triple("join"), to=["a", "b", "c"], **options)


def run(w: td.Workflow, order: list[str]) -> td.Workflow:
    """Apply ready work in the order of these component names, then whatever is left."""
    for name in order:
        w, runnables = w.prepare_for_dispatch()
        for runnable in runnables:
            w = w.release(runnable)
        w, runnables = w.prepare_for_dispatch()
        for runnable in runnables:
            chosen = runnable.component == name
            outcome = td.execute_runnable(runnable) if chosen else None
            w = w.apply_runnable(outcome) if outcome else w.release(runnable)
    return w.react_until_satisfied()


# --------------------------------------------------------------------------------------------- all


def test_a_join_waits_for_all_its_parents():
    """E65: with one parent delivered the join waits, and nothing loops."""
    w = td.workflow("w", steps=[step("a"), step("b")]).add(pair(), to=["a", "b"])
    w, [a, b] = w.plan_eagerly(1).prepare_for_dispatch()
    half = w.apply_runnable(td.execute_runnable(a))
    done = half.apply_runnable(td.execute_runnable(b)).react_until_satisfied()

    assert not half.is_runnable()
    assert half.react_until_satisfied().results() == {}
    assert done.results() == {"pair": (1, 1)}


def test_ports_follow_the_order_of_the_parents():
    """E65: arguments come in declared order, whatever came first."""
    for order in itertools.permutations("abc"):
        w = run(
            three(a=lambda x: "a", b=lambda x: "b", c=lambda x: "c").plan_eagerly(0), list(order)
        )

        assert w.results() == {"join": ("a", "b", "c")}


def test_inputs_one_after_another_never_mix():
    """E67: three inputs give three results, each of one input."""
    w = td.workflow("w", steps=[step("a"), step("b")]).add(pair(), to=["a", "b"])
    for x in (1, 2, 3):
        w = w.react_until_satisfied(x)

    assert w.raw_productions() == [(1, 1), (2, 2), (3, 3)]


@pytest.mark.parametrize("seed", range(12))
def test_inputs_in_flight_together_never_mix(seed: int):
    """E68: n inputs in any interleaving give exactly n joined results, none mixed."""
    chosen = random.Random(seed)
    w = td.workflow("w", steps=[step("a"), step("b"), (step("c0"), [step("c")])])
    w = w.add(triple(), to=["a", "b", "c"])
    out: list[td.Runnable] = []
    inputs = list(range(8))
    while inputs or out or w.is_runnable():
        if inputs and chosen.random() < 0.3:
            w = w.plan_eagerly(inputs.pop(0))
        w, more = w.prepare_for_dispatch(chosen.randint(0, 3))
        out += more
        chosen.shuffle(out)
        if out:
            w = w.apply_runnable(td.execute_runnable(out.pop()))

    assert sorted(w.raw_productions()) == [(x, x, x) for x in range(8)]


def test_a_stale_partner_is_never_used():
    """E67: where a parent fires for some inputs only, the others are not paired with old facts."""
    w = td.workflow("w", rules=[td.rule(lambda x: x, name="a", condition=lambda x: x % 4 == 0)])
    w = w.add(step("b")).add(pair(), to=["a", "b"])
    for x in range(12):
        w = w.react_until_satisfied(x)

    assert w.raw_productions("pair") == [(0, 0), (4, 4), (8, 8)]


def test_parents_in_parallel_fire_the_join_once():
    """E70: a join of parents on threads fires exactly once per input."""
    w = td.workflow("w", steps=[step(f"p{n}") for n in range(8)])
    w = w.add(td.step(lambda *v: v, name="join"), to=[f"p{n}" for n in range(8)])
    for x in range(5):
        w = w.plan_eagerly(x)
    w = w.react_until_satisfied(executor="threads", max_concurrency=4)

    assert sorted(w.raw_productions()) == [(x,) * 8 for x in range(5)]


def test_a_failed_parent_blocks_its_lineage_only():
    """E71, S25: the join and what follows do not fire in that lineage; the agenda empties."""
    w = td.workflow("w", steps=[step("a", lambda x: fail(x) if x == 2 else x), step("b")])
    w = w.add(pair(), to=["a", "b"]).add(step("after"), to="pair").add(step("free"), to="b")
    for x in (1, 2, 3):
        w = w.plan_eagerly(x)
    w = w.react_until_satisfied()

    assert w.raw_productions("after") == [(1, 1), (3, 3)]
    assert w.raw_productions("free") == [1, 2, 3]
    assert w.is_satisfied()
    assert [failure.component for failure in w.failures()] == ["a"]


def test_a_join_of_a_reduce_and_a_step():
    """E72: a join fed by a closed fan-out and a step pairs them."""
    w = td.workflow("w", components=[td.map(lambda x: x * 2, name="m")])
    w = w.add(td.reduce(lambda a, b: a + b, initial=0, name="sum"), to="m")
    w = w.add(step("size", len)).add(pair(), to=["sum", "size"])

    assert w.react_until_satisfied([1, 2, 3]).results() == {"pair": (12, 3)}
    assert w.react_until_satisfied([]).results() == {"pair": (0, 0)}


def test_a_joined_fact_names_all_it_was_made_from():
    """E74: all contributing facts are discoverable from the result."""
    w = three().react_until_satisfied(1)
    [fact] = w.facts("join")

    assert fact.sources == (("a", 0, (0,)), ("b", 0, (0,)), ("c", 0, (0,)))
    assert [entry["node"] for entry in w.why(fact)["because"]] == ["a", "b", "c"]


def test_a_join_with_the_raw_input():
    """S16: td.INPUT is a parent like any other."""
    w = td.workflow("w", steps=[step("a", lambda x: x * 2)])
    w = w.add(pair(), to=[td.INPUT, "a"])

    assert w.react_until_satisfied(4).results() == {"pair": (4, 8)}


def test_all_with_one_absent_passes_it_to_the_port():
    """S25: a node with some ports ABSENT is called; with all ABSENT it is not and gives ABSENT."""
    some = three(a=absent).react_until_satisfied(1)
    none = (
        three(a=absent, b=absent, c=absent).add(step("after"), to="join").react_until_satisfied(1)
    )

    assert some.results() == {"join": (td.ABSENT, 1, 1)}
    assert none.results("join", "after") == {"join": td.ABSENT, "after": td.ABSENT}
    assert none.results() == {}
    assert none.is_satisfied()
    assert (none.failures(), none.starved()) == ([], [])


# ------------------------------------------------------------------------------------- any and k


def test_any_fires_once_on_the_first():
    """S17: one port, the first arrival; later ones are absorbed."""
    calls: Any = []
    w = td.workflow("w", steps=[step("a", lambda x: "a"), step("b", lambda x: "b")])
    w = w.add(td.step(lambda v: calls.append(v) or v, name="first"), to=["a", "b"], join="any")
    ab, ba = run(w.plan_eagerly(0), ["a", "b"]), run(w.plan_eagerly(0), ["b", "a"])

    assert (ab.results(), ba.results()) == ({"first": "a"}, {"first": "b"})
    assert calls == ["a", "b"]
    assert ab.starved() == ba.starved() == []


def test_any_fires_once_for_each_input():
    """S17: of each lineage, the first."""
    w = td.workflow("w", steps=[step("a"), step("b")])
    w = w.add(step("first"), to=["a", "b"], join="any")
    for x in range(4):
        w = w.plan_eagerly(x)

    assert w.react_until_satisfied().raw_productions() == [0, 1, 2, 3]


def test_any_passes_over_failures_and_absent():
    """S17: ABSENT is no arrival, and a failed parent gives none."""
    w = td.workflow("w", steps=[step("a", fail), step("b", absent), step("c")])
    w = w.add(step("first"), to=["a", "b", "c"], join="any")

    assert w.react_until_satisfied(7).results() == {"first": 7}


def test_any_of_nothing_but_absent_gives_absent():
    """S17: if nothing else can come, the join gives ABSENT."""
    calls: list[Any] = []
    w = td.workflow("w", steps=[step("a", absent), step("b", fail)])
    w = w.add(td.step(calls.append, name="first"), to=["a", "b"], join="any")
    w = w.add(td.step(lambda *v: v, name="end"), to=["first", td.INPUT], join="settled")
    w = w.react_until_satisfied(7)

    assert calls == []
    assert w.results() == {"end": (td.ABSENT, 7)}
    assert w.is_satisfied()


def test_k_fires_on_the_kth_with_absent_in_the_others():
    """S17: 2 of 3: the third port holds ABSENT, later arrivals are absorbed."""
    for order in itertools.permutations("abc"):
        w = three(lambda x: "a", lambda x: "b", lambda x: "c", join=2)
        w = run(w.plan_eagerly(0), list(order))
        expected = tuple(name if name in order[:2] else td.ABSENT for name in "abc")

        assert w.results() == {"join": expected}
        assert len(w.facts("join")) == 1


def test_k_that_cannot_be_reached():
    """S17, S20: too few arrivals never fire: with an ABSENT the join gives ABSENT, else it starves."""
    w = three(a=fail, b=fail, join=2).react_until_satisfied(1)
    skipped = three(a=absent, b=fail, join=2).add(step("after"), to="join").react_until_satisfied(1)

    assert w.results() == skipped.results() == {}
    assert w.is_satisfied()
    assert [entry["component"] for entry in w.starved()] == ["join"]
    assert sorted(w.starved()[0]["missing"]) == ["a", "b"]
    assert skipped.results("after") == {"after": td.ABSENT}
    assert skipped.is_satisfied()


@pytest.mark.parametrize("k", [1, 2, 3])
def test_k_counts_arrivals(k: int):
    """S17: k of 3 fires once k have come and not before."""
    w, runnables = three(join=k).plan_eagerly(1).prepare_for_dispatch()
    ready = []
    for runnable in runnables:
        w = w.apply_runnable(td.execute_runnable(runnable))
        ready.append(any(r.component == "join" for r in w.next_runnables()))

    assert ready == [n >= k for n in (1, 2, 3)]


# ----------------------------------------------------------------------------------------- settled


def test_settled_waits_and_fills_with_absent():
    """S17, S19: it fires once, when nothing upstream is live, with ABSENT for who gave nothing."""
    w = three(a=fail, b=absent, join="settled").react_until_satisfied(1)

    assert w.results() == {"join": (td.ABSENT, td.ABSENT, 1)}
    assert len(w.facts("join")) == 1


def test_settled_where_all_failed():
    """S19, S25: parents that failed ran: with nothing but ABSENT it is not called and gives ABSENT."""
    w = three(a=fail, b=fail, c=fail, join="settled").add(step("after"), to="join")
    w = w.react_until_satisfied(1)

    assert w.results("join", "after") == {"join": td.ABSENT, "after": td.ABSENT}
    assert w.is_satisfied()


def test_settled_is_not_armed_where_no_parent_ran():
    """S19: a rule whose condition was false did not run."""
    rules = [td.rule(lambda x: x, name=n, condition=lambda x: x > 10) for n in ("a", "b")]
    w = td.workflow("w", rules=rules).add(pair(), to=["a", "b"], join="settled")
    w = w.add(step("after"), to="pair").react_until_satisfied(1)

    assert w.results("pair", "after") == {"pair": td.ABSENT, "after": td.ABSENT}
    assert w.is_satisfied()
    assert w.starved() == []


def test_settled_with_the_raw_input_always_fires():
    """S19: the raw input counts as a parent that ran."""
    w = td.workflow("w", rules=[td.rule(lambda x: x, name="a", condition=lambda x: x > 10)])
    w = w.add(pair(), to=["a", td.INPUT], join="settled")

    assert w.react_until_satisfied(1).results() == {"pair": (td.ABSENT, 1)}
    assert w.react_until_satisfied(11).results() == {"pair": (11, 11)}


@pytest.mark.parametrize("order", [["a", "long0", "long1"], ["long0", "a", "long1"]])
def test_settled_waits_for_live_work_upstream(order: list[str]):
    """S19: it does not fire while anything that could still reach it is live."""
    w = td.workflow("w", steps=[step("a"), (step("long0"), [step("long1")])])
    w = w.add(td.rule(lambda x: x, name="r", condition=lambda x: True), to="long1")
    w = w.add(pair(), to=["a", "r"], join="settled")

    assert run(w.plan_eagerly(1), order).results() == {"pair": (1, 1)}


def test_a_side_branch_delays_nothing():
    """S19: live work that is not upstream does not hold the barrier back."""
    w = td.workflow("w", steps=[step("a"), step("b", fail), step("side")])
    w = w.add(pair(), to=["a", "b"], join="settled")
    w, runnables = w.plan_eagerly(1).prepare_for_dispatch()
    for runnable in runnables:
        if runnable.component != "side":
            w = w.apply_runnable(td.execute_runnable(runnable))
    w, [join] = w.prepare_for_dispatch()

    assert (join.component, join.args) == ("pair", (1, td.ABSENT))
    assert w.in_flight() == ["side@0", "pair@0"] or w.in_flight() == ["pair@0", "side@0"]


def test_a_barrier_behind_a_barrier():
    """S19: an armed barrier is live work for the barriers behind it."""
    w = td.workflow("w", steps=[step("a"), step("b", fail), step("c")])
    w = w.add(pair("first"), to=["a", "b"], join="settled")
    w = w.add(pair("second"), to=["first", "c"], join="settled")
    for order in itertools.permutations("abc"):
        done = run(w.plan_eagerly(1), list(order))

        assert done.results() == {"second": ((1, td.ABSENT), 1)}
        assert len(done.facts("second")) == 1


@pytest.mark.parametrize("seed", range(8))
def test_barriers_do_not_depend_on_the_order(seed: int):
    """S19: any order of applying gives the same facts."""
    chosen = random.Random(seed)
    w = td.workflow("w", steps=[step("a"), step("b", fail), (step("c"), [step("d", absent)])])
    w = w.add(pair("s1"), to=["a", "b"], join="settled")
    w = w.add(td.rule(lambda x: x, name="r", condition=lambda x: False), to="c")
    w = w.add(td.step(lambda *v: v, name="s2"), to=["s1", "d", "r"], join="settled").plan_eagerly(1)
    while w.is_runnable():
        w, runnables = w.prepare_for_dispatch()
        chosen.shuffle(runnables)
        for runnable in runnables:
            w = w.apply_runnable(td.execute_runnable(runnable))

    assert w.results() == {"s2": ((1, td.ABSENT), td.ABSENT, td.ABSENT)}


# ----------------------------------------------------------------------------- places, broadcast


def mapped() -> td.Workflow:
    """A fan-out over the input's `items`, and a step outside it."""
    w = td.workflow(
        "w", steps=[step("items", lambda x: x["items"]), step("rate", lambda x: x["rate"])]
    )
    return w.add(td.map(lambda x: x, name="item"), to="items")


def test_a_parent_outside_a_fan_out_is_broadcast():
    """S16: to each item inside."""
    w = mapped().add(td.step(lambda item, rate: item * rate, name="priced"), to=["item", "rate"])
    w = w.react_until_satisfied({"items": [1, 2, 3], "rate": 10})

    assert w.results() == {"priced": [10, 20, 30]}
    assert [fact.scope for fact in w.facts("priced")] == [(0, 0), (0, 1), (0, 2)]


@pytest.mark.parametrize("order", [["items", "rate"], ["rate", "items"], ["items", "item", "rate"]])
def test_a_broadcast_may_come_first_or_last(order: list[str]):
    """S16: whichever came first, each item gets it."""
    w = mapped().add(td.step(lambda item, rate: item * rate, name="priced"), to=["item", "rate"])
    w = run(w.plan_eagerly({"items": [1, 2], "rate": 10}), order)

    assert w.results() == {"priced": [10, 20]}


def test_the_raw_input_is_broadcast():
    """S16: td.INPUT stands outside every fan-out."""
    w = mapped().add(td.step(lambda a, b: (a, b["rate"]), name="both"), to=["item", td.INPUT])
    w = w.react_until_satisfied({"items": [1, 2], "rate": 3})

    assert w.results("both") == {"both": [(1, 3), (2, 3)]}


def test_a_broadcast_goes_through_nested_fan_outs():
    """S16: a parent two fan-outs up comes to each inner item."""
    w = td.workflow("w", components=[td.map(lambda x: x, name="row")])
    w = w.add(td.map(lambda x: x, name="cell"), to="row")
    w = w.add(td.step(lambda c, r, i: (c, len(r), len(i)), name="t"), to=["cell", "row", td.INPUT])
    w = w.react_until_satisfied([[1, 2], [3]])

    assert w.results() == {"t": [(1, 2, 2), (2, 2, 2), (3, 1, 2)]}


def test_a_broadcast_that_failed_blocks_each_item():
    """S16, S25: what needs it does not fire in any item."""
    w = td.workflow("w", components=[td.map(lambda x: x, name="item")]).add(step("rate", fail))
    w = w.add(pair(), to=["item", "rate"]).react_until_satisfied([1, 2])

    assert w.results() == {"pair": []}
    assert w.is_satisfied()
    assert len(w.starved()) == 2


def test_a_broadcast_counts_as_arrived_in_every_item():
    """S19: also in items whose own parents gave nothing: a settled join fires there."""
    w = td.workflow("w", components=[td.map(lambda x: x, name="item")]).add(step("rate", len))
    w = w.add(td.rule(lambda x: x, name="odd", condition=lambda x: x % 2), to="item")
    w = w.add(pair(), to=["odd", "rate"], join="settled").react_until_satisfied([1, 2, 3])

    assert w.results() == {"pair": [(1, 3), (td.ABSENT, 3), (3, 3)]}


def test_places_that_are_no_prefixes_are_refused():
    """S16: the error names the parents, where they stand and the ways out."""
    w = td.workflow("w", components=[td.map(abs, name="m1"), td.map(abs, name="m2")])
    with pytest.raises(errors.PlacesDiffer) as caught:
        w.add(pair(), to=["m1", "m2"])

    for word in ("pair", "m1", "m2", "reduce", "collect"):
        assert word in str(caught.value)
    assert "pair" not in w


def test_ports_and_parents_must_fit():
    """S16: n ports need n distinct parents, or one."""
    w = three()
    with pytest.raises(errors.ArityMismatch, match="2 ports"):
        w.add(pair("p"), to=["a", "b", "c"])
    with pytest.raises(errors.DefinitionError, match="twice"):
        w.add(pair("p"), to=["a", "a"])
    with pytest.raises(errors.ArityMismatch, match="join=4"):
        w.add(triple("p"), to=["a", "b", "c"], join=4)

    assert w.components() == ["a", "b", "c", "join"]


# --------------------------------------------------------------------------------------- correlate


def sides(correlate: Any) -> td.Workflow:
    """Facts of two kinds, in inputs of their own, correlated."""
    w = td.workflow(
        "w",
        rules=[
            td.rule(lambda x: x[1], name="left", condition=td.match(["left", ...])),
            td.rule(lambda x: x[1], name="right", condition=td.match(["right", ...])),
        ],
    )
    return w.add(pair("both"), to=["left", "right"], correlate=correlate)


def feed(w: td.Workflow, *inputs: tuple[str, Any]) -> td.Workflow:
    """React to each input in turn."""
    for value in inputs:
        w = w.react_until_satisfied(value)
    return w


def test_without_correlation_inputs_never_meet():
    """S18: joins across inputs are on request only."""
    w = (
        td.workflow("w")
        .merge(sides("arrival"))
        .remove("both")
        .add(pair("both"), to=["left", "right"])
    )

    assert feed(w, ("left", 1), ("right", 2)).raw_productions("both") == []


def test_correlate_latest():
    """S18: fires once per fact of the first-named parent, with the newest of the others."""
    w = feed(
        sides("latest"),
        ("right", "r1"),
        ("left", 1),
        ("left", 2),
        ("right", "r2"),
        ("right", "r3"),
        ("left", 3),
    )

    assert w.raw_productions("both") == [(1, "r1"), (2, "r1"), (3, "r3")]


def test_correlate_latest_waits_for_the_first_of_the_others():
    """S18: once per fact of the first parent: those that came early fire when the others have come."""
    w = feed(sides("latest"), ("left", 1), ("left", 2))
    before = w.raw_productions("both")
    w = feed(w, ("right", "r1"), ("right", "r2"))

    assert before == []
    assert w.raw_productions("both") == [(1, "r1"), (2, "r1")]


def test_correlate_arrival():
    """S18: the k-th with the k-th."""
    w = feed(
        sides("arrival"), ("left", 1), ("left", 2), ("right", "a"), ("left", 3), ("right", "b")
    )

    assert w.raw_productions("both") == [(1, "a"), (2, "b")]
    assert feed(w, ("right", "c")).raw_productions("both") == [(1, "a"), (2, "b"), (3, "c")]


def test_correlate_by_key():
    """S18: facts of equal keys are paired, in turn."""
    w = feed(
        sides(lambda v: v["id"]),
        ("left", {"id": 1, "l": 1}),
        ("right", {"id": 2, "r": 1}),
        ("right", {"id": 1, "r": 2}),
        ("left", {"id": 1, "l": 2}),
        ("left", {"id": 2, "l": 3}),
    )

    assert w.raw_productions("both") == [
        ({"id": 1, "l": 1}, {"id": 1, "r": 2}),
        ({"id": 2, "l": 3}, {"id": 2, "r": 1}),
    ]


def test_a_waiting_fact_keeps_no_input_open():
    """S18: an input whose fact waits for its partner is done."""
    w = feed(sides("arrival"), ("left", 1))

    assert w.is_satisfied()
    assert w.starved() == []
    assert [entry["status"] for entry in w.inputs()] == ["done"]


def test_a_firing_counts_in_the_scope_that_completed_it():
    """S18: the firing opens a scope under the completing fact's, and failures count there."""
    w = feed(sides("arrival").add(step("after", fail), to="both"), ("left", 1), ("right", 2))
    [fact] = w.facts("both")
    [failure] = w.failures()

    assert fact.scope[0] == 1
    assert len(fact.scope) == 2
    assert failure.input == 1
    assert w.failures(input=0) == []
    assert [entry["status"] for entry in w.inputs()] == ["done", "failed"]


def test_a_correlated_fact_names_both_sources():
    """S5, S18: sources may be of different inputs."""
    w = feed(sides("arrival"), ("left", 1), ("right", 2))
    [fact] = w.facts("both")

    assert fact.sources == (("left", 0, (0,)), ("right", 0, (1,)))


def test_a_key_function_is_asked_once_and_never_on_recovery():
    """S12, S18: key functions are treated as conditions are."""
    asked: list[Any] = []

    def key(value: Any) -> Any:
        asked.append(value)
        return value % 10

    template = sides(key)
    w = feed(template, ("left", 1), ("right", 11), ("left", 2))
    again = td.Workflow.from_log(template, w.log())

    assert w.raw_productions("both") == [(1, 11)]
    assert again == w
    assert asked == [1, 11, 2]
    assert feed(again, ("right", 22)).raw_productions("both") == [(1, 11), (2, 22)]


def test_a_key_function_that_raises_is_a_failure():
    """S12: recorded under the join's name, and the others go on."""
    w = feed(sides(lambda v: 10 // v), ("left", 0), ("left", 5), ("right", 5))

    assert w.raw_productions("both") == [(5, 5)]
    assert [(f.component, f.error.name) for f in w.failures()] == [("both", "ZeroDivisionError")]


def test_an_unhashable_key_is_a_failure():
    """S12: a key that cannot be one is told as such."""
    w = feed(sides(lambda v: [v]), ("left", 1))
    [failure] = w.failures()

    assert failure.component == "both"
    assert "unhashable" in failure.error.text


def test_correlated_joins_of_three():
    """S18: several others: the newest of each."""
    rules = [td.rule(lambda x: x[1], name=n, condition=td.match([n, ...])) for n in "abc"]
    w = td.workflow("w", rules=rules).add(triple(), to=["a", "b", "c"], correlate="latest")
    w = feed(w, ("b", 1), ("a", 1), ("c", 1), ("b", 2), ("a", 2))

    assert w.raw_productions("triple") == [(1, 1, 1), (2, 2, 1)]


@pytest.mark.parametrize("join", ["any", "settled", 1, 2])
def test_correlation_goes_with_all_only(join: Any):
    """S18: other joins with correlate= are refused."""
    with pytest.raises(errors.DefinitionError, match="join='all' only"):
        three().add(pair("p"), to=["a", "b"], join=join, correlate="latest")


def test_correlation_survives_the_log():
    """S2, S18: waiting partners are there again."""
    template = sides("latest")
    w = feed(template, ("right", "r1"), ("left", 1))
    again = td.Workflow.from_log(template, w.log())

    assert feed(again, ("left", 2)).raw_productions("both") == [(1, "r1"), (2, "r1")]


# ----------------------------------------------------------------------------------------- starved


def test_starved_joins_are_listed_when_the_input_is_done():
    """S20: which join, in which scope, and which parents never gave."""
    w = td.workflow("w", rules=[td.rule(lambda x: x, name="a", condition=lambda x: x > 1)])
    w = w.add(step("b")).add(step("c")).add(triple("join"), to=["a", "b", "c"])
    planned = w.plan_eagerly(1)
    done = planned.react_until_satisfied()

    assert planned.starved() == []
    assert done.starved() == [{"component": "join", "scope": (0,), "missing": ["a"]}]
    assert done.react_until_satisfied(2).starved(input=1) == []
    assert done.react_until_satisfied(2).starved(input=0) == done.starved()


def test_a_join_that_nothing_came_to_does_not_starve():
    """S20: only partial joins are listed."""
    rules = [td.rule(lambda x: x, name=n, condition=lambda x: False) for n in ("a", "b")]
    w = td.workflow("w", rules=rules).add(pair(), to=["a", "b"]).react_until_satisfied(1)

    assert w.starved() == []


def test_absent_is_falsy_and_only_itself():
    """Section 4: `value or default` reads well."""
    assert not td.ABSENT
    assert (td.ABSENT or "default") == "default"
    assert td.ABSENT is td.ABSENT
    assert td.ABSENT != None  # noqa: E711
