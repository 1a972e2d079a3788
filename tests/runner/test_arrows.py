"""Each arrow of the table of transitions is taken, and no other: situations, each told all that it may be told."""

from collections.abc import Callable
from typing import Any

import treadle as td
from tests.runner.machines import Desk, boom, desk, line_of, same, side_by_side
from treadle.runner import stimuli as say
from treadle.runner.stimuli import TRANSITIONS

DEADLINE = 100.0
"""When each run here is to be over."""

Arrow = tuple[str, type, str]

TELL: dict[str, Callable[[Desk], Any]] = {
    "begin": lambda d: say.Begin(d.now),
    "submit": lambda d: say.Submit(request=9, value=3, at=d.now),
    "signal": lambda d: say.Signal(request=9, name="ok", payload=True, at=d.now),
    "change nothing": lambda d: say.Change(request=9, change=same, at=d.now),
    "add a step": lambda d: say.Change(
        request=9, change=lambda w: w.add(td.step(same, name="new"), backfill=True), at=d.now
    ),
    "cancel an input": lambda d: say.CancelInput(request=9, input=0, at=d.now),
    "cancel the run": lambda d: say.CancelRun(request=9, at=d.now),
    "stop": lambda d: say.Stop(request=9, at=d.now),
    "stop now": lambda d: say.Stop(request=9, at=d.now, now=True),
    "one began": lambda d: say.Began(1, d.now),
    "one came": lambda d: finished(d, sorted(d.out)[:1]),
    "all came": lambda d: finished(d, sorted(d.out)),
    "drove": lambda d: drove(d),
    "stored": lambda d: say.Stored(d.length, d.now),
    "woke early": lambda d: say.Woke(DEADLINE - 1),
    "woke late": lambda d: say.Woke(DEADLINE + 1),
}


def finished(d: Desk, numbers: list[int]) -> say.Finished:
    """Bundles come back; where none is out, one that nobody waits for any more."""
    return say.Finished(
        tuple((number, d.outcomes(number)) for number in numbers) or ((0, []),), 1.0
    )


def drove(d: Desk) -> say.Drove:
    """What was to be executed in line is done; where nothing was, that of a machine that was lost."""
    held, tries, limit = d.machine.in_line()
    workflow, drive = d.machine.workflow.advance(held=held, tries=tries, budget=9, limit=limit)
    return say.Drove(workflow, drive, 1.0)


# ------------------------------------------------------------------------------------ situations


def new() -> Desk:
    """Nothing has happened."""
    return Desk(line_of("a"))


def new_of_a_log() -> Desk:
    """A machine was lost, and the next has not begun."""
    d = out_for_two()
    d.restart()
    return d


def out_for_one(**options: Any) -> Desk:
    """One input, and its only step is out."""
    d = desk(line_of("a"), deadline_at=DEADLINE, **options)
    d.submit(1)
    return d


def out_for_two() -> Desk:
    """Two steps are out, each for an input of its own, and a third input would be too many."""
    d = out_for_one(max_open=2)
    d.submit(2)
    return d


def delayed() -> Desk:
    """Nothing is out: the only step failed, and waits for its second attempt."""
    policy = td.Policy(max_retries=1, base_delay_s=500.0, max_delay_s=500.0, backoff="linear")
    d = desk(line_of("a", function=boom), {"a": policy}, deadline_at=DEADLINE)
    d.submit(1)
    d.finish(1)
    return d


class Late:
    """A hook that keeps a fallback back when it is offered for the first time."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self, ready: list[Any]) -> list[Any]:
        """Give all but a new fallback."""
        self.times += any(each.is_fallback for each in ready)
        return [each for each in ready if not each.is_fallback or self.times > 1]


def fallback_is_kept_back(**options: Any) -> Desk:
    """Whatever it is told next, the fallback is offered again, and its value finishes the only input."""
    d = desk(
        line_of("a", function=boom),
        {"a": td.Policy(fallback=0)},
        transform=Late(),
        max_open=1,
        deadline_at=DEADLINE,
        **options,
    )
    d.submit(1)
    return d


def fallback_is_kept() -> Desk:
    """The work failed, and what it falls back on is kept back."""
    d = fallback_is_kept_back()
    d.finish(1)
    return d


def fallback_is_kept_while_storing() -> Desk:
    """The same, and what led to it is not stored yet."""
    d = fallback_is_kept_back(is_instant=False)
    d.stored(d.length)
    d.finish(1)
    return d


def driving(steps: tuple[str, ...] = ("a",)) -> Desk:
    """Work is to be executed in line."""
    d = desk(side_by_side(*steps), {"b": td.Policy(executor="threads")}, default="inline")
    d.submit(1)
    return d


def driving_beside() -> Desk:
    """Work is to be executed in line, and other work is out."""
    d = driving(("a", "b"))
    d.drive()
    d.submit(2)
    return d


def storing() -> Desk:
    """An input is being stored, and nothing was given out."""
    d = desk(line_of("a"), is_instant=False)
    d.submit(1)
    return d


def storing_beside() -> Desk:
    """One input is being stored, and work of another is out."""
    d = storing()
    d.stored(d.length)
    d.submit(2)
    return d


def idle() -> Desk:
    """All is finished."""
    d = out_for_one()
    d.finish(1)
    return d


def idle_with_one_out() -> Desk:
    """All inputs are finished, one of them by being cancelled: its work is out still."""
    d = out_for_one()
    d.cancel(0)
    return d


def idle_under_a_rule() -> Desk:
    """No input sets anything off."""
    rule = td.rule(same, name="large", condition=lambda value: value > 9)
    return desk(td.workflow("rules").add(rule))


def all_but_stored() -> Desk:
    """The run was cancelled, and what was out came back; that is being stored."""
    d = storing()
    d.stored(d.length)
    d.cancel_run()
    d.stored(d.length)
    d.give_up(1)
    return d


OPEN = [
    *(out_for_one, out_for_two, delayed, fallback_is_kept, fallback_is_kept_while_storing),
    *(driving, driving_beside, storing, storing_beside, idle, idle_with_one_out),
]


def then(situation: Callable[[], Desk], ended: Callable[[Desk], Any]) -> Callable[[], Desk]:
    """A situation, and somebody ends the run."""

    def made() -> Desk:
        d = situation()
        ended(d)
        return d

    return made


SITUATIONS: list[Callable[[], Desk]] = [
    *(new, new_of_a_log, *OPEN, idle_under_a_rule, all_but_stored),
    *(then(each, Desk.stop) for each in OPEN),
    *(then(each, Desk.cancel_run) for each in OPEN),
]


def arrows_taken() -> set[Arrow]:
    """Tell each situation all that is legal in it; which arrows that took."""
    taken: set[Arrow] = set()
    for situation in SITUATIONS:
        for make in TELL.values():
            machine = (d := situation()).machine
            before, stimulus = machine.status, make(d)
            if (before, type(stimulus)) in TRANSITIONS:
                machine.handle(stimulus)
                taken.add((before, type(stimulus), machine.status))
    return taken


def test_each_arrow_is_taken_and_no_other():
    """What the table allows can happen: none of its arrows is there for caution's sake."""
    allowed = {
        (before, kind, after) for (before, kind), row in TRANSITIONS.items() for after in row
    }

    assert arrows_taken() == allowed
