"""`accumulator`: a state that outlives its inputs, folded one value at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, overload

from treadle.components.component import Component, Maker, OnFailure, refuse_async, single
from treadle.errors import ArityMismatch, DefinitionError
from treadle.model import calls
from treadle.model import nodes as kinds
from treadle.model.nodes import Lowered, NodeCode, NodeShape, NodeSpec, Wiring
from treadle.model.ports import annotations_of
from treadle.model.sentinels import ABSENT


class Accumulator(Component[Any, Any]):
    """Folds each value into a state, per key; each new state is a fact in the scope of the value."""

    kind = "accumulator"

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        initial: Any,
        name: str | None = None,
        key: Callable[[Any], Any] | None = None,
        merge: Callable[[Any, Any], Any] | None = None,
        on_failure: str = "block",
    ) -> None:
        super().__init__(function, name=name, on_failure=on_failure)
        ports = self.signature.ports
        if ports is not None and not self.signature.rest and ports < 2:
            raise ArityMismatch(
                f"accumulator {self.name!r} takes (state, value), and its function has {ports} ports.",
                hint="as in functools.reduce: the state comes first.",
            )
        for what, given in (("key", key), ("merge", merge)):
            if given is not None and not callable(given):
                raise DefinitionError(
                    f"accumulator {self.name!r}: `{what}=` is a function, not {given!r:.80}."
                )
            if given is not None:
                refuse_async(f"accumulator {self.name!r}: `{what}=`", given)
        self.value_ports = 1 if ports is None or self.signature.rest else ports - 1
        self.initial = calls.Initial(initial)
        self.key = key
        self.merge = merge

    def parts(self) -> tuple[Any, ...]:
        """What its fingerprint is made of."""
        return (self.function, self.initial.value, self.key, self.merge, self.on_failure)

    def lower(self, name: str, wiring: Wiring) -> Lowered:
        """This component as nodes."""
        before, source = single(name, wiring)
        call = calls.FoldInto(self.function, self.value_ports)
        if self.merge is not None:
            return self._merging(name, wiring, before, source, call)
        shape = NodeShape(
            name, kinds.STATE, (source,), keyed=self.key is not None, on_failure=self.on_failure
        )
        code = NodeCode(
            call=call,
            takes=self._takes() if self.value_ports == 1 else (),
            is_async=self.signature.is_async,
            injected=self.signature.injected,
            key_of=self.key,
            initial=self.initial,
            gives=annotations_of(self.function).get("return"),
        )
        return Lowered(name, self.kind, (*before, NodeSpec(shape, code)), wiring, self)

    def _takes(self) -> tuple[Any, ...]:
        """What the value port is annotated with; the state comes first."""
        hints = annotations_of(self.function)
        return tuple([hints.get(name) for name in self.signature.names[1:2]])

    def _merging(
        self,
        name: str,
        wiring: Wiring,
        before: tuple[NodeSpec, ...],
        source: kinds.Source,
        call: calls.FoldInto,
    ) -> Lowered:
        """Two nodes: folds into a fresh `initial` run side by side; their parts are merged in turn."""
        if self.merge is None or self.signature.is_async:
            raise DefinitionError(f"accumulator {name!r}: a merging fold is a plain function.")
        part = f"{name}/part"
        alone = NodeSpec(
            NodeShape(part, kinds.STEP, (source,), on_failure=self.on_failure),
            NodeCode(
                call=calls.FoldAlone(call, self.initial, self.key),
                injected=self.signature.injected,
            ),
        )
        merging = NodeSpec(
            NodeShape(
                name,
                kinds.STATE,
                ((part, kinds.VALUE),),
                keyed=self.key is not None,
                on_failure=self.on_failure,
            ),
            NodeCode(
                call=calls.Merge(self.merge),
                key_of=None if self.key is None else calls.key_of_part,
                initial=self.initial,
            ),
        )
        return Lowered(name, self.kind, (*before, alone, merging), wiring, self)


@overload
def accumulator(
    function: Callable[..., Any],
    /,
    *,
    initial: Any,
    name: str | None = ...,
    key: Callable[[Any], Any] | None = ...,
    merge: Callable[[Any, Any], Any] | None = ...,
    on_failure: OnFailure = ...,
) -> Accumulator: ...
@overload
def accumulator(
    *,
    initial: Any,
    name: str | None = ...,
    key: Callable[[Any], Any] | None = ...,
    merge: Callable[[Any, Any], Any] | None = ...,
    on_failure: OnFailure = ...,
) -> Callable[[Callable[..., Any]], Accumulator]: ...
def accumulator(
    function: Callable[..., Any] | None = None,
    /,
    *,
    initial: Any = ABSENT,
    name: str | None = None,
    key: Callable[[Any], Any] | None = None,
    merge: Callable[[Any, Any], Any] | None = None,
    on_failure: OnFailure = "block",
) -> Any:
    """Keep a state over all inputs: `function(state, value)` gives the next state, which is a fact too.

    At most one fold per state is under way, in the order of arrival, so no update is lost. `key` gives a state
    per key. `initial` may be a factory. `merge` (associative, with `initial` as its identity) lets folds run
    side by side: each value is folded into a fresh `initial`, and the parts are merged in turn.

    >>> revenue = accumulator(lambda total, order: total + order["total"], initial=0, name="revenue")
    """
    if initial is ABSENT:
        raise DefinitionError(
            "accumulator() needs `initial=`, the state before the first value.",
            hint="for example initial=0, or a factory such as initial=dict.",
        )

    def make(fn: Callable[..., Any]) -> Accumulator:
        return Accumulator(
            fn, initial=initial, name=name, key=key, merge=merge, on_failure=on_failure
        )

    return Maker("accumulator", name, make) if function is None else make(function)
