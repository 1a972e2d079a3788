"""`verify`, `export`, `import`, `gc` and `backup`: looking after a store, and moving runs between stores."""

from __future__ import annotations

import re
from pathlib import Path
from time import time
from typing import Annotated, Any, Final, NoReturn

import msgspec
import typer
from msgspec import structs

from treadle.cli import options
from treadle.cli.copying import copied_from_file, is_store, told_of
from treadle.cli.ending import FAILED, complain, usage_errors
from treadle.cli.history import holder_of
from treadle.cli.places import info_of, opened, shown, url_of
from treadle.cli.terminal import clean
from treadle.errors import UsageError
from treadle.interfaces import RunInfo, Trimmed
from treadle.runner.registry import check_id
from treadle.runner.retention import Retention
from treadle.stores.portable import export_run, import_run
from treadle.stores.whole import Copied

UNITS: Final = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)([smhd])")
SIZES: Final = {"B": 1, "kB": 1_000, "MB": 1_000_000, "GB": 1_000_000_000}
SIZE: Final = re.compile(r"(\d+(?:\.\d+)?)(B|kB|MB|GB)")

LOST: Final = (
    "--compact loses what finished inputs came to: results, failures and logs from before the newest snapshot of each "
    "run. Runs go on as they would have. Nothing was done."
)


def verify(
    id: options.SomeRunId = None,
    *,
    store: options.StoreUrl = None,
    json: options.AsObjects = False,
) -> None:
    """Read a run again, or the whole store, and say what is not as it was written.

    Each event carries a hash over itself and all before it, so damage, loss and reordering are seen.

    Exit codes: 0: all is as it was written; 1: something is not; 2: there is no such run or store.
    """
    with usage_errors(), opened(url_of(store)) as kept:
        runs = [info_of(kept, id)] if id is not None else kept.list()
        findings = kept.verify(id)
    for finding in findings:
        if json:
            print(msgspec.json.encode({"type": "finding"} | structs.asdict(finding)).decode())
        else:
            print(clean(finding.what))
    events = sum(info.position for info in runs)
    if json:
        summary = {"type": "summary", "runs": len(runs), "findings": len(findings)}
        print(msgspec.json.encode(summary | {"events": events}).decode())
    elif findings:
        print(f"{len(findings)} findings in {counted(len(runs), 'run')}")
    else:
        print(f"{counted(len(runs), 'run')}, {counted(events, 'event')}: all is as it was written")
    raise typer.Exit(FAILED if findings else 0)


def export(
    id: options.RunId,
    *,
    to: Annotated[
        str, typer.Option("--to", metavar="FILE", help="The file; it must not be there.")
    ],
    store: options.StoreUrl = None,
    json: options.AsObjects = False,
) -> None:
    """Write a run with all of its history into a file, for `treadle import`, also into another store.

    The run may be at work meanwhile: the file holds it as it was at one moment.

    Exit codes: 0; 2 if there is no such run or store, or the file is there already.
    """
    with usage_errors():
        path = Path(to)
        with opened(url_of(store)) as kept:
            info = info_of(kept, id)
            data = export_run(kept, kept.codec, id)
        write_new(path, data)
    say({"run": id, "file": to, "bytes": len(data)}, json, f"{id} is in {to}: {len(data)} bytes")
    if holder_of(info, time()) is not None and not json:
        print("it is at work here: let only one of the two go on")


def import_(
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="What `treadle export` or `backup` wrote.")
    ],
    *,
    id: Annotated[str | None, typer.Option("--id", help="Another id than the run had.")] = None,
    store: options.StoreUrl = None,
    json: options.AsObjects = False,
) -> None:
    """Put an exported run into a store, as it stood where it came from; or all runs of a backup, into an empty one.

    A backup may be of another kind than the store: so runs move from SQLite to PostgreSQL, and back.
    Keys for idempotent work stay the same, so let only one of the two go on; `treadle fork` makes a run of its own.

    Exit codes: 0; 1 if a run of a backup cannot be read; 2 if there is no such file or store, or the runs are there.
    """
    with usage_errors():
        if is_store(Path(file)):
            if id is not None:
                raise UsageError(f"--id is for one run, and {file!r} is a whole store.")
            copied = copied_from_file(Path(file), url_of(store))
            end_copying(copied, json, file, f"are in {shown(url_of(store))}")
        try:
            data = Path(file).read_bytes()
        except OSError as error:
            raise UsageError(f"{file!r} cannot be read: {error.strerror}.") from error
        if id is not None:
            check_id(id)
        with opened(url_of(store), to_write=True, may_be_new=True) as kept:
            info = import_run(kept, kept.codec, data, id)
    told = f"{info.id} is in {shown(url_of(store))}: {info.status}, {info.position} events"
    say({"run": info.id, "events": info.position}, json, told)


