"""Retry arithmetic: whether a failed attempt is followed by another, when, and of what kind. Nothing sleeps here."""

from __future__ import annotations

import builtins
import hashlib
import sys
from typing import Any, Final

from msgspec import Struct

from treadle.errors import BadValue, EncodeError, MissingExtra, NotPortable, UsageError
from treadle.model.runnables import Outcome
from treadle.policies.policy import NO_FALLBACK, Policy

MISUSE: Final = (UsageError, NotPortable, BadValue, EncodeError, MissingExtra)
"""Errors that another attempt cannot mend: they are not retried unless `retry_on` names them."""

RETRY: Final = "retry"
FALLBACK: Final = "fallback"
GIVE_UP: Final = "give_up"


class Verdict(Struct, frozen=True):
    """What follows a failed attempt: `then` is retry, fallback or give_up; the former after `delay_s`."""

    then: str
    delay_s: float = 0.0
    reason: str = ""


def decide(
    policy: Policy,
    outcome: Outcome,
    *,
    key: str,
    now: float,
    deadline_at: float | None,
    was_fallback: bool,
) -> Verdict:
    """What follows a failed attempt.

    `key` spreads jittered delays: the runnable's idempotency key, so that no randomness is needed and two runs that
    fail at the same moment do not come back together. Units: `now` and `deadline_at` in seconds.
    """
    if was_fallback:
        return Verdict(GIVE_UP, reason="the fallback failed too")
    last = GIVE_UP if policy.fallback is NO_FALLBACK else FALLBACK
    if outcome.attempt > policy.max_retries:
        return Verdict(last, reason=f"attempt {outcome.attempt} of {policy.max_retries + 1}")
    if not is_worth_retrying(policy, outcome):
        return Verdict(last, reason="this kind of error is not retried")
    delay = delay_s(policy, outcome.attempt - 1, key)
    if deadline_at is not None and now + delay >= deadline_at:
        return Verdict(last, reason="no time is left for another attempt")
    return Verdict(RETRY, delay, f"attempt {outcome.attempt} of {policy.max_retries + 1}")


def delay_s(policy: Policy, retries: int, key: str) -> float:
    """How long to wait before the next attempt, `retries` having been made already.

    >>> [delay_s(Policy(backoff="exponential", base_delay_s=1), n, "") for n in range(4)]
    [1.0, 2.0, 4.0, 8.0]
    """
    base, most = float(policy.base_delay_s), float(policy.max_delay_s)
    if policy.backoff == "none":
        return 0.0
    if policy.backoff == "linear":
        return min(base * (retries + 1), most)
    grown = min(base * 2.0 ** min(retries, 1000), most)
    if policy.backoff == "exponential":
        return grown
    return grown * _draw(key, retries)


def _draw(key: str, retries: int) -> float:
    """A number in (0, 1] that looks random, and is the same on every replay."""
    digest = hashlib.blake2b(f"{key}\0{retries}".encode("utf-8", "surrogatepass"), digest_size=7)
    return (int.from_bytes(digest.digest()) + 1) / (1 << 56)


def is_worth_retrying(policy: Policy, outcome: Outcome) -> bool:
    """Whether `retry_on` wants another attempt after this error.

    An exception that could not come back from a worker is judged by its type's name.
    """
    wanted = policy.retry_on
    error = outcome.exception
    if error is None:
        kind = _type_of(outcome)
        if wanted is None:
            return not (kind is not None and issubclass(kind, MISUSE))
        if kind is None or not isinstance(wanted, (type, tuple)):
            return False
        return issubclass(kind, wanted)
    if wanted is None:
        return not isinstance(error, MISUSE)
    if isinstance(wanted, (type, tuple)):
        return isinstance(error, wanted)
    return bool(_asked(wanted, error))


def _asked(predicate: Any, error: BaseException) -> bool:
    try:
        return bool(predicate(error))
    except Exception:  # noqa: BLE001 - a predicate of the user's that fails says nothing
        return False


def _type_of(outcome: Outcome) -> type[BaseException] | None:
    """The exception's type by its recorded name, where its module is loaded."""
    name = "" if outcome.error is None else outcome.error.type
    parts = name.split(".")
    for cut in range(
        len(parts) - 1, -1, -1
    ):  # a type may be inside another, as in `module.Outer.Inner`
        found: Any = sys.modules.get(".".join(parts[:cut])) if cut else builtins
        if found is not None:
            for part in parts[cut:]:
                found = getattr(found, part, None)
            return found if isinstance(found, type) and issubclass(found, BaseException) else None
    return None
