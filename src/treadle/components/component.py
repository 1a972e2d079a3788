"""What all components share: a name, a function that stays callable, and a way down to nodes."""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import FunctionType
from typing import Any, ClassVar, Generic, Literal, ParamSpec, TypeVar

from treadle.errors import ArityMismatch, DefinitionError
from treadle.model import calls
from treadle.model import nodes as kinds
from treadle.model.fingerprints import fingerprint
from treadle.model.markers import NOT_GIVEN
from treadle.model.nodes import Lowered, NodeCode, NodeShape, NodeSpec, Source, Wiring
from treadle.model.portable import component_reference
from treadle.model.ports import Signature, annotations_of, read_signature

P = ParamSpec("P")
R = TypeVar("R")

ON_FAILURE = ("block", "skip", "halt")
OnFailure = Literal["block", "skip", "halt"]


class Component(Generic[P, R]):
    """A named part of a workflow made from a function, which it can still be called as."""

    is_treadle_component: ClassVar[bool] = True
    kind: ClassVar[str] = "component"

    def __init__(
        self, function: Callable[P, R], *, name: str | None, on_failure: str = "block"
    ) -> None:
        if isinstance(function, Maker):
            raise function.refuse()
        if not callable(function):
            raise DefinitionError(
                f"a {self.kind} is made from a function, and was given {function!r:.80}.",
                hint="pass a callable; a constant is `lambda _: value`.",
            )
        self.function = function
        self.signature = self._read(function)
        self.name = check_name(
            name if name is not None else name_of(function, self.kind), self.kind
        )
        if on_failure not in ON_FAILURE:
            raise DefinitionError(
                f"{self.kind} {self.name!r}: on_failure={on_failure!r} is not one of {ON_FAILURE}."
            )
        self.on_failure = on_failure
        if isinstance(function, FunctionType):
            functools.update_wrapper(self, function, updated=())

    def _read(self, function: Callable[..., Any]) -> Signature:
        signature = read_signature(function)
        if signature.is_generator:
            raise DefinitionError(
                f"{self.kind} {name_of(function, self.kind)!r} is a generator function: what it gives could "
                "be read only once.",
                hint="return a list; to treat its elements one by one, follow it with td.map.",
            )
        return signature

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the plain function; parameters with markers take the markers' own defaults."""
        if self.signature.injected:
            kwargs.update(self._defaults(len(args), set(kwargs)))
        return self.function(*args, **kwargs)

    def _defaults(self, given: int, named: set[str]) -> dict[str, Any]:
        code = getattr(self.function, "__code__", None)
        positional = code.co_varnames[: code.co_argcount] if code is not None else ()
        filled: dict[str, Any] = {}
        for name, marker in self.signature.injected:
            if name in named or name in positional[:given]:
                continue
            if marker.default is NOT_GIVEN:
                raise TypeError(
                    f"{self.name}() needs {name!r}: {marker!r} has no default outside a workflow"
                )
            filled[name] = marker.default() if callable(marker.default) else marker.default
        return filled

    def lower(self, name: str, wiring: Wiring) -> Lowered:
        """This component as nodes, under a name and a wiring."""
        raise DefinitionError(
            f"{name!r} cannot be added to {wiring.sources}: a {self.kind} says nothing of how it runs."
        )

    def functions(self) -> tuple[FunctionType, ...]:
        """The plain functions inside, in a fixed order: pickling finds them again through this."""
        return tuple(part for part in self.parts() if isinstance(part, FunctionType))

    def parts(self) -> tuple[Any, ...]:
        """Everything that makes this component what it is, for its fingerprint."""
        return (self.function, self.on_failure)

    @property
    def fingerprint(self) -> str:
        """A digest of its code and of what that uses; not of line numbers or formatting."""
        return fingerprint((self.kind, *self.parts()))

    def fingerprint_by(self, scheme: int) -> str:
        """The fingerprint as an earlier scheme gives it, to be compared with one in a log."""
        return fingerprint((self.kind, *self.parts()), scheme)

    def __repr__(self) -> str:
        return f"<{self.kind} {self.name!r}>"

    def __reduce__(self) -> Any:
        return component_reference(self)


