"""The react loops of a bare workflow honour its policies: the same cases as under a runner."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import treadle as td
from tests.runner import policy_cases
from tests.runner.policy_cases import ATTEMPTS, MOMENTS, Drive
from tests.runner.running import PATIENCE_S, Body, Flaky, Out, fail, increment, same, steps
from treadle import errors


def inline(workflow: td.Workflow, value: Any) -> td.Workflow:
    """In the caller's thread."""
    return workflow.react_until_satisfied(value)


def threads(workflow: td.Workflow, value: Any) -> td.Workflow:
    """In threads."""
    return workflow.react_until_satisfied(value, executor="threads")


def pool(workflow: td.Workflow, value: Any) -> td.Workflow:
    """In a pool of the program's own."""
    with ThreadPoolExecutor(4) as own:
        return workflow.react_until_satisfied(value, executor=own)


def on_a_loop(workflow: td.Workflow, value: Any) -> td.Workflow:
    """On an event loop."""
    return asyncio.run(workflow.areact_until_satisfied(value))


def by_generations(workflow: td.Workflow, value: Any) -> td.Workflow:
    """One generation after the other."""
    workflow = workflow.react(value)
    while not workflow.is_satisfied():
        workflow = workflow.react()
    return workflow


DRIVES = {each.__name__: each for each in (inline, threads, pool, on_a_loop)}


@pytest.mark.parametrize("drive", [*DRIVES.values(), by_generations], ids=[*DRIVES, "react"])
@pytest.mark.parametrize("case", ATTEMPTS.values(), ids=ATTEMPTS)
def test_attempts(case: Callable[[Drive], None], drive: Drive):
    """Retries, timeouts, fallbacks and final failures."""
    case(drive)


@pytest.mark.parametrize("drive", DRIVES.values(), ids=DRIVES)
@pytest.mark.parametrize("case", MOMENTS.values(), ids=MOMENTS)
def test_moments(case: Callable[[Drive], None], drive: Drive):
    """Delays, deadlines, places, limits, rates, breakers and priorities."""
    case(drive)


@pytest.mark.parametrize("drive", [inline, on_a_loop, by_generations])
def test_priorities_in_line(drive: Drive):
    """One thing after the other, the most urgent first."""
    policy_cases.priority_in_line(drive)


def under_a_runner(workflow: td.Workflow, value: Any) -> td.Workflow:
    """In line, under a runner."""
    with td.Runner(executor="inline") as runner:
        runner.start(workflow, "one")
        runner.run("one", value).exception(timeout=PATIENCE_S)
        return runner.get_workflow("one")


def halting(calls: list[str], policy: td.Policy | None) -> td.Workflow:
    """Of two steps that are ready the first halts the input: by its policy, or without one by its own wish."""

    def bad(_: Any) -> None:
        calls.append("bad")
        raise ValueError("no")

    def next_to_it(x: Any) -> Any:
        calls.append("next to it")
        return x

    own: Any = "halt" if policy is None else "block"
    return steps(td.step(bad, on_failure=own), next_to_it).with_policies(
        {"next_to_it": td.Policy(max_retries=1)} if policy is None else {"bad": policy}
    )


@pytest.mark.parametrize("drive", [inline, under_a_runner])
@pytest.mark.parametrize(
    ("policy", "attempts"),
    [
        (td.Policy(on_failure="halt"), 1),
        (td.Policy(on_failure="halt", max_retries=2, retry_on=OSError), 1),
        (td.Policy(on_failure="halt", fallback=fail), 2),
    ],
)
def test_a_policy_that_halts_in_line_does_so_at_once(
    policy: td.Policy, attempts: int, drive: Drive
):
    """What is ready next to it is not executed any more, as where the component itself says so."""
    calls: list[str] = []
    done = drive(halting(calls, policy), 3)
    if attempts == 1:
        own_calls: list[str] = []
        own = drive(halting(own_calls, None), 3)
        assert calls == own_calls == ["bad"]
        assert [type(each) for each in done.log()] == [type(each) for each in own.log()]
    assert policy_cases.failure(done).on_failure == "halt"
    assert done.is_satisfied()


@pytest.mark.parametrize("drive", [inline, under_a_runner])
def test_what_may_halt_and_is_tried_again_holds_up_nobody(drive: Drive):
    """Only the last failure halts; others of the drive go on before."""
    body = Flaky(ValueError("once"))
    workflow = steps(td.step(body, name="body"), same).with_policies(
        {"body": td.Policy(on_failure="halt", max_retries=1)}
    )
    assert drive(workflow, 3).results() == {"body": 3, "same": 3}


# ---------------------------------------------------------------------------------------- async


async def afail(x: Any) -> Any:
    """Never succeed, asynchronously."""
    await asyncio.sleep(0)
    raise ValueError(f"no {x}")


def test_async_bodies_are_tried_again():
    """Attempts and fallbacks of async functions are awaited."""

    async def instead(told: td.Failure) -> str:
        await asyncio.sleep(0)
        return f"instead of {told.inputs[0]}"

    policy = td.Policy(max_retries=2, fallback=instead)
    done = on_a_loop(steps(td.step(afail, name="body")).with_policies(policy), 3)

    assert done.results() == {"body": "instead of 3"}
    assert len(policy_cases.attempts(done)) == 3


