"""What a marker read for the first attempt is what every later attempt sees, also after a rebuild from the log."""

from typing import Any

import treadle as td


def add(total: int, number: int) -> int:
    """Fold a number into a total."""
    return total + number


def source(number: int) -> int:
    """Give the number on."""
    return number


def reader(seen: list[Any], failures: int) -> Any:
    """Give a step that notes what its markers said, and fails so many times."""

    def read(
        number: int,
        *,
        count: int = td.count("source"),
        latest: int = td.latest("source"),
        total: int = td.state_of("total"),
    ) -> Any:
        seen.append((count, latest, total))
        if len(seen) <= failures:
            raise ConnectionError("not yet")
        return seen[-1]

    return td.step(read)


def advance(workflow: td.Workflow) -> td.Workflow:
    """Execute what is ready; what fails is to be tried again."""
    workflow, runnables = workflow.prepare_for_dispatch()
    for runnable in runnables:
        outcome = td.execute_runnable(runnable)
        workflow = workflow.apply_runnable(outcome, retry=not outcome.is_ok)
    return workflow


def test_a_later_attempt_after_a_rebuild_sees_what_the_first_saw() -> None:
    """The history has moved on when the second attempt is prepared, and it must not notice."""
    seen: list[Any] = []
    template = (
        td.workflow("w")
        .add(source)
        .add(td.accumulator(add, initial=0, name="total"), to="source")
        .add(reader(seen, failures=2), to="source")
    )
    workflow = advance(advance(template.plan_eagerly(1)))
    workflow = advance(workflow.plan_eagerly(2))
    rebuilt = td.Workflow.from_log(template, list(workflow.log()))

    assert rebuilt == workflow

    done = advance(rebuilt).react_until_satisfied()

    assert seen[0] == seen[1] == seen[2] == (1, 1, 0)
    assert done.results("read", input=0) == {"read": (1, 1, 0)}
    assert td.Workflow.from_log(template, done.log()) == done


def test_a_baseline_keeps_what_was_read() -> None:
    """Folding the past away must not let a later attempt read anew."""
    seen: list[Any] = []
    template = (
        td.workflow("w", retain=0)
        .add(source)
        .add(td.accumulator(add, initial=0, name="total"), to="source")
        .add(reader(seen, failures=1), to="source")
    )
    workflow = advance(advance(template.plan_eagerly(1)))
    for number in range(200):  # enough to be worth folding
        workflow = workflow.plan_eagerly(number)
        workflow, runnables = workflow.prepare_for_dispatch()
        while runnables:
            for runnable in runnables:
                if (runnable.node, runnable.scope) == ("read", (0,)):
                    continue
                workflow = workflow.apply_runnable(td.execute_runnable(runnable))
            workflow, runnables = workflow.prepare_for_dispatch()
    first = seen[0]
    rebuilt = td.Workflow.from_log(template, list(workflow.log()))
    _, (again,) = rebuilt.prepare_for_dispatch()

    assert type(workflow.log()[0]).__name__ == "Baseline"
    assert (again.attempt, again.scope) == (2, (0,))
    assert tuple((again.injected or {}).values()) == first
