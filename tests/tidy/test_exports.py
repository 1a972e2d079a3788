"""The public names: complete, sorted, and still working when every module has been imported.

Importing `treadle.x` sets the attribute `x` of the package. A module that shares a public name
would so replace that name the first time somebody imports it; hence everything is imported first.
"""

import importlib
import inspect
import pkgutil
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

import treadle as td


def import_all() -> list[str]:
    """Import every module of the package, and give their names."""
    names = [
        module.name
        for module in pkgutil.walk_packages(td.__path__, prefix="treadle.")
        if not module.name.endswith(".__main__")  # importing it would run the program
    ]
    for name in names:
        importlib.import_module(name)
    return names


MODULES = import_all()

# What a beginner would write, one call for each callable name of the public API.
CALLS: dict[str, Callable[[], object]] = {
    "AsyncRunner": lambda: inspect.iscoroutinefunction(td.AsyncRunner.start),
    "Cache": lambda: td.Cache(extras=("model-v3",), ttl_s=3600),
    "CircuitBreaker": lambda: td.CircuitBreaker(failures=3, reset_s=10),
    "Hooks": lambda: td.Hooks(on_idle=print),
    "Limit": lambda: td.Limit(3, key="gpu"),
    "Observer": lambda: td.Observer(),
    "Policy": lambda: td.Policy(max_retries=3),
    "RateLimit": lambda: td.RateLimit(10, per_s=1),
    "Restarts": lambda: td.Restarts(3, 60),
    "Retention": lambda: td.Retention(finished_for_s=86400),
    "RetryBudget": lambda: td.RetryBudget(ratio=0.1),
    "RetryWith": lambda: td.RetryWith(model="small"),
    "Runner": lambda: td.Runner(executor="inline").close(),
    "Workflow": lambda: td.Workflow.from_log(doubling(), finished().log()),
    "accumulator": lambda: td.accumulator(add, initial=0),
    "aexecute_runnable": lambda: td.aexecute_runnable(prepared()).close(),
    "all_of": lambda: td.all_of(td.gt(1), td.lt(5)),
    "all_values": lambda: td.all_values("double"),
    "any_of": lambda: td.any_of(td.lt(1), td.gt(5)),
    "anything": lambda: td.match(name=td.anything()),
    "attempt": lambda: td.attempt(),
    "between": lambda: td.between(1, 5),
    "collect": lambda: td.collect(),
    "condition": lambda: td.condition(is_big),
    "context": lambda: td.context("model", default="small"),
    "count": lambda: td.count("double"),
    "error_of": lambda: td.error_of("double"),
    "execute_runnable": lambda: td.execute_runnable(prepared()),
    "failed_outcome": lambda: td.failed_outcome(prepared(), RuntimeError("lost")),
    "ge": lambda: td.ge(1),
    "gt": lambda: td.gt(1),
    "idempotency_key": lambda: td.idempotency_key(),
    "transaction": lambda: td.transaction(),
    "instance": lambda: td.instance(int),
    "latest": lambda: td.latest("double"),
    "le": lambda: td.le(1),
    "lt": lambda: td.lt(1),
    "map": lambda: td.map(double),
    "match": lambda: td.match(items=list, customer_id=str),
    "ne": lambda: td.ne(1),
    "not_": lambda: td.not_(td.gt(1)),
    "of_kind": lambda: td.of_kind("map"),
    "one_of": lambda: td.one_of("a", "b"),
    "only": lambda: td.only({"*": td.Policy()}),
    "ran": lambda: td.ran("double"),
    "reduce": lambda: td.reduce(add, initial=0),
    "regex": lambda: td.regex("a+"),
    "rule": lambda: td.rule(name="big", condition=is_big, reaction=double),
    "state_of": lambda: td.state_of("total"),
    "sleep": lambda: td.sleep(60),
    "step": lambda: td.step(double),
    "timeout_of": lambda: td.timeout_of("approval"),
    "wait_for": lambda: td.wait_for("approval"),
    "workflow": lambda: td.workflow("doubling", steps=[td.step(double)]),
}

