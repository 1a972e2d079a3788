"""The ends of runners, several of them side by side, and where they cannot be used."""

import asyncio
import os
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import treadle as td
from tests.runner.running import (
    PATIENCE_S,
    Body,
    double,
    increment,
    of_kind,
    steps,
)
from treadle import errors
from treadle.model.events import Applied
from treadle.stores.memory import MemoryStore

# -------------------------------------------------------------------------------------- closing


def test_closing_waits_for_what_is_out():
    """Bodies end, their outcomes are stored, their tickets answered; what would follow them is left undone."""
    store, body = MemoryStore(), Body(is_open=False)
    workflow = steps(td.step(body, name="body"))
    runner = td.Runner(store=store)
    runner.start(workflow, "a")
    ticket = runner.run("a", 1)
    body.wait_for_calls()
    closing = ThreadPoolExecutor(1).submit(runner.close)
    while status(store, "a") == "running" and not closing.done():
        body.let_go()

    assert closing.result(PATIENCE_S) == 0
    assert ticket.result(PATIENCE_S) == {"body": 1}
    assert status(store, "a") == "stopped"


def status(store: MemoryStore, run_id: str) -> str | None:
    """How a run stands, by the store."""
    info = store.info(run_id)
    return None if info is None else info.status


def test_what_does_not_come_back_in_time_is_handed_back():
    """Another runner finds it undone and does it; the one that closes says how much that was."""
    store, body = MemoryStore(), Body(is_open=False)
    workflow = steps(td.step(body, name="body"))
    runner = td.Runner(store=store, drain_s=0.01)
    runner.start(workflow, "a")
    ticket = runner.run("a", 1)
    body.wait_for_calls()

    assert runner.close() == 1
    assert isinstance(ticket.exception(PATIENCE_S), errors.RunEnded)
    assert status(store, "a") == "stopped"
    body.let_go()
    with td.Runner(store=store, workflows=[workflow]) as second:
        second.resume("a")
        second.wait("a")
        assert second.get_results("a") == {"body": 1}
        assert len(of_kind(second, "a", Applied)) == 1


def test_closing_twice_is_once():
    """From one thread or several: the second finds nothing to do."""
    runner, body = td.Runner(), Body(is_open=False)
    runner.start(steps(td.step(body, name="body")), "a")
    runner.run("a", 1)
    with ThreadPoolExecutor(4) as threads:
        closings = [threads.submit(runner.close) for _ in range(4)]
        body.let_go()
        counts = [closing.result(PATIENCE_S) for closing in closings]

    assert counts == [0, 0, 0, 0]
    assert runner.close() == 0


