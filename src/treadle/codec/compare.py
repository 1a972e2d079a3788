"""Whether what came back is what was written: the same values of the same types, all the way down."""

from __future__ import annotations

from typing import Any, Final

from treadle.codec.events import EVENTS
from treadle.codec.pack import Packer
from treadle.codec.plain import ATOMS
from treadle.codec.refusals import shown

IDENTITY: Final = object.__eq__


def difference(label: str, value: Any, back: Any, packer: Packer) -> str | None:
    """Where a value differs from what came back of it, in words; None where it does not.

    A class with an `__eq__` of its own is asked, too, unless there are NaNs in the value, which equal nothing.
    """
    found, has_nan = _parts_differ(label, value, back, packer)
    if found is not None or has_nan or type(value).__eq__ is IDENTITY:
        return found
    if isinstance(value, BaseException) or type(value).__module__.startswith(("numpy", "pyarrow")):
        return None
    return None if value == back else f"{label} came back, and does not equal what it was"


def _parts_differ(label: str, value: Any, back: Any, packer: Packer) -> tuple[str | None, bool]:
    kind = type(value)
    if type(back) is not kind:
        if isinstance(value, BaseException) and kind not in packer.classes.by_class:
            return None, False  # it comes back as a RemoteFailure, by design
        return f"{label} is {shown(value)} and came back as {shown(back)}", False
    if kind in ATOMS:
        is_same = value == back or (value != value and back != back)  # noqa: PLR0124 - NaN
        if kind is float and str(value) != str(back):
            is_same = False
        has_nan = kind is float and value != value  # noqa: PLR0124
        return (
            None if is_same else f"{label} is {shown(value)} and came back as {shown(back)}"
        ), has_nan
    if kind in {set, frozenset} or kind in EVENTS:
        return (None if value == back else f"{label} came back with other elements"), False
    mine, theirs = list(packer.parts_of(value)), list(packer.parts_of(back))
    if len(mine) != len(theirs):
        return f"{label} came back with {len(theirs)} parts, not {len(mine)}", False
    has_nan = False
    for (step, part), (_, other) in zip(mine, theirs, strict=True):
        found, is_nan = _parts_differ(f"{label}{step}", part, other, packer)
        if found is not None:
            return found, False
        has_nan |= is_nan
    return None, has_nan
