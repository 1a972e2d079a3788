"""One run of the command line: drive the workflow, for people to watch or for programs to read."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from logging import NullHandler

from msgspec import Struct

from treadle.cli.account import Account
from treadle.cli.driving import Driver
from treadle.cli.feed import Given
from treadle.cli.jsonl import Writer
from treadle.cli.screen import Screen, make_console, show_account, show_endings, unlogged
from treadle.value import Workflow


class How(Struct, frozen=True):
    """How to run: where steps are executed, how many at once, and how much to say."""

    executor: str = "inline"
    max_concurrency: int | None = None
    quiet: bool = False


def run_for_people(account: Account, workflow: Workflow, givens: list[Given], how: How) -> None:
    """Run under a live view; then say what came of it."""
    console = make_console()
    screen = Screen(account, workflow, console, quiet=how.quiet)
    with screen.showing():
        drive(account, workflow, givens, how, screen.look)
    if how.quiet:
        show_endings(account, console)
        return
    if not screen.is_live:
        console.print(screen.tree())
    console.print()
    show_account(account, console)


def run_for_programs(account: Account, workflow: Workflow, givens: list[Given], how: How) -> None:
    """Run, and write what came of each input as it finishes; what steps print goes to stderr."""
    writer = Writer(sys.stdout.buffer, account.folder, quiet=how.quiet)
    account.on_record = writer.write
    with redirect_stdout(sys.stderr), unlogged(NullHandler()):
        drive(account, workflow, givens, how, lambda _: None)
    writer.close(account)


def drive(
    account: Account,
    workflow: Workflow,
    givens: list[Given],
    how: How,
    look: Callable[[Workflow], None],
) -> None:
    """Feed all inputs and close the account, also after an interrupt."""
    driver = Driver(workflow, account, look, how.executor, how.max_concurrency)
    try:
        driver.run(givens)
    except KeyboardInterrupt:
        account.is_interrupted = True
    account.close(driver.workflow)
