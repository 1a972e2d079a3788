"""Handles: how a value stands on a tape, and the three phases.

A tape holds a journal of what was done (the log's events, and marks of work handed out, which are no events)
and, for its newest version only, the evaluated memory. An operation claims the memory (`dict.pop`, which is
atomic), changes it, appends to the journal as its last act, and puts the memory back under the new version.
Whoever finds no memory rebuilds one from the journal's prefix, which nobody ever changes, on a tape of its own.
So linear use costs O(1) an event, a fork costs one replay, and an exception in the middle loses a cache.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, Self

from treadle.engine.apply import NOW, conclude, error_of, orphan, pending_unit, try_again
from treadle.engine.baseline import is_worth_folding, snapshot
from treadle.engine.edit import Edit, EditEvent, apply_edit
from treadle.engine.fold import accept, cancel, take_out
from treadle.engine.loop import Drive
from treadle.engine.memory import Memory, hand_out, put_back, take_ready
from treadle.engine.prepare import make_runnable, peek_runnable
from treadle.engine.replay import at_rest, fresh
from treadle.engine.tape import Entry, Log, Tape
from treadle.errors import ForeignOutcome, Forgotten, UsageError
from treadle.model.definition import Definition
from treadle.model.errordata import ErrorData
from treadle.model.events import Event, InputAccepted, ScopeCancelled
from treadle.model.nodes import Context, Lowered
from treadle.model.program import Program
from treadle.model.runnables import FAILED, OK, SKIPPED, Again, Outcome, Runnable, runnable_id
from treadle.model.work import OUT, QUEUED, Unit, mark_of

if TYPE_CHECKING:
    from treadle.policies.matching import Policies

NOTHING: Final = object()
"""No input was given; None is a value."""

RUNS: Final = itertools.count()
"""Numbers the runs of this process, so that no two of them take each other's outcomes; no result depends on it."""

NO_CONTEXT: Final[Context] = {}
NO_EXCEPTIONS: Final[Mapping[int, BaseException]] = {}


class Reading:
    """Holds a handle's memory for as long as somebody looks at it; plain, since every look costs it."""

    __slots__ = ("_handle", "_memory", "_tape", "_version")

    def __init__(self, handle: Handle) -> None:
        self._handle = handle
        self._tape: Tape | None = None

    def __enter__(self) -> Memory:
        handle = self._handle
        if handle._at is None:
            return at_rest(handle._definition)
        self._tape, self._version, self._memory = handle._claim()
        return self._memory

    def __exit__(self, *_: object) -> None:
        if self._tape is not None:
            self._tape.slot[self._version] = self._memory


class Inspection(Reading):
    """A look at a workflow's memory, with the live exceptions of its failures."""

    __slots__ = ()

    def __enter__(self) -> tuple[Memory, dict[int, BaseException]]:  # type: ignore[override]
        memory = super().__enter__()
        return memory, {} if self._tape is None else self._tape.exceptions


