"""What each field of a policy changes: cases that hold however a workflow is driven.

A case takes `drive`, which feeds a workflow one input and gives it back when nothing is left to do.
"""

import threading
import time
from collections.abc import Callable
from typing import Any, TypeAlias

import treadle as td
from tests.runner.running import PATIENCE_S, Body, Flaky, double, fail, plus, same, steps
from treadle import errors
from treadle.model.events import AttemptFailed

Drive: TypeAlias = Callable[[td.Workflow, Any], td.Workflow]


def one(body: Any, **fields: Any) -> td.Workflow:
    """A workflow of one step, `body`, under one policy."""
    return steps(td.step(body, name="body")).with_policies(td.Policy(**fields))


def failure(workflow: td.Workflow) -> td.Failure:
    """The only failure."""
    [found] = workflow.failures()
    return found


def attempts(workflow: td.Workflow) -> list[AttemptFailed]:
    """What failed and was tried again."""
    return [event for event in workflow.log() if isinstance(event, AttemptFailed)]


# ------------------------------------------------------------------------------------- attempts


def max_retries(drive: Drive) -> None:
    """So many attempts follow the first; all of them are in the log."""
    for most in (0, 1, 3):
        body = Flaky(*[ValueError(str(n)) for n in range(9)])
        done = drive(one(body, max_retries=most), 5)

        assert body.calls == [5] * (most + 1)
        assert [each.attempt for each in attempts(done)] == list(range(1, most + 1))
        assert (failure(done).attempt, failure(done).error.text) == (most + 1, str(most))
        assert done.is_satisfied()


def success_within_retries(drive: Drive) -> None:
    """The first success is the result, and nothing failed."""
    body = Flaky(ValueError(), ValueError())
    done = drive(one(body, max_retries=5), 7)

    assert len(body.calls) == 3
    assert (done.results(), done.failures()) == ({"body": 7}, [])


def attempt_marker(drive: Drive) -> None:
    """A body may ask which attempt it is; its idempotency key is the same for all."""
    seen = []

    def body(x: Any, *, n: int = td.attempt(), key: str = td.idempotency_key()) -> Any:
        seen.append((n, key))
        if n < 3:
            raise ValueError(n)
        return x

    drive(one(body, max_retries=5), 1)

    assert [n for n, _ in seen] == [1, 2, 3]
    assert len({key for _, key in seen}) == 1


def retry_on_types(drive: Drive) -> None:
    """Only errors of these types are tried again."""
    for wanted, error, calls in (
        (KeyError, KeyError(), 3),
        (KeyError, ValueError(), 1),
        (LookupError, KeyError(), 3),
        ((OSError, TimeoutError), TimeoutError(), 3),
        ((OSError, TimeoutError), ValueError(), 1),
        (None, ValueError(), 3),
    ):
        body = Flaky(*[error] * 9)
        drive(one(body, max_retries=2, retry_on=wanted), 1)

        assert len(body.calls) == calls


def retry_on_predicate(drive: Drive) -> None:
    """A predicate of the error decides; one that raises wants no retry."""
    for text, calls in (("again", 3), ("enough", 1), ("", 1)):
        body = Flaky(*[ValueError(text)] * 9)
        wanted = lambda error: error.args[0][0] == "a"  # noqa: E731
        drive(one(body, max_retries=2, retry_on=wanted), 1)

        assert len(body.calls) == calls


def misuse_is_not_retried(drive: Drive) -> None:
    """What another attempt cannot mend is not tried again, unless `retry_on` names it."""
    body = Flaky(*[errors.BadValue("odd")] * 9)
    drive(one(body, max_retries=2), 1)
    assert len(body.calls) == 1
    drive(one(body, max_retries=2, retry_on=errors.BadValue), 1)

    assert len(body.calls) == 4


