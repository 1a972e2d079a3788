"""Three runners on one PostgreSQL, one of which is killed in the middle: the others go on with what it had.

    python -m examples.fleet

It starts a PostgreSQL of its own and three processes, each with a runner and 20 orders. Twice a second it shows who has
which order. When a third of the work is done, one of the three is ended with SIGKILL; its orders stay where they are
until their leases run out, and then the other two take them over. The bank takes five charges at a time, from all of
them together. At the end the logs are read, and counted.
"""

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from itertools import accumulate
from pathlib import Path
from typing import Any

import treadle as td
from tests.stores.postgres.server import NoServer, new_server, remove
from treadle.codec import Codec
from treadle.model.events import Applied
from treadle.stores.postgres import PostgresStore

STEPS = ("reserve", "charge", "pack", "ship")
RUNNERS = 3
ORDERS = 60
LEASE_S = 2.0
POLL_S = 0.1
AT_ONCE = 4
"""So many steps a runner executes at a time."""
CHARGES = 5
"""So many charges the bank takes at a time, whoever sends them."""
KILLED_AFTER = 1 / 3
"""So much of the work is done when one is killed."""

LIMIT_S = 60
PACE = float(os.environ.get("FLEET_PACE", "1"))


# ---------------------------------------------------------------------------------- a runner


def at_work(name):
    """Make a step that writes to the ledger that it begins, and takes its time."""

    def work(order, *, key=td.idempotency_key()):
        note(key, name, "begun")
        time.sleep(random.uniform(0.2, 0.6) * PACE)  # as long as such things take
        note(key, name, "ended")
        return order

    return td.step(work, name=name)


def note(key, step, what):
    """Write into the ledger; its clock is the machine's, and so the same for all processes."""
    line = {"key": key, "step": step, "what": what, "process": os.getpid(), "at": time.monotonic()}
    with Path(os.environ["FLEET_BOOK"]).open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def order_flow():
    """Make an order's way: one step after the other."""
    bank = td.Policy(max_concurrency=td.Limit(CHARGES, key="bank"))
    flow = td.workflow("order", policies={"charge": bank})
    for before, name in zip((None, *STEPS), STEPS, strict=False):
        flow = flow.add(at_work(name), to=before)
    return flow


def serve(conninfo, *orders):
    """Be one of the runners: begin these orders, go on with what others leave behind, until told to end."""
    flow = order_flow()
    with td.Runner(
        executor=f"threads:{AT_ONCE}",
        store=conninfo,
        workflows=[flow],
        lease_s=LEASE_S,
        poll_s=POLL_S,
    ) as runner:
        for order in orders:
            runner.start(flow, order)
            runner.run(order, order, key=order)
        print("ready", flush=True)
        sys.stdin.read()


# --------------------------------------------------------------------------------- the fleet


