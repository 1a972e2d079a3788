"""Order fulfilment: an order is validated, checked by three services side by side, and decided.

    treadle run examples/order_fulfillment.py --inputs examples/orders.jsonl
    python examples/order_fulfillment.py

The first feeds all orders into one workflow, and shows the tree while it runs. The second is a program of one's own:
it keeps a run for each order, and some customers cancel theirs. `killed.py` kills the first in the middle.

Malformed orders are rejected with reasons. The carrier is asked again if it does not answer, and after that a flat
rate is taken. Where the fraud service is down, a rule of thumb decides on small orders; the others fail, each alone,
and are listed. The services are small tables in this file that take their time, so every run gives the same.
"""

import json
import logging
import os
import time
from collections import Counter
from pathlib import Path

import treadle as td

# ------------------------------------------------------------------------------ what an order is

LINE = td.match(sku=str, quantity=td.match(int) & td.ge(1), price=td.ge(0))

ORDER = {
    "order_id": td.regex(r"SO-\d+"),
    "customer_id": str,
    "items": list,
    "ship_to": {"country": str},
    "payment": {"country": str, "attempts": int},
}


def has_sound_lines(order: dict) -> bool:
    """Tell whether there is something to deliver, and every line says what and how much."""
    items = order.get("items")
    return isinstance(items, list) and len(items) > 0 and all(map(LINE.matches, items))


well_formed = td.all_of(td.match(ORDER), has_sound_lines)

validate_order = td.rule(
    name="validate_order",
    condition=well_formed,
    reaction=lambda order: order,
)


@td.rule(condition=td.not_(well_formed))
def reject_order(order):
    """Say what is wrong with an order that nobody can work on."""
    wrong = [name for name, kind in ORDER.items() if not td.match({name: kind}).matches(order)]
    return {
        "order_id": order.get("order_id") if isinstance(order, dict) else None,
        "status": "rejected",
        "reasons": [f"{name} is missing or wrong" for name in wrong] or ["items has a wrong line"],
    }


# ---------------------------------------------------------------------------- the three services

STOCK = {
    "TEA-ASSAM-250": 400,
    "TEA-EARL-GREY-250": 380,
    "TEA-SENCHA-100": 150,
    "TEA-ROOIBOS-250": 90,
    "TEA-CHAI-250": 0,
    "COF-ETHIOPIA-1000": 220,
    "COF-HOUSE-1000": 500,
    "COF-DECAF-500": 3,
    "MUG-STONE-BLUE": 64,
    "MUG-STONE-GREY": 0,
    "POT-GLASS-1200": 25,
    "POT-CAST-IRON-800": 4,
    "KETTLE-GOOSENECK": 12,
    "GRINDER-HAND": 18,
    "ESPRESSO-MACHINE-S": 6,
    "FILTER-PAPER-100": 900,
}

SHIPPING = {  # country: days, price of the first piece; each further piece costs 1.50
    "SE": (2, 4.90),
    "DK": (3, 6.90),
    "FI": (3, 6.90),
    "NO": (3, 8.90),
    "DE": (4, 9.50),
    "NL": (4, 9.50),
    "FR": (5, 11.00),
    "GB": (6, 14.50),
    "US": (9, 24.00),
}
REST_OF_WORLD = (14, 32.00)
FREE_SHIPPING_FROM = 200

THROWAWAY_MAIL = ("mailinator.example", "10minutes.example")

# This morning's outages, by order number.
CARRIER_OUTAGE = range(1120, 1132)
FRAUD_SERVICE_OUTAGE = range(1237, 1253)

pace = td.context("pace", default=1.0)
"""How long the services take: 0 for no time at all (`treadle run --context '{"_global": {"pace": 0}}'`)."""


BOOK = os.environ.get("ORDERS_BOOK")
"""A file in which the services note their calls, if somebody wants to count them."""


def call(service, order, seconds):
    """Stand in for a call of a service: it is noted there, and takes its time."""
    if BOOK is not None:
        with Path(BOOK).open("a", encoding="utf-8") as book:
            book.write(f"{service} {order['order_id']}\n")
    time.sleep(seconds)


