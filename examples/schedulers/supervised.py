"""Step 4 of the scheduling guide: many schedulers by workflow id, supervised tasks, supervised schedulers.

    python examples/schedulers/supervised.py

A `Supervisor` is the registry: `start` a workflow under an id, `run` inputs by that id, look, `stop`. Each id has a
`Scheduler`, the actor of step 3, which now also has lives: when it crashes, the next life begins from the
workflow's log and goes on. The mailbox, the callers' tickets and the tasks under way outlive it; the log says what
was done, so no applied step runs again, and a task that is still at work is not started a second time.

It gives: a task that crashes (an exception, a SystemExit, a lost task) is the failure of its own runnable; an actor
that crashes is restarted, until it does nothing but crash, and then ends alone; other workflows never notice;
unknown and taken ids are errors; `stop` finishes what was accepted, up to a timeout, and hands back the workflow,
which can be started again.

It does not give: a log that outlives the process, retries, back-pressure; a runner of the library's own is to
come. And it cannot stop a thread: after the timeout, a plain step runs to its end unheard. All is to be called in one
event loop.
"""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Self

import msgspec

import treadle as td

log = logging.getLogger("supervised")

CRASHES_MAX = 3
"""So many lives may end in a row, without one message handled; then the scheduler gives up."""

DRAIN_S = 60.0
"""How long `stop` waits for accepted work, as the guide's `shutdown` does."""


class UnknownId(LookupError):
    """No workflow runs under this id."""


class DuplicateId(ValueError):
    """A workflow runs under this id already."""


class NotRunning(RuntimeError):
    """The scheduler is stopping, has stopped, or has crashed: then the crash is the cause."""


class Supervisor:
    """The registry of schedulers, and the threads they share: `async with Supervisor() as supervisor: ...`."""

    def __init__(self, *, max_threads: int = 64) -> None:
        self._schedulers: dict[str, Scheduler] = {}
        self._threads = ThreadPoolExecutor(max_threads, thread_name_prefix="supervised")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, _: object, error: BaseException | None, __: object) -> None:
        drain_s = DRAIN_S if error is None else 0.0
        stops = [self.stop(each, timeout_s=drain_s) for each in self._schedulers]
        await asyncio.gather(*stops)
        self._threads.shutdown(wait=False, cancel_futures=True)

    def start(self, workflow: td.Workflow, workflow_id: str) -> "Scheduler":
        """Put a workflow under an id; one that is under way goes on."""
        if workflow_id in self._schedulers:
            raise DuplicateId(
                f"{workflow_id!r} is taken; stop that one first, or choose another id"
            )
        if workflow.position == 0 and workflow.run_key is None:
            # Runs of one template must not share idempotency keys.
            workflow = workflow.with_run_key(workflow_id)
        scheduler = self._schedulers[workflow_id] = Scheduler(workflow, workflow_id, self._threads)
        return scheduler

    def lookup(self, workflow_id: str) -> "Scheduler | None":
        """The scheduler of an id, or None."""
        return self._schedulers.get(workflow_id)

    def run(self, workflow_id: str, input: Any) -> asyncio.Future[dict[str, Any]]:
        """Send an input; the future gives its results when nothing of it is left to do."""
        return self._find(workflow_id).run(input)

    def get_workflow(self, workflow_id: str) -> td.Workflow:
        """The workflow as it is now."""
        # No message is needed: it is an immutable value, and also there while a scheduler is down.
        return self._find(workflow_id).workflow

    def get_results(self, workflow_id: str, input: int = -1) -> dict[str, Any]:
        """The results so far of one input, by default the last accepted."""
        return self.get_workflow(workflow_id).results(input=input)

    async def stop(self, workflow_id: str, *, timeout_s: float = DRAIN_S) -> td.Workflow:
        """Finish what was accepted, for at most `timeout_s`; give the workflow back, and free the id."""
        scheduler = self._find(workflow_id)
        await scheduler.stop(timeout_s)
        if self.lookup(workflow_id) is scheduler:  # another caller's stop may have been quicker
            del self._schedulers[workflow_id]
        return scheduler.workflow

    def _find(self, workflow_id: str) -> "Scheduler":
        if workflow_id not in self._schedulers:
            known = ", ".join(map(repr, self._schedulers)) or "none"
            raise UnknownId(f"no workflow runs under {workflow_id!r}; running: {known}")
        return self._schedulers[workflow_id]


