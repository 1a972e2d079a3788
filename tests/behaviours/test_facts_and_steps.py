"""Facts, identity, steps and pipelines: behaviours A and B."""

import functools
import logging
from typing import Any

import pytest

import treadle as td
from treadle import errors


def double(x: Any) -> Any:
    """Twice the value."""
    return x * 2


def increment(x: Any) -> Any:
    """One more."""
    return x + 1


def pipeline() -> td.Workflow:
    """Increment, then double."""
    return td.workflow("pipeline", steps=[(increment, [double])])


def by_hand(w: td.Workflow) -> td.Workflow:
    """The guide's loop on the three phases."""
    while w.is_runnable():
        w, runnables = w.prepare_for_dispatch()
        for runnable in runnables:
            w = w.apply_runnable(td.execute_runnable(runnable))
        w = w.plan_eagerly()
    return w


def fact_of(w: td.Workflow, name: str, input: int = -1) -> td.Fact:
    """The only fact of a component for one input."""
    [fact] = w.facts(name, input=input)
    return fact


# ------------------------------------------------------------------------------ A: facts, identity


def test_an_input_is_a_fact_without_sources():
    """A1: the raw input is a fact of its own, made from nothing."""
    w = pipeline().plan_eagerly(5)
    [fact] = w.facts()

    assert (fact.component, fact.part, fact.value, fact.sources) == ("INPUT", None, 5, ())
    assert fact.scope == (0,)
    assert fact.input == 0


def test_lineage_leads_down_to_the_input():
    """A2: a chain of k steps has a lineage of depth k, down to the input."""
    w = td.workflow("chain").add(td.step(increment, name="s0"))
    for number in range(1, 6):
        w = w.add(td.step(increment, name=f"s{number}"), to=f"s{number - 1}")
    w = w.react_until_satisfied(0)
    told = w.why(fact_of(w, "s5"))
    chain = [told["node"]]
    while told["because"]:
        [told] = told["because"]
        chain.append(told["node"])

    assert chain == ["s5", "s4", "s3", "s2", "s1", "s0", "INPUT"]


def test_equal_values_of_different_lineage_are_different_facts():
    """A4, S6: identity is never the value."""
    w = td.workflow("same", steps=[td.step(double, name="a"), td.step(double, name="b")])
    w = w.react_until_satisfied(1)
    a, b = fact_of(w, "a"), fact_of(w, "b")

    assert a.value == b.value
    assert a.id != b.id


def test_a_fact_is_identified_by_node_generation_and_scope():
    """S6: the id of a fact is (node, generation of the node, scope)."""
    w = pipeline().react_until_satisfied(1).react_until_satisfied(1)

    assert fact_of(w, "increment", 0).id == ("increment", 0, (0,))
    assert fact_of(w, "increment", 1).id == ("increment", 0, (1,))


def test_two_equal_inputs_are_two_inputs():
    """S4: nothing is merged because it is equal."""
    w = pipeline().react_until_satisfied(5).react_until_satisfied(5)

    assert [entry["number"] for entry in w.inputs()] == [0, 1]
    assert w.raw_productions() == [12, 12]


def test_a_runnable_prepared_twice_has_the_same_id():
    """A6: the same node and fact give the same id and key; another fact gives others."""
    w = pipeline().plan_eagerly(1)
    [first] = w.next_runnables()
    again, [prepared] = w.prepare_for_dispatch()
    _, [other] = again.plan_eagerly(1).prepare_for_dispatch()

    assert (first.id, first.idempotency_key) == (prepared.id, prepared.idempotency_key)
    assert other.id != prepared.id
    assert other.idempotency_key != prepared.idempotency_key


def test_run_keys_make_idempotency_keys_differ():
    """S6: the key is a hash with the run's key in it, and the engine has no randomness."""

    def key_of(w: td.Workflow) -> str:
        [runnable] = w.plan_eagerly(1).next_runnables()
        return runnable.idempotency_key

    one, two = pipeline().with_run_key("one"), pipeline().with_run_key("two")

    assert key_of(one) == key_of(pipeline().with_run_key("one"))
    assert len({key_of(one), key_of(two), key_of(pipeline())}) == 3


