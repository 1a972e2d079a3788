"""Edits of live runs: which functions they bring, and whether they ask for what happened before."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from treadle.components.step import as_component
from treadle.model.markers import READS_HISTORY, Marker
from treadle.value import Workflow

NO_OPTIONS: Final[Mapping[str, Any]] = MappingProxyType({})


def functions_of(component: Any) -> dict[str, Any]:
    """The components that an addition brings, by name: those of a workflow have its name before theirs."""
    if isinstance(component, Workflow):
        return {f"{component.name}.{name}": component[name] for name in component.components()}
    made = as_component(component)
    return {made.name: made}


def asks_for_the_past(components: Mapping[str, Any], options: Mapping[str, Any]) -> bool:
    """Whether a component is to be fed what there is, or reads history by a marker that maybe nobody had before."""
    if options.get("backfill"):
        return True
    functions = [function for each in components.values() for function in each.functions()]
    defaults = [
        value
        for function in functions
        for value in (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values())
    ]
    return any(isinstance(each, Marker) and each.kind in READS_HISTORY for each in defaults)
