"""What is wished of each node: where it runs, on which terms, what may be done in line or bundled."""

from typing import Any

import pytest

import treadle as td
from tests.runner.machines import boom, line_of, places, same, wishes
from treadle.policies.policy import Policy, RateLimit
from treadle.runner.stimuli import Terms
from treadle.runner.wishes import ASYNCIO, INLINE, NO_LIMIT


async def awaited(value: Any) -> Any:
    """An async step."""
    return value


def mixed() -> td.Workflow:
    """A workflow of a plain step, an async one, and a rule."""
    workflow = line_of("plain").add(td.step(awaited, name="async"), to="plain")
    return workflow.add(td.rule(same, name="rule", condition=lambda value: value), to="plain")


def first_of(workflow: td.Workflow) -> Any:
    """The first runnable of a workflow that was fed something."""
    return workflow.plan_eagerly(1).prepare_for_dispatch()[1][0]


def test_the_first_rule_that_matches_gives_the_policy():
    """Each node is asked about once; a part of a component has the component's policy."""
    asked: list[Any] = []

    def is_map(subject: Any) -> bool:
        asked.append((subject.name, subject.kind, subject.part))
        return bool(subject.kind == "map")

    workflow = line_of("a").add(td.map(same, name="m"), to="a")
    w = wishes(workflow, [("a", Policy(max_retries=1)), (is_map, Policy(max_retries=2))])

    assert [w.policy(key).max_retries for key in ("a", "m/items", "m", "m")] == [1, 2, 2, 2]
    assert asked == [("m", "map", "items"), ("m", "map", None)]


@pytest.mark.parametrize(
    ("key", "policy", "expected"),
    [
        ("plain", Policy(), "threads"),
        ("plain", Policy(executor="cluster"), "cluster"),
        ("async", Policy(), ASYNCIO),
        ("async", Policy(executor="threads"), ASYNCIO),
        ("async", Policy(executor="cluster"), "cluster"),
    ],
)
def test_async_functions_are_awaited_on_the_runners_loop(key: str, policy: Policy, expected: str):
    """Unless they are sent where they get an event loop of their own."""
    w = wishes(mixed(), policy, at=places(remote=["cluster"]))

    assert w.executor(key, policy) == expected
    assert w.terms(key).executor == expected


def test_terms_are_one_object_for_all_work_of_a_node():
    """They are computed once, and free where only the executor's own room counts."""
    w = wishes(line_of("a", "b"), {"b": Policy(rate_limit=RateLimit(1))})

    assert w.terms("a") is w.terms("a")
    assert w.terms("a") == Terms("threads")
    assert (w.terms("a").is_free, w.terms("b").is_free) == (True, False)


def test_limits_without_a_key_are_a_components_own():
    """Those of a workflow's component count for all runs of it, and for no other component."""
    policy = Policy(
        max_concurrency=3,
        rate_limit=td.RateLimit(1),
        circuit_breaker=td.CircuitBreaker(key="shared"),
        priority="critical",
        timeout_s=2.0,
    )
    w = wishes(line_of("a", "b"), policy)

    assert w.terms("a") == Terms(
        "threads",
        20,
        (("line/a", 3),),
        (("line/a", td.RateLimit(1)),),
        (("shared", td.CircuitBreaker(key="shared")),),
        is_free=False,
        timeout_s=2.0,
    )
    assert w.terms("b").limits == (("line/b", 3),)
    limit = td.Limit(2, key="rooms")
    assert wishes(line_of("a"), Policy(max_concurrency=limit)).terms("a").limits == (("rooms", 2),)


@pytest.mark.parametrize(
    ("policy", "is_held", "has_a_say"),
    [
        (Policy(), False, False),
        (Policy(max_retries=1), False, True),
        (Policy(fallback=None), False, True),
        (Policy(on_failure="skip"), False, True),
        (Policy(priority="high"), False, False),
        (Policy(executor="threads"), True, False),
        (Policy(timeout_s=1.0), True, False),
        (Policy(deadline_s=1.0), True, False),
        (Policy(rate_limit=RateLimit(1)), True, False),
        (Policy(max_concurrency=1), True, False),
        (Policy(circuit_breaker=td.CircuitBreaker()), True, False),
    ],
)
def test_what_is_done_in_line(policy: Policy, is_held: bool, has_a_say: bool):
    """Plain work of the runner's own thread, of which nothing is asked while it runs; failures may have a say."""
    w = wishes(line_of("a"), policy, at=places(INLINE))

    assert ("a" in w.held(), "a" in w.tries()) == (is_held, has_a_say)
    assert w.drives is not is_held


