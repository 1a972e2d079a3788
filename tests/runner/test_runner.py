"""`Runner`: its calls and options, as a script uses them."""

import threading
from typing import Any

import pytest

import treadle as td
from tests.runner.running import (
    PATIENCE_S,
    Body,
    Flaky,
    SetClock,
    double,
    increment,
    log_of,
    of_kind,
    plus,
    same,
    status_of,
    steps,
    until,
)
from treadle import errors
from treadle.executors.threads import ThreadExecutor
from treadle.model.events import Defined, InputAccepted
from treadle.stores.memory import MemoryStore


class Writer(MemoryStore):
    """A store whose calls are made in the writer's thread."""

    is_instant = False


# -------------------------------------------------------------------------------------- options

WRONG_OPTIONS: dict[str, dict[str, Any]] = {
    "store": {"store": "moon"},
    "store of another kind": {"store": 5},
    "executor": {"executor": "moon"},
    "executor of another kind": {"executor": 5},
    "number of workers": {"executor": "threads:0"},
    "executors": {"executors": {"own": "moon"}},
    "no slots": {"max_concurrency": 0},
    "slots": {"max_concurrency": "2"},
    "definitions": {"workflows": [5]},
    "policies": {"policies": 5},
    "scheduler": {"scheduler": "moon"},
    "clock": {"clock": 5},
    "observers": {"observers": [5]},
    "hooks": {"hooks": len},
    "restarts": {"restarts": 5},
    "time to drain": {"drain_s": -1},
    "warm runs": {"keep_warm": 0},
}


@pytest.mark.parametrize("options", WRONG_OPTIONS.values(), ids=WRONG_OPTIONS)
def test_options_that_cannot_be_are_refused(options: dict[str, Any]):
    """At once, and no thread is left behind."""
    before = set(threading.enumerate())  # some of which may be about to end
    with pytest.raises(errors.UsageError):
        td.Runner(**options)

    assert set(threading.enumerate()) <= before


@pytest.mark.parametrize("given", [(-1, 60), (3, 0), ("a", 60), (3, -5)])
def test_restarts_that_cannot_be_are_refused(given: Any):
    """A number of at least 0, within a time."""
    with pytest.raises(errors.UsageError, match="Restarts"):
        td.Restarts(*given)


def test_an_unknown_option_is_a_type_error():
    """As for any function."""
    with pytest.raises(TypeError, match="concurrency"):
        td.Runner(concurrency=5)  # type: ignore[call-arg]


WRONG_STARTS: dict[str, dict[str, Any]] = {
    "durability": {"durability": "some"},
    "deadline": {"deadline_s": -1},
    "slots": {"max_concurrency": 0},
    "open inputs": {"max_open": True},
    "if it exists": {"if_exists": "replace"},
    "policies": {"policies": {"increment": 7}},
}


@pytest.mark.parametrize("options", WRONG_STARTS.values(), ids=WRONG_STARTS)
def test_a_start_that_cannot_be_is_refused(options: dict[str, Any]):
    """And nothing is there of it."""
    with td.Runner() as runner:
        with pytest.raises(errors.UsageError):
            runner.start(steps(), "a", **options)
        with pytest.raises(errors.UsageError):
            runner.start(5, "b")  # type: ignore[arg-type]

        assert runner.runs() == []


EXECUTORS: dict[str, Any] = {
    "inline": lambda: "inline",
    "threads": lambda: "threads",
    "few threads": lambda: "threads:2",
    "asyncio": lambda: "asyncio",
    "pool": lambda: "pool:2",
    "a plug": lambda: ThreadExecutor(2),
}


