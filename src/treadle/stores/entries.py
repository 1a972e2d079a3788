"""Appends as bytes, drawn where a log stands: the same for all stores that write bytes, and held to the same checks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple, TypeVar

from msgspec import structs

from treadle.errors import EncodeError, Fenced, StoreUnavailable, TreadleBug, TreadleError
from treadle.interfaces import Append, Codec, RunInfo
from treadle.model.events import Baseline
from treadle.stores.chain import first_link, links, next_link, runnable_mark, seal
from treadle.stores.faults import conflict

NUL: Final = "\x00"

Noted = TypeVar("Noted", Append, RunInfo)

LARGEST: Final = 256 * 1024 * 1024
"""No value may have more bytes: a PostgreSQL server takes less than a gigabyte in one message, and what one store
keeps another is to take, too."""


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

    @property
    def baseline(self) -> Baseline | None:
        """What takes the place of all that was there, if it begins with that."""
        events = self.append.events
        return events[0] if events and isinstance(events[0], Baseline) else None


class Drawn(NamedTuple):
    """Events, drawn at the place where their log stands: with positions and links."""

    base: int | None
    """The position of the baseline, if they begin with one."""
    fold: tuple[bytes, bytes, bytes] | None
    """Its body, the link before it, and its seal."""
    start: int
    """The position of the first event."""
    bodies: Sequence[bytes]
    chain: Sequence[bytes]
    head: int
    link: bytes


def drawn(baseline: Baseline | None, bodies: Sequence[bytes], epoch: int, place: Place) -> Drawn:
    """Where events come to stand, the baseline among them first."""
    if baseline is None:
        chain = links(place.link, place.head, epoch, bodies)
        head = place.head + len(bodies)
        return Drawn(
            None, None, place.head, bodies, chain, head, chain[-1] if chain else place.link
        )
    start = baseline.position
    body, bodies = bodies[0], bodies[1:]
    link = next_link(place.link, start, epoch, body)
    chain = links(link, start, epoch, bodies)
    fold = (body, link, seal(link, start, body))
    return Drawn(
        start, fold, start, bodies, chain, start + len(bodies), chain[-1] if chain else link
    )


def beginning(info: RunInfo) -> Place:
    """Where the log of a run stands that is created now."""
    return Place(-1, 0, first_link(info.id, info.run_key))


def fault_of_creation(append: Append) -> Exception | None:
    """Whether it begins a run, and then goes on with another."""
    create = append.create
    if create is None:
        return None
    if append.expected:
        return conflict(append.run_id, 0, append.expected)
    if append.epoch != create.epoch:
        return Fenced(
            f"{append.run_id!r} begins with epoch {create.epoch}, not {append.epoch}.",
            hint="leave it to the runner that has it.",
        )
    return None


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
            f"an event of {append.run_id!r} holds a value of {largest:,} bytes, and stores take {LARGEST:,}.",
            hint="keep it elsewhere, and a reference to it in the run.",
        )
    return fault_of_creation(append) or Written(append, bodies, marks, blobs)


def check_texts(append: Append) -> None:
    """Refuse names that a database could not keep as they are. Errors: `EncodeError`."""
    texts = [append.run_id, append.status or "", append.durability]
    info = append.create
    if info is not None:
        texts += [info.id, info.workflow, info.run_key, info.fingerprint, info.status]
        texts += [info.owner or "", info.durability]
    if is_text("".join(texts)):
        return
    for text in texts:
        if not is_text(text):
            raise EncodeError(
                f"{text!r:.80} cannot be stored: it holds a NUL character or half of a character.",
                hint="take another name.",
            )


def is_text(text: str) -> bool:
    """Whether a database can keep a text."""
    if text.isascii():
        return NUL not in text
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return NUL not in text


def clean(text: str | None) -> str | None:
    """A text for people, without what a database could not keep."""
    if text is None or is_text(text):
        return text
    return text.encode(errors="replace").decode().replace(NUL, "\N{REPLACEMENT CHARACTER}")


def cleaned(noted: Noted) -> Noted:
    """What is noted of a run, as a database can keep it."""
    if noted.note is None or is_text(noted.note):
        return noted
    return structs.replace(noted, note=clean(noted.note))