class Scheduler:
    """One workflow under supervision: `workflow` is its newest value.

    `lives` is how often its actor was started, `crash` is what the last crash was of, if there was one.
    """

    def __init__(
        self, workflow: td.Workflow, workflow_id: str, threads: ThreadPoolExecutor
    ) -> None:
        self.workflow = workflow
        self.lives = 0
        self.crash: BaseException | None = None
        self._definition = workflow
        self._id = workflow_id
        self._threads = threads
        self._mailbox: asyncio.Queue[Callable[[], int | None]] = asyncio.Queue()
        self._tasks: dict[str, asyncio.Task[td.Outcome]] = {}
        self._tickets: dict[asyncio.Future[Any], int | None] = {}
        self._crashes_in_a_row = 0
        self._stopping = False
        self._supervised = asyncio.create_task(self._supervise(), name=f"scheduler-{workflow_id}")

    def run(self, input: Any) -> asyncio.Future[dict[str, Any]]:
        """Send an input; the future gives its results."""
        if self._stopping or self._supervised.done():
            raise self._not_running()
        ticket: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._tickets[ticket] = None
        self._mailbox.put_nowait(partial(self._accept, input, ticket))
        return ticket

    async def stop(self, timeout_s: float) -> None:
        """Take no more inputs, finish those accepted, and after the timeout cancel what is left."""
        self._stopping = True
        self._mailbox.put_nowait(lambda: None)  # wakes the actor, so that it looks
        await asyncio.wait([self._supervised], timeout=timeout_s)
        self._supervised.cancel()
        await asyncio.wait([self._supervised])

    # ---------------------------------------------------------------- supervision

    async def _supervise(self) -> None:
        """Give the actor one life after the other, and let nobody wait for it after the last."""
        try:
            while self._crashes_in_a_row < CRASHES_MAX:
                try:
                    return await self._live()
                except (asyncio.CancelledError, GeneratorExit):
                    raise  # stopped from outside
                except BaseException as crash:  # noqa: BLE001 - whatever it is, it is this workflow's alone
                    log.warning("scheduler of %r crashed: %r", self._id, crash)
                    self.crash = crash
                    self._crashes_in_a_row += 1
        finally:
            for task in self._tasks.values():
                task.cancel()
            for ticket in list(self._tickets):
                self._refuse(ticket, self._not_running())

    async def _live(self) -> None:
        """One life of the actor: begin with what the log says, then handle messages until stopped and idle."""
        # What the last life held in memory is not trusted; its log is whole, since every operation of a workflow
        # happens entirely or not at all. Work that was prepared but not applied is ready again.
        self.lives += 1
        self.workflow = td.Workflow.from_log(self._definition, self.workflow.log())
        self._advance(list(self._tickets.values()))
        while self._tasks or not (self._stopping and self._mailbox.empty()):
            message = await self._mailbox.get()
            self._advance([message()])
            self._crashes_in_a_row = 0

    # ---------------------------------------------------------------- the actor

    def _accept(self, input: Any, ticket: asyncio.Future[Any]) -> int:
        try:
            self.workflow = self.workflow.plan_eagerly(input)
        except BaseException as crash:
            # The input did not get into the log, so no later life would know of it.
            error = NotRunning(f"{self._id!r} crashed over this input, which is not accepted")
            error.__cause__ = crash
            self._refuse(ticket, error)
            raise
        number: int = self.workflow.inputs()[-1]["number"]
        self._tickets[ticket] = number
        return number

    def _completed(self, runnable: td.Runnable, task: asyncio.Task[td.Outcome]) -> int:
        # If applying crashes, the outcome is lost, and the next life executes the runnable again: bodies run at
        # least once, and their outcomes are applied once.
        del self._tasks[runnable.id]
        lost = task.cancelled()
        outcome = crashed(runnable, asyncio.CancelledError()) if lost else task.result()
        self.workflow = self.workflow.apply_runnable(outcome)
        return runnable.input

    def _advance(self, numbers: list[int | None]) -> None:
        """Dispatch what has become ready, and answer for the inputs (of these) that are done."""
        self.workflow, runnables = self.workflow.prepare_for_dispatch()
        for runnable in runnables:
            # Within a life `prepare_for_dispatch` hands each runnable out once. After a restart it gives again
            # what was in flight; where the old task is still at work, its outcome will do.
            if runnable.id not in self._tasks:
                task = asyncio.create_task(execute(runnable, self._threads), name=runnable.id)
                self._tasks[runnable.id] = task
                task.add_done_callback(partial(self._report, runnable))
        done = {n for n in numbers if n is not None and self.workflow.is_satisfied(input=n)}
        for ticket in [ticket for ticket, number in self._tickets.items() if number in done]:
            number = self._tickets.pop(ticket)
            if not ticket.done():  # the caller may have given up waiting
                ticket.set_result(self.workflow.results(input=number))

    def _report(self, runnable: td.Runnable, task: asyncio.Task[td.Outcome]) -> None:
        self._mailbox.put_nowait(partial(self._completed, runnable, task))

    def _refuse(self, ticket: asyncio.Future[Any], error: NotRunning) -> None:
        del self._tickets[ticket]
        if not ticket.done():
            ticket.set_exception(error)
            ticket.exception()  # counts as seen: who never looks at the ticket is not to be nagged about it

    def _not_running(self) -> NotRunning:
        if self._crashes_in_a_row < CRASHES_MAX:
            return NotRunning(f"{self._id!r} is stopping, or was stopped")
        error = NotRunning(f"{self._id!r} was given up, since it does nothing but crash")
        error.__cause__ = self.crash
        return error