def number_of(order):
    """The number in an order's id."""
    return int(order["order_id"].removeprefix("SO-"))


def total_of(order):
    """What the goods cost together."""
    return round(sum(line["quantity"] * line["price"] for line in order["items"]), 2)


@td.step
def check_inventory(order, *, pace=pace):
    """Ask the warehouse for every article; two lines of the same article add up."""
    call("warehouse", order, 0.02 * pace)
    wanted: dict[str, int] = {}
    for line in order["items"]:
        wanted[line["sku"]] = wanted.get(line["sku"], 0) + line["quantity"]
    short = sorted(sku for sku, quantity in wanted.items() if quantity > STOCK.get(sku, 0))
    return {
        "order_id": order["order_id"],
        "inventory": "out_of_stock" if short else "in_stock",
        "short": short,
    }


@td.step
def screen_fraud(order, *, pace=pace):
    """Add up what makes an order suspicious."""
    call("fraud service", order, 0.08 * pace)
    if number_of(order) in FRAUD_SERVICE_OUTAGE:
        raise TimeoutError("the fraud service did not answer")
    signs = {
        "card from another country": order["payment"]["country"] != order["ship_to"]["country"],
        "many attempts to pay": order["payment"]["attempts"] >= 3,
        "large order": total_of(order) >= 1500,
        "throw-away mail address": str(order.get("email")).endswith(THROWAWAY_MAIL),
    }
    found = [sign for sign, is_there in signs.items() if is_there]
    risk = ("low", "medium", "high")[min(len(found), 2)]
    return {"order_id": order["order_id"], "risk": risk, "signs": found}


@td.step
def rule_of_thumb(order):
    """Stand in for the fraud service: let a small order through, if it was paid from home at the first attempt."""
    is_from_home = order["payment"]["country"] == order["ship_to"]["country"]
    if total_of(order) > 100 or order["payment"]["attempts"] > 1 or not is_from_home:
        raise RuntimeError("nobody may decide on this order without the fraud service")
    return {"order_id": order["order_id"], "risk": "low", "signs": ["only a rule of thumb"]}


@td.step
def estimate_shipping(order, *, attempt=td.attempt(), pace=pace):
    """Ask the carrier how long it takes, and what it costs. It loses every seventh call, and sometimes two."""
    call("carrier", order, 0.04 * pace)
    number = number_of(order)
    is_lost = number % 7 == 0 and attempt <= (2 if number % 5 == 0 else 1)
    if is_lost or number in CARRIER_OUTAGE:
        raise ConnectionError("the carrier is not reachable")
    days, cost = SHIPPING.get(order["ship_to"]["country"], REST_OF_WORLD)
    pieces = sum(line["quantity"] for line in order["items"])
    cost = 0.0 if total_of(order) >= FREE_SHIPPING_FROM else cost + 1.50 * (pieces - 1)
    return {"order_id": order["order_id"], "days": days, "cost": round(cost, 2)}


@td.step
def flat_rate(failure):
    """Stand in for the carrier; `failure` knows what was asked, and what went wrong."""
    (order,) = failure.inputs
    return {"order_id": order["order_id"], "days": 10, "cost": 9.90}


@td.step
def shipping(estimate):
    """Take what came: the carrier's estimate or the flat rate."""
    return estimate


# ---------------------------------------------------------------------------------- the decision


@td.step
def decide_fulfillment(inventory, fraud, shipping):
    """Decide, once all three have answered."""
    if fraud["risk"] == "high":
        status, reasons = "declined", fraud["signs"]
    elif inventory["inventory"] == "out_of_stock":
        status, reasons = "backordered", inventory["short"]
    elif fraud["risk"] == "medium":
        status, reasons = "held_for_review", fraud["signs"]
    else:
        status, reasons = "approved", fraud["signs"]
    return {
        "order_id": inventory["order_id"],
        "status": status,
        "reasons": reasons,
        "shipping_days": shipping["days"],
        "shipping_cost": shipping["cost"],
    }


