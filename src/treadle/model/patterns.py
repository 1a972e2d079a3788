"""Patterns: conditions that are data, so that they can be compared, shared, indexed and shown.

Rules of the file:

- A pattern never changes, and one that exists can be asked: what cannot be is refused in its making.
- `matches` is compiled in the making (`model/matching.py`). A value of another shape does not match; it is
  never an error. What else the user's own code raises (in an `__eq__`, a property) passes through.
- `key` says everything about a pattern. Equality, hashing and fingerprints are made of it.
- `True` and `False` are no numbers here: the literal 1, the class `int` and thresholds do not match them.
- Two values are equal if `==` says so and their hashes agree, as for the keys of a dict: `engine/index.py`
  finds literals in one. So a list, a set or another unhashable value equals no hashable literal.

The constructors that users call are in `components/match.py`.
"""

from __future__ import annotations

import operator
import re
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from keyword import iskeyword
from typing import Any, Final, NoReturn, TypeAlias, final

from treadle.errors import PatternError
from treadle.model import matching
from treadle.model.literals import (
    exact,
    is_hashable,
    is_itself,
    is_true,
    plain,
    shown,
    why_no_limit,
    why_no_literal,
)

Key: TypeAlias = tuple[Any, ...]
Item: TypeAlias = "tuple[Any, Pattern]"


# ------------------------------------------------------------------------------------- the values


class Pattern:
    """A condition on one value. `&`, `|` and `~` combine patterns; `matches(value)` asks one."""

    __slots__ = ("key", "matches", "sharable")
    __match_args__: tuple[str, ...] = ()  # what a pattern is made from, in order
    is_indexed: typing.ClassVar[bool] = True  # tells a pattern from the types of predicates

    matches: matching.Test
    """Whether a value matches."""
    key: Key
    """All that makes this pattern this pattern; hashable."""
    sharable: bool
    """Whether all literals are hashable, hence cannot change."""

    def _make(
        self, matches: matching.Test, key: Key, *, sharable: bool = True, **fields: object
    ) -> None:
        fields |= {"matches": matches, "key": key, "sharable": sharable}
        for name, value in fields.items():
            object.__setattr__(self, name, value)

    def sharing_key(self) -> Key | None:
        """Return what equal patterns have in common, or `None` if a literal in it could change."""
        return ("pattern", self.key) if self.sharable else None

    def fingerprint_data(self) -> Key:
        """Return a description of strings, numbers and tuples that is the same in every process."""
        return typing.cast("Key", plain(self.key))

    def nested(self) -> str:
        """Return the source of this pattern as it stands within another one."""
        return repr(self)

    def __reduce__(self) -> str | Key:
        return type(self), tuple(getattr(self, name) for name in self.__match_args__)

    def __eq__(self, other: object) -> bool:
        return self.key == other.key if isinstance(other, Pattern) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.key)

    def __and__(self, other: object) -> Pattern:
        return And([self, to_pattern(other, "the right side of &")])

    def __rand__(self, other: object) -> Pattern:
        return And([to_pattern(other, "the left side of &"), self])

    def __or__(self, other: object) -> Pattern:
        return Or([self, to_pattern(other, "the right side of |")])

    def __ror__(self, other: object) -> Pattern:
        return Or([to_pattern(other, "the left side of |"), self])

    def __invert__(self) -> Pattern:
        return Not(self)

    def __bool__(self) -> NoReturn:
        raise PatternError(
            f"A pattern is neither true nor false before it is asked: {self!r}.",
            hint="Write & for and, | for or, ~ for not; ask a pattern with .matches(value).",
        )

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"a pattern cannot be changed: {self!r}")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"a pattern cannot be changed: {self!r}")


@final
class Anything(Pattern):
    """Matches every value. Called without arguments it gives itself."""

    __slots__ = ()

    def __init__(self) -> None:
        self._make(lambda _: True, ("anything",))

    def __call__(self) -> Anything:
        return self

    def __repr__(self) -> str:
        return "anything"

    def __reduce__(self) -> str:
        return "anything"


