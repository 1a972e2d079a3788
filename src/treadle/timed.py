"""Time and people: what ends a wait from outside. A bare workflow has no clock, so its caller says what time it is."""

from __future__ import annotations

import math
from typing import Any, Self

from treadle.driven import Driven
from treadle.engine.answers import key_text, signal_for
from treadle.engine.execute import ODD_TYPES, odd_value
from treadle.engine.prepare import missing_function
from treadle.engine.waits import next_due, waits_in_order
from treadle.errors import BadValue, StillWaiting, UnknownComponent, UsageError, nearest
from treadle.handle import NOTHING
from treadle.model import nodes as kinds
from treadle.model.nodes import Lowered
from treadle.model.sentinels import ABSENT


class Timed(Driven):
    """A handle to which signals come, and for which time passes."""

    __slots__ = ()

    def signal(
        self,
        name: Any,
        payload: Any = None,
        key: str | int | None = None,
        *,
        at: float | None = None,
    ) -> Self:
        """Answer a `wait_for`, by its name and key: the payload is what it gives.

        Without a key it is for the only one that waits. With a key several may have, it is for the one that has waited
        longest. If nobody waits for it yet, it is kept in the log, and answers the first wait of its name and key that
        opens (without a key, of its name). A payload that is data is converted to the component's `schema`.

        Errors: `AmbiguousSignal` if there is no key and several wait; `BadValue` if the payload does not fit the
        schema; `UnknownComponent` if there is no `wait_for` of this name. Nothing is recorded then.
        """
        waiting = self._awaited(name)
        value = fitted(waiting, payload)
        wanted = None if key is None else key_of(key)
        check_time(at)
        with self._reading() as memory:
            if not memory.unplanned:
                signal_for(
                    memory, waiting.name, value, wanted, at
                )  # refused before anything is changed
        if self._at is None:
            return self._begun().signal(name, payload, key, at=at)
        return self._driven(
            NOTHING, None, at, lambda drive: drive.signal(waiting.name, value, wanted)
        )

    def _begun(self) -> Self:
        """This template as a run of its own, in which nothing has happened yet."""
        tape, _, memory = self._claim()
        return self._commit(tape, memory, ())

    def _awaited(self, name: Any) -> Lowered:
        """The `wait_for` that a signal is named after."""
        wanted = getattr(name, "name", name)
        with self._program() as program:
            names = [
                each for each in program.components if program.output_of(each).kind == kinds.WAIT
            ]
            if isinstance(wanted, str) and wanted in names:
                return program.components[wanted]
        raise UnknownComponent(
            f"{self.name!r} has no wait_for named {wanted!r}.{nearest(wanted, names)}",
            hint="a signal is named after the component that waits for it.",
        )

    def tick(self, at: float) -> Self:
        """Say what time it is: every wait whose moment has come by `at` ends, in the order of the moments.

        A `sleep` gives what it slept on; a `wait_for` takes its timeout path, or gives its default, or fails. The
        clock of a wait that was opened when nobody told the time begins now. What that makes ready is for the caller to
        do.
        """
        check_time(at, needed=True)
        return self._driven(NOTHING, None, at, lambda drive: drive.pass_time(at))

    def next_due(self) -> float | None:
        """The moment at which the first of all waits ends; None if none has one (or no clock has begun)."""
        if self._at is None:
            return None
        with self._reading() as memory:
            return next_due(memory)

    def waiting(self, *, input: int | None = None) -> list[dict[str, Any]]:
        """What waits, in the order of opening, for a signal (`"wait_for"`) or a moment (`"sleep"`).

        Each entry: `name`, `key`, `kind`, `scope`, `input`, `value` (what came to it), `since`, `timeout_s`, `due_at`,
        the JSON Schema of what answers it (`schema`), and that as a form to be filled in (`form`, a `td.Form` as data).
        What is unknown is None.
        """
        from treadle.views import waits

        return waits.waiting(self, input)

    def refuse_waiting(self, number: int | None) -> None:
        """Say so if an input waits for something."""
        with self._reading() as memory:
            names = [
                unit.node.component
                for unit in waits_in_order(memory)
                if unit.scope.root.number == number
            ]
        if names:
            raise StillWaiting(
                f"input {number} of {self.name!r} is not finished: "
                f"{', '.join(map(repr, dict.fromkeys(names)))} waits.",
                hint="react_until_satisfied returns the workflow with its waits; answer them by signal(), or let "
                "time pass by tick().",
            )


def fitted(waiting: Lowered, payload: Any) -> Any:
    """A payload as the component that waits for it takes it."""
    if waiting.component is None:
        raise missing_function(waiting.name)
    if payload is ABSENT or type(payload) in ODD_TYPES:
        raise BadValue(
            f"a signal for {waiting.name!r} carries a value, and not {payload!r:.80}."
        ) from (None if payload is ABSENT else odd_value(payload))
    return waiting.component.take(waiting.name, payload)


def key_of(key: Any) -> str:
    """The key of a signal."""
    try:
        return key_text(key)
    except BadValue as error:
        raise UsageError(error.message) from None


def check_time(at: Any, *, needed: bool = False) -> None:
    """A time is a number of seconds."""
    if at is None and not needed:
        return
    if not isinstance(at, (int, float)) or isinstance(at, bool) or not math.isfinite(at):
        raise UsageError(
            f"at={at!r:.80} is no time.",
            hint="it is a number of seconds, such as time.time() gives.",
        )
