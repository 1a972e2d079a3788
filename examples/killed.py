"""Order fulfilment, killed in the middle: the same command goes on where it was, and nothing is lost.

    python examples/killed.py

It runs `treadle run` on a store in the folder `.demo`, ends it with SIGKILL when half of the work is done, runs the
same command again, and counts: the services keep a book of their calls, and the run keeps a log of what came of them.
What was under way when it was killed was called twice; what was finished was not.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

EXAMPLES = Path(os.path.relpath(Path(__file__).parent))
SERVICES = ("check_inventory", "screen_fraud", "estimate_shipping")
KILLED_AFTER = 450
"""So many calls; there are some 900."""

TREADLE = (sys.executable, "-m", "treadle")


def main(folder=Path(".demo"), pace=1.0):
    """Run, kill, run again, and say what was lost (nothing), and what was done twice."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    book, store = folder / "calls.txt", ("--store", str(folder / "orders.db"))
    book.touch()
    orders = ("--inputs", str(EXAMPLES / "orders.jsonl"))
    command = ("run", str(EXAMPLES / "order_fulfillment.py"), *orders, *store, "--id", "orders")
    quickly = () if pace == 1 else ("--context", json.dumps({"_global": {"pace": pace}}))

    print("treadle", *command, flush=True)
    kill_in_the_middle([*TREADLE, *command, *quickly], book)
    print("\ntreadle", *command, flush=True)
    again = [*TREADLE, *command, *quickly]
    subprocess.run(again, env=noting_in(book), check=True)  # noqa: S603 - our own words
    logs = [*TREADLE, "logs", "orders", *store, "--json"]
    log = subprocess.run(logs, stdout=subprocess.PIPE, check=True)  # noqa: S603 - as above
    events = [json.loads(line) for line in log.stdout.splitlines()]
    accepted = sum(event["event"] == "InputAccepted" for event in events)
    calls = len(book.read_text(encoding="utf-8").splitlines())
    counted = calls_in(events)
    lines = Path(orders[1]).read_text(encoding="utf-8").splitlines()
    print()
    print(f"killed once, and nothing was lost: {accepted} of {len(lines)} orders, each taken once;")
    print(f"{counted} calls came back, and {calls - counted} that were under way were made twice")


def kill_in_the_middle(command, book):
    """Run it until half of the calls are made, and no further."""
    with subprocess.Popen(command, env=noting_in(book)) as process:  # noqa: S603 - our own words
        while process.poll() is None and book.read_bytes().count(b"\n") < KILLED_AFTER:
            time.sleep(0.005)
        process.kill()
    if sys.stdout.isatty():
        print("\x1b[?25h")  # who is killed leaves the cursor hidden
    print(f"killed by SIGKILL, after {len(book.read_bytes().splitlines())} calls", flush=True)


def calls_in(events):
    """Count the calls of which the log tells what came of them; what a fallback gave was no call."""
    kinds: Counter[str] = Counter()
    for event in events:
        if event.get("node") in SERVICES:
            kinds[event["event"]] += 1
            kinds["fallbacks"] += event.get("fallback") is True
    return kinds["Applied"] + kinds["Failed"] + kinds["AttemptFailed"] - kinds["fallbacks"]


def noting_in(book):
    """Give an environment in which the services note their calls."""
    return {**os.environ, "ORDERS_BOOK": str(book)}


if __name__ == "__main__":
    main()
