"""What the runner's rows measure is what they say; how fast it was is not looked at."""

import json
import subprocess
import sys
from functools import partial
from typing import Any

import pytest

from bench import runner_crowd, runner_orders, runner_steps
from bench.__main__ import all_benches, chosen
from bench.measure import Effort, Ratio, Work, child_environment, same, take
from bench.runner_work import CRITICAL_S, SLEEPS_S, chain_of, in_turn, same_later, stage
from bench.workloads import order
from tests.tidy.tree import ROOT

ONCE = Effort(quick=True, seconds=0, least=1, most=1)


def test_every_row_of_the_runner_has_a_bound():
    """They are found under one name, and each is judged."""
    rows = chosen(all_benches(), ["runner"])

    assert len(rows) == len(runner_orders.BENCHES) + len(runner_steps.BENCHES)
    assert all(row.bound is not None for row in rows)


def test_critical_path_is_the_longest_branch():
    """The order pipeline can be done no sooner than its slowest service answers."""
    assert max(SLEEPS_S.values()) == CRITICAL_S


def test_milliseconds_over_are_beyond_the_critical_path():
    """Of the samples that were disturbed least; a bare sleep of the same length is told beside it, not taken off."""
    times = [309e6, 302e6, 301e6, 302e6, 310e6]
    found = runner_orders.over_critical(Ratio(times, [300.5e6] * 5), "one")

    assert found.value == pytest.approx(2)
    assert found.details["bare_over_ms"] == pytest.approx([0.5] * 5)


@pytest.mark.parametrize("function", [same, same_later], ids=["plain", "async"])
def test_each_sample_has_a_run_of_its_own(function: Any):
    """What the samples before it did is forgotten, and a run has done all its inputs when the sample ends."""
    with stage() as made:
        work = made.work(chain_of(function, 3), [1, 2], 6)
        for _ in range(2):
            work.time()
        (run,) = made.ids
        results = made.loop.run(made.runner.get_workflow(run)).results("s2")
        listed = made.loop.run(made.runner.runs())

    assert results == {"s2": 2}
    assert [info.id for info in listed] == [run]


def test_many_runs_have_an_input_each():
    """Each is done when the sample ends, and all are let go of together."""
    with stage(executor="inline") as made:
        made.feed_many(order().template, range(3))
        statuses = [info.status for info in made.loop.run(made.runner.runs())]
        made.forget()
        left = made.loop.run(made.runner.runs())

    assert statuses == ["idle"] * 3
    assert left == []


def test_works_are_timed_in_turn():
    """After one round to warm up, each repeat has all of them in order."""
    calls: list[str] = []
    first = Work(calls.append, setup=lambda: "a")
    second = Work(calls.append, setup=lambda: "b")

    rounds = list(in_turn((first, second, first), Effort(quick=True, seconds=0, least=2, most=2)))

    assert [len(each) for each in rounds] == [3, 3]
    assert "".join(calls) == "aba" * 3


def test_added_cost_is_the_difference_beside_its_reference():
    """What both runners do for a call is in neither part of the ratio."""
    calls: list[str] = []
    work, less, reference = (
        Work(calls.append, setup=partial(str, name)) for name in ("work", "less", "reference")
    )

    ratio = runner_steps.added(work, less, reference, ONCE)

    assert calls == ["reference", "work", "less", "reference"] * 2
    assert len(ratio.costs) == len(ratio.references) == 1


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [("one_run", "5"), ("many_runs", "5"), ("idle", "20", "1")])
def test_crowd_tells_its_memory(arguments: tuple[str, ...]):
    """As JSON; nothing where the system does not tell."""
    run = subprocess.run(
        [sys.executable, "-m", runner_crowd.__name__, *arguments],
        cwd=ROOT,
        env=child_environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    told = json.loads(run.stdout)

    if sys.platform == "linux":
        assert set(told) == ({"before", "after"} if arguments[0] == "idle" else {"before", "peak"})
        assert all(size > 1_000_000 for size in told.values())
    else:
        assert told == {}


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    ["orders_inline", "memory_store", "async_step", "thread_step", "inline_step", "chain_threads"],
)
def test_row_is_measured(name: str):
    """It gives a number, and says what it is made of."""
    (bench,) = chosen(all_benches(), [f"runner.{name}"])

    row = take(bench, ONCE)

    assert row.status in ("ok", "over"), row.note
    assert row.value is not None
    assert row.value > 0
    assert row.details["repeats"] >= 1


@pytest.mark.slow
@pytest.mark.parametrize("name", ["blocking_run", "blocking_read"])
def test_row_of_a_blocking_call_is_measured(name: str):
    """It crosses threads, and tells what a bare crossing takes; disturbed, the difference may be anything."""
    (bench,) = chosen(all_benches(), [f"runner.{name}"])

    row = take(bench, ONCE)

    assert row.status in ("ok", "over"), row.note
    assert row.details["reference_ns"] > 0
