"""The log, time travel, forks, retention and pickling: rules S1 to S4, S9, S27."""

import multiprocessing
import pickle
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import pytest

import treadle as td
from treadle import errors


def increment(x: Any) -> Any:
    """One more."""
    return x + 1


def double(x: Any) -> Any:
    """Twice the value."""
    return x * 2


def plus(state: Any, value: Any) -> Any:
    """Add up."""
    return state + value


def upto(x: int) -> list[int]:
    """A list to fan out over."""
    return list(range(x))


def is_even(x: int) -> bool:
    """A condition."""
    return x % 2 == 0


def parity(x: int) -> str:
    """A key."""
    return "even" if x % 2 == 0 else "odd"


def reciprocal(x: int) -> float:
    """Fail for 0."""
    return 1 / x


def handle(failure: td.Failure) -> str:
    """Say what failed."""
    return f"{failure.component}: {failure.error.name}"


def join(a: Any, b: Any) -> Any:
    """Both."""
    return (a, b)


def settle(*values: Any) -> Any:
    """All that came."""
    return values


def told(x: Any, *, total: Any = td.state_of("total"), seen: Any = td.count("double")) -> Any:
    """What was injected."""
    return (total, seen)


@td.step
def decorated(x: int) -> int:
    """A function that its component hides."""
    return x + 100


@td.rule(condition=lambda x: x > 0)
def positive(x: int) -> int:
    """A reaction that its component hides, and a condition without a name."""
    return x


def rich() -> td.Workflow:
    """A bit of everything."""
    w = td.workflow("rich", components=[td.condition(is_even, name="even")])
    w = w.add(double).add(td.step(increment, on_failure="skip"))
    w = w.add(td.rule(double, name="kept", condition="even"))
    w = w.add(td.rule(double, name="slow", condition=is_even, dispatch=True), to="double")
    w = w.add(td.accumulator(plus, initial=0, name="total", key=parity))
    w = w.add(upto).add(td.map(reciprocal, name="each"), to="upto")
    w = w.add(td.collect(name="all", on_item_failure="skip"), to="each")
    w = w.add(td.step(handle), to=td.error_of("each"))
    w = w.add(td.step(join), to=["double", "kept"])
    w = w.add(td.step(settle), to=["kept", "all", "increment"], join="settled")
    w = w.add(td.step(join, name="across"), to=["double", "kept"], correlate="latest")
    return w.add(told, to="total")


def hand(w: td.Workflow) -> list[td.Workflow]:
    """All handles on the way to the end, each runnable handed out alone."""
    handles = [w]
    while handles[-1].is_runnable():
        w, runnables = handles[-1].prepare_for_dispatch(1)
        handles.append(w)
        for runnable in runnables:
            handles.append(handles[-1].apply_runnable(td.execute_runnable(runnable)))
        handles.append(handles[-1].plan_eagerly())
    return handles


def observed(w: td.Workflow) -> Any:
    """What a user can see."""
    pending = sorted([*w.in_flight(), *(runnable.id for runnable in w.next_runnables())])
    return (
        w.facts(),
        w.failures(),
        w.states(),
        w.starved(),
        [{**entry, "value": None} for entry in w.inputs()],
        w.results(input=td.ALL),
        w.components(),
        pending,
    )


# --------------------------------------------------------------------------------------- the log


def test_the_log_tells_all_in_order():
    """S2: frozen events in the past tense, numbered without gaps, Defined first."""
    w = td.workflow("w", steps=[increment]).react_until_satisfied(1)
    log = w.log()

    assert [type(event).__name__ for event in log] == ["Defined", "InputAccepted", "Applied"]
    assert [event.position for event in log] == [0, 1, 2]
    assert w.position == len(log) == 3
    assert log[1].value == 1
    assert (log[2].node, log[2].scope, log[2].value, log[2].sources) == ("increment", (0,), 2, (1,))
    with pytest.raises(AttributeError):
        log[2].value = 5


