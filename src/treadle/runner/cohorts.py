"""The book of the cohorts of one run that were prepared and not answered: one entry for many pieces of work."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from treadle.interfaces import Scheduler
from treadle.model.cohorts import Cohort, CohortOutcomes
from treadle.model.runnables import Outcome, Runnable
from treadle.runner.out import Config, WorkKey


class Held(Struct):
    """A cohort, and the number of its bundle."""

    cohort: Cohort
    number: int


class CohortBook:
    """Which cohorts are out, or wait for their slot.

    It stands beside the book of single pieces (`Dispatch.where`). The engine hands nothing out that it has handed out
    already, so nobody looks for a single piece here. Where that may change (inputs are cancelled, work is put back or
    withdrawn), all members are written there first, one by one (`spread`). A machine that takes over what was out
    before a restart begins with single pieces.
    """

    __slots__ = ("_held", "size")

    def __init__(self) -> None:
        self.size = 0
        """How many pieces of work its cohorts have."""
        self._held: dict[int, Held] = {}

    def add(self, cohort: Cohort, number: int) -> None:
        """Note a cohort under the number of its bundle."""
        self._held[id(cohort)] = Held(cohort, number)
        self.size += len(cohort)

    def move(self, cohort: Cohort, number: int) -> bool:
        """Note another number; whether the cohort was known."""
        held = self._held.get(id(cohort))
        if held is None:
            return False
        held.number = number
        return True

    def drop(self, cohort: Cohort) -> bool:
        """Forget a cohort; whether it was known."""
        if self._held.pop(id(cohort), None) is None:
            return False
        self.size -= len(cohort)
        return True

    def spread(self, where: dict[WorkKey, int]) -> None:
        """Write all members into the book of single pieces."""
        for held in self._held.values():
            where.update(dict.fromkeys(keys_of(held.cohort), held.number))
        self._held.clear()
        self.size = 0


def keys_of(cohort: Cohort) -> list[WorkKey]:
    """The members, as single pieces of work."""
    node, generation = cohort.like.node, cohort.like.generation
    return [(node, path, generation) for path in cohort.paths]


def are_its_values(prepared: Sequence[Runnable], outcomes: Sequence[Outcome]) -> bool:
    """Whether these are the outcomes of this very cohort, and all are values."""
    return (
        isinstance(outcomes, CohortOutcomes)
        and outcomes.runnables is prepared
        and outcomes.are_all_values
    )


def is_marked(scheduler: Scheduler | None, method: str, mark: str) -> bool:
    """Whether a method of a scheduler says this of itself (see `interfaces.takes_cohorts`)."""
    return bool(getattr(getattr(scheduler, method, None), mark, False))


def ways_of(config: Config) -> tuple[bool, bool]:
    """Whether a run's scheduler is given cohorts as they are, and whether it learns from outcomes."""
    scheduler = config.scheduler
    takes = config.transform is None and is_marked(scheduler, "plan", "takes_cohorts")
    return takes, scheduler is not None and not is_marked(scheduler, "observe", "learns_nothing")
