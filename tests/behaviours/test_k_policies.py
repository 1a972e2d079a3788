"""Policies as a user meets them: who gets which, how often something is tried, and what happens in the end."""

import re
from typing import Any

import pytest

import treadle as td
from tests.runner.running import PATIENCE_S, Flaky, double, fail, same, steps
from treadle import errors


def tries(body: Flaky, **options: Any) -> int:
    """How often a body that always fails is called for one input, under a runner."""
    body.calls.clear()
    body.errors = [ValueError()] * 50
    workflow = options.pop("workflow", None) or steps(td.step(body, name="charge"))
    given = options.pop("input_policies", None)
    started = options.pop("run_policies", None)
    with td.Runner(executor="inline", **options) as runner:
        runner.start(workflow, "a", policies=started)
        runner.run("a", 1, policies=given).exception(PATIENCE_S)
    return len(body.calls)


def retries(count: int) -> td.Policy:
    """A policy to be recognised by its retries."""
    return td.Policy(max_retries=count)


# ------------------------------------------------------------------------------------- matching

CHARGE = td.step(same, name="charge")

MATCHERS: dict[str, Any] = {
    "name": "charge",
    "glob": "ch*",
    "single characters": "char?e",
    "everything": "*",
    "regex": re.compile("^cha"),
    "component": CHARGE,
    "type": type(CHARGE),
    "kind": td.of_kind("step"),
    "kinds": td.of_kind("map", "step"),
    "predicate": lambda subject: subject.name == "charge" and subject.kind == "step",
}

STRANGERS: dict[str, Any] = {
    "name": "charg",
    "case": "Charge",
    "glob": "x*",
    "regex": re.compile("^arge"),
    "component": td.step(same, name="other"),
    "type": type(td.map(same, name="m")),
    "kind": td.of_kind("map"),
    "predicate": lambda subject: False,
}


@pytest.mark.parametrize("matcher", MATCHERS.values(), ids=MATCHERS)
def test_a_matcher_means_its_components(matcher: Any):
    """By name, glob, regex, component, type, kind or predicate."""
    body = Flaky()

    assert tries(body, policies=[(matcher, retries(2))]) == 3


@pytest.mark.parametrize("matcher", STRANGERS.values(), ids=STRANGERS)
def test_a_matcher_means_no_others(matcher: Any):
    """What is not matched is tried once."""
    assert tries(Flaky(), policies=[(matcher, retries(2))]) == 1


def test_the_first_match_wins_whole():
    """No field of a later one is mixed in."""
    body = Flaky()
    listed = [("ch*", retries(1)), ("charge", td.Policy(max_retries=5, fallback="never"))]

    assert tries(body, policies=listed) == 2
    assert tries(body, policies=dict(reversed(listed))) == 6


def test_a_dict_of_fields_stands_over_the_defaults():
    """Not over another policy."""
    assert tries(Flaky(), policies={"charge": {"max_retries": 3}, "*": {"fallback": 1}}) == 4


def test_run_time_policies_come_first():
    """An input's before its run's, before the workflow's, before the runner's."""
    body = Flaky()
    plain = steps(td.step(body, name="charge"))
    own = plain.with_policies({"charge": retries(2)})
    options: dict[str, Any] = {"policies": {"charge": retries(1)}}
    assert tries(body, workflow=plain, **options) == 2
    options["workflow"] = own
    assert tries(body, **options) == 3
    options["run_policies"] = {"charge": retries(3)}
    assert tries(body, **options) == 4
    options["input_policies"] = {"charge": retries(4)}

    assert tries(body, **options) == 5


def test_where_run_time_policies_are_silent_the_others_speak():
    """They come before, and replace nothing."""
    own = steps(td.step(body := Flaky(), name="charge")).with_policies({"charge": retries(2)})

    assert tries(body, workflow=own, input_policies={"ship*": retries(9)}) == 3


def test_only_replaces_what_is_below():
    """With `td.only`, a component it does not match has no policy at all."""
    body = Flaky()
    own = steps(td.step(body, name="charge")).with_policies({"charge": retries(2)})

    assert tries(body, workflow=own, run_policies=td.only({"ship*": retries(9)})) == 1
    assert tries(body, workflow=own, run_policies=td.only({"charge": retries(4)})) == 5
    assert tries(body, workflow=own, input_policies=td.only({"ship*": retries(9)})) == 1


def test_a_later_call_comes_before_an_earlier_one():
    """`with_policies` puts its rules in front."""
    body = Flaky()
    own = steps(td.step(body, name="charge")).with_policies({"*": retries(1)})

    assert tries(body, workflow=own.with_policies({"charge": retries(3)})) == 4
    assert tries(body, workflow=own) == 2


def test_policies_are_no_part_of_the_graph():
    """Neither fingerprint nor log nor equality of results knows them."""
    plain = steps(double)
    own = plain.with_policies(td.Policy(max_retries=3))

    assert own.fingerprint == plain.fingerprint
    assert own.react_until_satisfied(2).log() == plain.react_until_satisfied(2).log()


