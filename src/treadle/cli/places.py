"""Where runs are kept: which store is meant, how it is opened, and where a run stands that is to go on."""

from __future__ import annotations

import os
from collections.abc import Generator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final, cast

from msgspec import Struct

from treadle.cli.feed import Feed, Given, line_in
from treadle.cli.loading import Loaded, codec_for
from treadle.cli.naming import made_up
from treadle.errors import RunEnded, UnknownRun, UsageError, nearest
from treadle.interfaces import Codec, Leases, RunInfo, Store
from treadle.runner.keeper import LEASE_S, owner_name
from treadle.runner.registry import check_id
from treadle.value import Workflow
from treadle.wiring import make_store

VARIABLE: Final = "TREADLE_STORE"
DEFAULT: Final = "sqlite:///treadle.db"
MEMORY: Final = "memory"
SQLITE: Final = "sqlite:///"

EPHEMERAL: Final = "treadle run"
"""The id of a run that is kept nowhere."""


class Place(Struct, frozen=True):
    """Where one run is to be kept: in the store `url` (None: in memory alone), under an id.

    `past`: what has happened in it before; None where it is a new run. `settled`: what somebody found out about
    attempts that were interrupted, by component.
    """

    run_id: str = EPHEMERAL
    url: str | None = None
    past: Workflow | None = None
    is_there: bool = False
    codec: Codec | None = None
    settled: Mapping[str, Any] | None = None


def url_of(given: str | None, *, is_ephemeral: bool = False) -> str:
    """The store that is meant: as it was given, or by the environment, or a file in the current folder.

    >>> url_of("orders.db"), url_of("sqlite:///orders.db"), url_of("orders.db", is_ephemeral=True)
    ('sqlite:///orders.db', 'sqlite:///orders.db', 'memory')
    """
    if is_ephemeral:
        return MEMORY
    wanted = given or os.environ.get(VARIABLE) or DEFAULT
    is_url = "://" in wanted.partition("?")[0]
    return wanted if wanted == MEMORY or is_url else SQLITE + wanted


def shown(url: str) -> str:
    """A store as people would name it: a file by its path, anything else without what is secret in it."""
    if url.startswith(SQLITE):
        return file_of(url)
    scheme, _, rest = url.partition("://")
    place, _, query = rest.rpartition("@")[2].partition("?")
    schema = [each for each in query.split("&") if each.startswith("schema=")]
    return "?".join([f"{scheme}://{place}", *schema[-1:]])


@contextmanager
def opened(
    url: str,
    *,
    to_write: bool = False,
    is_lenient: bool = True,
    may_be_new: bool = False,
    codec: Codec | None = None,
) -> Generator[Any]:
    """A store that is there already (or `may_be_new`), to look at, or to write to.

    `is_lenient`: without a codec, values of classes that only somebody's program knows are stood in for. Errors:
    `UsageError`.
    """
    if url == MEMORY or (not may_be_new and (to_write or url.startswith(SQLITE))):
        check_there(url)  # a database that is only looked at says so itself
    store = make_store(url, codec, read_only=not to_write, is_lenient=is_lenient)
    assert store is not None
    try:
        yield store
    finally:
        store.close()


def check_there(url: str) -> None:
    """Errors: `UsageError` where the store is none that could be found again."""
    if url == MEMORY:
        raise UsageError(
            "a store in memory ends with its process: there is nothing to look at.",
            hint=f"--store PATH, or {VARIABLE}=PATH, names a file.",
        )
    if not url.startswith(SQLITE):
        with closing(cast("Any", make_store(url, read_only=True))) as store:
            store.info("")  # to look for no run at all is enough to be told
        return
    path = file_of(url)
    if not Path(path).is_file():
        raise UsageError(
            f"there is no store {path!r}.",
            hint="`treadle run` makes one in the current folder; --store PATH names another.",
        )


def file_of(url: str) -> str:
    """The file of a store that is one, whatever else its URL says.

    >>> file_of("sqlite:///runs/orders.db?values=s3://bucket/orders")
    'runs/orders.db'
    """
    return url.removeprefix(SQLITE).partition("?")[0]


def info_of(store: Store, run_id: str) -> RunInfo:
    """A run without its log. Errors: `UnknownRun` naming what is there."""
    info = store.info(run_id)
    if info is None:
        known = [each.id for each in store.list()]
        raise UnknownRun(
            f"there is no run {run_id!r}.{nearest(run_id, known)}", hint="`treadle ls` lists them."
        )
    return info


def place_for(loaded: Loaded, url: str, run_id: str | None, *, is_resumed: bool = False) -> Place:
    """Where a run of this workflow is to be kept, and how far it has come. Errors: `UsageError`, those of stores."""
    if url == MEMORY and not is_resumed:
        return Place(EPHEMERAL if run_id is None else check_id(run_id))
    if is_resumed:
        check_there(url)
    codec = codec_for(loaded)
    store = make_store(url, codec)
    assert store is not None
    try:
        check_is_alone(store)
        if run_id is None:
            return Place(made_up(lambda name: store.info(name) is not None), url, codec=codec)
        info = info_of(store, run_id) if is_resumed else store.info(check_id(run_id))
        if info is None:
            return Place(run_id, url, codec=codec)
        check_can_go_on(info, loaded.workflow)
        past = past_of(store, info, loaded.workflow)
    finally:
        store.close()
    return Place(info.id, url, past, is_there=True, codec=codec)


def check_is_alone(store: Store) -> None:
    """Errors: `StoreTaken` where another process runs the workflows of a store that only one may run.

    A runner would wait for that process to end. To claim no run at all is enough to be refused.
    """
    if isinstance(store, Leases):
        store.info("")  # what is wrong with the file itself is said first
        store.claim(owner_name(), LEASE_S, run_id="")


def check_can_go_on(info: RunInfo, workflow: Workflow) -> None:
    """Errors: `UsageError` where a run is another workflow's, or at its end for good."""
    if info.workflow != workflow.name:
        raise UsageError(
            f"the run {info.id!r} is of the workflow {info.workflow!r}, and the file holds {workflow.name!r}.",
            hint="name the file with its workflow, or take another --id.",
        )
    if info.status == "cancelled":
        note = f" ({info.note})" if info.note else ""
        raise RunEnded(
            f"the run {info.id!r} was cancelled{note}, which is for good.",
            hint="take another --id.",
        )


def past_of(store: Any, info: RunInfo, workflow: Workflow) -> Workflow | None:
    """What has happened in a run, folded into its workflow; None if nothing has."""
    events = store.load_all(info.id).events
    return Workflow.from_log(workflow, events) if events else None


def feed_of(past: Workflow | None) -> Feed:
    """The inputs that a run has already."""
    listed = [] if past is None else past.inputs()
    givens = [
        Given(
            order,
            line_in(entry["key"]),
            entry["value"],
            key=entry["key"],
            number=entry["number"],
        )
        for order, entry in enumerate(listed)
    ]
    return Feed(givens, len(givens))
