"""What an upgrade would do, told before it is done."""

import json

from tests.upgrade.versions import orders, plus_two
from treadle.upgrade import plan


def test_a_plan_is_a_text_and_rows():
    """The text names what changed, what was used, and what each policy would do; the rows are JSON-ready."""
    log = orders().react_until_satisfied(1).plan_eagerly(2).log()
    today = orders(plus_two)

    refused = plan(today, log)
    assert not refused.goes_on
    assert "on_code_change" in refused.why_not
    (row,) = [row for row in refused.rows if row["change"] != "same"]
    assert refused.text("run-7").splitlines() == [
        "run-7: would not go on",
        f"  price  code changed (used, pending): its code was {row['recorded']}, and is {row['today']}",
        "         refuse: the run is not continued",
        "  2 components the same",
    ]
    assert json.loads(json.dumps(refused.data()))["components"][0]["component"] == "price"

    assert plan(today, log, "adopt").text().startswith("orders: would go on\n")
    again = plan(today, log, "recompute")
    assert again.is_fork
    assert again.text().startswith("orders: would go on as a fork, run key 'orders~upgrade@")
    assert plan(orders(), log).text() == "orders: would go on, unchanged\n  3 components the same"


def test_a_plan_says_why_a_policy_cannot_be_followed():
    """The reason stands below the components."""
    log = orders().react_until_satisfied(1).log()

    kept = plan(orders(plus_two), log, "keep")

    assert not kept.goes_on
    assert "no definition that has it is given" in kept.text()
    assert plan(orders(plus_two), log, "keep", earlier=[orders()]).goes_on
