"""The one place that turns words into plugs: `"threads:8"` into an executor, `"memory"` into a store.

Adapters are imported when a word asks for them, so that nobody pays for what they do not use.
"""

from __future__ import annotations

from collections.abc import Callable
from os import PathLike, fspath
from pathlib import PurePath
from typing import Any, Final

from treadle.errors import UsageError, nearest
from treadle.interfaces import Codec, Executor, Scheduler, Store, Transactions

EXECUTORS: Final = ("inline", "asyncio", "threads", "processes", "pool", "dask", "ray")
STANDARD: Final = ("inline", "asyncio", "threads")
"""What every runner has."""

SCHEDULERS: Final = ("default", "chains", "batches", "adaptive", "priority")


def make_executor(wanted: Any) -> Executor:
    """An executor: from a word (`"threads"`, `"threads:8"`, `"dask:tcp://..."`), a `concurrent.futures` pool, itself.

    Errors: `UsageError` naming the words there are; `MissingExtra` where a library is not installed.
    """
    if isinstance(wanted, str):
        return _from_word(wanted)
    if not isinstance(wanted, type):
        if isinstance(wanted, Executor):
            return wanted
        if hasattr(wanted, "submit") and hasattr(wanted, "shutdown"):
            from treadle.executors.futures import FuturesExecutor

            return FuturesExecutor(wanted)
    raise UsageError(
        f"executor={wanted!r:.80} is no executor.",
        hint=f"one of {', '.join(map(repr, EXECUTORS))}, a concurrent.futures.Executor, or a plug.",
    )


def _from_word(word: str) -> Executor:
    name, _, rest = word.partition(":")
    make = _MAKERS.get(name)
    if make is None:
        raise UsageError(f"there is no executor {word!r}.{nearest(name, EXECUTORS)}")
    return make(rest)


def _count(rest: str, default: int | None = None) -> int | None:
    if not rest:
        return default
    if not rest.isdigit() or int(rest) < 1:
        raise UsageError(f"{rest!r} is no number of workers.", hint='"threads:8"')
    return int(rest)


def _inline(rest: str) -> Executor:
    from treadle.executors.inline import InlineExecutor

    if rest:
        raise UsageError('"inline" takes no number: it runs one at a time.')
    return InlineExecutor()


def _asyncio(rest: str) -> Executor:
    from treadle.executors.aio import AsyncioExecutor

    count = _count(rest)
    return AsyncioExecutor() if count is None else AsyncioExecutor(count)


def _threads(rest: str) -> Executor:
    from treadle.executors.threads import ThreadExecutor

    count = _count(rest)
    return ThreadExecutor() if count is None else ThreadExecutor(count)


def _processes(rest: str) -> Executor:
    from treadle.executors.processes import ProcessExecutor

    count = _count(rest)
    return ProcessExecutor() if count is None else ProcessExecutor(count)


def _pool(rest: str) -> Executor:
    from treadle.executors.pool import DemandPool

    count = _count(rest)
    return DemandPool() if count is None else DemandPool(count)


def _dask(rest: str) -> Executor:
    from treadle.executors.dask import DaskExecutor

    return DaskExecutor(address=rest or None)


def _ray(rest: str) -> Executor:
    from treadle.executors.ray import RayExecutor

    return RayExecutor(address=rest or None)


_MAKERS: Final[dict[str, Callable[[str], Executor]]] = {
    "inline": _inline,
    "asyncio": _asyncio,
    "threads": _threads,
    "processes": _processes,
    "pool": _pool,
    "dask": _dask,
    "ray": _ray,
}


def make_scheduler(wanted: Any) -> Scheduler:
    """A scheduler: from a word (`"chains"`), with the settings it has by default, or itself.

    Errors: `UsageError` naming the words there are.
    """
    if not isinstance(wanted, str):
        if isinstance(wanted, Scheduler) and not isinstance(wanted, type):
            return wanted
        raise UsageError(
            f"scheduler={wanted!r:.80} is no scheduler.",
            hint=f"one of {', '.join(map(repr, SCHEDULERS))}, or a plug.",
        )
    from treadle import schedulers

    makers: dict[str, Callable[[], Scheduler]] = {
        "default": schedulers.DefaultScheduler,
        "chains": schedulers.ChainScheduler,
        "batches": schedulers.BatchScheduler,
        "adaptive": schedulers.AdaptiveScheduler,
        "priority": schedulers.PriorityScheduler,
    }
    if wanted not in makers:
        raise UsageError(f"there is no scheduler {wanted!r}.{nearest(wanted, SCHEDULERS)}")
    return makers[wanted]()


