"""What is out: a bundle between dispatched and answered, what a run was started with, and when work is over.

Pure, like all that a machine is made of.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, TypeAlias

from msgspec import Struct, structs

from treadle.engine.execute import failed_outcome
from treadle.errors import DeadlineExceeded, TimedOut
from treadle.interfaces import Scheduler
from treadle.model.bundles import Bundle
from treadle.model.runnables import Outcome, Runnable
from treadle.policies.policy import Policy
from treadle.policies.retry import delay_s
from treadle.runner.budget import Purse

WINDOW: Final = 10_000
"""How much work of one run may be prepared and not yet answered, so that a fan-out of millions costs memory for
thousands."""

DISPATCHED: Final = "dispatched"
CANCELLING: Final = "cancelling"

WorkKey: TypeAlias = tuple[str, tuple[int, ...], int]
"""Which piece of work: node, scope, generation."""

DELAYED: Final = 0
"""In place of a bundle's number: the work waits for its moment, or for a slot."""


class Config(Struct, kw_only=True):
    """What a run was started with, beside its workflow."""

    max_concurrency: int | None = None
    """How many bundles of this run may be out at once."""
    max_open: int | None = None
    """How many inputs may be open at once."""
    window: int = WINDOW
    scheduler: Scheduler | None = None
    """None: each runnable alone, in order."""
    transform: Callable[[list[Runnable]], list[Runnable]] | None = None
    is_stored: bool = True
    is_instant: bool = True
    """Whether `Store` is answered at once, so that nothing has to wait for it."""
    may_keep: bool = False
    """Whether values may stay in a cluster: not where the log is to have them."""
    is_observed: bool = False
    deadline_at: float | None = None
    interrupted: frozenset[bytes] = frozenset()
    """The attempts that were about to begin, or had begun, when the run was last at work."""
    decisions: Mapping[str, Any] = MappingProxyType({})
    """What somebody found out about interrupted attempts: by component, what it gave, or a `RetryWith`."""
    owing: Mapping[str, int] = MappingProxyType({})
    """Which messages became inputs before, and wait to be told what comes of them."""
    purse: Purse | None = None
    """What may be spent on retries, shared with all runs of the runner; None: as much as policies wish."""

    @property
    def is_slow(self) -> bool:
        """Whether what depends on an outcome has to wait until that is stored."""
        return self.is_stored and not self.is_instant


class Out(Struct):
    """A bundle that was dispatched and not answered, and when its time is over."""

    bundle: Bundle
    policy: Policy
    status: str = DISPATCHED
    ends_at: float | None = None
    """When all attempts are to be over."""
    why: str = ""
    """Why it was cancelled: timeout, deadline, or "" for an input that was."""
    is_plain: bool = False
    """It is of one runnable that nobody has set a time for: of its success there is nothing to decide."""


def delay(entry: tuple[float, int, Runnable]) -> tuple[float, int]:
    """What delayed work is sorted by."""
    return entry[:2]


def ends_by(first: Runnable, policy: Policy, at: float) -> float | None:
    """When all attempts of work that is dispatched now are to be over; a fallback comes after that, if need be."""
    if first.is_fallback:
        return None
    if first.deadline_at is None and policy.deadline_s is not None:
        return at + policy.deadline_s
    if first.deadline_at is None or policy.deadline_s is None:
        return first.deadline_at
    return min(first.deadline_at, at + policy.deadline_s)  # a clock that was wrong gives no more


def due_at(runnable: Runnable, policy: Policy, at: float) -> float:
    """When work is to be tried again: as its log says, but no later than its policy says from now on.

    The clock by which that was written may have been wrong by years, and be right again.
    """
    if runnable.retry_at is None:
        return at
    key = runnable.idempotency_key if policy.backoff == "jitter" else ""
    return min(runnable.retry_at, at + delay_s(policy, max(0, runnable.attempt - 2), key))


def in_time(out: Out, runnable: Runnable, outcome: Outcome) -> Outcome:
    """The outcome, or that it came too late: a result after its time is none, wherever it ran."""
    limit = out.policy.timeout_s
    took = outcome.seconds
    if out.why == "timeout" or (limit is not None and took is not None and took > limit):
        error = TimedOut(f"{runnable.component!r} took longer than {limit} s.")
        return structs.replace(failed_outcome(runnable, error), seconds=took)
    if out.why == "deadline":
        limit = out.policy.deadline_s
        late = f"{runnable.component!r} was not done {limit} s after it was first dispatched."
        return failed_outcome(runnable, DeadlineExceeded(late))
    return outcome


def is_plain(bundle: Bundle, policy: Policy) -> bool:
    """Whether a bundle is of one runnable that nobody has set a time for."""
    is_single = len(bundle.runnables) == 1 and not bundle.links
    return is_single and not bundle.runnables[0].is_fallback and policy.timeout_s is None
