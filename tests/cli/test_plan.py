"""`treadle plan`: what would be dispatched first, together with what, where to and why; nothing is executed."""

from pathlib import Path

import pytest

from tests.cli.calling import Call

CHAINED = """
import treadle as td

def boom(n):
    raise AssertionError("a plan executes nothing")

def odd(n): return n % 2 == 1

workflow = (
    td.workflow("chained", rules=[td.rule(boom, name="rare", condition=odd)])
    .add(td.step(boom, name="first"))
    .add(td.step(boom, name="second"), to="first")
    .add(td.step(boom, name="third"), to="second")
)
policies = {
    "rare": td.Policy(priority="high", executor="inline", max_retries=2),
    "third": td.Policy(timeout_s=1),
}
"""


@pytest.fixture
def chained(folder: Path) -> Path:
    """The folder, with a workflow of a rule and a chain."""
    (folder / "own.py").write_text(CHAINED, encoding="utf-8")
    (folder / "feed.jsonl").write_text("".join(f"{n}\n" for n in range(8)), encoding="utf-8")
    return folder


@pytest.mark.usefixtures("chained")
def test_programs_get_a_bundle_a_line(call: Call) -> None:
    """Kind, work, what follows, where, why, and the policy; what ranks higher goes first."""
    called = call("plan", "own.py", "--input", "1", "--json", "--scheduler", "chains")
    urgent, chain = called.objects

    assert called.code == 0
    assert urgent == {
        "kind": "single",
        "work": ["rare@0"],
        "then": [],
        "executor": "inline",
        "priority": 10,
        "reason": "alone: no plain step follows 'rare'",
        "components": ["rare"],
        "policy": {"max_retries": "2", "executor": "'inline'", "priority": "'high'"},
    }
    assert chain["kind"] == "chain"
    assert (chain["work"], chain["then"]) == (["first@0"], ["second"]), "the third has a timeout"
    assert chain["executor"] == "threads"
    assert chain["policy"] == {}


@pytest.mark.usefixtures("chained")
def test_people_see_what_looks_alike_as_one(call: Call) -> None:
    """A batch is told by its size, and where it goes; many bundles of one form take a few lines."""
    called = call(
        "plan",
        "own.py",
        "--inputs",
        "feed.jsonl",
        "--scheduler",
        "batches",
        "--executor",
        "threads:2",
    )

    assert called.out.splitlines() == [
        "rare",
        "    one by one to inline: rare@1, rare@3, rare@5 and 1 more",
        "    alone: 4 are ready, and they go to 'inline', which takes as many as come",
        "    priority 10",
        "    policy: max_retries=2, executor='inline', priority='high'",
        "",
        "first",
        "    in 4 batches to threads: first@0, first@1, first@2 and 5 more",
        "    2 of 8 items of 'first' in one batch: they go to 'threads', 2 at once",
        "",
        "chained, 8 inputs: 12 ready, in 8 bundles",
    ]


@pytest.mark.usefixtures("chained")
def test_it_is_what_run_dispatches(folder: Path, call: Call) -> None:
    """What is planned alone is dispatched alone: the first bundles of a run are those of the plan."""
    feed = ("--inputs", "feed.jsonl", "--json")
    planned = call("plan", "own.py", *feed, "--scheduler", "default").objects
    summary = call("run", "own.py", *feed, "--scheduler", "default").objects[-1]
    first = [each["work"][0].partition("@")[0] for each in planned]

    assert sorted(first) == ["first"] * 8 + ["rare"] * 4
    work = summary["components"]
    assert work["first"]["failed"] + work["rare"]["failed"] + work["rare"]["retried"] == 8 + 4 * 3


def test_lines_that_are_no_inputs_are_said(folder: Path, call: Call) -> None:
    """The others are planned, and the exit code says it."""
    (folder / "feed.jsonl").write_text("4\n{\n", encoding="utf-8")
    called = call("plan", "shop.py", "--inputs", "feed.jsonl")

    assert called.code == 1
    assert called.last == "the shop, 1 input: 2 ready, in 2 bundles"
    assert "treadle: line 2 is not JSON" in called.err


@pytest.mark.parametrize(
    "arguments",
    [[], ["--input", "1", "--executor", "magic"], ["--input", "1", "--scheduler", "luck"]],
)
def test_a_wrong_call_plans_nothing(call: Call, arguments: list[str]) -> None:
    """As with `run`, it is said what is wrong."""
    called = call("plan", "shop.py", *arguments)

    assert called.code == 2
    assert called.out == ""
    assert called.err
