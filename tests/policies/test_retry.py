"""Retry arithmetic: when the next attempt comes, which errors are worth one, and what follows in the end."""

import pickle
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.errors import (
    BadValue,
    Cancelled,
    MissingExtra,
    NotPortable,
    StepFailed,
    TimedOut,
    UsageError,
    WorkerDied,
)
from treadle.model.errordata import ErrorData, describe
from treadle.model.runnables import FAILED, Outcome
from treadle.policies.policy import BACKOFFS, Policy, RetryWith
from treadle.policies.retry import (
    FALLBACK,
    GIVE_UP,
    RETRY,
    Verdict,
    decide,
    delay_s,
    is_worth_retrying,
)

SECONDS = st.floats(0, 1e6, allow_nan=False)


class OddError(Exception):
    """An error of the user's own."""


class Outer:
    """Holds an error."""

    class InnerError(OSError):
        """An error whose type stands in another class."""


def failed(error: BaseException, *, attempt: int = 1, is_lost: bool = False) -> Outcome:
    """An attempt that failed. `is_lost`: its exception did not survive the way back."""
    return Outcome(
        component="charge",
        node="charge",
        scope=(0,),
        status=FAILED,
        error=describe(error),
        exception=None if is_lost else error,
        attempt=attempt,
    )


def named(type_name: str) -> Outcome:
    """An attempt that failed elsewhere, with a type of this name."""
    error = ErrorData(type=type_name, text="it failed")
    return Outcome(component="charge", node="charge", scope=(0,), status=FAILED, error=error)


def delays(policy: Policy, count: int, key: str = "key") -> list[float]:
    """The delays before the first few retries."""
    return [delay_s(policy, retries, key) for retries in range(count)]


# -------------------------------------------------------------------------------------- arithmetic


def test_no_backoff_waits_for_nothing():
    """The next attempt follows at once, whatever the base delay is."""
    assert delays(Policy(backoff="none", base_delay_s=9), 3) == [0.0, 0.0, 0.0]


def test_a_linear_backoff_grows_by_its_base():
    """One base more for each retry, up to the largest delay."""
    policy = Policy(backoff="linear", base_delay_s=1.5, max_delay_s=5)

    assert delays(policy, 5) == [1.5, 3.0, 4.5, 5.0, 5.0]


def test_an_exponential_backoff_doubles():
    """Twice as long each time, up to the largest delay."""
    policy = Policy(backoff="exponential", base_delay_s=0.5, max_delay_s=3)

    assert delays(policy, 5) == [0.5, 1.0, 2.0, 3.0, 3.0]


@given(st.sampled_from(BACKOFFS), SECONDS, SECONDS, st.integers(0, 10**9), st.text())
def test_no_delay_is_negative_or_longer_than_the_largest(
    backoff: str, base: float, most: float, retries: int, key: str
):
    """Also after very many retries, where a naive power overflows, and for any key."""
    policy = Policy(backoff=backoff, base_delay_s=base, max_delay_s=most)

    assert 0.0 <= delay_s(policy, retries, key) <= most


@given(st.integers(0, 60), st.text())
def test_a_jittered_delay_is_a_part_of_the_exponential_one(retries: int, key: str):
    """More than nothing, and never longer than without jitter."""
    jitter = Policy(backoff="jitter", base_delay_s=0.5, max_delay_s=20)
    exponential = Policy(backoff="exponential", base_delay_s=0.5, max_delay_s=20)

    assert 0.0 < delay_s(jitter, retries, key) <= delay_s(exponential, retries, key)


def test_a_jittered_delay_is_the_same_on_every_replay():
    """It follows from the key and the retry alone, in this process and in any other."""
    policy = Policy(backoff="jitter", base_delay_s=1, max_delay_s=1)

    assert delays(policy, 5, "a") == delays(policy, 5, "a")
    assert len({*delays(policy, 20, "a")}) == 20
    assert delay_s(policy, 0, "a") == pytest.approx(0.0864, abs=1e-4)


def test_jittered_delays_are_spread_over_keys():
    """What fails at the same moment does not come back together: a thousand keys fill the whole range evenly."""
    policy = Policy(backoff="jitter", base_delay_s=1, max_delay_s=1)
    drawn = [delay_s(policy, 0, f"key {number}") for number in range(1_000)]

    assert len({*drawn}) == 1_000
    for tenth in range(10):
        inside = sum(tenth / 10 < each <= (tenth + 1) / 10 for each in drawn)
        assert 60 <= inside <= 140
    assert sum(drawn) / 1_000 == pytest.approx(0.5, abs=0.05)


