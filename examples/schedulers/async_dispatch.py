"""Step 3 of the scheduling guide: an actor that dispatches tasks, and applies each result as it comes.

    python examples/schedulers/async_dispatch.py

The actor is one asyncio task that owns the workflow and reads a mailbox. A message is a call for the actor to
make: accept an input, apply what a task gave, answer a question. After each it dispatches what has become ready,
every runnable as a task of its own, so nothing ever waits for work that it does not depend on.

It gives: results as they come, inputs at any time, questions while work is under way, `async def` steps awaited
side by side and plain ones in threads. `run` gives a future of that very input's results. A task that crashes is
the failure of its own runnable, and the actor goes on.

It does not give: many workflows by name, draining at the end (leaving the block cancels what still runs; a thread
that was started runs to its end unheard), or a second life for an actor that crashes: step 4 does. Dispatch has no
limit but the size of asyncio's thread pool.
"""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any, Self

import msgspec

import treadle as td


class Scheduler:
    """One workflow and its actor: `async with Scheduler(workflow) as scheduler: await scheduler.run(input)`."""

    def __init__(self, workflow: td.Workflow) -> None:
        self._workflow = workflow
        self._mailbox: asyncio.Queue[Callable[[], None]] = asyncio.Queue()
        self._tasks: set[asyncio.Task[td.Outcome]] = set()
        self._tickets: dict[int, asyncio.Future[Any]] = {}
        self._unanswered: set[asyncio.Future[Any]] = set()

    async def __aenter__(self) -> Self:
        self._actor = asyncio.create_task(self._serve(), name=f"scheduler-{self._workflow.name}")
        return self

    async def __aexit__(self, *_: object) -> None:
        self._actor.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.wait([self._actor, *self._tasks])
        if not self._actor.cancelled():
            self._actor.result()  # it had crashed: say with what

    # ---------------------------------------------------------------- for callers

    def run(self, input: Any) -> asyncio.Future[dict[str, Any]]:
        """Send an input; the future gives its results when nothing of it is left to do."""
        return self._send(self._accept, input)

    def get_workflow(self) -> asyncio.Future[td.Workflow]:
        """Ask for the workflow as it is when the actor comes to the question."""
        # It is an immutable value: whatever the caller makes of it changes nothing here.
        return self._send(self._answer, lambda workflow: workflow)

    def get_results(self, input: int = -1) -> asyncio.Future[dict[str, Any]]:
        """Ask for the results so far of one input, by default the last."""
        return self._send(self._answer, lambda workflow: workflow.results(input=input))

    def _send(
        self, handler: Callable[[Any, asyncio.Future[Any]], None], what: Any
    ) -> asyncio.Future[Any]:
        if self._actor.done():
            raise RuntimeError("the scheduler is not running")
        reply: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._unanswered.add(reply)
        reply.add_done_callback(self._unanswered.discard)
        self._mailbox.put_nowait(partial(handler, what, reply))
        return reply

    # ---------------------------------------------------------------- the actor

    async def _serve(self) -> None:
        try:
            self._dispatch()  # a workflow that is under way goes on
            while True:
                message = await self._mailbox.get()
                message()
        finally:
            # Nobody may wait for an actor that is gone.
            for reply in list(self._unanswered):
                fail(reply, RuntimeError("the scheduler ended before it could answer"))

    def _accept(self, input: Any, ticket: asyncio.Future[Any]) -> None:
        self._workflow = self._workflow.plan_eagerly(input)
        number = self._workflow.inputs()[-1]["number"]
        self._tickets[number] = ticket
        self._advance(number)

    def _completed(self, runnable: td.Runnable, task: asyncio.Task[td.Outcome]) -> None:
        # The message names its runnable, so that a task that ended without an outcome has one all the same.
        lost = task.cancelled()
        outcome = crashed(runnable, asyncio.CancelledError()) if lost else task.result()
        self._workflow = self._workflow.apply_runnable(outcome)
        self._advance(runnable.input)

    def _answer(self, question: Callable[[td.Workflow], Any], reply: asyncio.Future[Any]) -> None:
        try:
            answer = question(self._workflow)
        except Exception as error:  # noqa: BLE001 - a question that cannot be answered is the asker's error
            fail(reply, error)
        else:
            succeed(reply, answer)

    def _advance(self, number: int) -> None:
        """Dispatch what has become ready, and answer for the input if that was its last work."""
        self._dispatch()
        if number in self._tickets and self._workflow.is_satisfied(input=number):
            succeed(self._tickets.pop(number), self._workflow.results(input=number))

    def _dispatch(self) -> None:
        # There is no set of what was dispatched already: `prepare_for_dispatch` marks work as in flight, and
        # hands each runnable out once. (The guide's set is never emptied: it grows for ever, and refuses work
        # that is rightly due again.)
        self._workflow, runnables = self._workflow.prepare_for_dispatch()
        for runnable in runnables:
            task = asyncio.create_task(execute(runnable), name=runnable.id)
            self._tasks.add(task)  # the event loop itself holds its tasks only weakly
            task.add_done_callback(self._tasks.discard)
            task.add_done_callback(partial(self._report, runnable))

    def _report(self, runnable: td.Runnable, task: asyncio.Task[td.Outcome]) -> None:
        self._mailbox.put_nowait(partial(self._completed, runnable, task))


async def execute(runnable: td.Runnable) -> td.Outcome:
    """Execute a runnable, and give an outcome whatever happens."""
    try:
        if runnable.is_async:
            return await td.aexecute_runnable(runnable)
        return await asyncio.to_thread(td.execute_runnable, runnable)
    except BaseException as crash:  # noqa: BLE001 - asyncio lets a KeyboardInterrupt in a task end the whole loop
        return crashed(runnable, crash)


def crashed(runnable: td.Runnable, crash: BaseException) -> td.Outcome:
    """The failed outcome of a runnable whose task crashed: executing it with a problem just tells that."""
    problem = RuntimeError(f"the task of {runnable.id} crashed with {type(crash).__name__}")
    problem.__cause__ = crash
    return td.execute_runnable(msgspec.structs.replace(runnable, problem=problem))


def succeed(reply: asyncio.Future[Any], value: Any) -> None:
    """Answer, unless the asker has gone away."""
    if not reply.done():
        reply.set_result(value)


def fail(reply: asyncio.Future[Any], error: BaseException) -> None:
    """Answer with an error, unless the asker has gone away."""
    if not reply.done():
        reply.set_exception(error)
        reply.exception()  # counts as seen: who never looks at the answer is not to be nagged about it


async def main() -> None:
    """Two orders in one workflow: the small one is decided while the large one is still being checked."""
    # Imported here, since only the script has its own folder on the path.
    from orders import LARGE_ORDER, SMALL_ORDER, Chart, order_fulfillment  # type: ignore[import-not-found]

    chart = Chart()
    async with Scheduler(order_fulfillment(chart)) as scheduler:
        large, small = scheduler.run(LARGE_ORDER), scheduler.run(SMALL_ORDER)
        print("first: ", await small)
        print("meanwhile, of the large order:", await scheduler.get_results(input=0))
        print("second:", await large, end="\n\n")
    chart.show("As results come")


if __name__ == "__main__":
    asyncio.run(main())
