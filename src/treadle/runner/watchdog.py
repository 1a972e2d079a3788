"""A watchdog: says who it is, when the event loop that a runner lives on does not turn.

A plain call that waits, in an async function or on the loop, holds up every run, and nothing fails. So a thread asks
the loop to call it back, again and again while there is work, and looks at what the loop's thread is doing when no
call comes. Without work the thread sleeps.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import traceback
from collections.abc import Callable
from threading import Event, Thread
from time import monotonic
from types import FrameType
from typing import Final

from treadle.model.nodes import Atom
from treadle.model.one_line import one_line
from treadle.model.runnables import Runnable
from treadle.model.work import Unit
from treadle.runner.loop import Loop

logger = logging.getLogger("treadle.runner")

LAG_S: Final = 1.0
"""How long a loop may not turn before somebody is warned."""

NAP_S: Final = 60.0
"""How long the thread sleeps before it looks whether the event loop is still there at all."""

END_S: Final = 1.0
"""How long closing waits for the thread, which may be writing a warning."""

_OBSERVES: Final = Loop.observe.__code__


class Watchdog:
    """Looks whether the event loop turns within `lag_s` seconds, while `loop` has work; 0 or None: it never looks.

    It warns once each time. `incidents` says how often that was.
    """

    def __init__(
        self, event_loop: asyncio.AbstractEventLoop, loop: Loop, lag_s: float | None
    ) -> None:
        self.incidents = 0
        self._event_loop = event_loop
        self._loop = loop
        self._lag_s = lag_s or 0.0
        self._asked = self._answered = 0
        self._is_asleep = bool(lag_s)
        self._is_closed = False
        self._bell = Event()
        self._thread: Thread | None = None

    def stir(self) -> None:
        """There may be work now (called in the loop's thread)."""
        if not self._is_asleep:
            return
        self._is_asleep = False
        self._bell.set()
        if self._thread is None:
            self._thread = Thread(target=self._watch, name="treadle watchdog", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Look no more."""
        self._is_closed, self._is_asleep = True, False
        self._bell.set()
        if self._thread is not None:
            self._thread.join(END_S)

    # ------------------------------------------------------------------------ in its own thread

    def _watch(self) -> None:
        while not self._is_closed and not self._event_loop.is_closed():
            self._asked += 1
            try:
                self._event_loop.call_soon_threadsafe(self._answer)
            except RuntimeError:  # it was closed in this very moment
                return
            # In two halves, so that a program that was stopped and goes on is given time to turn.
            if not (self._turns_within(self._lag_s / 2) or self._turns_within(self._lag_s / 2)):
                self._report()
                while not self._turns_within(NAP_S):
                    pass
                continue
            self._wait(lambda: False, self._lag_s / 2)  # however often work comes and goes
            self._sleep()

    def _answer(self) -> None:
        self._answered += 1
        self._bell.set()

    def _turns_within(self, seconds: float) -> bool:
        return self._wait(lambda: self._answered == self._asked, seconds)

    def _wait(self, holds: Callable[[], bool], seconds: float) -> bool:
        """Wait until something holds, or all is over; whether that came in time."""
        until = monotonic() + seconds
        while not (holds() or self._is_closed or self._event_loop.is_closed()):
            left = until - monotonic()
            if left <= 0:
                return False
            self._bell.wait(left)
            self._bell.clear()
        return True

    def _sleep(self) -> None:
        """Sleep while there is nothing to do."""
        self._is_asleep = True
        if is_busy(self._loop):  # still, or it came in this very moment
            self._is_asleep = False
        else:
            self._wait(lambda: not self._is_asleep, NAP_S)

    def _report(self) -> None:
        frame = sys._current_frames().get(self._loop.thread)  # noqa: SLF001 - there is no other way
        if frame is None or self._is_closed:
            return
        self.incidents += 1
        who, component = culprit(frame)
        if not logger.isEnabledFor(logging.WARNING):
            return
        record = logger.makeRecord(
            logger.name,
            logging.WARNING,
            __file__,
            0,
            "the event loop has not turned for %.3g s, and every run of this runner waits: it is in %s",
            (self._lag_s, one_line(who)),
            None,
            extra={"component": component, "seconds": self._lag_s},
            sinfo="Stack of the event loop's thread (innermost last):\n"
            + "".join(traceback.format_stack(frame)),
        )
        logger.handle(record)


def is_busy(loop: Loop) -> bool:
    """Whether a runner's loop has something to do, or waits for something."""
    waiting = loop.live or loop.moments or loop.drives or loop.came or loop.mail
    return bool(waiting) or loop.is_pumping or loop.is_telling


def culprit(frame: FrameType) -> tuple[str, str | None]:
    """Who holds up the thread that is in this frame, in words; and which component that is, if it is one.

    Nobody knows it but the functions that were called: so it is looked for in what they were given.
    """
    component: str | None = None
    code, line = frame.f_code, frame.f_lineno
    each: FrameType | None = frame
    while each is not None:
        if each.f_code is _OBSERVES:
            told = each.f_locals
            return f"{type(told.get('observer')).__name__}.{told.get('name')}, an observer", None
        if component is None:
            if each.f_globals.get("__name__", "").startswith("treadle."):
                component = component_in(each)
            else:  # the last one before ours is what we called
                code, line = each.f_code, each.f_lineno
        each = each.f_back
    if component is None:
        code, line = frame.f_code, frame.f_lineno
    place = f"{code.co_qualname} ({code.co_filename}:{line})"
    return (place if component is None else f"{component!r}, at {place}"), component


def component_in(frame: FrameType) -> str | None:
    """The component that a function of the engine or of an executor is at work for."""
    for value in list(frame.f_locals.values()):
        if isinstance(value, Runnable):
            return value.component
        if isinstance(value, Unit):
            return value.node.component
        if isinstance(value, Atom):
            return value.key.partition("/")[0]
    return None