anything: Final = Anything()


@final
class Literal(Pattern):
    """Matches what equals one value."""

    __slots__ = ("value",)
    __match_args__ = ("value",)
    value: Any

    def __init__(self, value: Any) -> None:
        _check_literal(value, "match(...)")
        key = ("literal", *exact(value))
        self._make(matching.equals(value), key, sharable=is_hashable(value), value=value)

    def __repr__(self) -> str:
        return f"match({shown(self.value)})"

    def nested(self) -> str:
        """Return the literal itself."""
        return shown(self.value)


@final
class OneOf(Pattern):
    """Matches what equals one of several values."""

    __slots__ = ("values",)
    __match_args__ = ("values",)
    values: tuple[Any, ...]

    def __init__(self, values: tuple[Any, ...]) -> None:
        if not values or isinstance(values[0], (list, tuple, set, frozenset, range)):
            given = values[0] if values else values
            hint = "Give the values one by one, one_of('a', 'b') or one_of(*values)."
            _refuse("one_of(...)", given, "at least one value that can be compared", hint)
        for value in values:
            _check_literal(value, "one_of(...)")
        sharable = all(map(is_hashable, values))
        each = map(matching.equals, values)
        test = matching.equals_any(values) if sharable else matching.passes_any(tuple(each))
        key = ("one_of", frozenset(map(exact, values)))
        self._make(test, key, sharable=sharable, values=values)

    def __repr__(self) -> str:
        return f"one_of({', '.join(map(shown, self.values))})"


@final
class Within(Pattern):
    """Matches what lies on one side of a limit (`gt`, `ge`, `lt`, `le`), or `between` two."""

    __slots__ = ("kind", "limits")
    __match_args__ = ("kind", "limits")
    kind: str
    limits: tuple[Any, ...]

    def __init__(self, kind: str, limits: tuple[Any, ...]) -> None:
        _check_limits(kind, limits)
        compare = COMPARISONS.get(kind)
        self._make(
            matching.beyond(compare, limits[0]) if compare else matching.between(*limits),
            (kind, *map(exact, limits)),
            sharable=all(map(is_hashable, limits)),
            kind=kind,
            limits=limits,
        )

    def __repr__(self) -> str:
        return f"{self.kind}({', '.join(map(shown, self.limits))})"


COMPARISONS: Final[Mapping[str, Callable[[Any, Any], Any]]] = types.MappingProxyType(
    {"gt": operator.gt, "ge": operator.ge, "lt": operator.lt, "le": operator.le}
)
"""What a value is asked about a single limit."""


@final
class Regex(Pattern):
    """Matches text that a regular expression matches from its first to its last character."""

    __slots__ = ("text",)
    __match_args__ = ("text",)
    text: str

    def __init__(self, text: str) -> None:
        _check_regex(text)
        self._make(matching.fullmatches(text), ("regex", text), text=text)

    def __repr__(self) -> str:
        return f"regex({self.text!r})"


@final
class Instance(Pattern):
    """Matches the instances of a class whose attributes match."""

    __slots__ = ("attributes", "cls")
    __match_args__ = ("cls", "attributes")
    cls: type
    attributes: tuple[Item, ...]

    def __init__(self, cls: type, attributes: tuple[Item, ...] = ()) -> None:
        _check_class(cls, "instance(...)")
        tests = tuple((name, part.matches) for name, part in attributes)
        self._make(
            matching.has_attributes(cls, tests),
            ("instance", cls, frozenset((name, part.key) for name, part in attributes)),
            sharable=all(part.sharable for _, part in attributes),
            cls=cls,
            attributes=attributes,
        )

    def __repr__(self) -> str:
        return f"match({', '.join([shown(self.cls), *map(_argument, self.attributes)])})"

    def nested(self) -> str:
        """Return the class itself, where no attributes are asked for."""
        return repr(self) if self.attributes else shown(self.cls)


