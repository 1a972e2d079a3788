"""What a loop needs around it: somebody who lets it run, and somebody for what concerns runs as a whole."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from treadle.interfaces import Append
from treadle.runner import stimuli as say
from treadle.runner.record import Run


class Host(Protocol):
    """Who lets the loop run: each method asks for a call of `pump`."""

    is_direct: bool
    """Whether the loop may also be pumped by an executor that answers in the loop's own thread."""

    def wake(self) -> None:
        """Soon; called in the loop's own thread."""

    def wake_from_elsewhere(self) -> None:
        """Soon; called in any other thread."""

    def wake_at(self, at: float | None) -> None:
        """At this moment, and no more at the one asked for before."""

    @property
    def is_armed(self) -> bool:
        """Whether that moment is still to come."""
        ...

    def is_interrupt(self, error: BaseException) -> bool:
        """Whether this concerns the whole program, and not only the run that it was raised in."""
        ...


class Overseer(Protocol):
    """What the loop leaves to others: what concerns a run as a whole."""

    def crashed(self, run: Run, error: BaseException, stimulus: say.Stimulus | None) -> None:
        """Something was raised while a run's machine was handled."""

    def missed(self, run: Run, stimulus: say.Stimulus) -> None:
        """A run that crashed, and waits for the store, would have been told this."""

    def input_finished(self, run: Run, input: int, reason: str | None) -> None:
        """Nothing is left to do for an input."""

    def became(self, run: Run, status: str, note: str | None) -> None:
        """A run is idle, or at its end."""

    def park(self, run: Run, reason: str, error: BaseException | None) -> None:
        """Give a run up, with the evidence, until somebody resumes it."""

    def rests(self, run: Run) -> None:
        """Nothing can be done for a run now, though inputs are open."""

    def recalled_replies(self, run: Run, replies: tuple[say.Told, ...]) -> tuple[say.Told, ...]:
        """What is told to those who left messages, also of what a snapshot left out."""
        ...

    def epoch_of(self, run: Run) -> int:
        """Under which claim a run is written to."""
        ...

    def write(self, run: Run, append: Append, order: say.Store) -> None:
        """Have events stored by a store that takes its time."""

    def call(self, function: Callable[[], None], /) -> None:
        """Call this in the loop's thread, soon."""
