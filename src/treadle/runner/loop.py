"""The loop: performs what the machines of a runner ask for, with real plugs.

It runs in one thread and never blocks: whoever hosts it (an event loop, a plain thread, a simulator) calls `pump` when
it was woken, and again at the moment it armed. Executors may answer from any thread. What belongs to one run alone is
kept from the others: what is raised while a run's stimulus is handled goes to the supervisor, as a crash of that run.
"""

from __future__ import annotations

import itertools
import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextvars import copy_context
from threading import get_ident
from time import perf_counter
from typing import Any, Final

from msgspec import structs

from treadle.engine.jobs import cancelled_bundle, failed_bundle
from treadle.errors import CircuitOpen, PlugError
from treadle.interfaces import Clock, Codec, Executor, Observer, Store
from treadle.model.bundles import Bundle
from treadle.model.one_line import one_line
from treadle.model.runnables import FAILED, Outcome
from treadle.runner import stimuli as say
from treadle.runner.admission import Admission, Claim
from treadle.runner.caching import Caching
from treadle.runner.fallback import interrupted
from treadle.runner.holdups import Holdups
from treadle.runner.live import Live, no_executor, verdict_of
from treadle.runner.machine import Machine
from treadle.runner.moments import Moments
from treadle.runner.record import Ask, Held, Run
from treadle.runner.remote import fetch_values, has_foreign_values
from treadle.runner.slowness import SLOW_S, warn_of_slowness
from treadle.runner.storing import append_of, storable
from treadle.runner.surroundings import Host, Overseer

logger = logging.getLogger("treadle.runner")

SLICE_S: Final = 0.005
"""How long one pump may hold its thread before it lets others have a turn."""

DRIVE_S: Final = 0.002
"""How long one drive of in-line work should take; the budget follows what was measured."""

FEW: Final = 8
"""With so few bundles out, waiting for others to come back does not pay."""


