"""A queue in order of urgency, whose members can be moved and taken out."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from typing import Generic, TypeVar

Item = TypeVar("Item")
Key = TypeVar("Key", int, float, tuple[int, int, int])

STALE_MAX = 32
"""So many stale entries are kept however short the queue is: tidying more often would cost more than it gives."""


class Queue(Generic[Key, Item]):
    """Members, each once, the one with the least key first; of equal keys, the one that was put first.

    A heap cannot let go of what is in its middle, so the entry of a member that has left or moved stays until it
    comes to the top, or until most of the heap is such entries.
    """

    __slots__ = ("_heap", "_members", "_serial")

    def __init__(self) -> None:
        self._heap: list[tuple[Key, int, Item]] = []
        self._members: dict[Item, int] = {}
        self._serial = 0

    def __len__(self) -> int:
        return len(self._members)

    def __contains__(self, item: Item) -> bool:
        return item in self._members

    def __iter__(self) -> Iterator[Item]:
        """The members in order."""
        entries = sorted(self._heap, key=lambda entry: entry[:2])
        return iter([item for _, serial, item in entries if self._members.get(item) == serial])

    def put(self, item: Item, key: Key) -> None:
        """Add a member, or move it to where this key belongs."""
        self._serial += 1
        self._members[item] = self._serial
        heapq.heappush(self._heap, (key, self._serial, item))
        self._tidy()

    def discard(self, item: Item) -> None:
        """Take a member out, if it is one."""
        if self._members.pop(item, None) is not None:
            self._tidy()

    def top(self) -> tuple[Key, Item] | None:
        """The first member and its key."""
        while self._heap:
            key, serial, item = self._heap[0]
            if self._members.get(item) == serial:
                return key, item
            heapq.heappop(self._heap)
        return None

    def pop(self) -> Item:
        """Take the first member out; there must be one."""
        top = self.top()
        assert top is not None
        heapq.heappop(self._heap)
        del self._members[top[1]]
        return top[1]

    def _tidy(self) -> None:
        if len(self._heap) > 2 * len(self._members) + STALE_MAX:
            self._heap = [entry for entry in self._heap if self._members.get(entry[2]) == entry[1]]
            heapq.heapify(self._heap)
