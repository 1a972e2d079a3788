"""Slow planning: conditions and key functions are asked in the loop's own thread, and hold up all runs.

Nothing is timed while planning is quick. The first time that it is not, all who may be meant are named, and from then
on each answer of this graph is timed, so that the next time the right one is.
"""

from __future__ import annotations

import logging
from time import perf_counter
from typing import Any, Final

from treadle.engine.plan import Stopwatch
from treadle.model.one_line import one_line
from treadle.model.program import Program
from treadle.runner.record import Run
from treadle.value import Workflow

logger = logging.getLogger("treadle.runner")

SLOW_S: Final = 0.1
"""Whoever takes longer to plan what came is warned about: conditions are to be quick."""

NAMED: Final = 8
"""No more names than that are listed."""


def warn_of_slowness(
    run: Run, workflow: Workflow, begin: float, *, is_in_line: bool = False
) -> None:
    """Say who made planning take so long since `begin`; where work is done in line, it may have been that work."""
    seconds = perf_counter() - begin
    with workflow.inspect() as (memory, _):
        program = memory.program
    watch: Stopwatch | None = program.stopwatch
    if watch is not None:
        taken = watch.seconds_since(begin)
        for component, took in taken.items():
            if took > SLOW_S / 2:
                name = repr(component)
                say(run, took, f"the condition or key function of {name}", component=component)
        return
    asked = asked_in(program)
    if not asked:  # so much work became ready at once that it took its time: nobody's mistake
        return
    program.stopwatch = Stopwatch(perf_counter)
    if not is_in_line:
        names = ", ".join(map(repr, asked[:NAMED]))
        say(run, seconds, f"planning, which asks {names} (next time the slow one is named),")


def say(run: Run, seconds: float, who: str, **fields: Any) -> None:
    """Warn of somebody."""
    logger.warning(
        "run %s: %s took %.2f s, and held up every run of this runner",
        run.id,
        one_line(who),
        seconds,
        extra={"run_id": run.id, "seconds": seconds, **fields},
    )


def asked_in(program: Program) -> list[str]:
    """The components that planning asks something."""
    return sorted(
        {
            node.component
            for node in program.by_key.values()
            if node.code.key_of is not None or (node.code.atoms and node.kind == "gate")
        }
    )
