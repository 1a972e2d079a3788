"""How commands end: their exit codes, and how mistakes are told."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Generator
from signal import SIGINT
from typing import Final

import typer

from treadle.cli.interrupts import code_of
from treadle.cli.terminal import clean
from treadle.errors import MissingExtra, StoreError, UsageError

FAILED: Final = 1
USAGE: Final = 2


@contextlib.contextmanager
def usage_errors() -> Generator[None]:
    """Say what is wrong with the call, or with the store, without a traceback of ours."""
    try:
        yield
    except (UsageError, MissingExtra, StoreError) as error:
        complain(str(error))
        raise typer.Exit(USAGE) from error
    except KeyboardInterrupt:  # while the file was loaded, or the account printed
        complain("interrupted")
        raise typer.Exit(code_of(SIGINT)) from None


def complain(text: str) -> None:
    """Tell people what is wrong: the text may name anything, and must not steer their terminal."""
    lines = (clean(line) for line in text.split("\n"))
    print("treadle: " + "\n".join(lines), file=sys.stderr, flush=True)
