"""What people and other processes want of a run: signals and cancellations, asked for here or left in the inbox."""

from __future__ import annotations

import json
import logging
import uuid
from typing import Any

from treadle.errors import RunElsewhere, RunEnded, StoreTaken, TreadleError, UsageError
from treadle.interfaces import Append, Message, RunInfo
from treadle.model.forms import OpenWait
from treadle.runner import stimuli as say
from treadle.runner.asking import check_answer, in_order, may_wait, place_of, stored_waits, waits_of
from treadle.runner.keeping import Keeping
from treadle.runner.record import Ask, Run, settled

logger = logging.getLogger("treadle.runner")


class Mailbox(Keeping):
    """A keeper of runs that listens."""

    def cancel(self, id: str, input: int | None, reason: str) -> Ask:
        """Withdraw what is left to do, of a run or of one input; a run ends with that."""
        run = self.find(id)
        try:
            if input is None and run.machine is None and run.status in {say.STOPPED, say.PARKED}:
                self.have(run)
                self._set_status(run, say.CANCELLED, reason or "asked for")
                return self._flushed(run, None)
            run = self.awake(id)
        except (RunElsewhere, StoreTaken):
            return self._leave_message(id, "cancel", {"input": input, "reason": reason})
        if input is None:
            return self.loop.ask(
                run, lambda request, at: say.CancelRun(request=request, at=at, reason=reason)
            )
        number = input
        return self.loop.ask(
            run,
            lambda request, at: say.CancelInput(
                request=request, input=number, at=at, reason=reason
            ),
        )

    def take_message(self, run: Run, message: Message) -> None:
        """Do what a message asks for; the store hears that it was taken with what comes of it."""
        try:
            wanted = self._read(message)
        except (ValueError, TreadleError) as error:
            self._discard(run, message, f"cannot be read: {error}")
            return
        run.asks[request := next(self.loop.requests)] = Ask()
        at, reason = self.clock.now(), str(wanted.get("reason", ""))
        if message.kind == "cancel" and wanted.get("input") is not None:
            number = int(wanted["input"])
            self.loop.tell(
                run,
                say.CancelInput(
                    request=request, input=number, at=at, reason=reason, message=message.id
                ),
            )
        elif message.kind == "cancel":
            self.loop.tell(
                run, say.CancelRun(request=request, at=at, reason=reason, message=message.id)
            )
        elif message.kind == "signal":
            ask = run.asks[request]
            ask.then = lambda asked: note_refusal(run, message, asked)
            signal = say.Signal(
                request=request,
                name=str(wanted.get("name")),
                payload=wanted.get("payload"),
                key=wanted.get("key"),
                at=at,
                message=message.id,
            )
            self.loop.tell(run, signal)
        else:
            run.asks.pop(request)
            self._discard(run, message, f"is of the unknown kind {message.kind!r}")

    def _discard(self, run: Run, message: Message, why: str) -> None:
        """A message that says nothing: it is told of, and does not come again."""
        logger.warning("run %s: the message %s %s", run.id, message.id, why)
        epoch = self.epoch_of(run)
        append = Append(
            run_id=run.id,
            expected=None,
            consumed=(message.id,),
            refused=((message.id, f"it {why}"),),
            epoch=epoch,
        )
        run.heard.answer(append.consumed)
        self.write(run, append, None)

    def _read(self, message: Message) -> dict[str, Any]:
        """What a message says: JSON, or what a runner wrote by the codec of the store."""
        if message.body[:1] == b"{" or self.codec is None:
            found: Any = json.loads(message.body)
        else:
            found = self.codec.decode(message.body)
        if not isinstance(found, dict):
            raise UsageError("it is no object with names.")
        return found

    def signal(self, id: str, name: Any, payload: Any, key: str | int | None) -> Ask:
        """Answer a wait of a run, wherever the run is; answered when that is stored."""
        self._check_open()
        try:
            run = self.awake(id)
        except (RunElsewhere, StoreTaken):
            wanted = getattr(name, "name", name)
            check_answer(self.store, id, wanted, payload)
            body = {"name": wanted, "payload": payload, "key": key}
            return self._leave_message(id, "signal", body)
        if self.codec is not None and run.options.is_stored:
            self.codec.check(payload)
        return self.loop.ask(
            run,
            lambda request, at: say.Signal(
                request=request, name=name, payload=payload, key=key, at=at
            ),
        )

    def may_wait(self, workflow: str | None, after: str | None) -> list[RunInfo]:
        """The runs that may have an open wait, here or in the store, oldest first. Errors: `UnknownRun`."""
        self.check_usable()
        begin = None if after is None else place_of(self._info_of(after))
        listed = {} if self.store is None else {i.id: i for i in may_wait(self.store, workflow)}
        for run in self.runs.values():
            if run.machine is not None and workflow in {None, run.definition.name}:
                listed[run.id] = run.info()
        return [info for info in in_order(listed.values()) if not begin or place_of(info) > begin]

    def _info_of(self, id: str) -> RunInfo:
        run = self.find(id)
        stored = None if self.store is None or run.machine is not None else self.store.info(id)
        return run.info() if stored is None else stored

    def waits_of(self, info: RunInfo, name: str | None) -> list[OpenWait]:
        """The open waits of one of these runs."""
        run = self.runs.get(info.id)
        if run is not None and run.machine is not None:
            return waits_of(info, run.machine.workflow, name)
        return [] if self.store is None else stored_waits(self.store, info, name)

    def _leave_message(self, id: str, kind: str, body: dict[str, Any]) -> Ask:
        """Tell the runner that has a run; answered when the message is stored."""
        inbox: Any = self.store
        written = json.dumps(body).encode() if self.codec is None else self.codec.encode(body)
        message = Message(
            id=uuid.uuid4().hex, run_id=id, kind=kind, body=written, at=self.clock.now()
        )
        inbox.post(message)
        return settled(None)

    def _check_open(self) -> None:
        self.check_usable()
        if self.is_closing:
            raise RunEnded("this runner is closing, and takes nothing any more.")


def note_refusal(run: Run, message: Message, asked: Ask) -> None:
    """Who left a message is not there to be told that it was refused."""
    if asked.error is not None:
        logger.warning("run %s: the message %s was refused: %s", run.id, message.id, asked.error)
