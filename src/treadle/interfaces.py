"""The plugs of a runner: executors, schedulers, stores, clocks and observers.

Each is small, and each has a public kit that says whether a plug keeps its promises: `check_executor`,
`check_scheduler` and `check_store` of `treadle.testing`. Plugs are plain classes with these methods; deriving from the
ones here is not needed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeVar, runtime_checkable

from treadle.engine.jobs import (
    aexecute_bundle,
    cancelled_bundle,
    execute_bundle,
    failed_bundle,
)
from treadle.model.bundles import Bundle, Link
from treadle.model.events import Event
from treadle.model.runnables import Outcome, Runnable
from treadle.model.stored import (
    Append,
    Finding,
    Message,
    Reply,
    RunInfo,
    Standing,
    StoredRun,
    Trimmed,
)
from treadle.policies.policy import Policy

if TYPE_CHECKING:
    from treadle.model.quotas import Quota, QuotaWish

__all__ = [
    "Answer",
    "Append",
    "Bundle",
    "Caches",
    "Clock",
    "Codec",
    "Executor",
    "Finding",
    "Follows",
    "Hooks",
    "Inbox",
    "Leases",
    "Link",
    "Message",
    "Observer",
    "Outcome",
    "Quotas",
    "Replies",
    "Reply",
    "RunInfo",
    "Runnable",
    "Scheduler",
    "Standing",
    "Store",
    "StoredRun",
    "Transactions",
    "Trimmed",
    "Upkeep",
    "View",
    "aexecute_bundle",
    "cancelled_bundle",
    "execute_bundle",
    "failed_bundle",
    "learns_nothing",
    "takes_cohorts",
]
"""The plugs, and what somebody who writes one needs: an executor runs bundles by `execute_bundle` or
`aexecute_bundle`, and answers for those that came to nothing by `failed_bundle` and `cancelled_bundle`."""

Answer: TypeAlias = Callable[[int, Sequence[Outcome]], None]
"""How an executor reports: the number it was given with a bundle, and the bundle's outcomes. Any thread may call it."""


@runtime_checkable
class Executor(Protocol):
    """Decides where and how a bundle runs.

    Every `submit` is answered by exactly one call of `answer`, whatever happens: outcomes for each runnable of the
    bundle, in order, and for the links of a chain as far as it came. A user's error, a lost worker, a function that
    cannot travel, a cancellation: each is a failed outcome, never an exception of `submit`. Executors do not retry.
    """

    capacity: int | None
    """How many bundles it takes at once; None: no limit of its own. The runner never gives it more; whoever does is
    to be refused with a `UsageError`, and never runs more at once."""
    when_cancelled: str
    """What `cancel` can do to a body that runs: `"stopped"` (it ends) or `"abandoned"` (it goes on, unheard).

    Two more attributes may be there: `is_remote = True` says that async functions get an event loop of their own where
    it runs them (else they are awaited on the runner's); `keeps_values = True`, with a method `holds(remote)`, that it
    can keep what a bundle with `keep` gives.
    """

    def open(self, answer: Answer) -> None:
        """Make ready. Called once, before the first submit, in the thread (and event loop) of the runner."""

    def submit(self, number: int, bundle: Bundle) -> None:
        """Run a bundle and answer under `number`. Must not block (unless it runs in the caller's thread)."""

    def cancel(self, number: int) -> None:
        """Answer a submitted bundle soon: with `errors.Cancelled` in each outcome that is not there yet.

        It says `how`: withdrawn (had not begun), stopped or abandoned. Unknown and answered numbers are ignored.
        """

    def close(self) -> None:
        """Let go of all threads, processes and connections; whatever still runs is cancelled, unanswered."""


class View(Protocol):
    """What a scheduler may ask of the run it plans for. All answers are quick and change nothing."""

    def chain_after(self, runnable: Runnable) -> tuple[Link, ...]:
        """The plain steps that will follow a runnable in sequence if it succeeds, and may be bundled with it."""
        ...

    def may_bundle(self, runnable: Runnable) -> bool:
        """Whether its policy allows it to share a slot (no timeout, deadline, limit or breaker of its own).

        The same for all work of one node and one input, but for what could not be prepared (`problem`).
        """
        ...

    def policy_of(self, runnable: Runnable) -> Policy:
        """The policy of its component."""
        ...

    def executor_of(self, runnable: Runnable) -> str:
        """The name of the executor it would go to: the same for all work of one node and one input."""
        ...

    def capacity_of(self, executor: str) -> int:
        """How many bundles that executor takes at once (a large number where it sets no limit)."""
        ...


