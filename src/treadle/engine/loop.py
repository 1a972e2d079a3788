"""Drive a memory that one operation owns until nothing is ready: the inner loop of the inline react calls.

It does what plan, prepare, execute and apply do, in that order, with the same functions; for a plain step it
leaves out the runnable and the outcome, which nobody would see. Measured: that halves the cost of a step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Any, Final, TypeAlias

from msgspec import Struct

from treadle.engine.answers import open_wait, signal_for
from treadle.engine.answers import outcome_of as outcome_of_wait
from treadle.engine.apply import conclude, orphan, pending_unit, try_again
from treadle.engine.edit import Edit
from treadle.engine.execute import (
    CAUGHT,
    ODD_TYPES,
    execute_runnable,
    failed_outcome,
    odd_value,
    outcome_of,
)
from treadle.engine.fold import fire, planned, settle_value, take_out
from treadle.engine.memory import Memory, hand_out, put_back, take_ready, unit_at
from treadle.engine.plan import plan_fact
from treadle.engine.prepare import make_runnable
from treadle.engine.waits import leave_wait, next_timer, opened, signalled, timer_set
from treadle.errors import TreadleBug
from treadle.model import nodes as kinds
from treadle.model.cohorts import LEAST, Cohort, CohortOutcomes
from treadle.model.errordata import ErrorData
from treadle.model.events import (
    Applied,
    Event,
    Failed,
    Path,
    Signalled,
    Skipped,
    TimerFired,
    TimerSet,
    WaitOpened,
)
from treadle.model.nodes import Context
from treadle.model.runnables import FAILED, OK, Again, Branch, Outcome, Runnable
from treadle.model.sentinels import ABSENT
from treadle.model.work import (
    OUT,
    QUEUED,
    Mark,
    Scope,
    Unit,
    UnplannedWait,
    Wait,
    mark_of,
    mark_out,
)

Exceptions = dict[int, BaseException]

Siblings: TypeAlias = tuple[str, list[Scope], int]
"""Where the work of one node in the items of one fan-out is found: its key, the items' scopes, its index in each."""

NO_SIBLINGS: Final[Siblings] = ("", [], 0)

SPECIAL: Final = frozenset({kinds.ITEMS, kinds.CHECK})
"""Nodes whose value is not simply passed on: it opens scopes, or says whether something else is."""


class Answered(Struct, frozen=True):
    """An outcome, and what its policy makes of a failure: another attempt, or an end of this kind."""

    outcome: Outcome
    again: Again | None = None
    on_failure: str | None = None


