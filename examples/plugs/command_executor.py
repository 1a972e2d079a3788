"""An executor of your own: bundles run in workers that a command starts, such as `nice`, `ssh` or `docker run -i`.

    gentle = CommandExecutor(["nice", "-n", "19", *WORKER])

A worker gets jobs as bytes on its standard input, one after the other, and writes what came of each to its standard
output. This file is the worker, too: it is what the command runs in the end. It needs Treadle and your modules there.
"""

import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import IO

import treadle as td
from treadle.engine.jobs import cancelled_bundle, failed_bundle
from treadle.executors.portable import dump_job, outcomes_of, run_portable
from treadle.interfaces import Answer

WORKER = (sys.executable, str(Path(__file__).resolve()))


class CommandExecutor:
    """Runs up to `capacity` bundles at once, each in a worker of its own, which is killed to cancel it."""

    when_cancelled = "stopped"

    def __init__(self, command: Sequence[str] = WORKER, capacity: int = 4) -> None:
        self.command = [*command]
        self.capacity: int | None = capacity
        self.threads = ThreadPoolExecutor(capacity, thread_name_prefix="command")
        self.lock = Lock()
        self.idle: list[subprocess.Popen[bytes]] = []
        self.open_bundles: dict[int, subprocess.Popen[bytes] | None] = {}  # None: not begun
        self.cancelled: set[int] = set()

    def open(self, answer: Answer) -> None:
        """Note who is to be answered."""
        self.answer = answer

    def submit(self, number: int, bundle: td.Bundle) -> None:
        """Let a thread wait for the worker, since the caller must not be held up."""
        self.open_bundles[number] = None
        self.threads.submit(self.run, number, bundle)

    def cancel(self, number: int) -> None:
        """Kill the worker; the thread that waits for it answers. Numbers that are not open are ignored."""
        with self.lock:
            if number in self.open_bundles:
                self.cancelled.add(number)
                worker = self.open_bundles[number]
                if worker is not None:
                    worker.kill()

    def close(self) -> None:
        """Kill all workers and wait for the threads; nobody is answered any more."""
        for number in [*self.open_bundles]:
            self.cancel(number)
        with self.lock:
            self.open_bundles.clear()
        self.threads.shutdown(cancel_futures=True)
        for worker in self.idle:
            bury(worker)

    def run(self, number: int, bundle: td.Bundle) -> None:
        """In a thread: have a bundle executed and answer once, whatever happens."""
        try:
            outcomes = self.outcomes(number, bundle)
        except Exception as error:  # noqa: BLE001 - it cannot travel, or there is no such command
            outcomes = failed_bundle(bundle, error)
        with self.lock:
            is_awaited = number in self.open_bundles
            self.open_bundles.pop(number, None)
            self.cancelled.discard(number)
        if is_awaited:
            self.answer(number, outcomes)

    def outcomes(self, number: int, bundle: td.Bundle) -> list[td.Outcome]:
        """What came of a bundle in a worker."""
        job = dump_job(bundle, shares_main=False)
        with self.lock:
            if number in self.cancelled:
                return cancelled_bundle(bundle, "withdrawn")
            worker = self.open_bundles[number] = self.idle.pop() if self.idle else self.start()
        reply = ask(worker, job)
        with self.lock:
            if reply and number not in self.cancelled:
                self.idle.append(worker)
                return outcomes_of(bundle, reply)
        code = bury(worker)
        if number in self.cancelled:
            return cancelled_bundle(bundle, "stopped")
        text = f"the worker of {self.command[0]!r} gave no answer, and ended with exit code {code}."
        return failed_bundle(bundle, td.errors.WorkerDied(text, exit_code=code))

    def start(self) -> subprocess.Popen[bytes]:
        """A new worker, which finds modules where we find them."""
        path = os.pathsep.join(folder or "." for folder in sys.path)
        env, pipe = {**os.environ, "PYTHONPATH": path}, subprocess.PIPE
        return subprocess.Popen(self.command, stdin=pipe, stdout=pipe, env=env)  # noqa: S603


def ask(worker: subprocess.Popen[bytes], job: bytes) -> bytes:
    """What a worker answers; nothing if it is gone, or is none."""
    assert worker.stdin is not None
    assert worker.stdout is not None
    try:
        send(worker.stdin, job)
        return receive(worker.stdout)
    except Exception:  # noqa: BLE001 - whatever else a command may write is no answer
        return b""


def bury(worker: subprocess.Popen[bytes]) -> int:
    """End a worker, and give what it left with."""
    worker.kill()
    with suppress(OSError), worker:  # what was still to be sent to it cannot be
        pass
    return worker.wait()


def send(pipe: IO[bytes], data: bytes) -> None:
    """Write some bytes, and before them how many they are."""
    pipe.write(len(data).to_bytes(8, "big") + data)
    pipe.flush()


def receive(pipe: IO[bytes]) -> bytes:
    """Read what `send` wrote. Errors: EOFError if there is no more."""
    size = int.from_bytes(pipe.read(8), "big")
    data = pipe.read(size)
    if not size or len(data) < size:
        raise EOFError
    return data


def work() -> None:
    """Be a worker: a job in, its reports out, until there are no more."""
    with os.fdopen(os.dup(1), "wb") as answers, suppress(EOFError):
        os.dup2(2, 1)  # what a body prints must not get into an answer
        while True:
            send(answers, run_portable(receive(sys.stdin.buffer)))


if __name__ == "__main__":
    work()
