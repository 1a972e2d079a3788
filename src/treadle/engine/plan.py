"""Planning: which conditions hold for a fact, and under which keys it goes on. The only events that user code
decides, besides outcomes: what it said is written down, and recovery never asks again.

The conditions that watch one node's facts are kept in an index, so that a fact costs what the conditions that
can match it cost, not what all of them cost.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Final

from treadle.engine.execute import CAUGHT, ENGINE
from treadle.engine.memory import Memory, in_flight_of
from treadle.engine.prepare import context_for, inject, missing_function
from treadle.engine.watch import Watch, watch_of
from treadle.errors import BadValue, MissingFunction
from treadle.model.calls import truth
from treadle.model.errordata import ErrorData, describe
from treadle.model.events import Planned, Work
from treadle.model.nodes import Atom, Context, Expression
from treadle.model.program import Node
from treadle.model.types import is_instance
from treadle.model.work import Scope, Unplanned

REMEMBERED: Final = 4096
"""So many of the latest questions a stopwatch remembers."""


class Stopwatch:
    """Who took how long to answer in planning, of late. The caller brings the clock: nothing here reads one."""

    __slots__ = ("clock", "taken")

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.taken: deque[tuple[float, str, float]] = deque(maxlen=REMEMBERED)
        """When it was asked, the component, and how long it took."""

    def seconds_since(self, begin: float) -> dict[str, float]:
        """By component, how long all its answers since a moment took together."""
        found: dict[str, float] = {}
        for asked_at, component, took in list(self.taken):
            if asked_at >= begin:
                found[component] = found.get(component, 0.0) + took
        return found


class Planning:
    """One fact being planned: what was asked, and what it said."""

    __slots__ = (
        "asked",
        "context",
        "errors",
        "failed",
        "held",
        "keys",
        "memory",
        "reads",
        "scope",
        "value",
    )

    def __init__(self, memory: Memory, scope: Scope, value: Any, context: Context) -> None:
        self.memory = memory
        self.scope = scope
        self.value = value
        self.context = context
        self.held: dict[str, None] = {}
        self.keys: list[tuple[str, Any]] = []
        self.failed: list[tuple[str, ErrorData]] = []
        self.errors: list[BaseException] = []
        self.reads = False
        self.asked: dict[str, bool | BaseException] = {}

    def ask(self, node: Node, only: frozenset[int] | None) -> list[Node]:
        """Ask all that watches this node's fact (or `only` some); return the gates that let it through."""
        watch = watch_of(self.memory.program, node)
        touched = dict.fromkeys(watch.asking)
        if watch.index is not None:
            for number in watch.index.candidates(self.value):
                touched.update(dict.fromkeys(watch.users[number]))
        through = []
        for gate in touched:
            if only is not None and gate.index not in only:
                continue
            try:
                if self._holds(watch, gate.shape.expression):
                    through.append(gate)
            except MissingFunction:
                raise
            except CAUGHT as error:
                self._fail(gate.key, error)
        for keyed in watch.keyed:
            if only is None or keyed.index in only:
                self._ask_key(keyed)
        return sorted(through, key=lambda gate: gate.index)

    def _holds(self, watch: Watch, expression: Expression | None) -> bool:
        """Whether an expression holds, asking no more conditions than decide it, from left to right."""
        if expression is None:
            return True
        operator = expression[0]
        if operator == "is":
            return self._answer(watch.atom(expression[1]), expression[1])
        if operator == "not":
            return not self._holds(watch, expression[1])
        parts = (self._holds(watch, part) for part in expression[1:])
        return all(parts) if operator == "all" else any(parts)

    def _answer(self, atom: Atom, name: str) -> bool:
        """Ask a condition about this fact, once, however many gates come to it; raises what it raised."""
        known = self.asked.get(atom.key)
        if known is None:
            try:
                known = self._is_true(atom)
            except MissingFunction:
                raise
            except CAUGHT as error:
                known = error
            self.asked[atom.key] = known
        if known is True:
            self.held[name] = None
        elif known is not False:
            raise known
        return known

    def _is_true(self, atom: Atom) -> bool:
        value = self.value
        predicate = atom.predicate
        if predicate is None:
            if atom.pattern is None:
                raise missing_function(atom.key.partition("/")[0])
            return bool(atom.pattern.matches(value))
        if atom.pattern is not None and atom.spread == 1 and not is_instance(value, atom.pattern):
            return False
        extra = self._injected(atom) if atom.injected else {}
        if atom.spread == 1:
            return truth(predicate(value, **extra))
        if atom.spread == 0:
            return truth(predicate(**extra))
        if not isinstance(value, (list, tuple)) or len(value) != atom.spread:
            return False
        return truth(predicate(*value, **extra))

    def _injected(self, atom: Atom) -> dict[str, Any]:
        self.reads = True
        return inject(
            self.memory, atom.injected, atom.key.partition("/")[0], (self.value,), self.context
        )

    def _ask_key(self, node: Node) -> None:
        key_of: Callable[[Any], Any] | None = node.code.key_of
        if key_of is None:
            raise missing_function(node.component)
        try:
            self.keys.append((node.key, checked_key(key_of(self.value))))
        except CAUGHT as error:
            self._fail(node.key, error)

    def _fail(self, key: str, error: BaseException) -> None:
        self.failed.append((key, describe(error, skip=ENGINE)))
        self.errors.append(error)


