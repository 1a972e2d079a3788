"""Attempts that must not be made twice: stored before they begin, and never begun again by themselves."""

from __future__ import annotations

import os
import select
import signal
from pathlib import Path
from typing import Any

import pytest

import treadle as td
from tests.durability.places import wait_for_the_lease
from treadle import errors

PATIENCE_S = 30

LEASE_S = 0.5
"""So long those who share a database wait for a runner that was killed."""


def payments(place: Path, **policy: Any) -> td.Workflow:
    """A payment that leaves a trace when it begins, and then may hang for ever."""

    def pay(amount: int) -> str:
        with (place / "begun").open("a") as trace:
            trace.write(f"{amount}\n")
        if (place / "hang").exists():
            os.write(int((place / "hang").read_text()), b"!")
            signal.pause()
        return f"paid {amount}"

    once = td.Policy(effects="at_most_once", **policy)
    return (
        td.workflow("payments")
        .add(td.step(pay))
        .add(td.step(str.upper, name="receipt"), to="pay")
        .with_policies({"pay": once})
    )


def killed_in_the_middle(place: Path, url: str) -> None:
    """A runner whose process ends while the payment is being made."""
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            (place / "hang").write_text(str(writing))
            with td.Runner(store=url, workflows=[payments(place)], lease_s=LEASE_S) as runner:
                runner.start(payments(place), "a")
                runner.run("a", 5).result()
        finally:
            os._exit(1)
    os.close(writing)
    assert select.select([reading], [], [], PATIENCE_S)[0]
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    os.close(reading)
    (place / "hang").unlink()
    wait_for_the_lease(url, "a")


def begun(place: Path) -> int:
    """How often the payment began."""
    return len((place / "begun").read_text().splitlines())


def test_what_is_not_interrupted_runs_as_ever(tmp_path: Path, url: str):
    """With every store, and after failures, too."""
    for store in ("memory", url):
        with td.Runner(store=store) as runner:
            runner.start(payments(tmp_path, max_retries=1), "a")
            assert runner.run("a", 5).result(PATIENCE_S) == {"receipt": "PAID 5"}


@pytest.mark.slow
def test_an_interrupted_attempt_parks_the_run(tmp_path: Path, url: str):
    """It is not made again; somebody finds out, and the run goes on with what he says."""
    killed_in_the_middle(tmp_path, url)
    workflow = payments(tmp_path)
    with td.Runner(store=url, workflows=[workflow]) as runner:
        runner.wait("a", PATIENCE_S)
        (info,) = runner.runs()
        assert info.status == "parked"
        assert "ambiguous" in str(info.note)
        assert "attempt 1 of pay" in str(info.note)
        assert begun(tmp_path) == 1
        with pytest.raises(errors.UsageError, match="no component 'pya'"):
            runner.resume("a", settled={"pya": 1})
        runner.resume("a", settled={"pay": "paid by hand"})
        runner.wait("a", PATIENCE_S)
        assert runner.get_results("a") == {"receipt": "PAID BY HAND"}
    assert begun(tmp_path) == 1


@pytest.mark.slow
def test_it_is_made_again_when_somebody_says_so(tmp_path: Path, url: str):
    """`RetryWith()`: it did not take effect."""
    killed_in_the_middle(tmp_path, url)
    with td.Runner(store=url, workflows=[payments(tmp_path)]) as runner:
        runner.wait("a", PATIENCE_S)
        runner.resume("a", settled={"pay": td.RetryWith()})
        runner.wait("a", PATIENCE_S)
        assert runner.get_results("a") == {"receipt": "PAID 5"}
    assert begun(tmp_path) == 2


@pytest.mark.slow
def test_a_function_may_find_out(tmp_path: Path, url: str):
    """It is given the failure and the key under which the other side knows the attempt."""
    killed_in_the_middle(tmp_path, url)
    asked: list[Any] = []

    def look_up(failure: td.Failure, key: str) -> Any:
        asked.append((failure.component, failure.inputs, failure.error.name, len(key)))
        return "paid indeed"

    workflow = payments(tmp_path, reconcile=look_up)
    with td.Runner(store=url, workflows=[workflow]) as runner:
        assert runner.wait("a", PATIENCE_S) == "idle"
        assert runner.get_results("a") == {"receipt": "PAID INDEED"}
    assert asked == [("pay", (5,), "AmbiguousAttempt", 32)]
    assert begun(tmp_path) == 1


@pytest.mark.slow
def test_a_function_may_find_that_it_did_not_take_effect(tmp_path: Path, url: str):
    """`RetryWith()` is a wish, and goes to no store."""
    killed_in_the_middle(tmp_path, url)
    workflow = payments(tmp_path, reconcile=lambda failure, key: td.RetryWith())
    with td.Runner(store=url, workflows=[workflow]) as runner:
        assert runner.wait("a", PATIENCE_S) == "idle"
        assert runner.get_results("a") == {"receipt": "PAID 5"}
    assert begun(tmp_path) == 2


def test_a_fallback_may_wish_for_other_values(tmp_path: Path, url: str):
    """Also where all that is given has to be stored."""

    def ask(question: str, *, model: Any = td.context("model", default="large")) -> str:
        if model == "large":
            raise ValueError("too busy")
        return f"{question} {model}"

    policy = td.Policy(fallback=lambda failure: td.RetryWith(model="small"))
    workflow = td.workflow("w", policies={"ask": policy}).add(td.step(ask))
    with td.Runner(store=url) as runner:
        runner.start(workflow, "a")
        assert runner.run("a", "why?").result(PATIENCE_S) == {"ask": "why? small"}


@pytest.mark.slow
def test_a_function_that_fails_leaves_it_to_a_person(tmp_path: Path, url: str):
    """The evidence says why."""
    killed_in_the_middle(tmp_path, url)

    def look_up(failure: td.Failure, key: str) -> Any:
        raise ConnectionError("nobody answers")

    workflow = payments(tmp_path, reconcile=look_up)
    with td.Runner(store=url, workflows=[workflow]) as runner:
        runner.wait("a", PATIENCE_S)
        (info,) = runner.runs()
        assert info.status == "parked"
        assert "nobody answers" in str(info.note)
    assert begun(tmp_path) == 1


def test_reconcile_goes_with_at_most_once():
    """Else it would never be asked."""
    with pytest.raises(errors.UsageError, match="at_most_once"):
        td.Policy(reconcile=print)
    with pytest.raises(errors.UsageError, match="effects"):
        td.Policy(effects="exactly_once")


def test_what_must_not_be_done_twice_does_not_go_with_relaxed(tmp_path: Path, url: str):
    """What it did would outlast what led to it; the id stays free."""

    def book(amount: int, *, db: Any = td.transaction()) -> int:
        return amount

    booking = td.workflow("bookings", steps=[book])
    with td.Runner(store=url) as runner:
        for workflow in (payments(tmp_path), booking):
            with pytest.raises(errors.UsageError, match="relaxed"):
                runner.start(workflow, "a", durability="relaxed")
        assert runner.runs() == []


def test_a_cancelled_run_is_stored_as_that_when_cancel_returns(tmp_path: Path, url: str):
    """Also one that was stopped."""
    with td.Runner(store=url) as runner:
        runner.start(payments(tmp_path), "a")
        runner.stop("a")
        runner.cancel("a", reason="enough")
        kept: Any = runner._runner._core.store.info("a")  # type: ignore[union-attr]
        assert (kept.status, kept.note) == ("cancelled", "enough")
