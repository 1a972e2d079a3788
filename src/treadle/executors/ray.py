"""Run bundles in a Ray cluster: one task each, never tried again by Ray, and results that may stay there."""

from __future__ import annotations

import threading
from contextlib import suppress
from queue import SimpleQueue
from time import monotonic
from typing import Any, Final

from treadle.engine.jobs import failed_bundle
from treadle.errors import BadValue, Cancelled, NotPortable, UsageError, ValueLost, WorkerDied
from treadle.executors.cluster import (
    KEEP_ABOVE_BYTES,
    Kept,
    Parcel,
    do_job,
    first_problem,
    missing_extra,
    names_of,
    outcomes_with_kept,
)
from treadle.executors.here import cancelled
from treadle.executors.ledger import Entry, Ledger
from treadle.executors.options import check_count
from treadle.executors.portable import dump_job, text_of
from treadle.interfaces import Answer
from treadle.model.bundles import Bundle
from treadle.model.remote import Remote, take_out
from treadle.model.runnables import Outcome

GRACE_S: Final = 0.5
"""How long an interrupted body may take to end by itself before its worker process is killed."""
CLOSE_S: Final = 10.0
"""How long closing waits until Ray is told to kill what still runs."""


class RayExecutor:
    """Runs bundles in a Ray cluster: the one this process is connected to, else the one at an address.

    Without both, Ray looks for a running one and else starts one on this machine; address `"local"` always starts one.
    Functions go by name, so the workers need the same code; those without a name go by value. Cancelling
    interrupts a body, and kills its worker process if that does not end it. Of bundles that allow it, results
    above `keep_above_bytes` stay in Ray's object store; of those, Ray itself carries what is below 100 KiB along,
    unopened. `init`: keywords for `ray.init`.

    Errors, when it is opened: `MissingExtra` without Ray, `UsageError` for an address or keywords when this process
    is connected already.
    """

    when_cancelled = "stopped"
    is_remote = True
    keeps_values = True

    def __init__(
        self,
        address: str | None = None,
        *,
        capacity: int | None = None,
        keep_above_bytes: int = KEEP_ABOVE_BYTES,
        **init: Any,
    ) -> None:
        if capacity is not None:
            check_count("RayExecutor(capacity=...)", capacity)
        check_count("RayExecutor(keep_above_bytes=...)", keep_above_bytes)
        self.capacity = capacity
        self.keep_above_bytes = keep_above_bytes
        self._init: dict[str, Any] = init if address is None else {"address": address, **init}
        self._is_own_connection = False
        self._ray: Any = None
        self._run: Any = None
        self._run_and_keep: Any = None
        self._canceller: Any = None
        """Started with the first cancellation."""
        self._ledger = Ledger(self, capacity)
        self._finished: SimpleQueue[tuple[Entry, Any] | None] = SimpleQueue()
        self._interrupted: SimpleQueue[tuple[Entry, float] | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._closing = threading.Event()

    def __repr__(self) -> str:
        return f"<RayExecutor on {self._init.get('address', 'this machine')}>"

    def open(self, answer: Answer) -> None:
        """Connect, or start a local cluster without a dashboard; blocks until that is done."""
        try:
            import ray
        except ImportError as error:
            raise missing_extra("ray", "ray") from error
        if ray.is_initialized() and self._init:
            raise UsageError(
                f"this process is connected to Ray already, and RayExecutor was given {', '.join(self._init)}.",
                hint="give it nothing to use that connection, or call ray.shutdown() first.",
            )
        self._ledger.open(answer)
        if not ray.is_initialized():
            settings: dict[str, Any] = dict(self._init)
            if settings.get("address", "local") == "local":
                settings.setdefault("include_dashboard", False)
            ray.init(**settings)
            self._is_own_connection = True
        self._ray = ray
        once = ray.remote(max_retries=0, retry_exceptions=False)
        self._run = once(run_in_worker)
        self._run_and_keep = once(run_and_keep)
        self._start_thread(self._collect)

    def _start_thread(self, target: Any) -> None:
        thread = threading.Thread(target=target, name="treadle-ray", daemon=True)
        self._threads.append(thread)
        thread.start()

    def submit(self, number: int, bundle: Bundle) -> None:
        """Send a bundle to the cluster; what cannot travel is answered at once."""
        entry = self._ledger.enter(number, bundle)
        if not self._ray.is_initialized():  # Ray would start a cluster of its own
            lost = lost_worker("the connection to Ray is closed, and with it", bundle)
            self._ledger.settle(entry, failed_bundle(bundle, lost))
            return
        try:
            entry.place = self._send(bundle)
        except Exception as error:  # noqa: BLE001 - from pickle, Ray or a user's object: it is an outcome
            self._ledger.settle(entry, failed_bundle(bundle, error))
            return
        # Ray calls back on a thread that it needs itself.
        entry.place[0].future().add_done_callback(lambda done: self._finished.put((entry, done)))

    def holds(self, value: Remote) -> bool:
        """Whether a kept value is in this cluster, so that work here can take it as it is."""
        return isinstance(value.holder, HeldInRay)

    def _send(self, bundle: Bundle) -> list[Any]:
        """Submit a bundle: the reference of its reports, then one for each result that may stay."""
        problem = first_problem(bundle)
        if problem is not None:
            raise problem
        bare, remotes = take_out(bundle)
        kept = [ref_of(remote) for remote in remotes]
        data = dump_job(bare, shares_main=False)
        if not bundle.keep:
            return [self._run.remote(data, *kept)]
        task = self._run_and_keep.options(num_returns=1 + len(bundle))
        refs: list[Any] = task.remote(data, len(bundle), self.keep_above_bytes, *kept)
        return refs

    # ------------------------------------------------------------------------------ results

    def _collect(self) -> None:
        """Answer what is finished, as long as the executor is open. Runs in a thread of its own."""
        while (finished := self._finished.get()) is not None:
            self._answer(*finished)
            del finished  # and with it the references to what is kept

    def _answer(self, entry: Entry, future: Any) -> None:
        try:
            outcomes = self._outcomes(entry, future.result())
        except Exception as error:  # noqa: BLE001 - whatever Ray raises
            outcomes = self._failed(entry, error)
        self._ledger.settle(entry, outcomes)

    def _outcomes(self, entry: Entry, data: bytes) -> list[Outcome]:
        def remote_for(kept: Kept) -> Remote:
            ref = entry.place[1 + kept.key]
            return Remote(ref.hex(), HeldInRay(self._ray, ref), where=kept.where, size=kept.size)

        outcomes = outcomes_with_kept(entry.bundle, data, remote_for)
        if entry.is_cancelled:
            for place, outcome in enumerate(outcomes):
                if isinstance(outcome.exception, KeyboardInterrupt):
                    return cancelled(entry.bundle, outcomes[:place], "stopped")
        return outcomes

    def _failed(self, entry: Entry, error: Exception) -> list[Outcome]:
        if entry.is_cancelled:
            # Without force, Ray says exactly this of a task that it took from its queue, and of no other.
            is_withdrawn = type(error).__name__ == "TaskCancelledError" and not entry.began
            return cancelled(entry.bundle, [], "withdrawn" if is_withdrawn else "stopped")
        return failed_bundle(entry.bundle, reason(entry.bundle, error))

    # ------------------------------------------------------------------------- cancellation

    def cancel(self, number: int) -> None:
        """Withdraw a bundle that has not begun, or interrupt it; its worker is killed if it does not end soon."""
        entry = self._ledger.cancel(number)
        if entry is None:
            return
        if not self._ray.is_initialized():  # which ended all workers
            self._ledger.settle(entry, cancelled(entry.bundle, [], "stopped"))
            return
        told = self._stop([entry], force=False)
        told.future().add_done_callback(lambda _: self._press_later(entry))
        if len(self._threads) == 1:
            self._start_thread(self._press)

    def _press_later(self, entry: Entry) -> None:
        self._interrupted.put((entry, monotonic() + GRACE_S))

    def _press(self) -> None:
        """Kill the workers of bodies that were interrupted and have not ended. Runs in a thread of its own."""
        while (interrupted := self._interrupted.get()) is not None:
            entry, at = interrupted
            if self._closing.wait(max(0.0, at - monotonic())):
                return
            if self._ledger.entries.get(entry.number) is entry and self._ray.is_initialized():
                entry.began = True
                self._stop([entry], force=True)
                # Ray ignores what comes while it still deals with the interrupt.
                self._press_later(entry)

    def _stop(self, entries: list[Entry], *, force: bool) -> Any:
        """Have Ray cancel some tasks; a reference that is there when it was told."""
        if self._canceller is None:
            actor = self._ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(Canceller)
            self._canceller = actor.remote()
        return self._canceller.cancel.remote([entry.place[0] for entry in entries], force)

    def close(self) -> None:
        """Kill the workers of what is open; disconnect, if this executor connected, which ends a local cluster."""
        left = [entry for entry in self._ledger.close() if entry.place is not None]
        if left and not self._is_own_connection:
            with suppress(Exception):  # the connection is lost
                self._ray.get(self._stop(left, force=True), timeout=CLOSE_S)
        self._canceller = None
        self._closing.set()
        self._finished.put(None)
        self._interrupted.put(None)
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join()
        self._threads.clear()
        if self._is_own_connection:
            self._is_own_connection = False
            self._ray.shutdown()


class HeldInRay:
    """A value kept in Ray's object store; Ray drops it when this is gone."""

    __slots__ = ("ray", "ref")

    def __init__(self, ray: Any, ref: Any) -> None:
        self.ray = ray
        self.ref = ref

    def fetch(self) -> Any:
        """The value. Errors: `ValueLost` if it is gone, `BadValue` if it cannot be rebuilt here."""
        if not self.ray.is_initialized():
            raise lost_value(self.ref.hex())
        try:
            parcel: Parcel = self.ray.get(self.ref)
        except self.ray.exceptions.ObjectLostError as error:
            raise lost_value(self.ref.hex()) from error
        except self.ray.exceptions.RaySystemError as error:
            raise BadValue(
                f"the value {self.ref.hex()} cannot be rebuilt here: {text_of(error)}."
            ) from error
        return parcel.value


def ref_of(remote: Remote) -> Any:
    """Ray's reference for a kept value. Errors: `NotPortable` if it is not kept by Ray."""
    if not isinstance(remote.holder, HeldInRay):
        raise NotPortable(
            f"{remote!r} is kept by another executor.", hint="pass what its fetch() gives."
        )
    return remote.holder.ref


def lost_value(key: str) -> ValueLost:
    """The error for a kept value that is gone."""
    return ValueLost(
        f"the value {key} is gone with the Ray node that held it.",
        hint="run again what made it; values that must survive are not to be kept in a cluster.",
    )


def lost_worker(what: str, bundle: Bundle) -> WorkerDied:
    """The error for work that was in a part of the cluster that is lost."""
    return WorkerDied(
        f"{what} {names_of(bundle)}.",
        hint="a policy with retries runs it again; it may have begun before.",
    )


def reason(bundle: Bundle, error: Exception) -> BaseException:
    """Why a task of ours gave nothing."""
    from ray import exceptions

    if isinstance(error, exceptions.ObjectLostError):
        for remote in take_out(bundle)[1]:
            return lost_value(remote.key)
        return lost_worker("the Ray node died with the results of", bundle)
    if isinstance(error, exceptions.TaskCancelledError):
        return Cancelled(f"{names_of(bundle)} was cancelled by somebody else.", how="stopped")
    if isinstance(error, exceptions.RayTaskError):
        return error  # it could not be loaded in the worker, or the like
    return lost_worker("the Ray worker died with", bundle)


# ------------------------------------------------------------------------------ in a worker


class Canceller:
    """An actor that cancels for the process that submitted.

    When a task is cancelled by the process that owns it, just as it ends, Ray 2.60 aborts that process: two of its
    threads end the same task (`Tried to complete task that was not pending`). What other processes ask for, it does
    in one of the two.
    """

    def cancel(self, refs: list[Any], force: bool) -> None:  # noqa: FBT001 - actors are called by position
        """Interrupt the bodies of tasks, or kill their workers."""
        import ray

        for ref in refs:
            ray.cancel(ref, force=force)


def run_in_worker(data: bytes, *kept: Parcel) -> bytes:
    """Do a job with the kept values that it takes."""
    return do_job(data, kept)


def run_and_keep(data: bytes, places: int, keep_above_bytes: int, *kept: Parcel) -> tuple[Any, ...]:
    """As `run_in_worker`, and after its reports one place for each result: Ray keeps what is put there.

    They belong to the process that submitted the task, so this one may die, and its node keeps them.
    """
    import ray

    parcels: list[Parcel] = []

    def keep(parcel: Parcel) -> Kept:
        parcels.append(parcel)
        where = f"Ray node {ray.get_runtime_context().get_node_id()}"
        return Kept(key=len(parcels) - 1, where=where, size=parcel.size)

    told = do_job(data, kept, keep, keep_above_bytes)
    return (told, *parcels, *[None] * (places - len(parcels)))
