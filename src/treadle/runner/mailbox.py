"""What people and other processes want of a run: inputs, signals and cancellations, asked for here or by the inbox.

What is asked of a runner that does not have the run is left in the inbox for the one that does.
"""

from __future__ import annotations

import logging
import uuid
from typing import Any, Final

from treadle.errors import RunElsewhere, RunEnded, StoreTaken, TreadleError, UsageError
from treadle.interfaces import Append, Message, Replies, RunInfo
from treadle.model.forms import OpenWait
from treadle.model.nodes import Context
from treadle.policies.matching import Policies
from treadle.runner import stimuli as say
from treadle.runner.asking import check_answer, in_order, may_wait, place_of, stored_waits, waits_of
from treadle.runner.keeping import Keeping
from treadle.runner.letters import read, refusal, written
from treadle.runner.outbox import Outbox
from treadle.runner.record import Ask, Run
from treadle.runner.ticket import Ticket

logger = logging.getLogger("treadle.runner")

ELSEWHERE: Final = (RunElsewhere, StoreTaken)
"""Another runner has the run, or another process has the whole store."""


class Mailbox(Keeping):
    """A keeper of runs that listens."""

    outbox: Outbox | None = None
    """The tickets of inputs that were left for other runners; None: there never were any."""

    # ------------------------------------------------------------------- what is asked of this runner

    def reached(self, id: str) -> Run | None:
        """The run of an id, with its machine; None where only a message reaches it.

        Another runner has it then; or nobody does, and this one does not know its workflow. Errors: as `awake`.
        """
        known = self.runs.get(id)
        is_here = known is not None and known.machine is not None
        if not is_here and self.custody.leases is not None and self._is_strange(self.find(id)):
            return None
        try:
            return self.awake(id)
        except ELSEWHERE:
            return None

    def _is_strange(self, run: Run) -> bool:
        """Whether a run that may go on is of a workflow that this runner does not know: it would only park it."""
        may_go_on = run.machine is None and run.status not in say.FINAL
        return may_go_on and run.definition.name not in self.definitions

    def cancel(self, id: str, input: int | None, reason: str) -> Ask:
        """Withdraw what is left to do, of a run or of one input; a run ends with that."""
        found = self.find(id)
        body = {"input": input, "reason": reason}
        if input is None and found.machine is None and found.status in {say.STOPPED, say.PARKED}:
            try:
                self.have(found)
            except ELSEWHERE:
                return self._leave_message(id, "cancel", body)
            self._set_status(found, say.CANCELLED, reason or "asked for")
            return self._flushed(found, None)
        run = self.reached(id)
        if run is None:
            return self._leave_message(id, "cancel", body)
        if input is None:
            return self.loop.ask(
                run, lambda request, at: say.CancelRun(request=request, at=at, reason=reason)
            )
        return self.loop.ask(
            run,
            lambda request, at: say.CancelInput(request=request, input=input, at=at, reason=reason),
        )

    def signal(self, id: str, name: Any, payload: Any, key: str | int | None) -> Ask:
        """Answer a wait of a run, wherever the run is; answered when that is stored."""
        self._check_open()
        run = self.reached(id)
        if run is None:
            wanted = getattr(name, "name", name)
            check_answer(self.store, id, wanted, payload, key)
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
        """The open waits of one of these runs. Errors: `RunEnded` once the runner is closed."""
        self.check_usable()
        run = self.runs.get(info.id)
        if run is not None and run.machine is not None:
            return waits_of(info, run.machine.workflow, name)
        return [] if self.store is None else stored_waits(self.store, info, name)

    def _check_open(self) -> None:
        self.check_usable()
        if self.is_closing:
            raise RunEnded("this runner is closing, and takes nothing any more.")

    # -------------------------------------------------------------------- what is left for another one

    def send_input(
        self,
        id: str,
        value: Any,
        *,
        key: str | None,
        context: Context | None,
        policies: Policies | None,
        deadline_at: float | None,
    ) -> Ask:
        """Leave an input for the runner that has the run; answered, when it is stored, with its ticket.

        Without a key it is given one that no other input has: it is withdrawn by that, and taken once.
        Errors: `UsageError` for policies, whose functions cannot be left; `EncodeError`; `RunElsewhere` where the
        store has no replies.
        """
        store: Any = self.store
        if not isinstance(store, Replies):
            raise RunElsewhere(
                f"the run {id!r} is with another runner, and this store brings no inputs there.",
                hint="ask that one; signal and cancel reach it from anywhere.",
            )
        if policies is not None:
            raise UsageError(
                f"the run {id!r} is with another runner, and policies= of an input do not reach that one.",
                hint="give them to the workflow, or to the runner that has the run.",
            )
        if context is not None:
            self.find(id).definition.with_context(context)  # refuses what is none
        if self.codec is not None:
            self.codec.check(value)
        message_id = uuid.uuid4().hex
        named = message_id if key is None else key
        body = {"value": value, "key": named, "deadline_at": deadline_at, "context": context}
        if self.outbox is None:
            self.outbox = Outbox(store, self.codec, self.call)
            if self.custody.keeper is not None:
                self.custody.keeper.chores.append(self.outbox.look)
        outbox, asked = self.outbox, Ask()

        def give_ticket(left: Ask) -> None:
            ticket = Ticket(id, None, lambda run_id, _: self._withdraw_by_key(run_id, named))
            if left.error is None:
                outbox.expect(message_id, ticket)
            asked.settle(ticket, left.error)

        self._leave_message(id, "input", body, message_id).when_done(give_ticket)
        return asked

    def _withdraw_by_key(self, run_id: str, key: str) -> None:
        """`Ticket.cancel` of such an input, from any thread: after the input itself, wherever the run is then."""

        def leave() -> None:
            body = {"key": key, "reason": "its ticket was cancelled"}
            try:
                self._leave_message(run_id, "cancel", body)
            except TreadleError as error:
                logger.info("the input %s of %s was not cancelled: %s", key, run_id, error)

        self.call(leave)

    def _leave_message(self, id: str, kind: str, body: dict[str, Any], named: str = "") -> Ask:
        """Tell the runner that has a run; answered when the message is stored."""
        inbox: Any = self.store
        message = Message(
            id=named or uuid.uuid4().hex,
            run_id=id,
            kind=kind,
            body=written(self.codec, body),
            at=self.clock.now(),
        )
        asked = Ask()

        def post() -> None:
            fault: Exception | None = None
            try:
                inbox.post(message)
            except Exception as error:  # noqa: BLE001 - whoever asked is to have it, whatever it is
                fault = error
            self.call(lambda: asked.settle(None, fault))

        if self.writer is None:
            post()
        else:
            self.writer.do(post)
        return asked

    def stop_waiting(self) -> None:
        """Nobody is to wait for what this runner will not hear of any more."""
        if self.outbox is not None:
            self.outbox.close()

    # ----------------------------------------------------------------------- what was left for this one

    def take_message(self, run: Run, message: Message) -> None:
        """Do what a message asks for; the store hears that it was taken with what comes of it."""
        try:
            wanted = read(self.codec, message.body)
            stimulus = self._stimulus_of(message, wanted)
        except (ValueError, TypeError, TreadleError) as error:
            self._discard(run, message, f"cannot be read: {error}")
            return
        if stimulus is None:
            self._discard(run, message, f"is of the unknown kind {message.kind!r}")
            return
        ask = run.asks[stimulus.request] = Ask()
        if message.kind == "signal":
            ask.when_done(lambda asked: note_refusal(run, message, asked))
        self.loop.tell(run, stimulus)

    def _stimulus_of(self, message: Message, wanted: dict[str, Any]) -> say.Wish | None:
        """What a run's machine is told of a message; None: nothing that there is. Errors: `ValueError`, `TypeError`."""
        request, at = next(self.loop.requests), self.clock.now()
        key, reason = wanted.get("key"), str(wanted.get("reason", ""))
        if message.kind == "input":
            due = wanted.get("deadline_at")
            return say.Submit(
                request=request,
                value=wanted.get("value"),
                at=at,
                key=message.id if key is None else str(key),
                context=wanted.get("context"),
                deadline_at=None if due is None else float(due),
                message=message.id,
            )
        if message.kind == "signal":
            name, payload = str(wanted.get("name")), wanted.get("payload")
            return say.Signal(
                request=request, name=name, payload=payload, key=key, at=at, message=message.id
            )
        if message.kind != "cancel":
            return None
        number = wanted.get("input")
        if number is None and key is None:
            return say.CancelRun(request=request, at=at, reason=reason, message=message.id)
        return say.CancelInput(
            request=request,
            input=None if number is None else int(number),
            key=key,
            at=at,
            reason=reason,
            message=message.id,
        )

    def _discard(self, run: Run, message: Message, why: str) -> None:
        """A message that says nothing: it is told of, and does not come again."""
        logger.warning("run %s: the message %s %s", run.id, message.id, why)
        append = Append(
            run_id=run.id,
            expected=None,
            consumed=(message.id,),
            replies=(refusal(message.id, UsageError(f"the message {why}"), self.codec),),
            epoch=self.epoch_of(run),
        )
        run.heard.answer(append.consumed)
        self.write(run, append, None)


def note_refusal(run: Run, message: Message, asked: Ask) -> None:
    """Who left a message is not there to be told that it was refused; one that is left for another runner was not."""
    if asked.error is not None and not isinstance(asked.error, RunElsewhere):
        logger.warning("run %s: the message %s was refused: %s", run.id, message.id, asked.error)
