"""History: the closed list of what can have happened to a workflow.

Every event is frozen data, in the past tense, and says at which position of the log it stands. Events name
nodes by a stable key (`component` or `component/part`), never by index, and hold no code. Times are given by
whoever drives the workflow and are `None` in a bare one. What becomes ready downstream of an event follows
from the graph, so it is not written.

`made_from` says at which positions the events stand whose values went in; `sources` gives them as a tuple. Which
element of an `Expanded` a value came from is told by its scope.

Events are written as arrays (see `treadle.codec`): the number of a kind (`tag`) is for ever, a field never changes its
place, and a new field stands last and has a default, so that what was written before is read as it was.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final, TypeAlias

from msgspec import Struct

from treadle.model.errordata import ErrorData
from treadle.model.nodes import ComponentShape

Path: TypeAlias = tuple[int, ...]
"""A scope: the number of the input, then item indices and firings of correlated joins, outermost first."""


Work: TypeAlias = tuple[str, Path]
"""A unit of work: node and scope."""

Positions: TypeAlias = int | tuple[int, ...]
"""Positions in the log. One alone stands without its tuple: most facts are made from one, and a workflow may hold
millions of them."""


def positions(made_from: Positions) -> tuple[int, ...]:
    """The positions as a tuple."""
    return (made_from,) if isinstance(made_from, int) else made_from


class MadeFrom(Struct, frozen=True):
    """What events have in common that record what was made from other events."""

    @property
    def sources(self) -> tuple[int, ...]:
        """The positions of the events whose values went in, in the order of the ports."""
        return positions(self.made_from)  # type: ignore[attr-defined]


class Defined(Struct, frozen=True, array_like=True, tag=0):
    """The graph as it was when the first input came: always the first event (or a `Baseline` is)."""

    position: int
    name: str
    components: tuple[ComponentShape, ...]
    retain: str | int = "all"
    fingerprint: str = ""
    run_key: str | None = None


class InputAccepted(Struct, frozen=True, array_like=True, tag=1):
    """An input came in and opened the root scope `(number,)`."""

    position: int
    scope: Path
    value: Any
    key: str | None = None
    at: float | None = None
    deadline_at: float | None = None


class Planned(Struct, frozen=True, array_like=True, tag=2):
    """The conditions and key functions that watch one fact were asked.

    `held` names the conditions that were true (all others that watch the fact were not); `keys` gives for
    each keyed node the key of this fact; `failed` gives what raised, by condition or node (and `in_flight`, where
    that halts the input, the work that was out).
    """

    position: int
    node: str
    scope: Path
    held: tuple[str, ...] = ()
    keys: tuple[tuple[str, Any], ...] = ()
    failed: tuple[tuple[str, ErrorData], ...] = ()
    read_at: int | None = None
    in_flight: tuple[Work, ...] = ()
    asked: tuple[str, ...] = ()
    """The watchers that were asked, where it was not all: a backfill asks the new ones alone."""


class Applied(MadeFrom, frozen=True, array_like=True, tag=3):
    """A runnable's outcome was applied: the fact of `node` in `scope` is `value`."""

    position: int
    node: str
    scope: Path
    value: Any
    made_from: Positions
    generation: int = 0
    attempt: int = 1
    read_at: int | None = None
    seconds: float | None = None


class AttemptFailed(Struct, frozen=True, array_like=True, tag=4):
    """An attempt failed and another will follow: not before `retry_at`, and all are to be over by `deadline_at`.

    `fallback`: what follows is what the work's policy falls back on.
    """

    position: int
    node: str
    scope: Path
    error: ErrorData
    generation: int = 0
    attempt: int = 1
    read_at: int | None = None
    seconds: float | None = None
    retry_at: float | None = None
    deadline_at: float | None = None
    fallback: bool = False


class Failed(MadeFrom, frozen=True, array_like=True, tag=5):
    """A runnable failed for good and gives nothing; `on_failure` is `"block"` or `"halt"`.

    Where it halts its input, `in_flight` names the work that was out, and so was not withdrawn.
    """

    position: int
    node: str
    scope: Path
    error: ErrorData
    made_from: Positions
    on_failure: str = "block"
    generation: int = 0
    attempt: int = 1
    read_at: int | None = None
    seconds: float | None = None
    in_flight: tuple[Work, ...] = ()


class Skipped(MadeFrom, frozen=True, array_like=True, tag=6):
    """A runnable gave ABSENT: it said so itself, or failed (`error`) where failures are skipped."""

    position: int
    node: str
    scope: Path
    made_from: Positions
    error: ErrorData | None = None
    generation: int = 0
    attempt: int = 1
    read_at: int | None = None
    seconds: float | None = None


