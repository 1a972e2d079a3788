"""The value: a `Workflow` is a handle on a tape.

A tape holds a journal of what was done (the log's events, and marks of work handed out, which are no events)
and, for its newest version only, the evaluated memory. An operation claims the memory (`dict.pop`, which is
atomic), changes it, appends to the journal as its last act, and puts the memory back under the new version.
Whoever finds no memory rebuilds one from the journal's prefix, which nobody ever changes, on a tape of its own.
So linear use costs O(1) an event, a fork costs one replay, and an exception in the middle loses a cache.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from treadle.components import fitting
from treadle.components.component import Component
from treadle.components.fitting import ErrorOf
from treadle.components.step import Step, as_component
from treadle.engine.apply import conclude, orphan, pending_unit, try_again
from treadle.engine.baseline import is_worth_folding, snapshot
from treadle.engine.edit import Edit, EditEvent, apply_edit
from treadle.engine.fold import accept, take_out
from treadle.engine.loop import Drive
from treadle.engine.memory import Memory, hand_out, put_back, take_ready
from treadle.engine.prepare import make_runnable
from treadle.engine.replay import definition_from, entries_from, fresh, rebuild
from treadle.engine.tape import Entry, Log, Tape
from treadle.errors import (
    DefinitionError,
    ForeignOutcome,
    Forgotten,
    LogError,
    UnknownComponent,
    UsageError,
    nearest,
)
from treadle.model import calls
from treadle.model import nodes as kinds
from treadle.model.definition import Definition, shape_of
from treadle.model.events import (
    Baseline,
    ComponentAdded,
    ComponentRemoved,
    ComponentReplaced,
    Defined,
    Event,
    InputAccepted,
)
from treadle.model.lowering import prefixed
from treadle.model.nodes import Context, Lowered, Source
from treadle.model.program import Program, compile_program
from treadle.model.runnables import FAILED, Outcome, Runnable, runnable_id
from treadle.model.sentinels import INPUT, INPUT_KEY, Sentinel
from treadle.model.work import OUT, QUEUED, Mark

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from treadle.model.facts import Fact, Failure

NOTHING: Final = object()
"""No input was given; None is a value."""

NO_CONTEXT: Final[Context] = {}

Parent = str | Component[Any, Any] | ErrorOf | Sentinel


class Workflow:
    """A dataflow graph together with all that has happened in it: an immutable value.

    Every operation returns a new workflow; the old one stays valid. Make one with `treadle.workflow(name)`,
    feed it inputs, and drive it: by `react_until_satisfied`, or by hand in three phases (`plan_eagerly`,
    `prepare_for_dispatch`, `execute_runnable`, `apply_runnable`).
    """

    __slots__ = ("__weakref__", "_at", "_context", "_definition", "_forks", "_run_key")

    def __init__(self, definition: Definition) -> None:
        self._definition = definition
        self._at: tuple[Tape, int] | None = None
        self._context: Context = NO_CONTEXT
        self._run_key: str | None = None
        self._forks = itertools.count()

    # ------------------------------------------------------------------ handles on tapes

    def _on(self, tape: Tape, version: int) -> Workflow:
        handle = Workflow.__new__(Workflow)
        handle._definition = self._definition
        handle._at = (tape, version)
        handle._context = self._context
        handle._run_key = self._run_key
        handle._forks = self._forks
        return handle

    def _claim(self) -> tuple[Tape, int, Memory]:
        """The tape, version and memory to work on; makes them where they are not there."""
        if self._at is None:
            tape = Tape(self._definition, ((0, next(self._forks)),), self._run_key)
            return tape, 0, fresh(self._definition)
        tape, version = self._at
        memory = tape.slot.pop(version, None)
        if memory is None:
            tape, memory = tape.fork(version)
            version = len(tape.journal)
            self._at = (tape, version)
        return tape, version, memory

    @contextmanager
    def _reading(self) -> Iterator[Memory]:
        """The memory, to look at only; put back under the same version."""
        tape, version, memory = self._claim()
        try:
            yield memory
        finally:
            if self._at is not None:
                tape.slot[version] = memory

    def _commit(self, tape: Tape, memory: Memory, entries: Iterable[Entry]) -> Workflow:
        tape.journal.extend(entries)
        version = len(tape.journal)
        tape.slot[version] = memory
        return self._on(tape, version)

    def _like(self, definition: Definition, at: tuple[Tape, int] | None = None) -> Workflow:
        """A handle with this one's context, run key and branches."""
        handle = Workflow(definition)
        handle._context, handle._run_key, handle._forks = self._context, self._run_key, self._forks
        handle._at = at
        return handle

    def with_context(self, run_context: Context) -> Workflow:
        """This workflow with values for `context` markers: by component name, and under `"_global"`."""
        for name, values in run_context.items():
            if not isinstance(values, Mapping):
                raise UsageError(
                    f"run_context[{name!r}] is {values!r:.80}, and should be a dict of keys to values.",
                    hint='run_context={"component": {"key": value}, "_global": {"key": value}}.',
                )
        handle = self._like(self._definition, self._at)
        handle._context = run_context
        return handle

    # ------------------------------------------------------------------ the three phases

    def plan_eagerly(
        self,
        input: Any = NOTHING,
        *,
        key: str | None = None,
        run_context: Context | None = None,
        at: float | None = None,
    ) -> Workflow:
        """Accept an input, if one is given, and plan: ask the conditions that watch new facts.

        `key` makes a second input of the same key a no-op. `run_context` gives values for `context` markers,
        here and in all that follows from the returned workflow. `at` is the time of acceptance, for the log.
        """
        if run_context is not None:
            return self.with_context(run_context).plan_eagerly(input, key=key, at=at)
        if input is NOTHING and (self._at is None or not self._has_unplanned()):
            return self
        tape, _, memory = self._claim()
        drive = self._drive(tape, memory)
        if input is not NOTHING:
            if key is not None and key in memory.keys:
                return self._unchanged(tape, memory)
            event = InputAccepted(memory.position, (memory.next_number,), input, key, at)
            accept(memory, event)
            drive.entries.append(event)
            if is_worth_folding(memory):
                tape = tape.folded(memory)
                drive = self._drive(tape, memory)
        drive.plan()
        return self._commit(tape, memory, drive.entries)

    def _unchanged(self, tape: Tape, memory: Memory) -> Workflow:
        """Put the memory back: nothing came of an operation."""
        if self._at is not None:
            tape.slot[self._at[1]] = memory
        return self

    def _has_unplanned(self) -> bool:
        with self._reading() as memory:
            return bool(memory.unplanned)

    def _drive(self, tape: Tape, memory: Memory) -> Drive:
        return Drive(memory, tape.exceptions, tape.run_key, tape.branch, self._context)

    def prepare_for_dispatch(
        self, limit: int | None = None, *, run_context: Context | None = None
    ) -> tuple[Workflow, list[Runnable]]:
        """Hand out ready work, oldest cause first, each runnable once, and mark it in flight.

        `limit`: at most so many. Facts that nobody planned yet are planned first.
        """
        if run_context is not None:
            return self.with_context(run_context).prepare_for_dispatch(limit)
        if limit is not None and (not isinstance(limit, int) or limit < 0):
            raise UsageError(f"limit={limit!r} is no number of runnables.", hint="None means all.")
        if self._at is None:
            return self, []
        tape, _, memory = self._claim()
        drive = self._drive(tape, memory)
        drive.plan()
        runnables: list[Runnable] = []
        handed: list[tuple[str, tuple[int, ...]]] = []
        while limit is None or len(runnables) < limit:
            unit = take_ready(memory)
            if unit is None:
                break
            hand_out(memory, unit)
            handed.append((unit.node.key, unit.scope.path))
            runnables.append(
                make_runnable(memory, unit, tape.run_key, tape.branch, self._context)
            )
        if not handed and not drive.entries:
            return self._unchanged(tape, memory), []
        if handed:
            drive.entries.append(Mark(True, tuple(handed)))
        return self._commit(tape, memory, drive.entries), runnables

    def release(self, runnable: Runnable) -> Workflow:
        """Put a runnable that was handed out back, into its old place in the order."""
        self._check_ours(runnable)
        tape, _, memory = self._claim()
        unit = pending_unit(memory, runnable)
        if unit is None or unit.status != OUT:
            return self._unchanged(tape, memory)
        put_back(memory, unit)
        return self._commit(tape, memory, [Mark(False, ((unit.node.key, unit.scope.path),))])

    def apply_runnable(self, outcome: Outcome, *, retry: bool = False) -> Workflow:
        """Fold an outcome in; what becomes ready downstream does so at once.

        Applied once, if its runnable is pending: late and double outcomes change nothing. `retry=True` makes
        a failed attempt's work ready again instead of giving it up.

        Errors: `ForeignOutcome` if it was prepared by another workflow, or by another branch of this one after
        the two parted.
        """
        if not isinstance(outcome, Outcome):
            raise UsageError(
                f"apply_runnable takes an Outcome, and was given {type(outcome).__name__}.",
                hint="pass what td.execute_runnable(runnable) returned.",
            )
        self._check_ours(outcome)
        tape, _, memory = self._claim()
        unit = pending_unit(memory, outcome)
        event: Event | None
        if unit is None:
            event = orphan(memory, outcome)
        elif unit.status == QUEUED or (
            outcome.status == FAILED and outcome.attempt < unit.attempt
        ):
            event = None
        else:
            if unit.status != OUT:
                take_out(memory, unit)
            again = retry and outcome.status == FAILED
            event = (try_again if again else conclude)(memory, unit, outcome)
            if outcome.exception is not None:
                tape.exceptions[event.position] = outcome.exception
        if event is None:
            return self._unchanged(tape, memory)
        if unit is not None and outcome.error is not None:
            warn_of_failure(self.name, event)
        return self._commit(tape, memory, [event])

    def _check_ours(self, work: Runnable | Outcome) -> None:
        if self._at is not None and self._at[0].is_ours(work):
            return
        raise ForeignOutcome(
            f"{work.id} (run {work.run_key!r}) was prepared by another workflow, or by another branch of "
            f"{self.name!r} after the two parted.",
            hint="apply an outcome to the workflow that prepare_for_dispatch returned with its runnable, or to "
            "what came of that.",
        )

    def is_runnable(self) -> bool:
        """Whether something is ready, or not yet planned."""
        if self._at is None:
            return False
        with self._reading() as memory:
            return bool(memory.ready or memory.released or memory.unplanned)

    def next_runnables(self) -> list[Runnable]:
        """What `prepare_for_dispatch` would hand out of the work that is ready now; marks nothing."""
        if self._at is None:
            return []
        with self._reading() as memory:
            tape = self._at[0]
            units = [*memory.ready, *[entry[3] for entry in memory.released]]
            units.sort(key=lambda unit: (unit.made_at, unit.node.index, unit.scope.path))
            return [
                make_runnable(memory, unit, tape.run_key, tape.branch, self._context)
                for unit in units
            ]

    def in_flight(self) -> list[str]:
        """The ids of the runnables that are out and not yet answered."""
        if self._at is None:
            return []
        with self._reading() as memory:
            return [
                runnable_id(unit.node.key, unit.generation, unit.scope.path) for unit in memory.out
            ]

    def is_satisfied(self, *, input: int | None = None) -> bool:
        """Whether nothing is ready, unplanned, in flight or waiting: at all, or for one input."""
        if self._at is None:
            return True
        with self._reading() as memory:
            if input is None:
                return all(root.live == 0 for root in memory.roots.values())
            root = memory.roots.get(input if input >= 0 else memory.next_number + input)
            return root is None or root.live == 0

    # ------------------------------------------------------------------ the react loops

    def react(self, input: Any = NOTHING, *, run_context: Context | None = None) -> Workflow:
        """One generation: accept the input, plan, and execute and apply all that is ready now."""
        from treadle import drive

        return drive.react(self.plan_eagerly(input, run_context=run_context))

    def react_until_satisfied(
        self,
        input: Any = NOTHING,
        *,
        key: str | None = None,
        executor: Executor | str | None = None,
        max_concurrency: int | None = None,
        run_context: Context | None = None,
    ) -> Workflow:
        """Accept the input, if one is given, and go on until nothing is ready.

        `executor`: None runs inline, one after the other; `"threads"` or any `concurrent.futures.Executor`
        runs up to `max_concurrency` at once. A failed step does not raise: see `failures()`.
        """
        from treadle import drive

        planned = self.plan_eagerly(input, key=key, run_context=run_context)
        if executor is None:
            if max_concurrency is not None:
                drive.check_concurrency(max_concurrency)
            return planned._run_inline()
        return drive.react_on(planned, executor, max_concurrency)

    def _run_inline(self) -> Workflow:
        if self._at is None:
            return self
        tape, _, memory = self._claim()
        drive = self._drive(tape, memory)
        drive.run()
        if not drive.entries:
            return self._unchanged(tape, memory)
        for event in drive.failures:
            warn_of_failure(self.name, event)
        return self._commit(tape, memory, drive.entries)

    async def areact_until_satisfied(
        self,
        input: Any = NOTHING,
        *,
        key: str | None = None,
        max_concurrency: int | None = None,
        run_context: Context | None = None,
    ) -> Workflow:
        """As `react_until_satisfied`, on the running event loop: async steps are awaited side by side.

        Plain functions run in the loop itself; give slow ones to threads with `asyncio.to_thread`.
        """
        from treadle import drive

        planned = self.plan_eagerly(input, key=key, run_context=run_context)
        return await drive.areact(planned, max_concurrency)

    def run_or_raise(self, input: Any, **options: Any) -> Workflow:
        """`react_until_satisfied(input)`, raising `StepFailed` if a step of this input failed for good."""
        done = self.react_until_satisfied(input, **options)
        done.results(raise_on_failure=True)
        return done

    # ------------------------------------------------------------------ building and editing

    def add(
        self,
        component: Component[Any, Any] | Callable[..., Any] | Workflow,
        *,
        to: Parent | Iterable[Parent] | None = None,
        join: str | int = "all",
        correlate: str | Callable[[Any], Any] | None = None,
        backfill: bool = False,
    ) -> Workflow:
        """Add a component below its parents (without any: below the raw input).

        `to`: names, components, `td.INPUT`, `td.error_of(name)`. `join`: `"all"`, `"any"`, a number k, or
        `"settled"`. `correlate` joins across inputs: `"latest"`, `"arrival"`, or a key function. `backfill`
        feeds it the facts that exist; without it, it sees what is applied from now on. A workflow is added as
        its components, named `name.component`.

        Errors: `DefinitionError` and its kinds, at once; nothing is changed.
        """
        if isinstance(component, Workflow):
            return self._add_workflow(component, to, join, correlate, backfill)
        made = as_component(component)
        return self._add_as(made.name, made, to, join, correlate, backfill)

    def _add_as(
        self,
        name: str,
        component: Component[Any, Any],
        to: Parent | Iterable[Parent] | None,
        join: str | int,
        correlate: str | Callable[[Any], Any] | None,
        backfill: bool,
    ) -> Workflow:
        wiring = fitting.make_wiring(name, self._sources(name, to), join, correlate)
        return self._add_lowered(component.lower(name, wiring), backfill)

    def _add_lowered(self, lowered: Lowered, backfill: bool) -> Workflow:
        if self._at is None:
            return self._like(self._definition.extended(lowered))
        with self._reading() as memory:
            event = ComponentAdded(memory.position, shape_of(lowered), backfill)
        return self._edit(event, (lowered,))

    def _edit(self, event: EditEvent, lowered: tuple[Lowered, ...]) -> Workflow:
        """Fold an edit; if it is refused, the memory that may be half changed is dropped, not put back."""
        tape, _, memory = self._claim()
        edit = Edit(event, lowered)
        apply_edit(memory, edit)
        return self._commit(tape, memory, [edit])

    def _sources(self, name: str, to: Parent | Iterable[Parent] | None) -> tuple[Source, ...]:
        if to is None:
            return ((INPUT_KEY, kinds.VALUE),)
        parents = [to] if isinstance(to, (str, Component, ErrorOf, Sentinel, Workflow)) else to
        try:
            listed = list(parents)
        except TypeError:
            listed = [parents]
        if not listed:
            raise DefinitionError(f"{name!r} was given no parent.", hint="leave `to=` out for the raw input.")
        return tuple(self._source(name, parent) for parent in listed)

    def _source(self, name: str, parent: Any) -> Source:
        if parent is INPUT:
            return (INPUT_KEY, kinds.VALUE)
        if isinstance(parent, ErrorOf):
            return (self._output_name(name, parent.name), kinds.ERROR)
        if isinstance(parent, (Component, Workflow)):
            parent = parent.name
        if not isinstance(parent, str):
            raise DefinitionError(
                f"{name!r} names {parent!r:.80} as a parent, which is no component's name.",
                hint="a parent is a name, a component, td.INPUT or td.error_of(name).",
            )
        return (self._output_name(name, parent), kinds.VALUE)

    def _output_name(self, name: str, parent: str) -> str:
        """A component's own name; for a sub-workflow, its one output."""
        with self._program() as program:
            if parent in program.components or parent == name:
                return parent
            inside = [known for known in program.components if known.startswith(f"{parent}.")]
            outputs = [known for known in inside if program.is_output(known)]
            if len(outputs) == 1:
                return outputs[0]
            if not inside:
                raise UnknownComponent(
                    f"{name!r} cannot be added: its parent {parent!r} is not in this workflow."
                    f"{nearest(parent, program.components)}",
                    hint="add the parent first, or correct the name in `to=`.",
                )
        raise DefinitionError(
            f"the sub-workflow {parent!r} has {len(outputs)} outputs, so {name!r} cannot tell which to take.",
            hint=f"name one of them: {', '.join(map(repr, outputs or inside))}.",
        )

    def _add_workflow(
        self,
        other: Workflow,
        to: Parent | Iterable[Parent] | None,
        join: str | int,
        correlate: str | Callable[[Any], Any] | None,
        backfill: bool,
    ) -> Workflow:
        """Add a workflow's components under its name; what hung on its input hangs on the parents."""
        refuse_history(other, "added")
        added, prefix = self, other.name
        sources = self._sources(prefix, to)
        wiring = fitting.make_wiring(prefix, sources, join, correlate)
        entry = sources[0]
        if not wiring.is_plain or correlate is not None:
            call = calls.PassOn() if join == "any" or len(sources) == 1 else calls.Pack()
            entry = (f"{prefix}.input", kinds.VALUE)
            passing = Step(call, name=entry[0]).lower(entry[0], wiring)
            added = added._add_lowered(passing, backfill)
        for lowered in other._definition.components():
            added = added._add_lowered(prefixed(lowered, prefix, entry), backfill)
        return added

    def merge(self, other: Workflow) -> Workflow:
        """This workflow with all components of another, which must have no history; names must not clash.

        Errors: one `ExceptionGroup` of all that does not fit; nothing is changed.
        """
        refuse_history(other, "merged")
        faults: list[Exception] = []
        merged = self
        for lowered in other._definition.components():
            try:
                merged = merged._add_lowered(lowered, backfill=False)
            except DefinitionError as error:
                faults.append(error)
        if faults:
            raise ExceptionGroup(f"{other.name!r} cannot be merged into {self.name!r}", faults)
        return merged

    def replace(
        self,
        name: str | Component[Any, Any] | Callable[..., Any],
        component: Component[Any, Any] | Callable[..., Any] | None = None,
        *,
        reset: bool = False,
    ) -> Workflow:
        """Put a component in the place of the one of a name (by default, of its own name).

        Pending work is withdrawn and ready again under the new code. State is kept; `reset=True` drops it.
        """
        made = as_component(name if component is None else component)
        old = self._component_of(made.name if component is None else name)
        lowered = made.lower(old.name, old.wiring)
        self._trial().replace(lowered)
        if self._at is None:
            listed = self._definition.components()
            swapped = [lowered if entry.name == old.name else entry for entry in listed]
            return self._like(self._definition.with_components(swapped))
        with self._reading() as memory:
            event = ComponentReplaced(memory.position, shape_of(lowered), reset)
        return self._edit(event, (lowered,))

    def _trial(self) -> Program:
        """A program of this graph to try an edit on."""
        with self._program() as program:
            return compile_program(list(program.components.values()))

    def remove(self, name: str | Component[Any, Any]) -> Workflow:
        """Take a component out and wire its children to its parents, where they still fit.

        Errors: `DefinitionError` naming the children that would not fit, or what refers to it.
        """
        old = self._component_of(name)
        with self._program() as program:
            fitting.check_unreferenced(program, old)
            rewired = fitting.rewire_children(program, old)
            components = list(program.components.values())
        if self._at is None:
            swapped = {lowered.name: lowered for lowered in rewired}
            kept = [swapped.get(each.name, each) for each in components if each.name != old.name]
            return self._like(self._definition.with_components(kept))
        with self._reading() as memory:
            shapes = tuple([shape_of(lowered) for lowered in rewired])
            event = ComponentRemoved(memory.position, old.name, shapes)
        return self._edit(event, rewired)

    @contextmanager
    def _program(self) -> Iterator[Program]:
        if self._at is None:
            yield self._definition.program()
        else:
            with self._reading() as memory:
                yield memory.program

    def _component_of(self, name: Any) -> Lowered:
        wanted = name.name if isinstance(name, Component) else name
        with self._program() as program:
            found = program.components.get(wanted)
            if found is not None:
                return found
            raise UnknownComponent(
                f"{self.name!r} has no component named {wanted!r}.{nearest(wanted, program.components)}"
            )

    # ------------------------------------------------------------------ history

    @property
    def name(self) -> str:
        """The workflow's name."""
        return self._definition.name

    @property
    def run_key(self) -> str | None:
        """The key of this run, part of every idempotency key."""
        return self._run_key

    def with_run_key(self, run_key: str) -> Workflow:
        """This template, for a run of its own: `run_key` makes its idempotency keys differ from others'."""
        if self._at is not None:
            raise UsageError(f"{self.name!r} is under way; a run key is given before the first input.")
        handle = self._like(self._definition)
        handle._run_key = run_key
        return handle

    @property
    def position(self) -> int:
        """How many events the log has, folded ones included."""
        if self._at is None:
            return 0
        with self._reading() as memory:
            return memory.position

    def log(self) -> Log:
        """All that has happened, as events: `Defined` (or a `Baseline`) first; empty before the first input."""
        if self._at is None:
            return Log()
        tape, version = self._at
        log = Log([tape.head, *tape.events(version)])
        log.branch = tape.branch
        return log

    @classmethod
    def from_log(
        cls,
        definition: Workflow,
        log: Iterable[Event],
        *,
        components: Mapping[str, Component[Any, Any] | Callable[..., Any]] | None = None,
    ) -> Workflow:
        """The workflow that a log tells of: its graph's shape from the log, its functions from `definition`.

        `components` adds functions for components that were added under way. No user code runs. Work that was
        in flight is ready again.

        Errors: `LogError` if the log is damaged or of another definition.
        """
        events = list(log)
        if not events:
            return definition._like(definition._definition)
        head = events[0]
        if not isinstance(head, (Defined, Baseline)):
            raise LogError(
                f"a log begins with Defined or Baseline, and this one with {type(head).__name__}.",
                hint="give the whole log.",
            )
        functions = definition._functions(components or {})
        baseline = head if isinstance(head, Baseline) else None
        defined = baseline.defined if baseline is not None else head
        shaped = definition_from(defined, definition._definition, functions)
        handle = definition._like(shaped)
        handle._run_key = defined.run_key
        branch = getattr(log, "branch", ()) or ((0, next(definition._forks)),)
        tape = Tape(shaped, branch, defined.run_key, baseline, entries_from(events[1:], functions))
        version = len(tape.journal)
        tape.slot[version] = rebuild(shaped, baseline, tape.journal)
        handle._at = (tape, version)
        return handle

    def _functions(self, components: Mapping[str, Any]) -> dict[str, Lowered]:
        """Where a log's functions are found: this definition's components, and those given by name."""
        with self._program() as program:
            functions = dict(program.components)
        for name, component in components.items():
            functions[name] = Lowered(name, "", (), kinds.Wiring(()), as_component(component))
        return functions

    def at(self, position: int) -> Workflow:
        """The workflow as it was after `position` events; going on from it is a fork.

        Errors: `Forgotten` if `retain` let that go; `UsageError` if it has not happened yet.
        """
        if not isinstance(position, int) or position < 0 or position > self.position:
            raise UsageError(
                f"there is no position {position!r}: the log of {self.name!r} has {self.position} events."
            )
        if self._at is None:
            return self
        tape, version = self._at
        if position < tape.first_position and tape.baseline is not None:
            raise Forgotten(
                f"position {position} lies before the baseline at {tape.first_position}.",
                hint="keep more with `retain=`.",
            )
        if position == 0:
            return self._like(tape.definition)
        reached = tape.first_position
        for index, entry in enumerate(tape.journal[:version]):
            if reached == position:
                return self._on(tape, index)
            reached += not isinstance(entry, Mark)
        return self

    @property
    def fingerprint(self) -> str:
        """A digest of the graph and its code."""
        with self._program() as program:
            components = list(program.components.values())
        return Definition(self.name, "all", components, len(components)).defined(None).fingerprint

    def __eq__(self, other: object) -> bool:
        """Whether two workflows have the same graph and the same history, in every observable."""
        if not isinstance(other, Workflow):
            return NotImplemented
        if self is other:
            return True
        if self.position != other.position or self.fingerprint != other.fingerprint:
            return False
        if self._at is None or other._at is None:
            return self._at is other._at or self.position == other.position == 0
        with self._reading() as mine:
            ours = snapshot(mine)
        with other._reading() as yours:
            return ours == snapshot(yours)

    __hash__ = None  # type: ignore[assignment]  # a value that holds anything cannot be hashed

    def __reduce__(self) -> Any:
        with self._program() as program:
            components = tuple(program.components.values())
        log = self.log()
        history = None if self._at is None else (tuple(log), log.branch)
        return (_load, (self.name, self._definition.retain, components, self._run_key, history))

    def __repr__(self) -> str:
        with self._program() as program:
            count = len(program.components)
        if self._at is None:
            return f"<Workflow {self.name!r}: {count} components, no input yet>"
        with self._reading() as memory:
            open_inputs = sum(1 for root in memory.roots.values() if root.live)
            ready = len(memory.ready) + len(memory.released)
            return (
                f"<Workflow {self.name!r}: {count} components, {memory.next_number} inputs "
                f"({open_inputs} open), {ready} ready, {len(memory.out)} in flight, "
                f"{memory.position} events>"
            )

    # ------------------------------------------------------------------ looking

    def __getitem__(self, name: str) -> Component[Any, Any]:
        """The component of a name."""
        component: Component[Any, Any] = self._component_of(name).component
        return component

    def __contains__(self, name: object) -> bool:
        with self._program() as program:
            return name in program.components

    def components(self) -> list[str]:
        """The names of the components, in the order of adding."""
        with self._program() as program:
            return list(program.components)

    def results(
        self, *names: str, input: Any = -1, raise_on_failure: bool = False
    ) -> dict[str, Any]:
        """The output components' values (or those named) for one input, by default the last accepted.

        `input=td.ALL`: the latest over all inputs. A component inside a fan-out gives a list in item order. An
        output that was not produced is left out; a name asked for and not produced gives ABSENT.
        """
        from treadle.views import results

        return results.results(self, names, input, raise_on_failure=raise_on_failure)

    def raw_productions(self, name: str | None = None, *, input: Any = None) -> list[Any]:
        """The values of the outputs (or of one component), in log order, over all inputs or for one."""
        from treadle.views import results

        return results.raw_productions(self, name, input)

    def productions_by_component(self, *, input: Any = None) -> dict[str, list[Fact]]:
        """The facts of every component, by name, in log order."""
        from treadle.views import results

        return results.productions_by_component(self, input)

    def facts(self, name: str | None = None, *, input: Any = None) -> list[Fact]:
        """All facts (or those of one component), inner ones included, in log order."""
        from treadle.views import results

        return results.facts(self, name, input)

    def inputs(self) -> list[dict[str, Any]]:
        """Each remembered input: number, value, key, and how it stands."""
        from treadle.views import status

        return status.inputs(self)

    def failures(self, *, input: Any = None) -> list[Failure]:
        """What failed for good, in log order; `handled` says whether a handler succeeded."""
        from treadle.views import failures

        return failures.failures(self, input)

    def starved(self, *, input: Any = None) -> list[dict[str, Any]]:
        """Joins of finished inputs that were dropped half full: which, where, and what never came."""
        from treadle.views import status

        return status.starved(self, input)

    def states(self) -> dict[str, dict[Any, Any]]:
        """The current states of the accumulators, by component and key (None where there is no key)."""
        from treadle.views import status

        return status.states(self)

    def why(self, fact: Fact | Failure) -> dict[str, Any]:
        """The tree of facts that a fact was made from, down to the inputs, JSON-ready."""
        from treadle.views import lineage

        return lineage.why(self, fact)

    def touched(self, input: int = -1) -> dict[str, Any]:
        """All that one input caused, as a tree from the input down, JSON-ready."""
        from treadle.views import lineage

        return lineage.touched(self, input)

    def required_context(self) -> dict[str, dict[str, list[str]]]:
        """The run-time values that components ask for: `{"required": {name: [keys]}, "optional": ...}`."""
        from treadle.views import status

        return status.required_context(self)

    def to_mermaid(self, *, kind: str = "flowchart", direction: str = "TD", state: bool = False) -> str:
        """A Mermaid picture: of the graph (`"flowchart"`), or of what happened (`"sequence"`)."""
        from treadle.render import mermaid

        return mermaid.to_mermaid(self, kind=kind, direction=direction, state=state)

    def to_dot(self, *, direction: str = "TB", state: bool = False) -> str:
        """A Graphviz picture of the graph."""
        from treadle.render import dot

        return dot.to_dot(self, direction=direction, state=state)

    def to_cytoscape(self, *, state: bool = False) -> list[dict[str, Any]]:
        """The graph as Cytoscape elements, JSON-ready."""
        from treadle.render import cytoscape

        return cytoscape.to_cytoscape(self, state=state)

    def to_edgelist(self) -> list[tuple[str, str, str]]:
        """The graph as (parent, child, kind of edge)."""
        from treadle.render import edgelist

        return edgelist.to_edgelist(self)

    @contextmanager
    def inspect(self) -> Iterator[tuple[Memory, dict[int, BaseException]]]:
        """For the views: the memory, to look at only, and the live exceptions by position."""
        exceptions = {} if self._at is None else self._at[0].exceptions
        with self._reading() as memory:
            yield memory, exceptions


def refuse_history(other: Workflow, what: str) -> None:
    """Only templates can be put into another workflow."""
    if other.position:
        raise DefinitionError(
            f"{other.name!r} has a history, and cannot be {what}.",
            hint=f"give its template: {other.name}.at(0).",
        )


def warn_of_failure(workflow: str, event: Any) -> None:
    """A failure is recorded with a warning; who handles it silences the logger `treadle`."""
    import logging

    logging.getLogger("treadle").warning(
        "%s: %s failed for input %s: %s",
        workflow,
        event.node,
        ".".join(map(str, event.scope)),
        event.error,
    )


def _load(
    name: str,
    retain: str | int,
    components: tuple[Lowered, ...],
    run_key: str | None,
    history: tuple[tuple[Event, ...], Any] | None,
) -> Workflow:
    """Unpickle a workflow: the definition, then its log."""
    empty = Definition(name, retain, [], 0)
    template = Workflow(empty.with_components(components))
    template._run_key = run_key
    if history is None:
        return template
    log = Log(history[0])
    log.branch = history[1]
    return Workflow.from_log(template, log)
