"""Policies: their fields, what is refused, partial dicts and presets."""

import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from treadle.errors import UsageError
from treadle.policies.policy import (
    NO_FALLBACK,
    PRIORITIES,
    Cache,
    CircuitBreaker,
    Limit,
    Policy,
    RateLimit,
    RetryWith,
    policy_from,
)


class Truthy:
    """Callable, and no exception type."""

    def __call__(self, error: BaseException) -> bool:
        """Yes."""
        return True


def refused(make: Any, message: str) -> None:
    """Making it raises, and says what was wrong."""
    with pytest.raises(UsageError, match=message):
        make()


def test_without_wishes_a_component_is_tried_once():
    """The defaults are what a workflow does without any policy."""
    policy = Policy()

    assert (policy.max_retries, policy.fallback, policy.on_failure) == (0, NO_FALLBACK, None)
    assert (policy.is_plain, policy.is_final, policy.rank) == (True, True, 0)


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"max_retries": -1}, "max_retries=-1 is not a whole number of at least 0"),
    ({"max_retries": 1.0}, "max_retries=1.0 is not a whole number"),
    ({"max_retries": True}, "max_retries=True is not a whole number"),
    ({"max_retries": "3"}, "max_retries='3' is not a whole number"),
    ({"backoff": "fibonacci"}, "backoff='fibonacci' is not one of 'none', 'linear', 'exponential'"),
    ({"backoff": None}, "backoff=None is not one of"),
    ({"base_delay_s": -0.1}, "base_delay_s=-0.1 is not a number of seconds of at least 0"),
    ({"base_delay_s": "1"}, "base_delay_s='1' is not a number of seconds"),
    ({"base_delay_s": float("nan")}, "base_delay_s=nan is not a number of seconds"),
    ({"max_delay_s": -1}, "max_delay_s=-1 is not a number of seconds"),
    ({"max_delay_s": True}, "max_delay_s=True is not a number of seconds"),
    ({"timeout_s": 0}, "timeout_s=0 is not a number of seconds above 0"),
    ({"timeout_s": -2.5}, "timeout_s=-2.5 is not a number of seconds above 0"),
    ({"timeout_s": float("nan")}, "timeout_s=nan is not a number of seconds above 0"),
    ({"deadline_s": 0.0}, "deadline_s=0.0 is not a number of seconds above 0"),
    ({"deadline_s": "60"}, "deadline_s='60' is not a number of seconds above 0"),
    ({"on_failure": "explode"}, "on_failure='explode' is not one of 'block', 'skip', 'halt'"),
    ({"priority": "urgent"}, "priority='urgent' is not one of 'low', 'normal', 'high', 'critical'"),
    ({"priority": 1.5}, "priority=1.5 is not one of"),
    ({"priority": True}, "priority=True is not one of"),
    ({"executor": 5}, 'executor=5 is not a str.*Hint: executor="threads"'),
    ({"rate_limit": 10}, r"rate_limit=10 is not a RateLimit.*rate_limit=RateLimit\(10"),
    (
        {"circuit_breaker": True},
        r"circuit_breaker=True is not a CircuitBreaker.*CircuitBreaker\(\)",
    ),
    ({"max_concurrency": 0}, "max_concurrency=0 is not a whole number of at least 1"),
    ({"max_concurrency": True}, "max_concurrency=True is not a whole number"),
    ({"max_concurrency": RateLimit(1)}, "max_concurrency=RateLimit.* is not a whole number"),
    ({"retry_on": "OSError"}, "retry_on='OSError' is neither exception types nor a predicate"),
    ({"retry_on": int}, "retry_on=<class 'int'> is neither exception types nor a predicate"),
    ({"retry_on": (OSError, int)}, "retry_on=.*int.* is neither exception types nor a predicate"),
    ({"retry_on": [OSError]}, "retry_on=.* is neither exception types nor a predicate"),
    ({"retry_on": Truthy}, "retry_on=.*Truthy.* is neither exception types nor a predicate"),
]


@pytest.mark.parametrize(("fields", "message"), WRONG, ids=lambda each: repr(each)[:40])
def test_a_field_that_cannot_be_is_refused(fields: dict[str, Any], message: str):
    """At once, naming the field, what it was given and what it takes; in a dict of fields too."""
    refused(lambda: Policy(**fields), f"(?s){message}")
    refused(lambda: policy_from(fields), f"(?s){message}")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RateLimit(0), "RateLimit.count=0 is not a whole number of at least 1"),
        (lambda: RateLimit(2.5), "RateLimit.count=2.5 is not a whole number"),  # type: ignore[arg-type]
        (lambda: RateLimit(1, 0), "RateLimit.per_s=0 is not a number of seconds above 0"),
        (lambda: RateLimit(1, -1.0), "RateLimit.per_s=-1.0 is not a number of seconds"),
        (lambda: Limit(0), "Limit.count=0 is not a whole number of at least 1"),
        (lambda: Limit(True), "Limit.count=True is not a whole number"),
        (lambda: CircuitBreaker(0), "CircuitBreaker.failures=0 is not a whole number"),
        (lambda: CircuitBreaker(reset_s=0.0), "CircuitBreaker.reset_s=0.0 is not a number"),
        (lambda: CircuitBreaker(when_open="skip"), "when_open='skip' is not one of 'fail', 'wait'"),
    ],
)
def test_a_limit_that_cannot_be_is_refused(make: Any, message: str):
    """Limits, rates and breakers check themselves."""
    refused(make, message)


