"""Schedules: runs that begin other runs at the instants of a cron spec.

A schedule is itself a run, of the built-in workflow `treadle.schedule:<workflow>`: each of its inputs sleeps until one
instant, begins what is due then, and feeds the next. So it is as durable as any run, in any store, and is taken over as
any run is. A run begun by it has the instant in its id: whoever comes second finds it there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, Final

from msgspec import Struct

from treadle.components.sleep import sleep
from treadle.components.step import Step
from treadle.errors import DuplicateRun, RunElsewhere, RunEnded, TreadleError, UsageError, nearest
from treadle.model.definition import Definition
from treadle.policies.policy import Policy
from treadle.runner import stimuli as say
from treadle.runner.core import Core
from treadle.runner.cron import Cron, is_there, named
from treadle.runner.record import Ask
from treadle.value import Workflow

PREFIX: Final = "treadle.schedule:"
CATCH_UP: Final = ("skip", "one", "all")
MOST: Final = 100
BETWEEN_S: Final = 0.05
"""How long to wait for another runner that makes the same schedule."""
GRACE_S: Final = 60.0
"""An instant that is longer ago than that was missed."""
KEPT: Final = 16
"""How many finished instants the log of a schedule remembers."""


class Schedule(Struct, frozen=True, kw_only=True):
    """A schedule as it stands; `next_at` is in seconds since 1970 UTC, None while it begins what is due."""

    name: str
    spec: str
    zone: str
    workflow: str
    input: Any
    catch_up: str
    most: int
    next_at: float | None
    run_id: str
    """The run that it is."""


class Wanted(Struct, frozen=True, kw_only=True):
    """What somebody wants done when."""

    name: str
    spec: str
    zone: str
    workflow: str
    input: Any
    catch_up: str
    most: int

    def cron(self) -> Cron:
        """Its instants."""
        return Cron(self.spec, self.zone)

    def plain(self, due_at: float, now: float) -> dict[str, Any]:
        """As the input of its run that is for one instant."""
        own = {name: getattr(self, name) for name in self.__struct_fields__}
        return {**own, "due_at": due_at, "asked_at": now}


def wanted_of(value: dict[str, Any]) -> Wanted:
    """What such an input says."""
    return Wanted(**{name: value[name] for name in Wanted.__struct_fields__})


class UntilDue:
    """How long to sleep; its code may change without its being other code to a log."""

    def __call__(self, value: Any) -> float:
        """Seconds."""
        return float(max(0.0, value["due_at"] - value["asked_at"]))

    def fingerprint_data(self) -> str:
        """What it is, for good."""
        return "until due"


class Fire:
    """Begins what is due; its code may change, too."""

    def __init__(self, fire: Callable[[str, Any], Coroutine[Any, Any, list[str]]]) -> None:
        self._fire = fire

    async def __call__(self, value: Any) -> list[str]:
        """The ids of the runs."""
        return await self._fire(value["name"], value)

    def fingerprint_data(self) -> str:
        """What it is, for good."""
        return "fire"


class Timetable:
    """The schedules of a runner. All is called in the loop's thread."""

    def __init__(
        self,
        core: Core,
        start: Callable[[Workflow, str], Ask],
        answer: Callable[[Ask], Coroutine[Any, Any, Any]],
        *,
        takes_over: bool,
    ) -> None:
        self._core = core
        self._clock = core.clock
        self._start = start
        self._answer = answer
        self._find(takes_over=takes_over)

    # ---------------------------------------------------------------------------------- what is asked

    def _find(self, *, takes_over: bool) -> None:
        """Know the schedules of the workflows that are known, and let those go on that ended with their runner."""
        if self._core.store is None or not is_there():  # another runner may be able to
            return
        for name in [*self._core.definitions]:
            self._know(name)
            for info in self._core.infos(workflow=PREFIX + name) if takes_over else ():
                if info.status not in {say.CANCELLED, say.PARKED}:
                    self._wake(info.id)

    def _know(self, name: str) -> Workflow:
        """The built-in workflow of the schedules for the workflow of this name."""
        known = self._core.definitions.get(PREFIX + name)
        if known:
            return known[-1]
        made = (
            Workflow(Definition(PREFIX + name, KEPT, [], 0))
            .add(sleep(UntilDue(), name="until"))
            .add(Step(Fire(self._fire), name="fire"), to="until")
            .with_policies({"fire": PATIENCE})
        )
        self._core.register(made)
        return made

    async def schedule(self, wanted: Wanted, template: Workflow) -> str:
        """Have runs begun from now on; the id of the run that sees to it."""
        check_wanted(wanted)
        first = wanted.cron().after(self._clock.now())
        if first is None:
            raise UsageError(f"the cron spec {wanted.spec!r} names no instant that will ever come.")
        self._core.register(template)
        number = self._newest(wanted.name)
        last = id_of(wanted.name, number)
        if number and self._status(last) != say.CANCELLED:
            found = self._read(last)
            if found is not None and same(found, wanted):
                self._wake(last)
                if found.next_at is not None and found.next_at > first:
                    await self._go_back(wanted, last, found.next_at, first)
                return last
            if found is None:  # whoever made it came no further
                return await self._begin(wanted, last, first)
            await self._answer(self._core.cancel(last, None, "scheduled anew"))
        return await self._begin(wanted, id_of(wanted.name, number + 1), first)

    async def _begin(self, wanted: Wanted, id: str, first: float) -> str:
        with suppress(DuplicateRun):
            await self._answer(self._start(self._know(wanted.workflow), id))
        while not self._was_fed(id):
            try:
                await self._feed(wanted, id, first)
            except RunElsewhere:  # it is being made there at this very moment
                await asyncio.sleep(BETWEEN_S)
        return id

    async def unschedule(self, name: str) -> bool:
        """Begin nothing more; whether there was such a schedule."""
        last = id_of(name, self._newest(name))
        if self._status(last) in {None, say.CANCELLED}:
            return False
        await self._answer(self._core.cancel(last, None, "unscheduled"))
        return True

    def listed(self) -> list[Schedule]:
        """The schedules of the workflows that are known here, in the order of their making."""
        found = []
        for name in [name for name in self._core.definitions if name.startswith(PREFIX)]:
            for info in self._core.infos(workflow=name):
                schedule = None if info.status == say.CANCELLED else self._read(info.id)
                if schedule is not None:
                    found.append(schedule)
        return found

    # ------------------------------------------------------------------------------- what is looked up

    def _newest(self, name: str) -> int:
        """Which of the schedules of a name is the last one: those before it were replaced. 0: there is none."""
        number = 0
        while self._status(id_of(name, number + 1)) is not None:
            number += 1
        return number

    def _status(self, id: str) -> str | None:
        run = self._core.runs.get(id)
        if run is not None:
            return run.status
        info = None if self._core.store is None else self._core.store.info(id)
        return None if info is None else info.status

    def _read(self, id: str) -> Schedule | None:
        """A schedule by the id of its run; None for one that was not told yet what to do."""
        if not self._was_fed(id):
            return None
        live = self._core.workflow_of(id)
        value = live.inputs()[-1]["value"]
        waits = live.waiting()
        next_at = waits[-1]["value"]["due_at"] if waits else None
        fields = {name: value[name] for name in Wanted.__struct_fields__}
        return Schedule(**fields, next_at=next_at, run_id=id)

    def _was_fed(self, id: str) -> bool:
        """Whether a run has taken an input, wherever it is."""
        run = self._core.runs.get(id)
        if run is not None and run.machine is not None:
            return run.machine.workflow.last_input is not None
        info = None if self._core.store is None else self._core.store.info(id)
        return info is not None and info.position > 0

    def _wake(self, id: str) -> None:
        """Let a schedule go on that was stopped or left behind, unless somebody else has it."""
        is_alone = self._core.custody.leases is None and id not in self._core.runs
        if is_alone or self._status(id) in {say.STOPPED, say.PARKED}:
            with suppress(RunElsewhere, RunEnded):
                self._core.resume(id)

    # ---------------------------------------------------------------------------------- what is done

    async def _fire(self, name: str, value: dict[str, Any]) -> list[str]:
        """Begin what is due, and feed the next instant: done twice, it comes to the same."""
        wanted, now = wanted_of(value), self._clock.now()
        cron = wanted.cron()
        ids = []
        for instant in due(cron, value["due_at"], now, wanted):
            ids.append(f"{name}@{named(instant)}")
            await self._begin_run(wanted, ids[-1])
        following = cron.after(max(now, value["due_at"]))
        if following is not None:
            await self._feed(wanted, value["id"], following)
        return ids

    async def _feed(self, wanted: Wanted, id: str, due_at: float, key: str | None = None) -> None:
        value = {**wanted.plain(due_at, self._clock.now()), "id": id}
        named_by = key or named(due_at)
        await self._answer(self._core.submit(id, value, key=named_by, may_be_left=False))

    async def _go_back(self, wanted: Wanted, id: str, set_for: float, due_at: float) -> None:
        """The clock was ahead, and is right again: what comes next comes sooner than was thought."""
        with suppress(RunElsewhere):
            await self._feed(wanted, id, due_at, f"{named(due_at)} instead of {named(set_for)}")

    async def _begin_run(self, wanted: Wanted, id: str) -> None:
        template = self._core.definitions[wanted.workflow][-1]
        try:
            await self._answer(self._start(template, id))
        except DuplicateRun:
            if self._was_fed(id):
                return
        try:
            await self._answer(self._core.submit(id, wanted.input, key=id, may_be_left=False))
        except RunEnded:
            if self._core.is_closing:
                raise  # the next runner does it
        except TreadleError:
            if not self._was_fed(id):  # else another runner has it, and was quicker
                raise


