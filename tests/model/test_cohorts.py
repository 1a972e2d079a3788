"""Cohorts and their outcomes: sequences that nobody can tell from plain ones."""

import itertools
import pickle
from typing import Any

import pytest

import treadle as td
from treadle.engine.execute import execute_cohort
from treadle.engine.jobs import execute_bundle
from treadle.model.bundles import Bundle
from treadle.model.cohorts import Cohort, CohortOutcomes

COUNT = 20


def unless_odd(item: int) -> Any:
    """Gives a value, nothing, a failure, or what can be read only once."""
    if item % 5 == 3:
        raise ValueError(item)
    if item % 5 == 2:
        return (each for each in [item])
    return td.ABSENT if item % 5 == 4 else item


@pytest.fixture
def ready() -> tuple[Cohort, list[td.Runnable]]:
    """The items of one fan-out, handed out as one; and, after they were put back, one by one."""
    workflow = td.workflow("w").add(td.map(unless_odd, name="each")).with_run_key("run")
    workflow, drive = workflow.plan_eagerly(range(COUNT)).advance(limit=100)
    opened = [td.execute_runnable(each) for each in drive.handed]
    workflow, drive = workflow.advance(opened, limit=100, may_be_cohort=True)
    assert drive.handed == []
    assert isinstance(drive.cohort, Cohort)
    for each in drive.cohort:
        workflow = workflow.release(each)
    return drive.cohort, workflow.advance(limit=100)[1].handed


@pytest.fixture
def cohort(ready: Any) -> Cohort:
    """They, as one."""
    together: Cohort = ready[0]
    return together


@pytest.fixture
def plain(ready: Any) -> list[td.Runnable]:
    """They, one by one."""
    handed: list[td.Runnable] = ready[1]
    return handed


def test_a_cohort_is_the_sequence_of_its_members(cohort: Cohort, plain: list[td.Runnable]):
    """Length, items, order, membership, equality and how it prints: all as of a tuple."""
    members = tuple(plain)

    assert len(cohort) == COUNT
    assert [*cohort] == plain
    assert [cohort[0], cohort[-1]] == [members[0], members[-1]]
    assert members[3] in cohort
    assert cohort.index(members[3]) == 3
    assert [*reversed(cohort)] == [*reversed(members)]
    assert cohort == members
    assert members == cohort
    assert cohort != members[1:]
    assert cohort != plain  # nor is a tuple
    assert hash(cohort) == hash(members)
    assert repr(cohort) == repr(members)
    assert cohort.paths == [each.scope for each in members]
    with pytest.raises(IndexError):
        cohort[COUNT]


@pytest.mark.parametrize("cut", [slice(3, 9), slice(None, None, -2), slice(7, 7), slice(-3, None)])
def test_a_slice_of_a_cohort_is_a_cohort(cut: slice, cohort: Cohort, plain: list[td.Runnable]):
    """With the members that the slice of a tuple has."""
    part = cohort[cut]

    assert isinstance(part, Cohort)
    assert part == tuple(plain[cut])


def test_a_cohort_pickles_as_a_tuple(cohort: Cohort, plain: list[td.Runnable]):
    """What arrives elsewhere knows nothing of the memory it came from."""
    bundle = Bundle(runnables=cohort, reason="together")
    copy = pickle.loads(pickle.dumps(bundle))

    assert type(copy.runnables) is tuple
    assert copy == bundle == Bundle(runnables=tuple(plain), reason="together")
    assert (bundle.kind, bundle.is_async, len(bundle)) == ("parallel", False, COUNT)


def clock() -> Any:
    """A clock that ticks when it is read."""
    return itertools.count().__next__


def shown(outcome: td.Outcome) -> dict[str, Any]:
    """All fields of an outcome; an exception has no equal."""
    fields: dict[str, Any] = {name: getattr(outcome, name) for name in outcome.__struct_fields__}
    assert fields.pop("seconds") == 1
    return fields | {"exception": repr(outcome.exception), "error": str(outcome.error)}


def test_the_outcomes_of_a_cohort_are_those_of_its_members(
    cohort: Cohort, plain: list[td.Runnable]
):
    """Values, skips and failures, each where its runnable stands, with all that an outcome says."""
    done = CohortOutcomes(cohort)
    execute_cohort(done, clock())
    known = execute_bundle(Bundle(runnables=tuple(plain)), clock())

    assert {each.status for each in done} == {"ok", "failed", "skipped"}
    assert [*map(shown, done)] == [*map(shown, known)]
    assert [*map(shown, done[2:9:3])] == [*map(shown, known[2:9:3])]
    assert shown(done[-2]) == shown(known[-2])
    assert len(done) == COUNT
    assert not done.are_all_values
    assert repr(done) == repr(known)
    with pytest.raises(IndexError):
        done[COUNT]


def test_outcomes_pickle_as_a_list(cohort: Cohort):
    """As those of any bundle do."""
    done = CohortOutcomes(cohort)
    execute_cohort(done, clock())

    copy = pickle.loads(pickle.dumps(done))

    assert type(copy) is list
    assert [*map(repr, copy)] == [*map(repr, done)]


def test_outcomes_grow_one_by_one(cohort: Cohort):
    """What is there is seen while the rest is not; an outcome that was made elsewhere may be added, too."""
    done = CohortOutcomes(cohort)
    outcome = td.execute_runnable(cohort[0])
    done.append(outcome)
    (only,) = done

    assert (only.value, only.scope, done.are_all_values) == (0, cohort[0].scope, False)

    done = CohortOutcomes(cohort[:2])
    for each in cohort[:2]:
        done.append(td.execute_runnable(each))

    assert done.are_all_values
    assert [each.value for each in done] == [0, 1]


def test_what_is_not_a_failure_goes_through():
    """An interrupt is the caller's; what was done before it is known."""

    def interrupted(item: int) -> int:
        if item == 2:
            raise KeyboardInterrupt
        return item

    workflow = td.workflow("w").add(td.map(interrupted, name="each")).plan_eagerly(range(COUNT))
    workflow, drive = workflow.advance(limit=100)
    opened = [td.execute_runnable(each) for each in drive.handed]
    _, drive = workflow.advance(opened, limit=100, may_be_cohort=True)
    assert drive.cohort is not None
    done = CohortOutcomes(drive.cohort)

    with pytest.raises(KeyboardInterrupt):
        execute_cohort(done, clock())
    assert [each.value for each in done] == [0, 1]

    done = CohortOutcomes(drive.cohort)
    with pytest.raises(KeyboardInterrupt):
        execute_cohort(done, clock(), BaseException, KeyboardInterrupt)
    done = CohortOutcomes(drive.cohort)
    execute_cohort(done, clock(), BaseException)
    assert [each.status for each in done[1:4]] == ["ok", "failed", "ok"]
