"""`treadle run`: every input is accounted for, the numbers are right, and the exit code says so."""

import json
import logging
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.cli.calling import Call, timeless
from treadle.cli import account as ends

ROOT = Path(__file__).parents[2]


def write_lines(folder: Path, *lines: str | bytes) -> str:
    """Write a feed, and give its name."""
    raw = [line if isinstance(line, bytes) else line.encode() for line in lines]
    (folder / "feed.jsonl").write_bytes(b"\n".join(raw) + b"\n")
    return "feed.jsonl"


def write_workflow(folder: Path, text: str) -> str:
    """Write a file with a workflow, and give its name."""
    (folder / "own.py").write_text("import treadle as td\n" + text, encoding="utf-8")
    return "own.py"


# ------------------------------------------------------------------------------ for programs


def test_json_has_one_object_per_input_and_a_summary(folder: Path, call: Call) -> None:
    """Values, results and failures of each input in order, then how all ended; nothing else."""
    called = call("run", "shop.py", "--inputs", write_lines(folder, "4", "7", "30"), "--json")
    first, second, third, summary = called.objects

    assert called.code == 0
    assert called.err == ""
    assert first == {
        "type": "input",
        "input": 0,
        "line": 1,
        "ending": "result",
        "value": 4,
        "results": {"describe": {"half": 2, "status": "small"}, "notice": "four"},
        "failures": [],
    }
    assert second["ending"] == "failed"
    assert second["results"] == {}
    (failure,) = second["failures"]
    assert failure["component"] == "halve"
    assert failure["error"] == "ZeroDivisionError"
    assert failure["where"] == "shop.py:7 in halve"
    assert failure["ending"] == "not handled"
    assert third["results"]["describe"]["status"] == "large"
    assert summary["inputs"] == 3
    assert summary["endings"] == dict.fromkeys(ends.ENDINGS, 0) | {"result": 2, "failed": 1}
    assert summary["results"]["describe"] == {"inputs": 2, "words": {"small": 1, "large": 1}}
    assert summary["components"]["halve"]["done"] == 2
    assert summary["components"]["halve"]["failed"] == 1


def test_json_is_in_the_order_of_the_lines(folder: Path, call: Call) -> None:
    """Threads finish as they like; the lines come out in the order in which they went in."""
    write_workflow(
        folder,
        "import threading\n"
        "later = threading.Event()\n"
        "@td.step\n"
        "def wait(n):\n"
        "    later.set() if n == 5 else later.wait(10)\n"
        "    return n\n"
        "w = td.workflow('w', steps=[wait])\n",
    )
    feed = write_lines(folder, *map(str, range(6)), "{", "6")
    called = call("run", "own.py", "--inputs", feed, "--json", "--executor", "threads")

    assert [each["line"] for each in called.objects[:-1]] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert [each.get("value") for each in called.objects[:-1]] == [0, 1, 2, 3, 4, 5, None, 6]


def test_what_steps_print_is_not_among_the_json(folder: Path, call: Call) -> None:
    """Prints of the file and of its steps go to stderr, so that stdout can be read by a program."""
    write_workflow(
        folder,
        "print('loading')\n"
        "@td.step\n"
        "def say(n):\n"
        "    print('step', n)\n"
        "    return n\n"
        "w = td.workflow('w', steps=[say])\n",
    )
    called = call("run", "own.py", "--input", "1", "--json")

    assert [each["type"] for each in called.objects] == ["input", "summary"]
    assert called.err == "loading\nstep 1\n"


VALUES = """
class Odd:
    def __repr__(self): return "<Odd>"
class Worse:
    def __repr__(self): raise RuntimeError
loop = []
loop.append(loop)
values = [Odd(), Worse(), {1: {Odd()}}, b"ab", loop, "\\ud800", (1, 2), float("nan"), 1j]
@td.step
def pick(n):
    return values[n]
w = td.workflow('w', steps=[pick])
"""


