"""Workflows whose ready work comes in many shapes, for kits: chains, joins, fan-outs, rules, states, and wishes.

Their bodies take time on a clock of their own, so a run that lasts a minute is over at once. What they give does not
depend on the order of work, except where a scenario says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from random import Random
from typing import Any, Final

from msgspec import Struct

from treadle.components import fan_out
from treadle.components.accumulator import accumulator
from treadle.components.component import Component
from treadle.components.condition import condition
from treadle.components.fan_in import collect, reduce
from treadle.components.fitting import error_of
from treadle.components.rule import rule
from treadle.components.step import step
from treadle.engine.chains import chain_links
from treadle.model.bundles import Link
from treadle.model.definition import Definition
from treadle.model.markers import attempt
from treadle.model.program import Node
from treadle.model.runnables import Runnable
from treadle.model.sentinels import ABSENT
from treadle.policies.matching import NO_POLICIES, Policies, Subject, policies_from
from treadle.policies.policy import CircuitBreaker, Limit, Policy, RateLimit
from treadle.value import Workflow

QUICK_S: Final = 0.00001
MEDIUM_S: Final = 0.001
SLOW_S: Final = 0.5

NO_LIMIT: Final = 1_000_000_000
"""How a view says that an executor takes as many bundles as come."""

APART: Final = (
    Policy(timeout_s=1.0),
    Policy(deadline_s=60.0),
    Policy(max_concurrency=Limit(2)),
    Policy(rate_limit=RateLimit(10)),
    Policy(circuit_breaker=CircuitBreaker()),
)
"""Policies that ask something of each single attempt, so that its work can share no slot."""


class HandClock:
    """A clock that goes on only when somebody moves it."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        """The time."""
        return self.now_s


class Scenario(Struct, frozen=True, kw_only=True):
    """A workflow, its inputs, and what is wished of it. `slots`: how many bundles an executor with a limit takes.

    `unordered`: components whose facts depend on the order of work. `retries`: after how many failed attempts of a
    piece of work another follows.
    """

    name: str
    workflow: Workflow
    inputs: Sequence[Any]
    policies: Policies = NO_POLICIES
    slots: int = 4
    unordered: frozenset[str] = frozenset()
    retries: int = 0


class GraphView:
    """What a scheduler may ask, answered from a scenario: async work goes to `asyncio`, all other to `threads`."""

    def __init__(self, scenario: Scenario) -> None:
        self.policies = scenario.policies
        self.slots = scenario.slots
        with scenario.workflow.inspect() as (memory, _):
            self.program = memory.program

    def chain_after(self, runnable: Runnable) -> tuple[Link, ...]:
        """The steps that may be bundled behind a runnable; none behind a later attempt."""
        if runnable.attempt > 1 or not self.may_bundle(runnable):
            return ()
        here = self.executor_of(runnable)

        def may_follow(node: Node) -> bool:
            return self.shares(node) and self.executor_for(node) == here

        return chain_links(self.program, runnable.node, may_follow)

    def may_bundle(self, runnable: Runnable) -> bool:
        """Whether it may share a slot."""
        return self.shares(self.program.by_key[runnable.node])

    def policy_of(self, runnable: Runnable) -> Policy:
        """The policy of its component."""
        return self.policy_for(self.program.by_key[runnable.node])

    def executor_of(self, runnable: Runnable) -> str:
        """Where it would go."""
        return self.executor_for(self.program.by_key[runnable.node])

    def capacity_of(self, executor: str) -> int:
        """How many bundles it takes at once."""
        return NO_LIMIT if executor == "asyncio" else self.slots

    def policy_for(self, node: Node) -> Policy:
        """The policy of a node's component."""
        lowered = self.program.components[node.component]
        return self.policies.find(
            Subject(node.component, lowered.kind, node.part, lowered.component)
        )

    def shares(self, node: Node) -> bool:
        """Whether nothing is asked of the single attempts of a node."""
        return self.policy_for(node).is_plain

    def executor_for(self, node: Node) -> str:
        """Where a node's work would go."""
        usual = "asyncio" if node.is_async else "threads"
        return self.policy_for(node).executor or usual


