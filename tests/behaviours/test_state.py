"""Accumulators and injection: behaviours D and G, rule S22."""

from typing import Any

import pytest

import treadle as td
from treadle import errors


def plus(state: Any, value: Any) -> Any:
    """Add up."""
    return state + value


def summing(**options: Any) -> td.Workflow:
    """An accumulator over the inputs."""
    return td.workflow("w", components=[td.accumulator(plus, initial=0, name="sum", **options)])


def feed(w: td.Workflow, *values: Any) -> td.Workflow:
    """React to each value in turn."""
    for value in values:
        w = w.react_until_satisfied(value)
    return w


def by_parity(value: int) -> str:
    """A key."""
    return "odd" if value % 2 else "even"


# ------------------------------------------------------------------------------------ accumulators


def test_a_state_outlives_its_inputs():
    """G92: 1, 2, 3 give the states 1, 3, 6, each a fact in the scope of its value."""
    w = feed(summing(), 1, 2, 3)

    assert w.raw_productions("sum") == [1, 3, 6]
    assert [fact.scope for fact in w.facts("sum")] == [(0,), (1,), (2,)]
    assert w.states() == {"sum": {None: 6}}
    assert w.results(input=1) == {"sum": 3}


def test_no_update_is_lost_with_several_pending():
    """G93: facts that come together are folded one after another, in order of arrival."""
    w = summing()
    for value in (1, 2, 3, 4):
        w = w.plan_eagerly(value)
    w, first = w.prepare_for_dispatch()
    w, second = w.prepare_for_dispatch()
    done = w.apply_runnable(td.execute_runnable(first[0])).react_until_satisfied()

    assert (len(first), second) == (1, [])
    assert done.raw_productions("sum") == [1, 3, 6, 10]


def test_threads_lose_no_update():
    """G93: nor on threads."""
    w = summing()
    for value in range(50):
        w = w.plan_eagerly(value)
    w = w.react_until_satisfied(executor="threads", max_concurrency=8)

    assert w.states() == {"sum": {None: sum(range(50))}}


def test_all_elements_of_a_fan_out_are_folded():
    """G94: a fan-out into an accumulator folds each element, in the element's scope."""
    w = td.workflow("w", components=[td.map(lambda x: x, name="m")])
    w = w.add(td.accumulator(plus, initial=0, name="sum"), to="m").react_until_satisfied([1, 2, 3])

    assert w.states() == {"sum": {None: 6}}
    assert [(fact.scope, fact.value) for fact in w.facts("sum")] == [
        ((0, 0), 1),
        ((0, 1), 3),
        ((0, 2), 6),
    ]


def test_a_state_may_be_collected():
    """S22: the fact of a fold is in the scope of its value: a reduce closes the fan-out over it."""
    w = td.workflow("w", components=[td.map(lambda x: x, name="m")])
    w = w.add(td.accumulator(plus, initial=0, name="sum"), to="m")
    w = w.add(td.collect(name="running"), to="sum")

    assert feed(w, [1, 2], [3]).raw_productions("running") == [[1, 3], [6]]


def test_states_by_key():
    """S22: with `key=` each key has a state of its own."""
    w = feed(summing(key=by_parity), 1, 2, 3, 4)

    assert w.states() == {"sum": {"odd": 4, "even": 6}}
    assert w.raw_productions("sum") == [1, 2, 4, 6]


def test_one_fold_in_flight_per_key():
    """S22: at most one per key; other keys go on side by side."""
    w = summing(key=by_parity)
    for value in (1, 2, 3, 4):
        w = w.plan_eagerly(value)
    w, runnables = w.prepare_for_dispatch()

    assert [runnable.args for runnable in runnables] == [(0, 1), (0, 2)]