def test_the_order_of_applying_does_not_change_identity():
    """S10: independent outcomes commute, ids included."""
    w = td.workflow("two", steps=[td.step(double, name="a"), td.step(increment, name="b")])
    w = w.add(lambda a, b: (a, b), to=["a", "b"])
    w, runnables = w.plan_eagerly(3).prepare_for_dispatch()
    outcomes = [td.execute_runnable(runnable) for runnable in runnables]

    def facts(order: list[td.Outcome]) -> list[Any]:
        done = w
        for outcome in order:
            done = done.apply_runnable(outcome)
        done = done.react_until_satisfied()
        return sorted((fact.id, repr(fact.value), fact.sources) for fact in done.facts())

    assert facts(outcomes) == facts(outcomes[::-1])


def capturing(captured: Any) -> Any:
    """A step with a captured value."""
    return td.step(lambda x: (x, captured), name="capturing")


def test_captured_values_are_part_of_a_fingerprint():
    """A7: other captured values give other fingerprints, equal ones the same."""
    assert capturing(1).fingerprint == capturing(1).fingerprint
    assert capturing(1).fingerprint != capturing(2).fingerprint
    assert capturing([1, {"a": 2}]).fingerprint == capturing([1, {"a": 2}]).fingerprint
    assert capturing("1").fingerprint != capturing(1).fingerprint


def compiled(text: str) -> Any:
    """A step from source text, as another file would hold it."""
    space: dict[str, Any] = {}
    exec(compile(text, "elsewhere.py", "exec"), space)
    return td.step(space["f"])


def test_fingerprints_do_not_see_lines_and_formatting():
    """S28: code counts, line numbers and formatting do not."""
    plain = compiled("def f(x):\n    return x + 1\n")
    moved = compiled("\n\n\n# a comment\ndef f( x ):\n\n    return (x\n        + 1)\n")
    other = compiled("def f(x):\n    return x + 2\n")

    assert plain.fingerprint == moved.fingerprint
    assert plain.fingerprint != other.fingerprint


def test_defaults_of_context_are_part_of_a_fingerprint_and_context_is_not():
    """A9: other defaults give other fingerprints; values given at run time give none."""

    def made(default: str) -> td.Workflow:
        def ask(x: Any, *, model: str = td.context("model", default=default)) -> Any:
            return model

        return td.workflow("ask", steps=[ask])

    small = made("small")
    run = small.react_until_satisfied(1, run_context={"_global": {"model": "large"}})

    assert made("small").fingerprint == small.fingerprint != made("big").fingerprint
    assert run.fingerprint == small.fingerprint


def test_a_workflows_fingerprint_follows_its_graph():
    """S28: a workflow's fingerprint is made of its components' and their wiring."""
    ab = pipeline()
    apart = td.workflow("pipeline", steps=[increment, double])

    assert ab.fingerprint == pipeline().fingerprint
    assert ab.fingerprint != apart.fingerprint
    assert ab.fingerprint != ab.add(abs).fingerprint


def test_names_computed_at_run_time_survive_the_log():
    """A11: names from data are the same when rebuilt from the log."""
    names = [f"step {number}" for number in range(3)]
    template = td.workflow("n", steps=[td.step(increment, name=name) for name in names])
    w = template.react_until_satisfied(1)
    again = td.Workflow.from_log(template, w.log())

    assert again.components() == names
    assert again.results() == dict.fromkeys(names, 2)


def test_templates_of_different_wiring_or_name_are_not_equal():
    """S2: equality is of every observable, and wiring, joins and names are observable."""
    ab = pipeline()
    settled = ab.add(lambda a, b: a, to=["increment", "double"], join="settled")
    every = ab.add(lambda a, b: a, to=["increment", "double"], join="all")

    assert ab == pipeline()
    assert ab != td.workflow("other", steps=[(increment, [double])])
    assert ab != td.workflow("pipeline", steps=[increment, double])
    assert settled != every


# ------------------------------------------------------------------------------ B: steps, pipelines


def test_one_step_produces_its_value():
    """B12: one step x*2 gives 10 for 5."""
    w = td.workflow("one", steps=[double]).react_until_satisfied(5)

    assert w.results() == {"double": 10}
    assert w.raw_productions() == [10]


def test_a_component_stays_an_ordinary_function():
    """Section 4: calling a component calls the function."""

    @td.step
    def described(x: int) -> int:
        """Say what it does."""
        return x * 2

    assert described(4) == 8
    assert described.__doc__ == "Say what it does."
    assert described.name == "described"


def test_a_pipeline_produces_every_step():
    """B13: add->double with 5 gives {6, 12}."""
    w = pipeline().react_until_satisfied(5)

    assert w.results("increment", "double") == {"increment": 6, "double": 12}
    assert w.results() == {"double": 12}


