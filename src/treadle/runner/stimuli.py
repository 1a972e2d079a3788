"""What a run's machine is told (stimuli), what it asks for (instructions), and when which is legal.

Rules of this file: it holds data only. Everything that decides which stimulus is legal in which status, and what status
may follow, is in `TRANSITIONS`; the picture in the docs and the tests come from it. `ANSWERS` says which instruction
is answered by which stimulus: each by exactly one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, TypeAlias

from msgspec import Struct

from treadle.engine.loop import Drive
from treadle.model.bundles import Bundle
from treadle.model.events import Event
from treadle.model.nodes import Context
from treadle.model.runnables import Outcome, Runnable
from treadle.policies.matching import Policies
from treadle.policies.policy import CircuitBreaker, RateLimit
from treadle.runner.ends import End
from treadle.value import Workflow

# ------------------------------------------------------------------------------------- statuses

NEW: Final = "new"
"""Made, and not begun."""
RUNNING: Final = "running"
"""Some input is open."""
IDLE: Final = "idle"
"""Every input is finished."""
STOPPING: Final = "stopping"
"""Nothing new is dispatched; what is out is waited for."""
STOPPED: Final = "stopped"
"""At an orderly end; it may be resumed, and what was left undone goes on then."""
CANCELLING: Final = "cancelling"
"""All open inputs are withdrawn; what is out is waited for."""
CANCELLED: Final = "cancelled"
"""Somebody ended it for good."""
PARKED: Final = "parked"
"""Treadle gave it up (`poisoned`, `unknown_definition`): the note says why. It may be resumed."""

STATUSES: Final = (NEW, RUNNING, IDLE, STOPPING, STOPPED, CANCELLING, CANCELLED, PARKED)
FINAL: Final = frozenset({STOPPED, CANCELLED, PARKED})


# -------------------------------------------------------------------------------------- stimuli


class Begin(Struct, frozen=True):
    """The machine was made, from a template or from a log: go on."""

    at: float


class Submit(Struct, frozen=True, kw_only=True):
    """An input comes in."""

    request: int
    value: Any
    at: float
    key: str | None = None
    context: Context | None = None
    policies: Policies | None = None
    deadline_at: float | None = None
    message: str | None = None
    """The message of the inbox that asked for it."""


class Change(Struct, frozen=True, kw_only=True):
    """The graph is to be edited: `change` makes the new workflow of the old one, or raises."""

    request: int
    change: Callable[[Workflow], Workflow]
    at: float


class Signal(Struct, frozen=True, kw_only=True):
    """Somebody says what a wait of this name is waiting for."""

    request: int
    name: str
    payload: Any
    at: float
    key: str | int | None = None
    message: str | None = None


class CancelInput(Struct, frozen=True, kw_only=True):
    """Whatever is left to do for an input is to be withdrawn; where its number is not known, it is that of `key`."""

    request: int
    input: int | None
    at: float
    reason: str = ""
    key: str | None = None
    message: str | None = None


class CancelRun(Struct, frozen=True, kw_only=True):
    """The run is to end for good."""

    request: int
    at: float
    reason: str = ""
    message: str | None = None


class Stop(Struct, frozen=True, kw_only=True):
    """The run is to end in order; `now`: without waiting for what is out, which stays to be done.

    `queued` are the bundles that were taken back before they began: nobody waits for them, and they stay to be done.
    """

    request: int
    at: float
    now: bool = False
    queued: tuple[int, ...] = ()


class Began(Struct, frozen=True):
    """The executor began with a bundle, whose time counts from here."""

    number: int
    at: float


class Finished(Struct, frozen=True):
    """Bundles came back: answers `Execute`."""

    bundles: tuple[tuple[int, Sequence[Outcome]], ...]
    at: float


class Drove(Struct, frozen=True):
    """Work was executed in line: answers `DriveOn`."""

    workflow: Workflow
    drive: Drive
    at: float


class Stored(Struct, frozen=True):
    """The log is stored up to here: answers `Append`."""

    position: int
    at: float


class Woke(Struct, frozen=True):
    """The moment has come: answers the latest `WakeAt`."""

    at: float


Wish: TypeAlias = Submit | Signal | CancelInput | CancelRun
"""What may come by a message of the inbox."""

Stimulus: TypeAlias = (
    Begin
    | Submit
    | Signal
    | Change
    | CancelInput
    | CancelRun
    | Stop
    | Began
    | Finished
    | Drove
    | Stored
    | Woke
)

# --------------------------------------------------------------------------------- instructions


class CacheTerms(Struct, frozen=True):
    """Which entries of the store's cache are those of a node's work."""

    name: str
    """The component, for a person."""
    code: str
    extras: tuple[Any, ...]
    ttl_s: float | None


class Terms(Struct, frozen=True):
    """On which terms a bundle may start; the same object for all work of one node."""

    executor: str
    rank: int = 0
    limits: tuple[tuple[str, int], ...] = ()
    rates: tuple[tuple[str, RateLimit], ...] = ()
    breakers: tuple[tuple[str, CircuitBreaker], ...] = ()

    is_free: bool = True
    """Only the executor's own room counts."""
    timeout_s: float | None = None
    """What takes longer has failed, also in the eyes of a circuit breaker."""
    cache: CacheTerms | None = None
    """Somebody is to be asked for what it gave before; then it is not free."""


class Execute(Struct, frozen=True):
    """Give a bundle to an executor when its terms allow; `tell`: say when it begins."""

    number: int
    bundle: Bundle
    terms: Terms
    tell: bool = False