def backoff(drive: Drive) -> None:
    """Without one, attempts follow at once; with one, each has its moment."""
    for kind, has_moment in (
        ("none", False),
        ("linear", True),
        ("exponential", True),
        ("jitter", True),
    ):
        called_at: list[float] = []

        def body(x: Any, called_at: list[float] = called_at) -> None:
            called_at.append(time.time())
            raise ValueError

        done = drive(one(body, max_retries=2, backoff=kind, base_delay_s=0.002), 1)
        moments = [each.retry_at for each in attempts(done)]

        assert [moment is not None for moment in moments] == [has_moment] * 2
        if has_moment:
            pairs = zip(moments, called_at[1:], strict=True)
            assert all(at >= (moment or 0.0) - 0.001 for moment, at in pairs)


def max_delay(drive: Drive) -> None:
    """No delay is longer: an hour's back-off is over at once."""
    body = Flaky(ValueError(), ValueError())
    done = drive(
        one(body, max_retries=2, backoff="exponential", base_delay_s=3600, max_delay_s=0.001), 4
    )

    assert done.results() == {"body": 4}


# ----------------------------------------------------------------------------------------- time


def timeout(drive: Drive) -> None:
    """What takes longer than its time has failed, whatever it gives."""
    done = drive(one(lambda x: time.sleep(0) or x, timeout_s=1e-9), 1)

    assert failure(done).error.name == "TimedOut"
    assert "'body' took longer than" in failure(done).error.text
    assert drive(one(lambda x: x, timeout_s=PATIENCE_S), 1).results() == {"body": 1}


def timeout_then_success(drive: Drive) -> None:
    """The next attempt may be in time."""

    def body(x: Any, *, n: int = td.attempt()) -> Any:
        threading.Event().wait(0.02 if n == 1 else 0.0)
        return x

    done = drive(one(body, timeout_s=0.01, max_retries=99), 3)

    assert done.results() == {"body": 3}
    assert attempts(done)[0].error.name == "TimedOut"


def timeout_is_not_retried_unless_wanted(drive: Drive) -> None:
    """`retry_on` speaks of timeouts too."""
    done = drive(one(lambda x: x, timeout_s=1e-9, max_retries=3, retry_on=ValueError), 1)

    assert (attempts(done), failure(done).attempt) == ([], 1)


def deadline_ends_retries(drive: Drive) -> None:
    """No attempt is begun that could not begin in time; all know the same deadline."""
    body = Flaky(*[ValueError(str(n)) for n in range(1000)])
    done = drive(
        one(body, max_retries=999, backoff="linear", base_delay_s=0.01, deadline_s=0.035), 1
    )

    assert 1 <= len(body.calls) <= 3
    assert failure(done).error.name in {"ValueError", "DeadlineExceeded"}
    assert len({each.deadline_at for each in attempts(done)}) <= 1


# -------------------------------------------------------------------------------------- failing


def shop(**fields: Any) -> td.Workflow:
    """A step that fails, one that needs it, one that needs it and another, and one that waits for both to settle."""
    workflow = steps((td.step(fail, name="body"), [double]), td.step(same, name="beside"))
    both, settled = td.step(is_absent, name="both"), td.step(is_absent, name="settled")
    workflow = workflow.add(both, to=["body", "beside"])
    workflow = workflow.add(settled, to=["body", "beside"], join="settled")
    return workflow.with_policies({"body": td.Policy(**fields)})


def is_absent(first: Any, _: Any) -> bool:
    """Whether the first of two is not there."""
    return first is td.ABSENT


def on_failure(drive: Drive) -> None:
    """block: what needs it does not run. skip: it is passed ABSENT. halt: the input ends; all after the retries."""
    nothing = td.ABSENT
    for word, both, settled in (
        ("block", nothing, True),
        ("skip", True, True),
        ("halt", nothing, nothing),
    ):
        done = drive(shop(on_failure=word, max_retries=1), 1)

        assert done.results("double", "both", "settled") == {
            "double": nothing,
            "both": both,
            "settled": settled,
        }
        assert (len(attempts(done)), failure(done).on_failure) == (1, word)
        assert done.is_satisfied()


