"""Tickets: futures of single inputs."""

import asyncio
import threading
from concurrent.futures import Future, as_completed, wait
from typing import Any

import pytest

import treadle as td
from tests.runner.running import (
    PATIENCE_S,
    Body,
    Flaky,
    double,
    fail,
    increment,
    of_kind,
    same,
    status_of,
    steps,
    until,
)
from treadle import errors
from treadle.model.events import InputAccepted, ScopeCancelled
from treadle.stores.memory import MemoryStore


def test_tickets_are_futures():
    """`wait` and `as_completed` take them; each has the results of its own input."""
    with td.Runner() as runner:
        runner.start(steps(), "a")
        tickets = [runner.run("a", n) for n in range(20)]
        done, late = wait(tickets, timeout=PATIENCE_S)

        assert isinstance(tickets[0], Future)
        assert (len(done), len(late)) == (20, 0)
        numbers: dict[Any, Any] = {each: each.input for each in tickets}
        ended = as_completed(tickets, PATIENCE_S)
        found = {numbers[each]: each.result() for each in ended}
        assert found == {n: {"increment": n + 1} for n in range(20)}


def test_a_ticket_says_what_it_is_of():
    """Run, input, and how it stands."""
    body = Body(is_open=False, gives=lambda x: 1 / x)
    with td.Runner() as runner:
        runner.start(steps(td.step(body, name="body")), "a")
        good, bad = runner.run("a", 1), runner.run("a", 0)

        assert [(each.run_id, each.input) for each in (good, bad)] == [("a", 0), ("a", 1)]
        assert repr(good) == "<Ticket 'a' input 0: open>"
        assert (good.done(), good.running(), good.cancelled()) == (False, True, False)
        body.let_go()
        wait([good, bad], PATIENCE_S)
        assert (repr(good), repr(bad)) == (
            "<Ticket 'a' input 0: done>",
            "<Ticket 'a' input 1: failed>",
        )


def test_a_ticket_is_awaited_on_any_event_loop():
    """Also by several tasks, and on several loops, and when it is done."""
    body = Body(is_open=False)

    async def hear(ticket: td.Ticket) -> Any:
        return await ticket

    async def both(ticket: td.Ticket) -> list[Any]:
        return list(await asyncio.gather(hear(ticket), hear(ticket)))

    with td.Runner() as runner:
        runner.start(steps(td.step(body, name="body")), "a")
        ticket = runner.run("a", 1)
        heard: list[Any] = []
        threads = [
            threading.Thread(target=lambda: heard.extend(asyncio.run(both(ticket))))
            for _ in range(3)
        ]
        for thread in threads:
            thread.start()
        body.let_go()
        for thread in threads:
            thread.join(PATIENCE_S)

        assert heard == [{"body": 1}] * 6
        assert asyncio.run(hear(ticket)) == {"body": 1}


def test_an_awaited_ticket_raises():
    """As `result` does."""

    async def hear(ticket: td.Ticket) -> Any:
        return await ticket

    with td.Runner() as runner:
        runner.start(steps(fail), "a")
        with pytest.raises(errors.StepFailed) as failed:
            asyncio.run(hear(runner.run("a", 1)))

        assert isinstance(failed.value.__cause__, ValueError)


def test_giving_up_waiting_leaves_the_input_alone():
    """A timeout, or a cancelled task, is the waiter's affair."""
    body = Body(is_open=False)

    async def give_up(ticket: td.Ticket) -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await ticket

    with td.Runner() as runner:
        runner.start(steps(td.step(body, name="body")), "a")
        ticket = runner.run("a", 1)
        with pytest.raises(TimeoutError):
            ticket.result(timeout=0)
        with pytest.raises(TimeoutError):
            ticket.exception(timeout=0)
        asyncio.run(give_up(ticket))
        body.let_go()

        assert ticket.result(PATIENCE_S) == {"body": 1}
        assert of_kind(runner, "a", ScopeCancelled) == []


def test_cancelling_a_ticket_withdraws_its_input():
    """What is left of it is not done; other inputs, and the run, go on."""
    body, after = Body(is_open=False), Body()
    with td.Runner() as runner:
        runner.start(steps((td.step(body, name="body"), [td.step(after, name="after")])), "a")
        first, second = runner.run("a", 1), runner.run("a", 2)
        body.wait_for_calls(2)

        assert first.cancel() is True
        assert isinstance(first.exception(PATIENCE_S), errors.Cancelled)
        body.let_go()
        assert second.result(PATIENCE_S) == {"after": 2}
        assert after.calls == [2]
        [event] = of_kind(runner, "a", ScopeCancelled)
        assert (event.scope, event.reason) == ((0,), "its ticket was cancelled")
        assert status_of(runner, "a") == "idle"


