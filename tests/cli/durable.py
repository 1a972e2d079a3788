"""The command in processes of its own, on a store in a folder: what the tests of durable runs share."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.cli.calling import Called, environment
from tests.durability.places import end_leases
from treadle.model.events import Failed
from treadle.wiring import make_store

SHOP = '''
import os
from pathlib import Path
import treadle as td

class Half:
    value: int
    def __init__(self, value): self.value = value

@td.step
def halve(n):
    """Halve a number; it is noted, and waits to be let go if there is a file `wait` of that number."""
    with open("calls", "a") as calls:
        calls.write(f"{n}\\n")
    if Path(f"wait-{n}").exists():
        with open("began", "w") as began:
            began.write(f"{n}\\n")
        Path(f"go-{n}").read_text()
    if n == 7:
        raise ValueError("seven")
    return Half(n // 2)

@td.step
def describe(half: Half) -> dict:
    return {"half": half.value, "status": "small"}

shop = td.workflow("shop", steps=[(halve, [describe])])
'''

KEEP_S = 30.0
"""A guard: whatever is waited for comes much sooner."""


class Folder:
    """A folder with a workflow, twelve inputs, and a store that comes to be there, or somewhere else."""

    def __init__(self, path: Path, url: str = "") -> None:
        self.path = path
        self.store = url
        self.url = url or f"sqlite:///{path / 'treadle.db'}"
        (path / "shop.py").write_text(SHOP, encoding="utf-8")
        self.feed(*range(12))

    def feed(self, *values: object) -> None:
        """Write the inputs."""
        text = "".join(f"{value}\n" for value in values)
        (self.path / "feed.jsonl").write_text(text, encoding="utf-8")

    def treadle(self, *arguments: str, **changes: str) -> Called:
        """Run the command to its end."""
        with self.begun(*arguments, **changes) as popen:
            out, err = popen.communicate(timeout=KEEP_S)
        return Called(popen.returncode, out, err)

    @contextmanager
    def begun(self, *arguments: str, **changes: str) -> Iterator[subprocess.Popen[str]]:
        """Run the command; it is killed if it has not ended by itself."""
        popen = subprocess.Popen(
            [sys.executable, "-m", "treadle", *arguments],
            cwd=self.path,
            env=environment(**{"TREADLE_STORE": self.store, **changes}),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
        )
        try:
            with popen:
                try:
                    yield popen
                finally:
                    popen.kill()
        finally:
            assert popen.poll() is not None

    @contextmanager
    def at_work(self, *arguments: str, waits: tuple[int, ...]) -> Iterator[subprocess.Popen[str]]:
        """Run the command, until all the inputs that are to wait do so."""
        for name in ("began", *[f"go-{number}" for number in waits]):
            if not (self.path / name).exists():
                os.mkfifo(self.path / name)
        for number in waits:
            (self.path / f"wait-{number}").touch()
        # Opened for both, so that neither end has to wait for the other.
        with os.fdopen(os.open(self.path / "began", os.O_RDWR), encoding="utf-8") as began:
            with self.begun(*arguments) as popen:
                assert {int(began.readline()) for _ in waits} == set(waits)
                yield popen

    def let_go(self, *waits: int) -> None:
        """Let these go on that wait."""
        for number in waits:
            (self.path / f"wait-{number}").unlink()
            (self.path / f"go-{number}").write_text("go", encoding="utf-8")

    def killed(self, *arguments: str, waits: tuple[int, ...]) -> None:
        """Run the command, and end it with SIGKILL while these inputs wait."""
        with self.at_work(*arguments, waits=waits) as popen:
            self.settled(min(waits))
            popen.send_signal(signal.SIGKILL)
            assert popen.wait(KEEP_S) == -signal.SIGKILL
        end_leases(self.url)
        for number in waits:
            (self.path / f"wait-{number}").unlink()

    def settled(self, done: int) -> None:
        """Wait until so many inputs of the run X are finished, and stored."""
        store: Any = make_store(self.url, read_only=True, is_lenient=True)
        give_up_at = time.monotonic() + KEEP_S
        count = -1
        while count != done:
            assert time.monotonic() < give_up_at, f"{count} of {done} inputs were finished"
            events = store.load_all("X").events
            last = [event for event in events if getattr(event, "node", "") == "describe"]
            count = len(last) + sum(isinstance(event, Failed) for event in events)
        store.close()

    def calls(self) -> list[int]:
        """The numbers that were halved, in the order of the calls."""
        return [int(line) for line in (self.path / "calls").read_text().splitlines()]
