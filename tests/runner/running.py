"""What tests of the whole runner share: bodies that wait, a clock that is set, a store that fails, ways to wait."""

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import treadle as td
from treadle.interfaces import Append
from treadle.model.events import Event
from treadle.stores.memory import MemoryStore

PATIENCE_S = 20.0
"""After that long, what should have come is missing; nothing is claimed about time."""


def increment(x: Any) -> Any:
    """One more."""
    return x + 1


def same(x: Any) -> Any:
    """What it is given."""
    return x


def double(x: Any) -> Any:
    """Twice the value."""
    return x * 2


def plus(state: Any, value: Any) -> Any:
    """Add up."""
    return state + value


def fail(x: Any) -> Any:
    """Never succeed."""
    raise ValueError(f"no {x}")


class Out(BaseException):
    """What no `except Exception` catches."""


def steps(*listed: Any, name: str = "work") -> td.Workflow:
    """A workflow of some steps side by side; (parent, [children]) as usual."""
    return td.workflow(name, steps=list(listed) or [increment])


def until(holds: Callable[[], object]) -> None:
    """Wait for what another thread does next."""
    guard, pause = time.monotonic() + PATIENCE_S, threading.Event()
    while not holds():
        assert time.monotonic() < guard
        pause.wait(0.0005)


class Body:
    """A step that can be watched: what it was called with, how many are inside, and when it may return."""

    def __init__(self, *, is_open: bool = True, gives: Callable[[Any], Any] = lambda x: x) -> None:
        self.calls: list[Any] = []
        self.peak = 0
        self.gives = gives
        self._inside = 0
        self._lock = threading.Lock()
        self._gate = threading.Event()
        if is_open:
            self.let_go()

    def __call__(self, x: Any) -> Any:
        """Come in, wait for the gate, and give something."""
        with self._lock:
            self.calls.append(x)
            self._inside += 1
            self.peak = max(self.peak, self._inside)
        try:
            assert self._gate.wait(PATIENCE_S)
            return self.gives(x)
        finally:
            with self._lock:
                self._inside -= 1

    def let_go(self) -> None:
        """Open the gate, for all who wait and all who will come."""
        self._gate.set()

    def shut(self) -> None:
        """Close it again."""
        self._gate.clear()

    def wait_for_calls(self, count: int = 1) -> None:
        """Wait until it was called so often."""
        until(lambda: len(self.calls) >= count)


class Flaky:
    """A step that fails at first: `errors` are raised by its first calls, then it gives its input."""

    def __init__(self, *errors: BaseException) -> None:
        self.errors = list(errors)
        self.calls: list[Any] = []

    def __call__(self, x: Any) -> Any:
        """Raise what is left to be raised."""
        self.calls.append(x)
        if self.errors:
            raise self.errors.pop(0)
        return x


class SetClock:
    """A clock that stands still until it is set on."""

    def __init__(self, now: float = 1_000_000.0) -> None:
        self._now = now

    def now(self) -> float:
        """The time."""
        return self._now

    def go_on(self, seconds: float) -> None:
        """Let time pass."""
        self._now += seconds

    def go_on_to(self, at: float) -> None:
        """Let it be this moment."""
        self._now = max(self._now, at)


class FaultyStore(MemoryStore):
    """Keeps logs, except when it is told to fail: `fails` is asked about each batch."""

    def __init__(self, *, is_instant: bool = True) -> None:
        super().__init__()
        self.is_instant = is_instant
        self.count = 0
        self.fails: Callable[[Sequence[Append]], object] = lambda _: False

    def append(self, batch: Sequence[Append]) -> list[Exception | None]:
        """Add to logs, or not."""
        self.count += 1
        if self.fails(batch):
            raise OSError("the disk is gone")
        return super().append(batch)

    def fail_at(self, *counts: int) -> None:
        """Fail at these calls of `append`, counted from 1."""
        self.fails = lambda _: self.count in counts

    def fail_next(self) -> None:
        """Fail at the next call."""
        self.fail_at(self.count + 1)

    def fail_for(self, run_id: str) -> None:
        """Fail whenever there is something of this run."""
        self.fails = lambda batch: any(append.run_id == run_id for append in batch)

    def mend(self) -> None:
        """Fail no more."""
        self.fails = lambda _: False


def of_kind(runner: td.Runner, run_id: str, *kinds: type) -> list[Any]:
    """The events of some kinds in a run's log."""
    return [event for event in log_of(runner, run_id) if isinstance(event, kinds)]


def log_of(runner: td.Runner, run_id: str) -> list[Event]:
    """A run's log as it is now."""
    return list(runner.get_workflow(run_id).log())


def status_of(runner: td.Runner, run_id: str) -> str:
    """How a run stands."""
    [status] = [info.status for info in runner.runs() if info.id == run_id]
    return status


def note_of(runner: td.Runner, run_id: str) -> str | None:
    """What there is to say of a run."""
    [note] = [info.note for info in runner.runs() if info.id == run_id]
    return note
