"""What may answer a wait, said as a type: fitting a value to it, and its JSON Schema for forms.

msgspec looks at all of a value, and takes plain data (a dict for a dataclass, text for a date) for what it stands
for. Types that it does not know are left to pydantic, where the program uses that, and else to beartype.
"""

from __future__ import annotations

import sys
from enum import Enum
from typing import Any, get_args

import msgspec

from treadle.errors import BadValue, DefinitionError
from treadle.model.annotated import annotate
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
    """The JSON Schema of a type as text, its properties and choices in the order of their definition.

    None where it has none.
    """
    found = _described(schema)
    try:
        return None if found is None else msgspec.json.encode(annotate(schema, found)).decode()
    except Exception:  # noqa: BLE001 - choices may be of any class
        return None


def canonical_schema(schema: Any) -> str | None:
    """The JSON Schema of a type as text that is the same whatever the order of its parts: for fingerprints."""
    found = _described(schema)
    try:
        return None if found is None else msgspec.json.encode(found, order="sorted").decode()
    except Exception:  # noqa: BLE001 - as above
        return None


def _described(schema: Any) -> dict[str, Any] | None:
    if schema is None:
        return None
    try:
        return msgspec.json.schema(schema)
    except Exception:  # noqa: BLE001 - types that msgspec does not know are refused in many ways
        adapter = _adapter(schema)
    try:
        found: dict[str, Any] | None = None if adapter is None else adapter.json_schema()
    except Exception:  # noqa: BLE001 - as above
        return None
    return found


def _adapter(schema: Any) -> Any:
    """What pydantic makes of a type with its models in it; None for any other, whoever has imported pydantic."""
    pydantic: Any = sys.modules.get("pydantic")
    if pydantic is None or not _has_models(schema):
        return None
    try:
        return pydantic.TypeAdapter(schema)
    except Exception:  # noqa: BLE001 - there is something in it that it does not know either
        return None


def _has_models(schema: Any) -> bool:
    return hasattr(schema, "__pydantic_validator__") or any(map(_has_models, get_args(schema)))


def fit(what: str, value: Any, schema: Any) -> Any:
    """The value as one of the type.

    Errors: `BadValue`, naming what was expected.
    """
    if schema is None or schema is Any:
        return value
    if isinstance(value, Enum) and type(value) is schema:  # msgspec wants what it stands for
        return value
    adapter: Any = None
    try:
        return msgspec.convert(value, schema)
    except Exception as error:
        adapter = _adapter(schema)
        if adapter is None and isinstance(error, msgspec.ValidationError):
            raise _bad(what, value, schema, f" {error}.") from None
        if is_instance(value, schema):
            return value
        if adapter is None:
            raise _bad(what, value, schema, "") from error
    return _fit_by(adapter, what, value, schema)


def _fit_by(adapter: Any, what: str, value: Any, schema: Any) -> Any:
    """As `fit`, by pydantic."""
    try:
        return adapter.validate_python(value)
    except ValueError as error:
        listed: list[dict[str, Any]] = getattr(error, "errors", list)()
        why = "; ".join(f"{each['msg']} - at `{path_to(each['loc'])}`" for each in listed)
        raise _bad(what, value, schema, f" {why or error}.") from None


def path_to(steps: tuple[str | int, ...]) -> str:
    """Where in a value something is.

    >>> path_to(("lines", 0, "price"))
    '$.lines[0].price'
    """
    return "$" + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps)


def _bad(what: str, value: Any, schema: Any, why: str) -> BadValue:
    return BadValue(f"{what} takes {name_of(schema)}, and was given {shown(value)}.{why}")
