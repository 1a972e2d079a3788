"""The react loops of a bare workflow with policies: the runner's machine and loop, for one workflow and no longer.

A policy means the same here as under a runner, since the same code reads it. Nothing is stored, and nothing is shared
with other workflows: limits, rates and breakers begin anew with each call.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from queue import Empty, SimpleQueue
from time import perf_counter
from typing import Any

from msgspec import structs

from treadle.engine.execute import execute_runnable
from treadle.errors import TreadleBug
from treadle.interfaces import Executor
from treadle.model.bundles import Bundle
from treadle.model.runnables import FAILED, Again, Outcome, Runnable
from treadle.policies.matching import NO_POLICIES
from treadle.policies.policy import Policy
from treadle.policies.retry import FALLBACK, GIVE_UP, decide
from treadle.runner.clock import SteadyClock
from treadle.runner.core import Core
from treadle.runner.fallback import fall_back, retry_with, wants_retry
from treadle.runner.lives import Lives
from treadle.runner.out import Out, in_time
from treadle.runner.record import NONE, Options, Run
from treadle.runner.registry import Restarts, check_names
from treadle.runner.wishes import ASYNCIO, INLINE, Places, Wishes
from treadle.value import Workflow
from treadle.wiring import make_executor


class QueueHost:
    """Lets the loop run in the thread that waits for it."""

    is_direct = False

    def __init__(self, clock: SteadyClock) -> None:
        self.clock = clock
        self.calls: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self.due: float | None = None

    def wake(self) -> None:
        """Soon."""
        self.calls.put(None)

    def wake_from_elsewhere(self) -> None:
        """Soon."""
        self.calls.put(None)

    def wake_at(self, at: float | None) -> None:
        """At this moment."""
        self.due = at

    @property
    def is_armed(self) -> bool:
        """Whether it is still to come."""
        return self.due is not None

    def is_interrupt(self, error: BaseException) -> bool:
        """What is no failure is the caller's business, as in the loops without policies."""
        return not isinstance(error, Exception)

    def call_soon(self, function: Callable[[], None]) -> None:
        """Call this in the thread that waits."""
        self.calls.put(function)

    def wait(self) -> None:
        """Until there is something to do."""
        timeout = None if self.due is None else max(0.0, self.due - self.clock.now())
        try:
            call = self.calls.get(timeout=timeout)
        except Empty:
            return
        if call is not None:
            call()


def react_under(workflow: Workflow, executor: Any, max_concurrency: int | None) -> Workflow:
    """React until nothing is ready and all that was dispatched here has come back, under the workflow's policies."""
    executors = {INLINE: make_executor(INLINE), ASYNCIO: make_executor(INLINE)}
    default = name_default(executors, INLINE if executor is None else executor)
    add_named(executors, workflow)
    host = QueueHost(SteadyClock())
    core = make_core(executors, default, host)
    try:
        run = begin(core, workflow, max_concurrency)
        while not is_quiet(core, run):
            core.loop.pump()
            if not is_quiet(core, run) and not core.loop.is_woken:
                host.wait()
        return result(run, workflow)
    finally:
        core.close()


async def areact_under(workflow: Workflow, max_concurrency: int | None) -> Workflow:
    """The same on the running event loop: async steps are awaited side by side, plain ones run in the loop."""
    executors = {INLINE: make_executor(INLINE), ASYNCIO: make_executor(ASYNCIO)}
    add_named(executors, workflow)
    host = TaskHost(asyncio.get_running_loop(), SteadyClock())
    core = make_core(executors, INLINE, host)
    try:
        run = begin(core, workflow, max_concurrency)
        while not is_quiet(core, run):
            host.is_called.clear()
            core.loop.pump()
            if is_quiet(core, run):
                break
            await host.is_called.wait()
        return result(run, workflow)
    finally:
        core.close()
        host.wake_at(None)


class TaskHost:
    """Lets the loop run in the task that awaits it."""

    is_direct = False

    def __init__(self, event_loop: asyncio.AbstractEventLoop, clock: SteadyClock) -> None:
        self.event_loop = event_loop
        self.clock = clock
        self.is_called = asyncio.Event()
        self.timer: asyncio.TimerHandle | None = None

    def wake(self) -> None:
        """Soon."""
        self.is_called.set()

    def wake_from_elsewhere(self) -> None:
        """Soon."""
        self.event_loop.call_soon_threadsafe(self.is_called.set)

    def wake_at(self, at: float | None) -> None:
        """At this moment."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        if at is not None:
            delay = max(0.0, at - self.clock.now())
            self.timer = self.event_loop.call_later(delay, self._ring)

    def _ring(self) -> None:
        self.timer = None
        self.is_called.set()

    @property
    def is_armed(self) -> bool:
        """Whether it is still to come."""
        return self.timer is not None

    def is_interrupt(self, error: BaseException) -> bool:
        """What is no failure is the caller's business, as in the loop without policies."""
        return not isinstance(error, Exception)

    def call_soon(self, function: Callable[[], None]) -> None:
        """Call this in the task's own thread."""
        self.event_loop.call_soon_threadsafe(function)


