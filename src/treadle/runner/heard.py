"""Which messages of a run its machine was told of: a message that is read twice is not to be taken twice."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

KEPT: Final = 1024
"""So many answered messages are remembered: more than can be among those that were read before they were answered."""


class Heard:
    """The messages that a run was told of."""

    __slots__ = ("_answered", "_told", "was_answered")

    def __init__(self) -> None:
        self._told: dict[str, None] = {}
        self._answered: dict[str, None] = {}
        self.was_answered = False
        """Something left the inbox, so that there is room for more; whoever sees to that takes it back."""

    def note(self, id: str) -> bool:
        """Note that the machine is told of a message; False if it was before."""
        if id in self._told or id in self._answered:
            return False
        self._told[id] = None
        return True

    def answer(self, ids: Iterable[str]) -> None:
        """These are answered in the store. They may still come: the inbox may have been read before that."""
        for id in ids:
            self._told.pop(id, None)
            self._answered[id] = None
            self.was_answered = True
        while len(self._answered) > KEPT:
            del self._answered[next(iter(self._answered))]

    def begin_anew(self) -> None:
        """The machine is lost: what was not answered is to be told again."""
        self._told.clear()
