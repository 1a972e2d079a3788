"""Fan-outs: behaviours F, rule S21."""

import itertools
import random
from collections import OrderedDict, deque
from typing import Any

import pytest

import treadle as td
from treadle import errors


def same(x: Any) -> Any:
    """The value itself."""
    return x


def total(state: Any, value: Any) -> Any:
    """Add up."""
    return state + value


def reciprocal(x: Any) -> Any:
    """Fail for 0."""
    return 1 / x


def mapping(fn: Any = same, **options: Any) -> td.Workflow:
    """A fan-out over the raw input."""
    return td.workflow("w", components=[td.map(fn, name="m", **options)])


def shuffled(w: td.Workflow, seed: int) -> td.Workflow:
    """Drive with outcomes applied in a random order."""
    chosen = random.Random(seed)
    out: list[td.Runnable] = []
    while out or w.is_runnable():
        w, more = w.prepare_for_dispatch()
        out += more
        if out:
            w = w.apply_runnable(td.execute_runnable(out.pop(chosen.randrange(len(out)))))
    return w


# ------------------------------------------------------------------------------------------ map


def test_one_fact_per_element():
    """F75: map over [1, 2, 3] gives a fact per element, in scopes of their own."""
    w = mapping(lambda x: x * 10).react_until_satisfied([1, 2, 3])

    assert w.results() == {"m": [10, 20, 30]}
    assert [(fact.scope, fact.value) for fact in w.productions_by_component()["m"]] == [
        ((0, 0), 10),
        ((0, 1), 20),
        ((0, 2), 30),
    ]


def test_each_element_goes_through_the_pipeline():
    """F76: what follows a map is in the item's scope too."""
    w = mapping().add(td.step(lambda x: x + 1, name="a"), to="m")
    w = w.add(td.step(lambda x: x * 2, name="b"), to="a").add(td.step(str, name="c"), to="m")
    w = w.react_until_satisfied([1, 2, 3])

    assert w.results() == {"b": [4, 6, 8], "c": ["1", "2", "3"]}


@pytest.mark.parametrize("seed", range(6))
def test_a_reduce_folds_in_element_order(seed: int):
    """F77: one fold in element order, whatever the order of completion."""
    w = mapping(str).add(td.reduce(total, initial="", name="text"), to="m")
    w = shuffled(w.plan_eagerly(list(range(10))), seed)

    assert w.results() == {"text": "0123456789"}
    assert len(w.facts("text")) == 1


@pytest.mark.parametrize("seed", range(6))
def test_results_of_items_are_in_item_order(seed: int):
    """Section 4: flat, in item order, whatever came first."""
    w = shuffled(mapping().plan_eagerly([3, 1, 2]), seed)

    assert w.results() == {"m": [3, 1, 2]}


def test_an_empty_collection_gives_initial():
    """F79: the reduce of nothing is `initial`; collect gives its function an empty list."""
    w = mapping().add(td.reduce(total, initial=7, name="sum"), to="m")
    w = w.add(td.collect(name="all"), to="m").add(td.collect(len, name="size"), to="m")

    assert w.react_until_satisfied([]).results() == {"sum": 7, "all": [], "size": 0}
    assert mapping().react_until_satisfied([]).results() == {"m": []}


def test_initial_is_made_anew_for_each_group():
    """S1: a factory is called, any other initial is copied."""

    def put(state: list[Any], value: Any) -> list[Any]:
        state.append(value)
        return state

    w = mapping().add(td.reduce(put, initial=[], name="copied"), to="m")
    w = w.add(td.reduce(put, initial=list, name="made"), to="m")
    w = w.react_until_satisfied([1]).react_until_satisfied([2])

    assert w.results() == {"copied": [2], "made": [2]}
    assert w.results(input=0) == {"copied": [1], "made": [1]}


def test_a_reduce_without_initial():
    """S21: it begins with the first item; an empty group is a failure."""
    w = mapping().add(td.reduce(total, name="sum"), to="m")
    empty = w.react_until_satisfied([])
    [failure] = empty.failures()

    assert w.react_until_satisfied([1, 2, 3]).results() == {"sum": 6}
    assert w.react_until_satisfied([5]).results() == {"sum": 5}
    assert failure.component == "sum"
    assert "initial" in failure.error.text


