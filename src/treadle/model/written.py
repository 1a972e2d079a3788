"""Which values a module writes down, and which it works out when it is imported: found in its source.

A rate that stands in the code is part of it. The moment of the import, or what the environment says, is not: it is
another in each process, although the code is the same.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

from msgspec import Struct

if TYPE_CHECKING:
    import ast

MAKERS: Final = frozenset(
    "compile complex date datetime frozenset range time timedelta timezone tuple".split()  # noqa: SIM905
)
"""Functions that make the same of the same. What begins with a capital letter is taken for a class, which does, too."""


class Written(Struct, frozen=True):
    """What a module says of its names. `names` has those of classes as `"Prices.REDUCED"`."""

    names: frozenset[str]
    imports: Mapping[str, tuple[str, str]]
    """Names that are taken from another module, and what they are called there."""
    stars: tuple[str, ...] = ()
    """Modules of which all names are taken."""


_WRITTEN: WeakKeyDictionary[Any, Written | None] = WeakKeyDictionary()


def is_worked_out(namespace: Mapping[str, Any], path: str) -> bool:
    """Whether the value of a name is worked out on import; of a module without a source, nobody can tell: False."""
    return _is_worked_out(str(namespace.get("__name__")), path, frozenset())


def _is_worked_out(module_name: str, path: str, seen: frozenset[str]) -> bool:
    found = _written_in(module_name)
    if found is None or module_name in seen:
        return False
    if path in found.names:
        return False
    if path in found.imports:
        origin, name = found.imports[path]
        return _is_worked_out(origin, name, seen | {module_name})
    for star in found.stars:
        if path in vars(sys.modules.get(star, object)):
            return _is_worked_out(star, path, seen | {module_name})
    return True


def _written_in(module_name: str) -> Written | None:
    module = sys.modules.get(module_name)
    if module is None:
        return None
    if module not in _WRITTEN:
        _WRITTEN[module] = _read(module)
    return _WRITTEN[module]


def _read(module: Any) -> Written | None:
    import ast  # both are loaded only where code is compared that reads values of a module
    import linecache

    file = getattr(module, "__file__", None)
    linecache.checkcache(str(file))
    source = "".join(linecache.getlines(str(file), vars(module))) if file else ""
    if not source:
        return None
    try:
        tree = ast.parse(source)
    except SyntaxError:  # the file is another by now
        return None
    reader = Reader(str(getattr(module, "__package__", None) or ""))
    reader.read(tree.body, "")
    return Written(frozenset(reader.names), reader.imports, tuple(reader.stars))


class Reader:
    """Goes through the statements of a module, and of the classes in it, in order."""

    def __init__(self, package: str) -> None:
        self.package = package
        self.names: set[str] = set()
        self.imports: dict[str, tuple[str, str]] = {}
        self.stars: list[str] = []

    def read(self, body: list[ast.stmt], scope: str) -> None:
        """Note what is written down; a name that is bound again by something else is not, any more."""
        import ast

        for each in body:
            if isinstance(each, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                self.names.add(scope + each.name)
            if isinstance(each, ast.ClassDef):
                self.read(each.body, f"{scope}{each.name}.")
            elif isinstance(each, ast.ImportFrom):
                self._note_import(each, scope)
            elif isinstance(each, (ast.Assign, ast.AnnAssign)) and each.value is not None:
                targets = each.targets if isinstance(each, ast.Assign) else [each.target]
                self._note(targets, each.value, scope)
            else:
                self.names -= {scope + name for name in bound_in(each)}

    def _note(self, targets: Sequence[ast.expr], value: ast.expr, scope: str) -> None:
        import ast

        is_written = self._is_written(value, scope)
        for target in targets:
            for each in ast.walk(target):
                if isinstance(each, ast.Name) and is_written:
                    self.names.add(scope + each.id)
                elif isinstance(each, ast.Name):
                    self.names.discard(scope + each.id)

    def _note_import(self, statement: ast.ImportFrom, scope: str) -> None:
        outer = self.package.split(".")
        above = ".".join(outer[: len(outer) - statement.level + 1]) if statement.level else ""
        module = ".".join(filter(None, (above, statement.module)))
        for alias in statement.names:
            if alias.name == "*":
                self.stars.append(module)
            else:
                self.imports[scope + (alias.asname or alias.name)] = (module, alias.name)

    def _is_written(self, value: ast.expr | None, scope: str) -> bool:
        """Whether an expression says it all: literals, names of such, and what is made of them."""
        import ast

        def all_written(*parts: ast.expr | None) -> bool:
            return all(self._is_written(part, scope) for part in parts)

        match value:
            case ast.Constant():
                return True
            case ast.Name():
                return self._is_known(value.id, scope)
            case ast.Attribute(value=ast.Name(id=name)):
                return is_class_name(name)  # as Colour.RED
            case ast.Tuple() | ast.List() | ast.Set():
                return all_written(*value.elts)
            case ast.Dict():
                return all_written(*value.keys, *value.values)
            case ast.UnaryOp():
                return all_written(value.operand)
            case ast.BinOp():
                return all_written(value.left, value.right)
            case ast.JoinedStr():
                return all_written(*value.values)
            case ast.FormattedValue():
                return all_written(value.value)
            case ast.Call():
                given = [*value.args, *[each.value for each in value.keywords]]
                return makes_the_same(value.func, len(given)) and all_written(*given)
            case _:
                return False

    def _is_known(self, name: str, scope: str) -> bool:
        """Whether a name in an expression stands for something that was written down, or for a class or a module."""
        import builtins

        if is_class_name(name):
            return True
        if {name, scope + name} & self.names or hasattr(builtins, name) or name in MAKERS:
            return True
        origin = self.imports.get(name)
        return origin is not None and not _is_worked_out(*origin, frozenset())


def is_class_name(name: str) -> bool:
    """Whether a name looks like that of a class, and not of a constant."""
    return name[:1].isupper() and (not name.isupper() or len(name) == 1)


def makes_the_same(function: ast.expr, arguments: int) -> bool:
    """Whether what is called makes the same of the same: a class, or one of `MAKERS`, told what to make."""
    import ast

    name = function.attr if isinstance(function, ast.Attribute) else ""
    name = function.id if isinstance(function, ast.Name) else name
    return is_class_name(name) or name == "UUID" or (name in MAKERS and arguments > 0)


def bound_in(statement: ast.stmt) -> set[str]:
    """The names that a statement binds anywhere in it: in a branch, a loop, a handler."""
    import ast

    return {
        each.id
        for each in ast.walk(statement)
        if isinstance(each, ast.Name) and isinstance(each.ctx, (ast.Store, ast.Del))
    }
