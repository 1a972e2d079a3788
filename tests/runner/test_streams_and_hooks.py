"""What a runner tells while it works: streams of events, observers, hooks, stories and plans."""

import asyncio
import json
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from msgspec import structs

import treadle as td
from tests.runner.running import (
    PATIENCE_S,
    Body,
    FaultyStore,
    Flaky,
    Out,
    double,
    fail,
    increment,
    log_of,
    same,
    steps,
    until,
)
from treadle import errors
from treadle.interfaces import Observer
from treadle.model.events import Applied, Defined, Event
from treadle.stores.memory import MemoryStore


class Writer(MemoryStore):
    """A store whose calls are made in the writer's thread."""

    is_instant = False


STORES: dict[str, Callable[[], Any]] = {
    "instant": MemoryStore,
    "writer": Writer,
    "none": lambda: None,
}


@pytest.fixture(params=list(STORES.values()), ids=list(STORES))
def runner(request: pytest.FixtureRequest):
    """A runner over each kind of store."""
    with td.Runner(store=request.param()) as runner:
        yield runner


# -------------------------------------------------------------------------------------- streams


def test_a_stream_gives_the_events_of_a_run(runner: td.Runner):
    """From now on, in order, until the run ends."""
    runner.start(steps((increment, [double])), "a")
    runner.run("a", 1).result(PATIENCE_S)
    seen = len(log_of(runner, "a"))
    stream = runner.stream("a")
    for n in range(5):
        runner.run("a", n).result(PATIENCE_S)
    expected = log_of(runner, "a")[seen:]
    runner.stop("a")

    assert list(stream) == expected
    assert len(expected) == 15


def test_a_stream_from_the_beginning(runner: td.Runner):
    """The first event is the definition."""
    runner.start(steps(), "a")
    stream = runner.stream("a")
    runner.run("a", 1)

    assert isinstance(next(stream), Defined)
    runner.stop("a")
    assert isinstance(list(stream)[-1], Applied)


def test_several_streams_of_one_run(runner: td.Runner):
    """Each has all of them; one that is given up costs the others nothing."""
    runner.start(steps(), "a")
    first, second, third = runner.stream("a"), runner.stream("a"), runner.stream("a")
    runner.run("a", 1).result(PATIENCE_S)
    assert len([next(first), next(first), next(first)]) == 3
    first.close()
    runner.run("a", 2).result(PATIENCE_S)
    runner.stop("a")

    assert len(list(second)) == len(list(third)) == 5


def test_a_stream_waits_for_events():
    """It gives each as it happens, while the body of the next is at work."""
    body = Body(is_open=False)
    with td.Runner() as runner, ThreadPoolExecutor(1) as threads:
        runner.start(steps((increment, [td.step(body, name="body")])), "a")
        stream = runner.stream("a")
        ticket = runner.run("a", 1)
        first = [next(stream) for _ in range(3)]
        waiting = threads.submit(next, stream)
        assert not ticket.done()
        assert not waiting.done()
        body.let_go()

        assert getattr(first[-1], "node", None) == "increment"
        assert getattr(waiting.result(PATIENCE_S), "node", None) == "body"


def test_a_stream_ends_with_the_runner():
    """Also one that nobody reads, and one of a run that was idle."""
    runner = td.Runner()
    runner.start(steps(), "a")
    stream = runner.stream("a")
    runner.close()

    assert list(stream) == []


def test_a_stream_outlives_a_crash_and_tells_only_what_was_stored():
    """What could not be stored did not happen."""
    store = FaultyStore()
    with td.Runner(store=store) as runner:
        runner.start(steps((increment, [double])), "a")
        stream = runner.stream("a")
        runner.run("a", 1).result(PATIENCE_S)
        store.fail_next()
        with pytest.raises(errors.PlugError):
            runner.run("a", 2)
        store.fail_at(store.count + 2)
        runner.run("a", 3).result(PATIENCE_S)
        expected = log_of(runner, "a")
        runner.stop("a")

        assert list(stream) == expected


