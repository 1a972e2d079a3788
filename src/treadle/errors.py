"""Every error Treadle raises, by whose fault it is.

    TreadleError
    |-- UsageError (ValueError)          you asked for something that cannot be
    |   |-- DefinitionError              a component or a wiring that cannot be
    |   |   |-- DuplicateName
    |   |   |-- UnknownComponent (LookupError)
    |   |   |-- ArityMismatch
    |   |   |-- IncompatibleTypes
    |   |   |-- PlacesDiffer
    |   |   |-- PatternError
    |   |   `-- CycleError
    |   |-- ForeignOutcome               an outcome of another workflow or branch
    |   |-- Forgotten (LookupError)      what `retain` has let go
    |   |-- CodeChanged                  a run was begun with other code than is given now
    |   |-- LogError                     a log that is damaged or of another definition
    |   |-- MissingFunction (LookupError)   the log names work whose function was not given
    |   |-- NotPortable                  something that cannot be pickled
    |   |-- DuplicateRun                 a run of this id is there already
    |   |-- UnknownRun (LookupError)     no run has this id
    |   |-- RunEnded                     the run takes nothing any more
    |   |-- RunElsewhere                 another runner has the run now
    |   |-- AmbiguousSignal              several waits of this name, and no key
    |   |-- StillWaiting                 an input that is not finished: it waits for a signal or a moment
    |   `-- Overloaded                   the run has as many open inputs, or messages, as it may have
    |-- WorkError                        your function failed; the cause is attached
    |   |-- StepFailed
    |   |-- ItemsFailed                  a reduce whose items failed
    |   |-- BadValue                     a value its receiver cannot take
    |   |-- EncodeError                  a value that cannot be stored and read back as it is
    |   |-- AmbiguousAttempt             an at-most-once attempt was interrupted; nobody knows how far it came
    |   |-- TimedOut                     an attempt took longer than its policy allows, or nobody answered in time
    |   |-- DeadlineExceeded             the time for an input, a run, or all attempts is over
    |   |-- Cancelled                    somebody withdrew the work
    |   |-- CircuitOpen                  not tried: it failed too often of late
    |   |-- RetryBudgetSpent             not tried again: the runner has tried too much again of late
    |   |-- WorkerDied                   the process that ran it is gone
    |   |-- RemoteFailure                an exception that cannot be rebuilt in this process
    |   `-- ValueLost                    a value kept in a cluster is gone
    |-- PlugError                        an executor, scheduler or store failed; your work is kept
    |   `-- StoreError
    |       |-- Conflict                 somebody else appended to the run
    |       |-- Fenced                   another runner has taken the run over
    |       |-- OutcomeUnknown           a commit was cut off; whether it counts is not known yet
    |       |-- Corrupt                  what is stored is not what was written
    |       |-- StoreFull                no room is left
    |       |-- StoreTaken               another process runs the workflows of this store
    |       |-- ReadOnly                 nothing can be written there
    |       |-- SchemaTooNew             a later version of the library wrote it
    |       |-- UnknownType              stored data names a type that nobody registered
    |       |-- BadSignature             signed data that was not signed with a known key
    |       `-- StoreUnavailable         try again later
    |-- MissingExtra (ImportError)       an optional dependency is not installed
    `-- TreadleBug                       ours: please report it

A message says what failed, which one, what was expected, and what to do. Errors pickle.
This module imports nothing of Treadle.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


class TreadleError(Exception):
    """Base of all errors; `hint` says what to do."""

    hint: str | None = None

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} Hint: {self.hint}" if self.hint else self.message

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.args, self.__dict__))


def _rebuild(
    kind: type[TreadleError], args: tuple[object, ...], fields: dict[str, object]
) -> TreadleError:
    """Unpickle an error without calling its constructor, whose signature may differ."""
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(fields)
    return error


class UsageError(TreadleError, ValueError):
    """The caller asked for something that cannot be."""


class DefinitionError(UsageError):
    """A component or its wiring cannot be; nothing was changed."""


class DuplicateName(DefinitionError):
    """Two components of one workflow would have the same name."""


class UnknownComponent(DefinitionError, LookupError):
    """No component has this name."""


class ArityMismatch(DefinitionError):
    """A component's ports and its parents do not fit."""


class IncompatibleTypes(DefinitionError):
    """A parent gives what its child does not take."""


class PlacesDiffer(DefinitionError):
    """Parents stand in fan-outs that do not enclose one another."""


class PatternError(DefinitionError):
    """A `match` pattern that cannot be."""


class CycleError(DefinitionError):
    """An edge would close a cycle."""


class ForeignOutcome(UsageError):
    """An outcome was made by another workflow, or by another branch after the two parted."""


class Forgotten(UsageError, LookupError):
    """What was asked for lies before the baseline that `retain` keeps."""


class LogError(UsageError):
    """A log is damaged, or belongs to another definition."""


