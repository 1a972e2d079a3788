"""Waits, signals and time in a bare workflow: S2, S11, S19, S25, S27, and what the guide promises."""

from typing import Any

import pytest

import treadle as td
from treadle.errors import (
    AmbiguousSignal,
    MissingFunction,
    StepFailed,
    StillWaiting,
    TimedOut,
    UnknownComponent,
    UsageError,
)


def approving(**options: Any) -> td.Workflow:
    """A draft, its approval, and what is done with both."""
    return (
        td.workflow("approving")
        .add(td.step(lambda text: text.upper(), name="draft"))
        .add(td.wait_for("approval", **options), to="draft")
        .add(td.step(lambda ok, text: (ok, text), name="publish"), to=["approval", "draft"])
    )


def kinds(w: td.Workflow) -> list[str]:
    """The kinds of the events after the input."""
    return [type(event).__name__ for event in w.log()[2:]]


def rebuilt(w: td.Workflow, template: td.Workflow) -> None:
    """S2, S3: the log tells the same at every prefix."""
    log = w.log()
    for position in range(len(log) + 1):
        there, again = w.at(position), td.Workflow.from_log(template, log[:position])
        assert there == again
        assert there.waiting() == again.waiting()
        assert there.next_due() == again.next_due()
        assert there.is_runnable() == again.is_runnable()


def test_a_wait_is_live_work_that_nobody_can_run():
    """S11: react returns with it open; neither ready nor in flight, and not satisfied."""
    w = approving().react_until_satisfied("text")

    assert (w.is_runnable(), w.in_flight(), w.is_satisfied(), w.is_satisfied(input=0)) == (
        False,
        [],
        False,
        False,
    )
    assert w.inputs()[0]["status"] == "open"
    assert "1 waiting" in repr(w)
    assert w.starved() == []
    (entry,) = w.waiting()
    assert (entry["name"], entry["key"], entry["value"], entry["input"]) == (
        "approval",
        "0",
        "TEXT",
        0,
    )


def test_a_signal_gives_its_payload():
    """The wait's fact is the payload, made from what the wait waited with."""
    template = approving()
    done = template.react_until_satisfied("text").signal("approval", "yes").react_until_satisfied()

    assert done.results() == {"publish": ("yes", "TEXT")}
    assert done.is_satisfied()
    assert kinds(done) == ["Applied", "WaitOpened", "Signalled", "Applied", "Applied"]
    (fact,) = done.facts("approval")
    assert done.why(fact)["because"][0]["node"] == "draft"
    rebuilt(done, template)


def test_a_signal_before_its_wait_is_kept():
    """It answers the first wait that opens, once, in the order of arrival."""
    template = approving()
    early = template.plan_eagerly("a").signal("approval", 1).signal("approval", 2)
    done = early.react_until_satisfied().react_until_satisfied("b").react_until_satisfied("c")

    assert [done.results(input=number).get("publish") for number in range(3)] == [
        (1, "A"),
        (2, "B"),
        None,
    ]
    assert len(done.waiting()) == 1
    rebuilt(done, template)


def test_a_signal_can_come_before_any_input():
    """A template takes signals, too."""
    done = approving().signal("approval", 1).react_until_satisfied("a")

    assert done.results() == {"publish": (1, "A")}


def test_several_waits_and_no_key_is_refused():
    """Nothing is recorded; every wait has a key, and the message names them."""
    w = approving().react_until_satisfied("a").react_until_satisfied("b")
    before = w.log()
    with pytest.raises(AmbiguousSignal, match="'0', '1'"):
        w.signal("approval", "yes")

    assert w.log() == before
    done = w.signal("approval", "yes", "1").react_until_satisfied()
    assert done.results(input=1) == {"publish": ("yes", "B")}
    assert [entry["key"] for entry in done.waiting()] == ["0"]


def test_keys_come_from_the_value():
    """A key is asked once, and the log keeps it; numbers are keys as text."""
    asked: list[int] = []

    def number_of(order: dict[str, int]) -> int:
        asked.append(order["id"])
        return order["id"]

    template = td.workflow("orders").add(td.wait_for("paid", key=number_of))
    w = template.plan_eagerly({"id": 7}).plan_eagerly({"id": 8}).signal("paid", "late", 9)
    w = w.signal("paid", "eight", 8).plan_eagerly({"id": 9})

    assert [w.results(input=number).get("paid") for number in range(3)] == [None, "eight", "late"]
    rebuilt(w, template)
    assert asked == [7, 8, 9]


