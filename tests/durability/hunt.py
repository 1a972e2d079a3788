"""The kill loop: processes are killed at random moments, and what they leave is held against their promises.

Run it by itself for as long as you like: `python -m tests.durability.hunt --cycles 2000 --seed 1`.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import select
import signal
import sqlite3
import sys
import tempfile
from collections import Counter
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Any

import treadle as td
from tests.durability.prey import RUNS, fork
from tests.durability.shop import shop
from treadle.interfaces import StoredRun
from treadle.model.events import Applied, Expanded, Failed, InputAccepted, Skipped
from treadle.wiring import make_store

ENDS = (Applied, Expanded, Failed, Skipped)


def hunt(cycles: int, seed: int, place: Path, *, per_round: int = 12) -> dict[str, Any]:
    """Kill so many times; every few kills the runs are let finish, examined, and begun anew. Gives what was seen."""
    draw = random.Random(seed)
    seen: Counter[str] = Counter()
    round_number = 0
    while seen["kills"] < cycles:
        round_number += 1
        folder = place / f"round-{round_number}"
        folder.mkdir()
        total = draw.randint(5, 30)
        for _ in range(min(per_round, cycles - seen["kills"])):
            is_killed = one_life(folder, draw, total)
            seen["kills" if is_killed else "finished lives"] += 1
            if not is_killed:
                break
        finish(folder, draw, total)
        seen.update(examine(folder, total))
        seen["rounds"] += 1
    return dict(seen)


def one_life(place: Path, draw: random.Random, total: int) -> bool:
    """Let a process live for a moment; whether it was killed before it came to its end."""
    reading, writing = os.pipe()
    pid = fork(place, draw.randrange(1 << 30), total, writing)
    os.close(writing)
    os.read(reading, 1)
    select.select([reading], [], [], draw.expovariate(1 / 0.03))  # ends early if the child does
    os.close(reading)
    os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    return os.WIFSIGNALED(status)


def finish(place: Path, draw: random.Random, total: int) -> None:
    """Let a process come to its end."""
    reading, writing = os.pipe()
    pid = fork(place, draw.randrange(1 << 30), total, writing)
    os.close(writing)
    os.close(reading)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0, f"{place}: the last life did not finish"


def examine(place: Path, total: int) -> dict[str, int]:
    """Hold what is stored against the promises. Errors: `AssertionError` naming the folder."""
    acknowledged = Counter(place.joinpath("acknowledged").read_text().splitlines())
    ledger = [json.loads(line) for line in place.joinpath("ledger").read_text().splitlines()]
    ran = Counter(entry["key"] for entry in ledger)
    store: Any = make_store(f"sqlite:///{place / 'shop.db'}")
    seen: Counter[str] = Counter(executions=len(ledger))
    try:
        assert store.verify() == [], f"{place}: {store.verify()}"
        for run_id in RUNS:
            seen.update(examine_run(place, store.load_all(run_id), acknowledged, ran, total))
    finally:
        store.close()
    check_epochs(place)
    seen["executed again"] = sum(count - 1 for count in ran.values())
    return seen


def examine_run(
    place: Path, stored: StoredRun, acknowledged: Counter[str], ran: Counter[str], total: int
) -> dict[str, int]:
    """One run: nothing acknowledged is lost, nothing is applied twice, and the results are those of a calm day."""
    where, events = f"{place} {stored.info.id}", stored.events
    keys = [event.key or "" for event in events if isinstance(event, InputAccepted)]
    assert sorted(keys) == sorted(f"order-{number}" for number in range(total)), where
    assert {f"{stored.info.id} {key}" for key in keys} >= {
        line for line in acknowledged if line.startswith(f"{stored.info.id} ")
    }, where
    ends = Counter(
        (event.node, event.scope, event.generation) for event in events if isinstance(event, ENDS)
    )
    assert max(ends.values()) == 1, f"{where}: {ends.most_common(1)}"
    workflow = td.Workflow.from_log(shop(), events)
    assert workflow.is_satisfied(), where
    calm = shop()
    for given in workflow.inputs():
        calm = calm.react_until_satisfied(given["value"])
    for number in range(total):  # the state after each input depends on which came back first
        found, expected = workflow.results(input=number), calm.results(input=number)
        assert found | {"count": None} == expected | {"count": None}, f"{where} {number}"
    assert workflow.results("count", input=td.ALL) == calm.results("count", input=td.ALL), where
    for event in events:
        if isinstance(event, Applied) and event.node in {"check", "pack", "ship"}:
            key = td.Runnable(
                component=event.node,
                node=event.node,
                scope=event.scope,
                call=None,
                args=(),
                run_key=stored.info.run_key,
            ).idempotency_key
            assert ran[key] >= 1, f"{where}: {event} was applied, and nobody ran it"
    return {"events": len(events), "inputs": len(keys)}


def check_epochs(place: Path) -> None:
    """Nobody wrote under an older claim after somebody had written under a newer."""
    with closing(sqlite3.connect(place / "shop.db")) as connection:
        rows = connection.execute("SELECT run, epoch FROM event ORDER BY run, position").fetchall()
    for (run, epoch), (next_run, next_epoch) in pairwise(rows):
        assert run != next_run or epoch <= next_epoch, f"{place}: epochs of {run} go back"


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--cycles", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        sys.stdout.write(json.dumps(hunt(given.cycles, given.seed, Path(made))) + "\n")
