"""A value that stayed in a cluster: what stands for it in this process, and how work that takes it travels.

Where results need not be stored, what one step gives may wait in the cluster for the next. The outcome then
carries a `Remote`. It may be an argument of further work of the same executor, which hands the worker the value
itself; everybody else fetches it first.
"""

from __future__ import annotations

from typing import Any, NoReturn, Protocol

from msgspec import Struct, structs

from treadle.errors import NotPortable
from treadle.model.bundles import Bundle, Job


class Holder(Protocol):
    """A cluster's own reference: the value lives as long as it does."""

    def fetch(self) -> Any:
        """The value. Errors: `ValueLost` if it is gone."""


class Remote:
    """Stands for a value that is kept in a cluster. Equal to another one if both stand for the same value.

    `key` is the cluster's name for it, `where` says who held it first, `size` is about how many bytes it has
    when pickled. The cluster may drop the value once nobody has this any more.
    """

    __slots__ = ("__weakref__", "holder", "key", "size", "where")

    def __init__(self, key: str, holder: Holder, *, where: str, size: int) -> None:
        self.key = key
        self.holder = holder
        self.where = where
        self.size = size

    def fetch(self) -> Any:
        """Bring the value here; blocks. Errors: `ValueLost` if it is gone."""
        return self.holder.fetch()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Remote) and other.key == self.key

    def __hash__(self) -> int:
        return hash(self.key)

    def __repr__(self) -> str:
        return f"<Remote {self.key}: {self.size} bytes in {self.where}>"

    def __reduce__(self) -> NoReturn:
        raise NotPortable(
            f"{self!r} stands for a value in the cluster and means nothing elsewhere.",
            hint="use what its fetch() gives.",
        )


class Slot(Struct, frozen=True, gc=False):
    """In place of an argument that is kept: which of the values beside the job it is."""

    index: int


def take_out(bundle: Bundle) -> tuple[Bundle, list[Remote]]:
    """The bundle with a `Slot` for each argument that is kept in a cluster, and what those are, each once."""
    if not any(isinstance(value, Remote) for each in bundle.runnables for value in each.args):
        return bundle, []
    slots: dict[Remote, Slot] = {}

    def slot_for(value: Any) -> Any:
        return slots.setdefault(value, Slot(len(slots))) if isinstance(value, Remote) else value

    runnables = tuple(
        structs.replace(each, args=tuple([slot_for(value) for value in each.args]))
        for each in bundle.runnables
    )
    return structs.replace(bundle, runnables=runnables), list(slots)


def put_back(job: Job, values: tuple[Any, ...]) -> Job:
    """Undo `take_out` in the worker, which was given the values."""

    def value_of(value: Any) -> Any:
        return values[value.index] if isinstance(value, Slot) else value

    tasks = tuple(
        (index, tuple([value_of(value) for value in args]), injected)
        for index, args, injected in job.tasks
    )
    return structs.replace(job, tasks=tasks)
