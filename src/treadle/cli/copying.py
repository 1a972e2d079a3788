"""Whole stores that move: a database's runs into a file, and those of a file into an empty store of any kind."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from treadle.cli.places import SQLITE, opened, shown
from treadle.cli.terminal import clean
from treadle.errors import UsageError
from treadle.stores.whole import Copied, copy_runs
from treadle.wiring import make_store

FILE_MARK: Final = b"SQLite format 3\x00"
"""How a SQLite file begins."""


def is_store(path: Path) -> bool:
    """Whether a file is a store, rather than one run."""
    with suppress(OSError), path.open("rb") as file:
        return file.read(len(FILE_MARK)) == FILE_MARK
    return False


def copied_from_file(path: Path, url: str) -> Copied:
    """Put all runs of a file that is a store into another one that has none. Errors: `UsageError`; those of stores."""
    target: Any = make_store(url, is_lenient=True)
    try:
        if target.list(limit=1):
            raise UsageError(
                f"{shown(url)} holds runs already, and a whole store is put into an empty one.",
                hint="one run: treadle export ID --to FILE, and import that.",
            )
        with opened(f"{SQLITE}{path}") as source:
            return copy_runs(source, target)
    finally:
        target.close()


def told_of(copied: Copied) -> list[str]:
    """What could not be read, a line each."""
    return [clean(f"the run {each.run_id!r} is left out: {each.what}") for each in copied.left_out]
