"""Much of the same: what is finished leaves nothing behind."""

import asyncio
import gc
import resource
import tracemalloc

import pytest

import treadle as td
from tests.runner.running import increment, plus, steps

HELD_BYTES = 100_000
"""What may still be held of two thousand finished runs: caches that are not full yet, no more."""

GROWN_KB = 10_000
"""By how much the process may grow over eighty thousand runs: 125 bytes each."""


def held() -> int:
    """The bytes that Python objects take which were made since tracing began."""
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


@pytest.mark.slow
def test_a_hundred_thousand_runs_leave_nothing_behind():
    """Started, run, stopped and forgotten: memory does not grow."""

    async def main() -> tuple[int, int, int]:
        template = steps(increment)
        async with td.AsyncRunner(executor="inline") as runner:

            async def go(first: int, last: int) -> None:
                for n in range(first, last):
                    id = await runner.start(template, str(n))
                    assert await (await runner.run(id, n)) == {"increment": n + 1}
                    assert await runner.stop(id, persist=False) == "stopped"

            await go(0, 20_000)
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            await go(20_000, 98_000)
            grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak
            tracemalloc.start()
            await go(98_000, 100_000)
            left = held()
            tracemalloc.stop()
            return grown, left, len(await runner.runs())

    grown, left, count = asyncio.run(main())

    assert grown < GROWN_KB
    assert left < HELD_BYTES
    assert count == 0


@pytest.mark.slow
def test_twenty_thousand_inputs_of_one_run_leave_nothing_behind():
    """With `retain=0` what is finished is folded away, and the state stays."""

    async def main() -> tuple[int, int]:
        total = td.accumulator(plus, initial=0, name="total")
        workflow = td.workflow("sum", components=[total], retain=0)
        async with td.AsyncRunner(executor="inline") as runner:
            await runner.start(workflow, "a")

            async def go(first: int, last: int) -> None:
                for n in range(first, last):
                    assert await (await runner.run("a", 1)) == {"total": n + 1}

            await go(0, 18_000)
            tracemalloc.start()
            await go(18_000, 20_000)
            left = held()
            tracemalloc.stop()
            return left, len((await runner.get_workflow("a")).inputs())

    left, count = asyncio.run(main())

    assert left < HELD_BYTES
    assert count <= 2
