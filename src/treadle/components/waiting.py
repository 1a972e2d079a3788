"""What `wait_for` and `sleep` share: no function of their own, and a time that may depend on the value."""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType
from typing import Any

from treadle.components.component import (
    ON_FAILURE,
    Component,
    Maker,
    check_name,
    refuse_async,
    single,
)
from treadle.engine.answers import duration
from treadle.errors import ArityMismatch, BadValue, DefinitionError
from treadle.model import calls
from treadle.model.nodes import Lowered, NodeCode, NodeShape, NodeSpec, Wiring
from treadle.model.ports import Signature, read_signature

ONE_PORT = Signature(
    1, rest=False, injected=(), names=("value",), is_async=False, is_generator=False
)


class Waiting(Component[Any, Any]):
    """A component that calls nothing: what comes to it stands until something outside happens."""

    def __init__(self, name: Any, *, seconds: Any, on_failure: str) -> None:
        self.name = check_name(name, self.kind)
        self.function = calls.PassOn()
        self.signature = ONE_PORT
        if on_failure not in ON_FAILURE:
            raise DefinitionError(
                f"{self.kind} {self.name!r}: on_failure={on_failure!r} is not one of {ON_FAILURE}."
            )
        self.on_failure = on_failure
        self.seconds = seconds

    def __call__(self, *_: Any, **__: Any) -> Any:
        """There is nothing to call."""
        raise TypeError(f"{self.kind} {self.name!r} waits, and is no function to call")

    def functions(self) -> tuple[FunctionType, ...]:
        """The user's functions."""
        return tuple([part for part in self.parts() if isinstance(part, FunctionType)])

    def lower(self, name: str, wiring: Wiring) -> Lowered:
        """This component as one node, below a join where it has several parents."""
        if len(wiring.sources) == 1 and wiring.join == "all":
            before: tuple[NodeSpec, ...] = ()
            source = wiring.sources[0]
        else:
            before, source = single(name, wiring)
        spec = NodeSpec(self.shape(name, source), self.code())
        return Lowered(name, self.kind, (*before, spec), wiring, self)

    def shape(self, name: str, source: tuple[str, str]) -> NodeShape:
        """Its node as data."""
        raise DefinitionError(f"{name!r} says nothing of how it waits on {source}.")

    def code(self) -> NodeCode:
        """Its node's functions."""
        return NodeCode(call=as_function(self.seconds))


def as_function(given: Any) -> Callable[[Any], Any] | None:
    """A function of the value; of what is given once for all, one that says so."""
    return given if given is None or callable(given) else calls.Constant(given)


def check_seconds(what: str, seconds: Any) -> None:
    """A time is a number of seconds, or a function of the value that gives one."""
    if callable(seconds):
        check_function(what, seconds)
        return
    try:
        duration(seconds)
    except BadValue as error:
        raise DefinitionError(
            f"{what}: {error.message}", hint="a function of the value may give it, too."
        ) from None


def check_function(what: str, function: Callable[..., Any]) -> None:
    """A plain, quick function of the one value: it is asked while planning."""
    if isinstance(function, Maker):
        raise function.refuse()
    refuse_async(what, function)
    signature = read_signature(function)
    if signature.injected:
        raise DefinitionError(
            f"{what} asks for {signature.injected[0][1]!r}, and is given nothing but the value.",
            hint="take it in a step before, and pass it on in the value.",
        )
    if signature.ports not in (1, None) and not (signature.rest and not signature.ports):
        raise ArityMismatch(
            f"{what} is a function of the value, and takes {signature.ports} values."
        )
