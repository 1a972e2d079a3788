"""What people are asked: the open waits of runs, at work here or stored anywhere, and whether an answer fits.

All of it stands in the log: who waits with which value since when, and as JSON Schema what would be an answer. So no
code of the user's is needed, and what is of a class that is not known here is stood in for.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final

import msgspec

from treadle.engine.answers import signal_for
from treadle.engine.waits import waits_in_order
from treadle.errors import TreadleError, UnknownComponent, UnknownRun, nearest
from treadle.interfaces import RunInfo, Store
from treadle.model import nodes as kinds
from treadle.model.calls import shown
from treadle.model.filling import check
from treadle.model.forms import OpenWait, form_from
from treadle.runner.record import WAITING
from treadle.runner.registry import empty
from treadle.runner.stimuli import RUNNING
from treadle.value import Workflow

logger = logging.getLogger("treadle.runner")

MAY_WAIT: Final = (WAITING, RUNNING)
"""The statuses of runs that may have an open wait, and take an answer."""


def waits_of(info: RunInfo, workflow: Workflow, name: str | None = None) -> list[OpenWait]:
    """The waits of one run that somebody may answer, in the order of opening; of all names, or of one."""
    found = []
    with workflow.inspect() as (memory, _):
        for unit in waits_in_order(memory):
            node, opened = unit.node, unit.opened
            if node.kind != kinds.WAIT or opened is None or name not in {None, node.component}:
                continue
            wait = OpenWait(
                run=info.id,
                workflow=info.workflow,
                name=node.component,
                key=opened.key or "",
                input=unit.scope.root.number,
                scope=unit.scope.path,
                since=opened.at,
                deadline=unit.due_at,
                form=form_from(node.shape.schema),
                subject=unit.args[0],
            )
            found.append(wait)
    return found


def stored_workflow(store: Any, info: RunInfo) -> Workflow | None:
    """A stored run, folded without its code; None where nothing has happened in it yet."""
    with leniently(store):
        events = store.load(info.id).events
    return Workflow.from_log(empty(info.workflow), events) if events else None


def leniently(store: Any) -> AbstractContextManager[None]:
    """While this is entered, values of classes that are not known here are read as something that says so."""
    enter = getattr(getattr(store, "codec", None), "leniently", None)
    return nullcontext() if enter is None else enter()


def stored_waits(store: Any, info: RunInfo, name: str | None = None) -> list[OpenWait]:
    """The open waits of a stored run; one that cannot be read is told of, and passed over."""
    try:
        workflow = stored_workflow(store, info)
    except UnknownRun:  # it was forgotten in this moment
        return []
    except TreadleError as error:
        logger.warning(
            "run %s cannot be read, so nobody knows what it waits for: %s", info.id, error
        )
        return []
    return [] if workflow is None else waits_of(info, workflow, name)


def may_wait(store: Store, workflow: str | None = None) -> list[RunInfo]:
    """The stored runs that may have an open wait, oldest first: their logs are not looked at."""
    listed = {
        info.id: info
        for status in MAY_WAIT
        for info in store.list(workflow=workflow, status=status)
    }
    return in_order(listed.values())


def as_data(subject: Any) -> Any:
    """What a wait is about, as JSON has it; of a value whose class is not known here, its attributes."""
    try:
        return msgspec.to_builtins(subject, str_keys=True, enc_hook=_seen)
    except Exception:  # noqa: BLE001 - whatever a user's class raises
        return shown(subject)


def _seen(value: Any) -> Any:
    """What can be seen of a value that is stood in for; of any other that JSON does not have, how it shows itself."""
    look = getattr(type(value), "stands_for", None)
    seen = None if look is None else look(value)
    return shown(value) if seen is None else seen


def in_order(infos: Iterable[RunInfo]) -> list[RunInfo]:
    """Runs in the order of their creation."""
    return sorted(infos, key=place_of)


def place_of(info: RunInfo) -> tuple[float, str]:
    """Where a run stands in that order, also when others come and go."""
    return info.created_at or 0.0, info.id


def check_answer(store: Any, id: str, name: Any, payload: Any, key: str | int | None) -> None:
    """Refuse an answer that a stored run would not take, before it is left in the inbox.

    Errors: `UnknownComponent` where nothing of this name waits there, `BadValue` with the path to what is wrong,
    `AmbiguousSignal` where several waits are open and no key says which is meant.
    """
    info = store.info(id)
    workflow = None if info is None else stored_workflow(store, info)
    if workflow is None:  # its graph is not in its log yet
        return
    check(f"the signal {name!r}", payload, schema_of(workflow, name))
    with workflow.inspect() as (memory, _):
        signal_for(memory, name, payload, None if key is None else str(key), None)


def schema_of(workflow: Workflow, name: Any) -> str | None:
    """The JSON Schema of what answers a wait of this name, as it stands in the log. Errors: `UnknownComponent`."""
    with workflow.inspect() as (memory, _):
        program = memory.program
        shapes = {
            each: program.output_of(each).shape
            for each in program.components
            if program.output_of(each).kind == kinds.WAIT
        }
    if not isinstance(name, str) or name not in shapes:
        raise UnknownComponent(
            f"{workflow.name!r} has no wait_for named {name!r}.{nearest(name, shapes)}",
            hint="a signal is named after the component that waits for it.",
        )
    return shapes[name].schema
