"""The retry budget: how much is tried again over all runs, whatever single policies wish."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import treadle as td
from tests.runner.running import PATIENCE_S, Body, SetClock, fail, steps
from treadle.errors import RetryBudgetSpent, StepFailed, UsageError
from treadle.runner.budget import Purse, RetryBudget


def test_what_is_saved_is_spent_and_earned_again_by_first_attempts_and_by_time():
    """Up to the burst, and no more."""
    purse = Purse(RetryBudget(ratio=0.5, per_s=2, burst=2))
    assert [purse.spend(0.0) for _ in range(3)] == [True, True, False]
    purse.earn()
    assert not purse.spend(0.0)
    purse.earn()
    assert purse.spend(0.0)
    assert [purse.spend(0.5) for _ in range(2)] == [True, False]
    assert [purse.spend(100.0) for _ in range(3)] == [True, True, False]
    for _ in range(100):
        purse.earn()
    assert [purse.spend(100.0) for _ in range(3)] == [True, True, False]
    assert purse.refused == 5


@given(
    story=st.lists(st.one_of(st.just("first"), st.just("retry"), st.floats(0, 3)), max_size=200),
    ratio=st.floats(0, 1),
    per_s=st.floats(0, 5),
    burst=st.integers(1, 5),
)
def test_no_more_is_tried_again_than_was_earned(
    story: list[Any], ratio: float, per_s: float, burst: int
):
    """Retries are at most the burst, the ratio of first attempts, and so many a second."""
    purse, now, firsts, retries = Purse(RetryBudget(ratio, per_s, burst)), 0.0, 0, 0
    for each in story:
        if each == "first":
            purse.earn()
            firsts += 1
        elif each == "retry":
            retries += purse.spend(now)
        else:
            now += each
    assert retries <= burst + ratio * firsts + per_s * now + 1e-6


@pytest.mark.parametrize("executor", ["inline", "threads"])
def test_a_service_that_is_down_is_not_stormed(executor: str):
    """A hundred inputs of ten runs fail; all together they are tried again as often as the budget says."""
    body = Body(gives=fail)
    policies = {"body": td.Policy(max_retries=3)}
    budget = td.RetryBudget(ratio=0.1, per_s=0, burst=5)
    with td.Runner(executor=executor, policies=policies, retry_budget=budget) as runner:
        tickets = []
        for number in range(10):
            runner.start(steps(td.step(body, name="body")), f"run-{number}")
            tickets += [runner.run(f"run-{number}", x) for x in range(10)]
        errors = [ticket.exception(timeout=PATIENCE_S) for ticket in tickets]

    assert all(isinstance(error, StepFailed) for error in errors)
    assert 100 + 5 <= len(body.calls) <= 100 + 5 + 10
    last = errors[-1]
    assert last is not None
    assert isinstance(last.__cause__, RetryBudgetSpent)
    assert isinstance(last.__cause__.__cause__, ValueError)
    assert "'body' failed and was not tried again" in str(last)
    assert "ValueError: no 9" in str(last)


def test_a_fallback_is_no_retry():
    """It is what is left when nothing may be tried again."""
    policy = td.Policy(max_retries=3, fallback="instead")
    body = Body(gives=fail)
    clock = SetClock()
    budget = td.RetryBudget(ratio=0, per_s=1, burst=1)
    with td.Runner(policies=policy, retry_budget=budget, clock=clock) as runner:
        runner.start(steps(td.step(body, name="body")), "one")
        for attempts in (2, 3):
            assert runner.run("one", 3).result(timeout=PATIENCE_S) == {"body": "instead"}
            assert len(body.calls) == attempts
        clock.go_on(1.0)
        assert runner.run("one", 3).result(timeout=PATIENCE_S) == {"body": "instead"}
        assert len(body.calls) == 5


def test_without_a_budget_policies_alone_count():
    """As ever."""
    body = Body(gives=fail)
    with td.Runner(policies=td.Policy(max_retries=150)) as runner:
        runner.start(steps(td.step(body, name="body")), "one")
        error = runner.run("one", 3).exception(timeout=PATIENCE_S)

    assert isinstance(error, StepFailed)
    assert isinstance(error.__cause__, ValueError)
    assert len(body.calls) == 151


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"ratio": -1}, r"RetryBudget\.ratio=-1 is not"),
        ({"per_s": float("nan")}, r"RetryBudget\.per_s=nan is not"),
        ({"burst": 0}, r"RetryBudget\.burst=0 is not a number of at least 1"),
        ({"burst": True}, r"RetryBudget\.burst=True is not"),
    ],
)
def test_a_budget_that_cannot_be_is_refused(given: dict[str, Any], text: str):
    """Where it is made."""
    with pytest.raises(UsageError, match=text):
        RetryBudget(**given)


def test_a_runner_takes_a_budget_only():
    """A number says not what of."""
    wrong: Any = 0.2
    with pytest.raises(UsageError, match=r"retry_budget=0\.2 is no RetryBudget"):
        td.Runner(retry_budget=wrong)
