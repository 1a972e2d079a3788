"""What is dispatched as one: a runnable alone, several side by side, or a chain run in sequence."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from msgspec import Struct, field

from treadle.model.cohorts import Cohort
from treadle.model.runnables import Runnable


class Link(Struct, frozen=True, kw_only=True):
    """A step that follows in a chain: it will take what the one before it gives, and nothing else."""

    component: str
    node: str
    call: Callable[..., Any]
    is_async: bool = False
    generation: int = 0


class Bundle(Struct, frozen=True, kw_only=True):
    """One unit of dispatch. It takes one slot of an executor, whatever is in it.

    `runnables` are independent of one another: each fails for itself. `links` (only below a single runnable) run
    after it in sequence, up to the first failure. `executor` overrides where the policy would send it. `keep`:
    what it gives may stay where it was made (a cluster), since only further steps there will take it. `reason` says
    why it looks as it does.
    """

    runnables: Sequence[Runnable]
    """A tuple, or another sequence that never changes."""
    links: tuple[Link, ...] = ()
    executor: str | None = None
    keep: bool = False
    reason: str = ""

    @property
    def kind(self) -> str:
        """`"single"`, `"chain"` or `"parallel"`."""
        return "chain" if self.links else "single" if len(self.runnables) == 1 else "parallel"

    @property
    def is_async(self) -> bool:
        """Whether anything in it must be awaited."""
        if isinstance(self.runnables, Cohort):
            return False
        return any(each.is_async for each in self.runnables) or any(
            link.is_async for link in self.links
        )

    def __len__(self) -> int:
        return len(self.runnables) + len(self.links)


class Report(Struct, frozen=True, kw_only=True):
    """What a worker says of one call: plain data, and the exception where it survives the way back."""

    status: str
    value: Any = None
    error: Any = None
    exception: BaseException | None = None
    seconds: float | None = None


class Job(Struct, frozen=True, kw_only=True):
    """What travels to a worker: the functions, each once, and the values to call them with.

    `tasks` are (index of the function, positional arguments, injected ones); `links` are indices of functions. It
    says nothing of workflows, so it is small.
    """

    calls: tuple[Any, ...]
    tasks: tuple[tuple[int, tuple[Any, ...], dict[str, Any] | None], ...]
    links: tuple[int, ...] = ()
    is_async: bool = False
    names: tuple[str, ...] = field(default=())
    """The components of the calls, for messages."""
