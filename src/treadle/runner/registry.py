"""The registry: the runs of a runner by id, and the definitions that their functions are found in."""

from __future__ import annotations

from abc import abstractmethod
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from threading import get_ident
from time import perf_counter
from typing import Any, Final

from msgspec import structs

from treadle.errors import (
    Forgotten,
    MissingFunction,
    RunEnded,
    TreadleError,
    UnknownRun,
    UsageError,
    nearest,
)
from treadle.interfaces import (
    Caches,
    Clock,
    Codec,
    Executor,
    Hooks,
    Observer,
    RunInfo,
    Store,
    StoredRun,
    Upkeep,
)
from treadle.model.definition import Definition
from treadle.policies.matching import Policies
from treadle.runner import stimuli as say
from treadle.runner.custody import Custody
from treadle.runner.ends import End, end_of
from treadle.runner.forking import origin_in
from treadle.runner.guarded import GuardedStore
from treadle.runner.loop import Loop
from treadle.runner.record import LISTED, RELAXED, Options, Run
from treadle.runner.wishes import Places, Wishes
from treadle.runner.writer import PASSING
from treadle.upgrade.carry import upgraded
from treadle.upgrade.rules import REFUSE, on_change_from
from treadle.value import Workflow
from treadle.wiring import EXECUTORS, make_executor

KEEP_WARM: Final = 256
"""How many idle runs stay in memory as they are; beyond that, the longest idle is put away to the store."""

WISHES_KEPT: Final = 64
"""For how many graphs the answers about policies are remembered."""


class Restarts:
    """How often a run's loop may crash: `most` times within `period_s` seconds; once more, and it is parked.

    So often in a row, and once at least, may its process end with it, too, in whatever time, if it comes no further.
    """

    __slots__ = ("most", "period_s")

    def __init__(self, most: int = 3, period_s: float = 60.0) -> None:
        given: tuple[Any, Any] = (most, period_s)  # not every caller is type-checked
        if not isinstance(given[0], int) or most < 0 or not period_s > 0:
            raise UsageError(f"Restarts({most!r}, period_s={period_s!r}) cannot be.")
        self.most = most
        self.period_s = period_s


