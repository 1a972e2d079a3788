"""Status: how inputs stand, what starved, which states there are, what work is pending."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from treadle.engine.memory import Memory, units_of, walk
from treadle.model.events import InputAccepted, ScopeCancelled
from treadle.model.markers import NOT_GIVEN
from treadle.model.placing import markers_of
from treadle.model.work import OUT, QUEUED, WAITING, Root
from treadle.views import failures as failing
from treadle.views.reading import roots_of

if TYPE_CHECKING:
    from treadle.value import Workflow


def inputs(workflow: Workflow) -> list[dict[str, Any]]:
    """Each remembered input: number, value, key, and whether it is open, done, failed, halted or
    cancelled.

    Of a `folded` one (`retain="results"`) only the results are known, not the value nor what failed.
    """
    with workflow.inspect() as (memory, _):
        return [_input(memory, root) for root in memory.roots.values()]


def status_of(workflow: Workflow, input: int) -> str:
    """How one input stands, as `inputs` has it."""
    with workflow.inspect() as (memory, _):
        root = memory.roots.get(input)
        status: str = "forgotten" if root is None else _input(memory, root)["status"]
    return status


def _input(memory: Memory, root: Root) -> dict[str, Any]:
    first = root.events[0] if root.events else None
    failed = any(
        not failure.handled and failure.on_failure != "skip"
        for failure in failing.listed(memory, [root])
    )
    if root.folded:
        return {
            "number": root.number,
            "value": None,
            "key": root.key,
            "status": "folded",
            "events": len(root.events),
        }
    if root.live:
        status = "open"
    elif any(isinstance(event, ScopeCancelled) for event in root.events):
        status = "cancelled"
    else:
        status = "halted" if root.halted else "failed" if failed else "done"
    return {
        "number": root.number,
        "value": first.value if isinstance(first, InputAccepted) else None,
        "key": root.key,
        "status": status,
        "events": len(root.events),
    }


def starved(workflow: Workflow, input: Any) -> list[dict[str, Any]]:
    """Joins that were dropped half full when their input was done, and which parents never gave."""
    found: list[dict[str, Any]] = []
    with workflow.inspect() as (memory, _):
        for root in roots_of(memory, input):
            found += [
                {"component": component, "scope": path, "missing": list(missing)}
                for component, path, missing in root.starved
            ]
    return found


def states(workflow: Workflow) -> dict[str, dict[Any, Any]]:
    """The current states, by accumulator and key; states that were never updated are left out."""
    with workflow.inspect() as (memory, _):
        found: dict[str, dict[Any, Any]] = {}
        for node in memory.program.by_key.values():
            if node.kind == "state":
                cells = memory.cells.get(node.index, {})
                found[node.component] = {
                    key: cell.value for key, cell in cells.items() if cell.started
                }
        return found


def required_context(workflow: Workflow) -> dict[str, dict[str, list[str]]]:
    """The run-time values asked for, by component: those without a default, and those with one."""
    told: dict[str, dict[str, list[str]]] = {"required": {}, "optional": {}}
    with workflow.inspect() as (memory, _):
        for node in memory.program.by_key.values():
            for marker in markers_of(node.code):
                if marker.kind == "context":
                    kind = "required" if marker.default is NOT_GIVEN else "optional"
                    keys = told[kind].setdefault(node.component, [])
                    if marker.name not in keys:
                        keys.append(marker.name)
    return told


def work(workflow: Workflow, input: Any = None) -> dict[str, dict[str, int]]:
    """By component: how many units are ready, in flight and queued, and how many joins and waits wait."""
    counted: dict[str, dict[str, int]] = {}
    with workflow.inspect() as (memory, _):
        for name in memory.program.components:
            counted[name] = {"ready": 0, "in_flight": 0, "queued": 0, "waiting": 0}
        for root in roots_of(memory, input, results_only=True):
            if not root.done:
                _count_work(memory, root, counted)
    return counted


def _count_work(memory: Memory, root: Root, counted: dict[str, dict[str, int]]) -> None:
    names = {OUT: "in_flight", QUEUED: "queued", WAITING: "waiting"}
    for scope in walk(root):
        for unit in units_of(scope):
            counted[unit.node.component][names.get(unit.status, "ready")] += 1
        for index, waiting in (scope.waiting or {}).items():
            node = memory.program.nodes[index]
            if node is not None and not waiting.is_done:
                counted[node.component]["waiting"] += 1
    for index, armed in (root.armed or {}).items():
        node = memory.program.nodes[index]
        if node is not None and node.arrival != "settled":
            counted[node.component]["waiting"] += len(armed)
