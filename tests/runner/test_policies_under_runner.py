"""Policies under a runner: every field changes an outcome, and what is shared is shared by all runs."""

import asyncio
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

import treadle as td
from tests.runner import policy_cases
from tests.runner.policy_cases import ATTEMPTS, MOMENTS, Drive
from tests.runner.running import (
    PATIENCE_S,
    Body,
    Flaky,
    SetClock,
    fail,
    increment,
    of_kind,
    same,
    steps,
    until,
)
from treadle import errors
from treadle.model.events import AttemptFailed
from treadle.stores.memory import MemoryStore


class SlowStore(MemoryStore):
    """A store whose calls are made in the writer's thread."""

    is_instant = False


def has_failed(runner: td.Runner, count: int) -> bool:
    """Tell whether so many attempts have failed."""
    return len(of_kind(runner, "a", AttemptFailed)) >= count


def under(store: Callable[[], Any] = MemoryStore, **options: Any) -> Drive:
    """Drive a workflow under a runner of its own."""

    def drive(workflow: td.Workflow, value: Any) -> td.Workflow:
        with td.Runner(store=store(), **options) as runner:
            runner.start(workflow, "a")
            ticket = runner.run("a", value)
            ticket.exception(PATIENCE_S)
            return runner.get_workflow("a")

    return drive


RUNNERS = {
    "inline": under(executor="inline"),
    "threads": under(),
    "asyncio": under(executor="asyncio"),
    "pool": under(executor="pool:3"),
    "observed": under(observers=[td.Observer()], executor="inline"),
    "kept nowhere": under(store=lambda: None),
    "written": under(store=SlowStore),
}


@pytest.mark.parametrize("drive", RUNNERS.values(), ids=RUNNERS)
@pytest.mark.parametrize("case", ATTEMPTS.values(), ids=ATTEMPTS)
def test_attempts(case: Callable[[Drive], None], drive: Drive):
    """Retries, timeouts, fallbacks and final failures."""
    case(drive)


@pytest.mark.parametrize("drive", RUNNERS.values(), ids=RUNNERS)
@pytest.mark.parametrize("case", MOMENTS.values(), ids=MOMENTS)
def test_moments(case: Callable[[Drive], None], drive: Drive):
    """Delays, deadlines, places, limits, rates, breakers and priorities."""
    case(drive)


@pytest.mark.parametrize("name", ["inline", "asyncio", "observed"])
def test_priorities_in_line(name: str):
    """One thing after the other, the most urgent first."""
    policy_cases.priority_in_line(RUNNERS[name])


# --------------------------------------------------------------------------------------- delays

DELAYS: dict[str, tuple[dict[str, Any], list[float | None]]] = {
    "none": ({"backoff": "none"}, [None] * 4),
    "linear": ({"backoff": "linear"}, [0.004, 0.008, 0.012, 0.016]),
    "exponential": ({"backoff": "exponential"}, [0.004, 0.008, 0.016, 0.032]),
    "capped": ({"backoff": "exponential", "max_delay_s": 0.01}, [0.004, 0.008, 0.01, 0.01]),
}


def delays_of(policy: td.Policy) -> list[float | None]:
    """The delays after each failed attempt, by the log; the clock is set on as they are asked for."""
    clock = SetClock()
    delays: list[float | None] = []
    with td.Runner(clock=clock, executor="inline", policies=policy) as runner:
        runner.start(steps(td.step(fail, name="body")), "a")
        ticket = runner.run("a", 1)
        for count in range(1, policy.max_retries + 1):
            until(partial(has_failed, runner, count))
            retry_at = of_kind(runner, "a", AttemptFailed)[count - 1].retry_at
            delays.append(None if retry_at is None else round(retry_at - clock.now(), 6))
            clock.go_on_to(retry_at or 0.0)
        assert isinstance(ticket.exception(PATIENCE_S), errors.StepFailed)
    return delays


@pytest.mark.parametrize(("fields", "expected"), DELAYS.values(), ids=DELAYS)
def test_delays(fields: dict[str, Any], expected: list[float | None]):
    """They grow as the back-off says, up to the longest, and stand in the log."""
    assert delays_of(td.Policy(max_retries=4, base_delay_s=0.004, **fields)) == expected


def test_jittered_delays():
    """Each is somewhere below what the exponential one would be."""
    delays = delays_of(td.Policy(max_retries=3, backoff="jitter", base_delay_s=0.01))
    tops = (0.01, 0.02, 0.04)

    assert all(0 <= (delay or 0) <= top for delay, top in zip(delays, tops, strict=True))
    assert len(set(delays)) == 3


