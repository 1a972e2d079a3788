"""Inputs that come by messages, at the machine: who left them is told with what is stored."""

from typing import Any

import treadle as td
from tests.runner.machines import machine_of
from treadle.engine.jobs import execute_bundle
from treadle.errors import Overloaded, RunEnded, UsageError
from treadle.runner import stimuli as say
from treadle.runner.ends import End
from treadle.runner.machine import Machine

DONE = End({"abs": 1})


def flow() -> td.Workflow:
    """One step."""
    return td.workflow("w").add(td.step(abs))


def submit(machine: Machine, request: int, **fields: Any) -> list[Any]:
    """An input by a message."""
    stimulus = say.Submit(
        request=request, value=-1, at=1.0, message=f"m{request}", **{"key": "k", **fields}
    )
    return machine.handle(stimulus)


def begun(workflow: td.Workflow | None = None, **config: Any) -> Machine:
    """A machine that has begun."""
    machine = machine_of(workflow or flow(), **config)
    machine.handle(say.Begin(0.0))
    return machine


def stored(told: list[Any]) -> say.Store:
    """The one order to store something."""
    (order,) = [each for each in told if isinstance(each, say.Store)]
    return order


def finish(machine: Machine, told: list[Any]) -> list[Any]:
    """Do the work that was ordered."""
    (order,) = [each for each in told if isinstance(each, say.Execute)]
    outcomes = execute_bundle(order.bundle, lambda: 0.0)
    return machine.handle(say.Finished(((order.number, outcomes),), 2.0))


def test_the_number_goes_with_the_input_and_the_end_with_the_outcome():
    """In the very order that takes the message, and in the one that has the last event."""
    machine = begun()
    told = submit(machine, 1)

    order = stored(told)
    assert (order.consumed, order.replies) == (("m1",), (say.Told("m1", 0),))
    assert len(order.events) > 1
    order = stored(finish(machine, told))
    assert order.replies == (say.Told("m1", 0, DONE),)
    assert order.events
    assert not machine.senders
    assert not machine.replies


def test_a_second_message_of_a_key_is_the_first_input():
    """While that is open, both are told of its end; later, the second is told at once."""
    machine = begun()
    first = submit(machine, 1)
    order = stored(submit(machine, 2))
    assert (order.consumed, order.events) == (("m2",), ())
    assert order.replies == (say.Told("m2", 0),)

    ends = stored(finish(machine, first)).replies
    assert ends == (say.Told("m1", 0, DONE), say.Told("m2", 0, DONE))
    order = stored(submit(machine, 3))
    assert (order.consumed, order.replies) == (("m3",), (say.Told("m3", 0, DONE),))


def test_who_is_refused_is_told_why():
    """The message is taken, so it does not come again."""
    machine = begun(max_open=1)
    submit(machine, 1)
    order = stored(submit(machine, 2, key="other"))
    assert order.consumed == ("m2",)
    (told,) = order.replies
    assert (told.message, told.input, type(told.error)) == ("m2", None, Overloaded)

    machine.handle(say.Stop(request=9, at=1.0))
    (told,) = stored(submit(machine, 3)).replies
    assert isinstance(told.error, RunEnded)


def test_who_waited_before_is_told_by_the_next_machine():
    """Of what is open, when it ends; of what had ended and was never told, at once."""
    first = begun()
    told = submit(first, 1)
    machine = machine_of(first.workflow.detached(), stored=first.position, owing={"m1": 0, "m0": 0})
    told = machine.handle(say.Begin(3.0))
    assert not [each for each in told if isinstance(each, say.Store)]  # the store has the number
    order = stored(finish(machine, told))
    assert {each.message for each in order.replies if each.end} == {"m0", "m1"}

    late = machine_of(
        machine.workflow.detached(), stored=machine.position, owing={"m1": 0, "m0": 0}
    )
    order = stored(late.handle(say.Begin(4.0)))
    assert order.replies == (
        say.Told("m1", 0, DONE),
        say.Told("m0", 0, DONE),
    )


def test_a_machine_that_is_made_again_knows_who_waits():
    """What was granted and not ordered yet is told by the new one, where its log has it."""
    old = begun()
    told = submit(old, 1)
    machine = machine_of(
        old.workflow.detached(),
        stored=old.position,
        adopted={each.number: each.bundle for each in told if isinstance(each, say.Execute)},
    )
    machine.take_over(old)
    machine.handle(say.Begin(3.0))
    assert machine.senders == {0: ("m1",)}

    finish(old, told)
    again = machine_of(old.workflow.detached(), stored=old.position)
    old.replies = {
        "m1": say.Told("m1", 0, DONE),
        "m2": say.Told("m2", 1, DONE),
        "m3": say.Told("m3", error=UsageError("no.")),
    }
    again.take_over(old)
    assert list(again.replies) == ["m1"]


def test_an_input_is_withdrawn_by_its_key():
    """As its sender does, who may not know its number; a key that is not remembered is refused."""
    machine = begun()
    submit(machine, 1)
    told = machine.handle(say.CancelInput(request=2, input=None, key="k", at=2.0, message="c"))
    order = stored(told)
    assert order.consumed == ("c",)
    assert order.replies == (say.Told("m1", 0, End({}, None, "asked for")),)
    told = machine.handle(say.CancelInput(request=3, input=None, key="unheard of", at=2.0))
    (reply,) = [each for each in told if isinstance(each, say.Reply)]
    assert isinstance(reply.error, UsageError)


def test_what_came_is_told_as_it_was_when_the_input_ended():
    """While the store is busy the machine goes on, and may forget it."""
    forgetful = td.workflow("w", retain=0).add(td.step(abs))
    machine = begun(forgetful, is_instant=False)
    order = stored(submit(machine, 1))
    first = machine.handle(say.Stored(order.position, 1.0))
    order = stored(submit(machine, 2, key="other"))
    assert not [each for each in finish(machine, first) if isinstance(each, say.Store)]
    second = machine.handle(say.Stored(order.position, 2.0))
    machine.handle(say.Stored(stored(second).position, 3.0))
    told = {each.message: each for each in stored(second).replies}
    assert told["m1"].end == DONE
