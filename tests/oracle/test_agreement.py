"""What must hold of any graph: orders that agree, inputs apart, and a loop the oracle can follow."""

import sys
from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from tests.oracle import interpreter
from tests.oracle.compare import run_engine
from tests.oracle.graph import INPUT, Graph
from tests.oracle.interpreter import Result, run
from tests.oracle.orders import Follow, Order
from tests.oracle.strategies import CONFLUENT, cases, orders
from tests.oracle.world import ABSENT, World, lower

pytestmark = pytest.mark.slow


@settings(max_examples=300)
@given(case=cases(**CONFLUENT), other=orders())
def test_every_order_gives_the_same(case: Any, other: Order):
    """S10: without order-dependent nodes, any order gives the same result, also a lopsided one."""
    graph, inputs, order = case
    result = run(graph, inputs, order)
    assert run(graph, inputs, other) == result
    for each in graph.nodes:
        assert run(graph, inputs, Order(other.draws, each.name)) == result


def facts_of(number: int, result: Result) -> dict[Any, Any]:
    """The facts of one input."""
    return {key: value for key, value in result.facts.items() if key[1][0] == number}


@settings(max_examples=200)
@given(cases(max_inputs=2, joins=("all", "settled", "any", "k"), kinds=CONFLUENT["kinds"]))
def test_no_input_sees_another(case: Any):
    """S4: without nodes whose memory spans inputs, an input has the same facts among other ones."""
    graph, inputs, _ = case
    last = len(inputs) - 1
    together = run(graph, inputs)
    apart = run(graph, [[None, 7]] * last + [inputs[last]])
    assert facts_of(last, together) == facts_of(last, apart)


class FakeWorkflow:
    """Stands in for the real workflow, on the oracle's own means, to try `compare.py` with."""

    def __init__(self, graph: Graph) -> None:
        """Nothing has happened yet."""
        self.world = World(lower(graph), [])

    def possible(self, *verbs: str) -> dict[Any, Any]:
        """What may happen next, of these kinds."""
        actions = interpreter.actions(self.world, interpreter.pass_absent_on(self.world))
        return {action: unit for action, unit in actions.items() if action[0] in verbs}

    def plan_eagerly(self, *values: Any) -> "FakeWorkflow":
        """Accepts an input, if there is one, and evaluates all conditions."""
        for value in values:
            self.world.inputs.append(value)
            interpreter.perform(self.world, ("accept",), None)
        while plans := self.possible("plan"):
            interpreter.perform(self.world, *next(iter(plans.items())))
        return self

    def is_runnable(self) -> bool:
        """Whether there is anything to plan or start."""
        return bool(self.possible("plan", "start"))

    def is_satisfied(self) -> bool:
        """Whether nothing at all is left."""
        return not self.possible("plan", "start", "finish")

    def prepare_for_dispatch(self, limit: int | None = None) -> tuple["FakeWorkflow", list[Any]]:
        """Hands out ready work."""
        self.plan_eagerly()
        ready = list(self.possible("start").items())[:limit]
        for action, unit in ready:
            interpreter.perform(self.world, action, unit)
        return self, [SimpleNamespace(component=action[1], scope=action[2]) for action, _ in ready]

    def apply_runnable(self, runnable: Any) -> "FakeWorkflow":
        """Finishes what was handed out."""
        action = ("finish", runnable.component, runnable.scope)
        interpreter.perform(self.world, action, self.possible("finish")[action])
        return self

    def facts(self) -> list[Any]:
        """All facts; those that are no component's own result are of a part."""
        own = {name for name, part in self.world.parts.items() if part.kind not in ("gate", "fan")}
        return [
            SimpleNamespace(
                component=name, part=None if name in own else "part", scope=scope, value=value
            )
            for (name, scope), value in self.world.facts.items()
        ]

    def failures(self) -> list[Any]:
        """All failures."""
        return self.world.failures

    def starved(self) -> list[Any]:
        """All joins left over."""
        left = interpreter.starved(self.world)
        return [{"component": name, "scope": scope} for name, scope in left]

    def states(self) -> dict[str, Any]:
        """The states, the untouched ones too."""
        kinds = {part.name: part.node for part in self.world.parts.values() if part.kind == "acc"}
        fresh = {name: {None: each.initial} for name, each in kinds.items()}
        return {name: self.world.states.get(name, untouched) for name, untouched in fresh.items()}


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(case=cases())
def test_the_oracle_can_follow_any_run(case: Any, monkeypatch: pytest.MonkeyPatch):
    """A run driven by the public loop, written down and followed, gives the same, races included."""
    fake = SimpleNamespace(execute_runnable=lambda runnable: runnable, ABSENT=ABSENT, INPUT=INPUT)
    monkeypatch.setitem(sys.modules, "treadle", fake)
    graph, inputs, order = case
    trace: list[Any] = []
    result = run_engine(FakeWorkflow(graph), inputs, order, trace=trace)
    assert run(graph, inputs, Follow(tuple(trace))) == result


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(case=cases(**CONFLUENT))
def test_the_loop_gives_what_the_oracle_gives(case: Any, monkeypatch: pytest.MonkeyPatch):
    """Without order-dependent nodes the public loop needs no trace to agree."""
    fake = SimpleNamespace(execute_runnable=lambda runnable: runnable, ABSENT=ABSENT, INPUT=INPUT)
    monkeypatch.setitem(sys.modules, "treadle", fake)
    graph, inputs, order = case
    assert run_engine(FakeWorkflow(graph), inputs, order) == run(graph, inputs)


def shapes(graph: Graph, result: Result) -> set[str]:
    """What is interesting about a run."""
    gave = {name for name, _ in result.facts}
    failed = {name for name, *_ in result.failures}
    found = {f"{each.kind} gave" for each in graph.nodes if each.name in gave}
    found |= {f"{each.kind} failed" for each in graph.nodes if each.name in failed}
    for each in graph.nodes:
        how = each.correlate or ("k" if isinstance(each.join, int) else each.join)
        found |= {f"{how} of many"} if each.name in gave and len(each.to) > 1 else set()
        found |= {"over"} if each.name in gave and each.over else set()
        handles = any(parent.startswith("!") for parent in each.to)
        found |= {"handler"} if each.name in gave and handles else set()
        found |= {f"{each.kind}, {each.on_item_failure}"} if each.name in gave else set()
    found |= {"nested"} if any(len(scope) > 2 for _, scope in result.facts) else set()
    return (
        found
        | ({"starved"} if result.starved else set())
        | ({"states"} if result.states else set())
    )


def test_interesting_shapes_are_drawn():
    """Each shape that matters comes up, and not only drawn: it gives something."""
    seen: Counter[str] = Counter()

    @settings(max_examples=600, derandomize=True, database=None)
    @given(cases())
    def look(case: Any) -> None:
        graph, inputs, order = case
        seen.update(shapes(graph, run(graph, inputs, order)))

    look()
    wanted = {
        *("step gave", "rule gave", "map gave", "reduce gave", "collect gave", "accumulator gave"),
        *("step failed", "condition failed", "map failed", "reduce failed", "accumulator failed"),
        *("all of many", "any of many", "k of many", "settled of many"),
        *("latest of many", "arrival of many", "over", "nested", "handler", "starved", "states"),
        *("collect, collect", "collect, skip", "reduce, collect", "reduce, skip"),
    }
    assert {shape for shape in wanted if seen[shape] < 2} == set(), seen
