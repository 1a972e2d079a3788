"""Whatever the bytes are: a value, or an error of the store, in bounded memory; and nothing runs."""

import pickle
import random
import tracemalloc
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import msgpack

from tests.codec.logs import EVENTS, nothing
from tests.codec.samples import VALUES, codec
from treadle.codec import Codec
from treadle.codec.unpack import MAKERS
from treadle.errors import BadSignature, Corrupt, SchemaTooNew, UnknownType

CODEC = codec()
KEY = b"0123456789abcdef"
SIGNED = codec(pickle_key=KEY)
READABLE = (Corrupt, UnknownType, BadSignature, SchemaTooNew)
CORPUS = [CODEC.encode(value) for value in VALUES.values()]
BODIES = [CODEC.encode_event(event)[0] for event in EVENTS.values()]


def read(data: bytes) -> None:
    """Read it as a value and as an event: whatever comes of it is a value or one of four errors."""
    for made in (CODEC, SIGNED):
        with suppress(*READABLE):
            made.decode(data)
        with suppress(*READABLE):
            made.decode_event(data, nothing)


@given(st.binary(max_size=80), st.integers(0, 31))
def test_random_bytes(data: bytes, first: int) -> None:
    """Behind any first byte."""
    read(data)
    read(bytes([first]) + data)


PARTS = st.recursive(
    st.none()
    | st.integers().filter(lambda n: -(2**63) <= n < 2**64)
    | st.text(max_size=3)
    | st.binary(max_size=9)
    | st.floats(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.builds(
            lambda tag, parts: msgpack.Ext(tag, msgpack.encode(parts)),
            st.sampled_from(sorted(MAKERS)) | st.integers(-128, 127),
            st.lists(inner, max_size=9) | inner,
        )
    ),
    max_leaves=6,
)


@pytest.mark.slow
@settings(max_examples=400)
@given(st.sampled_from(sorted(MAKERS)), st.lists(PARTS, max_size=9))
def test_kinds_with_parts_of_nonsense(tag: int, parts: list[Any]) -> None:
    """Each kind, made of parts that it never has."""
    read(b"\x10" + msgpack.encode(msgpack.Ext(tag, msgpack.encode(parts))))


NAMES = [
    "ValueError",
    "OSError",
    "ExceptionGroup",
    "UnicodeDecodeError",
    "treadle:Failure",
    "treadle:Sentinel",
]
NAMES += [name for name in CODEC._classes.by_name if name.startswith("tests.codec.samples:")]


@pytest.mark.slow
@settings(max_examples=400)
@given(st.integers(30, 33), st.sampled_from(NAMES), st.lists(PARTS, max_size=9))
def test_classes_with_states_of_nonsense(tag: int, name: str, parts: list[Any]) -> None:
    """Each registered class, with a state that it never has."""
    read(b"\x10" + msgpack.encode(msgpack.Ext(tag, msgpack.encode([name, *parts]))))


@given(st.sampled_from(CORPUS + BODIES), st.data())
def test_damaged_bytes(good: bytes, data: st.DataObject) -> None:
    """Cut off, with bits flipped, with parts of another value in the middle."""
    at = data.draw(st.integers(0, len(good) - 1))
    read(good[:at])
    read(good[:at] + bytes([good[at] ^ (1 << data.draw(st.integers(0, 7)))]) + good[at + 1 :])
    other = data.draw(st.sampled_from(CORPUS))
    read(good[:at] + other + good[at:])
    read(good[:at] + other[1:])


@pytest.mark.slow
def test_every_byte_of_the_corpus_flipped() -> None:
    """Each byte of each body in turn; the same bytes are tried on every run."""
    numbers = random.Random(7)
    for good in BODIES + CORPUS:
        for at in range(min(len(good), 60)):
            read(good[:at] + bytes([good[at] ^ numbers.randrange(1, 256)]) + good[at + 1 :])


def test_bytes_that_nest_without_end() -> None:
    """By MessagePack's own lists and dicts, and by tagged pieces within tagged pieces."""
    read(b"\x10" + b"\x91" * 1_000_000)
    read(b"\x10" + b"\x81\xa1k" * 1_000_000)
    packed = msgpack.encode(1)
    for _ in range(1000):
        packed = msgpack.encode(msgpack.Ext(3, b"\x91" + packed))
    with pytest.raises(Corrupt, match="deeper than 200 levels"):
        CODEC.decode(b"\x10" + packed)


@pytest.mark.parametrize(
    "data",
    [
        b"\x10\xdd\xff\xff\xff\xff",  # a list of 2**32 - 1
        b"\x10\xdf\xff\xff\xff\xff",
        b"\x10\xc6\xff\xff\xff\xff",
        b"\x10\xc9\xff\xff\xff\xff\x03",
        b"\x10\x9a\x03\x05\xa1n\xdd\xff\xff\xff\xff",  # an event whose scope claims to be as long
    ],
)
def test_lengths_that_lie_cost_no_memory(data: bytes) -> None:
    """A header may claim gigabytes; nothing is set aside for it."""
    tracemalloc.start()
    try:
        for decode in (CODEC.decode, lambda body: CODEC.decode_event(body, nothing)):
            with pytest.raises(Corrupt):
                decode(data)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1 << 20


def test_a_bomb_of_compressed_zeros_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """No more is unpacked than a value may have."""
    monkeypatch.setattr("treadle.codec.sealed.BYTES_MAX", 1 << 16)
    bomb = b"\x11" + zlib.compress(bytes(1 << 24))

    tracemalloc.start()
    try:
        with pytest.raises(Corrupt, match="too long"):
            CODEC.decode(bomb)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1 << 20


class Canary:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (Path.touch, (self.path,))


def planted(parts: list[Any]) -> bytes:
    """A pickle as it would stand in a store."""
    return b"\x10" + msgpack.encode(msgpack.Ext(51, msgpack.encode(parts)))


def test_no_pickle_runs_unless_it_was_signed(tmp_path: Path) -> None:
    """Without a key, with another key, with a changed pickle, under another key's name."""
    canary = tmp_path / "canary"
    good = codec(pickle_key={"new": b"k" * 16, "old": KEY}).encode(Canary(canary))
    tag, signature, data = msgpack.decode(msgpack.decode(good[1:]).data)
    raw = pickle.dumps(Canary(canary))

    for reader in (CODEC, codec(pickle_key={"new": b"x" * 16}), SIGNED):
        with pytest.raises(BadSignature):
            reader.decode(good)
    keyed = codec(pickle_key={"new": b"k" * 16, "old": KEY})
    for parts in (
        [tag, signature, data + b"."],
        [tag, bytes(32), raw],
        ["old", signature, data],
        ["new", b"", raw],
    ):
        with pytest.raises(BadSignature):
            keyed.decode(planted(parts))
    with pytest.raises(Corrupt):
        keyed.decode(planted(["new", "", raw]))
    assert not canary.exists()

    keyed.decode(good)
    assert canary.exists()


def test_names_in_bytes_import_nothing() -> None:
    """A class that is not registered is not looked for, wherever it is."""
    import sys

    for tag in (30, 31, 32):
        body = msgpack.encode(msgpack.Ext(tag, msgpack.encode(["antigravity:Anything", None])))
        with pytest.raises(UnknownType, match="'antigravity:Anything' is not registered here"):
            Codec().decode(b"\x10" + body)
    raised = msgpack.encode(
        msgpack.Ext(33, msgpack.encode(["antigravity:E", "t", [], None, False]))
    )
    assert str(Codec().decode(b"\x10" + raised)) == "antigravity:E: t"
    assert "antigravity" not in sys.modules