def test_a_ticket_that_waits_for_its_turn_is_cancelled():
    """It never begins, and takes nobody's place."""
    body = Body(is_open=False)
    with td.Runner(executor="threads:1") as runner:
        runner.start(steps(td.step(body, name="body")), "a")
        tickets = [runner.run("a", n) for n in range(3)]
        body.wait_for_calls()
        tickets[1].cancel()
        assert isinstance(tickets[1].exception(PATIENCE_S), errors.Cancelled)
        body.let_go()

        assert tickets[2].result(PATIENCE_S) == {"body": 2}
        assert body.calls == [0, 2]


def test_a_finished_ticket_cannot_be_cancelled():
    """Nor one whose runner is gone."""
    with td.Runner() as runner:
        runner.start(steps(), "a")
        ticket = runner.run("a", 1)
        ticket.result(PATIENCE_S)
        assert ticket.cancel() is False

    assert ticket.cancel() is False
    assert ticket.result(0) == {"increment": 2}


def test_cancelling_says_why():
    """The reason given is the error's; the results of a cancelled input are what came before."""
    body = Body(is_open=False)
    with td.Runner() as runner:
        runner.start(steps(td.step(body, name="body"), td.step(same, name="quick")), "a")
        ticket = runner.run("a", 1)
        body.wait_for_calls()
        until(lambda: runner.get_workflow("a").raw_productions())
        runner.cancel("a", input=0, reason="changed my mind")
        error = ticket.exception(PATIENCE_S)
        body.let_go()

        assert "input 0 of 'a' was cancelled: changed my mind" in str(error)
        assert runner.get_results("a", input=0) == {"quick": 1}
        again = runner.run("a", 2)
        assert again.result(PATIENCE_S) == {"body": 2, "quick": 2}


def test_cancelling_a_run_cancels_all_tickets():
    """The run is over for good."""
    body = Body(is_open=False)
    with td.Runner() as runner:
        runner.start(steps(td.step(body, name="body")), "a")
        tickets = [runner.run("a", n) for n in range(3)]
        body.wait_for_calls(3)
        runner.cancel("a", reason="enough")
        found = [ticket.exception(PATIENCE_S) for ticket in tickets]
        body.let_go()

        assert all(isinstance(each, errors.Cancelled) for each in found)
        assert "enough" in str(found[0])
        assert runner.wait("a") == "cancelled"
        with pytest.raises(errors.RunEnded, match="cancelled"):
            runner.run("a", 1)
        with pytest.raises(errors.RunEnded, match="for good"):
            runner.resume("a")


class Declined(Exception):
    """A user's own error."""


def test_a_failed_ticket_carries_the_original():
    """The very exception that was raised is the cause; component, input and attempt are named."""
    declined = Declined("no")
    with td.Runner(policies=td.Policy(max_retries=1, retry_on=Declined)) as runner:
        runner.start(steps(td.step(Flaky(declined, declined), name="charge")), "a")
        error = runner.run("a", 1).exception(PATIENCE_S)

        assert isinstance(error, errors.StepFailed)
        assert error.__cause__ is declined
        assert (error.component, error.input, error.attempt) == ("charge", 0, 2)
        assert "'charge' failed for input 0, attempt 2: Declined: no" in str(error)


