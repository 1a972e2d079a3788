"""The example plugs keep the promises of plugs, and do what they are for."""

import importlib.util
import os
import sys
from pathlib import Path
from queue import SimpleQueue
from types import ModuleType
from typing import Any

import pytest
from msgspec import structs

import treadle as td
from treadle.testing.executors import check_executor
from treadle.testing.schedulers import check_scheduler

FOLDER = Path(__file__).parents[2] / "examples" / "plugs"

PATIENCE_S = 20
"""How long a test waits before it fails; none comes near it unless something is wrong."""


def load(name: str) -> ModuleType:
    """Load an example by its path, since the folder is no package."""
    spec = importlib.util.spec_from_file_location(f"example_{name}", FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


command_executor, fair_scheduler = map(load, ["command_executor", "fair_scheduler"])
CommandExecutor = command_executor.CommandExecutor
FairScheduler = fair_scheduler.FairScheduler


def ready(*calls: Any, inputs: int = 1, value: Any = 3) -> list[td.Runnable]:
    """Runnables of some functions, for each of some inputs."""
    workflow = td.workflow("plugs")
    for number, call in enumerate(calls):
        workflow = workflow.add(td.step(call, name=f"s{number}"))
    for _ in range(inputs):
        workflow = workflow.plan_eagerly(value)
    return workflow.prepare_for_dispatch()[1]


# ------------------------------------------------------------------------------ the scheduler


def test_the_scheduler_keeps_its_promises():
    """The kit finds nothing."""
    report = check_scheduler(FairScheduler)

    assert report.singles == report.runnables


def test_inputs_take_turns():
    """An input of one item does not wait behind one of three."""
    workflow = td.workflow("shop").add(td.map(str, name="item"))
    workflow = workflow.plan_eagerly(["a", "b", "c"]).plan_eagerly(["x"]).react()
    bundles = FairScheduler().plan(workflow.prepare_for_dispatch()[1], None)

    assert [(bundle.runnables[0].args[0], bundle.reason) for bundle in bundles] == [
        ("a", "turn 1 of input 0"),
        ("x", "turn 1 of input 1"),
        ("b", "turn 2 of input 0"),
        ("c", "turn 3 of input 0"),
    ]


def test_who_has_used_least_time_begins():
    """Time counts, and not the order of arrival; what was not measured costs nothing."""
    scheduler = FairScheduler()
    runnables = ready(abs, inputs=3)
    for seconds, runnable in zip((2.0, 1.0, None), runnables, strict=True):
        scheduler.observe(structs.replace(td.execute_runnable(runnable), seconds=seconds))

    bundles = scheduler.plan(runnables, None)

    assert [bundle.runnables[0].input for bundle in bundles] == [2, 1, 0]


def test_what_it_remembers_has_a_limit(monkeypatch):
    """The inputs that were not heard of for longest are forgotten."""
    monkeypatch.setattr(fair_scheduler, "REMEMBERED", 2)
    scheduler = FairScheduler()
    for runnable in ready(abs, inputs=3):
        scheduler.observe(td.execute_runnable(runnable))

    assert [number for _, number in scheduler.used_s] == [1, 2]


# ------------------------------------------------------------------------------- the executor


def give(executor: Any, *bundles: td.Bundle) -> list[list[td.Outcome]]:
    """What an executor answers to some bundles."""
    answers: SimpleQueue[tuple[int, list[td.Outcome]]] = SimpleQueue()
    executor.open(lambda number, outcomes: answers.put((number, outcomes)))
    try:
        for number, bundle in enumerate(bundles):
            executor.submit(number, bundle)
        found = dict(answers.get(timeout=PATIENCE_S) for _ in bundles)
    finally:
        executor.close()
    return [found[number] for number in range(len(bundles))]


@pytest.mark.slow
def test_the_executor_keeps_its_promises():
    """The kit finds nothing, and leaves nothing out."""
    report = check_executor(lambda: CommandExecutor(capacity=2), portable=True)

    assert report.skipped == {}


@pytest.mark.slow
def test_a_worker_is_kept_for_the_next_bundle():
    """Starting one is what costs: two bundles after one another run in one process."""
    bundles = [td.Bundle(runnables=(each,)) for each in ready(os.nice, inputs=2, value=1)]
    first, second = give(CommandExecutor(capacity=1), *bundles)

    assert second[0].value == min(first[0].value + 1, 19)


@pytest.mark.slow
def test_any_command_will_do_that_ends_in_the_worker():
    """Here `nice`: the body sees that it runs with less urgency than we do."""
    gentle = CommandExecutor(["nice", "-n", "7", *command_executor.WORKER])
    ((outcome,),) = give(gentle, td.Bundle(runnables=tuple(ready(os.nice, value=0))))

    assert outcome.value == min(os.nice(0) + 7, 19)


@pytest.mark.slow
def test_what_a_body_prints_does_not_get_into_the_answer(capfd):
    """It goes where errors go."""
    ((outcome,),) = give(CommandExecutor(), td.Bundle(runnables=tuple(ready(print, value="hello"))))

    assert (outcome.status, outcome.value) == ("ok", None)
    assert "hello" in capfd.readouterr().err


DIED = td.errors.WorkerDied
COMMANDS: dict[str, tuple[list[str], type[Exception], str]] = {
    "is none": (["/no/such/command"], FileNotFoundError, "/no/such/command"),
    "says nothing": ([sys.executable, "-c", ""], DIED, "gave no answer"),
    "dies": ([sys.executable, "-c", "import os; os._exit(9)"], DIED, "ended with exit code 9"),
    "says something else": ([sys.executable, "-c", "print('Welcome!')"], DIED, "gave no answer"),
}


@pytest.mark.parametrize(("command", "kind", "text"), COMMANDS.values(), ids=COMMANDS)
def test_a_command_that_is_no_worker_fails_the_bundle(command, kind, text):
    """Each runnable has its failed outcome, and nobody waits for ever."""
    (outcomes,) = give(CommandExecutor(command), td.Bundle(runnables=tuple(ready(abs, str))))

    assert [outcome.status for outcome in outcomes] == ["failed", "failed"]
    assert isinstance(outcomes[0].exception, kind)
    assert text in str(outcomes[0].exception)


# ------------------------------------------------------------------------------------ together


@pytest.mark.slow
def test_a_runner_takes_both():
    """One component goes to the command, the rest stays here, and inputs take turns."""
    workflow = td.workflow("places").add(td.step(abs, name="here"))
    workflow = workflow.add(td.step(os.nice, name="there"), to="here")
    executors = {"gentle": CommandExecutor(["nice", "-n", "7", *command_executor.WORKER])}
    policies = {"there": td.Policy(executor="gentle")}
    with td.Runner(executors=executors, scheduler=FairScheduler(), policies=policies) as runner:
        runner.start(workflow, "one")
        results = [runner.run("one", 0).result(timeout=PATIENCE_S) for _ in range(2)]

    assert results == [{"there": min(os.nice(0) + 7, 19)}] * 2
