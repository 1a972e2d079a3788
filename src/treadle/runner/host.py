"""How the loop of a runner lives on an event loop: when it is woken, and in whose context."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from contextvars import copy_context

from treadle.interfaces import Clock
from treadle.runner.clock import LOOK_S


class AsyncHost:
    """Lets the loop run on an event loop.

    Always with the context variables of whoever made the runner: those of the request that happened to wake the loop
    would otherwise be seen by the work of all others.
    """

    is_direct = True
    has_own_thread = False
    """No Ctrl-C can arrive in its thread, so a `KeyboardInterrupt` there is somebody's own."""

    def __init__(self, event_loop: asyncio.AbstractEventLoop, clock: Clock) -> None:
        self.event_loop = event_loop
        self.clock = clock
        self.pump: Callable[[], None] = lambda: None
        self.timer: asyncio.TimerHandle | None = None
        self.context = copy_context()

    def wake(self) -> None:
        """Have the pump run soon (called in its thread)."""
        self.event_loop.call_soon(self.pump, context=self.context)

    def wake_from_elsewhere(self) -> None:
        """The same, from any thread."""
        with suppress(RuntimeError):  # the event loop is closed: nobody is left to hear it
            self.event_loop.call_soon_threadsafe(self.pump, context=self.context)

    def wake_at(self, at: float | None) -> None:
        """Have the pump run at this moment, instead of the one before."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        if at is not None:
            delay = min(max(0.0, at - self.clock.now()), LOOK_S)
            self.timer = self.event_loop.call_later(delay, self._ring, context=self.context)

    def _ring(self) -> None:
        self.timer = None
        self.pump()

    @property
    def is_armed(self) -> bool:
        """Whether a moment is set."""
        return self.timer is not None

    def is_interrupt(self, error: BaseException) -> bool:
        """Whether an error is a Ctrl-C, and not some body's own."""
        return isinstance(error, KeyboardInterrupt) and not self.has_own_thread

    def call_soon(self, function: Callable[[], None]) -> None:
        """Have this called in the thread of the loop, from any thread."""
        with suppress(RuntimeError):
            self.event_loop.call_soon_threadsafe(function, context=self.context)