def test_a_failure_that_was_handled_fails_no_ticket():
    """Nor does one that is skipped; one that a reduce went on without does not either."""
    handled = steps(td.step(fail, name="charge")).add(
        td.step(lambda failure: failure.error.text, name="handler"), to=td.error_of("charge")
    )
    skipped = steps(td.step(fail, name="charge", on_failure="skip"), same)
    collected = td.workflow("fan").add(td.map(lambda x: 1 // x, name="each"))
    collected = collected.add(td.collect(name="all", on_item_failure="skip"), to="each")
    with td.Runner() as runner:
        for name, workflow, value, results in (
            ("handled", handled, 1, {"handler": "no 1"}),
            ("skipped", skipped, 1, {"same": 1}),
            ("collected", collected, [1, 0], {"all": [1]}),
        ):
            runner.start(workflow, name)

            assert runner.run(name, value).result(PATIENCE_S) == results


def test_an_input_that_sets_nothing_off_has_no_results():
    """A rule that does not fire, and a workflow without components: the ticket is good, and empty."""
    rule = td.rule(name="big", condition=lambda x: x > 10, reaction=same)
    with td.Runner() as runner:
        runner.start(td.workflow("rules", rules=[rule]), "a")
        runner.start(td.workflow("empty"), "b")

        assert runner.run("a", 1).result(PATIENCE_S) == {}
        assert runner.run("a", 11).result(PATIENCE_S) == {"big": 11}
        assert runner.run("b", 1).result(PATIENCE_S) == {}
        assert runner.run("a", 2).done()


def test_results_are_those_of_the_input():
    """Whatever has come since; an output that was not produced is left out."""
    rule = td.rule(name="odd", condition=lambda x: x % 2, reaction=same)
    workflow = td.workflow("both", steps=[double], rules=[rule])
    with td.Runner(executor="inline") as runner:
        runner.start(workflow, "a")
        tickets = [runner.run("a", n) for n in (1, 2, 3, 4)]

        assert [each.result(PATIENCE_S) for each in tickets] == [
            {"double": 2, "odd": 1},
            {"double": 4},
            {"double": 6, "odd": 3},
            {"double": 8},
        ]
        assert runner.get_results("a") == {"double": 8, "odd": 3}


def test_none_is_an_input_and_a_result():
    """As any other value."""
    with td.Runner() as runner:
        runner.start(steps(same), "a")

        assert runner.run("a", None).result(PATIENCE_S) == {"same": None}


# ----------------------------------------------------------------------------------------- keys


def test_a_second_input_of_a_key_is_the_first_again():
    """While it is open, and when it is finished; its value does not count."""
    body = Body(is_open=False)
    with td.Runner() as runner:
        runner.start(steps(td.step(body, name="body")), "a")
        first = runner.run("a", 1, "order-1")
        second = runner.run("a", 2, key="order-1")
        other = runner.run("a", 3, key="order-2")
        body.let_go()
        assert first.result(PATIENCE_S) == second.result(PATIENCE_S) == {"body": 1}
        assert other.result(PATIENCE_S) == {"body": 3}
        third = runner.run("a", 9, key="order-1")

        assert third.done()
        assert third.result() == {"body": 1}
        assert (first.input, second.input, third.input, other.input) == (0, 0, 0, 1)
        assert sorted(body.calls) == [1, 3]
        assert [each.key for each in of_kind(runner, "a", InputAccepted)] == ["order-1", "order-2"]


def test_a_key_is_known_after_a_restart():
    """By whoever goes on from the store; a failure is given again, too."""
    store = MemoryStore()
    workflow = steps(td.step(Flaky(ValueError("once")), name="body"))
    with td.Runner(store=store) as runner:
        runner.start(workflow, "a")
        runner.run("a", 1, key="bad").exception(PATIENCE_S)
        runner.run("a", 2, key="good").result(PATIENCE_S)
    with td.Runner(store=store, workflows=[workflow]) as runner:
        runner.resume("a")
        bad, good = runner.run("a", 5, key="bad"), runner.run("a", 5, key="good")

        assert good.result(PATIENCE_S) == {"body": 2}
        assert isinstance(bad.exception(PATIENCE_S), errors.StepFailed)
        assert len(runner.get_workflow("a").inputs()) == 2


def test_keys_are_of_one_run():
    """Another run's inputs may have the same."""
    with td.Runner() as runner:
        for id in ("a", "b"):
            runner.start(steps(), id)
        results = [runner.run(id, n, key="k").result(PATIENCE_S) for n, id in enumerate("ab")]

        assert results == [{"increment": 1}, {"increment": 2}]


def test_many_threads_with_one_key():
    """One input comes of it, and all have its results."""
    body = Body(is_open=False)
    with td.Runner() as runner:
        runner.start(steps(td.step(body, name="body")), "a")
        tickets: list[td.Ticket] = []
        threads = [
            threading.Thread(target=lambda n=n: tickets.append(runner.run("a", n, key="k")))
            for n in range(20)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE_S)
        body.let_go()
        results = [ticket.result(PATIENCE_S) for ticket in tickets]

        assert len(body.calls) == 1
        assert results == [{"body": body.calls[0]}] * 20


def test_a_cancelled_ticket_of_two_cancels_the_input():
    """It is one input: both say so."""
    body = Body(is_open=False)
    with td.Runner() as runner:
        runner.start(steps(td.step(body, name="body")), "a")
        first, second = runner.run("a", 1, "k"), runner.run("a", 1, "k")
        body.wait_for_calls()
        first.cancel()
        second.cancel()

        assert isinstance(second.exception(PATIENCE_S), errors.Cancelled)
        assert isinstance(first.exception(PATIENCE_S), errors.Cancelled)
        body.let_go()


# ------------------------------------------------------------------------------------ callbacks


def test_done_callbacks_are_called():
    """Once, with the ticket; one that raises harms nothing."""
    heard: list[Any] = []

    def worse(_: Any) -> None:
        raise ValueError

    with td.Runner() as runner:
        runner.start(steps(increment), "a")
        ticket = runner.run("a", 1)
        ticket.add_done_callback(worse)
        ticket.add_done_callback(lambda done: heard.append(done.result()))
        ticket.result(PATIENCE_S)
        until(lambda: heard)

        assert heard == [{"increment": 2}]
        assert runner.run("a", 2).result(PATIENCE_S) == {"increment": 3}


@pytest.mark.parametrize("retain", ["results", 0, 1])
def test_tickets_of_runs_that_forget(retain: Any):
    """Each is answered before its input is folded away."""
    workflow = td.workflow("short", steps=[(increment, [double])], retain=retain)
    with td.Runner() as runner:
        runner.start(workflow, "a")
        tickets = [runner.run("a", n) for n in range(50)]

        assert [each.result(PATIENCE_S)["double"] for each in tickets] == [
            2 * (n + 1) for n in range(50)
        ]
