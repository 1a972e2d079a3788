"""Run-time context: behaviours I."""

import asyncio
import pickle
from typing import Any

import pytest

import treadle as td
from treadle import errors

SECRET = "hunter2-that-must-not-be-seen"


def ask(x: Any, *, model: Any = td.context("model", default="small")) -> Any:
    """Give what was injected."""
    return model


def need(x: Any, *, token: Any = td.context("token")) -> Any:
    """Give what was injected, which must be there."""
    return token


def asking() -> td.Workflow:
    """A step with an optional value."""
    return td.workflow("w", steps=[ask])


def given(w: td.Workflow, context: Any, name: str = "ask") -> Any:
    """What a step was injected under a context."""
    return w.react_until_satisfied(1, run_context=context).results(name)[name]


def test_the_component_wins_over_the_global():
    """I141: the component's own value, else the global one, else the default."""
    both = {"ask": {"model": "own"}, "_global": {"model": "global"}}

    assert given(asking(), both) == "own"
    assert given(asking(), {"_global": {"model": "global"}}) == "global"
    assert given(asking(), {"other": {"model": "theirs"}}) == "small"
    assert given(asking(), {"ask": {"another": 1}}) == "small"
    assert given(asking(), {}) == "small"
    assert given(asking(), None) == "small"


def test_none_and_false_are_values():
    """I141: what is given is given."""
    assert given(asking(), {"ask": {"model": None}, "_global": {"model": 1}}) is None
    assert given(asking(), {"_global": {"model": 0}}) == 0


def test_a_default_may_be_computed_lazily():
    """I142: it is called only if it is needed, once a runnable."""
    calls: list[int] = []

    def make() -> str:
        calls.append(1)
        return "made"

    def lazy(x: Any, *, value: Any = td.context("value", default=make)) -> Any:
        return value

    w = td.workflow("w", steps=[lazy])
    with_value = given(w, {"lazy": {"value": "given"}}, "lazy")
    before = len(calls)

    assert (with_value, before) == ("given", 0)
    assert given(w, {}, "lazy") == "made"
    assert calls == [1]


def test_peeking_asks_no_default_and_fixes_nothing():
    """S11, I142: a peek prepares nothing: what is given afterwards counts."""
    w = asking().plan_eagerly(1)
    w.next_runnables()

    assert w.react_until_satisfied(run_context={"_global": {"model": "large"}}).results() == {
        "ask": "large"
    }


def test_a_missing_value_is_a_failure_that_says_what_to_give():
    """I141: recorded, with component, key and the way to give it."""
    w = td.workflow("w", steps=[need]).react_until_satisfied(1)
    [failure] = w.failures()

    assert failure.component == "need"
    for word in ("'need'", "'token'", "run_context="):
        assert word in failure.error.text
    with pytest.raises(errors.StepFailed):
        w.results(raise_on_failure=True)


def test_required_context_lists_keys_by_component():
    """I143: missing keys per component; optional ones apart."""
    w = td.workflow("w", steps=[ask, need])
    w = w.add(td.rule(need, name="r", condition=lambda x, m=td.context("limit"): x > m))
    told = w.required_context()

    assert told["required"]["need"] == ["token"]
    assert sorted(told["required"]["r"]) == ["limit", "token"]
    assert told["optional"] == {"ask": ["model"]}


def test_context_is_seen_by_condition_and_reaction():
    """I146: scoped to a rule's name, both see it."""

    def above(x: int, *, limit: int = td.context("limit", default=0)) -> bool:
        return x > limit

    def react(x: int, *, limit: int = td.context("limit", default=0)) -> int:
        return x - limit

    w = td.workflow("w", rules=[td.rule(react, name="r", condition=above)])
    context = {"r": {"limit": 10}}

    assert w.react_until_satisfied(15, run_context=context).results() == {"r": 5}
    assert w.react_until_satisfied(5, run_context=context).results() == {}
    assert w.react_until_satisfied(5).results() == {"r": 5}


def test_context_of_a_dispatched_condition():
    """I146: a dispatched predicate sees the rule's too."""

    def above(x: int, *, limit: int = td.context("limit")) -> bool:
        return x > limit

    w = td.workflow("w", rules=[td.rule(lambda x: x, name="r", condition=above, dispatch=True)])
    w = w.react_until_satisfied(15, run_context={"r": {"limit": 10}})

    assert w.results() == {"r": 15}


def test_context_of_a_named_condition():
    """I146: a named condition has its own name's context."""

    def above(x: int, *, limit: int = td.context("limit")) -> bool:
        return x > limit

    w = td.workflow("w", components=[td.condition(above, name="big")])
    w = w.add(td.rule(lambda x: x, name="r", condition="big"))
    w = w.react_until_satisfied(15, run_context={"big": {"limit": 10}})

    assert w.failures() == []
    assert w.results("r") == {"r": 15}