def test_a_template_has_no_log():
    """S3: nothing has happened; editing is no event then."""
    w = td.workflow("w", steps=[increment])

    assert tuple(w.log()) == ()
    assert w.position == 0
    assert w.remove("increment").position == 0


def test_marks_are_not_events():
    """S8: handing out and releasing leave no trace in the log."""
    w = rich().plan_eagerly(2)
    out, runnables = w.prepare_for_dispatch()
    back = out
    for runnable in runnables:
        back = back.release(runnable)

    assert w.log() == out.log() == back.log()
    assert back.in_flight() == []


def test_the_log_is_of_closed_kinds_and_names_nodes():
    """Section 5: events name nodes by key, never by index."""
    w = rich().react_until_satisfied(2).react_until_satisfied(3)
    nodes = {event.node for event in w.log() if hasattr(event, "node")}

    assert {"double", "each", "each/items", "kept", "INPUT", "across"} <= nodes
    assert all(isinstance(node, str) for node in nodes)


def test_every_prefix_rebuilds_what_was():
    """S2, S3: from_log and at agree with the live workflow at every position."""
    template = rich()
    handles = [template]
    for value in (3, 4, 0):
        handles += hand(handles[-1].plan_eagerly(value))
    last = handles[-1]
    log = last.log()
    seen = {w.position: w for w in handles}

    for position, w in seen.items():
        again = td.Workflow.from_log(template, log[:position])
        assert again == w.at(position) == last.at(position)
        assert observed(again) == observed(last.at(position))


def test_rebuilding_runs_no_user_code():
    """S2: not functions, conditions, key functions or factories."""
    calls: list[str] = []

    def noting(name: str, give: Any) -> Any:
        def function(*values: Any) -> Any:
            calls.append(name)
            return give(*values)

        return function

    template = td.workflow(
        "w",
        rules=[td.rule(noting("r", double), name="r", condition=noting("c", is_even))],
        components=[
            td.accumulator(noting("a", plus), initial=noting("i", int), key=noting("k", parity))
        ],
    )
    w = template.react_until_satisfied(2)
    del calls[:]
    again = td.Workflow.from_log(template, w.log())
    w.at(2).results()

    assert again == w
    assert again.results() == w.results()
    assert calls == []


def test_a_log_that_travelled_alone_rebuilds_too():
    """S2: a log is data: a copy of it is as good, whatever came of its strings on the way."""
    template = rich()
    w = template.react_until_satisfied(3).plan_eagerly(4)
    again = td.Workflow.from_log(template, pickle.loads(pickle.dumps(list(w.log()))))

    assert again == w
    assert again.react_until_satisfied() == w.react_until_satisfied()


def test_a_rebuilt_workflow_goes_on():
    """J150: pending work continues to the same results."""
    template = rich()
    w = template.plan_eagerly(3)
    w, runnables = w.prepare_for_dispatch()
    for runnable in runnables[:3]:
        w = w.apply_runnable(td.execute_runnable(runnable))
    again = td.Workflow.from_log(template, w.log()).react_until_satisfied()
    there = w
    for runnable in runnables[3:]:
        there = there.apply_runnable(td.execute_runnable(runnable))
    there = there.react_until_satisfied()

    assert again.results() == there.results()
    assert sorted(fact.id for fact in again.facts()) == sorted(fact.id for fact in there.facts())


def test_what_was_in_flight_is_ready_again():
    """S8: from_log starts with no marks."""
    template = td.workflow("w", steps=[increment, double])
    w, runnables = template.plan_eagerly(1).prepare_for_dispatch()
    again = td.Workflow.from_log(template, w.log())

    assert again.in_flight() == []
    assert [r.id for r in again.next_runnables()] == [r.id for r in runnables]