def test_nothing_is_tried_before_its_moment():
    """However long that is by the clock, and whatever else goes on meanwhile."""
    clock, body = SetClock(), Flaky(ValueError())
    policy = td.Policy(max_retries=1, backoff="linear", base_delay_s=0.005)
    with td.Runner(clock=clock, executor="inline", policies={"body": policy}) as runner:
        runner.start(steps(td.step(body, name="body")), "a")
        runner.start(steps(), "b")
        ticket = runner.run("a", 1)
        until(lambda: body.calls)
        for _ in range(50):
            runner.run("b", 1).result(PATIENCE_S)
        clock.go_on(0.0049)
        for _ in range(50):
            runner.run("b", 1).result(PATIENCE_S)
        assert (len(body.calls), ticket.done()) == (1, False)
        clock.go_on(0.0002)

        assert ticket.result(PATIENCE_S) == {"body": 1}


def test_waiting_for_the_next_attempt_takes_no_slot():
    """Of a limit, of a thread, or of a run: others go on meanwhile."""
    clock, flaky = SetClock(), Flaky(ValueError())
    policy = td.Policy(
        max_retries=1, backoff="linear", base_delay_s=60, max_delay_s=60, max_concurrency=1
    )
    with td.Runner(clock=clock, executor="threads:1", policies={"body": policy}) as runner:
        runner.start(steps(td.step(flaky, name="body")), "a", max_concurrency=1)
        runner.run("a", "first")
        until(lambda: of_kind(runner, "a", AttemptFailed))

        assert runner.run("a", "second").result(PATIENCE_S) == {"body": "second"}
        assert flaky.calls == ["first", "second"]


# ------------------------------------------------------------------------------------- deadlines


def test_a_deadline_counts_from_the_first_dispatch():
    """Waiting for a slot before it costs nothing; all attempts after it share what is left."""
    clock, first, body = SetClock(), Body(is_open=False), Flaky(*[ValueError()] * 9)
    policy = td.Policy(deadline_s=10, max_retries=9, backoff="linear", base_delay_s=0.001)
    workflow = steps((td.step(first, name="first"), [td.step(body, name="body")]))
    with td.Runner(clock=clock, policies={"body": policy}) as runner:
        runner.start(workflow, "a")
        ticket = runner.run("a", 1)
        first.wait_for_calls()
        clock.go_on(100)
        first.let_go()
        until(lambda: of_kind(runner, "a", AttemptFailed))
        assert of_kind(runner, "a", AttemptFailed)[0].deadline_at == clock.now() + 10
        clock.go_on(10)

        assert isinstance(ticket.exception(PATIENCE_S), errors.StepFailed)
        assert len(body.calls) <= 2


def test_an_input_s_deadline_cancels_what_is_left_of_it():
    """Its ticket says so; other inputs go on."""
    clock, body = SetClock(), Body(is_open=False)
    with td.Runner(clock=clock) as runner:
        runner.start(steps((td.step(body, name="body"), [increment])), "a")
        late = runner.run("a", 1, deadline_s=0.01)
        other = runner.run("a", 2)
        body.wait_for_calls(2)
        clock.go_on(0.02)
        assert isinstance(late.exception(PATIENCE_S), errors.DeadlineExceeded)
        body.let_go()

        assert other.result(PATIENCE_S) == {"increment": 3}
        assert [each["status"] for each in runner.get_workflow("a").inputs()] == [
            "cancelled",
            "done",
        ]


def test_a_run_s_deadline_cancels_the_run():
    """All that is open ends with it, and it takes nothing more."""
    clock, body = SetClock(), Body(is_open=False)
    with td.Runner(clock=clock) as runner:
        runner.start(steps(td.step(body, name="body")), "a", deadline_s=0.01)
        ticket = runner.run("a", 1)
        body.wait_for_calls()
        clock.go_on(0.02)

        assert isinstance(ticket.exception(PATIENCE_S), errors.DeadlineExceeded)
        assert runner.wait("a") == "cancelled"
        with pytest.raises(errors.RunEnded):
            runner.run("a", 2)
        body.let_go()


# --------------------------------------------------------------------------------------- timeouts


