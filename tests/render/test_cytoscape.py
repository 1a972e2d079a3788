"""Cytoscape elements and the edge list."""

import json
import re
from typing import Any

from hypothesis import given

import treadle as td
from tests.render.hostile import inputs, workflows
from tests.render.orders import ORDER, nested_workflow, order_workflow, same


def test_elements_of_a_small_workflow() -> None:
    """Components have their name as id, the root is INPUT, edges name their ends."""
    workflow = td.workflow("w", steps=[(td.step(same, name="a"), [td.map(same, name="b")])])

    assert workflow.to_cytoscape() == [
        {"data": {"id": "INPUT", "label": "root", "kind": "input"}, "classes": "input"},
        {"data": {"id": "a", "label": "a", "kind": "step"}, "classes": "step"},
        {"data": {"id": "b", "label": "b", "kind": "map"}, "classes": "map output"},
        {
            "data": {
                "id": "INPUT/a/value",
                "source": "INPUT",
                "target": "a",
                "kind": "value",
                "label": "",
            },
            "classes": "value",
        },
        {
            "data": {
                "id": "a/b/value",
                "source": "a",
                "target": "b",
                "kind": "value",
                "label": "",
            },
            "classes": "value",
        },
    ]


def test_state_is_data_and_class() -> None:
    """With state, a component says its status and counts, and can be selected by its status."""
    done = order_workflow().react_until_satisfied(ORDER)
    element = by_id(done.to_cytoscape(state=True))["screen_fraud"]

    assert element["classes"] == "step done"
    assert element["data"]["status"] == "done"
    assert element["data"]["counts"]["done"] == 1
    assert element["data"]["label"] == "screen_fraud\n1 done"


def test_boxes_are_compound_nodes() -> None:
    """Fan-outs and sub-workflows are parents, and stand before their children."""
    elements = nested_workflow().to_cytoscape()
    found = by_id(elements)

    assert found["check"]["data"]["parent"] == "fan-out/cells"
    assert found["fan-out/cells"]["data"]["parent"] == "fan-out/rows"
    assert found["sub.first"]["data"]["parent"] == "workflow/sub"
    assert "parent" not in found["table"]["data"]
    assert found["check/handle/error"]["classes"] == "error"
    assert list(found).index("fan-out/rows") < list(found).index("fan-out/cells")


def test_kind_of_a_stranger_is_one_class() -> None:
    """What users call their kinds of components cannot add classes."""

    class Ritual(td.step(same).__class__):  # type: ignore[misc]
        kind = "output failed"

    elements = td.workflow("w", steps=[Ritual(same, name="a"), (same, [Ritual(same, name="b")])])
    found = by_id(elements.to_cytoscape())

    assert found["a"]["classes"] == "output-failed output"


@given(workflows(), inputs)
def test_hostile_names_are_data(workflow: Any, value: Any) -> None:
    """Ids are unique, edges and parents lead somewhere, and all of it is JSON."""
    elements = workflow.react_until_satisfied(value).to_cytoscape(state=True)
    found = by_id(elements)

    assert len(found) == len(elements)
    assert json.loads(json.dumps(elements)) == elements
    for element in elements:
        data = element["data"]
        assert {data.get("parent", "INPUT"), data.get("source", "INPUT")} <= set(found)
        assert data.get("target", "INPUT") in found
        assert re.fullmatch(r"[a-z-]+( [a-z-]+)*", element["classes"])
    assert set(workflow.components()) <= set(found)


def test_edge_list_of_the_order_workflow() -> None:
    """Edges come in the order in which their targets were added."""
    assert order_workflow().to_edgelist() == [
        ("INPUT", "validate_order", "value"),
        ("validate_order", "check_inventory", "value"),
        ("validate_order", "screen_fraud", "value"),
        ("validate_order", "estimate_shipping", "value"),
        ("check_inventory", "decide_fulfillment", "value"),
        ("screen_fraud", "decide_fulfillment", "value"),
        ("estimate_shipping", "decide_fulfillment", "value"),
    ]


def by_id(elements: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Give elements by their ids."""
    return {element["data"]["id"]: element for element in elements}
