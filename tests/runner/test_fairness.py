"""Runs of the same rank take turns: a large one does not hold up a small one."""

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import treadle as td
from tests.runner.running import PATIENCE_S, Body, steps
from treadle.policies.policy import RateLimit
from treadle.runner.admission import Admission, Claim

MANY = 5_000


def crowded(*wanted: Any, rank: int = 0) -> Admission:
    """An executor for one at a time, at work, and a large run that has offered all it has."""
    admission = Admission({"x": 1})
    assert admission.try_start(Claim(0, "large", "x", rank, *wanted), 0.0)
    for number in range(1, MANY + 1):
        admission.offer(Claim(number, "large", "x", rank, *wanted))
    return admission


def next_after(admission: Admission, number: int) -> int:
    """Who starts when this one has ended."""
    admission.finish(number, 0.0, failed=False)
    (started,), refused = admission.admit(0.0)
    assert refused == []
    return started


@pytest.mark.parametrize("wanted", [(), ((("db", 1),),), ((), (("api", RateLimit(10_000)),))])
def test_one_claim_behind_thousands_of_another_run_starts_within_two_turns(wanted: Any):
    """Whether they wait for a place, before a limit, or before a rate."""
    admission = crowded(*wanted)
    admission.offer(Claim(9_999, "small", "x", 0, *wanted))

    first = next_after(admission, 0)
    assert 9_999 in (first, next_after(admission, first))


def test_within_a_run_the_order_is_that_of_offering():
    """Turns are between runs: one alone never notices."""
    admission = crowded()
    order = [0]
    for _ in range(50):
        order.append(next_after(admission, order[-1]))

    assert order == list(range(51))


def test_a_higher_rank_needs_no_turn():
    """What is more urgent goes first, however many turns its run has had."""
    admission = crowded(rank=10)
    admission.offer(Claim(9_999, "small", "x", 0))

    assert [next_after(admission, number) for number in range(3)] == [1, 2, 3]


def test_under_the_limit_over_all_executors_take_turns():
    """A large run on one executor does not hold up a small one on another."""
    admission = Admission({"x": None, "y": None}, max_concurrency=1)
    assert admission.try_start(Claim(0, "large", "x"), 0.0)
    for number in range(1, 100):
        admission.offer(Claim(number, "large", "x"))
    admission.offer(Claim(9_999, "small", "y"))

    first = next_after(admission, 0)
    assert 9_999 in (first, next_after(admission, first))


@given(
    capacity=st.integers(1, 3),
    coming=st.lists(
        st.lists(st.tuples(st.sampled_from("abcd"), st.integers(1, 6)), max_size=3), max_size=12
    ),
)
def test_nobody_waits_for_more_than_a_round(capacity: int, coming: list[list[tuple[str, int]]]):
    """Between two starts of a run that waits, each other run starts at most twice; nothing is lost or doubled."""
    admission = Admission({"x": capacity})
    offered = 0
    run_of: dict[int, str] = {}
    since: dict[str, Counter[str]] = {}
    waiting: Counter[str] = Counter()
    live: list[int] = []
    done: list[int] = []
    while coming or live or admission.waiting():
        for run_id, count in coming.pop() if coming else ():
            for _ in range(count):
                offered += 1
                run_of[offered] = run_id
                waiting[run_id] += 1
                admission.offer(Claim(offered, run_id, "x"))
            since.setdefault(run_id, Counter())
        started, _ = admission.admit(0.0)
        for number in started:
            run_id = run_of[number]
            waiting[run_id] -= 1
            live.append(number)
            since.pop(run_id)
            if waiting[run_id]:
                since[run_id] = Counter()
            for others in since.values():
                others[run_id] += 1
                assert others[run_id] <= 2
        if live:
            done.append(live.pop(0))
            admission.finish(done[-1], 0.0, failed=False)

    assert sorted(done) == list(range(1, offered + 1))


@pytest.mark.slow
def test_under_a_runner_a_small_run_goes_between_the_items_of_a_large_one():
    """One thread, thousands of items before it: it is the next or the one after."""
    body = Body(is_open=False)
    large = td.workflow("large").add(td.map(body, name="each"))
    with td.Runner(executor="threads:1") as runner:
        runner.start(large, "large")
        runner.start(steps(td.step(body, name="only"), name="small"), "small")
        runner.run("large", range(MANY))
        body.wait_for_calls(1)
        ticket = runner.run("small", "small")
        body.let_go()

        assert ticket.result(timeout=PATIENCE_S) == {"only": "small"}
        assert body.calls.index("small") <= 2
        runner.cancel("large")
