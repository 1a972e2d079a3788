"""The workflow to go on with: refused, kept, adopted or computed again."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

import treadle as td
from tests.upgrade.versions import Module, changes, kinds, orders, plus_two, same
from tests.value.grown import INPUTS, grown, inputs_for, seen
from treadle.upgrade import upgraded


def under_way():
    """One input done, one with its first step pending."""
    return orders().with_run_key("run-1").react_until_satisfied(1).plan_eagerly(5)


def test_unchanged_code_goes_on():
    """The same value as before, under every policy."""
    run = under_way()

    for word in ("refuse", "keep", "adopt", "recompute"):
        assert upgraded(orders(), run.log(), word) == run
    assert upgraded(orders(), []) == orders()


def test_changed_code_is_refused_by_default():
    """The error names each difference, and what would help; it survives pickling."""
    import pickle

    with pytest.raises(
        td.errors.CodeChanged, match="'price' .used, pending.: its code was"
    ) as caught:
        upgraded(orders(plus_two), under_way().log())

    again = pickle.loads(pickle.dumps(caught.value))
    assert [each.component for each in again.differences] == ["price"]
    assert "on_code_change={'price': 'adopt'}" in str(again)
    for definition in (
        orders().add(td.step(same, name="new")),
        td.workflow("orders").add(td.step(same, name="price")),
    ):
        with pytest.raises(td.errors.CodeChanged):
            upgraded(definition, under_way().log())


def test_a_module_rewritten_under_a_run(tmp_path):
    """Refused, and adopted: what is done stays, what is pending is done by the new code, and the log says so."""
    text = """
        import treadle as td

        def price(order):
            return order + 1

        workflow = td.workflow("m").add(td.step(price))
    """
    module = Module(tmp_path, "treadle_rewritten_under_a_run")
    run = module.written(text).react_until_satisfied(1).plan_eagerly(5)
    today = module.written(text.replace("+ 1", "+ 100"))

    with pytest.raises(td.errors.CodeChanged):
        upgraded(today, run.log())
    done = upgraded(today, run.log(), "adopt").react_until_satisfied()

    assert [done.results(input=n) for n in (0, 1)] == [{"price": 2}, {"price": 105}]
    assert done.log()[: len(run.log())] == run.log()
    assert done.log()[0].components[0].fingerprint != done.log()[-2].component.fingerprint
    assert changes(today, done.log()) == {}


def test_kept_code_is_that_of_an_earlier_definition():
    """Blue and green: each run goes on with the code it was begun with, where that is given."""
    run, blue, green = under_way(), orders(), orders(plus_two)

    kept = upgraded(green, run.log(), "keep", earlier=[blue]).react_until_satisfied()

    assert kept.results(input=1) == run.react_until_satisfied().results(input=1)
    assert "ComponentReplaced" not in kinds(kept.log())
    with pytest.raises(td.errors.CodeChanged, match="is to be kept, and no definition that has it"):
        upgraded(green, run.log(), "keep")


def test_kept_components_stay_and_new_ones_stay_out():
    """The graph of the run is that of its log."""
    run = under_way()
    today = td.workflow("orders").add(td.step(plus_two, name="mail"))

    kept = upgraded(today, run.log(), "keep", earlier=[orders()])

    assert kept.components() == ["price", "charge", "total"]
    assert kept == run


def test_state_stays_under_adopt():
    """The fold of today goes on from the state that there is."""
    run = under_way()
    today = orders(fold=lambda total, value: total - value)

    done = upgraded(today, run.log(), {"total": "adopt"}).react_until_satisfied()

    assert done.states() == {"total": {None: 20 - 60}}


def test_conditions_of_today_are_asked_about_what_comes():
    """What they said before is in the log."""

    def made(holds):
        return td.workflow("w").add(td.rule(same, name="big", condition=holds))

    run = made(lambda x: x > 1).react_until_satisfied(2)

    done = upgraded(made(lambda x: x > 99), run.log(), "adopt").react_until_satisfied(3)

    assert done.results(input=0) == {"big": 2}
    assert done.results(input=1) == {}


def test_what_is_new_sees_what_comes_and_what_is_missing_goes():
    """A removed component's children take from its parents; the log tells all of it."""
    run = under_way()
    today = td.workflow("orders").add(td.step(lambda x: x * 10, name="charge"))
    today = today.add(
        td.accumulator(lambda total, value: total + value, initial=0, name="total"), to="charge"
    )
    today = today.add(td.step(same, name="mail"), to="charge")

    done = upgraded(today, run.log(), "adopt")

    assert sorted(done.components()) == ["charge", "mail", "total"]
    assert changes(today, done.log()) == {}
    done = done.react_until_satisfied(7)
    assert done.results(input=-1) == {"total": 20 + 70, "mail": 70}
    assert done.results("mail", input=0) == {"mail": td.ABSENT}