async def execute(runnable: td.Runnable, threads: ThreadPoolExecutor) -> td.Outcome:
    """Execute a runnable, and give an outcome whatever happens."""
    try:
        if runnable.is_async:
            return await td.aexecute_runnable(runnable)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(threads, td.execute_runnable, runnable)
    except BaseException as crash:  # noqa: BLE001 - asyncio lets a KeyboardInterrupt in a task end the whole loop
        return crashed(runnable, crash)


def crashed(runnable: td.Runnable, crash: BaseException) -> td.Outcome:
    """The failed outcome of a runnable whose task crashed: executing it with a problem just tells that."""
    problem = RuntimeError(f"the task of {runnable.id} crashed with {type(crash).__name__}")
    problem.__cause__ = crash
    return td.execute_runnable(msgspec.structs.replace(runnable, problem=problem))


async def main() -> None:
    """A run that goes well, one whose task crashes, and one whose scheduler crashes: side by side."""
    # Imported here, since only the script has its own folder on the path.
    from orders import Chart, order_fulfillment  # type: ignore[import-not-found]

    def exit_at_once(order: Any) -> None:
        raise SystemExit("the client of the fraud service took this for its own program")

    asked = []

    def break_down_once(decision: Any) -> bool:
        asked.append(decision)
        if len(asked) == 1:
            raise KeyboardInterrupt  # in planning, and so in the actor itself
        return bool(decision["approved"])

    @td.rule(condition=break_down_once)
    def ship(decision: Any) -> str:
        return "on its way"

    chart = Chart()
    workflow = order_fulfillment(chart)
    async with Supervisor() as supervisor:
        supervisor.start(workflow, "fine")
        supervisor.start(workflow.replace("screen_fraud", exit_at_once), "bad-task")
        supervisor.start(workflow.add(ship, to="decide_fulfillment"), "bad-scheduler")
        tickets = {
            name: supervisor.run(name, {"customer_id": name, "items": ["widget", "gadget"]})
            for name in ("fine", "bad-task", "bad-scheduler")
        }
        for name, ticket in tickets.items():
            print(f"{name}: {await ticket}")
            for failure in supervisor.get_workflow(name).failures():
                print(f"  {failure}")
        scheduler = supervisor.lookup("bad-scheduler")
        print(f"  lives: {scheduler and scheduler.lives}, and every check ran once:\n")
        chart.show("Three workflows side by side")

        print("stopped:", await supervisor.stop("fine"))
        try:
            supervisor.run("fine", {})
        except UnknownId as error:
            print("UnknownId:", error)


if __name__ == "__main__":
    asyncio.run(main())
