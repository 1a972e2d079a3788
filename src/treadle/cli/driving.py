"""Drive a workflow over many inputs, and say what happens while it happens.

This is the loop that every scheduler is a variation of: feed, prepare, execute, apply. Async functions run on
one event loop in a thread of its own, so that a workflow may mix them with plain ones.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from queue import Empty, SimpleQueue
from threading import Thread
from types import TracebackType
from typing import Any, Final, Protocol

from treadle.cli.feed import Given
from treadle.drive import THREADS_DEFAULT, _outcome_of
from treadle.engine.execute import aexecute_runnable, execute_runnable
from treadle.model.runnables import Outcome, Runnable
from treadle.value import Workflow

LOOK_AGAIN_S: Final = 0.1
"""How long to wait for an outcome before the watcher may look."""


class Watcher(Protocol):
    """Is told what happens, in the order in which it happens, by the thread that drives."""

    def malformed(self, order: int, given: Given) -> None:
        """The `order`-th line is no input."""

    def accepted(self, order: int, given: Given, number: int) -> None:
        """The `order`-th line became the input `number`."""

    def started(self, runnable: Runnable) -> None:
        """A runnable is about to be executed."""

    def came_back(self, outcome: Outcome) -> None:
        """An outcome was applied."""

    def finished(self, workflow: Workflow, number: int) -> None:
        """Nothing is left to do for an input; asked before the next input is accepted."""

    def look(self, workflow: Workflow) -> None:
        """Something may have changed; called often."""