def test_a_missing_component_whose_children_do_not_fit_is_refused():
    """The map's child would leave the fan-out."""
    old = td.workflow("w").add(td.map(same, name="m")).add(td.step(same, name="s"), to="m")
    today = td.workflow("w").add(td.step(same, name="s"))

    with pytest.raises(
        td.errors.CodeChanged, match="'m'.*cannot be adopted: 'm' cannot be removed"
    ):
        upgraded(today, old.react_until_satisfied([1]).log(), "adopt")


def test_a_renamed_component_is_one_gone_and_one_new():
    """Nothing is guessed from likeness; a state does not move to another name."""

    def made(name):
        return td.workflow("w").add(td.accumulator(lambda s, x: s + x, initial=0, name=name))

    run = made("sum").react_until_satisfied(5)

    assert changes(made("total"), run.log()) == {"sum": "missing", "total": "new"}
    assert upgraded(made("total"), run.log(), "adopt").react_until_satisfied(1).states() == {
        "total": {None: 1}
    }
    again = upgraded(made("total"), run.log(), "recompute").react_until_satisfied(1)
    assert again.states() == {"total": {None: 6}}


def test_new_wiring_is_adopted_where_nothing_hangs_on_the_old():
    """With work pending, it would have to be guessed what that work is now."""

    def made(to):
        w = (
            td.workflow("w")
            .add(td.step(plus_two, name="a"))
            .add(td.step(lambda x: x * 10, name="b"))
        )
        return w.add(td.step(same, name="c"), to=to)

    idle = made("a").react_until_satisfied(1)
    done = upgraded(made("b"), idle.log(), "adopt")
    assert done.react_until_satisfied(1).results(input=1)["c"] == 10
    assert changes(made("b"), done.log()) == {}

    busy = made("a").plan_eagerly(1)
    busy, runnables = busy.prepare_for_dispatch()
    for runnable in runnables:
        busy = busy.apply_runnable(td.execute_runnable(runnable))
    with pytest.raises(td.errors.CodeChanged, match="'c'.*work pending"):
        upgraded(made("b"), busy.log(), "adopt")


def test_code_and_wiring_changed_at_once():
    """The component above went, and the one below was written anew."""
    old = td.workflow("w").add(td.step(same, name="a")).add(td.step(same, name="b"), to="a")
    today = td.workflow("w").add(td.step(plus_two, name="b"))
    run = old.react_until_satisfied(1).plan_eagerly(2)

    done = upgraded(today, run.log(), "adopt")

    assert changes(today, done.log()) == {}
    assert done.react_until_satisfied(3).results(input=2) == {"b": 5}


def test_policies_are_per_component():
    """What one word does not cover stays refused, and the error names that alone."""
    today = orders(plus_two, fold=lambda total, value: 0)

    with pytest.raises(td.errors.CodeChanged) as caught:
        upgraded(today, under_way().log(), {"price": "adopt"})

    assert [each.component for each in caught.value.differences] == ["total"]


def test_recompute_is_a_fork_with_a_log_of_its_own():
    """What the changed component and all below it gave is computed again, states included; the rest stays."""
    calls = []

    def made(charge):
        def price(order):
            calls.append(order)
            return order + 1

        w = (
            td.workflow("orders")
            .add(td.step(price))
            .add(td.step(charge, name="charge"), to="price")
        )
        return w.add(td.accumulator(lambda s, x: s + x, initial=0, name="total"), to="charge")

    run = (
        made(lambda x: x * 10)
        .with_run_key("run-1")
        .react_until_satisfied(1)
        .react_until_satisfied(2)
    )
    today = made(lambda x: x * 1000)
    calls.clear()

    fork = upgraded(today, run.log(), "recompute")
    done = fork.react_until_satisfied()

    assert fork.run_key == "run-1~upgrade@9"
    assert calls == []
    assert done.states() == {"total": {None: 5000}}
    assert [done.results(input=n) for n in (0, 1)] == [{"total": 2000}, {"total": 5000}]
    assert td.Workflow.from_log(today, fork.log()) == fork
    assert changes(today, fork.log()) == {}
    assert upgraded(today, run.log(), "recompute", run_key="mine").run_key == "mine"


def test_recompute_asks_a_changed_rule_again_and_leaves_the_others():
    """Rules that watch the same fact keep what they said."""
    asked = []

    def made(holds):
        def other(order):
            asked.append(order)
            return True

        w = td.workflow("w").add(td.rule(same, name="big", condition=holds))
        return w.add(td.rule(same, name="other", condition=other))

    run = made(lambda x: x > 5).react_until_satisfied(3).react_until_satisfied(9)
    asked.clear()

    done = upgraded(made(lambda x: x < 5), run.log(), "recompute").react_until_satisfied()

    assert [done.results(input=n) for n in (0, 1)] == [{"other": 3, "big": 3}, {"other": 9}]
    assert asked == []


