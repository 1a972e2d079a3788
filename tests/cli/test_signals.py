"""SIGINT and SIGTERM, sent to a real process whose steps wait for the test: named pipes say who waits, and go on."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pytest

from tests.cli.calling import Called, environment

pytestmark = pytest.mark.slow

WAITING = """
from pathlib import Path
import treadle as td

@td.step
def wait(n):
    with open("began", "w") as began:
        began.write(f"{n}\\n")
    return n, Path(f"go-{n}").read_text()

w = td.workflow("w", steps=[(wait, [td.step(lambda pair: pair[0], name="after")])])
"""

TWO_AT_ONCE = ("--executor", "threads:2", "--max-open", "3")
NO_MORE = "no further inputs are taken"


class Process:
    """A run whose step waits, for each of the inputs 0 to 9, until it is let go."""

    def __init__(self, folder: Path, popen: subprocess.Popen[str], began: IO[str]) -> None:
        self.folder = folder
        self.popen = popen
        self.began = began
        assert popen.stderr is not None
        self.stderr: IO[str] = popen.stderr

    def send(self, number: int) -> None:
        """Send it a signal."""
        self.popen.send_signal(number)

    def wait_for(self, *inputs: int) -> None:
        """Wait until the step has begun with these inputs."""
        assert sorted(int(self.began.readline()) for _ in inputs) == list(inputs)

    def let_go(self, *inputs: int) -> None:
        """Let the step go on with these inputs, as soon as it has begun with them."""
        for number in inputs:
            (self.folder / f"go-{number}").write_text("go", encoding="utf-8")

    def hear(self, text: str) -> None:
        """Wait until it has said this."""
        assert text in self.stderr.readline()

    def end(self) -> Called:
        """Wait until it has ended."""
        out, err = self.popen.communicate(timeout=30)
        return Called(self.popen.returncode, out, err)


def present(summary: Any) -> dict[str, int]:
    """How the inputs ended, without the ways in which none did."""
    return {ending: count for ending, count in summary["endings"].items() if count}


@contextmanager
def running(folder: Path, *arguments: str, ignored: tuple[int, ...] = ()) -> Iterator[Process]:
    """Run the waiting workflow over ten inputs."""
    (folder / "own.py").write_text(WAITING, encoding="utf-8")
    (folder / "feed.jsonl").write_text("".join(f"{n}\n" for n in range(10)), encoding="utf-8")
    for name in ("began", *[f"go-{n}" for n in range(10)]):
        os.mkfifo(folder / name)

    def prepare() -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN if number in ignored else signal.SIG_DFL)

    popen = subprocess.Popen(
        [sys.executable, "-m", "treadle", "run", "own.py", "--inputs", "feed.jsonl", *arguments],
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        preexec_fn=prepare,  # noqa: PLW1509 - it only sets signals
    )
    # Opened for both, so that neither end has to wait for the other.
    began = os.fdopen(os.open(folder / "began", os.O_RDWR), encoding="utf-8")
    with popen, began:
        try:
            yield Process(folder, popen, began)
        finally:
            popen.kill()


def test_the_first_signal_lets_finish_what_is_under_way(tmp_path: Path) -> None:
    """No further line is taken; the inputs under way go all their steps, also those that had not begun."""
    with running(tmp_path, *TWO_AT_ONCE) as process:
        process.wait_for(0, 1)
        process.send(signal.SIGINT)
        process.hear(NO_MORE)
        process.let_go(0, 1, 2)
        called = process.end()

    assert called.code == 130
    assert called.err == ""
    assert called.last == ("10 inputs: 3 with a result, 0 without a result, 0 failed, 7 not run")
    assert "after  3" in called.out
    assert "interrupted" in called.out.splitlines()


def test_sigterm_does_the_same_for_programs(tmp_path: Path) -> None:
    """The lines on stdout are whole and in order, the summary says what stopped it, and the code is 143."""
    with running(tmp_path, *TWO_AT_ONCE, "--json") as process:
        process.wait_for(0, 1)
        process.send(signal.SIGTERM)
        process.hear(NO_MORE)
        process.let_go(1, 0, 2)
        called = process.end()

    *records, summary = called.objects
    assert called.code == 143
    assert called.err == ""
    assert [(each["value"], each["ending"]) for each in records] == [
        (0, "result"),
        (1, "result"),
        (2, "result"),
    ]
    assert summary["stopped_by"] == "SIGTERM"
    assert present(summary) == {"result": 3, "not_run": 7}


def test_the_second_signal_ends_it_now(tmp_path: Path) -> None:
    """Steps that hang in threads are not waited for; each line is accounted for, once, and nothing is a traceback."""
    with running(tmp_path, *TWO_AT_ONCE, "--json") as process:
        process.wait_for(0, 1)
        process.send(signal.SIGINT)
        process.hear(NO_MORE)
        process.send(signal.SIGTERM)
        called = process.end()

    *records, summary = called.objects
    assert called.code == 130
    assert called.err == "treadle: ending now; what is under way is given up.\n"
    assert [(each["value"], each["ending"]) for each in records] == [
        (0, "unfinished"),
        (1, "unfinished"),
        (2, "unfinished"),
    ]
    assert present(summary) == {"unfinished": 3, "not_run": 7}
    assert summary["components"]["wait"]["running"] == 2


def test_a_step_in_the_runners_own_thread_holds_nobody_up(tmp_path: Path) -> None:
    """What runs inline cannot be interrupted, but left behind."""
    with running(tmp_path, "--executor", "inline") as process:
        process.wait_for(0)
        process.send(signal.SIGINT)
        process.hear(NO_MORE)
        process.send(signal.SIGINT)
        called = process.end()

    assert called.code == 130
    assert called.err == "treadle: ending now; what is under way is given up.\n"
    assert called.last == (
        "10 inputs: 0 with a result, 0 without a result, 0 failed, 1 unfinished, 9 not run"
    )


@pytest.mark.parametrize("executor", ["threads:2", "processes:2"])
def test_the_time_to_finish_is_limited(tmp_path: Path, executor: str) -> None:
    """When it is over, what is under way is given up, by one signal alone."""
    limits = ("--executor", executor, "--max-open", "2", "--drain-s", "0")
    with running(tmp_path, *limits) as process:
        process.wait_for(0, 1)
        process.send(signal.SIGINT)
        process.hear("those under way (2) have 0 s to finish")
        called = process.end()

    assert called.code == 130
    assert called.err == ""
    assert called.last == (
        "10 inputs: 0 with a result, 0 without a result, 0 failed, 2 unfinished, 8 not run"
    )


def test_a_signal_that_was_ignored_before_stays_ignored(tmp_path: Path) -> None:
    """As `nohup` and a shell's background want it: only the other one is heard."""
    with running(tmp_path, *TWO_AT_ONCE, ignored=(signal.SIGINT,)) as process:
        process.wait_for(0, 1)
        process.send(signal.SIGINT)
        process.send(signal.SIGTERM)
        process.hear(NO_MORE)
        process.let_go(0, 1, 2)
        called = process.end()

    assert called.code == 143
    assert called.err == ""
    assert "terminated" in called.out.splitlines()


