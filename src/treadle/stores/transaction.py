"""What a transactional step is given: a way to write to the database its run is kept in."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any


class Transaction:
    """Statements in the transaction that also records what the step gave. It is committed when the function returns.

    Keep the function short: other runs' writes may wait for it. It commits nothing itself.
    """

    def __init__(
        self, connection: Any, found: tuple[Any] | None, keep: Callable[[Any], None]
    ) -> None:
        self.raw = connection
        """The driver's own connection, for what needs it. It must not be committed, rolled back or closed."""
        self.has_result = found is not None
        """An earlier execution of this very step committed already."""
        self.result = None if found is None else found[0]
        self.keep = keep

    def __repr__(self) -> str:
        return "<Transaction>"

    def execute(self, statement: str, parameters: Any = ()) -> Any:
        """Execute one statement, in the driver's own way of writing parameters; gives its cursor."""
        return self.raw.execute(statement, parameters)

    def executemany(self, statement: str, rows: Iterable[Any]) -> Any:
        """Execute one statement for each row."""
        cursor = self.raw.cursor()
        cursor.executemany(statement, rows)
        return cursor
