"""Every executor keeps the promises of the protocol."""

from collections.abc import Iterator
from concurrent.futures import Executor as Pool
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context

import pytest

from treadle.executors.aio import AsyncioExecutor
from treadle.executors.futures import FuturesExecutor
from treadle.executors.inline import InlineExecutor
from treadle.executors.pool import DemandPool
from treadle.executors.processes import ProcessExecutor
from treadle.executors.threads import ThreadExecutor
from treadle.testing.executors import CHECKS, check_executor

WAITING = {"capacity", "cancel queued", "cancel running", "close"}


@pytest.fixture
def threads() -> Iterator[Pool]:
    """A pool of threads of the program's own."""
    with ThreadPoolExecutor(2) as pool:
        yield pool


@pytest.fixture
def processes() -> Iterator[Pool]:
    """A pool of processes of the program's own."""
    with ProcessPoolExecutor(2, get_context("forkserver")) as pool:
        yield pool


@pytest.mark.slow
def test_inline():
    """Inline keeps them, as far as there is anything to wait for."""
    report = check_executor(InlineExecutor)

    assert {*report.passed} == {*CHECKS} - WAITING - {"unportable"}


@pytest.mark.slow
def test_asyncio():
    """Tasks of the event loop keep them."""
    report = check_executor(lambda: AsyncioExecutor(2))

    assert {*report.passed} == {*CHECKS} - {"unportable"}


@pytest.mark.slow
def test_threads():
    """Threads keep them."""
    report = check_executor(lambda: ThreadExecutor(2))

    assert {*report.passed} == {*CHECKS} - {"unportable"}


@pytest.mark.slow
def test_demand_pool():
    """The bounded pool keeps them."""
    report = check_executor(lambda: DemandPool(workers=2, buffer=1))

    assert {*report.passed} == {*CHECKS} - {"unportable"}


@pytest.mark.slow
def test_futures_in_threads(threads: Pool):
    """A thread pool of the program's own keeps them."""
    report = check_executor(lambda: FuturesExecutor(threads, 2))

    assert {*report.passed} == {*CHECKS} - {"unportable"}


@pytest.mark.slow
def test_futures_in_processes(processes: Pool):
    """A process pool of the program's own keeps them."""
    report = check_executor(lambda: FuturesExecutor(processes, 2), portable=True)

    assert {*report.passed} == {*CHECKS}


@pytest.mark.slow
@pytest.mark.parametrize("start_method", ["forkserver", "spawn"])
def test_processes(start_method: str):
    """Worker processes keep them, however they are started."""
    report = check_executor(lambda: ProcessExecutor(2, start_method=start_method), portable=True)

    assert {*report.passed} == {*CHECKS}
    assert start_method in report.executor