def test_a_key_with_half_a_character_draws_like_any_other():
    """Keys are text from anywhere, lone surrogates included."""
    assert 0 < delay_s(Policy(backoff="jitter"), 0, "\ud800") <= 0.5


# ----------------------------------------------------------------------------------- classification

CLASSED: list[tuple[Any, BaseException, bool]] = [
    (None, OddError(), True),
    (None, OSError(), True),
    (None, TimedOut("late"), True),
    (None, WorkerDied("gone"), True),
    (None, UsageError("misuse"), False),
    (None, NotPortable("cannot travel"), False),
    (None, BadValue("odd"), False),
    (None, MissingExtra("not installed"), False),
    (OSError, ConnectionError(), True),
    (OSError, ValueError(), False),
    ((OSError, ValueError), ValueError(), True),
    ((OSError, ValueError), KeyError(), False),
    ((), OSError(), False),
    (BadValue, BadValue("odd"), True),
    (Exception, UsageError("misuse"), True),
    (OddError, OddError(), True),
    (Outer.InnerError, Outer.InnerError(), True),
    (OSError, Outer.InnerError(), True),
]


@pytest.mark.parametrize("is_lost", [False, True])
@pytest.mark.parametrize(("wanted", "error", "expected"), CLASSED, ids=lambda each: repr(each)[:40])
def test_which_errors_are_worth_another_attempt(
    wanted: Any, error: BaseException, expected: bool, is_lost: bool
):
    """By type; an exception that was lost on its way is judged alike, by its type's name."""
    assert is_worth_retrying(Policy(retry_on=wanted), failed(error, is_lost=is_lost)) is expected


def test_a_predicate_is_asked_with_the_exception():
    """It sees the very object; what it gives counts as a truth."""
    asked: list[BaseException] = []

    def is_busy(error: BaseException) -> Any:
        asked.append(error)
        return "busy" in str(error) and [1]

    policy, error = Policy(retry_on=is_busy), OddError("busy")

    assert is_worth_retrying(policy, failed(error)) is True
    assert is_worth_retrying(policy, failed(OddError("broken"))) is False
    assert asked[0] is error


def test_a_predicate_that_raises_wants_no_retry():
    """A mistake in it must not repeat work for ever, nor hide the failure it was asked about."""

    def raising(error: BaseException) -> bool:
        raise ZeroDivisionError

    assert is_worth_retrying(Policy(retry_on=raising), failed(OddError())) is False


def test_a_predicate_says_nothing_of_a_lost_exception():
    """There is no object to ask it about, so nothing is tried again."""
    policy = Policy(retry_on=lambda _: True)

    assert is_worth_retrying(policy, failed(OddError(), is_lost=True)) is False


@pytest.mark.parametrize(
    "name",
    [
        "",
        "Unheard",
        "no_such_module.OddError",
        f"{__name__}.Gone",
        f"{__name__}.Outer",
        f"{__name__}.Outer.Gone.Further",
        f"{__name__}.test.<locals>.OddError",
        "builtins",
        "sys.path",
        "...",
    ],
)
def test_a_lost_exception_of_an_unknown_type_is_retried_only_where_all_are(name: str):
    """A name that leads to no exception type here is no type that anybody asked for."""
    assert is_worth_retrying(Policy(), named(name)) is True
    assert is_worth_retrying(Policy(retry_on=BaseException), named(name)) is False


def test_a_lost_exception_is_looked_up_without_importing():
    """A name from a log or a worker must not make this process load a module."""
    module = "this"  # it prints a poem when it is imported
    assert module not in sys.modules

    assert is_worth_retrying(Policy(retry_on=OSError), named(f"{module}.Error")) is False
    assert module not in sys.modules


def test_an_outcome_without_error_data_is_as_unknown():
    """An executor may say no more than that it failed."""
    bare = Outcome(component="charge", node="charge", scope=(0,), status=FAILED)

    assert is_worth_retrying(Policy(), bare) is True
    assert is_worth_retrying(Policy(retry_on=OSError), bare) is False


def test_what_survives_pickling_is_judged_as_it_was():
    """An outcome that came back from another process keeps its exception where that can travel."""
    travelled = pickle.loads(pickle.dumps(failed(ConnectionError("reset"))))

    assert is_worth_retrying(Policy(retry_on=OSError), travelled) is True


# ----------------------------------------------------------------------------------------- verdicts


def verdict(
    policy: Policy, attempt: int = 1, error: BaseException | None = None, **more: Any
) -> Verdict:
    """What follows a failed attempt, long before any deadline."""
    given = {"key": "key", "now": 100.0, "deadline_at": None, "was_fallback": False, **more}
    return decide(policy, failed(error or OddError(), attempt=attempt), **given)


