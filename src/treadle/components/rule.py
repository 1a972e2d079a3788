"""`rule`: a condition and what to do where it holds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, overload

from treadle.components.component import Component, Maker, OnFailure, bind, single
from treadle.components.condition import Asking, Compound, Condition, check_predicate
from treadle.errors import DefinitionError
from treadle.model import calls
from treadle.model import nodes as kinds
from treadle.model.nodes import Lowered, NodeCode, NodeShape, NodeSpec, Wiring
from treadle.model.patterns import Pattern
from treadle.model.ports import annotations_of, read_signature

P = ParamSpec("P")
R = TypeVar("R")


class Rule(Component[P, R]):
    """Where the condition holds for a fact, the reaction is called with it and gives the rule's fact."""

    kind = "rule"

    def __init__(
        self,
        reaction: Callable[P, R],
        *,
        condition: Any = None,
        name: str | None = None,
        dispatch: bool = False,
        on_failure: str = "block",
    ) -> None:
        super().__init__(reaction, name=name, on_failure=on_failure)
        self.condition = condition
        self.dispatch = dispatch
        if condition is not None:
            self._check(condition)

    def _check(self, condition: Any) -> None:
        if not isinstance(condition, (str, Pattern, Compound)) and not callable(condition):
            raise DefinitionError(
                f"rule {self.name!r}: a condition is a predicate, a pattern, a condition's name or a compound "
                f"of these, and not {condition!r:.80}.",
                hint="a value to compare with is td.match(value).",
            )
        if self.dispatch:
            if isinstance(condition, (str, Compound)):
                raise DefinitionError(
                    f"rule {self.name!r}: with dispatch=True the condition is one predicate of its own.",
                    hint="write the combination inside the predicate.",
                )
        elif not isinstance(condition, (str, Pattern, Compound, Condition)):
            check_predicate("the condition of rule", self.name, read_signature(condition))

    def parts(self) -> tuple[Any, ...]:
        """What its fingerprint is made of."""
        asked = self.condition
        if isinstance(asked, Condition):
            asked = asked.function if asked.pattern is None else asked.pattern
        return (self.function, asked, self.dispatch, self.on_failure)

    def lower(self, name: str, wiring: Wiring) -> Lowered:
        """This component as nodes."""
        if self.condition is None:
            return self._react(name, wiring, wiring, ())
        before, source = single(name, wiring)
        when = f"{name}/when"
        if self.dispatch:
            asked = self._dispatched(when, source)
        else:
            asking = Asking(when)
            expression = asking.expression(self.condition)
            shape = NodeShape(when, kinds.GATE, (source,), expression=expression)
            asked = NodeSpec(shape, NodeCode(atoms=tuple(asking.atoms)))
        return self._react(name, wiring, Wiring(((when, kinds.VALUE),)), (*before, asked))

    def _dispatched(self, when: str, source: kinds.Source) -> NodeSpec:
        """The condition as a runnable of its own, for slow or remote checks."""
        condition: Any = self.condition
        if isinstance(condition, Condition):
            condition = condition.function if condition.pattern is None else condition.pattern
        if isinstance(condition, Pattern):
            condition = condition.matches
        signature = read_signature(condition)
        call, _ = bind("the condition of rule", self.name, condition, signature, Wiring((source,)))
        shape = NodeShape(when, kinds.CHECK, (source,), on_failure=self.on_failure)
        call = calls.Truth(call, is_async=signature.is_async)
        return NodeSpec(
            shape, NodeCode(call=call, is_async=signature.is_async, injected=signature.injected)
        )

    def _react(
        self, name: str, wiring: Wiring, inner: Wiring, before: tuple[NodeSpec, ...]
    ) -> Lowered:
        call, takes = bind(self.kind, name, self.function, self.signature, inner)
        hints = annotations_of(self.function)
        shape = NodeShape(
            name,
            kinds.STEP,
            inner.sources,
            join=inner.join,
            correlate=inner.correlate,
            keyed=inner.correlate == "key",
            on_failure=self.on_failure,
        )
        code = NodeCode(
            call=call,
            is_async=self.signature.is_async,
            injected=self.signature.injected,
            key_of=inner.correlate_by,
            takes=takes,
            gives=hints.get("return"),
        )
        return Lowered(name, self.kind, (*before, NodeSpec(shape, code)), wiring, self)


@overload
def rule(
    reaction: Callable[P, R],
    /,
    *,
    name: str | None = ...,
    condition: Any = ...,
    dispatch: bool = ...,
    on_failure: OnFailure = ...,
) -> Rule[P, R]: ...
@overload
def rule(
    *,
    name: str | None = ...,
    condition: Any = ...,
    reaction: Callable[P, R],
    dispatch: bool = ...,
    on_failure: OnFailure = ...,
) -> Rule[P, R]: ...
@overload
def rule(
    *,
    name: str | None = ...,
    condition: Any = ...,
    dispatch: bool = ...,
    on_failure: OnFailure = ...,
) -> Callable[[Callable[P, R]], Rule[P, R]]: ...
def rule(
    function: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    condition: Any = None,
    reaction: Callable[..., Any] | None = None,
    dispatch: bool = False,
    on_failure: OnFailure = "block",
) -> Any:
    """Make a rule: where `condition` holds for a fact, `reaction` is called with it.

    `condition` is a predicate, a pattern (`td.match(...)`), the name of a condition, or a compound of these
    (`td.all_of`, `td.any_of`, `td.not_`); without one the rule always fires. `dispatch=True` makes a slow or
    async predicate a runnable of its own. As a decorator it takes the reaction.

    >>> apply_discount = rule(condition=lambda order: order["total"] > 100, reaction=lambda order: 0.9)
    """
    if function is not None and reaction is not None:
        raise DefinitionError(
            "rule() was given its reaction twice: as the function and as `reaction=`.",
            hint="keep one of them.",
        )
    if dispatch and condition is None:
        raise DefinitionError("rule(dispatch=True) needs a condition to dispatch.")

    def make(react: Callable[..., Any]) -> Rule[Any, Any]:
        return Rule(react, condition=condition, name=name, dispatch=dispatch, on_failure=on_failure)

    given = function if function is not None else reaction
    return Maker("rule", name, make) if given is None else make(given)