class Loop:
    """Performs instructions, and feeds the answers back."""

    def __init__(
        self,
        executors: Mapping[str, Executor],
        supervisor: Overseer,
        *,
        clock: Clock,
        store: Store | None,
        observers: Sequence[Observer],
        host: Host,
        max_concurrency: int | None = None,
    ) -> None:
        self.executors = executors
        self.clock = clock
        self.store = store
        self.codec: Codec | None = getattr(store, "codec", None)
        self.caching: Caching | None = None
        self.observers = list(observers)
        self.host = host
        self.is_direct = host.is_direct
        self.supervisor = supervisor
        self.admission = Admission(
            {name: executor.capacity for name, executor in executors.items()}, max_concurrency
        )
        self.numbers = itertools.count(1)
        self.requests = itertools.count(1)
        self.thread = get_ident()
        self.context = copy_context()
        self.opened: set[str] = set()
        self.live: dict[int, Live] = {}
        self.mail: deque[tuple[Run, say.Stimulus]] = deque()
        self.drives: deque[Run] = deque()
        self.came: deque[tuple[int, Sequence[Outcome]]] = deque()
        self.moments = Moments()
        self.is_woken = False
        self.is_pumping = False
        self.is_in_a_task = False
        """It is pumped from within the task of a body that has just ended."""
        self.is_telling = False
        """A machine is being told something outside of `pump`: its instructions are not all performed yet."""
        self.is_admitting = False
        self.budget = 256
        self.may_be_remote = False
        """Some executor keeps values: each bundle is to be looked at."""
        self.armed: float | None = None
        self.late = 0
        """Answers that nobody waited for any more."""
        self.holdups = Holdups()

    def add_executor(self, name: str, executor: Executor) -> None:
        """One more executor."""
        self.admission.add_executor(name, executor.capacity)
        self.may_be_remote = self.may_be_remote or bool(getattr(executor, "keeps_values", False))

    def wake(self) -> None:
        """Have `pump` called soon, from whichever thread this is."""
        if self.is_woken:
            return
        if get_ident() != self.thread:
            self.is_woken = True
            self.host.wake_from_elsewhere()
        elif not self.is_pumping:  # who pumps looks once more before he ends
            self.is_woken = True
            self.host.wake()

    def answer(self, number: int, outcomes: Sequence[Outcome]) -> None:
        """What executors call.

        With little else out, an answer in the loop's own thread is handled in the same breath: that spares a turn
        of the event loop. With much out, answers gather, and are handled together.
        """
        if self.codec is not None:
            outcomes = storable(self.codec, outcomes, self.live.get(number))
        if self.caching is not None:
            self.caching.keep(number, self.live.get(number), outcomes)
        if (
            len(self.live) <= FEW
            and self.is_direct
            and not self.is_pumping
            and not self.is_telling
            and not self.came
            and get_ident() == self.thread
        ):
            self.is_pumping = self.is_in_a_task = True
            try:
                self._take_one(number, outcomes)
            finally:
                self.is_pumping = self.is_in_a_task = False
            if self.came or self.mail or self.drives:
                self.host.wake()
            elif self.moments or self.is_admitting:
                self._arm()
        else:
            self.came.append((number, outcomes))
            self.wake()

    def _take_one(self, number: int, outcomes: Sequence[Outcome]) -> None:
        live = self.live.pop(number, None)
        if live is None:
            self.late += 1
            return
        now = self.clock.now()
        if live.is_started:
            failed = None if live.order.terms.is_free else verdict_of(live, outcomes)
            self.admission.finish(number, now, failed=failed)
        self.tell(live.run, say.Finished(((number, outcomes),), now))
        if self.observers and live.is_started:
            self.observe("on_return", live.run.id, live.bundle, outcomes)
        if self.is_admitting:
            self.admit()

    def pump(self) -> None:
        """Handle all that came, for a while; ask for another turn if anything is left."""
        if self.is_pumping:
            return
        self.is_pumping = True
        begin = perf_counter()
        try:
            while True:
                self.is_woken = False
                self._take_answers()
                self._read_mail()
                self._wake_runs()
                self._drive_one()
                if not (self.came or self.mail or self.drives):
                    break
                if perf_counter() - begin > SLICE_S:
                    self.is_woken = True
                    self.host.wake()
                    break
        except BaseException:
            self.is_woken = True
            self.host.wake()  # the others go on, if the host does
            raise
        finally:
            self.is_pumping = False
        self._arm()

    def _take_answers(self) -> None:
        came = self.came
        if not came:
            return
        if len(came) == 1:
            self._take_one(*came.popleft())
            return
        now = self.clock.now()
        by_run: dict[Run, list[tuple[int, Sequence[Outcome]]]] = {}
        returned: list[tuple[Live, Sequence[Outcome]]] = []
        while came:
            number, outcomes = came.popleft()
            live = self.live.pop(number, None)
            if live is None:
                self.late += 1
                continue
            if live.is_started:
                failed = None if live.order.terms.is_free else verdict_of(live, outcomes)
                self.admission.finish(number, now, failed=failed)
                if self.observers:
                    returned.append((live, outcomes))
            theirs = by_run.get(live.run)
            if theirs is None:
                by_run[live.run] = [(number, outcomes)]
            else:
                theirs.append((number, outcomes))
        for run, bundles in by_run.items():
            self.tell(run, say.Finished(tuple(bundles), now))
        for live, outcomes in returned:
            self.observe("on_return", live.run.id, live.bundle, outcomes)
        self.admit()

    def _read_mail(self) -> None:
        for _ in range(len(self.mail)):
            run, stimulus = self.mail.popleft()
            self.tell(run, stimulus)

    def _wake_runs(self) -> None:
        if not self.moments and not self.is_admitting:
            return
        now = self.clock.now()
        for run in self.moments.due(now):
            self.tell(run, say.Woke(now))
        self.admit()

    def _drive_one(self) -> None:
        """Let one run do work in line, for a moment."""
        if not self.drives:
            return
        run = self.drives.popleft()
        machine = run.machine
        if machine is None or not machine.is_driving:
            return
        begin = perf_counter()
        try:
            held, tries, limit = machine.in_line()
            workflow, drive = machine.workflow.advance(
                held=held,
                tries=tries,
                budget=self.budget,
                limit=limit,
                is_interrupt=self.host.is_interrupt,
                at=self.clock.now(),
            )
        except BaseException as error:
            if self.host.is_interrupt(error):
                raise
            self.supervisor.crashed(run, error, None)
            return
        took = perf_counter() - begin
        if took > 2 * DRIVE_S:
            self.budget = max(1, self.budget // 2)
            if took > SLOW_S:
                warn_of_slowness(run, workflow, begin, is_in_line=True)
        elif took < DRIVE_S and drive.has_more:
            self.budget = min(8192, self.budget * 2)
        self.tell(run, say.Drove(workflow, drive, self.clock.now()))
        if drive.interrupt is not None:
            if self.host.is_interrupt(drive.interrupt):
                raise drive.interrupt
            self.supervisor.crashed(run, drive.interrupt, None)

    def _arm(self) -> None:
        due = self.moments.first()
        if self.is_admitting:
            next_at = self.admission.next_at(self.clock.now())
            if next_at is not None and (due is None or next_at < due):
                due = next_at
        if due is not None and due == self.armed and due <= self.clock.now():
            self.wake()  # the clock was put forward since the timer was set
        # A timer may ring a little too early for the clock, and then is to be set once more.
        if due != self.armed or (due is not None and not self.host.is_armed):
            self.armed = due
            self.host.wake_at(due)

    def tell(self, run: Run, stimulus: say.Stimulus) -> None:
        """Give a run's machine a stimulus, and perform what it asks for."""
        machine = run.machine
        if machine is None:
            if run.missed is not None:
                self.supervisor.missed(run, stimulus)
            return
        if run.is_busy:  # a hook or callback of this very run
            self.mail.append((run, stimulus))
            self.wake()
            return
        run.is_busy = True
        was_telling, self.is_telling = self.is_telling, True
        begin = perf_counter()
        try:
            told = machine.handle(stimulus)
            run.status, run.updated_at = machine.status, stimulus.at
            if perf_counter() - begin > SLOW_S:
                warn_of_slowness(run, machine.workflow, begin)
            for instruction in told:
                _PERFORM[type(instruction)](self, run, instruction)
        except BaseException as error:
            if self.host.is_interrupt(error):
                raise
            run.is_busy = False  # the crash of one run must not reach the others
            self.supervisor.crashed(run, error, stimulus)
        finally:
            run.is_busy = False
            self.is_telling = was_telling

    def ask(self, run: Run, make: Callable[[int, float], say.Stimulus]) -> Ask:
        """Give a run's machine a request; its answer may be there at once."""
        request = next(self.requests)
        ask = run.asks[request] = Ask()
        self.tell(run, make(request, self.clock.now()))
        return ask

    # --------------------------------------------------------------------------------- performing

    def _execute(self, run: Run, order: say.Execute) -> None:
        number, terms = order.number, order.terms
        live = self.live[number] = Live(run, order, order.bundle, terms.executor)
        if run.held is not None:
            run.held.orders.append(order)
            return
        if terms.is_free and self.admission.start_free(number, terms.executor):
            if order.tell or self.observers or self.may_be_remote:
                self._start(number, live)
            else:  # nobody but the executor is to hear of it
                live.is_started = True
                self._submit(number, live)
            return
        if terms.executor not in self.executors:
            error = no_executor(terms.executor, self.executors)
            self.answer(number, failed_bundle(order.bundle, error))
            return
        claim = Claim(
            number, run.id, terms.executor, terms.rank, terms.limits, terms.rates, terms.breakers
        )
        if self.admission.try_start(claim, self.clock.now()):
            self._start(number, live)
            return
        self.admission.offer(claim)
        self.is_admitting = True
        self.admit()
        if not self.is_pumping:
            self._arm()

    def admit(self) -> None:
        """Start what may start now."""
        if not self.is_admitting:
            return
        started, refused = self.admission.admit(self.clock.now())
        for number in refused:
            live = self.live.get(number)
            if live is not None:
                names = ", ".join(f"{key!r}" for key, _ in live.order.terms.breakers)
                error = CircuitOpen(f"the circuit breaker {names} is open: it was not tried.")
                self.answer(number, failed_bundle(live.bundle, error))
        for number in started:
            live = self.live.get(number)
            if live is not None:
                self._start(number, live)
        self.is_admitting = self.admission.waiting() > 0

    def _start(self, number: int, live: Live) -> None:
        live.is_started = True
        if live.order.tell:
            self.mail.append((live.run, say.Began(number, self.clock.now())))
            self.wake()
        if self.observers:
            live.bundle = structs.replace(live.bundle, executor=live.executor)
            self.observe("on_dispatch", live.run.id, live.bundle)
        if live.order.terms.cache is None or self.caching is None:
            self._give(number, live)
        else:
            self.caching.look_up(number, live, lambda: self._give(number, live), self.answer)

    def _give(self, number: int, live: Live) -> None:
        if self.may_be_remote and has_foreign_values(live.bundle, self.executors[live.executor]):
            fetch_values(live.bundle, lambda bundle: self._submit_fetched(number, bundle))
            return
        self._submit(number, live)

    def _submit_fetched(self, number: int, fetched: Bundle | list[Outcome]) -> None:
        """Values that had to leave their cluster are here (called in the fetching thread)."""
        if isinstance(fetched, list):
            self.answer(number, fetched)
            return
        live = self.live.get(number)
        if live is not None:
            live.bundle = fetched
            self.supervisor.call(lambda: self._submit(number, live))

    def _submit(self, number: int, live: Live) -> None:
        name, executor = live.executor, self.executors[live.executor]
        try:
            if name not in self.opened:
                executor.open(self.answer)
                self.opened.add(name)
            if self.is_pumping and not self.is_in_a_task:
                executor.submit(number, live.bundle)
            else:  # somebody's request or body led here: work must not see its context variables
                self.context.copy().run(executor.submit, number, live.bundle)
        except Exception as error:  # noqa: BLE001 - a plug that fails must not lose work
            wrapped = PlugError(f"the executor {name!r} did not take the work: {error}")
            wrapped.__cause__ = error
            self.answer(number, failed_bundle(live.bundle, wrapped))
        except BaseException as error:  # a Ctrl-C in a body that ran inline, or what looks like one
            self.answer(number, failed_bundle(live.bundle, error))
            if self.host.is_interrupt(error):
                raise

    def _withdraw(self, _: Run, order: say.Withdraw) -> None:
        live = self.live.get(order.number)
        if live is not None:
            live.why = order.why
        self.cancel(order.number)

    def cancel(self, number: int) -> None:
        """Have a bundle answered soon, with `Cancelled` where it has not come to its end."""
        live = self.live.get(number)
        if live is None:
            return
        if live.is_started:
            if self.caching is None or not self.caching.withdraw(number):
                self.executors[live.executor].cancel(number)
            return
        self.admission.withdraw(number)
        self.answer(number, cancelled_bundle(live.bundle, "withdrawn"))

    def take_back(self, run: Run) -> tuple[int, ...]:
        """Forget a run's bundles that have not begun; their numbers."""
        out = () if run.machine is None else tuple(run.machine.out)
        queued = tuple([n for n in out if n in self.live and not self.live[n].is_started])
        for number in queued:
            self.admission.withdraw(number)
            del self.live[number]
        return queued

    def _drive_on(self, run: Run, _: say.DriveOn) -> None:
        if run.held is not None:
            run.held.is_driving = True
            return
        self.drives.append(run)
        self.wake()

    def let_go_on(self, run: Run, held: Held) -> None:
        """Do what a run was not to do before its turn came."""
        run.held = None
        for order in held.orders:
            if order.number in self.live:  # nobody withdrew it meanwhile
                self._execute(run, order)
        if held.is_driving:
            self.drives.append(run)
        self.wake()

    def _store(self, run: Run, order: say.Store) -> None:
        if self.store is None or not run.options.is_stored:
            self.stored(run, order, run.machine)
            return
        if order.replies and run.begins_at:
            known = self.supervisor.recalled_replies(run, order.replies)
            order = structs.replace(order, replies=known)
        append = append_of(run, order, self.supervisor.epoch_of(run), self.codec)
        if self.store.is_instant:
            begin = perf_counter() if self.observers else 0.0
            (fault,) = self.store.append([append])
            if fault is not None:
                raise fault
            if self.observers:
                took = perf_counter() - begin
                self.observe("on_append", (run.id,), len(order.events), took)
            if run.streams:
                self.stored(run, order, run.machine)
        else:
            self.supervisor.write(run, append, order)

    def stored(self, run: Run, order: say.Store, machine: Machine | None) -> None:
        """A run's events are stored; the machine after that one, which ordered them, may want others as far as that."""
        for stream in run.streams:
            for event in order.events:
                stream(event)
        if machine is None or machine is not run.machine or machine.config.is_instant:
            return
        self.mail.append((run, say.Stored(order.position, self.clock.now())))
        self.wake()

    def wake_at(self, run: Run, order: say.WakeAt) -> None:
        """Tell a run when this moment has come."""
        self.moments.add(order.at, run)
        if not self.is_pumping:
            self._arm()

    def _reply(self, run: Run, order: say.Reply) -> None:
        ask = run.asks.pop(order.request, None)
        if ask is not None:
            ask.settle(order.value, order.error)

    def _accepted(self, run: Run, order: say.Accepted) -> None:
        self.observe("on_accept", run.id, order.input)

    def _input_finished(self, run: Run, order: say.InputFinished) -> None:
        self.supervisor.input_finished(run, order.input, order.reason)

    def _rests(self, run: Run, _: say.Rests) -> None:
        self.supervisor.rests(run)

    def _ambiguous(self, run: Run, order: say.Ambiguous) -> None:
        error = interrupted(order.runnable)
        error.message += order.why
        machine = run.machine
        if machine is not None:
            left, waits = machine.told.copy(), machine.waits
            machine.told.clear()  # it is over: of the rest only what came about is stored
            for each in left:
                if waits and type(each) is say.Store and each.events:
                    self._store(run, structs.replace(each, intents=()))
        self.supervisor.park(run, "ambiguous", error)

    def _became(self, run: Run, order: say.Became) -> None:
        self.supervisor.became(run, order.status, order.note)

    def _tell(self, run: Run, order: say.Tell) -> None:
        runnable, outcome = order.runnable, order.outcome
        if outcome.status == FAILED:
            logger.warning(
                "run %s: %s failed (attempt %d, input %s): %s; %s",
                run.id,
                outcome.component,
                outcome.attempt,
                ".".join(map(str, outcome.scope)),
                one_line(str(outcome.error)),
                order.then,
                extra={
                    "run_id": run.id,
                    "component": outcome.component,
                    "attempt": outcome.attempt,
                },
            )
            if self.observers:
                self.observe("on_failed", run.id, runnable, outcome, order.then)
        else:
            self.observe("on_complete", run.id, runnable, outcome)

    def _warn(self, run: Run, order: say.Warn) -> None:
        text = one_line(order.text)
        logger.warning("run %s: %s", run.id, text, exc_info=order.error, extra={"run_id": run.id})

    def observe(self, name: str, *args: Any) -> None:
        """Tell all observers; one that raises or takes long is logged, and harms nothing."""
        for observer in self.observers:
            begin = perf_counter()
            try:
                getattr(observer, name)(*args)
            except BaseException as error:
                if self.host.is_interrupt(error):
                    raise
                logger.exception("%s.%s raised", type(observer).__name__, name)
            took = (now := perf_counter()) - begin
            if took > self.holdups.limit_s:
                self.holdups.note(f"{type(observer).__name__}.{name}", took, now)

    def close(self) -> None:
        """Close all executors that were opened; what they still had is not waited for."""
        for name in self.opened:
            try:
                self.executors[name].close()
            except Exception:
                logger.exception("the executor %s did not close", name)
        self.opened.clear()
        left, self.live = self.live, {}
        for live in left.values():
            if live.is_started:
                self.observe("on_return", live.run.id, live.bundle, ())


_PERFORM: Final[dict[type, Callable[[Loop, Run, Any], None]]] = {
    say.Execute: Loop._execute,  # noqa: SLF001 - the table of this class's own methods
    say.Withdraw: Loop._withdraw,  # noqa: SLF001
    say.DriveOn: Loop._drive_on,  # noqa: SLF001
    say.Store: Loop._store,  # noqa: SLF001
    say.WakeAt: Loop.wake_at,
    say.Reply: Loop._reply,  # noqa: SLF001
    say.Accepted: Loop._accepted,  # noqa: SLF001
    say.InputFinished: Loop._input_finished,  # noqa: SLF001
    say.Ambiguous: Loop._ambiguous,  # noqa: SLF001
    say.Rests: Loop._rests,  # noqa: SLF001
    say.Became: Loop._became,  # noqa: SLF001
    say.Tell: Loop._tell,  # noqa: SLF001
    say.Warn: Loop._warn,  # noqa: SLF001
}
