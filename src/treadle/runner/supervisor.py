"""The supervisor: it begins runs, brings them back from their logs, restarts, parks, puts away and ends them.

Each run is on its own: what is raised in one is a crash of that one.
"""

from __future__ import annotations

import inspect
import logging
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from time import perf_counter
from typing import Any

from treadle.errors import (
    CodeChanged,
    Corrupt,
    PlugError,
    RunEnded,
    StoreUnavailable,
    TreadleError,
    UnknownRun,
)
from treadle.interfaces import Append, Message, RunInfo, Store, StoredRun
from treadle.model.bundles import Bundle
from treadle.model.events import Baseline, Event, comes_further
from treadle.model.nodes import Context
from treadle.runner import stimuli as say
from treadle.runner.budget import Purse, RetryBudget
from treadle.runner.custody import Custody
from treadle.runner.ends import end_of, error_of, how_it_ended
from treadle.runner.forking import run_key_in, with_origin
from treadle.runner.keeper import LEASE_S, POLL_S
from treadle.runner.loop import Loop
from treadle.runner.machine import Machine
from treadle.runner.out import Config
from treadle.runner.record import WAITING, Ask, Options, Run
from treadle.runner.registry import KEEP_WARM, Registry, Restarts, lacking, sentence
from treadle.runner.storing import noted
from treadle.runner.streams import END
from treadle.runner.surroundings import Host
from treadle.runner.ticket import Ticket
from treadle.runner.wishes import TRANSACTIONS
from treadle.runner.writer import Writer
from treadle.upgrade.rules import RECOMPUTE
from treadle.value import Workflow

logger = logging.getLogger("treadle.runner")


