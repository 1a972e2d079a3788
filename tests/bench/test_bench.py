"""The benchmarks run, and say what they measured. How fast anything was is not looked at."""

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from bench.__main__ import all_benches, chosen
from bench.measure import (
    Bench,
    Effort,
    Measured,
    Ratio,
    Skip,
    Work,
    child_environment,
    compare,
    take,
)
from tests.tidy.tree import ROOT

ONCE = Effort(quick=True, seconds=0, least=3, most=3)


def run_bench(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run `python -m bench` as a user does, on the treadle that is tested here."""
    return subprocess.run(
        [sys.executable, "-m", "bench", *arguments],
        cwd=ROOT,
        env=child_environment() | variables,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_quick_run_writes_every_row_that_was_named(tmp_path):
    """A workload's name stands for its rows; table and JSON hold each, in full."""
    told_to = tmp_path / "bench.json"
    names = ["run", "memory.chain", "edges.join_10", "recorded.rnaseq"]
    run = run_bench(
        "--quick", "--json", str(told_to), "--only", *names, TREADLE_WF_INSTANCES=str(tmp_path)
    )

    assert run.returncode == 0, run.stderr
    told = json.loads(told_to.read_text(encoding="utf-8"))
    assert told["quick"] is True
    assert told["machine"]["python"] == ".".join(map(str, sys.version_info[:3]))
    assert told["machine"]["cpu_count"] == os.cpu_count()
    assert told["machine"]["floor_ns"] > 0
    rows = {row["name"]: row for row in told["rows"]}
    assert list(rows) == [bench.name for bench in chosen(all_benches(), names)]
    assert {"run.react", "run.by_hand", "run.sorter", "run.threads"} <= set(rows)
    for name, row in rows.items():
        assert_well_formed(row)
        assert any(line.startswith(f"{name} ") for line in run.stdout.splitlines())


def assert_well_formed(row: dict[str, Any]) -> None:
    """A row has all fields; the recordings are not where this test says, and are skipped with a reason."""
    assert set(row) == {"name", "value", "unit", "bound", "status", "note", "seconds", "details"}
    if row["name"] == "recorded.rnaseq":
        assert row["status"] == "skipped"
        assert row["value"] is None
        assert "TREADLE_WF_INSTANCES" in row["note"]
    else:
        assert row["value"] > 0
        assert row["status"] in (("-",) if row["bound"] is None else ("ok", "over"))


@pytest.mark.slow
def test_unknown_row_is_refused():
    """A name that is none is an error that lists those there are."""
    run = run_bench("--only", "chain.raect")

    assert run.returncode != 0
    assert "no such row: chain.raect" in run.stderr
    assert "chain.react" in run.stderr


def test_rows_have_names_of_their_own():
    """No two rows share a name, and each has its workload before the dot."""
    names = [bench.name for bench in all_benches()]

    assert len(names) == len(set(names))
    assert all(name.count(".") == 1 for name in names)


def test_value_is_the_median_of_ratios():
    """Each cost is seen against what stood beside it; one that was disturbed does not count."""
    ratio = Ratio(costs=[20.0, 90.0, 30.0], references=[10.0, 10.0, 10.0])

    assert ratio.value == 3
    assert ratio.measured().details["best"] == 2
    assert ratio.measured().details["repeats"] == 3


def test_work_stands_between_two_samples_of_its_reference():
    """After one round to warm up, each repeat is: reference, work, reference; setups are their own."""
    calls: list[str] = []
    work = Work(lambda made: calls.append(made), setup=lambda: "work")
    reference = Work(lambda made: calls.append(made), setup=lambda: "reference")

    assert len(compare(work, reference, ONCE).costs) == 3
    assert calls == ["work", "reference", *["reference", "work", "reference"] * 3]


@pytest.mark.parametrize(
    ("bound", "status"), [(None, "-"), (2, "ok"), (1.5, "ok"), (1, "over")], ids=str
)
def test_bound_is_the_most_that_a_value_may_be(bound, status):
    """A row is ok up to its bound, over above it, and only shown without one."""
    assert take(Bench("a.b", "x", lambda _: Measured(1.5), bound), ONCE).status == status


def test_row_that_cannot_be_measured_says_why(capsys):
    """A skip is no error; an error is told and leaves the other rows alone."""

    def skipping(_):
        raise Skip("no such machine")

    def failing(_):
        raise ValueError("broken\nin two lines")

    skipped, failed = (take(Bench("a.b", "x", each, 1), ONCE) for each in (skipping, failing))

    assert (skipped.status, skipped.note, skipped.value) == ("skipped", "no such machine", None)
    assert (failed.status, failed.note, failed.value) == ("error", "ValueError: broken", None)
    assert "in two lines" in capsys.readouterr().err
