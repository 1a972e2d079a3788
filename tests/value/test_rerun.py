"""Working again: a component and all below it, in a fork, from the facts that the others gave."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

import treadle as td
from tests.value.grown import grown, inputs_for, seen


def counted(name, calls, function):
    """A step that notes each of its calls."""

    def call(value):
        calls.append(name)
        return function(value)

    return td.step(call, name=name)


def chain(calls):
    """Three steps in a row, and one beside."""
    w = td.workflow("w").add(counted("a", calls, lambda x: x + 1))
    w = w.add(counted("b", calls, lambda x: x * 10), to="a")
    w = w.add(counted("c", calls, lambda x: -x), to="b")
    return w.add(counted("side", calls, lambda x: x), to="a")


def test_only_the_component_and_what_is_below_works_again():
    """The others' facts stay, and the original stays what it was."""
    calls: list[str] = []
    done = chain(calls).react_until_satisfied(1).react_until_satisfied(2)
    calls.clear()

    fork = done.rerun("b")
    again = fork.react_until_satisfied()

    assert calls == ["b", "b", "c", "c"]
    assert again.productions_by_component().keys() == done.productions_by_component().keys()
    assert [again.results(input=n) for n in (0, 1)] == [done.results(input=n) for n in (0, 1)]
    assert len(fork.log()) == len(done.log()) - 4
    assert done.is_satisfied()


def test_one_input_works_again_alone():
    """Others keep what they have."""
    calls: list[str] = []
    done = chain(calls).react_until_satisfied(1).react_until_satisfied(2)
    calls.clear()

    again = done.rerun("b", input=0).react_until_satisfied()

    assert calls == ["b", "c"]
    assert again.results(input=0) == {"c": -20, "side": 2}
    assert again.results(input=1) == {"c": -30, "side": 3}


def test_what_failed_works_again_and_is_no_failure_any_more():
    """A handler that was fed the failure is below, too."""
    broken = [True]

    def charge(order):
        if broken:
            raise ConnectionError(order)
        return f"paid {order}"

    w = td.workflow("w").add(td.step(charge, on_failure="halt"))
    w = w.add(td.step(lambda failure: "told", name="tell"), to=td.error_of("charge"))
    failed = w.react_until_satisfied("o")
    broken.clear()

    again = failed.rerun("charge").react_until_satisfied()

    assert failed.failures()
    assert again.failures() == []
    assert again.results() == {"charge": "paid o"}


def test_a_fork_has_keys_of_its_own():
    """A receiver that knows the first run's keys takes the second's for new; the name of the run key can be given."""
    w = td.workflow("w").add(td.step(lambda x: x, name="a")).with_run_key("order-1")
    planned = w.plan_eagerly(1)
    done = planned.react_until_satisfied()

    fork = done.rerun("a")

    assert fork.run_key == "order-1~a@3"
    (before,), (after,) = planned.next_runnables(), fork.next_runnables()
    assert before.id == after.id
    assert before.idempotency_key != after.idempotency_key
    assert done.rerun("a", run_key="mine").run_key == "mine"
    assert fork.log()[0].run_key == "order-1~a@3"
    assert done.rerun("a", input=0).run_key == "order-1~a[0]@3"


def test_a_state_below_is_folded_anew_in_log_order():
    """All inputs at once only: one alone would leave the later states made from a state that never was."""
    w = td.workflow("w").add(td.step(lambda x: x, name="a"))
    w = w.add(td.accumulator(lambda s, x: [*s, x], initial=list, name="seen"), to="a")
    done = w.react_until_satisfied(1).react_until_satisfied(2).react_until_satisfied(3)

    fork = done.rerun("seen")
    assert fork.states() in ({}, {"seen": {}})
    assert fork.react_until_satisfied().states() == done.states() == {"seen": {None: [1, 2, 3]}}

    with pytest.raises(td.errors.UsageError, match="'seen' below it"):
        done.rerun("a", input=1)


def test_who_reads_is_below():
    """A marker that reads a component's facts makes its step one of those that work again."""
    w = td.workflow("w").add(td.step(lambda x: x, name="a"))
    w = w.add(td.step(lambda x, *, n=td.count("a"): n, name="reader"))
    done = w.react_until_satisfied(1)

    assert sorted(each.component for each in done.rerun("a").next_runnables()) == ["a", "reader"]


def test_a_cancelled_input_stays_cancelled():
    """Nobody asked for it any more."""
    w = (
        td.workflow("w")
        .add(td.step(lambda x: x, name="a"))
        .add(td.step(lambda x: x, name="b"), to="a")
    )
    w = w.plan_eagerly(1)
    w, (first,) = w.prepare_for_dispatch()
    w = w.apply_runnable(td.execute_runnable(first)).cancel()

    assert w.rerun("b").next_runnables() == []


def test_what_is_folded_cannot_work_again():
    """`retain` let the events go; an input accepted since can."""
    w = td.workflow("w", retain=1).add(td.step(lambda x: x, name="a"))
    for number in range(300):
        w = w.react_until_satisfied(number)

    with pytest.raises(td.errors.Forgotten, match="is folded"):
        w.rerun("a")
    w = w.react_until_satisfied(300)
    assert w.rerun("a", input=-1).react_until_satisfied().results() == {"a": 300}


def test_edits_under_way_are_refused_where_they_matter():
    """A component added without a backfill would see more the second time."""
    w = td.workflow("w").add(td.step(lambda x: x, name="a")).react_until_satisfied(1)
    w = w.add(td.step(lambda x: x, name="late"), to="a").react_until_satisfied(2)

    with pytest.raises(td.errors.UsageError, match="'late' was added"):
        w.rerun("a")


def test_a_template_has_nothing_to_do_again():
    """And an unknown name is refused."""
    w = td.workflow("w").add(td.step(lambda x: x, name="a"))

    assert w.rerun("a") == w
    with pytest.raises(td.errors.UnknownComponent):
        w.rerun("b")


@given(st.integers(0, 100_000))
def test_unchanged_code_gives_what_it_gave(seed):
    """What works again gives the facts that it gave: joins, barriers, items that fail, states by key."""
    choose = random.Random(seed)
    w = grown(choose)
    if not w.components():
        return
    for value in inputs_for(w, choose):
        w = w.react_until_satisfied(value)
    name = choose.choice(w.components())
    one = choose.choice([None, 0])
    try:
        fork = w.rerun(name, input=one)
    except td.errors.UsageError:
        fork = w.rerun(name)

    again = fork.react_until_satisfied()

    assert seen(again) == seen(w)
    assert td.Workflow.from_log(fork.at(0), fork.log()) == fork


@given(st.integers(0, 100_000))
def test_mended_code_gives_what_a_new_run_gives(seed):
    """A component whose function is another now, and all below it: as if it had been so from the beginning.

    A rule or a condition is left out: what it was asked about it is not asked again.
    """
    choose = random.Random(seed)
    plain = grown(random.Random(seed))
    names = [each.name for each in plain.lowered() if each.kind not in {"rule", "condition"}]
    if not names:
        return
    name = choose.choice(names)
    run, fresh = plain, grown(random.Random(seed), name)
    for value in inputs_for(plain, choose):
        run, fresh = run.react_until_satisfied(value), fresh.react_until_satisfied(value)
    mended = td.Workflow.from_log(fresh.at(0), run.log())

    again = mended.rerun(name).react_until_satisfied()

    assert seen(again) == seen(fresh)
