"""What the rows of a table of runs say, in whichever database."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from treadle.interfaces import RunInfo


def info_of(row: Sequence[Any]) -> RunInfo:
    """A row of a store's `COLUMNS`, which are the same in all, as what it says."""
    (id, workflow, run_key, fingerprint, status, head, created_at, updated_at, note) = row[:9]
    epoch, owner, lease_until, wake_at, crashes, deadline_at, durability, trials = row[9:]
    return RunInfo(
        id=id,
        workflow=workflow,
        run_key=run_key,
        fingerprint=fingerprint,
        status=status,
        position=head,
        created_at=created_at,
        updated_at=updated_at,
        note=note,
        epoch=epoch,
        owner=owner,
        lease_until=lease_until,
        wake_at=wake_at,
        crashes=crashes,
        deadline_at=deadline_at,
        durability=durability,
        trials=trials,
    )