def test_of_one_key_the_oldest_wait_is_answered():
    """Several waits may have one key."""
    w = td.workflow("w").add(td.wait_for("go", key="all")).plan_eagerly("a").plan_eagerly("b")
    w = w.signal("go", 1, "all")

    assert [w.results(input=number) for number in (0, 1)] == [{"go": 1}, {}]


def test_each_item_waits_and_a_reduce_waits_for_them():
    """S19, S21: a wait is live work upstream of the barrier that closes its fan-out."""
    template = (
        td.workflow("items")
        .add(td.map(lambda item: item, name="item"))
        .add(td.wait_for("checked", key=str), to="item")
        .add(td.collect(name="all"), to="checked")
    )
    w = template.react_until_satisfied(["a", "b"])
    w = w.signal("checked", "B!", "b").react_until_satisfied()
    assert w.results() == {}

    done = w.signal("checked", "A!", "a").react_until_satisfied()
    assert done.results() == {"all": ["A!", "B!"]}
    rebuilt(done, template)


def test_a_settled_join_waits_for_what_is_upstream_only():
    """S19: a wait on a side branch delays nothing else."""
    w = (
        td.workflow("w")
        .add(td.wait_for("slow"))
        .add(td.step(lambda x: x, name="quick"))
        .add(td.step(lambda a, b: (a, b), name="both"), to=["quick", td.INPUT], join="settled")
        .add(td.step(lambda a, b: (a, b), name="all"), to=["quick", "slow"], join="settled")
        .react_until_satisfied(1)
    )
    assert w.results() == {"both": (1, 1)}

    assert w.signal("slow", 2).react_until_satisfied().results()["all"] == (1, 2)


def test_a_timeout_has_its_own_path():
    """It gives what the wait waited with, and is no failure."""
    template = approving(timeout_s=60).add(
        td.step(lambda text: f"remind {text}", name="remind"), to=td.timeout_of("approval")
    )
    w = template.react_until_satisfied("text", at=1000)
    assert w.next_due() == 1060
    assert w.tick(1059.9) is w

    done = w.tick(1060).react_until_satisfied()
    assert done.results() == {"remind": "remind TEXT"}
    assert done.failures() == []
    assert done.is_satisfied()
    assert ("approval", "remind", "timeout") in done.to_edgelist()
    assert "-. timeout .->" in done.to_mermaid()
    rebuilt(done, template)


def test_a_timeout_without_a_path_is_a_failure():
    """S25: it goes to the error port, and `on_failure` says what it does to the rest."""
    w = approving(timeout_s=60).add(
        td.step(lambda failure: failure.error.name, name="told"), to=td.error_of("approval")
    )
    done = w.react_until_satisfied("text", at=0).tick(100).react_until_satisfied()

    assert done.results() == {"told": "TimedOut"}
    (failure,) = done.failures()
    assert (failure.component, failure.inputs, failure.handled) == ("approval", ("TEXT",), True)


@pytest.mark.parametrize(
    ("on_failure", "published"), [("block", None), ("skip", (td.ABSENT, "TEXT")), ("halt", None)]
)
def test_a_failed_wait_does_what_its_component_says(on_failure: Any, published: Any):
    """Block, skip and halt are as for any other failure."""
    template = approving(timeout_s=1, on_failure=on_failure)
    done = template.react_until_satisfied("text", at=0).tick(1).react_until_satisfied()

    assert done.results().get("publish") == published
    assert done.is_satisfied()
    rebuilt(done, template)


def test_a_late_answer_is_an_exception_to_who_asks_for_one():
    """The live exception is the cause."""
    done = approving(timeout_s=1).react_until_satisfied("text", at=0).tick(1)
    with pytest.raises(StepFailed) as caught:
        done.results(raise_on_failure=True)

    assert isinstance(caught.value.__cause__, TimedOut)


def test_a_default_stands_in_for_an_answer():
    """A factory is called; replay calls nothing."""
    template = approving(timeout_s=1, default=list)
    done = template.react_until_satisfied("text", at=0).tick(1).react_until_satisfied()

    assert done.results() == {"publish": ([], "TEXT")}
    rebuilt(done, template)
    with pytest.raises(td.errors.DefinitionError, match="default"):
        template.add(len, to=td.timeout_of("approval"))


