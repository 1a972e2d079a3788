"""The outermost layer of what is written: a byte that says how it is to be read, compression, encryption.

The byte is `version << 4 | flags`. Flags: 1 compressed by zlib, 2 by Zstandard, 4 refers to values out of line, 8
encrypted. What is encrypted was compressed before.
"""

from __future__ import annotations

import zlib
from functools import cache
from typing import Any, Final, Protocol

from treadle.errors import BadSignature, Corrupt, SchemaTooNew, UnknownType

VERSION: Final = 1
PLAIN: Final = VERSION << 4
PREFIX: Final = bytes([PLAIN])

ZLIB: Final = 1
ZSTD: Final = 2
REFERS: Final = 4
ENCRYPTED: Final = 8

BYTES_MAX: Final = 1 << 30
"""How many bytes one value may come to, written or unpacked."""


class Cipher(Protocol):
    """What encrypts, and tells what it has not encrypted: such as `cryptography.fernet.Fernet`."""

    def encrypt(self, data: bytes, /) -> bytes:
        """The bytes, encrypted and authenticated."""
        ...

    def decrypt(self, data: bytes, /) -> bytes:
        """The bytes again; raises whatever it likes if they were not encrypted with its key."""
        ...


class Seal:
    """Compresses what is long, and encrypts."""

    def __init__(self, compress_over: int | None, cipher: Cipher | None) -> None:
        self.compress_over = compress_over
        self.cipher = cipher

    def close(self, data: bytes, flags: int = 0) -> bytes:
        """The bytes as they are stored."""
        if self.compress_over is not None and len(data) > self.compress_over:
            how, packed = compressed(data)
            if len(packed) < len(data):
                data, flags = packed, flags | how
        if self.cipher is not None:
            data, flags = self.cipher.encrypt(data), flags | ENCRYPTED
        return bytes([PLAIN | flags]) + data

    def open(self, stored: bytes) -> tuple[bytes, bool]:
        """The bytes as they were, and whether they refer to values out of line. Errors: those of stores."""
        if not stored:
            raise Corrupt("Nothing is stored where something was written.")
        version, flags = stored[0] >> 4, stored[0] & 15
        if version > VERSION:
            raise SchemaTooNew(
                f"What is stored has format {version}; this version of the library reads up to {VERSION}.",
                hint="take the version of the library that wrote it, or a later one.",
            )
        if version == 0 or (flags & ZLIB and flags & ZSTD):
            raise Corrupt(f"What is stored begins with {stored[0]:#04x}, which was never written.")
        data = bytes(stored[1:])
        if flags & ENCRYPTED:
            data = self._decrypted(data)
        if flags & ZLIB:
            data = inflated(data)
        elif flags & ZSTD:
            data = unzstd(data)
        return data, bool(flags & REFERS)

    def _decrypted(self, data: bytes) -> bytes:
        if self.cipher is None:
            raise BadSignature(
                "What is stored is encrypted, and this codec has no cipher.",
                hint="give the one it was written with: Codec(cipher=...).",
            )
        try:
            return self.cipher.decrypt(data)
        except Exception as error:  # noqa: BLE001 - ciphers have errors of their own
            raise BadSignature(
                f"What is stored could not be decrypted ({type(error).__name__}): it is damaged, or of another key."
            ) from None


@cache
def zstandard() -> Any:
    """The library, or None if it is not installed."""
    from importlib import import_module

    try:
        return import_module("zstandard")
    except ImportError:
        return None


def compressed(data: bytes) -> tuple[int, bytes]:
    """By which method, and the result."""
    library = zstandard()
    if library is None:
        return ZLIB, zlib.compress(data, 1)
    return ZSTD, library.ZstdCompressor().compress(data)


def inflated(data: bytes) -> bytes:
    """Undo zlib, up to the size that a value may have."""
    reader = zlib.decompressobj()
    try:
        found = reader.decompress(data, BYTES_MAX)
    except zlib.error as error:
        raise Corrupt(f"What is stored cannot be uncompressed: {error}.") from None
    if not reader.eof or reader.unused_data:
        raise Corrupt(
            "What is stored is compressed, and cut off, too long, or followed by something else."
        )
    return found


def unzstd(data: bytes) -> bytes:
    """Undo Zstandard, up to the size that a value may have."""
    library = zstandard()
    if library is None:
        raise UnknownType(
            "What is stored was compressed by Zstandard, which is not installed here.",
            hint='pip install "zstandard".',
        )
    try:
        with library.ZstdDecompressor().stream_reader(data, read_across_frames=False) as reader:
            found: bytes = reader.read(BYTES_MAX + 1)
    except library.ZstdError as error:
        raise Corrupt(f"What is stored cannot be uncompressed: {error}.") from None
    if len(found) > BYTES_MAX:
        raise Corrupt("What is stored is compressed, and too long.")
    return found
