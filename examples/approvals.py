"""Expenses that somebody has to approve, with a deadline, and somebody else to turn to when it is over.

    python examples/approvals.py

Four expenses are claimed. A small one is paid at once. One is approved by the manager. One waits for the manager in
vain, goes to the director, and is refused there; and one is answered by nobody, and so refused in the end. For people
the same file is run and answered from a shell, in two windows or one after the other:

    treadle run examples/approvals.py --id may --input '{"who": "Ada", "amount": "500", "what": "a desk"}'
    treadle waiting
    treadle answer may
"""

import enum
import tempfile
import time
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Annotated

import msgspec

import treadle as td

DAY_S = 86_400.0
SMALL = Decimal(100)


@dataclass
class Expense:
    """What somebody claims, and how many days each of those who decide has."""

    who: str
    amount: Decimal
    what: str
    manager_days: float = 2.0
    director_days: float = 5.0


class Account(enum.Enum):
    """Which budget it is paid from."""

    TEAM = "team"
    HOUSE = "house"


@dataclass
class Verdict:
    """Is this expense to be paid?"""

    approved: bool
    account: Account = Account.TEAM
    why: Annotated[str, msgspec.Meta(description="Whoever claimed it reads this.")] = ""


@td.step
def claim(expense: dict) -> Expense:
    """Take an expense as it was typed or sent."""
    return msgspec.convert(expense, Expense)


@td.step
def escalate(expense: Expense) -> Expense:
    """The manager did not answer in time: here a letter would be written to the director."""
    return expense


def pay_small(expense: Expense) -> str:
    """Nobody is asked about little."""
    return f"{expense.who} gets {expense.amount} at once"


def settle(verdict: Verdict, expense: Expense) -> str:
    """What comes of an expense that somebody decided on."""
    if verdict.approved:
        return f"{expense.who} gets {expense.amount} from the {verdict.account.value}"
    return f"{expense.who} gets nothing: {verdict.why}"


def who(expense):
    """Whose expense it is: so a decision names the one it is for."""
    return expense.who


NOBODY = Verdict(approved=False, why="nobody decided in time")

expenses = (
    td.workflow("expenses")
    .add(claim)
    .add(
        td.rule(name="small", condition=lambda each: each.amount < SMALL, reaction=pay_small),
        to="claim",
    )
    .add(td.condition(lambda each: each.amount >= SMALL, name="large"), to="claim")
    .add(
        td.wait_for(
            "manager", schema=Verdict, key=who, timeout_s=lambda each: each.manager_days * DAY_S
        ),
        to="large",
    )
    .add(escalate, to=td.timeout_of("manager"))
    .add(
        td.wait_for(
            "director",
            schema=Verdict,
            key=who,
            timeout_s=lambda each: each.director_days * DAY_S,
            default=NOBODY,
        ),
        to="escalate",
    )
    .add(td.step(settle, name="decided"), to=["manager", "claim"])
    .add(td.step(settle, name="decided_late"), to=["director", "claim"])
)

CLAIMED = (
    {"who": "Ada", "amount": "12.50", "what": "tea"},
    {"who": "Bo", "amount": "500", "what": "a desk"},
    {"who": "Cy", "amount": "900", "what": "a chair", "manager_days": 0},
    {"who": "Dee", "amount": "700", "what": "a plant", "manager_days": 0, "director_days": 0},
)
"""Of the last two the deadlines are over at once, so that nobody has to wait for them here."""


def main(folder):
    """Claim, ask, answer, and say what came of each."""
    with td.Runner(store=f"sqlite:///{folder / 'expenses.db'}") as runner:
        runner.start(expenses, "may")
        tickets = [runner.run("may", each, key=str(each["who"])) for each in CLAIMED]
        waits = asked_of(runner, {("manager", "Bo"), ("director", "Cy")})
        for wait in waits:
            show(wait)
        runner.signal("may", "manager", {"approved": True, "account": "house"}, key="Bo")
        try:
            runner.signal("may", "director", {"approved": "no"}, key="Cy")
        except td.errors.BadValue as error:
            print(f"refused: {error}")
        runner.signal("may", "director", {"approved": False, "why": "it has wheels"}, key="Cy")
        found = [next(iter(ticket.result(60).values())) for ticket in tickets]
    print()
    for line in found:
        print(line)
    return found


def asked_of(runner, wanted):
    """All open waits, when these are among them, and no other."""
    while True:
        waits = runner.waiting(workflow="expenses")
        if {(wait.name, wait.key) for wait in waits} == wanted:
            return sorted(waits, key=lambda wait: wait.key)
        time.sleep(0.02)


def show(wait):
    """Say who is asked for what, about what, and until when."""
    until = time.strftime("%d %B", time.localtime(wait.deadline))
    about = wait.subject
    print(f"{wait.name}, until {until}: {wait.form.description}")
    print(f"    {about.who} claims {about.amount} for {about.what}")
    for field in wait.form.fields:
        choices = "/".join(str(choice.value) for choice in field.choices)
        print(
            f"    {field.title} ({choices or field.kind}{'' if field.required else ', optional'})"
        )


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        main(Path(made))
