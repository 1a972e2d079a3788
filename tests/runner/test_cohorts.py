"""Cohorts in a run: what they lead to is what their members lead to when nobody knows that they are one."""

from collections.abc import Generator, Sequence
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import treadle as td
from tests.runner.machines import Desk, desk
from treadle.engine.execute import execute_cohort
from treadle.interfaces import learns_nothing, takes_cohorts
from treadle.model.bundles import Bundle
from treadle.model.cohorts import Cohort, CohortOutcomes
from treadle.model.runnables import Outcome, Runnable
from treadle.runner import stimuli as say
from treadle.runner.budget import Purse, RetryBudget
from treadle.runner.cohorts import CohortBook
from treadle.schedulers import BatchScheduler

ITEMS = st.lists(st.sampled_from(["value", "value", "value", "absent", "fails"]), max_size=7)


@pytest.fixture(autouse=True, scope="module")
def few() -> Generator[None]:
    """Here two are a cohort already."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("treadle.engine.loop.LEAST", 2)
        yield


class Pairs:
    """Puts two into a bundle, as they come."""

    def plan(self, ready: Sequence[Runnable], view: Any) -> list[Bundle]:
        """Plain tuples."""
        cut = range(0, len(ready), 2)
        return [Bundle(runnables=tuple(ready[begin : begin + 2])) for begin in cut]

    def observe(self, outcome: Outcome) -> None:
        """Learns nothing."""


class Slices(Pairs):
    """The same with cohorts as they are."""

    @takes_cohorts
    def plan(self, ready: Sequence[Runnable], view: Any) -> list[Bundle]:
        """Slices of what is given."""
        if not isinstance(ready, Cohort):
            return super().plan(ready, view)
        cut = range(0, len(ready), 2)
        return [Bundle(runnables=ready[begin : begin + 2]) for begin in cut]

    @learns_nothing
    def observe(self, outcome: Outcome) -> None:
        """Would say so, were it called."""
        raise AssertionError(outcome)


class Learner(Slices):
    """Wants to see each outcome, and takes cohorts all the same."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def observe(self, outcome: Outcome) -> None:
        """Note which."""
        self.seen.append(outcome.id)


def body(item: Any) -> Any:
    """What an item does is what its value says; what fails does so again."""
    if item[-1] == "fails":
        raise ValueError(item)
    return td.ABSENT if item[-1] == "absent" else item


def other_body(item: Any) -> Any:
    """What replaces it."""
    return [body(item)]


def graph(below: bool) -> td.Workflow:
    """A fan-out, and perhaps steps below its items, with a reduce at the end."""
    workflow = td.workflow("fan").add(td.map(body, name="each", on_failure="skip"))
    if not below:
        return workflow
    workflow = workflow.add(td.step(lambda item: item, name="after"), to="each")
    return workflow.add(td.collect(name="all", on_item_failure="skip"), to="after")


def inputs_of(items: list[list[str]]) -> list[Any]:
    """Items that tell each other apart, by input."""
    return [[(n, at, kind) for at, kind in enumerate(kinds)] for n, kinds in enumerate(items)]


def outcomes(bundle: Bundle) -> Sequence[Outcome]:
    """A bundle executed as an executor does that knows of cohorts; its clock stands still."""
    if not isinstance(bundle.runnables, Cohort):
        return [td.execute_runnable(each) for each in bundle.runnables]
    done = CohortOutcomes(bundle.runnables)
    execute_cohort(done, lambda: 0.0)
    return done


def replace(workflow: td.Workflow) -> td.Workflow:
    """An edit: work of `each` that is out is withdrawn."""
    return workflow.replace("each", td.map(other_body, name="each", on_failure="skip"))


def add_below(workflow: td.Workflow) -> td.Workflow:
    """An edit that leaves what is out as it is."""
    return workflow.add(td.step(lambda item: item, name="late"), to="each")


def run_through(d: Desk, inputs: list[Any], choose: Random) -> list[str]:
    """Feed all inputs; until nothing is out, give some of it back, and now and then do something else."""
    told: list[str] = []
    given: list[tuple[int, Sequence[Outcome]]] = []
    edits = [replace, add_below]
    for value in inputs:
        told += d.submit(value)
    while d.out:
        deed = choose.choice(["", "", "", "", "cancel", "restart", "change", "again", "stop"])
        if deed == "cancel":
            told += d.cancel(choose.randrange(len(inputs)))
        elif deed == "restart" and len(edits) == 2:  # the log says nothing of functions
            d.restart()
            told += d.begin()
        elif deed == "change" and edits:
            told += d.change(edits.pop(choose.randrange(len(edits))))
        elif deed == "again" and given:
            told += d.tell(say.Finished((choose.choice(given),), d.now))
        elif deed == "stop" and choose.random() < 0.1:
            told += d.stop()
        numbers = choose.sample(sorted(d.out), choose.randint(1, len(d.out)))
        came = [(number, outcomes(d.out.pop(number))) for number in numbers]
        given += came
        told += d.tell(say.Finished(tuple(came), d.now))
    return told


