"""What programs read: one JSON object a line for each input, then one for the whole run."""

from __future__ import annotations

from pathlib import Path
from signal import Signals
from typing import Any, BinaryIO

import msgspec

from treadle.cli.account import ENDINGS, MALFORMED, Account, Record, how_ended, sayable, where_of
from treadle.model.facts import Failure


def told(value: Any) -> str:
    """A value as text, whatever its own `__repr__` does."""
    try:
        return repr(value)
    except Exception as error:  # noqa: BLE001 - a user's own repr may raise anything
        return f"<{type(value).__name__} whose repr failed: {type(error).__name__}>"


ENCODER = msgspec.json.Encoder(enc_hook=told)


def as_json(value: Any) -> msgspec.Raw:
    """A user's value in JSON; what JSON cannot hold as its repr.

    >>> bytes(as_json({"when": 1 + 2j}))
    b'{"when":"(1+2j)"}'
    """
    try:
        return msgspec.Raw(ENCODER.encode(value))
    except Exception:  # noqa: BLE001 - cycles, lone surrogates, whatever a user's type raises
        return msgspec.Raw(msgspec.json.encode(told(value).encode("utf-8", "replace").decode()))


class Writer:
    """Writes each record as soon as those of all that was given before it are written."""

    def __init__(self, stream: BinaryIO, folder: Path, *, quiet: bool) -> None:
        self.stream = stream
        self.folder = folder
        self.quiet = quiet
        self.next = 0
        self.ahead: dict[int, Record] = {}

    def write(self, record: Record) -> int:
        """One line for one input, when its turn comes; says how many records it is done with."""
        self.ahead[record.given.order] = record
        first = self.next
        while self.next in self.ahead:
            due = self.ahead.pop(self.next)
            self.next += 1
            if not self.quiet:
                self._line(record_data(due, self.folder))
        return self.next - first

    def close(self, account: Account) -> None:
        """What is there of what came after a line that was never finished; then how all inputs ended."""
        for order in sorted(self.ahead):
            if not self.quiet:
                self._line(record_data(self.ahead[order], self.folder))
        self._line(summary_data(account))

    def _line(self, data: dict[str, Any]) -> None:
        self.stream.write(ENCODER.encode(data) + b"\n")
        self.stream.flush()


def record_data(record: Record, folder: Path) -> dict[str, Any]:
    """One input as data."""
    given = record.given
    if record.ending == MALFORMED:
        return {"type": "malformed", "line": given.line, "problem": given.problem}
    return {
        "type": "input",
        "input": record.number,
        "line": given.line,
        "ending": record.ending,
        **({"reason": sayable(record.reason)} if record.reason else {}),
        "value": as_json(given.value),
        "results": {name: as_json(value) for name, value in record.results.items()},
        "failures": [failure_data(failure, folder) for failure in record.failures],
    }


def failure_data(failure: Failure, folder: Path) -> dict[str, Any]:
    """One failure as data."""
    return {
        "component": failure.component,
        "scope": failure.scope,
        "error": failure.error.type,
        "text": sayable(failure.error.text),
        "where": where_of(failure.error, folder),
        "attempt": failure.attempt,
        "ending": how_ended(failure),
    }


def summary_data(account: Account) -> dict[str, Any]:
    """The whole run as data."""
    return {
        "type": "summary",
        "workflow": account.workflow_name,
        **({"run": account.run_id, "store": account.store} if account.store else {}),
        "inputs": account.total,
        **({"finished_before": account.before} if account.store else {}),
        "stopped_by": None if account.stopped_by is None else Signals(account.stopped_by).name,
        "endings": {ending: account.endings[ending] for ending in ENDINGS},
        "results": {
            name: {"inputs": output.results, "words": output.words if output.is_telling else {}}
            for name, output in account.outputs.items()
        },
        "components": account.work,
        "effort": account.effort,
        "failures": list(account.failures.values()),
    }
