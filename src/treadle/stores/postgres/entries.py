"""What goes to the server: appends of one run that follow each other as one entry, and entries in rounds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from treadle.model.events import comes_further
from treadle.stores.entries import Drawn, Place, Written, cleaned, drawn
from treadle.stores.inbox import letters_of

AT_ONCE: Final = 64 * 1024 * 1024
"""So many bytes go to the server in one statement, unless one entry alone has more."""


class Entry:
    """Appends to one run, each of which begins where the one before it ends: all of them count, or none does."""

    def __init__(self, number: int, written: Written) -> None:
        append = written.append
        self.items = [(number, written)]
        self.run_id = append.run_id
        self.epoch = append.epoch
        self.expected = append.expected
        self.create = append.create
        self.bodies = list(written.bodies)
        self.marks = list(written.marks)
        self.blobs = dict(written.blobs)
        self.letters = letters_of(append)
        self.intents = list(append.intents)
        self.told = None if append.status is None else cleaned(append)
        """The last of them that says how the run stands."""
        self.trials = append.trials
        self.grows = comes_further(append.events)
        self.at = append.at
        self.baseline = written.baseline

    @property
    def end(self) -> int | None:
        """How long the log is after it, if that is known."""
        if self.baseline is not None:
            return self.baseline.position + len(self.bodies) - 1
        return None if self.expected is None else self.expected + len(self.bodies)

    def takes(self, number: int, written: Written) -> bool:
        """Add an append that goes on where this ends; whether it does."""
        append = written.append
        if (
            append.create is not None
            or append.epoch != self.epoch
            or self.end is None
            or append.expected != self.end
            or written.baseline is not None
        ):
            return False
        self.items.append((number, written))
        self.bodies += written.bodies
        self.marks += written.marks
        self.blobs |= written.blobs
        self.letters = letters_of(append, self.letters)
        self.intents += append.intents
        if append.status is not None:
            self.told = cleaned(append)
        self.at = self.at if append.at is None else append.at
        self.grows = self.grows or comes_further(append.events)
        self.trials = self.trials if append.trials is None else append.trials
        return True

    def drawn(self, place: Place) -> Drawn:
        """Where its events come to stand."""
        return drawn(self.baseline, self.bodies, self.epoch, place)


def rounds_of(written: Iterable[tuple[int, Written]]) -> list[list[Entry]]:
    """Entries, those of one run in rounds one after the other; nearly always there is one round."""
    rounds: list[list[Entry]] = []
    last: dict[str, tuple[int, Entry]] = {}
    for number, each in written:
        run_id = each.append.run_id
        before = last.get(run_id)
        if before is not None and before[1].takes(number, each):
            continue
        turn = 0 if before is None else before[0] + 1
        entry = Entry(number, each)
        last[run_id] = (turn, entry)
        if turn == len(rounds):
            rounds.append([])
        rounds[turn].append(entry)
    return [part for each in rounds for part in portions(each)]


def portions(entries: list[Entry]) -> Iterator[list[Entry]]:
    """A round in parts that are not too large for one statement."""
    part: list[Entry] = []
    size = 0
    for entry in entries:
        replies = [each.reply for each in entry.letters.values() if each.reply is not None]
        bytes_of = sum(map(len, (*entry.bodies, *entry.blobs.values(), *replies)))
        if part and size + bytes_of > AT_ONCE:
            yield part
            part, size = [], 0
        part.append(entry)
        size += bytes_of
    yield part
