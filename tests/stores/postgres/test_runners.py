"""Runners that share one database, and lose it, or each other."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import psycopg
import pytest

import treadle as td
from tests.stores.postgres import worker
from tests.stores.postgres.proxy import Proxy
from treadle.codec import Codec
from treadle.errors import RunElsewhere
from treadle.model.events import Applied
from treadle.stores.postgres import PostgresStore

WAIT_S = 60.0


class Workers:
    """Processes of `worker.py` on one schema."""

    def __init__(self, folder, server, schema):
        self.folder, self.server, self.schema = folder, server, schema
        self.processes = []

    def begin(self, *runs):
        """One more, which feeds these runs; it has done so when this returns."""
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, [str(Path.cwd()), *sys.path])),
            "TREADLE_TEST_FOLDER": str(self.folder),
        }
        name = ["-m", "tests.stores.postgres.worker", self.server.conninfo, self.schema, *runs]
        with open(self.folder / f"errors-{len(self.processes)}", "wb") as errors:
            process = subprocess.Popen(
                [sys.executable, *name],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=environment,
            )
        self.processes.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n", self.errors(process)
        return process

    def errors(self, process):
        """What it said."""
        return (self.folder / f"errors-{self.processes.index(process)}").read_text()

    def ask(self, process, run_id):
        """What it can do with a run."""
        process.stdin.write(run_id.encode() + b"\n")
        process.stdin.flush()
        return json.loads(process.stdout.readline())

    def open_gate(self):
        """Let the work that waits go on."""
        self.folder.joinpath("gate").touch()

    def ledger(self):
        """Every execution of the first step."""
        path = self.folder / "ledger"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def end(self):
        """Let all of them come to their ends."""
        for process in self.processes:
            process.stdin.close()
        for process in self.processes:
            process.wait(WAIT_S)
            process.stdout.close()


@pytest.fixture
def workers(tmp_path, server, store):
    """Whoever still lives after the test is killed."""
    made = Workers(tmp_path, server, store.schema)
    yield made
    for process in made.processes:
        if process.poll() is None:
            process.kill()
            process.wait()
        process.stdin.close()
        process.stdout.close()


def until(condition, what):
    """Wait for something that other processes do."""
    pause = threading.Event()
    for _ in range(int(WAIT_S / 0.01)):
        if condition():
            return
        pause.wait(0.01)
    raise AssertionError(f"it did not come to pass: {what}")


def is_finished(store, run_id):
    """Whether all inputs of a run led to their results."""
    ends = [event for event in store.load(run_id).events if isinstance(event, Applied)]
    return len(ends) == 2 * worker.TOTAL


def examine(store, server, run_id):
    """Every outcome counts once, the results are right, and epochs never go back."""
    events = store.load_all(run_id).events
    ends = Counter((event.node, event.scope) for event in events if isinstance(event, Applied))
    assert set(ends.values()) == {1}
    workflow = td.Workflow.from_log(worker.flow(), events)
    for number in range(worker.TOTAL):
        assert workflow.results("double", input=number) == {"double": number * 2}
    with psycopg.connect(server.conninfo) as connection:
        rows = connection.execute(
            f"SELECT event.epoch FROM {store.schema}.event JOIN {store.schema}.run ON run.pk = event.run "
            "WHERE run.id = %s ORDER BY position",
            (run_id,),
        ).fetchall()
    assert all(before <= after for before, after in pairwise(rows))


@pytest.mark.slow
def test_a_runner_that_was_stopped_past_its_lease_is_fenced(workers, store, server):
    """Another goes on with its run; when it wakes up, nothing that it does counts, and it says why.

    It stays a runner like any other: the run's tickets fail, its other calls say where the run is, read it and feed it.
    """
    first = workers.begin("run")
    until(lambda: any(each["number"] == worker.GATED for each in workers.ledger()), "the gate")
    first.send_signal(signal.SIGSTOP)
    owner = store.info("run").owner
    workers.begin()
    until(lambda: store.info("run").owner not in {None, owner}, "the run is taken over")
    taken = store.info("run")
    workers.open_gate()
    until(lambda: is_finished(store, "run"), "the second finishes the run")
    length = store.info("run").position
    first.send_signal(signal.SIGCONT)
    until(lambda: "with another runner" in workers.errors(first), "the first notices")
    answers = workers.ask(first, "run")
    workers.end()

    why = answers.pop("why")
    assert "'run' is with another runner now" in why
    assert "get_results(id)" in why
    assert answers == {
        **dict.fromkeys(["ticket", "resume", "stop"], "RunElsewhere"),
        "run": repr({"double": 2}),
        **dict.fromkeys(["forget", "remove", "start"], "RunElsewhere"),
        "results": repr({"double": 2 * worker.GATED}),
        "wait": "'idle'",
        "status": "['idle']",
        "new": repr({"double": 2}),
    }
    assert taken.epoch == 2
    assert store.info("run").position == length
    examine(store, server, "run")
    assert store.verify() == []
    assert [process.returncode for process in workers.processes] == [0, 0]


@pytest.mark.slow
def test_the_runs_of_a_killed_runner_are_taken_over(workers, store, server):
    """Of three processes one is killed in the midst of its work: the others finish what it had."""
    runs = [f"run-{number}" for number in range(6)]
    first = workers.begin(*runs)
    workers.begin()
    workers.begin()
    until(lambda: any(each["number"] == worker.GATED for each in workers.ledger()), "the gate")
    first.kill()
    first.wait()
    workers.open_gate()
    until(lambda: all(is_finished(store, run_id) for run_id in runs), "the runs are finished")
    workers.end()

    for run_id in runs:
        examine(store, server, run_id)
    assert store.verify() == []
    others = {each["process"] for each in workers.ledger()} - {first.pid}
    assert others
    assert len({each["key"] for each in workers.ledger()}) == len(runs) * worker.TOTAL
    assert all(each.owner is None for each in store.list())


@pytest.mark.slow
def test_a_runner_waits_for_a_server_that_is_away(own_server, caplog):
    """What is asked of it meanwhile is stored when the server is back; nothing is lost, and nothing fails."""
    store = PostgresStore(own_server.conninfo, Codec())
    flow = td.workflow("w").add(td.step(abs))
    with td.Runner(store=store, workflows=[flow], poll_s=0.02) as runner:
        runner.start(flow, "run")
        for number in range(10):
            runner.run("run", -number, key=f"before {number}").result(WAIT_S)
        own_server.stop("immediate")
        tickets: list[td.Ticket] = []

        def ask():
            tickets.extend(
                runner.run("run", -number, key=f"during {number}") for number in range(10)
            )

        asking = threading.Thread(target=ask)
        asking.start()
        until(lambda: "nothing can be stored now" in caplog.text, "the writer notices")
        own_server.start()
        asking.join(WAIT_S)
        assert [ticket.result(WAIT_S)["abs"] for ticket in tickets] == list(range(10))
    store = PostgresStore(own_server.conninfo, Codec())
    try:
        events = store.load_all("run").events
        ends = Counter(event.scope for event in events if isinstance(event, Applied))
        assert (len(ends), set(ends.values())) == (20, {1})
        assert store.verify() == []
    finally:
        store.close()


@pytest.mark.slow
def test_a_runner_that_is_cut_off_past_its_lease_lets_go(server, store):
    """Another goes on with its run meanwhile; back again, it says so to who waits, and works on with other runs."""
    gate, begun = threading.Event(), threading.Semaphore(0)

    def slow(number):
        begun.release()
        assert gate.wait(WAIT_S)
        return number

    flow = td.workflow("w").add(td.step(slow))
    settings: dict[str, Any] = {"workflows": [flow], "lease_s": 0.5, "poll_s": 0.02}

    def open_one(port):
        return PostgresStore(server.through(port), Codec(), schema=store.schema)

    with (
        Proxy(server.port) as proxy,
        td.Runner(store=open_one(proxy.port), **settings) as far,
        td.Runner(store=open_one(server.port), **settings) as near,
    ):
        far.start(flow, "run")
        ticket = far.run("run", 1)
        assert begun.acquire(timeout=WAIT_S)
        proxy.part()
        assert begun.acquire(timeout=WAIT_S)  # at the other
        gate.set()
        until(lambda: near.get_results("run") == {"slow": 1}, "the other finishes it")
        proxy.join()
        with pytest.raises(RunElsewhere, match="not heard of for too long"):
            ticket.result(WAIT_S)
        assert far.get_results("run") == {"slow": 1}
        far.start(flow, "again")
        assert far.run("again", 2).result(WAIT_S) == {"slow": 2}
    ends = [event for event in store.load("run").events if isinstance(event, Applied)]
    assert len(ends) == 1
    assert store.verify() == []


def test_a_log_that_another_runner_folded_is_written_to_again(open_store):
    """It is as long as it was, and ends otherwise: that is no sign of a server that lost something."""
    made = td.workflow("w").add(td.step(abs))
    settings: Any = {"workflows": [made], "poll_s": 0.01}
    with (
        td.Runner(store=open_store(), **settings) as one,
        td.Runner(store=(store := open_store()), **settings) as two,
    ):
        one.start(made, "run")
        assert one.run("run", -1).result(WAIT_S) == {"abs": 1}
        one.stop("run")
        until(lambda: store.info("run").owner is None, "it was let go of")
        two.resume("run")
        two.continue_as_new("run")
        two.stop("run")
        until(lambda: store.info("run").owner is None, "it was let go of again")
        one.cancel("run")
        assert store.info("run").status == "cancelled"
    assert open_store().verify() == []
