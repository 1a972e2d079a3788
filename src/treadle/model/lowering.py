"""Lowering a component again: under another wiring, or another name inside a sub-workflow."""

from __future__ import annotations

from typing import Any

from msgspec import structs

from treadle.errors import DefinitionError
from treadle.model.markers import READS_HISTORY, Marker
from treadle.model.nodes import Atom, Expression, Lowered, NodeCode, NodeSpec, Source, Wiring
from treadle.model.sentinels import INPUT_KEY


def relower(lowered: Lowered, wiring: Wiring) -> Lowered:
    """The same component under the same name, added in another way."""
    component = lowered.component
    if component is None:
        raise DefinitionError(
            f"{lowered.name!r} cannot be wired anew: its functions were not given.",
            hint="give them: from_log(..., components={name: component}).",
        )
    again: Lowered = component.lower(lowered.name, wiring)
    return scoped(again, lowered.prefix)


def prefixed(lowered: Lowered, prefix: str, entry: Source) -> Lowered:
    """A component as part of a sub-workflow: names get a prefix, the raw input becomes `entry`."""
    wiring = structs.replace(
        lowered.wiring,
        sources=tuple(
            entry if key == INPUT_KEY else (f"{prefix}.{key}", port)
            for key, port in lowered.wiring.sources
        ),
    )
    outer = f"{prefix}.{lowered.prefix}" if lowered.prefix else prefix
    again = lowered.component.lower(f"{prefix}.{lowered.name}", wiring)
    return scoped(again, outer)


def scoped(lowered: Lowered, prefix: str) -> Lowered:
    """Let what a component refers to by name (conditions, states, maps) mean the names of its sub-workflow."""
    if not prefix:
        return lowered
    specs = tuple(_scoped_spec(spec, prefix) for spec in lowered.specs)
    return structs.replace(lowered, specs=specs, prefix=prefix)


def _scoped_spec(spec: NodeSpec, prefix: str) -> NodeSpec:
    shape, code = spec.shape, spec.code
    own = {atom.key for atom in code.atoms}
    shape = structs.replace(
        shape,
        expression=_scoped_expression(shape.expression, own, prefix),
        over=None if shape.over is None else f"{prefix}.{shape.over}",
    )
    return NodeSpec(shape, _scoped_code(code, prefix))


def _scoped_expression(
    expression: Expression | None, own: set[str], prefix: str
) -> Expression | None:
    if expression is None:
        return None
    if expression[0] == "is":
        name = expression[1]
        return expression if name in own else ("is", f"{prefix}.{name}")
    return (
        expression[0],
        *[_scoped_expression(part, own, prefix) for part in expression[1:]],
    )


def _scoped_code(code: NodeCode, prefix: str) -> NodeCode:
    atoms = tuple(_scoped_atom(atom, prefix) for atom in code.atoms)
    return structs.replace(code, injected=_scoped_markers(code.injected, prefix), atoms=atoms)


def _scoped_atom(atom: Atom, prefix: str) -> Atom:
    return structs.replace(atom, injected=_scoped_markers(atom.injected, prefix))


def _scoped_markers(
    injected: tuple[tuple[str, Marker], ...], prefix: str
) -> tuple[tuple[str, Marker], ...]:
    return tuple((name, _scoped_marker(marker, prefix)) for name, marker in injected)


def _scoped_marker(marker: Marker, prefix: str) -> Marker:
    if marker.kind not in READS_HISTORY:
        return marker
    changed: dict[str, Any] = {"name": f"{prefix}.{marker.name}"}
    return structs.replace(marker, **changed)
