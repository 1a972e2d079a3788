"""Large values stay in a cluster between plain steps where no log is to have them, and leave it where one is."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

import pytest

import treadle as td
from tests.executors.clusters import large, made_in, make_homebody
from tests.executors.ray_cluster import ray_cluster
from treadle.model.remote import Remote

pytestmark = pytest.mark.slow


def length(value: Any) -> int:
    """Tell how long a value is."""
    return len(value)


@contextmanager
def dask_executor() -> Iterator[Any]:
    """An executor over a Dask cluster of its own."""
    from treadle.executors.dask import DaskExecutor

    yield DaskExecutor(n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0")


@contextmanager
def ray_executor() -> Iterator[Any]:
    """An executor that uses the connection of the process."""
    from treadle.executors.ray import RayExecutor

    with ray_cluster():
        yield RayExecutor()


def needs(module: str) -> pytest.MarkDecorator:
    """Skip what needs a library that is not installed."""
    return pytest.mark.skipif(find_spec(module) is None, reason=f"{module} is not installed")


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(dask_executor, marks=needs("distributed"), id="dask"),
        pytest.param(ray_executor, marks=needs("ray"), id="ray"),
    ],
)
def runner(request: pytest.FixtureRequest) -> Iterator[Any]:
    """A runner over a cluster of its own."""
    with (
        request.param() as cluster,
        td.Runner(executor="inline", executors={"cluster": cluster}) as runner,
    ):
        yield runner


def test_a_value_between_two_steps_of_a_cluster_never_comes_here(runner: Any) -> None:
    """It would refuse to be rebuilt in this process; the fact holds what stands for it."""
    workflow = td.workflow("stay", steps=[(make_homebody, [made_in])])
    runner.start(workflow, "stay", durability="none", policies={"*": td.Policy(executor="cluster")})
    found = runner.run("stay", os.getpid()).result(60)
    facts = runner.get_workflow("stay").productions_by_component()

    assert found["made_in"] != os.getpid()
    assert isinstance(facts["make_homebody"][0].value, Remote)


def test_a_value_that_a_log_is_to_have_comes_here(runner: Any) -> None:
    """With a store there is nothing to stand for it, so that the same step fails."""
    workflow = td.workflow("leave", steps=[(make_homebody, [made_in])])
    runner.start(workflow, "leave", policies={"*": td.Policy(executor="cluster")})

    with pytest.raises(td.errors.StepFailed, match="make_homebody"):
        runner.run("leave", os.getpid()).result(60)


def test_a_value_goes_where_a_step_needs_it(runner: Any) -> None:
    """A step that does not run in the cluster, and an output, get the value itself."""
    workflow = td.workflow("go", steps=[(large, [length])])
    runner.start(
        workflow,
        "go",
        durability="none",
        policies={"large": td.Policy(executor="cluster"), "length": td.Policy(executor="threads")},
    )
    count = runner.run("go", "x").result(60)["length"]
    runner.start(
        td.workflow("out", steps=[large]),
        "out",
        durability="none",
        policies=td.Policy(executor="cluster"),
    )

    assert count == len(runner.run("out", "x").result(60)["large"])
