"""`check_scheduler` passes what keeps its promises, and finds each way of breaking one."""

import asyncio
import logging
from typing import Any

import pytest
from msgspec import structs

from treadle.errors import TreadleBug
from treadle.interfaces import Scheduler
from treadle.model.bundles import Bundle
from treadle.schedulers import AdaptiveScheduler, BatchScheduler, ChainScheduler, DefaultScheduler
from treadle.testing.schedulers import check_scheduler, finished


class Doing(DefaultScheduler):
    """A scheduler that plans and learns by functions, which get a memory of their own."""

    def __init__(self, plan, observe):
        self.memory: dict[str, Any] = {}
        self.doing = plan
        self.learning = observe

    def plan(self, ready, view):
        """Let the function plan."""
        return self.doing(ready, view, self.memory)

    def observe(self, outcome):
        """Let the function learn."""
        self.learning(outcome, self.memory)


def alone(ready, view=None, memory=None):
    """What a scheduler without faults does."""
    return [Bundle(runnables=(each,)) for each in ready]


def nothing(outcome, memory):
    """What most schedulers learn."""


def chains(ready, view):
    """What a chain scheduler without faults does."""
    return ChainScheduler().plan(ready, view)


# ---------------------------------------------------------------- who loses or doubles work


def drops_one(ready, view, memory):
    """Loses all but two."""
    return alone(ready)[:2]


def doubles_one(ready, view, memory):
    """Dispatches the first twice."""
    return alone([*ready, *ready[:1]])


def one_per_node(ready, view, memory):
    """Takes the facts of one node for the same work, as an agenda of nodes would."""
    return alone({each.node: each for each in ready}.values())


def remembers_ids(ready, view, memory):
    """Keeps a set of what it dispatched, so that a later attempt is never executed."""
    fresh = [each for each in ready if each.id not in memory]
    memory.update({each.id: each for each in ready})
    return alone(fresh)


def holds_back(ready, view, memory):
    """Keeps the last it was given for the next plan."""
    now = [*memory.get("kept", ()), *ready[:-1]]
    memory["kept"] = ready[-1:]
    return alone(now)


def returns_late(ready, view, memory):
    """Returns, beside what it was given, what it was given before."""
    now = [*ready, *memory.get("before", ())]
    memory["before"] = ready
    return alone(now)


def copies(ready, view, memory):
    """Makes new runnables of those it was given."""
    return alone([structs.replace(each) for each in ready])


# ------------------------------------------------------------- who bundles what must not be


def shares_all(ready, view, memory):
    """Asks where work goes, and not whether it may share a slot there."""
    return [
        Bundle(runnables=tuple(each for each in ready if view.executor_of(each) == executor))
        for executor in dict.fromkeys(map(view.executor_of, ready))
    ]


def mixes_executors(ready, view, memory):
    """Puts all that may share a slot into one bundle, wherever it would go."""
    shared = tuple(each for each in ready if view.may_bundle(each))
    rest = alone([each for each in ready if not view.may_bundle(each)])
    return [Bundle(runnables=shared), *rest] if shared else rest


def skips_a_link(ready, view, memory):
    """Leaves the first link out."""
    return [structs.replace(each, links=each.links[1:]) for each in chains(ready, view)]


def links_of_another(ready, view, memory):
    """Gives each head the links of the one before it."""
    bundles = chains(ready, view)
    links = [bundle.links for bundle in (*bundles[-1:], *bundles)]
    return [structs.replace(each, links=links[place]) for place, each in enumerate(bundles)]


def links_below_several(ready, view, memory):
    """Puts what follows the first below all of a batch."""
    return [
        structs.replace(bundle, links=view.chain_after(bundle.runnables[0]))
        for bundle in BatchScheduler().plan(ready, view)
    ]


def sent_to(executor, bundles):
    """Bundles with an executor of their own."""
    return [structs.replace(bundle, executor=executor) for bundle in bundles]


def inlines_all(ready, view, memory):
    """Sends everything to the runner's own thread."""
    return sent_to("inline", alone(ready))


def inlines_plain(ready, view, memory):
    """Sends everything to the runner's own thread that need not be awaited, with a timeout or without."""
    stays = [each for each in ready if each.is_async or view.policy_of(each).executor]
    goes = [each for each in ready if not any(each is one for one in stays)]
    return alone(stays) + sent_to("inline", alone(goes))


def sends_elsewhere(ready, view, memory):
    """Sends everything to one place, whatever the policies say."""
    return sent_to("gpu", alone(ready))


def keeps(ready, view, memory):
    """Decides that values need not be stored."""
    return [structs.replace(bundle, keep=True) for bundle in alone(ready)]


# -------------------------------------------------------------------- who gives something odd


def raises(ready, view, memory):
    """Breaks down where several are ready."""
    return alone(ready) if len(ready) < 2 else memory["left"]


def uses_sets(ready, view, memory):
    """Puts runnables into a set, which works until one holds a list."""
    return alone(set(ready))


def is_lazy(ready, view, memory):
    """Gives a generator."""
    return (each for each in alone(ready)) if ready else []


def is_bare(ready, view, memory):
    """Gives runnables instead of bundles."""
    return list(ready)


def adds_an_empty_one(ready, view, memory):
    """Adds a bundle of nothing where there is something."""
    return [*alone(ready), Bundle(runnables=())] if ready else []


def is_never_done(ready, view, memory):
    """Has something to do where nothing is ready."""
    return alone(ready) or [Bundle(runnables=())]


