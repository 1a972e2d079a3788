"""One worker process of `ProcessExecutor`, as its parent sees it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import suppress
from multiprocessing import process as processes
from multiprocessing.connection import wait
from pathlib import Path
from threading import Event, Lock, Timer
from time import monotonic
from typing import Any

from treadle.errors import PlugError, WorkerDied
from treadle.executors import process_worker
from treadle.executors.memory_kills import kill_count
from treadle.executors.messages import Inbox
from treadle.executors.process_worker import END

POLL_S = 1.0
"""How often a worker that is silent is looked at. Its pipes say at once that it has died, unless a process that it
forked still holds them."""

DEATH_S = 5.0
"""How long a process that got SIGKILL may take to be gone; more means that the kernel holds it."""

MAIN_GUARD = (
    'if this program is a script, put what starts the work under `if __name__ == "__main__":`.'
)


def start_methods() -> tuple[str, ...]:
    """The ways to start a worker here, the best one first. Copying this process, with its threads, is none."""
    available = multiprocessing.get_all_start_methods()
    return tuple(method for method in ("forkserver", "spawn") if method in available)


def preload(start_method: str) -> None:
    """Let the fork server import what each worker needs: that makes a worker's start ten times quicker.

    It is shared with the rest of the program, so what that has asked for stays as it is.
    """
    if start_method != "forkserver":
        return
    from multiprocessing import forkserver

    server: Any = getattr(forkserver, "_forkserver", None)
    if getattr(server, "_preload_modules", None) == ["__main__"]:
        forkserver.set_forkserver_preload(["__main__", process_worker.__name__])


def main_is_importable() -> bool:
    """Whether workers have this program's main module: not that of a notebook, or of `python -c`."""
    main = sys.modules["__main__"]
    return getattr(main, "__spec__", None) is not None or hasattr(main, "__file__")


