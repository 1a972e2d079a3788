"""Streams: the events of a run as they happen, for a loop of either kind. They listen from when they are made."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, Final, Self

from treadle.model.events import Event

END: Final = object()
"""Ends a stream."""


class EventStream:
    """Events for `async for`, until the run ends. `aclose` it, or let it go, to hear no more."""

    def __init__(self, listen: Callable[[Callable[[Any], None]], Callable[[], None]]) -> None:
        self._events: asyncio.Queue[Any] = asyncio.Queue()
        self._stop = listen(self._events.put_nowait)
        self._is_over = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        event: Any = END if self._is_over else await self._events.get()
        if event is END:
            await self.aclose()
            raise StopAsyncIteration
        found: Event = event
        return found

    async def aclose(self) -> None:
        """Hear no more."""
        self._is_over = True
        self._stop()

    def __del__(self) -> None:
        if hasattr(self, "_stop"):
            self._stop()


class BlockingStream:
    """Events for `for`, until the run ends: it waits for each. `close` it, or let it go, to hear no more.

    `stop` ends the listening, and may be called in any thread.
    """

    def __init__(self, events: SimpleQueue[Any], stop: Callable[[], object]) -> None:
        self._events = events
        self._stop = stop
        self._is_over = False

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Event:
        event: Any = END if self._is_over else self._events.get()
        if event is END:
            self.close()
            raise StopIteration
        found: Event = event
        return found

    def close(self) -> None:
        """Hear no more."""
        if not self._is_over:
            self._is_over = True
            with suppress(RuntimeError):  # the runner is closed, and its loop with it
                self._stop()

    def __del__(self) -> None:
        self.close()
