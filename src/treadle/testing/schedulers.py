"""`check_scheduler`: does a scheduler keep the promises that a runner builds on?

It drives real workflows with the bundles that the scheduler makes, in hundreds of small situations, and looks at each
plan before it is carried out. A runner would notice lost and doubled work too, and dispatch one by one instead; the kit
says what was wrong, and where.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Coroutine, Generator, Iterable, Sequence
from contextlib import contextmanager
from random import Random
from typing import Any, NoReturn

from msgspec import Struct

from treadle.engine.execute import aexecute_runnable
from treadle.engine.jobs import aexecute_bundle, execute_bundle
from treadle.errors import Cancelled, TreadleBug
from treadle.interfaces import Scheduler
from treadle.model.bundles import Bundle
from treadle.model.runnables import FAILED, OK, SKIPPED, Outcome, Runnable
from treadle.testing.ready_work import GraphView, HandClock, Scenario, scenarios
from treadle.value import Workflow


class SchedulerReport(Struct, frozen=True, kw_only=True):
    """What `check_scheduler` saw of a scheduler that keeps its promises."""

    scheduler: str
    workflows: int
    plans: int
    runnables: int
    singles: int
    chains: int
    batches: int
    moved: int
    """Bundles for another executor than their runnables would have gone to."""
    largest: int
    """How many runnables and links the largest bundle had."""

    def __str__(self) -> str:
        return (
            f"{self.scheduler} kept its promises in {self.plans} plans for {self.workflows} workflows: "
            f"{self.runnables} runnables became {self.singles} singles, {self.chains} chains and "
            f"{self.batches} batches, of which the largest held {self.largest} and {self.moved} went to "
            "another executor."
        )


def check_scheduler(
    factory: Callable[[], Scheduler], *, graphs: int = 12, seed: int = 0
) -> SchedulerReport:
    """Drive fresh schedulers through many workflows, and raise `AssertionError` for the first broken promise.

    `factory` makes a scheduler: its class, or `lambda: MyScheduler(...)`. `graphs` is how many graphs are grown at
    random from `seed`, beside those that are always tried. Checked are: each runnable is in exactly one bundle, also
    where many are of one node; links are what may follow, and nothing else; nothing shares a slot that must not; a
    bundle goes to one executor, and where a policy says; what bundles give is what dispatching one by one gives;
    `observe` takes any outcome.
    """
    clock, tally, name = HandClock(), Counter[str](), ""
    with failures_unlogged():
        for each in scenarios(clock, Random(seed), graphs):
            scheduler = made(factory)
            name = type(scheduler).__name__
            check_nothing(scheduler, each)
            Drive(each, scheduler, random=Random(seed), clock=clock, tally=tally).run()
        veteran = made(factory)
        note = "a scheduler that has served other workflows before"
        for each in scenarios(clock, Random(seed + 1), graphs):
            check_odd_outcomes(veteran)
            random = Random(seed + 1)
            Drive(each, veteran, random=random, clock=clock, tally=tally, note=note).run()
    return SchedulerReport(
        scheduler=name,
        **{
            field: tally[field]
            for field in SchedulerReport.__struct_fields__
            if field != "scheduler"
        },
    )


def made(factory: Any) -> Scheduler:
    """A fresh scheduler."""
    hint = "give check_scheduler the class of a scheduler, or a function without parameters that makes one"
    if not callable(factory):
        fail("check_scheduler", f"{factory!r:.80} makes no schedulers: {hint}")
    scheduler = factory()
    if not isinstance(scheduler, Scheduler):
        fail(
            "check_scheduler",
            f"{factory!r:.80} gave {scheduler!r:.80}, which lacks plan(ready, view) or observe(outcome): {hint}",
        )
    return scheduler


def fail(where: str, text: str) -> NoReturn:
    """Say what is wrong with a scheduler, and in which situation."""
    raise AssertionError(f"{where}: {text}.")


@contextmanager
def failures_unlogged() -> Generator[None]:
    """Some bodies of the kit fail on purpose; nobody needs to be warned of that."""
    logger = logging.getLogger("treadle")
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before


# ------------------------------------------------------------------------------------- one workflow


class Drive:
    """One workflow, driven by one scheduler: inputs come in between, bundles end in any order."""

    def __init__(
        self,
        scenario: Scenario,
        scheduler: Scheduler,
        *,
        random: Random,
        clock: HandClock,
        tally: Counter[str],
        note: str = "",
    ) -> None:
        self.scenario = scenario
        self.scheduler = scheduler
        self.random = random
        self.clock = clock
        self.tally = tally
        self.where = f"{scenario.name} ({note})" if note else scenario.name
        self.view = GraphView(scenario)
        self.workflow = scenario.workflow
        self.waiting = list(scenario.inputs)
        self.bundles: list[Bundle] = []
        """What was planned, and has no slot yet."""

    def run(self) -> None:
        """Drive to the end, and compare."""
        self.tally["workflows"] += 1
        while self.waiting or self.bundles or self.workflow.is_runnable():
            idle = not self.bundles and not self.workflow.is_runnable()
            if self.waiting and (idle or self.random.random() < 0.5):
                self.workflow = self.workflow.plan_eagerly(self.waiting.pop(0))
            limit = self.random.choice((None, None, None, 1, 5))
            self.workflow, ready = self.workflow.prepare_for_dispatch(limit)
            if ready:
                self.bundles += self.plan(ready)
            for _ in range(self.random.randint(0, len(self.bundles))):
                self.execute(self.bundles.pop(self.random.randrange(len(self.bundles))))
        expected = seen(one_by_one(self.scenario), self.scenario.unordered)
        compare(self.where, expected, seen(self.workflow, self.scenario.unordered))

    def plan(self, ready: list[Runnable]) -> Sequence[Bundle]:
        """Let the scheduler plan, and look at what it says."""
        try:
            bundles = self.scheduler.plan(tuple(ready), self.view)
        except Exception as error:
            raise AssertionError(
                f"{self.where}: plan() raised {error!r:.200} for {listed(ready)}. "
                "A runner would dispatch one by one from then on."
            ) from error
        check_plan(self.where, ready, bundles, self.view)
        self.count(ready, bundles)
        return bundles

    def count(self, ready: list[Runnable], bundles: Sequence[Bundle]) -> None:
        """Note what was seen, for the report."""
        self.tally["plans"] += 1
        self.tally["runnables"] += len(ready)
        for bundle in bundles:
            self.tally[{"single": "singles", "chain": "chains"}.get(bundle.kind, "batches")] += 1
            usual = self.view.executor_of(bundle.runnables[0])
            self.tally["moved"] += bundle.executor not in (None, usual)
            self.tally["largest"] = max(self.tally["largest"], len(bundle))

    def execute(self, bundle: Bundle) -> None:
        """Run a bundle as an executor would, and apply what came of it."""
        if bundle.is_async:
            outcomes = finished(aexecute_bundle(bundle, self.clock))
        else:
            outcomes = execute_bundle(bundle, self.clock)
        for outcome in outcomes:
            self.workflow = applied(self.workflow, outcome, self.scenario)
            observe(self.where, self.scheduler, outcome)


def applied(workflow: Workflow, outcome: Outcome, scenario: Scenario) -> Workflow:
    """Fold an outcome in; a failed attempt may be followed by another."""
    again = outcome.status == FAILED and outcome.attempt <= scenario.retries
    return workflow.apply_runnable(outcome, retry=again)


def one_by_one(scenario: Scenario) -> Workflow:
    """The same inputs, one after the other, and each runnable by itself: what `react_until_satisfied` does."""
    workflow = scenario.workflow
    for value in scenario.inputs:
        workflow = workflow.plan_eagerly(value)
        while workflow.is_runnable():
            workflow, ready = workflow.prepare_for_dispatch()
            for runnable in ready:
                workflow = applied(workflow, finished(aexecute_runnable(runnable)), scenario)
    return workflow


def finished(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """What a coroutine gives that never waits; no event loop is needed, and none that runs is in the way."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    coroutine.close()
    raise TreadleBug("a body of the scheduler kit waited for something.")


