"""How a run's ready work becomes bundles: what a scheduler may ask, and whether what it says can be."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from heapq import heapify
from operator import is_
from typing import Any, Protocol

from msgspec import structs

from treadle.errors import UsageError
from treadle.model.bundles import Bundle, Link
from treadle.model.cohorts import Cohort
from treadle.model.runnables import Outcome, Runnable
from treadle.policies.policy import Policy
from treadle.runner.cohorts import are_its_values
from treadle.runner.out import delay
from treadle.runner.wishes import Wishes


class Asker(Protocol):
    """A machine, as far as a view needs it."""

    wishes: Wishes
    own_wishes: dict[int, Wishes]

    def wishes_of(self, runnable: Runnable) -> Wishes:
        """What is wished of a runnable."""
        ...


class RunView:
    """What a scheduler may ask of the run."""

    __slots__ = ("asker",)

    def __init__(self, asker: Asker) -> None:
        self.asker = asker

    def chain_after(self, runnable: Runnable) -> tuple[Link, ...]:
        """The steps that may be bundled behind it; none behind a later attempt, which may go another way."""
        if runnable.attempt > 1 or self.asker.own_wishes:
            return ()
        return self.asker.wishes.chain_after(runnable)

    def may_bundle(self, runnable: Runnable) -> bool:
        """Whether it may share a slot."""
        wishes = self.asker.wishes_of(runnable)
        return runnable.problem is None and wishes.may_bundle(runnable.node)

    def may_share(self, runnables: Sequence[Runnable]) -> bool:
        """Whether all of them may share one slot."""
        if isinstance(runnables, Cohort):
            return self.may_bundle(runnables[0])
        asker = self.asker
        if asker.own_wishes:
            return all(self.may_bundle(each) for each in runnables)
        if not all(each.problem is None for each in runnables):
            return False
        return all(asker.wishes.may_bundle(node) for node in {each.node for each in runnables})

    def policy_of(self, runnable: Runnable) -> Policy:
        """The policy of its component."""
        return self.asker.wishes_of(runnable).policy(runnable.node)

    def executor_of(self, runnable: Runnable) -> str:
        """Where it would go."""
        return self.asker.wishes_of(runnable).terms(runnable.node).executor

    def capacity_of(self, executor: str) -> int:
        """How many bundles it takes at once."""
        return self.asker.wishes.capacity(executor)


def misplaced(ready: Sequence[Runnable], bundles: Sequence[Bundle], view: RunView) -> str | None:
    """What is wrong with a scheduler's plan, if anything.

    Each runnable must be in exactly one bundle, bundles hold only what may share a slot, and a chain is what the
    graph says it is: nothing else would be executed as the workflow wants it.
    """
    for bundle in bundles:
        count = len(bundle.runnables)
        if count == 0 or (bundle.links and count > 1):
            return "made a bundle of no work, or a chain of several"
        if (
            bundle.links
            and bundle.links != view.chain_after(bundle.runnables[0])[: len(bundle.links)]
        ):
            return f"chained what does not follow {bundle.runnables[0].id}"
        if len(bundle) > 1 and not view.may_share(bundle.runnables):
            return f"bundled {bundle.runnables[0].id} and others, which may not share a slot"
    if holds_each_once(ready, bundles):
        return None
    return misdealt(ready, bundles)


def are_in_order(prepared: Sequence[Runnable], outcomes: Sequence[Outcome]) -> bool:
    """Whether each outcome of a bundle stands where its runnable does."""
    if are_its_values(prepared, outcomes):
        return True
    if len(prepared) != len(outcomes):
        return False
    for runnable, outcome in zip(prepared, outcomes, strict=True):
        if outcome.scope is not runnable.scope and outcome.scope != runnable.scope:
            return False
        if outcome.node != runnable.node or outcome.generation != runnable.generation:
            return False
    return True


def holds_each_once(ready: Sequence[Runnable], bundles: Sequence[Bundle]) -> bool:
    """Whether the bundles hold the very runnables that were given, each once: the quick look."""
    if isinstance(ready, Cohort) and are_slices(ready, bundles):
        return True
    placed = [each for bundle in bundles for each in bundle.runnables]
    if len(placed) != len(ready):
        return False
    return all(map(is_, placed, ready)) or set(map(id, placed)) == set(map(id, ready))


def are_slices(ready: Cohort, bundles: Sequence[Bundle]) -> bool:
    """Whether the bundles are slices of what was given, in its order and without gaps."""
    parts = [each.runnables for each in bundles if isinstance(each.runnables, Cohort)]
    units = [unit for part in parts for unit in part.units]
    return (
        len(parts) == len(bundles)
        and len(units) == len(ready)
        and all(map(is_, units, ready.units))
    )


def misdealt(ready: Sequence[Runnable], bundles: Sequence[Bundle]) -> str | None:
    """Which piece of work was dispatched twice, left out or made up, if any; a copy of it will do."""
    left = {(each.node, each.scope, each.generation): each for each in ready}
    for bundle in bundles:
        for each in bundle.runnables:
            if left.pop((each.node, each.scope, each.generation), None) is None:
                if any(each.id == known.id for known in ready):
                    return f"dispatched {each.id} twice"
                return f"dispatched {each.id}, which it was not given"
    return f"left out {min(each.id for each in left.values())}" if left else None


def explained(bundle: Bundle, wishes: Wishes, warnings: Sequence[str]) -> dict[str, Any]:
    """What would be dispatched as one, where, and why: JSON-ready."""
    first = bundle.runnables[0]
    executor = bundle.executor or wishes.terms(first.node).executor
    reason = "; ".join(warnings) or bundle.reason
    if not reason and first.node not in wishes.held():
        reason = "plain work of the runner's own thread: executed in line, without a dispatch"
    reason = reason or "ready, and dispatched alone"
    if wishes.terms(first.node).cache is not None:
        reason += "; the cache is asked first"
    return {
        "kind": bundle.kind,
        "work": [each.id for each in bundle.runnables],
        "then": [link.component for link in bundle.links],
        "executor": executor,
        "priority": wishes.policy(first.node).rank,
        "reason": reason,
    }


def explained_delay(runnable: Runnable, at: float) -> dict[str, Any]:
    """Work that failed, and waits for its next attempt: JSON-ready."""
    return {
        "kind": "single",
        "work": [runnable.id],
        "then": [],
        "executor": None,
        "priority": 0,
        "reason": f"waits until {at:.3f} for attempt {runnable.attempt}",
    }


def explained_all(
    bundles: Sequence[Bundle],
    delayed: Sequence[tuple[float, int, Runnable]],
    wishes_of: Callable[[Runnable], Wishes],
    warnings: Sequence[str],
) -> list[dict[str, Any]]:
    """What would be dispatched, in order, and what waits for its moment: JSON-ready."""
    return [
        *[explained(each, wishes_of(each.runnables[0]), warnings) for each in bundles],
        *[explained_delay(runnable, at) for at, _, runnable in sorted(delayed, key=delay)],
    ]


def sifted(
    planned: Sequence[tuple[int, int, Bundle]], is_left: Callable[[Runnable], bool]
) -> list[tuple[int, int, Bundle]]:
    """Bundles that wait for a slot, as a heap, with only those runnables of which this holds."""
    sifting = [
        (rank, ordinal, bundle, tuple(filter(is_left, bundle.runnables)))
        for rank, ordinal, bundle in planned
    ]
    left = [
        (rank, ordinal, structs.replace(bundle, runnables=runnables))
        for rank, ordinal, bundle, runnables in sifting
        if runnables
    ]
    heapify(left)
    return left


def transformed(
    ready: list[Runnable], hook: Callable[[list[Runnable]], Sequence[Runnable]]
) -> tuple[list[Runnable], list[Runnable]]:
    """What a hook makes of ready work, and what it leaves out. Errors: `UsageError` for what it cannot give."""
    chosen = list(hook(list(ready)))
    names = {each.id for each in chosen}
    known = {each.id for each in ready}
    if len(names) != len(chosen) or not names <= known:
        raise UsageError("transform_runnables gave work twice, or work it was not given.")
    return chosen, [each for each in ready if each.id not in names]
