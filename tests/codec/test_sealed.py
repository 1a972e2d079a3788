"""Compression, encryption and signed pickle: each told by the bytes themselves."""

import datetime as dt
import zlib
from typing import Any

import pytest

from tests.codec.logs import EVENTS
from tests.codec.samples import Unregistered, codec
from treadle.codec import Codec, sealed
from treadle.errors import BadSignature, Corrupt, EncodeError, UnknownType, UsageError
from treadle.model.events import Applied

KEY = b"0123456789abcdef"
LONG = [{"name": "a" * 10, "index": index} for index in range(1000)]


class Shift:
    """A toy cipher, which tells what is not its own: it adds to each byte, and puts a word in front."""

    def __init__(self, by: int) -> None:
        self.by = by

    def encrypt(self, data: bytes) -> bytes:
        return bytes((byte + self.by) % 256 for byte in b"mine" + data)

    def decrypt(self, data: bytes) -> bytes:
        clear = bytes((byte - self.by) % 256 for byte in data)
        if not clear.startswith(b"mine"):
            raise RuntimeError("not mine")
        return clear[4:]


@pytest.fixture(params=["zlib", "zstandard"])
def method(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """With Zstandard if it is installed, and as if it were not."""
    if request.param == "zstandard":
        pytest.importorskip("zstandard")
    else:
        monkeypatch.setattr(sealed, "zstandard", lambda: None)
    return str(request.param)


def test_long_values_are_compressed(method: str) -> None:
    """Where it pays; and read whatever the reader would do itself."""
    plain, packed = codec(compress_over=None), codec()
    data = packed.encode(LONG)

    assert data[0] == {"zlib": 0x11, "zstandard": 0x12}[method]
    assert len(data) < len(plain.encode(LONG)) / 5
    assert plain.decode(data) == packed.decode(plain.encode(LONG)) == LONG


def test_what_does_not_shrink_is_not_compressed(method: str) -> None:
    """Random bytes stay as they are."""
    noise = b"".join(
        zlib.crc32(bytes([index % 256, index // 256])).to_bytes(4, "big") for index in range(2000)
    )

    assert codec().encode(noise)[0] == 0x10


def test_damaged_compression_is_corrupt(method: str) -> None:
    """Cut off, changed, followed by something else, both methods at once."""
    made = codec()
    data = made.encode(LONG)

    for bad in (data[:-3], data[:20], data[:1] + b"\x00" + data[2:], bytes([0x13]) + data[1:]):
        with pytest.raises(Corrupt):
            made.decode(bad)


def test_zstandard_that_is_not_installed_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """What another machine compressed is not damaged."""
    monkeypatch.setattr(sealed, "zstandard", lambda: None)

    with pytest.raises(UnknownType, match=r"Zstandard, which is not installed here.*pip install"):
        codec().decode(b"\x12abc")


def test_all_that_is_written_is_encrypted() -> None:
    """Bodies, short and long, and what stands out of line."""
    made = codec(cipher=Shift(3))
    for event in (*EVENTS.values(), Applied(1, "n", (0,), LONG, 0)):
        body, blobs = made.encode_event(event)
        assert all(data[0] & 8 and data[1:5] == b"plqh" for data in (body, *blobs.values()))
        assert made.decode_event(body, blobs.__getitem__) == event
    assert made.decode(made.encode(LONG)) == LONG


def test_what_was_encrypted_needs_the_cipher() -> None:
    """None, and another one; what was written before there was a cipher stays readable."""
    data = codec(cipher=Shift(3)).encode([1])

    with pytest.raises(BadSignature, match="encrypted, and this codec has no cipher"):
        codec().decode(data)
    with pytest.raises(
        BadSignature, match=r"could not be decrypted \(RuntimeError\): it is damaged, or of another"
    ):
        codec(cipher=Shift(4)).decode(data)
    assert codec(cipher=Shift(3)).decode(codec().encode([1])) == [1]


# ------------------------------------------------------------------------------------------ pickle


class Ring:
    """Holds itself."""

    def __init__(self) -> None:
        self.me = self


def test_what_nothing_else_stores_is_pickled_on_request() -> None:
    """In its place within a value that is otherwise stored as ever."""
    made = Codec(pickle_key=KEY)
    value = {"a": [Unregistered(), (len, Ring())], "b": dt.timezone.utc}  # noqa: UP017

    made.check(value)
    back = made.decode(made.encode(value))

    assert type(back["a"][0]) is Unregistered
    assert back["a"][1][0] is len
    assert back["a"][1][1].me is back["a"][1][1]


def test_what_cannot_even_be_pickled_is_refused() -> None:
    """With the path, as ever."""
    with pytest.raises(
        EncodeError, match=r"value\[0\] is a function, which cannot even be pickled"
    ):
        Codec(pickle_key=KEY).encode([lambda: 1])


def test_keys_are_changed_one_after_the_other() -> None:
    """The first signs, all verify, and what was signed by one that is gone is not read."""
    old, new = Codec(pickle_key={"2024": KEY}), Codec(pickle_key={"2025": KEY[::-1], "2024": KEY})
    was, now = old.encode(Unregistered()), new.encode(Unregistered())

    assert type(new.decode(was)) is type(new.decode(now)) is Unregistered
    with pytest.raises(BadSignature, match="'2025', which is not known here"):
        old.decode(now)


def test_a_short_key_is_refused() -> None:
    """A key is at least 16 bytes long, and there is one."""
    for keys in (b"short", {}, {"a": KEY, "b": b"short"}):
        with pytest.raises(UsageError, match="at least 16 bytes"):
            Codec(pickle_key=keys)


def test_a_pickle_of_what_is_gone_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The class was removed from its module since."""
    made: Any = Codec(pickle_key=KEY)
    data = made.encode(Unregistered())
    monkeypatch.delattr("tests.codec.samples.Unregistered")

    with pytest.raises(UnknownType, match="names what is not here any more"):
        made.decode(data)
