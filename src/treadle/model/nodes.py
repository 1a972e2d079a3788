"""What a component lowers to: nodes of a closed set of kinds, each a *shape* (data) and its *code* (functions).

The shape goes into the log; the code never does. A log's shapes and a definition's code together make a
program again (`model/program.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

from msgspec import Struct

from treadle.model.markers import Marker
from treadle.model.portable import reduce_struct

INPUT: Final = "input"
STEP: Final = "step"
"""Calls a function on its ports; the result is its fact."""
GATE: Final = "gate"
"""Lets its parent's fact through where an expression over conditions holds; decided in planning."""
CHECK: Final = "check"
"""A predicate that is dispatched like a step; lets its parent's fact through where it was true."""
ITEMS: Final = "items"
"""Opens one scope per element of its parent's value."""
REDUCE: Final = "reduce"
"""Closes a fan-out: a barrier that folds what arrived from each item."""
STATE: Final = "state"
"""Folds values into a state that outlives their scopes; one at a time per key."""
WAIT: Final = "wait"
"""Waits for a signal from outside, and gives what it brings; or until its time is over."""
SLEEP: Final = "sleep"
"""Passes its parent's fact on when its time has come."""

VALUE: Final = "value"
"""The port on which a node gives its facts."""
ERROR: Final = "error"
"""The port on which a node gives a `Failure` for each failed runnable."""
TIMEOUT: Final = "timeout"
"""The port on which a wait passes its parent's fact on when nobody answered in time."""

Source: TypeAlias = tuple[str, str]
"""A parent: the key of a node and the port it gives on, `"value"`, `"error"` or `"timeout"`."""

Expression: TypeAlias = tuple[Any, ...]
"""`("is", condition)`, `("all", e, ...)`, `("any", e, ...)` or `("not", e)`."""


class NodeShape(Struct, frozen=True, omit_defaults=True, gc=False):
    """One node as data: its stable key, its kind, its parents, and how it treats what they give.

    Of a wait, `on_timeout` says what follows when its time is over: `"fail"` or `"default"`, or None if it has no
    end; `schema` is the JSON Schema of what answers it, as text, where its type has one.
    """

    key: str
    kind: str
    sources: tuple[Source, ...]
    join: str | int = "all"
    correlate: str | None = None
    over: str | None = None
    expression: Expression | None = None
    keyed: bool = False
    on_failure: str = "block"
    on_item_failure: str = "fail"
    on_timeout: str | None = None
    schema: str | None = None


class ComponentShape(Struct, frozen=True, omit_defaults=True, gc=False):
    """One component as data: what the log says of it. `output` is the node its children attach to.

    `sources`, `join` and `correlate` say how it was added; `prefix` is that of its sub-workflow, if any.
    """

    name: str
    kind: str
    nodes: tuple[NodeShape, ...]
    output: str
    sources: tuple[Source, ...]
    join: str | int = "all"
    correlate: str | None = None
    prefix: str = ""
    fingerprint: str = ""


class Wiring(Struct, frozen=True):
    """How a component is added: its parents and how they are joined.

    `correlate` is `"latest"`, `"arrival"` or `"key"`; in the last case `correlate_by` is the function.
    """

    sources: tuple[Source, ...]
    join: str | int = "all"
    correlate: str | None = None
    correlate_by: Callable[[Any], Any] | None = None

    @property
    def is_plain(self) -> bool:
        """One parent's value, nothing to be joined."""
        return len(self.sources) == 1 and self.sources[0][1] == VALUE


class Atom(Struct, frozen=True):
    """One condition: a predicate or a pattern, asked once per fact.

    `pattern` has `matches(value)`; for a predicate it is the type its parameter is annotated with, if any
    (a value of another type is just false). `spread` is how many ports the predicate unpacks a list into.
    """

    key: str
    predicate: Callable[..., Any] | None = None
    pattern: Any = None
    injected: tuple[tuple[str, Marker], ...] = ()
    spread: int = 1
    sharing_key: Any = None

    def __reduce__(self) -> Any:
        return reduce_struct(self)


class NodeCode(Struct, frozen=True):
    """The functions of one node, and what their signatures say.

    `call` takes one argument per port (its wrapper unpacks where one parent feeds several ports). `takes` and
    `gives` are annotations, `None` where nothing is said. `key_of` is the key function of a keyed state,
    or of a join that correlates by key. Of a wait, `call` gives how long it waits at most, in seconds, `key_of` the
    key of the signal that answers it, and `initial` what it gives when nobody does.
    """

    call: Callable[..., Any] | None = None
    is_async: bool = False
    injected: tuple[tuple[str, Marker], ...] = ()
    atoms: tuple[Atom, ...] = ()
    key_of: Callable[[Any], Any] | None = None
    initial: Callable[[], Any] | None = None
    takes: tuple[Any, ...] = ()
    gives: Any = None
    missing: bool = False

    def __reduce__(self) -> Any:
        return reduce_struct(self)


class NodeSpec(Struct, frozen=True):
    """A node to be added to a program."""

    shape: NodeShape
    code: NodeCode


class Lowered(Struct, frozen=True):
    """A component, lowered: what `Program.add` takes. The node its children attach to has its name."""

    name: str
    kind: str
    specs: tuple[NodeSpec, ...]
    wiring: Wiring
    component: Any = None
    prefix: str = ""
    recorded: str = ""
    """The fingerprint that a log gives, where the functions are not at hand, or where it is of an earlier scheme."""

    @property
    def output(self) -> str:
        """The key of the node whose facts are the component's own."""
        return self.name

    def shape(self, fingerprint: str = "") -> ComponentShape:
        """The part of this that goes into the log."""
        wiring = self.wiring
        return ComponentShape(
            self.name,
            self.kind,
            tuple(spec.shape for spec in self.specs),
            self.output,
            wiring.sources,
            wiring.join,
            wiring.correlate,
            self.prefix,
            fingerprint,
        )


NO_CODE: Final = NodeCode(missing=True)
"""Stands in for the functions of a component that a definition does not have."""

Context: TypeAlias = Mapping[str, Mapping[str, Any]]
"""Values given at run time: by component name, and under `"_global"` for all."""