def gc(
    *,
    finished_for: Annotated[
        str | None,
        typer.Option(
            metavar="DURATION",
            help="Forget runs that were idle or cancelled for so long, as 30d, 12h, 45m or 90s.",
        ),
    ] = None,
    failed_for: Annotated[
        str | None,
        typer.Option(
            metavar="DURATION", help="Forget runs that were stopped or parked for so long."
        ),
    ] = None,
    most: Annotated[
        int | None,
        typer.Option(min=0, help="Keep only so many idle and cancelled runs of each workflow."),
    ] = None,
    workflow: Annotated[
        str | None, typer.Option(metavar="NAME", help="Forget only runs of this workflow.")
    ] = None,
    compact: Annotated[
        bool,
        typer.Option(
            "--compact",
            help="Let go of events before snapshots, and so of what finished inputs came to: needs --yes.",
        ),
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", help="Results of finished inputs may be lost with --compact.")
    ] = False,
    unused_for: Annotated[
        str, typer.Option(metavar="DURATION", help="Let go of large values unused for so long.")
    ] = "1h",
    apart: Annotated[
        bool, typer.Option("--apart", help="Also where ?values= says, if no other store uses it.")
    ] = False,
    cache_unused_for: Annotated[
        str | None,
        typer.Option(metavar="DURATION", help="Let go of cached results unused for so long."),
    ] = None,
    cache_most: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE",
            help="Let go of the longest unused cached results until so much is left, as 500MB or 2GB.",
        ),
    ] = None,
    store: options.StoreUrl = None,
    json: options.AsObjects = False,
) -> None:
    """Make room in a store: large values that no run refers to, and what the options name.

    No other process may run the workflows of the store meanwhile. Make a backup before: what is let go of is gone.
    With --compact that are also the results and failures of inputs that are finished; a run goes on as it would have.

    Exit codes: 0; 2 if there is no such store, or another process runs its workflows, or --yes is needed and not given.
    """
    with usage_errors():
        unused_s = seconds_in(unused_for)
        cache_s = None if cache_unused_for is None else seconds_in(cache_unused_for)
        cache_bytes = None if cache_most is None else bytes_in(cache_most)
        check_agreed(is_compacted=compact, is_agreed=yes)
        with opened(url_of(store), to_write=True) as kept:
            gone = forgotten(kept.list(), workflow, finished_for, failed_for, most)
            for info in gone:
                kept.delete(info.id)
            events = sum(kept.compact(info.id) for info in kept.list()) if compact else 0
            values = kept.sweep(unused_for_s=unused_s) + (swept(kept, unused_s) if apart else 0)
            cache = kept.trim_cache(unused_for_s=cache_s, most_bytes=cache_bytes)
            if hasattr(kept, "tidy_up"):
                kept.tidy_up()
    done = {"runs": len(gone), "events": events, "values": values}
    tell_gone(done, cache, json, is_cache_told=cache_s is not None or cache_bytes is not None)


def swept(kept: Any, unused_for_s: float) -> int:
    """Let go of large values that lie elsewhere; says how many. Errors: `UsageError` where none do."""
    sweep = getattr(kept.codec, "sweep", None)
    if sweep is None:
        raise UsageError(
            "--apart is for values that lie elsewhere, and --store does not say where.",
            hint="--store 'sqlite:///orders.db?values=PLACE'",
        )
    gone: int = sweep(kept.blobs(), unused_for_s=unused_for_s)
    return gone


def check_agreed(*, is_compacted: bool, is_agreed: bool) -> None:
    """Errors: `UsageError` where something would be lost that nobody was told of."""
    if is_compacted and not is_agreed:
        raise UsageError(
            LOST, hint="`treadle backup FILE` first, or export the runs; then --compact --yes."
        )


def tell_gone(done: dict[str, int], cache: Trimmed, json: bool, *, is_cache_told: bool) -> None:
    """Say what was let go of, and what stays in the cache."""
    parts = [
        counted(done["runs"], "run"),
        counted(done["events"], "event"),
        counted(done["values"], "large value"),
    ]
    if cache.entries or is_cache_told:
        cached = counted(cache.entries, "cached entry", "cached entries")
        parts.append(f"{cached} ({sized(cache.bytes)})")
    text = f"let go of {', '.join(parts)}"
    if cache.entries_left:
        text += f"; {cache.entries_left} stay in the cache ({sized(cache.bytes_left)})"
    left = {"entries": cache.entries_left, "bytes": cache.bytes_left}
    done |= {"cached": cache.entries, "cached_bytes": cache.bytes}
    say({"forgotten": done, "cache": left}, json, text)


