"""One run of the command line: watched by people, or written down for programs, and ended by signals."""

from __future__ import annotations

import os
import shlex
import signal
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager, redirect_stdout, suppress
from io import UnsupportedOperation
from queue import Empty, SimpleQueue
from time import monotonic
from typing import BinaryIO, Final, TextIO

from msgspec import Struct
from rich.console import Console
from rich.text import Text

from treadle.cli.account import NOT_RUN, UNFINISHED, Account, Record
from treadle.cli.driving import Closed, Drive, Plugs
from treadle.cli.interrupts import Interrupts
from treadle.cli.jsonl import Writer
from treadle.cli.places import Place, opened, shown
from treadle.cli.screen import (
    Screen,
    hush,
    make_console,
    show_account,
    show_endings,
    unlogged,
)
from treadle.cli.terminal import clean
from treadle.errors import PlugError, TreadleError
from treadle.policies.policy import NO_FALLBACK
from treadle.value import Workflow

STDOUT: Final = 1
STDERR: Final = 2

LOOK_UP_S: Final = 0.5
"""How long the main thread waits at one go: not everywhere does a signal wake it."""

WRITTEN_AT_ONCE: Final = 1000
"""After how many records the drive hears that they are accounted for: it may be thousands ahead."""

HEAR_S: Final = 0.5
"""How long to wait for its thread to hear that. One that runs a step itself cannot."""

CLOSE_S: Final = 5.0
"""How long the runner may take to end when it is to end now: worker processes are given time to clean up."""


UNSTORABLE: Final = (
    "What a store cannot keep counts as failed. Annotate ports with its class, or have "
    "`codec = treadle.codec.Codec(types=[...])` in the file; or keep nothing: --ephemeral."
)


class How(Struct, frozen=True):
    """How to run, how much to say, and how long to wait for what is under way at an orderly end."""

    plugs: Plugs
    place: Place = Place()
    drain_s: float = 60.0
    quiet: bool = False


class Watch:
    """The main thread while the drive is on: takes in records, and hears of signals."""

    def __init__(
        self,
        account: Account,
        workflow: Workflow,
        how: How,
        consume: Callable[[Record], int],
        *,
        is_watched: bool = False,
    ) -> None:
        self.account = account
        self.how = how
        self.consume = consume
        self.mailbox: SimpleQueue[Record | Closed | int] = SimpleQueue()
        self.drive = Drive(
            workflow, account, how.plugs, self.mailbox.put, how.place, is_watched=is_watched
        )
        self.closed: Closed | None = None
        self.written = 0
        """How many records were accounted for that the drive does not know of."""

    def run(self) -> None:
        """Until all is done, or somebody has had enough.

        Errors: what broke the drive.
        """
        try:
            with Interrupts(self.mailbox.put) as interrupts:
                self.drive.start()
                while self.closed is None and interrupts.count < 2:
                    self._read_mail()
                if self.closed is None:
                    self._end_now()
        except BaseException:  # for example, nobody reads any more what is written
            hush()
            self.drive.give_up()
            raise
        self.account.close()
        if self.closed is not None and self.closed.rests:
            say("all that is left waits for an answer, or for its moment.")
        error = None if self.closed is None else self.closed.error
        if isinstance(error, KeyboardInterrupt):
            self.account.stopped_by = self.account.stopped_by or signal.SIGINT
        elif isinstance(error, PlugError) and self.closed is not None and self.closed.has_begun:
            self.account.given_up = str(error)
        elif error is not None:
            raise error

    def _read_mail(self) -> None:
        try:
            message = self.mailbox.get(timeout=LOOK_UP_S)
        except Empty:
            return
        if isinstance(message, Record):
            self._take(message)
        elif isinstance(message, Closed):
            self.closed = message
        elif self.account.stopped_by is None:
            self.account.stopped_by = message
            self._drain()

    def _take(self, record: Record) -> None:
        self.account.enter(record)
        self.written += self.consume(record)
        if self.written >= WRITTEN_AT_ONCE:
            self.drive.written(self.written)
            self.written = 0

    def _drain(self) -> None:
        """Let what is under way come to its end."""
        hush()
        count = len(self.drive.watcher.open)
        self.drive.drain(self.how.drain_s)
        under_way = f"those under way ({count}) have {self.how.drain_s:g} s to finish"
        say(f"no further inputs are taken; {under_way}. Once more ends it now.")

    def _end_now(self) -> None:
        """Give up what is under way."""
        say("ending now; what is under way is given up.")
        self.drive.give_up()
        give_up_at = monotonic() + (CLOSE_S if self.drive.has_heard.wait(HEAR_S) else 0.0)
        while self.closed is None and (monotonic() < give_up_at or not self.mailbox.empty()):
            self._read_mail()
        if self.closed is None:
            self.account.effort.elapsed_s = monotonic() - self.drive.begun_at
            for record in self.drive.watcher.unfinished(None):
                self._take(record)