class Bodies:
    """Makes steps that let time pass, and give their name and what they were given, so that nothing is mistaken."""

    def __init__(self, clock: HandClock) -> None:
        self.clock = clock

    def told(self, name: str, seconds: float, *values: Any) -> list[Any]:
        """What the body of a step does."""
        self.clock.now_s += seconds
        return [name, *values]

    def step(self, name: str, seconds: float = QUICK_S) -> Component[Any, Any]:
        """A step of one port."""
        return step(lambda value: self.told(name, seconds, value), name=name)

    def join(self, name: str, seconds: float = QUICK_S) -> Component[Any, Any]:
        """A step of two ports."""
        return step(lambda left, right: self.told(name, seconds, left, right), name=name)

    def each(self, name: str, seconds: float = QUICK_S) -> Component[Any, Any]:
        """A fan-out."""
        return fan_out.map(lambda item: self.told(name, seconds, item), name=name)

    def awaited(self, name: str, seconds: float = MEDIUM_S) -> Component[Any, Any]:
        """An async step that never waits, so that whoever drives it by hand is done at once."""

        async def body(value: Any) -> Any:
            return self.told(name, seconds, value)

        return step(body, name=name)

    def uneven(self, name: str, *, fails: int, skips: int) -> Component[Any, Any]:
        """A step that fails for every so many-th value, and gives ABSENT for every so many-th."""

        def body(value: Any) -> Any:
            number = len(repr(value)) + sum(repr(value).encode())
            if number % fails == 0:
                raise ValueError(f"{name} cannot take {value}")
            return ABSENT if number % skips == 0 else self.told(name, MEDIUM_S, value)

        return step(body, name=name)

    def counted(self, name: str) -> Component[Any, Any]:
        """A step that is told which attempt it is."""

        def body(value: Any, number: int = attempt()) -> Any:
            return self.told(name, QUICK_S, value, number)

        return step(body, name=name)

    def second_try(self, name: str) -> Component[Any, Any]:
        """A step whose first attempt fails."""

        def body(value: Any, number: int = attempt()) -> Any:
            if number == 1:
                raise ConnectionError(f"{name} was not there")
            return self.told(name, MEDIUM_S, value)

        return step(body, name=name)


def workflow_of(name: str, *parts: tuple[Any, Any]) -> Workflow:
    """A workflow of components and their parents (None: the raw input)."""
    made = Workflow(Definition(name, "all", [], 0))
    for component, to in parts:
        made = made.add(component, to=to)
    return made


def line(bodies: Bodies) -> Scenario:
    """A line of steps, all of which may follow one another."""
    names = ["one", "two", "three", "four"]
    parts = [
        (bodies.step(name, seconds), above)
        for name, seconds, above in zip(
            names, (QUICK_S, MEDIUM_S, SLOW_S, QUICK_S), [None, *names], strict=False
        )
    ]
    return Scenario(name="a line", workflow=workflow_of("line", *parts), inputs=range(6))


def joins(bodies: Bodies) -> Scenario:
    """Branches that meet: chains must end before the join."""
    made = workflow_of(
        "joins",
        (bodies.step("top"), None),
        (bodies.step("left", MEDIUM_S), "top"),
        (bodies.step("left_again"), "left"),
        (bodies.step("right", SLOW_S), "top"),
        (bodies.join("both"), ["left_again", "right"]),
        (bodies.step("last"), "both"),
    )
    made = made.add(bodies.step("any_of_them"), to=["left_again", "right"], join="any")
    unordered = frozenset({"any_of_them"})
    return Scenario(name="joins", workflow=made, inputs=range(5), unordered=unordered)


