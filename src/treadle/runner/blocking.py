"""`Runner`: an `AsyncRunner` on an event loop of its own, in a thread of its own, for programs without one."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from functools import partial
from queue import SimpleQueue
from types import TracebackType
from typing import Any, Final, Self, Unpack

from treadle.errors import RunEnded, UsageError
from treadle.interfaces import RunInfo, Trimmed
from treadle.model.forms import OpenWait
from treadle.model.sentinels import ALL
from treadle.policies.matching import Rules
from treadle.runner.options import RunnerOptions, StartOptions
from treadle.runner.record import Ask
from treadle.runner.runner import AsyncRunner
from treadle.runner.schedules import MOST, Schedule
from treadle.runner.streams import BlockingStream
from treadle.runner.ticket import Ticket
from treadle.value import Workflow

logger = logging.getLogger("treadle.runner")

TURNS: Final = 3
"""So often its event loop turns once more when it is closed."""

LAST_S: Final = 1.0
"""How long async functions that are still running when the event loop ends have for their `finally` blocks."""


class Runner:
    """An `AsyncRunner` for threads and scripts: the same calls, each waiting for its answer; options are the same.

    Its event loop runs in a thread of its own. Use it as `with Runner() as runner`, or `close()` it.
    """

    def __init__(self, **options: Unpack[RunnerOptions]) -> None:
        self._event_loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, name="treadle runner", daemon=True)
        self._is_closed = False
        self._ending = threading.Lock()
        self._closing = threading.Lock()
        self._process = os.getpid()
        self._waiting: set[Future[Any]] = set()
        """Who waits for an answer; a runner that ends owes none of them one for ever."""
        self._thread.start()

        async def make() -> AsyncRunner:
            runner = AsyncRunner(**options)
            runner._host.has_own_thread = True  # noqa: SLF001 - two faces of one runner
            return runner

        try:
            self._runner = asyncio.run_coroutine_threadsafe(make(), self._event_loop).result()
        except BaseException:
            self._end()
            raise

    def _serve(self) -> None:
        asyncio.set_event_loop(self._event_loop)
        while not self._is_closed:
            try:
                self._event_loop.run_forever()
            except (
                KeyboardInterrupt,
                SystemExit,
            ):  # some body's own: no Ctrl-C arrives in this thread
                logger.exception("something tried to end the runner's thread")
        for _ in range(TURNS):  # for those whose answers are there
            self._event_loop.run_until_complete(asyncio.sleep(0))
        left = asyncio.all_tasks(self._event_loop)
        for task in left:
            task.cancel()
        if left:
            self._event_loop.run_until_complete(asyncio.wait(left, timeout=LAST_S))

    def _check_usable(self) -> None:
        if self._is_closed:
            raise RunEnded("this runner is closed.")
        if os.getpid() != self._process:
            raise UsageError(
                "this process was forked from the runner's, and has no part in it.",
                hint="make a runner of its own in each process.",
            )
        if threading.get_ident() == self._thread.ident:
            raise UsageError(
                "a hook or callback cannot wait for the runner that called it.",
                hint="hand the work to another thread, or use AsyncRunner with an async on_complete.",
            )

    def __reduce__(self) -> Any:
        raise UsageError("a runner cannot be pickled.", hint="make one in each process.")

    def _wait_for(self, begin: Callable[[Future[Any]], None]) -> Any:
        """Have this begun in the runner's thread, and wait for what it puts into the future."""
        answer: Future[Any] = Future()
        self._waiting.add(answer)
        try:
            self._check_usable()  # now that whoever closes the runner meanwhile knows of the answer
            try:
                self._event_loop.call_soon_threadsafe(begin, answer)
            except RuntimeError:  # its event loop was closed in this very moment
                raise RunEnded("this runner is closed.") from None
            return answer.result()
        finally:
            self._waiting.discard(answer)

    def _ask(self, make: Callable[[], Ask]) -> Any:
        """Have this done in the runner's thread, and wait for the answer."""

        def begin(answer: Future[Any]) -> None:
            def settle(asked: Ask) -> None:
                if asked.error is not None:
                    answer.set_exception(asked.error)
                else:
                    answer.set_result(asked.value)

            try:
                make().when_done(settle)
            except BaseException as error:  # noqa: BLE001 - the caller is to have it, whatever it is
                answer.set_exception(error)

        return self._wait_for(begin)

    def _do(self, coroutine: Any) -> Any:
        """Run one of the `AsyncRunner`'s methods in its thread."""
        has_begun = False

        async def carry_out(answer: Future[Any]) -> None:
            nonlocal has_begun
            has_begun = True
            try:
                answer.set_result(await coroutine)
            except asyncio.CancelledError:  # nobody but a runner that has closed does that
                if not answer.done():
                    answer.set_exception(RunEnded("this runner is closed."))
            except BaseException as error:  # noqa: BLE001 - the caller is to have it, whatever it is
                if not answer.done():
                    answer.set_exception(error)

        def begin(answer: Future[Any]) -> None:
            self._runner._spawn(carry_out(answer))  # noqa: SLF001 - two faces of one runner

        try:
            return self._wait_for(begin)
        finally:
            if not has_begun:
                coroutine.close()

    def start(
        self, workflow: Workflow, id: str | None = None, **options: Unpack[StartOptions]
    ) -> str:
        """As `AsyncRunner.start`."""
        return str(self._do(self._runner.start(workflow, id, **options)))

    def run(
        self,
        id: str,
        input: Any,
        key: str | None = None,
        *,
        run_context: Mapping[str, Mapping[str, Any]] | None = None,
        policies: Rules | None = None,
        deadline_s: float | None = None,
    ) -> Ticket:
        """As `AsyncRunner.run`."""
        ticket: Ticket = self._ask(
            lambda: self._runner._run(  # noqa: SLF001 - two faces of one runner
                id, input, key, run_context=run_context, policies=policies, deadline_s=deadline_s
            )
        )
        return ticket

    submit = run

    def get_results(self, id: str, *names: str, input: Any = ALL) -> dict[str, Any]:
        """As `AsyncRunner.get_results`."""
        found: dict[str, Any] = self.get_workflow(id).results(*names, input=input)
        return found

    def get_workflow(self, id: str) -> Workflow:
        """As `AsyncRunner.get_workflow`."""
        workflow: Workflow = self._do(self._runner.get_workflow(id))
        return workflow

    def stop(self, id: str, *, now: bool = False, persist: bool = True) -> str:
        """As `AsyncRunner.stop`."""
        return str(self._do(self._runner.stop(id, now=now, persist=persist)))

    def resume(self, id: str, *, settled: Mapping[str, Any] | None = None) -> str:
        """As `AsyncRunner.resume`."""
        return str(self._do(self._runner.resume(id, settled=settled)))

    def fork(self, id: str, *, at: int | None = None, new_id: str | None = None) -> str:
        """As `AsyncRunner.fork`."""
        return str(self._do(self._runner.fork(id, at=at, new_id=new_id)))

    def rerun(
        self, id: str, component: Any, *, input: int | None = None, new_id: str | None = None
    ) -> str:
        """As `AsyncRunner.rerun`."""
        return str(self._do(self._runner.rerun(id, component, input=input, new_id=new_id)))

    def continue_as_new(self, id: str) -> int:
        """As `AsyncRunner.continue_as_new`."""
        return int(self._do(self._runner.continue_as_new(id)))

    def cancel(self, id: str, *, input: int | None = None, reason: str = "") -> None:
        """As `AsyncRunner.cancel`."""
        self._do(self._runner.cancel(id, input=input, reason=reason))

    def signal(self, id: str, name: Any, payload: Any = None, key: str | int | None = None) -> None:
        """As `AsyncRunner.signal`."""
        self._do(self._runner.signal(id, name, payload, key))

    def waiting(
        self,
        *,
        workflow: str | None = None,
        name: str | None = None,
        limit: int | None = None,
        after: str | None = None,
    ) -> list[OpenWait]:
        """As `AsyncRunner.waiting`."""
        asked = self._runner.waiting(workflow=workflow, name=name, limit=limit, after=after)
        found: list[OpenWait] = self._do(asked)
        return found

    def schedule(
        self,
        name: str,
        spec: str,
        workflow: Workflow,
        input: Any = None,
        *,
        zone: str = "UTC",
        catch_up: str = "skip",
        most: int = MOST,
    ) -> str:
        """As `AsyncRunner.schedule`."""
        asked = self._runner.schedule(
            name, spec, workflow, input, zone=zone, catch_up=catch_up, most=most
        )
        return str(self._do(asked))

    def schedules(self) -> list[Schedule]:
        """As `AsyncRunner.schedules`."""
        found: list[Schedule] = self._do(self._runner.schedules())
        return found

    def unschedule(self, name: str) -> bool:
        """As `AsyncRunner.unschedule`."""
        return bool(self._do(self._runner.unschedule(name)))

    def checkpoint(self, id: str) -> int:
        """As `AsyncRunner.checkpoint`."""
        return int(self._do(self._runner.checkpoint(id)))

    def add(self, id: str, component: Any, **options: Any) -> None:
        """As `AsyncRunner.add`."""
        self._do(self._runner.add(id, component, **options))

    def replace(self, id: str, name: Any, component: Any = None, **options: Any) -> None:
        """As `AsyncRunner.replace`."""
        self._do(self._runner.replace(id, name, component, **options))

    def remove(self, id: str, name: Any) -> None:
        """As `AsyncRunner.remove`."""
        self._do(self._runner.remove(id, name))

    def wait(self, id: str, timeout: float | None = None) -> str:
        """As `AsyncRunner.wait`, for at most so many seconds. Errors: `TimeoutError`."""

        async def waiting() -> str:
            return await asyncio.wait_for(self._runner.wait(id), timeout)

        return str(self._do(waiting()))

    def runs(self, *, status: str | None = None, workflow: str | None = None) -> list[RunInfo]:
        """As `AsyncRunner.runs`."""
        found: list[RunInfo] = self._do(self._runner.runs(status=status, workflow=workflow))
        return found

    def story(self, id: str) -> list[dict[str, Any]]:
        """As `AsyncRunner.story`."""
        rows: list[dict[str, Any]] = self._do(self._runner.story(id))
        return rows

    def evidence(self, id: str) -> dict[str, Any] | None:
        """As `AsyncRunner.evidence`."""
        found: dict[str, Any] | None = self._do(self._runner.evidence(id))
        return found

    def plan(self, id: str) -> list[dict[str, Any]]:
        """As `AsyncRunner.plan`."""
        rows: list[dict[str, Any]] = self._do(self._runner.plan(id))
        return rows

    def explain_cache(self, id: str, component: str) -> dict[str, Any] | None:
        """As `AsyncRunner.explain_cache`."""
        found: dict[str, Any] | None = self._do(self._runner.explain_cache(id, component))
        return found

    def trim_cache(
        self, *, unused_for_s: float | None = None, most_bytes: int | None = None
    ) -> Trimmed:
        """As `AsyncRunner.trim_cache`."""
        asked = self._runner.trim_cache(unused_for_s=unused_for_s, most_bytes=most_bytes)
        gone: Trimmed = self._do(asked)
        return gone

    @property
    def slow_calls(self) -> dict[str, int]:
        """As `AsyncRunner.slow_calls`."""
        return self._runner.slow_calls

    def stream(self, id: str) -> BlockingStream:
        """As `AsyncRunner.stream`, as an ordinary iterator: it waits for each event."""
        events: SimpleQueue[Any] = SimpleQueue()
        core = self._runner._core  # noqa: SLF001 - the other face of the same runner

        async def begin() -> Callable[[], None]:
            return core.stream(id, events.put)

        stop = self._do(begin())
        return BlockingStream(events, partial(self._event_loop.call_soon_threadsafe, stop))

    def close(self, drain_s: float | None = None) -> int:
        """As `AsyncRunner.close`."""
        if os.getpid() != self._process:
            return 0
        if threading.get_ident() == self._thread.ident:
            self._check_usable()  # says why that cannot be
        with self._closing:  # whoever comes second waits for the first, and finds nothing to do
            if self._is_closed:
                return 0
            try:
                return int(self._do(self._runner.close(drain_s)))
            finally:
                self._end()

    def _end(self) -> None:
        with self._ending:
            if self._is_closed:
                return
            self._is_closed = True
            self._event_loop.call_soon_threadsafe(self._event_loop.stop)
            self._thread.join()
            self._event_loop.close()
        for answer in list(self._waiting):
            with suppress(InvalidStateError):
                answer.set_exception(RunEnded("this runner is closed."))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
