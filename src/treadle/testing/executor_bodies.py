"""What `check_executor` lets an executor run: functions that any worker can import, and the gate where some wait.

A gate is a port on this machine. A body that waits there tells that it has begun; the kit lets it pass, and sees
it leave, or die. That works for threads, processes and clusters on one machine alike, and without a clock.
"""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from treadle.model.sentinels import ABSENT

HERE = "127.0.0.1"


def double(value: Any) -> Any:
    """Give twice a value."""
    return value * 2


async def adouble(value: Any) -> Any:
    """Give twice a value, a moment later."""
    await asyncio.sleep(0)
    return value * 2


def combine(first: Any, second: Any, *, third: Any) -> tuple[Any, Any, Any]:
    """Give what was given, by port and by name."""
    return (first, second, third)


def fail(value: Any) -> Any:
    """Fail as a user's function does."""
    raise ValueError(f"no {value}")


def leave(value: Any) -> Any:
    """Try to end the program."""
    raise SystemExit(value)


def skip(_: Any) -> Any:
    """Give nothing."""
    return ABSENT


def give_lock(value: Any) -> Any:
    """Give what cannot be pickled, a little way inside."""
    return {"value": value, "inner": [threading.Lock()]}


def where(_: Any) -> tuple[int, int]:
    """Tell the process and the thread one is in."""
    return (os.getpid(), threading.get_ident())


def wait_at(port: int, name: str) -> str:
    """Wait at a gate until it lets one pass or closes."""
    with socket.create_connection((HERE, port)) as gate:
        gate.sendall(f"{name}\n".encode())
        gate.recv(1)
    return name


async def await_at(port: int, name: str) -> str:
    """Wait at a gate on an event loop."""
    reader, writer = await asyncio.open_connection(HERE, port)
    try:
        writer.write(f"{name}\n".encode())
        await reader.read(1)
    finally:
        writer.close()
    return name


class Gate:
    """Where bodies wait: who is there, who ever was, and how many there were at once."""

    def __init__(self) -> None:
        self.inside: dict[str, asyncio.StreamWriter] = {}
        self.seen: set[str] = set()
        self.most = 0
        self.port = 0
        self._is_open_to_all = False
        self._changed = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._visits: set[asyncio.Task[Any]] = set()

    async def open(self) -> None:
        """Begin to listen, on any free port."""
        self._server = await asyncio.start_server(self._visit, HERE, 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Let everybody pass, and listen no more."""
        if self._server is not None:
            self._server.close()
        for writer in self.inside.values():
            writer.close()
        if self._visits:
            await asyncio.wait(self._visits)

    def let_all_pass(self) -> None:
        """Let everybody go on, also who comes from now on."""
        self._is_open_to_all = True
        for name in self.inside:
            self.let_pass(name)

    def let_pass(self, name: str) -> None:
        """Let one body go on."""
        self.inside[name].write(b".")

    async def until(self, holds: Callable[[], bool], timeout_s: float) -> bool:
        """Wait until something holds of who is here; whether it did in time."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while not holds():
                    self._changed.clear()
                    await self._changed.wait()
        return holds()

    async def _visit(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        visit = asyncio.current_task()
        assert visit is not None, "asyncio serves each connection in a task"
        self._visits.add(visit)
        name = (await reader.readline()).decode().strip()
        self.seen.add(name)
        self.inside[name] = writer
        self.most = max(self.most, len(self.inside))
        self._changed.set()
        if self._is_open_to_all:
            self.let_pass(name)
        with suppress(ConnectionError):
            await reader.read()  # until it has left, one way or the other
        del self.inside[name]
        self._changed.set()
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
        self._visits.discard(visit)
