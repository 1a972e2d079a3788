"""The order example: each of the 300 orders ends as the shop's rules say.

The rules are written down here a second time, in money and in another form, and not taken from the example.
"""

import importlib.util
import json
import logging
import re
from collections import Counter
from concurrent.futures import wait
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import treadle as td
from treadle.schedulers import BatchScheduler

EXAMPLES = Path(__file__).parents[2] / "examples"

IN_STOCK = Counter(
    {
        "TEA-ASSAM-250": 400,
        "TEA-EARL-GREY-250": 380,
        "TEA-SENCHA-100": 150,
        "TEA-ROOIBOS-250": 90,
        "COF-ETHIOPIA-1000": 220,
        "COF-HOUSE-1000": 500,
        "COF-DECAF-500": 3,
        "MUG-STONE-BLUE": 64,
        "POT-GLASS-1200": 25,
        "POT-CAST-IRON-800": 4,
        "KETTLE-GOOSENECK": 12,
        "GRINDER-HAND": 18,
        "ESPRESSO-MACHINE-S": 6,
        "FILTER-PAPER-100": 900,
    }
)
CARRIERS_OFFER = """
SE 2 4.90   DK 3 6.90   FI 3 6.90   NO 3 8.90   DE 4 9.50   NL 4 9.50   FR 5 11.00   GB 6 14.50
US 9 24.00
"""
CARRIER_WAS_DOWN = {f"SO-{number}" for number in range(1120, 1132)}
CARRIER_LOST_ONE = {f"SO-{number}" for number in range(1001, 1301, 7)}  # 1001 = 7 * 143
CARRIER_LOST_TWO = {f"SO-{number}" for number in range(1015, 1301, 35)}  # 1015 = 35 * 29
FRAUD_SERVICE_WAS_DOWN = {f"SO-{number}" for number in range(1237, 1253)}
CUSTOMER_CANCELLED = {"SO-1121", "SO-1129", "SO-1131"}