def run_for_people(account: Account, workflow: Workflow, how: How) -> None:
    """Run under a live view; then say what came of it."""
    console = make_console()
    rules = workflow.policies.over(how.plugs.policies).rules
    expected = {"retried" for _, policy in rules if policy.max_retries}
    expected |= {"fell_back" for _, policy in rules if policy.fallback is not NO_FALLBACK}
    if how.place.url is not None and console.is_terminal and not how.quiet:
        show_place(how.place, console)  # now: who is killed has no time to say it
        console.print()
    screen = Screen(account, workflow, console, quiet=how.quiet, expected=expected)
    watch = Watch(account, workflow, how, lambda _: 1, is_watched=screen.is_live)
    with screen.showing():
        watch.run()
    if how.quiet:
        show_endings(account, console)
        return
    if not screen.is_live:
        console.print(screen.tree())
    console.print()
    show_account(account, console)
    if how.place.url is not None:
        if any(group.error == "EncodeError" for group in account.failures.values()):
            console.print(UNSTORABLE, soft_wrap=True)
        show_place(how.place, console, is_unfinished=is_unfinished(account))


def is_unfinished(account: Account) -> bool:
    """Whether the same command, given again, would have something to do."""
    left = account.endings[UNFINISHED] + account.endings[NOT_RUN]
    return left > 0 and account.given_up is None


def show_place(place: Place, console: Console, *, is_unfinished: bool | None = None) -> None:
    """Say under which id and where the run is kept; at the end also how it stands, and how to go on."""
    assert place.url is not None
    told = f"run {place.run_id}, in {shown(place.url)}"
    if is_unfinished is not None:
        with suppress(TreadleError), opened(place.url) as store:
            info = store.info(place.run_id)
            told += "" if info is None else f": {info.status}, {info.position} events"
    console.print(Text(clean(told), style="dim"), soft_wrap=True)
    if is_unfinished:
        how = f"to go on: the same command, with --id {shlex.quote(place.run_id)}"
        console.print(Text(clean(how), style="dim"), soft_wrap=True)


def run_for_programs(account: Account, workflow: Workflow, how: How) -> None:
    """Run, and write what came of each input as it finishes; what steps print goes to stderr."""
    with stdout_for_us() as stream, unlogged():
        writer = Writer(stream, account.folder, quiet=how.quiet)
        Watch(account, workflow, how, writer.write).run()
        writer.close(account)


def say(text: str) -> None:
    """Tell people something that is no part of the output."""
    print(f"treadle: {text}", file=sys.stderr, flush=True)


@contextmanager
def stdout_for_us() -> Generator[BinaryIO]:
    """Standard output for ourselves alone: what anybody else prints, worker processes too, goes to stderr."""
    stdout = sys.stdout
    kept = take_descriptor(stdout)
    with redirect_stdout(sys.stderr):
        if kept is None:
            yield stdout.buffer
            return
        try:
            with os.fdopen(kept, "wb", closefd=False) as stream:
                yield stream
        finally:
            os.dup2(kept, STDOUT)
            os.close(kept)


def take_descriptor(stdout: TextIO) -> int | None:
    """Another descriptor for what 1 leads to, which then leads to stderr; None where there is nothing to take."""
    try:
        if stdout.fileno() != STDOUT:
            return None
        os.fstat(STDERR)
    except (UnsupportedOperation, OSError):  # it is something in memory, or there is no stderr
        return None
    stdout.flush()
    kept = os.dup(STDOUT)
    os.dup2(STDERR, STDOUT)
    return kept