class Fleet:
    """The processes, and what can be seen of their runs from outside: in the database."""

    def __init__(self, conninfo, folder, pace, orders):
        self.store = PostgresStore(conninfo, Codec())
        self.book = folder / "book"
        self.book.touch()
        self.begun_at = time.monotonic()
        self.processes = [
            begin(conninfo, self.book, pace, names(orders)[number::RUNNERS])
            for number in range(RUNNERS)
        ]
        self.killed: Any = None
        self.adopted_after_s: Any = None
        self.killed_at = 0.0
        self.shown_at = 0.0

    def look(self):
        """Say of each order who has it: its runner's digit, x for the one that was killed, a dot if it is done."""
        marks = ""
        digits = {process.pid: str(n) for n, process in enumerate(self.processes, 1)}
        if self.killed is not None:
            digits[self.killed.pid] = "x"
        for info in sorted(self.store.list(), key=lambda info: info.id):
            if info.status == "idle":
                marks += "."
            else:
                marks += "?" if info.owner is None else digits[int(info.owner.split(":")[1])]
        return marks

    def kill_one(self):
        """End the last of them, without a word."""
        self.killed = self.processes[-1]
        self.killed.kill()
        self.killed.wait()
        self.killed_at = time.monotonic()

    def show(self, marks, text=""):
        """Print a line, twice a second or when there is something to say."""
        now = time.monotonic()
        if text or now > self.shown_at + 0.5:
            self.shown_at = now
            done = f"{marks.count('.'):3} done"
            print(f"{now - self.begun_at:5.1f} s  {marks}  {done}  {text}".rstrip(), flush=True)

    def watch(self, orders):
        """Look on until all orders are done, and kill one of the runners meanwhile."""
        while time.monotonic() < self.begun_at + LIMIT_S:
            marks = self.look()
            if marks == "." * orders and self.adopted_after_s is not None:
                self.show(marks, "all orders are done")
                return
            self.show(marks)
            if self.killed is None and len(self.calls()) > KILLED_AFTER * orders * len(STEPS):
                self.kill_one()
                self.show(self.look(), "runner 3 was killed (x)")
            elif self.killed is not None and self.adopted_after_s is None and "x" not in marks:
                self.adopted_after_s = time.monotonic() - self.killed_at
                self.show(marks, "all that it had is with the others")
            time.sleep(0.05)
        raise TimeoutError(f"not all orders were done within {LIMIT_S} s")

    def calls(self, what="begun"):
        """Read the ledger: each time that a step was begun, or ended."""
        lines = [json.loads(line) for line in self.book.read_text(encoding="utf-8").splitlines()]
        return [line for line in lines if line["what"] == what]

    def most_charges(self):
        """Count how many charges were under way at most at the same moment, at all runners together."""
        ended = {(call["key"], call["process"]): call["at"] for call in self.calls("ended")}
        steps = []
        for call in self.calls():
            if call["step"] == "charge":
                end = ended.get((call["key"], call["process"]), self.killed_at)
                steps += [(call["at"], 1), (end, -1)]
        return max(accumulate(change for _, change in sorted(steps)))

    def findings(self, orders):
        """Count what the logs and the ledger say."""
        outcomes: Counter[tuple[str, str]] = Counter()
        for name in names(orders):
            for event in self.store.load_all(name).events:
                if isinstance(event, Applied):
                    outcomes[name, event.node] += 1
        times = Counter(call["key"] for call in self.calls())
        wanted = {(name, step) for name in names(orders) for step in STEPS}
        return {
            "orders": orders,
            "lost": len(wanted - outcomes.keys()),
            "applied_twice": sum(count > 1 for count in outcomes.values()),
            "executed_twice": sum(count > 1 for count in times.values()),
            "most_executions": max(times.values()),
            "adopted_after_s": round(self.adopted_after_s, 1),
            "most_charges": self.most_charges(),
            "damaged": len(self.store.verify()),
        }

    def close(self):
        """Let them end, and whoever does not is killed."""
        for process in self.processes:
            process.stdin.close()
        for process in self.processes:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            process.stdout.close()
        self.store.close()


def names(orders):
    """Give the orders' names."""
    return [f"order-{number:02}" for number in range(orders)]


def begin(conninfo, book, pace, orders):
    """Start one of the processes."""
    root = Path(__file__).resolve().parent.parent
    paths = [str(root), *filter(None, sys.path)]
    return subprocess.Popen(  # noqa: S603 - our own words
        [sys.executable, "-m", "examples.fleet", conninfo, *orders],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(paths),
            "FLEET_BOOK": str(book),
            "FLEET_PACE": str(pace),
        },
    )


def main(orders=ORDERS, pace=1.0):
    """Run the fleet, and say what came of it; None where no server can be started."""
    with ExitStack() as stack:
        try:
            server = new_server()
        except NoServer as error:
            print(f"no PostgreSQL can be started here, so there is nothing to see: {error}")
            return None
        stack.callback(remove, server)
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        fleet = Fleet(server.conninfo, folder, pace, orders)
        stack.callback(fleet.close)
        for process in fleet.processes:
            if process.stdout.readline() != b"ready\n":
                sys.exit("a runner did not begin")
        print(
            f"{orders} orders with {RUNNERS} runners (1, 2, 3) on one database; a dot is an order that is done"
        )
        fleet.watch(orders)
        found = fleet.findings(orders)
    print()
    print("{orders} orders; outcomes lost: {lost}, applied twice: {applied_twice}".format(**found))
    print(
        "steps executed twice: {executed_twice} (what the killed one had under way)".format(**found)
    )
    print(
        "after {adopted_after_s} s all of its orders were with the others; ".format(**found)
        + f"the lease is {LEASE_S:g} s"
    )
    print(f"charges at the same time: {found['most_charges']} at most, and {CHARGES} are allowed")
    is_exceeded = found["most_charges"] > CHARGES
    if found["lost"] or found["applied_twice"] or found["damaged"] or is_exceeded:
        sys.exit("this should not be")
    return found


if __name__ == "__main__":
    if len(sys.argv) > 1:
        serve(*sys.argv[1:])
    else:
        main()
