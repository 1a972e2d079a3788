"""The account: counted while a workflow is driven, it agrees with what the workflow itself says after."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

import treadle as td
from treadle.cli.account import ENDINGS, Account, Output, Record, where_of, word_of
from treadle.cli.feed import Feed, Given
from treadle.cli.loading import Loaded
from treadle.cli.plugging import Asked, plugs_from
from treadle.cli.running import How, Watch
from treadle.policies.matching import NO_POLICIES
from treadle.views.graph import graph


def driven(
    workflow: td.Workflow, values: list[Any], executor: str = "inline", limit: int | None = None
) -> tuple[Account, td.Workflow]:
    """Drive a workflow over some values, and give the account with what became of the workflow."""
    givens = [Given(order, None, value) for order, value in enumerate(values)]
    account, done, _ = watched(workflow, givens, executor=executor, max_concurrency=limit)
    return account, done


def watched(
    workflow: td.Workflow, givens: list[Given], **asked: Any
) -> tuple[Account, td.Workflow, list[Record]]:
    """Run what was given, and give the account with the workflow as it was last, and all records."""
    account = Account(workflow, Feed(givens, len(givens)), Path.cwd())
    records: list[Record] = []

    def consume(record: Record) -> int:
        records.append(record)
        return 1

    plugs = plugs_from(Loaded(workflow, NO_POLICIES), Asked(**asked))
    watch = Watch(account, workflow, How(plugs), consume)
    seen: list[td.Workflow] = []
    count_waiting = watch.drive.watcher.count_waiting

    def look(live: td.Workflow) -> None:
        seen.append(live)
        count_waiting(live)

    watch.drive.watcher.count_waiting = look  # type: ignore[method-assign, assignment]
    watch.run()
    return account, seen[-1], records


def fail_on_three(n: int) -> int:
    """Give the number, unless it is three."""
    if n == 3:
        raise ValueError(n)
    return n


def everything() -> td.Workflow:
    """A workflow with a component of every kind that counts in its own way."""
    return (
        td.workflow("everything", steps=[td.step(lambda n: list(range(n)), name="upto")])
        .add(td.map(fail_on_three, name="each"), to="upto")
        .add(td.step(lambda n: td.ABSENT if n == 1 else n, name="odd"), to="each")
        .add(td.reduce(lambda a, b: a + b, initial=0, on_item_failure="skip", name="sum"), to="odd")
        .add(td.accumulator(lambda total, n: total + n, initial=0, name="total"), to="sum")
        .add(td.condition(lambda n: n > 2, name="many"), to="total")
        .add(td.rule(name="broken", condition=lambda n: 1 / (n - 1) > 0, reaction=str), to="total")
        .add(td.step(fail_on_three, name="skipped", on_failure="skip"), to="total")
        .add(td.step(lambda failure: 0, name="mended"), to=td.error_of("skipped"))
    )


@pytest.mark.parametrize("executor", ["inline", "threads"])
def test_components_are_counted_as_the_views_count_them(executor: str) -> None:
    """Fan-outs, skips, conditions, states and failures: each number is the one of the picture."""
    account, done = driven(everything(), [0, 1, 2, 3, 4, 5, 3], executor)
    drawn = {entry["name"]: entry["counts"] for entry in graph(done, state=True)["components"]}

    assert any(count["failed"] for count in drawn.values())
    for name, work in account.work.items():
        counts = drawn[name]
        assert (work.done, work.failed, work.skipped) == (
            counts["done"],
            counts["failed"],
            counts["skipped"],
        ), name
        assert (work.running, work.waiting) == (0, 0)


@pytest.mark.parametrize("executor", ["inline", "threads"])
@pytest.mark.parametrize("retain", ["all", "results", 0, 2])
def test_nothing_is_lost_of_a_workflow_that_forgets(retain: Any, executor: str) -> None:
    """Each input is read when it is finished, before `retain` lets it go."""

    def check(n: int) -> int:
        return 10 // n

    workflow = td.workflow("w", steps=[check], retain=retain)
    account, _ = driven(workflow, [1, 0, 2, 5, 0, 3], executor)

    assert +account.endings == {"result": 4, "failed": 2}
    assert account.outputs["check"].results == 4
    assert account.work["check"].done == 4
    assert account.work["check"].failed == 2


@pytest.mark.parametrize(
    ("executor", "limit"), [("inline", None), ("inline", 8), ("threads", None)]
)
def test_async_steps_are_awaited(executor: str, limit: int | None) -> None:
    """Async functions share one event loop, also between inputs; one that cancels itself has failed."""
    loops = set()

    async def fetch(n: int) -> int:
        loops.add(asyncio.get_running_loop())
        await asyncio.sleep(0)
        if n == 2:
            raise asyncio.CancelledError
        return n

    def double(n: int) -> int:
        return n * 2

    account, done = driven(td.workflow("w", steps=[(fetch, [double])]), [1, 2, 3], executor, limit)

    assert done.raw_productions("double", input=2) == [6]
    assert +account.endings == {"result": 2, "failed": 1}
    assert len(loops) == 1


def test_side_by_side_means_side_by_side() -> None:
    """Async steps of several inputs can wait for one another, as far as the limit allows."""
    all_here = asyncio.Barrier(3)

    async def meet(n: int) -> int:
        await all_here.wait()
        return n

    account, _ = driven(td.workflow("w", steps=[meet]), [1, 2, 3], limit=3)

    assert +account.endings == {"result": 3}


def test_inputs_are_numbered_as_in_the_workflow() -> None:
    """Lines that are no inputs have no number, and shift none."""
    givens = [Given(0, 1, problem="bad"), Given(1, 2, 0), Given(2, 3, problem="bad")]
    _, _, records = watched(everything(), givens)

    assert sorted((each.given.line, each.number) for each in records) == [
        (1, None),
        (2, 0),
        (3, None),
    ]


def test_every_line_ends_once() -> None:
    """The endings add up to what was given."""
    account, _ = driven(everything(), list(range(6)))

    assert set(account.endings) <= set(ENDINGS)
    assert account.endings.total() == 6


class Verdict:
    """A result that says in an attribute how it ended."""

    status = "fine"


class Moody:
    """A result that does not want to be asked."""

    @property
    def status(self) -> str:
        """Raise, whoever asks."""
        raise RuntimeError


@pytest.mark.parametrize(
    ("value", "word"),
    [
        ({"status": "approved", "outcome": "x"}, "approved"),
        ({"approved": False}, "False"),
        ({"status": 7, "outcome": "late"}, "late"),
        (Verdict(), "fine"),
        (Moody(), None),
        ("short", "short"),
        ("long " * 20, None),
        ("", None),
        (None, None),
        (7, None),
    ],
)
def test_words_tell_how_a_value_ended(value: Any, word: str | None) -> None:
    """A value's own status, a short text, a truth; nothing else is a word."""
    assert word_of(value) == word


