"""Lineage both ways: why a fact is there, and what an input touched."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from treadle.errors import UsageError
from treadle.model.events import Applied, Expanded, Failed, InputAccepted, Planned, Skipped
from treadle.model.facts import Fact, Failure
from treadle.model.markers import READS_HISTORY, Marker
from treadle.model.placing import markers_of
from treadle.model.work import Root
from treadle.views.facts import FactReader, fact_id
from treadle.views.reading import root_of

if TYPE_CHECKING:
    from treadle.engine.memory import Memory
    from treadle.value import Workflow


def why(workflow: Workflow, fact: Fact | Failure) -> dict[str, Any]:
    """What a fact was made from, as a tree down to the inputs.

    Each entry: `node`, `scope`, `position`, `value` (or `error`), `because` (the entries it was made from) and,
    where markers read history, `read` (what was read, and the entry it came from). A fact that stands in the tree
    already is given by id only.
    """
    if not isinstance(fact, (Fact, Failure)):
        raise UsageError(
            f"why takes a fact or a failure, and was given {fact!r:.80}.",
            hint="take one of facts() or failures().",
        )
    with workflow.inspect() as (memory, _):
        reader = FactReader(memory)
        _check_own(workflow, reader, fact)
        return _Telling(memory, reader).tell(fact.position, fact.scope)


def _check_own(workflow: Workflow, reader: FactReader, fact: Fact | Failure) -> None:
    """Refuse what this workflow did not make: a fact of another run may stand at the same position."""
    event = reader.event_at(fact.position)
    if event is None and fact.position < workflow.position and fact.position >= 0:
        return  # forgotten, which the tree will say
    known: list[Any] = []
    if isinstance(fact, Failure) and fact.position < 0:
        raise UsageError(
            "this failure was given to a handler, and names no position in the log.",
            hint="take the one of failures() for the same component and scope.",
        )
    if isinstance(fact, Failure):
        known = [event] if isinstance(event, (Failed, Skipped, Planned)) else []
        known = [each for each in known if each.scope == fact.scope]
    elif event is not None:
        known = [
            own for own in reader.of(event) if own.id[0] == fact.id[0] and own.scope == fact.scope
        ]
        known = [own for own in known if own.value is fact.value or same(own.value, fact.value)]
        if isinstance(event, Planned):
            known = [event]
    if not known:
        raise UsageError(
            f"{fact.component!r} in {fact.scope} is not of this workflow {workflow.name!r}.",
            hint="ask the workflow that gave it.",
        )


def same(left: Any, right: Any) -> bool:
    """Whether two values are equal; a comparison that raises says no."""
    try:
        return bool(left == right)
    except Exception:  # noqa: BLE001 - a user's value may refuse in any way
        return False


class _Telling:
    """One tree being told; every fact is spelled out once."""

    def __init__(self, memory: Memory, reader: FactReader) -> None:
        self.memory = memory
        self.reader = reader
        self.told: set[tuple[int, tuple[int, ...]]] = set()

    def tell(self, position: int, scope: tuple[int, ...]) -> dict[str, Any]:
        """The entry of one fact; long chains are told without recursion."""
        top: dict[str, Any] = {}
        stack = [(top, position, scope)]
        while stack:
            entry, at, seen_from = stack.pop()
            event = self.reader.event_at(at)
            if event is None:
                entry.update({"position": at, "forgotten": True})
                continue
            node, _, path = fact_id(event, seen_from)
            entry.update({"node": node, "scope": path, "position": at})
            if (at, path) in self.told:
                entry["above"] = True
                continue
            self.told.add((at, path))
            self._fill(entry, event, path)
            sources = getattr(event, "sources", ())
            entry["because"] = [{} for _ in sources]
            below = [
                (each, source, path) for each, source in zip(entry["because"], sources, strict=True)
            ]
            stack.extend(reversed(below))  # so that what is told first is told in full
        return top

    def _fill(self, entry: dict[str, Any], event: Any, path: tuple[int, ...]) -> None:
        if isinstance(event, Expanded):
            entry["value"] = (
                event.values[path[len(event.scope)]] if len(path) > len(event.scope) else None
            )
        elif isinstance(event, (Applied, InputAccepted)):
            entry["value"] = event.value
        elif isinstance(event, (Failed, Skipped)):
            entry["error"] = None if event.error is None else str(event.error)
        elif isinstance(event, Planned):
            entry["failed"] = [{"node": key, "error": str(error)} for key, error in event.failed]
        read_at = getattr(event, "read_at", None)
        if read_at is not None:
            entry["read"] = self._read(event, read_at)

    def _read(self, event: Any, read_at: int) -> list[dict[str, Any]]:
        """What the markers of a node read: for each, the newest entry of its target at that position."""
        node = self.memory.program.by_key.get(event.node)
        if node is None:
            return []
        markers = list(markers_of(node.code))
        for watcher in node.watchers if isinstance(event, Planned) else ():
            markers += list(markers_of(watcher.code))
        return [
            {"marker": repr(marker), "at": read_at, "newest": self._newest(marker, read_at)}
            for marker in markers
            if marker.kind in READS_HISTORY
        ]

    def _newest(self, marker: Marker, before: int) -> dict[str, Any] | None:
        """The newest entry of what a marker read; of a keyed state, the newest of the key that was read."""
        if callable(marker.key):
            return None  # which key that function gave is not in the log
        found = None
        for root in self.memory.roots.values():
            scopes = None
            if marker.key is not None:
                scopes = _scopes_of_key(root, marker)
            for event in root.events:
                if (
                    isinstance(event, Applied)
                    and event.node == marker.name
                    and event.position < before
                    and (scopes is None or event.scope in scopes)
                    and (found is None or event.position > found.position)
                ):
                    found = event
        if found is None:
            return None
        return {
            "node": found.node,
            "scope": found.scope,
            "position": found.position,
            "value": found.value,
        }


def _scopes_of_key(root: Root, marker: Marker) -> set[tuple[int, ...]]:
    """The scopes of one input in which a keyed accumulator was given values of this key."""
    return {
        event.scope
        for event in root.events
        if isinstance(event, Planned)
        for node, key in event.keys
        if node == marker.name and key == marker.key
    }


def touched(workflow: Workflow, input: int) -> dict[str, Any]:
    """All that one input caused: the input's entry, and under `led_to` what was made from each fact."""
    with workflow.inspect() as (memory, _):
        root = root_of(memory, input)
        reader = FactReader(memory, [root])
        entries: dict[tuple[Any, ...], dict[str, Any]] = {}
        top: dict[str, Any] = {}
        for event in root.events:
            for entry_id, told in _entries(event, reader):
                entries[entry_id] = told
                if isinstance(event, InputAccepted):
                    top = told
            _link(event, reader, entries)
        return top


def _entries(event: Any, reader: FactReader) -> list[tuple[Any, dict[str, Any]]]:
    told = [
        (
            fact.id,
            {
                "node": fact.id[0],
                "scope": fact.scope,
                "position": fact.position,
                "value": fact.value,
                "led_to": [],
            },
        )
        for fact in reader.of(event)
    ]
    if isinstance(event, (Failed, Skipped)):
        entry = {
            "node": event.node,
            "scope": event.scope,
            "position": event.position,
            "error": None if event.error is None else str(event.error),
            "led_to": [],
        }
        told.append(((event.node, event.generation, event.scope), entry))
    return told


def _link(event: Any, reader: FactReader, entries: dict[tuple[Any, ...], dict[str, Any]]) -> None:
    """Hang an event's facts below the facts it was made from."""
    for entry_id, _ in _entries(event, reader):
        own = entries[entry_id]
        for source in getattr(event, "sources", ()):
            made_from = reader.event_at(source)
            if made_from is None:
                continue
            above = entries.get(fact_id(made_from, event.scope))
            if above is not None and not any(own is each for each in above["led_to"][-1:]):
                above["led_to"].append(own)