def test_an_interrupt_while_the_file_is_loaded_is_no_traceback(tmp_path: Path) -> None:
    """Nothing was run then, and that is all there is to say."""
    os.mkfifo(tmp_path / "began")
    loading = "open('began', 'w').close()\nimport threading\nthreading.Event().wait()\n"
    (tmp_path / "own.py").write_text(loading, encoding="utf-8")
    popen = subprocess.Popen(
        [sys.executable, "-m", "treadle", "run", "own.py", "--input", "1"],
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )
    with popen, (tmp_path / "began").open():
        popen.send_signal(signal.SIGINT)
        out, err = popen.communicate(timeout=30)

    assert (popen.returncode, out, err) == (130, "", "treadle: interrupted\n")


def test_a_stream_that_never_ends_can_be_left(tmp_path: Path) -> None:
    """While nothing comes on standard input, an interrupt is heard, and nothing waits for the reader."""
    program = "import treadle as td\nw = td.workflow('w', steps=[td.step(str, name='text')])\n"
    (tmp_path / "own.py").write_text(program, encoding="utf-8")
    popen = subprocess.Popen(
        [sys.executable, "-m", "treadle", "run", "own.py", "--inputs", "-", "--json"],
        cwd=tmp_path,
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        bufsize=1,
    )
    assert popen.stdin is not None
    assert popen.stdout is not None
    with popen:
        answers = []
        for number in range(3):  # each is answered before the next is given
            popen.stdin.write(f"{number}\n")
            answers.append(popen.stdout.readline())
        popen.send_signal(signal.SIGINT)
        rest, err = popen.stdout.read(), popen.stderr.read() if popen.stderr else ""
        popen.wait(30)

    assert [f'"results":{{"text":"{n}"}}' in answer for n, answer in enumerate(answers)] == [
        True
    ] * 3
    assert rest.count("\n") == 1
    assert '"stopped_by":"SIGINT"' in rest
    assert NO_MORE in err
    assert "Traceback" not in err
    assert "Fatal" not in err
    assert popen.returncode == 130
