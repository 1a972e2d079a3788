"""What the tests of Dask and Ray share: bodies for their workers, and a desk for bundles whose results may stay."""

import os
import signal
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.executors.driving import Desk
from treadle.model.bundles import Bundle, Link
from treadle.model.runnables import Outcome, Runnable

LARGE = 100_000
"""More bytes than what is brought back anyway."""


def work(call: Callable[..., Any], *args: Any) -> Runnable:
    """A runnable of a component that is called like its function."""
    name = call.__name__
    return Runnable(component=name, node=f"{name}/step", scope=(0,), call=call, args=args)


def link(call: Callable[..., Any]) -> Link:
    """The next step of a chain."""
    return Link(component=call.__name__, node=f"{call.__name__}/step", call=call)


def kept(desk: Desk, number: int, runnable: Runnable, *links: Link) -> list[Outcome]:
    """The outcomes of a bundle whose results may stay where they are made."""
    desk.executor.submit(number, Bundle(runnables=(runnable,), links=links, keep=True))
    return desk.answer(number)


def kill(pid: Any) -> None:
    """Kill a process, as a visitor names it or by its number."""
    os.kill(int(pid), signal.SIGKILL)


# ------------------------------------------------------------------------------ in the workers


def increment(value):
    """Give the next number."""
    return value + 1


def note_and_knock(ledger, port):
    """Write into a file that one has begun, tell one's process, and wait."""
    with Path(ledger).open("a", encoding="utf-8") as file:
        file.write("begun\n")
    with suppress(ConnectionError), socket.create_connection(("127.0.0.1", port)) as door:
        door.sendall(f"{os.getpid()}\n".encode())
        door.recv(1)
    return "passed"


def knock_and_spin(port):
    """Tell one's process, and stay in Python code, where an interrupt gets through."""
    with socket.create_connection(("127.0.0.1", port)) as door:
        try:
            door.sendall(f"{os.getpid()}\n".encode())
            while True:
                pass
        finally:
            door.sendall(b"tidied\n")


class Locked(Exception):
    """Cannot be pickled."""

    def __init__(self, text):
        super().__init__(text)
        self.lock = threading.Lock()


def raise_locked(text):
    """Fail with what cannot be rebuilt elsewhere."""
    raise Locked(text)


class Homebody:
    """A large value that refuses to be rebuilt in one process."""

    def __init__(self, not_in, made_in):
        self.not_in = not_in
        self.made_in = made_in

    def __reduce__(self):
        return (rebuild, (self.not_in, self.made_in, b"x" * LARGE))


def rebuild(not_in, made_in, _):
    """Rebuild a `Homebody`, elsewhere than where it must not be."""
    if os.getpid() == not_in:
        raise RuntimeError("it was brought where it must not be")
    return Homebody(not_in, made_in)


def make_homebody(not_in):
    """Give a value that must stay away from a process."""
    return Homebody(not_in, os.getpid())


def made_in(value):
    """Tell where a `Homebody` was made."""
    return value.made_in


def large(text):
    """Give a large value."""
    return [text] * LARGE


def size(value):
    """Give the number of elements."""
    return len(value)
