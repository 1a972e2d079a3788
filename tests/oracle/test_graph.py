"""Graphs: what is refused, what is drawn, and the real workflow that is made of one."""

from typing import Any, Self

import pytest
from hypothesis import given, settings

from tests.oracle.graph import Graph, Node, build, faults
from tests.oracle.interpreter import run
from tests.oracle.shorthand import node, step
from tests.oracle.strategies import graphs


@pytest.mark.parametrize(
    "nodes",
    [
        (node("map", "m"), node("map", "n"), step("j", "m", "n")),
        (step("a"), step("a")),
        (step("a", "b"),),
        (step("a"), step("b"), step("c", "a", "b", ports=3)),
        (node("map", "m"), node("collect", "c", "m", over="x")),
        (node("map", "m"), step("j", "m", "INPUT", correlate="latest")),
    ],
)
def test_what_the_contract_refuses_is_refused(nodes: tuple[Node, ...]):
    """S16, S18, S28: places that are no prefixes of one another, names, ports, `over=`."""
    assert faults(Graph(nodes))
    with pytest.raises(ValueError, match="not a graph"):
        run(Graph(nodes), [])


class Recorder:
    """Stands in for the library: writes down what is called, and gives it back as a tuple."""

    def __init__(self) -> None:
        """Nothing was called yet."""
        self.INPUT, self.ABSENT = "the input", object()
        self.added: list[Any] = []

    def __getattr__(self, kind: str) -> Any:
        """Any constructor."""
        return lambda *args, **options: (kind, args, options)

    def workflow(self, name: str) -> Self:
        """A workflow that is the recorder itself."""
        return self

    def add(self, component: Any, **wiring: Any) -> Self:
        """Writes down what was added."""
        self.added.append((component[0], wiring))
        return self


def test_build_speaks_the_public_api():
    """The real workflow is made by the names the contract fixes."""
    graph = Graph(
        (
            step("a", on_failure="skip"),
            node("map", "m", "INPUT", "a"),
            step("j", "m", "!a", join="settled"),
            node("collect", "c", "j", over="m"),
            step("l", "a", "c", correlate="latest"),
        )
    )
    td = Recorder()
    build(graph, td)
    assert td.added == [
        ("step", {"to": "the input"}),
        ("map", {"to": ["the input", "a"]}),
        ("step", {"to": ["m", ("error_of", ("a",), {})], "join": "settled"}),
        ("collect", {"to": "j"}),
        ("step", {"to": ["a", "c"], "correlate": "latest"}),
    ]


@pytest.mark.slow
@settings(max_examples=100)
@given(graphs())
def test_every_drawn_graph_is_valid(graph: Graph):
    """The strategies draw only what the contract gives a meaning, and all of it can be built."""
    assert 1 <= len(graph.nodes) <= 8
    assert len(build(graph, Recorder()).added) == len(graph.nodes)
