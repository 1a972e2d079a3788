"""Runs that come of runs: the beginning of a stored log as a log of its own, and where such a run came from."""

from __future__ import annotations

import re
from hashlib import blake2b
from typing import Final

from msgspec import structs

from treadle.errors import LogError, UsageError
from treadle.interfaces import RunInfo, StoredRun
from treadle.model.definition import Definition
from treadle.model.events import Baseline, Defined, Event
from treadle.runner.record import Options, Run
from treadle.runner.stimuli import IDLE, RUNNING
from treadle.value import Workflow

ORIGIN: Final = re.compile(r"(?:^|; )((?:forked from|rerun of|upgraded from) .*)$", re.DOTALL)


def origin_in(note: str | None) -> str | None:
    """The part of a note that says which run this one came from.

    >>> origin_in("poisoned: OSError; forked from order-1 at 12")
    'forked from order-1 at 12'
    """
    found = None if note is None else ORIGIN.search(note)
    return None if found is None else found[1]


def with_origin(note: str | None, origin: str | None) -> str | None:
    """What is to be noted of a run, and where it came from, which stays to be seen whatever becomes of it.

    >>> with_origin("asked for", "forked from order-1 at 12")
    'asked for; forked from order-1 at 12'
    """
    if origin is None or note is None or origin_in(note) is not None:
        return note or origin
    return f"{note}; {origin}"


def key_of_its_own(stored: StoredRun, name: str, note: str) -> str:
    """The run key of a run that is made of another one: idempotency keys are made of it.

    It follows from the other one's, which nobody can guess, from the new id, which no other run has, and from what is
    made: two forks of one position differ, and one that is made once more, as after a crash, is the same.
    """
    known = run_key_in(stored) or stored.info.run_key
    told = f"{known}\0{name}\0{note}".encode("utf-8", "surrogatepass")
    return f"{name}:{blake2b(told, digest_size=16).hexdigest()}"


def forked(stored: StoredRun, at: int | None, name: str, now: float) -> StoredRun:
    """The beginning of a log as a run of its own, with a run key of its own; running where something is left to do.

    `at`: the position from which on the log is left out; None: all stays. Errors: `UsageError`.
    """
    length = stored.info.position
    position = length if at is None else at
    first = stored.events[0].position if stored.events else 0
    if not first <= position <= length:
        held = f"from {first} to {length}" if first else f"up to {length}"
        raise UsageError(f"the run {stored.info.id!r} has no position {position}: it has {held}.")
    note = f"forked from {stored.info.id} at {position}"
    run_key = key_of_its_own(stored, name, note)
    events = tuple(
        with_run_key(event, run_key)
        for event in stored.events
        if event.position < position or isinstance(event, Baseline)
    )
    has_open = False
    if events:
        empty = Workflow(Definition(stored.info.workflow, "all", [], 0))
        try:
            has_open = not Workflow.from_log(empty, events).is_satisfied()
        except LogError as error:
            raise UsageError(f"the log cannot be cut at {position}: {error}") from error
    info = RunInfo(
        id=name,
        workflow=stored.info.workflow,
        run_key=run_key,
        fingerprint=stored.info.fingerprint,
        status=RUNNING if has_open else IDLE,
        position=position,
        created_at=now,
        updated_at=now,
        note=note,
    )
    return StoredRun(info=info, events=events)


def rerun_of(
    stored: StoredRun,
    workflow: Workflow,
    component: str,
    *,
    input: int | None,
    name: str,
    now: float,
) -> StoredRun:
    """A run in which a component of `workflow`, which is `stored` folded, has its work to do again, with all below it.

    Errors: those of `Workflow.rerun`.
    """
    what = component if input is None else f"{component} for input {input}"
    note = f"rerun of {stored.info.id} at {stored.info.position}: {what}"
    key = key_of_its_own(stored, name, note)
    again = workflow.rerun(component, input=input, run_key=key)
    info = RunInfo(
        id=name,
        workflow=stored.info.workflow,
        run_key=key,
        fingerprint=stored.info.fingerprint,
        status=IDLE if again.is_satisfied() else RUNNING,
        position=again.position,
        created_at=now,
        updated_at=now,
        note=note,
    )
    return StoredRun(info=info, events=tuple(again.log()))


def run_key_in(stored: StoredRun) -> str | None:
    """The run key that a log was begun under."""
    head = stored.events[0] if stored.events else None
    defined = head.defined if isinstance(head, Baseline) else head
    return defined.run_key if isinstance(defined, Defined) else None


def with_run_key(event: Event, run_key: str) -> Event:
    """The event that a log begins with, in another run; all others as they are."""
    if isinstance(event, Defined):
        return structs.replace(event, run_key=run_key)
    if isinstance(event, Baseline):
        return structs.replace(event, defined=structs.replace(event.defined, run_key=run_key))
    return event


def offspring(run: Run, name: str, run_key: str, now: float) -> Run:
    """A new run beside another one: with its definition, what was added to it, and its options.

    Its deadline and its `on_complete` are the other one's alone.
    """
    has = run.options
    options = Options(
        policies=has.policies,
        scheduler=has.scheduler,
        context=has.context,
        max_concurrency=has.max_concurrency,
        max_open=has.max_open,
        durability=has.durability,
        given={
            key: value
            for key, value in has.given.items()
            if key not in {"deadline_s", "on_complete"}
        },
    )
    fresh = Run(name, run.definition, run_key, options, now)
    fresh.edited, fresh.extra = run.edited, dict(run.extra)
    fresh.was_begun_here = run.was_begun_here
    fresh.was_found = not run.was_begun_here and not options.given
    return fresh