@pytest.mark.parametrize(
    "fields",
    [
        {"max_retries": 0, "base_delay_s": 0, "max_delay_s": 0},
        {"timeout_s": 1, "deadline_s": 0.001},
        {"priority": -5, "max_concurrency": 1, "executor": "threads"},
        {"max_concurrency": Limit(2, key="db"), "rate_limit": RateLimit(1, key="db")},
        {"retry_on": OSError},
        {"retry_on": (OSError, KeyError)},
        {"retry_on": ()},
        {"retry_on": lambda error: True},
        {"retry_on": Truthy()},
        {"fallback": None},
        {"circuit_breaker": CircuitBreaker(1, 0.5, "wait", "key")},
    ],
    ids=lambda each: repr(each)[:40],
)
def test_what_can_be_is_kept_as_it_was_given(fields: dict[str, Any]):
    """Any of these is a policy, from keywords and from a dict alike."""
    policy = Policy(**fields)

    assert {name: getattr(policy, name) for name in fields} == fields
    assert policy_from(fields) == policy


def test_a_priority_is_a_rank():
    """The names stand for numbers, of which more goes first; a number stands for itself."""
    assert [Policy(priority=name).rank for name in PRIORITIES] == [-10, 0, 10, 20]
    assert [Policy(priority=number).rank for number in (7, 0, -3)] == [7, 0, -3]


@pytest.mark.parametrize(
    ("fields", "is_plain", "is_final"),
    [
        ({"timeout_s": 1}, False, True),
        ({"deadline_s": 1}, False, True),
        ({"rate_limit": RateLimit(1)}, False, True),
        ({"max_concurrency": 1}, False, True),
        ({"circuit_breaker": CircuitBreaker()}, False, True),
        ({"max_retries": 1}, True, False),
        ({"fallback": None}, True, False),
        ({"on_failure": "skip"}, True, False),
        ({"backoff": "linear"}, True, True),
    ],
    ids=lambda each: repr(each)[:40],
)
def test_a_policy_knows_what_it_needs(fields: dict[str, Any], is_plain: bool, is_final: bool):
    """`is_plain`: an attempt needs no time and no permission; `is_final`: the first failure is the last word."""
    policy = Policy(**fields)

    assert (policy.is_plain, policy.is_final) == (is_plain, is_final)


def test_a_dict_gives_some_fields_and_the_defaults_give_the_rest():
    """A policy is made of what is said of it."""
    assert policy_from({"max_retries": 3}) == Policy(max_retries=3)
    assert policy_from({}) == Policy()
    policy = Policy(timeout_s=1)
    assert policy_from(policy) is policy


def test_an_unknown_field_is_named_with_the_nearest_known_one():
    """A typing mistake in a dict is found when the policy is made."""
    refused(
        lambda: policy_from({"max_retrys": 3}),
        "a policy has no field 'max_retrys'. Did you mean 'max_retries'",
    )
    refused(lambda: policy_from({3: 3}), "a policy has no field 3")
    refused(
        lambda: policy_from("threads"), "a policy is a Policy or a dict of its fields.*'threads'"
    )
    refused(lambda: policy_from(None), "a policy is a Policy or a dict of its fields.*None")


@pytest.mark.parametrize(
    ("preset", "fields"),
    [
        (
            Policy.io,
            {
                "max_retries": 2,
                "backoff": "jitter",
                "max_delay_s": 10.0,
                "timeout_s": 30.0,
                "retry_on": (OSError, TimeoutError),
            },
        ),
        (
            Policy.llm,
            {
                "max_retries": 3,
                "backoff": "exponential",
                "base_delay_s": 1.0,
                "max_delay_s": 30.0,
                "timeout_s": 120.0,
            },
        ),
        (Policy.fail_fast, {"max_retries": 0, "timeout_s": 5.0, "on_failure": "halt"}),
    ],
)
def test_presets_are_policies_with_some_fields_set(preset: Any, fields: dict[str, Any]):
    """A preset is its fields, any of which may be given anew."""
    assert preset() == Policy(**fields)
    assert preset(timeout_s=99, executor="threads") == Policy(
        **{**fields, "timeout_s": 99, "executor": "threads"}
    )
    refused(lambda: preset(timeout_s=0), "timeout_s=0")
    with pytest.raises(TypeError, match="max_retrys"):
        preset(max_retrys=1)


def test_retry_with_says_which_values_it_brings():
    """It shows, compares and travels by its values."""
    wish = RetryWith(model="small", k=2)

    assert repr(wish) == "RetryWith(model='small', k=2)"
    assert wish == RetryWith(k=2, model="small")
    assert wish != RetryWith(model="large", k=2)
    assert wish != {"model": "small", "k": 2}
    assert pickle.loads(pickle.dumps(wish)) == wish


@given(st.sampled_from(sorted(Policy.__struct_fields__)), st.none() | st.integers() | st.text())
def test_nothing_but_a_usage_error_comes_of_a_wrong_value(field: str, value: Any):
    """Whatever a field is given, a policy is made or the field is named."""
    try:
        given = structs.asdict(Policy(**{field: value}))[field]
    except UsageError as error:
        given = str(error)

    assert given == value or str(given).startswith(f"{field}=")


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"cache": True}, "is not a Cache"),
        ({"cache": Cache(), "effects": "at_most_once"}, "cannot be left out"),
    ],
)
def test_a_cache_is_one(fields, said):
    """And not of what has effects that are to be made."""
    with pytest.raises(UsageError, match=said):
        Policy(**fields)


@pytest.mark.parametrize("fields", [{"extras": "v3"}, {"ttl_s": 0}, {"ttl_s": "1h"}])
def test_a_cache_has_extras_and_a_time(fields):
    """Text would be a tuple of letters."""
    with pytest.raises(UsageError, match="Cache"):
        Cache(**fields)


def test_what_is_cached_is_not_plain():
    """Somebody is to be asked before it is executed, so it is not done in line."""
    assert not Policy(cache=Cache()).is_plain