def test_both_children_see_the_parents_fact():
    """B15: siblings are made from the same fact."""
    w = td.workflow("t", steps=[(increment, [double, td.step(lambda x: -x, name="negate")])])
    w = w.react_until_satisfied(5)

    assert w.results() == {"double": 12, "negate": -6}
    assert fact_of(w, "double").sources == fact_of(w, "negate").sources
    assert fact_of(w, "double").sources == (fact_of(w, "increment").id,)


@pytest.mark.parametrize("value", [[3, 4], (3, 4)])
def test_one_parents_list_feeds_several_ports(value: Any):
    """B16, S16: n ports are fed by a list or tuple of n."""
    w = td.workflow("pair", steps=[td.step(lambda a, b: (a, b), name="pair")])

    assert w.react_until_satisfied(value).results() == {"pair": (3, 4)}


@pytest.mark.parametrize("value", [3, [1], [1, 2, 3], "ab", {1: 2, 3: 4}, None])
def test_a_value_that_does_not_fill_the_ports_fails_the_step(value: Any):
    """B16, S16: what is no list or tuple of n is a failure of the step, never swallowed."""
    w = td.workflow("pair", steps=[td.step(lambda a, b: (a, b), name="pair")])
    w = w.react_until_satisfied(value)
    [failure] = w.failures()

    assert w.results() == {}
    assert failure.component == "pair"
    assert failure.error.name == "BadValue"
    assert "list or tuple of 2" in failure.error.text


def test_none_is_a_value():
    """B17, S4: None is a fact and flows downstream, as an input too."""
    w = td.workflow("n", steps=[(td.step(lambda x: x, name="same"), [td.step(str, name="text")])])
    w = w.react_until_satisfied(None)

    assert w.results("same", "text") == {"same": None, "text": "None"}


def test_react_with_nothing_to_do_changes_nothing():
    """B18: given an empty agenda, react gives the workflow as it was."""
    done = pipeline().react_until_satisfied(5)
    fresh = pipeline()

    assert done.react() == done
    assert done.react().position == done.position
    assert fresh.react().position == 0
    assert fresh.react_until_satisfied() == fresh


def test_planning_makes_runnable_and_produces_nothing():
    """B19: after plan_eagerly(5) without rules something is ready and nothing was made."""
    w = pipeline().plan_eagerly(5)

    assert w.is_runnable()
    assert not w.is_satisfied()
    assert w.raw_productions() == []
    assert w.results() == {}


def test_a_satisfied_workflow_is_not_runnable():
    """B20: when all is done nothing is ready."""
    w = pipeline().react_until_satisfied(5)

    assert not w.is_runnable()
    assert w.is_satisfied()
    assert w.next_runnables() == []
    assert w.in_flight() == []


def test_by_hand_inline_and_threads_give_the_same():
    """B21: every way of driving gives the same facts."""
    planned = pipeline().plan_eagerly(5)
    ways = [
        by_hand(planned),
        planned.react_until_satisfied(),
        planned.react_until_satisfied(executor="threads"),
    ]

    assert [w.results("increment", "double") for w in ways] == [{"increment": 6, "double": 12}] * 3
    assert ways[0] == ways[1] == ways[2]


def test_a_step_without_ports_is_called_without_argument():
    """B24, S16: no ports means no argument; it waits for its parent all the same."""
    calls: list[str] = []

    def now() -> str:
        calls.append("now")
        return "now"

    w = td.workflow("z", steps=[(increment, [now])]).react_until_satisfied(1)

    assert calls == ["now"]
    assert w.results() == {"now": "now"}


def test_a_step_without_ports_is_not_called_for_absent():
    """S16: where its parent gives ABSENT, a step without ports is not called."""
    calls: list[str] = []
    w = td.workflow("z", steps=[(td.step(lambda x: td.ABSENT, name="skip"), [])])
    w = w.add(td.step(lambda: calls.append("called"), name="now"), to="skip")
    w = w.react_until_satisfied(1)

    assert calls == []
    assert w.results("now") == {"now": td.ABSENT}
    assert w.failures() == []


def test_planning_again_feeds_nothing_back():
    """B28, S15: plan_eagerly() without input on a finished pipeline makes nothing ready."""
    done = pipeline().react_until_satisfied(5)
    again = done.plan_eagerly()

    assert not again.is_runnable()
    assert again.log() == done.log()