class Expanded(MadeFrom, frozen=True, array_like=True, tag=7):
    """A fan-out opened one scope per element of `values`: `(*scope, 0)`, `(*scope, 1)`, ..."""

    position: int
    node: str
    scope: Path
    values: tuple[Any, ...]
    made_from: Positions
    generation: int = 0
    attempt: int = 1
    seconds: float | None = None


class WaitOpened(MadeFrom, frozen=True, array_like=True, tag=8):
    """A node began to wait for a signal of this name and key, or for a moment.

    It waits for `timeout_s`, which is over at `due_at` (None as long as nobody has told the time). `signal` says
    at which position the signal stands that came before the wait and answers it; `error`, that its key or its time
    could not be told, which fails it.
    """

    position: int
    node: str
    scope: Path
    name: str
    key: str | None = None
    due_at: float | None = None
    made_from: Positions = ()
    timeout_s: float | None = None
    at: float | None = None
    generation: int = 0
    signal: int | None = None
    error: ErrorData | None = None


class Signalled(Struct, frozen=True, array_like=True, tag=9):
    """A signal arrived: it answers the wait of `node` in `scope`, or is kept until one of its name and key opens."""

    position: int
    name: str
    value: Any
    key: str | None = None
    at: float | None = None
    node: str | None = None
    scope: Path = ()


class TimerSet(Struct, frozen=True, array_like=True, tag=17):
    """A wait that was opened when nobody told the time has its moment now: `at` is when its clock began."""

    position: int
    node: str
    scope: Path
    due_at: float
    at: float


class TimerFired(Struct, frozen=True, array_like=True, tag=10):
    """The moment a node waited for has come."""

    position: int
    node: str
    scope: Path
    at: float | None = None


class ScopeCancelled(Struct, frozen=True, array_like=True, tag=11):
    """Somebody withdrew all that was left to do in a scope."""

    position: int
    scope: Path
    reason: str = ""
    at: float | None = None


class ComponentAdded(Struct, frozen=True, array_like=True, tag=12):
    """A component joined the graph of a workflow already under way."""

    position: int
    component: ComponentShape
    backfill: bool = False


class ComponentReplaced(Struct, frozen=True, array_like=True, tag=13):
    """A component's code (and, where it fits, its inner shape) was replaced."""

    position: int
    component: ComponentShape
    reset: bool = False


class ComponentRemoved(Struct, frozen=True, array_like=True, tag=14):
    """A component left; `rewired` are its children as they are wired now."""

    position: int
    name: str
    rewired: tuple[ComponentShape, ...] = ()


class Orphaned(Struct, frozen=True, array_like=True, tag=15):
    """The first outcome of withdrawn work came back; it changed nothing."""

    position: int
    node: str
    scope: Path
    generation: int
    attempt: int = 1
    error: ErrorData | None = None
    value: Any = None


class Baseline(Struct, frozen=True, array_like=True, tag=16):
    """All events before `position`, folded into what later events need (see `engine/baseline.py`).

    It begins a log in place of `Defined`, and takes no position of its own: the event after it stands at `position`.
    """

    position: int
    defined: Defined
    state: dict[str, Any]


Event: TypeAlias = (
    Defined
    | InputAccepted
    | Planned
    | Applied
    | AttemptFailed
    | Failed
    | Skipped
    | Expanded
    | WaitOpened
    | Signalled
    | TimerSet
    | TimerFired
    | ScopeCancelled
    | ComponentAdded
    | ComponentReplaced
    | ComponentRemoved
    | Orphaned
    | Baseline
)

FROM_OUTSIDE: Final = frozenset({Defined, InputAccepted, Signalled})
"""The events that come about whether or not a run can go on."""

LOOKING_BACK: Final = frozenset({ComponentAdded, ComponentReplaced})
"""The edits that may ask for what came before them: by `backfill`, or by markers that read history."""


def looks_back(events: Sequence[Event]) -> bool:
    """Whether a log that begins with a snapshot goes on with what the snapshot may have left out."""
    is_short = bool(events) and type(events[0]) is Baseline
    return is_short and any(type(event) in LOOKING_BACK for event in events)


def comes_further(events: Iterable[Event]) -> bool:
    """Whether a run got on by itself: then it is not what it does next that took its process before."""
    for event in events:  # noqa: SIM110 - each append asks, and `any` takes thrice as long
        if type(event) not in FROM_OUTSIDE:
            return True
    return False
