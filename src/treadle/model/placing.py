"""Where a node stands, and whether it fits there: all that `add` checks about the wiring.

A place is the stack of openers above a node: the fan-outs (and correlated joins) whose scopes its work lives
in. Parents must stand at places that are prefixes of one another; the deepest is the node's own.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from treadle.errors import (
    CycleError,
    DefinitionError,
    IncompatibleTypes,
    PlacesDiffer,
    UnknownComponent,
    nearest,
)
from treadle.model import nodes as kinds
from treadle.model import types
from treadle.model.markers import Marker
from treadle.model.nodes import Lowered, NodeCode, NodeSpec

if TYPE_CHECKING:
    from treadle.model.program import Node, Program


class Spot(Struct):
    """Where a node will stand: keys of the openers above it, and the fan-out that a reduce closes."""

    place: tuple[str, ...]
    inner: tuple[str, ...]
    closes: str | None = None


def place(program: Program, lowered: Lowered, *, replacing: bool = False) -> list[Spot]:
    """Find the spot of each node of a component, or say why there is none."""
    spots: dict[str, Spot] = {}
    specs: dict[str, NodeSpec] = {spec.shape.key: spec for spec in lowered.specs}
    for spec in lowered.specs:
        if not replacing and spec.shape.key in program.by_key:
            raise DefinitionError(f"a node {spec.shape.key!r} is already in this workflow.")
        _check_sources(program, lowered, spec, specs)
        _check_references(program, lowered, spec)
        spots[spec.shape.key] = _spot(program, lowered, spec, spots)
    for spec in lowered.specs:
        _check_types(program, lowered, spec, specs)
    return list(spots.values())


def _check_sources(
    program: Program, lowered: Lowered, spec: NodeSpec, own: dict[str, NodeSpec]
) -> None:
    seen: set[kinds.Source] = set()
    for source in spec.shape.sources:
        key, _ = source
        if key == lowered.output and spec.shape.key != lowered.output and key not in program.by_key:
            _refuse_cycle(lowered.name)
        if key == spec.shape.key:
            _refuse_cycle(lowered.name)
        if key not in program.by_key and key not in own:
            raise UnknownComponent(
                f"{lowered.name!r} cannot be added: its parent {key!r} is not in this workflow."
                f"{nearest(key, program.components)}",
                hint="add the parent first, or correct the name in `to=`.",
            )
        if source[1] == kinds.TIMEOUT:
            _check_timeout(program, lowered.name, key)
        if source in seen:
            raise DefinitionError(
                f"{lowered.name!r} names its parent {key!r} twice.",
                hint="n ports need n distinct parents; pass the value on through a step of its own.",
            )
        seen.add(source)


def _check_timeout(program: Program, name: str, key: str) -> None:
    """Only what may come to the end of its time, and gives nothing else then, has a path for that."""
    shape = program.by_key[key].shape
    if shape.on_timeout == "fail":
        return
    if shape.kind != kinds.WAIT:
        why, hint = "is no wait_for", "timeout_of names a wait_for."
    elif shape.on_timeout is None:
        why, hint = "waits without end", "give it a `timeout_s=`."
    else:
        why, hint = "gives its `default=` then", "leave out one of the two."
    raise DefinitionError(f"{name!r} cannot take the timeouts of {key!r}, which {why}.", hint=hint)


def _refuse_cycle(name: str) -> None:
    raise CycleError(
        f"{name!r} cannot be its own parent.",
        hint="a workflow's graph has no cycles; a repetition is a component of its own.",
    )


def _check_references(program: Program, lowered: Lowered, spec: NodeSpec) -> None:
    """Named conditions and the targets of markers must exist."""
    own = {atom.key for atom in spec.code.atoms}
    for name in conditions_in(spec.shape.expression):
        if name not in own and name not in program.conditions:
            raise UnknownComponent(
                f"{lowered.name!r} refers to a condition named {name!r}, which is not in this workflow."
                f"{nearest(name, program.conditions)}",
                hint=f"add it first: workflow.add(td.condition(fn, name={name!r})).",
            )
    for marker in markers_of(spec.code):
        if marker.kind in ("state_of", "latest", "all_values", "count", "ran"):
            _check_target(program, lowered.name, marker)


def _check_target(program: Program, name: str, marker: Marker) -> None:
    target = program.components.get(marker.name)
    if target is None:
        raise UnknownComponent(
            f"{name!r} asks for {marker!r}, and there is no component {marker.name!r}."
            f"{nearest(marker.name, program.components)}",
            hint="add the component that it reads first.",
        )
    if marker.kind == "state_of" and program.by_key[target.output].kind != kinds.STATE:
        raise DefinitionError(
            f"{name!r} asks for {marker!r}, and {marker.name!r} is a {target.kind}, which has no state.",
            hint="state_of reads accumulators; latest() reads any component.",
        )


def markers_of(code: NodeCode) -> Iterable[Marker]:
    """All markers that a node's functions carry."""
    for _, marker in code.injected:
        yield marker
    for atom in code.atoms:
        for _, marker in atom.injected:
            yield marker