STORES: Final = ("memory", "sqlite:///PATH", "postgresql://...")


def make_store(
    wanted: Any, codec: Codec | None = None, *, read_only: bool = False, is_lenient: bool = False
) -> Store | None:
    """A store: from a word (`"memory"`, `"sqlite:///orders.db"`), a path, or itself; None keeps nothing.

    `codec` turns values into bytes there. At the end of a URL, `?values=PLACE` names a folder or URL where large values
    lie (see `Apart`), and of PostgreSQL `schema=orders` where the tables are, else in `treadle`. `read_only`: it has to
    be there, and is only looked at. `is_lenient`: without a codec, values of classes that nobody registered are stood
    in for. Errors: `UsageError` naming the words there are; `MissingExtra` where what one needs is not installed.
    """
    if wanted is None:
        return None
    if wanted == "memory":
        from treadle.stores.memory import MemoryStore

        return MemoryStore()
    if not isinstance(wanted, (str, type)) and isinstance(wanted, Store):
        return wanted
    if isinstance(wanted, str) and "?" in wanted:
        wanted, values = without(wanted, "values")
        codec = codec_with(values, codec, is_lenient=is_lenient)
    if isinstance(wanted, str) and wanted.startswith("sqlite:///"):
        return _sqlite(wanted.removeprefix("sqlite:///"), codec, read_only, is_lenient)
    if isinstance(wanted, str) and wanted.startswith(("postgresql://", "postgres://")):
        return _postgres(wanted, codec, read_only, is_lenient)
    if isinstance(wanted, PathLike) or (isinstance(wanted, str) and is_path(wanted)):
        return _sqlite(fspath(wanted), codec, read_only, is_lenient)
    known = ", ".join(map(repr, STORES))
    raise UsageError(
        f"store={wanted!r:.80} is no store.", hint=f"{known}, a path, None, or a plug."
    )


def is_path(word: str) -> bool:
    """Whether a text without a scheme is a path, and not a misspelt word: it has a folder or an ending.

    >>> is_path("orders.db"), is_path("data/orders"), is_path("memroy"), is_path("mysql://orders.db")
    (True, True, False, False)
    """
    path = PurePath(word)
    return "://" not in word and (bool(path.suffix) or len(path.parts) > 1)


def make_codec() -> Any:
    """The standard codec, for who needs one and has no store that brings it."""
    from treadle.codec import Codec as Standard

    return Standard()


def make_transactions(store: Store | None) -> Executor | None:
    """The executor of transactional steps, where the store is a database that can have them."""
    database: Any = store
    if not isinstance(database, Transactions):
        return None
    from treadle.executors.transactions import TransactionExecutor

    return TransactionExecutor(database)


def _sqlite(
    path: str,
    codec: Codec | None,
    read_only: bool,  # noqa: FBT001
    is_lenient: bool,  # noqa: FBT001
) -> Store:
    from treadle.codec import Codec as Standard
    from treadle.stores.sqlite import SqliteStore

    made = Standard(is_lenient=is_lenient) if codec is None else codec
    return SqliteStore(path, made, read_only=read_only)


def _postgres(
    conninfo: str,
    codec: Codec | None,
    read_only: bool,  # noqa: FBT001
    is_lenient: bool,  # noqa: FBT001
) -> Store:
    from treadle.codec import Codec as Standard
    from treadle.stores.postgres import PostgresStore

    place, schema = without(conninfo, "schema")
    made = Standard(is_lenient=is_lenient) if codec is None else codec
    return PostgresStore(place, made, schema=schema or "treadle", read_only=read_only)


def codec_with(values: str | None, codec: Codec | None, *, is_lenient: bool) -> Codec | None:
    """The codec of a store whose URL says where large values lie; without that, the one that was given."""
    if values is None:
        return codec
    from treadle.codec import Apart
    from treadle.codec import Codec as Standard

    return Apart(Standard(is_lenient=is_lenient) if codec is None else codec, values)


def without(url: str, name: str) -> tuple[str, str | None]:
    """A URL without one of the words behind its `?`, and what that word was; the last, if it stands there twice.

    >>> without("postgresql://db/orders?schema=a&sslmode=require", "schema")
    ('postgresql://db/orders?sslmode=require', 'a')
    """
    place, _, query = url.partition("?")
    said = query.split("&") if query else []
    ours = [each.removeprefix(f"{name}=") for each in said if each.startswith(f"{name}=")]
    theirs = "&".join(each for each in said if not each.startswith(f"{name}="))
    return f"{place}?{theirs}" if theirs else place, ours[-1] if ours else None