class Supervisor(Registry):
    """What happens to runs, whoever asked for it."""

    def __init__(
        self,
        *,
        host: Host,
        call_soon: Callable[[Callable[[], None]], None],
        spawn: Callable[[Any], Any] | None = None,
        max_concurrency: int | None = None,
        restarts: Restarts | None = None,
        keep_warm: int | None = KEEP_WARM,
        lease_s: float = LEASE_S,
        poll_s: float = POLL_S,
        retry_budget: RetryBudget | None = None,
        **plugs: Any,
    ) -> None:
        super().__init__(**plugs)
        self.purse = None if retry_budget is None else Purse(retry_budget)
        self.stir: Callable[[], None] = lambda: None
        """Told when there may be work."""
        self.custody = Custody(
            self.store,
            self,
            names=lambda: list(self.definitions),
            room=self.room,
            now=self.clock.now,
            lease_s=lease_s,
            poll_s=poll_s,
        )
        self.away: dict[str, int] = {}
        """Runs that were put away while somebody waits for what comes of them, and how long their logs were."""
        self.restarts = restarts or Restarts()
        self.keep_warm = keep_warm
        self.call = call_soon
        self.spawn = spawn
        """Runs what an async callback gave; without it, callbacks are plain."""
        self.loop = Loop(
            self.executors,
            self,
            clock=self.clock,
            store=self.store,
            observers=plugs["observers"],
            host=host,
            max_concurrency=max_concurrency,
        )
        self.loop.may_be_remote = bool(self.places.keepers)
        transactions: Any = self.executors.get(TRANSACTIONS)
        if hasattr(transactions, "fence_of"):
            transactions.fence_of = self.fence_of
        self.writer: Writer | None = None
        if self.store is not None and not self.store.is_instant:
            self.writer = Writer(self.store, self._written)

    def _begin(
        self,
        run: Run,
        workflow: Workflow,
        *,
        stored: int,
        adopted: Mapping[int, Bundle] | None = None,
        old: Machine | None = None,
    ) -> None:
        """Give a run a machine, and let it begin; `old` is the one before it, if that crashed."""
        self.stir()
        options = run.options
        if options.context is not None:
            workflow = workflow.with_context(merged(workflow.run_context, options.context))
        policies = options.policies.over(workflow.policies).over(self.policies)
        config = Config(
            max_concurrency=options.max_concurrency,
            max_open=options.max_open,
            scheduler=options.scheduler,
            transform=partial(self._transform, run.id) if self.transforms else None,
            is_stored=(options.is_stored and self.store is not None) or bool(run.streams),
            is_instant=self.writer is None or not options.waits_for_store,
            may_keep=self.store is None or not options.is_stored,
            is_observed=self.is_observed,
            deadline_at=options.deadline_at,
            interrupted=run.interrupted,
            decisions=run.decisions,
            owing=run.owing,
            purse=self.purse,
        )
        are_seen = self.is_observed or options.scheduler is not None or self.purse is not None
        run.machine = Machine(
            workflow,
            self._wishes_of(workflow, policies, are_seen=are_seen),
            config,
            self.loop.numbers,
            adopted=adopted,
            stored=stored,
            wishes_for=partial(self._wishes_for, policies, are_seen),
        )
        if old is not None:
            run.machine.take_over(old)
        run.status = say.RUNNING
        run.wake_at = None
        if self.is_observed:
            self.loop.observe("on_start", run.id, workflow.name)
        self.loop.tell(run, say.Begin(self.clock.now()))
        self._keep_if_idle(run)

    def _keep_if_idle(self, run: Run) -> None:
        """A run that begins with nothing to do is idle from the start."""
        is_idle = run.machine is not None and run.machine.status == say.IDLE
        if is_idle and not self._note_rest(run, say.IDLE):
            self._keep_warm(run)

    def adopt(self, workflow: Workflow, options: Options) -> Run:
        """Drive a workflow on from where it is, for a caller who keeps it himself."""
        name = workflow.name
        run = Run(name, workflow, workflow.run_key or name, options, self.clock.now())
        self.runs[name] = run
        self._begin(run, workflow, stored=workflow.position)
        return run

    def awake(self, id: str) -> Run:
        """The run of an id, with its machine: one that was put away is brought back.

        Errors: `UnknownRun`; `RunEnded` if it was stopped, cancelled or parked; `StoreUnavailable`.
        """
        run = self.find(id)
        self.stir()
        if run.missed is not None:
            raise StoreUnavailable(f"the run {id!r} crashed, and goes on when its log can be read.")
        if run.machine is None:
            if run.status in say.FINAL:
                note = f" ({run.note})" if run.note else ""
                can = "" if run.status == say.CANCELLED else "resume it first."
                raise RunEnded(f"the run {id!r} is {run.status}{note}.", hint=can or None)
            self._bring_back(run)
            if run.machine is None:
                raise RunEnded(f"the run {id!r} is {run.status}: {sentence(run.note)}")
        if id in self.idle:  # touched, and so the last to be put away
            self.idle.move_to_end(id)
        return run

    def _bring_back(
        self,
        run: Run,
        adopted: Mapping[int, Bundle] | None = None,
        old: Machine | None = None,
        stored: StoredRun | None = None,
    ) -> None:
        """Fold a run from its stored log, and begin again. What cannot be folded is parked.

        Errors: `RunElsewhere`, where another runner has it.
        """
        if self.store is None:
            raise PlugError(f"the run {run.id!r} is in no store, and cannot be brought back.")
        if stored is None:
            claimed = self.custody.take(run.id)
            if claimed is not None and self.is_poison(run, claimed):
                return
            try:
                stored = self.store.load(run.id)
            except Corrupt as error:
                self.park(run, "unreadable_log", error)
                return
            except Exception:
                if claimed is not None:  # nobody is at work on it here: others may have it
                    self.custody.leave(run.id)
                raise
        try:
            workflow, stored = self._upgraded(run, stored)
            if workflow is None:
                self.park(run, "unknown_definition", None)
                return
            if not stored.events:
                workflow = workflow.with_run_key(run.run_key)
            missing = workflow.missing_functions()
        except CodeChanged as error:
            self.park(run, "code_changed", error)
            return
        except TreadleError as error:
            self.park(run, "unreadable_log", error)
            return
        if missing:
            self.park(run, "unknown_definition", lacking(missing))
            return
        if stored.events and workflow.run_key != run_key_in(stored):
            self.go_on_as_fork(run, workflow, stored)
            return
        run.interrupted, run.owing = stored.intents, stored.owing
        run.begins_at = run.snapshot_at = beginning_of(stored.events)
        run.listed_at = stored.info.position if stored.info.status == say.RUNNING else None
        self._begin(run, workflow, stored=stored.info.position, adopted=adopted, old=old)
        if workflow.position > stored.info.position:  # its code was edited just now
            self.want_snapshot(run)
        if old is None and (run.tickets or run.waiters):
            self.caught_up(run)
        if old is None and stored.info.status == say.CANCELLING:  # whoever did that is no more
            request, at = next(self.loop.requests), self.clock.now()
            reason = stored.info.note or "asked for"
            self.loop.tell(run, say.CancelRun(request=request, at=at, reason=reason))

    def _upgraded(self, run: Run, stored: StoredRun) -> tuple[Workflow | None, StoredRun]:
        """The workflow to go on with, and the log it was made of: what is to be computed again takes all of it."""
        try:
            return self._revived(run, stored), stored
        except CodeChanged:
            words = {word for _, word in self.on_code_change.rules}
            is_short = bool(stored.events) and isinstance(stored.events[0], Baseline)
            if RECOMPUTE not in words or not is_short or self.upkeep is None:
                raise
            stored = self.upkeep.load_all(run.id)
            return self._revived(run, stored), stored

    def input_finished(self, run: Run, input: int, reason: str | None) -> None:
        """Resolve the tickets of an input, and tell the observers."""
        tickets = run.tickets.pop(input, None)
        if tickets:
            self._resolve(run, input, tickets, reason)
        if self.is_observed and run.machine is not None:
            self.loop.observe("on_input", run.id, input, how_it_ended(run.machine.workflow, input))

    def _resolve(self, run: Run, number: int, tickets: list[Ticket], reason: str | None) -> None:
        machine = run.machine
        if machine is None:
            return
        end = self.recalled(run, number, end_of(machine.workflow, number, reason))
        error = error_of(run.id, number, end)
        for ticket in tickets:
            settle_ticket(ticket, end.results, error)

    def became(self, run: Run, status: str, note: str | None) -> None:
        """A run is idle, or has come to its end."""
        if status == say.IDLE:
            run.status = status
            self._went_idle(run)
        else:
            self._set_status(run, status, note)
            self._let_go(run)
        self._answer_waiters(run, status)

    def _answer_waiters(self, run: Run, status: str) -> None:
        waiters, run.waiters = run.waiters, []
        for waiter in waiters:
            waiter.settle(status)

    def _went_idle(self, run: Run) -> None:
        machine = run.machine
        if self.is_observed:
            self.loop.observe("on_idle", run.id)
        if run.options.on_complete is not None and machine is not None:
            self._call_back(run, machine.workflow.detached())
        self._keep_warm(run)

    def rests(self, run: Run) -> None:
        """A run whose inputs all wait may be put away, too, where somebody else wakes it when its moment comes."""
        machine = run.machine
        if self.custody.leases is None or machine is None:
            return
        if not self._note_rest(run, WAITING):
            self._keep_warm(run)

    def _note_rest(self, run: Run, status: str) -> bool:
        """Have it stored that a run that was listed as at work has nothing to do by itself; whether that was so.

        No event will tell it, and others would take it up again and again, and for suspect when a process dies.
        """
        machine = run.machine
        if self.custody.leases is None or machine is None:
            return False
        if run.listed_at is None or not run.listed_at == machine.stored == machine.position:
            return False
        run.listed_at = None
        append = noted(run, status, self.custody.epoch_of(run.id), machine.next_due())
        self.write(run, append, None, partial(self._is_listed, run))
        return True

    def _is_listed(self, run: Run, fault: Exception | None) -> None:
        """The store was told that a run rests."""
        if fault is not None:
            self.not_written(run, None, fault)
        elif run.machine is not None and (run.machine.is_resting or run.machine.status == say.IDLE):
            self._keep_warm(run)

    def _keep_warm(self, run: Run) -> None:
        """Note that a run is idle; put the longest idle away if there are too many."""
        has_deadline = run.options.deadline_at is not None  # it waits for that moment, and stays
        if self.store is None or not run.options.is_stored or has_deadline:
            return
        self.idle[run.id] = run
        self.idle.move_to_end(run.id)
        if self.keep_warm is not None and len(self.idle) > self.keep_warm:
            self.put_longest_idle_away()

    def put_longest_idle_away(self) -> None:
        """Put runs away as long as too many are idle; one that has something out has another turn later."""
        too_many = 0 if self.keep_warm is None else len(self.idle) - self.keep_warm
        for _ in range(min(2, too_many)):
            id, oldest = self.idle.popitem(last=False)
            self._put_away(oldest)
            machine = oldest.machine
            if machine is not None and (machine.status == say.IDLE or machine.is_resting):
                self.idle[id] = oldest

    def _call_back(self, run: Run, workflow: Workflow) -> None:
        callback = run.options.on_complete
        begin = perf_counter()
        try:
            answer = callback(run.id, workflow) if callback is not None else None
            if inspect.iscoroutine(answer):
                if self.spawn is None:
                    answer.close()
                else:
                    self.spawn(answer)
        except BaseException as error:
            if self.loop.host.is_interrupt(error):
                raise
            logger.exception("on_complete of run %s raised", run.id)
        now = perf_counter()
        self.loop.holdups.note("on_complete", now - begin, now)

    def _put_away(self, run: Run) -> None:
        """Let an idle run's machine go: its log is in the store, and it comes back when touched."""
        machine = run.machine
        if machine is None:
            return
        may_rest = (
            machine.is_resting and self.custody.leases is not None
        )  # else nobody would wake it
        if machine.status != say.IDLE and not may_rest:
            return
        if machine.out or machine.stored != machine.workflow.position or run.is_busy:
            return
        if run.options.deadline_at is None and not run.unwritten:
            if machine.is_resting:
                run.status = WAITING
            run.machine = run.held = None
            if self.custody.leases is not None and (run.tickets or run.waiters or run.streams):
                self.away[run.id] = machine.position
            self.custody.leave(run.id)
            self.let_slip(run)

    def _set_status(self, run: Run, status: str, note: str | None) -> None:
        run.status, run.note = status, with_origin(note, run.origin)
        run.updated_at = self.clock.now()
        if self.store is not None and run.options.is_stored:
            try:
                self._store_status(self.store, run)
            except Exception:  # it stays to be seen here, and the log says all that matters
                logger.exception("the status of run %s was not stored", run.id)
        if self.is_observed and status in say.FINAL:
            self.loop.observe("on_end", run.id, status)

    def _store_status(self, store: Store, run: Run) -> None:
        status = run.status
        machine = run.machine
        if self.is_closing and status == say.STOPPED and self.custody.leases is not None:
            # whoever runs next goes on with it, if there is anything to go on with
            is_open = machine is None or machine.open
            status = say.RUNNING if is_open else say.IDLE
        wake_at = None if status in say.FINAL else run.options.deadline_at
        append = noted(run, status, self.custody.epoch_of(run.id), wake_at)
        if self.writer is not None:
            self.write(run, append, None)
            return
        (fault,) = store.append([append])
        if fault is not None and not isinstance(fault, UnknownRun):
            raise fault

    def _let_go(self, run: Run, cause: BaseException | None = None) -> None:
        """A run has come to its end: nobody need wait for its inputs any more."""
        note = f" ({run.note})" if run.note else ""
        for number, tickets in list(run.tickets.items()):
            for ticket in tickets:
                error = RunEnded(
                    f"the run {run.id!r} was {run.status}{note} before its input {number} was finished."
                )
                error.__cause__ = cause
                settle_ticket(ticket, {}, error)
        run.tickets.clear()
        run.held = None
        for stream in list(run.streams):
            stream(END)
        if run.machine is not None and run.evidence is None:
            run.evidence = {"reason": run.status, "story": run.machine.story()}
        if self.store is not None and run.options.is_stored:
            run.machine = None
        for request, ask in list(run.asks.items()):
            ask.settle(None, RunEnded(f"the run {run.id!r} is {run.status}{note}."))
            run.asks.pop(request, None)

    def park(self, run: Run, reason: str, error: BaseException | None) -> None:
        """Give a run up, with the evidence, until somebody resumes it."""
        machine = run.machine
        run.evidence = {
            "reason": reason,
            "error": None if error is None else f"{type(error).__name__}: {error}",
            "crashes": [{"at": at, "error": text} for at, text in run.crashes],
            "story": [] if machine is None else machine.story(),
        }
        note = reason if error is None else f"{reason}: {type(error).__name__}: {error}"
        run.machine = None  # first of all: what is withdrawn is no failure of this run
        for number, live in list(self.loop.live.items()):
            if live.run is run:
                self.loop.cancel(number)
        run.heard.begin_anew()
        self._set_status(run, say.PARKED, note)
        self._let_go(run, error)
        self._answer_waiters(run, say.PARKED)

    def epoch_of(self, run: Run) -> int:
        """Under which claim a run is written to."""
        return self.custody.claimed.get(run.id, 0)

    def fence_of(self, number: int) -> tuple[str, int] | None:
        """Under which claim of which run a bundle is executed; None where runs are not claimed."""
        live = self.loop.live.get(number)
        if live is None or self.custody.leases is None or not live.run.options.is_stored:
            return None
        return live.run.id, self.epoch_of(live.run)

    def write(
        self,
        run: Run,
        append: Append,
        order: say.Store | None,
        then: Callable[[Exception | None], None] | None = None,
    ) -> None:
        """Have this stored in the writer's thread; without an order, no machine waits for it, but maybe `then`."""
        if self.writer is not None:
            run.unwritten += 1
            self.writer.put(append, (run, order, then, run.machine))

    def _flushed(self, run: Run, answer: Any) -> Ask:
        """Answered when nothing of a run is on its way to the store any more."""
        asked = Ask()
        waiting = Ask()
        waiting.when_done(lambda _: asked.settle(answer))
        if run.unwritten:
            run.flushing += (waiting,)
        else:
            waiting.settle(None)
        return asked

    def _written(self, done: list[tuple[Any, Exception | None]], seconds: float) -> None:
        """What the writer's thread has stored (called there)."""

        def take() -> None:
            if self.is_observed:
                self._tell_stored(done, seconds)
            for (run, order, then, machine), fault in done:
                run.unwritten -= 1
                if then is not None:
                    then(fault)
                elif fault is not None:
                    self.not_written(run, order, fault)
                elif order is not None:
                    if order.consumed:
                        run.heard.answer(order.consumed)
                    self.loop.stored(run, order, machine)
                    if comes_further(order.events):
                        self.came_further(run)
                if not run.unwritten:
                    self.all_written(run)

        self.call(take)

    def _tell_stored(self, done: list[tuple[Any, Exception | None]], seconds: float) -> None:
        stored = [token for token, fault in done if fault is None and token[1] is not None]
        if stored:
            events = sum(len(order.events) for _, order, *_ in stored)
            self.loop.observe("on_append", [run.id for run, *_ in stored], events, seconds)

    @abstractmethod
    def go_on_as_fork(self, run: Run, workflow: Workflow, stored: StoredRun) -> None:
        """What is computed again under the code of today is a run of its own."""

    @abstractmethod
    def crashed(self, run: Run, error: BaseException, stimulus: say.Stimulus | None) -> None:
        """Something was raised while a run's machine was handled."""

    @abstractmethod
    def caught_up(self, run: Run) -> None:
        """A run is here again that somebody waits for."""

    @abstractmethod
    def lose(self, run: Run, fault: Exception | None) -> None:
        """Another runner has this run, or nobody has it any more."""

    @abstractmethod
    def missed(self, run: Run, stimulus: say.Stimulus) -> None:
        """A run that waits for the store would have been told this."""

    @abstractmethod
    def not_written(self, run: Run, order: say.Store | None, fault: Exception) -> None:
        """What a run wanted to store cannot be."""

    @abstractmethod
    def all_written(self, run: Run) -> None:
        """Nothing of a run is on its way to the store."""

    @abstractmethod
    def want_snapshot(self, run: Run) -> None:
        """The latest snapshot of a run is of no use."""

    @abstractmethod
    def came_further(self, run: Run) -> None:
        """What a run did by itself is stored."""

    @abstractmethod
    def found(self, runs: Sequence[tuple[RunInfo, StoredRun | Exception]]) -> None:
        """The keeper has taken these runs over (called in its thread)."""

    @abstractmethod
    def lost(self, epochs: Mapping[str, int]) -> None:
        """These runs are with other runners (called in the keeper's thread)."""

    @abstractmethod
    def heard(self, messages: Sequence[Message]) -> None:
        """These messages wait (called in the keeper's thread)."""

    @abstractmethod
    def is_poison(self, run: Run, claimed: RunInfo) -> bool:
        """Whether this run's runners died too often with it; it is parked then."""

    @abstractmethod
    def room(self) -> int:
        """How many more runs may be taken over now."""


def settle_ticket(ticket: Ticket, results: dict[str, Any], error: BaseException | None) -> None:
    """Resolve a ticket. What its callbacks raise is theirs: others wait for tickets of the same input."""
    try:
        if error is None:
            ticket.set_result(results)
        else:
            ticket.set_exception(error)
    except BaseException:
        logger.exception("a callback of %r raised, or somebody else resolved it", ticket)


def merged(below: Context, above: Context) -> Context:
    """Context values, those above before those below, key by key."""
    names = {**below, **above}
    return {name: {**below.get(name, {}), **above.get(name, {})} for name in names}


def beginning_of(events: Sequence[Event]) -> int:
    """Where a log begins: what is before that was let go of, or is left out."""
    first = events[0] if events else None
    return first.position if isinstance(first, Baseline) else 0
