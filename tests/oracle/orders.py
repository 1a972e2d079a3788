"""Who decides what happens next: orders of a run, drawn, one thing kept late, or another run's."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

# What may happen: ("accept", input number) or (verb, component, scope), the verb being "plan" (a
# condition), "start" or "finish" (a runnable).
Action = tuple[Any, ...]
Chooser = Callable[[list[Action]], Action]


@dataclass(frozen=True)
class Order:
    """A reproducible order: each draw picks among the actions; then from the first draw again.

    The component named `late` is kept waiting for as long as anything else may happen.
    """

    draws: tuple[int, ...] = (0,)
    late: str | None = None


@dataclass(frozen=True)
class Follow:
    """The order in which another run did the same: the actions of its trace, conditions at once."""

    trace: tuple[Action, ...]


class Diverged(AssertionError):
    """The followed run did what the oracle says cannot happen, or left something undone."""


def chooser(order: Any) -> Chooser:
    """Make an order (`Order`, `Follow`, `random.Random`, or already a chooser) a function."""
    if isinstance(order, Follow):
        return _follower(list(order.trace))
    if isinstance(order, Order):
        return _drawer(order)
    if hasattr(order, "randrange"):
        return lambda actions: actions[order.randrange(len(actions))]
    return order


def _drawer(order: Order) -> Chooser:
    left: list[int] = []

    def choose(actions: list[Action]) -> Action:
        if not left:
            left.extend(order.draws)
        timely = [action for action in actions if action[1] != order.late] or actions
        return timely[left.pop(0) % len(timely)]

    return choose


def _follower(trace: list[Action]) -> Chooser:
    def choose(actions: list[Action]) -> Action:
        planning = [action for action in actions if action[0] == "plan"]
        if planning:
            return planning[0]
        if not trace or trace[0] not in actions:
            did = trace[0] if trace else "nothing more"
            raise Diverged(f"it did {did}, the oracle could do {actions}")
        return trace.pop(0)

    return choose