def test_async_and_observed_work_is_not_done_in_line():
    """The first must be awaited, of the second somebody must see each piece."""
    w = wishes(mixed(), at=places(INLINE))
    assert w.held() == {"async"}
    assert w.drives

    seen = wishes(mixed(), at=places(INLINE), are_seen=True)
    assert seen.held() == {"plain", "async", "rule"}
    assert not seen.drives


@pytest.mark.parametrize(
    ("priority", "has_ranks"), [("normal", False), (0, False), ("low", True), (1, True)]
)
def test_whether_some_work_goes_before_other_work(priority: Any, has_ranks: bool):
    """One component of another rank is enough."""
    assert wishes(line_of("a", "b"), {"b": Policy(priority=priority)}).has_ranks is has_ranks


def test_a_chain_is_as_long_as_it_may_be_bundled():
    """It ends where a step goes elsewhere, or is under a policy that looks at single attempts."""
    workflow = line_of("a", "b", "c", "d")
    first = first_of(workflow)

    def links(policies: Any) -> list[str]:
        return [link.node for link in wishes(workflow, policies).chain_after(first)]

    assert links(None) == ["b", "c", "d"]
    assert links({"b": Policy(max_retries=3)}) == ["b", "c", "d"]
    assert links({"d": Policy(timeout_s=1.0)}) == ["b", "c"]
    assert links({"c": Policy(executor="cluster")}) == ["b"]
    assert links({"a": Policy(max_concurrency=1)}) == []


def test_no_chain_follows_a_component_that_is_gone():
    """Work that was out when its component was removed has nothing behind it."""
    first = first_of(line_of("z", "b"))

    assert wishes(line_of("a", "b")).chain_after(first) == ()


def test_what_lacks_its_function_is_bundled_with_nothing():
    """Its work fails when it is prepared, alone."""
    log = line_of("a").plan_eagerly(1).add(td.step(same, name="b"), to="a").log()
    lacking = td.Workflow.from_log(line_of("a"), log)

    assert lacking.missing_functions() == ["b"]
    assert not wishes(lacking).may_bundle("b")


def keeping(workflow: td.Workflow, policies: Any = None) -> bool:
    """Whether the value of `a` may stay in the cluster."""
    rules = policies or Policy(executor="cluster")
    return wishes(workflow, rules, at=places(keepers=["cluster"])).keeps("a")


def test_values_stay_where_nobody_here_needs_them():
    """Only where plain steps on the same executor take them: no rule, no handler, no marker, no output."""
    assert keeping(line_of("a", "b"))
    assert not keeping(line_of("a"))
    assert not keeping(line_of("a", "b"), {"a": Policy(executor="cluster")})
    assert not keeping(line_of("a", "b"), {"b": Policy(executor="cluster")})
    assert not keeping(line_of("a").add(td.map(same, name="m"), to="a"))
    watched = td.rule(same, name="rule", condition=bool)
    assert not keeping(line_of("a", "b").add(watched, to="a"))
    assert not keeping(line_of("a", "b").add(td.step(same, name="h"), to=td.error_of("a")))
    assert not keeping(line_of("a", "b").add(td.step(same, name="h"), to=td.error_of("b")))
    curious = td.step(lambda value, last=td.latest("a"): last, name="curious")
    assert not keeping(line_of("a", "b").add(curious, to="b"))


def test_an_executor_without_a_limit_takes_very_many():
    """So that schedulers can calculate with it."""
    w = wishes(line_of("a", function=boom))

    assert (w.capacity("threads"), w.capacity(INLINE), w.capacity("unknown")) == (
        4,
        NO_LIMIT,
        NO_LIMIT,
    )


def test_places_take_one_more_executor():
    """What it can do is known from then on."""
    known = places()
    known.add("far", 3, keeps=True, is_remote=True)
    known.add("near", None, keeps=False, is_remote=False)

    assert (known.capacities["far"], known.capacities["near"]) == (3, None)
    assert (known.keepers, known.remote) == (frozenset({"far"}), frozenset({"far"}))
