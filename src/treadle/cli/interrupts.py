"""Ctrl-C and SIGTERM while a run is on: the first asks for an orderly end, the second for one now."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Final, Self

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)

AT_ONCE: Final = 3
"""With so many, nothing is waited for any more, not even for the account to be written."""


class EndNow(SystemExit):
    """Leave the process without waiting for the threads of anybody: what they do was given up."""


class Interrupts:
    """Tells of each signal while it is entered. What was ignored before (`nohup`) stays ignored."""

    def __init__(self, tell: Callable[[int], None]) -> None:
        self.tell = tell
        self.count = 0
        self._before: dict[int, signal._HANDLER] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._came)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _came(self, number: int, _: FrameType | None) -> None:
        self.count += 1
        if self.count >= AT_ONCE:
            os._exit(code_of(number))
        self.tell(number)


def code_of(number: int) -> int:
    """The exit code that a shell expects of a process that a signal ended.

    >>> code_of(2), code_of(15)
    (130, 143)
    """
    return 128 + number


def leave(ended: EndNow) -> None:
    """End the process: what was printed is written, and no thread is waited for."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:  # nobody reads it any more
            continue
    os._exit(ended.code if isinstance(ended.code, int) else 1)
