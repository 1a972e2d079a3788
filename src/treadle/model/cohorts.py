"""Runnables of one fan-out that were prepared at one go, and their outcomes: sequences that build their members lazily.

The items of a large fan-out are prepared, executed and applied together, and nobody on that way asks for one of them.
So nothing is made for each item but its unit of work and its event. Whoever does ask (a hook, an observer, an executor
of another kind) sees a sequence of runnables, or of outcomes, like any other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, SupportsIndex, overload

from treadle.model.events import Path
from treadle.model.runnables import OK, Outcome, Runnable
from treadle.model.work import Unit

LEAST: Final = 16
"""Fewer runnables than this are not worth a cohort."""


class Cohort(Sequence[Runnable]):
    """First attempts of one node in one input, prepared at one moment: they differ in their scope and values alone.

    Nothing has to be looked up before their function can be called: no marker, no state, no problem. It never changes.
    It keeps units of work, of which it reads what never changes; only the engine that made them may do more with them.
    It equals the plain sequence of its members, and pickles as that.
    """

    __slots__ = ("_members", "like", "units")

    def __init__(self, like: Runnable, units: list[Unit]) -> None:
        self.like = like
        """One of them (or of others that were prepared with them): all fields are as here, but for scope and values."""
        self.units = units
        self._members: tuple[Runnable, ...] | None = None
        """Made when somebody goes through all of them, and then kept: each is one object."""

    def __len__(self) -> int:
        return len(self.units)

    @overload
    def __getitem__(self, index: SupportsIndex) -> Runnable: ...
    @overload
    def __getitem__(self, index: slice) -> Cohort: ...
    def __getitem__(self, index: SupportsIndex | slice) -> Runnable | Cohort:
        if isinstance(index, slice):
            return Cohort(self.like, self.units[index])
        if self._members is not None:
            return self._members[index]
        return self._runnable(self.units[index])

    def __iter__(self) -> Iterator[Runnable]:
        if self._members is None:
            self._members = tuple([self._runnable(unit) for unit in self.units])
        return iter(self._members)

    def _runnable(self, unit: Unit) -> Runnable:
        like = self.like
        return Runnable(
            component=like.component,
            node=like.node,
            scope=unit.scope.path,
            call=like.call,
            args=unit.args,
            generation=like.generation,
            run_key=like.run_key,
            branch=like.branch,
            position=like.position,
        )

    @property
    def paths(self) -> list[Path]:
        """The scopes of its members."""
        return [unit.scope.path for unit in self.units]

    def __eq__(self, other: object) -> bool:
        return tuple(self) == tuple(other) if isinstance(other, (Cohort, tuple)) else NotImplemented

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __repr__(self) -> str:
        return repr(tuple(self))

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return tuple, (list(self),)


class CohortOutcomes(Sequence[Outcome]):
    """What became of the members of a cohort, in their order, as far as it got: one thread adds, others may look.

    Of a plain value only that and its time are kept. It pickles as a plain list.
    """

    __slots__ = ("others", "runnables", "seconds", "values")

    def __init__(self, runnables: Cohort) -> None:
        self.runnables = runnables
        self.values: list[Any] = []
        self.seconds: list[float | None] = []
        """Added to after `values`: it says how many there are."""
        self.others: dict[int, Outcome] = {}
        """By place: failures, and whatever else is more than a value."""

    @property
    def are_all_values(self) -> bool:
        """Whether each member gave a value."""
        return not self.others and len(self.seconds) == len(self.runnables)

    def append(self, outcome: Outcome) -> None:
        """Add the next outcome."""
        if outcome.status != OK or outcome.exception is not None:
            self.others[len(self.seconds)] = outcome
        self.values.append(outcome.value)
        self.seconds.append(outcome.seconds)

    def __len__(self) -> int:
        return len(self.seconds)

    @overload
    def __getitem__(self, index: SupportsIndex) -> Outcome: ...
    @overload
    def __getitem__(self, index: slice) -> list[Outcome]: ...
    def __getitem__(self, index: SupportsIndex | slice) -> Outcome | list[Outcome]:
        place = range(len(self.seconds))[index]
        return self._outcome(place) if isinstance(place, int) else [*map(self._outcome, place)]

    def __iter__(self) -> Iterator[Outcome]:
        return map(self._outcome, range(len(self.seconds)))

    def _outcome(self, place: int) -> Outcome:
        other = self.others.get(place)
        if other is not None:
            return other
        like = self.runnables.like
        return Outcome(
            component=like.component,
            node=like.node,
            scope=self.runnables.units[place].scope.path,
            value=self.values[place],
            generation=like.generation,
            run_key=like.run_key,
            branch=like.branch,
            position=like.position,
            seconds=self.seconds[place],
        )

    def __repr__(self) -> str:
        return repr(list(self))

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return list, (list(self),)