def test_a_thread_whose_time_is_over_is_left_to_itself():
    """Its slot is free again, and what it gives in the end changes nothing."""
    late, quick = Body(is_open=False, gives=lambda _: "late"), Body()
    policy = td.Policy(timeout_s=0.01, max_retries=99)
    with td.Runner(executor="threads:1", policies={"body": policy}) as runner:
        body = td.step(lambda x, *, n=td.attempt(): (late if n == 1 else quick)(x), name="body")
        runner.start(steps(body), "a")

        assert runner.run("a", 1).result(PATIENCE_S) == {"body": 1}
        late.let_go()
        assert runner.run("a", 2, policies={"body": {}}).result(PATIENCE_S) == {"body": "late"}
        assert {each.error.name for each in of_kind(runner, "a", AttemptFailed)} == {"TimedOut"}


def test_the_time_counts_from_the_beginning():
    """Waiting for a slot is not part of it."""
    clock, first, second = SetClock(), Body(is_open=False), Body(is_open=False)
    workflow = steps(td.step(first, name="first"), td.step(second, name="second"))
    policy = td.Policy(timeout_s=0.01)
    with td.Runner(clock=clock, executor="threads:1", policies={"second": policy}) as runner:
        runner.start(workflow, "a")
        ticket = runner.run("a", 1)
        first.wait_for_calls()
        clock.go_on(10)
        first.let_go()
        second.wait_for_calls()
        assert not ticket.done()
        clock.go_on(0.02)
        error = ticket.exception(PATIENCE_S)
        second.let_go()

        assert isinstance(error, errors.StepFailed)
        assert isinstance(error.__cause__, errors.TimedOut)


def test_an_async_body_whose_time_is_over_is_cancelled():
    """It gets a CancelledError; the next attempt may succeed."""
    ended = []

    async def body(x: Any, *, n: int = td.attempt()) -> Any:
        if n == 1:
            try:
                await asyncio.Event().wait()
            finally:
                ended.append(n)
        return x

    with td.Runner(policies=td.Policy(timeout_s=0.01, max_retries=99)) as runner:
        runner.start(steps(td.step(body, name="body")), "a")

        assert runner.run("a", 7).result(PATIENCE_S) == {"body": 7}
        assert ended == [1]


# ------------------------------------------------------------------------- shared by all runs


def burst(body: Any, count: int, policy: td.Policy, **options: Any) -> tuple[td.Runner, list[Any]]:
    """So many runs of one step, each with one input."""
    runner = td.Runner(policies={"body": policy}, **options)
    workflow = steps(td.step(body, name="body"))
    ids = [runner.start(workflow, str(n)) for n in range(count)]
    return runner, [runner.run(id, id) for id in ids]


def test_a_limit_holds_over_all_runs():
    """A component without a key counts over all runs of its workflow."""
    body = Body(is_open=False)
    runner, tickets = burst(body, 10, td.Policy(max_concurrency=3))
    body.wait_for_calls(3)
    body.let_go()
    for ticket in tickets:
        ticket.result(PATIENCE_S)
    runner.close()

    assert body.peak == 3
    assert len(body.calls) == 10


def test_a_limit_s_key_is_shared_by_components_and_workflows():
    """Two workflows' components at one door; another name is another limit."""
    body, alone = Body(is_open=False), td.Policy(max_concurrency=td.Limit(1, "door"))
    with td.Runner() as runner:
        for name in ("one", "two"):
            workflow = steps(td.step(body, name="x"), td.step(body, name="y"), name=name)
            runner.start(workflow.with_policies({"x": alone, "y": alone}), name)
        tickets = [runner.run(name, name) for name in ("one", "two")]
        body.wait_for_calls(1)
        body.let_go()
        for ticket in tickets:
            ticket.result(PATIENCE_S)
        assert (body.peak, len(body.calls)) == (1, 4)
        apart = td.Policy(max_concurrency=1)
        body.shut()
        ids = [runner.start(steps(body, name=name).with_policies(apart)) for name in ("p", "q")]
        tickets = [runner.run(id, 1) for id in ids]
        body.wait_for_calls(6)
        body.let_go()

        assert body.peak == 2
        assert all(ticket.result(PATIENCE_S) for ticket in tickets)


def test_a_rate_holds_over_all_runs():
    """So many begin until the clock goes on; then as many again."""
    clock, body = SetClock(), Body()
    policy = td.Policy(rate_limit=td.RateLimit(2, per_s=0.005))
    runner, tickets = burst(body, 6, policy, clock=clock)
    for count in (2, 4, 6):
        body.wait_for_calls(count)
        assert runner.wait("0") == "idle"
        assert len(body.calls) == count
        clock.go_on(0.0051)
    for ticket in tickets:
        ticket.result(PATIENCE_S)
    runner.close()

    assert len(body.calls) == 6