def test_recompute_leaves_cancelled_inputs_alone():
    """Nobody asked for them any more."""
    run = orders().plan_eagerly(1).cancel(reason="no more").react_until_satisfied(2)
    fork = upgraded(orders(plus_two), run.log(), "recompute")

    assert fork.cancelled_because(0) == "no more"
    done = fork.react_until_satisfied()
    assert done.states() == {"total": {None: 40}}


def test_recompute_in_fan_outs_and_of_failures():
    """Items, the collect that closes them, and a handler below what failed."""

    def reciprocal(x):
        return 1 / x

    def safe(x):
        return 1 / x if x else 0

    def made(function):
        w = td.workflow("w").add(td.map(same, name="each"))
        w = w.add(td.step(function, name="inverse"), to="each")
        w = w.add(td.collect(name="all", on_item_failure="fail"), to="inverse")
        return w.add(td.step(lambda failure: "told", name="tell"), to=td.error_of("inverse"))

    run = made(reciprocal).react_until_satisfied([1, 0, 4])
    assert run.failures()

    done = upgraded(made(safe), run.log(), "recompute").react_until_satisfied()

    assert done.failures() == []
    assert done.results() == {"all": [1.0, 0, 0.25], "tell": []}


def test_recompute_of_what_was_never_used_needs_no_fork():
    """It is adopted in place; what is new is fed the facts that there are."""
    old = (
        td.workflow("w")
        .add(td.step(same, name="a"))
        .add(td.step(same, name="b"), to=td.error_of("a"))
    )
    today = td.workflow("w").add(td.step(same, name="a"))
    today = today.add(td.step(plus_two, name="b"), to=td.error_of("a"))
    today = today.add(td.step(plus_two, name="c"), to="a")
    run = old.with_run_key("k").react_until_satisfied(1)

    done = upgraded(today, run.log(), "recompute")

    assert done.run_key == "k"
    assert done.react_until_satisfied().results("c") == {"c": 3}


def test_recompute_says_why_it_cannot():
    """A folded past cannot be had again."""
    w = td.workflow("w", retain=1).add(td.step(same, name="a"))
    for number in range(300):
        w = w.react_until_satisfied(number)
    today = td.workflow("w", retain=1).add(td.step(plus_two, name="a"))
    with pytest.raises(td.errors.CodeChanged, match="cannot be computed again: what was before"):
        upgraded(today, w.log(), "recompute")


def test_recompute_below_what_gave_nothing():
    """An ABSENT, and the failure of a parent of a join that settles, are given to the new code as they were."""

    def made(last):
        w = td.workflow("w").add(td.step(lambda x: td.ABSENT, name="skips"))
        w = w.add(td.step(lambda x: 1 / x, name="fails"))
        w = w.add(td.step(last, name="both"), to=["skips", td.INPUT])
        w = w.add(td.step(last, name="settled"), to=["skips", "fails"], join="settled")
        return w.add(td.step(last, name="beside"), to=["fails", td.INPUT], join="settled")

    run = made(lambda *x: x).react_until_satisfied(0)
    today = made(lambda *x: len(x))

    done = upgraded(today, run.log(), "recompute").react_until_satisfied()

    assert done.results() == {"both": 2, "beside": 2}
    assert seen(done) == seen(today.react_until_satisfied(0))


def raises(value):
    """Fail."""
    raise ValueError(value)


def test_recompute_tells_of_failures_as_they_were():
    """A settled join that hears of a failure alone gives ABSENT; a condition that raised is a failure of its rule."""

    def made(holds, tell):
        w = td.workflow("w").add(td.step(raises, name="fails"))
        w = w.add(td.rule(same, name="maybe", condition=holds))
        w = w.add(td.step(lambda *x: x, name="settled"), to=["fails", "maybe"], join="settled")
        w = w.add(td.step(lambda *x: len(x), name="with"), to=["settled", td.INPUT])
        w = w.add(td.rule(same, name="raising", condition=raises))
        return w.add(td.step(tell, name="told"), to=td.error_of("raising"))

    old = made(lambda x: x > 1, lambda x: 0)
    run = old.react_until_satisfied(3)
    today = made(lambda x: x > 5, lambda x: 1)
    done = upgraded(today, run.log(), "recompute").react_until_satisfied()

    assert seen(done) == seen(today.react_until_satisfied(3))
    assert done.results() == {"with": 2, "told": 1}