def test_a_sleep_passes_its_value_on():
    """Seconds may depend on the value; moments pass in their order."""
    template = td.workflow("w").add(td.sleep(lambda n: n, name="nap")).add(str, to="nap")
    w = template.plan_eagerly(30, at=0).plan_eagerly(10, at=5).plan_eagerly(25, at=5)
    assert [entry["due_at"] for entry in w.waiting()] == [30, 15, 30]
    assert w.next_due() == 15

    w = w.tick(100)
    fired = [event.scope for event in w.log() if type(event).__name__ == "TimerFired"]
    assert fired == [(1,), (0,), (2,)]
    assert w.react_until_satisfied().results(input=td.ALL) == {"str": "25"}
    rebuilt(w, template)


def test_a_clock_that_nobody_set_begins_with_the_first_tick():
    """A duration becomes a moment once, and the log says which."""
    template = td.workflow("w").add(td.sleep(10))
    w = template.plan_eagerly("a")
    assert (w.next_due(), w.waiting()[0]["timeout_s"]) == (None, 10)

    begun = w.tick(1000)
    assert begun.next_due() == 1010
    assert begun.tick(1001) is begun
    assert begun.tick(1010).results() == {"sleep": "a"}
    rebuilt(begun.tick(1010), template)


def test_sleeps_follow_one_another():
    """The second one's clock begins when the first one is seen to end."""
    w = td.workflow("w").add(td.sleep(10, name="one")).add(td.sleep(10, name="two"), to="one")
    w = w.plan_eagerly("a", at=0).tick(15)

    assert w.next_due() == 25
    assert w.tick(25).results() == {"two": "a"}


def test_a_function_that_raises_is_a_failure_of_the_wait():
    """Also one that gives what is no key, or no time; replay asks nobody."""
    template = (
        td.workflow("w")
        .add(td.wait_for("keyed", key=lambda value: value["id"]))
        .add(td.wait_for("timed", timeout_s=lambda value: value["s"]))
        .add(td.sleep(lambda value: value.get("nap")))
    )
    w = template.plan_eagerly({"id": [1], "s": -1})

    assert [(f.component, f.error.name) for f in w.failures()] == [
        ("keyed", "BadValue"),
        ("timed", "BadValue"),
        ("sleep", "BadValue"),
    ]
    assert w.is_satisfied()
    rebuilt(w, template)


def test_an_answered_wait_is_answered_once():
    """The next signal is kept, and its moment passes unnoticed."""
    w = td.workflow("w").add(td.wait_for("go", timeout_s=5)).plan_eagerly("a", at=0)
    w = w.signal("go", 1).signal("go", 2)

    assert w.next_due() is None
    assert w.tick(10) is w
    assert w.results() == {"go": 1}
    assert w.plan_eagerly("b", at=0).results() == {"go": 2}


def test_cancelling_an_input_withdraws_its_waits():
    """A signal that comes afterwards is kept."""
    template = approving(timeout_s=5)
    w = template.react_until_satisfied("a", at=0).cancel(0)

    assert (w.waiting(), w.next_due(), w.is_satisfied()) == ([], None, True)
    again = w.signal("approval", "yes").react_until_satisfied("b")
    assert again.results() == {"publish": ("yes", "B")}
    rebuilt(again, template)


def test_a_halt_withdraws_the_waits_of_its_input():
    """Those of other inputs stand."""

    def explode(value: int) -> None:
        raise ValueError(value)

    w = td.workflow("w").add(td.wait_for("go")).add(td.step(explode, on_failure="halt"))
    w = w.plan_eagerly(1).plan_eagerly(2)
    w, (first, _) = w.prepare_for_dispatch()
    w = w.apply_runnable(td.execute_runnable(first))

    assert [entry["input"] for entry in w.waiting()] == [1]


def test_run_or_raise_says_what_waits():
    """It cannot finish the input."""
    with pytest.raises(StillWaiting, match="'approval' waits"):
        approving().run_or_raise("text")


def test_signals_are_named_after_waits():
    """A name that nothing waits under is an error, and not kept for ever."""
    w = approving()
    with pytest.raises(UnknownComponent, match="Did you mean 'approval'"):
        w.signal("aproval", 1)
    with pytest.raises(UnknownComponent, match="no wait_for named 'draft'"):
        w.signal("draft", 1)
    with pytest.raises(UsageError, match="text or a whole number"):
        w.signal("approval", 1, key=True)
    with pytest.raises(UsageError, match="is no time"):
        w.tick(float("nan"))