def without_times(events: list[Any]) -> list[Any]:
    """Events, by all that they say but for how long it took."""
    return [
        {name: getattr(each, name) for name in each.__struct_fields__ if name != "seconds"}
        for each in events
    ]


@settings(max_examples=300)
@given(
    items=st.lists(ITEMS, min_size=1, max_size=3),
    below=st.booleans(),
    policy=st.builds(
        td.Policy,
        max_retries=st.integers(0, 1),
        on_failure=st.sampled_from([None, "halt"]),
    ),
    most=st.sampled_from([None, 1, 2]),
    window=st.sampled_from([3, 10_000]),
    is_budgeted=st.booleans(),
    seed=st.integers(0, 2**16),
)
def test_cohorts_leave_the_log_of_their_members(  # noqa: PLR0917 - what hypothesis gives
    items: list[list[str]],
    below: bool,
    policy: td.Policy,
    most: int | None,
    window: int,
    is_budgeted: bool,
    seed: int,
):
    """Failures, retries, cancellations, edits, double answers, lost machines: the same orders, the same events."""
    logs, stories = [], []
    for scheduler in (Pairs(), Slices(), Learner()):
        d = desk(
            graph(below),
            {"each": policy},
            scheduler=scheduler,
            max_concurrency=most,
            window=window,
            purse=Purse(RetryBudget()) if is_budgeted else None,
        )
        stories.append(run_through(d, inputs_of(items), Random(seed)))
        logs.append(without_times(d.events))
        assert (d.machine.out, d.machine.where, d.machine.cohorts.size) == ({}, {}, 0)

    assert stories[0] == stories[1] == stories[2]
    assert logs[0] == logs[1] == logs[2]


def opened(scheduler: Any, count: int = 6, **config: Any) -> Desk:
    """A desk where the items of one fan-out are out."""
    d = desk(graph(below=False), scheduler=scheduler, **config)
    d.submit(inputs_of([["value"] * count])[0])
    d.finish(*d.out)
    return d


def test_a_cohort_stands_in_the_book_as_one():
    """It counts with all its members, and none of them stands among the single ones."""
    d = opened(Slices(), window=8)

    assert all(isinstance(bundle.runnables, Cohort) for bundle in d.out.values())
    assert (len(d.out), d.machine.where, d.machine.cohorts.size) == (3, {}, 6)
    assert d.machine.room() == 2

    number = min(d.out)
    d.tell(say.Finished(((number, outcomes(d.out.pop(number))),), d.now))

    assert (d.machine.where, d.machine.cohorts.size) == ({}, 4)


@pytest.mark.parametrize(
    "config",
    [{"scheduler": Pairs()}, {"scheduler": Slices(), "transform": list}, {"scheduler": None}],
    ids=["scheduler", "hook", "none"],
)
def test_whoever_does_not_know_of_cohorts_is_given_none(config: dict[str, Any]):
    """A hook, another scheduler, or none at all: each runnable is there, and is the one that is dispatched."""
    d = opened(**config)

    assert d.out
    assert {type(bundle.runnables) for bundle in d.out.values()} == {tuple}


def test_a_scheduler_that_overrides_plan_is_not_given_cohorts():
    """The mark is on the method: who replaces that, and knows nothing of it, need not."""

    class Own(BatchScheduler):
        def plan(self, ready: Sequence[Runnable], view: Any) -> list[Bundle]:
            assert type(ready) is tuple
            return super().plan(ready, view)

    d = opened(Own(min_size=2, max_size=3, rounds=1), count=20)

    assert {len(bundle.runnables) for bundle in d.out.values()} == {2, 3}
    assert {type(bundle.runnables) for bundle in d.out.values()} == {tuple}


class Wrong(Slices):
    """Leaves out the last, or gives the first twice."""

    def __init__(self, cuts: list[slice]) -> None:
        self.cuts = cuts

    @takes_cohorts
    def plan(self, ready: Sequence[Runnable], view: Any) -> list[Bundle]:
        """The cuts alone."""
        if not isinstance(ready, Cohort):
            return super().plan(ready, view)
        return [Bundle(runnables=ready[cut]) for cut in self.cuts]


@pytest.mark.parametrize(
    ("cuts", "text"),
    [
        ([slice(0, 5)], "left out each@0.5"),
        ([slice(0, 6), slice(0, 2)], "dispatched each@0.0 twice"),
        ([slice(0, 0), slice(0, 6)], "made a bundle of no work"),
    ],
)
def test_a_wrong_plan_of_a_cohort_is_found(cuts: list[slice], text: str):
    """Its members then go one by one, as after any wrong plan."""
    d = desk(graph(below=False), scheduler=Wrong(cuts))
    d.submit(inputs_of([["value"] * 6])[0])

    told = d.finish(*d.out)

    assert any(text in each for each in told if each.startswith("warn"))
    assert [len(bundle.runnables) for bundle in d.out.values()] == [1] * 6
    assert d.machine.cohorts.size == 0
    assert len(d.machine.where) == 6


