"""`reduce` and `collect`: close a fan-out, or fold one value's own elements."""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType
from typing import Any, Literal, overload

from treadle.components.component import Component, Maker, OnFailure, name_of, only_one_parent
from treadle.errors import ArityMismatch, DefinitionError
from treadle.model import calls
from treadle.model import nodes as kinds
from treadle.model.nodes import Lowered, NodeCode, NodeShape, NodeSpec, Wiring
from treadle.model.ports import annotations_of
from treadle.model.sentinels import ABSENT

OnItemFailure = Literal["fail", "skip", "collect"]

ON_ITEM_FAILURE = ("fail", "skip", "collect")


class FanIn(Component[Any, Any]):
    """What `reduce` and `collect` share: which fan-out they close and what lost items do."""

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        over: str | None,
        on_item_failure: str,
        name: str | None,
        on_failure: str,
    ) -> None:
        super().__init__(function, name=name, on_failure=on_failure)
        over = getattr(over, "name", over)
        if over is not None and not isinstance(over, str):
            raise DefinitionError(
                f"{self.kind} {self.name!r}: `over=` names a map, not {over!r:.80}."
            )
        if on_item_failure not in ON_ITEM_FAILURE:
            raise DefinitionError(
                f"{self.kind} {self.name!r}: on_item_failure={on_item_failure!r} is not one of "
                f"{ON_ITEM_FAILURE}."
            )
        if self.signature.is_async:
            raise DefinitionError(
                f"{self.kind} {self.name!r} is async; what folds a group is a plain function.",
                hint="collect the list, and follow it with an async step.",
            )
        self.over = over
        self.on_item_failure = on_item_failure

    def _lower(self, name: str, wiring: Wiring, call: Callable[..., Any]) -> Lowered:
        source = only_one_parent(self.kind, name, wiring)
        shape = NodeShape(
            name,
            kinds.REDUCE,
            (source,),
            over=self.over,
            on_failure=self.on_failure,
            on_item_failure=self.on_item_failure,
        )
        hints = annotations_of(self.function)
        code = NodeCode(
            call=call,
            injected=self.signature.injected,
            takes=tuple([hints.get(each) for each in self.signature.names[1:2]]),
            gives=hints.get("return"),
        )
        return Lowered(name, self.kind, (NodeSpec(shape, code),), wiring, self)


class Reduce(FanIn):
    """Folds the items of a group into one value."""

    kind = "reduce"

    def __init__(
        self, function: Callable[..., Any], *, initial: Any = ABSENT, **options: Any
    ) -> None:
        super().__init__(function, **options)
        ports = self.signature.ports
        if not self.signature.rest and ports is not None and ports != 2:
            raise ArityMismatch(
                f"reduce {self.name!r} takes (state, value), and its function has {ports} ports.",
                hint="as in functools.reduce: the state comes first.",
            )
        self.initial = None if initial is ABSENT else calls.Initial(initial)

    def parts(self) -> tuple[Any, ...]:
        """What its fingerprint is made of."""
        initial = () if self.initial is None else (self.initial.value,)
        return (self.function, self.over, self.on_item_failure, self.on_failure, *initial)

    def lower(self, name: str, wiring: Wiring) -> Lowered:
        """This component as nodes."""
        return self._lower(name, wiring, calls.Fold(self.function, self.initial))


class Collect(FanIn):
    """Gives the whole list of a group to a function at once."""

    kind = "collect"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function; `@collect(over="m")` without one takes the function that it decorates."""
        if self.function is list and len(args) == 1 and isinstance(args[0], FunctionType):
            return Collect(
                args[0],
                over=self.over,
                on_item_failure=self.on_item_failure,
                name=None if self.name == self.kind else self.name,
                on_failure=self.on_failure,
            )
        return super().__call__(*args, **kwargs)

    def parts(self) -> tuple[Any, ...]:
        """What its fingerprint is made of."""
        return (self.function, self.over, self.on_item_failure, self.on_failure)

    def lower(self, name: str, wiring: Wiring) -> Lowered:
        """This component as nodes."""
        return self._lower(name, wiring, calls.Gather(self.function))


@overload
def reduce(
    function: Callable[[Any, Any], Any],
    /,
    *,
    initial: Any = ...,
    over: str | None = ...,
    on_item_failure: OnItemFailure = ...,
    name: str | None = ...,
    on_failure: OnFailure = ...,
) -> Reduce: ...
@overload
def reduce(
    *,
    initial: Any = ...,
    over: str | None = ...,
    on_item_failure: OnItemFailure = ...,
    name: str | None = ...,
    on_failure: OnFailure = ...,
) -> Callable[[Callable[[Any, Any], Any]], Reduce]: ...
def reduce(
    function: Callable[..., Any] | None = None,
    /,
    *,
    initial: Any = ABSENT,
    over: str | None = None,
    on_item_failure: OnItemFailure = "fail",
    name: str | None = None,
    on_failure: OnFailure = "block",
) -> Any:
    """Close a fan-out: fold what arrived from its items, in item order, with `function(state, value)`.

    Closes the innermost fan-out around its parent, or the map named by `over=`. Fires once per group, also for
    an empty one, which gives `initial` (a factory is called; without one an empty group is a failure). Outside
    any fan-out it folds the elements of its parent's value. `on_item_failure`: an item that failed fails the
    reduce (`"fail"`), is left out (`"skip"`), or leaves its `Failure` in its place (`"collect"`).

    >>> total = reduce(lambda total, price: total + price, initial=0, name="total")
    """

    def make(fn: Callable[..., Any]) -> Reduce:
        return Reduce(
            fn,
            initial=initial,
            over=over,
            on_item_failure=on_item_failure,
            name=name,
            on_failure=on_failure,
        )

    return Maker("reduce", name, make) if function is None else make(function)


def collect(
    function: Callable[[list[Any]], Any] = list,
    /,
    *,
    over: str | None = None,
    on_item_failure: OnItemFailure = "fail",
    name: str | None = None,
    on_failure: OnFailure = "block",
) -> Collect:
    """Close a fan-out: give the list of what arrived, in item order, to `function` at once.

    The options are those of `reduce`. An empty group gives `function([])`.

    >>> pick_list = collect(name="pick_list")
    >>> cheapest = collect(min, name="cheapest")
    """
    chosen = name if name is not None or function is not list else Collect.kind
    return Collect(
        function,
        over=over,
        on_item_failure=on_item_failure,
        name=chosen if chosen is not None else name_of(function, Collect.kind),
        on_failure=on_failure,
    )