def test_duplicates_count_each_time():
    """F80: equal elements are elements of their own."""
    calls: Any = []
    w = mapping(lambda x: calls.append(x) or x)
    w = w.add(td.reduce(total, initial=0, name="sum"), to="m").react_until_satisfied([2, 2, 2])

    assert w.results() == {"sum": 6}
    assert calls == [2, 2, 2]


def test_two_collections_in_flight_are_kept_apart():
    """F84: groups belong to their inputs."""
    w = mapping().add(td.collect(name="all"), to="m")
    w = w.plan_eagerly([1, 2]).plan_eagerly([3]).plan_eagerly([])

    for seed in range(5):
        done = shuffled(w, seed)
        assert [done.results(input=n)["all"] for n in range(3)] == [[1, 2], [3], []]


def test_a_join_of_a_reduce_and_a_step_on_threads():
    """F86: works under parallel execution."""
    w = mapping(lambda x: x * 2).add(td.reduce(total, initial=0, name="sum"), to="m")
    w = w.add(td.step(len, name="size"))
    w = w.add(td.step(lambda a, b: (a, b), name="pair"), to=["sum", "size"])
    for n in range(5):
        w = w.plan_eagerly(list(range(n)))
    w = w.react_until_satisfied(executor="threads", max_concurrency=4)

    assert [w.results(input=n)["pair"] for n in range(5)] == [
        (0, 0),
        (0, 1),
        (2, 2),
        (6, 3),
        (12, 4),
    ]


@pytest.mark.parametrize("value", [5, None, "text", b"bytes", bytearray(b"x"), object(), 1.5])
def test_what_is_no_collection_fails_the_map(value: Any):
    """F87, S21: text and non-iterables are a failure of the map that says so, never silence."""
    w = mapping().add(td.collect(name="all"), to="m").react_until_satisfied(value)
    failure = w.failures()[0]

    assert (failure.component, failure.error.name) == ("m", "BadValue")
    assert "map takes a collection" in failure.error.text
    assert w.is_satisfied()
    assert "all" not in w.results()


@pytest.mark.parametrize(
    ("value", "items"),
    [
        ([1, 2], [1, 2]),
        ((1, 2), [1, 2]),
        (range(2), [0, 1]),
        ({"a": 1, "b": 2}, ["a", "b"]),
        (OrderedDict(x=1), ["x"]),
        ({7}, [7]),
        (deque([1]), [1]),
        ([[1], None, "x"], [[1], None, "x"]),
    ],
)
def test_what_is_a_collection(value: Any, items: list[Any]):
    """S21: any iterable; a dict gives its keys; elements may be anything, None too."""
    assert mapping().react_until_satisfied(value).results() == {"m": items}


def test_a_collection_that_raises_while_it_is_read_fails_the_map():
    """S21, S25: a faulty iterable is a recorded failure."""

    class Faulty:
        def __iter__(self) -> Any:
            yield 1
            message = "the line broke"
            raise OSError(message)

    [failure] = mapping().react_until_satisfied(Faulty()).failures()

    assert (failure.component, failure.error.name) == ("m", "OSError")


def test_a_map_of_several_parents():
    """Section 4: the first parent is the collection, the others are further ports in each item."""
    w = td.workflow("w", steps=[td.step(lambda x: x["lines"], name="lines")])
    w = w.add(td.step(lambda x: x["rate"], name="rate"))
    w = w.add(td.map(lambda line, rate: line * rate, name="priced"), to=["lines", "rate"])
    w = w.add(td.collect(name="all"), to="priced")

    assert w.react_until_satisfied({"lines": [1, 2], "rate": 5}).results() == {"all": [5, 10]}
    assert w.react_until_satisfied({"lines": [], "rate": 5}).results() == {"all": []}