Plan = TypeVar("Plan", bound=Callable[..., Any])
Observe = TypeVar("Observe", bound=Callable[..., Any])


@runtime_checkable
class Scheduler(Protocol):
    """Decides what is dispatched together, and in which order.

    It may keep what it has learned, of one run or of many, but no runnable: each one it is given must be in
    exactly one of the bundles it returns at once.
    """

    def plan(self, ready: Sequence[Runnable], view: View) -> Sequence[Bundle]:
        """Put each ready runnable into exactly one bundle, most urgent bundle first."""
        ...

    def observe(self, outcome: Outcome) -> None:
        """Learn from an outcome: `outcome.seconds` is how long its function took, where that was measured."""


def takes_cohorts(plan: Plan) -> Plan:
    """Mark a `plan` that takes a `Cohort` for what is ready, and puts it, or slices of it, into bundles as they are.

    Others are given a tuple, whose members can be told apart by identity.
    """
    plan.takes_cohorts = True  # type: ignore[attr-defined]
    return plan


def learns_nothing(observe: Observe) -> Observe:
    """Mark an `observe` that does nothing, and so need not be called."""
    observe.learns_nothing = True  # type: ignore[attr-defined]
    return observe


class Codec(Protocol):
    """Turns events and values into bytes, and back exactly as they were."""

    def encode_event(self, event: Event) -> tuple[bytes, dict[bytes, bytes]]:
        """An event as bytes, and the large values in it, which stand out of line: by content hash.

        Errors: `EncodeError`, with the path to what cannot be stored.
        """
        ...

    def decode_event(self, body: bytes, fetch: Callable[[bytes], bytes]) -> Event:
        """The event; `fetch` gives a large value by its hash.

        Errors: `UnknownType`, `Corrupt`, `BadSignature`, `SchemaTooNew`.
        """
        ...

    def encode(self, value: Any) -> bytes:
        """A value as bytes. Errors: `EncodeError`."""
        ...

    def decode(self, stored: bytes) -> Any:
        """The value. Errors: as `decode_event`."""
        ...

    def check(self, value: Any) -> None:
        """Refuse what could not be stored. Errors: `EncodeError`."""
        ...


@runtime_checkable
class Store(Protocol):
    """Keeps logs. Calls are made by one thread at a time, and may block unless `is_instant`."""

    is_instant: bool
    """Whether every call returns at once, so that the runner need not make it in another thread."""

    def create(self, info: RunInfo) -> None:
        """Note a new run with an empty log. Errors: `DuplicateRun`."""

    def append(self, batch: Sequence[Append]) -> list[Exception | None]:
        """Add to several logs, each wholly or not at all; say for each what was wrong with it, or None.

        `Conflict`: its log is not `expected` long. `UnknownRun`: there is no such run. What concerns the store as
        a whole is raised, and then nothing at all was written.
        """
        ...

    def load(self, run_id: str) -> StoredRun:
        """A run with its log. Errors: `UnknownRun`."""
        ...

    def info(self, run_id: str) -> RunInfo | None:
        """A run without its log, if there is one."""
        ...

    def list(
        self, *, workflow: str | None = None, status: str | None = None, limit: int | None = None
    ) -> list[RunInfo]:
        """Runs in the order of their creation."""
        ...

    def delete(self, run_id: str) -> bool:
        """Forget a run; whether there was one."""
        ...

    def close(self) -> None:
        """Let go of files and connections."""


@runtime_checkable
class Leases(Protocol):
    """What a store offers where several runners share it, or one is to be sure that it is alone.

    A claim raises the run's epoch; all appends carry it, and those of an older one are `Fenced`. Leases only decide
    when a take-over is tried: safety rests on the epoch. Time is the store's.
    """

    def claim(
        self,
        owner: str,
        ttl_s: float,
        *,
        run_id: str | None = None,
        workflows: Sequence[str] | None = None,
        limit: int = 1,
    ) -> Sequence[RunInfo]:
        """Take runs that nobody has: one by its id, or those that have something to do now, most overdue first.

        Something to do: it is running, its `wake_at` has come, or a message waits for it. A run whose lease ran out
        without a release has its `crashes` raised, if it is running. Those and its `trials` are 0 again as soon as its
        log holds more than what came from outside (`Defined`, `InputAccepted`, `Signalled`). Gives what was taken;
        nothing where another runner has it.
        """
        ...

    def renew(self, owner: str, ttl_s: float, epochs: Mapping[str, int]) -> set[str]:
        """Keep these runs for longer; give those of them that are still the owner's."""
        ...

    def release(self, epochs: Mapping[str, int]) -> None:
        """Let go of these runs, in order: they may be claimed at once; `crashes` and `trials` are 0 again."""
        ...


