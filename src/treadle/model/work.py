"""The moving parts of a workflow's memory: scopes, units of work, and what waits for what.

They are mutable and belong to one memory at a time. None of them is ever seen by a user: views and runnables
are made from them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Any, Final, TypeAlias

from msgspec import Struct, field

from treadle.model.definition import Definition
from treadle.model.events import (
    AttemptFailed,
    Event,
    Path,
    Positions,
    Signalled,
    TimerFired,
    WaitOpened,
)
from treadle.model.facts import Failure
from treadle.model.program import Node, Program

READY: Final = 0
OUT: Final = 1
"""Handed out by `prepare_for_dispatch` and not yet answered."""
QUEUED: Final = 2
"""Waiting for its turn at a stateful node."""
WAITING: Final = 3
"""Waiting for a signal or a moment: never ready, never out."""

Arrival: TypeAlias = tuple[Any, int]
"""A value and the position of the event that gave it."""


class Scope(Struct, eq=False):
    """The lineage of an input, of one element, or of one firing of a correlated join."""

    root: Root
    parent: Any
    """The scope around this one; None for a root."""
    path: Path
    depth: int
    unit: Unit | None = None
    """What is to be done in it: mostly one unit of work at a time, for which a dict would be a burden."""
    units: dict[int, Unit] | None = None
    """By node: the units beside that one."""
    waiting: dict[int, Waiting] | None = None
    """Joins of this scope that have some of their values."""
    broadcasts: dict[tuple[int, int], Arrival | None] | None = None
    """By (node, port) of a deeper join: what arrived here for all its scopes; None: ran, gave nothing."""
    children: dict[int, list[Scope]] | None = None
    """By opener: the scopes it opened, in order."""
    counts: dict[int, int] | None = None
    """By barrier: how much live work upstream of it is in this scope (or inside it, at its own depth)."""
    groups: dict[int, Group] | None = None
    broken: set[int] | None = None
    """Reduces with a failure upstream of them in this very scope."""


class Root(Scope, eq=False):
    """The root scope of one input, with what has happened in it."""

    number: int = 0
    key: str | None = None
    live: int = 0
    """Units, unplanned facts, waits and armed barriers anywhere below; at zero the input is finished."""
    events: list[Event] = []
    absents: list[tuple[str, Path, int]] = []
    """Which nodes gave ABSENT, where, and with which event: it leaves no fact, and a backfill is to give it again."""
    armed: dict[int, dict[Scope, None]] | None = None
    has_failed: bool = False
    """Something in it failed for good, or it was cancelled: most inputs need no looking for that."""
    halted: bool = False
    done: bool = False
    folded: bool = False
    """Only the results were kept (`retain="results"`)."""
    fired: frozenset[str] = frozenset()
    """Of a folded input: the fan-outs that fired, for those that gave nothing are told from those that did not."""
    starved: tuple[tuple[str, Path, tuple[str, ...]], ...] = ()
    """Joins that were dropped half full: component, scope, the parents that gave nothing."""


class Unit(Struct, eq=False):
    """One unit of work: a node, the values for its ports, and how far it has come."""

    node: Node
    scope: Scope
    args: tuple[Any, ...]
    made_from: Positions
    made_at: int
    status: int = READY
    generation: int = 0
    attempt: int = 1
    cell: Cell | None = None
    injected: dict[str, Any] | None = None
    read_at: int | None = None
    problem: BaseException | None = None
    failed: AttemptFailed | None = None
    """How its last attempt ended, if there was one."""
    kept: dict[str, Any] | None = None
    """What its markers read of history for its first attempt, where that was found again by a replay."""


class Wait(Unit, eq=False):
    """A unit that waits: how it was opened, when its time is over, and what ended it."""

    opened: WaitOpened | None = None
    due_at: float | None = None
    answer: Signalled | TimerFired | None = None


class Waits(Struct, eq=False):
    """All that waits for a signal or a moment, and the signals that came before their waits."""

    units: dict[Wait, None] = {}
    """From the arrival of the value to wait with, until the wait gave something or was withdrawn."""
    open: dict[str, dict[str, dict[Wait, None]]] = {}
    """Those that a signal can answer, by its name and key, in the order of opening."""
    kept: dict[str, dict[str | None, deque[Signalled]]] = {}
    """Signals that nobody waits for yet, by name and key, in the order of arrival."""
    timers: list[tuple[float, int, Wait]] = []
    """A heap of moments; what was answered or withdrawn stays in it until it comes up, or is too much."""
    unset: dict[Wait, None] = {}
    """Opened when nobody told the time: their clocks have not begun."""


class Waiting(Struct, eq=False):
    """A join that has some of its values: per port what arrived."""

    values: list[Any]
    sources: list[int | None]
    missing: int
    is_done: bool = False
    has_absent: bool = False


class Group(Struct, eq=False):
    """A fan-out that a reduce will close: what arrived from where, what was passed over, what failed."""

    size: int
    values: list[tuple[Path, Any, int]] = []
    passed: set[int] = set()
    """Items of which ABSENT arrived."""
    failed: dict[int, tuple[tuple[int, Path], Failure, int]] = {}


class Cell(Struct, eq=False):
    """One state of an accumulator: its value, who is at work on it, who waits."""

    key: Any
    value: Any
    started: bool = False
    busy: Unit | None = None
    queue: deque[Unit] = field(default_factory=deque)


class Partners(Struct, eq=False):
    """Facts of a correlated join that wait for partners from other inputs."""

    waiting: dict[Any, list[deque[Arrival]]] = {}
    newest: dict[int, Arrival] = {}


class Track(Struct, eq=False):
    """What injection markers may ask of a component: how many values, the newest, all of them."""

    count: int = 0
    newest: Any = None
    values: list[Any] | None = None


class Unplanned(Struct, eq=False):
    """A fact whose watchers have not been asked yet."""

    node: Node
    scope: Scope
    value: Any
    position: int
    only: frozenset[int] | None = None
    """After a backfill: the new watchers, which alone are still to be asked."""


class UnplannedWait(Unplanned, eq=False):
    """A wait that is to be opened, or brought to its end; the value is what it waits with."""


class Mark(Struct, frozen=True, gc=False):
    """A journal entry that is no event: work handed out (`out`) or put back."""

    out: bool
    work: tuple[tuple[str, tuple[Path, ...]], ...]
    """In order, and in runs of one node: its key, and the scopes."""


def mark_out(unit: Unit) -> Mark:
    """The mark of one unit that is handed out."""
    return Mark(out=True, work=((unit.node.key, (unit.scope.path,)),))


def mark_of(units: Iterable[Unit], *, out: bool) -> Mark:
    """The mark of some units, in their order: one object for many items of a fan-out."""
    runs: list[tuple[str, list[Path]]] = []
    node: Node | None = None
    paths: list[Path] = []
    for unit in units:
        if unit.node is not node:
            node, paths = unit.node, []
            runs.append((node.key, paths))
        paths.append(unit.scope.path)
    return Mark(out, tuple([(key, tuple(paths)) for key, paths in runs]))


class Memory(Struct, eq=False):
    """The evaluated state of a workflow: a fold over its log, owned by one handle at a time."""

    program: Program
    definition: Definition
    retain: str | int
    position: int
    """The position that the next event will have."""
    ready: deque[Unit] = field(default_factory=deque)
    released: list[tuple[int, int, Path, Unit]] = []
    """Work put back, as a heap: it goes out again in its old place in the order."""
    out: dict[Unit, None] = {}
    """Work in flight, in the order in which it went out."""
    unplanned: deque[Unplanned] = field(default_factory=deque)
    roots: dict[int, Root] = {}
    next_number: int = 0
    open_count: int = 0
    """How many inputs are not finished."""
    cells: dict[int, dict[Any, Cell]] = {}
    partners: dict[int, Partners] = {}
    tracks: dict[int, Track] = {}
    keys: dict[str, int] = {}
    quiet: deque[int] = field(default_factory=deque)
    """Finished inputs that are still remembered, oldest first."""
    forgotten: int = 0
    """How many events belong to inputs that `retain` has let go since the last baseline."""
    fold_after: int = 0
    """How many must be forgotten before it is worth looking whether a baseline pays."""
    closed: list[int] | None = None
    """Inputs that finished since somebody looked, where somebody does."""
    withdrawn: dict[tuple[str, int, Path], None] = {}
    """Work whose first outcome, should one come, is to be recorded as orphaned."""
    waits: Waits | None = None
    """Made when something waits for the first time, or a signal comes."""
    absents: deque[tuple[Node, Scope]] = field(default_factory=deque)
    """Nodes that give ABSENT, to be followed up before the event is over."""
    checks: deque[tuple[Node, Scope]] = field(default_factory=deque)
    """Barriers that may be clear, to be looked at before the event is over."""
