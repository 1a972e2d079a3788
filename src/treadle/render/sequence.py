"""The sequence diagram: who gave what to whom, values shortened."""

from __future__ import annotations

import re
import reprlib
from itertools import islice
from typing import Any, Final

from treadle.model.sentinels import INPUT_KEY
from treadle.render.mermaid_text import ROOT, escape, identifiers, is_plain
from treadle.views.graph import Message

SHOWN_CHARACTERS: Final = 40
SHOWN_MESSAGES: Final = 150
"""More would not be read by anyone."""

_ARROWS: Final = {"value": "->>", "error": "-->>", "result": "-->>"}
_ADDRESS: Final = re.compile(r" at 0x[0-9a-fA-F]+")


def sequence(messages: list[Message], components: list[str]) -> str:
    """Messages as Mermaid text; those who take part stand in the order of adding, behind the input."""
    told = messages[:SHOWN_MESSAGES]
    taking_part = {message[end] for message in told for end in ("source", "target")}
    names = [name for name in components if name in taking_part]
    names += sorted(taking_part - {INPUT_KEY, *names})
    ids = {**identifiers([*components, *names]), INPUT_KEY: ROOT}
    lines = ["sequenceDiagram", f"    participant {ROOT}"]
    lines += [_participant(name, ids[name]) for name in names]
    lines += [_line(message, ids) for message in told]
    if len(messages) > len(told):
        lines.append(f"    Note over {ROOT}: and {len(messages) - len(told)} more")
    return "\n".join(lines)


def _participant(name: str, identifier: str) -> str:
    alias = "" if is_plain(name) else f" as {escape(name)}"
    return f"    participant {identifier}{alias}"


def _line(message: Message, ids: dict[str, str]) -> str:
    source, target = ids[message["source"]], ids[message["target"]]
    arrow = _ARROWS.get(message["kind"])
    if arrow is not None:
        return f"    {source}{arrow}{target}: {_text(message)}"
    what = message["kind"]
    reason = "" if message["value"] is None else f", {_text(message)}"
    return f"    Note over {source}: {what}{reason}"


def _text(message: Message) -> str:
    """A value as Python shows it; errors are text already."""
    value = message["value"]
    is_text = message["kind"] not in {"value", "result"}
    return escape(_cut(value if is_text else shown(value)))


def _cut(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= SHOWN_CHARACTERS else f"{line[: SHOWN_CHARACTERS - 1]}…"


def shown(value: Any) -> str:
    """A value as text, without reading all of a large one; whatever its own methods do, this returns.

    >>> shown({"items": ["book"], "rest": list(range(1000))})
    "{'items': ['book'], 'rest': [0, 1, 2, 3, 4, 5, ...]}"
    """
    try:
        return _SHORT.repr(value)
    except Exception:  # noqa: BLE001 - a picture never fails because of what is in it
        return f"<{type(value).__name__}>"


class _Short(reprlib.Repr):
    """Shows the beginning of what is large; mappings keep their order, and addresses are left out."""

    def repr_str(self, x: str, level: int) -> str:  # noqa: ARG002 - the signature is reprlib's
        return repr(x[: SHOWN_CHARACTERS + 1])

    def repr_dict(self, x: dict[Any, Any], level: int) -> str:
        if level <= 0:
            return "{...}" if x else "{}"
        parts = [
            f"{self.repr1(key, level - 1)}: {self.repr1(value, level - 1)}"
            for key, value in islice(x.items(), self.maxdict)
        ]
        if len(x) > self.maxdict:
            parts.append("...")
        return f"{{{', '.join(parts)}}}"

    def repr_instance(self, x: Any, level: int) -> str:  # noqa: ARG002 - see above
        return _ADDRESS.sub("", repr(x))


_SHORT: Final = _Short()
