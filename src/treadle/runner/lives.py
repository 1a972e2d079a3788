"""Lives: runs that come of other runs, runs that begin anew in place, and runs that have outlived their time."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from msgspec import structs

from treadle.errors import DuplicateRun, RunEnded, UsageError
from treadle.interfaces import Append, RunInfo, StoredRun
from treadle.runner import stimuli as say
from treadle.runner.core import Core
from treadle.runner.forking import (
    forked,
    offspring,
    rerun_of,
)
from treadle.runner.keeper import LEASE_S
from treadle.runner.machine import Machine
from treadle.runner.record import FULL, Ask, Run, settled
from treadle.runner.registry import check_id, lacking
from treadle.runner.retention import AT_ONCE, Retention, Retiring
from treadle.value import Workflow

logger = logging.getLogger("treadle.runner")

SWEEP_AFTER_S: Final = 3_600.0
"""Large values that no run refers to are let go of when they were not written for so long."""

ID_LENGTH: Final = 230
"""So much of an id stays in the id of its upgraded fork."""


class Lives(Core):
    """The core, with what long lives of stored runs ask for."""

    # ------------------------------------------------------------------------ runs that come of runs

    def fork(self, id: str, at: Any, new_id: str | None) -> Ask:
        """Make a new run of what a run was at a position; answered with its id when it is stored."""
        if at is not None and (not isinstance(at, int) or isinstance(at, bool) or at < 0):
            raise UsageError(f"at={at!r:.80} is no position of a log.", hint="a number of events.")

        def made(stored: StoredRun, _: Run, name: str) -> StoredRun:
            return forked(stored, at, name, self.clock.now())

        return self._derive(id, new_id, made)

    def rerun(self, id: str, component: Any, input: int | None, new_id: str | None) -> Ask:
        """Make a new run in which a component, and all below it, has its work to do again."""
        wanted = str(getattr(component, "name", component))

        def made(stored: StoredRun, run: Run, name: str) -> StoredRun:
            template = run.edited or self.definition_of(
                stored.info.workflow, stored.info.fingerprint
            )
            if template is None:
                raise unregistered(stored.info)
            workflow = Workflow.from_log(template, stored.events, components=run.extra)
            return rerun_of(stored, workflow, wanted, input=input, name=name, now=self.clock.now())

        return self._derive(id, new_id, made)

    def _derive(
        self, id: str, new_id: str | None, make: Callable[[StoredRun, Run, str], StoredRun]
    ) -> Ask:
        """Begin a run that is made of the whole stored log of another one, as far as that is stored now."""
        self._check_open()
        run = self.find(id)
        name = check_id(uuid.uuid4().hex if new_id is None else new_id)
        self._check_free(name)
        asked = Ask()

        def go_on(_: Ask) -> None:
            try:
                self._check_open()  # much may have happened meanwhile
                self._check_free(name)
                begun = self._begin_made(run, make(self._whole(run), run, name))
            except Exception as error:  # noqa: BLE001 - whoever asked is to have it, whatever it is
                asked.settle(None, error)
                return
            begun.when_done(lambda done: asked.settle(done.value, done.error))

        self._flushed(run, None).when_done(go_on)
        return asked

    def _check_free(self, name: str) -> None:
        is_free = name not in self.runs
        if is_free and self.store is not None and name not in self.going:
            is_free = self.store.info(name) is None
        if not is_free:
            raise DuplicateRun(f"there is a run {name!r} already.", hint="take another new_id.")

    def _whole(self, run: Run) -> StoredRun:
        """All of a run's log that is still there, whoever has the run."""
        if self.store is not None and run.options.is_stored:
            whole = self.store.load if self.upkeep is None else self.upkeep.load_all
            return whole(run.id)
        if run.machine is None:
            raise RunEnded(f"the run {run.id!r} is {run.status}, and was kept in no store.")
        workflow = run.machine.workflow.detached()
        info = structs.replace(
            run.info(), position=workflow.position, fingerprint=workflow.fingerprint
        )
        return StoredRun(info=info, events=tuple(workflow.log()))

    def _begin_made(self, run: Run, made: StoredRun) -> Ask:
        """Begin the run that was made of another one, under the code of today, as `on_code_change` allows."""
        info = made.info
        fresh = offspring(run, info.id, info.run_key, self.clock.now())
        workflow = self._revived(fresh, made)
        if workflow is None:
            raise unregistered(info)
        missing = workflow.missing_functions()
        if missing:
            raise lacking(missing)
        if not made.events:
            workflow = workflow.with_run_key(info.run_key)
        return self._begin_stored(fresh, info, workflow)

    def _begin_stored(self, run: Run, info: RunInfo, workflow: Workflow) -> Ask:
        """Begin a run that has come somewhere already; it is stored with all of its log at once, or not at all."""
        run.run_key = workflow.run_key or run.run_key
        run.origin = run.note = info.note
        is_stored = settled(run.id)
        if self.store is not None and run.options.is_stored:
            durability = run.options.durability
            begun = structs.replace(info, position=0, run_key=run.run_key, durability=durability)
            create = self.custody.signed(begun)
            append = Append(
                run_id=run.id,
                expected=0,
                events=tuple(workflow.log()),
                status=info.status,
                note=info.note,
                at=info.updated_at,
                durability=durability,
                create=create,
                epoch=create.epoch,
                is_synced=durability == FULL,
            )
            if self.writer is not None:
                is_stored = self.write_new(run, append)
            else:
                (fault,) = self.store.append([append])
                if fault is not None:
                    raise fault
            run.listed_at = workflow.position if info.status == say.RUNNING else None
        self.runs[run.id] = run
        self._begin(run, workflow, stored=workflow.position)
        return is_stored

    def go_on_as_fork(self, run: Run, workflow: Workflow, stored: StoredRun) -> None:
        """What is computed again under the code of today is a run of its own; the old one is stopped, and says so.

        The new id and run key follow from the old ones: done a second time, after a crash in the middle, it comes to
        the same.
        """
        name = f"{run.id[:ID_LENGTH]}~{stored.info.position}"
        there = None if self.store is None else self.store.info(name)
        if there is not None and there.run_key != workflow.run_key:
            taken = DuplicateRun(f"it would go on as {name!r}, and there is a run of that id.")
            self.park(run, "code_changed", taken)
            return
        if there is None:
            now = self.clock.now()
            info = RunInfo(
                id=name,
                workflow=stored.info.workflow,
                run_key=workflow.run_key or name,
                fingerprint=stored.info.fingerprint,
                status=say.IDLE if workflow.is_satisfied() else say.RUNNING,
                created_at=now,
                updated_at=now,
                note=f"upgraded from {run.id} at {stored.info.position}",
            )
            self._begin_stored(offspring(run, name, info.run_key, now), info, workflow)
        logger.warning("run %s goes on as %s, computed again", run.id, name)
        note = f"it goes on as {name!r}, computed again under the code of today"
        self._set_status(run, say.STOPPED, note)
        self._let_go(run)
        self._answer_waiters(run, say.STOPPED)

    # ------------------------------------------------------------------------- runs that begin anew

    def continue_as_new(self, id: str) -> Ask:
        """Fold a quiet run's log into a baseline, in place; answered with its position when that is stored."""
        self._check_open()
        run = self.awake(id)
        if self.store is None or not run.options.is_stored:
            raise UsageError(f"the run {id!r} is kept in no store: there is no log to fold.")
        asked = Ask()

        def fold(_: Ask) -> None:
            try:
                self._check_open()
                run = self.awake(id)
                if is_idle(run.machine) and self.is_storing(run):
                    self.all_stored(run).when_done(fold)
                else:
                    self._fold(run, asked)
            except Exception as error:  # noqa: BLE001 - whoever asked is to have it, whatever it is
                asked.settle(None, error)

        self._flushed(run, None).when_done(fold)
        return asked

    def _fold(self, run: Run, asked: Ask) -> None:
        machine, store = run.machine, self.store
        assert machine is not None
        assert store is not None
        position = machine.workflow.position
        if not is_idle(machine):
            numbers = ", ".join(map(str, sorted(machine.open)[:5]))
            raise UsageError(
                f"the run {run.id!r} is at work: {len(machine.open)} of its inputs are open ({numbers}).",
                hint="wait(id) until it is idle, or cancel them.",
            )
        if not position:
            asked.settle(0)
            return
        append = Append(
            run_id=run.id,
            expected=position,
            events=(machine.workflow.baseline(),),
            at=self.clock.now(),
            epoch=self.epoch_of(run),
            is_synced=run.options.durability == FULL,
        )

        def written(fault: Exception | None) -> None:
            if fault is None:
                run.snapshot_at, run.is_large = position, False
                self._put_away(run)  # it comes back from its baseline; what was before is let go of
            asked.settle(position, fault)

        if self.writer is not None:
            self.write(run, append, None, written)
        else:
            (fault,) = store.append([append])
            written(fault)

    # ------------------------------------------------------------------ runs that outlived their time

    def retain(self, rules: Retention | Mapping[str, Retention] | None) -> None:
        """Let go of runs as these rules say, as long as the keeper is at work."""
        if rules is None:
            return
        keeper, store = self.custody.keeper, self.store
        if keeper is None or store is None:
            raise UsageError(
                "retention= is for runs in a store that keeps them, and this one has no leases.",
                hint='store="sqlite:///runs.db"; to forget one run: stop(id, persist=False).',
            )
        names: Callable[[], list[str]] = partial(list, self.definitions)
        retiring = Retiring(store, rules, names, self.clock.now, self.custody.owner)

        def chore() -> None:
            infos = retiring.look()
            if infos:
                self.call(lambda: self._outlived(infos))

        keeper.chores.append(chore)

    def _outlived(self, infos: Sequence[RunInfo]) -> None:
        """These runs have had their time: nobody finds them any more, and the writer's thread deletes them."""
        going = [info for info in infos if self._may_go(info.id)]
        if not going or self.is_closing or self.writer is None:
            return
        for info in going:
            self.runs.pop(info.id, None)
            self.idle.pop(info.id, None)
            self.custody.lose(info.id)
            self.going.add(info.id)
        is_last = len(infos) < AT_ONCE
        self.writer.do(partial(self._delete, going, is_last=is_last))

    def _may_go(self, id: str) -> bool:
        """Whether nobody here has anything to do with a run."""
        run = self.runs.get(id)
        if id in self.going or run is None:
            return id not in self.going
        machine = run.machine
        is_at_rest = machine is None or (machine.status == say.IDLE and not machine.out)
        in_use = run.streams or run.waiters or run.unwritten or run.tickets or run.asks
        return is_at_rest and not in_use

    def _delete(self, going: Sequence[RunInfo], *, is_last: bool) -> None:
        """Delete runs that nobody else has, and that are as they were found (called in the writer's thread)."""
        store, leases = self.store, self.custody.leases
        assert store is not None
        assert leases is not None
        inbox: Any = leases
        try:
            held: dict[str, int] = {}
            changed: dict[str, int] = {}
            for info in going:
                for claimed in leases.claim(self.custody.owner, LEASE_S, run_id=info.id):
                    is_same = is_as_it_was(claimed, info)
                    (held if is_same else changed)[info.id] = claimed.epoch
            for message in inbox.waiting(self.custody.owner, limit=1):
                if message.run_id in held:  # somebody wants something of it after all
                    changed[message.run_id] = held.pop(message.run_id)
            if changed:
                self.call(partial(self.going.difference_update, tuple(changed)))  # then found again
                leases.release(changed)
            for run_id in held:
                store.delete(run_id)
            if held:
                logger.info("%d runs had their time, and were forgotten", len(held))
            if is_last and self.upkeep is not None:
                self.upkeep.sweep(unused_for_s=SWEEP_AFTER_S)
        finally:
            self.call(lambda: self.going.difference_update([info.id for info in going]))


def is_idle(machine: Machine | None) -> bool:
    """Whether a machine has nothing to do, and nothing out."""
    return machine is not None and machine.status == say.IDLE and not (machine.open or machine.out)


def is_as_it_was(now: RunInfo, then: RunInfo) -> bool:
    """Whether nothing has happened in a run meanwhile."""
    return (now.status, now.position, now.updated_at, now.wake_at) == (
        then.status,
        then.position,
        then.updated_at,
        then.wake_at,
    )


def unregistered(info: RunInfo) -> UsageError:
    """No definition says what a run's components do."""
    return UsageError(
        f"no definition of {info.workflow!r} is registered, of which the run would be.",
        hint="give it to the runner: workflows=[workflow].",
    )
