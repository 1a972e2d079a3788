"""What the tests of Dask and Ray have in common: bodies for the workers, and the other end of their waiting."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from treadle.model.bundles import Bundle, Link
from treadle.model.runnables import Outcome, Runnable

GUARD_S = 60.0
"""How long something may take that takes milliseconds, before a test gives up."""


def runnable(call: Callable[..., Any], *args: Any) -> Runnable:
    """A runnable of a component that is called like its function."""
    name = call.__name__
    return Runnable(component=name, node=f"{name}/step", scope=(0,), call=call, args=args)


def bundle(call: Callable[..., Any], *args: Any, keep: bool = False) -> Bundle:
    """A bundle of one."""
    return Bundle(runnables=(runnable(call, *args),), keep=keep)


def link(call: Callable[..., Any]) -> Link:
    """The next step of a chain."""
    return Link(component=call.__name__, node=f"{call.__name__}/step", call=call)


class Answers:
    """The answers of an executor, in any thread; a second one under the same number is an error."""

    def __init__(self) -> None:
        self.found: dict[int, list[Outcome]] = {}
        self.changed = threading.Condition()
        self.numbers = iter(range(10**9))

    def __call__(self, number: int, outcomes: list[Outcome]) -> None:
        with self.changed:
            assert number not in self.found
            self.found[number] = outcomes
            self.changed.notify_all()

    def to(self, number: int) -> list[Outcome]:
        """The answer to a bundle, when it is there; it is not kept."""
        with self.changed:
            assert self.changed.wait_for(lambda: number in self.found, GUARD_S), "no answer"
            return self.found.pop(number)


class Visit:
    """A body that waits at a gate."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.pid = int(connection.makefile("r", encoding="ascii").readline())

    def let_pass(self) -> None:
        """Let it go on."""
        self.connection.sendall(b".")

    def see_it_leave(self) -> None:
        """Wait until the body has ended, one way or the other."""
        with suppress(ConnectionError):
            assert self.connection.recv(1) == b""


class Gate:
    """A port where bodies wait, so that a test knows that they have begun."""

    def __init__(self) -> None:
        self.server = socket.create_server(("127.0.0.1", 0))
        self.server.settimeout(GUARD_S)
        self.port = self.server.getsockname()[1]
        self.connections: list[socket.socket] = []

    def arrival(self) -> Visit:
        """The next body that begins."""
        connection, _ = self.server.accept()
        connection.settimeout(GUARD_S)
        self.connections.append(connection)
        return Visit(connection)

    def close(self) -> None:
        """Let everybody go on, also who comes late."""
        for each in (*self.connections, self.server):
            each.close()


# ------------------------------------------------------------------------------ in the workers


def increment(value):
    """Give the next number."""
    return value + 1


def wait_at(port, ledger, name):
    """Write one's name into a file, and wait at a gate."""
    with open(ledger, "a", encoding="utf-8") as file:
        file.write(f"{name}\n")
    with suppress(ConnectionError), socket.create_connection(("127.0.0.1", port)) as gate:
        gate.sendall(f"{os.getpid()}\n".encode())
        gate.recv(1)
    return name


def spin_at(port, ledger, name):
    """As `wait_at`, and then stay in Python code, where an interrupt gets through."""
    with open(ledger, "a", encoding="utf-8") as file:
        file.write(f"{name}\n")
    with socket.create_connection(("127.0.0.1", port)) as gate:
        gate.sendall(f"{os.getpid()}\n".encode())
        while True:
            pass


class HeldError(Exception):
    """Pickles as a call that its own constructor refuses, and holds what cannot be pickled."""

    def __init__(self, code, lock):
        super().__init__(f"code {code}")
        self.lock = lock


def fail_oddly(code):
    """Fail with an exception that cannot be rebuilt elsewhere."""
    raise HeldError(code, threading.Lock())


class Homebody:
    """A value of so many bytes that refuses to be rebuilt in the process whose id it is given."""

    def __init__(self, size, not_in):
        self.data = b"x" * size
        self.not_in = not_in
        self.made_in = os.getpid()

    def __reduce__(self):
        return (rebuild, (len(self.data), self.not_in, self.made_in))

    def __sizeof__(self):
        return len(self.data)


def rebuild(size, not_in, made_in):
    """Rebuild a `Homebody`, elsewhere than where it must not be."""
    if os.getpid() == not_in:
        raise RuntimeError("it was brought to the process that must not see it")
    value = Homebody(size, not_in)
    value.made_in = made_in
    return value
