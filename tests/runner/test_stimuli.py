"""The tables of the machine: each stimulus in each status, legal or not."""

import copy
import itertools
from collections import deque
from collections.abc import Callable
from typing import Any, get_args

import pytest

import treadle as td
from tests.runner.machines import Desk
from treadle.errors import TreadleBug
from treadle.runner import stimuli as say
from treadle.runner.machine import Machine
from treadle.runner.stimuli import ANSWERS, FINAL, TRANSITIONS, Instruction, Stimulus

STIMULI: tuple[type, ...] = get_args(Stimulus)
INSTRUCTIONS: tuple[type, ...] = get_args(Instruction)


def run_of_two(**options: Any) -> Desk:
    """A machine that has not begun, for two steps in a row."""
    workflow = td.workflow("two").add(td.step(lambda v: v, name="a"))
    return Desk(workflow.add(td.step(lambda v: v, name="b"), to="a"), **options)


def brought_to(status: str) -> Desk:
    """A machine in a status: with an input open, a bundle out and a deadline ahead, if that can be."""
    d = run_of_two(deadline_at=100.0)
    if status == say.NEW:
        return d
    d.begin()
    d.submit(1, deadline_at=50.0, key="k")
    d.submit(2)
    if status == say.IDLE:
        d.finish(1, 2)
        d.finish(3, 4)
    elif status == say.STOPPING:
        d.stop()
    elif status == say.STOPPED:
        d.stop(now=True)
    elif status in (say.CANCELLING, say.CANCELLED):
        d.cancel_run()
    if status == say.CANCELLED:
        d.give_up(1)
        d.give_up(2)
    return d


ALIVE = [say.NEW, say.RUNNING, say.IDLE, say.STOPPING, say.CANCELLING]
STATUSES = [*ALIVE, say.STOPPED, say.CANCELLED]


def drive_of(d: Desk) -> Any:
    """What a drive would tell now."""
    workflow, drive = d.machine.workflow.advance(held=frozenset(), budget=1)
    return say.Drove(workflow, drive, 1.0)


MAKE: dict[type, Callable[[Desk], Any]] = {
    say.Begin: lambda d: say.Begin(1.0),
    say.Submit: lambda d: say.Submit(request=9, value=3, at=1.0),
    say.Signal: lambda d: say.Signal(request=9, name="ok", payload=True, at=1.0),
    say.Change: lambda d: say.Change(request=9, change=lambda w: w, at=1.0),
    say.CancelInput: lambda d: say.CancelInput(request=9, input=0, at=1.0),
    say.CancelRun: lambda d: say.CancelRun(request=9, at=1.0),
    say.Stop: lambda d: say.Stop(request=9, at=1.0),
    say.Began: lambda d: say.Began(1, 1.0),
    say.Finished: lambda d: say.Finished(((1, d.outcomes(1) if 1 in d.out else []),), 1.0),
    say.Drove: drive_of,
    say.Stored: lambda d: say.Stored(d.length, 1.0),
    say.Woke: lambda d: say.Woke(60.0),
}


def seen(machine: Machine) -> dict[str, Any]:
    """All that a machine knows, its containers copied."""
    containers = (list, dict, set, deque)
    return {
        name: copy.copy(value) if isinstance(value, containers) else value
        for name, value in vars(machine).items()
    }


PAIRS = list(itertools.product(STATUSES, STIMULI))


def name_of(value: Any) -> str:
    """For the names of tests."""
    return value if isinstance(value, str) else value.__name__


@pytest.mark.parametrize(("status", "kind"), PAIRS, ids=name_of)
def test_each_stimulus_in_each_status(status: str, kind: type):
    """A legal one leads to a status that the table allows; an illegal one raises, and nothing has happened."""
    d = brought_to(status)
    machine = d.machine
    assert machine.status == status
    stimulus = MAKE[kind](d)
    before = seen(machine)
    if (status, kind) in TRANSITIONS:
        machine.handle(stimulus)
        assert machine.status in TRANSITIONS[status, kind]
        return
    with pytest.raises(TreadleBug, match=f"a run that is {status} cannot take {kind.__name__}"):
        machine.handle(stimulus)
    assert seen(machine) == before


@pytest.mark.parametrize("status", [say.STOPPED, say.CANCELLED])
@pytest.mark.parametrize("kind", STIMULI, ids=name_of)
def test_after_the_end_nothing_happens(status: str, kind: type):
    """A request gets one reply; whatever comes late changes neither the workflow nor what is known of it."""
    d = brought_to(status)
    machine = d.machine
    if (status, kind) not in TRANSITIONS:
        return
    stimulus = MAKE[kind](d)
    position, before = machine.workflow.position, seen(machine)
    told = machine.handle(stimulus)
    after = seen(machine)

    requests = [each.request for each in told if isinstance(each, say.Reply)]
    assert requests == ([9] if hasattr(stimulus, "request") else [])
    assert len(told) == len(requests)
    assert machine.workflow.position == position
    changed = {name for name in before if before[name] != after[name]}
    assert changed <= {"told", "rows", "count", "late", "came", "woken_at"}


def test_the_table_speaks_of_each_stimulus():
    """None was forgotten, and the machine has a way to handle each that is legal somewhere."""
    assert {kind for _, kind in TRANSITIONS} == set(STIMULI)
    assert {status for status, _ in TRANSITIONS} == set(STATUSES)
    assert set(MAKE) == set(STIMULI)


def test_whoever_ends_stays_at_the_end():
    """No stimulus leads out of a final status, and one way or another each other status leads to one."""
    following: dict[str, set[str]] = {}
    for (status, _), after in TRANSITIONS.items():
        following.setdefault(status, set()).update(after)
    for end in (say.STOPPED, say.CANCELLED):
        assert following[end] == {end}
    for status in ALIVE:
        reached = {status}
        while not reached >= (more := {each for one in reached for each in following[one]}):
            reached |= more
        assert reached & FINAL


def test_each_instruction_has_its_answer():
    """Of those that are answered, each by another stimulus than the rest; and none is a request's stimulus."""
    assert set(ANSWERS) == set(INSTRUCTIONS)
    answering = [stimulus for stimuli in ANSWERS.values() for stimulus in stimuli]
    assert len(answering) == len(set(answering))
    asking = {kind for kind in STIMULI if "request" in getattr(kind, "__struct_fields__", ())}
    assert set(STIMULI) - set(answering) == asking | {say.Begin, say.Began}


def test_the_loop_performs_each_instruction():
    """What a machine may ask for, the loop can do."""
    from treadle.runner import loop

    assert set(loop._PERFORM) == set(INSTRUCTIONS)
    assert all(callable(perform) for perform in loop._PERFORM.values())


@pytest.mark.parametrize("kind", [*STIMULI, *INSTRUCTIONS], ids=name_of)
def test_each_says_what_it_is_for(kind: type):
    """Stimuli and instructions are frozen data with a sentence of their own."""
    assert kind.__doc__
    assert kind.__struct_config__.frozen  # type: ignore[attr-defined]
