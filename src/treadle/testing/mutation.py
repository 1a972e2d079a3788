"""Find the step that changes a value it was given.

Values pass between steps by reference and must not be changed: another step, on another branch, may hold the
same object. This executor compares what each value looked like before and after every call.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any

from treadle.errors import WorkError
from treadle.model.runnables import Outcome, Runnable


class MutatedValue(WorkError):
    """A step changed a value that it was given; `component` and `port` say which."""

    def __init__(self, message: str, *, component: str, port: int | str) -> None:
        super().__init__(message, hint="work on a copy, or return a new value.")
        self.component = component
        self.port = port


class MutationChecking(Executor):
    """An executor that runs everything at once in the caller, and raises where a value was changed."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run a runnable between two looks at its values."""
        future: Future[Outcome] = Future()
        runnable = next((arg for arg in args if isinstance(arg, Runnable)), None)
        before = looks(runnable)
        outcome = fn(*args, **kwargs)
        if runnable is not None:
            compare(runnable, before, looks(runnable))
        future.set_result(outcome)
        return future


def check_mutation() -> Executor:
    """An executor for tests: runs inline and raises `MutatedValue`, naming the culprit.

    >>> import treadle as td
    >>> careless = td.step(lambda items: items.append(1) or items, name="careless")
    >>> workflow = td.workflow("w").add(careless)
    >>> workflow.react_until_satisfied([], executor=check_mutation())
    Traceback (most recent call last):
    treadle.testing.mutation.MutatedValue: 'careless' changed the value of its port 0: [1]. ...
    """
    return MutationChecking()


def looks(runnable: Runnable | None) -> dict[int | str, bytes]:
    """What each value given to a runnable looks like, by port and parameter."""
    if runnable is None:
        return {}
    given: dict[int | str, Any] = dict(enumerate(runnable.args))
    given.update(runnable.injected or {})
    return {port: look(value) for port, value in given.items()}


def look(value: Any) -> bytes:
    """A value as bytes; what cannot be pickled is compared by its repr."""
    try:
        return pickle.dumps(value)
    except Exception:  # noqa: BLE001 - a user's object may refuse in any way
        return repr(value).encode("utf-8", "replace")


def compare(
    runnable: Runnable, before: dict[int | str, bytes], after: dict[int | str, bytes]
) -> None:
    """Raise for the first value that looks different now."""
    for port, was in before.items():
        if after[port] != was:
            value = (
                runnable.args[port] if isinstance(port, int) else (runnable.injected or {})[port]
            )
            raise MutatedValue(
                f"{runnable.component!r} changed the value of its port {port}: {value!r:.200}.",
                component=runnable.component,
                port=port,
            )
