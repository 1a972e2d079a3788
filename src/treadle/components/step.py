"""`step`: one function as a component."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, overload

from treadle.components.component import Component, Maker, OnFailure, bind
from treadle.errors import DefinitionError
from treadle.model import calls
from treadle.model import nodes as kinds
from treadle.model.nodes import Lowered, NodeCode, NodeShape, NodeSpec, Wiring
from treadle.model.ports import annotations_of

P = ParamSpec("P")
R = TypeVar("R")


class Step(Component[P, R]):
    """A function whose parameters are ports and whose result is a fact."""

    kind = "step"

    def __init__(
        self,
        function: Callable[P, R],
        *,
        name: str | None = None,
        on_failure: str = "block",
        validate: bool = False,
    ) -> None:
        super().__init__(function, name=name, on_failure=on_failure)
        self.validate = validate

    def parts(self) -> tuple[Any, ...]:
        """What its fingerprint is made of."""
        return (self.function, self.on_failure, self.validate)

    def lower(self, name: str, wiring: Wiring) -> Lowered:
        """This component as nodes."""
        signature = self.signature
        function: Callable[..., Any] = self.function
        hints = annotations_of(function) if getattr(function, "__annotations__", None) else {}
        if self.validate:
            takes = tuple([hints.get(port) for port in signature.names])
            function = calls.Validated(
                function, takes, hints.get("return"), is_async=signature.is_async
            )
        call, takes = bind(self.kind, name, self.function, signature, wiring)
        if self.validate:
            call = _rebind(call, function)
        shape = NodeShape(
            name,
            kinds.STEP,
            wiring.sources,
            join=wiring.join,
            correlate=wiring.correlate,
            keyed=wiring.correlate == "key",
            on_failure=self.on_failure,
        )
        code = NodeCode(
            call=call,
            is_async=signature.is_async,
            injected=signature.injected,
            key_of=wiring.correlate_by,
            takes=takes,
            gives=hints.get("return"),
        )
        return Lowered(name, self.kind, (NodeSpec(shape, code),), wiring, self)


def _rebind(call: Callable[..., Any], function: Callable[..., Any]) -> Callable[..., Any]:
    """The same fitting of ports around the validated function."""
    if isinstance(call, calls.Unpack):
        return calls.Unpack(function, call.ports)
    return calls.Ignore(function) if isinstance(call, calls.Ignore) else function


@overload
def step(
    function: Callable[P, R],
    /,
    *,
    name: str | None = ...,
    on_failure: OnFailure = ...,
    validate: bool = ...,
) -> Step[P, R]: ...
@overload
def step(
    *, name: str | None = ..., on_failure: OnFailure = ..., validate: bool = ...
) -> Callable[[Callable[P, R]], Step[P, R]]: ...
def step(
    function: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    on_failure: OnFailure = "block",
    validate: bool = False,
) -> Any:
    """Make a function a component; it can still be called as before.

    Each required parameter is a port: n ports take n parents, or one parent that gives a list or tuple of n.
    `on_failure`: what a failure does to the rest of its lineage: `"block"` (what needs the value does not
    run), `"skip"` (it gives ABSENT), `"halt"` (the input's ready work is withdrawn). `validate=True` checks
    arguments and result against the annotations at run time.

    >>> @step
    ... def double(x: int) -> int:
    ...     return x * 2
    >>> double(4)
    8
    """

    def make(fn: Callable[..., Any]) -> Step[Any, Any]:
        return Step(fn, name=name, on_failure=on_failure, validate=validate)

    return Maker("step", name, make) if function is None else make(function)


def as_component(value: Any) -> Component[Any, Any]:
    """A component as it is; a plain function as a step."""
    if isinstance(value, Component):
        return value
    if isinstance(value, Maker):
        raise value.refuse()
    if callable(value):
        return Step(value)
    raise DefinitionError(
        f"a component was expected, and this is {value!r:.80} ({type(value).__name__}).",
        hint="pass a function, or what td.step, td.rule, td.map and their kind make.",
    )
