"""The guide's order workflow with slow checks, and a picture of what ran when: for the demos beside this file."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import treadle as td

SMALL_ORDER = {"customer_id": "cust-456", "items": ["widget"]}
LARGE_ORDER = {"customer_id": "cust-789", "items": ["widget", "gadget", "sprocket"]}

CHART_WIDTH = 56


class Chart:
    """When each body ran: one row a body, one `#` for each moment that it was at work."""

    def __init__(self) -> None:
        self._rows: list[tuple[float, float, str]] = []
        self._lock = threading.Lock()
        self._begin = time.perf_counter()

    @contextmanager
    def row(self, name: str, customer: str) -> Iterator[None]:
        """Measure a body; bodies may run in any thread."""
        started = time.perf_counter() - self._begin
        try:
            yield
        finally:
            ended = time.perf_counter() - self._begin
            with self._lock:
                self._rows.append((started, ended, f"{customer:<14}{name:<19}"))

    def show(self, title: str) -> None:
        """Print the rows in the order in which the bodies began."""
        end = max(ended for _, ended, _ in self._rows)
        scale = CHART_WIDTH / end
        print(f"{title}: {end * 1000:.0f} ms")
        for started, ended, name in sorted(self._rows):
            left = min(int(started * scale), CHART_WIDTH - 1)
            marks = "#" * max(1, round((ended - started) * scale))
            print(f"  {name}|{' ' * left}{marks:<{CHART_WIDTH - left}}|")
        print()


def order_fulfillment(chart: Chart) -> td.Workflow:
    """The guide's workflow: validate, check three things side by side, decide. Each item costs time."""

    @td.rule(condition=td.match(items=list, customer_id=str))
    def validate_order(order):
        return order

    @td.step
    def check_inventory(order):
        with chart.row("check_inventory", order["customer_id"]):
            time.sleep(0.04 * len(order["items"]))
            return {"order_id": order["customer_id"], "inventory": "in_stock"}

    @td.step
    def screen_fraud(order):
        with chart.row("screen_fraud", order["customer_id"]):
            time.sleep(0.06 * len(order["items"]))
            return {"order_id": order["customer_id"], "risk": "low"}

    @td.step
    def estimate_shipping(order):
        with chart.row("estimate_shipping", order["customer_id"]):
            time.sleep(0.03 * len(order["items"]))
            return {"order_id": order["customer_id"], "days": 3, "cost": 5.99}

    @td.step
    def decide_fulfillment(inventory, fraud, shipping):
        with chart.row("decide_fulfillment", inventory["order_id"]):
            return {
                "order_id": inventory["order_id"],
                "approved": inventory["inventory"] == "in_stock" and fraud["risk"] == "low",
                "shipping_days": shipping["days"],
                "shipping_cost": shipping["cost"],
            }

    return (
        td.workflow("order_fulfillment", rules=[validate_order])
        .add(check_inventory, to="validate_order")
        .add(screen_fraud, to="validate_order")
        .add(estimate_shipping, to="validate_order")
        .add(decide_fulfillment, to=["check_inventory", "screen_fraud", "estimate_shipping"])
    )
