"""`wait_for`: wait for a signal from outside, such as a person's answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec import structs

from treadle.components.component import OnFailure
from treadle.components.waiting import Waiting, as_function, check_function, check_seconds
from treadle.errors import DefinitionError
from treadle.model import calls
from treadle.model import nodes as kinds
from treadle.model.nodes import NodeCode, NodeShape
from treadle.model.schemas import canonical_schema, check_schema, fit, json_schema
from treadle.model.sentinels import ABSENT
from treadle.model.types import name_of


def is_key(key: Any) -> bool:
    """Whether something can be a key given once for all."""
    return key is None or (isinstance(key, (str, int)) and not isinstance(key, bool))


class WaitFor(Waiting):
    """Waits for a signal of its name, and gives what that brings."""

    kind = "wait_for"

    def __init__(
        self,
        name: str,
        *,
        timeout_s: float | Callable[[Any], float | None] | None,
        schema: Any,
        key: str | int | Callable[[Any], str | int] | None,
        default: Any,
        on_failure: str,
    ) -> None:
        super().__init__(name, seconds=timeout_s, on_failure=on_failure)
        what = f"wait_for {self.name!r}"
        check_seconds(f"{what}: `timeout_s=`", timeout_s)
        if callable(key):
            check_function(f"{what}: `key=`", key)
        elif not is_key(key):
            raise DefinitionError(
                f"{what}: `key=` is text or a function of the value, not {key!r:.80}."
            )
        if default is not ABSENT and timeout_s is None:
            raise DefinitionError(
                f"{what}: `default=` is what it gives when its time is over, and it waits without end.",
                hint="give it a `timeout_s=`.",
            )
        check_schema(what, schema)
        self.key = key
        self.schema = schema
        self.initial = None if default is ABSENT else calls.Initial(default)

    def parts(self) -> tuple[Any, ...]:
        """What its fingerprint is made of."""
        default = () if self.initial is None else (self.initial.value,)
        taken = (name_of(self.schema), canonical_schema(self.schema))
        return (self.seconds, self.key, taken, self.on_failure, *default)

    def take(self, name: str, payload: Any) -> Any:
        """What a signal of this name brings, as one of `schema`.

        Errors: `BadValue`, naming what was expected.
        """
        return fit(f"the signal {name!r}", payload, self.schema)

    def shape(self, name: str, source: tuple[str, str]) -> NodeShape:
        """Its node as data."""
        ends = None if self.seconds is None else "fail" if self.initial is None else "default"
        return NodeShape(
            name,
            kinds.WAIT,
            (source,),
            on_failure=self.on_failure,
            on_timeout=ends,
            schema=json_schema(self.schema),
        )

    def code(self) -> NodeCode:
        """Its node's functions."""
        gives = self.schema if self.initial is None else None
        return structs.replace(
            super().code(), key_of=as_function(self.key), initial=self.initial, gives=gives
        )


def wait_for(
    name: str,
    /,
    *,
    timeout_s: float | Callable[[Any], float | None] | None = None,
    schema: Any = None,
    key: str | int | Callable[[Any], str | int] | None = None,
    default: Any = ABSENT,
    on_failure: OnFailure = "block",
) -> WaitFor:
    """Wait for a signal of this name: `workflow.signal(name, payload)` ends the wait, which then gives the payload.

    `schema` is the type of the payload; what does not fit is refused when it is signalled. `key` (text, or a function
    of the value) tells the waits of several inputs or items apart; without one it is where the wait stands, as in
    `0` or `0.2`. After `timeout_s` seconds (a number, or a function of the value) nobody is waited for any longer:
    what stands at `td.timeout_of(name)` gets the value that came to the wait; without such a path the wait gives
    `default`, or fails with `TimedOut`.

    >>> wait_for("approval", timeout_s=3 * 24 * 3600, schema=bool)
    <wait_for 'approval'>
    """
    return WaitFor(
        name,
        timeout_s=timeout_s,
        schema=schema,
        key=key,
        default=default,
        on_failure=on_failure,
    )
