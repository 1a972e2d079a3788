"""A failure as data: what survives of an exception in the log.

The live exception, with its traceback and every object that its frames hold, is kept beside the
log while the process lives (`Tape.exceptions`), outside equality and outside every store.
"""

from __future__ import annotations

from types import TracebackType

from msgspec import Struct

DEPTH_MAX = 8
"""How many causes of causes are written down; a cycle of causes ends here too."""

FRAMES_MAX = 50
"""How many frames of one traceback are kept: the outermost few and the innermost, as Python shows."""


class Frame(Struct, frozen=True, gc=False):
    """One line of a traceback."""

    file: str
    line: int
    function: str


class ErrorData(Struct, frozen=True, gc=False):
    """An exception as data: `type` is its qualified name, `text` its message."""

    type: str
    text: str
    frames: tuple[Frame, ...] = ()
    causes: tuple[ErrorData, ...] = ()

    @property
    def name(self) -> str:
        """The type without its module, as a traceback shows it."""
        return self.type.rpartition(".")[2]

    def __str__(self) -> str:
        return f"{self.name}: {self.text}" if self.text else self.name


def describe(error: BaseException, *, depth: int = 0, skip: str | None = None) -> ErrorData:
    """Write an exception down; never raises, whatever the exception's own methods do.

    Lone surrogates (of a file name that is no text, say) are escaped, so that what is told can always be stored.
    `skip`: frames of files in this folder are left out (the engine's own calls of the user's function).
    """
    kind = type(error)
    module = "" if kind.__module__ == "builtins" else f"{kind.__module__}."
    return ErrorData(
        type=_sayable(f"{module}{kind.__qualname__}"),
        text=_sayable(_text(error)),
        frames=_frames(error.__traceback__, skip),
        causes=_causes(error, depth, skip),
    )


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as worse:  # noqa: BLE001 - a broken __str__ may raise anything
        return f"<the message itself failed with {type(worse).__name__}>"


def _sayable(text: str) -> str:
    """Text that UTF-8 can hold, and a str itself: a `__str__` may give one of its own class."""
    if text.isascii():
        return str.__str__(text)
    return text.encode("utf-8", "backslashreplace").decode()


def _frames(traceback: TracebackType | None, skip: str | None) -> tuple[Frame, ...]:
    frames: list[Frame] = []
    while traceback is not None:
        code = traceback.tb_frame.f_code
        if skip is None or not code.co_filename.startswith(skip):
            file, function = _sayable(code.co_filename), _sayable(code.co_qualname)
            frames.append(Frame(file, traceback.tb_lineno, function))
        traceback = traceback.tb_next
    if len(frames) > FRAMES_MAX:
        half = FRAMES_MAX // 2
        frames = [*frames[:half], *frames[-half:]]
    return tuple(frames)


def _causes(error: BaseException, depth: int, skip: str | None) -> tuple[ErrorData, ...]:
    if depth >= DEPTH_MAX:
        return ()
    parts: list[BaseException] = []
    if isinstance(error, BaseExceptionGroup):
        parts.extend(error.exceptions)
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if cause is not None:
        parts.append(cause)
    return tuple(describe(part, depth=depth + 1, skip=skip) for part in parts)