PLANS: dict[Any, str] = {
    drops_one: r"plan\(\) left out .*: what it does not return now is never executed",
    doubles_one: r"^a line: plan\(\) put one@0 into two places, so it would be executed twice",
    one_per_node: r"left out .* of the node '.*' were ready: tell them apart by `id`, not by node",
    remembers_ids: r"^later attempts: plan\(\) left out flaky@0\.",
    holds_back: r"^a line: plan\(\) left out one@",
    returns_late: r"plan\(\) dispatches <Runnable .*, which it was not given",
    copies: r"plan\(\) dispatches <Runnable .*, a copy of it; return the very runnables",
    shares_all: r"shares a bundle of .* and its policy Policy\(.* forbids that: ask view\.may_bundle",
    mixes_executors: r"one bundle holds work of several executors .*: ask view\.executor_of",
    skips_a_link: r"^a line: the links below one@0 are \['three', 'four'\], and what may follow is",
    links_of_another: r"the links below .* are \[.*: take view\.chain_after\(runnable\)",
    links_below_several: r"links follow one runnable, and this bundle has .* and \d+ more",
    inlines_all: r"must be awaited, and is sent to the executor 'inline'",
    inlines_plain: r"^policies that keep apart: '.*' has a timeout, which cannot be kept inline",
    sends_elsewhere: r"^several executors: a bundle sends 'there' to 'gpu', and its policy says",
    keeps: r"whether a value may stay in a cluster is the runner's to say",
    raises: r"plan\(\) raised KeyError\('left'\) for .* dispatch one by one",
    uses_sets: r"plan\(\) raised TypeError\(.*unhashable",
    is_lazy: r"plan\(\) gives a list of Bundle, and gave <generator",
    is_bare: r"plan\(\) gives a list of Bundle, and gave \[<Runnable",
    adds_an_empty_one: r"holds no runnable, so no executor could answer it",
    is_never_done: r"^nothing is ready: plan\(\) gave 1 bundles for an empty list",
}


@pytest.mark.parametrize(("plan", "message"), PLANS.items(), ids=[plan.__name__ for plan in PLANS])
def test_each_broken_promise_of_a_plan_is_found(plan, message):
    """The message says in which situation, what was done, and what should have been."""
    with pytest.raises(AssertionError, match=message):
        check_scheduler(lambda: Doing(plan, nothing))


def needs_seconds(outcome, memory):
    """Takes for granted that everything was measured."""
    memory["total"] = memory.get("total", 0.0) + outcome.seconds


def knows_all(outcome, memory):
    """Expects outcomes of what was planned only."""
    if outcome.component == "stranger":
        raise LookupError(outcome.node)


@pytest.mark.parametrize(
    ("observe", "message"),
    [
        (
            needs_seconds,
            r"observe\(\) raised TypeError\(.* for <Outcome stranger@0 ok: None>, seconds=None",
        ),
        (knows_all, r"observe\(\) raised LookupError\('stranger'\)"),
    ],
)
def test_who_cannot_learn_from_any_outcome_is_found(observe, message):
    """Outcomes may be unmeasured, and of work that was never planned."""
    with pytest.raises(AssertionError, match=message):
        check_scheduler(lambda: Doing(alone, observe))


@pytest.mark.slow
def test_what_keeps_its_promises_passes_and_is_reported():
    """The report counts what was tried; two runs of one seed are equal, and seeds differ."""
    report = check_scheduler(AdaptiveScheduler, graphs=2)

    assert report == check_scheduler(AdaptiveScheduler, graphs=2)
    assert report != check_scheduler(AdaptiveScheduler, graphs=2, seed=1)
    assert report.scheduler == "AdaptiveScheduler"
    assert report.workflows == 2 * (10 + 2)
    assert report.plans > 200
    assert str(report).startswith(f"AdaptiveScheduler kept its promises in {report.plans} plans")


def test_fewer_graphs_make_a_quicker_check():
    """The named situations are always tried."""
    assert check_scheduler(DefaultScheduler, graphs=0).workflows == 20


def test_a_scheduler_needs_no_base_class():
    """Two methods make a scheduler."""

    class Reversed:
        def plan(self, ready, view):
            return alone(reversed(ready))

        def observe(self, outcome):
            nothing(outcome, None)

    assert isinstance(Reversed(), Scheduler)
    assert check_scheduler(Reversed).scheduler == "Reversed"


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        (DefaultScheduler(), r"makes no schedulers: give check_scheduler the class of a scheduler"),
        (dict, r"gave \{\}, which lacks plan\(ready, view\) or observe\(outcome\)"),
    ],
)
def test_what_makes_no_scheduler_is_refused(factory, message):
    """A scheduler is no factory of schedulers, and neither is a class of something else."""
    with pytest.raises(AssertionError, match=message):
        check_scheduler(factory)


def test_bodies_that_fail_on_purpose_are_not_logged(caplog):
    """Nobody is warned of the kit's own failures, and the logger is as it was afterwards."""
    with caplog.at_level(logging.WARNING):
        check_scheduler(DefaultScheduler, graphs=0)

    assert caplog.records == []
    assert not logging.getLogger("treadle").disabled


def test_it_works_inside_a_running_event_loop():
    """Async bodies of the kit are driven by hand."""

    async def main():
        return check_scheduler(ChainScheduler, graphs=0)

    assert asyncio.run(main()).chains > 0


def test_a_body_that_waits_is_a_bug_of_the_kit():
    """Nothing waits for what never comes."""

    async def waiting():
        await asyncio.sleep(0)

    with pytest.raises(TreadleBug, match="waited"):
        finished(waiting())