def forgotten(
    infos: list[RunInfo],
    workflow: str | None,
    finished_for: str | None,
    failed_for: str | None,
    most: int | None,
) -> list[RunInfo]:
    """The runs that the options name, of each workflow by itself; none that somebody has now."""
    if (finished_for, failed_for, most) == (None, None, None):
        return []
    rule = Retention(
        finished_for_s=None if finished_for is None else seconds_in(finished_for),
        failed_for_s=None if failed_for is None else seconds_in(failed_for),
        most=most,
    )
    now = time()
    by_workflow: dict[str, list[RunInfo]] = {}
    for info in infos:
        if workflow is None or info.workflow == workflow:
            by_workflow.setdefault(info.workflow, []).append(info)
    due = [info for group in by_workflow.values() for info in rule.due(group, now)]
    return [info for info in due if holder_of(info, now) is None]


def backup(
    file: Annotated[str, typer.Argument(metavar="FILE", help="The copy; it must not be there.")],
    *,
    store: options.StoreUrl = None,
    json: options.AsObjects = False,
) -> None:
    """Copy a store as it is at one moment, also while its runs are at work.

    The copy is a SQLite store, whatever the store is: `ls`, `show` and `verify` read it, and `import` puts it into an
    empty store of either kind. Of PostgreSQL the cache is left out.

    Exit codes: 0; 1 if a run cannot be read, and so is left out; 2 if there is no such store, or the file is there
    already.
    """
    with usage_errors():
        url = url_of(store)
        if not Path(file).absolute().parent.is_dir():
            raise UsageError(f"the folder of {file!r} is not there.", hint="make it first.")
        with opened(url) as kept:
            copied = kept.backup(file)
        if copied is not None:  # run by run, of what is no file
            end_copying(copied, json, file, f"of {shown(url)} are copied to {file}")
    size = Path(file).stat().st_size
    say({"file": file, "bytes": size}, json, f"{shown(url)} is copied to {file}: {size} bytes")


def end_copying(copied: Copied, is_json: bool, file: str, where: str) -> NoReturn:
    """Say what became of the runs of a whole store, and end with the code that tells whether all could be read."""
    for line in told_of(copied):
        complain(line)
    done = {"file": file, "runs": copied.runs, "events": copied.events}
    text = f"{counted(copied.runs, 'run')}, {counted(copied.events, 'event')} {where}"
    say(done | {"left_out": [each.run_id for each in copied.left_out]}, is_json, text)
    raise typer.Exit(FAILED if copied.left_out else 0)


def seconds_in(text: str) -> float:
    """A duration in seconds.

    >>> seconds_in("90s"), seconds_in("2h"), seconds_in("1.5d")
    (90.0, 7200.0, 129600.0)
    """
    found = DURATION.fullmatch(text)
    if found is None:
        raise UsageError(f"{text!r} is no duration.", hint="one such as 90s, 45m, 12h or 30d.")
    return float(found[1]) * UNITS[found[2]]


def bytes_in(text: str) -> int:
    """A size in bytes.

    >>> bytes_in("500MB"), bytes_in("1.5kB")
    (500000000, 1500)
    """
    found = SIZE.fullmatch(text)
    if found is None:
        raise UsageError(f"{text!r} is no size.", hint="one such as 800kB, 500MB or 2GB.")
    return int(float(found[1]) * SIZES[found[2]])


def sized(count: int) -> str:
    """So many bytes, for people.

    >>> sized(17), sized(1_234_567)
    ('17 B', '1.2 MB')
    """
    for unit, length in reversed(SIZES.items()):
        if count >= length > 1:
            return f"{count / length:.1f} {unit}"
    return f"{count} B"


def counted(count: int, what: str, several: str = "") -> str:
    """How many of one thing.

    >>> counted(1, "run"), counted(2, "run"), counted(2, "entry", "entries")
    ('1 run', '2 runs', '2 entries')
    """
    return f"{count} {what}" if count == 1 else f"{count} {several or what + 's'}"


def say(data: dict[str, Any], is_json: bool, text: str) -> None:
    """Print what was done, for programs or for people."""
    print(msgspec.json.encode(data).decode() if is_json else clean(text))


def write_new(path: Path, data: bytes) -> None:
    """Write a file that must not be there yet. Errors: `UsageError`."""
    try:
        with path.open("xb") as stream:
            stream.write(data)
    except FileExistsError:
        raise UsageError(
            f"{str(path)!r} is there already.", hint="name a file that is not."
        ) from None
    except OSError as error:
        raise UsageError(f"{str(path)!r} cannot be written: {error.strerror}.") from error
