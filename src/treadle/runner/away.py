"""Runs that are away: put away to the store while somebody here waits for what comes of them.

Another runner may take such a run when its moment comes, or when somebody answers it. What is waited for comes about
there then, and is looked for in the store.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from treadle.errors import RunElsewhere, RunEnded, UnknownRun
from treadle.interfaces import RunInfo
from treadle.runner import stimuli as say
from treadle.runner.record import Ask, Run
from treadle.runner.recovery import Recovery
from treadle.runner.streams import END
from treadle.runner.supervisor import settle_ticket
from treadle.runner.writer import PASSING

LOOKS: Final = 32
"""So many of them are looked at in one look of the keeper: all have their turn."""


class Away(Recovery):
    """A supervisor of runs that are not always here."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._turn = 0
        """Where the next look begins."""

    def look_at_those_away(self) -> None:
        """See whether others went on with runs that somebody here waits for (called in the keeper's thread)."""
        ids, store = list(self.away), self.store
        if not ids or store is None:
            return
        begin = self._turn % len(ids)
        self._turn = begin + LOOKS
        for run_id in ids[begin : begin + LOOKS]:
            position, info = self.away.get(run_id), store.info(run_id)
            owners = (None, self.custody.owner)
            if info is None or info.position != position or info.owner not in owners:
                self.call(partial(self._went_on, run_id, info))

    def _went_on(self, run_id: str, info: RunInfo | None) -> None:
        run = self.runs.get(run_id)
        if run is None or run.machine is not None or not is_awaited(run) or self.is_closing:
            self.away.pop(run_id, None)
            return
        if info is None:
            self.lose(run, UnknownRun(f"the run {run_id!r} is not in the store any more."))
            return
        try:
            self.awake(run_id)
        except RunElsewhere as error:
            self.tell_who_waits(run, "it was put away here while it waited", error)
        except RunEnded:
            self._let_go(run)
            self._answer_waiters(run, run.status)
        except PASSING:
            return  # another look is to find out
        self.away.pop(run_id, None)

    def leave_asleep(self, run: Run) -> None:
        """Whoever runs next finds it in the store; nobody is to wait for it here."""
        if run.tickets or run.asks or run.waiters or run.streams:
            run.status, run.note = say.STOPPED, run.origin
            self._let_go(run)
            self._answer_waiters(run, say.STOPPED)

    def is_storing(self, run: Run) -> bool:
        """Whether something of a run is on its way to the store, or its machine has not heard yet that it is there."""
        return run.unwritten > 0 or (
            run.machine is not None and run.machine.storing_to is not None and not self.is_closed
        )

    def all_stored(self, run: Run) -> Ask:
        """Answered when all that a run has done is stored, and its machine wants no more stored."""
        asked = Ask()

        def look(_: Ask) -> None:
            if run.unwritten:
                self._flushed(run, None).when_done(look)
            elif self.is_storing(run):
                self.call(partial(look, asked))
            else:
                asked.settle(None)

        look(asked)
        return asked

    def caught_up(self, run: Run) -> None:
        """Tell who waits for a run that is here again what came about elsewhere."""
        self.away.pop(run.id, None)
        self._settle_left_over(run)
        if run.machine is not None and run.machine.status == say.IDLE:
            self._answer_waiters(run, say.IDLE)

    def tell_who_waits(self, run: Run, why: str, fault: Exception | None) -> None:
        """What somebody waits for here comes about at another runner: they are to look for it in the store."""
        elsewhere = RunElsewhere(
            f"the run {run.id!r} is with another runner now, which goes on with it: {why}.",
            hint="read what came of it from the store: get_results(id) does; or run(id, ..., key=) once more: "
            "with the key of an input there it gives a ticket for that. A longer lease_s survives longer pauses.",
        )
        elsewhere.__cause__ = fault
        tickets = [each for listed in run.tickets.values() for each in listed]
        waiting, run.waiters = [*run.waiters, *run.asks.values()], []
        run.tickets.clear()
        run.asks.clear()
        for ticket in tickets:
            settle_ticket(ticket, {}, elsewhere)
        for ask in waiting:
            ask.settle(None, elsewhere)
        for stream in list(run.streams):
            stream(END)


def is_awaited(run: Run) -> bool:
    """Whether somebody waits for what comes of a run."""
    return bool(run.tickets or run.waiters or run.streams)
