"""Programs that start workers: scripts, one-liners, and how workers end with them."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.executors import scripts
from tests.executors.driving import Door

pytestmark = pytest.mark.slow

GUARDED = 'if __name__ == "__main__":\n    '


@pytest.mark.parametrize("method", ["forkserver", "spawn"])
def test_what_a_script_defines_is_found_by_its_workers(tmp_path: Path, method: str):
    """Functions and exceptions of `__main__`, under the names they have here."""
    program = scripts.write(
        tmp_path,
        GUARDED
        + "show(run(runnable(double, 4), runnable(decline, 'no'), runnable(lambda x: x, 1)))",
        method=method,
    )

    run = scripts.run(program)

    assert run.stdout.splitlines() == ["8 NoneType", "Declined: no Declined", "1 NoneType"]
    assert run.stderr == ""


def test_what_a_script_defines_is_the_same_beside_a_lambda(tmp_path: Path):
    """Its classes go by name too, where something else of the bundle goes by value."""
    program = scripts.write(
        tmp_path, GUARDED + "show(run(runnable(is_order, Order()), runnable(lambda x: x, 1)))"
    )

    assert scripts.run(program).stdout.splitlines() == ["True NoneType", "1 NoneType"]


def test_what_a_one_liner_defines_travels_by_value(tmp_path: Path):
    """Workers cannot import `python -c`, or a notebook."""
    program = scripts.write(tmp_path, "show(run(runnable(double, 4), runnable(decline, 'no')))")

    run = scripts.run("-c", program.read_text(encoding="utf-8"))

    assert run.stdout.splitlines() == ["8 NoneType", "Declined: no Declined"]


@pytest.mark.parametrize("method", ["forkserver", "spawn"])
def test_a_script_without_a_guard_is_taught(tmp_path: Path, method: str):
    """Both in the worker that would have begun it all again, and in the outcome."""
    program = scripts.write(tmp_path, "show(run(runnable(double, 4)))", method=method)

    run = scripts.run(program)

    assert "UsageError: a worker process has begun this program again" in run.stderr
    assert 'Hint: put what starts the work under `if __name__ == "__main__":`.' in run.stderr
    assert run.stdout.startswith(
        "PlugError: a worker process did not start (it ended with exit code 1)"
    )
    assert "__main__" in run.stdout


def test_what_a_body_prints_is_seen(tmp_path: Path):
    """At once, not when the worker ends, since that may be sudden."""
    program = scripts.write(tmp_path, GUARDED + "run(runnable(say, 'hello')); os._exit(0)")

    assert scripts.run(program).stdout == "hello\n"


def test_a_program_that_does_not_close_ends_all_the_same(tmp_path: Path, door: Door):
    """Also when its worker ignores all requests to end."""
    program = scripts.write(
        tmp_path,
        f"""
from tests.executors.bodies import cling
{GUARDED}executor = ProcessExecutor(1)
    executor.open(print)
    executor.submit(1, Bundle(runnables=(runnable(cling, {door.port}),)))
    sys.stdin.read()
""",
    )
    with started(program) as process:
        visitor = door.visitor()
        process.communicate(timeout=60)

    assert visitor.hears() == ""


@pytest.mark.parametrize("body", ["cling", "hold_interpreter"])
@pytest.mark.parametrize("method", ["forkserver", "spawn"])
def test_no_worker_outlives_a_program_that_is_killed(
    tmp_path: Path, door: Door, body: str, method: str
):
    """Not one that ignores signals and has children, nor one whose interpreter is held by a C function."""
    program = scripts.write(
        tmp_path,
        f"""
from tests.executors.bodies import {body}
{GUARDED}run(runnable({body}, {door.port}))
""",
        method=method,
    )
    with started(program) as process:
        visitor = door.visitor()
        process.kill()
        process.communicate(timeout=60)

    assert visitor.hears() == ""


def test_a_ctrl_c_in_the_terminal_reaches_the_program_only(tmp_path: Path, door: Door):
    """Its workers go on until it says otherwise."""
    program = scripts.write(
        tmp_path,
        f"""
from tests.executors.bodies import knock
def wait(event):
    while not event.is_set():
        try:
            event.wait()
        except KeyboardInterrupt:
            print("interrupted", flush=True)
{GUARDED}answered = threading.Event()
    executor = ProcessExecutor(1)
    executor.open(lambda _, outcomes: (show(outcomes), answered.set()))
    executor.submit(1, Bundle(runnables=(runnable(knock, {door.port}),)))
    wait(answered)
    executor.close()
""",
    )
    with started(program) as process:
        visitor = door.visitor()
        os.killpg(process.pid, signal.SIGINT)
        assert process.stdout is not None
        assert process.stdout.readline() == "interrupted\n"
        visitor.let_pass()
        output, _ = process.communicate(timeout=60)

    assert output == "passed NoneType\n"


def started(program: Path) -> subprocess.Popen[str]:
    """A program that runs, the leader of a process group as a shell would have it."""
    return subprocess.Popen(
        [sys.executable, str(program)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        process_group=0,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
