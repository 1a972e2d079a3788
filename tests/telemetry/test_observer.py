"""What observers are told, on which both observers of this package build."""

import asyncio
import contextvars
import sys
import threading
from collections import Counter
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

import treadle as td
from tests.telemetry.plugs import Deaf, SlowStore
from treadle.interfaces import Bundle, Outcome
from treadle.runner.loop import Loop
from treadle.schedulers import BatchScheduler, ChainScheduler
from treadle.stores.memory import MemoryStore

PATIENCE_S = 20


class Told(td.Observer):
    """Writes down what it is told of bundles and inputs."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, Bundle]] = []
        self.returned: list[tuple[str, Bundle, list[Outcome]]] = []
        self.inputs: list[tuple[str, int]] = []
        self.order: list[str] = []
        self.batches: list[tuple[list[str], int, float]] = []

    def on_accept(self, run_id, input):
        """Note the input."""
        self.inputs.append((run_id, input))
        self.order.append("accept")

    def on_dispatch(self, run_id, bundle):
        """Note the bundle."""
        self.sent.append((run_id, bundle))
        self.order.append("dispatch")

    def on_return(self, run_id, bundle, outcomes):
        """Note the bundle and what it gave."""
        self.returned.append((run_id, bundle, list(outcomes)))
        self.order.append("return")

    def on_complete(self, run_id, runnable, outcome):
        """Note that it was."""
        self.order.append("complete")

    def on_failed(self, run_id, runnable, outcome, then):
        """Note what follows."""
        self.order.append(then)

    def on_input(self, run_id, input, status):
        """Note how it ended."""
        self.order.append(status)

    def on_append(self, run_ids, events, seconds):
        """Note the batch."""
        self.batches.append((list(run_ids), events, seconds))

    @property
    def is_even(self) -> bool:
        """Whether each bundle that left came back, once."""
        return Counter(map(same, self.sent)) == Counter(
            same((run_id, bundle)) for run_id, bundle, _ in self.returned
        )


def same(sent: tuple[str, Bundle]) -> tuple[Any, ...]:
    """Which attempts of which run left together, and where to."""
    run_id, bundle = sent
    return (run_id, bundle.executor, *[(each.id, each.attempt) for each in bundle.runnables])


def double(number: int) -> int:
    """Give twice the number."""
    return number * 2


async def increase(number: int) -> int:
    """Give the number after it."""
    return number + 1


def test_an_attempt_is_told_of_in_order():
    """Accepted, dispatched, complete or failed, and then returned."""
    told = Told()
    doubling = td.workflow(
        "doubling", steps=[double], policies={"double": td.Policy(max_retries=1, base_delay_s=0)}
    )
    with td.Runner(observers=[told]) as runner:
        runner.start(doubling, "numbers")
        runner.run("numbers", 1).result(PATIENCE_S)
        runner.run("numbers", None).exception(PATIENCE_S)

    good = ["accept", "dispatch", "complete", "done", "return"]
    bad = ["accept", "dispatch", "retry", "dispatch", "return", "give_up", "failed", "return"]
    assert told.order == good + bad
    assert told.inputs == [("numbers", 0), ("numbers", 1)]
    assert told.is_even


def test_a_second_input_of_one_key_is_not_accepted_again():
    """It is the first one."""
    told = Told()
    with td.Runner(observers=[told]) as runner:
        runner.start(td.workflow("doubling", steps=[double]), "numbers")
        tickets = [runner.run("numbers", 1, key="once") for _ in range(3)]
        assert [ticket.result(PATIENCE_S) for ticket in tickets] == [{"double": 2}] * 3

    assert told.inputs == [("numbers", 0)]


@pytest.mark.parametrize("store", [MemoryStore, SlowStore])
def test_a_bundle_says_where_it_goes_and_comes_back_as_it_left(store: Callable[[], MemoryStore]):
    """Threads for plain functions, the event loop for async ones; also where storing takes its time."""
    told = Told()
    mixed = td.workflow("mixed", steps=[(double, [increase])])
    with td.Runner(observers=[told], store=store()) as runner:
        runner.start(mixed, "numbers")
        runner.run("numbers", 1).result(PATIENCE_S)

    assert [bundle.executor for _, bundle in told.sent] == ["threads", "asyncio"]
    assert [bundle for _, bundle in told.sent] == [bundle for _, bundle, _ in told.returned]
    assert [[outcome.value for outcome in gave] for _, _, gave in told.returned] == [[2], [3]]


@pytest.mark.parametrize(
    ("scheduler", "kind"), [(BatchScheduler, "parallel"), (ChainScheduler, "chain")]
)
def test_bundles_of_several_come_back_once(scheduler: Callable[[], Any], kind: str):
    """Many inputs, chains and batches, and answers that come together."""
    told = Told()
    workflow = td.workflow("several").add(td.map(double, name="each")).add(double, to="each")
    workflow = workflow.add(td.step(abs), to="double")
    with td.Runner(observers=[told], scheduler=scheduler(), executor="threads:4") as runner:
        runner.start(workflow, "numbers")
        tickets = [runner.run("numbers", list(range(count))) for count in range(12)]
        for ticket in tickets:
            ticket.result(PATIENCE_S)

    assert told.is_even
    assert sum(len(gave) for _, _, gave in told.returned) == told.order.count("complete")
    assert {bundle.kind for _, bundle in told.sent} == {"single", kind}


def blocked(enter: threading.Event, leave: threading.Event) -> td.Workflow:
    """A workflow of one step that says when it has begun, and waits until it may end."""

    def wait(number: int) -> int:
        enter.set()
        assert leave.wait(PATIENCE_S)
        return number

    return td.workflow("blocked", steps=[wait])


@pytest.mark.parametrize("end", ["cancel_input", "cancel_run", "stop_now", "close", "timeout"])
def test_work_that_is_withdrawn_comes_back(end: str):
    """Whatever becomes of a bundle, it is told once that it is out no more."""
    told, enter, leave = Told(), threading.Event(), threading.Event()
    policies = {"*": td.Policy(timeout_s=0.01)} if end == "timeout" else None
    with td.Runner(observers=[told], drain_s=0, policies=policies) as runner:
        runner.start(blocked(enter, leave), "a")
        ticket = runner.run("a", 1)
        assert enter.wait(PATIENCE_S)
        if end == "cancel_input":
            runner.cancel("a", input=0)
        elif end == "cancel_run":
            runner.cancel("a")
        elif end == "stop_now":
            runner.stop("a", now=True)
        elif end == "timeout":
            ticket.exception(PATIENCE_S)
        runner.close()
    leave.set()

    assert told.is_even
    assert len(told.returned) == 1


def test_work_that_is_never_answered_is_given_up_as_the_runner_closes():
    """Without outcomes; an executor that is silent keeps nobody from knowing that."""
    told = Told()
    with td.Runner(observers=[told], executor=Deaf(), drain_s=0) as runner:
        runner.start(td.workflow("doubling", steps=[double]), "numbers")
        runner.run("numbers", 1)

    assert told.is_even
    assert [outcomes for _, _, outcomes in told.returned] == [[]]


@pytest.mark.parametrize("executor", ["inline", "threads", "asyncio"])
@pytest.mark.parametrize("is_observed", [True, False])
def test_context_variables_of_a_request_stay_with_it(executor: str, is_observed: bool):
    """What is set where `run` is called is seen by `on_accept`, and by no work: not its own, nor that of others.

    All work sees what was set where the runner was made; plain work in threads sees nothing, as always in threads.
    """
    who = contextvars.ContextVar("who", default="nobody")
    accepted: list[str] = []
    seen: dict[str, set[str]] = {"plain": set(), "async": set()}

    class Asks(td.Observer):
        def on_accept(self, run_id, input):
            accepted.append(who.get())

    def plain(name):
        seen["plain"].add(who.get())
        return name

    async def awaited(name):
        seen["async"].add(who.get())
        await asyncio.sleep(0)
        seen["async"].add(who.get())
        return name

    async def request(runner, name):
        who.set(name)
        ticket = await runner.run("a", name)
        return await asyncio.wait_for(asyncio.wrap_future(ticket), PATIENCE_S)

    async def main():
        who.set("maker")
        steps: list[Any] = [
            (plain, [(awaited, [td.step(plain, name="again")])]),
            td.step(awaited, name="other"),
        ]
        observers = [Asks()] if is_observed else []
        async with td.AsyncRunner(observers=observers, executor=executor) as runner:
            await runner.start(td.workflow("w", steps=steps), "a")
            await asyncio.gather(*[request(runner, name) for name in "abcdefgh"])

    asyncio.run(main())

    assert sorted(accepted) == (list("abcdefgh") if is_observed else [])
    assert seen == {"plain": {"nobody" if executor == "threads" else "maker"}, "async": {"maker"}}


def test_what_a_slow_store_has_stored_is_told_of():
    """Batches of the writer's thread too: each event once."""
    told = Told()
    with td.Runner(observers=[told], store=SlowStore()) as runner:
        runner.start(td.workflow("doubling", steps=[double]), "numbers")
        for number in range(5):
            runner.run("numbers", number)
        runner.wait("numbers")
        length = runner.checkpoint("numbers")

    assert {run_id for ids, _, _ in told.batches for run_id in ids} == {"numbers"}
    assert sum(events for _, events, _ in told.batches) == length
    assert all(seconds >= 0 for _, _, seconds in told.batches)


def test_without_observers_nobody_is_told():
    """The loop does not even ask: everything off costs nothing."""
    called: Counter[Any] = Counter()

    def count(frame: FrameType, event: str, _: Any) -> None:
        if event == "call":
            called[frame.f_code] += 1

    async def main(observers):
        policies = {"double": td.Policy(max_retries=1, base_delay_s=0)}
        doubling = td.workflow("doubling", steps=[double], policies=policies)
        async with td.AsyncRunner(executor="inline", observers=observers) as runner:
            await runner.start(doubling, "numbers")
            for value in (1, None):
                await runner.run("numbers", value)
            await runner.wait("numbers")

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        asyncio.run(main([]))
        silent = called[Loop.observe.__code__]
        asyncio.run(main([td.Observer()]))
    finally:
        sys.setprofile(before)

    assert silent == 0
    assert called[Loop.observe.__code__] > 0
