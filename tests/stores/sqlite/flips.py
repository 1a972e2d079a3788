"""Single bits of a store's file are flipped: what is read is what was written, or an error.

Run it by itself: `python -m tests.stores.sqlite.flips --count 2000 --seed 1`.
"""

from __future__ import annotations

import argparse
import json
import logging
import random
import sys
import tempfile
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

from tests.stores.sqlite.places import accepted, add, clocked, filled
from treadle.errors import StoreError, UnknownRun, UsageError
from treadle.interfaces import Message
from treadle.stores.sqlite import SqliteStore
from treadle.testing.store_upkeep import baseline_at

GIVEN = {"paid": list(range(100))}
CACHED = {"small": b"small", "large": b"large " * 2_000}
SEALED = ("status", "note", "wake_at", "deadline_at", "durability")
"""What of a run's row is nowhere else."""
RUNS = ("whole", "snapshot", "compacted", "large")


def original(path: Path) -> None:
    """A store with a bit of everything."""
    with closing(clocked(path)) as store:
        filled(store, *RUNS, count=25)
        add(store, "large", 25, *[accepted(25 + n, f"{n} large " * 400) for n in range(3)])
        with store.transaction("key", "run key") as step:
            step.keep(GIVEN)
        store.put_cached(CACHED)
        store.put_looks("whole", CACHED)
        for name in ("snapshot", "compacted"):
            store.save_snapshot(name, 0, baseline_at(5))
            store.save_snapshot(name, 0, baseline_at(12))
        store.compact("compacted")
        for run_id in RUNS:
            store.post(Message(id="1", run_id=run_id, kind="cancel", body=b'{"input": 1}'))
            noted = {"status": "running", "note": "why", "wake_at": 7.0, "deadline_at": 8.0}
            add(store, run_id, store.load(run_id).info.position, at=5.0, intents=(b"it",), **noted)
            store.claim("x", 1e9, run_id=run_id)


def picture(store: SqliteStore, run_id: str) -> dict[str, Any]:
    """What can be seen of a run."""
    return {
        "events": store.load(run_id).events,
        "all": store.load_all(run_id).events,
        "messages": [each for each in store.waiting("x") if each.run_id == run_id],
        "row": store.info(run_id),
        "intents": store.load(run_id).intents,
    }


def flip(path: Path, place: int) -> None:
    """Flip one bit."""
    data = bytearray(path.read_bytes())
    data[place // 8] ^= 1 << place % 8
    path.write_bytes(data)


def look(path: Path, wanted: dict[str, dict[str, Any]]) -> Counter[str]:
    """What became of each run. Errors: `AssertionError` where something was read that was never written."""
    seen: Counter[str] = Counter()
    with closing(clocked(path)) as store:
        try:
            findings = store.verify()
            listed = {info.id for info in store.list()}
        except (StoreError, UsageError):
            return Counter(["the file is refused"])
        named = {finding.run_id for finding in findings}
        for run_id in RUNS:
            try:
                found = picture(store, run_id)
            except (StoreError, UnknownRun) as error:
                seen["a run is refused"] += 1
                assert findings, f"{run_id} is refused ({error}), and verify() finds nothing"
                continue
            for part, hint in (("events", "a snapshot"), ("all", "an event")):
                if found[part] == wanted[run_id][part]:
                    continue
                is_older = found[part][-1:] == wanted[run_id][part][-1:] and part == "events"
                assert is_older, f"{run_id}: {hint} that was never written was read"
                seen["a snapshot is passed over"] += 1
                seen["of which it was not found at all"] += run_id not in named
            for mark in found["intents"]:
                assert mark in wanted[run_id]["intents"], "a mark of an attempt was never written"
            if found["messages"] != wanted[run_id]["messages"]:
                assert all(each in wanted[run_id]["messages"] for each in found["messages"]), run_id
                seen["a message is withheld"] += 1
            for name in SEALED:
                what = f"{run_id}: a {name} that was never written was read"
                assert getattr(found["row"], name) == getattr(wanted[run_id]["row"], name), what
            if found["row"] != wanted[run_id]["row"]:
                seen["a run's row differs"] += 1
                seen["of which verify() says nothing"] += not findings
        seen["a step's result is refused"] += is_step_refused(store)
        seen["a cached entry is refused"] += are_cached_refused(store)
        seen["all is well"] += not +seen and listed >= {*RUNS}
        seen["only verify() finds it"] += bool(findings) and set(+seen) <= {"all is well"}
    return seen


def is_step_refused(store: Any) -> bool:
    """Whether what a transactional step gave is found damaged; a row that cannot be found is as if it never was."""
    try:
        with store.transaction("key", "run key") as step:
            assert not step.has_result or step.result == GIVEN, "a step's result was never given"
    except StoreError:
        return True
    return False


def are_cached_refused(store: Any) -> bool:
    """Whether a cached entry is found damaged; one that cannot be found is computed anew."""
    is_refused = False
    for key, body in CACHED.items():
        try:
            assert store.cached(key) in (None, body), "an entry that was never kept was found"
            found = store.looks("whole")
            assert found.items() <= CACHED.items(), "a look that was never noted was found"
        except StoreError:
            is_refused = True
    return is_refused


def flips(count: int, seed: int, place: Path) -> dict[str, int]:
    """Flip bits, each in a copy of its own; what came of it."""
    draw, path = random.Random(seed), place / "original.db"
    original(path)
    with closing(clocked(path)) as store:
        wanted = {run_id: picture(store, run_id) for run_id in RUNS}
    data, copy = path.read_bytes(), place / "copy.db"
    seen: Counter[str] = Counter(bits=count)
    for _ in range(count):
        copy.write_bytes(data)
        bit = draw.randrange(8 * len(data))
        flip(copy, bit)
        try:
            seen.update(look(copy, wanted))
        except AssertionError as error:
            raise AssertionError(f"seed {seed}, bit {bit} of {8 * len(data)}: {error}") from error
        for beside in place.glob("copy.db-*"):
            beside.unlink()
    return dict(seen)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    logging.disable()
    with tempfile.TemporaryDirectory() as made:
        sys.stdout.write(json.dumps(flips(given.count, given.seed, Path(made)), indent=1) + "\n")
