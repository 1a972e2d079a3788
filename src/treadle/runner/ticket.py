"""Tickets: what `run` gives for an input."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from concurrent.futures import Future
from contextlib import suppress
from typing import Any


class Ticket(Future[dict[str, Any]]):
    """The results of one input, when it is finished; or its failure.

    It is a `concurrent.futures.Future`, so `wait` and `as_completed` take it, and it can be awaited on any event loop.
    Giving up waiting (a timeout, a cancelled task) leaves the input alone; `cancel()` withdraws what is left of it.
    Await it as it is: `asyncio.wrap_future` passes a cancellation of its own on to what it wraps.
    """

    def __init__(
        self, run_id: str, input: int | None, withdraw: Callable[[str, Any], None]
    ) -> None:
        super().__init__()
        self.run_id = run_id
        self.input = input
        """The number of the input in its run; None until the runner that has the run took it, if that is another."""
        self._withdraw = withdraw
        self.set_running_or_notify_cancel()

    def cancel(self) -> bool:
        """Ask for all that is left to do for this input to be withdrawn; whether it was still open.

        The ticket then ends with `errors.Cancelled`.
        """
        if self.done():
            return False
        self._withdraw(self.run_id, self.input)
        return True

    def __await__(self) -> Generator[Any, None, dict[str, Any]]:
        if self.done():
            return self.result()
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[None] = loop.create_future()

        def wake() -> None:
            if not waiter.done():
                waiter.set_result(None)

        def tell(_: Future[dict[str, Any]]) -> None:
            with suppress(RuntimeError):  # the loop is closed, and nobody waits there any more
                loop.call_soon_threadsafe(wake)

        self.add_done_callback(tell)
        yield from waiter
        return self.result()

    def __repr__(self) -> str:
        state = "open"
        if self.done():
            state = "failed" if self.exception() is not None else "done"
        which = "not taken yet" if self.input is None else f"input {self.input}"
        return f"<Ticket {self.run_id!r} {which}: {state}>"
