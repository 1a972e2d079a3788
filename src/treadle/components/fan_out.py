"""`map`: one scope per element of a collection, and a function called in each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, overload

from treadle.components.component import Component, Maker, OnFailure, bind, single
from treadle.model import calls
from treadle.model import nodes as kinds
from treadle.model.nodes import Lowered, NodeCode, NodeShape, NodeSpec, Wiring
from treadle.model.ports import annotations_of

P = ParamSpec("P")
R = TypeVar("R")


class Map(Component[P, R]):
    """Opens a scope per element; the function is called with each."""

    kind = "map"

    def lower(self, name: str, wiring: Wiring) -> Lowered:
        """With several parents the first gives the collection; the others are further ports in each item."""
        rest = wiring.sources[1:]
        if rest and wiring.join == "all" and wiring.correlate is None:
            before: tuple[NodeSpec, ...] = ()
            source = wiring.sources[0]
        else:
            before, source = single(name, wiring)
            rest = ()
        key = f"{name}/items"
        inside = Wiring(((key, kinds.VALUE), *rest))
        call, takes = bind(self.kind, name, self.function, self.signature, inside)
        hints = annotations_of(self.function)
        halts = "halt" if self.on_failure == "halt" else "block"
        items = NodeSpec(
            NodeShape(key, kinds.ITEMS, (source,), on_failure=halts),
            NodeCode(call=calls.Elements(), takes=takes[:1] or (Any,)),
        )
        each = NodeSpec(
            NodeShape(name, kinds.STEP, inside.sources, on_failure=self.on_failure),
            NodeCode(
                call=call,
                is_async=self.signature.is_async,
                injected=self.signature.injected,
                takes=takes,
                gives=hints.get("return"),
            ),
        )
        return Lowered(name, self.kind, (*before, items, each), wiring, self)


@overload
def map(
    function: Callable[P, R], /, *, name: str | None = ..., on_failure: OnFailure = ...
) -> Map[P, R]: ...
@overload
def map(
    *, name: str | None = ..., on_failure: OnFailure = ...
) -> Callable[[Callable[P, R]], Map[P, R]]: ...
def map(
    function: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    on_failure: OnFailure = "block",
) -> Any:
    """Fan out: call a function with each element of the parent's collection, in a scope of its own.

    What follows is in the item's scope too, until a `reduce` or `collect` closes the fan-out. Further parents
    are further ports, broadcast to each item. A dict gives its keys; text and non-iterables fail.

    >>> price = map(lambda line: line["quantity"] * line["unit_price"], name="price")
    """

    def make(fn: Callable[..., Any]) -> Map[Any, Any]:
        return Map(fn, name=name, on_failure=on_failure)

    return Maker("map", name, make) if function is None else make(function)
