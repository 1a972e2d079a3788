"""Policies, limits and plugs of `treadle run`: found, used, and seen in the account."""

import os
import subprocess
import sys
from pathlib import Path
from threading import Event
from typing import Any

import pytest

import treadle as td
from tests.cli.calling import Call, environment
from treadle.cli import driving
from treadle.cli.account import Account, Record
from treadle.cli.feed import Feed, Given
from treadle.cli.loading import Loaded
from treadle.cli.plugging import Asked, plugs_from
from treadle.cli.running import How, Watch
from treadle.policies.matching import NO_POLICIES
from treadle.runner.machine import _HANDLERS
from treadle.runner.stimuli import Finished

FLAKY = """
import treadle as td

@td.step
def fetch(n, *, attempt=td.attempt()):
    if attempt <= n:
        raise ConnectionError(f"attempt {attempt}")
    return {"status": f"attempt {attempt}"}

flaky = td.workflow("flaky", steps=[fetch])
"""


def write(folder: Path, text: str, *values: object) -> tuple[str, ...]:
    """Write a file with a workflow and its feed, and give the arguments that run it."""
    (folder / "own.py").write_text(text, encoding="utf-8")
    (folder / "feed.jsonl").write_text("".join(f"{value}\n" for value in values), encoding="utf-8")
    return ("run", "own.py", "--inputs", "feed.jsonl")


# ------------------------------------------------------------------------------------ policies


def test_policies_beside_the_workflow_are_used(folder: Path, call: Call) -> None:
    """What the file calls `policies` holds; the account tells what was tried again, and what it came to."""
    policies = "policies = {'fetch': td.Policy(max_retries=2, fallback={'status': 'guessed'})}\n"
    called = call(*write(folder, FLAKY + policies, 0, 1, 2, 3), "--json")
    *records, summary = called.objects

    assert [each["results"]["fetch"]["status"] for each in records] == [
        "attempt 1",
        "attempt 2",
        "attempt 3",
        "guessed",
    ]
    work = summary["components"]["fetch"]
    assert (work["done"], work["failed"], work["retried"], work["fell_back"]) == (4, 0, 5, 1)
    assert {each["ending"]: each["count"] for each in summary["failures"]} == {
        "tried again": 5,
        "fell back": 1,
    }


def test_people_see_what_was_tried_again(folder: Path, call: Call) -> None:
    """A column for it while there is any, and the reason with its place."""
    policies = "policies = td.Policy(max_retries=1)\n"
    out = call(*write(folder, FLAKY + policies, 0, 1, 2)).out

    assert out.splitlines()[:2] == [
        "flaky     done  failed  retried  waiting",
        "└─ fetch     2       1        2        .",
    ]
    assert (
        "fetch failed 2 times, tried again\n"
        "    ConnectionError: attempt 1\n"
        "    at own.py:7 in fetch\n"
        "    inputs 1, 2 (lines 2, 3)\n"
    ) in out


def test_what_is_attached_to_the_workflow_comes_first(folder: Path, call: Call) -> None:
    """The file's policies are for what the workflow's own say nothing of."""
    text = FLAKY.replace(
        "steps=[fetch]", "steps=[fetch], policies={'fetch': td.Policy(max_retries=1)}"
    )
    policies = "policies = td.Policy(max_retries=9)\n"
    called = call(*write(folder, text + policies, 1, 2), "--json")

    assert [each["ending"] for each in called.objects[:-1]] == ["result", "failed"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("policies = 7", "the `policies` of own.py are none"),
        ("policies = {'fetch': {'max_retires': 1}}", "no field 'max_retires'"),
        ("policies = td.Policy(executor='trheads')", "a policy's executor: there is no executor"),
        ("policies = {(lambda subject: 1 / 0): td.Policy()}", "ZeroDivisionError"),
    ],
)
def test_policies_that_cannot_be_run_nothing(
    folder: Path, call: Call, text: str, said: str
) -> None:
    """A slip in a policy is found before anything is executed, and said without a traceback of ours."""
    called = call(*write(folder, FLAKY + text + "\n", 0))

    assert called.code == 2
    assert said in called.err
    assert "runner.py" not in called.err


@pytest.mark.parametrize(
    "text", ["import os as policies", "def policies(): ...", "class policies: ..."]
)
def test_other_things_of_that_name_are_none(folder: Path, call: Call, text: str) -> None:
    """Modules, functions and classes are not meant."""
    assert call(*write(folder, FLAKY + text + "\n", 0)).code == 0


def test_an_executor_that_a_policy_names_is_made(folder: Path, call: Call) -> None:
    """A policy may send a component elsewhere by a word."""
    text = (
        "import os, treadle as td\n"
        "here = os.getpid()\n"
        "def where(n): return os.getpid()\n"
        "w = td.workflow('w', steps=[where], policies={'where': td.Policy(executor='processes:1')})\n"
    )
    called = call(*write(folder, text, 1), "--json")
    process = called.objects[0]["results"]["where"]

    assert isinstance(process, int)
    assert process != os.getpid()


def test_an_input_may_have_a_deadline(folder: Path, call: Call) -> None:
    """What is left of it then is cancelled, which is said, and is a failure to --strict alone."""
    text = (
        "import threading, treadle as td\n"
        "def wait(n):\n"
        "    n and threading.Event().wait()\n"
        "    return n\n"
        "w = td.workflow('w', steps=[wait])\n"
    )
    arguments = write(folder, text, 0, 1)
    called = call(*arguments, "--deadline-s", "0.1")

    assert called.code == 0
    assert called.last == "2 inputs: 1 with a result, 0 without a result, 0 failed, 1 cancelled"
    assert "cancelled\n    line 2: deadline\n" in called.out
    strict = call(*arguments, "--deadline-s", "0.1", "--strict", "--json")
    assert strict.code == 1
    assert strict.objects[1]["ending"] == "cancelled"
    assert strict.objects[1]["reason"] == "deadline"
    assert strict.objects[2]["components"]["wait"]["running"] == 0
    assert call(*arguments, "--deadline-s", "0").code == 2


