"""Very much to do at once: runs that all are due, and messages that all are for one run; written quickly."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import treadle as td
from tests.stores.sqlite.places import below
from treadle.interfaces import Append, Message, RunInfo
from treadle.model.events import Applied
from treadle.stores.sealed import sealed_message as sealed

PATIENCE_S = 100.0
BATCH = 1000


def doubled(number: int) -> int:
    """A step."""
    return number * 2


def flow() -> td.Workflow:
    """One step."""
    return td.workflow("crowd").add(td.step(doubled, name="step"))


def leave_due(opened: Callable[[], Any], count: int) -> list[str]:
    """Runs that took an input and then lost their runner; their ids, most overdue first, which were made last."""
    made = flow()
    with td.Runner(store=opened()) as runner:
        runner.start(made, "first")
        runner.run("first", 4).result(PATIENCE_S)
    store = opened()
    kept = store.load("first")
    end = next(place for place, event in enumerate(kept.events) if isinstance(event, Applied))
    ids = [f"due-{number}" for number in range(count)]
    for begin in range(0, count, BATCH):
        batch = [
            Append(
                run_id=id,
                expected=0,
                events=kept.events[:end],
                status="running",
                wake_at=float(count - begin - place),
                create=due_like(kept.info, id),
                is_synced=False,
            )
            for place, id in enumerate(ids[begin : begin + BATCH])
        ]
        assert store.append(batch) == [None] * len(batch)
    store.close()
    return ids[::-1]


def due_like(info: RunInfo, id: str) -> RunInfo:
    """Another run of the same."""
    return RunInfo(
        id=id,
        workflow=info.workflow,
        run_key=info.run_key,
        fingerprint=info.fingerprint,
        created_at=info.created_at,
    )


def until(holds: Callable[[], object]) -> None:
    """Wait for something that comes by itself."""
    clock, never = itertools.count(), threading.Event()
    while not holds():
        assert next(clock) < PATIENCE_S / 0.01, "it did not come"
        never.wait(0.01)


class Watched:
    """Says of a store what was taken of it at a time."""

    def __init__(self, store: Any) -> None:
        self.bites: list[Sequence[RunInfo]] = []
        self.read: list[Sequence[Message]] = []
        self._claim, self._waiting = store.claim, store.waiting
        store.claim, store.waiting = self.claim, self.waiting

    def claim(self, *given: Any, **named: Any) -> Sequence[RunInfo]:
        """Note a bite of runs."""
        found: Sequence[RunInfo] = self._claim(*given, **named)
        if found and "workflows" in named:
            self.bites.append(found)
        return found

    def waiting(self, *given: Any, **named: Any) -> Sequence[Message]:
        """Note a bite of messages."""
        found: Sequence[Message] = self._waiting(*given, **named)
        if found:
            self.read.append(found)
        return found


def flood(path: Path, run_id: str, messages: Sequence[Message]) -> None:
    """Leave messages for a run, below the store and its limit."""
    with below(path) as connection:
        (pk,) = connection.execute("SELECT pk FROM run WHERE id = ?", (run_id,)).fetchone()
        rows = [(pk, each.id, each.kind, sealed(each), each.at) for each in messages]
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(
            "INSERT INTO message(run, id, kind, body, at) VALUES (?, ?, ?, ?, ?)", rows
        )
        connection.execute("COMMIT")


def left(path: Path, run_id: str) -> int:
    """How many messages wait for a run."""
    with below(path) as connection, closing(connection.cursor()) as cursor:
        found = cursor.execute(
            "SELECT count(*) FROM message JOIN run ON run.pk = message.run WHERE run.id = ? AND body IS NOT NULL",
            (run_id,),
        ).fetchone()
    return int(found[0])