def test_an_async_stream():
    """`async for`, on the runner's own loop."""

    async def main() -> list[Event]:
        async with td.AsyncRunner() as runner:
            await runner.start(steps(), "a")
            seen: list[Event] = []

            async def listen() -> None:
                seen.extend([event async for event in runner.stream("a")])

            listening = asyncio.create_task(listen())
            await asyncio.sleep(0)
            await (await runner.run("a", 1))
            await runner.stop("a")
            await listening
            return seen

    assert [type(event).__name__ for event in asyncio.run(main())] == [
        "Defined",
        "InputAccepted",
        "Applied",
    ]


# ------------------------------------------------------------------------------------ observers


class Counting(Observer):
    """Counts all that it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, tuple[Any, ...]]] = []

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("on_"):
            return lambda *about: self.told.append((name, about))
        return super().__getattribute__(name)

    def of(self, name: str) -> list[tuple[Any, ...]]:
        """What it was told under a name."""
        return [about for told, about in self.told if told == name]


def test_an_observer_hears_of_each_append():
    """Which runs, how many events, how long it took."""
    for store in (MemoryStore(), Writer()):
        counting = Counting()
        with td.Runner(store=store, observers=[counting]) as runner:
            runner.start(steps((increment, [double])), "a")
            for n in range(4):
                runner.run("a", n).result(PATIENCE_S)
            length = len(log_of(runner, "a"))

        appends = counting.of("on_append")
        assert sum(events for _, events, _ in appends) == length
        assert {id for ids, _, _ in appends for id in ids} == {"a"}
        assert all(seconds >= 0 for _, _, seconds in appends)


def test_an_observer_hears_of_starts_restarts_and_ends():
    """Resuming is a start, coming back from the store too."""
    store, counting = FaultyStore(), Counting()
    with td.Runner(store=store, observers=[counting], keep_warm=1) as runner:
        runner.start(steps(), "a")
        store.fail_next()
        with pytest.raises(errors.PlugError):
            runner.run("a", 1)
        runner.stop("a")
        runner.resume("a")
        runner.cancel("a")

    assert [name for name, about in counting.told if name != "on_append"] == [
        "on_start",
        "on_restart",
        "on_start",
        "on_end",
        "on_start",
        "on_end",
    ]
    [(run_id, error)] = counting.of("on_restart")
    assert (run_id, type(error)) == ("a", OSError)
    assert counting.of("on_end") == [("a", "stopped"), ("a", "cancelled")]


def test_an_observer_hears_how_each_input_ended():
    """done, failed or cancelled."""
    counting, body = Counting(), Body(is_open=False)
    rule = td.rule(name="odd", condition=lambda x: x % 2, reaction=fail)
    workflow = td.workflow("w", steps=[td.step(body, name="body")], rules=[rule])
    with td.Runner(observers=[counting]) as runner:
        runner.start(workflow, "a")
        tickets = [runner.run("a", n) for n in (0, 1, 2)]
        body.wait_for_calls(3)
        tickets[2].cancel()
        tickets[2].exception(PATIENCE_S)
        body.let_go()
        for ticket in tickets:
            ticket.exception(PATIENCE_S)
        runner.wait("a")

    assert sorted(counting.of("on_input")) == [
        ("a", 0, "done"),
        ("a", 1, "failed"),
        ("a", 2, "cancelled"),
    ]


def test_every_dispatch_returns():
    """Whatever comes of it: success, failure, a retry, a timeout, a late answer."""
    counting, body = Counting(), Body(is_open=False)
    policies = {"late": td.Policy(timeout_s=0.005), "flaky": td.Policy(max_retries=1)}
    workflow = steps(
        same, fail, td.step(Flaky(ValueError()), name="flaky"), td.step(body, name="late")
    )
    with td.Runner(observers=[counting], policies=policies) as runner:
        runner.start(workflow, "a")
        runner.run("a", 1).exception(PATIENCE_S)
        body.let_go()
        runner.wait("a")
        until(lambda: len(counting.of("on_return")) == 5)

    dispatched = [bundle.runnables[0].id for _, bundle in counting.of("on_dispatch")]
    returned = [bundle.runnables[0].id for _, bundle, _ in counting.of("on_return")]
    assert sorted(dispatched) == sorted(returned)
    assert sorted(dispatched) == ["fail@0", "flaky@0", "flaky@0", "late@0", "same@0"]
    assert len(counting.of("on_failed")) == 3
    assert len(counting.of("on_complete")) == 2


@pytest.mark.parametrize("error", [ValueError(), Out()], ids=["error", "out"])
def test_an_observer_that_raises_everywhere_harms_nothing(error: BaseException):
    """Nor does it keep the others from being told."""

    class Raising(Observer):
        def __getattribute__(self, name: str) -> Any:
            if name.startswith("on_"):
                raise error
            return super().__getattribute__(name)

    store, counting = FaultyStore(), Counting()
    with td.Runner(store=store, observers=[Raising(), counting, Raising()]) as runner:
        runner.start(steps(increment, td.step(fail)), "a")
        store.fail_next()
        with pytest.raises(errors.PlugError):
            runner.run("a", 0)
        assert isinstance(runner.run("a", 1).exception(PATIENCE_S), errors.StepFailed)
        assert runner.get_results("a") == {"increment": 2}
        runner.wait("a")

    assert len(counting.of("on_complete")) == 1
    assert counting.of("on_end") == [("a", "stopped")]


# ------------------------------------------------------------------------- transform_runnables


def test_a_hook_may_reorder_ready_work():
    """With one slot, what it puts first goes first."""
    order: list[int] = []
    hooks = td.Hooks(transform_runnables=lambda id, ready: reversed(ready))
    body = td.map(lambda x: order.append(x) or x, name="each")
    with td.Runner(hooks=hooks, executor="inline") as runner:
        runner.start(td.workflow("fan").add(body), "a")
        results = runner.run("a", range(5)).result(PATIENCE_S)

    assert order == [4, 3, 2, 1, 0]
    assert results == {"each": [0, 1, 2, 3, 4]}


def test_a_hook_may_hold_work_back():
    """It is offered again when something has happened in the run."""
    is_open = threading.Event()
    offered: list[str] = []

    def hold(run_id: str, ready: list[td.Runnable]) -> Iterable[td.Runnable]:
        offered.extend(each.id for each in ready)
        return [each for each in ready if each.component != "body" or is_open.is_set()]

    body = Body()
    with td.Runner(hooks=td.Hooks(transform_runnables=hold)) as runner:
        runner.start(steps(td.step(body, name="body"), same), "a")
        first = runner.run("a", 1)
        until(lambda: runner.get_workflow("a").raw_productions())
        assert body.calls == []
        is_open.set()
        second = runner.run("a", 2)

        assert first.result(PATIENCE_S) == {"body": 1, "same": 1}
        assert second.result(PATIENCE_S) == {"body": 2, "same": 2}
        assert offered.count("body@0") >= 2
        assert sorted(body.calls) == [1, 2]


def test_a_hook_may_replace_work():
    """By the same work with other values: what it gives is what counts."""

    def tenfold(_: str, ready: list[td.Runnable]) -> Iterable[td.Runnable]:
        return [structs.replace(each, args=(each.args[0] * 10,)) for each in ready]

    hooks = td.Hooks(transform_runnables=tenfold)
    with td.Runner(hooks=hooks) as runner:
        runner.start(steps(increment), "a")

        assert runner.run("a", 1).result(PATIENCE_S) == {"increment": 11}


WRONG_HOOKS: dict[str, Callable[[str, list[td.Runnable]], Any]] = {
    "twice": lambda _, ready: ready * 2,
    "foreign": lambda _, ready: [structs.replace(each, component="x", node="x") for each in ready],
    "nothing": lambda _, ready: None,
    "raises": lambda _, ready: 1 / 0,
}


@pytest.mark.parametrize("hook", WRONG_HOOKS.values(), ids=WRONG_HOOKS)
def test_a_hook_that_goes_wrong_is_done_without(hook: Any, caplog):
    """The work goes on as it was, once."""
    body = Body()
    with td.Runner(hooks=td.Hooks(transform_runnables=hook)) as runner:
        runner.start(steps(td.step(body, name="body")), "a")

        assert runner.run("a", 1).result(PATIENCE_S) == {"body": 1}
        assert body.calls == [1]
    assert "transform_runnables failed" in caplog.text


# ------------------------------------------------------------------------------- on_complete


def test_completion_is_told_each_time_nothing_is_left():
    """With the run's id and a workflow of its own; an async callback is awaited."""
    told: list[Any] = []

    async def tell(run_id: str, workflow: td.Workflow) -> None:
        await asyncio.sleep(0)
        told.append((run_id, workflow.results(), workflow.in_flight()))

    for callback in (lambda *about: told.append((about[0], about[1].results(), ())), tell):
        told.clear()
        with td.Runner() as runner:
            runner.start(steps(), "a", on_complete=callback)
            for n in (1, 2):
                runner.run("a", n).result(PATIENCE_S)
                runner.wait("a")
            until(lambda: len(told) == 2)

        assert [each[:2] for each in told] == [("a", {"increment": 2}), ("a", {"increment": 3})]


