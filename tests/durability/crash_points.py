"""A process is killed before each single statement that a store executes, one process for each.

Run it by itself: `python -m tests.durability.crash_points`.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from time import time
from typing import Any

from tests.durability.places import quick_place
from treadle.codec import Codec
from treadle.interfaces import Append, Message, RunInfo
from treadle.model.events import Applied, InputAccepted
from treadle.stores.sqlite import SqliteStore, connections
from treadle.testing.store_upkeep import baseline_at

LARGE = "large " * 1000


def appended(run_id: str, expected: int | None, *events: Any, **fields: Any) -> Append:
    """An append."""
    return Append(run_id=run_id, expected=expected, events=events, **fields)


def accepted(position: int, value: Any = None) -> InputAccepted:
    """An event."""
    return InputAccepted(position, (position,), value)


def info(run_id: str, **fields: Any) -> RunInfo:
    """A run."""
    return RunInfo(id=run_id, workflow="w", run_key=f"key of {run_id}", **fields)


def letter(id: str) -> Message:
    """A message."""
    return Message(id=id, run_id="a", kind="signal", body=b"body")


OWNED = info("b", epoch=1, owner="x", lease_until=time() + 1000)

SCRIPT: tuple[Callable[[SqliteStore], Any], ...] = (
    lambda store: store.create(info("a")),
    lambda store: store.append([appended("a", 0, accepted(0, LARGE), accepted(1))]),
    lambda store: store.post(letter("1")),
    lambda store: store.claim("x", 1000.0, run_id="a"),
    lambda store: store.append(
        [
            appended("b", 0, accepted(0), create=OWNED, epoch=1, status="running"),
            appended("a", 2, Applied(2, "step", (0,), 1, 0), consumed=("1",), epoch=1),
            appended("a", 9, accepted(9), epoch=1),
            appended("a", None, status="idle", wake_at=5.0, epoch=1),
        ]
    ),
    lambda store: store.post(letter("2")),
    lambda store: store.renew("x", 2000.0, {"a": 1, "b": 1}),
    lambda store: store.save_snapshot("a", 1, baseline_at(2)),
    lambda store: store.append([appended("a", 3, *map(accepted, range(3, 9)), epoch=1)]),
    lambda store: store.save_snapshot("a", 1, baseline_at(6)),
    lambda store: store.compact("a"),
    lambda store: store.append(
        [
            appended("b", 1, accepted(1), epoch=1, is_synced=False),
            appended("a", 9, accepted(9, LARGE), consumed=("2",), epoch=1, is_synced=False),
        ]
    ),
    lambda store: store.release({"a": 1}),
    lambda store: store.claim("y", 1000.0, workflows=["w"], limit=9),
    lambda store: store.append([appended("b", 2, baseline_at(50), accepted(50), epoch=1)]),
    lambda store: store.put_cached({"one": LARGE.encode(), "two": b"2"}),
    lambda store: store.put_looks("b", {"step": b"look", "other": b""}),
    lambda store: store.put_cached({"two": b"two", "three": LARGE.encode()}),
    lambda store: store.delete("b"),
    lambda store: store.trim_cache(most_bytes=0),
    lambda store: store.sweep(unused_for_s=-1000.0),
    lambda store: store.tidy_up(),
    lambda store: store.append([appended("a", None, status="done", epoch=1)]),
)


def act(path: Path, told: int, die_at: int | None) -> int:
    """Play the script, telling after each act how far it came; die before a statement. Counts them."""
    count = 0

    def trace(_: str) -> None:
        nonlocal count
        count += 1
        if count == die_at:
            os.kill(os.getpid(), signal.SIGKILL)

    opens: Any = connections
    plain = opens.connect

    def traced(*given: Any, **options: Any) -> Any:
        connection = plain(*given, **options)
        connection.set_trace_callback(trace)
        return connection

    opens.connect = traced
    try:
        store = SqliteStore(path, Codec())
        for number, do in enumerate(SCRIPT, 1):
            do(store)
            os.write(told, bytes([number]))
        store.close()
    finally:
        opens.connect = plain
    return count


def picture(path: Path) -> dict[str, Any]:
    """All that can be seen of a store. Errors: `AssertionError` if anything in it is not as it was written."""
    store = SqliteStore(path, Codec())
    assert store.verify() == [], store.verify()
    seen: dict[str, Any] = {"messages": {own: store.waiting(own) for own in "xy"}}
    seen["cache"] = {key: store.cached(key) for key in ("one", "two", "three")}
    for each in store.list():
        seen[f"looks of {each.id}"] = store.looks(each.id)
        kept = (each.status, each.position, each.wake_at, each.epoch, each.owner)
        seen[each.id] = (kept, store.load(each.id).events, store.load_all(each.id).events)
    store.close()
    return seen


def scenes(place: Path) -> list[dict[str, Any]]:
    """What is to be seen after each act, where nobody dies."""
    path, seen = place / "calm.db", []
    store = SqliteStore(path, Codec())
    seen.append(picture(path))
    for do in SCRIPT:
        do(store)
        # The lock is the store's own, and goes with it.
        seen.append(picture(path))
    store.close()
    return seen


def one_death(place: Path, die_at: int) -> tuple[Path, int, bool]:
    """A process that dies before a statement: what it left, how far it had told it came, and whether it did die."""
    path = place / f"dead-{die_at}.db"
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            act(path, writing, die_at)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as told:
        came = told.read()
    _, status = os.waitpid(pid, 0)
    assert os.WIFSIGNALED(status) or os.waitstatus_to_exitcode(status) == 0, die_at
    return path, len(came), os.WIFSIGNALED(status)


def enumerate_deaths(place: Path) -> int:
    """One process for each statement; says how many died."""
    wanted = scenes(place)
    die_at = 1
    while True:
        path, came, is_dead = one_death(place, die_at)
        if not is_dead:
            return die_at - 1
        seen = picture(path)
        assert seen in wanted[came : came + 2], (
            f"killed before statement {die_at}, in act {came + 1}: {seen} is neither what was before it "
            f"({wanted[came]}) nor what is after it ({wanted[min(came + 1, len(SCRIPT))]})"
        )
        die_at += 1


if __name__ == "__main__":
    logging.disable()  # the kit's story fails on purpose
    with quick_place() as made:
        sys.stdout.write(f"{enumerate_deaths(Path(made))}\n")