def test_a_rate_that_waits_for_time_alone_goes_on():
    """Also when nothing else happens in the runner."""
    with td.Runner(policies=td.Policy(rate_limit=td.RateLimit(1, per_s=0.01))) as runner:
        runner.start(steps(), "a")
        for n in range(4):
            assert runner.run("a", n).result(PATIENCE_S) == {"increment": n + 1}


def test_a_breaker_opens_for_all_runs():
    """Failures in different runs count together; when its time is over one attempt decides."""
    clock, body = SetClock(), Flaky(*[ValueError(str(n)) for n in range(3)])
    breaker = td.CircuitBreaker(2, reset_s=0.01)
    runner, first = burst(body, 2, td.Policy(circuit_breaker=breaker), clock=clock)
    with runner:
        for ticket in first:
            ticket.exception(PATIENCE_S)
        workflow = steps(td.step(body, name="body"))

        def verdict(id: str) -> str:
            runner.start(workflow, id)
            error = runner.run(id, id).exception(PATIENCE_S)
            return "" if error is None else type(error.__cause__).__name__

        assert verdict("open") == "CircuitOpen"
        clock.go_on(0.011)
        assert verdict("trial") == "ValueError"
        assert verdict("open again") == "CircuitOpen"
        clock.go_on(0.011)
        assert verdict("second trial") == ""
        assert verdict("closed") == ""
        assert len(body.calls) == 5


@pytest.mark.parametrize("executor", ["inline", "threads"])
def test_timeouts_open_a_breaker(executor: str):
    """A service that hangs has failed, wherever its time was over."""
    body = Body(is_open=executor == "inline", gives=lambda x: threading.Event().wait(0.002) or x)
    policy = td.Policy(timeout_s=0.001, circuit_breaker=td.CircuitBreaker(2, reset_s=3600))
    with td.Runner(executor=executor, policies=policy) as runner:
        runner.start(steps(td.step(body, name="body")), "a")
        causes = [runner.run("a", n).exception(PATIENCE_S) for n in range(4)]
        body.let_go()

        names = [type(each.__cause__).__name__ for each in causes if each is not None]
        assert names == ["TimedOut", "TimedOut", "CircuitOpen", "CircuitOpen"]


def test_a_cancelled_attempt_says_nothing_to_a_breaker():
    """Work that nobody wants any more has not failed."""
    body = Body(is_open=False)
    policy = td.Policy(circuit_breaker=td.CircuitBreaker(1, reset_s=3600))
    with td.Runner(policies=policy) as runner:
        runner.start(steps(td.step(body, name="body")), "a")
        ticket = runner.run("a", 1)
        body.wait_for_calls()
        ticket.cancel()
        assert isinstance(ticket.exception(PATIENCE_S), errors.Cancelled)
        body.let_go()

        assert runner.run("a", 2).result(PATIENCE_S) == {"body": 2}


def test_priorities_hold_over_all_runs():
    """With one slot for all, the more urgent run's work goes first; equals in the order of their coming."""
    order: list[str] = []
    gate = Body(is_open=False)
    with td.Runner(executor="threads:1") as runner:
        runner.start(steps(td.step(gate, name="gate")), "gate")
        blocked = runner.run("gate", 1)
        gate.wait_for_calls()
        tickets: list[td.Ticket] = []
        for rank in ("low", "normal", "high", "low", "critical", "high"):
            id = f"{rank} {len(tickets)}"
            body = td.step(lambda x, id=id: order.append(id), name="body")
            runner.start(steps(body), id, policies=td.Policy(priority=rank))
            tickets.append(runner.run(id, 1))
        gate.let_go()
        for ticket in [blocked, *tickets]:
            ticket.result(PATIENCE_S)

    assert order == ["critical 4", "high 2", "high 5", "normal 1", "low 0", "low 3"]


def test_an_input_s_priority_counts_among_the_inputs_of_its_run():
    """Later inputs of higher rank overtake."""
    order: list[int] = []
    gate = Body(is_open=False, gives=lambda x: order.append(x) or x)
    with td.Runner() as runner:
        runner.start(steps(td.step(gate, name="body")), "a", max_concurrency=1)
        tickets = [runner.run("a", 0)]
        gate.wait_for_calls()
        tickets += [runner.run("a", n, policies=td.Policy(priority=n)) for n in (1, 3, 2)]
        gate.let_go()
        for ticket in tickets:
            ticket.result(PATIENCE_S)

    assert order == [0, 3, 2, 1]