class Withdraw(Struct, frozen=True):
    """Cancel a bundle: its `Execute` is to be answered soon."""

    number: int
    why: str = ""
    """timeout, deadline, or "" where nobody wants it any more."""


class DriveOn(Struct, frozen=True):
    """Execute ready work in line, on the terms that `Machine.in_line` gives at that moment."""


class Told(Struct, frozen=True):
    """What whoever left a message is to be told: which input it is, how that ended, or why it is none."""

    message: str
    input: int | None = None
    end: End | None = None
    error: Exception | None = None


class Store(Struct, frozen=True):
    """Add events to the run's stored log, which is `expected` long; `position` is how long it is then."""

    expected: int
    position: int
    events: tuple[Event, ...]
    at: float
    wake_at: float | None = None
    """When the run next has something to do by itself."""
    consumed: tuple[str, ...] = ()
    """The messages that are answered by this."""
    intents: tuple[bytes, ...] = ()
    """The attempts that begin when this is stored, and must not begin twice."""
    replies: tuple[Told, ...] = ()
    """What is told, when this is stored, to those who left messages."""


class WakeAt(Struct, frozen=True):
    """Say when this moment has come; replaces the one before, which then needs no answer."""

    at: float


class Reply(Struct, frozen=True):
    """The answer to a request."""

    request: int
    value: Any = None
    error: Exception | None = None


class Accepted(Struct, frozen=True):
    """For observers: an input was taken."""

    input: int


class InputFinished(Struct, frozen=True):
    """Nothing is left to do for an input."""

    input: int
    reason: str | None = None
    """Why it was cancelled, if it was: `"deadline"`, or what the caller said."""


class Became(Struct, frozen=True):
    """The run has another status now."""

    status: str
    note: str | None = None


class Rests(Struct, frozen=True):
    """Inputs are open, and nothing can be done for them until a moment comes or somebody says something."""


class Ambiguous(Struct, frozen=True):
    """An attempt that must not be made twice was interrupted, and nobody knows how far it came: park the run."""

    runnable: Runnable
    why: str = ""


class Tell(Struct, frozen=True):
    """For observers: an attempt ended. `then` is "" after a success, else retry, fallback or give_up."""

    runnable: Runnable
    outcome: Outcome
    then: str = ""


class Warn(Struct, frozen=True):
    """For the log of the process: something that is nobody's answer."""

    text: str
    error: BaseException | None = None


Instruction: TypeAlias = (
    Execute
    | Withdraw
    | DriveOn
    | Store
    | WakeAt
    | Reply
    | Accepted
    | InputFinished
    | Became
    | Rests
    | Ambiguous
    | Tell
    | Warn
)

ANSWERS: Final[Mapping[type, tuple[type, ...]]] = MappingProxyType(
    {
        Execute: (Finished,),
        DriveOn: (Drove,),
        Store: (Stored,),
        WakeAt: (Woke,),
        Withdraw: (),  # its Execute is answered, sooner
        Reply: (),
        Accepted: (),
        InputFinished: (),
        Became: (),
        Rests: (),
        Ambiguous: (),
        Tell: (),
        Warn: (),
    }
)
"""Each instruction with the stimulus that answers it; those that need none are done when they are given."""

_OPEN: Final = (RUNNING, IDLE)
_ASKED: Final = (Submit, Signal, Change, CancelInput, Began)
"""What brings nothing back: a run that waits for what is out does not come to its end by these."""
_CAME: Final = (Finished, Drove, Stored)
"""What may be the last that a run waits for."""

TRANSITIONS: Final[Mapping[tuple[str, type], tuple[str, ...]]] = MappingProxyType(
    {
        (NEW, Begin): _OPEN,
        **{(RUNNING, stimulus): _OPEN for stimulus in (*_ASKED, *_CAME)},
        **{(IDLE, stimulus): _OPEN for stimulus in (Submit, Change)},
        **{(IDLE, stimulus): (IDLE,) for stimulus in (Signal, CancelInput, Began, *_CAME)},
        (RUNNING, Woke): (*_OPEN, CANCELLING, CANCELLED),
        (IDLE, Woke): (IDLE, CANCELLING, CANCELLED),
        **{(status, CancelRun): (CANCELLING, CANCELLED) for status in _OPEN},
        **{(status, Stop): (STOPPING, STOPPED) for status in (*_OPEN, STOPPING)},
        **{(STOPPING, stimulus): (STOPPING,) for stimulus in _ASKED},
        **{(STOPPING, stimulus): (STOPPING, STOPPED) for stimulus in _CAME},
        (STOPPING, CancelRun): (CANCELLING,),
        (STOPPING, Woke): (STOPPING, CANCELLING),
        **{(CANCELLING, stimulus): (CANCELLING,) for stimulus in (*_ASKED, CancelRun, Stop, Woke)},
        **{(CANCELLING, stimulus): (CANCELLING, CANCELLED) for stimulus in _CAME},
        **{
            (status, stimulus): (status,)
            for status in (STOPPED, CANCELLED)
            for stimulus in (*_ASKED, CancelRun, Stop, *_CAME, Woke)
        },
    }
)
"""In which status which stimulus is legal, and which statuses may follow it.

A machine is never parked: its supervisor parks the run, and lets the machine go. After the end, requests are
refused by their replies, and late answers change nothing.
"""


def illegal(status: str, kind: type) -> str:
    """What is said of a stimulus that a status does not take."""
    legal = sorted(each.__name__ for known, each in TRANSITIONS if known == status)
    return f"a run that is {status} cannot take {kind.__name__}; it can take: {', '.join(legal)}."
