"""What a store is given, and what it gives: logs by pieces, runs, messages, findings."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from treadle.model.events import Event


class Append(Struct, frozen=True, kw_only=True):
    """Events to be added to the end of a run's log, which is `expected` long; and what else is known of the run now.

    `expected=None` goes with no events: whatever the log has come to.

    A `Baseline` as the first event replaces all that the log held. It takes no position itself: with it alone the log
    is as long as its `position` says, and each event after it makes the log one longer. A `status` brings its own
    `note` and terms; without a status all of them stay as they are. `at` becomes the run's `updated_at`.
    """

    run_id: str
    expected: int | None
    events: tuple[Event, ...] = ()
    status: str | None = None
    note: str | None = None
    at: float | None = None
    epoch: int = 0
    """Under which claim it is made: not the run's newest is `Fenced`. A store without leases leaves it at 0."""
    wake_at: float | None = None
    """With a status: when the run next has something to do by itself; None: when somebody touches it."""
    deadline_at: float | None = None
    durability: str = "full"
    """With a status: when the run is to be cancelled, and how it is to be kept, whoever has it then."""
    trials: int | None = None
    """So many turns of it as a suspect in a row ended with its runner, if this one does; None: as many as before."""
    consumed: tuple[str, ...] = ()
    """The ids of the run's messages that these events answer: they leave the inbox in the same transaction."""
    replies: tuple[Reply, ...] = ()
    """What those are told who left messages, in the same transaction."""
    intents: tuple[bytes, ...] = ()
    """The marks of attempts that are about to begin, and must never begin twice."""
    create: RunInfo | None = None
    """The run is noted first, in the same transaction; one of its id that is there already is a `DuplicateRun`."""
    is_synced: bool = True
    """Whether it must survive a power cut, and not only the end of the process, before it counts as stored."""


class RunInfo(Struct, frozen=True, kw_only=True):
    """One run, as a store lists it. `position` is the length of its log, folded events included."""

    id: str
    workflow: str
    run_key: str
    fingerprint: str = ""
    status: str = "idle"
    position: int = 0
    created_at: float | None = None
    updated_at: float | None = None
    note: str | None = None
    """Why it is parked, cancelled or stopped, where there is something to say."""
    epoch: int = 0
    """How often it was claimed."""
    owner: str | None = None
    """The runner that has it now."""
    lease_until: float | None = None
    """Until when, by the store's clock."""
    wake_at: float | None = None
    crashes: int = 0
    """How often in a row its owner was lost with it, and it came no further."""
    deadline_at: float | None = None
    durability: str = "full"
    """When it is to be cancelled, and how it is to be kept."""
    trials: int = 0
    """How many turns it had as a suspect, after its owners were lost with it, in which it came no further."""


class StoredRun(Struct, frozen=True, kw_only=True):
    """A run with its log, from its `Defined` or `Baseline` on."""

    info: RunInfo
    events: tuple[Event, ...]
    intents: frozenset[bytes] = frozenset()
    """The marks of the attempts that were about to begin."""
    owing: Mapping[str, int] = {}
    """The messages that became inputs, by id, of which nobody was told yet what came of them."""


class Message(Struct, frozen=True, kw_only=True):
    """What somebody without the run's lease wants of it: it waits in the inbox until its owner takes it.

    `kind` is `"signal"`, `"cancel"` or `"input"`; `body` is encoded by the runner. A second message of the same id
    is the first one again, as long as the run is kept. Who left it may look for what came of it (`Replies`).
    """

    id: str
    run_id: str
    kind: str
    body: bytes
    at: float | None = None


class Reply(Struct, frozen=True, kw_only=True):
    """What whoever left a message is told: why it was refused; or which input it became, and at last what came of it.

    `body` is encoded by the runner; None: that is still to come. What was told once stays. A message that is taken
    without a reply did what it was to do.
    """

    message: str
    input: int | None = None
    body: bytes | None = None


class Standing(Struct, frozen=True, kw_only=True):
    """How a message stands: whether it was taken, what was told of it so far, and its run's status and note now."""

    status: str
    note: str | None = None
    is_taken: bool = False
    input: int | None = None
    body: bytes | None = None


class Finding(Struct, frozen=True, kw_only=True):
    """Something that `verify` found wrong: with which run, at which position of its log, and what."""

    run_id: str | None
    position: int | None
    what: str


class Trimmed(Struct, frozen=True, kw_only=True):
    """How many entries of a cache were let go of, and how many are left; `bytes` are those of keys and bodies."""

    entries: int = 0
    bytes: int = 0
    entries_left: int = 0
    bytes_left: int = 0
