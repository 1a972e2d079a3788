"""What may answer a wait, said as a type: fitting a value to it, and its JSON Schema for forms.

msgspec looks at all of a value, and takes plain data (a dict for a dataclass, text for a date) for what it stands
for. Types that it does not know are left to beartype.
"""

from __future__ import annotations

from typing import Any

import msgspec

from treadle.errors import BadValue, DefinitionError
from treadle.model.calls import shown
from treadle.model.types import is_instance, name_of


def check_schema(what: str, schema: Any) -> None:
    """Refuse what is no type."""
    if isinstance(schema, str):
        raise DefinitionError(
            f"{what}: schema={schema!r:.80} is text.", hint="give the type itself."
        )
    try:
        is_instance(None, schema)
    except Exception as error:
        raise DefinitionError(
            f"{what}: schema={schema!r:.80} is no type: {error!s:.200}.",
            hint="a schema is what a parameter could be annotated with: bool, list[int], a dataclass.",
        ) from error


def json_schema(schema: Any) -> str | None:
    """The JSON Schema of a type as text; None where it has none."""
    if schema is None:
        return None
    try:
        return msgspec.json.encode(msgspec.json.schema(schema), order="sorted").decode()
    except Exception:  # noqa: BLE001 - types that msgspec does not know are refused in many ways
        return None


def fit(what: str, value: Any, schema: Any) -> Any:
    """The value as one of the type.

    Errors: `BadValue`, naming what was expected.
    """
    if schema is None or schema is Any:
        return value
    try:
        return msgspec.convert(value, schema)
    except msgspec.ValidationError as error:
        raise _bad(what, value, schema, f" {error}.") from None
    except Exception as error:
        if is_instance(value, schema):
            return value
        raise _bad(what, value, schema, "") from error


def _bad(what: str, value: Any, schema: Any, why: str) -> BadValue:
    return BadValue(f"{what} takes {name_of(schema)}, and was given {shown(value)}.{why}")
