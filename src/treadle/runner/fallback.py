"""What to execute when a policy falls back: a runnable of its own, or an outcome that is there already."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from msgspec import structs

from treadle.engine.execute import failed_outcome, outcome_of
from treadle.errors import AmbiguousAttempt, BadValue
from treadle.model import nodes as kinds
from treadle.model.errordata import ErrorData, describe
from treadle.model.facts import Failure
from treadle.model.portable import Portable
from treadle.model.runnables import OK, Outcome, Runnable
from treadle.policies.policy import NO_FALLBACK, Policy, RetryWith


class Fitted(Portable):
    """A function whose result is made to fit its node: elements for a fan-out, a truth for a check."""

    def __init__(self, function: Callable[..., Any], kind: str) -> None:
        self.function = function
        self.kind = kind

    def __call__(self, *args: Any) -> Any:
        """Call it, and fit what it gives."""
        return fit(self.function(*args), self.kind)


class FittedAsync(Fitted):
    """The same for an async function."""

    async def __call__(self, *args: Any) -> Any:
        """Await it, and fit what it gives."""
        return fit(await self.function(*args), self.kind)


class Instead(Portable):
    """A fallback function in the place of a node's own: called with the failure, its result made to fit.

    The work's own values stay with the runnable, for it may come back to them: see `wants_retry`.
    """

    def __init__(self, function: Callable[..., Any], failure: Failure, kind: str) -> None:
        self.function = function
        self.failure = failure
        self.kind = kind

    def __call__(self, *_: Any, **__: Any) -> Any:
        """Call it with the failure."""
        return fit(self.function(self.failure), self.kind)


class InsteadAsync(Instead):
    """The same for an async function."""

    async def __call__(self, *_: Any, **__: Any) -> Any:
        """Await it with the failure."""
        return fit(await self.function(self.failure), self.kind)


class Reconcile(Instead):
    """What became of an interrupted attempt, in the place of the attempt."""

    def __init__(self, function: Callable[..., Any], failure: Failure, kind: str, key: str) -> None:
        super().__init__(function, failure, kind)
        self.key = key

    def __call__(self, *_: Any, **__: Any) -> Any:
        """Ask the function."""
        return fit(self.function(self.failure, self.key), self.kind)


class ReconcileAsync(Reconcile):
    """The same for an async function."""

    async def __call__(self, *_: Any, **__: Any) -> Any:
        """Await the function."""
        return fit(await self.function(self.failure, self.key), self.kind)


def reconciling(runnable: Runnable, function: Callable[..., Any], kind: str) -> Runnable:
    """What is executed in the place of an attempt that was interrupted."""
    is_async = is_async_callable(function)
    failure = structs.replace(
        failure_of(runnable), error=describe(interrupted(runnable)), attempt=runnable.attempt
    )
    make = ReconcileAsync if is_async else Reconcile
    call = make(function, failure, kind, runnable.idempotency_key)
    return structs.replace(runnable, call=call, is_async=is_async, problem=None, is_fallback=True)


def decided(runnable: Runnable, value: Any, kind: str) -> Runnable | Outcome:
    """What somebody said became of an interrupted attempt."""
    if isinstance(value, RetryWith):
        return retry_with(runnable, value)
    try:
        return outcome_of(runnable, fit(value, kind))
    except BadValue as error:
        return failed_outcome(runnable, error)


def interrupted(runnable: Runnable) -> AmbiguousAttempt:
    """Nobody knows how far an attempt came."""
    return AmbiguousAttempt(
        f"attempt {runnable.attempt} of {runnable.id} was interrupted, and may have taken effect "
        f"(its key is {runnable.idempotency_key}).",
        hint="find out, then resume the run with settled={...}: what it gave, or td.RetryWith() to make it again. "
        "On the command line: treadle resume ID FILE --settled COMPONENT=JSON, or =retry.",
    )


def fit(value: Any, kind: str) -> Any:
    """A fallback's value in the form in which the node's own function would have given it."""
    if isinstance(value, RetryWith):
        return value
    if kind == kinds.ITEMS:
        if isinstance(value, (str, bytes)) or not hasattr(value, "__iter__"):
            raise BadValue(f"the fallback of a map gave {value!r:.80}, which has no elements.")
        return tuple(value)
    return bool(value) if kind == kinds.CHECK else value


def fall_back(runnable: Runnable, policy: Policy, kind: str) -> Runnable | Outcome:
    """What is to be executed instead, or what is given without executing anything."""
    fallback = policy.fallback
    if fallback is NO_FALLBACK:  # the policy changed since the last attempt
        return runnable
    if isinstance(fallback, RetryWith):
        return retry_with(runnable, fallback)
    if getattr(type(fallback), "is_treadle_component", False):
        return _calling(runnable, fallback, kind)
    if callable(fallback):
        is_async = is_async_callable(fallback)
        call = (InsteadAsync if is_async else Instead)(fallback, failure_of(runnable), kind)
        return structs.replace(runnable, call=call, is_async=is_async, problem=None)
    try:
        return outcome_of(runnable, fit(fallback, kind))
    except BadValue as error:
        return failed_outcome(runnable, error)


def _calling(runnable: Runnable, component: Any, kind: str) -> Runnable:
    is_async = is_async_callable(component)
    call: Any = component
    if kind in (kinds.ITEMS, kinds.CHECK):
        call = (FittedAsync if is_async else Fitted)(component, kind)
    return structs.replace(runnable, call=call, injected=None, is_async=is_async, problem=None)


def is_async_callable(function: Any) -> bool:
    """Whether calling gives something to await; of a component, whether its function does."""
    if getattr(type(function), "is_treadle_component", False):
        return any(inspect.iscoroutinefunction(each) for each in function.functions())
    call = getattr(function, "__call__", function)  # noqa: B004 - its own __call__ may be async
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(call)


def retry_with(runnable: Runnable, wish: RetryWith) -> Runnable | Outcome:
    """The same work with other values for some injected parameters."""
    injected = dict(runnable.injected or {})
    unknown = [name for name in wish.values if name not in injected]
    if unknown:
        known = ", ".join(map(repr, injected)) or "none"
        error = BadValue(
            f"{runnable.component!r} has no injected parameter {unknown[0]!r} for RetryWith; it has {known}."
        )
        return failed_outcome(runnable, error)
    return structs.replace(runnable, injected={**injected, **wish.values}, problem=None)


def wants_retry(runnable: Runnable, outcome: Outcome) -> RetryWith | None:
    """The wish, if a fallback function gave one in place of a value."""
    value = outcome.value
    is_wish = outcome.status == OK and isinstance(value, RetryWith)
    return value if is_wish and isinstance(runnable.call, Instead) else None


def failure_of(runnable: Runnable) -> Failure:
    """What a fallback function is called with."""
    component, _, part = runnable.node.partition("/")
    return Failure(
        component,
        part or None,
        runnable.scope,
        runnable.args,
        runnable.last_error or ErrorData("", ""),
        runnable.attempt - 1,
        runnable.generation,
    )
