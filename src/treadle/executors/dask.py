"""Run bundles in a Dask cluster: one task each, run at most once, and results that may stay there.

Dask by itself runs a task again when it loses the worker that had it, and also when it loses only the result. Here
the runner decides what is tried again, so a plugin in the scheduler keeps Dask from it.
"""

from __future__ import annotations

import asyncio
import itertools
import threading
import uuid
from collections import deque
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Final, cast

from treadle.engine.jobs import failed_bundle
from treadle.errors import BadValue, Cancelled, NotPortable, UsageError, ValueLost, WorkerDied
from treadle.executors.cluster import (
    KEEP_ABOVE_BYTES,
    Kept,
    Parcel,
    first_problem,
    missing_extra,
    names_of,
    outcomes_with_kept,
)
from treadle.executors.dask_inside import (
    DONE,
    PREFIX,
    RUNNING,
    once_only,
    run_and_keep,
    run_in_worker,
    withdraw_here,
)
from treadle.executors.here import cancelled
from treadle.executors.ledger import Entry, Ledger
from treadle.executors.options import check_count
from treadle.executors.portable import dump_job, text_of
from treadle.interfaces import Answer
from treadle.model.bundles import Bundle
from treadle.model.remote import Remote, take_out
from treadle.model.runnables import Outcome

if TYPE_CHECKING:
    from distributed import Client

STOP: Final = "stop"
RECONNECT: Final = "reconnect"
"""What the thread that collects results is told, besides what is finished."""
NO_SCHEDULER: Final = "the connection to the Dask scheduler is lost, and with it"
ASK_S: Final = 5.0
"""How long workers may take to say whether a task has begun. One that says nothing may have begun it."""


