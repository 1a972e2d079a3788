"""Drive a workflow over many inputs, and say what happens while it happens.

This is the loop that every scheduler is a variation of: feed, prepare, execute, apply. Async functions run on
one event loop in a thread of its own, so a workflow may mix them with plain ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from queue import Empty, SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING, Final

from treadle.cli.account import Account
from treadle.cli.feed import Given
from treadle.drive import THREADS_DEFAULT
from treadle.engine.execute import aexecute_runnable, execute_runnable, failed_outcome
from treadle.model.runnables import Outcome, Runnable
from treadle.value import Workflow

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

LOOK_AGAIN_S: Final = 0.1
"""How long to wait for an outcome before somebody may look again."""

STOP_S: Final = 1.0
"""How long the event loop may take to end."""


class Driver:
    """Feeds inputs and executes what becomes ready, up to `limit` runnables at once."""

    def __init__(
        self,
        workflow: Workflow,
        account: Account,
        look: Callable[[Workflow], None],
        executor: str,
        limit: int | None,
    ) -> None:
        self.workflow = workflow
        self.account = account
        self.look = look
        self.threads = executor == "threads"
        self.limit = limit or (THREADS_DEFAULT if self.threads else 1)
        self.pool = ThreadPoolExecutor(self.limit)
        self.loop = EventLoop()
        self.givens: Iterator[Given] = iter(())
        self.accepted = 0
        self.out = 0
        self.back: SimpleQueue[Future[Outcome]] = SimpleQueue()

    def run(self, givens: Iterable[Given]) -> Workflow:
        """Feed all inputs and go on until nothing is ready and nothing is out."""
        self.givens = iter(givens)
        try:
            while self._fill() or self.out:
                self._take_back()
        finally:
            self.pool.shutdown(wait=False, cancel_futures=True)
            self.loop.stop()
        return self.workflow

    def _fill(self) -> bool:
        """Execute ready work while there is room, and feed the next input when nothing is ready."""
        while self.out < self.limit:
            self.workflow, runnables = self.workflow.prepare_for_dispatch(self.limit - self.out)
            for runnable in runnables:
                self.out += 1
                self.account.started(runnable)
                self.look(self.workflow)
                self._execute(runnable).add_done_callback(self.back.put)
            if not runnables and not self._feed():
                return False
        return True

    def _feed(self) -> bool:
        """Accept the next input; whether there was one."""
        for given in self.givens:
            if given.problem is not None:
                self.account.malformed(given)
                continue
            self.workflow = self.workflow.plan_eagerly(given.value)
            self.accepted += 1
            self.account.accepted(given, self.accepted - 1)
            self._check_finished(self.accepted - 1)
            return True
        return False

    def _execute(self, runnable: Runnable) -> Future[Outcome]:
        if runnable.is_async:
            return self.loop.submit(runnable)
        if self.threads:
            return self.pool.submit(execute_runnable, runnable)
        future: Future[Outcome] = Future()
        future.set_result(execute_runnable(runnable))
        return future

    def _take_back(self) -> None:
        """Apply the next outcome."""
        while True:
            try:
                outcome = self.back.get(timeout=LOOK_AGAIN_S).result()
                break
            except Empty:
                self.look(self.workflow)
        self.workflow = self.workflow.apply_runnable(outcome).plan_eagerly()
        self.out -= 1
        self.account.came_back(outcome)
        self._check_finished(outcome.scope[0])

    def _check_finished(self, number: int) -> None:
        if self.workflow.is_satisfied(input=number):
            self.account.finished(self.workflow, number)


class EventLoop:
    """An event loop in a thread of its own, started for the first async runnable."""

    def __init__(self) -> None:
        self.loop: AbstractEventLoop | None = None
        self.thread: Thread | None = None

    def submit(self, runnable: Runnable) -> Future[Outcome]:
        """Execute an async runnable beside the others."""
        import asyncio

        if self.loop is None:
            self.loop = asyncio.new_event_loop()
            self.thread = Thread(target=self.loop.run_forever, name="async steps", daemon=True)
            self.thread.start()
        return asyncio.run_coroutine_threadsafe(execute_async(runnable), self.loop)

    def stop(self) -> None:
        """End the loop. After an interrupt, a step that blocks it is abandoned with it."""
        if self.loop is None or self.thread is None:
            return
        self.loop.call_soon_threadsafe(self._cancel_all)
        self.thread.join(STOP_S)
        if not self.thread.is_alive():
            self.loop.close()

    def _cancel_all(self) -> None:
        """Cancel what is out, and stop the loop when that has taken effect."""
        import asyncio

        if self.loop is None:
            return
        tasks = asyncio.all_tasks(self.loop)
        if tasks:
            for task in tasks:
                task.cancel()
            self.loop.call_soon(self._cancel_all)
        else:
            self.loop.stop()


async def execute_async(runnable: Runnable) -> Outcome:
    """As `aexecute_runnable`; a step that cancels itself has failed, since nobody else cancels it."""
    from asyncio import CancelledError

    try:
        return await aexecute_runnable(runnable)
    except CancelledError as error:
        return failed_outcome(runnable, error)
