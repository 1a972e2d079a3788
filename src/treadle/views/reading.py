"""What the views share: which inputs are meant, and their events in log order."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from treadle.engine.memory import Memory
from treadle.errors import Forgotten, UnknownComponent, UsageError, nearest
from treadle.model.events import Event
from treadle.model.sentinels import ALL
from treadle.model.work import Root

if TYPE_CHECKING:
    from treadle.value import Workflow


def number_of(memory: Memory, input: Any) -> int:
    """The number of an input; negative ones count from the end."""
    if not isinstance(input, int) or isinstance(input, bool):
        raise UsageError(f"input={input!r} is not the number of an input.", hint="see inputs().")
    count = memory.next_number
    number = input if input >= 0 else count + input
    if not 0 <= number < count:
        raise UsageError(
            f"there is no input {input}: {count} {'was' if count == 1 else 'were'} accepted."
        )
    return number


def root_of(memory: Memory, input: Any, *, results_only: bool = False) -> Root:
    """What is remembered of one input."""
    number = number_of(memory, input)
    root = memory.roots.get(number)
    if root is None or (root.folded and not results_only):
        raise Forgotten(
            f"input {number} is no longer remembered.", hint="keep more with `retain=`."
        )
    return root


def roots_of(memory: Memory, input: Any, *, results_only: bool = False) -> Iterable[Root]:
    """One input, or all that are remembered (for None and ALL)."""
    if input is None or input is ALL:
        return list(memory.roots.values())
    return [root_of(memory, input, results_only=results_only)]


def events_of(roots: Iterable[Root]) -> list[Event]:
    """The events of some inputs, in log order."""
    listed = list(roots)
    if len(listed) == 1:
        return listed[0].events
    events = [event for root in listed for event in root.events]
    return sorted(events, key=lambda event: event.position)


def check_name(workflow: Workflow, memory: Memory, name: Any) -> None:
    """Refuse a name that no component has."""
    if not isinstance(name, str) or name not in memory.program.components:
        raise UnknownComponent(
            f"{workflow.name!r} has no component named {name!r}."
            f"{nearest(name, memory.program.components)}"
        )
