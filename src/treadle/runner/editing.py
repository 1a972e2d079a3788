"""Edits of live runs: which functions they bring, and whether they ask for what happened before."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import Any, Final

from treadle.components.step import as_component
from treadle.errors import DefinitionError
from treadle.model.markers import READS_HISTORY, Marker
from treadle.model.ports import read_signature
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
    markers = [marker for each in components.values() for marker in markers_of(each)]
    return any(marker.kind in READS_HISTORY for marker in markers)


def markers_of(component: Any) -> list[Marker]:
    """The markers of a component's functions, and of whatever else in it can be called."""
    found: list[Marker] = []
    for part in component.parts():
        if callable(part):
            with suppress(DefinitionError):  # it is some value, and nobody calls it
                found += [marker for _, marker in read_signature(part).injected]
    return found