def test_without_a_policy_the_first_failure_is_the_last():
    """Nothing is tried again, and nothing else instead."""
    assert verdict(Policy()) == Verdict(GIVE_UP, 0.0, "attempt 1 of 1")


def test_max_retries_many_attempts_may_follow_the_first():
    """With two retries there are three attempts, with growing delays between them."""
    policy = Policy(max_retries=2, backoff="exponential", base_delay_s=1)
    told = [verdict(policy, attempt) for attempt in (1, 2, 3, 4)]

    assert [(each.then, each.delay_s) for each in told] == [
        (RETRY, 1.0),
        (RETRY, 2.0),
        (GIVE_UP, 0.0),
        (GIVE_UP, 0.0),
    ]
    assert [each.reason for each in told[:3]] == [f"attempt {n} of 3" for n in (1, 2, 3)]


def test_a_fallback_follows_the_last_attempt():
    """None is a value to fall back on; after the fallback itself there is nothing more."""
    for fallback in (None, 0, RetryWith(model="small"), lambda failure: 1):
        policy = Policy(max_retries=1, fallback=fallback)
        assert verdict(policy, 1).then == RETRY
        assert verdict(policy, 2).then == FALLBACK
        over = verdict(policy, 3, was_fallback=True)
        assert (over.then, over.reason) == (GIVE_UP, "the fallback failed too")


def test_an_error_that_is_not_retried_goes_straight_to_the_end():
    """The attempts that are left are not used up."""
    told = verdict(Policy(max_retries=5, retry_on=OSError))
    assert (told.then, told.reason) == (GIVE_UP, "this kind of error is not retried")

    assert verdict(Policy(max_retries=5, retry_on=OSError, fallback=0)).then == FALLBACK
    assert verdict(Policy(max_retries=5), error=BadValue("odd")).then == GIVE_UP


def test_a_fallback_that_fails_is_not_retried():
    """It is one more attempt, and the last one, however many retries are left."""
    assert verdict(Policy(max_retries=5, fallback=0), 1, was_fallback=True).then == GIVE_UP


def test_no_attempt_begins_after_the_deadline():
    """A delay that would end at the deadline or later is not begun; one that ends before is."""
    policy = Policy(max_retries=5, backoff="linear", base_delay_s=2)

    assert verdict(policy, deadline_at=102.5) == Verdict(RETRY, 2.0, "attempt 1 of 6")
    for deadline_at in (102.0, 101.0, 100.0, 50.0):
        told = verdict(policy, deadline_at=deadline_at)
        assert (told.then, told.reason) == (GIVE_UP, "no time is left for another attempt")
    assert verdict(Policy(max_retries=5), deadline_at=100.5).then == RETRY
    assert verdict(Policy(max_retries=5, fallback=0), deadline_at=99.0).then == FALLBACK


def test_jitter_follows_the_key():
    """Two pieces of work that fail together are tried again apart."""
    policy = Policy(max_retries=1, backoff="jitter", base_delay_s=8)
    told = {verdict(policy, key=key).delay_s for key in ("a", "b", "c")}

    assert len(told) == 3
    assert all(0 < each <= 8 for each in told)


@given(
    st.integers(0, 5),
    st.integers(1, 8),
    st.sampled_from(BACKOFFS),
    st.none() | st.floats(90, 200),
    st.booleans(),
    st.booleans(),
)
def test_a_verdict_is_one_of_three_and_keeps_its_bounds(  # noqa: PLR0917 - drawn by Hypothesis
    retries: int,
    attempt: int,
    backoff: str,
    deadline_at: float | None,
    has_fallback: bool,
    was_fallback: bool,
):
    """Never more attempts than allowed, never past the deadline, a fallback at most once."""
    more: dict[str, Any] = {"fallback": 0} if has_fallback else {}
    policy = Policy(max_retries=retries, backoff=backoff, base_delay_s=3, **more)
    told = verdict(policy, attempt, deadline_at=deadline_at, was_fallback=was_fallback)

    if told.then == RETRY:
        assert attempt <= retries
        assert not was_fallback
        assert deadline_at is None or 100 + told.delay_s < deadline_at
    else:
        assert told.then == (FALLBACK if has_fallback and not was_fallback else GIVE_UP)
        assert told.delay_s == 0.0
    assert told.reason


def test_our_own_errors_are_judged_by_what_they_mean():
    """A lost worker or a timeout may go better next time; what was cancelled is the caller's to decide about."""
    policy = Policy(max_retries=1)

    assert verdict(policy, error=WorkerDied("gone")).then == RETRY
    assert verdict(policy, error=Cancelled("withdrawn")).then == RETRY
    inner = StepFailed("failed", component="inner", input=0, attempt=1)
    assert verdict(policy, error=inner).then == RETRY
