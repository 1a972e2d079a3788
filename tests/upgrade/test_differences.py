"""What differs between a log and a definition, and what was used of it."""

import pytest

import treadle as td
from tests.upgrade.versions import Module, changes, orders, plus_one, plus_two, same
from treadle.upgrade import POLICIES, compare

FIRST = """
    import treadle as td

    def price(order):
        return order + 1

    workflow = td.workflow("m").add(td.step(price))
"""


def test_a_module_written_anew(tmp_path):
    """Its comments, docstrings and line numbers are no code; what it computes is."""
    module = Module(tmp_path, "treadle_versions_of_price")
    log = module.written(FIRST).react_until_satisfied(1).log()

    documented = FIRST.replace("def price", "\n\n    def price").replace(
        "        return", '        """In cents."""\n        # of course\n        return'
    )
    assert changes(module.written(documented), log) == {}
    assert changes(module.written(FIRST.replace("+ 1", "+ 2")), log) == {"price": "code_changed"}
    assert changes(module.written(FIRST.replace("price", "cost")), log) == {
        "price": "missing",
        "cost": "new",
    }


def test_closures_defaults_and_lambdas_count_by_what_they_capture():
    """The same text with another captured value is other code."""

    def made(rate, extra=0):
        return td.workflow("w").add(td.step(lambda x, extra=extra: x * rate + extra, name="tax"))

    log = made(2).react_until_satisfied(1).log()

    assert changes(made(2), log) == {}
    assert changes(made(3), log) == {"tax": "code_changed"}
    assert changes(made(2, extra=1), log) == {"tax": "code_changed"}


def test_other_parents_ports_or_kinds_are_another_shape():
    """Each says in words what it was and what it is."""
    old = td.workflow("w").add(td.step(same, name="a")).add(td.step(same, name="b"), to="a")
    log = old.react_until_satisfied(1).log()
    base = td.workflow("w").add(td.step(same, name="a"))

    def detail(definition):
        found = {each.component: each for each in compare(definition, log)}
        assert found["b"].change == "shape_changed"
        return found["b"].detail

    assert detail(base.add(td.step(same, name="b"))) == "it took from 'a', and takes from 'INPUT'"
    assert detail(base.add(td.step(same, name="b"), to=td.error_of("a"))) == (
        "it took from 'a', and takes from the failures of 'a'"
    )
    assert detail(base.add(td.map(same, name="b"), to="a")) == "it was a step, and is a map"
    assert detail(base.add(td.step(same, name="b", on_failure="skip"), to="a")) == (
        "its on_failure is another"
    )
    asking = td.workflow("w").add(td.wait_for("asks", schema=bool))
    (asked,) = compare(
        asking, td.workflow("w").add(td.wait_for("asks", schema=int)).plan_eagerly(1).log()
    )
    assert asked.detail == "its schema is another"


def test_used_and_pending_are_told():
    """A fact, a state, a question asked; ready work, waiting work, facts to be planned."""
    w = td.workflow("w").add(td.step(same, name="done"))
    w = w.add(td.step(same, name="ready"), to="done")
    w = w.add(td.step(same, name="later"), to="ready")
    w = w.add(td.step(lambda x, y: x, name="half"), to=["done", "ready"])
    w = w.add(td.rule(same, name="asked", condition=lambda x: False))
    w = w.add(td.rule(same, name="unasked", condition=lambda x: False), to="done")
    w = w.add(td.accumulator(lambda s, x: s, initial=0, name="state"))
    w = w.plan_eagerly(1)
    while "done" not in w.productions_by_component() or not w.productions_by_component()["done"]:
        w, runnables = w.prepare_for_dispatch(1)
        w = w.apply_runnable(td.execute_runnable(runnables[0]))
    found = {each.component: (each.used, each.pending) for each in compare(w.at(0), w.log())}

    assert found == {
        "done": (True, False),
        "ready": (False, True),
        "later": (False, False),
        "half": (False, True),
        "asked": (True, False),
        "unasked": (False, True),
        "state": (False, True),
    }


def test_a_reducer_and_a_condition_changed_after_use_change_no_history():
    """Stored values are what is folded: nothing of the user is called."""

    def never(*_):
        raise AssertionError

    def made(fold, holds):
        w = td.workflow("w").add(td.condition(holds, name="big"))
        w = w.add(td.rule(same, name="r", condition="big"))
        return w.add(td.accumulator(fold, initial=0, name="total"), to="big")

    done = made(lambda s, x: s + x, lambda x: x > 1).react_until_satisfied(2)

    found = {each.component: each for each in compare(made(never, never), done.log())}
    assert {name: (each.change, each.used) for name, each in found.items()} == {
        "big": ("code_changed", True),
        "r": ("same", True),
        "total": ("code_changed", True),
    }
    assert found["total"].has_state


def test_what_a_run_was_given_alone_is_the_same():
    """Edits of a live run are no changes of the definition, as long as their code is at hand."""
    template = orders()
    extra, other = td.step(same, name="extra"), td.step(plus_two, name="price")
    run = template.react_until_satisfied(1).add(extra, to="price").replace("price", other)

    assert changes(template, run.log(), components={"extra": extra, "price": other}) == {}
    assert changes(template, run.log()) == {"extra": "missing", "price": "code_changed"}


def test_what_a_run_removed_stays_removed():
    """Neither what is gone nor its rewired children are changes of the definition."""
    template = td.workflow("w").add(td.step(same, name="a")).add(td.step(same, name="b"), to="a")
    run = template.react_until_satisfied(1).remove("a")

    assert changes(template, run.log()) == {}
    rewritten = (
        td.workflow("w").add(td.step(same, name="a")).add(td.step(plus_one, name="b"), to="a")
    )
    assert changes(rewritten, run.log()) == {"b": "shape_changed"}


def test_a_folded_log_tells_what_it_can():
    """Behind a baseline nobody knows what was used, so everything may have been."""
    w = (
        td.workflow("w", retain=1)
        .add(td.step(same, name="a"))
        .add(td.rule(same, name="r", condition=bool))
    )
    done = w
    for number in range(300):
        done = done.react_until_satisfied(number)
    assert type(done.log()[0]).__name__ == "Baseline"

    changed = td.workflow("w", retain=1).add(td.step(plus_one, name="a"))
    found = {each.component: (each.change, each.used) for each in compare(changed, done.log())}
    assert found == {"a": ("code_changed", True), "r": ("missing", True)}


def test_a_run_without_inputs_has_no_history():
    """All is as the definition says."""
    assert [each.change for each in compare(orders(), [])] == ["same"] * 3


def test_every_policy_says_what_it_would_do():
    """In words, for each kind of change."""
    old = orders().react_until_satisfied(1).plan_eagerly(2)
    new = td.workflow("orders").add(td.step(plus_two, name="price")).add(td.step(same, name="mail"))
    new = new.add(td.step(lambda x: x * 10, name="charge"))
    for each in compare(new, old.log()):
        said = [each.would(policy) for policy in POLICIES]
        assert all(said)
        assert len(set(said)) >= 3 - each.is_same, said
    with pytest.raises(td.errors.LogError):
        compare(td.workflow("other"), old.log())
