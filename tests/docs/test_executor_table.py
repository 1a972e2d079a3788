"""The table of docs/executors.md says what the executors are and do."""

import asyncio
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import treadle as td
from tests.docs.tables import table
from treadle.errors import TimedOut
from treadle.executors.aio import AsyncioExecutor
from treadle.executors.dask import DaskExecutor
from treadle.executors.futures import FuturesExecutor
from treadle.executors.inline import InlineExecutor
from treadle.executors.pool import DemandPool
from treadle.executors.processes import ProcessExecutor
from treadle.executors.ray import RayExecutor
from treadle.executors.threads import ThreadExecutor
from treadle.interfaces import Executor
from treadle.wiring import EXECUTORS, make_executor

CLASSES = (
    *(InlineExecutor, AsyncioExecutor, ThreadExecutor, DemandPool),
    *(ProcessExecutor, FuturesExecutor, DaskExecutor, RayExecutor),
)
ROWS = {row["executor"].split("`")[-2]: row for row in table("docs/executors.md", "executor")}

PATIENCE_S = 20


def made(kind: type) -> Executor:
    """One of a class, as its word makes it; none of them starts anything before it is opened."""
    if kind is FuturesExecutor:
        return FuturesExecutor(ThreadPoolExecutor(1))
    executor: Executor = kind()
    return executor


def test_each_executor_has_a_row() -> None:
    """Those that a word makes stand under that word, and all words are there."""
    cells = {name: row["executor"] for name, row in ROWS.items()}
    words = {name: cell.split('"')[1] for name, cell in cells.items() if '"' in cell}

    assert set(ROWS) == {kind.__name__ for kind in CLASSES}
    assert {word: type(make_executor(word)).__name__ for word in words.values()} == {
        word: name for name, word in words.items()
    }
    assert set(words.values()) == set(EXECUTORS)


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_how_many_at_once(kind: Any) -> None:
    """The number is the capacity by default; of processes it is how it is computed."""
    told = ROWS[kind.__name__]["at once"].split("`")[1]
    expected = (os.cpu_count() or 1) if told == "os.cpu_count()" else {"None": None}.get(told, told)

    assert str(made(kind).capacity) == str(expected)


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_what_cancelling_does(kind: Any) -> None:
    """The word in the cell is what the executor says of itself."""
    told = ROWS[kind.__name__]["cancelled while it runs"]
    words = {word for word in ("stopped", "abandoned") if f"`{word}`" in told}

    assert words == {made(kind).when_cancelled}


async def double(number: int) -> int:
    """Give twice the number."""
    return number * 2


async def given(executor: Executor, runnable: td.Runnable) -> td.Outcome:
    """What an executor makes of one runnable."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[Sequence[td.Outcome]] = loop.create_future()

    def take(_: int, outcomes: Sequence[td.Outcome]) -> None:
        loop.call_soon_threadsafe(answer.set_result, outcomes)

    executor.open(take)
    try:
        executor.submit(1, td.Bundle(runnables=(runnable,)))
        return (await asyncio.wait_for(answer, PATIENCE_S))[0]
    finally:
        executor.close()


@pytest.mark.parametrize(
    "kind",
    [
        *(InlineExecutor, AsyncioExecutor, ThreadExecutor, DemandPool, FuturesExecutor),
        pytest.param(ProcessExecutor, marks=pytest.mark.slow),
    ],
    ids=lambda kind: kind.__name__,
)
def test_what_becomes_of_async_functions(kind: Any) -> None:
    """Where the table says that they fail they do, and elsewhere they give their value."""
    fails = ROWS[kind.__name__]["async functions"] == "fail"
    _, (runnable,) = td.workflow("w").add(double).plan_eagerly(4).prepare_for_dispatch()
    outcome = asyncio.run(given(made(kind), runnable))

    assert (outcome.status, outcome.value) == (("failed", None) if fails else ("ok", 8))


@pytest.mark.parametrize("name", ["threads", "pool"])
def test_under_a_runner_async_functions_are_awaited_on_its_own_loop(name: str) -> None:
    """A policy that names another executor does not change that."""

    async def where(_: object) -> Any:
        return asyncio.get_running_loop()

    async def drive() -> tuple[Any, Any]:
        policies = {"where": td.Policy(executor=name)}
        async with td.AsyncRunner(executors={"pool": "pool"}, policies=policies) as runner:
            await runner.start(td.workflow("w").add(where), "one")
            found = await (await runner.run("one", 1))
        return found["where"], asyncio.get_running_loop()

    awaited_on, own = asyncio.run(drive())

    assert awaited_on is own


def test_a_late_result_in_line_counts_as_timed_out() -> None:
    """The body ran to its end, and what it gave is not taken."""
    ran: list[int] = []
    workflow = td.workflow("w").add(td.step(ran.append, name="late"))
    policies = {"late": td.Policy(timeout_s=1e-9)}
    with td.Runner(executor="inline", policies=policies) as runner:
        runner.start(workflow, "one")
        error = runner.run("one", 1).exception(timeout=PATIENCE_S)

    assert "counts as timed out" in ROWS["InlineExecutor"]["over its time"]
    assert ran == [1]
    assert error is not None
    assert isinstance(error.__cause__, TimedOut)