@pytest.mark.parametrize(
    ("number", "held"),
    [
        (0, "<Odd>"),
        (1, "<Worse whose repr failed: RuntimeError>"),
        (2, {"1": ["<Odd>"]}),
        (3, "YWI="),
        (4, "[[...]]"),
        (5, "'\\ud800'"),
        (6, [1, 2]),
        (7, None),
        (8, "1j"),
    ],
)
def test_json_holds_any_value(folder: Path, call: Call, number: int, held: Any) -> None:
    """What JSON cannot hold is given as its repr, and never ends the run."""
    write_workflow(folder, VALUES)
    called = call("run", "own.py", "--input", str(number), "--json")

    assert called.code == 0
    assert called.objects[0]["results"] == {"pick": held}


def test_quiet_json_is_the_summary_only(call: Call) -> None:
    """With both, one object is left."""
    (summary,) = call("run", "shop.py", "--input", "4", "--json", "--quiet").objects

    assert summary["type"] == "summary"


# --------------------------------------------------------------------------------- the inputs


@pytest.mark.parametrize(
    "bad", ['{"a": 1', "NaN", "hello", b'"\xff"', "[" * 200_000, "1 2", "{'a': 1}"], ids=range(7)
)
def test_a_line_that_is_not_json_stops_nothing(folder: Path, call: Call, bad: str | bytes) -> None:
    """It is reported with its line, the others are run, and the exit code says so."""
    feed = write_lines(folder, "4", bad, "6")
    called = call("run", "shop.py", "--inputs", feed, "--json")
    before, malformed, after, summary = called.objects

    assert called.code == 1
    assert (before["ending"], after["ending"]) == ("result", "result")
    assert (before["input"], after["input"]) == (0, 1)
    assert malformed["type"] == "malformed"
    assert malformed["line"] == 2
    assert malformed["problem"]
    assert summary["endings"] == dict.fromkeys(ends.ENDINGS, 0) | {"result": 2, "malformed": 1}
    assert "line 2: " in call("run", "shop.py", "--inputs", feed).out


def test_blank_lines_and_foreign_line_ends_are_no_inputs(folder: Path, call: Call) -> None:
    """A byte order mark, CRLF and blank lines change nothing but the line numbers."""
    feed = write_lines(folder, b"\xef\xbb\xbf4\r", "", "  \r", "6", "")
    called = call("run", "shop.py", "--inputs", feed, "--json")

    assert [(each["line"], each["value"]) for each in called.objects[:-1]] == [(1, 4), (4, 6)]
    assert called.code == 0


def test_inputs_come_from_stdin(call: Call) -> None:
    """`-` reads what is piped in."""
    called = call("run", "shop.py", "--inputs", "-", "--json", stdin=b"4\n6\n")

    assert [each["value"] for each in called.objects[:-1]] == [4, 6]


def test_null_is_an_input(folder: Path, call: Call) -> None:
    """JSON's null is a value like any other."""
    write_workflow(folder, "w = td.workflow('w', steps=[td.step(lambda n: [n], name='wrap')])\n")
    called = call("run", "own.py", "--input", "null", "--json")

    assert called.objects[0]["results"] == {"wrap": [None]}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "nothing to run on"),
        (["--input", "{"], "--input '{' is not JSON"),
        (["--input", "1", "--inputs", "feed.jsonl"], "do not go together"),
        (["--inputs", "gone.jsonl"], "'gone.jsonl' cannot be read: No such file"),
        (["--input", "1", "--executor", "magic"], "--executor"),
        (["--input", "1", "--max-concurrency", "0"], "--max-concurrency"),
        (["--input", "1", "--colour"], "--colour"),
    ],
)
def test_a_wrong_call_runs_nothing(call: Call, arguments: list[str], said: str) -> None:
    """Usage errors say what is wrong on stderr, and exit with 2."""
    called = call("run", "shop.py", *arguments)

    assert called.code == 2
    assert said in called.err
    assert called.out == ""


# --------------------------------------------------------------------------------- exit codes


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--input", "4"], 0),
        (["--input", "7"], 0),
        (["--input", "7", "--strict"], 1),
        (["--input", "4", "--strict"], 0),
    ],
)
def test_failures_are_results_unless_strict(call: Call, arguments: list[str], code: int) -> None:
    """An input that failed is accounted for, which is all that is asked without --strict."""
    assert call("run", "shop.py", *arguments).code == code


