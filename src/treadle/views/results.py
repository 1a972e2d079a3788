"""Results: what came of the inputs, by component."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from treadle.engine.memory import Memory
from treadle.errors import StepFailed
from treadle.model.events import Applied, Expanded
from treadle.model.facts import Fact
from treadle.model.program import Node
from treadle.model.sentinels import ABSENT, ALL
from treadle.model.work import Root
from treadle.views import failures as failing
from treadle.views.facts import FactReader, gate_facts
from treadle.views.reading import check_name, roots_of

if TYPE_CHECKING:
    from treadle.value import Workflow


def results(
    workflow: Workflow, names: Iterable[str], input: Any, *, raise_on_failure: bool
) -> dict[str, Any]:
    """The values of the outputs, or of the components named, for one input or over all."""
    wanted = list(names)
    with workflow.inspect() as (memory, exceptions):
        for name in wanted:
            check_name(workflow, memory, name)
        if not memory.next_number and (input is ALL or input == -1):
            return dict.fromkeys(wanted, ABSENT)
        outputs_only = all(memory.program.is_output(name) for name in wanted)
        roots = list(roots_of(memory, input, results_only=outputs_only and not raise_on_failure))
        if raise_on_failure and any(root.has_failed for root in roots):
            _raise_first(memory, exceptions, roots)
        asked = wanted or memory.program.outputs()
        given = _by_node(roots) if len(asked) > 1 else None
        values = {name: _value(memory, name, roots, given) for name in asked}
    if wanted:
        return values
    return {name: value for name, value in values.items() if value is not ABSENT}


def _by_node(roots: list[Root]) -> dict[str, list[Applied]]:
    """The values that nodes gave, by node, so that many outputs do not each go through all events."""
    found: dict[str, list[Applied]] = {}
    for root in roots:
        for event in root.events:
            if isinstance(event, Applied):
                found.setdefault(event.node, []).append(event)
    return found


def _value(
    memory: Memory, name: str, roots: list[Root], by_node: dict[str, list[Applied]] | None
) -> Any:
    """One component's value: the latest; inside a fan-out all of one input, flat, in item order."""
    node = memory.program.output_of(name)
    if not node.place:
        plain = by_node is not None and node.kind != "gate"
        events = by_node.get(node.key, []) if plain and by_node else _given(memory, node, roots)
        facts = [(event.position, event.value) for event in events]
        return max(facts, key=lambda fact: fact[0])[1] if facts else ABSENT
    for root in reversed(roots):
        given = list(_given(memory, node, [root]))
        if given or _fired(memory, node, root):
            return [event.value for event in sorted(given, key=lambda event: event.scope)]
    return ABSENT


def _given(memory: Memory, node: Node, roots: list[Root]) -> list[Any]:
    """The events (or, for a condition, facts) by which a node gave values."""
    if node.kind == "gate":
        return list(gate_facts(node, roots, FactReader(memory, roots)))
    return [
        event
        for root in roots
        for event in root.events
        if isinstance(event, Applied) and event.node == node.key
    ]


def _fired(memory: Memory, node: Node, root: Root) -> bool:
    """Whether the innermost fan-out around a node fired in this input."""
    opener = memory.program.nodes[node.place[-1]]
    return opener is not None and (
        opener.key in root.fired
        or any(isinstance(event, Expanded) and event.node == opener.key for event in root.events)
    )


def _raise_first(memory: Memory, exceptions: dict[int, BaseException], roots: list[Root]) -> None:
    for failure in failing.listed(memory, roots):
        if failure.handled or failure.on_failure == "skip":
            continue
        error = StepFailed(
            str(failure),
            component=failure.component,
            input=failure.input,
            attempt=failure.attempt,
        )
        raise error from exceptions.get(failure.position)


def raw_productions(workflow: Workflow, name: str | None, input: Any) -> list[Any]:
    """The values of the outputs, or of one component, in log order."""
    with workflow.inspect() as (memory, _):
        if name is not None:
            check_name(workflow, memory, name)
        names = (
            [name]
            if name is not None
            else [each for each in memory.program.components if memory.program.is_output(each)]
        )
        outputs_only = name is None or memory.program.is_output(name)
        roots = list(roots_of(memory, input, results_only=outputs_only))
        found = [
            (event.position, event.value)
            for each in names
            for event in _given(memory, memory.program.output_of(each), roots)
        ]
    return [value for _, value in sorted(found, key=lambda entry: entry[0])]


def productions_by_component(workflow: Workflow, input: Any) -> dict[str, list[Fact]]:
    """The facts that are components' own results, by name, in log order."""
    with workflow.inspect() as (memory, _):
        roots = list(roots_of(memory, input))
        reader = FactReader(memory, roots)
        found: dict[str, list[Fact]] = {name: [] for name in memory.program.components}
        for fact in reader.facts(roots):
            if fact.part is None and fact.component in found:
                found[fact.component].append(fact)
        for name in found:
            node = memory.program.output_of(name)
            if node.kind == "gate":
                found[name] = gate_facts(node, roots, reader)
    return found


def facts(workflow: Workflow, name: str | None, input: Any) -> list[Fact]:
    """All facts, or those of one component with its inner parts, in log order."""
    with workflow.inspect() as (memory, _):
        if name is not None:
            check_name(workflow, memory, name)
        roots = list(roots_of(memory, input))
        found = list(FactReader(memory, roots).facts(roots))
    return found if name is None else [fact for fact in found if fact.component == name]
