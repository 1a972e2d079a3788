"""What goes out to be executed, and what comes back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from msgspec import Struct

from treadle.model.errordata import ErrorData
from treadle.model.events import Path
from treadle.model.portable import from_reference, to_reference

Branch: TypeAlias = tuple[tuple[int, int], ...]
"""Which fork of which run: per fork, the log position where it parted and its ordinal among its siblings."""

OK = "ok"
FAILED = "failed"
SKIPPED = "skipped"


def idempotency_key(run_key: str | None, node: str, generation: int, scope: Path) -> str:
    """A key for one runnable of one run: equal for all its attempts, different for any other.

    Source: S6; RFC 7693 (BLAKE2b), 20 bytes, in lower-case base32 so that it fits everywhere.
    """
    import base64  # these load OpenSSL, which most programs never need
    import hashlib

    text = "\0".join([run_key or "", node, str(generation), ".".join(map(str, scope))])
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=20).digest()
    return base64.b32encode(digest).decode().lower()


def runnable_id(node: str, generation: int, scope: Path) -> str:
    """A readable id: unique within a run (no name has a slash), the same on every replay."""
    place = ".".join(map(str, scope))
    return f"{node}@{place}" if generation == 0 else f"{node}/#{generation}@{place}"


class Runnable(Struct, frozen=True, kw_only=True):
    """One unit of ready work, with all that is needed to execute it anywhere.

    `args` are the values for the ports, `injected` those for parameters with markers. `branch` and `position`
    say which workflow prepared it. It pickles if its function can be found by name and its values pickle.
    """

    component: str
    node: str
    scope: Path
    call: Callable[..., Any] | None
    args: tuple[Any, ...]
    injected: dict[str, Any] | None = None
    is_async: bool = False
    generation: int = 0
    attempt: int = 1
    run_key: str | None = None
    branch: Branch = ()
    position: int = 0
    read_at: int | None = None
    problem: BaseException | None = None
    retry_at: float | None = None
    """Not to be executed before this moment: its last attempt failed."""
    deadline_at: float | None = None
    """All its attempts are to be over by then."""
    last_error: ErrorData | None = None
    """What its last attempt failed with."""
    is_fallback: bool = False
    """What is to be tried now is its policy's fallback."""

    @property
    def id(self) -> str:
        """`node@scope`: unique within a run, the same for all attempts."""
        return runnable_id(self.node, self.generation, self.scope)

    @property
    def idempotency_key(self) -> str:
        """A key that no other runnable of a run with its own `run_key` has; the same for all attempts."""
        return idempotency_key(self.run_key, self.node, self.generation, self.scope)

    @property
    def mark(self) -> bytes:
        """A short name of this very attempt, within its run."""
        import hashlib

        text = f"{self.node}|{self.generation}|{self.scope}|{self.attempt}"
        return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=12).digest()

    @property
    def input(self) -> int:
        """The number of the input that this works for."""
        return self.scope[0]

    def __repr__(self) -> str:
        return f"<Runnable {self.id} attempt {self.attempt}>"

    def __reduce__(self) -> tuple[Any, ...]:
        fields = {name: getattr(self, name) for name in self.__struct_fields__}
        fields["call"] = to_reference(self.call)
        return (_load_runnable, (fields,))


def _load_runnable(fields: dict[str, Any]) -> Runnable:
    fields["call"] = from_reference(fields["call"])
    return Runnable(**fields)


class Again(Struct, frozen=True, kw_only=True):
    """What is to follow a failed attempt: not before `retry_at`, all to be over by `deadline_at`.

    `fallback`: what follows is the fallback, and not the work's own function.
    """

    retry_at: float | None = None
    deadline_at: float | None = None
    fallback: bool = False


class Outcome(Struct, frozen=True, kw_only=True, eq=False):
    """What executing a runnable gave: a value, a failure or a skip. It does not carry the inputs.

    `error` is the failure as data; `exception` is the live one, where it was raised in this process (or could
    be pickled). `seconds` is for whoever measures: `msgspec.structs.replace(outcome, seconds=...)`.
    """

    component: str
    node: str
    scope: Path
    status: str = OK
    value: Any = None
    error: ErrorData | None = None
    exception: BaseException | None = None
    generation: int = 0
    attempt: int = 1
    run_key: str | None = None
    branch: Branch = ()
    position: int = 0
    read_at: int | None = None
    seconds: float | None = None
    cached: str | None = None
    """Where it was given from the cache, and nothing was called: when it was computed, and by which run."""

    @property
    def id(self) -> str:
        """The id of the runnable that this answers."""
        return runnable_id(self.node, self.generation, self.scope)

    @property
    def idempotency_key(self) -> str:
        """The key of the runnable that this answers."""
        return idempotency_key(self.run_key, self.node, self.generation, self.scope)

    @property
    def is_ok(self) -> bool:
        """Whether it gave a value."""
        return self.status == OK

    def __repr__(self) -> str:
        shown = f"{self.value!r:.60}" if self.status == OK else str(self.error or "")
        return f"<Outcome {self.id} {self.status}: {shown}>"

    def __reduce__(self) -> tuple[Any, ...]:
        fields = {name: getattr(self, name) for name in self.__struct_fields__}
        fields["exception"] = portable_exception(self.exception)
        return (_load_outcome, (fields,))


def _load_outcome(fields: dict[str, Any]) -> Outcome:
    return Outcome(**fields)


def portable_exception(exception: BaseException | None) -> BaseException | None:
    """The exception if it survives pickling, else nothing: its data is in `error` all the same."""
    import pickle

    try:
        pickle.loads(pickle.dumps(exception))  # noqa: S301 - our own dump of a moment ago
    except Exception:  # noqa: BLE001 - a user's exception may refuse in any way
        return None
    return exception