def refuse_async(what: str, function: Callable[..., Any]) -> None:
    """Functions that are called while planning or merging are plain and quick."""
    if read_signature(function).is_async:
        raise DefinitionError(
            f"{what} is async, and is called where nothing can be awaited.",
            hint="compute it in a step before, and take it from the value.",
        )


class Maker:
    """A decorator in waiting: `td.step(name="x")` until it is given its function."""

    __slots__ = ("kind", "make", "name")

    def __init__(self, kind: str, name: str | None, make: Callable[[Any], Any]) -> None:
        self.kind = kind
        self.name = name
        self.make = make

    def __call__(self, function: Any, /) -> Any:
        """Make the component."""
        return self.make(function)

    def refuse(self) -> DefinitionError:
        """It was used as if it were the component."""
        named = "" if self.name is None else f" {self.name!r}"
        needed = "reaction" if self.kind == "rule" else "function"
        return DefinitionError(
            f"{self.kind}{named} has no {needed}.",
            hint=f"pass the {needed}, or use td.{self.kind}(...) as a decorator.",
        )


def name_of(function: Callable[..., Any], kind: str) -> str:
    """A function's own name; what has none takes the kind's."""
    if isinstance(function, Component):
        return function.name
    name = getattr(function, "__name__", kind)
    return name if name != "<lambda>" else kind


def check_name(name: Any, kind: str) -> str:
    """A name can be any printable text without a slash; it is escaped where it is drawn."""
    if not isinstance(name, str):
        raise DefinitionError(
            f"the name of a {kind} must be a str, and is {name!r:.80} ({type(name).__name__})."
        )
    if not name or name != name.strip() or not name.isprintable() or "/" in name or len(name) > 200:
        raise DefinitionError(
            f"{name!r:.220} cannot be the name of a {kind}.",
            hint="a name is printable text of at most 200 characters, without '/' and outer spaces.",
        )
    if name in ("INPUT", "_global"):
        raise DefinitionError(f"{name!r} is a reserved name.", hint=f"name the {kind} otherwise.")
    return name


def bind(
    kind: str, name: str, function: Callable[..., Any], signature: Signature, wiring: Wiring
) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """Fit a function's ports to its parents: the call that a node makes, and the types its ports take."""
    parents, ports = len(wiring.sources), signature.ports
    hints = annotations_of(function) if getattr(function, "__annotations__", None) else {}
    takes = tuple([hints.get(port) for port in signature.names]) if hints else ()
    if ports == 0 and not signature.rest:
        return calls.Ignore(function), ()
    if wiring.join == "any":
        if ports is None or ports == 1 or signature.rest:
            return function, takes[:1] * parents
        return calls.Unpack(function, ports), ()
    if ports is None or ports == parents or (signature.rest and parents >= ports):
        return function, takes
    if parents == 1 and not signature.rest:
        return calls.Unpack(function, ports), ()
    raise ArityMismatch(
        f"{kind} {name!r} has {ports} ports ({', '.join(signature.names)}) and {parents} parents.",
        hint="n ports need n parents, or one parent whose value is a list or tuple of n; "
        'a parameter with a default is no port. For whichever of the parents comes: join="any".',
    )


def single(name: str, wiring: Wiring) -> tuple[tuple[NodeSpec, ...], Source]:
    """For what takes one fact: several parents (or an error port) are joined by a node before it."""
    if wiring.is_plain:
        return (), wiring.sources[0]
    key = f"{name}/join"
    one = wiring.join == "any" or len(wiring.sources) == 1
    shape = NodeShape(
        key,
        kinds.STEP,
        wiring.sources,
        join=wiring.join,
        correlate=wiring.correlate,
        keyed=wiring.correlate == "key",
    )
    call: Callable[..., Any] = calls.PassOn() if one else calls.Pack()
    return (NodeSpec(shape, NodeCode(call=call, key_of=wiring.correlate_by)),), (key, kinds.VALUE)


def only_one_parent(kind: str, name: str, wiring: Wiring) -> Source:
    """For what cannot join."""
    if len(wiring.sources) != 1 or wiring.join != "all" or wiring.correlate is not None:
        raise ArityMismatch(
            f"{kind} {name!r} takes one parent, and was given {len(wiring.sources)}"
            f"{'' if wiring.join == 'all' else f' with join={wiring.join!r}'}.",
            hint="join the parents in a step before it.",
        )
    return wiring.sources[0]