def conditions_in(expression: kinds.Expression | None) -> list[str]:
    """The names of the conditions that an expression asks for, in order."""
    if expression is None:
        return []
    if expression[0] == "is":
        return [expression[1]]
    return [name for part in expression[1:] for name in conditions_in(part)]


def _spot(program: Program, lowered: Lowered, spec: NodeSpec, own: dict[str, Spot]) -> Spot:
    shape = spec.shape
    above = [_inner(program, own, source) for source in shape.sources]
    deepest = max(above, key=len, default=())
    for (key, _), parent in zip(shape.sources, above, strict=True):
        if deepest[: len(parent)] != parent:
            _refuse_places(lowered.name, shape.sources, above, key)
    if shape.correlate is not None:
        if any(parent != deepest for parent in above):
            _refuse_places(lowered.name, shape.sources, above, shape.sources[0][0])
        spot = (*deepest, shape.key)
        return Spot(spot, spot)
    if shape.kind == kinds.ITEMS:
        return Spot(deepest, (*deepest, shape.key))
    if shape.kind == kinds.REDUCE:
        return _reduce_spot(program, lowered.name, shape, deepest)
    return Spot(deepest, deepest)


def _inner(program: Program, own: dict[str, Spot], source: kinds.Source) -> tuple[str, ...]:
    key, port = source
    if key in own:
        return own[key].inner
    node = program.by_key[key]
    indices = node.place if port == kinds.ERROR else node.inner
    return tuple(_key_at(program, index) for index in indices)


def _key_at(program: Program, index: int) -> str:
    node = program.nodes[index]
    return "" if node is None else node.key


def _reduce_spot(
    program: Program, name: str, shape: kinds.NodeShape, above: tuple[str, ...]
) -> Spot:
    fan_outs = [key for key in above if program.by_key[key].kind == kinds.ITEMS]
    if shape.over is None:
        if not fan_outs:
            return Spot(above, above)
        closes = fan_outs[-1]
    else:
        named = {program.by_key[key].component: key for key in fan_outs}
        if shape.over not in named:
            around = ", ".join(map(repr, named)) or "none"
            raise DefinitionError(
                f"{name!r} should close the fan-out {shape.over!r}, which is not around its parent "
                f"(around it: {around}).",
                hint="`over=` names a map that the parent stands in.",
            )
        closes = named[shape.over]
    outside = above[: above.index(closes)]
    return Spot(outside, outside, closes)


def _refuse_places(
    name: str, sources: tuple[kinds.Source, ...], above: list[tuple[str, ...]], odd: str
) -> None:
    where = "; ".join(
        f"{key!r} stands {'in ' + ' > '.join(map(repr, inside)) if inside else 'outside any fan-out'}"
        for (key, _), inside in zip(sources, above, strict=True)
    )
    raise PlacesDiffer(
        f"{name!r} cannot join its parents, which stand in different fan-outs: {where}.",
        hint=f"close the fan-out first with a reduce or collect (below {odd!r}, say), or join inside it.",
    )


