"""Context variables that one body sets are not seen by the next."""

import asyncio
from contextvars import ContextVar

import treadle as td

SEEN: ContextVar[str] = ContextVar("seen", default="nothing")


async def set_it(value: int) -> int:
    """Set a context variable, as a library for tracing does."""
    SEEN.set("what another step set")
    return value


async def read_it(_: int) -> str:
    """Say what there is to see."""
    return SEEN.get()


def test_a_step_does_not_see_what_the_step_before_it_set():
    """The second step is dispatched from within the task of the first, and gets a context of its own."""

    async def main() -> dict[str, str]:
        async with td.AsyncRunner() as runner:
            await runner.start(td.workflow("w", steps=[(set_it, [read_it])]), "a")
            SEEN.set("what the caller set")
            results: dict[str, str] = await (await runner.run("a", 1))
            return results

    assert asyncio.run(main()) == {"read_it": "nothing"}
