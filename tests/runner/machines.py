"""A machine on the desk: told by hand, its instructions as lines of text, and its work done when a test says so."""

import itertools
from collections.abc import Iterable, Mapping
from typing import Any

import treadle as td
from treadle.engine.jobs import cancelled_bundle, execute_bundle
from treadle.model.bundles import Bundle
from treadle.model.events import Baseline
from treadle.model.runnables import Outcome
from treadle.policies.matching import Policies, policies_from
from treadle.runner import stimuli as say
from treadle.runner.machine import Machine
from treadle.runner.out import Config
from treadle.runner.wishes import ASYNCIO, INLINE, Places, Wishes

CAPACITIES: dict[str, int | None] = {INLINE: None, ASYNCIO: None, "threads": 4, "cluster": 8}


def places(
    default: str = "threads", keepers: Iterable[str] = (), remote: Iterable[str] = ()
) -> Places:
    """The executors of a runner, as a machine knows them."""
    return Places(default, dict(CAPACITIES), frozenset(keepers), frozenset(remote))


def wishes(
    workflow: Any, policies: Any = None, *, are_seen: bool = False, at: Places | None = None
) -> Wishes:
    """What is wished of each node of a workflow."""
    with workflow.inspect() as (memory, _):
        program = memory.program
    rules = policies_from(policies)
    return Wishes(workflow.name, program, rules, at or places(), are_seen=are_seen)


def machine_of(
    workflow: Any,
    policies: Any = None,
    *,
    default: str = "threads",
    keepers: Iterable[str] = (),
    are_seen: bool = False,
    numbers: Any = None,
    stored: int = 0,
    adopted: Mapping[int, Bundle] | None = None,
    **config: Any,
) -> Machine:
    """A machine as a supervisor makes one."""
    of_run = policies_from(policies)

    def wishes_for(changed: Any, own: Policies | None) -> Wishes:
        merged = of_run if own is None else own.over(of_run)
        return wishes(changed, merged, are_seen=are_seen, at=places(default, keepers))

    return Machine(
        workflow,
        wishes_for(workflow, None),
        Config(**config),
        itertools.count(1) if numbers is None else numbers,
        wishes_for=wishes_for,
        stored=stored,
        adopted=adopted,
    )


class Desk:
    """A machine, its clock, and what it has given out.

    Each method tells it one thing and gives the lines of what it says to that.
    """

    def __init__(self, workflow: Any, policies: Any = None, **options: Any) -> None:
        self.template = workflow.with_run_key("desk") if not workflow.position else workflow
        self.policies, self.options = policies, options
        self.numbers = itertools.count(1)
        self.machine = machine_of(self.template, policies, numbers=self.numbers, **options)
        self.now = 0.0
        self.requests = itertools.count(1)
        self.out: dict[int, Bundle] = {}
        """What was given out and not answered."""
        self.events: list[Any] = []
        """What a store holds."""
        self.length = 0
        self.marks: list[bytes] = []
        """The attempts of which it knows that they must not begin twice."""
        self.wake_at: float | None = None
        """When, by what it knows, there is something to do."""

    def tell(self, stimulus: Any) -> list[str]:
        """Tell it something; what it says to that, a line each."""
        told = self.machine.handle(stimulus)
        for instruction in told:
            if isinstance(instruction, say.Execute):
                self.out[instruction.number] = instruction.bundle
            elif isinstance(instruction, say.Store):
                self.keep(instruction)
        return [line(instruction) for instruction in told if type(instruction) is not say.Rests]

    def keep(self, order: say.Store) -> None:
        """Store events as a store does."""
        self.marks += order.intents
        if order.events and isinstance(order.events[0], Baseline):
            self.events.clear()
        self.events += order.events
        self.length, self.wake_at = order.position, order.wake_at

    def begin(self) -> list[str]:
        """Begin."""
        return self.tell(say.Begin(self.now))

    def submit(self, value: Any, policies: Any = None, **more: Any) -> list[str]:
        """Feed an input."""
        own = None if policies is None else policies_from(policies)
        request = next(self.requests)
        return self.tell(
            say.Submit(request=request, value=value, at=self.now, policies=own, **more)
        )

    def signal(self, name: str, payload: Any) -> list[str]:
        """Answer a wait."""
        request = next(self.requests)
        return self.tell(say.Signal(request=request, name=name, payload=payload, at=self.now))

    def change(self, change: Any) -> list[str]:
        """Edit the graph."""
        return self.tell(say.Change(request=next(self.requests), change=change, at=self.now))

    def cancel(self, input: int, reason: str = "") -> list[str]:
        """Cancel an input."""
        request = next(self.requests)
        return self.tell(say.CancelInput(request=request, input=input, at=self.now, reason=reason))

    def cancel_run(self, reason: str = "") -> list[str]:
        """Cancel the run."""
        request = next(self.requests)
        return self.tell(say.CancelRun(request=request, at=self.now, reason=reason))

    def stop(self, *, now: bool = False) -> list[str]:
        """Stop the run."""
        return self.tell(say.Stop(request=next(self.requests), at=self.now, now=now))

    def began(self, number: int) -> list[str]:
        """A bundle begins."""
        return self.tell(say.Began(number, self.now))

    def outcomes(self, number: int, seconds: float = 0.0) -> list[Outcome]:
        """Execute a bundle that is out; each of its functions takes so long."""
        times = itertools.count(0.0, seconds)
        return execute_bundle(self.out.pop(number), lambda: next(times))

    def finish(self, *numbers: int, seconds: float = 0.0) -> list[str]:
        """Execute bundles that are out, and give all their outcomes back together."""
        bundles = tuple([(number, self.outcomes(number, seconds)) for number in numbers])
        return self.tell(say.Finished(bundles, self.now))

    def give_up(self, number: int, how: str = "stopped") -> list[str]:
        """Answer a bundle as an executor does that was told to cancel it."""
        bundle = self.out.pop(number)
        return self.tell(say.Finished(((number, cancelled_bundle(bundle, how)),), self.now))

    def drive(self, budget: int = 1000) -> list[str]:
        """Do work in line, as the latest `DriveOn` asks."""
        held, tries, limit = self.machine.in_line()
        workflow, drive = self.machine.workflow.advance(
            held=held, tries=tries, budget=budget, limit=limit
        )
        return self.tell(say.Drove(workflow, drive, self.now))

    def stored(self, position: int) -> list[str]:
        """The store has come so far."""
        return self.tell(say.Stored(position, self.now))

    def woke(self, at: float) -> list[str]:
        """The moment has come."""
        self.now = at
        return self.tell(say.Woke(at))

    def restart(self) -> None:
        """The machine is lost; another is made of what is stored and what is out."""
        self.machine = machine_of(
            td.Workflow.from_log(self.template, self.events),
            self.policies,
            numbers=self.numbers,
            stored=self.length,
            adopted=dict(self.out),
            **self.options,
        )