def test_a_map_of_one_parent_unpacks_each_element():
    """S16: n ports and one parent: each element is a list or tuple of n."""
    w = mapping(lambda a, b: a + b).react_until_satisfied([(1, 2), [3, 4], (5,)])

    assert w.results() == {"m": [3, 7]}
    assert [failure.scope for failure in w.failures()] == [(0, 2)]


def test_a_map_given_absent_does_not_fire():
    """S21, S25: it arms nothing: no group, no result."""
    w = td.workflow("w", steps=[td.step(lambda x: td.ABSENT, name="skip")])
    w = w.add(td.map(same, name="m"), to="skip").add(td.collect(name="all"), to="m")
    w = w.react_until_satisfied([1])

    assert w.results() == {}
    assert w.results("m", "all") == {"m": td.ABSENT, "all": td.ABSENT}
    assert w.failures() == []
    assert w.is_satisfied()


def test_items_that_give_absent_are_passed_over():
    """S21: a skipped item counts as arrived and is no failure."""
    w = mapping(lambda x: x if x % 2 else td.ABSENT).add(td.collect(name="all"), to="m")
    w = w.add(td.reduce(total, initial=0, name="sum"), to="m").react_until_satisfied([1, 2, 3, 4])

    assert w.results() == {"all": [1, 3], "sum": 4}
    assert w.failures() == []


def test_elements_filtered_by_a_rule():
    """F83: a reduce completes with the rest."""
    w = mapping().add(td.rule(lambda x: x, name="odd", condition=lambda x: x % 2), to="m")
    w = w.add(td.collect(name="all"), to="odd")

    assert w.react_until_satisfied([1, 2, 3]).results() == {"all": [1, 3]}
    assert w.react_until_satisfied([2, 4]).results() == {"all": []}
    assert w.react_until_satisfied([]).results() == {"all": []}


def test_elements_filtered_by_a_gate():
    """F83: a condition as a gate filters too."""
    w = mapping().add(td.condition(lambda x: x % 2, name="odd"), to="m")
    w = w.add(td.collect(name="all"), to="odd").react_until_satisfied([1, 2, 3])

    assert w.results() == {"all": [1, 3]}


# ---------------------------------------------------------------------------------------- nested


def nested() -> td.Workflow:
    """A map over rows and one over the cells of each."""
    w = td.workflow("w", components=[td.map(same, name="row")])
    return w.add(td.map(same, name="cell"), to="row")


ROWS = [[1, 2], [], [3]]


def test_the_innermost_fan_out_is_closed():
    """F81: a reduce on the inner gives one result per outer element."""
    w = nested().add(td.reduce(total, initial=0, name="sum"), to="cell").react_until_satisfied(ROWS)

    assert w.results() == {"sum": [3, 0, 3]}


def test_over_closes_the_named_fan_out():
    """F81: over the outer: one result overall, over all that arrived, in element order."""
    w = nested().add(td.collect(over="row", name="all"), to="cell").react_until_satisfied(ROWS)

    assert w.results() == {"all": [1, 2, 3]}


def test_over_takes_the_map_itself_too():
    """Section 4: a component stands for its name."""
    row: Any = td.map(same, name="row")
    w = td.workflow("w", components=[row]).add(td.map(same, name="cell"), to=row)
    w = w.add(td.collect(over=row, name="all"), to="cell").react_until_satisfied(ROWS)

    assert w.results() == {"all": [1, 2, 3]}


def test_reduce_after_reduce():
    """F81: closing twice comes back to the root scope."""
    w = nested().add(td.reduce(total, initial=0, name="inner"), to="cell")
    w = w.add(td.reduce(max, initial=-1, name="outer"), to="inner")

    assert w.react_until_satisfied(ROWS).results() == {"outer": 3}
    assert w.react_until_satisfied([]).results() == {"outer": -1}
    assert [fact.scope for fact in w.react_until_satisfied(ROWS).facts("outer")] == [(0,)]


@pytest.mark.parametrize("seed", range(6))
def test_nested_fan_outs_do_not_depend_on_the_order(seed: int):
    """F77, F81: element order, whatever came first."""
    w = nested().add(td.collect(name="rows"), to="cell").add(td.collect(name="table"), to="rows")
    w = w.add(td.collect(over="row", name="flat"), to="cell")
    rows = [[10 * y + x for x in range(y)] for y in range(5)]
    w = shuffled(w.plan_eagerly(rows), seed)

    assert w.results() == {"table": rows, "flat": list(itertools.chain(*rows))}