@runtime_checkable
class Loads(Protocol):
    """What a store with leases may offer, so that runners which come upon a backlog together share it fairly."""

    def loads(self, workflows: Sequence[str]) -> Mapping[str, int]:
        """How many running runs of these workflows each owner has, of those whose leases have not run out.

        An owner with such runs, none of them running, has 0; one with none at all is not there.
        """
        ...


@runtime_checkable
class Inbox(Protocol):
    """What a store offers to those who have no lease: anyone may add to the inbox, only the owner to the log."""

    def post(self, message: Message) -> bool:
        """Leave a message for a run; False if one of this id was left before.

        Errors: `UnknownRun`; `Overloaded` where as many wait for the run as may.
        """
        ...

    def waiting(self, owner: str, *, limit: int | None = None) -> Sequence[Message]:
        """The messages for the runs that somebody has now, oldest first.

        With a limit they are about so many: of each run the oldest, at least one, and of none very many.
        """
        ...


@runtime_checkable
class Quotas(Protocol):
    """What a store that several runners share may offer, so that limits, rates and breakers count over all of them.

    An owner's shares of one limit are never more, together with those of all others, than the limit allows; they are
    its own as long as `beat` or `ration` was answered within `ttl_s`. Time is the store's.
    """

    def ration(
        self, owner: str, ttl_s: float, wishes: Sequence[QuotaWish]
    ) -> Sequence[Quota] | None:
        """Answer wishes, in their order; None: nothing was heard of this owner for too long, and its name is used up.

        What a wish keeps stays the owner's, so it is to say at least what it may begin to use before it hears more.
        """
        ...

    def beat(self, owner: str, ttl_s: float) -> tuple[float, frozenset[str]] | None:
        """Say that an owner is there. For how many seconds what it has stays its own, and what others want of it.

        That is told as `"limit key"` or `"rate key"`. None: as in `ration`.
        """
        ...

    def leave(self, owner: str) -> None:
        """An owner is not there any more: what it had is free, that of a rate when its window is over."""
        ...


@runtime_checkable
class Replies(Protocol):
    """What a store with an inbox may offer, so that whoever left a message hears what came of it.

    It keeps the `replies` of appends with their messages, and gives in `StoredRun.owing` the inputs that lack a body.
    """

    def standing(self, asked: Sequence[tuple[str, str]]) -> Mapping[tuple[str, str], Standing]:
        """How messages stand, by run and id; those that are not there, or whose run is not, are left out.

        Asked at each look for all that are waited for, so it is to be quick. A body that is damaged is given empty.
        """
        ...


@runtime_checkable
class Follows(Protocol):
    """What a store offers to whoever follows a log."""

    def since(self, run_id: str, position: int) -> Sequence[Event]:
        """The events of a run from a position on; of a log that has not come so far, none.

        Where some of them were let go of, all that is still there: its baseline comes first. Errors: `UnknownRun`.
        """
        ...


@runtime_checkable
class Upkeep(Protocol):
    """What a store offers to whoever looks after it."""

    def save_snapshot(self, run_id: str, epoch: int, baseline: Event) -> bool:
        """Note what a run's log comes to at some position, so that loading begins there; False if not taken.

        Not where a component was added or replaced after it (`looks_back` of `treadle.model.events`): that may ask for
        what a snapshot leaves out. Then `load` gives all of the log, and `compact` lets go of nothing.
        """
        ...

    def load_all(self, run_id: str) -> StoredRun:
        """A run with all of its log that is still there, whatever snapshots there are."""
        ...

    def compact(self, run_id: str) -> int:
        """Let go of the events before the newest snapshot; says how many."""
        ...

    def verify(self, run_id: str | None = None) -> Sequence[Finding]:
        """Read everything again, and say what is not as it was written."""
        ...

    def sweep(self, *, unused_for_s: float) -> int:
        """Let go of large values that no run refers to; says how many."""
        ...


