"""Recovery: a run that crashed begins again from its log, or is given up if it does so too often.

What is out stays out meanwhile. A store that cannot be read now is waited for, and counts against nobody.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from treadle.errors import Corrupt, PlugError, UnknownRun
from treadle.interfaces import StoredRun
from treadle.model.bundles import Bundle
from treadle.runner import stimuli as say
from treadle.runner.live import Live
from treadle.runner.machine import Machine
from treadle.runner.record import RELAXED, Run
from treadle.runner.supervisor import Supervisor
from treadle.runner.writer import FIRST_WAIT_S, LONGEST_WAIT_S, PASSING

logger = logging.getLogger("treadle.runner")


class Waiting:
    """A run that is to begin again as soon as the store can be read."""

    __slots__ = ("adopted", "old", "wait_s")

    def __init__(self, old: Machine | None, adopted: Mapping[int, Bundle]) -> None:
        self.old = old
        self.adopted = adopted
        self.wait_s = FIRST_WAIT_S


class Recovery(Supervisor):
    """A supervisor that sets runs up again."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.waiting_for_store: dict[str, Waiting] = {}

    def crashed(self, run: Run, error: BaseException, stimulus: say.Stimulus | None) -> None:
        """A run's machine or a plug raised: begin again from the log, unless it does so too often."""
        now = self.clock.now()
        logger.error("run %s crashed", run.id, exc_info=error, extra={"run_id": run.id})
        if self.is_observed:
            self.loop.observe("on_restart", run.id, error)
        machine = run.machine
        unanswered = [getattr(stimulus, "request", None)]
        if machine is not None:
            unanswered += machine.unstored_requests()
            if stimulus is not None:
                machine.note_crash(stimulus)
        for request in unanswered:
            if request is not None and request in run.asks:
                wrapped = PlugError(f"the run {run.id!r} crashed over this: {error!r}")
                wrapped.__cause__ = error
                run.asks.pop(request).settle(None, wrapped)
        run.crashes = (*run.crashes[-15:], (now, f"{type(error).__name__}: {error}"))
        recent = [at for at, _ in run.crashes if at > now - self.restarts.period_s]
        came_back = stimulus if isinstance(stimulus, say.Finished) else None
        if len(recent) > self.restarts.most:
            self.park(run, "poisoned", error)
            return
        self._restart(run, came_back)
        if machine is not None:
            self._answer_granted(run, machine)

    def _answer_granted(self, run: Run, old: Machine) -> None:
        """Requests whose answers were about to be given when the run crashed: what was granted stands in its log."""
        for told in old.told:
            if isinstance(told, say.Reply) and told.request in run.asks:
                run.asks.pop(told.request).settle(told.value, told.error)

    def _restart(
        self, run: Run, came_back: say.Finished | None, stored: StoredRun | None = None
    ) -> None:
        """A new machine from what is stored; what is out stays out, and what had come back comes again."""
        old = run.machine
        adopted = {
            number: live.bundle for number, live in self.loop.live.items() if live.run is run
        }
        if came_back is not None and old is not None:
            for number, bundle, outcomes in old.handled:
                adopted[number] = bundle
                self.loop.live[number] = Live(
                    run, say.Execute(number, bundle, say.Terms("")), bundle, ""
                )
                self.loop.answer(number, outcomes)
        run.machine = None
        if is_behind(run):  # messages lie in the inbox until what took them is stored
            self._flushed(run, None).when_done(lambda _: run.heard.begin_anew())
        else:
            run.heard.begin_anew()
        self._set_up_again(run, old, adopted, stored)

    def _set_up_again(
        self,
        run: Run,
        old: Machine | None,
        adopted: Mapping[int, Bundle],
        stored: StoredRun | None,
    ) -> None:
        try:
            if self.store is not None and run.options.is_stored and not is_behind(run):
                self._bring_back(run, adopted, old, stored)
            elif old is not None:
                self._begin(
                    run, old.workflow.detached(), stored=old.stored, adopted=adopted, old=old
                )
        except PASSING as error:
            self._wait_for_store(run, old, adopted, error)
            return
        except UnknownRun as error:
            if run.unwritten:  # that there is such a run is on its way to the store
                self._wait_for_store(run, old, adopted, error)
            else:
                self.crashed(run, error, None)
            return
        except BaseException as error:  # noqa: BLE001 - it counts as one crash more
            self.crashed(run, error, None)
            return
        for number, live in self.loop.live.items():
            if live.run is run and live.is_started and live.order.tell:  # its time begins anew
                self.loop.mail.append((run, say.Began(number, self.clock.now())))
        has_finished = self._settle_left_over(run)
        if old is not None:
            self._end_again(run, old, has_finished=has_finished)

    # --------------------------------------------------------------------- where the store is away

    def _wait_for_store(
        self, run: Run, old: Machine | None, adopted: Mapping[int, Bundle], error: Exception
    ) -> None:
        """The store is in trouble, and not the run: what this is told meanwhile, it is told when it goes on."""
        if self.writer is None:
            self.crashed(run, error, None)
            return
        logger.warning("run %s goes on when its log can be read: %s", run.id, error)
        run.missed = []
        self.waiting_for_store[run.id] = Waiting(old, adopted)
        self._look_later(run)

    def _look_later(self, run: Run) -> None:
        waiting = self.waiting_for_store.get(run.id)
        if waiting is None:
            return
        self.loop.wake_at(run, say.WakeAt(self.clock.now() + waiting.wait_s))
        waiting.wait_s = min(2 * waiting.wait_s, LONGEST_WAIT_S)

    def missed(self, run: Run, stimulus: say.Stimulus) -> None:
        """Keep what a run would have been told; at the moment that it waits for, look again."""
        if run.missed is None:
            return
        if not isinstance(stimulus, say.Woke):
            run.missed.append(stimulus)
            return
        store, writer = self.store, self.writer
        if store is None or writer is None or self._is_given_up(run):
            return

        def look() -> None:  # in the writer's thread, which waits for the store anyway
            try:
                found: StoredRun | Exception = store.load(run.id)
            except Exception as error:  # noqa: BLE001 - what it is, is asked in the loop's thread
                found = error
            self.call(lambda: self._found_again(run, found))

        writer.do(look)

    def _is_given_up(self, run: Run) -> bool:
        """Whether somebody has ended a run that waits for the store."""
        if self.runs.get(run.id) is run and run.status not in say.FINAL:
            return False
        run.missed = None
        self.waiting_for_store.pop(run.id, None)
        return True

    def _found_again(self, run: Run, found: StoredRun | Exception) -> None:
        if run.missed is None or self._is_given_up(run):
            return
        if isinstance(found, PASSING):
            self._look_later(run)
            return
        waiting, missed = self.waiting_for_store.pop(run.id), run.missed
        run.missed = None
        if isinstance(found, Corrupt):
            self.park(run, "unreadable_log", found)
        elif isinstance(found, Exception):
            self.crashed(run, found, None)
        else:
            self._set_up_again(run, waiting.old, waiting.adopted, found)
        for stimulus in missed:
            self.loop.mail.append((run, stimulus))
        self.loop.wake()

    def _end_again(self, run: Run, old: Machine, *, has_finished: bool) -> None:
        """A run that was about to end, or to be idle, when it crashed is so now."""
        now, request = self.clock.now(), next(self.loop.requests)
        if old.status in (say.STOPPING, say.STOPPED):
            queued = self.loop.take_back(run)
            self.loop.tell(run, say.Stop(request=request, at=now, queued=queued))
        elif old.status in (say.CANCELLING, say.CANCELLED):
            self.loop.tell(run, say.CancelRun(request=request, at=now, reason=old.note or ""))
        elif run.machine is not None and run.machine.status == say.IDLE:
            if has_finished:
                self._went_idle(run)
            self._answer_waiters(run, say.IDLE)

    def _settle_left_over(self, run: Run) -> bool:
        """Tickets of inputs that were finished before the crash, and never heard of it; whether there were any."""
        machine = run.machine
        if machine is None:
            return False
        finished = [number for number in run.tickets if number not in machine.open]
        for number in finished:
            self._resolve(run, number, run.tickets.pop(number), None)
        return bool(finished)


def is_behind(run: Run) -> bool:
    """Whether a run has gone on while what it did is on its way to the store, and begins again without that."""
    return run.options.durability == RELAXED and run.unwritten > 0
