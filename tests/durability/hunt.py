"""The kill loop: processes are killed at random moments, and what they leave is held against their promises.

Run it by itself for as long as you like: `python -m tests.durability.hunt --cycles 2000 --seed 1`; with `--postgres`
the runs are in a database whose server lives on.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import random
import select
import signal
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import Any

import treadle as td
from tests.durability.places import end_leases, looked_into, quick_place
from tests.durability.prey import RUNS, TEMPLATES, fork, is_cut, order
from tests.durability.shop import edited_shop, shop
from tests.stores.postgres.server import NoServer, Server, new_server, remove
from treadle.interfaces import StoredRun
from treadle.model.events import (
    Applied,
    Baseline,
    Event,
    Expanded,
    Failed,
    InputAccepted,
    Signalled,
    Skipped,
)
from treadle.wiring import make_store

ENDS = (Applied, Expanded, Failed, Skipped)


def hunt(
    cycles: int, seed: int, place: Path, *, per_round: int = 12, server: Server | None = None
) -> dict[str, Any]:
    """Kill so many times; every few kills the runs are let finish, examined, and begun anew. Gives what was seen.

    The runs are in a file of each round, or on a server in a schema of each.
    """
    draw = random.Random(seed)
    seen: Counter[str] = Counter()
    round_number = 0
    while seen["kills"] < cycles:
        round_number += 1
        folder = place / f"round-{round_number}"
        folder.mkdir()
        url = f"sqlite:///{folder / 'shop.db'}"
        if server is not None:
            url = server.in_schema(f"round_{round_number}")
        total = draw.randint(5, 30)
        logs: dict[str, Sequence[Event]] = {}
        for _ in range(min(per_round, cycles - seen["kills"])):
            is_killed = one_life(folder, url, draw, total)
            seen["kills" if is_killed else "finished lives"] += 1
            logs = examine_kill(folder, url, logs)
            if not is_killed:
                break
        finish(folder, url, draw, total)
        examine_kill(folder, url, logs)
        seen.update(examine(folder, url, total))
        seen["rounds"] += 1
    return dict(seen)


def examine_kill(
    place: Path, url: str, before: Mapping[str, Sequence[Event]]
) -> dict[str, Sequence[Event]]:
    """Right after a kill: what was stored before is there, and so is what was acknowledged, unless it is relaxed."""
    told: dict[str, set[str]] = {run_id: set() for run_id in RUNS}
    path = place / "acknowledged"
    for line in path.read_text().splitlines() if path.exists() else ():
        run_id, what = line.split(" ")
        told[run_id].add(what)
    store: Any = make_store(url)
    logs: dict[str, Sequence[Event]] = {}
    try:
        for run_id, durability in RUNS.items():
            events = () if store.info(run_id) is None else store.load_all(run_id).events
            was = before.get(run_id, ())
            if run_id != "short":
                assert tuple(events[: len(was)]) == tuple(was), f"{place} {run_id} was changed"
            logs[run_id] = events
            if durability != "relaxed":
                lost = told[run_id] - {*facts_of(run_id, events)}
                assert not lost, f"{place} {run_id}: {sorted(lost)} were acknowledged and are lost"
    finally:
        store.close()
    return logs


def folded(run_id: str, events: Sequence[Event]) -> td.Workflow:
    """The workflow that a log tells of."""
    if run_id in TEMPLATES:
        return td.Workflow.from_log(TEMPLATES[run_id](), events)
    return td.Workflow.from_log(shop(), events, earlier=[edited_shop()])


def facts_of(run_id: str, events: Sequence[Event]) -> Iterator[str]:
    """What a log tells, in the words of acknowledgements."""
    if not events:
        return
    workflow = folded(run_id, events)
    given = workflow.inputs()
    if given:  # what was forgotten was there
        yield from (f"order-{number}" for number in range(given[0]["number"]))
    for each in given:
        number = each["number"]
        yield each["key"]
        # Who cancels an input that is finished already is told that all is well, and the log says nothing.
        if workflow.cancelled_because(number) or "ship" in workflow.results(input=number):
            yield f"cancel-{number}"
    yield from (f"signal-{event.key}" for event in events if isinstance(event, Signalled))
    if "gift" in workflow:
        yield "gift"


def one_life(place: Path, url: str, draw: random.Random, total: int) -> bool:
    """Let a process live for a moment; whether it was killed before it came to its end."""
    reading, writing = os.pipe()
    pid = fork(place, url, draw.randrange(1 << 30), total, writing)
    os.close(writing)
    os.read(reading, 1)
    select.select(
        [reading], [], [], draw.expovariate(1 / draw.choice([0.01, 0.03, 0.1]))
    )  # ends early if the child does
    os.close(reading)
    os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    end_leases(url)
    return os.WIFSIGNALED(status)


def finish(place: Path, url: str, draw: random.Random, total: int) -> None:
    """Let a process come to its end."""
    reading, writing = os.pipe()
    pid = fork(place, url, draw.randrange(1 << 30), total, writing)
    os.close(writing)
    os.close(reading)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0, f"{place}: the last life did not finish"


def examine(place: Path, url: str, total: int) -> dict[str, int]:
    """Hold what is stored against the promises. Errors: `AssertionError` naming the folder."""
    ledger = [json.loads(line) for line in place.joinpath("ledger").read_text().splitlines()]
    ran = Counter(entry["key"] for entry in ledger)
    store: Any = make_store(url)
    seen: Counter[str] = Counter(executions=len(ledger))
    try:
        assert store.verify() == [], f"{place}: {store.verify()}"
        for run_id in RUNS:
            stored = store.load_all(run_id)
            if run_id == "short":
                seen.update(examine_short(stored.events, total))
            else:
                seen.update(examine_run(place, stored, ran, total))
    finally:
        store.close()
    check_epochs(url)
    seen["executed again"] = sum(count - 1 for count in ran.values())
    return seen


def examine_run(place: Path, stored: StoredRun, ran: Counter[str], total: int) -> dict[str, int]:
    """One run: nothing acknowledged is lost, nothing is applied twice, and the results are those of a calm day."""
    where, events = f"{place} {stored.info.id}", stored.events
    keys = [event.key or "" for event in events if isinstance(event, InputAccepted)]
    assert sorted(keys) == sorted(f"order-{number}" for number in range(total)), where
    ends = Counter(
        (event.node, event.scope, event.generation) for event in events if isinstance(event, ENDS)
    )
    assert max(ends.values()) == 1, f"{where}: {ends.most_common(1)}"
    workflow = folded(stored.info.id, events)
    assert workflow.is_satisfied(), where
    if stored.info.id == "patient":
        for number in range(total):
            assert workflow.results(input=number)["pay"] == f"yes {number}", f"{where} {number}"
        check_ran(stored, ran, where)
        return {"events": len(events), "signals": total}
    calm, cut = shop(), 0
    for given in workflow.inputs():
        calm = calm.react_until_satisfied(given["value"])
    for number in range(total):
        if workflow.cancelled_because(number) is not None:
            may_be = stored.info.id == "cut" and is_cut(number)
            assert may_be, f"{where} {number} was cancelled"
            cut += 1
            continue
        found, expected = workflow.results(input=number), calm.results(input=number)
        found.pop("gift", None)  # it came in the middle, and so not for all
        # The state after each input depends on which came back first.
        assert found | {"count": None} == expected | {"count": None}, f"{where} {number}"
    if not cut:
        counted = workflow.results("count", input=td.ALL)
        assert counted == calm.results("count", input=td.ALL), where
    check_ran(stored, ran, where)
    return {"events": len(events), "inputs": len(keys), "cancelled": cut}


def check_ran(stored: StoredRun, ran: Counter[str], where: str) -> None:
    """Whatever was applied was run by somebody."""
    for event in stored.events:
        if isinstance(event, Applied) and event.node in {"check", "pack", "ship", "gift", "pay"}:
            key = td.Runnable(
                component=event.node,
                node=event.node,
                scope=event.scope,
                call=None,
                args=(),
                run_key=stored.info.run_key,
            ).idempotency_key
            assert ran[key] >= 1, f"{where}: {event} was applied, and nobody ran it"


def examine_short(events: Sequence[Event], total: int) -> dict[str, int]:
    """The run that forgets: what it remembers is right, and it has counted all."""
    workflow = folded("short", events)
    assert workflow.is_satisfied()
    given = workflow.inputs()
    assert [each["value"] for each in given] == [order(each["number"]) for each in given]
    assert given[-1]["number"] == total - 1, f"{given[-1]} is the last of {total}"
    for each in given:
        found = workflow.results(input=each["number"])
        calm = shop().react_until_satisfied(each["value"]).results()
        assert found | {"count": None} == calm | {"count": None}, each
    assert workflow.results()["count"] == sum(range(total))
    return {"baselines": isinstance(events[0], Baseline)}


def check_epochs(url: str) -> None:
    """Nobody wrote under an older claim after somebody had written under a newer."""
    with looked_into(url) as connection:
        rows = connection.execute("SELECT run, epoch FROM event ORDER BY run, position").fetchall()
    for (run, epoch), (next_run, next_epoch) in pairwise(rows):
        assert run != next_run or epoch <= next_epoch, f"{url}: epochs of {run} go back"


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--cycles", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--postgres", action="store_true")
    given = parser.parse_args()
    logging.disable()  # items fail on purpose
    with quick_place() as made, ExitStack() as stack:
        server = None
        if given.postgres:
            try:
                server = new_server()
            except NoServer as error:
                sys.exit(f"no PostgreSQL can be started here: {error}")
            stack.callback(remove, server)
        seen = hunt(given.cycles, given.seed, Path(made), server=server)
    sys.stdout.write(json.dumps(seen) + "\n")