@final
class Keyed(Pattern):
    """Matches mappings that have all these keys, with values that match; other keys do not matter."""

    __slots__ = ("items",)
    __match_args__ = ("items",)
    items: tuple[Item, ...]

    def __init__(self, items: tuple[Item, ...]) -> None:
        self._make(
            matching.has_keys(tuple((key, part.matches) for key, part in items)),
            ("keyed", frozenset((*exact(key), part.key) for key, part in items)),
            sharable=all(part.sharable for _, part in items),
            items=items,
        )

    def __repr__(self) -> str:
        if all(
            type(key) is str and key.isidentifier() and not iskeyword(key) for key, _ in self.items
        ):
            return f"match({', '.join(map(_argument, self.items))})"
        return f"match({self.nested()})"

    def nested(self) -> str:
        """Return the pattern as a dict."""
        return f"{{{', '.join(f'{shown(key)}: {part.nested()}' for key, part in self.items)}}}"


@final
class Listed(Pattern):
    """Matches lists and tuples item by item; `open_ended`: more items may follow."""

    __slots__ = ("open_ended", "parts")
    __match_args__ = ("parts", "open_ended")
    parts: tuple[Pattern, ...]
    open_ended: bool

    def __init__(self, parts: tuple[Pattern, ...], open_ended: bool = False) -> None:  # noqa: FBT001, FBT002
        self._make(
            matching.has_items(tuple(part.matches for part in parts), open_ended=open_ended),
            ("listed", open_ended, *(part.key for part in parts)),
            sharable=all(part.sharable for part in parts),
            parts=parts,
            open_ended=open_ended,
        )

    def __repr__(self) -> str:
        return f"match({self.nested()})"

    def nested(self) -> str:
        """Return the pattern as a list."""
        more = ["..."] if self.open_ended else []
        return f"[{', '.join([*(part.nested() for part in self.parts), *more])}]"


class Combined(Pattern):
    """Several patterns for one value; combinations of the same kind are made flat."""

    __slots__ = ("parts",)
    __match_args__ = ("parts",)
    parts: tuple[Pattern, ...]
    compiled: Callable[[tuple[matching.Test, ...]], matching.Test]
    """How the tests of the parts become one."""

    def __init__(self, parts: Iterable[Pattern]) -> None:
        flat: list[Pattern] = []
        for part in parts:
            flat += (
                part.parts if isinstance(part, Combined) and type(part) is type(self) else [part]
            )
        self._make(
            self.compiled(tuple(part.matches for part in flat)),
            (type(self).__name__, *(part.key for part in flat)),
            sharable=all(part.sharable for part in flat),
            parts=tuple(flat),
        )


@final
class And(Combined):
    """Matches what all parts match; they are asked in order, up to the first that does not."""

    __slots__ = ()

    compiled = staticmethod(matching.passes_all)

    def __repr__(self) -> str:
        return " & ".join(
            f"({part!r})" if isinstance(part, Or) else repr(part) for part in self.parts
        )


@final
class Or(Combined):
    """Matches what one of its parts matches; they are asked in order, up to the first that does."""

    __slots__ = ()

    compiled = staticmethod(matching.passes_any)

    def __repr__(self) -> str:
        return " | ".join(map(repr, self.parts))


@final
class Not(Pattern):
    """Matches what its part does not match, also values of another shape."""

    __slots__ = ("part",)
    __match_args__ = ("part",)
    part: Pattern

    def __init__(self, part: Pattern) -> None:
        test = matching.passes_not(part.matches)
        self._make(test, ("not", part.key), sharable=part.sharable, part=part)

    def __repr__(self) -> str:
        if isinstance(self.part, Literal):
            return f"ne({self.part.nested()})"
        return f"~({self.part!r})" if isinstance(self.part, Combined) else f"~{self.part!r}"


# -------------------------------------------------------------------- what plain values stand for


