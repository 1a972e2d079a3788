"""Waits against the reference interpreter: for it a wait is a step, which somebody outside happens to take."""

from dataclasses import replace
from typing import Any

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import treadle as td
from tests.engine.test_against_oracle import (
    conditions_of,
    halts_beside_correlation,
    has_join_of_its_own,
)
from tests.oracle.compare import run_engine
from tests.oracle.graph import WAIT, Graph, build, faults
from tests.oracle.interpreter import run
from tests.oracle.orders import Follow
from tests.oracle.strategies import CONFLUENT, cases

relaxed = settings(
    max_examples=200,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@st.composite
def waiting(draw: Any, /, **wanted: Any) -> Any:
    """A graph in which people do the work of some steps."""
    graph, inputs, order = draw(cases(**wanted))
    for position, node in enumerate(graph.nodes):
        wait = replace(node, kind=WAIT)
        nodes = (*graph.nodes[:position], wait, *graph.nodes[position + 1 :])
        if node.kind == "step" and not faults(Graph(nodes)) and draw(st.booleans()):
            graph = Graph(nodes)
    assume(any(node.kind == WAIT for node in graph.nodes))
    return graph, inputs, order


@relaxed
@given(case=waiting(**CONFLUENT))
def test_any_order_of_signals_gives_what_the_oracle_gives(case: Any):
    """S10, S19, S21, S25: whoever answers, whenever, the facts and failures are those of steps."""
    graph, inputs, order = case
    engine = run_engine(
        build(graph, td), inputs, order, leave_out=conditions_of(graph), waits_of=graph
    )

    assert run(graph, inputs) == engine


@relaxed
@given(case=waiting())
def test_the_same_order_of_signals_gives_what_the_oracle_gives(case: Any):
    """Nodes that depend on order, too: the oracle follows the engine step by step."""
    graph, inputs, order = case
    assume(not any(has_join_of_its_own(node) for node in graph.nodes))
    assume(not halts_beside_correlation(graph))
    trace: list[Any] = []
    engine = run_engine(
        build(graph, td),
        inputs,
        order,
        leave_out=conditions_of(graph),
        trace=trace,
        waits_of=graph,
    )

    oracle = run(graph, inputs, Follow(tuple(trace)))
    if any(node.on_failure == "halt" for node in graph.nodes):
        engine, oracle = replace(engine, starved=set()), replace(oracle, starved=set())

    assert oracle == engine
