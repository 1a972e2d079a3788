"""Stores that fail or take their time, and an executor that owes answers."""

from collections.abc import Sequence

from treadle.errors import StoreUnavailable
from treadle.interfaces import Answer, Append, Bundle
from treadle.stores.memory import MemoryStore


class FailingStore(MemoryStore):
    """Refuses events while it is down, or once."""

    is_down = False
    fail_once = False

    def append(self, batch: Sequence[Append]) -> list[Exception | None]:
        """Refuse, or do it."""
        if (self.is_down or self.fail_once) and any(append.events for append in batch):
            self.fail_once = False
            return [StoreUnavailable("the store is down") for _ in batch]
        return super().append(batch)


class SlowStore(MemoryStore):
    """Is written to in a thread of its own."""

    is_instant = False


class Deaf:
    """An executor that takes work, and never says anything of it."""

    capacity: int | None = None
    when_cancelled = "abandoned"

    def open(self, answer: Answer) -> None:
        """Take no note."""

    def submit(self, number: int, bundle: Bundle) -> None:
        """Do nothing."""

    def cancel(self, number: int) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""