class DaskExecutor:
    """Runs bundles in a Dask cluster: a client's, or the one at an address, or one that it starts on this machine.

    Functions go by name, so the workers need the same code; those without a name go by value. A body that runs
    cannot be stopped. What a lost worker had fails with `WorkerDied`, also what only waited there: Dask cannot
    say which had begun. Of bundles that allow it, results above `keep_above_bytes` stay in the cluster. `cluster`:
    keywords for `distributed.LocalCluster`.

    Errors: `UsageError` for arguments that exclude each other, `MissingExtra` without Dask, when it is opened.
    """

    when_cancelled = "abandoned"
    is_remote = True
    keeps_values = True

    def __init__(
        self,
        client: Client | None = None,
        address: str | None = None,
        *,
        capacity: int | None = None,
        keep_above_bytes: int = KEEP_ABOVE_BYTES,
        **cluster: Any,
    ) -> None:
        if (client is not None) + (address is not None) + bool(cluster) > 1:
            raise UsageError(
                "DaskExecutor was given more than one of a client, an address, and keywords for a cluster.",
                hint="give one of them, or nothing for a cluster on this machine.",
            )
        if capacity is not None:
            check_count("DaskExecutor(capacity=...)", capacity)
        check_count("DaskExecutor(keep_above_bytes=...)", keep_above_bytes)
        self.capacity = capacity
        self.keep_above_bytes = keep_above_bytes
        self._address = address
        self._settings = cluster
        self._cluster: Any = None
        self._client: Any = client
        self._is_own_client = client is None
        self._ledger = Ledger(self, capacity)
        self._name = uuid.uuid4().hex
        self._counter = itertools.count()
        self._comm: Any = None
        """The connection whose scheduler has the plugin; after a reconnection there is another one."""
        self._finished: SimpleQueue[Entry | str] = SimpleQueue()
        self._collector: threading.Thread | None = None
        self._withdrawing: deque[Entry] = deque()

    def __repr__(self) -> str:
        return f"<DaskExecutor on {self._client or self._address or 'this machine'}>"

    def open(self, answer: Answer) -> None:
        """Connect, or start the local cluster; blocks until that is done."""
        try:
            import distributed
        except ImportError as error:
            raise missing_extra("dask", "distributed") from error
        if self._client is not None and self._client.asynchronous:
            raise UsageError(
                f"DaskExecutor cannot use {self._client!r}: it belongs to an event loop.",
                hint="make the client with asynchronous=False, or give its address.",
            )
        self._ledger.open(answer)
        if self._client is None:
            if self._address is None:
                self._cluster = start_cluster(self._settings)
            where = self._address or self._cluster
            self._client = distributed.Client(where, set_as_default=False)  # type: ignore[no-untyped-call,unused-ignore]
        self._protect()
        self._collector = threading.Thread(target=self._collect, name="treadle-dask", daemon=True)
        self._collector.start()

    def submit(self, number: int, bundle: Bundle) -> None:
        """Send a bundle to the cluster; what cannot travel is answered at once."""
        entry = self._ledger.enter(number, bundle)
        if self._client.status != "running" or self._client.scheduler_comm is not self._comm:
            self._finished.put(RECONNECT)
            self._ledger.settle(entry, failed_bundle(bundle, lost_worker(NO_SCHEDULER, bundle)))
            return
        try:
            entry.place = self._send(bundle)
        except Exception as error:  # noqa: BLE001 - from pickle, Dask or a user's object: it is an outcome
            self._ledger.settle(entry, failed_bundle(bundle, error))
            return
        entry.place.add_done_callback(lambda _: self._finished.put(entry))

    def holds(self, value: Remote) -> bool:
        """Whether a kept value is in this cluster, so that work here can take it as it is."""
        return isinstance(value.holder, HeldInDask) and value.holder.client is self._client

    def _send(self, bundle: Bundle) -> Any:
        problem = first_problem(bundle)
        if problem is not None:
            raise problem
        bare, remotes = take_out(bundle)
        kept = [future_of(remote, self._client) for remote in remotes]
        data = dump_job(bare, shares_main=False)
        key = f"{PREFIX}{bundle.runnables[0].component}-{self._name}-{next(self._counter)}"
        call: tuple[Any, ...] = (run_in_worker, key, data)
        if bundle.keep:
            call = (run_and_keep, key, data, self.keep_above_bytes, self._client.id)
        return self._client.submit(*call, *kept, key=key, pure=False, retries=0)

    def _protect(self) -> None:
        """Have the scheduler of this connection never run a task of ours twice."""
        comm = self._client.scheduler_comm
        self._client.register_plugin(once_only()())
        self._comm = comm

    # ------------------------------------------------------------------------------ results

    def _collect(self) -> None:
        """Answer what is finished, as long as the executor is open. Runs in a thread of its own."""
        while self._answer_batch(self._next_batch()):
            pass

    def _next_batch(self) -> list[Entry | str]:
        """What is finished by now, at least one."""
        batch = [self._finished.get()]
        with suppress(Empty):
            while True:
                batch.append(self._finished.get_nowait())
        return batch

    def _answer_batch(self, batch: list[Entry | str]) -> bool:
        """Fetch all that is finished in one request, and answer; whether to go on."""
        if RECONNECT in batch and self._client.status == "running":
            with suppress(Exception):  # it is gone again; the next bundle comes back to this
                self._protect()
        entries = [each for each in batch if isinstance(each, Entry) and self._is_open(each)]
        finished = {
            entry.number: entry.place for entry in entries if entry.place.status == "finished"
        }
        try:
            # What fails meanwhile gives None here, and says why below.
            found = self._client.gather(finished, errors="skip") if finished else {}
        except Exception:  # noqa: BLE001 - whatever the network raises when the scheduler is gone
            found = {}
        for entry in entries:
            self._ledger.settle(entry, self._outcomes(entry, found.get(entry.number)))
            entry.place.release()
        return STOP not in batch

    def _is_open(self, entry: Entry) -> bool:
        return self._ledger.entries.get(entry.number) is entry

    def _outcomes(self, entry: Entry, data: bytes | None) -> list[Outcome]:
        try:
            if data is not None:
                return outcomes_with_kept(entry.bundle, data, self._remote_for)
            error = reason(entry.bundle, entry.place)
        except Exception as problem:  # noqa: BLE001 - Dask may be gone at any moment, and the thread must go on
            error = problem
        return failed_bundle(entry.bundle, error)

    def _remote_for(self, kept: Kept) -> Remote:
        from distributed import Future

        # The scheduler knows that this client wants the key: the worker said so when it kept the value.
        future: Any = Future(kept.key, self._client, state="memory")  # type: ignore[arg-type,unused-ignore]
        holder = HeldInDask(self._client, future)
        return Remote(kept.key, holder, where=kept.where, size=kept.size)

    # ------------------------------------------------------------------------- cancellation

    def cancel(self, number: int) -> None:
        """Withdraw a bundle that has not begun, or turn away from it; workers are asked which it is."""
        entry = self._ledger.cancel(number)
        if entry is None:
            return
        self._withdrawing.append(entry)
        self._client.loop.add_callback(self._withdraw)

    async def _withdraw(self) -> None:
        """Cancel all that is to be cancelled by now. Runs on the client's event loop."""
        entries = list(self._withdrawing)
        self._withdrawing.clear()
        states = await self._states({entry.place.key for entry in entries})
        for entry in entries:
            found = {each.get(entry.place.key, RUNNING) for each in states}
            if DONE not in found:  # else its result is on the way, and is its answer
                how = "abandoned" if RUNNING in found else "withdrawn"
                if self._ledger.settle(entry, cancelled(entry.bundle, [], how)):
                    await self._client.cancel([entry.place], asynchronous=True)

    async def _states(self, keys: set[str]) -> list[dict[str, str]]:
        """What each worker says of these tasks; what it has not begun it never will."""
        try:
            told = await asyncio.wait_for(
                self._client.run(withdraw_here, keys, on_error="return", asynchronous=True), ASK_S
            )
        except Exception:  # noqa: BLE001 - no answer, for whatever reason
            return [{}]
        return [each if isinstance(each, dict) else {} for each in told.values()]

    def close(self) -> None:
        """Cancel what is open; disconnect from the cluster, and end it, if this executor started it."""
        left = self._ledger.close()
        if self._collector is None:
            return
        with suppress(Exception):  # the connection may be lost already
            self._client.cancel([entry.place for entry in left if entry.place is not None])
        self._finished.put(STOP)
        if threading.current_thread() is not self._collector:
            self._collector.join()
        self._collector = None
        if self._is_own_client:
            self._client.close()
        if self._cluster is not None:
            self._cluster.close()