def to_pattern(value: Any, where: str = "match(...)") -> Pattern:
    """Return the pattern that a plain value stands for; `where` names its place in messages.

    Errors: PatternError for what cannot be a pattern, or surely does not mean what it seems to.
    """
    if isinstance(value, Pattern):
        return value
    if value is None or value is type(None):
        return Literal(None)
    if isinstance(value, Mapping):
        return to_keyed(value, where)
    if isinstance(value, (list, tuple)):
        return _to_listed(value, where)
    origin = typing.get_origin(value)
    if origin is typing.Union or origin is types.UnionType:
        return Or([to_pattern(part, where) for part in typing.get_args(value)])
    if isinstance(value, type) and origin is None:
        return to_instance(value, {}, where)
    _check_literal(value, where)
    return Literal(value)


def to_instance(cls: Any, attributes: Mapping[str, Any], where: str) -> Instance:
    """Return the pattern for a class, given plain values for attributes of its instances."""
    _check_class(cls, where)
    parts = ((name, to_pattern(value, f"{where}.{name}")) for name, value in attributes.items())
    return Instance(cls, tuple(parts))


def to_keyed(items: Mapping[Any, Any], where: str) -> Keyed:
    """Return the pattern for a mapping, given plain values for the values at its keys."""
    if not items:
        _refuse(where, items, "at least one key", "`dict` matches any dict, `Mapping` any mapping.")
    for key in items:
        if isinstance(key, (Pattern, type)) or key is ... or not is_itself(key):
            hint = (
                "The keys of a mapping pattern stand for themselves; only its values are patterns."
            )
            _refuse(where, key, "a plain key", hint)
    return Keyed(tuple((k, to_pattern(v, f"{where}[{shown(k)}]")) for k, v in items.items()))


def _to_listed(items: list[Any] | tuple[Any, ...], where: str) -> Listed:
    open_ended = bool(items) and items[-1] is ...
    fixed = items[:-1] if open_ended else items
    parts = (to_pattern(item, f"{where}[{place}]") for place, item in enumerate(fixed))
    return Listed(tuple(parts), open_ended)


# --------------------------------------------------------------------------------- what cannot be


def _refuse(where: str, value: Any, expected: str, hint: str) -> NoReturn:
    """Raise the error that says where the pattern is wrong, what was found and what was expected."""
    raise PatternError(
        f"This pattern cannot be: {where} was given {shown(value)}, but takes {expected}.",
        hint=hint,
    )


def _check_literal(value: Any, where: str) -> None:
    combine = "Combine patterns with &, | and ~."
    hint = combine if isinstance(value, Pattern) else why_no_literal(value)
    if hint is not None:
        _refuse(where, value, "a value that can be compared", hint)


def _check_class(cls: Any, where: str) -> None:
    if not isinstance(cls, type) or typing.get_origin(cls) is not None:
        _refuse(where, cls, "a class", "The class comes first: instance(Order, status='open').")
    try:
        isinstance(None, cls)
    except TypeError as error:
        hint = f"Python says: {error}. `anything` matches any value."
        _refuse(where, cls, "a class that isinstance() can ask about", hint)


def _check_limits(kind: str, limits: tuple[Any, ...]) -> None:
    where = f"{kind}({', '.join(map(shown, limits))})"
    for limit in limits:
        hint = why_no_limit(limit)
        if hint is not None:
            _refuse(where, limit, "values that have an order: numbers, texts, dates", hint)
    if kind == "between":
        low, high = limits
        try:
            in_order = is_true(low <= high)
        except TypeError:
            _refuse(
                where,
                high,
                "two ends of one kind",
                "A number goes with a number, a text with a text.",
            )
        if not in_order:
            _refuse(
                where, low, "the lower end first", f"Write between({shown(high)}, {shown(low)})."
            )


def _check_regex(text: Any) -> None:
    if not isinstance(text, str):
        hint = "Give the text of the expression; flags go inside: '(?i)yes'."
        _refuse("regex(...)", text, "a text", hint)
    try:
        re.compile(text)
    except re.error as error:
        hint = f"It is wrong here: {error}. Write raw text, r'\\d+', and escape what stands for itself."
        _refuse("regex(...)", text, "a regular expression", hint)


def _argument(item: Item) -> str:
    name, part = item
    return f"{name}={part.nested()}"