# ------------------------------------------------------------------------------ where and how


@pytest.mark.parametrize("scheduler", ["default", "chains", "batches", "adaptive", "priority"])
@pytest.mark.parametrize("executor", ["inline", "threads", "threads:2", "asyncio", "pool:3"])
def test_every_plug_gives_the_same(folder: Path, call: Call, executor: str, scheduler: str) -> None:
    """Where work runs and what is dispatched together changes no result and no count."""
    arguments = ("run", "shop.py", "--inputs", "feed.jsonl", "--json")
    (folder / "feed.jsonl").write_text("".join(f"{n}\n" for n in range(20)), encoding="utf-8")
    usual = call(*arguments).objects
    called = call(*arguments, "--executor", executor, "--scheduler", scheduler).objects

    assert called[:-1] == usual[:-1]
    assert {**called[-1], "effort": 0} == {**usual[-1], "effort": 0}
    assert called[-1]["effort"]["attempts"] == usual[-1]["effort"]["attempts"]
    assert called[-1]["effort"]["running"] == 0


def test_worker_processes_print_to_stderr(folder: Path, call: Call) -> None:
    """Of what goes to stdout with --json, none is theirs. (In a process of its own: descriptors are at stake.)"""
    text = (
        "import os, treadle as td\n"
        "def speak(n):\n"
        "    print('python'); os.write(1, b'descriptor\\n')\n"
        "    return n\n"
        "w = td.workflow('w', steps=[speak])\n"
    )
    arguments = write(folder, text, 1)
    ran = subprocess.run(
        [sys.executable, "-m", "treadle", *arguments, "--json", "--executor", "processes:1"],
        env=environment(),
        capture_output=True,
        encoding="utf-8",
        check=True,
    )

    assert [line[:8] for line in ran.stdout.splitlines()] == ['{"type":'] * 2
    assert sorted(ran.stderr.split()) == ["descriptor", "python"]


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (Asked(executor="inline"), (1, 1)),
        (Asked(executor="threads"), (None, 128)),
        (Asked(executor="threads:5"), (None, 10)),
        (Asked(executor="threads", max_concurrency=3), (3, 6)),
        (Asked(executor="threads", max_concurrency=1), (1, 1)),
        (Asked(executor="threads", max_open=7), (None, 7)),
    ],
    ids=str,
)
def test_inputs_under_way_follow_from_what_can_run(asked: Asked, expected: tuple[int, int]) -> None:
    """Two for each that can run at once, so that a slot that becomes free finds work; one where one runs."""
    plugs = plugs_from(Loaded(td.workflow("w", steps=[str]), NO_POLICIES), asked)

    assert (plugs.max_concurrency, plugs.max_open) == expected


def watch(workflow: td.Workflow, count: int, **asked: Any) -> tuple[Watch, list[Record]]:
    """A run over so many numbers, to be started, and where its records will be."""
    feed = Feed([Given(order, None, order) for order in range(count)], count)
    account = Account(workflow, feed, Path.cwd())
    records: list[Record] = []

    def consume(record: Record) -> int:
        records.append(record)
        return 1

    how = How(plugs_from(Loaded(workflow, NO_POLICIES), Asked(**asked)))
    return Watch(account, workflow, how, consume), records


@pytest.mark.parametrize("executor", ["inline", "threads"])
def test_no_more_inputs_are_open_than_may_be(executor: str) -> None:
    """A feed of any length is taken as there is room."""
    open_then: list[int] = []

    def note(n: int) -> int:
        open_then.append(len(watching.drive.watcher.open))
        return n

    workflow = td.workflow("w", steps=[(note, [td.step(note, name="again")])])
    watching, records = watch(workflow, 200, executor=executor, max_open=3)
    watching.run()

    assert len(records) == 200
    assert 1 <= max(open_then) <= 3


def test_one_that_takes_long_holds_back_those_far_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is written in order must wait for it, so no more is taken than may be kept until then."""
    monkeypatch.setattr(driving, "UNWRITTEN_MAX", 20)
    monkeypatch.setattr("treadle.cli.running.WRITTEN_AT_ONCE", 1)
    is_last_begun = Event()
    taken: list[int] = []

    def wait(n: int) -> int:
        if n == 19:
            is_last_begun.set()
        if n == 0:
            assert is_last_begun.wait(10)
            taken.append(watching.account.feed.taken)
        return n

    watching, _ = watch(td.workflow("w", steps=[wait]), 100, max_open=4)
    written = iter(range(100))
    watching.consume = lambda record: 0 if next(written) < 19 else 20 if record.number == 0 else 1
    watching.run()

    assert taken == [21], "the one that waits for its turn is taken out of the feed"
    assert watching.account.endings == {"result": 100, "not_run": 0}


def test_a_run_that_is_given_up_says_why(
    folder: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Should the runner park the run, what is known is told, and the exit code is 1."""
    monkeypatch.setitem(_HANDLERS, Finished, lambda *_: 1 / 0)
    called = call("run", "shop.py", "--input", "4")

    assert called.code == 1
    assert called.last == ("1 input: 0 with a result, 0 without a result, 0 failed, 1 unfinished")
    assert "treadle: the run was given up: poisoned: ZeroDivisionError" in called.err