def on_failure_of_the_policy_comes_first(drive: Drive) -> None:
    """It stands above what the component says; without one the component's word counts."""
    stubborn = td.step(fail, name="body", on_failure="skip")
    for fields, expected in (({"on_failure": "block"}, "block"), ({"max_retries": 0}, "skip")):
        done = drive(steps(stubborn).with_policies(td.Policy(**fields)), 1)

        assert failure(done).on_failure == expected


# ------------------------------------------------------------------------------------- fallback


def fallback_value(drive: Drive) -> None:
    """A value stands in, None too; what needs it goes on, and nothing failed for good."""
    for value in ("instead", None, 0, [1]):
        workflow = steps((td.step(fail, name="body"), [td.step(lambda x: x, name="after")]))
        done = drive(workflow.with_policies({"body": td.Policy(max_retries=1, fallback=value)}), 1)

        assert (done.results(), done.failures()) == ({"after": value}, [])
        assert [each.fallback for each in attempts(done)] == [False, True]


def fallback_function(drive: Drive) -> None:
    """It is called with the failure: which component, with what, how often tried, and why."""
    seen = []

    def instead(told: td.Failure) -> str:
        seen.append((told.component, told.inputs, told.attempt, told.error.text))
        return "instead"

    done = drive(one(fail, max_retries=2, fallback=instead), 7)

    assert done.results() == {"body": "instead"}
    assert seen == [("body", (7,), 3, "no 7")]


def fallback_retry_with(drive: Drive) -> None:
    """One more attempt with other injected values; other names are refused."""

    def body(x: Any, *, model: str = td.context("model", default="small")) -> str:
        if model == "small":
            raise ValueError(model)
        return f"{model} {x}"

    done = drive(one(body, fallback=td.RetryWith(model="large")), 1)
    assert done.results() == {"body": "large 1"}
    done = drive(one(body, max_retries=1, fallback=td.RetryWith(size=3)), 1)

    assert "no injected parameter 'size'" in failure(done).error.text
    assert failure(done).attempt == 3


def fallback_function_gives_retry_with(drive: Drive) -> None:
    """A function may choose the other values."""

    def body(x: Any, *, model: str = td.context("model", default="small")) -> str:
        if model == "small":
            raise ValueError(model)
        return f"{model} {x}"

    done = drive(one(body, fallback=lambda told: td.RetryWith(model=f"not {told.error.text}")), 1)

    assert done.results() == {"body": "not small 1"}


def fallback_component(drive: Drive) -> None:
    """Another component is called with the same inputs."""
    done = drive(one(fail, fallback=td.step(double)), 21)

    assert done.results() == {"body": 42}


def fallback_that_fails(drive: Drive) -> None:
    """It is the last word: not retried, and its own error is what failed."""
    calls = []

    def instead(told: td.Failure) -> None:
        calls.append(told.attempt)
        raise KeyError("worse")

    done = drive(one(fail, max_retries=2, fallback=instead), 1)

    assert calls == [3]
    assert (failure(done).error.name, failure(done).attempt) == ("KeyError", 4)


# ---------------------------------------------------------------------------------------- kinds


def accumulator(drive: Drive) -> None:
    """A fold that raises is tried again on the same state, and may fall back."""
    flaky = Flaky(ValueError())
    total = td.accumulator(lambda state, x: plus(state, flaky(x)), initial=10, name="total")
    workflow = td.workflow("sum", components=[total])
    done = drive(workflow.with_policies(td.Policy(max_retries=1)), 5)
    assert (done.results(), done.states()) == ({"total": 15}, {"total": {None: 15}})
    broken = td.accumulator(lambda state, x: fail(x), initial=10, name="total")
    workflow = td.workflow("sum", components=[broken])
    done = drive(workflow.with_policies(td.Policy(fallback=lambda told: told.inputs[0] + 1)), 5)

    assert (done.results(), done.states()) == ({"total": 11}, {"total": {None: 11}})


def reduce(drive: Drive) -> None:
    """So is a reduce, over the same items."""
    flaky = Flaky(ValueError())
    for fields, expected in (({"max_retries": 1}, 6), ({"fallback": "none"}, "none")):
        flaky.errors = [ValueError()]
        total = td.reduce(lambda state, x: plus(state, flaky(x)), initial=0, name="total")
        workflow = td.workflow("sum").add(td.map(same, name="each")).add(total, to="each")
        done = drive(workflow.with_policies({"total": td.Policy(**fields)}), [1, 2, 3])

        assert done.results() == {"total": expected}


