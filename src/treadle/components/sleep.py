"""`sleep`: pass a value on when its time has come."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from treadle.components.component import OnFailure
from treadle.components.waiting import Waiting, check_seconds
from treadle.errors import DefinitionError
from treadle.model import nodes as kinds
from treadle.model.nodes import NodeShape


class Sleep(Waiting):
    """Passes its value on after some time."""

    kind = "sleep"

    def __init__(
        self, seconds: float | Callable[[Any], float], *, name: str | None, on_failure: str
    ) -> None:
        super().__init__(
            self.kind if name is None else name, seconds=seconds, on_failure=on_failure
        )
        if seconds is None:
            raise DefinitionError(f"sleep {self.name!r} needs a number of seconds.")
        check_seconds(f"sleep {self.name!r}", seconds)

    def parts(self) -> tuple[Any, ...]:
        """What its fingerprint is made of."""
        return (self.seconds, self.on_failure)

    def shape(self, name: str, source: tuple[str, str]) -> NodeShape:
        """Its node as data."""
        return NodeShape(name, kinds.SLEEP, (source,), on_failure=self.on_failure)


def sleep(
    seconds: float | Callable[[Any], float],
    /,
    *,
    name: str | None = None,
    on_failure: OnFailure = "block",
) -> Sleep:
    """Pass a value on when so many seconds are over: a number, or a function of the value that gives one.

    Nothing is in flight meanwhile, however long it takes: the moment stands in the log. In a bare workflow the caller
    says what time it is (`workflow.tick(at)`).

    >>> sleep(24 * 3600, name="cool_off")
    <sleep 'cool_off'>
    """
    return Sleep(seconds, name=name, on_failure=on_failure)