def test_words_are_told_only_where_all_values_have_one() -> None:
    """A tally of some results would be taken for all of them; too many words say nothing."""
    mixed, varied = Output(), Output()
    for value in ("ok", "ok", 7):
        mixed.add(value)
    for number in range(60):
        varied.add(f"name {number}")

    assert (mixed.results, mixed.is_telling) == (3, False)
    assert (varied.results, varied.is_telling) == (60, False)


def test_the_place_of_a_failure_is_in_the_users_code() -> None:
    """A library that the user's code called is not where the reader wants to look."""

    def parse(text: str) -> Any:
        import json

        return json.loads(text)

    done = td.workflow("w", steps=[parse]).react_until_satisfied("{")
    (failure,) = done.failures()

    assert where_of(failure.error, Path(__file__).parent).endswith(".parse")
    assert "test_account.py" in where_of(failure.error, Path(__file__).parent)
    assert "decoder.py" in where_of(failure.error, Path("/nowhere"))


def test_what_the_library_refuses_has_no_place() -> None:
    """A value that a map cannot take was refused by the library, not raised in anybody's code."""
    done = td.workflow("w", steps=[td.map(str, name="each")]).react_until_satisfied(7)
    (failure,) = done.failures()

    assert where_of(failure.error, Path.cwd()) == ""