def test_rules_that_share_a_predicate_have_their_own_context():
    """I146, S12: one predicate under two rules with two limits is asked for each."""

    def above(x: int, *, limit: int = td.context("limit", default=0)) -> bool:
        return x > limit

    rules = [td.rule(lambda x: x, name=name, condition=above) for name in ("low", "high")]
    w = td.workflow("w", rules=rules)
    w = w.react_until_satisfied(5, run_context={"low": {"limit": 1}, "high": {"limit": 10}})

    assert w.results() == {"low": 5}


def test_context_of_a_map_and_an_accumulator():
    """I141: every function may be injected."""

    def scaled(x: int, *, by: int = td.context("by", default=1)) -> int:
        return x * by

    def fold(s: int, x: int, *, by: int = td.context("by", default=1)) -> int:
        return s + x * by

    w = td.workflow("w", components=[td.map(scaled, name="m")])
    w = w.add(td.accumulator(fold, initial=0, name="acc"), to="m")
    w = w.react_until_satisfied([1, 2], run_context={"m": {"by": 10}, "acc": {"by": 100}})

    assert w.results("m") == {"m": [10, 20]}
    assert w.states() == {"acc": {None: 3000}}


def test_context_inside_a_sub_workflow():
    """I141: by the full name of the component."""
    w = td.workflow("w").add(td.workflow("sub", steps=[ask]))

    assert given(w, {"sub.ask": {"model": "own"}}, "sub.ask") == "own"
    assert given(w, {"_global": {"model": "global"}}, "sub.ask") == "global"


def test_context_lasts_for_what_follows():
    """Section 4: given to plan_eagerly it holds for the workflow that comes of it."""
    w = asking().plan_eagerly(1, run_context={"_global": {"model": "large"}})
    w = w.react_until_satisfied().react_until_satisfied(2)

    assert w.raw_productions() == ["large", "large"]
    assert asking().react_until_satisfied(1).results() == {"ask": "small"}


def test_context_is_given_by_every_way_of_driving():
    """I141: react, threads, asyncio and the three phases."""
    context = {"_global": {"model": "large"}}
    w = asking()
    planned = w.plan_eagerly(1)
    handed, [runnable] = planned.prepare_for_dispatch(run_context=context)
    runs = [
        w.react(1, run_context=context),
        w.react_until_satisfied(1, run_context=context, executor="threads"),
        asyncio.run(w.areact_until_satisfied(1, run_context=context)),
        w.run_or_raise(1, run_context=context),
        handed.apply_runnable(td.execute_runnable(runnable)),
        w.with_context(context).react_until_satisfied(1),
    ]

    assert [run.results() for run in runs] == [{"ask": "large"}] * 6


def test_context_never_appears_in_what_is_kept():
    """I144: not in facts, log, hashes, repr, failures, pickles or pictures."""

    def check(x: Any, *, token: str = td.context("token")) -> int:
        return len(token)

    def above(x: Any, *, token: str = td.context("token")) -> bool:
        return token == SECRET

    w = td.workflow("w", steps=[check], rules=[td.rule(lambda x: x, name="r", condition=above)])
    template = w
    w = w.add(td.step(lambda x, *, token=td.context("token"): 1 / 0, name="bad"))
    w = w.react_until_satisfied(1, run_context={"_global": {"token": SECRET}})
    told = "".join(
        map(
            repr,
            [
                w,
                w.log(),
                w.facts(),
                w.failures(),
                w.inputs(),
                w.touched(),
                [w.why(fact) for fact in w.facts()],
                w.required_context(),
                w.to_mermaid(state=True),
                w.to_cytoscape(state=True),
                td.Workflow.from_log(w.at(0), w.log()),
            ],
        )
    )

    assert w.results("check", "r") == {"check": len(SECRET), "r": 1}
    assert SECRET not in told
    assert template.fingerprint == template.with_context({"_global": {"token": SECRET}}).fingerprint


def test_context_does_not_travel_in_a_pickle():
    """I144: a pickled workflow carries no run-time values."""
    w = td.workflow("w", steps=[ask]).plan_eagerly(1, run_context={"ask": {"model": SECRET}})
    data = pickle.dumps(w)

    assert SECRET.encode() not in data
    assert pickle.loads(data).react_until_satisfied().results() == {"ask": "small"}


def test_context_does_not_make_workflows_differ():
    """S2: in-flight marks and run context are excepted from what a workflow is."""
    plain = asking().plan_eagerly(1)

    assert asking().plan_eagerly(1, run_context={"_global": {"model": "x"}}) == plain


def test_a_runnables_values_are_its_own():
    """Section 4: a runnable is self-contained; a later context does not change it."""
    w, [runnable] = (
        asking().plan_eagerly(1, run_context={"_global": {"model": "first"}}).prepare_for_dispatch()
    )
    w = w.with_context({"_global": {"model": "second"}})
    w = w.apply_runnable(td.execute_runnable(runnable)).react_until_satisfied(2)

    assert w.raw_productions() == ["first", "second"]
