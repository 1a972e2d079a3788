"""Pickle, on request only: signed when written, and not looked into unless the signature is right.

Whoever has the key can make this program run anything, so it is to be kept like a password.
"""

from __future__ import annotations

import hashlib
import hmac
import pickle
from collections.abc import Mapping, Sequence
from typing import Any, Final

from treadle.codec.classes import Classes
from treadle.codec.kinds import Kind
from treadle.codec.refusals import Refused, what_is
from treadle.errors import BadSignature, Corrupt, UnknownType, UsageError

TAG: Final = 51
KEY_MIN: Final = 16
"""How many bytes a key has at least."""


class Signer:
    """Signs pickles with the first of its keys, and reads those that were signed with any of them."""

    def __init__(self, keys: bytes | Mapping[str, bytes]) -> None:
        self.keys = {"": keys} if isinstance(keys, bytes) else dict(keys)
        if not self.keys or any(len(key) < KEY_MIN for key in self.keys.values()):
            raise UsageError(
                f"A key that signs pickles needs at least {KEY_MIN} bytes.",
                hint="make one with secrets.token_bytes(32), and keep it out of the store.",
            )
        self.kind = Kind(TAG, self.take, _unread, is_leaf=True)

    def take(self, value: Any, _: Classes) -> Sequence[Any]:
        """Key id, signature and pickle of a value. Errors: `Refused`."""
        name = next(iter(self.keys))
        try:
            data = pickle.dumps(value, protocol=5)
        except Exception as error:  # noqa: BLE001 - what is pickled may raise anything
            raise Refused(
                f"is {what_is(value)}, which cannot even be pickled ({type(error).__name__}: {error})"
            ) from None
        return (name, self._signature(name, data), data)

    def read(self, parts: list[Any]) -> Any:
        """The value, if the signature is right. Errors: `BadSignature`, `UnknownType`, `Corrupt`."""
        name, signature, data = parts
        if not (type(name) is str and type(signature) is bytes and type(data) is bytes):
            raise Corrupt("A signed pickle is damaged.")
        if name not in self.keys:
            raise BadSignature(
                f"A pickle was signed with the key {name!r}, which is not known here."
            )
        if not hmac.compare_digest(signature, self._signature(name, data)):
            raise BadSignature("A pickle is not as it was signed: it was not looked into.")
        try:
            return pickle.loads(data)  # noqa: S301 - it was signed by this program's own key
        except (AttributeError, ImportError) as error:
            raise UnknownType(f"A pickle names what is not here any more: {error}.") from None

    def _signature(self, name: str, data: bytes) -> bytes:
        told = name.encode()
        return hmac.digest(
            self.keys[name], len(told).to_bytes(4, "big") + told + data, hashlib.sha256
        )


def _unread(_: list[Any], __: Classes) -> Any:
    raise BadSignature(
        "A signed pickle was stored, and this codec has no key to check it by.",
        hint="give the key that it was signed with: Codec(pickle_key=...).",
    )


UNREAD: Final = Kind(TAG, lambda _, __: (), _unread, is_leaf=True)
"""What a codec without a key makes of a pickle."""