def test_a_wait_that_is_replaced_is_opened_anew():
    """S27: under the new key and time, as a new generation; kept signals stay."""
    template = approving(timeout_s=5)
    w = template.react_until_satisfied("a", at=0).signal("approval", "early", "k")
    replaced = w.replace("approval", td.wait_for("approval", key="k", timeout_s=50))
    assert replaced.is_runnable()

    done = replaced.plan_eagerly(at=10).react_until_satisfied()
    assert done.results() == {"publish": ("early", "A")}
    assert done.facts("approval")[0].generation == 1
    again = td.Workflow.from_log(
        template,
        done.log(),
        components={"approval": td.wait_for("approval", key="k", timeout_s=50)},
    )
    assert again == done
    dropped = w.replace("approval", td.wait_for("approval", key="k"), reset=True).plan_eagerly()
    assert [entry["key"] for entry in dropped.waiting()] == ["k"]


def test_a_removed_wait_is_gone_with_its_signals():
    """S27: its children take from its parent from now on."""
    template = td.workflow("w").add(td.wait_for("go")).add(str, to="go")
    w = template.plan_eagerly(1).signal("go", 5, "later").remove("go")

    assert w.is_satisfied()
    assert w.react_until_satisfied(2).results() == {"str": "2"}
    back = w.add(td.wait_for("go")).plan_eagerly(3)
    assert len(back.waiting()) == 1


def test_a_new_wait_can_be_fed_the_past():
    """S27: a backfill opens waits, and feeds timeouts that were taken before."""
    w = td.workflow("w").add(td.step(lambda x: x, name="s")).react_until_satisfied("a")
    waiting = w.add(td.wait_for("go", timeout_s=5), to="s", backfill=True).plan_eagerly(at=0)
    assert [entry["value"] for entry in waiting.waiting()] == ["a"]

    late = waiting.add(td.step(str.upper, name="late"), to=td.timeout_of("go")).tick(5)
    more = late.add(td.step(str.title, name="more"), to=td.timeout_of("go"), backfill=True)
    assert more.react_until_satisfied().results() == {"late": "A", "more": "A"}


def test_a_lean_log_keeps_waits_and_signals():
    """S3: a baseline holds open waits, their moments and kept signals."""
    template = (
        td.workflow("lean", retain=0)
        .add(td.wait_for("go", key=str, timeout_s=1000))
        .add(td.step(lambda x: x, name="s"), to="go")
    )
    w = template.plan_eagerly("first", at=1).signal("go", "kept", "last")
    for number in range(300):
        w = w.plan_eagerly(number, at=2).signal("go", number, number).react_until_satisfied()

    assert type(w.log()[0]).__name__ == "Baseline"
    there = td.Workflow.from_log(template, w.log())
    assert there == w
    assert [entry["value"] for entry in there.waiting()] == ["first"]
    assert there.next_due() == 1001
    done = there.signal("go", 1, "first").plan_eagerly("last").react_until_satisfied()
    assert done.results() == {"s": "kept"}
    assert done.is_satisfied()


def test_a_definition_without_the_wait_says_so():
    """Its functions and its type are part of the definition, and not of the log."""
    w = approving(schema=bool).react_until_satisfied("a")
    bare = td.Workflow.from_log(td.workflow("approving"), w.log())
    assert len(bare.waiting()) == 1

    with pytest.raises(MissingFunction, match="approval"):
        bare.signal("approval", True)


def test_rules_below_a_wait_are_planned():
    """S12: what a signal brings is a fact like any other."""
    template = (
        td.workflow("w")
        .add(td.wait_for("answer"))
        .add(td.rule(name="yes", condition=lambda a: a == 1, reaction=lambda a: a), to="answer")
    )
    w = template.plan_eagerly("?").signal("answer", 1).react_until_satisfied()

    assert w.results() == {"yes": 1}
    rebuilt(w, template)


def test_many_answered_waits_leave_no_moments_behind():
    """What was answered long before its time is not remembered until then."""
    w = td.workflow("w", retain=0).add(td.wait_for("go", timeout_s=10**6))
    for number in range(500):
        w = w.plan_eagerly(number, at=0).signal("go", 1)

    with w.reading() as memory:
        assert memory.waits is not None
        assert len(memory.waits.timers) < 100


def test_a_drive_says_what_to_wake_for():
    """What a runner needs: the waits that were opened, what ended them, and the next moment."""
    template = td.workflow("w").add(td.wait_for("go", timeout_s=7)).add(td.sleep(3))
    w, drive = template.plan_eagerly("a", at=0).advance(at=1)
    assert (drive.next_due, drive.opened, drive.ended) == (3, [], [])

    w, drive = w.advance(at=3)
    assert (drive.next_due, [event.node for event in drive.ended]) == (7, ["sleep"])
    w, drive = w.signal("go", 1).advance(at=4)
    assert (drive.next_due, drive.closed) == (None, [0])