class TimedPlanning(Planning):
    """The same, with each answer timed."""

    __slots__ = ()

    def _is_true(self, atom: Atom) -> bool:
        watch: Stopwatch = self.memory.program.stopwatch
        begin = watch.clock()
        try:
            return super()._is_true(atom)
        finally:
            watch.taken.append((begin, atom.key.partition("/")[0], watch.clock() - begin))

    def _ask_key(self, node: Node) -> None:
        watch: Stopwatch = self.memory.program.stopwatch
        begin = watch.clock()
        super()._ask_key(node)
        watch.taken.append((begin, node.component, watch.clock() - begin))


def checked_key(key: Any) -> Any:
    """A key as it is, if it can be one."""
    try:
        hash(key)
    except TypeError:
        raise BadValue(
            f"the key function gave {key!r:.80}, which cannot be a key: it is unhashable."
        ) from None
    return key


def _spared(memory: Memory, entry: Unplanned, planning: Planning) -> tuple[Work, ...]:
    """What is in flight, if a condition that raised halts the input."""
    root = entry.scope.root
    failed = [memory.program.by_key[key].component for key, _ in planning.failed]
    halts = any(memory.program.output_of(name).shape.on_failure == "halt" for name in failed)
    return in_flight_of(memory, root) if halts and not root.halted else ()


def _asked(memory: Memory, entry: Unplanned) -> tuple[str, ...]:
    if entry.only is None:
        return ()
    return tuple([node.key for node in entry.node.watchers if node.index in entry.only])


def plan_fact(
    memory: Memory, entry: Unplanned, context: Context
) -> tuple[Planned, list[BaseException]]:
    """Ask all conditions and key functions that one fact can reach through gates; changes nothing."""
    kind = Planning if memory.program.stopwatch is None else TimedPlanning
    planning = kind(memory, entry.scope, entry.value, context_for(context, entry.scope.path[0]))
    stack = planning.ask(entry.node, entry.only)
    while stack:
        gate = stack.pop()
        if gate.watchers:
            stack.extend(planning.ask(gate, None))
    event = Planned(
        memory.position,
        entry.node.key,
        entry.scope.path,
        tuple(sorted(planning.held)),
        tuple(planning.keys),
        tuple(planning.failed),
        memory.position if planning.reads else None,
        _spared(memory, entry, planning),
        _asked(memory, entry),
    )
    return event, planning.errors