def orders() -> list[Any]:
    """The orders of the feed."""
    lines = (EXAMPLES / "orders.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


@cache
def example() -> Any:
    """The example, as a module."""
    spec = importlib.util.spec_from_file_location("example", EXAMPLES / "order_fulfillment.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Attempts(td.Observer):
    """Notes which attempts failed, by input, and what followed."""

    def __init__(self) -> None:
        self.after: dict[str, Counter[int]] = {
            "retry": Counter(),
            "fallback": Counter(),
            "give_up": Counter(),
        }

    def on_failed(self, run_id: str, runnable: td.Runnable, outcome: td.Outcome, then: str) -> None:
        """Note one."""
        self.after[then][outcome.scope[0]] += 1


def fulfilled(given: list[Any], **how: Any) -> td.Workflow:
    """The example's workflow after all orders, under its policies; its services take no time."""
    workflow, policies = example().workflow, example().policies
    with td.Runner(policies=policies, **how) as runner:
        runner.start(workflow, "orders", run_context={"_global": {"pace": 0}})
        wait([runner.run("orders", order) for order in given])
        return runner.get_workflow("orders")


@pytest.fixture(autouse=True)
def _unlogged() -> Any:
    """Failures are data here, and their warnings no news."""
    logger = logging.getLogger("treadle")
    logger.disabled = True
    yield
    logger.disabled = False


# ------------------------------------------------------------------------- the rules of the shop


def is_number(value: Any, kinds: tuple[type, ...]) -> bool:
    """Tell whether a value from JSON is a number, which true and false are not."""
    return isinstance(value, kinds) and not isinstance(value, bool)


def is_workable(order: Any) -> bool:
    """Tell whether an order says who wants what, how it is paid, and where it goes."""
    try:
        lines = order["items"]
        return (
            order["order_id"][:3] == "SO-"
            and order["order_id"][3:].isdigit()
            and isinstance(order["customer_id"], str)
            and isinstance(order["ship_to"]["country"], str)
            and isinstance(order["payment"]["country"], str)
            and is_number(order["payment"]["attempts"], (int,))
            and isinstance(lines, list)
            and len(lines) > 0
            and all(is_sound(line) for line in lines)
        )
    except (KeyError, TypeError):
        return False


def is_sound(line: Any) -> bool:
    """Tell whether an order line names an article, a quantity and a price."""
    return (
        isinstance(line["sku"], str)
        and is_number(line["quantity"], (int,))
        and line["quantity"] > 0
        and is_number(line["price"], (int, float))
        and line["price"] >= 0
    )


def goods_of(order: Any) -> Decimal:
    """Give what the goods cost."""
    return sum(
        (line["quantity"] * Decimal(str(line["price"])) for line in order["items"]), Decimal(0)
    )


def delivery_of(order: Any) -> tuple[int, Decimal]:
    """Give days and price of the delivery."""
    if order["order_id"] in CARRIER_WAS_DOWN:
        return 10, Decimal("9.90")
    words = iter(CARRIERS_OFFER.split())
    offers = {country: (int(next(words)), Decimal(next(words))) for country in words}
    days, first_piece = offers.get(order["ship_to"]["country"], (14, Decimal(32)))
    if goods_of(order) >= 200:
        return days, Decimal(0)
    further = sum(line["quantity"] for line in order["items"]) - 1
    return days, first_piece + further * Decimal("1.50")


def warnings_of(order: Any) -> int:
    """Count what makes an order suspicious."""
    domain = str(order.get("email", "")).partition("@")[2]
    return sum(
        [
            order["ship_to"]["country"] != order["payment"]["country"],
            order["payment"]["attempts"] > 2,
            goods_of(order) >= 1500,
            domain in {"mailinator.example", "10minutes.example"},
        ]
    )


def is_harmless(order: Any) -> bool:
    """Tell whether an order may be decided on without the fraud service."""
    payment = order["payment"]
    is_from_home = payment["country"] == order["ship_to"]["country"]
    return goods_of(order) <= 100 and payment["attempts"] <= 1 and is_from_home


def lost_calls(order: Any) -> int:
    """Count how often the carrier is asked in vain, and asked again."""
    if not is_workable(order):
        return 0
    if order["order_id"] in CARRIER_WAS_DOWN:
        return 3
    return (order["order_id"] in CARRIER_LOST_ONE) + (order["order_id"] in CARRIER_LOST_TWO)


def needs_rule_of_thumb(order: Any) -> bool:
    """Tell whether the fraud service does not answer for an order."""
    return is_workable(order) and order["order_id"] in FRAUD_SERVICE_WAS_DOWN


def ending_of(order: Any) -> tuple[str, ...]:
    """Give how an order must end: its status, and what delivering it would take."""
    if not is_workable(order):
        return ("rejected",)
    if needs_rule_of_thumb(order) and not is_harmless(order):
        return ("failed",)
    wanted: Counter[str] = Counter()
    for line in order["items"]:
        wanted[line["sku"]] += line["quantity"]
    warnings = 0 if needs_rule_of_thumb(order) else warnings_of(order)
    if warnings >= 2:
        status = "declined"
    elif wanted - IN_STOCK:
        status = "backordered"
    else:
        status = "held_for_review" if warnings else "approved"
    days, price = delivery_of(order)
    return (status, str(days), f"{price:.2f}")


# --------------------------------------------------------------------------------------- the tests


def told(done: td.Workflow, number: int) -> tuple[str, ...]:
    """Give how the workflow says that an order ended, in the form of `ending_of`."""
    results = done.results(input=number)
    unhandled = [each for each in done.failures(input=number) if not each.handled]
    if unhandled:
        assert results == {}, "an order that failed has no decision"
        assert [each.component for each in unhandled] == ["screen_fraud"]
        return ("failed",)
    ((component, result),) = results.items()
    if component == "reject_order":
        assert result["reasons"], "a rejected order hears why"
        return (result["status"],)
    assert component == "decide_fulfillment"
    return (
        result["status"],
        str(result["shipping_days"]),
        f"{result['shipping_cost']:.2f}",
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "how",
    [{}, {"executor": "inline"}, {"executor": "threads:4", "scheduler": BatchScheduler()}],
    ids=["threads", "inline", "batches"],
)
def test_every_order_ends_as_the_rules_say(how: dict[str, Any]) -> None:
    """All orders, one by one: status, days and price of delivery, and how often services were asked again."""
    given, attempts = orders(), Attempts()
    done = fulfilled(given, observers=[attempts], **how)

    assert len(done.inputs()) == len(given) == 300
    for number, order in enumerate(given):
        assert told(done, number) == ending_of(order), order
        assert attempts.after["retry"][number] == lost_calls(order), order
        assert attempts.after["fallback"][number] == needs_rule_of_thumb(order), order


@pytest.mark.slow
def test_every_order_is_accounted_for() -> None:
    """Each order ends in exactly one way: a decision, a rejection or a failure."""
    done = fulfilled(orders())
    ended = Counter(entry["status"] for entry in done.inputs())
    numbers = [
        fact.input for name in ("decide_fulfillment", "reject_order") for fact in done.facts(name)
    ]
    failed = [failure.input for failure in done.failures() if not failure.handled]

    assert sorted(numbers + failed) == list(range(300))
    assert ended == {"done": 300 - len(failed), "failed": len(failed)}
    assert done.is_satisfied()


def test_the_feed_has_all_kinds() -> None:
    """The orders are worth an example: each way to end is there, and most orders end well."""
    kinds = Counter(ending_of(order)[0] for order in orders())

    assert set(kinds) == {
        "approved",
        "backordered",
        "held_for_review",
        "declined",
        "rejected",
        "failed",
    }
    assert kinds["approved"] > 150
    assert min(kinds.values()) >= 4


@pytest.mark.slow
def test_without_policies_each_service_is_asked_once() -> None:
    """The steps know nothing of policies: then each lost call is a flat rate, and each silence a failure."""
    given = orders()
    done = example().workflow.with_context({"_global": {"pace": 0}})
    for order in given:
        done = done.react_until_satisfied(order)
    failed: dict[str, set[int]] = {"estimate_shipping": set(), "screen_fraud": set()}
    for failure in done.failures():
        failed[failure.component].add(failure.input)
        assert failure.handled == (failure.component == "estimate_shipping")

    assert failed == {
        "estimate_shipping": {n for n, order in enumerate(given) if lost_calls(order)},
        "screen_fraud": {n for n, order in enumerate(given) if needs_rule_of_thumb(order)},
    }


def summary(rows: str) -> list[int]:
    """The whole numbers that a summary tells, without how long it took and how much went on at once."""
    return [
        int(number) for number in re.findall(r"\d+", rows.replace(",", "").partition(" orders")[0])
    ]


@pytest.mark.slow
def test_the_program_tells_what_came_of_the_orders(capsys: pytest.CaptureFixture[str]) -> None:
    """A run for each order, three of which are cancelled under way: every number follows from the rules."""
    example().main(pace=0)
    told = capsys.readouterr()
    given = orders()
    cancelled = [
        order for order in given if is_workable(order) and order["order_id"] in CUSTOMER_CANCELLED
    ]
    others = [order for order in given if order not in cancelled]
    endings = Counter(ending_of(order)[0] for order in others)
    decided = [order for order in others if ending_of(order)[0] not in {"rejected", "failed"}]

    assert told.err == ""
    assert summary(told.out) == [
        len(decided),
        *[endings[word] for word in ("approved", "backordered", "held_for_review", "declined")],
        sum(lost_calls(order) > 0 for order in decided),
        sum(map(needs_rule_of_thumb, decided)),
        endings["rejected"],
        len(cancelled),
        endings["failed"],
        300,
    ]
    assert len(cancelled) == 3
    assert sum(endings.values()) + len(cancelled) == 300


@pytest.mark.parametrize(
    "junk", [None, 7, "order", [], {}, {"items": 5}, {"items": [None]}], ids=repr
)
def test_anything_can_be_fed(junk: Any) -> None:
    """What is no order at all is rejected with reasons, and nothing raises."""
    done = fulfilled([junk])

    assert done.failures() == []
    assert done.results()["reject_order"]["status"] == "rejected"


def test_the_feed_stays_small() -> None:
    """The file is one that a newcomer can open."""
    assert (EXAMPLES / "orders.jsonl").stat().st_size < 150_000