# ------------------------------------------------------------------------ concurrency without policies


def test_a_run_may_have_few_slots():
    """`max_concurrency` of a run counts its own bundles only."""
    body = Body(is_open=False)
    with td.Runner() as runner:
        runner.start(td.workflow("fan").add(td.map(body, name="each")), "a", max_concurrency=2)
        runner.start(steps(), "b")
        ticket = runner.run("a", range(9))
        body.wait_for_calls(2)
        assert runner.run("b", 1).result(PATIENCE_S) == {"increment": 2}
        body.let_go()
        ticket.result(PATIENCE_S)

    assert (body.peak, len(body.calls)) == (2, 9)


def test_a_runner_may_have_few_slots():
    """`max_concurrency` of the runner counts all that is out, whatever its executor."""
    body, inside = Body(is_open=False), [0, 0]

    async def other(x: Any) -> Any:
        inside[0] += 1
        inside[1] = max(inside)
        await asyncio.sleep(0)
        inside[0] -= 1
        return x

    with td.Runner(max_concurrency=2) as runner:
        workflow = steps(td.step(body, name="body"), td.step(other, name="other"))
        tickets = [runner.run(runner.start(workflow), n) for n in range(6)]
        body.wait_for_calls(2)
        body.let_go()
        for ticket in tickets:
            ticket.result(PATIENCE_S)

    assert body.peak <= 2
    assert inside[1] <= 2


def test_max_open_refuses_more_inputs():
    """The error says how many; when one is finished there is room again."""
    body = Body(is_open=False)
    with td.Runner() as runner:
        runner.start(steps(td.step(body, name="body")), "a", max_open=2)
        first, second = runner.run("a", 1), runner.run("a", 2)
        with pytest.raises(errors.Overloaded, match="no more than 2"):
            runner.run("a", 3)
        body.let_go()
        first.result(PATIENCE_S)
        second.result(PATIENCE_S)

        assert runner.run("a", 3).result(PATIENCE_S) == {"body": 3}


# ---------------------------------------------------------------------------------- edits and kinds


def test_a_replaced_component_keeps_its_policy():
    """Policies are found by name; a component added later has its own."""
    flaky = Flaky(ValueError(), ValueError())
    policies = {"body": td.Policy(max_retries=1), "extra": td.Policy(max_retries=1)}
    with td.Runner(policies=policies) as runner:
        runner.start(steps(td.step(fail, name="body")), "a")
        runner.run("a", 1).exception(PATIENCE_S)
        runner.replace("a", "body", td.step(flaky, name="body"))
        runner.run("a", 2).exception(PATIENCE_S)
        assert len(flaky.calls) == 2
        runner.replace("a", "body", td.step(same, name="body"))
        flaky.errors = [ValueError()]
        runner.add("a", td.step(flaky, name="extra"), to="body")

        assert runner.run("a", 3).result(PATIENCE_S) == {"extra": 3}


def test_a_policy_of_the_workflow_goes_with_it():
    """`with_policies`, `workflow(policies=)` and the runner's meet: the nearer one wins, whole."""
    flaky = Flaky(*[ValueError()] * 99)
    own = td.workflow(
        "own", steps=[td.step(flaky, name="body")], policies={"body": td.Policy(max_retries=2)}
    )
    with td.Runner(policies=td.Policy(max_retries=5, fallback="never")) as runner:
        runner.start(own, "a")
        assert isinstance(runner.run("a", 1).exception(PATIENCE_S), errors.StepFailed)
        assert len(flaky.calls) == 3
        runner.start(steps(td.step(flaky, name="body")), "b")
        assert runner.run("b", 1).result(PATIENCE_S) == {"body": "never"}

        assert len(flaky.calls) == 9


def test_the_ticket_of_an_input_that_fell_back_is_good():
    """An attempt that failed is no failure of the input."""
    policy = td.Policy(max_retries=1, fallback=td.step(same))
    with td.Runner(policies=policy) as runner:
        runner.start(steps(td.step(fail, name="body")), "a")

        assert runner.run("a", 5).result(PATIENCE_S) == {"body": 5}
        assert runner.get_workflow("a").failures() == []
        assert len(policy_cases.attempts(runner.get_workflow("a"))) == 2
