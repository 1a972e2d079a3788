"""Tapes: a journal that only grows, and the evaluated memory of its newest version."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any, Final, TypeAlias

from msgspec import Struct, field

from treadle.engine.baseline import fold_past
from treadle.engine.edit import Edit
from treadle.engine.memory import Memory
from treadle.engine.replay import rebuild
from treadle.model.definition import Definition
from treadle.model.events import Baseline, Event
from treadle.model.runnables import Branch, Outcome, Runnable
from treadle.model.work import Mark, mark_of

Entry: TypeAlias = Event | Mark | Edit

NO_EVENTS: Final = frozenset({Mark, Edit})
"""Entries of a journal that are no events: one says what is out, the other holds an event and its functions."""


class Log(tuple[Any, ...]):  # noqa: SLOT001 - it carries its branch
    """A workflow's events in order. `branch` says which fork of which run they are of."""

    branch: Branch = ()


class Tape(Struct, eq=False):
    """A journal of what was done, for all handles on it; `slot` holds the memory of the newest version.

    To take the memory is `dict.pop`, which is atomic among threads: one taker works on it, whoever comes
    meanwhile rebuilds a memory of his own from the journal's prefix, which never changes.
    """

    definition: Definition
    branch: Branch
    run_key: str | None
    baseline: Baseline | None = None
    journal: list[Entry] = []
    exceptions: dict[int, BaseException] = {}
    """The live exceptions of failures, by position: kept beside the log, and no part of it."""
    slot: dict[int, Memory] = {}
    forks: Iterator[int] = field(default_factory=itertools.count)

    def fork(self, version: int) -> tuple[Tape, Memory]:
        """A tape of its own, and its memory, that go on from a version of this one."""
        journal = self.journal[:version]
        memory = rebuild(self.definition, self.baseline, journal)
        branch = (*self.branch, (memory.position, next(self.forks)))
        earlier = {at: error for at, error in self.exceptions.items() if at < memory.position}
        tape = Tape(self.definition, branch, self.run_key, self.baseline, journal, earlier)
        return tape, memory

    def until(self, position: int) -> tuple[Tape, int]:
        """A tape of its own that ends at a position, with nothing in flight."""
        journal: list[Entry] = []
        reached = self.first_position
        for entry in self.journal:
            if reached == position:
                break
            if not isinstance(entry, Mark):
                journal.append(entry)
                reached += 1
        branch = (*self.branch, (position, next(self.forks)))
        earlier = {at: error for at, error in self.exceptions.items() if at < position}
        tape = Tape(self.definition, branch, self.run_key, self.baseline, journal, earlier)
        return tape, len(journal)

    def folded(self, memory: Memory) -> Tape:
        """A tape that begins with a baseline of what is remembered, in place of a long past."""
        baseline = fold_past(memory, self.run_key)
        kept = {at: error for at, error in self.exceptions.items() if at >= memory.position}
        tape = Tape(memory.definition, self.branch, self.run_key, baseline, exceptions=kept)
        tape.forks = self.forks
        # A live exception's frames hold the handle that was driven, and so this tape: without this, each failure
        # would keep the one before it, for ever.
        self.exceptions.clear()
        if memory.out:
            tape.journal.append(mark_of(memory.out, out=True))
        return tape

    def events(self, version: int) -> list[Event]:
        """The events among the first entries, without what the tape began with."""
        return [
            entry.event if isinstance(entry, Edit) else entry
            for entry in self.journal[:version]
            if not isinstance(entry, Mark)
        ]

    def events_between(self, start: int, end: int) -> list[Event]:
        """The events among the entries from one version to another."""
        entries = self.journal[start:end]
        if entries and type(entries[-1]) is Mark:  # what an operation hands out comes last
            entries.pop()
        if NO_EVENTS.isdisjoint(map(type, entries)):
            return entries  # type: ignore[return-value]
        return [
            entry.event if isinstance(entry, Edit) else entry
            for entry in entries
            if not isinstance(entry, Mark)
        ]

    @property
    def head(self) -> Event:
        """The first event of the log: the definition, or the baseline that stands for it and more."""
        return self.baseline or self.definition.defined(self.run_key)

    @property
    def first_position(self) -> int:
        """The position after what the tape began with: before it nothing is remembered."""
        return 1 if self.baseline is None else self.baseline.position

    def is_ours(self, work: Runnable | Outcome) -> bool:
        """Whether work was prepared on this branch, or on one it came from before the two parted."""
        if work.run_key != self.run_key:
            return False
        theirs = work.branch
        if theirs == self.branch:
            return True
        if len(self.branch) == 1 and self.run_key is not None:
            # Folded from bare events, which say nothing of branches: the run's own key must do.
            return work.position <= self.branch[0][0]
        if not theirs or self.branch[: len(theirs)] != theirs:
            return False
        parted_at, _ = self.branch[len(theirs)]
        return work.position <= parted_at
