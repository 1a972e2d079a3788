"""Keeping: what a runner does about a store that others may use too, and about what it could not store.

The keeper (`keeper.py`) looks; what it finds, loses and hears is handled here, in the loop's thread.
"""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from threading import Event
from typing import Any, Final

from treadle.errors import EncodeError, Fenced, PlugError, UnknownRun, UsageError
from treadle.interfaces import Append, Caches, Message, Quotas, RunInfo, StoredRun
from treadle.runner import stimuli as say
from treadle.runner.away import Away
from treadle.runner.caching import Caching
from treadle.runner.rationing import Rationing
from treadle.runner.record import Ask, Run, settled
from treadle.runner.trials import Trials, is_guilty, suspected_from
from treadle.runner.writer import PASSING
from treadle.wiring import make_codec

logger = logging.getLogger("treadle.runner")

SNAPSHOT_EVERY: Final = 2_000
"""After so many events of a run a snapshot of it is worth its while."""

SNAPSHOT_AGAIN: Final = 100
"""Where the store did not take it, it is tried again after so many more."""

LARGE: Final = 10_000
"""From so many events on it is said, once, that nothing makes a run's log shorter."""

MOST_ACTIVE: Final = 10_000
"""So many runs a runner takes over at most; those that it was asked for come on top."""