def test_at_starts_with_nothing_in_flight():
    """S8: nor does at(), at any position."""
    w = td.workflow("w", steps=[increment, double, td.step(abs)]).plan_eagerly(1)
    w, runnables = w.prepare_for_dispatch()
    for runnable in runnables[:2]:
        w = w.apply_runnable(td.execute_runnable(runnable))

    assert w.in_flight() == ["abs@0"]
    assert [w.at(position).in_flight() for position in range(w.position + 1)] == [[]] * 5
    assert [r.id for r in w.at(w.position).next_runnables()] == ["abs@0"]


def test_a_prefix_that_is_empty_is_the_template():
    """S3: at(0) and an empty log."""
    w = rich().react_until_satisfied(2)

    assert w.at(0) == rich() == td.Workflow.from_log(rich(), [])
    assert w.at(0).position == 0


def test_time_travel_is_a_fork():
    """S3: going on from at() leaves the rest alone."""
    w = td.workflow("w", steps=[(increment, [double])]).react_until_satisfied(1)
    past = w.at(3)
    other = past.replace("double", lambda x: x * 100).react_until_satisfied()

    assert past.results() == {}
    assert past.results("increment") == {"increment": 2}
    assert other.results() == {"double": 200}
    assert w.results() == {"double": 4}


def test_at_a_position_that_is_not_there():
    """S3: an error that says how many there are."""
    w = td.workflow("w", steps=[increment]).react_until_satisfied(1)
    nowhere: list[Any] = [-1, 4, "x", None, 1.0]
    for position in nowhere:
        with pytest.raises(errors.UsageError, match="3 events"):
            w.at(position)

    assert w.at(3) == w


def test_the_graph_comes_from_the_log():
    """S27: the definition gives functions only: what it has besides is not part of the run."""
    w = td.workflow("w", steps=[increment]).react_until_satisfied(1)
    bigger = td.workflow("w", steps=[(increment, [double])])
    again = td.Workflow.from_log(bigger, w.log())

    assert again.components() == ["increment"]
    assert again.results() == {"increment": 2}


def test_functions_come_from_the_definition():
    """S27: by name; what was done is not done again."""
    w = td.workflow("w", steps=[(increment, [double])]).react(1)
    changed = td.workflow("w", steps=[(increment, [td.step(lambda x: -x, name="double")])])
    again = td.Workflow.from_log(changed, w.log()).react_until_satisfied()

    assert again.results("increment", "double") == {"increment": 2, "double": -2}


def test_a_missing_function_is_told_when_its_work_is_prepared():
    """S27: not before; the error names the component and how to give it, and loses no work."""
    w = td.workflow("w", steps=[(increment, [double])]).react(1)
    smaller = td.workflow("w", steps=[increment])
    again = td.Workflow.from_log(smaller, w.log())
    assert again.results("increment") == {"increment": 2}
    with pytest.raises(errors.MissingFunction) as caught:
        again.prepare_for_dispatch()
    complete = td.Workflow.from_log(smaller, again.log(), components={"double": double})

    assert "'double'" in str(caught.value)
    assert "components=" in str(caught.value)
    assert complete.react_until_satisfied().results() == {"double": 4}


def test_a_log_of_another_definition_is_refused():
    """S27: the names say whose it is."""
    w = td.workflow("one", steps=[increment]).react_until_satisfied(1)
    with pytest.raises(errors.LogError, match=r"'one'.*'two'"):
        td.Workflow.from_log(td.workflow("two", steps=[increment]), w.log())


# ----------------------------------------------------------------------------------------- forks


def test_two_ways_on_do_not_meet():
    """S1: any handle can be gone on from, any number of times."""
    w = td.workflow("w", components=[td.accumulator(plus, initial=0, name="sum")])
    w = w.react_until_satisfied(1)
    forks = [w.react_until_satisfied(n) for n in (10, 20, 30)]

    assert [fork.states() for fork in forks] == [{"sum": {None: 1 + n}} for n in (10, 20, 30)]
    assert w.states() == {"sum": {None: 1}}
    assert w.react_until_satisfied(10) == forks[0]


