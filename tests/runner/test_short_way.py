"""The short way of a success through the machine: it says, stores and remembers what the long way does."""

from random import Random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

import treadle as td
from tests.oracle.graph import build
from tests.oracle.strategies import cases
from tests.runner.machines import Desk, desk, line_of, same, side_by_side
from treadle.policies.matching import policies_from

SEEDS = st.integers(0, 2**32 - 1)


def told_of(case: Any, seed: int, policies: Any, *, is_instant: bool, may_step: bool) -> Any:
    """All that a machine says to a case whose work comes back in a drawn order, and what is left of it then.

    A store that takes its time answers in a drawn order, too.
    """
    graph, inputs, _ = case
    choose = Random(seed)
    d = desk(build(graph, td), policies, is_instant=is_instant)
    assert d.machine.may_step
    d.machine.may_step = may_step
    told = []
    left = list(inputs)
    while left or d.out or d.machine.storing_to:
        is_storing, may_finish = d.machine.storing_to is not None, bool(d.out)
        if is_storing and (not (left or may_finish) or choose.random() < 0.5):
            told.append(d.stored(d.length))
        elif left and (not may_finish or choose.random() < 0.3):
            told.append(d.submit(left.pop(0)))
        else:
            numbers = choose.sample(sorted(d.out), min(len(d.out), choose.choice([1, 1, 1, 2])))
            told.append(d.finish(*numbers))
        if choose.random() < 0.2:
            d.woke(d.now + 1)
    rest = (d.machine.where, d.machine.out, d.machine.open, d.machine.status, d.machine.position)
    return told, d.machine.story(), d.events, d.machine.waiting_for_store, d.marks, rest


POLICIES: list[Any] = [
    None,
    {"*": td.Policy(max_retries=1)},
    {"*": td.Policy(effects="at_most_once")},
]


@settings(max_examples=200)
@given(
    case=cases(max_nodes=8), seed=SEEDS, rules=st.sampled_from(POLICIES), is_instant=st.booleans()
)
def test_short_way_is_the_long_way(case: Any, seed: int, rules: Any, is_instant: bool):
    """Whatever the graph, and in whatever order work and store answer: instructions, story and log are the same."""
    policies = policies_from(rules)

    short = told_of(case, seed, policies, is_instant=is_instant, may_step=True)

    assert short == told_of(case, seed, policies, is_instant=is_instant, may_step=False)


def test_a_run_rests_after_a_step_that_leads_to_a_wait():
    """Nothing is out then, and nothing more can be done before somebody signals; with work beside it, there is."""
    d = desk(line_of("a").add(td.wait_for("go"), to="a").add(td.step(same, name="b")))
    d.submit(1)

    d.finish(1)
    assert not d.machine.is_resting

    d.finish(2)
    assert d.machine.is_resting


def test_runs_that_somebody_watches_go_the_long_way():
    """A scheduler, an observer, a hook, slots of the run's own, and work in line all have a say."""
    workflow = line_of("a", "b")
    watched: list[dict[str, Any]] = [
        {"is_observed": True},
        {"transform": list},
        {"max_concurrency": 1},
        {"default": "inline"},
    ]

    assert Desk(workflow).machine.may_step
    assert [Desk(workflow, **each).machine.may_step for each in watched] == [False] * len(watched)


def test_what_stands_in_for_an_interrupted_attempt_begins_at_once() -> None:
    """Also where a success led to it while other work is out."""
    made = side_by_side("a", "other").add(td.step(same, name="pay"), to="a")
    policies = {"pay": td.Policy(effects="at_most_once", reconcile=same)}
    first = desk(made, policies)
    first.submit(1)
    first.finish(1)
    assert len(first.marks) == 1

    second = desk(made, policies, interrupted=frozenset(first.marks))
    second.submit(1)
    assert second.finish(1)[-1] == "execute 3: pay@0 (fallback) on threads"