def test_results_of_nested_items_are_flat():
    """Section 4: a component inside fan-outs gives what was produced, flat, in item order."""
    assert nested().react_until_satisfied(ROWS).results() == {"cell": [1, 2, 3]}
    assert nested().react_until_satisfied([[], []]).results() == {"cell": []}
    assert nested().react_until_satisfied([]).results("cell") == {"cell": td.ABSENT}


def test_a_reduced_inner_joins_its_outer_item():
    """S16: after the close, the place is the outer item's again."""
    w = nested().add(td.reduce(total, initial=0, name="sum"), to="cell")
    w = w.add(td.step(lambda row, s: (len(row), s), name="told"), to=["row", "sum"])

    assert w.react_until_satisfied(ROWS).results() == {"told": [(2, 3), (0, 0), (1, 3)]}


def test_over_must_name_a_map_around():
    """S21: the error names what is around."""
    with pytest.raises(errors.DefinitionError, match="'rwo'") as caught:
        nested().add(td.collect(over="rwo", name="all"), to="cell")

    assert "'row'" in str(caught.value)
    assert "'cell'" in str(caught.value)


def test_a_reduce_takes_one_parent():
    """S21: several are to be joined before."""
    with pytest.raises(errors.ArityMismatch, match="one parent"):
        nested().add(td.collect(name="all"), to=["row", "cell"])


def test_folding_a_value_of_its_own():
    """S21: outside any fan-out they fold the elements of the value."""
    w = td.workflow(
        "w", components=[td.reduce(total, initial=0, name="sum"), td.collect(name="all")]
    )

    assert w.react_until_satisfied([1, 2, 3]).results() == {"sum": 6, "all": [1, 2, 3]}
    assert w.react_until_satisfied(()).results() == {"sum": 0, "all": []}


@pytest.mark.parametrize("value", ["text", b"x", 5, None])
def test_folding_what_is_no_collection_fails(value: Any):
    """S21: a non-iterable, str or bytes fails the reduce."""
    w = td.workflow("w", components=[td.reduce(total, initial=0, name="sum")])
    [failure] = w.react_until_satisfied(value).failures()

    assert (failure.component, failure.error.name) == ("sum", "BadValue")


# -------------------------------------------------------------------------------- failing items


def test_fail_lets_the_others_run_and_names_the_items():
    """S21: the default: the others run, then the reduce fails, naming who failed."""
    calls: Any = []
    w = mapping(lambda x: calls.append(x) or 1 / x).add(td.collect(name="all"), to="m")
    w = w.react_until_satisfied([1, 0, 2, 0])
    last = w.failures()[-1]

    assert calls == [1, 0, 2, 0]
    assert w.results() == {}
    assert [failure.component for failure in w.failures()] == ["m", "m", "all"]
    assert last.error.name == "ItemsFailed"
    assert "1" in last.error.text
    assert "3" in last.error.text


def test_items_failed_tells_which():
    """S21: the live exception has the indices."""
    w = mapping(reciprocal).add(td.collect(name="all"), to="m")
    w = w.add(td.step(lambda failure: "seen", name="h"), to=td.error_of("m"))
    with pytest.raises(errors.StepFailed) as caught:
        w.run_or_raise([1, 0, 2, 0])

    assert caught.value.component == "all"
    assert isinstance(caught.value.__cause__, errors.ItemsFailed)
    assert [item[-1] for item in caught.value.__cause__.items] == [1, 3]


def test_skip_leaves_failed_items_out():
    """S21: on_item_failure="skip"."""
    w = mapping(reciprocal).add(td.collect(name="all", on_item_failure="skip"), to="m")
    w = w.add(td.reduce(total, initial=0, name="sum", on_item_failure="skip"), to="m")
    w = w.react_until_satisfied([1, 0, 2])

    assert w.results() == {"all": [1.0, 0.5], "sum": 1.5}
    assert [failure.component for failure in w.failures()] == ["m"]


