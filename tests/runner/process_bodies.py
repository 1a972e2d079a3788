"""Bodies for worker processes that behave on a later attempt: workers import them from here."""

import asyncio
import ctypes
import os
import signal
from typing import Any

import treadle as td


def crash_once(x: Any, *, n: int = td.attempt()) -> Any:
    """Crash the process at first."""
    if n == 1:
        ctypes.string_at(0)
    return x


def leave_once(x: Any, *, n: int = td.attempt()) -> Any:
    """Leave the process at first."""
    if n == 1:
        os._exit(7)
    return x


def killed_once(x: Any, *, n: int = td.attempt()) -> Any:
    """Be killed, as by the system when memory is short, at first."""
    if n == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return x


def always_crash(_: Any) -> None:
    """Crash the process each time."""
    os._exit(9)


def exit_(_: Any) -> None:
    """What `sys.exit` does."""
    raise SystemExit(3)


def interrupt(_: Any) -> None:
    """What a Ctrl-C does."""
    raise KeyboardInterrupt


def cancelled(_: Any) -> None:
    """A cancellation that nobody asked for."""
    raise asyncio.CancelledError


async def adouble(x: Any) -> Any:
    """Twice the value, asynchronously."""
    await asyncio.sleep(0)
    return x * 2
