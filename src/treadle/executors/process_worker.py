"""What runs in a worker process of `ProcessExecutor`: one job after the other, until it is told to end.

The worker leads a session of its own, so that a signal to its group reaches whatever its jobs have started, and
a Ctrl-C in the terminal reaches none of it. It dies with its parent, however that one dies.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from multiprocessing.connection import Connection
from threading import Thread
from types import FrameType

from treadle.executors.messages import send
from treadle.executors.portable import lines_of

READY = b"ready"
"""Sent once, when jobs can come."""

END = b""
"""After the last report of a job; in place of a job: end."""


def main(jobs: Connection, lifeline: Connection) -> None:
    """Do the jobs that come, and send each report as soon as it is there.

    `lifeline` carries nothing: its other end is held by the parent alone, and closes when the parent dies.
    """
    if hasattr(os, "setsid"):
        os.setsid()
    die_with_parent(lifeline)
    termination = Termination()
    send(jobs, READY)
    with suppress(EOFError, BrokenPipeError):  # the parent is gone, or wants no more
        while data := jobs.recv_bytes():
            termination.listen()  # the last job may have listened itself
            for line in lines_of(data):
                if termination.has_come:  # whatever the body made of it
                    return
                send(jobs, line)
            flush_output()
            send(jobs, END)


class Termination:
    """Hears SIGTERM and lets the body end as if it had called `sys.exit`: what it must clean up, it can.

    SIGINT is ignored, but not by what the body starts: a handler is not inherited, as ignoring would be.
    """

    def __init__(self) -> None:
        self.has_come = False
        self.listen()

    def listen(self) -> None:
        """Hear both signals from now on."""
        signal.signal(signal.SIGTERM, self.on_terminate)
        signal.signal(signal.SIGINT, self.on_interrupt)

    def on_terminate(self, number: int, _: FrameType | None) -> None:
        """Raise SystemExit in the body, once: a second one would disturb its cleaning up."""
        if not self.has_come:
            self.has_come = True
            raise SystemExit(128 + number)

    def on_interrupt(self, number: int, frame: FrameType | None) -> None:
        """Leave it to the parent what a Ctrl-C means."""


def die_with_parent(lifeline: Connection) -> None:
    """See to it that this process and its group are killed when the other end of the lifeline closes.

    On Linux the kernel does it, so a body that never lets go of the interpreter dies too; elsewhere a thread waits.
    """
    if sys.platform == "linux":
        import fcntl

        descriptor = lifeline.fileno()
        with suppress(OSError):
            fcntl.fcntl(descriptor, fcntl.F_SETOWN, -os.getpgrp())
            fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGKILL)
            flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
            fcntl.fcntl(descriptor, fcntl.F_SETFL, flags | os.O_ASYNC)
            return
    Thread(target=wait_for_parent, args=(lifeline,), daemon=True).start()


def wait_for_parent(lifeline: Connection) -> None:
    """Wait until the parent is gone, and go too."""
    with suppress(EOFError, OSError):
        lifeline.recv_bytes()
    if hasattr(os, "killpg"):
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


def flush_output() -> None:
    """Show what a job has printed now, not when the worker ends (or is killed, and never)."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):  # a body may have closed or replaced it
            stream.flush()
