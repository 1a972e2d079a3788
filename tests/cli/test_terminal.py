"""The command as a process: what a terminal shows, what a pipe gets, and what happens without Typer."""

import os
import pty
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.calling import environment, timeless

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
ORDERS = ["run", "examples/order_fulfillment.py", "--inputs", "examples/orders.jsonl"]
DEMO = [*ORDERS, "--context", '{"_global":{"pace":0}}']
CONTROL = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


def treadle(*arguments: str, **changes: str) -> subprocess.CompletedProcess[str]:
    """Run the command with its output in pipes."""
    return subprocess.run(
        [sys.executable, "-m", "treadle", *arguments],
        cwd=ROOT,
        env=environment(**changes),
        capture_output=True,
        encoding="utf-8",
        check=False,
    )


def in_terminal(*arguments: str, code: int = 0, **changes: str) -> str:
    """Run the command with a terminal for its output, and give all that it wrote there."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "treadle", *arguments],
        cwd=ROOT,
        env=environment(**{"TERM": "xterm-256color", "COLUMNS": "100", **changes}),
        stdout=theirs,
        stderr=theirs,
    ) as process:
        os.close(theirs)
        written = b""
        while chunk := read(ours):
            written += chunk
    os.close(ours)
    assert process.returncode == code
    return written.decode()


def read(terminal: int) -> bytes:
    """What was written next; on Linux the end of a terminal is an error."""
    try:
        return os.read(terminal, 65536)
    except OSError:
        return b""


def test_the_demo_accounts_for_all_orders() -> None:
    """What `make demo` runs prints plain text, ends with the account of 300 orders, and exits with 0."""
    ran = treadle(*DEMO)

    assert ran.returncode == 0
    assert ran.stderr == ""
    assert ran.stdout.splitlines()[-1] == (
        "300 inputs: 293 with a result, 0 without a result, 7 failed"
    )


def test_a_pipe_gets_no_control_codes() -> None:
    """Not even if the environment asks for colours: who reads a pipe wants text."""
    ran = treadle(*DEMO, FORCE_COLOR="1", TTY_COMPATIBLE="1")

    assert not CONTROL.search(ran.stdout)
    assert timeless(ran.stdout) == timeless(treadle(*DEMO, NO_COLOR="1").stdout)


def test_a_terminal_shows_the_live_view_and_then_the_same_account() -> None:
    """The tree is redrawn in place; below it stands what a pipe would get."""
    written = in_terminal(*DEMO)
    plain = CONTROL.sub("", written).replace("\r", "")
    account = timeless(treadle(*DEMO).stdout).partition("results\n")[2]

    assert "\x1b[?25l" in written, "the cursor is hidden while the view is live"
    assert "\x1b[?25h" in written, "and shown again"
    assert "300 of 300 inputs" in plain
    assert timeless(plain).partition("results\n")[2] == account


def test_an_interrupt_leaves_the_terminal_as_it_was(tmp_path: Path) -> None:
    """The live view says that it stopped; whatever hangs, the cursor is shown again and the account told once."""
    program = (
        "import os, signal, threading, treadle as td\n"
        "def hang(n):\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    if n: threading.Event().wait()\n"
        "w = td.workflow('w', steps=[hang])\n"
    )
    (tmp_path / "own.py").write_text(program, encoding="utf-8")
    (tmp_path / "feed.jsonl").write_text("1\n2\n3\n", encoding="utf-8")
    feed = ("--inputs", str(tmp_path / "feed.jsonl"))
    limits = ("--executor", "threads:1", "--max-open", "1", "--drain-s", "0.01")
    written = in_terminal("run", str(tmp_path / "own.py"), *feed, *limits, code=130)
    plain = CONTROL.sub("", written).replace("\r", "")

    assert written.rindex("\x1b[?25h") > written.rindex("\x1b[?25l")
    assert plain.count("no further inputs are taken") == 1
    assert " · stopped" in plain
    assert plain.splitlines()[-2:] == [
        "interrupted",
        "3 inputs: 0 with a result, 0 without a result, 0 failed, 1 unfinished, 2 not run",
    ]


def test_a_dumb_terminal_gets_plain_text() -> None:
    """A terminal that cannot move the cursor is not asked to."""
    assert not CONTROL.search(in_terminal(*DEMO, TERM="dumb"))


def test_a_narrow_encoding_does_not_end_the_run() -> None:
    """Where the tree's lines and users' names cannot be written, something else is."""
    ran = treadle(*DEMO, PYTHONIOENCODING="ascii")

    assert ran.returncode == 0
    assert "`- reject_order" in ran.stdout


def test_a_reader_that_stops_reading_is_no_crash() -> None:
    """`treadle run ... --json | head` ends without a traceback."""
    command = f'"{sys.executable}" -m treadle {shlex.join(DEMO)} --json | head -n 1'
    ran = subprocess.run(
        ["sh", "-c", command],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        encoding="utf-8",
        check=False,
    )

    assert ran.stdout.count("\n") == 1
    assert ran.stderr == ""


@pytest.mark.parametrize("missing", ["typer", "rich"])
def test_a_missing_library_is_named_with_its_remedy(missing: str) -> None:
    """Without the extra, the command says how to install it, and exits with 1."""
    program = (
        f"import sys; sys.modules[{missing!r}] = None\n"
        "from treadle.cli import main; sys.argv = ['treadle', '--version']; main()"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program],
        env=environment(),
        capture_output=True,
        encoding="utf-8",
        check=False,
    )

    assert ran.returncode == 1
    assert f"needs {missing!r}" in ran.stderr
    assert 'pip install "treadle[cli]"' in ran.stderr
    assert "Traceback" not in ran.stderr
