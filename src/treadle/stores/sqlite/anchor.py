"""The anchor: a file beside the database that says how far it had come, so that an older copy in its place is noticed.

The database counts its turns: one begins with the first that a process writes while it runs the file, when it ends,
after a backup, and after so many transactions. A turn is stored in the database first and in the anchor then, so that
the anchor is never ahead of a database that was left where it is, whatever moment the power is cut at.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

from treadle.errors import Corrupt
from treadle.stores.sqlite.file import logger

TURN_EVERY: Final = 1_000
"""So many transactions after the last one, a new turn begins."""


class Turn(NamedTuple):
    """Which store, and how often it had a new turn."""

    store: str
    number: int


class Anchor:
    """What was last said of the store at this place. `is_strict`: any other there is refused, and not only told of."""

    def __init__(self, path: Path, *, is_strict: bool) -> None:
        self._path = path.with_name(path.name + "-anchor")
        self._is_strict = is_strict

    def read(self) -> Turn | None:
        """What it says; None where it is not there, or says nothing that can be read."""
        with suppress(OSError, ValueError):
            store, number = self._path.read_text(encoding="ascii").split()
            return Turn(store, int(number))
        return None

    def note(self, turn: Turn) -> None:
        """Say how far the database has come. Where that cannot be written, an older copy might not be noticed."""
        made = self._path.with_name(self._path.name + "-new")
        try:
            with made.open("w", encoding="ascii") as file:
                file.write(f"{turn.store} {turn.number}\n")
                file.flush()
                os.fsync(file.fileno())
            made.replace(self._path)
        except OSError as error:
            logger.warning("%s was not written: %s", self._path, error)
            with suppress(OSError):
                made.unlink(missing_ok=True)

    def check(self, connection: sqlite3.Connection) -> None:
        """Tell of a database that is not the one that was run here last. Errors: `Corrupt`, where that is refused."""
        found = self.compared(self.read(), connection)
        if found is None:
            return
        if self._is_strict:
            raise Corrupt(found, hint=f"put the right file back, or delete {self._path} if it is.")
        logger.warning("%s If that was meant, all is well.", found)

    def compared(self, kept: Turn | None, connection: sqlite3.Connection) -> str | None:
        """What is not as it was said. Who reads on while somebody writes reads the anchor first."""
        now = turn_of(connection)
        file = self._path.name.removesuffix("-anchor")
        if kept is None:
            return None
        if kept.store != now.store:
            return f"{file} is another store than the one that was run here last."
        if kept.number > now.number:
            return (
                f"{file} is older than the one that was run here last (turn {now.number}, not {kept.number}): "
                "what came after is lost."
            )
        return None

    def begin_turn(self, connection: sqlite3.Connection) -> Turn:
        """Count a new turn, within a transaction, beyond all that were ever noted."""
        kept, now = self.read(), turn_of(connection)
        number = 1 + max(now.number, 0 if kept is None else kept.number)
        connection.execute(
            "INSERT INTO meta VALUES ('turn', ?) ON CONFLICT(key) DO UPDATE SET value = excluded.value",
            (str(number),),
        )
        return Turn(now.store, number)


def turn_of(connection: sqlite3.Connection) -> Turn:
    """How far a database has come."""
    store, number = connection.execute(
        "SELECT (SELECT value FROM meta WHERE key = 'store'), "
        "(SELECT CAST(value AS INTEGER) FROM meta WHERE key = 'turn')"
    ).fetchone()
    return Turn(str(store), number or 0)
