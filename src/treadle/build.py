"""`workflow`: a whole graph in one call, with all its faults reported together."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeAlias

from treadle.components.component import Component, check_name
from treadle.components.step import as_component
from treadle.errors import DefinitionError, UnknownComponent
from treadle.model.definition import Definition
from treadle.value import Workflow

if TYPE_CHECKING:
    from treadle.policies.matching import Rules

Part: TypeAlias = "Component[Any, Any] | Callable[..., Any] | Workflow"
Steps: TypeAlias = "Iterable[Part | tuple[Part, Iterable[Any]]]"


def workflow(
    name: str,
    *,
    steps: Steps = (),
    rules: Iterable[Part] = (),
    components: Iterable[Part] = (),
    retain: str | int = "all",
    policies: Rules | None = None,
) -> Workflow:
    """Make a workflow: a graph without history, ready for inputs.

    `steps` may nest: `(parent, [child, (child, [grandchild])])`. `rules` and `components` hang on the raw
    input; wire others with `add`. `retain`: how much of finished inputs is kept: `"all"`, `"results"`, or a
    number of inputs. `policies`: what is wished of components, by matcher (see `Workflow.with_policies`).

    Errors: one `ExceptionGroup` of all that does not fit.

    >>> pipeline = workflow("pipeline", steps=[(str.strip, [str.upper])])
    >>> pipeline.react_until_satisfied("  hello ").results()
    {'upper': 'HELLO'}
    """
    check_name(name, "workflow")
    check_retain(name, retain)
    for what, given in (("steps", steps), ("rules", rules), ("components", components)):
        check_collection(name, what, given)
    building = Building(Workflow(Definition(name, retain, [], 0)))
    for component in [*rules, *components]:
        building.add(component, None)
    building.add_tree(steps, None)
    if building.faults:
        raise ExceptionGroup(f"the workflow {name!r} cannot be built", building.faults)
    return building.workflow if policies is None else building.workflow.with_policies(policies)


def check_retain(name: str, retain: Any) -> None:
    """`retain` is "all", "results" or a number."""
    counted = isinstance(retain, int) and not isinstance(retain, bool) and retain >= 0
    if not counted and retain not in ("all", "results"):
        raise DefinitionError(
            f"workflow {name!r}: retain={retain!r} is not 'all', 'results' or a number of inputs."
        )


def check_collection(name: str, what: str, given: Any) -> None:
    """The parts of a workflow come in collections."""
    if isinstance(given, (str, Component)) or not isinstance(given, Iterable):
        raise DefinitionError(
            f"workflow {name!r}: {what}={given!r:.80} is not a list of components.",
            hint=f"{what}=[...], also for a single one.",
        )


class Building:
    """A workflow in the making, and what was wrong with it so far."""

    def __init__(self, workflow: Workflow) -> None:
        self.workflow = workflow
        self.faults: list[Exception] = []
        self.refused: set[str] = set()

    def add(self, part: Any, parent: str | None) -> str | None:
        """Add one part; a fault is noted, and what hangs on it is not reported again."""
        try:
            made = part if isinstance(part, Workflow) else as_component(part)
        except DefinitionError as error:
            self.faults.append(error)
            return None
        if parent is not None and parent in self.refused:
            self.refused.add(made.name)
            return made.name
        try:
            self.workflow = self.workflow.add(made, to=parent)
        except DefinitionError as error:
            if not (isinstance(error, UnknownComponent) and parent in self.refused):
                self.faults.append(error)
            self.refused.add(made.name)
        return made.name

    def add_tree(self, steps: Any, parent: str | None) -> None:
        """Add nested steps below a parent."""
        for entry in steps:
            part, below = entry if isinstance(entry, tuple) and len(entry) == 2 else (entry, ())
            if (
                isinstance(part, tuple)
                or isinstance(below, (str, Component))
                or not isinstance(below, Iterable)
            ):
                self.faults.append(
                    DefinitionError(
                        f"{entry!r:.200} is not a step or a pair (parent, [children]).",
                        hint="(parent, [child, ...]), with a list also for a single child.",
                    )
                )
                continue
            name = self.add(part, parent)
            if name is not None:
                self.add_tree(below, name)