def test_a_fold_that_fails_leaves_the_state_and_lets_the_next_go():
    """S22: the state is as it was, and nothing is stuck."""
    w = td.workflow(
        "w",
        components=[td.accumulator(lambda s, v: s + 10 // v, initial=0, name="sum")],
    )
    w = w.plan_eagerly(1).plan_eagerly(0).plan_eagerly(2).react_until_satisfied()

    assert w.raw_productions("sum") == [10, 15]
    assert [(f.component, f.input) for f in w.failures()] == [("sum", 1)]
    assert w.is_satisfied()


def test_initial_is_copied_or_made():
    """S1: a factory is called; any other initial is copied once per state."""

    def put(state: list[int], value: int) -> list[int]:
        state.append(value)
        return list(state)

    shared: list[int] = []
    w = td.workflow(
        "w",
        components=[
            td.accumulator(put, initial=shared, name="copied", key=by_parity),
            td.accumulator(put, initial=list, name="made", key=by_parity),
        ],
    )
    w = feed(w, 1, 2)

    assert shared == []
    assert w.states() == {
        "copied": {"odd": [1], "even": [2]},
        "made": {"odd": [1], "even": [2]},
    }


def test_merge_lets_folds_run_side_by_side():
    """S22: with merge= no fold waits for another, and none is lost."""
    w = summing(merge=plus)
    for value in (1, 2, 3, 4):
        w = w.plan_eagerly(value)
    w, runnables = w.prepare_for_dispatch()
    for runnable in reversed(runnables):
        w = w.apply_runnable(td.execute_runnable(runnable))
    w = w.react_until_satisfied()

    assert len(runnables) == 4
    assert w.states() == {"sum": {None: 10}}


def test_merge_by_key():
    """S22: keyed merging keeps keys apart."""
    w = feed(summing(merge=plus, key=by_parity), 1, 2, 3, 4)

    assert w.states() == {"sum": {"odd": 4, "even": 6}}


def test_merge_on_threads():
    """S22: and on threads."""
    w = summing(merge=plus)
    for value in range(40):
        w = w.plan_eagerly(value)

    assert w.react_until_satisfied(executor="threads").states() == {"sum": {None: sum(range(40))}}


def test_an_accumulator_of_several_parents():
    """S22: with more ports it takes the joined values."""
    w = td.workflow("w", steps=[td.step(lambda x: x, name="a"), td.step(lambda x: 10, name="b")])
    w = w.add(td.accumulator(lambda s, a, b: s + a * b, initial=0, name="sum"), to=["a", "b"])

    assert feed(w, 1, 2).states() == {"sum": {None: 30}}


def test_absent_is_passed_over():
    """S25: accumulators pass over ABSENT."""
    w = td.workflow("w", steps=[td.step(lambda x: x or td.ABSENT, name="some")])
    w = w.add(td.accumulator(plus, initial=0, name="sum"), to="some")

    assert feed(w, 1, 0, 2).raw_productions("sum") == [1, 3]


def test_a_key_function_is_asked_in_planning_and_never_again():
    """S12: its answers are in the log."""
    asked: list[int] = []

    def key(value: int) -> str:
        asked.append(value)
        return by_parity(value)

    template = summing(key=key)
    w = feed(template, 1, 2)
    again = td.Workflow.from_log(template, w.log())

    assert again == w
    assert again.states() == {"sum": {"odd": 1, "even": 2}}
    assert asked == [1, 2]


def test_a_key_function_that_raises_is_a_failure():
    """S12, S24: it is recorded under the accumulator's name and folds nothing."""
    w = feed(summing(key=lambda v: 1 // v), 0, 1)

    assert [(f.component, f.error.name) for f in w.failures()] == [("sum", "ZeroDivisionError")]
    assert w.states() == {"sum": {1: 1}}


def test_states_survive_the_log():
    """S2: a rebuilt workflow goes on from the state."""
    template = summing(key=by_parity)
    w = feed(template, 1, 2, 3)

    assert feed(td.Workflow.from_log(template, w.log()), 5).states() == {
        "sum": {"odd": 9, "even": 2}
    }


def test_forks_have_states_of_their_own():
    """S1, S3: two ways on from one workflow do not share a state."""
    w = feed(summing(), 1)
    a, b = feed(w, 10), feed(w, 100)

    assert (a.states(), b.states(), w.states()) == (
        {"sum": {None: 11}},
        {"sum": {None: 101}},
        {"sum": {None: 1}},
    )


# -------------------------------------------------------------------------------------- injection


def reading(marker: Any) -> td.Workflow:
    """The sum, and a step below it that is injected what a marker asks for."""
    w = summing(key=by_parity) if marker.key is not None else summing()
    return w.add(td.step(lambda x, seen=marker: seen, name="seen"), to="sum")


def test_state_of_reads_the_current_state():
    """D54: the state at the time the runnable is prepared; the initial before the first update."""
    w = td.workflow("w", components=[td.accumulator(plus, initial=100, name="sum")])
    w = w.add(td.step(lambda x, s=td.state_of("sum"): s, name="early"))
    w = w.add(td.step(lambda x, s=td.state_of("sum"): s, name="late"), to="sum")
    planned, runnables = w.plan_eagerly(1).prepare_for_dispatch()
    early = next(runnable for runnable in runnables if runnable.component == "early")

    assert early.injected == {"s": 100}
    assert feed(w, 1, 2).raw_productions("late") == [101, 103]
    assert planned.position == 2


def test_state_of_one_key():
    """D54: `key=` is a key, or a function of the inputs; without it all states are given."""
    w = summing(key=by_parity)
    w = w.add(td.step(lambda x, s=td.state_of("sum", key="odd"): s, name="odd"), to="sum")
    w = w.add(td.step(lambda x, s=td.state_of("sum"): dict(s), name="all"), to="sum")
    w = w.add(td.step(lambda x, s=td.state_of("sum", key=by_parity): s, name="own"), to="sum")
    w = feed(w, 1, 2, 4)

    assert w.results() == {"odd": 1, "all": {"odd": 1, "even": 6}, "own": 6}
    assert w.results(input=0) == {"odd": 1, "all": {"odd": 1}, "own": 1}


def test_latest_count_all_values_and_ran():
    """D56, D58, D59: newest in the log, number, all in order, and whether there is any yet."""

    def seen(
        x: int,
        newest: Any = td.latest("odd"),
        number: int = td.count("odd"),
        values: Any = td.all_values("odd"),
        ran: bool = td.ran("odd"),
    ) -> Any:
        return (newest, number, values, ran)

    w = td.workflow("w", rules=[td.rule(lambda x: x, name="odd", condition=lambda x: x % 2)])
    w = w.add(seen)
    w = feed(w, 0, 3, 2, 5, 4)

    assert w.raw_productions("seen") == [
        (None, 0, (), False),
        (None, 0, (), False),
        (3, 1, (3,), True),
        (3, 1, (3,), True),
        (5, 2, (3, 5), True),
    ]


def test_markers_read_what_is_in_the_log_in_log_order():
    """D58, S6: latest means latest in the log, not of the newest input."""
    w = td.workflow("w", steps=[td.step(lambda x: x, name="a")])
    w = w.plan_eagerly("first").plan_eagerly("second")
    w, [one, two] = w.prepare_for_dispatch()
    w = w.apply_runnable(td.execute_runnable(two)).apply_runnable(td.execute_runnable(one))
    w = w.add(td.step(lambda x, s=td.latest("a"), v=td.all_values("a"): (s, v), name="seen"))

    w = w.react_until_satisfied(0)

    assert w.results("seen") == {"seen": (0, ("second", "first", 0))}
    assert w.at(w.position - 2).raw_productions("a") == ["second", "first"]


def test_a_marker_added_later_knows_the_past():
    """D58: what came before the marker was added counts too."""
    w = td.workflow("w", steps=[td.step(lambda x: x, name="a")])
    w = feed(w, 1, 2).add(td.step(lambda x, v=td.all_values("a"): v, name="seen"), to="a")

    assert feed(w, 3).results("seen") == {"seen": (1, 2, 3)}


@pytest.mark.parametrize("marker", ["state_of", "latest", "all_values", "count", "ran"])
def test_a_missing_target_is_refused(marker: str):
    """D60: the error names component, kind and target."""
    wanted = getattr(td, marker)("smu")
    with pytest.raises(errors.UnknownComponent) as caught:
        summing().add(td.step(lambda x, s=wanted: s, name="reader"))

    for word in ("'reader'", marker, "'smu'", "Did you mean 'sum'?"):
        assert word in str(caught.value)


def test_state_of_what_has_none_is_refused():
    """D60: a step has no state."""
    w = td.workflow("w", steps=[td.step(abs, name="a")])
    with pytest.raises(errors.DefinitionError, match="no state"):
        w.add(td.step(lambda x, s=td.state_of("a"): s, name="reader"))


def test_markers_survive_the_log():
    """D63: after from_log they read the right nodes."""
    template = td.workflow("w", components=[td.accumulator(plus, initial=0, name="sum")])
    template = template.add(td.step(lambda x, s=td.state_of("sum"): s, name="seen"), to="sum")
    w = feed(template, 1)

    assert feed(td.Workflow.from_log(template, w.log()), 2).results("seen") == {"seen": 3}


def test_conditions_may_be_injected():
    """S12: a predicate's markers are read when the fact is planned."""

    def above_sum(x: int, *, s: int = td.state_of("sum")) -> bool:
        return x > s

    w = summing().add(td.rule(lambda x: x, name="record", condition=above_sum))
    w = feed(w, 1, 1, 5, 6)

    assert w.raw_productions("record") == [1, 5]


def test_accumulators_may_be_injected():
    """S22: a fold's markers are read like a step's."""

    def scaled(state: int, value: int, *, by: int = td.context("by", default=1)) -> int:
        return state + value * by

    w = td.workflow("w", components=[td.accumulator(scaled, initial=0, name="sum")])
    w = w.react_until_satisfied(1).react_until_satisfied(2, run_context={"_global": {"by": 10}})

    assert w.states() == {"sum": {None: 21}}


def test_what_was_read_is_kept_for_all_attempts():
    """Section 4: markers are read when the runnable is prepared, and kept for its attempts."""

    def seen(x: int, s: int = td.state_of("sum"), attempt: int = td.attempt()) -> int:
        if attempt == 1:
            message = "not yet"
            raise OSError(message)
        return s

    w, runnables = summing().add(seen).plan_eagerly(5).prepare_for_dispatch()
    by_name = {runnable.component: runnable for runnable in runnables}
    w = w.apply_runnable(td.execute_runnable(by_name["sum"]))
    w = w.apply_runnable(td.execute_runnable(by_name["seen"]), retry=True).react_until_satisfied()

    assert w.results("sum", "seen") == {"sum": 5, "seen": 0}


def test_peeking_does_not_fix_what_markers_read():
    """S11, section 4: markers are read when the runnable is prepared, and a peek prepares nothing."""
    w = summing().add(td.step(lambda x, s=td.state_of("sum"): s, name="seen"))

    def seen(*, peek: bool) -> Any:
        planned = w.plan_eagerly(5)
        if peek:
            planned.next_runnables()
        planned, [first] = planned.prepare_for_dispatch(1)
        planned = planned.apply_runnable(td.execute_runnable(first))
        return planned.react_until_satisfied().results("seen")

    assert seen(peek=False) == {"seen": 5}
    assert seen(peek=True) == {"seen": 5}


def test_attempt_counts_from_one():
    """Section 4: attempt() is the number of this attempt."""
    tries: list[int] = []

    def flaky(x: int, *, attempt: int = td.attempt()) -> int:
        tries.append(attempt)
        if attempt < 3:
            message = "not yet"
            raise OSError(message)
        return attempt

    w = td.workflow("w", steps=[flaky]).plan_eagerly(1)
    while w.is_runnable():
        w, runnables = w.prepare_for_dispatch()
        for runnable in runnables:
            w = w.apply_runnable(td.execute_runnable(runnable), retry=True)

    assert tries == [1, 2, 3]
    assert w.results() == {"flaky": 3}
    assert w.failures() == []


def test_the_idempotency_key_is_the_same_for_all_attempts():
    """Section 4, S6: the same for all attempts of a runnable, different for any other."""
    keys: list[str] = []

    def failing(x: int, *, key: str = td.idempotency_key()) -> int:
        keys.append(key)
        raise OSError(key)

    w = td.workflow("w", steps=[failing])
    w, [first] = w.plan_eagerly(1).prepare_for_dispatch()
    w, [again] = w.apply_runnable(td.execute_runnable(first), retry=True).prepare_for_dispatch()
    td.execute_runnable(again)
    w, [other] = w.plan_eagerly(1).prepare_for_dispatch()
    td.execute_runnable(other)

    assert keys[0] == keys[1] == first.idempotency_key == again.idempotency_key
    assert keys[2] == other.idempotency_key != keys[0]


def test_calling_a_component_uses_the_markers_defaults():
    """Section 4: as an ordinary function, with the marker's default, or what is given."""

    @td.step
    def ask(
        text: str,
        model: str = td.context("model", default="small"),
        *,
        made: Any = td.context("made", default=list),
        attempt: int = td.attempt(),
    ) -> Any:
        return (text, model, made, attempt)

    assert ask("a") == ("a", "small", [], 1)
    assert ask("a", "large", made=3) == ("a", "large", 3, 1)


def test_calling_without_a_default_names_the_marker():
    """Section 4: else a TypeError names the marker."""

    @td.step
    def read(x: int, *, s: int = td.state_of("sum")) -> int:
        return s

    with pytest.raises(TypeError, match=r"state_of\('sum'\)"):
        read(1)

    assert read(1, s=5) == 5


def test_why_names_what_was_read():
    """Section 4: the event records the position read at, so why() names the facts read."""
    w = summing().add(td.step(lambda x, s=td.state_of("sum"): s, name="seen"), to="sum")
    w = feed(w, 1, 2)
    [fact] = w.facts("seen", input=-1)
    [read] = w.why(fact)["read"]

    assert "state_of('sum')" in read["marker"]
    assert read["newest"]["value"] == 3
    assert read["newest"]["node"] == "sum"


def test_why_of_a_keyed_state_names_the_key_that_was_read():
    """Section 4: why() names the facts read, so of the key that was read, not of another."""
    w = summing(key=by_parity)
    w = w.add(td.step(lambda x, s=td.state_of("sum", key="odd"): s, name="seen"), to="sum")
    w = feed(w, 1, 2)
    [fact] = w.facts("seen", input=-1)
    [read] = w.why(fact)["read"]

    assert fact.value == 1
    assert read["newest"]["value"] == 1
