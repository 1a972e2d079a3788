"""What a workflow leaves behind: nothing."""

import gc
import weakref
from typing import Any

import treadle as td


class Thing:
    """An object that can be watched."""


def boom(thing: Any) -> None:
    """Keep the thing in a frame of the traceback, and fail."""
    held = [thing]
    raise RuntimeError(f"{len(held)} thing")


def test_a_failed_workflow_is_gone_with_its_handle():
    """A live exception's traceback holds frames, frames hold values: the collector must see through it."""
    thing = Thing()
    done = td.workflow("w").add(td.step(boom)).react_until_satisfied(thing)
    watched = weakref.ref(thing)
    assert done.failures()[0].error.text == "1 thing"
    del thing, done
    gc.collect()

    assert watched() is None


def test_a_template_holds_nothing_of_its_runs():
    """S1: a template used for many runs costs nothing but itself."""
    template = td.workflow("w").add(td.step(lambda x: x, name="keep"))
    thing = Thing()
    watched = weakref.ref(thing)
    done = template.react_until_satisfied(thing)
    assert done.results() == {"keep": thing}
    del thing, done
    gc.collect()

    assert watched() is None


def test_the_log_of_a_lean_workflow_stays_short():
    """S3: with `retain=0` the log folds into a baseline now and then, and positions go on counting."""
    w = td.workflow("w", retain=0).add(
        td.accumulator(lambda total, x: total + x, initial=0, name="total")
    )
    lengths = []
    for value in range(2_000):
        w = w.react_until_satisfied(value)
        lengths.append(len(w.log()))

    assert max(lengths) < 700
    assert w.position == 1 + 2 * 2_000
    assert w.states() == {"total": {None: sum(range(2_000))}}


def test_a_lean_workflow_forgets_what_failed():
    """S3: the frames of a live exception hold the handle that was driven, but no chain of older ones."""
    things: list[weakref.ref[Thing]] = []

    def make(_: int) -> Thing:
        thing = Thing()
        things.append(weakref.ref(thing))
        return thing

    w = td.workflow("w", retain=0).add(td.step(make, name="make")).add(td.step(boom), to="make")
    for value in range(1_000):
        w = w.react_until_satisfied(value)
    gc.collect()

    assert sum(thing() is not None for thing in things) < 300


def history(retain: Any) -> td.Workflow:
    """A workflow whose second step is told all that the first one ever gave."""

    def tell(_: int, *, seen: Any = td.all_values("plus")) -> int:
        return len(seen)

    workflow = td.workflow("w", retain=retain).add(td.step(lambda x: x + 1, name="plus"))
    return workflow.add(td.step(tell), to="plus")


def test_a_folded_log_tells_what_was_given_before_it_was_folded_and_no_more():
    """What is given later stands in the log by itself."""
    w = history(2)
    for value in range(200):
        w = w.react_until_satisfied(value)
    assert w.log()[0].position > 0
    again = td.Workflow.from_log(w, w.log())

    assert again == w
    assert again.react_until_satisfied(1).results("tell") == {"tell": 201}


def test_a_snapshot_stays_as_it_was():
    """It is written while the run goes on."""
    w = history("all").react_until_satisfied(1)
    baseline = w.baseline()
    w.react_until_satisfied(2)

    again = td.Workflow.from_log(w, (baseline,)).react_until_satisfied(2)
    assert again.results("tell") == {"tell": 2}