def test_handled_and_skipped_failures_are_none_to_strict(folder: Path, call: Call) -> None:
    """What somebody took care of is listed, and the input is not a failed one."""
    write_workflow(
        folder,
        "def fail(n): raise OSError(n)\n"
        "w = (td.workflow('w', steps=[fail, td.step(fail, name='tried', on_failure='skip')])\n"
        "    .add(td.step(lambda failure: 'mended', name='mend'), to=td.error_of('fail')))\n",
    )
    called = call("run", "own.py", "--input", "1", "--strict", "--json")

    assert called.code == 0
    assert called.objects[0]["ending"] == "result"
    assert {each["ending"] for each in called.objects[0]["failures"]} == {"handled", "skipped"}


def test_an_interrupt_leaves_an_account(folder: Path, call: Call) -> None:
    """A step that raises it in the runner's own thread ends the run: what was done is shown, the rest is not run."""
    write_workflow(
        folder,
        "def stop(n):\n"
        "    if n == 2: raise KeyboardInterrupt\n"
        "    return n\n"
        "w = td.workflow('w', steps=[stop])\n",
    )
    feed = write_lines(folder, *"012345")
    called = call("run", "own.py", "--inputs", feed, "--executor", "inline")

    assert called.code == 130
    assert "interrupted" in called.out
    assert called.last == ("6 inputs: 2 with a result, 0 without a result, 1 failed, 3 not run")


# --------------------------------------------------------------------------------- for people


def test_people_see_the_tree_the_results_and_the_failures(folder: Path, call: Call) -> None:
    """Counts by component, results by the word they end with, failures with their place."""
    called = call("run", "shop.py", "--inputs", write_lines(folder, *"456789", "30"))

    assert timeless(called.out).splitlines() == [
        "the shop        done  failed  waiting",
        "├─ notice          1       .        .",
        "└─ halve           4       3        .",
        "   └─ describe     4       .        .",
        "",
        "results",
        "    describe  4  3 small, 1 large",
        "    notice    1  1 four",
        "",
        "halve failed 3 times, not handled",
        "    ZeroDivisionError: division by zero",
        "    at shop.py:7 in halve",
        "    inputs 1, 3, 5 (lines 2, 4, 6)",
        "",
        "... s of work in ... s: 12 attempts, up to ... at once",
        "7 inputs: 4 with a result, 0 without a result, 3 failed",
    ]


def test_few_inputs_show_their_results_in_full(call: Call) -> None:
    """Who gives one input wants to see what came of it."""
    out = call("run", "shop.py", "--input", "4").out

    assert '"half": 2' in out
    assert '"four"' in out


def test_quiet_is_one_line(folder: Path, call: Call) -> None:
    """How many ended how, and no more."""
    called = call("run", "shop.py", "--inputs", write_lines(folder, *"46"), "--quiet")

    assert called.out == "2 inputs: 2 with a result, 0 without a result, 0 failed\n"


def test_text_of_others_cannot_steer_the_terminal(folder: Path, call: Call) -> None:
    """Escape sequences in errors, names and results are shown, not sent; markup means nothing."""
    write_workflow(
        folder,
        "@td.step(name='[red]x')\n"
        "def fail(n):\n"
        "    if n: raise ValueError('\\x1b[2J[bold]gone[/bold]\\x07')\n"
        "    return {'status': '\\x1b[31mred'}\n"
        "w = td.workflow('w', steps=[fail])\n",
    )
    called = call("run", "own.py", "--inputs", write_lines(folder, *"010101"))

    assert "\x1b" not in called.out
    assert "\x07" not in called.out
    assert "[red]x failed 3 times" in called.out
    assert r"ValueError: \x1b[2J[bold]gone[/bold]\x07" in called.out
    assert r"3 \x1b[31mred" in called.out


def test_inputs_without_a_result_are_explained(folder: Path, call: Call) -> None:
    """No rule held, or a join never got all it needs: the join is named."""
    write_workflow(
        folder,
        "w = (td.workflow('w', rules=[\n"
        "        td.rule(name='even', condition=lambda n: n % 2 == 0, reaction=lambda n: n),\n"
        "        td.rule(name='big', condition=lambda n: n > 5, reaction=lambda n: n)])\n"
        "    .add(td.step(lambda a, b: a + b, name='both'), to=['even', 'big']))\n",
    )
    called = call("run", "own.py", "--inputs", write_lines(folder, *"1278"))

    assert called.last == "4 inputs: 1 with a result, 3 without a result, 0 failed"
    assert "    line 1\n" in called.out
    assert "    line 2: both never got big\n" in called.out
    assert "    line 3: both never got even\n" in called.out