# What a workflow hands out, rather than what a user makes: class -> where one comes from.
HANDED_OUT: dict[str, Callable[[], object]] = {
    "Bundle": lambda: td.Bundle(runnables=(prepared(),)),
    "Choice": lambda: td.Choice("yes", "Yes"),
    "Field": lambda: td.Field(name="approved", kind="boolean"),
    "Form": lambda: form(),
    "OpenWait": lambda: open_wait(),
    "Ticket": lambda: ticket(),
    "Fact": lambda: next(iter(finished().facts())),
    "Failure": lambda: next(iter(finished("not a number").failures())),
    "Outcome": lambda: td.execute_runnable(prepared()),
    "Runnable": lambda: prepared(),
    "Schedule": lambda: schedule(),
}

VALUES = ["ABSENT", "ALL", "INPUT"]
SUBMODULES = ["errors"]
HELPERS = ["annotations", "Any", "TYPE_CHECKING", "import_module"]


def double(number: int) -> int:
    """Give twice the number; fails for what has no half."""
    return number // 1 * 2


def add(total: int, number: int) -> int:
    """Fold a number into a total."""
    return total + number


def is_big(number: int) -> bool:
    """Tell whether a number is big."""
    return number > 5


def doubling() -> Any:
    """Give a workflow of one step."""
    return td.workflow("doubling", steps=[td.step(double)])


def prepared() -> Any:
    """Give a piece of ready work."""
    _, (runnable,) = doubling().plan_eagerly(21).prepare_for_dispatch()
    return runnable


def finished(given: Any = 21) -> Any:
    """Give a workflow that has done its work."""
    return doubling().react_until_satisfied(given)


def ticket() -> Any:
    """Give what `run` gives."""
    with td.Runner(executor="inline") as runner:
        return runner.run(runner.start(doubling()), 21)


def open_wait() -> Any:
    """Give what `waiting` of a runner lists."""
    with td.Runner(executor="inline") as runner:
        runner.run(runner.start(td.workflow("asking").add(td.wait_for("approval"))), 21)
        return runner.waiting()[0]


def form() -> Any:
    """Give what is asked there."""
    return open_wait().form


def schedule() -> Any:
    """Give what `schedules` lists."""
    with td.Runner(executor="inline") as runner:
        runner.schedule("hourly", "0 * * * *", doubling(), 21)
        return runner.schedules()[0]


def test_all_is_sorted_and_complete() -> None:
    """`__all__` has every public name once, in order, and no name that is missing."""
    for name in td.__all__:  # some are imported only now
        getattr(td, name)
    public = {
        name
        for name, value in vars(td).items()
        if not name.startswith("_")
        and name not in HELPERS
        and (not isinstance(value, ModuleType) or name in SUBMODULES)
    }

    assert list(td.__all__) == sorted(set(td.__all__))
    assert {*td.__all__} - {"__version__"} == public


def test_every_public_name_is_tried_here() -> None:
    """A new public name needs a row in one of the tables above."""
    tried = [*CALLS, *HANDED_OUT, *VALUES, *SUBMODULES]

    assert sorted(tried) == sorted({*td.__all__} - {"__version__"})


def test_no_module_shares_a_public_name() -> None:
    """No `treadle.x` is both a module and something else, so imports replace nothing."""
    modules = {name.split(".")[1] for name in MODULES}

    assert modules & {*td.__all__} == {*SUBMODULES}


@pytest.mark.parametrize("name", sorted(CALLS))
def test_callable_works_when_all_is_imported(name: str) -> None:
    """Each callable name takes a beginner's arguments without raising."""
    assert callable(getattr(td, name))

    CALLS[name]()


@pytest.mark.parametrize("name", sorted(HANDED_OUT))
def test_class_is_of_what_a_workflow_hands_out(name: str) -> None:
    """Each class is the class of the thing it names."""
    assert isinstance(HANDED_OUT[name](), getattr(td, name))


@pytest.mark.parametrize("name", VALUES)
def test_value_says_its_name(name: str) -> None:
    """A value that stands for itself shows under its public name."""
    assert repr(getattr(td, name)) == f"treadle.{name}"


def test_errors_is_the_module_of_errors() -> None:
    """`td.errors` has the hierarchy."""
    assert issubclass(td.errors.UsageError, td.errors.TreadleError)