def test_collect_leaves_the_failure_in_its_place():
    """S21: on_item_failure="collect" puts the Failure where the item would be."""
    w = mapping(reciprocal).add(td.collect(name="all", on_item_failure="collect"), to="m")
    w = w.react_until_satisfied([1, 0, 2])
    first, failure, last = w.results()["all"]

    assert (first, last) == (1.0, 0.5)
    assert isinstance(failure, td.Failure)
    assert (failure.component, failure.inputs, failure.scope) == ("m", (0,), (0, 1))


def test_an_item_that_arrived_all_the_same_did_not_fail():
    """S21: an item failed for it if nothing of the item arrived."""
    w = mapping().add(td.step(reciprocal, name="r"), to="m")
    w = w.add(td.step(lambda *v: v, name="both"), to=["m", "r"], join="settled")
    w = w.add(td.collect(name="all"), to="both").react_until_satisfied([1, 0])

    assert w.results() == {"all": [(1, 1.0), (0, td.ABSENT)]}


def test_a_failure_on_a_side_branch_of_the_item_does_not_count():
    """S21: only what failed upstream of the reduce."""
    w = mapping().add(td.step(reciprocal, name="side"), to="m").add(td.collect(name="all"), to="m")
    w = w.react_until_satisfied([1, 0])

    assert w.results("all") == {"all": [1, 0]}
    assert [failure.component for failure in w.failures()] == ["side"]


def test_a_failure_in_a_nested_fan_out_counts_as_in_the_item():
    """S21: with over= the item is an element of the named fan-out."""
    w = td.workflow("w", components=[td.map(same, name="row")])
    w = w.add(td.map(reciprocal, name="cell"), to="row")
    w = w.add(td.collect(over="row", name="all", on_item_failure="collect"), to="cell")
    w = w.react_until_satisfied([[1], [0], [2]])
    first, failure, last = w.results("all")["all"]

    assert (first, last) == (1.0, 0.5)
    assert isinstance(failure, td.Failure)
    assert w.react_until_satisfied([[1, 0]]).results("all") == {"all": [1.0]}


def test_a_failed_inner_reduce_is_a_failure_of_the_outer_item():
    """S21: the inner fails, naming its items; the outer decides by its own policy."""
    w = td.workflow("w", components=[td.map(same, name="row")])
    w = w.add(td.map(reciprocal, name="cell"), to="row")
    w = w.add(td.reduce(total, initial=0, name="inner"), to="cell")
    w = w.add(td.collect(name="outer", on_item_failure="skip"), to="inner")
    w = w.react_until_satisfied([[1, 2], [0, 1], []])

    assert w.results() == {"outer": [1.5, 0]}
    assert [failure.component for failure in w.failures()] == ["cell", "inner"]


def test_a_skipped_item_is_no_failed_item():
    """S21, S25: on_failure="skip" in the item: it counts as arrived and is passed over."""
    w = mapping(reciprocal, on_failure="skip").add(td.collect(name="all"), to="m")
    w = w.react_until_satisfied([1, 0, 2])

    assert w.results() == {"all": [1.0, 0.5]}
    assert [(f.component, f.on_failure) for f in w.failures()] == [("m", "skip")]


@pytest.mark.parametrize("policy", ["fail", "skip", "collect"])
def test_a_failure_around_the_fan_out_fails_the_reduce(policy: Any):
    """S21: where an enclosing failure let nothing arrive, the reduce fails under every policy."""
    w = mapping().add(td.step(lambda x: 1 / 0, name="rate"))
    w = w.add(td.step(lambda a, b: (a, b), name="pair"), to=["m", "rate"])
    w = w.add(td.collect(name="all", on_item_failure=policy), to="pair")
    w = w.react_until_satisfied([1, 2])

    assert [failure.component for failure in w.failures()] == ["rate", "all"]
    assert "all" not in w.results()


