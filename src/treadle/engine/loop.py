"""Drive a memory that one operation owns until nothing is ready: the inner loop of the inline react calls.

It does what plan, prepare, execute and apply do, in that order, with the same functions; for a plain step it
leaves out the runnable and the outcome, which nobody would see. Measured: that halves the cost of a step.
"""

from __future__ import annotations

from treadle.engine.apply import conclude
from treadle.engine.edit import Edit
from treadle.engine.execute import (
    CAUGHT,
    ODD_TYPES,
    execute_runnable,
    failed_outcome,
    odd_value,
    outcome_of,
)
from treadle.engine.fold import planned, settle_value
from treadle.engine.memory import Memory, hand_out, take_ready
from treadle.engine.plan import plan_fact
from treadle.engine.prepare import make_runnable
from treadle.model.errordata import ErrorData
from treadle.model.events import Applied, Event, Failed, Path, Skipped
from treadle.model.nodes import Context
from treadle.model.runnables import Branch, Outcome, Runnable
from treadle.model.sentinels import ABSENT
from treadle.model.work import Mark, Unit

Exceptions = dict[int, BaseException]


class Drive:
    """One operation at work: the memory it owns, the journal entries it adds, and who asks."""

    __slots__ = ("branch", "context", "entries", "exceptions", "failures", "memory", "run_key")

    def __init__(
        self,
        memory: Memory,
        run_key: str | None,
        branch: Branch,
        context: Context,
    ) -> None:
        self.memory = memory
        self.exceptions: Exceptions = {}
        self.run_key = run_key
        self.branch = branch
        self.context = context
        self.entries: list[Event | Mark | Edit] = []
        self.failures: list[tuple[str, Path, ErrorData]] = []
        """What failed: the node, where, and how; for whoever warns of it."""

    def plan(self) -> None:
        """Plan all facts that nobody has planned yet."""
        memory = self.memory
        while memory.unplanned:
            entry = memory.unplanned.popleft()
            event, errors = plan_fact(memory, entry, self.context)
            if errors:
                self.exceptions[event.position] = errors[0]
            planned(memory, entry, event)
            self.entries.append(event)
            self.failures.extend((key, event.scope, error) for key, error in event.failed)

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

    def step(self, unit: Unit) -> None:
        """Execute and apply one unit the long way: with a runnable and an outcome."""
        hand_out(self.memory, unit)
        self.apply(unit, execute_runnable(self.runnable(unit)))

    def runnable(self, unit: Unit) -> Runnable:
        """What a unit would have been handed out as."""
        return make_runnable(self.memory, unit, self.run_key, self.branch, self.context)

    def apply(self, unit: Unit, outcome: Outcome) -> None:
        """Record an outcome of pending work."""
        event = conclude(self.memory, unit, outcome)
        if outcome.exception is not None:
            self.exceptions[event.position] = outcome.exception
        if isinstance(event, (Failed, Skipped)) and event.error is not None:
            self.failures.append((event.node, event.scope, event.error))
        self.entries.append(event)