def test_slices_in_another_order_are_no_fault():
    """What is more urgent may go first."""
    d = desk(graph(below=False), scheduler=Wrong([slice(3, 6), slice(0, 3)]))
    d.submit(inputs_of([["value"] * 6])[0])
    told = d.finish(*d.out)

    assert [each for each in told if each.startswith("execute")] == [
        "execute 2: each@0.3 + each@0.4 + each@0.5 on threads",
        "execute 3: each@0.0 + each@0.1 + each@0.2 on threads",
    ]
    assert not [each for each in told if each.startswith("warn")]


def test_a_book_forgets_what_it_spreads():
    """All members are written to the single pieces, under the number of their bundle."""
    d = opened(Slices(), count=4)
    first, other = [each.runnables for each in d.out.values()]
    assert isinstance(first, Cohort)
    assert isinstance(other, Cohort)
    book, where = CohortBook(), dict[Any, int]()
    book.add(first, 7)
    book.add(other, 8)

    assert (book.drop(other), book.drop(other), book.size) == (True, False, 2)
    assert (book.move(first, 9), book.move(other, 9)) == (True, False)
    book.spread(where)
    assert (where, book.size) == ({("each", (0, 0), 0): 9, ("each", (0, 1), 0): 9}, 0)
    assert not book.drop(first)


def test_what_is_taken_back_stands_in_no_book():
    """A run that stops waits for what has begun, and forgets what has not."""
    d = opened(Slices())
    first, *queued = sorted(d.out)
    d.tell(say.Stop(request=99, at=d.now, queued=tuple(queued)))

    assert d.machine.cohorts.size == 0
    assert d.machine.where == {("each", (0, 0), 0): first, ("each", (0, 1), 0): first}
    d.tell(say.Finished(((first, outcomes(d.out[first])),), d.now))
    assert (d.machine.status, d.machine.where) == (say.STOPPED, {})


def test_a_run_that_stops_now_knows_of_no_work():
    """All that is out is given up."""
    d = opened(Slices())
    d.stop(now=True)

    assert (d.machine.out, d.machine.where, d.machine.cohorts.size) == ({}, {}, 0)


def test_a_learner_sees_each_outcome():
    """Only who says that it learns nothing is not asked."""
    learner = Learner()
    d = opened(learner, count=3)
    d.tell(
        say.Finished(tuple([(number, outcomes(bundle)) for number, bundle in d.out.items()]), 0.0)
    )

    assert learner.seen[1:] == ["each@0.0", "each@0.1", "each@0.2"]


def facts_of(workflow: td.Workflow) -> dict[Any, Any]:
    """What came of each component, in each scope."""
    return {(fact.component, fact.part, fact.scope): fact.value for fact in workflow.facts()}


class Witness(td.Observer):
    """An observer that looks at each runnable and each outcome."""

    def __init__(self) -> None:
        self.out: list[list[str]] = []
        self.back: list[list[str]] = []
        self.completed: list[str] = []

    def on_dispatch(self, run_id: str, bundle: Bundle) -> None:
        """What went out."""
        self.out.append([each.id for each in bundle.runnables])

    def on_return(self, run_id: str, bundle: Bundle, outcomes: Sequence[Outcome]) -> None:
        """What came back."""
        self.back.append([each.id for each in outcomes])

    def on_complete(self, run_id: str, runnable: Runnable, outcome: Outcome) -> None:
        """What was done."""
        assert runnable.id == outcome.id
        self.completed.append(runnable.id)


@pytest.mark.parametrize("executor", ["threads:2", "inline", "processes:2"])
@pytest.mark.parametrize("is_seen", [False, True])
@pytest.mark.slow
def test_a_run_with_cohorts_comes_to_the_same(executor: str, is_seen: bool):
    """On real executors, whether somebody looks or not."""
    witness = Witness()
    workflow = td.workflow("w").add(td.map(body, name="each", on_failure="skip"))
    workflow = workflow.add(td.collect(name="all", on_item_failure="skip"), to="each")
    kinds = ["value"] * 40 + ["fails"] + ["value"] * 50 + ["absent"] + ["value"] * 40
    value = inputs_of([kinds])[0]
    known = workflow.react_until_satisfied(value)
    with td.Runner(executor=executor, observers=[witness] if is_seen else []) as runner:
        run = runner.start(workflow, scheduler=BatchScheduler())
        runner.run(run, value).result(timeout=30)
        done = runner.get_workflow(run)

    assert facts_of(done) == facts_of(known)
    if is_seen:
        worth = [f"each@0.{at}" for at, kind in enumerate(kinds) if kind != "fails"]
        assert sorted(witness.completed) == sorted([*worth, "each/items@0", "all@0"])
        assert sorted(witness.back) == sorted(witness.out)
