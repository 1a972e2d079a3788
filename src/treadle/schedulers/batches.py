"""Batches: independent work of the same executor shares slots, as the items of a fan-out should."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeAlias

from treadle.errors import UsageError
from treadle.interfaces import View, learns_nothing, takes_cohorts
from treadle.model.bundles import Bundle
from treadle.model.cohorts import LEAST, Cohort
from treadle.model.runnables import Outcome, Runnable
from treadle.schedulers.arguments import check_count
from treadle.schedulers.bundling import Placed, destination, in_order, share, single, slots_of

Members: TypeAlias = tuple[list[int], list[Runnable]]
"""What may share the slots of one executor, and where in the given order each stood."""

NOBODY: Final[Members] = ([], [])


class BatchScheduler:
    """Puts independent runnables of one executor into batches, so that each of its slots gets about `rounds` of them.

    More rounds mean smaller batches, which even out differences between items; fewer mean fewer dispatches. Where all
    can run at once, nothing is batched, for that would only make them wait for one another. Nor is what is async: a
    batch awaits its members one after the other, and an event loop can await all of them side by side.

    `min_size`: fewer runnables than this are dispatched singly. `max_size`: no batch is larger. Members of a batch
    fail each for itself; their outcomes come back together.

    Errors: `UsageError` for sizes or rounds that cannot be.
    """

    def __init__(self, min_size: int = 4, max_size: int = 1024, rounds: int = 2) -> None:
        check_count("min_size", min_size, 2, "one runnable makes no batch.")
        check_count("max_size", max_size, 2, "a batch of one is no batch: use DefaultScheduler().")
        check_count("rounds", rounds, 1, "each slot gets at least one batch.")
        if max_size < min_size:
            raise UsageError(
                f"max_size={max_size} is less than min_size={min_size}.",
                hint="min_size is how many must be ready before any are batched.",
            )
        self.min_size = min_size
        self.max_size = max_size
        self.rounds = rounds

    @takes_cohorts
    def plan(self, ready: Sequence[Runnable], view: View) -> list[Bundle]:
        """Batches and single runnables, in the order in which their first members were given."""
        if isinstance(ready, Cohort):
            executor = view.executor_of(ready[0])
            is_worth_it = self.size_for(len(ready), slots_of(view, executor)) >= LEAST
            if is_worth_it and view.may_bundle(ready[0]):
                placed = self._cut(range(len(ready)), ready, executor, view)
                return [bundle for _, bundle in placed]
            ready = tuple(ready)
        placed = []
        sharing: dict[str, Members] = {}
        members, node, number = NOBODY, "", -1
        for place, runnable in enumerate(ready):
            if runnable.node != node or runnable.scope[0] != number or runnable.problem is not None:
                node = ""
                if runnable.is_async:
                    why = f"{runnable.component!r} is async, and waits beside others"
                    placed.append((place, single(runnable, why)))
                    continue
                if not view.may_bundle(runnable):
                    why = f"the policy of {runnable.component!r} keeps it apart"
                    placed.append((place, single(runnable, why)))
                    continue
                members = sharing.setdefault(view.executor_of(runnable), ([], []))
                # The items of one fan-out stand together, and what holds for the first holds for those after it.
                node, number = runnable.node, runnable.scope[0]
            members[0].append(place)
            members[1].append(runnable)
        for executor, (places, runnables) in sharing.items():
            placed += self._cut(places, runnables, executor, view)
        return in_order(placed)

    def _cut(
        self, places: Sequence[int], runnables: Sequence[Runnable], executor: str, view: View
    ) -> list[Placed]:
        """What goes to one executor, in batches of one size."""
        total, size = len(runnables), self.size_for(len(runnables), slots_of(view, executor))
        if size == 1:
            few = f"only {total} are ready" if total < self.min_size else f"{total} are ready"
            why = f"{few}, and {destination(view, executor)}"
            alone = [single(runnable, why) for runnable in runnables]
            return list(zip(places, alone, strict=True))
        placed: list[Placed] = []
        for begin in range(0, total, size):
            part = runnables[begin : begin + size]
            part = part if isinstance(part, Cohort) else tuple(part)
            reason = f"{share(part, total)} in one batch: {destination(view, executor)}"
            placed.append((places[begin], Bundle(runnables=part, reason=reason)))
        return placed

    def size_for(self, count: int, slots: int) -> int:
        """How many of so many runnables go into one batch, on an executor of so many slots; 1: none are batched."""
        if count < self.min_size:
            return 1
        return min(self.max_size, -(-count // (slots * self.rounds)))

    @learns_nothing
    def observe(self, outcome: Outcome) -> None:
        """Learns nothing."""