class Drive(Struct, eq=False):
    """One operation at work: the memory it owns, the journal entries it adds, and who asks."""

    memory: Memory
    run_key: str | None
    branch: Branch
    context: Context
    at: float | None = None
    """The time, as far as whoever drives says it."""
    entries: list[Event | Mark | Edit] = []
    exceptions: Exceptions = {}
    failures: list[tuple[str, Path, ErrorData]] = []
    """What failed: the node, where, and how; for whoever warns of it."""
    handed: list[Runnable] = []
    """Work for others to execute."""
    cohort: Cohort | None = None
    """All work for others to execute, where it is of one kind and they can take it as one."""
    failed: list[tuple[Runnable, Outcome]] = []
    """Work that was executed here, failed, and has a say in what follows; it is handed out, too."""
    has_more: bool = False
    """Some work is ready still: the budget or the limit ended it."""
    interrupt: BaseException | None = None
    position: int = 0
    """How long the log is at the end of the operation."""
    closed: list[int] = []
    """Inputs that finished since the last look (at the first look: all that are finished)."""
    next_due: float | None = None
    """The moment at which the first of all waits ends, as of the end of the operation."""

    def plan(self) -> None:
        """Plan all facts that nobody has planned yet."""
        memory = self.memory
        while memory.unplanned:
            entry = memory.unplanned.popleft()
            if type(entry) is UnplannedWait:
                self._plan_wait(entry)
                continue
            event, errors = plan_fact(memory, entry, self.context)
            if errors:
                self.exceptions[event.position] = errors[0]
            planned(memory, entry, event)
            self.entries.append(event)
            self.failures.extend((key, event.scope, error) for key, error in event.failed)

    def _plan_wait(self, entry: UnplannedWait) -> None:
        """Open a wait; or record what came of one that was ended."""
        memory = self.memory
        unit = unit_at(entry.scope, entry.node.index)
        if not isinstance(unit, Wait):
            raise TreadleBug(f"the wait {entry.node.key!r} holds work of another kind.")
        if unit.opened is None:
            event = open_wait(memory, unit, self.at)
            opened(memory, unit, event)
            self.entries.append(event)
            return
        outcome = outcome_of_wait(unit)
        leave_wait(memory, unit)
        self.apply(unit, outcome)

    def signal(self, name: str, value: Any, key: str | None) -> None:
        """Record a signal, and what it led to: it ends a wait, or is kept.

        Errors: `AmbiguousSignal`; nothing was changed, if nothing was left to be planned.
        """
        self.plan()
        event = signal_for(self.memory, name, value, key, self.at)
        signalled(self.memory, event)
        self.entries.append(event)
        self.plan()

    def pass_time(self, at: float) -> None:
        """It is `at`: begin the clocks that stand still, and end the waits whose moments have come, in their order."""
        self.at = at
        self.plan()
        memory = self.memory
        for unit in [] if memory.waits is None else list(memory.waits.unset):
            lasts = 0.0 if unit.opened is None else unit.opened.timeout_s or 0.0
            begun = TimerSet(memory.position, unit.node.key, unit.scope.path, at + lasts, at)
            timer_set(memory, begun)
            self.entries.append(begun)
        while True:
            due = next_timer(memory)
            if due is None or due.due_at is None or due.due_at > at:
                return
            event = TimerFired(memory.position, due.node.key, due.scope.path, at)
            fire(memory, due, event)
            self.entries.append(event)
            self.plan()

    @property
    def opened(self) -> list[WaitOpened]:
        """The waits that were opened; `due_at` is when they end, unless a signal comes."""
        return [entry for entry in self.entries if isinstance(entry, WaitOpened)]

    @property
    def ended(self) -> list[Signalled | TimerFired]:
        """The signals that came (those without a `node` are kept), and the moments that ended waits."""
        return [entry for entry in self.entries if isinstance(entry, (Signalled, TimerFired))]

    def run(self) -> None:
        """Plan, execute and apply until nothing is ready."""
        memory, entries = self.memory, self.entries
        while True:
            if memory.unplanned:
                self.plan()
            if memory.released or not memory.ready:
                unit = take_ready(memory)
                if unit is None:
                    return
            else:
                unit = memory.ready.popleft()
            node = unit.node
            if not node.quick or unit.problem is not None:
                self.step(unit)
                continue
            try:
                value = node.call(*unit.args)  # type: ignore[misc]
                if type(value) in ODD_TYPES:
                    raise odd_value(value)
            except CAUGHT as error:
                self.apply(unit, failed_outcome(self.runnable(unit), error))
                continue
            if value is ABSENT:
                self.apply(unit, outcome_of(self.runnable(unit), value))
                continue
            event = Applied(
                memory.position,
                node.key,
                unit.scope.path,
                value,
                unit.made_from,
                unit.generation,
                unit.attempt,
            )
            entries.append(event)
            settle_value(memory, unit, event)

    def run_some(
        self,
        held: frozenset[str],
        tries: Mapping[str, bool],
        budget: int,
        limit: int,
        is_interrupt: Callable[[BaseException], bool],
    ) -> None:
        """Like `run`, but hand out what is `held` back, at most `limit` of it, and execute at most `budget` units.

        Work of a node in `tries`, and work that failed before, has a say after a failure, so its failure is handed
        out with it instead of recorded; where `tries` says that it may halt its input, nothing else is executed before
        that is decided. An interrupt (`self.interrupt`) leaves all that was done recorded, and the
        interrupted work ready; whatever else a function raises is its failure.
        """
        memory, entries = self.memory, self.entries
        while budget > 0:
            if memory.unplanned:
                self.plan()
            if memory.released or not memory.ready:
                unit = take_ready(memory)
                if unit is None:
                    return
            else:
                unit = memory.ready.popleft()
            node = unit.node
            if node.key in held or unit.failed is not None:
                if len(self.handed) >= limit:
                    put_back(memory, unit)
                    break
                self.hand_out(unit)
                continue
            budget -= 1
            try:
                if not node.quick or unit.problem is not None:
                    if self._conclude(unit, execute_runnable(self.runnable(unit)), tries):
                        continue
                    break
                value = node.call(*unit.args)  # type: ignore[misc]
                if type(value) in ODD_TYPES:
                    raise odd_value(value)
            except CAUGHT as error:
                if self._conclude(unit, failed_outcome(self.runnable(unit), error), tries):
                    continue
                break
            except BaseException as error:  # noqa: BLE001 - what was done must not be lost by it
                is_pending = unit_at(unit.scope, node.index) is unit
                if is_pending and not isinstance(error, Exception) and not is_interrupt(error):
                    if self._conclude(unit, failed_outcome(self.runnable(unit), error), tries):
                        continue
                    break
                if is_pending:
                    put_back(memory, unit)
                self.interrupt = error
                return
            if value is ABSENT:
                self._conclude(unit, outcome_of(self.runnable(unit), value), tries)
                continue
            event = Applied(
                memory.position,
                node.key,
                unit.scope.path,
                value,
                unit.made_from,
                unit.generation,
                unit.attempt,
            )
            entries.append(event)
            settle_value(memory, unit, event)
        self.has_more = bool(memory.ready or memory.released or memory.unplanned)

    def _conclude(self, unit: Unit, outcome: Outcome, tries: Mapping[str, bool]) -> bool:
        """Apply an outcome, unless it is a failure that has a say in what follows; whether the drive may go on."""
        key = unit.node.key
        if outcome.status == FAILED and key in tries:
            self.failed.append((self.hand_out(unit), outcome))
            return not tries[key]
        hand_out(self.memory, unit)
        self.apply(unit, outcome)
        return True

    def hand_out(self, unit: Unit) -> Runnable:
        """Prepare a unit for somebody else to execute, and mark it in flight."""
        runnable = self.runnable(unit)
        hand_out(self.memory, unit)
        self.handed.append(runnable)
        self.entries.append(mark_out(unit))
        return runnable

    def hand_out_cohort(self, limit: int) -> bool:
        """Hand out at most so many of what is ready as one cohort; whether all of it is plain work of one node."""
        memory = self.memory
        ready = memory.ready
        count = min(limit, len(ready))
        if memory.released or count < LEAST:
            return False
        first = ready[0]
        node, root, generation = first.node, first.scope.root, first.generation
        if not node.quick or ready[count - 1].node is not node:
            return False
        units = list(islice(ready, count))
        for unit in units:
            if unit.node is not node or unit.scope.root is not root:
                return False
            if unit.failed is not None or unit.problem is not None:
                return False
            if unit.generation != generation:
                return False
        if count == len(ready):
            ready.clear()
        else:
            for _ in units:
                ready.popleft()
        for unit in units:
            unit.status = OUT
        memory.out.update(dict.fromkeys(units))
        like = make_runnable(memory, first, self.run_key, self.branch, self.context)
        self.cohort = Cohort(like, units)
        self.entries.append(Mark(out=True, work=((node.key, tuple(self.cohort.paths)),)))
        self.has_more = bool(ready)
        return True

    def hand_out_ready(self, limit: int, *, may_be_cohort: bool = False) -> None:
        """Plan what is unplanned, and hand out at most so many of what is ready then."""
        memory = self.memory
        if memory.unplanned:
            self.plan()
        if may_be_cohort and self.hand_out_cohort(limit):
            return
        handed, out, ready = self.handed, memory.out, memory.ready
        run_key, branch, context = self.run_key, self.branch, self.context
        position = memory.position
        units: list[Unit] = []
        while limit > 0:
            if not memory.released:
                if not ready:
                    break
                unit = ready.popleft()
            else:
                oldest = take_ready(memory)
                if oldest is None:
                    break
                unit = oldest
            node = unit.node
            if node.bare and unit.cell is None and unit.failed is None and unit.problem is None:
                handed.append(
                    Runnable(  # what `make_runnable` comes to, where nothing has to be looked up
                        component=node.component,
                        node=node.key,
                        scope=unit.scope.path,
                        call=node.call,
                        args=unit.args,
                        is_async=node.is_async,
                        generation=unit.generation,
                        run_key=run_key,
                        branch=branch,
                        position=position,
                    )
                )
            else:
                handed.append(make_runnable(memory, unit, run_key, branch, context))
            unit.status = OUT
            out[unit] = None
            units.append(unit)
            limit -= 1
        if len(units) == 1:
            self.entries.append(mark_out(units[0]))
        elif units:
            self.entries.append(mark_of(units, out=True))
        self.has_more = limit <= 0 and bool(memory.ready or memory.released)

    def answer_all(
        self,
        answers: Iterable[Answered | Outcome | CohortOutcomes],
        is_ours: Callable[[Outcome], bool],
    ) -> None:
        """Apply outcomes in order: each as its policy wants it, or bare, where none has a say in it.

        The outcomes of a batch nearly always are values of items that stand side by side. Those are found,
        recorded and followed up here; all others go through `answer`, which does the same with more questions.
        """
        memory, entries = self.memory, self.entries
        run_key, branch = self.run_key, self.branch
        key, beside, index = NO_SIBLINGS
        for answer in answers:
            if isinstance(answer, Answered):
                if is_ours(answer.outcome):
                    self.answer(answer)
                    key, beside, index = NO_SIBLINGS  # it may have ended their input
                continue
            if isinstance(answer, CohortOutcomes):
                self.answer_cohort(answer, is_ours)
                key, beside, index = NO_SIBLINGS
                continue
            path = answer.scope
            is_known = answer.branch is branch and answer.run_key is run_key
            if not is_known and not is_ours(answer):
                continue
            if answer.node is key and path[-1] < len(beside) and beside[path[-1]].path is path:
                unit = beside[path[-1]].unit
                if unit is None or unit.node.index != index:
                    unit = unit_at(beside[path[-1]], index)
            else:
                unit = pending_unit(memory, answer)
                key, beside, index = siblings_of(unit)
            if (
                unit is None
                or not key
                or unit.status != OUT
                or unit.generation != answer.generation
                or answer.status != OK
                or answer.exception is not None
            ):
                self.answer(Answered(answer))
                key, beside, index = NO_SIBLINGS
                continue
            event = Applied(
                memory.position,
                key,
                path,
                answer.value,
                unit.made_from,
                unit.generation,
                answer.attempt,
                answer.read_at,
                answer.seconds,
            )
            del memory.out[unit]
            entries.append(event)
            settle_value(memory, unit, event)

    def answer_one(self, outcome: Outcome) -> None:
        """Apply one outcome of ours that no policy has a say in: mostly a value that is simply passed on."""
        memory = self.memory
        unit = pending_unit(memory, outcome)
        if (
            unit is None
            or unit.status != OUT
            or unit.cell is not None
            or unit.node.kind in SPECIAL
            or outcome.status != OK
            or outcome.exception is not None
        ):
            self.answer(Answered(outcome))
            return
        event = Applied(
            memory.position,
            unit.node.key,
            unit.scope.path,
            outcome.value,
            unit.made_from,
            unit.generation,
            outcome.attempt,
            outcome.read_at,
            outcome.seconds,
        )
        del memory.out[unit]
        self.entries.append(event)
        settle_value(memory, unit, event)

    def answer_cohort(self, answer: CohortOutcomes, is_ours: Callable[[Outcome], bool]) -> None:
        """Apply the values of a cohort: to the very units it was made of, as long as they are out in this memory."""
        if not answer.are_all_values:
            self.answer_all(answer, is_ours)
            return
        memory, entries, out = self.memory, self.entries, self.memory.out
        cohort, gone = answer.runnables, object()
        key, places = cohort.like.node, range(len(cohort))
        given = zip(places, cohort.units, answer.values, answer.seconds, strict=True)
        for place, unit, value, seconds in given:
            if out.pop(unit, gone) is None:
                event = Applied(
                    memory.position,
                    key,
                    unit.scope.path,
                    value,
                    unit.made_from,
                    unit.generation,
                    1,
                    None,
                    seconds,
                )
                entries.append(event)
                settle_value(memory, unit, event)
            elif is_ours(answer[place]):
                self.answer(Answered(answer[place]))

    def answer(self, answer: Answered) -> bool:
        """Apply one outcome as its policy wants it; whether it changed anything."""
        memory, outcome = self.memory, answer.outcome
        unit = pending_unit(memory, outcome)
        if unit is None:
            orphaned = orphan(memory, outcome)
            if orphaned is not None:
                self.entries.append(orphaned)
            return False
        stale = outcome.status == FAILED and outcome.attempt < unit.attempt
        if unit.status >= QUEUED or stale:
            return False
        if unit.status != OUT:
            take_out(memory, unit)
        if answer.again is None:
            event = conclude(memory, unit, outcome, answer.on_failure)
            if outcome.exception is not None:
                self.exceptions[event.position] = outcome.exception
            self.entries.append(event)
            return True
        failed = try_again(memory, unit, outcome, answer.again)
        if outcome.exception is not None:
            self.exceptions[failed.position] = outcome.exception
        self.entries.append(failed)
        return True

    def look(self) -> None:
        """Note which inputs finished since the last look."""
        memory = self.memory
        if memory.closed is None:
            self.closed = [number for number, root in memory.roots.items() if root.done]
        else:
            self.closed = memory.closed
        memory.closed = []

    def step(self, unit: Unit) -> None:
        """Execute and apply one unit the long way: with a runnable and an outcome."""
        hand_out(self.memory, unit)
        self.apply(unit, execute_runnable(self.runnable(unit)))

    def runnable(self, unit: Unit) -> Runnable:
        """What a unit would have been handed out as."""
        return make_runnable(self.memory, unit, self.run_key, self.branch, self.context)

    def apply(self, unit: Unit, outcome: Outcome, on_failure: str | None = None) -> None:
        """Record an outcome of pending work."""
        event = conclude(self.memory, unit, outcome, on_failure)
        if outcome.exception is not None:
            self.exceptions[event.position] = outcome.exception
        if isinstance(event, (Failed, Skipped)) and event.error is not None:
            self.failures.append((event.node, event.scope, event.error))
        self.entries.append(event)


def siblings_of(unit: Unit | None) -> Siblings:
    """Where work like this unit's is found; nowhere, if it stands alone, or its value is not simply passed on."""
    if unit is None or unit.scope.parent is None:
        return NO_SIBLINGS
    node = unit.node
    if unit.cell is not None or node.kind in SPECIAL:
        return NO_SIBLINGS
    return node.key, unit.scope.parent.children[node.place[-1]], node.index