def start_cluster(settings: dict[str, Any]) -> Any:
    """A cluster of processes that listens on loopback only, its web pages on any free port."""
    from dask import config
    from distributed import LocalCluster

    chosen: dict[str, Any] = {"processes": True, "dashboard_address": "127.0.0.1:0", **settings}
    with config.set({"distributed.scheduler.allowed-failures": 0}):
        return LocalCluster(**chosen)  # type: ignore[no-untyped-call,unused-ignore]


class HeldInDask:
    """A value kept in a Dask cluster; the cluster drops it when this is gone."""

    __slots__ = ("client", "future")

    def __init__(self, client: Any, future: Any) -> None:
        self.client = client
        self.future = future

    def fetch(self) -> Any:
        """The value. Errors: `ValueLost` if it is gone, `BadValue` if it cannot be rebuilt here."""
        try:
            parcel: Parcel = self.client.gather(self.future)
        except (Exception, asyncio.CancelledError) as error:
            if self.future.status == "finished" and self.client.status == "running":
                raise BadValue(
                    f"the value {self.future.key} cannot be rebuilt here: {text_of(error)}."
                ) from error
            # The client keeps the error while the future lives, and the traceback would keep the future.
            raise lost_value(self.future.key) from error.with_traceback(None)
        return parcel.value


def future_of(remote: Remote, client: Any) -> Any:
    """The future for a kept value. Errors: `NotPortable` if it is kept elsewhere, `ValueLost` if it is gone."""
    holder = remote.holder
    if not isinstance(holder, HeldInDask) or holder.client is not client:
        raise NotPortable(
            f"{remote!r} is kept by another executor.", hint="pass what its fetch() gives."
        )
    if holder.future.status != "finished":
        raise lost_value(remote.key)
    return holder.future


def lost_value(key: Any) -> ValueLost:
    """The error for a kept value that is gone."""
    return ValueLost(
        f"the value {key} is gone with the Dask worker that held it.",
        hint="run again what made it; values that must survive are not to be kept in a cluster.",
    )


def reason(bundle: Bundle, future: Any) -> BaseException:
    """Why a task of ours gave nothing."""
    if future.status == "error":
        error: Any = future.exception()
        if type(error).__name__ == "KilledWorker":
            return lost_worker(f"the Dask worker at {error.last_worker.address} died with", bundle)
        if error is not None:  # else the scheduler went while this was asked
            return cast("BaseException", error)  # it could not be loaded in the worker, or the like
    why = why_cancelled(future)
    if why in {"already forgotten", "lost dependencies"}:
        for remote in take_out(bundle)[1]:
            return lost_value(remote.key)
        return lost_worker("the Dask worker died with the results of", bundle)
    if why.startswith("scheduler-") or future.client.status != "running":
        return lost_worker(NO_SCHEDULER, bundle)
    return Cancelled(f"{names_of(bundle)} was cancelled by somebody else ({why}).", how="abandoned")


def why_cancelled(future: Any) -> str:
    """What Dask says of a cancelled task."""
    try:
        future.result(timeout=ASK_S)
    except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - its class is Dask's own
        # The client keeps the error while the future lives, and the traceback would keep the future.
        return str(getattr(error.with_traceback(None), "reason", error))
    return "unknown"


def lost_worker(what: str, bundle: Bundle) -> WorkerDied:
    """The error for work that was in a part of the cluster that is lost."""
    return WorkerDied(
        f"{what} {names_of(bundle)}.",
        hint="a policy with retries runs it again; it may have begun before.",
    )
