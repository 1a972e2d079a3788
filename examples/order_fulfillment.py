"""Order fulfilment: an order is validated, checked by three services side by side, and decided.

    treadle run examples/order_fulfillment.py --inputs examples/orders.jsonl

Malformed orders are rejected with reasons. Where the carrier does not answer, a flat rate is taken instead.
Where the fraud service does not answer, nobody may decide: that order fails, alone, and is listed.
The services are small tables in this file, so every run gives the same.
"""

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
FRAUD_SERVICE_OUTAGE = (1077, 1126, 1191, 1244)


def number_of(order):
    """The number in an order's id."""
    return int(order["order_id"].removeprefix("SO-"))


def total_of(order):
    """What the goods cost together."""
    return round(sum(line["quantity"] * line["price"] for line in order["items"]), 2)


@td.step
def check_inventory(order):
    """Ask the warehouse for every article; two lines of the same article add up."""
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
def screen_fraud(order):
    """Add up what makes an order suspicious."""
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
def estimate_shipping(order):
    """Ask the carrier how long it takes, and what it costs."""
    if number_of(order) in CARRIER_OUTAGE:
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
        status, reasons = "approved", []
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
