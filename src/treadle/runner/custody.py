"""Custody: which runs of a store are this runner's, under which epochs.

A store without leases has one runner; then every run is its own, and epochs stay 0. The thread of the loop calls all of
this; the keeper's thread reads what is claimed, and what is not born yet.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, Final

from msgspec import structs

from treadle.errors import RunElsewhere
from treadle.interfaces import Inbox, Leases, RunInfo, Store
from treadle.runner.keeper import Keeper, Keeps, owner_name

LEFT_MAX: Final = 4_096
"""So many runs are remembered that were let go of: many more than the keeper takes between two words with the loop."""


class Custody:
    """What a runner has taken."""

    def __init__(
        self,
        store: Store | None,
        keeps: Keeps,
        *,
        names: Callable[[], Sequence[str]],
        room: Callable[[], int],
        now: Callable[[], float],
        lease_s: float,
        poll_s: float,
    ) -> None:
        self.owner = owner_name()
        self.claimed: dict[str, int] = {}
        self._unborn: set[str] = set()
        """Runs that begin here, and of which the store does not know yet."""
        self._left: OrderedDict[str, int] = OrderedDict()
        """Under which claim runs were last let go of: what the keeper took before that is told late."""
        self.lease_s = lease_s
        self._now = now
        self.leases: Leases | None = None
        self.keeper: Keeper | None = None
        shared: Any = store
        if isinstance(shared, Leases) and isinstance(shared, Inbox):
            self.leases = shared
            self.keeper = Keeper(
                shared,  # type: ignore[arg-type]
                self.owner,
                keeps,
                names=names,
                epochs=lambda: dict(self.claimed),
                unborn=lambda: set(self._unborn),
                room=room,
                lease_s=lease_s,
                poll_s=poll_s,
            )

    def epoch_of(self, run_id: str) -> int:
        """Under which claim a run is written to."""
        return self.claimed.get(run_id, 0)

    def signed(self, info: RunInfo) -> RunInfo:
        """A new run as it is to be noted: taken by this runner from the start. When it is noted, it is `born`."""
        if self.leases is None:
            return info
        self.claimed[info.id] = 1
        self._unborn.add(info.id)
        if self._left.pop(info.id, None) is not None and self.keeper is not None:
            self.keeper.keep(info.id)  # that was an earlier run of this id
        until = self._now() + self.lease_s
        return structs.replace(info, epoch=1, owner=self.owner, lease_until=until)

    def born(self, run_id: str) -> None:
        """The store knows of a new run, or never will: from now on it can be said whose it is."""
        self._unborn.discard(run_id)

    def is_another(self, run_id: str, epoch: int) -> bool:
        """Whether a run that was claimed so was let go of meanwhile, and taken again, or made anew."""
        return self.epoch_of(run_id) > epoch or run_id in self._unborn

    def note(self, info: RunInfo) -> bool:
        """The keeper has taken this run; False if it was taken here, by its id, since then, and maybe let go of."""
        if max(self.epoch_of(info.id), self._left.get(info.id, 0)) >= info.epoch:
            return False
        self.claimed[info.id] = info.epoch
        return True

    def take(self, run_id: str) -> RunInfo | None:
        """Have a run, to load it and go on with it; what was claimed, if it was ours not already.

        Errors: `RunElsewhere`.
        """
        if self.leases is None or self.keeper is None or run_id in self.claimed:
            return None
        infos = self.leases.claim(self.owner, self.lease_s, run_id=run_id)
        if not infos:
            raise RunElsewhere(
                f"the run {run_id!r} is with another runner.",
                hint="ask that one; run, signal and cancel reach it from anywhere.",
            )
        self.claimed[run_id] = infos[0].epoch
        return infos[0]

    def hurry(self) -> None:
        """Look at once for what others want."""
        if self.keeper is not None:
            self.keeper.hurry()

    def leave(self, run_id: str) -> None:
        """A run is not worked on any more: somebody else may have it."""
        epoch = self.claimed.pop(run_id, None)
        if epoch is not None and self.keeper is not None:
            self.keeper.leave(run_id, epoch)
            self._left[run_id] = epoch
            self._left.move_to_end(run_id)
            if len(self._left) > LEFT_MAX:
                self._left.popitem(last=False)

    def lose(self, run_id: str) -> None:
        """A run is somebody else's, or is to be nobody's any more."""
        self.claimed.pop(run_id, None)
        self._unborn.discard(run_id)

    def close(self) -> None:
        """Let go of all."""
        if self.keeper is not None:
            self.keeper.close()
        self.claimed.clear()
