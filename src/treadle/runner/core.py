"""The core: a runner without a face. What `AsyncRunner` and `Runner` ask for, done in the loop's thread.

What takes time is answered through an `Ask`.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any

from msgspec import structs

from treadle.components.step import as_component
from treadle.errors import (
    DuplicateRun,
    Forgotten,
    PlugError,
    RunEnded,
    StoreUnavailable,
    TreadleError,
    UsageError,
    nearest,
)
from treadle.interfaces import Append, RunInfo, Store, Trimmed
from treadle.model.events import Baseline
from treadle.model.one_line import one_line
from treadle.policies.matching import Policies
from treadle.runner import stimuli as say
from treadle.runner.editing import NO_OPTIONS, asks_for_the_past, functions_of
from treadle.runner.live import explained_wait
from treadle.runner.looks import looks_of
from treadle.runner.mailbox import Mailbox
from treadle.runner.options import check_same, check_settled
from treadle.runner.record import WAITING, Ask, Options, Run, settled, status_to_store
from treadle.runner.registry import check_id, check_names, sentence
from treadle.runner.storing import noted
from treadle.runner.supervisor import beginning_of
from treadle.runner.ticket import Ticket
from treadle.value import Workflow
from treadle.wiring import make_codec

logger = logging.getLogger("treadle.runner")


class Core(Mailbox):
    """The requests."""

    def start(
        self, workflow: Workflow, id: str | None, options: Options, if_exists: str = "error"
    ) -> Ask:
        """Make a run of a template, or of a workflow that has come somewhere already."""
        self._check_open()
        if if_exists not in {"error", "resume"}:
            raise UsageError(f"if_exists={if_exists!r} is neither 'error' nor 'resume'.")
        if not isinstance(workflow, Workflow):
            raise UsageError(f"a run is of a workflow, and this is {workflow!r:.80}.")
        name = check_id(uuid.uuid4().hex if id is None else id)
        self.register(workflow)
        known = self.runs.get(name)
        stored = None
        is_drawn = id is None  # nobody else has drawn it
        if known is None and self.store is not None and not (is_drawn or name in self.going):
            stored = self.store.info(name)
        if known is not None or stored is not None:
            if if_exists == "error":
                status = known.status if known is not None else getattr(stored, "status", "")
                raise DuplicateRun(
                    f"there is a run {name!r} already; it is {status}.",
                    hint='take another id, or say if_exists="resume".',
                )
            return self.resume(name, options)
        self.check_policies(workflow.policies)
        self.check_matchers(workflow, options)
        if options.context is not None:
            workflow.with_context(options.context)  # refuses what is none
        run_key = workflow.run_key or (name if id is None else f"{name}:{uuid.uuid4().hex}")
        run = Run(name, workflow, run_key, options, self.clock.now())
        run.was_begun_here = True
        fresh = workflow if workflow.position else workflow.with_run_key(run_key)
        is_noted = settled(name)
        if self.store is not None and options.is_stored:
            is_noted = self._note_new(self.store, run, workflow)
        self.runs[name] = run
        self._begin(run, fresh, stored=0)
        return is_noted

    def _note_new(self, store: Store, run: Run, workflow: Workflow) -> Ask:
        """Have a new run noted in the store; answered when it is."""
        info = RunInfo(
            id=run.id,
            workflow=workflow.name,
            run_key=run.run_key,
            fingerprint=workflow.fingerprint,
            created_at=run.created_at,
            updated_at=run.created_at,
            wake_at=run.options.deadline_at,
            deadline_at=run.options.deadline_at,
            durability=run.options.durability,
        )
        if self.writer is None:
            store.create(info)
            return settled(run.id)
        create = self.custody.signed(info)
        append = Append(
            run_id=run.id, expected=0, create=create, epoch=create.epoch, is_synced=False
        )
        return self.write_new(run, append)

    def write_new(self, run: Run, append: Append) -> Ask:
        """Have the writer store a new run; answered with its id when it is, and unmade if it cannot be."""
        asked = Ask()

        def noted(fault: Exception | None) -> None:
            is_here = self.runs.get(run.id) is run  # else another one may have its id by now
            if is_here:
                self.custody.born(run.id)
            if fault is None:
                asked.settle(run.id)
                return
            error = (
                fault if isinstance(fault, TreadleError) else PlugError(f"no run was made: {fault}")
            )
            error.__cause__ = None if error is fault else fault
            if is_here:
                self.unmake(run, error)
            asked.settle(None, error)

        self.write(run, append, None, noted)
        return asked

    def submit(
        self,
        id: str,
        value: Any,
        *,
        key: str | None = None,
        context: Any = None,
        policies: Policies | None = None,
        deadline_at: float | None = None,
        may_be_left: bool = True,
    ) -> Ask:
        """Feed an input; the answer is its ticket. `may_be_left`: in the inbox, where another runner has the run."""
        self._check_open()
        run = self.reached(id) if may_be_left else self.awake(id)
        if run is None:
            return self.send_input(
                id, value, key=key, context=context, policies=policies, deadline_at=deadline_at
            )
        self._check_storable(run, value)
        if context is not None:
            run.definition.with_context(context)  # refuses what is none
        if policies is not None and run.machine is not None:
            check_names(run.machine.workflow, policies)
            run.machine.wishes_for(run.machine.workflow, policies).held()  # asks all predicates
        asked = Ask()

        def give_ticket(ask: Ask) -> None:
            if ask.error is not None:
                asked.settle(None, ask.error)
                return
            asked.settle(self._ticket(run, ask.value))

        request = next(self.loop.requests)
        ask = run.asks[request] = Ask()
        ask.when_done(give_ticket)
        self.loop.tell(
            run,
            say.Submit(
                request=request,
                value=value,
                at=self.clock.now(),
                key=key,
                context=context,
                policies=policies,
                deadline_at=deadline_at,
            ),
        )
        return asked

    def _check_storable(self, run: Run, value: Any) -> None:
        """Refuse now what could not be stored. Errors: `EncodeError`, `StoreUnavailable` and its like."""
        if not run.options.is_stored:
            return
        if self.codec is not None:
            self.codec.check(value)
        if self.writer is not None and self.writer.trouble is not None:
            trouble = self.writer.trouble
            raise StoreUnavailable(
                f"nothing can be stored now, so the input was not taken: {trouble}"
            ) from trouble

    def _ticket(self, run: Run, number: int) -> Ticket:
        ticket = Ticket(run.id, number, self._withdraw_by_ticket)
        machine = run.machine
        if machine is not None and number not in machine.open:
            self._resolve(run, number, [ticket], None)
        else:
            run.tickets.setdefault(number, []).append(ticket)
        return ticket

    def _withdraw_by_ticket(self, run_id: str, number: int) -> None:
        """`Ticket.cancel`, from any thread."""
        self.call(lambda: self._cancel_quietly(run_id, number))

    def _cancel_quietly(self, run_id: str, number: int) -> None:
        try:
            self.cancel(run_id, number, "its ticket was cancelled")
        except TreadleError as error:
            text = one_line(str(error))
            logger.info("input %d of %s was not cancelled: %s", number, run_id, text)

    def change(
        self,
        id: str,
        change: Callable[[Workflow], Workflow],
        extra: Mapping[str, Any],
        options: Mapping[str, Any] = NO_OPTIONS,
    ) -> Ask:
        """Edit the graph of a live run; `extra` are the components it brings."""
        run = self.awake(id)
        upkeep, is_short = self.upkeep, run.begins_at or run.snapshot_at
        if upkeep is None or not is_short or not asks_for_the_past(extra, options):
            return self._change(run, change, extra)
        asked = Ask()

        def go_on(_: Ask) -> None:
            try:
                run = self.awake(id)  # much may have happened meanwhile
                if self.is_storing(run):
                    self.all_stored(run).when_done(go_on)
                    return
                stored = upkeep.load_all(id)  # what a snapshot left out, not what was let go of
                if beginning_of(stored.events) != run.begins_at:
                    self._restart(run, None, stored)
                done = self._change(self.awake(id), change, extra)
            except Exception as error:  # noqa: BLE001 - whoever asked is to have it, whatever it is
                asked.settle(None, error)
                return
            done.when_done(lambda told: asked.settle(told.value, told.error))

        self.all_stored(run).when_done(go_on)
        return asked

    def _change(
        self, run: Run, change: Callable[[Workflow], Workflow], extra: Mapping[str, Any]
    ) -> Ask:
        before, asked = dict(run.extra), Ask()
        run.extra.update(extra)

        def changed(told: Ask) -> None:
            if told.error is not None:
                run.extra = before
            else:
                self.want_snapshot(run)  # one that was taken before is of no use after an edit
                if run.machine is not None and not run.machine.position:
                    run.edited = run.machine.workflow  # no event tells of it before the first input
            asked.settle(told.value, told.error)

        self.loop.ask(
            run, lambda request, at: say.Change(request=request, change=change, at=at)
        ).when_done(changed)
        return asked

    def add(self, id: str, component: Any, options: Mapping[str, Any]) -> Ask:
        """Add a component to a live run."""
        extra = functions_of(component)
        return self.change(id, lambda workflow: workflow.add(component, **options), extra, options)

    def replace(self, id: str, name: Any, component: Any, options: Mapping[str, Any]) -> Ask:
        """Replace a component of a live run."""
        made = as_component(name if component is None else component)
        target = made.name if component is None else getattr(name, "name", name)
        return self.change(
            id, lambda workflow: workflow.replace(target, made, **options), {target: made}
        )

    def checkpoint(self, id: str) -> Ask:
        """Answered with the length of the log when all that has happened is stored."""
        run = self.find(id)
        machine = run.machine
        if machine is None:
            info = None if self.store is None else self.store.info(id)
            return settled(0 if info is None else info.position)
        asked = Ask()

        def answer(done: Ask) -> None:
            if done.error is not None:
                asked.settle(None, done.error)
            else:
                flushed = self._flushed(run, None)
                flushed.when_done(lambda _: asked.settle(machine.stored))

        self.loop.ask(
            run, lambda request, at: say.Change(request=request, change=lambda w: w, at=at)
        ).when_done(answer)
        return asked

    def story(self, id: str) -> list[dict[str, Any]]:
        """What led to what in a run, of late."""
        run = self.find(id)
        if run.machine is not None:
            story, caching = run.machine.story(), self.loop.caching
            return story if caching is None else caching.told(story)
        return [] if run.evidence is None else list(run.evidence["story"])

    def plan(self, id: str) -> list[dict[str, Any]]:
        """What would be dispatched of what is ready now, and why."""
        run = self.awake(id)
        machine = run.machine
        if machine is None:
            return []
        why = self.loop.admission.why_waiting
        waits = [
            explained_wait(live, run.held.why if run.held else why(number))
            for number, live in self.loop.live.items()
            if live.run is run and not live.is_started
        ]
        return [*waits, *machine.explain()]

    def explain_cache(self, id: str, component: str) -> dict[str, Any] | None:
        """Why the latest work of a component of a run was computed, or was given from the cache."""
        run = self.find(id)
        if component not in run.definition and component not in run.extra:
            known = [*run.definition.components(), *run.extra]
            raise UsageError(f"{id!r} has no component {component!r}.{nearest(component, known)}")
        caching = self.loop.caching
        look = None if caching is None else caching.explain(run, component)
        # A run that is not at work here may have been elsewhere since.
        if self.store is not None and (look is None or run.machine is None):
            codec = self.codec or self.cache_codec or make_codec()
            look = looks_of(self.store, codec, id).get(component, look)
        return None if look is None else structs.asdict(look)

    async def trim_cache(self, unused_for_s: float | None, most_bytes: int | None) -> Trimmed:
        """Let go of cached results; in a thread of its own, since the writer's has more urgent things to do."""
        store: Any = self.cache_store()
        trim = partial(store.trim_cache, unused_for_s=unused_for_s, most_bytes=most_bytes)
        gone: Trimmed = trim() if store.is_instant else await asyncio.to_thread(trim)
        return gone

    def evidence(self, id: str) -> dict[str, Any] | None:
        """Why a run was parked, with its crashes and its story."""
        return self.find(id).evidence

    def stream(self, id: str, give: Callable[[Any], None]) -> Callable[[], None]:
        """Give a run's events as they happen; returns how to stop."""
        run = self.awake(id)
        run.streams.append(give)
        machine = run.machine
        if machine is not None and not machine.config.is_stored:
            machine.begin_telling()

        def close() -> None:
            with suppress(ValueError):
                run.streams.remove(give)

        return close

    def stop(self, id: str, *, now: bool = False, persist: bool = True) -> Ask:
        """End a run in order: what is out comes back first, or with `now` stays to be done."""
        run = self.find(id)
        asked = Ask()

        def ended(ask: Ask) -> None:
            if ask.error is not None:  # it is another runner's, and stays as it is
                asked.settle(None, ask.error)
                return
            if not persist:
                status = run.status
                self.forget(run).when_done(lambda gone: asked.settle(status, gone.error))
                return
            if self.is_closing:  # whoever closes waits for all that is stored
                asked.settle(run.status)
                return
            self._flushed(run, None).when_done(lambda _: asked.settle(run.status))

        if run.machine is None or run.status in say.FINAL:
            if run.status not in say.FINAL or not persist:
                self.have(run)
            if run.status not in say.FINAL:
                self._set_status(run, say.STOPPED, None)
                self._let_go(run)
                self._answer_waiters(run, say.STOPPED)
            ended(asked)
            return asked
        self.idle.pop(id, None)
        waiter = Ask()
        waiter.when_done(ended)
        run.waiters.append(waiter)
        queued = self.loop.take_back(run)
        self.loop.ask(
            run, lambda request, at: say.Stop(request=request, at=at, now=now, queued=queued)
        )
        return asked

    def resume(
        self,
        id: str,
        options: Options | None = None,
        settled_as: Mapping[str, Any] | None = None,
    ) -> Ask:
        """Let a stopped, parked or left-behind run go on; one that is at work just goes on."""
        self._check_open()
        run = self.find(id)
        if settled_as is not None:
            check_settled(run, settled_as)
            run.decisions = dict(settled_as)
        if run.machine is not None and run.status not in say.FINAL:
            if options is None:
                return settled(id)
            if run.was_found:
                return self._go_on_with(run, options)
            check_same(run, options)
            return settled(id)
        if run.status == say.CANCELLED:
            raise RunEnded(f"the run {id!r} was cancelled, which is for good.")
        if run.machine is None and run.unwritten:  # it ended with something on its way to the store
            return self._resume_later(run, options, settled_as)
        before, was_over = run.options, run.status in say.FINAL
        if options is not None:
            options.keep_terms(before, goes_on=not was_over)
            run.options = options
        run.crashes = ()
        run.note, run.evidence = run.origin, None
        if run.machine is not None:  # it was never stored: it goes on from where it is
            old = run.machine
            self._begin(run, old.workflow.detached(), stored=old.stored, old=old)
        else:
            self._bring_back(run)
        if run.status in {say.PARKED, say.STOPPED}:
            raise RunEnded(f"the run {id!r} cannot go on: {sentence(run.note)}")
        return self._note_terms(run, before, was_over=was_over)

    def _resume_later(self, run: Run, options: Options | None, settled_as: Any) -> Ask:
        """Resume a run when all of its log is stored, since that is what it begins again from."""
        asked = Ask()

        def go_on(_: Ask) -> None:
            try:
                resumed = self.resume(run.id, options, settled_as)
            except Exception as error:  # noqa: BLE001 - whoever asked is to have it, whatever it is
                asked.settle(None, error)
            else:
                resumed.when_done(lambda done: asked.settle(done.value, done.error))

        self._flushed(run, None).when_done(go_on)
        return asked

    def _note_terms(self, run: Run, before: Options, *, was_over: bool = False) -> Ask:
        """Have it stored where a run goes on that `was_over`, or with another deadline or durability than before.

        Else others would take it for one that nobody resumed: they would send it nothing, and leave it where it is,
        should this process end. Answered with its id when that is stored.
        """
        has, machine = run.options, run.machine
        is_other = (has.deadline_at, has.durability) != (before.deadline_at, before.durability)
        if self.store is None or not has.is_stored or machine is None or not (is_other or was_over):
            return settled(run.id)
        status = say.IDLE if machine.status == say.IDLE else status_to_store(run)
        append = noted(run, status, self.epoch_of(run), machine.next_due())
        if self.writer is None:
            self.store.append([append])
            return settled(run.id)
        asked = Ask()

        def stored(fault: Exception | None) -> None:
            asked.settle(run.id, fault)
            if fault is not None:
                self.not_written(run, None, fault)

        self.write(run, append, None, stored)
        return asked

    def _go_on_with(self, run: Run, options: Options) -> Ask:
        """A run that was found in the store had the standard options so far; from here on it has these."""
        run.was_found = False
        if not options.given and options.scheduler is run.options.scheduler:  # as mostly
            return settled(run.id)
        asked = Ask()

        def begin_anew(_: Ask) -> None:
            before = run.options
            options.keep_terms(before, goes_on=True)
            run.options = options
            if run.status not in say.FINAL:  # else whoever resumes it has these
                try:
                    self.awake(run.id)  # it may have been put away meanwhile, and be elsewhere
                except TreadleError as error:
                    asked.settle(None, error)
                    return
                self._restart(run, None)
                self._note_terms(run, before)
            asked.settle(run.id)

        self.all_stored(run).when_done(begin_anew)
        return asked

    def when_idle(self, id: str) -> Ask:
        """Answered when the run has nothing left to do, or is at its end."""
        run = self.find(id)
        is_to_come = run.missed is not None  # it crashed, and begins again when its log can be read
        if run.machine is None and run.status in {say.RUNNING, WAITING} and not is_to_come:
            with suppress(RunEnded):  # what cannot go on is parked, and that is the answer
                run = self.awake(id)  # left behind by a runner that is no more
        machine = run.machine
        if machine is None or machine.status in say.FINAL:
            if not is_to_come:
                return settled(run.status)
        elif machine.status == say.IDLE and not machine.waiting_for_store:
            return settled(run.status)
        asked = Ask()
        run.waiters.append(asked)
        return asked

    def forget_waiter(self, id: str, asked: Ask) -> None:
        """Nobody waits for this answer of `when_idle` any more."""
        run = self.runs.get(id)
        if run is not None:
            with suppress(ValueError):
                run.waiters.remove(asked)

    def workflow_of(self, id: str) -> Workflow:
        """The run's workflow as a value of its own."""
        run = self.find(id)
        machine = run.machine
        if machine is not None and not run.begins_at:
            with suppress(Forgotten):  # retain= let go of it before the store heard of that
                return machine.workflow.at(machine.seen_to)
        if self.store is None:
            raise RunEnded(f"the run {id!r} is {run.status}, and was kept in no store.")
        whole = self.store.load if self.upkeep is None else self.upkeep.load_all
        stored = whole(id)
        events = stored.events
        if (
            machine is not None and not machine.waits
        ):  # the store has the beginning, and maybe not yet the end
            length = stored.info.position
            log = machine.workflow.log()
            events += tuple(e for e in log if e.position >= length and type(e) is not Baseline)
        definition = self.definition_of(run.definition.name, stored.info.fingerprint)
        return Workflow.from_log(
            run.edited or definition or run.definition, events, components=run.extra
        )

    def drain(self) -> list[Ask]:
        """Stop all runs in order; one ask for each that still waits for what is out."""
        self.is_closing = True
        asks = []
        for run in list(self.runs.values()):
            if run.status in say.FINAL:
                continue
            if self.custody.leases is not None and self._sleeps(run):
                self.leave_asleep(run)
                continue
            ask = self.stop(run.id)
            if not ask.done:
                asks.append(ask)
        return asks

    def _sleeps(self, run: Run) -> bool:
        """Whether a run has nothing out and all of it is stored: it may just be left where it is."""
        if run.machine is not None:
            self._put_away(run)
        return run.machine is None

    def hand_back(self) -> int:
        """Stop all that did not end in time; what is out stays to be done. Says how many bundles that is."""
        count = len(self.loop.live)
        for run in list(self.runs.values()):
            if run.status not in say.FINAL and run.machine is not None:
                self.stop(run.id, now=True)
        return count

    def close(self) -> None:
        """Let go of threads and plugs."""
        self.is_closing = self.is_closed = True
        self.loop.close()
        if self.writer is not None:
            self.writer.close()
        self.stop_waiting()
        for run in self.runs.values():  # nobody is to wait for what the store never took
            if run.tickets or run.asks or run.waiters:
                run.status, run.note = say.STOPPED, "the store could not be written to"
                self._let_go(run)
                self._answer_waiters(run, say.STOPPED)
        self.custody.close()
        if self.rationing is not None:
            self.rationing.close()
        if self.store is not None:
            self.store.close()
