"""DOT: exact text, a grammar for every line, and Graphviz itself where it is installed."""

import re
import shutil
import subprocess
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

import treadle as td
from tests.render.hostile import NASTY, inputs, workflows
from tests.render.orders import ORDER, nested_workflow, order_workflow, same
from treadle.errors import UsageError
from treadle.render.dot import SHAPES, quoted

QUOTED = r'"(?:[^"\\&\n]|\\["\\nr]|&amp;)*"'
COLOUR = r'"#[0-9a-f]{6}"'
COLOURS = f"fillcolor={COLOUR}, color={COLOUR}, fontcolor={COLOUR}"
SHAPE = rf"(?:circle|oval|{'|'.join(sorted(set(SHAPES.values())))})"
GRAMMAR = [
    rf"digraph {QUOTED} \{{",
    r"    rankdir=(?:TB|BT|LR|RL);",
    r'    (?:node|edge) \[fontname="sans-serif"[^\[\]]*\];',
    rf" +subgraph {QUOTED} \{{",
    rf' +label={QUOTED}; fontname="sans-serif";',
    rf" +color={COLOUR}; style=rounded;",
    rf" +{QUOTED} \[label={QUOTED}, shape={SHAPE}, {COLOURS}\];",
    rf"    {QUOTED} -> {QUOTED}(?: \[label=\"(?:error|state|condition)\", style=dashed\])?;",
    r" *\}",
]

with_graphviz = pytest.mark.skipif(
    shutil.which("dot") is None, reason="Graphviz (the program `dot`) is not installed"
)


def strays(text: str) -> list[str]:
    """Give the lines that no rule of the grammar matches."""
    return [
        line for line in text.split("\n") if not any(re.fullmatch(rule, line) for rule in GRAMMAR)
    ]


def drawn_by_graphviz(text: str) -> tuple[list[str], list[str], int]:
    """Give the labels of nodes and boxes, and the number of edges, of the picture that Graphviz makes."""
    svg = subprocess.run(
        ["dot", "-Tsvg"], input=text, capture_output=True, text=True, check=True, timeout=60
    ).stdout
    labels: dict[str, list[str]] = {"node": [], "cluster": [], "edge": [], "graph": []}
    for group in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}g"):
        texts = [each.text or "" for each in group.findall("{http://www.w3.org/2000/svg}text")]
        labels[group.attrib["class"]].append("\n".join(texts).replace("\xa0", " "))
    return labels["node"], labels["cluster"], len(labels["edge"])


def test_order_workflow() -> None:
    """The whole text of a picture: ids are the names, outputs are green."""
    assert order_workflow().to_dot() == (
        'digraph "order_fulfillment" {\n'
        "    rankdir=TB;\n"
        '    node [fontname="sans-serif", style=filled];\n'
        '    edge [fontname="sans-serif", fontsize=10, color="#94a3b8", fontcolor="#94a3b8"];\n'
        '    "INPUT" [label="root", shape=circle, '
        'fillcolor="#1e293b", color="#94a3b8", fontcolor="#f8fafc"];\n'
        '    "validate_order" [label="validate_order", shape=diamond, '
        'fillcolor="#1e293b", color="#f59e0b", fontcolor="#fbbf24"];\n'
        '    "check_inventory" [label="check_inventory", shape=box, '
        'fillcolor="#1e293b", color="#3b82f6", fontcolor="#60a5fa"];\n'
        '    "screen_fraud" [label="screen_fraud", shape=box, '
        'fillcolor="#1e293b", color="#3b82f6", fontcolor="#60a5fa"];\n'
        '    "estimate_shipping" [label="estimate_shipping", shape=box, '
        'fillcolor="#1e293b", color="#3b82f6", fontcolor="#60a5fa"];\n'
        '    "decide_fulfillment" [label="decide_fulfillment", shape=box, '
        'fillcolor="#1e293b", color="#10b981", fontcolor="#34d399"];\n'
        '    "INPUT" -> "validate_order";\n'
        '    "validate_order" -> "check_inventory";\n'
        '    "validate_order" -> "screen_fraud";\n'
        '    "validate_order" -> "estimate_shipping";\n'
        '    "check_inventory" -> "decide_fulfillment";\n'
        '    "screen_fraud" -> "decide_fulfillment";\n'
        '    "estimate_shipping" -> "decide_fulfillment";\n'
        "}"
    )


def test_state_shows_as_colours_and_counts() -> None:
    """A component that is done says so, and is filled."""
    drawn = order_workflow().react_until_satisfied(ORDER).to_dot(direction="LR", state=True)

    assert "    rankdir=LR;\n" in drawn
    assert '"screen_fraud" [label="screen_fraud\\n1 done", shape=box, fillcolor="#064e3b"' in drawn


def test_boxes_nest_and_errors_are_dashed() -> None:
    """Fan-outs and sub-workflows are clusters; what is no value is dashed and named."""
    drawn = nested_workflow().to_dot()

    assert '    subgraph "cluster fan-out/rows" {\n        label="each item of rows";' in drawn
    assert '        subgraph "cluster fan-out/cells" {\n            label="each item of' in drawn
    assert '    "check" -> "handle" [label="error", style=dashed];' in drawn
    assert '    "seen" -> "report" [label="state", style=dashed];' in drawn


@given(workflows(), inputs)
def test_hostile_names_stay_inside(workflow: Any, value: Any) -> None:
    """Every line is one of the grammar's, and each name is there once as a node."""
    for drawn in (
        workflow.to_dot(),
        workflow.react_until_satisfied(value).to_dot(direction="RL", state=True),
    ):
        assert strays(drawn) == []
        assert drawn.count("{\n") == len(re.findall(r"^ *\}$", drawn, re.MULTILINE))
        for name in workflow.components():
            assert drawn.count(f" {quoted(name)} [label={quoted(name)[:-1]}") == 1


@given(st.text(), st.text())
def test_different_texts_stay_different(one: str, other: str) -> None:
    """Escaping loses nothing."""
    assert re.fullmatch(QUOTED, quoted(one))
    assert (quoted(one) == quoted(other)) == (one == other)


@with_graphviz
def test_graphviz_shows_every_nasty_name() -> None:
    """Graphviz reads back each name as it was given, and draws each edge and box."""
    workflow = td.workflow("-> {", steps=[td.map(same, name='map"\\')])
    for name in NASTY:
        workflow = workflow.add(td.step(same, name=name), to='map"\\')
    inner = td.workflow('sub "]', steps=[td.step(same, name='"')])
    workflow = workflow.add(inner)
    labels, boxes, edges = drawn_by_graphviz(workflow.to_dot())

    assert sorted(labels) == sorted(["root", *workflow.components()])
    assert sorted(boxes) == ['each item of map"\\', 'sub "]']
    assert edges == len(NASTY) + 2


@with_graphviz
def test_graphviz_shows_state_and_nested_boxes() -> None:
    """Counts are a second line; a box in a box is read as such."""
    done = nested_workflow().react_until_satisfied([[1, 0], [2]])
    labels, boxes, edges = drawn_by_graphviz(done.to_dot(state=True))

    assert "check\n2 done, 1 failed" in labels
    assert sorted(boxes) == ["each item of cells", "each item of rows", "sub"]
    assert edges == len(done.to_edgelist())


def test_wrong_directions_are_refused() -> None:
    """A direction that Graphviz does not have is refused with the list of those it has."""
    with pytest.raises(UsageError, match="'TB', 'BT', 'LR', 'RL'"):
        order_workflow().to_dot(direction="TD")