def _check_types(
    program: Program, lowered: Lowered, spec: NodeSpec, own: dict[str, NodeSpec]
) -> None:
    takes = spec.code.takes
    if not takes:
        return
    for (source, port), wanted in zip(spec.shape.sources, takes, strict=False):
        key, narrows = source, False
        while key in own and own[key].shape.kind in (kinds.GATE, kinds.CHECK):
            key = own[key].shape.sources[0][0]  # what they let through is what came to them
            narrows = True
        if wanted is None or key in own:
            continue
        given = _given(program.by_key[key], port)
        outside = spec.shape.kind == kinds.REDUCE and not program.by_key[key].inner
        if spec.shape.kind == kinds.ITEMS or outside:
            _check_element(lowered.name, key, given, wanted)
        elif not types.fits(given, wanted) and not (narrows and types.fits(wanted, given)):
            _refuse_types(lowered.name, key, given, wanted)


def _given(node: Node, port: str) -> Any:
    """The annotation of what a node gives on a port."""
    if port == kinds.ERROR:
        return None
    return gives(node.sources[0][0] if port == kinds.TIMEOUT else node)


def gives(node: Node) -> Any:
    """The annotation of what a node gives; a gate, a check and a sleep give what came to them."""
    while node.kind in (kinds.GATE, kinds.CHECK, kinds.SLEEP) and node.sources:
        node = node.sources[0][0]
    hint = node.code.gives
    return types.element_of(hint) if node.kind == kinds.ITEMS else hint


def _check_element(name: str, key: str, given: Any, wanted: Any) -> None:
    if given in (str, bytes, int, float, bool):
        _refuse_types(name, key, given, "a collection")
    element = types.element_of(given)
    if element is not None and wanted is not Any and not types.fits(element, wanted):
        _refuse_types(name, key, given, f"a collection of {types.name_of(wanted)}")


def _refuse_types(name: str, key: str, given: Any, wanted: Any) -> None:
    raise IncompatibleTypes(
        f"{key!r} gives {types.name_of(given)}, and {name!r} takes "
        f"{wanted if isinstance(wanted, str) else types.name_of(wanted)}.",
        hint="put a step between them that converts, or correct one of the annotations.",
    )


def check_replacement(program: Program, old: Lowered, new: Lowered) -> None:
    """A replacement must leave the children where they are: same place, compatible types."""
    output = program.by_key[old.output]
    if new.output != old.output:
        raise DefinitionError(f"{new.name!r} cannot replace {old.name!r}: their outputs differ.")
    specs = {spec.shape.key: spec for spec in new.specs}
    spots = dict(zip(specs, place(program, new, replacing=True), strict=True))
    inner = tuple(_key_at(program, index) for index in output.inner)
    if spots[new.output].inner != inner:
        raise PlacesDiffer(
            f"the new {new.name!r} ({new.kind}) would move its children into or out of a fan-out.",
            hint="remove the component and its children, then add them as you want them.",
        )
    if output.timeout_children and specs[new.output].shape.on_timeout != "fail":
        raise DefinitionError(
            f"the new {new.name!r} would never time out, and "
            f"{output.timeout_children[0][0].component!r} takes its timeouts.",
            hint="remove that first.",
        )
    given = specs[new.output].code.gives
    for child in program.outgoing(output):
        for (parent, _), wanted in zip(child.sources, child.code.takes, strict=False):
            if parent is output and not types.fits(given, wanted):
                _refuse_types(child.component, new.name, given, wanted)


def find_near_barriers(nodes: list[Node]) -> None:
    """For each node, the barriers that can be reached without passing another barrier.

    Children are finished before their parents, without recursion: chains may be very long.
    """
    waiting = {node: len(below(node)) for node in nodes}
    done = [node for node, count in waiting.items() if count == 0]
    while done:
        node = done.pop()
        near: dict[Node, None] = {}
        for child in below(node):
            near.update(dict.fromkeys([child] if child.is_barrier else child.near))
        node.near = tuple(sorted(near, key=lambda barrier: barrier.index))
        for parent, _ in node.sources:
            waiting[parent] -= 1
            if waiting[parent] == 0:
                done.append(parent)


def below(node: Node) -> list[Node]:
    """All that takes something from a node: its value, its failures, or a look at its facts."""
    edges = node.children + node.error_children + node.timeout_children
    return [child for child, _ in edges] + node.watchers