def test_the_library_logs_nothing_beside_the_account(call: Call) -> None:
    """Failures are in the account; the warning of each is not printed as well."""
    called = call("run", "shop.py", "--input", "7")

    assert called.err == ""
    assert not logging.getLogger("treadle").handlers


# --------------------------------------------------------------------------------- the orders


@pytest.mark.slow
@pytest.mark.parametrize("scheduler", ["default", "batches", "adaptive", "priority"])
def test_all_orders_are_accounted_for(call: Call, scheduler: str) -> None:
    """The 300 orders of the example: counted three ways, the numbers agree, in whatever order work is done."""
    example = ROOT / "examples" / "order_fulfillment.py"
    feed = ROOT / "examples" / "orders.jsonl"
    at_once = ("--context", '{"_global": {"pace": 0}}', "--scheduler", scheduler)
    called = call("run", str(example), "--inputs", str(feed), "--json", *at_once)
    *records, summary = called.objects
    endings = Counter(each["ending"] for each in records)
    decided = [each["results"].get("decide_fulfillment") for each in records]
    words = Counter(each["status"] for each in decided if each)

    assert called.code == 0
    assert len(records) == summary["inputs"] == 300
    assert [each["value"] for each in records] == [
        json.loads(line) for line in feed.read_text(encoding="utf-8").splitlines()
    ]
    assert sum(summary["endings"].values()) == 300
    assert +Counter(summary["endings"]) == endings == {"result": 293, "failed": 7}
    assert summary["results"]["decide_fulfillment"] == {
        "inputs": sum(words.values()),
        "words": words,
    }
    work = summary["components"]
    assert work["validate_order"]["done"] + work["reject_order"]["done"] == 300
    assert work["screen_fraud"]["done"] + work["screen_fraud"]["failed"] == work["shipping"]["done"]
    assert work["estimate_shipping"]["failed"] == work["flat_rate"]["done"] == 11
    failed = Counter(each["ending"] for each in records for _ in each["failures"])
    told = {each["ending"]: each["count"] for each in summary["failures"]}
    assert sum(failed.values()) == told["handled"] + told["not handled"] == 11 + 7
    assert work["estimate_shipping"]["retried"] == told["tried again"] > 11 * 3
    assert work["screen_fraud"]["fell_back"] == told["fell back"] > 7
    tries = sum(each["done"] + each["failed"] + each["retried"] for each in work.values())
    assert summary["effort"]["attempts"] == tries + told["fell back"]


# ------------------------------------------------------------------------------ other commands


@pytest.mark.parametrize(
    ("format", "begins"),
    [
        ("mermaid", "flowchart TD\n"),
        ("dot", 'digraph "the shop" {\n'),
        ("cytoscape", "[\n"),
        ("edges", "INPUT\tnotice\tvalue\n"),
    ],
)
def test_graph_draws_in_each_format(call: Call, format: str, begins: str) -> None:
    """The picture is all there is on stdout."""
    called = call("graph", "shop.py", "--format", format)

    assert called.code == 0
    assert called.out.startswith(begins)
    assert "describe" in called.out


def test_version_and_help(call: Call) -> None:
    """The version is named; the help of `run` says what each exit code means."""
    assert call("--version").out.startswith("treadle")
    told = call("run", "--help").out

    assert all(f"  {code}: " in told for code in (0, 1, 2, 130))
    assert "143: " in told


def test_context_reaches_the_markers(folder: Path, call: Call) -> None:
    """Values given with --context are injected; what is no JSON, or no dict, is a usage error."""
    name = write_workflow(
        folder,
        "def greet(name, *, greeting=td.context('greeting')): return f'{greeting}, {name}'\n"
        "w = td.workflow('w', steps=[greet])\n",
    )
    asked = ("run", name, "--input", '"Ada"', "--json", "--context")
    called = call(*asked, '{"greet": {"greeting": "Hello"}}')

    assert called.objects[0]["results"] == {"greet": "Hello, Ada"}
    for wrong, said in (("{", "is not JSON"), ('{"greet": 1}', "should be a dict")):
        refused = call(*asked, wrong)
        assert refused.code == 2
        assert said in refused.err