def test_older_handles_can_be_read_while_newer_go_on():
    """S1: reading an old handle disturbs nobody."""
    handles = hand(rich().plan_eagerly(3))
    positions = [w.position for w in handles]
    first = [observed(w) for w in handles]

    assert [observed(w) for w in reversed(handles)] == first[::-1]
    assert [w.position for w in handles] == positions


def test_outcomes_of_another_branch_are_foreign():
    """S9: work made on another branch after the two parted."""
    w = td.workflow("w", steps=[(increment, [double])]).plan_eagerly(1)
    left = w.react()
    right = w.react()
    left, [theirs] = left.prepare_for_dispatch()
    with pytest.raises(errors.ForeignOutcome, match="double@0"):
        right.apply_runnable(td.execute_runnable(theirs))

    assert right.react_until_satisfied().results() == {"double": 4}


def test_outcomes_from_before_the_parting_are_welcome():
    """S9: work of the common past may be answered on each branch."""
    w, [runnable] = td.workflow("w", steps=[increment]).plan_eagerly(1).prepare_for_dispatch()
    outcome = td.execute_runnable(runnable)
    left, right = w.apply_runnable(outcome), w.plan_eagerly(2).apply_runnable(outcome)

    assert left.results() == {"increment": 2}
    assert right.results(input=0) == {"increment": 2}


def test_two_runs_of_one_template_are_two_branches():
    """S9: their work is not mixed up, though it has the same ids."""
    template = td.workflow("w", steps=[increment])
    _, [theirs] = template.plan_eagerly(1).prepare_for_dispatch()
    two, [ours] = template.plan_eagerly(10).prepare_for_dispatch()
    with pytest.raises(errors.ForeignOutcome):
        two.apply_runnable(td.execute_runnable(theirs))
    with pytest.raises(errors.ForeignOutcome):
        two.release(theirs)

    assert ours.id == theirs.id
    assert two.in_flight() == [ours.id]


def test_outcomes_of_another_workflow_are_foreign():
    """S9: from outside this workflow's ancestry, whatever its components are called."""
    _, [theirs] = td.workflow("one", steps=[increment]).plan_eagerly(1).prepare_for_dispatch()
    two, _ = td.workflow("two", steps=[increment]).plan_eagerly(10).prepare_for_dispatch()
    with pytest.raises(errors.ForeignOutcome):
        two.apply_runnable(td.execute_runnable(theirs))

    assert two.results() == {}


def test_outcomes_of_another_runs_key_are_foreign():
    """S9: two runs by their keys, in whatever process they were made."""
    template = td.workflow("w", steps=[increment])
    copied = pickle.loads(pickle.dumps(template))
    _, [theirs] = template.with_run_key("1").plan_eagerly(1).prepare_for_dispatch()
    two, _ = copied.with_run_key("2").plan_eagerly(10).prepare_for_dispatch()
    with pytest.raises(errors.ForeignOutcome, match="'1'"):
        two.apply_runnable(td.execute_runnable(theirs))

    assert two.results() == {}


def test_a_template_takes_no_outcome():
    """S9: nothing was ever prepared by it."""
    template = td.workflow("w", steps=[increment])
    _, [runnable] = template.plan_eagerly(1).prepare_for_dispatch()
    with pytest.raises(errors.ForeignOutcome):
        template.apply_runnable(td.execute_runnable(runnable))


@pytest.mark.parametrize("how", ["log", "pickle", "at", "both from the log"])
def test_a_copy_that_goes_on_by_itself_is_another_branch(how: str):
    """S9: work made in the original and in its copy, after the two parted, is not mixed up."""
    template = td.workflow("w", steps=[increment])
    original = template.react_until_satisfied(1)
    if how == "log":
        copy = td.Workflow.from_log(template, original.log())
    elif how == "pickle":
        copy = pickle.loads(pickle.dumps(original))
    elif how == "at":
        copy = original.at(original.position)
    else:
        copy = td.Workflow.from_log(template, original.log())
        original = td.Workflow.from_log(template, original.log())
    _, [theirs] = original.plan_eagerly(5).prepare_for_dispatch()
    copy, _ = copy.plan_eagerly(50).prepare_for_dispatch()
    with pytest.raises(errors.ForeignOutcome):
        copy.apply_runnable(td.execute_runnable(theirs))

    assert copy.results() == {}


