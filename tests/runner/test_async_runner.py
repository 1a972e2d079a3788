"""`AsyncRunner`: the same calls on the program's own event loop."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

import treadle as td
from tests.runner.running import (
    PATIENCE_S,
    Body,
    Flaky,
    Out,
    double,
    increment,
    plus,
    same,
    steps,
)
from treadle import errors
from treadle.model.events import Defined, InputAccepted
from treadle.stores.memory import MemoryStore


class Writer(MemoryStore):
    """A store whose calls are made in the writer's thread."""

    is_instant = False


def on_a_loop(main: Callable[[], Awaitable[Any]], *, patience_s: float = PATIENCE_S) -> Any:
    """Run this to its end, within reason."""

    async def within() -> Any:
        async with asyncio.timeout(patience_s):
            return await main()

    return asyncio.run(within())


class Meeting:
    """An async step in which so many must meet before any may go on."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.count = 0
        self.full = asyncio.Event()

    async def __call__(self, x: Any) -> Any:
        """Come in and wait for the others."""
        self.count += 1
        if self.count == self.size:
            self.full.set()
        await self.full.wait()
        return x


@pytest.mark.parametrize("store", [MemoryStore, Writer, None], ids=["instant", "writer", "none"])
def test_all_calls(store: Any):
    """Each does what its sister in `Runner` does."""

    async def main() -> None:
        async with td.AsyncRunner(store=store and store()) as runner:
            assert await runner.start(steps((increment, [double])), "a") == "a"
            assert await (await runner.run("a", 1)) == {"double": 4}
            assert await (await runner.submit("a", 2, "key")) == {"double": 6}
            assert await runner.wait("a") == "idle"
            assert await runner.get_results("a") == {"double": 6}
            assert await runner.get_results("a", "increment", input=0) == {"increment": 2}
            assert (await runner.get_workflow("a")).raw_productions() == [4, 6]
            assert await runner.plan("a") == []
            assert (await runner.story("a"))[0]["stimulus"] == "Begin"
            await runner.add("a", td.step(same, name="more"), to="double")
            await runner.replace("a", td.step(lambda x: -x, name="more"))
            assert await (await runner.run("a", 3)) == {"more": -8}
            await runner.remove("a", "more")
            assert await runner.checkpoint("a") == (0 if store is None else 14)
            assert [info.status for info in await runner.runs()] == ["idle"]
            assert await runner.stop("a") == "stopped"
            with pytest.raises(errors.DuplicateRun):
                await runner.start(steps(), "a")
            with pytest.raises(errors.UnknownRun):
                await runner.run("b", 1)
            await runner.start(steps(), "c")
            await runner.cancel("c", reason="why not")
            assert await runner.wait("c") == "cancelled"
            if store is not None:
                await runner.resume("a")
                assert await (await runner.run("a", 3)) == {"double": 8}
            await runner.stop("a", persist=False)
            with pytest.raises(errors.UnknownRun):
                await runner.get_workflow("a")

    on_a_loop(main)


def test_async_bodies_run_side_by_side():
    """As many as there are: each waits for all the others."""

    async def main() -> Any:
        workflow = td.workflow("fan").add(td.map(Meeting(300), name="each"))
        async with td.AsyncRunner() as runner:
            await runner.start(workflow, "a")
            return await (await runner.run("a", range(300)))

    assert on_a_loop(main) == {"each": list(range(300))}


def test_plain_bodies_hold_up_no_loop():
    """They run in threads while the loop goes on, here to let them go."""
    body = Body(is_open=False)

    async def main() -> Any:
        async with td.AsyncRunner() as runner:
            await runner.start(steps(td.step(body, name="body")), "a")
            ticket = await runner.run("a", 1)
            await asyncio.to_thread(body.wait_for_calls)
            body.let_go()
            return await ticket

    assert on_a_loop(main) == {"body": 1}


def test_async_bodies_run_on_the_program_s_loop():
    """So they may share what belongs to it."""

    async def main() -> Any:
        loop, shared = asyncio.get_running_loop(), asyncio.Queue[int]()

        async def body(x: int) -> bool:
            await shared.put(x)
            return asyncio.get_running_loop() is loop

        async with td.AsyncRunner() as runner:
            await runner.start(steps(td.step(body, name="body")), "a")
            return await (await runner.run("a", 7)), await shared.get()

    assert on_a_loop(main) == ({"body": True}, 7)


def test_a_body_may_use_the_runner():
    """It may feed another run, or its own, and wait for that."""

    async def main() -> Any:
        async with td.AsyncRunner() as runner:

            async def factorial(n: int) -> int:
                if n == 0:
                    return 1
                ticket = await runner.run("a", n - 1)
                return n * int((await ticket)["factorial"])

            await runner.start(steps(td.step(factorial)), "a")
            return await (await runner.run("a", 10)), len((await runner.get_workflow("a")).inputs())

    assert on_a_loop(main) == ({"factorial": 3628800}, 11)


def test_tickets_work_with_asyncio():
    """They are gathered and given a time limit as they are."""

    async def main() -> Any:
        async with td.AsyncRunner() as runner:
            await runner.start(steps(increment), "a")
            tickets = [await runner.run("a", n) for n in range(50)]
            first = await asyncio.wait_for(tickets[0], PATIENCE_S)
            return [result["increment"] for result in [first, *await asyncio.gather(*tickets)]]

    assert on_a_loop(main) == [1, *range(1, 51)]


def test_many_tasks_submit_to_many_runs():
    """Each gets the results of its own input; states see all inputs."""
    total = td.accumulator(plus, initial=0, name="total")

    async def main() -> Any:
        async with td.AsyncRunner(store=Writer(), executor="inline") as runner:
            ids = [
                await runner.start(td.workflow("sum", components=[total]), str(n))
                for n in range(10)
            ]

            async def feed(n: int) -> Any:
                return await (await runner.run(ids[n % 10], 1))

            await asyncio.gather(*[feed(n) for n in range(200)])
            return [(await runner.get_workflow(id)).states() for id in ids]

    assert on_a_loop(main) == [{"total": {None: 20}}] * 10


def test_an_input_is_stored_when_run_returns():
    """Also by a store that takes its time."""
    store = Writer()

    async def main() -> None:
        async with td.AsyncRunner(store=store) as runner:
            await runner.start(steps(same), "a")
            for n in range(10):
                await runner.run("a", n)
                values = [e.value for e in store.load("a").events if isinstance(e, InputAccepted)]
                assert values == list(range(n + 1))

    on_a_loop(main)


def test_a_cancelled_call_is_the_caller_s_affair():
    """Whoever gives up waiting for a run leaves it alone."""
    body = Body(is_open=False)

    async def main() -> Any:
        async with td.AsyncRunner() as runner:
            await runner.start(steps(td.step(body, name="body")), "a")
            ticket = await runner.run("a", 1)
            waiting = asyncio.create_task(runner.wait("a"))
            hearing = asyncio.ensure_future(ticket)
            await asyncio.sleep(0)
            waiting.cancel()
            hearing.cancel()
            await asyncio.gather(waiting, hearing, return_exceptions=True)
            body.let_go()
            return await runner.wait("a"), (await runner.get_results("a"))

    assert on_a_loop(main) == ("idle", {"body": 1})


def test_two_runners_share_a_loop():
    """And nothing else."""

    async def main() -> Any:
        async with td.AsyncRunner() as one, td.AsyncRunner() as two:
            await one.start(steps(increment), "a")
            await two.start(steps(double), "a")
            return await (await one.run("a", 5)), await (await two.run("a", 5))

    assert on_a_loop(main) == ({"increment": 6}, {"double": 10})


def test_a_runner_needs_a_running_loop():
    """Where none runs, the error says so."""
    with pytest.raises((RuntimeError, errors.UsageError), match="event loop"):
        td.AsyncRunner()


def test_closing_waits_for_async_bodies_or_ends_them():
    """With time enough they end by themselves; else they are cancelled, and stay to be done."""
    store, ended = MemoryStore(), []

    async def body(seconds: float) -> str:
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            ended.append(seconds)
            raise
        return "done"

    workflow = steps(td.step(body, name="body"))

    async def main(seconds: float, drain_s: float) -> int:
        runner = td.AsyncRunner(store=store)
        await runner.start(workflow, str(seconds))
        await runner.run(str(seconds), seconds)
        await asyncio.sleep(0)
        return await runner.close(drain_s)

    assert on_a_loop(lambda: main(0.001, PATIENCE_S)) == 0
    assert on_a_loop(lambda: main(3600.0, 0.01)) == 1
    assert ended == [3600.0]
    statuses = {info.id: (info.status, info.position) for info in store.list()}
    assert statuses == {"0.001": ("stopped", 3), "3600.0": ("stopped", 2)}


def test_closing_twice():
    """The second finds nothing to do."""

    async def main() -> list[int]:
        runner = td.AsyncRunner()
        await runner.start(steps(), "a")
        both = await asyncio.gather(runner.close(), runner.close())
        return [*both, await runner.close()]

    assert on_a_loop(main) == [0, 0, 0]


def test_a_closed_runner_takes_nothing():
    """No run, no input, no edit."""

    async def main() -> None:
        runner = td.AsyncRunner()
        await runner.start(steps(), "a")
        await runner.close()
        for call in (
            lambda: runner.start(steps(), "b"),
            lambda: runner.run("a", 1),
            lambda: runner.resume("a"),
            lambda: runner.add("a", double),
        ):
            with pytest.raises(errors.RunEnded):
                await call()

    on_a_loop(main)


# ------------------------------------------------------------------------------- interruptions


def test_a_ctrl_c_in_the_loop_ends_in_order():
    """It ends the program's main task; the run is stopped, and whoever resumes it does the work."""
    store, body = MemoryStore(), Flaky(KeyboardInterrupt())
    workflow = steps(td.step(body, name="body"))

    async def main() -> None:
        async with td.AsyncRunner(store=store, executor="inline") as runner:
            await runner.start(workflow, "a")
            await (await runner.run("a", 1))

    with pytest.raises(KeyboardInterrupt):
        on_a_loop(main)
    assert [info.status for info in store.list()] == ["stopped"]
    with td.Runner(store=store, workflows=[workflow]) as runner:
        runner.resume("a")
        runner.wait("a")
        assert runner.get_results("a") == {"body": 1}