@runtime_checkable
class Caches(Protocol):
    """What a store offers to keep results for later runs. Nobody counts on an entry being there.

    Beside them stands, for each run that is there, what its components found when they asked: that goes with the run.
    """

    def cached(self, key: str) -> bytes | None:
        """What was put there last under this key; asking counts as use, to within ten minutes.

        Errors: `Corrupt` where it is not what was written.
        """
        ...

    def put_cached(self, entries: Mapping[str, bytes]) -> None:
        """Keep each of these under its key, instead of what was there: all of them, or none."""
        ...

    def trim_cache(
        self, *, unused_for_s: float | None = None, most_bytes: int | None = None
    ) -> Trimmed:
        """Let go of what was not used for so long, then of the longest unused until no more than so much is left."""
        ...

    def put_looks(self, run_id: str, looks: Mapping[str, bytes]) -> None:
        """Keep, by component, what a run found in the cache; nothing happens where there is no such run."""
        ...

    def looks(self, run_id: str) -> Mapping[str, bytes]:
        """What was kept by `put_looks`, as far as it is what was written; nothing of a run that is not there."""
        ...


@runtime_checkable
class Transactions(Protocol):
    """What a database offers to steps that write to it themselves."""

    transactions_at_once: int | None
    """How many may be open at a time."""

    def transaction(
        self, key: str, run_key: str, fence: tuple[str, int] | None = None
    ) -> AbstractContextManager[Any]:
        """A transaction for the step of this idempotency key, of this run; committed at the end, unless it raises.

        `fence`: the id of the run, and the epoch of the claim that the step is executed under. Where that is not the
        run's newest any more, nothing is committed, and `Fenced` is raised. It has `execute` and `executemany` for the
        step; `has_result` and `result`: what an earlier execution committed; `keep(value)`: notes what this one gave.
        """
        ...


class Clock(Protocol):
    """Tells the time, in seconds since 1970 UTC. Must not go back."""

    def now(self) -> float:
        """The time."""
        ...


class Observer:
    """Told what happens in a runner; override what you need. An observer that raises is logged, and harms nothing.

    All calls come from the runner's own thread, and hold it up: be quick.
    """

    def on_start(self, run_id: str, workflow: str) -> None:
        """A run was started, resumed, brought back from the store, or set up again after a crash."""

    def on_accept(self, run_id: str, input: int) -> None:
        """A run took an input. Called where `run` was called, so its context variables are the caller's."""

    def on_dispatch(self, run_id: str, bundle: Bundle) -> None:
        """A bundle goes to an executor: `bundle.executor` says to which."""

    def on_return(self, run_id: str, bundle: Bundle, outcomes: Sequence[Outcome]) -> None:
        """A dispatched bundle is not out any more, and what its outcomes led to was told: once for each `on_dispatch`.

        `outcomes` are its executor's, also where nobody waits for them any more; none if it was still out when the
        runner closed.
        """

    def on_complete(self, run_id: str, runnable: Runnable, outcome: Outcome) -> None:
        """An attempt succeeded (or gave ABSENT)."""

    def on_failed(self, run_id: str, runnable: Runnable, outcome: Outcome, then: str) -> None:
        """An attempt failed; `then`: retry, fallback or give_up."""

    def on_input(self, run_id: str, input: int, status: str) -> None:
        """An input is finished: done, failed or cancelled."""

    def on_idle(self, run_id: str) -> None:
        """A run has nothing left to do."""

    def on_end(self, run_id: str, status: str) -> None:
        """A run was stopped, cancelled or parked."""

    def on_restart(self, run_id: str, error: BaseException) -> None:
        """A run's loop crashed and begins again from its log."""

    def on_append(self, run_ids: Iterable[str], events: int, seconds: float) -> None:
        """A batch was stored."""


class Hooks(Observer):
    """An observer made of functions, and `transform_runnables`, which may reorder, replace or hold back ready work.

    `transform_runnables(run_id, runnables)` returns the runnables to plan; those it leaves out are offered again
    when something has happened in the run.
    """

    def __init__(
        self,
        *,
        on_dispatch: Callable[[str, Bundle], Any] | None = None,
        on_complete: Callable[[str, Runnable, Outcome], Any] | None = None,
        on_failed: Callable[[str, Runnable, Outcome, str], Any] | None = None,
        on_idle: Callable[[str], Any] | None = None,
        transform_runnables: Callable[[str, list[Runnable]], Iterable[Runnable]] | None = None,
    ) -> None:
        if on_dispatch is not None:
            self.on_dispatch = on_dispatch  # type: ignore[method-assign, assignment]
        if on_complete is not None:
            self.on_complete = on_complete  # type: ignore[method-assign, assignment]
        if on_failed is not None:
            self.on_failed = on_failed  # type: ignore[method-assign, assignment]
        if on_idle is not None:
            self.on_idle = on_idle  # type: ignore[method-assign, assignment]
        self.transform_runnables = transform_runnables
