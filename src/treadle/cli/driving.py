"""Drive one run: an `AsyncRunner` in a thread of its own, fed as there is room.

The main thread is left to those who watch: whatever a step does, they hear of a Ctrl-C at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from threading import Event, Thread
from time import monotonic
from typing import Any, Final, TypeAlias

from msgspec import Struct

from treadle.cli.account import MALFORMED, Account, Record
from treadle.cli.feed import Given
from treadle.cli.places import Place
from treadle.cli.watching import Watcher
from treadle.errors import PlugError, RunEnded
from treadle.interfaces import Executor, Scheduler
from treadle.policies.matching import Policies
from treadle.runner.runner import AsyncRunner
from treadle.runner.ticket import Ticket
from treadle.upgrade.rules import REFUSE
from treadle.value import Workflow

UNWRITTEN_MAX: Final = 10_000
"""How many lines may be taken and not yet accounted for: one that takes long holds back what comes after it, since
what is written for programs is in the order of the lines."""

COUNT_EVERY_S: Final = 0.1

LOOK_S: Final = 0.05
"""How often is looked, while it ends, whether all that is left waits."""


class Plugs(Struct, frozen=True):
    """What the runner is made of. `max_open`: how many inputs may be under way."""

    executor: str
    executors: Mapping[str, Executor]
    scheduler: Scheduler | None
    policies: Policies
    max_concurrency: int | None
    max_open: int
    deadline_s: float | None = None
    on_code_change: Any = REFUSE


class Closed(Struct, frozen=True):
    """The drive is over; `error` is what broke it, if something did: `KeyboardInterrupt` if a step raised that.

    `has_begun`: the run was begun, or went on. `rests`: it was ended in order, and all that is left waits.
    """

    error: BaseException | None = None
    has_begun: bool = True
    rests: bool = False


Message: TypeAlias = Record | Closed
Tell: TypeAlias = Callable[[Message], None]


class Drive:
    """Feeds the inputs and tells what became of each: one `Record` for each line taken, then `Closed`."""

    def __init__(
        self,
        workflow: Workflow,
        account: Account,
        plugs: Plugs,
        tell: Tell,
        place: Place,
        *,
        is_watched: bool = False,
    ) -> None:
        self.workflow = workflow
        self.account = account
        self.plugs = plugs
        self.tell = tell
        self.place = place
        self.watcher = Watcher(account, workflow)
        self.is_watched = is_watched
        """Somebody looks at the account while the drive is on."""
        self.is_draining = False
        self.begun_at = monotonic()
        self.has_heard = Event()
        """The loop's thread knows that it is to end; it does not while it runs a step itself."""
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._serve, name="treadle run", daemon=True)
        self._room = asyncio.Semaphore(plugs.max_open)
        self._unwritten = asyncio.Semaphore(UNWRITTEN_MAX)
        self._end = asyncio.Event()
        self._ended = asyncio.Event()
        """The run came to its end before its time."""
        self._runner: AsyncRunner | None = None
        self._feeding: asyncio.Task[None] | None = None
        self._resting: asyncio.Task[None] | None = None
        self._refusal: RunEnded | None = None
        self._has_begun = False
        self._rests = False

    # ------------------------------------------------------------------- called by the main thread

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def written(self, count: int) -> None:
        """So many records are accounted for; so many further lines may be taken."""
        self._call(partial(self._let_go, count))

    def drain(self, seconds: float) -> None:
        """Take no further inputs; give up what is not finished in so many seconds."""
        self._call(partial(self._drain, seconds))

    def give_up(self) -> None:
        """End now."""
        self._call(self._give_up)

    def _call(self, function: Callable[[], None]) -> None:
        with suppress(RuntimeError):  # the loop is closed: the drive is over
            self._loop.call_soon_threadsafe(function)

    # ------------------------------------------------------------------------ in the loop's thread

    def _serve(self) -> None:
        with suppress(KeyboardInterrupt), asyncio.Runner(loop_factory=lambda: self._loop) as loop:
            loop.run(self._run_and_tell())

    async def _run_and_tell(self) -> None:
        error: BaseException | None = None
        try:
            await self._run()
        except asyncio.CancelledError:  # the loop was broken by what a step raised in its thread
            error = KeyboardInterrupt()
        except Exception as raised:  # noqa: BLE001 - the main thread says it
            error = raised
        self.tell(Closed(error, self._has_begun, self._rests))

    async def _run(self) -> None:
        plugs, place = self.plugs, self.place
        runner = AsyncRunner(
            store=place.url,
            codec=place.codec,
            recover=False,
            workflows=[self.workflow],
            executor=plugs.executor,
            executors=plugs.executors,
            max_concurrency=plugs.max_concurrency,
            policies=plugs.policies,
            scheduler=plugs.scheduler,
            observers=[self.watcher],
            on_code_change=plugs.on_code_change,
        )
        tasks: list[asyncio.Task[Any]] = []
        try:
            self._prepare(runner)
            await self._begin(runner)
            self._has_begun = True
            tasks = [
                asyncio.create_task(self._work(runner)),
                asyncio.create_task(self._end.wait()),
            ]
            self._runner = runner
            if self.is_watched:
                tasks.append(asyncio.create_task(self._keep_counting(runner)))
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            self.account.effort.elapsed_s = monotonic() - self.begun_at
            for task in tasks:
                task.cancel()
            if self._resting is not None:
                self._resting.cancel()
            if tasks:
                self._close_account(runner)
            await runner.close(0)

    async def _begin(self, runner: AsyncRunner) -> None:
        """Begin the run, or let it go on."""
        place = self.place
        if place.settled is not None:
            # It is the only run here: what limits the runner limits it.
            await runner.resume(place.run_id, settled=place.settled)
            return
        await runner.start(
            self.workflow,
            place.run_id,
            if_exists="resume" if place.is_there else "error",
            max_concurrency=self.plugs.max_concurrency,
        )

    def _prepare(self, runner: AsyncRunner) -> None:
        """Know how far the run has come, before anything of it goes on."""
        self.watcher.has_ended = self._ended.set
        self.watcher.tell_of = lambda number: self._tell_of(runner, number)
        if self.place.past is not None:
            self.watcher.takes_up(self.place.past)
            for given in self.account.feed.known():
                if given.number is not None and not self._is_past(given.number):
                    self.watcher.waited_for.add(given.number)
                    self.watcher.accepted(given.number, given)

    def _close_account(self, runner: AsyncRunner) -> None:
        """Tell how the inputs stand that are still under way."""
        is_lost = self.watcher.ended == "parked" and self.place.url is None
        workflow = None if is_lost else runner.look_at(self.place.run_id)
        if workflow is not None:
            self.watcher.count_waiting(workflow)
        for record in self.watcher.unfinished(workflow):
            self.tell(record)

    async def _work(self, runner: AsyncRunner) -> None:
        """Feed, and wait until all that was fed is finished."""
        if not self.is_draining:
            self._feeding = asyncio.create_task(self._feed(runner))
            ended = asyncio.create_task(self._ended.wait())
            await asyncio.wait([self._feeding, ended], return_when=asyncio.FIRST_COMPLETED)
            ended.cancel()
            if self._feeding.done() and not self._feeding.cancelled():
                self._feeding.result()
            self._feeding.cancel()
        await runner.wait(self.place.run_id)
        if self.watcher.ended is not None:
            listed = await runner.runs(workflow=self.workflow.name)
            (note,) = [each.note for each in listed if each.id == self.place.run_id]
            how = "given up" if self.watcher.ended == "parked" else "cancelled"
            raise PlugError(f"the run was {how}: {note}.")
        if self._refusal is not None:
            raise self._refusal

    async def _feed(self, runner: AsyncRunner) -> None:
        try:
            async for given in self.account.feed.lines():
                await self._unwritten.acquire()
                if given.problem is not None:
                    self.tell(Record(given, MALFORMED))
                else:
                    await self._take(runner, given)
        except RunEnded as error:  # it is about to end, or has: that is told when it has
            self._refusal = error

    async def _take(self, runner: AsyncRunner, given: Given) -> None:
        """Feed one input, unless the run has it already."""
        number = self._number_of(runner, given)
        if self._is_past(number):
            self._tell_past(given, number)
            return
        if given.number is not None:  # it is under way, and will be told of
            return
        await self._room.acquire()
        self.watcher.accepted(
            number, given
        )  # before: its work may begin, and come to its end, at once
        try:
            ticket = await runner.run(
                self.place.run_id, given.value, given.key, deadline_s=self.plugs.deadline_s
            )
        except asyncio.CancelledError:  # no more is to be fed; this one is on its way
            self.watcher.waited_for.add(number)
            raise
        except Exception:
            self.watcher.withdrawn(number)
            raise
        if ticket.input is not None and ticket.input != number:
            self.watcher.moved(number, ticket.input)
        ticket.add_done_callback(partial(self._finished, runner, ticket))

    def _number_of(self, runner: AsyncRunner, given: Given) -> int:
        """Which input it is, or will be."""
        if given.number is not None:
            return given.number
        workflow = runner.look_at(self.place.run_id)
        known = None if given.key is None else workflow.input_of_key(given.key)
        last = workflow.last_input
        return known if known is not None else 0 if last is None else last + 1

    def _is_past(self, number: int) -> bool:
        """Whether this input was finished before this began."""
        past = self.place.past
        last = None if past is None else past.last_input
        if past is None or last is None or number > last:
            return False
        return past.is_satisfied(input=number)

    def _tell_past(self, given: Given, number: int) -> None:
        assert self.place.past is not None
        self.account.before += 1
        self.watcher.accepted(number, given)
        for record in self.watcher.finished(self.place.past, number):
            self.tell(record)

    def _finished(self, runner: AsyncRunner, ticket: Ticket, _: Any) -> None:
        """An input is finished (called in the loop's thread, before anything else happens there)."""
        self._room.release()
        if ticket.input is not None and not isinstance(ticket.exception(), RunEnded):
            self._tell_of(runner, ticket.input)

    def _tell_of(self, runner: AsyncRunner, number: int) -> None:
        for record in self.watcher.finished(runner.look_at(self.place.run_id), number):
            self.tell(record)

    async def _keep_counting(self, runner: AsyncRunner) -> None:
        while True:
            self.account.effort.elapsed_s = monotonic() - self.begun_at
            counting = monotonic()
            self.watcher.count_waiting(runner.look_at(self.place.run_id))
            took_s = monotonic() - counting  # which grows with what is remembered
            await asyncio.sleep(max(COUNT_EVERY_S, 20 * took_s))

    def _let_go(self, count: int) -> None:
        for _ in range(count):
            self._unwritten.release()

    def _give_up(self) -> None:
        self.has_heard.set()
        self._end.set()

    def _drain(self, seconds: float) -> None:
        self.is_draining = True
        if self._feeding is not None:
            self._feeding.cancel()
        self._loop.call_later(seconds, self._end.set)
        self._resting = self._loop.create_task(self._end_when_at_rest())

    async def _end_when_at_rest(self) -> None:
        """What waits for somebody, or for a moment, is not waited for: it is in the store."""
        while self._runner is None or not self._runner.rests(self.place.run_id):  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(LOOK_S)
        self._rests = True
        self._end.set()
