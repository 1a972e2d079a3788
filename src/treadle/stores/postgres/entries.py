"""What is to be written: appends as bytes, those of one run that follow each other as one entry."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from treadle.errors import EncodeError, Fenced, StoreUnavailable, TreadleBug, TreadleError
from treadle.interfaces import Append, Codec, RunInfo
from treadle.model.events import Baseline
from treadle.stores.chain import first_link, links, next_link, runnable_mark, seal
from treadle.stores.faults import conflict

NUL: Final = "\x00"

LARGEST: Final = 256 * 1024 * 1024
"""No value may have more bytes: the server takes less than a gigabyte in one message."""

AT_ONCE: Final = 64 * 1024 * 1024
"""So many bytes go to the server in one statement, unless one entry alone has more."""


class Place(NamedTuple):
    """Where a run's log stands."""

    pk: int
    head: int
    link: bytes


class Written(NamedTuple):
    """An append as bytes."""

    append: Append
    bodies: list[bytes]
    marks: list[bytes]
    blobs: dict[bytes, bytes]


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
        self.consumed = list(append.consumed)
        self.refused = {id: clean(why) for id, why in append.refused}
        self.intents = list(append.intents)
        self.status = append.status
        self.note = None if append.note is None else clean(append.note)
        self.wake_at = append.wake_at
        self.at = append.at
        first = append.events[0] if append.events else None
        self.baseline = first if isinstance(first, Baseline) else None

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
            or (append.events and isinstance(append.events[0], Baseline))
        ):
            return False
        self.items.append((number, written))
        self.bodies += written.bodies
        self.marks += written.marks
        self.blobs |= written.blobs
        self.consumed += append.consumed
        self.refused |= {id: clean(why) for id, why in append.refused}
        self.intents += append.intents
        if append.status is not None:
            self.status, self.wake_at = append.status, append.wake_at
            self.note = None if append.note is None else clean(append.note)
        self.at = self.at if append.at is None else append.at
        return True

    def fault_of_creation(self) -> Exception | None:
        """Whether it begins a run, and then goes on with another."""
        if self.create is None:
            return None
        if self.expected:
            return conflict(self.run_id, 0, self.expected)
        if self.epoch != self.create.epoch:
            return Fenced(
                f"{self.run_id!r} begins with epoch {self.create.epoch}, not {self.epoch}.",
                hint="leave it to the runner that has it.",
            )
        return None


class Drawn(NamedTuple):
    """An entry, drawn at the place where its log stands: with positions and links."""

    base: int | None
    """The position of the baseline, if it begins with one."""
    fold: tuple[bytes, bytes, bytes] | None
    """Its body, the link before it, and its seal."""
    start: int
    """The position of the first event."""
    bodies: Sequence[bytes]
    chain: Sequence[bytes]
    head: int
    link: bytes


def drawn(entry: Entry, place: Place) -> Drawn:
    """Where the events of an entry come to stand."""
    if entry.baseline is None:
        chain = links(place.link, place.head, entry.epoch, entry.bodies)
        head = place.head + len(entry.bodies)
        link = chain[-1] if chain else place.link
        return Drawn(None, None, place.head, entry.bodies, chain, head, link)
    start = entry.baseline.position
    body, bodies = entry.bodies[0], entry.bodies[1:]
    link = next_link(place.link, start, entry.epoch, body)
    chain = links(link, start, entry.epoch, bodies)
    fold = (body, link, seal(link, start, body))
    return Drawn(
        start, fold, start, bodies, chain, start + len(bodies), chain[-1] if chain else link
    )


def beginning(info: RunInfo) -> Place:
    """Where the log of a run stands that is created now."""
    return Place(-1, 0, first_link(info.id, info.run_key))


def encoded(codec: Codec, append: Append) -> Written | Exception:
    """An append as bytes, or why it cannot be written."""
    if append.expected is None and append.events:
        raise TreadleBug("events were to be added to a log of unknown length.")
    bodies, marks, blobs = [], [], {}
    try:
        check_texts(append)
        for event in append.events:
            body, apart = codec.encode_event(event)
            bodies.append(body)
            blobs.update(apart)
            mark = runnable_mark(event)
            if mark is not None:
                marks.append(mark)
    except StoreUnavailable:
        raise  # where large values go does not answer: all of the batch waits for it
    except TreadleError as error:
        return error
    largest = max(map(len, (*bodies, *blobs.values())), default=0)
    if largest > LARGEST:
        return EncodeError(
            f"an event of {append.run_id!r} holds a value of {largest:,} bytes, and PostgreSQL takes {LARGEST:,}.",
            hint="keep it elsewhere, and a reference to it in the run.",
        )
    return Written(append, bodies, marks, blobs)


def check_texts(append: Append) -> None:
    """Refuse names that the server could not keep as they are. Errors: `EncodeError`."""
    texts = [append.run_id, append.status or ""]
    info = append.create
    if info is not None:
        texts += [info.id, info.workflow, info.run_key, info.fingerprint, info.status]
        texts.append(info.owner or "")
    for text in texts:
        if not is_text(text):
            raise EncodeError(
                f"{text!r:.80} cannot be stored in PostgreSQL: it holds a NUL character or half of a character.",
                hint="take another name.",
            )


def is_text(text: str) -> bool:
    """Whether the server can keep a text."""
    if text.isascii():
        return NUL not in text
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return NUL not in text


def clean(text: str) -> str:
    """A text for people, without what the server could not keep."""
    if is_text(text):
        return text
    return text.encode(errors="replace").decode().replace(NUL, "\N{REPLACEMENT CHARACTER}")


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
        bytes_of = sum(map(len, entry.bodies)) + sum(map(len, entry.blobs.values()))
        if part and size + bytes_of > AT_ONCE:
            yield part
            part, size = [], 0
        part.append(entry)
        size += bytes_of
    yield part
