"""What a runner asks of a workflow beside the three phases: several of them at one go, and what has changed since."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Self

from treadle.engine.baseline import shortened
from treadle.engine.edit import check_form
from treadle.engine.loop import Answered, Drive
from treadle.engine.prepare import Contexts
from treadle.engine.replay import fresh
from treadle.engine.tape import Tape
from treadle.engine.waits import next_due
from treadle.handle import Handle
from treadle.model.cohorts import CohortOutcomes
from treadle.model.definition import Definition, shape_of
from treadle.model.events import (
    Baseline,
    ComponentAdded,
    ComponentReplaced,
    Event,
    ScopeCancelled,
)
from treadle.model.nodes import Context, Lowered
from treadle.model.program import compile_program
from treadle.model.runnables import Outcome

if TYPE_CHECKING:
    from treadle.policies.matching import Policies

NO_SAY: Final[Mapping[str, bool]] = MappingProxyType({})
"""No failure has a say in what follows."""


class Driven(Handle):
    """A handle that a runner can drive."""

    __slots__ = ()

    def with_policies(self, policies: Any) -> Self:
        """This workflow with policies for its components: a dict, or pairs of matcher and policy, in order.

        They come before those it has. They are wishes, and no part of the graph: no log, fingerprint or pickle
        holds them.
        """
        from treadle.policies.matching import policies_from

        handle = self._like(self._definition, self._at)
        handle._policies = policies_from(policies).over(self.policies)
        return handle

    def with_policies_of(self, other: Self) -> Self:
        """This workflow with the policies of another, and no more."""
        handle = self._like(self._definition, self._at)
        handle._policies = other._policies
        return handle

    def with_context_of(self, other: Self) -> Self:
        """This workflow with the context values of another, and no more."""
        handle = self._like(self._definition, self._at)
        handle._context = other.run_context
        return handle

    @property
    def run_context(self) -> Context:
        """The values given for `context` markers."""
        return self._context

    @property
    def policies(self) -> Policies:
        """The policies attached to it."""
        if self._policies is not None:
            return self._policies
        from treadle.policies.matching import NO_POLICIES

        return NO_POLICIES

    @property
    def has_policies(self) -> bool:
        """Whether there are any policies, asked without loading what policies are."""
        return bool(self._policies)

    @property
    def definition(self) -> Definition:
        """The graph it began with, as an object that all runs of it share."""
        return self._definition if self._at is None else self._at[0].definition

    def detached(self) -> Self:
        """The same value on a tape of its own, with nothing in flight."""
        return self.at(self.position)

    def add_lowered(self, lowered: Lowered, *, backfill: bool = False) -> Self:
        """This workflow with a component that was fitted to its parents already."""
        if self._at is None:
            return self._like(self._definition.extended(lowered))
        with self._reading() as memory:
            event = ComponentAdded(memory.position, shape_of(lowered), backfill)
        return self._edit(event, (lowered,))

    def replace_lowered(self, lowered: Lowered, *, reset: bool = False) -> Self:
        """This workflow with a component, fitted to its parents, in the place of the one of its name."""
        with self._program() as program:
            compile_program(list(program.components.values())).replace(lowered)
        if self._at is None:
            listed = self._definition.components()
            swapped = [lowered if entry.name == lowered.name else entry for entry in listed]
            return self._like(self._definition.with_components(swapped))
        with self._reading() as memory:
            check_form(memory, lowered, reset=reset)
            event = ComponentReplaced(memory.position, shape_of(lowered), reset)
        return self._edit(event, (lowered,))

    def lowered(self) -> list[Lowered]:
        """The components as they are now, with their functions, in the order of adding."""
        with self._program() as program:
            return list(program.components.values())

    def missing_functions(self) -> list[str]:
        """The components that a log names and whose functions were not given."""
        with self._program() as program:
            missing = [
                node.component
                for node in program.by_key.values()
                if node.code.missing and node.component in program.components
            ]
        return list(dict.fromkeys(missing))

    def cancelled_because(self, input: int) -> str | None:
        """Why an input was cancelled; None if it was not (or is not remembered)."""
        with self._reading() as memory:
            root = memory.roots.get(input)
            for event in root.events if root is not None and root.has_failed else ():
                if isinstance(event, ScopeCancelled):
                    return event.reason
        return None

    def with_contexts(self, contexts: Contexts) -> Self:
        """This workflow with a runner's own context values, which it goes on filling in by input."""
        handle = self._like(self._definition, self._at)
        handle._context = contexts
        return handle

    def entries_since(self, mark: tuple[Tape, int] | None) -> tuple[list[Event], bool]:
        """The events since a place on the tape, and whether they begin anew: with `Defined` or a `Baseline`."""
        if self._at is None:
            return [], False
        tape, version = self._at
        if mark is not None and mark[0] is tape:
            return tape.events_between(mark[1], version), False
        return [tape.head, *tape.events(version)], True

    def baseline(self) -> Baseline:
        """What this has come to, in short: a log that begins with it goes on as this would.

        Inputs that are finished are left out, but for the last one: see `engine.baseline.shortened`.
        """
        with self._reading() as memory:
            return shortened(memory, self.run_key)

    @property
    def place(self) -> tuple[Tape, int] | None:
        """Where this stands: what `entries_since` takes."""
        return self._at

    def advance(
        self,
        answers: Iterable[Answered | Outcome | CohortOutcomes] = (),
        *,
        held: frozenset[str] | None = None,
        tries: Mapping[str, bool] = NO_SAY,
        budget: int = 0,
        limit: int = 0,
        may_be_cohort: bool = False,
        is_interrupt: Callable[[BaseException], bool] = lambda _: True,
        at: float | None = None,
    ) -> tuple[Self, Drive]:
        """All that a runner does to a workflow at one go: apply, plan, execute in line, prepare.

        At most `limit` runnables are handed out, with `may_be_cohort` perhaps as a `drive.cohort`; with `held`, only of
        these nodes, and work of all others is executed here, at most `budget` units of it (see `Drive.run_some`). An
        answer may be a bare outcome, where no policy has a say in it. `at` is the time: waits whose moments have come
        by then end. The drive tells what came of it, and when to come back for the next wait (`next_due`).
        """
        if self._at is None:
            return self, Drive(fresh(self._definition), self._run_key, (), self._context)
        tape, version = self._at
        memory = tape.slot.pop(version, None)
        if memory is None:
            tape, _, memory = self._claim()
        drive = Drive(memory, tape.run_key, tape.branch, self._context, at)
        drive.answer_all(answers, tape.is_ours)
        if at is not None and memory.waits is not None:
            drive.pass_time(at)
        if held is None:
            drive.hand_out_ready(limit, may_be_cohort=may_be_cohort)
        else:
            drive.run_some(held, tries, budget, limit, is_interrupt)
        return self._after(tape, drive)

    def follow(self, outcome: Outcome, limit: int, at: float) -> tuple[Self, Drive]:
        """`advance` for one bare outcome where nothing is executed here: what a step comes to."""
        if self._at is None:
            return self.advance((outcome,), limit=limit, at=at)
        tape, version = self._at
        memory = tape.slot.pop(version, None)
        if memory is None:
            tape, _, memory = self._claim()
        drive = Drive(memory, tape.run_key, tape.branch, self._context, at)
        is_known = outcome.branch is tape.branch and outcome.run_key is tape.run_key
        if is_known or tape.is_ours(outcome):
            drive.answer_one(outcome)
        if memory.waits is not None:
            drive.pass_time(at)
        drive.hand_out_ready(limit)
        return self._after(tape, drive)

    def _after(self, tape: Tape, drive: Drive) -> tuple[Self, Drive]:
        """This workflow after a drive, and what the drive has to tell."""
        memory = drive.memory
        drive.position = memory.position
        if memory.closed or memory.closed is None:
            drive.look()
        if memory.waits is not None:
            drive.next_due = next_due(memory)
        if not drive.entries:
            return self._unchanged(tape, memory), drive
        return self._commit(tape, memory, drive.entries, drive.exceptions), drive