class Registry:
    """Which runs there are, and what they were made of. All methods are called in the loop's thread."""

    loop: Loop
    custody: Custody

    def __init__(
        self,
        *,
        executors: dict[str, Executor],
        places: Places,
        clock: Clock,
        store: Store | None,
        observers: Sequence[Observer],
        policies: Policies,
        workflows: Iterable[Workflow] = (),
        on_code_change: Any = REFUSE,
    ) -> None:
        self.on_code_change = on_change_from(on_code_change)
        self.executors = executors
        self.places = places
        self.clock = clock
        is_safe = store is None or store.is_instant or getattr(store, "is_guarded", False)
        self.store = store if is_safe or store is None else GuardedStore(store)
        upkeep: Any = self.store
        self.upkeep: Upkeep | None = upkeep if isinstance(upkeep, Upkeep) else None
        self.codec: Codec | None = getattr(store, "codec", None)
        """What values have to be able to go through."""
        self.cache_codec: Any = None
        """The codec of a cache whose store has none of its own."""
        self.policies = policies
        self.definitions: dict[str, list[Workflow]] = {}
        for workflow in workflows:
            self.register(workflow)
        self.runs: dict[str, Run] = {}
        self.idle: OrderedDict[str, Run] = OrderedDict()
        self.going: set[str] = set()
        """Runs that are being deleted: they had their time, or somebody forgot them."""
        self.wishes: OrderedDict[tuple[int, int, bool], tuple[Any, Any, Wishes]] = OrderedDict()
        self.is_closing = self.is_closed = False
        self.is_observed = bool(observers)
        self.transforms = [
            each.transform_runnables
            for each in observers
            if isinstance(each, Hooks) and each.transform_runnables is not None
        ]

    def register(self, workflow: Workflow) -> None:
        """Note where the functions of a workflow are found: by its name, and by its fingerprint."""
        if not isinstance(workflow, Workflow):
            raise UsageError(f"a definition is a workflow, and this is {workflow!r:.80}.")
        known = self.definitions.setdefault(workflow.name, [])
        if any(workflow.definition is each.definition for each in known):
            return
        mark = workflow.fingerprint
        learn = getattr(self.codec, "learn_from", None)
        if learn is not None:  # what its ports are annotated with may be stored without further ado
            learn(workflow.definition)
        if self.cache_codec is not None:
            self.cache_codec.learn_from(workflow.definition)
        if all(mark != each.fingerprint for each in known):
            known.append(workflow)

    def definition_of(self, name: str, fingerprint: str) -> Workflow | None:
        """The registered definition of this name: of this fingerprint if there is one, else the latest."""
        known = self.definitions.get(name, [])
        for template in known:
            if template.fingerprint_like(fingerprint) == fingerprint:
                return template
        return known[-1] if known else None

    def _revived(self, run: Run, stored: StoredRun) -> Workflow | None:
        """The workflow that a stored run goes on with; None where no definition of its name is registered.

        Errors: `CodeChanged` where `on_code_change` does not let it go on; `LogError`.
        """
        known = self.definitions.get(run.definition.name, [])
        recorded = stored.info.fingerprint
        exact = [each for each in known if each.fingerprint_like(recorded) == recorded]
        template = run.edited or (run.definition if run.was_begun_here else None)
        if template is None and exact:
            template = exact[-1]
        if template is None and not known:
            return None
        is_strict = all(word == REFUSE for _, word in self.on_code_change.rules)
        if template is not None and (run.was_begun_here or is_strict):
            others = [each for each in known if each is not template]  # for what an edit brought
            return Workflow.from_log(template, stored.events, components=run.extra, earlier=others)
        return upgraded(
            known[-1],
            stored.events,
            self.on_code_change,
            earlier=known[:-1],
            components=run.extra,
        )

    def recalled(self, run: Run, number: int, end: End) -> End:
        """How an input ended of which the run, brought back from a snapshot, knows only that it did.

        The events before the snapshot tell, where they are still there.
        """
        if not run.begins_at or self.upkeep is None or not isinstance(end.error, Forgotten):
            return end
        try:
            stored = self.upkeep.load_all(run.id)
            known = run.edited or self.definition_of(run.definition.name, stored.info.fingerprint)
            whole = Workflow.from_log(known or run.definition, stored.events, components=run.extra)
        except PASSING as error:
            return End({}, error)
        except TreadleError:  # it cannot be read with the code of today
            return end
        return end_of(whole, number)

    def recalled_replies(self, run: Run, replies: tuple[say.Told, ...]) -> tuple[say.Told, ...]:
        """The same for those who left messages."""
        return tuple(
            each
            if each.end is None or each.input is None
            else structs.replace(each, end=self.recalled(run, each.input, each.end))
            for each in replies
        )

    def _wishes_of(self, workflow: Workflow, policies: Policies, *, are_seen: bool) -> Wishes:
        """The wishes for a template's graph, shared by all runs of it that nobody edited."""
        if workflow.position:
            return self._wishes_for(policies, are_seen, workflow, None)
        definition = workflow.definition
        key = (id(definition), id(policies.rules), are_seen)
        found = self.wishes.get(key)
        if found is None:
            made = self._wishes_for(policies, are_seen, workflow, None)
            found = self.wishes[key] = (definition, policies.rules, made)
            if len(self.wishes) > WISHES_KEPT:
                self.wishes.popitem(last=False)
        return found[2]

    def _wishes_for(
        self,
        policies: Policies,
        are_seen: bool,  # noqa: FBT001 - bound once, by `partial`
        workflow: Workflow,
        own: Policies | None,
    ) -> Wishes:
        with workflow.inspect() as (memory, _):
            program = memory.program
        merged = policies if own is None else own.over(policies)
        store: Any = self.store
        wants_cache = any(policy.cache is not None for _, policy in merged.rules)
        if wants_cache and isinstance(store, Caches):  # also for a run that was not begun here
            self.begin_caching()
        return Wishes(workflow.name, program, merged, self.places, are_seen=are_seen)

    def _transform(self, run_id: str, ready: list[Any]) -> list[Any]:
        begin = perf_counter()
        for transform in self.transforms:
            ready = list(transform(run_id, ready))
        now = perf_counter()
        self.loop.holdups.note("transform_runnables", now - begin, now)
        return ready

    def find(self, id: str) -> Run:
        """The run of an id. Errors: `UnknownRun`, `RunEnded` once the runner is closed."""
        self.check_usable()
        run = self.runs.get(id)
        if run is not None:
            if self._may_be_elsewhere(run):
                self._look_up(run)
            return run
        if self.store is not None and is_text(id) and id not in self.going:
            info = self.store.info(id)
            if info is not None:
                return self._remember(info)
        raise UnknownRun(f"there is no run {id!r}.{nearest(id, self.runs)}")

    def _may_be_elsewhere(self, run: Run) -> bool:
        """Whether another runner may have done something with a run since this one let go of it."""
        is_here = run.machine is not None or run.unwritten or run.id in self.custody.claimed
        return self.custody.leases is not None and run.options.is_stored and not is_here

    def _look_up(self, run: Run) -> None:
        """Learn how a run stands that is not at work here; while the store is away, what was known of it counts."""
        if self.store is None or self.is_closing:
            return
        with suppress(*PASSING):
            info = self.store.info(run.id)
            if info is not None:
                run.status, run.note = info.status, info.note

    def _remember(self, info: RunInfo) -> Run:
        """A run that the store knows and this runner does not: another one left it behind."""
        definition = self.definition_of(info.workflow, info.fingerprint)
        template = definition or empty(info.workflow)
        at = info.created_at if info.created_at is not None else self.clock.now()
        options = Options(deadline_at=info.deadline_at, durability=info.durability)
        run = Run(info.id, template, info.run_key, options, at)
        is_shared = self.custody.leases is not None
        run.status = info.status if info.status in say.FINAL or is_shared else say.STOPPED
        run.note, run.origin = info.note, origin_in(info.note)
        self.runs[info.id] = run
        return run

    def let_slip(self, run: Run) -> None:
        """Know nothing of a run that was found in the store and is put away, if nobody here asked for it.

        Where there are no leases only this runner knows that it is not left behind.
        """
        is_asked_for = run.tickets or run.waiters or run.streams or run.asks or run.flushing
        if run.was_found and not is_asked_for and self.custody.leases is not None:
            self.runs.pop(run.id, None)

    def check_usable(self) -> None:
        """All is done in one thread, before the runner is closed. Errors: `UsageError`, `RunEnded`."""
        if get_ident() != self.loop.thread:
            raise UsageError(
                "an AsyncRunner belongs to the event loop that it was made on.",
                hint="use Runner from other threads.",
            )
        if self.is_closed:
            raise RunEnded("this runner is closed.")

    def infos(self, *, status: str | None = None, workflow: str | None = None) -> list[RunInfo]:
        """All runs, those in the store included, oldest first. Errors: `UsageError` for a status that there is not."""
        self.check_usable()
        if status is not None and status not in LISTED:
            raise UsageError(
                f"status={status!r:.80} is none that a run can have.{nearest(status, LISTED)}",
                hint=f"one of {', '.join(LISTED)}.",
            )
        listed = {}
        if self.store is not None:
            listed = {info.id: info for info in self.store.list(workflow=workflow)}
        for run in self.runs.values():
            info = run.info()
            kept = listed.get(run.id)
            if kept is not None and self._may_be_elsewhere(run):
                continue
            if kept is not None and run.machine is None:
                info = structs.replace(info, position=kept.position)
            if kept is not None:
                info = structs.replace(
                    info,
                    fingerprint=kept.fingerprint,
                    epoch=kept.epoch,
                    owner=kept.owner,
                    lease_until=kept.lease_until,
                    wake_at=kept.wake_at,
                    crashes=kept.crashes,
                    trials=kept.trials,
                )
            if workflow is None or info.workflow == workflow:
                listed[run.id] = info
        found = [info for info in listed.values() if status is None or info.status == status]
        return sorted(found, key=lambda info: info.created_at or 0.0)

    def check_matchers(self, workflow: Workflow, options: Options) -> None:
        """Ask all matchers once, so that one that raises is refused now, and not in the middle of a run."""
        check_names(workflow, options.policies)
        check_names(workflow, workflow.policies)
        policies = options.policies.over(workflow.policies).over(self.policies)
        if not policies.rules and options.durability != RELAXED:  # as mostly: nobody to ask
            return
        wishes = self._wishes_of(workflow, policies, are_seen=True)
        wishes.held()
        if options.durability == RELAXED and (strict := wishes.strict()):
            raise UsageError(
                f'durability="relaxed" does not go with {strict!r}, which must not be done twice: what it did could '
                "outlast what led to it.",
                hint='durability="full", or "normal".',
            )

    def _add_executor(self, word: str) -> None:
        """An executor that a policy names by its word is made when the first policy does."""
        executor = self.executors[word] = make_executor(word)
        self.places.add(
            word,
            executor.capacity,
            keeps=bool(getattr(executor, "keeps_values", False)),
            is_remote=bool(getattr(executor, "is_remote", False)),
        )
        self.loop.add_executor(word, executor)

    @abstractmethod
    def begin_caching(self) -> None:
        """A policy asks for the cache of the store. Errors: `UsageError` where there is none."""

    def check_policies(self, policies: Policies) -> None:
        """Policies name executors that there are. Errors: `UsageError`."""
        for _, policy in policies.rules:
            if policy.cache is not None:
                self.begin_caching()
            name = policy.executor
            if name is None or name in self.executors:
                continue
            if name.partition(":")[0] in EXECUTORS:
                self._add_executor(name)
            else:
                raise UsageError(
                    f"a policy names the executor {name!r}.{nearest(name, self.executors)}",
                    hint=f"give it to the runner: executors={{{name!r}: ...}}.",
                )