def test_recompute_of_a_state_that_was_given_nothing():
    """It passes ABSENT on, also where it is kept by a key."""

    def made(fold):
        w = td.workflow("w").add(td.step(lambda x: x if x % 2 else td.ABSENT, name="odd"))
        keyed = td.accumulator(fold, initial=0, name="keyed", key=lambda x: x)
        w = w.add(keyed, to="odd")
        return w.add(td.step(lambda *x: x, name="with"), to=["keyed", td.INPUT])

    run = made(lambda s, x: s).react_until_satisfied(2).react_until_satisfied(3)
    done = upgraded(made(lambda s, x: x), run.log(), "recompute").react_until_satisfied()

    assert [done.results(input=n) for n in (0, 1)] == [{"with": (td.ABSENT, 2)}, {"with": (3, 3)}]


def test_a_folded_run_adopts():
    """A baseline's state goes on under the new code."""
    w = td.workflow("w", retain=1).add(td.accumulator(lambda s, x: s + x, initial=0, name="total"))
    for _ in range(300):
        w = w.react_until_satisfied(1)
    today = td.workflow("w", retain=1).add(
        td.accumulator(lambda s, x: s - x, initial=0, name="total")
    )

    done = upgraded(today, w.log(), "adopt").react_until_satisfied(100)

    assert done.states() == {"total": {None: 200}}


def test_sub_workflows_are_upgraded_by_their_full_names():
    """What they refer to by name stays theirs."""

    def made(reaction):
        sub = td.workflow("sub").add(td.condition(lambda x: x > 1, name="big"))
        sub = sub.add(td.rule(reaction, name="r", condition="big"))
        return td.workflow("w").add(td.step(same, name="a")).add(sub, to="a")

    run = made(same).react_until_satisfied(2).plan_eagerly(3)

    done = upgraded(made(plus_two), run.log(), {"sub.*": "adopt"}).react_until_satisfied()

    assert [done.results(input=n)["sub.r"] for n in (0, 1)] == [2, 5]
    again = upgraded(made(plus_two), run.log(), "recompute").react_until_satisfied()
    assert [again.results(input=n)["sub.r"] for n in (0, 1)] == [4, 5]


def test_upgrades_follow_one_another():
    """Each is in the log; rolling back is one more."""
    run = under_way()
    first = upgraded(orders(plus_two), run.log(), "adopt")
    second = upgraded(orders(), first.log(), "adopt")

    assert kinds(second.log())[-2:] == ["ComponentReplaced"] * 2
    assert second.react_until_satisfied().results(input=1) == run.react_until_satisfied().results(
        input=1
    )
    with pytest.raises(td.errors.CodeChanged):
        upgraded(orders(), first.log())


@given(st.integers(0, 100_000))
def test_recompute_gives_what_a_new_run_gives(seed):
    """Wherever the change is, the fork comes to what today's code makes of the same inputs."""
    changed = f"c{seed % 10}"
    old, today = grown(random.Random(seed)), grown(random.Random(seed), changed)
    choose = random.Random(seed)
    run, fresh = old, today
    for value in inputs_for(old, choose):
        run, fresh = run.react_until_satisfied(value), fresh.react_until_satisfied(value)

    fork = upgraded(today, run.log(), "recompute")

    assert seen(fork.react_until_satisfied()) == seen(fresh)
    assert changes(today, fork.log()) == {}
    assert td.Workflow.from_log(today, fork.log()) == fork


@given(st.integers(0, 100_000))
def test_adopt_keeps_all_facts(seed):
    """The log of before is the beginning of the log of after, whatever was under way."""
    choose = random.Random(seed)
    changed = f"c{seed % 10}"
    run, today = grown(random.Random(seed)), grown(random.Random(seed), changed)
    for _ in range(choose.randrange(1, 4)):
        run = run.plan_eagerly(choose.choice(INPUTS))
        for _ in range(choose.randrange(6)):
            run, runnables = run.prepare_for_dispatch(1)
            for runnable in runnables:
                run = run.apply_runnable(td.execute_runnable(runnable))

    done = upgraded(today, run.log(), "adopt")

    assert done.log()[: len(run.log())] == run.log()
    assert changes(today, done.log()) == {}
    assert td.Workflow.from_log(today, done.log(), earlier=[run.at(0)], exact=True) == done
    assert done.react_until_satisfied().is_satisfied()


def test_what_would_help_is_not_what_was_asked_for():
    """In the words of a program and of a command line; what only got another name may have its old one."""
    old = td.workflow("w").add(td.map(same, name="m")).add(td.step(same, name="s"), to="m")
    log = old.react_until_satisfied([1]).log()

    def hint(word: str) -> str:
        with pytest.raises(td.errors.CodeChanged) as caught:
            upgraded(td.workflow("w").add(td.step(same, name="s")), log, word)
        return str(caught.value.hint)

    assert "on_code_change='adopt', or --on-code-change adopt; or" in hint("refuse")
    assert "have it computed again: 'recompute'" in hint("refuse")
    assert "where 'm' only got another name, give it name='m'" in hint("refuse")
    assert "on_code_change='adopt'" not in hint("adopt")
    assert "have it computed again" in hint("adopt")