def test_planning_that_was_forgotten_is_done_by_prepare():
    """S15: who forgets plan_eagerly() after apply still gets the rule's work."""
    w = pipeline().add(
        td.rule(lambda x: "big", name="big", condition=lambda x: x > 10), to="double"
    )
    w = w.plan_eagerly(5)
    for _ in range(3):
        w, runnables = w.prepare_for_dispatch()
        for runnable in runnables:
            w = w.apply_runnable(td.execute_runnable(runnable))

    assert w.results() == {"big": "big"}


def test_default_parameters_are_no_ports():
    """S16: a parameter with a plain default is not a port."""
    steps = [td.step(lambda x, k=k: x * k, name=f"times {k}") for k in (2, 3)]
    w = td.workflow("k", steps=steps).react_until_satisfied(5)

    assert w.results() == {"times 2": 10, "times 3": 15}


def test_rest_parameters_take_all_parents_and_never_unpack():
    """S16: `*values` takes all parents in declared order, and one parent's list stays a list."""
    parents = [td.step(lambda x, n=n: n, name=f"p{n}") for n in range(5)]
    w = td.workflow("rest", steps=parents)
    w = w.add(td.step(lambda *v: v, name="all"), to=["p4", "p0", "p2", "p1", "p3"])
    w = w.add(td.step(lambda first, *rest: (first, rest), name="first"), to=["p1", "p2", "p3"])
    w = w.add(td.step(lambda *v: v, name="one"), to=td.INPUT)
    w = w.react_until_satisfied([7, 8])

    assert w.results() == {"all": (4, 0, 2, 1, 3), "first": (1, (2, 3)), "one": ([7, 8],)}


def test_a_join_of_a_thousand_parents():
    """S16: real graphs have joins of a thousand."""
    parents = [td.step(lambda x, n=n: n, name=f"p{n}") for n in range(1000)]
    w = td.workflow("wide", steps=parents)
    w = w.add(td.step(lambda *v: sum(v), name="sum"), to=[f"p{n}" for n in range(1000)])

    assert w.react_until_satisfied(0).results() == {"sum": 499_500}


def test_all_kinds_of_callables_are_steps():
    """S16: builtins, classes, partials, methods and callable objects have ports like functions."""

    class Scale:
        def __init__(self, by: int) -> None:
            self.by = by

        def times(self, x: int) -> int:
            return x * self.by

        def __call__(self, x: int) -> int:
            return x + self.by

    steps: list[Any] = [
        td.step(abs),
        td.step(str),
        td.step(Scale, name="made"),
        td.step(functools.partial(pow, 2), name="power"),
        td.step(Scale(3).times),
        td.step(Scale(3), name="added"),
    ]
    w = td.workflow("callables", steps=steps).react_until_satisfied(5)
    made = w.results().pop("made")

    assert made.by == 5
    assert {name: w.results()[name] for name in ("abs", "str", "power", "times", "added")} == {
        "abs": 5,
        "str": "5",
        "power": 32,
        "times": 15,
        "added": 8,
    }


def test_functions_without_a_name_take_the_kinds_name():
    """Section 4: a lambda takes the kind's name; a second one needs `name=`, which the error says."""
    w = td.workflow("l").add(lambda x: x)
    with pytest.raises(errors.DuplicateName, match="name="):
        w.add(lambda x: x)

    assert w.components() == ["step"]


def test_validation_is_opt_in():
    """Section 4: annotations are checked at run time only where a component asks for it."""

    def half(x: int) -> int:
        return x / 2  # type: ignore[return-value]

    loose = td.workflow("l", steps=[half]).react_until_satisfied(5)
    strict = td.workflow("s", steps=[td.step(half, validate=True)])
    wrong_result, wrong_argument = (
        strict.react_until_satisfied(5),
        strict.react_until_satisfied("x"),
    )

    assert loose.results() == {"half": 2.5}
    assert "the result should be int" in wrong_result.failures()[0].error.text
    assert "should be int, and is 'x'" in wrong_argument.failures()[0].error.text


# --------------------------------------------------------------------------- handing out and apply


def test_each_runnable_is_handed_out_once():
    """S8: prepare marks what it hands out; a second prepare gives nothing."""
    w, first = pipeline().plan_eagerly(5).prepare_for_dispatch()
    w, second = w.prepare_for_dispatch()

    assert [runnable.id for runnable in first] == ["increment@0"]
    assert second == []
    assert w.in_flight() == ["increment@0"]
    assert not w.is_runnable()
    assert not w.is_satisfied()