class Worker:
    """A worker process. One thread uses it at a time; any may terminate it.

    `kills_file`: where the kernel counts what it has killed for want of memory (see `memory_kills.py`).
    Errors: `PlugError` if it cannot be started.
    """

    def __init__(self, start_method: str, kills_file: Path | None = None) -> None:
        context: Any = multiprocessing.get_context(start_method)
        self._kills_file = kills_file
        self._kills_before = kill_count(kills_file)
        self.is_ready = False
        """Whether it has come so far as to wait for jobs."""
        self.is_clean = True
        """Whether all that it said of its last job was read: else it cannot have another one."""
        self.job_count = 0
        """How many jobs it was given."""
        self.buried = Event()
        """Set when it is gone, with all that it has started."""
        self._lock = Lock()
        self._killer: Timer | None = None
        self._jobs, their_jobs = context.Pipe()
        their_lifeline, self._lifeline = context.Pipe(duplex=False)
        self._process = context.Process(
            target=process_worker.main, args=(their_jobs, their_lifeline), name="treadle-worker"
        )
        try:
            self._process.start()
        except Exception as error:
            self._lifeline.close()
            self._jobs.close()
            raise not_started(f"{type(error).__name__}: {error}") from error
        finally:
            their_jobs.close()
            their_lifeline.close()
        self.pid: int = self._process.pid
        self._inbox = Inbox(self._jobs, self._process.sentinel)
        # Others must not ask how it is, since the answer can be read only once; nor wait for it at exit, since
        # it is killed when this process ends.
        known: set[Any] = getattr(processes, "_children", set())
        known.discard(self._process)

    def is_alive(self) -> bool:
        """Whether it can take a job."""
        return bool(self._process.is_alive())

    def do(self, data: bytes) -> Iterator[bytes]:
        """Do a job, giving its reports as they come. Errors: `EOFError` if the worker dies on the way."""
        self.job_count += 1
        self.is_clean = False
        if not self.is_ready:
            self._receive()
            self.is_ready = True
        try:
            self._jobs.send_bytes(data)
        except OSError:
            raise EOFError from None
        while (line := self._receive()) != END:
            yield line
        self.is_clean = True

    def stop(self) -> None:
        """Ask it to end when its job is done."""
        with suppress(OSError):
            self._jobs.send_bytes(END)

    def terminate(self, grace_s: float) -> None:
        """Send SIGTERM to it and to all it has started, and SIGKILL if it is not buried `grace_s` seconds later."""
        with self._lock:
            if self.buried.is_set() or self._killer is not None:
                return
            self._signal(signal.SIGTERM)
            self._killer = Timer(grace_s, self._kill)
            self._killer.daemon = True
            self._killer.start()

    def bury(self, grace_s: float) -> int | None:
        """Wait for it to end, kill what is left, and let go of it; gives its exit code, if it ended by itself."""
        ended = self._ends_within(grace_s)
        with self._lock:
            self._signal(signal.SIGKILL)  # also what it has started and left behind
            self._ends_within(DEATH_S)
            exit_code = self._process.exitcode if ended else None
            if self._killer is not None:
                self._killer.cancel()
            self._inbox.close()
            self._jobs.close()
            self._lifeline.close()
            with suppress(ValueError):  # the kernel still holds it
                self._process.close()
            self.buried.set()
        return exit_code

    def memory_kills(self) -> int | None:
        """How many processes the kernel has killed for want of memory since this one began; None: it does not say."""
        now = kill_count(self._kills_file)
        return None if now is None or self._kills_before is None else now - self._kills_before

    def _receive(self) -> bytes:
        """Its next message. Errors: `EOFError` if it is dead and has said all."""
        try:
            while (message := self._inbox.take(POLL_S)) is None:
                if not self._process.is_alive() and not self._jobs.poll(0):
                    raise EOFError
        except OSError:
            raise EOFError from None
        return message

    def _ends_within(self, seconds: float) -> bool:
        until = monotonic() + seconds
        while self._process.is_alive():
            left = until - monotonic()
            if left <= 0:
                return False
            wait([self._process.sentinel], min(left, POLL_S))
        return True

    def _kill(self) -> None:
        with self._lock:
            if not self.buried.is_set():
                self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        """Send a signal to the worker's group; to the worker alone, where it has not come so far as to lead one."""
        for send in (os.killpg, os.kill):
            with suppress(ProcessLookupError, PermissionError):
                send(self.pid, number)
                return


def not_started(why: str) -> PlugError:
    """There is no worker to be had."""
    return PlugError(f"a worker process did not start ({why}).", hint=MAIN_GUARD)


def worker_died(
    component: str, exit_code: int | None, memory_kills: int | None = None
) -> WorkerDied:
    """What a worker left with, and what that often means. `memory_kills` as in `Worker.memory_kills`."""
    how, hint = "it no longer answered, and was killed", None
    if exit_code is not None and exit_code >= 0:
        how = f"it left with exit code {exit_code}"
        hint = "something that the function called ended the process: os._exit?"
    elif exit_code is not None:
        name = signal_name(-exit_code)
        how = f"it was killed by {name} (exit code {exit_code})"
        if name == "SIGKILL" and memory_kills:
            how += ", probably out of memory: meanwhile the kernel has killed for that"
            hint = "let it take less at once, let fewer run at once, or give it more memory."
        elif name == "SIGKILL":
            hint = "where nobody sent that, it was probably out of memory"
            hint += "." if memory_kills is None else ", although the kernel counts no such kill."
        elif name in CRASHES:
            hint = "set PYTHONFAULTHANDLER=1 to see where it crashed."
    return WorkerDied(
        f"the worker process that ran {component!r} died: {how}.", exit_code=exit_code, hint=hint
    )


CRASHES = ("SIGSEGV", "SIGABRT", "SIGBUS", "SIGFPE", "SIGILL")
"""What the kernel and C libraries send to a process that went wrong."""


def signal_name(number: int) -> str:
    """The name of a signal; its number if it has none."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