CALLS: dict[str, Any] = {
    "start": lambda runner: runner.start(steps(), "b"),
    "run": lambda runner: runner.run("a", 1),
    "get_results": lambda runner: runner.get_results("a"),
    "get_workflow": lambda runner: runner.get_workflow("a"),
    "stop": lambda runner: runner.stop("a"),
    "resume": lambda runner: runner.resume("a"),
    "cancel": lambda runner: runner.cancel("a"),
    "checkpoint": lambda runner: runner.checkpoint("a"),
    "add": lambda runner: runner.add("a", double),
    "replace": lambda runner: runner.replace("a", increment),
    "remove": lambda runner: runner.remove("a", "increment"),
    "wait": lambda runner: runner.wait("a"),
    "runs": lambda runner: runner.runs(),
    "story": lambda runner: runner.story("a"),
    "plan": lambda runner: runner.plan("a"),
    "stream": lambda runner: runner.stream("a"),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_closed_runner_takes_nothing(call: Any):
    """Every call says that it is closed."""
    runner = td.Runner()
    runner.start(steps(), "a")
    runner.close()

    with pytest.raises(errors.RunEnded, match="closed"):
        call(runner)


def test_nobody_waits_for_a_runner_that_was_closed():
    """Threads that submit while it closes get their ticket or an error, and every ticket is answered."""
    for _ in range(6):
        runner = td.Runner()
        runner.start(steps(), "a")
        tickets: list[td.Ticket] = []

        def submit(runner: td.Runner = runner, tickets: list[td.Ticket] = tickets) -> None:
            while True:
                tickets.append(runner.run("a", 1))

        with ThreadPoolExecutor(4) as threads:
            submitting = [threads.submit(submit) for _ in range(4)]
            while len(tickets) < 4:
                pass
            runner.close()
            refused = [each.exception(PATIENCE_S) for each in submitting]

        assert {type(each) for each in refused} == {errors.RunEnded}
        assert all(ticket.done() for ticket in tickets)


def test_a_call_that_a_closing_runner_never_answers_is_refused():
    """As ended, by an error of ours, and not by a cancellation, which no `except Exception` catches."""
    runner, begun, raised = td.Runner(), threading.Event(), []

    async def never():
        begun.set()
        await asyncio.Event().wait()

    def call():
        try:
            runner._do(never())
        except BaseException as error:
            raised.append(type(error))

    caller = threading.Thread(target=call)
    caller.start()
    assert begun.wait(PATIENCE_S)
    runner.close()
    caller.join(PATIENCE_S)
    assert raised == [errors.RunEnded]


def test_a_body_that_never_returns_keeps_no_runner_from_closing():
    """Its thread is left to it."""
    body = Body(is_open=False)
    runner = td.Runner()
    runner.start(steps(td.step(body, name="body")), "a")
    runner.run("a", 1)
    body.wait_for_calls()

    assert runner.close(drain_s=0.01) == 1
    body.let_go()


# ------------------------------------------------------------------------------ one and several


def test_a_hundred_threads_submit_to_one_runner():
    """Every input is there once, and every ticket has its own results."""
    with td.Runner(executor="inline") as runner:
        for k in range(5):
            runner.start(steps(), str(k))
        with ThreadPoolExecutor(100) as threads:
            tickets = list(threads.map(lambda n: (n, runner.run(str(n % 5), n)), range(500)))
        results = {n: ticket.result(PATIENCE_S) for n, ticket in tickets}

        assert results == {n: {"increment": n + 1} for n in range(500)}
        assert [len(runner.get_workflow(str(k)).inputs()) for k in range(5)] == [100] * 5


def test_many_threads_start_and_stop_runs():
    """Each id is there once: of two that start it, one is told so."""

    def begin(n: int) -> str:
        try:
            runner.start(steps(), str(n % 20))
        except errors.DuplicateRun:
            return "there already"
        return runner.stop(str(n % 20))

    with td.Runner() as runner, ThreadPoolExecutor(16) as threads:
        told = list(threads.map(begin, range(100)))

        assert (told.count("stopped"), told.count("there already")) == (20, 80)
        assert len(runner.runs(status="stopped")) == 20


def test_runners_are_independent():
    """Several in one process share nothing: not runs, not limits, not their end."""
    body = Body(is_open=False)
    alone = td.Policy(max_concurrency=td.Limit(1, "door"))
    runners = [td.Runner(policies=alone) for _ in range(3)]
    tickets = []
    for runner in runners:
        runner.start(steps(td.step(body, name="body")), "a")
        tickets.append(runner.run("a", 1))
    body.wait_for_calls(3)
    body.let_go()
    results = [ticket.result(PATIENCE_S) for ticket in tickets]
    runners[0].close()

    assert results == [{"body": 1}] * 3
    assert runners[1].run("a", 5).result(PATIENCE_S) == {"body": 5}
    for runner in runners:
        runner.close()


def test_a_runner_does_not_pickle():
    """It says so, and its tickets do neither."""
    with td.Runner() as runner:
        runner.start(steps(), "a")
        ticket = runner.run("a", 1)
        with pytest.raises((errors.UsageError, TypeError), match="pickle"):
            pickle.dumps(runner)
        with pytest.raises((errors.UsageError, TypeError), match="pickle"):
            pickle.dumps(ticket)


def test_a_forked_process_has_no_part_in_the_runner():
    """Each call there says so instead of waiting for a thread that is not there; the parent's goes on."""
    with td.Runner() as runner:
        runner.start(steps(), "a")
        runner.run("a", 1).result(PATIENCE_S)
        child = os.fork()
        if child == 0:
            told = []
            for call in (lambda: runner.run("a", 1), runner.runs):
                try:
                    call()
                except errors.UsageError as error:
                    told.append("forked" in str(error))
            os._exit(40 + told.count(True) + runner.close())
        _, how = os.waitpid(child, 0)

        assert os.waitstatus_to_exitcode(how) == 42
        assert runner.run("a", 5).result(PATIENCE_S) == {"increment": 6}


def test_a_runner_works_where_an_event_loop_runs():
    """`Runner` has an event loop of its own; bodies may have theirs, and an `AsyncRunner` beside it too."""

    async def nested() -> int:
        await asyncio.sleep(0)
        return threading.get_ident()

    async def main() -> list[Any]:
        with td.Runner() as runner:
            runner.start(steps(td.step(lambda _: asyncio.run(nested()), name="nest")), "a")
            ticket = runner.run("a", 1)
            async with td.AsyncRunner() as beside:
                await beside.start(steps(), "a")
                other = await beside.run("a", 1)
                return [await ticket, await other]

    first, second = asyncio.run(main())

    assert first["nest"] != threading.get_ident()
    assert second == {"increment": 2}


def test_a_callback_cannot_wait_for_its_runner():
    """It is refused before anything happens, whichever run it speaks of."""
    told: list[Any] = []

    def call_back(run_id: str, _: td.Workflow) -> None:
        for other in ("a", "b"):
            try:
                told.append(runner.run(other, 5))
            except errors.UsageError as error:
                told.append(str(error))

    with td.Runner() as runner:
        runner.start(steps(), "b")
        runner.start(steps(), "a", on_complete=call_back)
        runner.run("a", 1).result(PATIENCE_S)
        runner.wait("a")

        assert [("callback cannot wait" in each) for each in told] == [True, True]
        assert len(runner.get_workflow("a").inputs()) == 1
        assert len(runner.get_workflow("b").inputs()) == 0


def test_a_callback_may_await_an_async_runner():
    """One run feeds the next."""

    async def main() -> dict[str, Any]:
        fed: asyncio.Future[td.Ticket] = asyncio.get_running_loop().create_future()

        async def feed(_: str, workflow: td.Workflow) -> None:
            fed.set_result(await runner.run("b", workflow.results()["increment"]))

        async with td.AsyncRunner() as runner:
            await runner.start(steps(), "b")
            await runner.start(steps(), "a", on_complete=feed)
            await (await runner.run("a", 1))
            return await (await fed)

    assert asyncio.run(main()) == {"increment": 3}