class CodeChanged(UsageError):
    """A run was begun with other code than is given now, and nobody said what to do; `differences` names each."""

    def __init__(
        self, message: str, *, differences: tuple[Any, ...] = (), hint: str | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.differences = differences


class MissingFunction(UsageError, LookupError):
    """The log names work whose function the given definition does not have."""


class NotPortable(UsageError):
    """A value or function cannot be pickled."""


class DuplicateRun(UsageError):
    """A run of this id is there already."""


class UnknownRun(UsageError, LookupError):
    """No run has this id."""


class RunEnded(UsageError):
    """The run was stopped, cancelled or parked, and takes nothing until it is resumed."""


class RunElsewhere(UsageError):
    """Another runner of the same store has this run now, and what was asked for cannot be left for it."""


class AmbiguousSignal(UsageError):
    """Several waits have this name and the signal says no key; nothing was recorded."""


class StillWaiting(UsageError):
    """An input was to be finished, and waits for a signal or a moment."""


class Overloaded(UsageError):
    """The run has as many open inputs, or as many messages waiting, as it may have; nothing was accepted."""


class WorkError(TreadleError):
    """A user's function failed; the original exception is the cause."""


class StepFailed(WorkError):
    """A step failed: `component`, `input` and `attempt` say which; `__cause__` says why."""

    def __init__(
        self,
        message: str,
        *,
        component: str,
        input: int,
        attempt: int,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.component = component
        self.input = input
        self.attempt = attempt


class ItemsFailed(WorkError):
    """A reduce cannot close its group, since `items` (their indices) failed."""

    def __init__(self, message: str, *, items: tuple[tuple[int, ...], ...] = ()) -> None:
        super().__init__(message)
        self.items = items


class BadValue(WorkError):
    """A value is not what its receiver takes."""


class EncodeError(WorkError):
    """A value cannot be stored and read back exactly as it is: the text says where in it, and what to do."""


class AmbiguousAttempt(WorkError):
    """An attempt of an at-most-once step was interrupted: whether it took effect is for somebody to find out."""


class TimedOut(WorkError):
    """An attempt took longer than `timeout_s` of its policy, or nobody answered a `wait_for` within its own."""


class DeadlineExceeded(WorkError):
    """The time for an input, a run, or all attempts of a piece of work is over."""


class Cancelled(WorkError):
    """Somebody withdrew the work: `how` says what became of a body that was running.

    `"withdrawn"`: it had not begun. `"stopped"`: it was made to end. `"abandoned"`: it cannot be made to end; whatever
    it still gives is ignored.
    """

    def __init__(self, message: str, *, how: str = "withdrawn", hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.how = how


class CircuitOpen(WorkError):
    """It was not tried: its circuit breaker is open."""


class RetryBudgetSpent(WorkError):
    """It failed, and was not tried again: the runner's retry budget is spent. The failure is the cause."""


class WorkerDied(WorkError):
    """The process that ran the work is gone: `exit_code` is what it left with, negative for a signal."""

    def __init__(
        self, message: str, *, exit_code: int | None = None, hint: str | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.exit_code = exit_code


class RemoteFailure(WorkError):
    """Work failed elsewhere with an exception that cannot be rebuilt here; its text is in the message."""


class ValueLost(WorkError):
    """A value that was kept in a cluster is gone with the worker that held it."""


class PlugError(TreadleError):
    """An executor, scheduler or store failed; the work is kept."""


class StoreError(PlugError):
    """A store cannot do what it was asked."""


class Conflict(StoreError):
    """The run's log is not as long as the writer thought: somebody else wrote to it."""


class Fenced(StoreError):
    """Another runner has taken the run over: whoever had it before may write nothing any more."""


class OutcomeUnknown(StoreError):
    """A commit was cut off: it may or may not count, and reading back was not possible yet."""


class Corrupt(StoreError):
    """What is stored is not what was written."""


class StoreFull(StoreError):
    """No room is left: nothing was written."""


class StoreTaken(StoreError):
    """Another process runs the workflows of this store, and it takes one alone."""


class ReadOnly(StoreError):
    """Nothing can be written there."""


class SchemaTooNew(StoreError):
    """A later version of the library wrote this; take that version, or another file."""


class UnknownType(StoreError):
    """Stored data names a type that nobody has registered here."""


class BadSignature(StoreError):
    """Signed data was not signed with a key that is known here."""


class StoreUnavailable(StoreError):
    """The store cannot be reached now; nothing was written."""


class MissingExtra(TreadleError, ImportError):
    """An optional dependency is not installed; the hint has the install line."""


class TreadleBug(TreadleError):
    """An invariant of Treadle itself is broken: please report it with the log that led here."""


def nearest(name: object, known: Iterable[str]) -> str:
    """Return " Did you mean 'x'?" for the closest known name, else the known names, else nothing.

    >>> nearest("chekc", ["check", "decide"])
    " Did you mean 'check'?"
    """
    import difflib  # only a message needs it, and importing Treadle should stay cheap

    names = sorted(known)
    close = difflib.get_close_matches(str(name), names, n=1, cutoff=0.6)
    if close:
        return f" Did you mean {close[0]!r}?"
    if not names:
        return ""
    shown = ", ".join(map(repr, names[:8])) + (", ..." if len(names) > 8 else "")
    return f" Known: {shown}."