class Keeping(Away):
    """A supervisor of runs that may be somebody else's tomorrow."""

    rationing: Rationing | None = None
    """Where limits count over all runners of a store."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.trials = Trials(
            self.restarts.most, self.clock.now, self._note_trials, self.loop.let_go_on
        )

    def came_further(self, run: Run) -> None:
        """What a run did by itself is stored."""
        self.trials.came_further(run)

    def not_written(self, run: Run, order: say.Store | None, fault: Exception) -> None:
        """What a run wanted to store cannot be: it is somebody else's now, or gone, or it begins anew from its log."""
        if self.runs.get(run.id) is not run:
            return
        if isinstance(fault, (Fenced, UnknownRun)):
            self.lose(run, fault)
        elif isinstance(fault, PASSING):
            logger.error("run %s: not everything was stored: %s", run.id, fault)
        elif isinstance(fault, EncodeError):
            self.park(run, "unwritable", fault)
        elif order is not None:
            self.crashed(run, fault, None)
        else:
            logger.error("the status of run %s was not stored: %s", run.id, fault)

    def all_written(self, run: Run) -> None:
        """Nothing of a run is on its way to the store."""
        waiting, run.flushing = run.flushing, ()
        for ask in waiting:
            ask.settle(None)
        self._take_snapshot(run)
        self._tell_if_large(run)
        if run.status in say.FINAL:
            if self.runs.get(run.id) is run:  # else another one may have its id by now
                self.custody.leave(run.id)
        elif self.keep_warm is not None and len(self.idle) > self.keep_warm:
            self.put_longest_idle_away()
        if run.heard.was_answered:  # there may be more than was read at a time
            run.heard.was_answered = False
            self.custody.hurry()

    def _tell_if_large(self, run: Run) -> None:
        """Say once that a log has become long, and that nothing lets go of what is finished."""
        machine = run.machine
        if machine is None or run.is_large or machine.position - run.begins_at < LARGE:
            return
        run.is_large = True
        if machine.workflow.definition.retain == "all":
            logger.warning(
                "the log of run %s has %d events, and only grows: a workflow with retain= keeps less, and "
                "continue_as_new(%r) folds what is finished",
                run.id,
                machine.position,
                run.id,
                extra={"run_id": run.id},
            )

    def _take_snapshot(self, run: Run) -> None:
        """Note what the log comes to, now and then, so that bringing the run back does not take longer and longer."""
        machine, writer, store = run.machine, self.writer, self.upkeep
        if machine is None or writer is None or store is None:
            return
        if machine.position - run.snapshot_at < SNAPSHOT_EVERY:
            return
        run.snapshot_at = position = machine.position
        baseline, epoch = machine.workflow.baseline(), self.epoch_of(run)

        def save() -> None:
            try:
                store.save_snapshot(run.id, epoch, baseline)
            except PASSING as error:
                logger.warning("no snapshot of run %s was saved, for now: %s", run.id, error)
                self.call(lambda: self.want_snapshot(run))

        def save_if_ordered() -> None:
            """Of a machine that crashed meanwhile some of it comes to no store, and other events may take its place."""
            ordered_to = machine.storing_to if run.machine is machine else None
            if max(machine.stored, ordered_to or 0) >= position:
                writer.do(save)

        # By then the machine has ordered whatever of it is not on its way to the store yet.
        self.call(save_if_ordered)

    def want_snapshot(self, run: Run) -> None:
        """The latest snapshot of a run is none, or is of no use: another is worth its while a little later."""
        if run.machine is not None:
            soon = run.machine.position + SNAPSHOT_AGAIN - SNAPSHOT_EVERY
            run.snapshot_at = max(0, min(run.snapshot_at, soon))

    def begin_caching(self) -> None:
        """A policy asks for the cache of the store. Errors: `UsageError` where there is none."""
        store = self.cache_store("a policy says cache=, and ")
        if self.loop.caching is not None:
            return
        codec = self.codec
        if codec is None:
            codec = self.cache_codec = make_codec()
            for known in self.definitions.values():
                for workflow in known:
                    self.cache_codec.learn_from(workflow.definition)
        do = at_once if self.writer is None else self.writer.do
        self.loop.caching = Caching(store, codec, self.clock, do, self.call)

    def cache_store(self, why: str = "") -> Caches:
        """The store, which keeps results. Errors: `UsageError`."""
        store: Any = self.store
        if not isinstance(store, Caches):
            raise UsageError(
                f"{why}this runner has no store that keeps results.",
                hint='Runner(store="sqlite:///runs.db"), for one.',
            )
        return store

    # ------------------------------------------------------------------------- a store that others use

    def begin_keeping(self, *, takes_over: bool) -> None:
        """Look after the runs that are here; `takes_over`: and have what nobody has of the known workflows."""
        keeper = self.custody.keeper
        if keeper is None:
            return
        shared: Any = self.store
        if isinstance(shared, Quotas) and self.writer is not None:
            self.rationing = Rationing(
                shared,
                self.custody.owner,
                self.custody.lease_s,
                loop=self.loop,
                do=self.writer.do,
                call=self.call,
            )
            keeper.look_at_limits = self.rationing.look
        keeper.chores += (self._look_at_trials, self.look_at_those_away)
        keeper.start(takes_over=takes_over)

    def _look_at_trials(self) -> None:
        if self.trials.is_busy:
            self.call(self.trials.look)

    def _note_trials(self, run: Run, trials: int, then: Callable[[Exception | None], None]) -> None:
        epoch = self.epoch_of(run)
        append = Append(run_id=run.id, expected=None, epoch=epoch, trials=trials, is_synced=False)

        def stored(fault: Exception | None) -> None:
            then(fault)
            if fault is not None:
                self.not_written(run, None, fault)

        self.write(run, append, None, stored)

    def have(self, run: Run) -> None:
        """Be the one who may note something of a run that is not at work here. Errors: `RunElsewhere`."""
        if self.store is not None and run.options.is_stored and run.machine is None:
            self.custody.take(run.id)

    def room(self) -> int:
        """How many more runs may be taken over now: none while it is closing."""
        return 0 if self.is_closing else max(0, MOST_ACTIVE - len(self.custody.claimed))

    def is_poison(self, run: Run, claimed: RunInfo) -> bool:
        """Whether this run's runners died too often with it; it is parked then. A suspect has to wait for its turn."""
        most = self.restarts.most
        if claimed.status in say.FINAL:  # somebody resumes it, and it begins anew
            return False
        if is_guilty(claimed, most):
            died = PlugError(
                f"{claimed.crashes} runners in a row died while they had it, {claimed.trials} of them when it had "
                "its turn as a suspect, and it came no further."
            )
            self.park(run, "poisoned", died)
            return True
        if claimed.crashes >= suspected_from(most):
            self.trials.hold(run, claimed)
            self.call(self.trials.look)
        return False

    def found(self, runs: Sequence[tuple[RunInfo, StoredRun | Exception]]) -> None:
        """The keeper has taken these runs over; it goes on when they are at work (called in its thread)."""
        are_taken = Event()

        def take() -> None:
            for info, stored in runs:
                self._adopt(info, stored)
            are_taken.set()

        self.call(take)
        for _ in range(20):  # not longer, and not while somebody closes and waits for the keeper
            if are_taken.wait(timeout=0.05) or self.is_closing:
                return

    def _adopt(self, info: RunInfo, stored: StoredRun | Exception) -> None:
        if info.id in self.going or not self.custody.note(info) or self.is_closing:
            return  # what was noted is let go of when this runner is closed
        run = self.runs.get(info.id)
        if run is None:
            run = self._remember(info)
            run.was_found = True
        if run.machine is not None or self.is_poison(run, info):
            return
        if isinstance(stored, PASSING):  # not readable just now: the keeper finds it again
            self.custody.leave(info.id)
            return
        if isinstance(stored, Exception):
            self.park(run, "unreadable_log", stored)
            return
        try:
            self._bring_back(run, stored=stored)
        except PASSING:  # its older history, or what it goes on as, cannot be looked up now
            self.custody.leave(info.id)
        except Exception as error:  # noqa: BLE001 - one run's trouble is not the others'
            self.crashed(run, error, None)

    def lost(self, epochs: Mapping[str, int]) -> None:
        """These runs are with other runners (called in the keeper's thread)."""

        def take() -> None:
            for run_id, epoch in epochs.items():
                if self.custody.is_another(run_id, epoch):
                    continue
                run = self.runs.get(run_id)
                if run is not None:
                    self.lose(run, None)
                self.custody.lose(run_id)

        self.call(take)

    def lose(self, run: Run, fault: Exception | None) -> None:
        """Another runner has this run: nothing that is done for it here counts any more."""
        if isinstance(fault, UnknownRun):
            logger.warning("run %s is not in the store any more", run.id, extra={"run_id": run.id})
            run.note = "it was deleted"
        else:
            logger.warning("run %s is with another runner now", run.id, extra={"run_id": run.id})
            run.note = "it is with another runner"
            self.tell_who_waits(run, "this one was not heard of for too long", fault)
        self.unmake(run, fault)

    def unmake(self, run: Run, fault: Exception | None) -> None:
        """Know nothing of a run any more, and withdraw what is out for it."""
        run.machine = None  # first of all: what is withdrawn is no failure of this run
        for number, live in list(self.loop.live.items()):
            if live.run is run:
                self.loop.cancel(number)
        run.status = say.STOPPED
        self._let_go(run, fault)
        self._answer_waiters(run, say.STOPPED)
        self.custody.lose(run.id)
        self.runs.pop(run.id, None)
        self.idle.pop(run.id, None)
        self.away.pop(run.id, None)

    def forget(self, run: Run) -> Ask:
        """Let go of a run altogether; answered when it is deleted, after all of it that is on its way to the store."""
        run.machine = None
        self.runs.pop(run.id, None)
        self.idle.pop(run.id, None)
        self.away.pop(run.id, None)
        store = self.store
        if store is None or not run.options.is_stored:
            return settled(None)
        self.custody.lose(run.id)
        if self.writer is None:
            store.delete(run.id)
            return settled(None)
        self.going.add(run.id)
        asked = Ask()

        def forgotten(fault: Exception | None) -> None:
            self.going.discard(run.id)
            asked.settle(None, fault)

        def delete() -> None:
            fault: Exception | None = None
            try:
                store.delete(run.id)
            except Exception as error:  # noqa: BLE001 - whoever asked is to have it, whatever it is
                fault = error
            self.call(lambda: forgotten(fault))

        self.writer.do(delete)
        return asked

    def heard(self, messages: Sequence[Message]) -> None:
        """These messages wait (called in the keeper's thread)."""

        def take() -> None:
            for message in messages:
                self._hear(message)

        self.call(take)

    def _hear(self, message: Message) -> None:
        run = self.runs.get(message.run_id)
        if run is None or run.machine is None or self.is_closing:
            return
        if run.heard.note(message.id):
            self.take_message(run, message)

    @abstractmethod
    def take_message(self, run: Run, message: Message) -> None:
        """Do what somebody wants of a run by the inbox."""


def at_once(job: Callable[[], Any]) -> None:
    """Have something done by a store that takes no time."""
    job()