def map_(drive: Drive) -> None:
    """So is a map; what its fallback gives are its elements, and what has none fails."""
    for fallback, expected in (([7, 8], [7, 8]), (lambda _: range(2), [0, 1])):
        workflow = td.workflow("fan").add(td.map(same, name="each"))
        workflow = workflow.add(td.collect(name="all"), to="each")
        done = drive(workflow.with_policies({"each": td.Policy(fallback=fallback)}), 1)
        assert done.results() == {"all": expected}
    workflow = td.workflow("fan").add(td.map(same, name="each"))
    done = drive(workflow.with_policies(td.Policy(fallback="text")), 1)

    assert failure(done).error.name == "BadValue"


def condition(drive: Drive) -> None:
    """So is a condition that is dispatched; a fallback decides whether the rule fires."""
    for fields, fires in (
        ({"max_retries": 1}, True),
        ({"fallback": True}, True),
        ({"fallback": False}, False),
    ):
        flaky = Flaky(ValueError())
        rule = td.rule(
            name="slow",
            condition=lambda x, flaky=flaky: flaky(x) == 1,
            reaction=double,
            dispatch=True,
        )
        workflow = td.workflow("rules", rules=[rule]).with_policies(td.Policy(**fields))
        done = drive(workflow, 1)

        assert done.results() == ({"slow": 2} if fires else {})
        assert done.failures() == []


# ---------------------------------------------------------------------------- places and permits


def executor(drive: Drive) -> None:
    """A policy sends its component elsewhere, and only that."""
    threads: dict[str, str] = {}

    def note(name: str) -> Callable[[Any], Any]:
        return lambda x: threads.setdefault(name, threading.current_thread().name) and x

    workflow = steps(td.step(note("there"), name="there"), td.step(note("here"), name="here"))
    drive(workflow.with_policies({"there": td.Policy(executor="threads")}), 1)
    drive(workflow.with_policies({"here": td.Policy(executor="inline")}), 1)

    assert threads["there"].startswith("treadle-thread")


def rate_limit(drive: Drive) -> None:
    """So many begin within the time, the others later: none is lost."""
    began: list[float] = []
    workflow = td.workflow("burst").add(td.map(same, name="each"))
    body = td.step(lambda _: began.append(time.monotonic()), name="body")
    limited = workflow.add(body, to="each").with_policies(
        {"body": td.Policy(rate_limit=td.RateLimit(2, per_s=0.02))}
    )
    start = time.monotonic()
    done = drive(limited, range(5))

    assert len(done.results()["body"]) == 5
    assert max(began) - start >= 0.039  # never sooner; how much later is nobody's promise


def rate_limit_of_one_key(drive: Drive) -> None:
    """Components of one key count together."""
    began: list[float] = []
    names = [td.step(lambda _: began.append(time.monotonic()), name=f"s{n}") for n in range(3)]
    limit = td.Policy(rate_limit=td.RateLimit(1, per_s=0.02, key="service"))
    start = time.monotonic()
    done = drive(steps(*names).with_policies(limit), 1)

    assert len(done.results()) == 3
    assert max(began) - start >= 0.039


def circuit_breaker(drive: Drive) -> None:
    """After so many failures in a row the rest is not tried, and says so."""
    body = Flaky(*[ValueError()] * 99)
    workflow = td.workflow("burst").add(td.map(same, name="each"))
    workflow = workflow.add(td.step(body, name="body"), to="each")
    breaker = td.CircuitBreaker(2, reset_s=3600)
    done = drive(
        workflow.with_policies({"body": td.Policy(circuit_breaker=breaker, max_concurrency=1)}),
        range(5),
    )

    assert len(body.calls) == 2
    names = [each.error.name for each in done.failures()]
    assert sorted(names) == ["CircuitOpen"] * 3 + ["ValueError"] * 2