workflow = (
    td.workflow("order_fulfillment", rules=[validate_order, reject_order])
    .add(check_inventory, to="validate_order")
    .add(screen_fraud, to="validate_order")
    .add(estimate_shipping, to="validate_order")
    .add(flat_rate, to=td.error_of("estimate_shipping"))
    .add(shipping, to=["estimate_shipping", "flat_rate"], join="any")
    .add(decide_fulfillment, to=["check_inventory", "screen_fraud", "shipping"])
)

# What is wished of the services; the steps above know nothing of it. Limits hold over all orders.
policies = {
    "check_inventory": td.Policy(max_concurrency=4),
    "screen_fraud": td.Policy(fallback=rule_of_thumb, max_concurrency=6),
    "estimate_shipping": td.Policy(
        max_retries=3,
        backoff="jitter",
        base_delay_s=0.1,
        retry_on=ConnectionError,
        max_concurrency=8,
    ),
}


# ------------------------------------------------------------------------------ a program of one's own

ORDERS = Path(__file__).with_name("orders.jsonl")

# These customers cancel while the carrier is still being asked.
CHANGED_THEIR_MIND = ("SO-1121", "SO-1129", "SO-1131")


class Watch(td.Observer):
    """Told by the runner what it does: counts what was tried again, and how much went on at once."""

    def __init__(self):
        self.tried_again = set()
        self.fell_back = set()
        self.running: Counter[str] = Counter()
        self.most_at_once = 0
        self.work_s = 0.0

    def on_dispatch(self, run_id, bundle):  # noqa: ARG002
        """Count a bundle in."""
        self.running[run_id] += 1
        self.most_at_once = max(self.most_at_once, self.running.total())

    def on_complete(self, run_id, runnable, outcome):  # noqa: ARG002
        """Count it out, and how long it took."""
        self.running[run_id] -= 1
        self.work_s += outcome.seconds or 0.0

    def on_failed(self, run_id, runnable, outcome, then):
        """Count it out, and note what follows."""
        self.on_complete(run_id, runnable, outcome)
        if then == "retry":
            self.tried_again.add(run_id)
        if then == "fallback":
            self.fell_back.add(run_id)

    def on_end(self, run_id, status):  # noqa: ARG002
        """Of a cancelled run nothing comes back any more."""
        del self.running[run_id]


def ending_of(ticket):
    """Wait for an order, and say how it ended."""
    try:
        (result,) = ticket.result().values()
    except td.errors.Cancelled:
        return "cancelled"
    except td.errors.StepFailed:
        return "failed"
    return result["status"]


def main(pace=1.0):
    """Take in all orders, and say what came of them."""
    watch, tickets, begin = Watch(), {}, time.monotonic()
    lines = ORDERS.read_text(encoding="utf-8").splitlines()
    with td.Runner(policies=policies, observers=[watch]) as runner:
        for number, line in enumerate(lines, 1):
            order = json.loads(line)
            run = f"{order.get('order_id')}, line {number}"
            runner.start(workflow, run, run_context={"_global": {"pace": pace}})
            tickets[run] = runner.run(run, order)
            if order.get("order_id") in CHANGED_THEIR_MIND:
                runner.cancel(run, reason="the customer changed their mind")
        endings = {run: ending_of(ticket) for run, ticket in tickets.items()}
    took_s = time.monotonic() - begin
    counts = Counter(endings.values())
    rejected, failed, cancelled = (counts.pop(word) for word in ("rejected", "failed", "cancelled"))
    decided = {run for run, word in endings.items() if word in counts}
    words = ", ".join(f"{count} {word}" for word, count in counts.most_common())
    print(f"{len(decided):4} decided: {words}")
    print(f"{len(decided & watch.tried_again):4} of them after the carrier was asked again")
    print(f"{len(decided & watch.fell_back):4} of them by a rule of thumb")
    print(f"{rejected:4} rejected, {cancelled} cancelled under way, {failed} failed")
    print(
        f"{len(lines):4} orders in {took_s:.1f} s, up to {watch.most_at_once} calls at once;",
        end=" ",
    )
    print(f"one after the other {watch.work_s:.0f} s")


if __name__ == "__main__":
    logging.getLogger("treadle").setLevel(logging.ERROR)  # what fails is in the summary
    main()
