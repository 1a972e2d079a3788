"""What was written once is read for ever: files of bytes in hexadecimal, one per kind of value and of event.

`python -m tests.codec.test_golden` writes those that are not there yet. A file that is there is never changed: a new
form of a kind gets a new file (`name.2.hex`), and the old one is still read.
"""

from pathlib import Path
from typing import Any

import pytest

from tests.codec.logs import EVENTS
from tests.codec.same import same
from tests.codec.samples import VALUES, codec
from treadle.model.events import Applied, Event

FOLDER = Path(__file__).parent / "golden"
LARGE = Applied(1, "n", (0,), ["out of line", *range(20)], 0)
BODIES: dict[str, Event] = {
    **{f"event-{name}": event for name, event in EVENTS.items()},
    "event-large": LARGE,
}
CODEC = codec(compress_over=None)


def written(name: str) -> dict[str, bytes]:
    """What is written of a sample today: the bytes, and those that stand out of line by their hash."""
    if not name.startswith("event-"):
        return {"": CODEC.encode(VALUES[name.removeprefix("value-")])}
    made = codec(inline=16, compress_over=None) if name == "event-large" else CODEC
    body, blobs = made.encode_event(BODIES[name])
    return {"": body, **{digest.hex(): blob for digest, blob in blobs.items()}}


def as_text(parts: dict[str, bytes]) -> str:
    """A line for each: the hash, if any, and the bytes."""
    return "".join(f"{name} {data.hex()}\n".lstrip() for name, data in parts.items())


def from_text(text: str) -> dict[str, bytes]:
    """What a file holds."""
    lines = [line.rpartition(" ") for line in text.splitlines()]
    return {name: bytes.fromhex(data) for name, _, data in lines}


NAMES = [*(f"value-{name}" for name in VALUES), *BODIES]


@pytest.mark.parametrize("name", NAMES)
def test_today_the_same_bytes_are_written(name: str) -> None:
    """A change of the form is a decision: it needs a new file, and a reader that knows both."""
    assert as_text(written(name)) == (FOLDER / f"{name}.hex").read_text("ascii")


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.hex")), ids=lambda path: path.stem)
def test_what_was_written_is_read(path: Path) -> None:
    """As the value or the event that it was."""
    name = path.name.split(".")[0]
    parts = from_text(path.read_text("ascii"))
    body = parts.pop("")

    if name.startswith("event-"):
        blobs = {bytes.fromhex(digest): blob for digest, blob in parts.items()}
        assert CODEC.decode_event(body, blobs.__getitem__) == BODIES[name]
    else:
        value: Any = CODEC.decode(body)
        assert same(value, VALUES[name.removeprefix("value-")])


def test_every_file_has_its_sample() -> None:
    """And every sample its file."""
    assert {path.name.split(".")[0] for path in FOLDER.glob("*.hex")} == set(NAMES)


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for each in NAMES:
        target = FOLDER / f"{each}.hex"
        if not target.exists():
            target.write_text(as_text(written(each)), "ascii")