def circuit_breaker_falls_back(drive: Drive) -> None:
    """What is refused may fall back."""
    breaker = td.CircuitBreaker(1, reset_s=3600)
    body = Flaky(*[ValueError()] * 99)
    done = drive(one(body, circuit_breaker=breaker, max_retries=3, fallback="instead"), 1)

    assert (done.results(), len(body.calls)) == ({"body": "instead"}, 1)


def circuit_breaker_waits(drive: Drive) -> None:
    """One that makes wait lets a single attempt through when its time is over; its success lets all go on."""
    body = Flaky(ValueError(), ValueError())
    breaker = td.CircuitBreaker(1, reset_s=0.01, when_open="wait")
    workflow = td.workflow("burst").add(td.map(same, name="each"))
    workflow = workflow.add(td.step(body, name="body"), to="each")
    policy = td.Policy(circuit_breaker=breaker, max_concurrency=1, max_retries=5)
    done = drive(workflow.with_policies({"body": policy}), range(4))

    assert sorted(done.results()["body"]) == [0, 1, 2, 3]
    assert len(body.calls) == 6


def max_concurrency(drive: Drive) -> None:
    """No more than so many at once; those of one key together."""
    for limit, names in ((2, ["body"]), (td.Limit(2, "door"), ["body", "other"])):
        body = Body()
        workflow = td.workflow("burst").add(td.map(same, name="each"))
        for name in names:
            workflow = workflow.add(td.step(body, name=name), to="each")
        policies = dict.fromkeys(names, td.Policy(max_concurrency=limit))
        done = drive(workflow.with_policies(policies), range(20))

        assert body.peak <= 2
        assert len(done.raw_productions()) == 20 * len(names)


def priority(drive: Drive) -> None:
    """With one slot, the more urgent goes first."""
    order: list[str] = []
    ranks: dict[str, Any] = {
        "low": "low",
        "none": "normal",
        "five": 5,
        "high": "high",
        "critical": "critical",
    }
    listed = [td.step(lambda x, name=name: order.append(name), name=name) for name in ranks]
    policies = {
        name: td.Policy(priority=rank, max_concurrency=td.Limit(1, "slot"))
        for name, rank in ranks.items()
    }
    drive(steps(*listed).with_policies(policies), 1)

    assert order == ["critical", "high", "five", "none", "low"]


def priority_in_line(drive: Drive) -> None:
    """Where one thing is done after the other, in the caller's own thread too, the more urgent goes first."""
    order: list[str] = []
    ranks: dict[str, str | int] = {
        "low": "low",
        "none": "normal",
        "five": 5,
        "high": "high",
        "critical": "critical",
    }
    listed = [td.step(lambda x, name=name: order.append(name), name=name) for name in ranks]
    policies = {name: td.Policy(priority=rank) for name, rank in ranks.items()}
    drive(steps(*listed).with_policies(policies), 1)

    assert order == ["critical", "high", "five", "none", "low"]


ATTEMPTS: dict[str, Callable[[Drive], None]] = {
    case.__name__.rstrip("_"): case
    for case in (
        max_retries, success_within_retries, attempt_marker, retry_on_types, retry_on_predicate,
        misuse_is_not_retried, timeout, timeout_then_success, timeout_is_not_retried_unless_wanted,
        on_failure, on_failure_of_the_policy_comes_first, fallback_value, fallback_function,
        fallback_retry_with, fallback_function_gives_retry_with, fallback_component,
        fallback_that_fails, accumulator, reduce, map_, condition,
    )
}  # fmt: skip
"""What concerns single attempts: it holds also where a workflow goes on one generation at a time."""

MOMENTS: dict[str, Callable[[Drive], None]] = {
    case.__name__: case
    for case in (
        backoff, max_delay, deadline_ends_retries, executor, rate_limit, rate_limit_of_one_key,
        circuit_breaker, circuit_breaker_falls_back, circuit_breaker_waits, max_concurrency,
        priority,
    )
}  # fmt: skip
"""What concerns moments, places and permits: it needs somebody who waits."""