def items(bodies: Bodies) -> Scenario:
    """Fan-outs: many facts of one node at once, with a chain inside each item."""
    made = workflow_of(
        "items",
        (bodies.each("each"), None),
        (bodies.step("tidy"), "each"),
        (bodies.step("score", MEDIUM_S), "tidy"),
        (collect(name="all"), "score"),
        (bodies.step("after", SLOW_S), "all"),
        (reduce(lambda total, _: total + 1, initial=0, name="count"), "tidy"),
    )
    inputs = [list(range(count)) for count in (3, 40, 0, 1, 40, 9)]
    return Scenario(name="a fan-out", workflow=made, inputs=inputs)


def uneven_items(bodies: Bodies) -> Scenario:
    """Items that fail and items that give ABSENT, a handler, and a fan-out inside a fan-out."""
    made = workflow_of(
        "uneven",
        (bodies.each("row"), None),
        (bodies.uneven("may_fail", fails=5, skips=7), "row"),
        (bodies.step("handler"), error_of("may_fail")),
        (bodies.step("goes_on"), "may_fail"),
        (collect(name="rows", on_item_failure="skip"), "goes_on"),
        (fan_out.map(lambda row: [*row], name="cell"), "goes_on"),
        (bodies.step("look"), "cell"),
        (collect(name="cells", on_item_failure="collect"), "look"),
    )
    inputs = [list(range(start, start + 12)) for start in (0, 20, 300)]
    return Scenario(name="items that fail", workflow=made, inputs=inputs, slots=2)


def waiting(bodies: Bodies) -> Scenario:
    """Async steps beside plain ones, alone and in items."""
    made = workflow_of(
        "waiting",
        (bodies.step("ask"), None),
        (bodies.awaited("answer"), "ask"),
        (bodies.awaited("again", QUICK_S), "answer"),
        (bodies.step("read"), "again"),
        (bodies.each("word"), "read"),
        (bodies.awaited("look_up", SLOW_S), "word"),
        (bodies.awaited("spell", QUICK_S), "look_up"),
        (collect(name="words"), "spell"),
    )
    return Scenario(name="async steps", workflow=made, inputs=range(5))


def places(bodies: Bodies) -> Scenario:
    """Components that go to several executors, in one chain and in one fan-out."""
    made = workflow_of(
        "places",
        (bodies.each("each"), None),
        (bodies.step("here"), "each"),
        (bodies.step("there"), "here"),
        (bodies.step("there_too"), "there"),
        (bodies.step("back"), "there_too"),
        (collect(name="all"), "back"),
    )
    rules = {"there*": Policy(executor="processes"), "back": Policy(priority="high")}
    inputs = [list(range(count)) for count in (8, 17, 30)]
    return Scenario(
        name="several executors", workflow=made, inputs=inputs, policies=policies_from(rules)
    )


def apart(bodies: Bodies) -> Scenario:
    """Components whose policies forbid that they share a slot, in a chain and in a fan-out."""
    made = workflow_of("apart", (bodies.each("each"), None), (bodies.step("quick"), None))
    above, items_above = "quick", "each"
    rules: dict[str, Policy] = {"each": APART[0]}
    for number, policy in enumerate(APART):
        below, item = f"apart{number}", f"item{number}"
        made = made.add(bodies.step(f"{below}_next"), to=above).add(
            bodies.step(below), to=f"{below}_next"
        )
        made = made.add(bodies.step(item), to=items_above)
        rules[below] = rules[item] = policy
        above, items_above = below, item
    inputs = [list(range(count)) for count in (6, 12, 6)]
    return Scenario(
        name="policies that keep apart", workflow=made, inputs=inputs, policies=policies_from(rules)
    )