class Handle:
    """A version of a tape: an immutable value, of which `Workflow` is the public kind."""

    __slots__ = ("__weakref__", "_at", "_context", "_definition", "_policies", "_run_key")

    def __init__(self, definition: Definition) -> None:
        self._definition = definition
        self._at: tuple[Tape, int] | None = None
        self._context: Context = NO_CONTEXT
        self._policies: Policies | None = None  # a workflow without wishes need not load them
        self._run_key: str | None = None

    def _on(self, tape: Tape, version: int) -> Self:
        kind = type(self)
        handle = kind.__new__(kind)
        handle._definition = self._definition
        handle._at = (tape, version)
        handle._context = self._context
        handle._policies = self._policies
        handle._run_key = self._run_key
        return handle

    def _like(self, definition: Definition, at: tuple[Tape, int] | None = None) -> Self:
        """A handle with this one's context, run key and branches."""
        handle = type(self)(definition)
        handle._context, handle._run_key = self._context, self._run_key
        handle._policies = self._policies
        handle._at = at
        return handle

    def _claim(self) -> tuple[Tape, int, Memory]:
        """The tape, version and memory to work on; makes them where they are not there."""
        if self._at is None:
            tape = Tape(self._definition, ((0, next(RUNS)),), self._run_key)
            return tape, 0, fresh(self._definition)
        tape, version = self._at
        memory = tape.slot.pop(version, None)
        if memory is None:
            tape, memory = tape.fork(version)
            version = len(tape.journal)
            self._at = (tape, version)
        return tape, version, memory

    def _reading(self) -> Reading:
        """The memory, to look at only; put back under the same version."""
        return Reading(self)

    def _commit(
        self,
        tape: Tape,
        memory: Memory,
        entries: Iterable[Entry],
        exceptions: Mapping[int, BaseException] = NO_EXCEPTIONS,
    ) -> Self:
        """The last act of an operation: what it did is now so."""
        if exceptions:
            tape.exceptions.update(exceptions)
        tape.journal.extend(entries)
        version = len(tape.journal)
        tape.slot[version] = memory
        return self._on(tape, version)

    def _unchanged(self, tape: Tape, memory: Memory) -> Self:
        """Put the memory back: nothing came of an operation."""
        if self._at is not None:
            tape.slot[self._at[1]] = memory
        return self

    @contextmanager
    def _program(self) -> Generator[Program]:
        if self._at is None:
            yield self._definition.program()
        else:
            with self._reading() as memory:
                yield memory.program

    def with_context(self, run_context: Context) -> Self:
        """This workflow with values for `context` markers: by component name, and under `"_global"`."""
        if not is_a(run_context, Mapping):
            raise UsageError(
                f"run_context is {run_context!r:.80}, and should be a dict by component name.",
                hint='run_context={"component": {"key": value}, "_global": {"key": value}}.',
            )
        for name, values in run_context.items():
            if not isinstance(values, Mapping):
                raise UsageError(
                    f"run_context[{name!r}] is {values!r:.80}, and should be a dict of keys to values.",
                    hint='run_context={"component": {"key": value}, "_global": {"key": value}}.',
                )
        handle = self._like(self._definition, self._at)
        handle._context = {name: dict(values) for name, values in run_context.items()}
        return handle

    def with_run_key(self, run_key: str) -> Self:
        """This template, for a run of its own: `run_key` makes its idempotency keys differ from others'."""
        if self._at is not None:
            raise UsageError(
                f"{self.name!r} is under way; a run key is given before the first input."
            )
        if not is_a(run_key, str):
            raise UsageError(f"a run key is a str, and this is {run_key!r:.80}.")
        handle = self._like(self._definition)
        handle._run_key = run_key
        return handle

    @property
    def name(self) -> str:
        """The workflow's name."""
        return self._definition.name

    @property
    def run_key(self) -> str | None:
        """The key of this run, part of every idempotency key."""
        return self._run_key

    @property
    def position(self) -> int:
        """How many events the log has, folded ones included."""
        if self._at is None:
            return 0
        with self._reading() as memory:
            return memory.position

    @property
    def last_input(self) -> int | None:
        """The number of the input accepted last."""
        if self._at is None:
            return None
        with self._reading() as memory:
            return memory.next_number - 1 if memory.next_number else None

    def input_of_key(self, key: str) -> int | None:
        """The number of the input that was accepted under a key, if it is remembered."""
        with self._reading() as memory:
            return memory.keys.get(key)

    def plan_eagerly(
        self,
        input: Any = NOTHING,
        *,
        key: str | None = None,
        run_context: Context | None = None,
        at: float | None = None,
        deadline_at: float | None = None,
    ) -> Self:
        """Accept an input, if one is given, and plan: ask the conditions that watch new facts.

        `key` makes a second input of the same key a no-op. `run_context` gives values for `context` markers,
        here and in all that follows from the returned workflow. `at` is the time, as a number of seconds: of
        acceptance, for the log, and for the clocks of waits that begin. `deadline_at` is when a runner is to give the
        input up.
        """
        if run_context is not None:
            return self.with_context(run_context).plan_eagerly(
                input, key=key, at=at, deadline_at=deadline_at
            )
        return self._driven(input, key, at, Drive.plan, deadline_at)

    def _driven(
        self,
        input: Any,
        key: str | None,
        at: float | None,
        go_on: Callable[[Drive], None],
        deadline_at: float | None = None,
    ) -> Self:
        """One operation: accept the input, if there is one, and drive the memory on."""
        if not is_a(key, str, type(None)):
            raise UsageError(f"key={key!r:.80} is not a str, and cannot be the key of an input.")
        if input is NOTHING and self._at is None:
            return self
        tape, _, memory = self._claim()
        if input is NOTHING or (key is not None and key in memory.keys):
            drive = self._drive(tape, memory, at)
        else:
            scope = (memory.next_number,)
            event = InputAccepted(memory.position, scope, input, key, at, deadline_at)
            accept(memory, event)
            if memory.forgotten and is_worth_folding(memory):
                tape = tape.folded(memory)
                drive = self._drive(tape, memory, at)
            else:
                drive = self._drive(tape, memory, at)
                drive.entries.append(event)
        go_on(drive)
        for failed in drive.failures:
            warn_of_failure(self.name, *failed)
        if not drive.entries and self._at is not None and self._at[0] is tape:
            return self._unchanged(tape, memory)
        return self._commit(tape, memory, drive.entries, drive.exceptions)

    def run_inline(self, input: Any, key: str | None, at: float | None = None) -> Self:
        """Accept the input, if there is one, and go on until nothing is ready, as one operation."""
        return self._driven(input, key, at, Drive.run)

    def _drive(self, tape: Tape, memory: Memory, at: float | None = None) -> Drive:
        return Drive(memory, tape.run_key, tape.branch, self._context, at)

    def prepare_for_dispatch(
        self,
        limit: int | None = None,
        *,
        run_context: Context | None = None,
        at: float | None = None,
    ) -> tuple[Self, list[Runnable]]:
        """Hand out ready work, oldest cause first, each runnable once, and mark it in flight.

        `limit`: at most so many. Facts that nobody planned yet are planned first; `at` is the time of that.
        """
        if run_context is not None:
            return self.with_context(run_context).prepare_for_dispatch(limit, at=at)
        if limit is not None and not is_count(limit):
            raise UsageError(f"limit={limit!r} is no number of runnables.", hint="None means all.")
        if self._at is None:
            return self, []
        tape, _, memory = self._claim()
        entries: list[Entry] = []
        exceptions: Mapping[int, BaseException] = NO_EXCEPTIONS
        if memory.unplanned:
            drive = self._drive(tape, memory, at)
            drive.plan()
            entries, exceptions = drive.entries, drive.exceptions
            for failed in drive.failures:
                warn_of_failure(self.name, *failed)
        runnables: list[Runnable] = []
        handed: list[Unit] = []
        while limit is None or len(runnables) < limit:
            unit = take_ready(memory)
            if unit is None:
                break
            hand_out(memory, unit)
            handed.append(unit)
            runnables.append(make_runnable(memory, unit, tape.run_key, tape.branch, self._context))
        if handed:
            entries.append(mark_of(handed, out=True))
        if not entries:
            return self._unchanged(tape, memory), []
        return self._commit(tape, memory, entries, exceptions), runnables

    def release(self, runnable: Runnable) -> Self:
        """Put a runnable that was handed out back, into its old place in the order."""
        if not is_a(runnable, Runnable):
            raise UsageError(
                f"release takes a Runnable, and was given {runnable!r:.80} ({type(runnable).__name__})."
            )
        self._check_ours(runnable)
        tape, _, memory = self._claim()
        unit = pending_unit(memory, runnable)
        if unit is None or unit.status != OUT:
            return self._unchanged(tape, memory)
        put_back(memory, unit)
        return self._commit(tape, memory, [mark_of([unit], out=False)])

    def apply_runnable(
        self, outcome: Outcome, *, retry: bool | Again = False, on_failure: str | None = None
    ) -> Self:
        """Fold an outcome in; what becomes ready downstream does so at once.

        Applied once, if its runnable is pending: late and double outcomes change nothing. `retry=True` makes
        a failed attempt's work ready again instead of giving it up (an `Again` says when, and for how long).
        `on_failure` is what a failure does to the rest, in place of what its component says.

        Errors: `ForeignOutcome` if it was prepared by another workflow, or by another branch of this one after
        the two parted.
        """
        if not is_a(outcome, Outcome) or outcome.status not in (OK, FAILED, SKIPPED):
            raise UsageError(
                f"apply_runnable takes an Outcome, and was given {outcome!r:.80} ({type(outcome).__name__}).",
                hint="pass what td.execute_runnable(runnable) returned.",
            )
        self._check_ours(outcome)
        tape, _, memory = self._claim()
        unit = pending_unit(memory, outcome)
        event: Event | None
        exceptions: Mapping[int, BaseException] = NO_EXCEPTIONS
        if unit is None:
            event = orphan(memory, outcome)
        elif unit.status >= QUEUED or (outcome.status == FAILED and outcome.attempt < unit.attempt):
            event = None
        else:
            if unit.status != OUT:
                take_out(memory, unit)
            if retry and outcome.status == FAILED:
                event = try_again(memory, unit, outcome, NOW if retry is True else retry)
            else:
                event = conclude(memory, unit, outcome, on_failure)
            if outcome.exception is not None:
                exceptions = {event.position: outcome.exception}
        if event is None:
            return self._unchanged(tape, memory)
        if unit is not None and outcome.status == FAILED:
            warn_of_failure(self.name, outcome.node, outcome.scope, error_of(outcome))
        return self._commit(tape, memory, [event], exceptions)

    def cancel(self, input: int = -1, *, reason: str = "", at: float | None = None) -> Self:
        """Withdraw all that is left to do for an input; of a finished one, nothing changes.

        Work that is out cannot be called back from here: its first outcome is recorded as orphaned.
        """
        with self._reading() as memory:
            number = self._number(memory, input)
            root = memory.roots.get(number)
            if root is None or root.done:
                return self
        tape, _, memory = self._claim()
        event = ScopeCancelled(memory.position, (number,), reason, at)
        cancel(memory, event)
        return self._commit(tape, memory, [event])

    def _number(self, memory: Memory, input: Any) -> int:
        """The number of an input that may be counted from the end."""
        if not is_a(input, int):
            raise UsageError(f"input={input!r:.80} is not the number of an input.")
        number: int = input if input >= 0 else memory.next_number + input
        if not 0 <= number < memory.next_number:
            raise UsageError(
                f"there is no input {input}: {memory.next_number} were accepted.",
                hint="see inputs().",
            )
        return number

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
        tape, version, memory = self._claim()
        runnable = bool(memory.ready or memory.released or memory.unplanned)
        tape.slot[version] = memory
        return runnable

    def next_runnables(self) -> list[Runnable]:
        """What `prepare_for_dispatch` would hand out of the work that is ready now; marks nothing."""
        if self._at is None:
            return []
        with self._reading() as memory:
            tape = self._at[0]
            units = [*memory.ready, *[entry[3] for entry in memory.released]]
            units.sort(key=lambda unit: (unit.made_at, unit.node.index, unit.scope.path))
            return [
                peek_runnable(memory, unit, tape.run_key, tape.branch, self._context)
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
        if self._at is None and input is None:
            return True
        with self._reading() as memory:
            if input is None:
                return memory.open_count == 0
            root = memory.roots.get(self._number(memory, input))
            return root is None or root.live == 0

    def _edit(self, event: EditEvent, lowered: tuple[Lowered, ...]) -> Self:
        """Fold an edit; if it is refused, the memory that may be half changed is dropped, not put back."""
        tape, _, memory = self._claim()
        edit = Edit(event, lowered)
        apply_edit(memory, edit)
        return self._commit(tape, memory, [edit])

    def log(self) -> Log:
        """All that has happened, as events: `Defined` (or a `Baseline`) first; empty before the first input."""
        if self._at is None:
            return Log()
        tape, version = self._at
        log = Log([tape.head, *tape.events(version)])
        log.branch = tape.branch
        return log

    def at(self, position: int) -> Self:
        """The workflow as it was after `position` events; going on from it is a fork.

        Errors: `Forgotten` if `retain` let that go; `UsageError` if it has not happened yet.
        """
        if not is_count(position) or position > self.position:
            raise UsageError(
                f"there is no position {position!r}: the log of {self.name!r} has {self.position} events."
            )
        if self._at is None:
            return self
        tape, _ = self._at
        if position < tape.first_position and tape.baseline is not None:
            raise Forgotten(
                f"position {position} lies before {tape.first_position}, where what is remembered begins.",
                hint="keep more with `retain=`.",
            )
        if position == 0:
            return self._like(tape.definition)
        return self._on(*tape.until(position))

    def reading(self) -> Reading:
        """For the views: the memory, to look at only."""
        return self._reading()

    @property
    def fingerprint(self) -> str:
        """A digest of the graph and its code."""
        return self._edited().defined(None).fingerprint

    def fingerprint_like(self, recorded: str) -> str:
        """The fingerprint by the scheme of another one, which may be an earlier one, to be compared with it."""
        return self._edited().fingerprint_like(recorded)

    def _edited(self) -> Definition:
        """The graph as it is now."""
        if self._at is None:
            return self._definition
        with self._program() as program:
            components = list(program.components.values())
        return Definition(self.name, "all", components, len(components))

    def __eq__(self, other: object) -> bool:
        """Whether two workflows have the same graph and the same history, in every observable."""
        if not isinstance(other, Handle):
            return NotImplemented
        if self is other:
            return True
        if (self.name, self.position) != (other.name, other.position):
            return False
        if self.fingerprint != other.fingerprint:
            return False
        if self._at is None or other._at is None:
            return self._at is other._at or self.position == other.position == 0
        with self._reading() as mine:
            ours = snapshot(mine)
        with other._reading() as yours:
            return ours == snapshot(yours)

    __hash__ = None  # type: ignore[assignment]  # a value that holds anything cannot be hashed


def is_a(value: Any, *kinds: type) -> bool:
    """Whether an argument is of a kind, whatever its annotation promised: callers are not always type-checked."""
    return isinstance(value, kinds)


def is_count(number: Any) -> bool:
    """Whether something is a whole number of at least 0."""
    return isinstance(number, int) and not isinstance(number, bool) and number >= 0


def warn_of_failure(workflow: str, node: str, scope: tuple[int, ...], error: ErrorData) -> None:
    """A failure is recorded with a warning; who handles it silences the logger `treadle`."""
    import logging  # loads much, and a workflow that never fails never needs it

    from treadle.model.one_line import one_line

    place = ".".join(map(str, scope))
    why = one_line(str(error))
    logging.getLogger("treadle").warning(
        "%s: %s failed for input %s: %s", workflow, node, place, why
    )