def seen(workflow: Workflow, unordered: frozenset[str]) -> dict[str, Any]:
    """All that can be seen of a workflow and does not depend on the order of work."""
    return {
        "facts": {
            (fact.component, fact.part, fact.scope): fact.value
            for fact in workflow.facts()
            if fact.component not in unordered
        },
        "failures": {
            (failure.component, failure.part, failure.scope): failure.attempt
            for failure in workflow.failures()
        },
        "states": workflow.states(),
        "in flight": workflow.in_flight(),
    }


def compare(where: str, expected: dict[str, Any], got: dict[str, Any]) -> None:
    """Bundles must give what single runnables give."""
    for what, value in expected.items():
        if got[what] != value:
            fail(
                where,
                f"the {what} differ from those of dispatching one by one: {got[what]!r:.500} instead of {value!r:.500}",
            )


# ----------------------------------------------------------------------------------------- one plan


def check_nothing(scheduler: Scheduler, scenario: Scenario) -> None:
    """Where nothing is ready, nothing is planned."""
    bundles = scheduler.plan((), GraphView(scenario))
    if len(bundles):
        fail("nothing is ready", f"plan() gave {len(bundles)} bundles for an empty list")


def check_plan(where: str, ready: Sequence[Runnable], bundles: Any, view: GraphView) -> None:
    """Each promise, for one plan."""
    if not isinstance(bundles, Sequence) or not all(isinstance(each, Bundle) for each in bundles):
        fail(where, f"plan() gives a list of Bundle, and gave {bundles!r:.200}")
    for bundle in bundles:
        if not bundle.runnables:
            fail(where, f"{bundle!r:.200} holds no runnable, so no executor could answer it")
    check_partition(where, ready, bundles)
    for bundle in bundles:
        check_links(where, bundle, view)
        check_sharing(where, bundle, view)
        check_destination(where, bundle, view)