def test_an_async_body_is_cancelled_at_its_time():
    """It gets a CancelledError, and its attempt has timed out."""
    ended = []

    async def body(x: Any) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ended.append(x)
            raise

    policy = td.Policy(timeout_s=0.01, max_retries=1)
    done = on_a_loop(steps(td.step(body, name="body")).with_policies(policy), 3)

    assert ended == [3, 3]
    assert policy_cases.failure(done).error.name == "TimedOut"


def test_async_bodies_have_limits():
    """No more than so many are awaited at once."""
    inside = [0, 0]

    async def body(x: Any) -> Any:
        inside[0] += 1
        inside[1] = max(inside)
        await asyncio.sleep(0)
        inside[0] -= 1
        return x

    workflow = td.workflow("burst").add(td.map(same, name="each"))
    workflow = workflow.add(td.step(body, name="body"), to="each")
    on_a_loop(workflow, range(10))
    assert inside[1] == 10
    inside[1] = 0
    done = on_a_loop(workflow.with_policies({"body": td.Policy(max_concurrency=3)}), range(10))

    assert inside[1] == 3
    assert done.results() == {"body": list(range(10))}


# -------------------------------------------------------------------------------------- the rest


@pytest.mark.parametrize("drive", [*DRIVES.values(), by_generations], ids=[*DRIVES, "react"])
def test_policies_may_come_with_the_call(drive: Drive):
    """They come before those of the workflow, and do not stay."""
    body = Flaky(*[ValueError()] * 9)
    workflow = steps(td.step(body, name="body")).with_policies(td.Policy(max_retries=1))
    if drive is threads:
        done = workflow.react_until_satisfied(1, executor="threads", policies={"body": {}})
    elif drive is on_a_loop:
        done = asyncio.run(workflow.areact_until_satisfied(1, policies={"body": {}}))
    elif drive is by_generations:
        done = workflow.react(1, policies={"body": {}})
    else:
        done = workflow.react_until_satisfied(1, policies={"body": {}})
    assert (len(body.calls), done.is_satisfied()) == (1, True)
    drive(done, 1)

    assert len(body.calls) == 3


def kinds_in(workflow: td.Workflow) -> list[str]:
    """The kinds of events in a log, each as often as it is there."""
    return sorted(type(event).__name__ for event in workflow.log())


@pytest.mark.parametrize("drive", [*DRIVES.values(), by_generations], ids=[*DRIVES, "react"])
def test_an_idle_policy_changes_nothing(drive: Drive):
    """Under a policy that nothing needs, log and results are those without one, in some order."""
    workflow = steps((increment, [td.step(fail, name="body")]), td.step(increment, name="other"))
    plain = workflow.react_until_satisfied(1)
    done = drive(workflow.with_policies(td.Policy(max_retries=0)), 1)

    assert done.results() == plain.results()
    assert kinds_in(done) == kinds_in(plain)
    assert [each.error.text for each in done.failures()] == ["no 2"]


@pytest.mark.parametrize(
    ("error", "policy"),
    [
        (Out("out"), td.Policy(max_retries=3)),
        (KeyboardInterrupt(), td.Policy(max_retries=3)),
        (KeyboardInterrupt(), td.Policy(timeout_s=PATIENCE_S)),
    ],
    ids=["out", "interrupt", "interrupt of a dispatched one"],
)
def test_an_interrupt_in_line_is_the_caller_s(error: BaseException, policy: td.Policy):
    """As without policies: what is no failure leaves the loop, and nothing was done to the workflow."""
    body = Flaky(error)
    workflow = steps(td.step(body, name="body")).with_policies(policy).plan_eagerly(1)
    with pytest.raises(type(error)):
        workflow.react_until_satisfied()

    assert workflow.react_until_satisfied().results() == {"body": 1}


def test_the_workflow_s_own_work_is_left_alone():
    """What another caller has in flight is not waited for."""
    workflow = steps(td.step(increment, name="mine"), td.step(increment, name="theirs"))
    workflow, [mine, _] = (
        workflow.with_policies(td.Policy(max_retries=1)).plan_eagerly(1).prepare_for_dispatch()
    )
    done = workflow.release(mine).react_until_satisfied()

    assert done.results() == {"mine": 2}
    assert len(done.in_flight()) == 1


def test_a_body_that_outlives_its_time_in_a_thread():
    """It is left to itself, and what it gives in the end changes nothing."""
    body = Body(is_open=False)
    workflow = steps(td.step(body, name="body")).with_policies(td.Policy(timeout_s=0.01))
    done = threads(workflow, 1)
    body.let_go()

    assert policy_cases.failure(done).error.name == "TimedOut"
    assert done.is_satisfied()


def test_a_deadline_ends_an_attempt_in_a_thread():
    """What runs when all time is over has failed; a fallback still counts."""
    for fallback, results in ((None, {}), (lambda _: "late", {"body": "late"})):
        body = Body(is_open=False)
        fields: dict[str, Any] = {} if fallback is None else {"fallback": fallback}
        policy = td.Policy(deadline_s=0.01, max_retries=5, **fields)
        done = threads(steps(td.step(body, name="body")).with_policies(policy), 1)
        body.let_go()

        assert done.results() == results
        assert len(body.calls) == 1
        failed: list[Any] = [*policy_cases.attempts(done), *done.failures()]
        named = [each.error.name for each in failed]
        assert named == ["DeadlineExceeded"]


def test_an_executor_that_is_unknown():
    """It is named, with those there are."""
    workflow = steps(increment).with_policies(td.Policy(executor="moon"))

    with pytest.raises(errors.UsageError, match="moon"):
        workflow.react_until_satisfied(1)
