"""What a runner knows of one run, whether its machine is at work or put away."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

from treadle.interfaces import RunInfo, Scheduler
from treadle.model.nodes import Context
from treadle.policies.matching import NO_POLICIES, Policies
from treadle.runner.heard import Heard
from treadle.runner.machine import Machine
from treadle.runner.stimuli import NEW, RUNNING, STATUSES
from treadle.runner.ticket import Ticket
from treadle.value import Workflow

FULL = "full"
"""Stored, and safe from a power cut, before anything that depends on it is seen."""
NORMAL = "normal"
"""Stored before anything that depends on it is seen; a power cut may take the last moments, a crash takes nothing."""
RELAXED = "relaxed"
"""Stored soon: a crash of the process may take the last moments, and what was done in them is done again."""
NONE = "none"
"""Kept in no store."""
DURABILITIES = (FULL, NORMAL, RELAXED, NONE)

WAITING: Final = "waiting"
"""How a running run is listed that rests: its inputs wait for a moment or for somebody."""
LISTED: Final = (*STATUSES, WAITING)
"""The statuses that runs are listed with."""
NOTHING_GIVEN: Final[Mapping[str, Any]] = MappingProxyType({})


class Options:
    """What a run was started with; kept for when its machine is made again."""

    __slots__ = (
        "context",
        "deadline_at",
        "durability",
        "given",
        "is_stored",
        "max_concurrency",
        "max_open",
        "on_complete",
        "policies",
        "scheduler",
    )

    def __init__(
        self,
        *,
        policies: Policies = NO_POLICIES,
        scheduler: Scheduler | None = None,
        context: Context | None = None,
        max_concurrency: int | None = None,
        max_open: int | None = None,
        on_complete: Callable[..., Any] | None = None,
        deadline_at: float | None = None,
        durability: str = FULL,
        given: Mapping[str, Any] = NOTHING_GIVEN,
    ) -> None:
        self.policies = policies
        self.scheduler = scheduler
        self.context = context
        self.max_concurrency = max_concurrency
        self.max_open = max_open
        self.on_complete = on_complete
        self.deadline_at = deadline_at
        self.durability = durability
        self.is_stored = durability != NONE
        """Whether anything of it goes to a store."""
        self.given = given
        """The options as the user gave them, those left out left out."""

    def keep_terms(self, before: Options, *, goes_on: bool) -> None:
        """Keep what is not said anew of the terms of a run; one that goes on keeps its deadline whatever is said."""
        if "durability" not in self.given:
            self.durability, self.is_stored = before.durability, before.is_stored
        if before.deadline_at is not None and (goes_on or "deadline_s" not in self.given):
            self.deadline_at = before.deadline_at

    @property
    def waits_for_store(self) -> bool:
        """Whether what depends on something is seen only when that is stored."""
        return self.durability in {FULL, NORMAL}


class Held:
    """What a run would do, and is not to do yet; and why not."""

    __slots__ = ("crashes", "is_driving", "orders", "trials")

    def __init__(self, crashes: int, trials: int) -> None:
        self.crashes = crashes
        """So many processes ended while they had it, and it came no further."""
        self.trials = trials
        """In so many of them it had its turn."""
        self.orders: list[Any] = []
        self.is_driving = False

    @property
    def why(self) -> str:
        """In words."""
        return f"{self.crashes} processes in a row ended with it; such runs are begun few at a time"


class Ask:
    """A request to a run, and its answer when there is one."""

    __slots__ = ("_then", "done", "error", "value")

    def __init__(self) -> None:
        self.done = False
        self.value: Any = None
        self.error: BaseException | None = None
        self._then: tuple[Callable[[Ask], None], ...] = ()

    def settle(self, value: Any, error: BaseException | None = None) -> None:
        """Answer it, once."""
        if self.done:
            return
        self.done, self.value, self.error = True, value, error
        for then in self._then:
            then(self)

    def when_done(self, then: Callable[[Ask], None]) -> None:
        """Call this when there is an answer, after those who asked for that before; at once if there is."""
        if self.done:
            then(self)
        else:
            self._then += (then,)


def settled(value: Any) -> Ask:
    """An answer that is there."""
    ask = Ask()
    ask.settle(value)
    return ask


class Run:
    """One run of a runner."""

    __slots__ = (
        "asks",
        "begins_at",
        "crashes",
        "created_at",
        "decisions",
        "definition",
        "edited",
        "evidence",
        "extra",
        "flushing",
        "heard",
        "held",
        "id",
        "interrupted",
        "is_busy",
        "is_large",
        "listed_at",
        "machine",
        "missed",
        "note",
        "options",
        "origin",
        "owing",
        "run_key",
        "snapshot_at",
        "status",
        "streams",
        "tickets",
        "unwritten",
        "updated_at",
        "waiters",
        "wake_at",
        "was_begun_here",
        "was_found",
    )

    def __init__(
        self, id: str, definition: Workflow, run_key: str, options: Options, at: float
    ) -> None:
        self.id = id
        self.definition = definition
        """The template: where functions are found when the run is folded from its log."""
        self.run_key = run_key
        self.options = options
        self.edited: Workflow | None = None
        """The template, where it was edited before the first input: that is in no log yet."""
        self.machine: Machine | None = None
        self.status = NEW
        self.note: str | None = None
        self.origin: str | None = None
        """Which run this one was made of: it stays in the note, whatever else is noted."""
        self.created_at = self.updated_at = at
        self.tickets: dict[int, list[Ticket]] = {}
        self.asks: dict[int, Ask] = {}
        self.waiters: list[Ask] = []
        """Who waits for the run to be idle or at its end."""
        self.streams: list[Callable[[Any], None]] = []
        self.crashes: tuple[tuple[float, str], ...] = ()
        self.evidence: dict[str, Any] | None = None
        self.extra: dict[str, Any] = {}
        """Components added to the live run, by name: their functions are in no definition."""
        self.wake_at: float | None = None
        self.unwritten = 0
        """How many of its appends the writer has not answered yet."""
        self.flushing: tuple[Ask, ...] = ()
        """Who waits until nothing of it is on its way to the store."""
        self.heard = Heard()
        self.interrupted: frozenset[bytes] = frozenset()
        """The attempts that had begun, or were about to, when it was brought back."""
        self.owing: Mapping[str, int] = NOTHING_GIVEN
        """Its inputs that came by messages, and of which nobody was told, when it was brought back."""
        self.held: Held | None = None
        """Set where it may have been what took its process, and its turn has not come."""
        self.missed: list[Any] | None = None
        """Set where it crashed and waits for the store: what its machine is to be told when it has one again."""
        self.decisions: Mapping[str, Any] = NOTHING_GIVEN
        """What somebody found out about interrupted attempts, by component."""
        self.begins_at = 0
        """Where the log begins that it was brought back from: what is before that is in the store alone."""
        self.snapshot_at = 0
        """How long its log was when the last snapshot was taken."""
        self.listed_at: int | None = None
        """How long its log was when the store was told that there is something to do for it, if nobody looked then."""
        self.is_large = False
        """Somebody was told that its log only grows."""
        self.was_begun_here = False
        """It was begun by this runner, with the very definition that it has here: its code cannot be another."""
        self.was_found = False
        """It was taken over from another runner, and nobody has said yet with what options it is to go on."""
        self.is_busy = False
        """Its machine is handling a stimulus; further ones queue."""

    def info(self) -> RunInfo:
        """How it stands."""
        machine = self.machine
        return RunInfo(
            id=self.id,
            workflow=self.definition.name,
            run_key=self.run_key,
            status=status_to_store(self),
            position=machine.workflow.position if machine is not None else 0,
            created_at=self.created_at,
            updated_at=self.updated_at,
            note=self.note,
            deadline_at=self.options.deadline_at,
            durability=self.options.durability,
        )


def status_to_store(run: Run) -> str:
    """A run's status as it is listed: one that rests is waiting."""
    machine = run.machine
    if machine is None or machine.out or run.status != RUNNING:
        return run.status
    return WAITING if machine.has_nothing_to_do else RUNNING