def name_default(executors: dict[str, Executor], executor: Any) -> str:
    """Add the executor that plain functions go to, and say its name."""
    name = executor.partition(":")[0] if isinstance(executor, str) else "default"
    if name not in executors:
        executors[name] = make_executor(executor)
    return name


def add_named(executors: dict[str, Executor], workflow: Workflow) -> None:
    """Add the executors that policies name; a policy for a component that is none is refused."""
    check_names(workflow, workflow.policies)
    for _, policy in workflow.policies.rules:
        name = policy.executor
        if name is not None and name not in executors:
            executors[name] = make_executor(name)


def make_core(executors: dict[str, Executor], default: str, host: QueueHost | TaskHost) -> Core:
    """A runner for one workflow, that keeps nothing."""
    remote = frozenset(n for n, each in executors.items() if getattr(each, "is_remote", False))
    capacities = {name: each.capacity for name, each in executors.items()}
    return Lives(
        executors=executors,
        places=Places(default, capacities, remote=remote),
        clock=host.clock,
        store=None,
        observers=(),
        policies=NO_POLICIES,
        host=host,
        call_soon=host.call_soon,
        restarts=Restarts(0),
    )


def begin(core: Core, workflow: Workflow, max_concurrency: int | None) -> Run:
    """Let the workflow go on from where it is."""
    options = Options(max_concurrency=max_concurrency, durability=NONE)
    return core.adopt(workflow, options)


def is_quiet(core: Core, run: Run) -> bool:
    """Whether nothing is left that this drive can do."""
    machine = run.machine
    if machine is None or core.loop.came or core.loop.mail or core.loop.drives:
        return machine is None
    busy = machine.out or machine.delayed or machine.planned or machine.is_driving
    return not busy and not machine.workflow.is_runnable()


def result(run: Run, workflow: Workflow) -> Workflow:
    """The workflow as it is now, as the caller knew it."""
    if run.machine is None:
        found = run.evidence or {}
        raise TreadleBug(f"the drive of {workflow.name!r} broke down: {found.get('error')}.")
    return run.machine.workflow.with_context_of(workflow)


def react_once(workflow: Workflow) -> Workflow:
    """One generation under policies: what is to be tried again is ready for the next."""
    workflow, runnables = workflow.prepare_for_dispatch()
    with workflow.inspect() as (memory, _):
        program = memory.program
    places = Places(INLINE, {INLINE: None})
    check_names(workflow, workflow.policies)
    wishes = Wishes(workflow.name, program, workflow.policies, places, are_seen=False)
    for runnable in sorted(runnables, key=lambda each: -wishes.policy(each.node).rank):
        policy = wishes.policy(runnable.node)
        outcome = carry_out(runnable, policy, program.by_key[runnable.node].kind)
        outcome = in_time(Out(Bundle(runnables=(runnable,)), policy), runnable, outcome)
        workflow = workflow.apply_runnable(
            outcome,
            retry=what_follows(policy, runnable, outcome),
            on_failure=policy.on_failure,
        )
    return workflow.plan_eagerly()


def carry_out(runnable: Runnable, policy: Policy, kind: str) -> Outcome:
    """Execute work, or its fallback in its place."""
    if not runnable.is_fallback:
        return timed_outcome(runnable)
    instead = fall_back(runnable, policy, kind)
    outcome = timed_outcome(instead)
    wish = wants_retry(instead, outcome) if isinstance(instead, Runnable) else None
    return outcome if wish is None else timed_outcome(retry_with(runnable, wish))


def timed_outcome(instead: Runnable | Outcome) -> Outcome:
    """What executing this gives, if it is not given already."""
    if isinstance(instead, Outcome):
        return instead
    begin_at = perf_counter()
    outcome = execute_runnable(instead)
    return structs.replace(outcome, seconds=perf_counter() - begin_at)


def what_follows(policy: Policy, runnable: Runnable, outcome: Outcome) -> Again | bool:
    """Another attempt in the next generation, or nothing."""
    if outcome.status != FAILED:
        return False
    was_fallback = runnable.is_fallback
    verdict = decide(policy, outcome, key="", now=0.0, deadline_at=None, was_fallback=was_fallback)
    return False if verdict.then == GIVE_UP else Again(fallback=verdict.then == FALLBACK)
