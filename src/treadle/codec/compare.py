"""Whether what came back is what was written: for development, where a class's own `__eq__` is asked as well."""

from __future__ import annotations

from typing import Any

from treadle.codec.pack import Packer, to_bytes
from treadle.codec.refusals import shown
from treadle.errors import RemoteFailure


def difference(label: str, value: Any, back: Any, again: Any, packer: Packer) -> str | None:
    """Where a value differs from what came back of it, in words; None where it does not.

    `again` is what came back a second time: what does not even equal itself, such as NaN, tells nothing by `==`.
    """
    found = _where(label, value, back, packer)
    if found is not None or isinstance(value, BaseException):
        return found
    try:
        is_other = bool(back == again) and not value == back  # noqa: SIM201 - `__ne__` may say otherwise
    except Exception:  # noqa: BLE001 - arrays have no one truth, and a user's __eq__ may raise anything
        return None
    return f"{label} came back, and does not equal what it was" if is_other else None


def _where(label: str, value: Any, back: Any, packer: Packer) -> str | None:
    """Goes down to the part whose bytes differ: they tell every type and every value."""
    if to_bytes(packer.pack(value)) == to_bytes(packer.pack(back)):
        return None
    if isinstance(value, BaseException) and type(back) is RemoteFailure:
        return None  # its class is not registered, so it comes back as this by design
    mine, theirs = list(packer.parts_of(value)), list(packer.parts_of(back))
    if type(value) is type(back) and mine and len(mine) == len(theirs):
        for (step, part), (_, other) in zip(mine, theirs, strict=True):
            found = _where(f"{label}{step}", part, other, packer)
            if found is not None:
                return found
        return None
    return f"{label} is {shown(value)} and came back as {shown(back)}"
