"""The kit finds stores that divide limits wrongly."""

from typing import Any

import pytest
from msgspec import structs

from tests.runner.fleet import Table
from treadle.model.quotas import BreakerState, Share
from treadle.stores.memory import MemoryStore
from treadle.testing import check_store


class Sharing(MemoryStore):
    """A store in memory that divides limits, too: as the model of the tests does."""

    def __init__(self) -> None:
        super().__init__()
        self.table = Table()

    def ration(self, owner: str, ttl_s: float, wishes: Any) -> Any:
        self.table.now += 1e-6
        return self.table.ration(owner, ttl_s, wishes)

    def beat(self, owner: str, ttl_s: float) -> Any:
        return self.table.beat(owner, ttl_s)

    def leave(self, owner: str) -> None:
        self.table.leave(owner)


class Generous(Sharing):
    """Gives everybody what he needs."""

    def ration(self, owner: str, ttl_s: float, wishes: Any) -> Any:
        return [
            Share(kind=each.kind, key=each.key, room=min(each.count, each.need), held=each.need)
            for each in wishes
        ]


class Snatching(Sharing):
    """Takes away what is in use."""

    def ration(self, owner: str, ttl_s: float, wishes: Any) -> Any:
        return super().ration(owner, ttl_s, [structs.replace(each, keep=0) for each in wishes])


class Stubborn(Sharing):
    """Whoever came first keeps it for ever."""

    def ration(self, owner: str, ttl_s: float, wishes: Any) -> Any:
        return [
            structs.replace(each, room=each.held) for each in super().ration(owner, ttl_s, wishes)
        ]


class Mixing(Sharing):
    """Does not tell capital letters from small ones."""

    def ration(self, owner: str, ttl_s: float, wishes: Any) -> Any:
        lower = [structs.replace(each, key=each.key.lower()) for each in wishes]
        answers = super().ration(owner, ttl_s, lower)
        return [
            structs.replace(answer, key=each.key)
            for answer, each in zip(answers or [], wishes, strict=True)
        ]


class Forgetful(Sharing):
    """Forgets what one who left has just begun."""

    def leave(self, owner: str) -> None:
        super().leave(owner)
        for rows in self.table.shares.values():
            rows.pop(owner, None)


class Reviving(Sharing):
    """Lets one who left come back under his name."""

    def ration(self, owner: str, ttl_s: float, wishes: Any) -> Any:
        if self.table.until.get(owner, self.table.now + 1.0) <= self.table.now:
            del self.table.until[owner]
        return super().ration(owner, ttl_s, wishes)


class Silent(Sharing):
    """Does not say what others want."""

    def beat(self, owner: str, ttl_s: float) -> Any:
        kept = super().beat(owner, ttl_s)
        return None if kept is None else (kept[0], frozenset())


class Eager(Sharing):
    """Lets everybody try."""

    def ration(self, owner: str, ttl_s: float, wishes: Any) -> Any:
        answers = super().ration(owner, ttl_s, wishes)
        return answers and [
            structs.replace(each, may_try=True) if isinstance(each, BreakerState) else each
            for each in answers
        ]


FAULTS = {
    Generous: "with all in use",
    Snatching: "to who keeps 3",
    Stubborn: "although another is short of its part",
    Mixing: "room of the limit 'A'",
    Forgetful: "x began just now",
    Reviving: "ration() of one who left",
    Silent: "what others want",
    Eager: "a try before its time",
}


@pytest.mark.parametrize("faulty", FAULTS, ids=lambda each: each.__name__)
def test_each_fault_is_found(faulty: Any) -> None:
    """The kit says which promise is broken."""
    with pytest.raises(AssertionError) as caught:
        check_store(faulty, runs=3)
    assert FAULTS[faulty] in str(caught.value)


def test_a_store_that_divides_well_passes() -> None:
    """It is held to the promises that it makes, and keeps them."""
    report = check_store(Sharing, runs=3)
    assert "dividing limits" in report.checks
