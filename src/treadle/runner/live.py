"""A bundle between its `Execute` and its answer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from msgspec import Struct

from treadle.errors import PlugError
from treadle.model.bundles import Bundle
from treadle.model.runnables import FAILED, Outcome
from treadle.runner import stimuli as say
from treadle.runner.record import Run


class Live(Struct, eq=False):
    """A bundle between `Execute` and its answer."""

    run: Run
    order: say.Execute
    bundle: Bundle
    executor: str
    is_started: bool = False
    why: str = ""
    """Why it was withdrawn, if it was."""


def verdict_of(live: Live, outcomes: Sequence[Outcome]) -> bool | None:
    """Whether a bundle failed, for the circuit breakers; None where it says nothing of the service."""
    limit = live.order.terms.timeout_s
    if live.why == "timeout":
        return True
    for outcome in outcomes:
        if limit is not None and outcome.seconds is not None and outcome.seconds > limit:
            return True
        if outcome.status == FAILED:
            name = "" if outcome.error is None else outcome.error.type
            return None if name == "treadle.errors.Cancelled" else True
    return False


def no_executor(name: str, known: Iterable[str]) -> PlugError:
    """A bundle is to go where there is nothing."""
    has = ", ".join(map(repr, known))
    return PlugError(f"there is no executor {name!r}.", hint=f"this runner has {has}.")


def explained_wait(live: Live, why: str) -> dict[str, Any]:
    """What was planned and waits for its turn, where, and why: JSON-ready."""
    return {
        "kind": live.bundle.kind,
        "work": [each.id for each in live.bundle.runnables],
        "then": [link.component for link in live.bundle.links],
        "executor": live.executor,
        "priority": live.order.terms.rank,
        "reason": f"waits: {why}",
    }