WRONG: dict[str, Any] = {
    "field": {"charge": {"retries": 3}},
    "value": {"charge": {"max_retries": -1}},
    "kind of value": {"charge": {"timeout_s": "1"}},
    "word": {"charge": {"backoff": "quadratic"}},
    "policy": {"charge": 3},
    "matcher": {3: td.Policy()},
    "pairs": [("charge",)],
    "no rules": 7,
}


@pytest.mark.parametrize("policies", WRONG.values(), ids=WRONG)
def test_what_is_no_policy_is_refused(policies: Any):
    """Wherever it is given, before anything happens."""
    with pytest.raises(errors.UsageError):
        steps(same).with_policies(policies)
    with pytest.raises(errors.UsageError):
        td.Runner(policies=policies)
    with td.Runner() as runner:
        with pytest.raises(errors.UsageError):
            runner.start(steps(same), "a", policies=policies)
        assert runner.runs() == []


def test_an_unknown_field_is_named_with_the_nearest():
    """So that a slip is seen at once."""
    with pytest.raises(errors.UsageError, match=r"no field 'max_retrys'.*'max_retries'"):
        td.Runner(policies={"charge": {"max_retrys": 3}})


def test_an_executor_that_is_not_there_is_refused():
    """In the runner's, a run's, an input's and a workflow's policies."""
    moon = td.Policy(executor="moon")
    with pytest.raises(errors.UsageError, match="moon"):
        td.Runner(policies=moon)
    with td.Runner() as runner:
        with pytest.raises(errors.UsageError, match="moon"):
            runner.start(steps(same), "a", policies=moon)
        with pytest.raises(errors.UsageError, match="moon"):
            runner.start(steps(same).with_policies(moon), "a")
        runner.start(steps(same), "a")
        with pytest.raises(errors.UsageError, match="moon"):
            runner.run("a", 1, policies=moon)

        assert runner.get_workflow("a").inputs() == []


# ------------------------------------------------------------------------------------- the rest


@pytest.mark.parametrize("count", [0, 1, 2, 7])
def test_one_attempt_more_than_retries(count: int):
    """And the failure says which attempt was the last."""
    with td.Runner(executor="inline", policies=td.Policy(max_retries=count)) as runner:
        runner.start(steps(td.step(fail, name="charge")), "a")
        error = runner.run("a", 1).exception(PATIENCE_S)

        assert isinstance(error, errors.StepFailed)
        assert (error.component, error.input, error.attempt) == ("charge", 0, count + 1)


def test_presets_are_policies():
    """With changes over them."""
    body = Flaky()

    assert tries(body, policies=td.Policy.llm(backoff="none")) == 4
    assert (
        tries(body, policies=td.Policy.io(backoff="none")) == 1
    )  # a ValueError is no trouble of a network
    assert tries(body, policies=td.Policy.io(backoff="none", retry_on=ValueError)) == 3
    assert tries(body, policies=td.Policy.fail_fast()) == 1


def test_a_policy_for_a_part():
    """A predicate may tell a map's expansion from its function."""
    seen = set()

    def matcher(subject: Any) -> bool:
        seen.add((subject.name, subject.kind, subject.part))
        return subject.name == "each" and subject.part is None

    flaky = Flaky(ValueError())
    workflow = td.workflow("fan").add(td.map(flaky, name="each"))
    with td.Runner(policies={matcher: retries(1)}) as runner:
        runner.start(workflow, "a")
        results = runner.run("a", [1, 2]).result(PATIENCE_S)

    assert sorted(results["each"]) == [1, 2]
    assert {kind for _, kind, _ in seen} == {"map"}
    assert len(seen) == 2


def test_skip_lets_siblings_and_what_waits_for_it_go_on():
    """What needs a skipped value is passed ABSENT; halt ends the input, and what was not begun is left undone."""
    beside = Flaky()
    workflow = steps((td.step(fail, name="charge"), [double]), td.step(beside, name="beside"))
    with td.Runner() as runner:
        for word, results, calls in (("skip", {"beside": 1}, [1]), ("halt", {}, [])):
            beside.calls.clear()
            policies = {"charge": td.Policy(on_failure=word)}
            runner.start(workflow, word, policies=policies, max_concurrency=1)
            error = runner.run(word, 1).exception(PATIENCE_S)

            assert (error is None) == (word == "skip")
            assert runner.get_workflow(word).results() == results
            assert beside.calls == calls
            assert runner.wait(word) == "idle"


def test_a_name_that_is_no_component_s_is_refused():
    """A misspelt one would match nothing, and nobody would know; a glob may match nothing."""
    with td.Runner() as runner:
        with pytest.raises(errors.UsageError, match=r"'charg'.*'charge'"):
            runner.start(steps(CHARGE), "a", policies={"charg": retries(1)})
        runner.start(steps(CHARGE), "a", policies={"x*": retries(1)})
        with pytest.raises(errors.UsageError, match=r"'charg'.*'charge'"):
            runner.run("a", 1, policies={"charg": retries(1)})

        assert runner.run("a", 1).result(PATIENCE_S) == {"charge": 1}