BODIES: dict[str, BaseException] = {
    "cancelled": asyncio.CancelledError("spurious"),
    "out": Out("out"),
    "exit": SystemExit(3),
}


@pytest.mark.parametrize("executor", ["inline", "threads", "asyncio"])
@pytest.mark.parametrize("error", BODIES.values(), ids=BODIES)
def test_what_a_body_raises_is_its_failure(error: BaseException, executor: str):
    """Also a CancelledError that nobody asked for, plain or async; the loop goes on."""

    async def araise(x: Any) -> None:
        await asyncio.sleep(0)
        raise error

    def plain(x: Any) -> None:
        raise error

    async def main() -> list[str]:
        async with td.AsyncRunner(executor=executor) as runner:
            workflow = steps(td.step(plain), td.step(araise), td.step(same))
            await runner.start(workflow, "a")
            ticket = await runner.run("a", 1)
            with pytest.raises(errors.StepFailed):
                await ticket
            await runner.wait("a")
            found = await runner.get_workflow("a")
            assert found.results() == {"same": 1}
            return sorted(each.component for each in found.failures())

    assert on_a_loop(main) == ["araise", "plain"]


def test_a_callback_that_fails_harms_nothing():
    """Neither a plain nor an async `on_complete`."""

    def worse(*_: Any) -> None:
        raise ValueError("a callback's own")

    async def aworse(*_: Any) -> None:
        worse()

    async def main() -> Any:
        loop = asyncio.get_running_loop()
        heard: list[dict[str, Any]] = []
        loop.set_exception_handler(lambda _, told: heard.append(told))
        async with td.AsyncRunner() as runner:
            await runner.start(steps(), "a", on_complete=aworse)
            await runner.start(steps(), "b", on_complete=worse)
            results = [await (await runner.run(id, 1)) for id in "ab"]
            await runner.wait("a")
            await runner.wait("b")
            return results

    assert on_a_loop(main) == [{"increment": 2}] * 2


def test_runs_go_on_in_another_loop():
    """A store outlives the loop that its runner ran on."""
    store = MemoryStore()
    total = td.accumulator(plus, initial=0, name="total")
    workflow = td.workflow("sum", components=[total])

    async def main() -> Any:
        async with td.AsyncRunner(store=store, workflows=[workflow]) as runner:
            await runner.start(workflow, "a", if_exists="resume")
            return await (await runner.run("a", 1))

    assert [on_a_loop(main) for _ in range(3)] == [{"total": n} for n in (1, 2, 3)]
    assert sum(isinstance(event, Defined) for event in store.load("a").events) == 1


def test_threads_may_wait_for_its_tickets():
    """A ticket is a `concurrent.futures.Future` for whoever is not on the loop."""
    heard: list[Any] = []

    async def main() -> None:
        async with td.AsyncRunner() as runner:
            await runner.start(steps(), "a")
            ticket = await runner.run("a", 1)
            thread = threading.Thread(target=lambda: heard.append(ticket.result(PATIENCE_S)))
            thread.start()
            await ticket
            await asyncio.to_thread(thread.join, PATIENCE_S)

    on_a_loop(main)

    assert heard == [{"increment": 2}]
