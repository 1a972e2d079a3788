"""Priority: whose policy ranks higher goes first when slots are scarce."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec import structs

from treadle.errors import UsageError
from treadle.interfaces import Scheduler, View
from treadle.model.bundles import Bundle
from treadle.model.runnables import Outcome, Runnable
from treadle.schedulers.default import DefaultScheduler


class PriorityScheduler:
    """Plans what ranks highest first; within one rank, `inner` decides (by default: one by one, in order).

    Each rank is planned by itself, so that no urgent work waits in a batch with work that is not.

    Errors: `UsageError` for an `inner` that is no scheduler.
    """

    def __init__(self, inner: Scheduler | None = None) -> None:
        self.inner: Scheduler = DefaultScheduler() if inner is None else checked(inner)

    def plan(self, ready: Sequence[Runnable], view: View) -> list[Bundle]:
        """The plans of `inner` for each rank, highest rank first."""
        ranks: dict[int, list[Runnable]] = {}
        for runnable in ready:
            ranks.setdefault(view.policy_of(runnable).rank, []).append(runnable)
        return [
            ranked(bundle, rank)
            for rank in sorted(ranks, reverse=True)
            for bundle in self.inner.plan(ranks[rank], view)
        ]

    def observe(self, outcome: Outcome) -> None:
        """Let `inner` learn."""
        self.inner.observe(outcome)


def ranked(bundle: Bundle, rank: int) -> Bundle:
    """The bundle, saying its rank where that is not the normal one."""
    if rank == 0:
        return bundle
    return structs.replace(bundle, reason=f"priority {rank}; {bundle.reason}".removesuffix("; "))


def checked(inner: Any) -> Scheduler:
    """A scheduler, and not the class of one."""
    if isinstance(inner, Scheduler) and not isinstance(inner, type):
        return inner
    if isinstance(inner, type):
        hint = f"make one: PriorityScheduler({inner.__name__}())."
    else:
        hint = "a scheduler has the methods plan(ready, view) and observe(outcome)."
    raise UsageError(f"inner={inner!r:.80} is not a scheduler.", hint=hint)
