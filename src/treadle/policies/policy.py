"""What may be wished of a component, attached from outside: the fields, their defaults, and the presets."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final, Self, TypeAlias

from msgspec import UNSET, Struct

from treadle.errors import UsageError, nearest

NO_FALLBACK: Final = UNSET
"""Nothing to fall back on; None is a value."""

BACKOFFS: Final = ("none", "linear", "exponential", "jitter")
ON_FAILURE: Final = ("block", "skip", "halt")
PRIORITIES: Final = {"low": -10, "normal": 0, "high": 10, "critical": 20}

FOREVER_S: Final = 1e12
"""More seconds than anybody can mean."""

RetryOn: TypeAlias = (
    "type[BaseException] | tuple[type[BaseException], ...] | Callable[[BaseException], bool] | None"
)


class RetryWith:
    """As a fallback: one more attempt, with other values for injected parameters.

    >>> RetryWith(model="small")
    RetryWith(model='small')
    """

    __slots__ = ("values",)

    def __init__(self, **values: Any) -> None:
        self.values = values

    def __repr__(self) -> str:
        return f"RetryWith({', '.join(f'{name}={value!r}' for name, value in self.values.items())})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RetryWith) and other.values == self.values

    __hash__ = None  # type: ignore[assignment]  # its values may be anything


class RateLimit(Struct, frozen=True):
    """At most `count` begin within any `per_s` seconds. Those of one `key` count together, over all runs.

    Without a `key`, a component of a workflow counts alone. Runners that share a PostgreSQL database count together.
    """

    count: int
    per_s: float = 1.0
    key: str | None = None

    def __post_init__(self) -> None:
        _at_least("RateLimit.count", self.count, 1)
        _above_zero("RateLimit.per_s", self.per_s)


class Limit(Struct, frozen=True):
    """At most `count` at once, over all runs; those of one `key` count together.

    Runners that share a PostgreSQL database count together, too.
    """

    count: int
    key: str | None = None

    def __post_init__(self) -> None:
        _at_least("Limit.count", self.count, 1)


class CircuitBreaker(Struct, frozen=True):
    """After `failures` failures in a row nothing is tried for `reset_s` seconds; then one attempt decides.

    `when_open`: `"fail"` fails the work at once with `CircuitOpen` (it may be retried, or fall back); `"wait"` holds
    it back. It is shared over all runs, by all of one `key`, and over all runners of a PostgreSQL database.
    """

    failures: int = 5
    reset_s: float = 30.0
    when_open: str = "fail"
    key: str | None = None

    def __post_init__(self) -> None:
        _at_least("CircuitBreaker.failures", self.failures, 1)
        _above_zero("CircuitBreaker.reset_s", self.reset_s)
        _one_of("CircuitBreaker.when_open", self.when_open, ("fail", "wait"))


class Cache(Struct, frozen=True):
    """What a component gave is kept in the store, and given again for the same code, inputs, context and `extras`.

    `extras`: whatever else its result depends on, such as the version of a model. After `ttl_s` seconds it is
    computed anew. What cannot be stored, and what failed, is not kept.
    """

    extras: tuple[Any, ...] = ()
    ttl_s: float | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.extras, tuple):
            raise UsageError(
                f"Cache.extras={self.extras!r:.80} is no tuple.", hint='extras=("model-v3",)'
            )
        if self.ttl_s is not None:
            _above_zero("Cache.ttl_s", self.ttl_s)


AT_MOST_ONCE: Final = "at_most_once"
EFFECTS: Final = ("at_least_once", AT_MOST_ONCE)


class Policy(Struct, frozen=True, kw_only=True):
    """How hard to try a component, for how long, where, and what to do in the end.

    Attach policies from outside, by matchers (see `policies/matching.py`); a component knows nothing of them.

    >>> Policy(max_retries=3, backoff="exponential", base_delay_s=1.0).max_retries
    3
    """

    max_retries: int = 0
    """How many attempts may follow the first."""
    backoff: str = "none"
    """How the delay grows from attempt to attempt: none, linear, exponential, jitter."""
    base_delay_s: float = 0.5
    max_delay_s: float = 30.0
    """No delay is longer."""
    retry_on: Any = None
    """Which errors are worth another attempt: exception types, or a predicate. None: all but misuse."""
    timeout_s: float | None = None
    """How long one attempt may take."""
    deadline_s: float | None = None
    """How long all attempts and delays may take together, from when the work was first dispatched."""
    on_failure: str | None = None
    """What a final failure does to the rest: block, skip or halt. None: what the component says."""
    fallback: Any = NO_FALLBACK
    """Instead of failing: a value; a function of the `Failure` that gives one (or a `RetryWith`); a `RetryWith`;
    another component, called with the same inputs. It counts as one more attempt."""
    executor: str | None = None
    """Where it runs: the name of one of the runner's executors. None: the runner's default."""
    priority: str | int = "normal"
    """Who goes first when slots are scarce: low, normal, high, critical, or a number (normal is 0)."""
    rate_limit: RateLimit | None = None
    max_concurrency: int | Limit | None = None
    """How many of it may run at once, over all runs; see `Limit`."""
    circuit_breaker: CircuitBreaker | None = None
    effects: str = "at_least_once"
    """`"at_most_once"`: no attempt begins twice. That it begins is stored first; one that was interrupted (by the end
    of the process) is not made again by itself: `reconcile` says what became of it, or the run is parked."""
    reconcile: Callable[..., Any] | None = None
    """Called with the `Failure` and the idempotency key of an interrupted attempt: gives what it would have given, if
    it took effect, or a `RetryWith()`, if it did not and is to be made again."""
    cache: Cache | None = None
    """What it gave before for the same inputs is given again, over all runs of a store, without calling it."""

    def __post_init__(self) -> None:
        _at_least("max_retries", self.max_retries, 0)
        _one_of("backoff", self.backoff, BACKOFFS)
        _not_negative("base_delay_s", self.base_delay_s)
        _not_negative("max_delay_s", self.max_delay_s)
        for name in ("timeout_s", "deadline_s"):
            if getattr(self, name) is not None:
                _above_zero(name, getattr(self, name))
        if self.on_failure is not None:
            _one_of("on_failure", self.on_failure, ON_FAILURE)
        if not _is_integer(self.priority):
            _one_of("priority", self.priority, tuple(PRIORITIES))
        if self.max_concurrency is not None and not isinstance(self.max_concurrency, Limit):
            _at_least("max_concurrency", self.max_concurrency, 1)
        _check_kind("rate_limit", self.rate_limit, RateLimit, "RateLimit(10, per_s=1.0)")
        _check_kind("circuit_breaker", self.circuit_breaker, CircuitBreaker, "CircuitBreaker()")
        _one_of("effects", self.effects, EFFECTS)
        if self.reconcile is not None and not callable(self.reconcile):
            raise UsageError(f"reconcile={self.reconcile!r:.80} is no function.")
        if self.reconcile is not None and self.effects != AT_MOST_ONCE:
            raise UsageError(
                "reconcile= is for attempts that must not be made twice.",
                hint='say effects="at_most_once", too.',
            )
        _check_kind("cache", self.cache, Cache, "Cache(ttl_s=3600)")
        if self.cache is not None and self.effects == AT_MOST_ONCE:
            raise UsageError("what has effects, made at most once, cannot be left out: no cache=.")
        _check_kind("executor", self.executor, str, '"threads"')
        _check_retry_on(self.retry_on)

    @property
    def rank(self) -> int:
        """The priority as a number; more goes first."""
        return PRIORITIES[self.priority] if isinstance(self.priority, str) else self.priority

    @property
    def is_plain(self) -> bool:
        """Whether an attempt needs neither time nor permission, wherever it runs.

        Retries, fallbacks and `on_failure` matter only after a failure.
        """
        return (
            self.timeout_s is None
            and self.deadline_s is None
            and self.rate_limit is None
            and self.max_concurrency is None
            and self.circuit_breaker is None
            and self.effects != AT_MOST_ONCE
            and self.cache is None
        )

    @property
    def is_final(self) -> bool:
        """Whether the first failure is the last word, as without any policy."""
        return self.max_retries == 0 and self.fallback is NO_FALLBACK and self.on_failure is None

    @classmethod
    def io(cls, **changes: Any) -> Self:
        """For network calls: two quick retries with jitter, 30 s an attempt, connection trouble only."""
        fields: dict[str, Any] = {
            "max_retries": 2,
            "backoff": "jitter",
            "base_delay_s": 0.5,
            "max_delay_s": 10.0,
            "timeout_s": 30.0,
            "retry_on": (OSError, TimeoutError),
        }
        return cls(**{**fields, **changes})

    @classmethod
    def llm(cls, **changes: Any) -> Self:
        """For model calls: three retries with growing delays up to 30 s, two minutes an attempt."""
        fields: dict[str, Any] = {
            "max_retries": 3,
            "backoff": "exponential",
            "base_delay_s": 1.0,
            "max_delay_s": 30.0,
            "timeout_s": 120.0,
        }
        return cls(**{**fields, **changes})

    @classmethod
    def fail_fast(cls, **changes: Any) -> Self:
        """One attempt of at most 5 s; a failure halts the input."""
        fields: dict[str, Any] = {"max_retries": 0, "timeout_s": 5.0, "on_failure": "halt"}
        return cls(**{**fields, **changes})


def policy_from(fields: Any) -> Policy:
    """A policy, or one made of a dict of fields over the defaults.

    Errors: `UsageError` naming an unknown field.
    """
    if isinstance(fields, Policy):
        return fields
    if not isinstance(fields, dict):
        raise UsageError(
            f"a policy is a Policy or a dict of its fields, and this is {fields!r:.80}.",
            hint="td.Policy(max_retries=3)",
        )
    known = Policy.__struct_fields__
    for name in fields:
        if name not in known:
            raise UsageError(f"a policy has no field {name!r}.{nearest(name, known)}")
    return Policy(**fields)


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return is_number and not math.isnan(value)


def _at_least(name: str, value: Any, least: int) -> None:
    if not _is_integer(value) or value < least:
        raise UsageError(f"{name}={value!r:.80} is not a whole number of at least {least}.")


def _above_zero(name: str, value: Any) -> None:
    if not _is_number(value) or value <= 0:
        raise UsageError(f"{name}={value!r:.80} is not a number of seconds above 0.")


def _not_negative(name: str, value: Any) -> None:
    if not _is_number(value) or value < 0:
        raise UsageError(f"{name}={value!r:.80} is not a number of seconds of at least 0.")


def _one_of(name: str, value: Any, choices: tuple[str, ...]) -> None:
    if value not in choices:
        known = ", ".join(map(repr, choices))
        raise UsageError(f"{name}={value!r:.80} is not one of {known}.")


def _check_kind(name: str, value: Any, kind: type, example: str) -> None:
    if value is not None and not isinstance(value, kind):
        raise UsageError(
            f"{name}={value!r:.80} is not a {kind.__name__}.", hint=f"{name}={example}"
        )


def _check_retry_on(value: Any) -> None:
    kinds = value if isinstance(value, tuple) else (value,)
    if all(isinstance(kind, type) and issubclass(kind, BaseException) for kind in kinds):
        return
    if value is None or (callable(value) and not isinstance(value, type)):
        return
    raise UsageError(
        f"retry_on={value!r:.80} is neither exception types nor a predicate.",
        hint="retry_on=(ConnectionError, TimeoutError), or retry_on=lambda error: ...",
    )