def rules_and_states(bodies: Bodies) -> Scenario:
    """What is planned, folded, settled or read by a marker can follow nobody; its work is ready like any other."""
    total = accumulator(lambda total, value: total + value, initial=0, name="total")
    per_rest = accumulator(lambda n, _: n + 1, initial=0, name="per_rest", key=lambda n: n % 2)
    made = workflow_of(
        "rules",
        (step(lambda value: value * 2, name="double"), None),
        (total, "double"),
        (per_rest, "double"),
        (bodies.step("below_total"), "total"),
        (condition(lambda value: value % 3 == 0, name="by_three"), "double"),
        (bodies.step("threes"), "by_three"),
        (rule(name="checked", condition=bool, reaction=str, dispatch=True), "double"),
        (bodies.counted("counted"), "double"),
        (bodies.step("plain"), "counted"),
    )
    made = made.add(bodies.join("settled"), to=["threes", "plain"], join="settled")
    unordered = frozenset({"total", "per_rest", "below_total"})
    return Scenario(
        name="rules and states", workflow=made, inputs=range(12), unordered=unordered, slots=1
    )


def tried_again(bodies: Bodies) -> Scenario:
    """Work whose first attempt fails: its second one is ready under the same id."""
    made = workflow_of(
        "again",
        (bodies.each("each"), None),
        (bodies.second_try("flaky"), "each"),
        (bodies.step("then"), "flaky"),
        (collect(name="all"), "then"),
    )
    inputs = [list(range(count)) for count in (5, 12)]
    return Scenario(name="later attempts", workflow=made, inputs=inputs, retries=1)


def ranks(bodies: Bodies) -> Scenario:
    """Work of several priorities, ready at once."""
    levels = {"low": -10, "normal": 0, "high": 10, "critical": 20, "own": 7}
    parts = [(bodies.step(name), None) for name in levels]
    below = [(bodies.step(f"{name}_next"), name) for name in levels]
    rules = {name: Policy(priority=rank) for name, rank in levels.items()}
    return Scenario(
        name="priorities",
        workflow=workflow_of("ranks", *parts, *below),
        inputs=range(8),
        policies=policies_from(rules),
        slots=3,
    )


WISHES: Final = (*[Policy()] * 8, *APART, Policy(executor="processes"), Policy(priority="high"))


def grown(bodies: Bodies, random: Random, number: int) -> Scenario:
    """A graph grown at random: steps below steps, joins, fan-outs that are gathered again; with wishes at random."""
    made = workflow_of("grown", (bodies.step("s0"), None))
    names = ["s0"]
    for index in range(1, random.randint(4, 12)):
        name, seconds = f"s{index}", random.choice((QUICK_S, MEDIUM_S, SLOW_S))
        kind = random.choice(("step", "step", "step", "join", "items", "awaited"))
        above = random.choice(names[-3:])
        other = random.choice(names)
        if kind == "join" and other != above:
            made = made.add(bodies.join(name, seconds), to=[above, other])
        elif kind == "items":
            made = made.add(fan_out.map(lambda value: value, name=f"{name}_each"), to=above)
            made = made.add(bodies.step(f"{name}_item", seconds), to=f"{name}_each")
            made = made.add(collect(name=name), to=f"{name}_item")
        elif kind == "awaited":
            made = made.add(bodies.awaited(name, seconds), to=above)
        else:
            made = made.add(bodies.step(name, seconds), to=above)
        names.append(name)
    rules = {name: random.choice(WISHES) for name in names}
    return Scenario(
        name=f"random graph {number}",
        workflow=made,
        inputs=range(random.randint(1, 5)),
        policies=policies_from(rules),
        slots=random.choice((1, 3, 64)),
    )


NAMED: Final[tuple[Callable[[Bodies], Scenario], ...]] = (
    line,
    joins,
    items,
    uneven_items,
    waiting,
    places,
    apart,
    rules_and_states,
    tried_again,
    ranks,
)


def scenarios(clock: HandClock, random: Random, graphs: int) -> Iterable[Scenario]:
    """All scenarios, and so many graphs grown at random."""
    bodies = Bodies(clock)
    for make in NAMED:
        yield make(bodies)
    for number in range(graphs):
        yield grown(bodies, random, number)
