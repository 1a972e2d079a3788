"""The react loops of a bare workflow: one generation, any `concurrent.futures.Executor`, or asyncio.

Each is the guide's loop on the public three phases; the inline loop lives in `engine/loop.py`. A workflow with policies
is driven by the runner's own machine (`runner/bare.py`), so that they mean the same everywhere. asyncio,
concurrent.futures and the runner are imported when a loop first needs them, so that importing Treadle stays cheap.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from treadle.engine.execute import aexecute_runnable, execute_runnable, failed_outcome
from treadle.errors import UsageError
from treadle.handle import NOTHING, is_count
from treadle.model.runnables import Outcome, Runnable
from treadle.value import Workflow

if TYPE_CHECKING:
    from concurrent.futures import Executor, Future

THREADS_DEFAULT = 64
"""For work that waits: threads are started only as they are needed, and cores do not limit waiting."""


def check_concurrency(max_concurrency: int | None) -> None:
    """At least one thing must be able to run."""
    if max_concurrency is not None and (not is_count(max_concurrency) or max_concurrency == 0):
        raise UsageError(
            f"max_concurrency={max_concurrency!r} is not a number of at least 1.",
            hint="leave it out for no limit of its own.",
        )


def react(workflow: Workflow, at: float | None = None) -> Workflow:
    """Execute and apply what is ready now, and no more."""
    if workflow.has_policies:
        from treadle.runner import bare

        return bare.react_once(workflow)
    workflow, runnables = workflow.prepare_for_dispatch(at=at)
    for runnable in runnables:
        workflow = workflow.apply_runnable(execute_runnable(runnable))
    return workflow.plan_eagerly(at=at)


def react_on(
    workflow: Workflow,
    executor: Executor | str | None,
    max_concurrency: int | None,
    at: float | None = None,
) -> Workflow:
    """React until nothing is ready and all that was submitted here has come back."""
    check_concurrency(max_concurrency)
    if workflow.has_policies:
        from treadle.runner import bare

        return bare.react_under(workflow, executor, max_concurrency)
    if executor is None:  # one at a time is within any limit
        return workflow.run_inline(NOTHING, None, at)
    if executor == "threads":
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(max_concurrency or THREADS_DEFAULT) as threads:
            return _Submitting(workflow, threads, max_concurrency, at).run()
    if isinstance(executor, str):
        from treadle.runner import bare

        return bare.react_under(workflow, executor, max_concurrency)
    if isinstance(executor, type) or not hasattr(executor, "submit"):
        raise UsageError(
            f"executor={executor!r} is not an executor.",
            hint='use "threads", any concurrent.futures.Executor, or None for inline.',
        )
    return _Submitting(workflow, executor, max_concurrency, at).run()


class _Submitting:
    """One drive over an executor: submits what is ready, applies what comes back, as it comes."""

    def __init__(
        self, workflow: Workflow, executor: Executor, limit: int | None, at: float | None
    ) -> None:
        from queue import SimpleQueue

        self.workflow = workflow
        self.executor = executor
        self.limit = limit
        self.at = at
        self.out: dict[Future[Outcome], Runnable] = {}
        self.back: SimpleQueue[Future[Outcome]] = SimpleQueue()

    def run(self) -> Workflow:
        try:
            self._submit_ready()
            while self.out:
                future = self.back.get()
                runnable = self.out.pop(future)
                self.workflow = self.workflow.apply_runnable(_outcome_of(future, runnable))
                self._submit_ready()
        except BaseException:
            for future in self.out:
                future.cancel()
            raise
        return self.workflow

    def _submit_ready(self) -> None:
        room = None if self.limit is None else self.limit - len(self.out)
        self.workflow, runnables = self.workflow.prepare_for_dispatch(room, at=self.at)
        for runnable in runnables:
            future = self.executor.submit(execute_runnable, runnable)
            self.out[future] = runnable
            future.add_done_callback(self.back.put)


def _outcome_of(future: Future[Outcome], runnable: Runnable) -> Outcome:
    """What a future gave; where the executor itself failed (a lost worker, no pickling), a failure."""
    error = future.exception()
    if error is None:
        return future.result()
    if not isinstance(
        error, Exception
    ):  # an interrupt is the caller's business, wherever it struck
        raise error
    return failed_outcome(runnable, error)


async def areact(
    workflow: Workflow, max_concurrency: int | None, at: float | None = None
) -> Workflow:
    """React on the running event loop, with one task per runnable."""
    import asyncio

    check_concurrency(max_concurrency)
    if workflow.has_policies:
        from treadle.runner import bare

        return await bare.areact_under(workflow, max_concurrency)
    tasks: set[asyncio.Task[Any]] = set()
    try:
        while True:
            room = None if max_concurrency is None else max_concurrency - len(tasks)
            workflow, runnables = workflow.prepare_for_dispatch(room, at=at)
            plain = False
            for runnable in runnables:
                if runnable.is_async:
                    tasks.add(asyncio.create_task(aexecute_runnable(runnable)))
                else:
                    plain = True
                    workflow = workflow.apply_runnable(await aexecute_runnable(runnable))
            if not tasks and not plain:
                return workflow
            if plain:  # its slot is free again, and what it set off may use it
                await asyncio.sleep(0)
                done = {task for task in tasks if task.done()}
                tasks -= done
            else:
                done, tasks = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                workflow = workflow.apply_runnable(task.result())
    finally:
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.gather(*tasks, return_exceptions=True)
