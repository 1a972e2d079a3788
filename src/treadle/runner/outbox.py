"""The outbox: tickets of inputs that were left for other runners, answered by what these tell the store.

One question to the store, at each look of the keeper, is for all of them together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from treadle.errors import RunEnded, UnknownRun
from treadle.interfaces import Codec, Replies, Standing
from treadle.runner import stimuli as say
from treadle.runner.letters import came_of
from treadle.runner.supervisor import settle_ticket
from treadle.runner.ticket import Ticket


class Outbox:
    """Which tickets wait. All but `look` is called in the loop's thread."""

    def __init__(
        self,
        store: Replies,
        codec: Codec | None,
        call: Callable[[Callable[[], None]], None],
    ) -> None:
        self._store = store
        self._codec = codec
        self._call = call
        self._waiting: dict[tuple[str, str], Ticket] = {}
        self._is_closed = False

    def expect(self, message: str, ticket: Ticket) -> None:
        """Answer this ticket when something is known of this message."""
        if self._is_closed:
            settle_ticket(ticket, {}, unheard(ticket))
        else:
            self._waiting[ticket.run_id, message] = ticket

    def look(self) -> None:
        """See what became of the messages (called in the keeper's thread)."""
        waiting = dict(self._waiting)
        if not waiting:
            return
        standing = self._store.standing(list(waiting))
        taken = {
            each: found.input
            for each, found in standing.items()
            if found.input is not None and waiting[each].input is None
        }
        over = {each: self._end_of(each[0], standing.get(each)) for each in waiting}
        ended = {each: end for each, end in over.items() if end is not None}
        if taken or ended:
            self._call(lambda: self._tell(taken, ended))

    def _end_of(
        self, run_id: str, found: Standing | None
    ) -> tuple[dict[str, Any], BaseException | None] | None:
        """What a ticket ends with; None: it is open."""
        if found is None:
            return {}, UnknownRun(f"the run {run_id!r} is not in the store any more.")
        if found.body is not None:
            return came_of(self._codec, run_id, found.body)
        if found.status in say.FINAL:
            return {}, left_open(run_id, found)
        return None

    def _tell(
        self,
        taken: Mapping[tuple[str, str], int],
        ended: Mapping[tuple[str, str], tuple[dict[str, Any], BaseException | None]],
    ) -> None:
        for each, number in taken.items():
            if each in self._waiting:
                self._waiting[each].input = number
        for each, (found, error) in ended.items():
            ticket = self._waiting.pop(each, None)
            if ticket is not None:
                settle_ticket(ticket, found, error)

    def close(self) -> None:
        """Nothing more is heard: those who wait are told so."""
        self._is_closed = True
        waiting, self._waiting = self._waiting, {}
        for ticket in waiting.values():
            settle_ticket(ticket, {}, unheard(ticket))


def left_open(run_id: str, found: Standing) -> RunEnded:
    """The run has come to its end, and the input has not."""
    note = f" ({found.note})" if found.note else ""
    if found.input is not None:
        which = f"its input {found.input} was finished"
        return RunEnded(f"the run {run_id!r} was {found.status}{note} before {which}.")
    is_over = found.status == say.CANCELLED
    return RunEnded(
        f"the run {run_id!r} was {found.status}{note} before the input was taken.",
        hint=None if is_over else "it waits, and is taken when somebody resumes the run.",
    )


def unheard(ticket: Ticket) -> RunEnded:
    """This runner is no more; the input goes on where the run is."""
    return RunEnded(
        f"this runner was closed before it heard what came of an input that it left for {ticket.run_id!r}, "
        "which is with another one.",
        hint="get_results(id) reads it from the store; run(id, ..., key=) with the same key gives another ticket.",
    )
