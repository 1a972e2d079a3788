"""Small programs that start workers, run by tests in a process of their own."""

import subprocess
import sys
from pathlib import Path

PROGRAM = """
import os
import sys
import threading
from queue import SimpleQueue

from treadle.executors.processes import ProcessExecutor
from treadle.model.bundles import Bundle
from treadle.testing.executors import runnable

class Declined(Exception):
    pass

class Order:
    pass

def is_order(value):
    return isinstance(value, Order)

def double(value):
    return value * 2

def decline(value):
    raise Declined(value)

def say(text):
    print(text)

def run(*runnables):
    answers = SimpleQueue()
    executor = ProcessExecutor(1, start_method={method!r})
    executor.open(lambda number, outcomes: answers.put(outcomes))
    executor.submit(1, Bundle(runnables=runnables))
    return answers.get()

def show(outcomes):
    for each in outcomes:
        print(each.value if each.error is None else each.error, type(each.exception).__qualname__, flush=True)
"""


def write(folder: Path, main: str, *, method: str = "forkserver") -> Path:
    """A program that does what `main` says."""
    path = folder / "program.py"
    path.write_text(PROGRAM.format(method=method) + main, encoding="utf-8")
    return path


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    """Run Python to its end."""
    return subprocess.run(
        [sys.executable, "-W", "error", *map(str, command)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
