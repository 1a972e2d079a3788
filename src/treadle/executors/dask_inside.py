"""What runs inside a Dask cluster: a job in a worker, and a plugin in the scheduler that lets no job run twice.

A task of ours begins at most once. In a worker, whoever names it first decides: the task that begins, or the
executor that withdraws it. Among workers, the scheduler's plugin marks what one of them has had.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
from collections import deque
from collections.abc import Iterable
from typing import Any, Final

from treadle.engine.jobs import failed_report
from treadle.errors import Cancelled, WorkerDied
from treadle.executors.cluster import Kept, Parcel, do_job
from treadle.executors.portable import dump_report, framed

PREFIX: Final = "treadle:"
"""What the keys of all our tasks begin with, and no function's name can."""
SENT_BEFORE: Final = "treadle-sent-before"
"""The annotation of a task that some worker has had: it may have begun there."""

RUNNING: Final = "running"
DONE: Final = "done"
WITHDRAWN: Final = "withdrawn"

PAST_MAX: Final = 10_000
"""How many tasks that are over a worker remembers: a question about one may come a moment late."""

states: Final[dict[str, str]] = {}
"""What became of each task that this process was given or told to withdraw."""
past: Final[deque[str]] = deque()


def run_in_worker(key: str, data: bytes, *kept: Parcel) -> bytes:
    """Do a job with the kept values that it takes, if it has not begun anywhere."""
    refused = begin(key)
    if refused is not None:
        return framed(dump_report(failed_report(refused)))
    try:
        return do_job(data, kept)
    finally:
        end(key, DONE)


def run_and_keep(key: str, data: bytes, keep_above_bytes: int, client: str, *kept: Parcel) -> bytes:
    """As `run_in_worker`; results above so many bytes stay here, for the client of this id."""
    refused = begin(key)
    if refused is not None:
        return framed(dump_report(failed_report(refused)))
    counter = itertools.count()

    def keep(parcel: Parcel) -> Kept:
        return keep_here(f"{key}-{next(counter)}", parcel, client)

    try:
        return do_job(data, kept, keep, keep_above_bytes)
    finally:
        end(key, DONE)


def begin(key: str) -> Exception | None:
    """Take note that a task begins, or say why it must not."""
    if states.setdefault(key, RUNNING) == WITHDRAWN:
        return Cancelled("it was cancelled before it began.")
    if sent_before(key):
        return WorkerDied(
            "the Dask worker that had it left the cluster.",
            hint="a policy with retries runs it again; it may have begun before.",
        )
    return None


def sent_before(key: str) -> bool:
    """Whether the scheduler gave a task to some worker before."""
    from distributed import get_worker

    task = get_worker().state.tasks.get(key)
    return task is not None and bool(task.annotations and task.annotations.get(SENT_BEFORE))


def end(key: str, state: str) -> None:
    """Take note of a task that will not run any more, and forget the oldest of those."""
    states[key] = state
    past.append(key)
    if len(past) > PAST_MAX:
        states.pop(past.popleft(), None)


def withdraw_here(keys: Iterable[str]) -> dict[str, str]:
    """See to it that tasks do not begin in this worker, and say of each whether it has: RUNNING, DONE, WITHDRAWN."""
    found: dict[str, str] = {}
    for key in keys:
        found[key] = states.setdefault(key, WITHDRAWN)
        if found[key] == WITHDRAWN:
            end(key, WITHDRAWN)
    return found


def keep_here(key: str, parcel: Parcel, client: str) -> Kept:
    """Give a value to this worker's store, under a key that the client is known to want.

    The scheduler holds it as pure data: once lost it is gone, and no task is run again to make it.
    """
    from distributed import get_worker

    worker: Any = get_worker()

    async def register() -> None:
        told = worker.update_data({key: parcel})
        await worker.scheduler.update_data(
            who_has={key: [worker.address]}, nbytes=told["nbytes"], client=client
        )

    asyncio.run_coroutine_threadsafe(register(), worker.loop.asyncio_loop).result()
    return Kept(key=key, where=worker.address, size=parcel.size)


@functools.cache
def once_only() -> Any:
    """The class of the scheduler's plugin, made here so that Treadle loads without Dask; it travels by value."""
    from distributed import SchedulerPlugin

    class OnceOnly(SchedulerPlugin):  # type: ignore[misc,unused-ignore]
        """Keeps the scheduler from running a task of ours again; leaves all others alone."""

        name = "treadle-once-only"
        idempotent = True

        async def start(self, scheduler: Any) -> None:
            self.tasks = scheduler.tasks

        def update_graph(self, scheduler: Any, *, tasks: Any = (), **_: Any) -> None:
            """A new task: when the worker that has it dies, it is at fault at once."""
            for key in tasks:
                if str(key).startswith(PREFIX):
                    scheduler.tasks[key].suspicious = scheduler.allowed_failures

        def transition(self, key: Any, start: str, finish: str, *_: Any, **__: Any) -> None:
            """A task changes its state."""
            if start != "processing" or not str(key).startswith(PREFIX):
                return
            task = self.tasks[key]
            if finish == "memory":
                task.run_spec = None  # a result is data: once lost it is gone
            elif finish == "released":
                task.annotations = {**(task.annotations or {}), SENT_BEFORE: True}

    return OnceOnly
