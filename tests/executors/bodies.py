"""Bodies for worker processes: they are imported there by name."""

import ctypes
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import treadle as td


def double(value):
    """Give twice a value."""
    return value * 2


async def adouble(value):
    """Give twice a value, awaited."""
    return value * 2


def fail(value):
    """Fail as a user's function does."""
    raise ValueError(f"no {value}")


@td.step
def triple(value):
    """The plain function is hidden behind the component that has its name."""
    return value * 3


def segfault(_):
    """Read where nothing is."""
    ctypes.string_at(0)


def leave(code):
    """End the process without a word."""
    os._exit(code)


def raise_exit(code):
    """Ask to end the program."""
    raise SystemExit(code)


def interrupt(_):
    """What a Ctrl-C does."""
    raise KeyboardInterrupt


def pid(_):
    """Tell the process."""
    return os.getpid()


def session(_):
    """Tell the process, its session and its group."""
    return (os.getpid(), os.getsid(0), os.getpgid(0))


def say(text):
    """Print."""
    print(text)  # noqa: T201 - what a body prints is the matter


def hide_lock(_):
    """Give something that cannot be pickled, deep inside."""
    return {"orders": [1, {"socket": Holder(threading.Lock())}]}


class Holder:
    """Has an attribute."""

    def __init__(self, held: Any) -> None:
        self.held = held


def explode(*_):
    """Stand for what pickle calls to rebuild something."""
    raise RuntimeError("cannot be loaded")


class Sour:
    """Pickles, and cannot be unpickled."""

    def __reduce__(self):
        return (explode, ())


class Interrupting:
    """Strikes whoever unpickles it."""

    def __reduce__(self):
        return (interrupt, (0,))


def give_interrupting(_):
    """Give what leaves no chance to go on reading."""
    return Interrupting()


def give_sour(_):
    """Give what cannot be unpickled."""
    return Sour()


class TwoArguments(Exception):
    """Pickles, and cannot be unpickled as it is: its constructor takes something else than its message."""

    def __init__(self, code: int, place: str) -> None:
        super().__init__(f"{code} at {place}")
        self.code = code


class Doubling(Exception):
    """Can be unpickled, to something else."""

    def __init__(self, text: str) -> None:
        super().__init__(f"failed: {text}")


class Holding(Exception):
    """Cannot be pickled."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.lock = threading.Lock()


def raise_two(_):
    """Raise what pickle cannot rebuild."""
    raise TwoArguments(3, "home")


def raise_doubling(_):
    """Raise what pickle rebuilds wrongly."""
    raise Doubling("once")


def raise_holding(_):
    """Raise what cannot be pickled."""
    raise Holding("locked")


def hog(_):
    """Allocate until the limit of this very process."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    taken = pages * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + (64 << 20), resource.RLIM_INFINITY))
    return bytearray(1 << 30)


def lift_limit(_):
    """Undo what `hog` did to its process."""
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    return "lifted"


def knock(port):
    """Tell the process one is in, and wait."""
    with socket.create_connection(("127.0.0.1", port)) as door:
        door.sendall(f"{os.getpid()}\n".encode())
        door.recv(1)
    return "passed"


def ignore_termination(_):
    """Make the process ignore requests to end."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def clean_up(port):
    """Wait, and tidy up when made to end."""
    door = socket.create_connection(("127.0.0.1", port))
    try:
        door.sendall(b"here\n")
        door.recv(1)
    finally:
        door.sendall(b"tidied\n")
        door.close()


def cling(port):
    """Ignore all requests to end, together with a child that does so too and holds the door as well."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    door = socket.create_connection(("127.0.0.1", port))
    child = "import signal, sys; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", child],
        pass_fds=[door.fileno()],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        door.sendall(f"{os.getpid()}\n".encode())
        while True:
            try:
                time.sleep(1000)
            except BaseException:
                continue


def leave_fork(port):
    """Leave the process at once, and a copy of it that holds all that it held."""
    door = socket.create_connection(("127.0.0.1", port))
    if os.fork() == 0:
        door.sendall(b"child\n")
        time.sleep(1000)
    os._exit(3)


def leave_program(port):
    """Leave the process at once, and a program that it started."""
    door = socket.create_connection(("127.0.0.1", port))
    child = f"import os, time; os.write({door.fileno()}, b'child\\n'); time.sleep(1000)"
    subprocess.Popen([sys.executable, "-c", child], pass_fds=[door.fileno()])
    door.recv(1)
    os._exit(3)


def hold_interpreter(port):
    """Let no other thread of this process run, in a C function, with the door held."""
    door = socket.create_connection(("127.0.0.1", port))
    door.sendall(f"{os.getpid()}\n".encode())
    ctypes.PyDLL(None).sleep(1000)


def close_everything(_):
    """Take away what the worker speaks through."""
    os.closerange(3, 100)


def take_too_much(bytes_more):
    """Allow this process a little more memory, and ask for far more than that."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    has = pages * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (has + bytes_more, resource.RLIM_INFINITY))
    try:
        return len(bytearray(16 * bytes_more))
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
