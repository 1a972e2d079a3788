"""`AsyncRunner`: many workflows by id, supervised, on the running event loop.

It is thin: it checks arguments, hands them to the core, and waits for its answer.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from os import PathLike
from types import TracebackType
from typing import Any, Final, Self

from treadle.errors import RunElsewhere, UsageError
from treadle.interfaces import Clock, Codec, Hooks, Observer, RunInfo, Scheduler, Store, Trimmed
from treadle.model.forms import OpenWait
from treadle.model.sentinels import ALL
from treadle.policies.matching import Policies, Rules, policies_from
from treadle.runner.budget import RetryBudget
from treadle.runner.clock import SteadyClock
from treadle.runner.host import AsyncHost
from treadle.runner.keeper import LEASE_S, POLL_S
from treadle.runner.lives import Lives
from treadle.runner.options import (
    StartOptions,
    check_count,
    check_patience,
    check_plugs,
    check_seconds,
    gather,
    places_of,
    said,
)
from treadle.runner.record import DURABILITIES, FULL, WAITING, Ask, Options, status_to_store
from treadle.runner.registry import KEEP_WARM, Restarts
from treadle.runner.retention import Retention
from treadle.runner.schedules import MOST, Schedule, Timetable, Wanted
from treadle.runner.streams import EventStream
from treadle.runner.ticket import Ticket
from treadle.runner.watchdog import LAG_S, Watchdog
from treadle.runner.wishes import TRANSACTIONS
from treadle.value import Workflow
from treadle.wiring import make_scheduler, make_store, make_transactions

logger = logging.getLogger("treadle.runner")

DRAIN_S: Final = 60.0
"""How long a closing runner waits for what is out."""
NO_OPTIONS: Final[Mapping[str, Any]] = {
    **dict.fromkeys(StartOptions.__annotations__),
    "if_exists": "error",
}
LAST_S: Final = 5.0
"""How long it waits for the store to take what was handed back."""


class AsyncRunner:
    """Keeps many workflows running by id, on the running event loop.

    `store`: `"memory"`, `"sqlite:///orders.db"`, a store, or None to keep nothing; `codec` turns values into bytes
    there. `workflows`: the definitions that runs are brought back with: those of them that have something to do in a
    store that several runners may share are, at once, and whenever another runner is lost; with `recover=False` only
    those that it is asked for.
    `on_code_change`: what becomes of runs whose code is another now: `"refuse"`, `"keep"`, `"adopt"` or `"recompute"`,
    for all or by component, matched as policies are.

    `lease_s`: how long after its last sign of life; `poll_s`: how often this one looks.
    `executor`: where plain functions run by default (async ones are awaited on this loop); `executors` adds others by
    name, for policies to name. `policies`, `scheduler` and `max_concurrency` hold for all runs; a run may have its own.
    `observers` and `hooks` are told what happens. `restarts` says how often a run may crash before it is parked.
    `retry_budget` bounds the retries of all runs together (None: by their policies alone).
    `retention`: how long runs that are over stay in the store; a `Retention`, or one for each workflow by name, with
    `"*"` for the other ones (None: for ever).
    `lag_s`: when the event loop has not turned for so long, a warning says who holds it up (0 or None: never).
    Units: seconds.

    Use it as `async with AsyncRunner() as runner`, or `close()` it.
    """

    def __init__(
        self,
        *,
        store: str | PathLike[str] | Store | None = "memory",
        workflows: Iterable[Workflow] = (),
        executor: str | Any = "threads",
        executors: Mapping[str, Any] | None = None,
        policies: Rules | None = None,
        scheduler: str | Scheduler | None = None,
        max_concurrency: int | None = None,
        observers: Sequence[Observer] = (),
        hooks: Hooks | None = None,
        clock: Clock | None = None,
        drain_s: float = DRAIN_S,
        restarts: Restarts | None = None,
        keep_warm: int | None = KEEP_WARM,
        codec: Codec | None = None,
        on_code_change: Any = "refuse",
        recover: bool = True,
        lease_s: float = LEASE_S,
        poll_s: float = POLL_S,
        lag_s: float | None = LAG_S,
        retry_budget: RetryBudget | None = None,
        retention: Retention | Mapping[str, Retention] | None = None,
    ) -> None:
        for name, seconds in (("lease_s", lease_s), ("poll_s", poll_s), ("lag_s", lag_s or None)):
            check_seconds(name, seconds)
        check_count("max_concurrency", max_concurrency)
        check_count("keep_warm", keep_warm)
        check_plugs(observers, hooks, clock, workflows)
        check_patience(restarts, drain_s, retry_budget, retention)
        self._drain_s = drain_s
        self._scheduler = None if scheduler is None else make_scheduler(scheduler)
        self._clock = clock = clock or SteadyClock()
        self._host = AsyncHost(running_loop(), clock)
        listed = [*observers, *([] if hooks is None else [hooks])]
        known, default = gather(executor, executors or {})
        kept = make_store(store, codec)
        if (transactions := make_transactions(kept)) is not None:
            known[TRANSACTIONS] = transactions
        places = places_of(known, default)
        self._core = Lives(
            executors=known,
            places=places,
            clock=clock,
            store=kept,
            observers=listed,
            host=self._host,
            call_soon=self._host.call_soon,
            spawn=self._spawn_callback,
            policies=policies_from(policies),
            workflows=workflows,
            on_code_change=on_code_change,
            max_concurrency=max_concurrency,
            restarts=restarts,
            keep_warm=keep_warm,
            lease_s=lease_s,
            poll_s=poll_s,
            retry_budget=retry_budget,
        )
        self._host.pump = self._core.loop.pump
        self._watchdog = Watchdog(self._host.event_loop, self._core.loop, lag_s)
        self._core.stir = self._watchdog.stir
        self._tasks: set[asyncio.Task[Any]] = set()
        self._callbacks: set[asyncio.Task[Any]] = set()
        self._core.check_policies(self._core.policies)
        self._core.retain(retention)
        plainly, answer = self._start_plainly, self._answer
        self._timetable = Timetable(self._core, plainly, answer, takes_over=recover)
        self._core.begin_keeping(takes_over=recover)

    async def start(
        self,
        workflow: Workflow,
        id: str | None = None,
        *,
        if_exists: str = "error",
        policies: Rules | None = None,
        scheduler: str | Scheduler | None = None,
        run_context: Mapping[str, Mapping[str, Any]] | None = None,
        max_concurrency: int | None = None,
        max_open: int | None = None,
        deadline_s: float | None = None,
        durability: str | None = None,
        on_complete: Callable[[str, Workflow], Any] | None = None,
    ) -> str:
        """Begin a run of a workflow, and say its id (one is made up if none is given).

        `if_exists="resume"` lets a run of this id go on: one that has ended, with these options; one that is at work,
        with those it has, and other ones are refused. `max_concurrency`: how many bundles of it may be out at once;
        `max_open`: how many inputs may be open. `deadline_s`: the run is cancelled then. `on_complete(id, workflow)` is
        called each time that nothing is left to do.

        `durability`: with `"full"`, as a new run is, a power cut takes nothing that was acknowledged; with `"normal"`
        it may take the last moments, and the end of the process takes nothing; with `"relaxed"` nothing waits for the
        store, and either may take the last moments; with `"none"` it goes to no store.

        Deadline and durability stay with the run, whoever has it later; one that goes on keeps its deadline.

        Errors: `DuplicateRun`; `UsageError` for what cannot be, and for other options of a run that is at work.
        """
        started: str = await self._answer(
            self._start(
                workflow,
                id,
                if_exists=if_exists,
                policies=policies,
                scheduler=scheduler,
                run_context=run_context,
                max_concurrency=max_concurrency,
                max_open=max_open,
                deadline_s=deadline_s,
                durability=durability,
                on_complete=on_complete,
            )
        )
        return started

    def _start(self, workflow: Workflow, id: str | None, **given: Any) -> Ask:
        options = self._options(given)
        return self._core.start(workflow, id, options, given["if_exists"])

    def _start_plainly(self, workflow: Workflow, id: str) -> Ask:
        return self._start(workflow, id, **NO_OPTIONS)

    def _scheduler_of(self, wanted: str | Scheduler | None) -> Scheduler | None:
        return self._scheduler if wanted is None else make_scheduler(wanted)

    def _options(self, given: dict[str, Any]) -> Options:
        check_count("max_concurrency", given["max_concurrency"])
        check_count("max_open", given["max_open"])
        check_seconds("deadline_s", given["deadline_s"])
        durability = FULL if given["durability"] is None else given["durability"]
        if durability not in DURABILITIES:
            known = ", ".join(map(repr, DURABILITIES))
            raise UsageError(
                f"durability={given['durability']!r} is none there is.", hint=f"one of {known}."
            )
        policies = policies_from(given["policies"])
        self._core.check_policies(policies)
        deadline_s = given["deadline_s"]
        return Options(
            policies=policies,
            scheduler=self._scheduler_of(given["scheduler"]),
            context=given["run_context"],
            max_concurrency=given["max_concurrency"],
            max_open=given["max_open"],
            on_complete=given["on_complete"],
            deadline_at=None if deadline_s is None else self._clock.now() + deadline_s,
            durability=durability,
            given=said(given),
        )

    async def run(
        self,
        id: str,
        input: Any,
        key: str | None = None,
        *,
        run_context: Mapping[str, Mapping[str, Any]] | None = None,
        policies: Rules | None = None,
        deadline_s: float | None = None,
    ) -> Ticket:
        """Feed an input to a run; it is stored when this returns. The ticket has that input's results.

        A second input of the same `key` is the first one again. `run_context` and `policies` are for this input, before
        the run's own. `deadline_s`: what is left to do for it then is cancelled.
        Where another runner has the run, or nobody who knows its workflow, it is left in the inbox: the `input` of the
        ticket is None until it is taken, and what would be raised here is raised by that. `policies` cannot be left.

        Errors: `UnknownRun`, `RunEnded`, `Overloaded`, `EncodeError`, `StoreUnavailable`; `UsageError`.
        """
        asked = self._run(
            id, input, key, run_context=run_context, policies=policies, deadline_s=deadline_s
        )
        if asked.done and asked.error is None:  # as nearly always: nothing to wait for
            ticket: Ticket = asked.value
        else:
            ticket = await self._answer(asked)
        return ticket

    def _run(
        self,
        id: str,
        input: Any,
        key: str | None,
        *,
        run_context: Any,
        policies: Rules | None,
        deadline_s: float | None,
    ) -> Ask:
        if key is not None and not isinstance(key, str):
            raise UsageError(f"key={key!r:.80} is not a str.")
        own: Policies | None = None
        deadline_at = None
        if policies is not None:
            own = policies_from(policies)
            self._core.check_policies(own)
        if deadline_s is not None:
            check_seconds("deadline_s", deadline_s)
            deadline_at = self._clock.now() + deadline_s
        return self._core.submit(
            id, input, key=key, context=run_context, policies=own, deadline_at=deadline_at
        )

    submit = run
    """The same."""

    async def get_results(self, id: str, *names: str, input: Any = ALL) -> dict[str, Any]:
        """The output components' latest values over all inputs, or those of one `input`, by name."""
        return self._core.workflow_of(id).results(*names, input=input)

    async def get_workflow(self, id: str) -> Workflow:
        """The run's workflow as it is now: a value of its own, free to use, with nothing in flight."""
        return self._core.workflow_of(id)

    def look_at(self, id: str) -> Workflow:
        """The run's live workflow, to be read at once, in this runner's thread: by observers, and callbacks of tickets.

        It costs nothing, where `get_workflow` folds the log anew. It is not to be kept, nor gone on with.
        """
        machine = self._core.find(id).machine
        return self._core.workflow_of(id) if machine is None else machine.workflow

    def rests(self, id: str) -> bool:
        """Whether a run can do nothing by itself now: its inputs wait for somebody, or for a moment."""
        run = self._core.find(id)
        has_retries = run.machine is not None and bool(run.machine.delayed)
        return status_to_store(run) == WAITING and not has_retries

    async def stop(self, id: str, *, now: bool = False, persist: bool = True) -> str:
        """End a run in order: what is out comes back first; say its last status.

        `now`: do not wait; what is out stays to be done. It may be resumed, unless `persist=False`, which forgets it.
        """
        return str(await self._answer(self._core.stop(id, now=now, persist=persist)))

    async def resume(self, id: str, *, settled: Mapping[str, Any] | None = None) -> str:
        """Let a stopped or parked run go on from its log.

        `settled`: what was found out about interrupted attempts of at-most-once steps, by component: what it gave, or
        `td.RetryWith()` if it is to be made again. Errors: `UnknownRun`, `RunEnded`, `RunElsewhere`, `CodeChanged`.
        """
        return str(await self._answer(self._core.resume(id, settled_as=settled)))

    async def fork(self, id: str, *, at: int | None = None, new_id: str | None = None) -> str:
        """Begin a new run of what a run was after `at` events of its log (all of them by default); say its id.

        The run it is of stays as it is, whoever has it; of its log counts what is stored. What was left to do there is
        done by the new one, under keys of its own: its run key is another, and so are the idempotency keys, so a
        receiver takes what it does for new. It has the options that the run has here, but for `deadline_s` and
        `on_complete`; `on_code_change` decides about its code; its note says where it came from.

        Errors: `UnknownRun`; `DuplicateRun`; `CodeChanged`; `UsageError` for a position that is not there, and where
        the workflow is not registered.
        """
        return str(await self._answer(self._core.fork(id, at, new_id)))

    async def rerun(
        self, id: str, component: Any, *, input: int | None = None, new_id: str | None = None
    ) -> str:
        """Begin a new run in which a component, and all below it, has its work to do again; say its id.

        For one input, or for all, as `Workflow.rerun`; otherwise as `fork`: what is done again is done under keys of
        its own, and so happens again. Errors: as `fork`; `Forgotten`, `UnknownComponent`.
        """
        return str(await self._answer(self._core.rerun(id, component, input, new_id)))

    async def continue_as_new(self, id: str) -> int:
        """Fold the log of an idle run into what it has come to, in place, when that is stored; say its position.

        Id, run key, states, input keys and numbers stay, and positions go on; finished inputs are forgotten, but for
        the last one. So a run that lives for ever stays small.

        Errors: `UsageError` while inputs are open, and where the run is in no store; `RunEnded`, `RunElsewhere`.
        """
        return int(await self._answer(self._core.continue_as_new(id)))

    async def cancel(self, id: str, *, input: int | None = None, reason: str = "") -> None:
        """Withdraw all that is left to do for one input, or for the whole run, which ends with that.

        Work that runs is made to end where its executor can do that.
        """
        await self._answer(self._core.cancel(id, input, reason))

    async def signal(
        self, id: str, name: Any, payload: Any = None, key: str | int | None = None
    ) -> None:
        """Answer a `wait_for` of a run by its name, and key where several wait; it is stored when this returns.

        Where another runner has the run, it is left in the inbox for that one, which looks at it once more: what does
        not fit the form that is stored with the wait is refused here.
        Errors: `UnknownRun`, `RunEnded`, `AmbiguousSignal`, `BadValue`, `UnknownComponent`.
        """
        await self._answer(self._core.signal(id, name, payload, key))

    async def waiting(
        self,
        *,
        workflow: str | None = None,
        name: str | None = None,
        limit: int | None = None,
        after: str | None = None,
    ) -> list[OpenWait]:
        """The waits that somebody may answer, in all runs of the store, oldest run first, whoever has them.

        Of one workflow, or of one name. Only runs that are running or waiting are read. `limit`: no further run is read
        once so many were found; `after`: only runs made after this one: the `run` of the last wait of the page before.

        Errors: `UnknownRun` for an `after` that is not there.
        """
        check_count("limit", limit)
        found: list[OpenWait] = []
        for info in self._core.may_wait(workflow, after):
            if limit is not None and len(found) >= limit:
                break
            found += self._core.waits_of(info, name)
            await asyncio.sleep(0)  # each is a log: others are not to be held up by all of them
        return found

    async def schedule(
        self,
        name: str,
        spec: str,
        workflow: Workflow,
        input: Any = None,
        *,
        zone: str = "UTC",
        catch_up: str = "skip",
        most: int = MOST,
    ) -> str:
        """Begin a run of a workflow with this input at each instant of a cron spec, and say who sees to it.

        The run for an instant has the id `name@2026-11-22T10:00:00+00:00`: exactly one, however many runners the store
        has. `spec`: minute, hour, day of the month, month, day of the week, in the time of `zone`. `catch_up`: what
        becomes of instants that passed while no runner was there: `"skip"` none of them, `"one"` the latest, `"all"`
        the latest `most`. Scheduled again as it is, nothing changes; otherwise it is replaced.

        Errors: `UsageError`, `MissingExtra`, `EncodeError`.
        """
        if not isinstance(workflow, Workflow):
            raise UsageError(f"a schedule is of a workflow, and this is {workflow!r:.80}.")
        wanted = Wanted(
            name=name,
            spec=spec,
            zone=zone,
            workflow=workflow.name,
            input=input,
            catch_up=catch_up,
            most=most,
        )
        return await self._timetable.schedule(wanted, workflow)

    async def schedules(self) -> list[Schedule]:
        """The schedules of the workflows that this runner knows, in the order of their making."""
        return self._timetable.listed()

    async def unschedule(self, name: str) -> bool:
        """Begin no more runs for this schedule; whether there was one. What it began goes on."""
        return await self._timetable.unschedule(name)

    async def checkpoint(self, id: str) -> int:
        """Wait until all that has happened in the run is stored; say the length of its log."""
        return int(await self._answer(self._core.checkpoint(id)))

    async def add(self, id: str, component: Any, **options: Any) -> None:
        """Add a component to a live run, as `Workflow.add` does."""
        await self._answer(self._core.add(id, component, options))

    async def replace(self, id: str, name: Any, component: Any = None, **options: Any) -> None:
        """Replace a component of a live run, as `Workflow.replace` does."""
        await self._answer(self._core.replace(id, name, component, options))

    async def remove(self, id: str, name: Any) -> None:
        """Remove a component of a live run, as `Workflow.remove` does."""
        await self._answer(self._core.change(id, lambda workflow: workflow.remove(name), {}))

    async def wait(self, id: str) -> str:
        """Wait until a run has nothing left to do, or has ended; say its status."""
        asked = self._core.when_idle(id)
        try:
            return str(await self._answer(asked))
        finally:
            if not asked.done:  # whoever waited gave up, and is not to be remembered
                self._core.forget_waiter(id, asked)

    async def runs(
        self, *, status: str | None = None, workflow: str | None = None
    ) -> list[RunInfo]:
        """All runs, oldest first; of one status, or of one workflow's name.

        Errors: `UsageError` for a status that no run can have.
        """
        return self._core.infos(status=status, workflow=workflow)

    async def story(self, id: str) -> list[dict[str, Any]]:
        """What led to what in a run, of late: JSON-ready. Of a parked run, up to when it was given up."""
        return self._core.story(id)

    async def evidence(self, id: str) -> dict[str, Any] | None:
        """Why a run was parked: the reason, its crashes, and its story; None for one that goes on."""
        return self._core.evidence(id)

    async def plan(self, id: str) -> list[dict[str, Any]]:
        """What waits to be dispatched, together with what, where, and why; then what would be, of what is ready."""
        return self._core.plan(id)

    async def explain_cache(self, id: str, component: str) -> dict[str, Any] | None:
        """Why a component's latest work was given from the cache (`hit`), or computed, and `why`; also of stored runs.

        `key`: its parts, as digests; `hits`, `misses`: how often each was so. None: it was never asked for.
        Errors: `UnknownRun`, `UsageError`.
        """
        return self._core.explain_cache(id, component)

    async def trim_cache(
        self, *, unused_for_s: float | None = None, most_bytes: int | None = None
    ) -> Trimmed:
        """Let go of cached results unused for so long, then of the longest unused until so many bytes are left."""
        return await self._core.trim_cache(unused_for_s, most_bytes)

    @property
    def slow_calls(self) -> dict[str, int]:
        """How often hooks, observers and callbacks held up this runner for more than a quarter of a second, by name."""
        return dict(self._core.loop.holdups.counts)

    def stream(self, id: str) -> EventStream:
        """The events of a run from now on, as they happen, until it ends: for `async for`."""
        return EventStream(partial(self._core.stream, id))

    async def close(self, drain_s: float | None = None) -> int:
        """End all runs in order, waiting `drain_s` for what is out, then let go of everything.

        What did not come back in time is handed back: it stays to be done when its run is resumed. Says how many.
        """
        asks = self._core.drain()
        left = 0
        if asks:
            waits = [asyncio.ensure_future(self._ended(ask)) for ask in asks]
            timeout = self._drain_s if drain_s is None else drain_s
            _, late = await asyncio.wait(waits, timeout=timeout)
            if late:
                left = self._core.hand_back()
                _, unheard = await asyncio.wait(waits, timeout=LAST_S)
                for wait in unheard:  # on a store that cannot be written to, for ever
                    wait.cancel()
        if self._callbacks:
            timeout = self._drain_s if drain_s is None else drain_s
            await asyncio.wait(self._callbacks, timeout=timeout)
        self._core.close()
        self._watchdog.close()
        self._host.wake_at(None)
        return left

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def _ended(self, asked: Ask) -> None:
        """Wait until a run has ended in order, or went to another runner meanwhile."""
        with suppress(RunElsewhere):
            await self._answer(asked)

    async def _answer(self, asked: Ask) -> Any:
        if not asked.done:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            asked.when_done(lambda _: None if waiter.done() else waiter.set_result(None))
            await waiter
        if asked.error is not None:
            raise asked.error
        return asked.value

    def _spawn(self, coroutine: Any) -> None:
        task = asyncio.ensure_future(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _spawn_callback(self, coroutine: Any) -> None:
        """Run what an async `on_complete` gave; a closing runner waits for it."""
        task = asyncio.ensure_future(coroutine)
        self._callbacks.add(task)
        task.add_done_callback(self._callbacks.discard)
        task.add_done_callback(log_failure)


def running_loop() -> asyncio.AbstractEventLoop:
    """The event loop that a runner is to live on. Errors: `UsageError` if none runs here."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        raise UsageError(
            "an AsyncRunner was made where no event loop runs.",
            hint="make it in a coroutine, as in `async with td.AsyncRunner() as runner`; "
            "td.Runner needs no event loop.",
        ) from None


def log_failure(task: asyncio.Task[Any]) -> None:
    """An async callback that raised is logged, and harms nothing."""
    if not task.cancelled() and task.exception() is not None:
        logger.error("an async on_complete raised", exc_info=task.exception())
