"""Runs bundles in worker processes: for work that computes, that crashes, or that must be stoppable.

`concurrent.futures.ProcessPoolExecutor` would not do: when one of its workers dies, all bundles of the pool fail.
"""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path
from threading import Lock
from time import monotonic

from treadle.engine.jobs import outcome_from
from treadle.errors import Cancelled, NotPortable, PlugError, UsageError, WorkerDied
from treadle.executors.crew import Crew
from treadle.executors.here import cancellation, cancelled, cut_short, turns
from treadle.executors.ledger import Entry, Ledger
from treadle.executors.memory_kills import counting_file
from treadle.executors.options import check_count, check_seconds
from treadle.executors.portable import dump_job, load_report
from treadle.executors.worker import (
    Worker,
    main_is_importable,
    not_started,
    preload,
    start_methods,
    worker_died,
)
from treadle.interfaces import Answer
from treadle.model.bundles import Bundle
from treadle.model.runnables import Outcome


class ProcessExecutor:
    """Runs up to `capacity` bundles at once, each in a worker process of its own; by default one per core.

    A worker that dies (a segfault, `os._exit`, out of memory) fails the call it was in with `WorkerDied`; nothing
    else is harmed, and the next bundle gets a fresh worker. A cancelled body is really stopped: SIGTERM to the worker
    and all it has started (its `finally` blocks run), and SIGKILL `grace_s` seconds later. No worker outlives this
    process. Functions must be importable by the workers, or cloudpickle installed; values must pickle.

    `start_method`: `"forkserver"` (the default where there is one) or `"spawn"`. A program that is a script must
    start its work under `if __name__ == "__main__":`, since each worker imports it. `max_jobs_per_worker`: a worker
    is replaced after that many bundles, against leaks. A worker's environment is that of the moment when the first
    one was started.
    """

    when_cancelled = "stopped"
    is_remote = True

    def __init__(
        self,
        capacity: int | None = None,
        *,
        start_method: str | None = None,
        grace_s: float = 2.0,
        max_jobs_per_worker: int | None = None,
    ) -> None:
        capacity = os.cpu_count() or 1 if capacity is None else capacity
        check_count("ProcessExecutor(capacity=...)", capacity)
        check_seconds("ProcessExecutor(grace_s=...)", grace_s)
        if max_jobs_per_worker is not None:
            check_count("ProcessExecutor(max_jobs_per_worker=...)", max_jobs_per_worker)
        methods = start_methods()
        if start_method is not None and start_method not in methods:
            raise UsageError(
                f"ProcessExecutor(start_method=...) is one of {methods}, and was given {start_method!r}.",
                hint="'fork' copies a program whose threads are in the midst of something, and may hang.",
            )
        self.capacity: int | None = capacity
        self.start_method = start_method or methods[0]
        self.grace_s = grace_s
        self.max_jobs_per_worker = max_jobs_per_worker
        self._ledger = Ledger(self)
        self._crew = Crew(self._ledger, capacity, "treadle-process", self._serve)
        self._lock = Lock()
        self._idle: list[Worker] = []
        self._workers: set[Worker] = set()
        self._kills_file: Path | None = None
        self._is_closed = False

    def __repr__(self) -> str:
        return f"ProcessExecutor(capacity={self.capacity}, start_method={self.start_method!r})"

    def open(self, answer: Answer) -> None:
        """Make ready; workers start as they are needed."""
        if getattr(multiprocessing.current_process(), "_inheriting", False):
            raise UsageError(
                "a worker process has begun this program again instead of only importing it.",
                hint='put what starts the work under `if __name__ == "__main__":`.',
            )
        self._ledger.open(answer)
        preload(self.start_method)
        self._kills_file = counting_file()

    def submit(self, number: int, bundle: Bundle) -> None:
        """Give a bundle to the next free worker."""
        self._crew.send(self._ledger.enter(number, bundle))

    def cancel(self, number: int) -> None:
        """Withdraw what has not begun; else kill its worker, and answer when that is dead."""
        entry = self._ledger.cancel(number)
        if entry is None:
            return
        if not entry.began:
            self._ledger.settle(entry, cancelled(entry.bundle, [], "withdrawn"))
            return
        worker: Worker | None = entry.place
        if worker is not None:
            worker.terminate(self.grace_s)

    def close(self) -> None:
        """End all workers: SIGTERM, and SIGKILL for those that are still there `grace_s` seconds later."""
        for entry in self._ledger.close():
            if entry.began:
                self._crew.lose()
        self._crew.end()
        with self._lock:
            self._is_closed = True
            idle, self._idle = self._idle, []
            busy = self._workers.difference(idle)
        for worker in busy:
            worker.terminate(self.grace_s)
        for worker in idle:
            worker.stop()
        for worker in idle:
            self._bury(worker)
        give_up_at = monotonic() + self.grace_s + 1.0
        for worker in busy:  # each is buried by the thread that feeds it
            worker.buried.wait(max(0.0, give_up_at - monotonic()))

    # -------------------------------------------------------- in the threads that feed the workers

    def _serve(self, entry: Entry) -> list[Outcome]:
        """Run a bundle: in one worker, unless that dies and some of the bundle has not begun."""
        bundle, done = entry.bundle, entry.done
        together = True
        while len(done) < len(bundle.runnables):
            begin = len(done)
            rest = bundle.runnables[begin:] if together else bundle.runnables[begin : begin + 1]
            part = Bundle(runnables=rest, links=bundle.links if together else ())
            try:
                self._run(entry, part)
            except (Cancelled, PlugError) as error:
                return cut_short(bundle, done, error)
            except (NotPortable, WorkerDied) as error:
                if isinstance(error, WorkerDied) or len(part) == 1:
                    done.append(cut_short(bundle, done, error)[len(done)])
                else:
                    together = (
                        False  # what cannot travel harms nobody else, nor what goes before it
                    )
            else:
                if len(done) - begin < len(rest):  # one report for all: it could not be loaded
                    del done[begin:]
                    together = False
        return done

    def _run(self, entry: Entry, part: Bundle) -> None:
        """Run a part of an entry's bundle in a worker, adding to what is done as reports come.

        Errors: `NotPortable`, `Cancelled`, `WorkerDied`; `PlugError` if there is no worker to be had.
        """
        data = dump_job(part, shares_main=main_is_importable())
        worker = self._hire()
        turn = turns(part, entry.done)
        try:
            if not self._assign(entry, worker):
                raise cancellation(entry.bundle, "withdrawn")
            for line in worker.do(data):
                entry.done.append(outcome_from(next(turn), load_report(line)))
        except EOFError:
            exit_code = self._bury(worker)
            unfinished = next(turn, None)
            if unfinished is None:
                return
            if entry.is_cancelled:
                raise cancellation(entry.bundle, "stopped") from None
            if not worker.is_ready:
                raise not_started(f"it ended with exit code {exit_code}") from None
            raise worker_died(unfinished.component, exit_code, worker.memory_kills()) from None
        finally:
            self._release(entry, worker)

    def _hire(self) -> Worker:
        """A worker that waits for a job, or a new one."""
        while True:
            with self._lock:
                worker = self._idle.pop() if self._idle else None
            if worker is None:
                break
            if worker.is_alive():
                return worker
            self._bury(worker)  # somebody killed it while it waited: that is no job's fault
        worker = Worker(self.start_method, self._kills_file)
        with self._lock:
            self._workers.add(worker)
        return worker

    def _assign(self, entry: Entry, worker: Worker) -> bool:
        """Note where an entry runs, so that it can be killed there; not if it was cancelled by now."""
        with self._ledger.lock:
            if entry.is_cancelled or self._is_closed:
                return False
            entry.place = worker
        return True

    def _release(self, entry: Entry, worker: Worker) -> None:
        """Let a worker wait for its next job; or let it go, if it was killed or has done enough."""
        with self._ledger.lock:
            is_killed = entry.place is worker and entry.is_cancelled
            entry.place = None
        is_over = is_killed or worker.job_count == self.max_jobs_per_worker or not worker.is_clean
        with self._lock:
            is_kept = not (is_over or worker.buried.is_set() or self._is_closed)
            if is_kept:
                self._idle.append(worker)
        if not is_kept and not worker.buried.is_set():
            worker.stop()
            self._bury(worker)

    def _bury(self, worker: Worker) -> int | None:
        """See a worker to its end; gives its exit code."""
        with self._lock:
            self._workers.discard(worker)
        return worker.bury(self.grace_s)