def everything() -> td.Workflow:
    """A fan-out with a failure in it, a join, a state, and rules."""
    fan = td.map(lambda x: 12 // x, name="each")
    workflow = td.workflow("all", steps=[td.step(len, name="size")], components=[fan])
    workflow = workflow.add(td.collect(name="some", on_item_failure="skip"), to="each")
    workflow = workflow.add(
        td.step(lambda n, some: n + sum(some), name="join"), to=["size", "some"]
    )
    workflow = workflow.add(td.accumulator(plus, initial=0, name="total"), to="join")
    for name, least in (("large", 10), ("huge", 100)):
        condition = lambda total, least=least: total >= least  # noqa: E731
        workflow = workflow.add(td.rule(name=name, condition=condition, reaction=same), to="total")
    return workflow


@pytest.mark.parametrize("executor", EXECUTORS.values(), ids=EXECUTORS)
@pytest.mark.parametrize("store", [MemoryStore, Writer, None], ids=["instant", "writer", "none"])
def test_the_same_results_everywhere(executor: Any, store: Any):
    """Whatever it runs on and is kept in."""
    expected = everything()
    with td.Runner(executor=executor(), store=store and store()) as runner:
        runner.start(everything(), "a")
        for items in ([1, 2, 0, 3], [], [4], [0]):
            expected = expected.react_until_satisfied(items)
            runner.run("a", items).exception(PATIENCE_S)
        found = runner.get_workflow("a")

        assert [found.results(input=n) for n in range(4)] == [
            expected.results(input=n) for n in range(4)
        ]
        assert found.states() == expected.states() == {"total": {None: 31}}
        assert [each.input for each in found.failures()] == [0, 3]


# ------------------------------------------------------------------------------------ the calls


def test_a_name_is_made_up_where_none_is_given():
    """Each time another one."""
    with td.Runner() as runner:
        ids = {runner.start(steps()) for _ in range(20)}

        assert len(ids) == 20
        assert {info.id for info in runner.runs()} == ids


def test_runs_are_listed_oldest_first():
    """All of them, or those of one status or workflow."""
    clock = SetClock()
    with td.Runner(clock=clock) as runner:
        for id, name in (("c", "one"), ("a", "two"), ("b", "one")):
            runner.start(steps(name=name), id)
            clock.go_on(1)
        runner.run("a", 1).result(PATIENCE_S)
        runner.stop("c")

        assert [info.id for info in runner.runs()] == ["c", "a", "b"]
        assert [info.id for info in runner.runs(workflow="one")] == ["c", "b"]
        assert [info.id for info in runner.runs(status="idle")] == ["a", "b"]
        assert [info.id for info in runner.runs(status="stopped", workflow="two")] == []
        [info] = runner.runs(workflow="two")
        assert (info.status, info.position, info.note) == ("idle", 3, None)
        assert info.fingerprint == steps(name="two").fingerprint
        assert info.created_at == 1_000_001.0


def test_a_checkpoint_is_the_length_of_what_is_stored():
    """When it is answered, all that has happened is in the store."""
    store = Writer()
    with td.Runner(store=store) as runner:
        runner.start(steps((increment, [double])), "a")
        assert runner.checkpoint("a") == 0
        for n in range(3):
            runner.run("a", n).result(PATIENCE_S)
            position = runner.checkpoint("a")

            assert position == len(store.load("a").events) == len(log_of(runner, "a"))


def test_an_input_is_stored_when_run_returns():
    """Also by a store that takes its time, and before any body has ended."""
    store, body = Writer(), Body(is_open=False)
    with td.Runner(store=store) as runner:
        runner.start(steps(td.step(body, name="body")), "a")
        for n in range(5):
            runner.run("a", n)
            values = [e.value for e in store.load("a").events if isinstance(e, InputAccepted)]
            assert values == list(range(n + 1))
        body.let_go()


def test_results_are_stored_before_they_are_told():
    """A ticket that is done stands in the store."""
    store = Writer()
    with td.Runner(store=store, executor="inline") as runner:
        runner.start(steps(), "a")
        for n in range(20):
            runner.run("a", n).result(PATIENCE_S)
            assert len(store.load("a").events) == 3 + 2 * n


def test_nothing_is_kept_of_a_run_that_is_not_to_be_kept():
    """It works as any other, and is gone with its runner."""
    store = MemoryStore()
    with td.Runner(store=store) as runner:
        runner.start(steps(), "a", durability="none")
        assert runner.run("a", 1).result(PATIENCE_S) == {"increment": 2}
        assert runner.get_results("a") == {"increment": 2}
        assert runner.stop("a") == "stopped"
        runner.resume("a")
        assert runner.run("a", 2).result(PATIENCE_S) == {"increment": 3}
        assert len(runner.get_workflow("a").inputs()) == 2

    assert store.list() == []


def test_a_runner_without_a_store():
    """Runs are at work until they are stopped; then they are seen, and not resumed."""
    with td.Runner(store=None) as runner:
        runner.start(steps(), "a")
        assert runner.run("a", 1).result(PATIENCE_S) == {"increment": 2}
        runner.stop("a")

        assert status_of(runner, "a") == "stopped"
        with pytest.raises(errors.RunEnded):
            runner.run("a", 1)
        assert runner.stop("a") == "stopped"
        assert runner.stop("a", persist=False) == "stopped"
        assert runner.runs() == []


def test_the_workflow_one_gets_is_a_value_of_its_own():
    """What is done to it does not reach the run, and the other way round."""
    with td.Runner() as runner:
        runner.start(steps(), "a")
        runner.run("a", 1).result(PATIENCE_S)
        mine = runner.get_workflow("a")
        later = mine.react_until_satisfied(5)
        runner.run("a", 2).result(PATIENCE_S)

        assert [each["value"] for each in mine.inputs()] == [1]
        assert [each["value"] for each in later.inputs()] == [1, 5]
        assert [each["value"] for each in runner.get_workflow("a").inputs()] == [1, 2]
        assert mine == runner.get_workflow("a").at(mine.position)


def test_a_workflow_with_a_history_goes_on():
    """From where it is: what was ready is done, what is finished is not done again."""
    body = Body()
    begun = steps((td.step(body, name="body"), [double])).react(1)
    with td.Runner() as runner:
        runner.start(begun, "a")
        assert runner.wait("a") == "idle"

        assert runner.get_results("a") == {"double": 2}
        assert runner.run("a", 4).result(PATIENCE_S) == {"double": 8}
        assert body.calls == [1, 4]
        assert len(of_kind(runner, "a", Defined)) == 1


def test_context_values_of_runs_and_inputs():
    """An input's come before its run's; neither is in the log."""

    def ask(x: Any, *, model: str = td.context("model", default="small")) -> str:
        return f"{model} {x}"

    with td.Runner() as runner:
        runner.start(steps(ask), "a")
        runner.start(steps(ask), "b", run_context={"ask": {"model": "medium"}})
        results = [
            runner.run("a", 1).result(PATIENCE_S),
            runner.run("b", 2).result(PATIENCE_S),
            runner.run("b", 3, run_context={"ask": {"model": "large"}}).result(PATIENCE_S),
            runner.run("b", 4, run_context={"_global": {"model": "tiny"}}).result(PATIENCE_S),
            runner.run("b", 5).result(PATIENCE_S),
        ]

        assert [each["ask"] for each in results] == [
            "small 1",
            "medium 2",
            "large 3",
            "medium 4",
            "medium 5",
        ]
        assert "large" not in repr([e for e in log_of(runner, "b") if isinstance(e, InputAccepted)])


def test_idempotency_keys_are_of_the_run():
    """The same for all attempts and after a restart; another run's, and another input's, differ."""
    keys: list[str] = []

    def body(x: Any, *, key: str = td.idempotency_key(), n: int = td.attempt()) -> Any:
        keys.append(key)
        if n == 1:
            raise ValueError(n)
        return x

    with td.Runner(policies=td.Policy(max_retries=1), executor="inline") as runner:
        runner.start(steps(td.step(body, name="body")), "a")
        runner.start(steps(td.step(body, name="body")), "b")
        for id in ("a", "a", "b"):
            runner.run(id, 1).result(PATIENCE_S)

    assert keys[0::2] == keys[1::2]
    assert len(set(keys)) == 3


def test_keys_outlive_a_runner():
    """Work that is handed back is done again under the key that it had."""
    keys: list[str] = []
    gate = Body(is_open=False)

    def body(x: Any, *, key: str = td.idempotency_key()) -> Any:
        keys.append(key)
        return gate(x)

    store, workflow = MemoryStore(), steps(td.step(body, name="body"))
    with td.Runner(store=store) as runner:
        runner.start(workflow, "a")
        runner.run("a", 1)
        gate.wait_for_calls()
        runner.stop("a", now=True)
    gate.let_go()
    with td.Runner(store=store, workflows=[workflow]) as runner:
        runner.resume("a")
        runner.wait("a")

    assert len(keys) == 2
    assert len(set(keys)) == 1


def test_waiting_for_a_run():
    """It is answered when nothing is left to do, or when the run ends."""
    body = Body(is_open=False)
    with td.Runner() as runner:
        runner.start(steps(td.step(body, name="body")), "a")
        assert runner.wait("a") == "idle"
        runner.run("a", 1)
        heard: list[str] = []
        threads = [threading.Thread(target=lambda: heard.append(runner.wait("a"))) for _ in "12"]
        for thread in threads:
            thread.start()
        body.wait_for_calls()
        assert heard == []
        body.let_go()
        for thread in threads:
            thread.join(PATIENCE_S)
        assert heard == ["idle", "idle"]
        runner.stop("a")

        assert runner.wait("a") == "stopped"


def test_stopping_at_once_leaves_what_is_out_to_be_done():
    """It stays in flight for whoever resumes the run; what comes back late changes nothing."""
    body = Body(is_open=False, gives=lambda x: len(body.calls))
    with td.Runner() as runner:
        runner.start(steps(td.step(body, name="body")), "a")
        ticket = runner.run("a", 1)
        body.wait_for_calls()
        assert runner.stop("a", now=True) == "stopped"
        assert isinstance(ticket.exception(PATIENCE_S), errors.RunEnded)
        runner.resume("a")
        body.wait_for_calls(2)
        body.let_go()
        runner.wait("a")

        assert runner.get_results("a") == {"body": 2}
        assert len(runner.get_workflow("a").log()) == 3


QUEUES: dict[str, tuple[dict[str, Any], td.Policy]] = {
    "rate": ({}, td.Policy(rate_limit=td.RateLimit(1, per_s=3600))),
    "limit": ({}, td.Policy(max_concurrency=1)),
    "executor": ({"executor": "threads:1"}, td.Policy(max_retries=1)),
    "runner": ({"max_concurrency": 1}, td.Policy(max_retries=1)),
}


@pytest.mark.parametrize(("options", "policy"), QUEUES.values(), ids=QUEUES)
@pytest.mark.parametrize("store", [MemoryStore, Writer], ids=["instant", "writer"])
def test_stopping_takes_back_what_has_not_begun(options: Any, policy: td.Policy, store: Any):
    """Nobody waits for its turn, an hour perhaps; it stays to be done."""
    body = Body(is_open=False)
    with td.Runner(store=store(), policies={"body": policy}, **options) as runner:
        runner.start(steps(td.step(body, name="body")), "a")
        tickets = [runner.run("a", n) for n in range(4)]
        body.wait_for_calls()
        stopping = threading.Thread(target=runner.stop, args=("a",))
        stopping.start()
        until(lambda: status_of(runner, "a") == "stopping")
        body.let_go()
        stopping.join(PATIENCE_S)

        assert status_of(runner, "a") == "stopped"
        assert body.calls == [0]
        assert [ticket.exception(PATIENCE_S) is None for ticket in tickets] == [
            True,
            False,
            False,
            False,
        ]
        runner.resume("a")
        body.wait_for_calls(1 if policy.rate_limit is not None else 4)


def test_a_closing_runner_waits_for_no_turn():
    """What a rate limit holds back for an hour is left for the next runner."""
    body, store = Body(), MemoryStore()
    policies = {"body": td.Policy(rate_limit=td.RateLimit(1, per_s=3600))}
    workflow = steps(td.step(body, name="body"))
    for count in (1, 2):
        with td.Runner(store=store, policies=policies) as runner:
            runner.start(workflow, "a", if_exists="resume")
            if count == 1:
                runner.run("a", 1)
                runner.run("a", 2)
            body.wait_for_calls(count)
            assert runner.close(PATIENCE_S) == 0

    assert sorted(body.calls) == [1, 2]


def test_stopping_keeps_what_waits_for_its_next_attempt():
    """A retry that was due later is made when the run is resumed, and counts on."""
    flaky = Flaky(*[ValueError()] * 9)
    policy = td.Policy(max_retries=2, backoff="linear", base_delay_s=3600, max_delay_s=3600)
    clock = SetClock()
    with td.Runner(policies=policy, clock=clock) as runner:
        runner.start(steps(td.step(flaky, name="body")), "a")
        runner.run("a", 1)
        until(lambda: flaky.calls and runner.get_workflow("a").position == 3)
        assert runner.stop("a") == "stopped"
        runner.resume("a")
        assert len(flaky.calls) == 1
        clock.go_on(3601)
        runner.stop("a")
        flaky.errors = []
        runner.resume("a")
        runner.wait("a")

        assert runner.get_results("a") == {"body": 1}
        assert flaky.calls == [1, 1]


def test_resuming_what_is_at_work_changes_nothing():
    """Nor does stopping what is stopped."""
    body = Body(is_open=False)
    with td.Runner() as runner:
        runner.start(steps(td.step(body, name="body")), "a")
        ticket = runner.run("a", 1)
        body.wait_for_calls()
        assert runner.resume("a") == "a"
        body.let_go()

        assert ticket.result(PATIENCE_S) == {"body": 1}
        assert body.calls == [1]
        assert [runner.stop("a"), runner.stop("a")] == ["stopped", "stopped"]
        assert runner.resume("a") == "a"
        assert runner.resume("a") == "a"


def test_a_runner_closes_when_its_block_raises():
    """The error goes on, and nothing is left at work."""
    before = threading.active_count()
    store = MemoryStore()
    with pytest.raises(ZeroDivisionError), td.Runner(store=store, executor="inline") as runner:
        runner.start(steps(), "a")
        runner.run("a", 1 // 0)

    assert [info.status for info in store.list()] == ["stopped"]
    until(lambda: threading.active_count() <= before)


# ----------------------------------------------------------------------------------------- much


@pytest.mark.slow
@pytest.mark.parametrize("executor", ["inline", "threads", "asyncio"])
def test_a_large_fan_out(executor: str):
    """More items than may be prepared at once; one failure among them."""
    size = 12_000 if executor == "inline" else 1_500
    each = td.map(lambda x: (1 // (x - 7) and x) or x, name="each")
    workflow = td.workflow("fan").add(each)
    workflow = workflow.add(td.reduce(plus, initial=0, name="sum", on_item_failure="skip"), to=each)
    with td.Runner(executor=executor) as runner:
        runner.start(workflow, "a")
        runner.run("a", range(size)).exception(PATIENCE_S)

        assert runner.get_results("a") == {"sum": sum(range(size)) - 7}
        assert len(runner.get_workflow("a").failures()) == 1


@pytest.mark.parametrize("executor", ["inline", "threads", "asyncio"])
def test_a_long_chain(executor: str):
    """No step of it needs a deeper stack than the one before."""
    workflow = td.workflow("chain", steps=[td.step(increment, name="s0")])
    for n in range(1, 400):
        workflow = workflow.add(td.step(increment, name=f"s{n}"), to=f"s{n - 1}")
    with td.Runner(executor=executor) as runner:
        runner.start(workflow, "a")

        assert runner.run("a", 0).result(PATIENCE_S) == {"s399": 400}


def test_many_runs_side_by_side():
    """Each with its own state, in threads that they share."""
    total = td.accumulator(plus, initial=0, name="total")
    workflow = td.workflow("sum").add(td.step(same, name="in")).add(total, to="in")
    with td.Runner(executor="threads:4") as runner:
        ids = [runner.start(workflow, str(n)) for n in range(60)]
        tickets = [(id, n, runner.run(id, n)) for n in range(5) for id in ids]
        for _, _, ticket in tickets:
            ticket.result(PATIENCE_S)

        assert all(runner.get_workflow(id).states() == {"total": {None: 10}} for id in ids)