# ------------------------------------------------------------------------------ story and plan


def test_a_story_tells_what_led_to_what():
    """JSON-ready, oldest first; of a stopped run it stays to be seen."""
    with td.Runner(executor="threads") as runner:
        runner.start(steps(), "a")
        runner.run("a", 1).result(PATIENCE_S)
        runner.stop("a")
        story = runner.story("a")

        assert [row["stimulus"] for row in story] == ["Begin", "Submit", "Finished", "Stop"]
        assert [row["status"] for row in story] == ["idle", "running", "idle", "stopped"]
        assert story[1]["led_to"][-1] == "Execute 1: increment@0"
        json.dumps(story)


class Reasoned:
    """A scheduler that says why."""

    def plan(self, ready: Sequence[td.Runnable], view: Any) -> Sequence[td.Bundle]:
        """One by one."""
        return [td.Bundle(runnables=(each,), reason="one by one") for each in ready]

    def observe(self, outcome: td.Outcome) -> None:
        """Learn nothing."""


def test_a_plan_says_what_would_go_where_and_why():
    """What waits for a slot of the run, in the order in which it would go; it changes nothing."""
    body, other = Body(is_open=False), Body()
    workflow = steps(td.step(body, name="body"), td.step(other, name="other"), same)
    policies = {"same": td.Policy(priority="high", executor="own")}
    with td.Runner(executors={"own": "threads:1"}, policies=policies) as runner:
        runner.start(workflow, "a", scheduler=Reasoned(), max_concurrency=1)
        ticket = runner.run("a", 1)
        until(lambda: body.calls or other.calls or len(runner.plan("a")) < 3)
        first = runner.plan("a")
        assert runner.plan("a") == first
        body.let_go()
        ticket.result(PATIENCE_S)

        assert [row["work"] for row in first] in ([["body@0"], ["other@0"]], [["other@0"]])
        assert first[-1] == {
            "kind": "single",
            "work": ["other@0"],
            "then": [],
            "executor": "threads",
            "priority": 0,
            "reason": "one by one",
        }
        assert runner.plan("a") == []
        assert (body.calls, other.calls) == ([1], [1])
        json.dumps(first)
