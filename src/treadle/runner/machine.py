"""One run as a pure state machine: stimulus in, instructions out.

It holds the live workflow and knows what is out, what waits for its moment, and what is stored. It does no I/O, reads
no clock, and draws no lots: whoever performs its instructions (`runner/loop.py`, a simulator, a test) tells it the time
with each stimulus. Every instruction that needs an answer is answered by exactly one stimulus (`stimuli.ANSWERS`).

All stimuli go through `handle`: first the table says whether it is legal, then its handler changes what the machine
knows, then `_go_on` does what can be done now. What becomes of single pieces of work is in `dispatch.py`.
"""

from __future__ import annotations

import heapq
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any, Final

from treadle.engine.loop import Drive
from treadle.errors import TreadleBug
from treadle.model.bundles import Bundle
from treadle.model.events import Baseline
from treadle.model.runnables import OK, Outcome
from treadle.runner import stimuli as say
from treadle.runner.out import Out
from treadle.runner.requests import OPEN, Requests
from treadle.runner.stimuli import FINAL, TRANSITIONS, Instruction, Stimulus, illegal
from treadle.runner.story import row_of, row_of_step, shown

ASK_AGAIN_S: Final = 0.1
"""When a hook that kept all work back is asked again, if nothing else happens in the run."""


class Machine(Requests):
    """The state machine of one run."""

    # ------------------------------------------------------------------------------- the one door

    def handle(self, stimulus: Stimulus) -> list[Instruction]:
        """Take a stimulus and say what is to be done now, in this order.

        Errors: `TreadleBug` if the stimulus is illegal in this status; nothing has happened then.
        """
        if self.may_step and type(stimulus) is say.Finished and self._step(stimulus):
            return self.told
        kind = type(stimulus)
        legal = TRANSITIONS.get((self.status, kind))
        if legal is None:
            raise TreadleBug(illegal(self.status, kind))
        before = self.status
        self.count += 1
        told = self.told = []
        _HANDLERS[kind](self, stimulus)
        if self.status not in FINAL:
            self._go_on(stimulus.at)
        if self.status not in legal:
            raise TreadleBug(f"a run went from {before} to {self.status} by {kind.__name__}.")
        self.rows.append(row_of(self.count, stimulus, self.status, told))
        return told

    def story(self) -> list[dict[str, Any]]:
        """The latest stimuli, each with what it led to: JSON-ready, oldest first."""
        return [shown(row) for row in self.rows]

    def unstored_requests(self) -> list[int]:
        """Requests that were granted, and whose answers wait for the store."""
        waiting = [told for _, told in self.waiting_for_store]
        return [told.request for told in waiting if isinstance(told, say.Reply)]

    @property
    def waits(self) -> bool:
        """Whether nothing is to be seen before it is stored, and that takes time."""
        return self.config.is_stored and not self.config.is_instant

    @property
    def seen_to(self) -> int:
        """How much of the log others may see."""
        return self.stored if self.waits else self.workflow.position

    @property
    def handled(self) -> list[tuple[int, Bundle, Sequence[Outcome]]]:
        """The bundles that came back last, with their outcomes."""
        return [(number, out.bundle, outcomes) for number, out, outcomes in self.came]

    def note_crash(self, stimulus: Stimulus) -> None:
        """For the story: this was too much."""
        self.rows.append(row_of(self.count, stimulus, "crashed", []))

    def begin_telling(self) -> None:
        """Give events from now on, although they go to no store."""
        self.config.is_stored = self.config.is_instant = True
        self.place, self.stored = self.workflow.place, self.position

    # ----------------------------------------------------------------------------------- answers

    def _began(self, stimulus: say.Began) -> None:
        out = self.out.get(stimulus.number)
        if out is not None and out.policy.timeout_s is not None:
            self.note_moment(stimulus.at + out.policy.timeout_s, stimulus.number, "timeout")

    def _finished(self, stimulus: say.Finished) -> None:
        came: list[tuple[int, Out, Sequence[Outcome]]] = []
        for number, outcomes in stimulus.bundles:
            out = self.out.pop(number, None)
            if out is None:
                self.late += 1
            else:
                came.append((number, out, outcomes))
        self.came = came
        for number, out, outcomes in came:
            self.came_back(number, out, outcomes, stimulus.at)

    def _drove(self, stimulus: say.Drove) -> None:
        if self.status in FINAL:
            return
        self.is_driving = False
        drive = stimulus.drive
        self.workflow = stimulus.workflow
        handed = drive.handed
        if drive.failed:
            failed = {id(runnable) for runnable, _ in drive.failed}
            handed = [each for each in handed if id(each) not in failed]
            for runnable, outcome in drive.failed:
                self.judge(runnable, outcome, None, stimulus.at)
        self._took(drive)
        self.has_more = self.has_more or drive.has_more
        if self.status in OPEN:
            self.take_in(handed, stimulus.at)

    def _stored(self, stimulus: say.Stored) -> None:
        if stimulus.position != self.storing_to:
            return  # what the machine before this one had stored
        self.storing_to = None
        self.stored = stimulus.position
        waiting = self.waiting_for_store
        if waiting:
            count = bisect_right(waiting, self.stored, key=itemgetter(0))
            self.told += [told for _, told in waiting[:count]]
            del waiting[:count]
        self.told += self.beginning
        self.beginning = ()

    def _woke(self, stimulus: say.Woke) -> None:
        if self.status in FINAL:
            return
        self.woken_at = None
        late: list[int] = []
        while self.moments and self.moments[0][0] <= stimulus.at:
            _, number, kind = heapq.heappop(self.moments)
            if kind == "run":
                if self.status != say.CANCELLING:
                    self._withdraw_run("deadline", stimulus.at)
            elif kind == "input":
                if number in self.open:
                    late.append(number)
            elif kind == "wait":
                self.wait_due, self.has_more = None, True
            else:
                self.withdraw(number, kind)
        if late:
            self._withdraw_inputs(late, "deadline", stimulus.at)

    # ------------------------------------------------------------------------------ the short way

    def _step(self, stimulus: say.Finished) -> bool:
        """Handle one success, where nothing waits and no policy has a say; whether it was that.

        By far the commonest case: it does what `_finished` and `_go_on` come to then, without the questions. What
        turns out on the way to be less plain is left to `_go_on`.
        """
        number, outcomes = stimulus.bundles[0]
        out = self.out.get(number)
        if out is None or not out.is_plain or out.why or len(stimulus.bundles) != 1:
            return False
        if len(outcomes) != 1 or outcomes[0].status != OK:
            return False
        if self.status != say.RUNNING or self.has_more or self.delayed or self.moments:
            return False
        if self.own_wishes or self.halting:
            return False
        self.count += 1
        told = self.told = []
        self.came = [(number, out, outcomes)]
        del self.out[number]
        first = out.bundle.runnables[0]
        where = self.where
        key = (first.node, first.scope, first.generation)
        if where.get(key) == number:
            del where[key]
        room = self.config.window - len(where)
        self.workflow, drive = self.workflow.follow(outcomes[0], room, stimulus.at)
        self.position = drive.position
        self.has_more = drive.has_more
        if drive.closed or drive.failures or drive.next_due is not None:
            self._took(drive)
        for runnable in drive.handed:
            self.send(runnable, stimulus.at)
        is_over = not self.open or not self.out
        waits = self.planned or self.delayed or self.moments
        if is_over or self.has_more or self.answers or waits:
            self._go_on(stimulus.at)
        elif self.config.is_stored and self.position > self.stored:
            self._store(stimulus.at)
            if len(told) == 2 and type(told[1]) is say.Execute:
                row = row_of_step(self.count, stimulus.at, number, self.position, told[1])
                self.rows.append(row)
                return True
        self.rows.append(row_of(self.count, stimulus, self.status, told))
        return True

    # --------------------------------------------------------------------------------- going on

    def _go_on(self, at: float) -> None:
        """Do all that can be done now: apply, prepare, dispatch, store, report."""
        if self.kept_back and self.status in OPEN:
            self.offer_again(at)
        while True:
            if self.answers:
                self._apply(at)
            if self.status in OPEN:
                if self.delayed:
                    self.come_due(at)
                if self.has_more:
                    self._prepare(at)
            elif self.has_more:
                self._look(at)
            if not self.answers:
                break
        if self.planned and self.status in OPEN:
            self.dispatch(at)
        has_more = self.consumed or self.intents or self.replies
        if self.config.is_stored and (self.position > self.stored or has_more):
            self._store(at)
        self._settle_status()
        if self.delayed or self.moments or self.kept_back:
            self._arm(at)
        if not self.out:
            self._rest()

    @property
    def has_nothing_to_do(self) -> bool:
        """Whether inputs are open, and all of them wait for a moment or for somebody; a retry is something to do."""
        if self.out or self.planned or self.delayed or self.kept_back:
            return False
        return self.status == say.RUNNING and not self.is_driving and not self.has_more

    def _rest(self) -> None:
        """Say, once, that nothing can be done now, when all that has happened is stored."""
        is_storing = self.storing_to is not None or self.waiting_for_store
        if not self.has_nothing_to_do or is_storing:
            self.is_resting = False
        elif not self.is_resting:
            self.is_resting = True
            self.told.append(say.Rests())

    def _drives(self) -> bool:
        """Whether work is executed in line: not where an input brought policies, or outcomes wait for the store."""
        return self.wishes.drives and not self.own_wishes and not self.config.is_slow

    def _apply(self, at: float) -> None:
        if self.halting:
            self.take_back()
        answers, self.answers = self.answers, []
        room = self.room() if self.status in OPEN and not self._drives() else 0
        self.workflow, drive = self.workflow.advance(
            answers, limit=room, may_be_cohort=self.takes_cohorts, at=at
        )
        self._took(drive)
        self.has_more = drive.has_more
        self.take_in(drive.cohort or drive.handed, at)

    def _prepare(self, at: float) -> None:
        if self._drives():
            self._drive(at)
            return
        self.workflow, drive = self.workflow.advance(
            limit=self.room(), may_be_cohort=self.takes_cohorts, at=at
        )
        self._took(drive)
        self.has_more = drive.has_more
        self.take_in(drive.cohort or drive.handed, at)

    def _drive(self, at: float) -> None:
        if self.is_driving:
            return
        self._look(at)  # what has waited for this moment may be ready now
        is_runnable = self.workflow.is_runnable()
        if is_runnable and self.room():
            self.has_more = False
            self.is_driving = True
            self.emit(say.DriveOn())
            return
        self.has_more = is_runnable

    def in_line(self) -> tuple[frozenset[str], Mapping[str, bool], int]:
        """For whoever performs `DriveOn`: the `held`, `tries` and `limit` that `Driven.advance` is to be given.

        To be asked at that moment: since the order was given, the graph may have been edited, or an input may have
        brought policies of its own.
        """
        if self.own_wishes:
            return frozenset(self.wishes.program.by_key), {}, self.room()
        return self.wishes.held(), self.wishes.tries(), self.room()

    def _look(self, at: float) -> None:
        """Notice inputs that were finished by an edit, a cancellation, or by being accepted, and waits that ended."""
        self.workflow, drive = self.workflow.advance(at=at)
        self._took(drive)
        self.has_more = False

    def _took(self, drive: Drive) -> None:
        """Note what an operation on the workflow came to: how far the log is, what failed, what is finished."""
        self.position = drive.position or self.position
        if drive.next_due != self.wait_due:
            self.wait_due = drive.next_due
            if self.wait_due is not None:
                self.note_moment(self.wait_due, 0, "wait")
        for node, path, error in drive.failures:
            place = ".".join(map(str, path))
            self.told.append(say.Warn(f"{node} failed for input {place}: {error}"))
        for number in drive.closed:
            if number in self.open:
                del self.open[number]
                self.tell_senders(number)
                self.contexts.drop(number)
                self.own_wishes.pop(number, None)
                self.emit(say.InputFinished(number, self.reasons.pop(number, None)))

    def _store(self, at: float) -> None:
        """Have new events stored; what depends on them waits, where that takes time."""
        if self.storing_to is not None:
            return
        events, begins_anew = self.workflow.entries_since(self.place)
        self.place = self.workflow.place
        if begins_anew:
            is_fold = isinstance(events[0], Baseline) and events[0] is not self.head
            self.head = events[0]
            if self.stored and not is_fold:
                events = [each for each in events[1:] if each.position >= self.stored]
        consumed, intents = self.consumed, self.intents
        replies, self.replies = tuple(self.replies.values()), {}
        self.consumed = self.intents = ()
        due = self.next_due() if self.delayed or self.moments else None
        self.beginning, self.intended = self.intended, ()
        order = say.Store(
            self.stored, self.position, tuple(events), at, due, consumed, intents, replies
        )
        if self.config.is_instant:
            self.stored = self.position
            self.told.insert(0, order)
        else:
            self.storing_to = self.position
            self.told.append(order)

    def _settle_status(self) -> None:
        status = self.status
        if status in OPEN:
            if self.open:
                self.status = say.RUNNING
            elif status == say.RUNNING and not self.is_driving:
                self._become(say.IDLE)
            return
        is_storing = self.storing_to is not None or self.waiting_for_store
        is_busy = self.out or self.is_driving or is_storing
        if not is_busy:
            self._become(say.STOPPED if status == say.STOPPING else say.CANCELLED)

    def _become(self, status: str) -> None:
        self.status = status
        self.emit(say.Became(status, self.note))

    def _arm(self, at: float) -> None:
        """Ask to be woken when the next thing is due."""
        if self.status in FINAL:
            return
        due = self.next_due()
        if self.kept_back and not self.out:  # nobody else will ask the hook again
            due = at + ASK_AGAIN_S if due is None else min(due, at + ASK_AGAIN_S)
        if due is not None and (self.woken_at is None or due < self.woken_at):
            self.woken_at = due
            self.told.append(say.WakeAt(max(due, at)))


_HANDLERS: Final[dict[type, Callable[[Machine, Any], None]]] = {
    say.Begin: Machine._begin,  # noqa: SLF001 - the table of this class's own handlers
    say.Submit: Machine._submit,  # noqa: SLF001
    say.Signal: Machine._signal,  # noqa: SLF001
    say.Change: Machine._change,  # noqa: SLF001
    say.CancelInput: Machine._cancel_input,  # noqa: SLF001
    say.CancelRun: Machine._cancel_run,  # noqa: SLF001
    say.Stop: Machine._stop,  # noqa: SLF001
    say.Began: Machine._began,  # noqa: SLF001
    say.Finished: Machine._finished,  # noqa: SLF001
    say.Drove: Machine._drove,  # noqa: SLF001
    say.Stored: Machine._stored,  # noqa: SLF001
    say.Woke: Machine._woke,  # noqa: SLF001
}