def check_partition(where: str, ready: Sequence[Runnable], bundles: Iterable[Bundle]) -> None:
    """Each runnable that was given is in exactly one bundle, as it was given."""
    given = {id(runnable): runnable for runnable in ready}
    names = {(runnable.id, runnable.attempt) for runnable in ready}
    placed: set[int] = set()
    for runnable in (each for bundle in bundles for each in bundle.runnables):
        if id(runnable) in placed:
            fail(where, f"plan() put {runnable.id} into two places, so it would be executed twice")
        if id(runnable) not in given:
            known = (runnable.id, runnable.attempt) in names
            what = "a copy of it; return the very runnables" if known else "which it was not given"
            fail(where, f"plan() dispatches {runnable!r}, {what}")
        placed.add(id(runnable))
    lost = [runnable for key, runnable in given.items() if key not in placed]
    if lost:
        sisters = [each for each in ready if each.node == lost[0].node]
        hint = ""
        if len(sisters) > 1:
            hint = f" ({len(sisters)} of the node {lost[0].node!r} were ready: tell them apart by `id`, not by node)"
        fail(
            where,
            f"plan() left out {listed(lost)}: what it does not return now is never executed{hint}",
        )


def check_links(where: str, bundle: Bundle, view: GraphView) -> None:
    """What is run in sequence is what will follow, from the first of it on."""
    if not bundle.links:
        return
    head, *others = bundle.runnables
    if others:
        fail(where, f"links follow one runnable, and this bundle has {listed(bundle.runnables)}")
    after = view.chain_after(head)
    if tuple(bundle.links) != after[: len(bundle.links)]:
        fail(
            where,
            f"the links below {head.id} are {named(bundle.links)}, and what may follow is {named(after)}: "
            "take view.chain_after(runnable), or the first few of it",
        )


def check_sharing(where: str, bundle: Bundle, view: GraphView) -> None:
    """Who must not share a slot has one alone."""
    if len(bundle) == 1:
        return
    for runnable in bundle.runnables:
        if not view.may_bundle(runnable):
            fail(
                where,
                f"{runnable.id} shares a bundle of {len(bundle)}, and its policy {view.policy_of(runnable)!r} forbids "
                "that: ask view.may_bundle(runnable)",
            )


def check_destination(where: str, bundle: Bundle, view: GraphView) -> None:
    """A bundle goes to one executor, which can run all of it, and where a policy says."""
    if bundle.keep:
        fail(
            where,
            f"{listed(bundle.runnables)}: whether a value may stay in a cluster is the runner's to say",
        )
    usual = {view.executor_of(runnable): runnable.id for runnable in bundle.runnables}
    if bundle.executor is None:
        if len(usual) > 1:
            fail(
                where,
                f"one bundle holds work of several executors ({usual}): ask view.executor_of(runnable)",
            )
        return
    if bundle.executor == "inline" and bundle.is_async:
        fail(
            where,
            f"{listed(bundle.runnables)} must be awaited, and is sent to the executor 'inline'",
        )
    heads = [runnable.component for runnable in bundle.runnables]
    for component in dict.fromkeys(heads + [link.component for link in bundle.links]):
        policy = view.policy_for(view.program.output_of(component))
        if policy.executor not in (None, bundle.executor):
            fail(
                where,
                f"a bundle sends {component!r} to {bundle.executor!r}, and its policy says {policy.executor!r}",
            )
        if bundle.executor == "inline" and policy.timeout_s is not None:
            fail(where, f"{component!r} has a timeout, which cannot be kept inline")


def listed(runnables: Sequence[Runnable]) -> str:
    """Some runnables by id."""
    more = len(runnables) - 3
    return ", ".join(each.id for each in runnables[:3]) + (f" and {more} more" if more > 0 else "")


def named(links: Iterable[Any]) -> list[str]:
    """Links by the nodes that they stand for."""
    return [str(getattr(link, "node", link)) for link in links]


# ----------------------------------------------------------------------------------------- outcomes


def check_odd_outcomes(scheduler: Scheduler) -> None:
    """An outcome may be of a component that was never planned, unmeasured, failed in every way, or very slow."""
    for status in (OK, FAILED, SKIPPED):
        for seconds in (None, 0.0, 1e-9, 1e9):
            for error in (None, Cancelled("it was cancelled.")):
                odd = Outcome(
                    component="stranger",
                    node="stranger",
                    scope=(0,),
                    status=status,
                    exception=error,
                    seconds=seconds,
                )
                observe("an outcome of work that was never planned", scheduler, odd)


def observe(where: str, scheduler: Scheduler, outcome: Outcome) -> None:
    """Let the scheduler learn; it must not mind anything."""
    try:
        scheduler.observe(outcome)
    except Exception as error:
        raise AssertionError(
            f"{where}: observe() raised {error!r:.200} for {outcome!r:.200}, seconds={outcome.seconds}."
        ) from error