def test_a_limit_leaves_the_rest_ready():
    """S8: `limit` hands out the oldest first and leaves the rest."""
    w = td.workflow("t", steps=[td.step(double, name=name) for name in "abc"]).plan_eagerly(1)
    w, none = w.prepare_for_dispatch(0)
    w, two = w.prepare_for_dispatch(limit=2)
    w, rest = w.prepare_for_dispatch()

    assert none == []
    assert [runnable.component for runnable in two + rest] == ["a", "b", "c"]


def test_a_released_runnable_is_handed_out_again_in_its_old_place():
    """S8: release puts it back, before what became ready later."""
    w = td.workflow("t", steps=[td.step(double, name=name) for name in "abc"]).plan_eagerly(1)
    w, [a, _] = w.prepare_for_dispatch(2)
    w = w.release(a)
    w, again = w.prepare_for_dispatch()

    assert [runnable.component for runnable in again] == ["a", "c"]
    assert sorted(w.in_flight()) == ["a@0", "b@0", "c@0"]


def test_late_and_double_outcomes_change_nothing():
    """S9: an outcome is applied once."""
    w, [runnable] = pipeline().plan_eagerly(5).prepare_for_dispatch()
    outcome = td.execute_runnable(runnable)
    once = w.apply_runnable(outcome)
    done = once.react_until_satisfied()

    assert once.apply_runnable(outcome).log() == once.log()
    assert done.apply_runnable(outcome).log() == done.log()


def test_an_outcome_of_work_that_is_ready_again_is_applied():
    """S9: ready is pending too: a released runnable may still be answered."""
    w, [runnable] = pipeline().plan_eagerly(5).prepare_for_dispatch()
    w = w.release(runnable).apply_runnable(td.execute_runnable(runnable))

    assert w.results("increment") == {"increment": 6}
    assert w.react_until_satisfied().results() == {"double": 12}


def test_older_handles_stay_valid():
    """S1: no operation changes a workflow that somebody else can see."""
    template = pipeline()
    planned = template.plan_eagerly(5)
    done = planned.react_until_satisfied()
    other = planned.add(td.step(lambda x: -x, name="negate"), to="double")

    assert template.position == 0
    assert (planned.is_runnable(), planned.results()) == (True, {})
    assert done.results() == {"double": 12}
    assert other.react_until_satisfied().results() == {"negate": -12}
    assert "negate" not in done
    assert planned.react_until_satisfied() == done


def test_peeking_marks_nothing():
    """S11: next_runnables() peeks: what it shows is still handed out."""
    w = pipeline().plan_eagerly(5)
    peeked = [runnable.id for runnable in w.next_runnables()]
    _, handed = w.prepare_for_dispatch()

    assert peeked == ["increment@0"] == [runnable.id for runnable in handed]


def test_satisfied_is_asked_for_one_input():
    """S11: with `input=`, for that input alone; negative numbers count from the end."""
    w = pipeline().react_until_satisfied(5).plan_eagerly(6)

    assert w.is_satisfied(input=0)
    assert not w.is_satisfied(input=1)
    assert not w.is_satisfied(input=-1)
    assert not w.is_satisfied()


def test_react_does_not_touch_what_others_have_in_flight():
    """S11: react* leaves alone what another caller has in flight."""
    calls: list[int] = []
    w = td.workflow("t", steps=[td.step(calls.append, name="slow")])
    w, [runnable] = w.plan_eagerly(1).prepare_for_dispatch()
    w = w.react_until_satisfied()

    assert calls == []
    assert w.in_flight() == [runnable.id]


def test_values_pass_by_reference():
    """S1: values between steps are not copied."""
    value = {"a": [1]}
    w = td.workflow("t", steps=[(td.step(lambda x: x, name="a"), [td.step(lambda x: x, name="b")])])
    w = w.react_until_satisfied(value)

    assert w.results()["b"] is value


def test_a_failed_runnable_warns(caplog: pytest.LogCaptureFixture):
    """S25: a failure is recorded with a warning that names workflow, component and error."""
    with caplog.at_level(logging.WARNING, logger="treadle"):
        td.workflow("w", steps=[td.step(lambda x: 1 / 0, name="bad")]).react_until_satisfied(1)
    [record] = caplog.records

    assert record.levelno == logging.WARNING
    for word in ("w", "bad", "0", "ZeroDivisionError"):
        assert word in record.getMessage()