def test_a_rebuilt_workflow_takes_outcomes_of_before():
    """S9, J150: a log carries its branch: work out before a crash may come back after it."""
    template = td.workflow("w", steps=[increment])
    w, [runnable] = template.plan_eagerly(1).prepare_for_dispatch()
    again = td.Workflow.from_log(template, w.log())

    assert again.apply_runnable(td.execute_runnable(runnable)).results() == {"increment": 2}


# ------------------------------------------------------------------------------------------- keys


def test_a_key_makes_the_second_input_a_no_op():
    """S4: the same key is the same input, whatever its value."""
    w = td.workflow("w", steps=[increment]).react_until_satisfied(1, key="a")
    again = w.react_until_satisfied(5, key="a").plan_eagerly(6, key="a")
    other = again.react_until_satisfied(1, key="b")

    assert again.log() == w.log()
    assert not again.is_runnable()
    assert [entry["key"] for entry in other.inputs()] == ["a", "b"]


def test_keys_survive_the_log():
    """S4: a rebuilt workflow knows the keys."""
    template = td.workflow("w", steps=[increment])
    w = template.react_until_satisfied(1, key="a")
    again = td.Workflow.from_log(template, w.log())

    assert again.react_until_satisfied(1, key="a").log() == w.log()


def test_keys_are_kept_within_what_retain_remembers():
    """S4: with retain=n those of the n inputs that are kept."""
    w = td.workflow("w", steps=[increment], retain=1)
    for n in range(3):
        w = w.react_until_satisfied(n, key=f"k{n}")
    same = w.react_until_satisfied(2, key="k2")
    new = w.react_until_satisfied(0, key="k0")

    assert same.log() == w.log()
    assert [entry["number"] for entry in w.inputs()] == [1, 2]
    assert new.position > w.position
    assert new.results() == {"increment": 1}


# ----------------------------------------------------------------------------------------- retain


def long(retain: Any, inputs: int = 150) -> td.Workflow:
    """A workflow with a state and a fan-out, after many inputs."""
    w = td.workflow("w", steps=[(increment, [double])], retain=retain)
    w = w.add(td.accumulator(plus, initial=0, name="sum"), to="increment")
    w = w.add(upto).add(td.map(double, name="each"), to="upto")
    for n in range(inputs):
        w = w.react_until_satisfied(n % 5)
    return w


@pytest.mark.parametrize("retain", ["results", 0, 1, 5])
def test_what_is_forgotten_is_not_missed(retain: Any):
    """S3: the last input, states and numbers are as with everything kept."""
    full, lean = long("all"), long(retain)

    assert lean.results() == full.results()
    assert lean.states() == full.states()
    assert lean.facts(input=-1) == full.facts(input=-1)
    assert lean.position == full.position
    assert len(lean.log()) < len(full.log())
    assert lean.react_until_satisfied(3).results() == full.react_until_satisfied(3).results()


@pytest.mark.parametrize("retain", ["results", 0, 1, 5])
def test_a_lean_log_rebuilds_too(retain: Any):
    """S2, S3: from the baseline on."""
    w = long(retain)
    again = td.Workflow.from_log(long(retain, 0), w.log())

    assert type(w.log()[0]).__name__ == "Baseline"
    assert again == w
    assert again.react_until_satisfied(2) == w.react_until_satisfied(2)
    for position in range(w.log()[0].position, w.position + 1, 50):
        assert w.at(position).position == position


def test_retain_n_keeps_n_inputs():
    """S3: besides the last, n are kept; older ones raise Forgotten in all that takes input=."""
    w, full = long(5), long("all")
    kept = [entry["number"] for entry in w.inputs()]
    for ask in (w.results, w.facts, w.failures, w.starved, w.touched, w.raw_productions):
        with pytest.raises(errors.Forgotten, match="input 0"):
            ask(input=0)

    with pytest.raises(errors.Forgotten, match="retain"):
        w.at(1)

    assert kept == [144, 145, 146, 147, 148, 149]
    assert w.results(input=144) == w.results(input=-6) == full.results(input=144)
    assert w.facts(input=145) == full.facts(input=145)


