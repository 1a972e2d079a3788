"""`ls`, `show` and `logs`: what a store knows of runs. Nothing is written, and no code of the user's is needed."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from time import sleep, time
from typing import Annotated, Any, Final

import msgspec
import typer
from msgspec import structs
from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.text import Text

from treadle.cli import account as ends
from treadle.cli import options
from treadle.cli.account import Account
from treadle.cli.ending import complain, usage_errors
from treadle.cli.events import awaited, line_of, moment, object_of, place_of
from treadle.cli.feed import Given
from treadle.cli.jsonl import ENCODER, as_json, failure_data
from treadle.cli.places import feed_of, info_of, opened, url_of
from treadle.cli.screen import Screen, make_console, show_account
from treadle.cli.terminal import ago, clean
from treadle.cli.watching import Watcher, read
from treadle.errors import TreadleError, UsageError, nearest
from treadle.interfaces import RunInfo, StoredRun
from treadle.model.definition import Definition
from treadle.model.events import Applied, Event
from treadle.runner.looks import Look, looks_of
from treadle.runner.record import LISTED
from treadle.runner.stimuli import FINAL, IDLE
from treadle.stores.whole import end_of
from treadle.value import Workflow
from treadle.views.graph import graph

POLL_S: Final = 0.2
"""How often a log is looked at that is followed."""


def ls(
    *,
    status: Annotated[
        str | None, typer.Option(metavar="STATUS", help=f"Only these: {', '.join(LISTED)}.")
    ] = None,
    workflow: Annotated[
        str | None, typer.Option(metavar="NAME", help="Only the runs of this workflow.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only so many of the newest.")] = None,
    store: options.StoreUrl = None,
    json: options.AsObjects = False,
) -> None:
    """List the runs of a store, the newest last.

    Under "with" stands the runner that has the run now. One that is running and that nobody has was left behind, by a
    crash or at the end of its process: `treadle resume` goes on with it.

    Exit codes: 0; 2 if there is no such store or status.
    """
    with usage_errors():
        if status is not None and status not in LISTED:
            raise UsageError(f"no run can be {status!r}.{nearest(status, LISTED)}")
        with opened(url_of(store)) as kept:
            infos = kept.list(workflow=workflow, status=status)
    infos = infos[-limit:] if limit is not None else infos
    if json:
        for info in infos:
            print(msgspec.json.encode(info_data(info)).decode())
        return
    console = make_console()
    if not infos:
        console.print("no runs")
        return
    for line in table_of(infos):
        console.print(line, soft_wrap=True)


def table_of(infos: list[RunInfo]) -> list[Text]:
    """Runs in columns. Of notes the first line; nothing else is cut: an id is of use only as a whole."""
    now = time()
    rows = [["id", "workflow", "status", "events", "changed", "with", "note"]]
    for info in infos:
        changed = "" if info.updated_at is None else ago(now - info.updated_at)
        held = holder_of(info, now) or "nobody"
        row = [info.id, info.workflow, info.status, str(info.position), changed, held]
        rows.append([clean(cell) for cell in [*row, (info.note or "").partition("\n")[0]]])
    widths = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(map(set_cell_size, row, widths)).rstrip() for row in rows]
    return [Text(lines[0], style="dim"), *map(Text, lines[1:])]


def holder_of(info: RunInfo, now: float) -> str | None:
    """The runner that has a run now, as far as its lease tells."""
    if info.owner is None or info.lease_until is None or info.lease_until <= now:
        return None
    return info.owner.rpartition(":")[0] or info.owner


def info_data(info: RunInfo) -> dict[str, Any]:
    """A run as data."""
    data = structs.asdict(info)
    return {"type": "run"} | data | {"held_by": holder_of(info, time())}


# ------------------------------------------------------------------------------------------- show


class Shown(msgspec.Struct):
    """What there is to show of a run."""

    info: RunInfo
    events: tuple[Event, ...] = ()
    workflow: Workflow | None = None
    looks: dict[str, Look] = {}
    """What its components found in the cache."""
    trouble: str | None = None
    """Why its log could not be read, or not be folded."""


def show(
    id: options.RunId, *, store: options.StoreUrl = None, json: options.AsObjects = False
) -> None:
    """Show how a run stands: its graph with what was done, its results, failures and waits.

    It may be at work meanwhile. Values of classes that only your program knows are shown as such.

    Exit codes: 0; 2 if there is no such run or store.
    """
    with usage_errors(), opened(url_of(store)) as kept:
        found = look_up(kept, id)
    if json:
        print(ENCODER.encode(shown_data(found)).decode())
        return
    console = make_console()
    show_head(found, console)
    if found.workflow is not None:
        show_workflow(found.workflow, console)
        show_waits(found.workflow, console)
        show_looks(found.looks, console)
    elif found.trouble is None:
        console.print("nothing has happened in it yet")
    if found.trouble is not None:
        complain(found.trouble)


def look_up(store: Any, id: str) -> Shown:
    """A run, as far as it can be read. Errors: `UnknownRun`."""
    found = Shown(info_of(store, id))
    try:
        found.looks = looks_of(store, store.codec, id)
        stored: StoredRun = store.load_all(id)
        found.info, found.events = stored.info, stored.events
        if stored.events:
            empty = Workflow(Definition(stored.info.workflow, "all", [], 0))
            found.workflow = Workflow.from_log(empty, stored.events)
    except TreadleError as error:
        found.trouble = str(error)
    return found


def show_head(found: Shown, console: Console) -> None:
    """What is known of a run without its log."""
    info, now = found.info, time()
    status = info.status if info.note is None else f"{info.status} ({' '.join(info.note.split())})"
    rows = {"run": info.id, "workflow": info.workflow, "status": status}
    rows["events"] = str(info.position)
    for name, at in (("begun", info.created_at), ("changed", info.updated_at)):
        if at is not None:
            rows[name] = f"{moment(at)}, {ago(now - at)}"
    rows["with"] = holder_of(info, now) or "nobody"
    if info.wake_at is not None:
        rows["goes on"] = moment(info.wake_at)
    if info.crashes:
        rows["crashes"] = f"its runners were lost {info.crashes} times in a row"
    for name, text in rows.items():
        console.print(Text.assemble((f"{name:<10}", "dim"), clean(text)), soft_wrap=True)
    console.print()


def show_workflow(workflow: Workflow, console: Console) -> None:
    """The graph as a tree with what each component has done, and the account of all inputs."""
    account = account_of(workflow)
    console.print(Screen(account, workflow, console, quiet=True).tree())
    console.print()
    show_account(account, console)


def account_of(workflow: Workflow) -> Account:
    """What became of the inputs that a workflow remembers."""
    account = Account(workflow, feed_of(workflow), Path.cwd())
    watcher = Watcher(account, workflow)
    watcher.takes_up(workflow)
    for given in account.feed:
        assert given.number is not None
        watcher.accepted(given.number, given)
        if workflow.is_satisfied(input=given.number):
            for record in watcher.finished(workflow, given.number):
                account.enter(record)
    for record in watcher.unfinished(workflow):
        account.enter(record)
    watcher.count_waiting(workflow)
    account.close()
    return account


def show_waits(workflow: Workflow, console: Console) -> None:
    """What the run waits for."""
    waits = workflow.waiting()
    if not waits:
        return
    console.print()
    console.print(Text("waits", style="bold"))
    for wait in waits:
        name = wait["name"] if wait["kind"] == "wait_for" else ""
        line = f"    {wait['name']}, {place_of(wait['scope'])}: "
        line += awaited(name, wait["key"], wait["due_at"])
        console.print(Text(clean(line)), soft_wrap=True)


def show_looks(looks: dict[str, Look], console: Console) -> None:
    """What was given from the cache, and why the latest work was, or was not."""
    if not looks:
        return
    console.print()
    console.print(Text("cache", style="bold"))
    for name, look in looks.items():
        counts = f"{look.hits} from the cache, {look.misses} computed"
        latest = f"{look.work} was {'given' if look.hit else 'computed'}"
        line = f"    {name}: {counts}; {moment(look.at)} {latest}: {look.why}"
        console.print(Text(clean(line)), soft_wrap=True)


def shown_data(found: Shown) -> dict[str, Any]:
    """A run with what came of it, as data."""
    workflow = found.workflow
    data = info_data(found.info)
    data["trouble"] = found.trouble
    data["cache"] = {name: structs.asdict(look) for name, look in found.looks.items()}
    if workflow is not None:
        data["waits"] = [wait | {"value": as_json(wait["value"])} for wait in workflow.waiting()]
        data["components"] = graph(workflow, state=True)["components"]
        data["inputs"] = [
            input_data(workflow, given, entry)
            for given, entry in zip(feed_of(workflow), workflow.inputs(), strict=True)
        ]
    return data


def input_data(workflow: Workflow, given: Given, entry: dict[str, Any]) -> dict[str, Any]:
    """One input with what came of it, as data."""
    number: int = entry["number"]
    ending = None if workflow.is_satisfied(input=number) else ends.UNFINISHED
    record = read(workflow, given, number, ending)
    return {
        "input": number,
        "key": entry["key"],
        "status": entry["status"],
        "ending": record.ending,
        "value": as_json(entry["value"]),
        "results": {name: as_json(value) for name, value in record.results.items()},
        "failures": [failure_data(failure, Path.cwd()) for failure in record.failures],
    }


# ------------------------------------------------------------------------------------------- logs


def logs(
    id: options.RunId,
    *,
    since: Annotated[
        int, typer.Option("--from", metavar="N", min=0, help="Only from this position on.")
    ] = 0,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with what happens from now on.")
    ] = False,
    store: options.StoreUrl = None,
    json: options.AsObjects = False,
) -> None:
    """Print the log of a run: what happened to it, an event a line.

    With --follow, until nothing is left to do and nobody has the run, or it is at its end, or Ctrl-C.

    Exit codes: 0; 2 if there is no such run or store; 130 after Ctrl-C.
    """
    with usage_errors(), opened(url_of(store)) as kept:
        info, position = info_of(kept, id), since
        while True:
            events = kept.since(id, position) if info.position > position else ()
            write_events(events, looks_of(kept, kept.codec, id) if events else {}, is_json=json)
            position = end_of(events, position)
            if not follow or is_over(info):
                break
            sleep(POLL_S)
            info = info_of(kept, id)


def is_over(info: RunInfo) -> bool:
    """Whether nothing more will come by itself."""
    return info.status in FINAL or (info.status == IDLE and holder_of(info, time()) is None)


def write_events(events: Sequence[Event], looks: dict[str, Look], *, is_json: bool) -> None:
    """Print events, one a line."""
    for event in events:
        is_cached = was_given(event, looks)
        if is_json:
            data = object_of(event) | ({"cached": True} if is_cached else {})
            print(ENCODER.encode(data).decode())
        else:
            print(line_of(event) + "  from the cache" * is_cached)
    sys.stdout.flush()


def was_given(event: Event, looks: dict[str, Look]) -> bool:
    """Whether a result came from the cache: nothing was called for it, so that there is no time that this took."""
    if not isinstance(event, Applied) or event.seconds is not None:
        return False
    look = looks.get(event.node.partition("/")[0])
    return look is not None and look.hits > 0
