"""Find the workflow that a user names: a Python file, and where it holds several, a name."""

from __future__ import annotations

import importlib.util
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from msgspec import Struct

from treadle.errors import TreadleError, UsageError, nearest
from treadle.interfaces import Codec
from treadle.policies.matching import NO_POLICIES, Policies, policies_from
from treadle.value import Workflow
from treadle.wiring import make_codec

OURS: Final = Path(__file__).parents[1]


class LoadFailed(UsageError):
    """The user's file could not be executed; the message ends with its own traceback."""


def split_target(target: str) -> tuple[Path, str | None]:
    """Split `FILE[:NAME]`; a file whose own name has a colon is found as it is.

    >>> split_target("orders.py:checks")[1]
    'checks'
    """
    path, colon, name = target.rpartition(":")
    if not colon or Path(target).is_file():
        return Path(target), None
    return Path(path), name or None


class Loaded(Struct, frozen=True):
    """A workflow, the policies that its file has for it, which come after those attached to it, and its codec."""

    workflow: Workflow
    policies: Policies
    codec: Codec | None = None
    module: str = "__main__"
    """What its file is called as a module."""


def load(target: str) -> Loaded:
    """Execute the file as `python FILE` would, but for its `__main__` part; find its workflow, `policies` and `codec`.

    Errors: `UsageError` for no file, no workflow, several, or an unknown name; `LoadFailed`.
    """
    path, name = split_target(target)
    if not path.is_file():
        here = [str(each) for each in path.parent.glob("*.py")] if path.parent.is_dir() else []
        raise UsageError(f"there is no file {str(path)!r}.{nearest(path, here) if here else ''}")
    module = load_module(path)
    workflow = choose(workflows_of(module), name, str(path))
    return Loaded(workflow, policies_of(module, str(path)), codec_of(module), module.__name__)


def policies_of(module: ModuleType, path: str) -> Policies:
    """What the file calls `policies`, unless that is a module, a class or a function."""
    found = getattr(module, "policies", None)
    if isinstance(found, ModuleType) or callable(found):
        return NO_POLICIES
    try:
        return policies_from(found)
    except UsageError as error:
        raise UsageError(
            f"the `policies` of {path} are none: {error.message}",
            hint="policies = {'charge': td.Policy(max_retries=3)}; or give what is something else another name.",
        ) from error


def codec_of(module: ModuleType) -> Codec | None:
    """What the file calls `codec`, if that is one: it says which classes may be stored."""
    found: Any = getattr(module, "codec", None)
    if isinstance(found, type) or not callable(getattr(found, "decode_event", None)):
        return None
    codec: Codec = found
    return codec


def codec_for(loaded: Loaded) -> Codec:
    """The codec of a file, or the standard one: it knows the workflow's classes, by their names and as `__main__`'s."""
    codec: Any = make_codec() if loaded.codec is None else loaded.codec
    also_called = getattr(codec, "also_called", None)
    if also_called is not None:
        also_called("__main__", loaded.module)
    learn_from = getattr(codec, "learn_from", None)
    if learn_from is not None:
        learn_from(loaded.workflow.definition)
    made: Codec = codec
    return made


def load_module(path: Path) -> ModuleType:
    """Import a file under its own name, with its folder first on the path."""
    path = path.resolve()
    sys.path.insert(0, str(path.parent))
    # Somebody's `json.py` must not take the place of a module that is imported already.
    name = path.stem if path.stem not in sys.modules else f"{path.stem} (treadle run)"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UsageError(f"{path.name!r} is no Python file.", hint="its name should end in .py.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise LoadFailed(f"{path.name} could not be loaded.\n{told(error)}") from error
    return module


def told(error: BaseException) -> str:
    """An error as Python would tell it, without the frames that led to the user's file."""
    telling = traceback.TracebackException.from_exception(error)
    trim(telling, error)
    return "".join(telling.format()).rstrip()


def trim(telling: traceback.TracebackException, error: BaseException) -> None:
    """Leave out how the file came to be executed; of a mistake that Treadle noticed, how it did."""
    ours = isinstance(error, (TreadleError, ExceptionGroup))
    hidden = str(OURS) if ours else str(OURS / "cli")
    frames = [
        frame
        for frame in telling.stack
        if not frame.filename.startswith((hidden, "<frozen importlib"))
    ]
    telling.stack = traceback.StackSummary.from_list(frames)
    parts = error.exceptions if isinstance(error, BaseExceptionGroup) else ()
    for inner, part in zip(telling.exceptions or (), parts, strict=True):
        trim(inner, part)


def workflows_of(module: ModuleType) -> dict[str, Workflow]:
    """The workflows a module holds, by variable."""
    return {name: value for name, value in vars(module).items() if isinstance(value, Workflow)}


def choose(found: dict[str, Workflow], name: str | None, path: str) -> Workflow:
    """The workflow of a name (a variable's, or its own); without a name, the only one."""
    if name is not None:
        return named(found, name, path)
    templates = distinct(found)
    if len(templates) == 1:
        return next(iter(templates.values()))
    if not templates:
        raise UsageError(
            f"{path} holds no workflow without inputs at its top level.",
            hint="for example: workflow = td.workflow('name', steps=[...]).",
        )
    raise UsageError(
        f"{path} holds {len(templates)} workflows: {listed(templates)}.",
        hint=f"name one: {path}:{next(iter(templates))}",
    )


def named(found: dict[str, Workflow], name: str, path: str) -> Workflow:
    """The workflow of a variable, or else the one that is called so."""
    asked = {name: found[name]} if name in found else {}
    asked = asked or {variable: each for variable, each in found.items() if each.name == name}
    templates = distinct(asked)
    if len(templates) == 1:
        return next(iter(templates.values()))
    if templates:
        raise UsageError(
            f"{path} holds {len(templates)} workflows named {name!r}: {listed(templates)}."
        )
    if asked:
        raise UsageError(
            f"the workflow {name!r} of {path} has inputs already.",
            hint="name the one from before its first input.",
        )
    known = {*found, *[each.name for each in found.values()]}
    raise UsageError(f"{path} holds no workflow {name!r}.{nearest(name, known)}")


def distinct(found: dict[str, Workflow]) -> dict[str, Workflow]:
    """Those without inputs: what a script has driven is a result. Of two names for one, the first."""
    first = {id(each): variable for variable, each in reversed(found.items())}
    return {
        variable: each
        for variable, each in found.items()
        if each.position == 0 and first[id(each)] == variable
    }


def listed(found: dict[str, Workflow]) -> str:
    """Variables with the names of their workflows."""
    return ", ".join(f"{variable} ({each.name!r})" for variable, each in found.items())