def test_retain_results_keeps_results_only():
    """S3: results of old inputs can be read, their facts cannot."""
    full, w = long("all", 12), long("results", 12)

    assert w.results(input=3) == full.results(input=3)
    assert w.results(input=0) == full.results(input=0)
    with pytest.raises(errors.Forgotten):
        w.facts(input=3)
    with pytest.raises(errors.Forgotten):
        w.touched(3)


def test_the_last_input_can_always_be_read():
    """S3: folding happens when the next input is accepted."""
    w = td.workflow("w", steps=[(increment, [double])], retain=0)
    for n in range(5):
        w = w.react_until_satisfied(n)
        assert w.results() == {"double": (n + 1) * 2}
        assert [fact.value for fact in w.facts(input=-1)] == [n, n + 1, (n + 1) * 2]
    with pytest.raises(errors.Forgotten):
        w.results(input=3)


def test_open_inputs_are_never_forgotten():
    """S3: only quiet inputs are folded."""
    w = td.workflow("w", steps=[(increment, [double])], retain=0).plan_eagerly(100)
    w, [out] = w.prepare_for_dispatch()
    for n in range(60):
        w = w.react_until_satisfied(n)
    w = w.apply_runnable(td.execute_runnable(out)).react_until_satisfied()

    assert w.results(input=0) == {"double": 202}
    assert w.is_satisfied()


def test_joins_across_inputs_survive_forgetting():
    """S3, S18: partners and their waiting facts are kept in the baseline."""
    w = td.workflow(
        "w",
        retain=0,
        rules=[td.rule(lambda x: x[1], name=n, condition=td.match([n, ...])) for n in ("l", "r")],
    )
    w = w.add(td.step(join), to=["l", "r"], correlate="arrival")
    for n in range(60):
        w = w.react_until_satisfied(("l", n))
    for n in range(40):
        w = w.react_until_satisfied(("r", -n))

    assert w.results() == {"join": [(39, -39)]}


def test_positions_go_on_counting():
    """S3: what is folded still counts."""
    w = long(0)
    baseline, *positions = [event.position for event in w.log()]

    assert positions == list(range(baseline, baseline + len(positions)))
    assert w.position == positions[-1] + 1 == long("all").position


def test_retain_zero_pins_no_past():
    """S3: the log stays short however many inputs there were."""
    w = long(0, 600)

    assert w.position > 4000
    assert len(w.log()) < 600


# --------------------------------------------------------------------------------------- pickling


def test_a_workflow_pickles_as_definition_and_log():
    """Section 4: it comes back equal and goes on."""
    w = rich().react_until_satisfied(3).plan_eagerly(4)
    back = pickle.loads(pickle.dumps(w))

    assert back == w
    assert observed(back) == observed(w)
    assert back.react_until_satisfied().results() == w.react_until_satisfied().results()


def test_a_pickled_template_means_the_same():
    """Section 4: each component does in the copy what it does in the original."""
    template = rich()
    copied = pickle.loads(pickle.dumps(template))
    for value in (0, 1, 4, 7):
        assert copied.react_until_satisfied(value) == template.react_until_satisfied(value)


def test_a_dispatched_rule_means_the_same_after_pickling():
    """S13: its reaction gets the fact, not the predicate's answer."""
    rule = td.rule(double, name="r", condition=is_even, dispatch=True)
    template = td.workflow("w", rules=[rule])
    copied = pickle.loads(pickle.dumps(template))

    assert template.react_until_satisfied(8).results() == {"r": 16}
    assert copied.react_until_satisfied(8).results() == {"r": 16}


