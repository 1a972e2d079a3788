"""What a runner cannot do is refused where it is asked, and says what could be done; it is never dropped."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

import treadle as td
from tests.runner.running import PATIENCE_S, Body, increment, steps
from tests.runner.test_async_runner import on_a_loop
from treadle import errors
from treadle.runner import stimuli as say
from treadle.runner.record import LISTED
from treadle.stores.memory import MemoryStore


def test_a_status_that_there_is_not_is_refused():
    """It names the one that is meant, and lists all; each of those may be asked for."""
    with td.Runner() as runner:
        runner.start(steps(), "a")
        with pytest.raises(
            errors.UsageError, match="'idel' is none.*Did you mean 'idle'"
        ) as caught:
            runner.runs(status="idel")
        found = {status: [info.id for info in runner.runs(status=status)] for status in LISTED}

    assert all(status in str(caught.value) for status in LISTED)
    assert [status for status, ids in found.items() if ids] == ["idle"]
    assert set(LISTED) >= {status for status, _ in say.TRANSITIONS} | say.FINAL


def test_an_async_runner_outside_of_a_coroutine_is_refused():
    """It would have no event loop to live on; the hint names the runner that needs none."""
    with pytest.raises(errors.UsageError, match=r"no event loop runs.*in a coroutine.*td\.Runner"):
        td.AsyncRunner()


def done(id: str, workflow: Any) -> None:
    """A callback that does nothing."""


WISHED: dict[str, Any] = {
    "policies": {"increment": td.Policy(max_retries=2)},
    "scheduler": "chains",
    "run_context": {"increment": {"x": 1}},
    "max_concurrency": 2,
    "max_open": 3,
    "deadline_s": 500.0,
    "durability": "none",
    "on_complete": done,
}
OTHER: dict[str, Any] = {
    "policies": {"increment": td.Policy(max_retries=3)},
    "scheduler": "default",
    "run_context": {"increment": {"x": 2}},
    "max_concurrency": 3,
    "max_open": 4,
    "deadline_s": 600.0,
    "on_complete": print,
}


@pytest.mark.parametrize("name", WISHED)
def test_other_options_of_a_run_at_work_are_refused(name: str):
    """They would be dropped; the same ones, and none, let it go on as it is."""
    workflow, wished = steps(), {name: WISHED[name]}
    with td.Runner() as runner:
        runner.start(workflow, "a", **wished)
        assert runner.start(workflow, "a", if_exists="resume", **wished) == "a"
        assert runner.start(workflow, "a", if_exists="resume") == "a"
        if name in OTHER:
            with pytest.raises(errors.UsageError, match=f"is idle.*are: {name}.*stop the run"):
                runner.start(workflow, "a", if_exists="resume", **{name: OTHER[name]})
        runner.start(workflow, "plain")
        with pytest.raises(errors.UsageError, match=f"others, are: {name}"):
            runner.start(workflow, "plain", if_exists="resume", **wished)

        assert runner.run("a", 1).result(PATIENCE_S) == {"increment": 2}


def test_an_option_that_cannot_be_compared_counts_as_another():
    """What its comparison raises is not thrown at whoever resumes the run."""

    class Odd:
        def __call__(self, id: str, workflow: Any) -> None: ...

        def __eq__(self, other: object) -> bool:
            raise ArithmeticError

        __hash__ = None  # type: ignore[assignment]

    with td.Runner() as runner:
        runner.start(steps(), "a", on_complete=Odd())
        with pytest.raises(errors.UsageError, match="others, are: on_complete"):
            runner.start(steps(), "a", if_exists="resume", on_complete=Odd())


def test_a_stopped_run_takes_other_options():
    """It goes on under them."""
    workflow, told = steps(), threading.Event()
    with td.Runner() as runner:
        runner.start(workflow, "a", max_open=1)
        runner.stop("a")
        runner.start(
            workflow, "a", if_exists="resume", max_open=2, on_complete=lambda *_: told.set()
        )
        runner.run("a", 1).result(PATIENCE_S)

        assert told.wait(PATIENCE_S)


class Closed(MemoryStore):
    """A store that is not touched after it was closed."""

    is_closed = False

    def close(self) -> None:
        """Close it."""
        self.is_closed = True

    def info(self, id: str) -> Any:
        """How a run stands."""
        assert not self.is_closed
        return super().info(id)

    def load(self, id: str) -> Any:
        """What is stored of a run."""
        assert not self.is_closed
        return super().load(id)

    def list(self, **more: Any) -> Any:
        """The runs."""
        assert not self.is_closed
        return super().list(**more)


ASKED: dict[str, Callable[[td.AsyncRunner, str], Any]] = {
    "start": lambda runner, id: runner.start(steps(), id, if_exists="resume"),
    "run": lambda runner, id: runner.run(id, 1),
    "stop": lambda runner, id: runner.stop(id),
    "stop now": lambda runner, id: runner.stop(id, now=True, persist=False),
    "cancel": lambda runner, id: runner.cancel(id),
    "cancel input": lambda runner, id: runner.cancel(id, input=0),
    "resume": lambda runner, id: runner.resume(id),
    "checkpoint": lambda runner, id: runner.checkpoint(id),
    "add": lambda runner, id: runner.add(id, increment),
    "remove": lambda runner, id: runner.remove(id, "increment"),
    "wait": lambda runner, id: runner.wait(id),
    "runs": lambda runner, id: runner.runs(),
    "get_workflow": lambda runner, id: runner.get_workflow(id),
    "plan": lambda runner, id: runner.plan(id),
    "story": lambda runner, id: runner.story(id),
}


@pytest.mark.parametrize("ask", ASKED.values(), ids=ASKED)
@pytest.mark.parametrize("id", ["a", "unknown"])
def test_a_closed_runner_takes_nothing_and_leaves_its_store_alone(ask: Any, id: str):
    """Whatever is asked of it, of a run that it had or of any other, it says that it is closed."""

    async def main() -> None:
        runner = td.AsyncRunner(store=Closed())
        await runner.start(steps(), "a")
        ticket = await runner.run("a", 1)
        await ticket
        await runner.close()
        with pytest.raises(errors.RunEnded, match="this runner is clos"):
            await ask(runner, id)
        assert await runner.close() == 0

    on_a_loop(main)


def test_whoever_gives_up_waiting_is_not_remembered():
    """A caller that asks again and again, each time for a moment, leaves nothing behind."""

    async def main() -> None:
        body = Body(is_open=False)
        async with td.AsyncRunner() as runner:
            await runner.start(steps(td.step(body, name="body")), "a")
            ticket = await runner.run("a", 1)
            patient = asyncio.ensure_future(runner.wait("a"))
            for _ in range(3):
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(runner.wait("a"), 0.001)
            assert len(runner._core.runs["a"].waiters) == 1
            body.let_go()
            assert await patient == "idle"
            assert await ticket == {"body": 1}

    on_a_loop(main)


# ---------------------------------------------------------------------------------- interruptions


INTERRUPTS: dict[str, tuple[BaseException, str]] = {
    "interrupt": (KeyboardInterrupt(), "Cancelled"),
    "generator": (GeneratorExit(), "Cancelled"),
    "exit": (SystemExit(3), "SystemExit"),
}


@pytest.mark.parametrize(("error", "name"), INTERRUPTS.values(), ids=INTERRUPTS)
def test_what_an_async_body_on_the_loop_raises(error: BaseException, name: str):
    """A Ctrl-C ends the program in order, and the rest stays inside; the run is stopped, and may be resumed.

    What was struck is recorded as the table of the docs says, and is not done a second time.
    """
    store, calls = MemoryStore(), []

    async def body(x: Any) -> Any:
        calls.append(x)
        await asyncio.sleep(0)
        if len(calls) == 1:
            raise error
        return x

    workflow = steps(td.step(body, name="body"))

    async def main() -> None:
        async with td.AsyncRunner(store=store) as runner:
            await runner.start(workflow, "a")
            await (await runner.run("a", 1))

    is_interrupt = isinstance(error, KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt if is_interrupt else errors.StepFailed):
        on_a_loop(main)
    assert [info.status for info in store.list()] == ["stopped"]
    with td.Runner(store=store, workflows=[workflow]) as runner:
        runner.resume("a")
        assert runner.run("a", 2).result(PATIENCE_S) == {"body": 2}
        [failure] = runner.get_workflow("a").failures()
    assert (failure.error.name, calls) == (name, [1, 2])


@pytest.mark.parametrize(("error", "name"), INTERRUPTS.values(), ids=INTERRUPTS)
def test_what_an_async_body_in_the_runners_own_thread_raises(error: BaseException, name: str):
    """No Ctrl-C arrives there: it is the failure of that body, and the program does not hear of it."""

    async def body(x: Any) -> Any:
        await asyncio.sleep(0)
        raise error

    with td.Runner() as runner:
        runner.start(steps(td.step(body, name="body"), increment), "a")
        caught = runner.run("a", 1).exception(PATIENCE_S)

        assert isinstance(caught, errors.StepFailed)
        assert type(caught.__cause__).__name__ == name
        assert runner.get_results("a") == {"increment": 2}