def check_names(workflow: Workflow, policies: Policies) -> None:
    """A plain name is a component's: a misspelt one would match nothing, and nobody would know."""
    for matcher, _ in policies.rules:
        if not isinstance(matcher, str) or any(sign in matcher for sign in "*?["):
            continue
        if matcher not in workflow:
            raise UsageError(
                f"a policy is for {matcher!r}, which is no component of {workflow.name!r}."
                f"{nearest(matcher, workflow.components())}",
                hint="a glob like 'name*' may match nothing.",
            )


def lacking(components: Sequence[str]) -> MissingFunction:
    """A log names components whose functions nobody gave: as a rule they were added while it was live."""
    return MissingFunction(
        f"the registered definition has no function for {', '.join(map(repr, components))}.",
        hint="what was added or replaced in a live run is found in another definition of the same name: give one that "
        "has it, too, as workflows=[workflow, workflow.add(...)].",
    )


def sentence(note: str | None) -> str:
    """A note at the end of a sentence; it may be one itself."""
    return f"{(note or 'nobody said why').removesuffix('.')}."


def check_id(id: Any) -> str:
    """An id is text that a person can read, in a log and on a screen."""
    if not isinstance(id, str) or not id or len(id) > 255 or not id.isprintable():
        raise UsageError(
            f"the id {id!r:.80} is not 1 to 255 printable characters.",
            hint='an id like "order-123".',
        )
    return id


def empty(name: str) -> Workflow:
    """A template of no components, where none is registered."""
    return Workflow(Definition(name, "all", [], 0))


def is_text(value: Any) -> bool:
    """Whether an id can be one at all."""
    return isinstance(value, str)