@pytest.mark.parametrize("policy", ["fail", "skip", "collect"])
def test_a_reduce_that_raises_is_a_failure_of_its_own(policy: Any):
    """S25: the fold's own error is recorded under the reduce."""
    w = mapping().add(
        td.reduce(lambda a, b: 1 / 0, initial=0, name="sum", on_item_failure=policy), to="m"
    )
    [failure] = w.react_until_satisfied([1, 2]).failures()

    assert (failure.component, failure.error.name) == ("sum", "ZeroDivisionError")


def test_error_of_a_map_is_at_the_items_place():
    """S24: the handler runs in the item; a failed expansion is only in failures()."""
    w = mapping(reciprocal)
    w = w.add(td.step(lambda f: f.inputs, name="h"), to=td.error_of("m"))
    items, none = w.react_until_satisfied([1, 0, 0]), w.react_until_satisfied("text")

    assert items.results("h") == {"h": [(0,), (0,)]}
    assert [fact.scope for fact in items.facts("h")] == [(0, 1), (0, 2)]
    assert [failure.handled for failure in items.failures()] == [True, True]
    assert none.facts("h") == []
    assert [(f.component, f.handled) for f in none.failures()] == [("m", False)]


def test_no_tracking_is_left_of_finished_batches():
    """F89: a finished fan-out leaves no work, no waiting and no starved join."""
    w = mapping(reciprocal).add(td.collect(name="all"), to="m")
    for value in ([1, 2], [], [0], "x"):
        w = w.react_until_satisfied(value)

    assert w.is_satisfied()
    assert w.starved() == []
    assert w.in_flight() == []


def test_merging_keeps_what_is_under_way():
    """F88: a workflow merged in the middle of a batch does not disturb it."""
    w = mapping().add(td.collect(name="all"), to="m")
    w, runnables = w.plan_eagerly([1, 2, 3]).prepare_for_dispatch()
    w = w.apply_runnable(td.execute_runnable(runnables[0]))
    w, items = w.prepare_for_dispatch()
    w = w.apply_runnable(td.execute_runnable(items[1]))
    w = w.merge(td.workflow("other", components=[td.map(same, name="other")]))
    for runnable in (items[2], items[0]):
        w = w.apply_runnable(td.execute_runnable(runnable))

    assert w.react_until_satisfied().results() == {"all": [1, 2, 3]}


def test_a_reducer_with_injection():
    """F90: a reducer that asks for context works in every way of driving."""

    def weighted(state: int, value: int, *, by: int = td.context("by", default=1)) -> int:
        return state + value * by

    w = mapping().add(td.reduce(weighted, initial=0, name="sum"), to="m")
    context = {"sum": {"by": 10}}

    assert w.react_until_satisfied([1, 2]).results() == {"sum": 3}
    assert w.react_until_satisfied([1, 2], run_context=context).results() == {"sum": 30}
    assert w.react_until_satisfied([1, 2], run_context=context, executor="threads").results() == {
        "sum": 30
    }


def test_constructors_are_decorators_too():
    """Section 4: map, reduce and collect decorate a function, with options and without."""

    @td.map
    def each(x: int) -> int:
        return x + 1

    @td.reduce(initial=0)
    def summed(state: int, value: int) -> int:
        return state + value

    @td.collect
    def listed(values: list[int]) -> list[int]:
        return values

    w = td.workflow("w", components=[each]).add(summed, to="each").add(listed, to="each")

    assert w.react_until_satisfied([1, 2]).results() == {"summed": 5, "listed": [2, 3]}
    assert (each(1), summed(1, 2), listed([3])) == (2, 3, [3])


def test_collect_with_options_is_a_decorator_too():
    """Section 4: each constructor works as a decorator, with its options."""

    @td.collect(on_item_failure="skip")
    def best(values: list[float]) -> float:
        return max(values)

    w = mapping(reciprocal).add(best, to="m")

    assert w.react_until_satisfied([1, 0, 2]).results() == {"best": 1.0}


def test_a_large_fan_out():
    """S21: ten thousand items close once."""
    w = mapping().add(td.reduce(total, initial=0, name="sum"), to="m")

    assert w.react_until_satisfied(range(10_000)).results() == {"sum": 49_995_000}
