"""What a user sees of what was made: facts and failures, with where they came from."""

from __future__ import annotations

from typing import Any, TypeAlias

from msgspec import Struct

from treadle.model.errordata import ErrorData
from treadle.model.events import Path

FactId: TypeAlias = tuple[str, int, Path]
"""Identity is causal: (node, generation of the node, scope). Never a hash of the value."""


class Fact(Struct, frozen=True):
    """An immutable value and its provenance.

    `sources` are the facts it was made from. `position` orders facts in the log; it is no part of the identity.
    `part` is None for a component's own result and names the inner node otherwise.
    """

    component: str
    part: str | None
    scope: Path
    value: Any
    sources: tuple[FactId, ...] = ()
    generation: int = 0
    position: int = -1

    @property
    def id(self) -> FactId:
        """(node, generation, scope): the same in every order of applying."""
        node = self.component if self.part is None else f"{self.component}/{self.part}"
        return (node, self.generation, self.scope)

    @property
    def input(self) -> int:
        """The number of the input that this belongs to."""
        return self.scope[0]


class Failure(Struct, frozen=True):
    """A failed runnable: what an error port gives, and what `failures()` lists.

    `inputs` are the values it was called with; `handled` says whether it was taken care of: a handler on the error
    port succeeded, or a reduce that may go on without failed items did. A failure given to a handler, or put into
    a `collect`, is a value like any other: it says neither, and no position. `on_failure` is what it did to the
    rest: `"block"`, `"skip"` or `"halt"`.
    """

    component: str
    part: str | None
    scope: Path
    inputs: tuple[Any, ...]
    error: ErrorData
    attempt: int = 1
    generation: int = 0
    on_failure: str = "block"
    handled: bool = False
    position: int = -1

    @property
    def input(self) -> int:
        """The number of the input that this belongs to."""
        return self.scope[0]

    def __str__(self) -> str:
        inside = "" if len(self.scope) == 1 else f", item {'.'.join(map(str, self.scope[1:]))}"
        tries = "" if self.attempt == 1 else f", attempt {self.attempt}"
        return f"{self.component!r} failed for input {self.scope[0]}{inside}{tries}: {self.error}"