PATIENCE: Final = Policy(
    max_retries=1_000_000_000,
    backoff="exponential",
    base_delay_s=0.1,
    max_delay_s=30.0,
    retry_on=Exception,  # also that this runner closes, or that another one has the run just now
    executor="asyncio",
)
"""What is due is begun sometime, however long the store is away, and whoever closes in the middle of it."""


def id_of(name: str, number: int) -> str:
    """The id of the run that is a schedule: each that replaces another has a number of its own."""
    return f"schedule:{name}#{number}"


def due(cron: Cron, due_at: float, now: float, wanted: Wanted) -> list[float]:
    """The instants to begin a run for, from `due_at` until now: those on time, and what is caught up with."""
    on_time = list(cron.between(max(due_at, now - GRACE_S), now))
    missed_until = now - GRACE_S - 0.001
    if missed_until < due_at or wanted.catch_up == "skip":
        return on_time
    if wanted.catch_up == "one":
        return on_time or cron.newest(due_at, missed_until, 1)
    return cron.newest(due_at, missed_until, wanted.most) + on_time


def same(found: Schedule, wanted: Wanted) -> bool:
    """Whether a schedule is what somebody wants."""
    return all(getattr(found, name) == getattr(wanted, name) for name in Wanted.__struct_fields__)


def check_wanted(wanted: Wanted) -> None:
    """Refuse what cannot be. Errors: `UsageError`."""
    name: Any = wanted.name  # not every caller is type-checked
    most: Any = wanted.most
    if not isinstance(name, str) or not name or not name.isprintable() or len(name) > 150:
        raise UsageError(
            f"the name {name!r:.80} of a schedule is not 1 to 150 printable characters."
        )
    if wanted.catch_up not in CATCH_UP:
        raise UsageError(
            f"catch_up={wanted.catch_up!r:.80} is none there is.{nearest(wanted.catch_up, CATCH_UP)}",
            hint=f"one of {', '.join(map(repr, CATCH_UP))}.",
        )
    if not isinstance(most, int) or isinstance(most, bool) or most < 1:
        raise UsageError(f"most={most!r:.80} is not a number of at least 1.")
    if len(wanted.workflow) + len(PREFIX) > 200:
        raise UsageError(
            f"the name {wanted.workflow!r:.80} is too long for a workflow with schedules."
        )
