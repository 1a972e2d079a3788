"""The classes that type annotations name: those of a workflow's ports, and of the fields of what they name."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Iterable, Iterator
from typing import Any

from treadle.model.definition import Definition
from treadle.model.nodes import NodeCode
from treadle.model.program import Program


def annotations_of(graph: Definition | Program) -> list[Any]:
    """The annotations of the ports of a workflow's components: what each takes and gives."""
    found: list[Any] = []
    for code in _codes(graph):
        found += (hint for hint in (*code.takes, code.gives) if hint is not None)
    return found


def _codes(graph: Definition | Program) -> Iterator[NodeCode]:
    if isinstance(graph, Program):
        for node in graph.by_key.values():
            yield node.code
        return
    for lowered in graph.components():
        for spec in lowered.specs:
            yield spec.code


def classes_in(annotations: Iterable[Any]) -> list[type]:
    """The classes in annotations, in their parameters, and in the annotations of their own fields."""
    waiting = list(annotations)
    seen: set[int] = set()
    kept: list[Any] = []
    found: list[type] = []
    while waiting:
        hint = waiting.pop()
        if id(hint) in seen:
            continue
        seen.add(id(hint))
        kept.append(hint)  # so that no other takes its id
        waiting += _inside(hint)
        if isinstance(hint, type) and typing.get_origin(hint) is None:
            if not typing.is_typeddict(hint):
                found.append(hint)
            waiting += _fields(hint)
    return found[::-1]


def _inside(hint: Any) -> Iterator[Any]:
    """What an annotation is put together from."""
    origin = typing.get_origin(hint)
    if origin is typing.Literal:
        yield from map(type, typing.get_args(hint))
        return
    if origin is not None:
        yield origin
    for part in typing.get_args(hint):
        if isinstance(part, list):  # the parameters of a Callable
            yield from part
        else:
            yield part
    for name in ("__bound__", "__supertype__", "__value__"):
        part = getattr(hint, name, None)
        if part is not None and not isinstance(hint, type):
            yield part
    if isinstance(hint, typing.TypeVar):
        yield from hint.__constraints__


def _fields(cls: type) -> Iterator[Any]:
    if cls.__module__ in {"builtins", "typing"}:
        return
    try:
        yield from typing.get_type_hints(cls).values()
    except Exception:  # noqa: BLE001 - an annotation may raise anything
        for above in cls.__mro__:
            hints = inspect.get_annotations(above).values()
            yield from (hint for hint in hints if not isinstance(hint, str))
