"""The order workflow of the guide, as the pictures' tests draw it."""

from typing import Any

import treadle as td

ORDER = {"items": ["book"], "customer_id": "c1"}


def order_workflow() -> Any:
    """Give a rule, three independent steps, and a step that joins them."""
    rule = td.rule(
        name="validate_order",
        condition=td.match(items=list, customer_id=str),
        reaction=lambda order: order,
    )
    return (
        td.workflow("order_fulfillment", rules=[rule])
        .add(td.step(lambda order: "in_stock", name="check_inventory"), to="validate_order")
        .add(td.step(lambda order: "low", name="screen_fraud"), to="validate_order")
        .add(td.step(lambda order: 3, name="estimate_shipping"), to="validate_order")
        .add(
            td.step(lambda inventory, fraud, days: {"days": days}, name="decide_fulfillment"),
            to=["check_inventory", "screen_fraud", "estimate_shipping"],
        )
    )


def nested_workflow() -> Any:
    """Give a map in a map, a failure with its handler, a sub-workflow, and a reader of a state."""
    inner = td.workflow("sub", steps=[(td.step(same, name="first"), [td.step(same, name="last")])])
    return (
        td.workflow("nested")
        .add(td.map(same, name="rows"))
        .add(td.map(same, name="cells"), to="rows")
        .add(td.step(positive, name="check"), to="cells")
        .add(td.step(str, name="handle"), to=td.error_of("check"))
        .add(td.collect(name="row", on_item_failure="skip"), to="check")
        .add(td.collect(name="table"), to="row")
        .add(td.accumulator(lambda total, _: total + 1, initial=0, name="seen"), to="table")
        .add(td.condition(bool, name="filled"), to="table")
        .add(inner, to="filled")
        .add(td.rule(name="report", condition="filled", reaction=counting), to="table")
    )


def counting(table: Any, *, seen: int = td.state_of("seen")) -> Any:
    """Give the table's length, and how many were seen before."""
    return len(table), seen


def same(value: Any) -> Any:
    """Give back what came."""
    return value


def positive(value: int) -> int:
    """Refuse what is not above zero."""
    if value <= 0:
        raise ValueError(f"{value} is too small")
    return value