def test_templates_and_forks_pickle():
    """Section 4: at any point."""
    w = rich().react_until_satisfied(3)
    for position in (0, 1, 4, w.position):
        there = w.at(position)
        assert pickle.loads(pickle.dumps(there)) == there


def test_decorated_functions_pickle():
    """Section 4: by reference to the component that holds them."""
    w = td.workflow("w", steps=[decorated], rules=[positive]).react_until_satisfied(1)
    back = pickle.loads(pickle.dumps(w)).react_until_satisfied(2)

    assert back.results() == {"decorated": 102, "positive": 2}


def test_edits_under_way_pickle():
    """S27: added and replaced components come back with their functions."""
    w = td.workflow("w", steps=[increment]).react_until_satisfied(1)
    w = w.add(double, to="increment").replace("increment", upto).remove("double").add(double)
    back = pickle.loads(pickle.dumps(w))

    assert back == w
    assert back.react_until_satisfied(2).results() == {"increment": [0, 1], "double": 4}


def test_a_function_that_cannot_is_named():
    """Section 4: it says which function cannot, and what to do."""
    w = td.workflow("w", steps=[td.step(lambda x: x, name="hidden")])
    with pytest.raises(errors.NotPortable) as caught:
        pickle.dumps(w)

    assert "<lambda>" in str(caught.value)
    assert caught.value.hint


def test_runnables_and_outcomes_pickle():
    """Section 4: there and back by hand."""
    w = rich().plan_eagerly(3)
    while w.is_runnable():
        w, runnables = w.prepare_for_dispatch()
        for runnable in runnables:
            there = pickle.loads(pickle.dumps(runnable))
            assert (there.id, there.idempotency_key) == (runnable.id, runnable.idempotency_key)
            w = w.apply_runnable(pickle.loads(pickle.dumps(td.execute_runnable(there))))

    expected = rich().react_until_satisfied(3)
    assert w.results() == expected.results()
    assert [str(f) for f in w.failures()] == [str(f) for f in expected.failures()]


class Stubborn(Exception):
    """Cannot be pickled."""

    def __reduce__(self) -> Any:
        message = "not portable"
        raise TypeError(message)


def stubborn(x: Any) -> Any:
    """Raise what cannot travel."""
    raise Stubborn(x)


def test_an_outcome_travels_without_what_cannot():
    """S2: the exception stays behind where it must; its data comes along."""
    _, [runnable] = td.workflow("w", steps=[stubborn]).plan_eagerly(1).prepare_for_dispatch()
    outcome = pickle.loads(pickle.dumps(td.execute_runnable(runnable)))

    assert outcome.exception is None
    assert outcome.error.name == "Stubborn"


def run_all(w: td.Workflow) -> td.Workflow:
    """Go on in another process."""
    return w.react_until_satisfied()


@pytest.mark.slow
def test_through_a_real_process():
    """Section 4: workflows, runnables and outcomes cross into a spawned process and back."""
    w = rich().react_until_satisfied(2).plan_eagerly(3)
    handed, runnables = w.prepare_for_dispatch()
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        far = pool.submit(run_all, w).result()
        for runnable in runnables:
            handed = handed.apply_runnable(pool.submit(td.execute_runnable, runnable).result())
    handed = handed.react_until_satisfied()

    assert far == w.react_until_satisfied()
    assert far.results() == handed.results()
    assert far.states() == handed.states()


def test_errors_pickle():
    """Errors say that they pickle."""
    w = td.workflow("w", steps=[reciprocal]).react_until_satisfied(0)
    with pytest.raises(errors.StepFailed) as caught:
        w.results(raise_on_failure=True)
    back = pickle.loads(pickle.dumps(caught.value))

    assert (back.component, back.input, back.attempt) == ("reciprocal", 0, 1)
    assert str(back) == str(caught.value)


def test_absent_and_the_other_names_pickle_to_themselves():
    """Section 4: identity survives."""
    for name in (td.ABSENT, td.INPUT, td.ALL):
        assert pickle.loads(pickle.dumps(name)) is name
