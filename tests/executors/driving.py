"""What tests of executors share: an opened executor with its answers, and a door where bodies wait."""

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import Empty, SimpleQueue
from typing import Any

from treadle.errors import Cancelled
from treadle.interfaces import Executor
from treadle.model.bundles import Bundle, Link
from treadle.model.errordata import ErrorData
from treadle.model.runnables import FAILED, Outcome, Runnable

GUARD_S = 30.0
"""An answer that takes longer is lost."""


class Desk:
    """An opened executor: bundles go in, answers come out."""

    def __init__(self, executor: Executor) -> None:
        self.executor = executor
        self.answers: dict[int, list[Outcome]] = {}
        self._arrived: SimpleQueue[tuple[int, list[Outcome]]] = SimpleQueue()
        self._count = 0
        executor.open(lambda number, outcomes: self._arrived.put((number, list(outcomes))))

    def give(self, *runnables: Runnable, links: tuple[Link, ...] = ()) -> int:
        """Submit a bundle."""
        self._count += 1
        self.executor.submit(self._count, Bundle(runnables=runnables, links=links))
        return self._count

    def answer(self, number: int) -> list[Outcome]:
        """Wait for an answer."""
        while number not in self.answers:
            try:
                arrived, outcomes = self._arrived.get(timeout=GUARD_S)
            except Empty:
                raise AssertionError(f"no answer to {number}") from None
            assert arrived not in self.answers, "answered twice"
            self.answers[arrived] = outcomes
        return self.answers[number]

    def run(self, *runnables: Runnable, links: tuple[Link, ...] = ()) -> list[Outcome]:
        """Submit a bundle and wait for its answer."""
        return self.answer(self.give(*runnables, links=links))

    def is_quiet(self) -> bool:
        """Whether nothing has arrived that nobody waited for."""
        return self._arrived.empty()


@contextmanager
def opened(executor: Executor) -> Iterator[Desk]:
    """An executor for the length of a test."""
    desk = Desk(executor)
    try:
        yield desk
    finally:
        executor.close()


class Door:
    """A port where bodies of any process announce themselves and wait; a connection ends when its holders have."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(GUARD_S)
        self.port: int = self._listener.getsockname()[1]
        self._visitors: list[Visitor] = []

    def visitor(self) -> "Visitor":
        """Wait for the next one to knock."""
        connection, _ = self._listener.accept()
        connection.settimeout(GUARD_S)
        visitor = Visitor(connection)
        self._visitors.append(visitor)
        return visitor

    def close(self) -> None:
        """Let everybody go."""
        for visitor in self._visitors:
            visitor.close()
        self._listener.close()


class Visitor:
    """One body at the door."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._lines = connection.makefile("r", encoding="utf-8")
        self.name = self.hears()

    def hears(self) -> str:
        """The next line the body says; nothing when all who hold the connection are gone."""
        try:
            return self._lines.readline().strip()
        except ConnectionResetError:
            return ""

    def let_pass(self) -> None:
        """Let the body go on."""
        self._connection.sendall(b".")

    def close(self) -> None:
        """Show it out."""
        self._lines.close()
        self._connection.close()


def cancelled_how(outcome: Outcome) -> str:
    """How a cancelled body ended."""
    assert outcome.status == FAILED
    assert isinstance(outcome.exception, Cancelled)
    return outcome.exception.how


def failure(outcome: Outcome) -> ErrorData:
    """What a failed outcome says of its error."""
    assert outcome.error is not None
    return outcome.error


def raised(outcome: Outcome) -> Any:
    """The exception of a failed outcome."""
    assert outcome.exception is not None
    return outcome.exception


def until(holds: Callable[[], bool]) -> None:
    """Wait for what another thread does next."""
    guard = time.monotonic() + GUARD_S
    while not holds():
        assert time.monotonic() < guard
        time.sleep(0)


def shown(outcomes: list[Outcome]) -> list[object]:
    """Each outcome in short: its value, or the name of its error."""
    return [each.value if each.error is None else each.error.name for each in outcomes]