def same(value: Any) -> Any:
    """What most steps do."""
    return value


def boom(value: Any) -> Any:
    """What failing steps do."""
    raise ValueError(value)


def line_of(*names: str, function: Any = same) -> td.Workflow:
    """A workflow of steps in a row."""
    workflow, above = td.workflow("line"), None
    for name in names:
        workflow, above = workflow.add(td.step(function, name=name), to=above), name
    return workflow


def side_by_side(*names: str) -> td.Workflow:
    """A workflow of steps that all take the input."""
    workflow = td.workflow("wide")
    for name in names:
        workflow = workflow.add(td.step(same, name=name))
    return workflow


def desk(workflow: Any, policies: Any = None, **options: Any) -> Desk:
    """A machine that has begun."""
    made = Desk(workflow, policies, **options)
    made.begin()
    return made


class Together:
    """A scheduler that makes one bundle of all it is given."""

    def plan(self, ready: Any, view: Any) -> list[Bundle]:
        """All in one."""
        return [Bundle(runnables=tuple(ready))]

    def observe(self, outcome: Any) -> None:
        """Learns nothing."""


def line(told: Any) -> str:
    """An instruction in words."""
    return _WORDS[type(told)](told)


def _execute(told: say.Execute) -> str:
    bundle, terms = told.bundle, told.terms
    first = bundle.runnables[0]
    work = " + ".join(each.id for each in bundle.runnables)
    words = [f"execute {told.number}: {work}"]
    words += [f"> {link.node}" for link in bundle.links]
    words += [f"attempt {first.attempt}"] if first.attempt > 1 else []
    words += ["(fallback)"] if first.is_fallback else []
    words.append(f"on {terms.executor}")
    words += [f"rank {terms.rank}"] if terms.rank else []
    words += [f"under {key}={count}" for key, count in terms.limits]
    words += [f"under {key}={rate.count}/{rate.per_s}s" for key, rate in terms.rates]
    words += [f"under {key}" for key, _ in terms.breakers]
    words += ["keeping"] if bundle.keep else []
    words += ["telling"] if told.tell else []
    return " ".join(words)


def _store(told: say.Store) -> str:
    names = ", ".join(type(event).__name__ for event in told.events)
    return f"store {told.expected} to {told.position}: {names}"


def _reply(told: say.Reply) -> str:
    answer = repr(told.value) if told.error is None else type(told.error).__name__
    return f"reply {told.request}: {answer}"


def _finished(told: say.InputFinished) -> str:
    why = "" if told.reason is None else f": {told.reason}"
    return f"input {told.input} finished{why}"


def _became(told: say.Became) -> str:
    return f"became {told.status}" + ("" if told.note is None else f": {told.note}")


def _tell(told: say.Tell) -> str:
    then = f", {told.then}" if told.then else ""
    return f"tell: {told.outcome.id} attempt {told.outcome.attempt} {told.outcome.status}{then}"


_WORDS: dict[type, Any] = {
    say.Execute: _execute,
    say.Withdraw: lambda told: f"withdraw {told.number}",
    say.DriveOn: lambda _: "drive on",
    say.Store: _store,
    say.WakeAt: lambda told: f"wake at {told.at:g}",
    say.Reply: _reply,
    say.InputFinished: _finished,
    say.Became: _became,
    say.Rests: lambda _told: "rests",
    say.Ambiguous: lambda told: f"ambiguous: {told.runnable.id}",
    say.Tell: _tell,
    say.Accepted: lambda told: f"accepted {told.input}",
    say.Warn: lambda told: f"warn: {told.text}",
}
