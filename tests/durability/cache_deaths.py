"""A runner is killed before each single statement that its store executes once something was computed to be cached.

Run it by itself, for all deaths: `python -m tests.durability.cache_deaths 1000`; the number says after how many deaths
that came too late for the result to be lost it ends.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from threading import active_count
from typing import Any

import treadle as td
from tests.durability.places import quick_place
from tests.stores.sqlite.places import below
from treadle.codec import Codec
from treadle.model.events import Applied
from treadle.stores.sqlite import SqliteStore, connections

WANTED = {"of": 3, "large": "large " * 2_000}
"""What the step gives; it needs several pages of the file."""

PATIENCE_S = 20.0


class Death:
    """Comes before a statement, so many after the step was called; `at` None: never."""

    def __init__(self, at: int | None) -> None:
        self.at = at
        self.count = 0
        self.is_armed = False

    def trace(self, _: str) -> None:
        """One more statement."""
        if self.is_armed:
            self.count += 1
            if self.count == self.at:
                os.kill(os.getpid(), signal.SIGKILL)


def live(place: Path, death: Death) -> None:
    """Compute something, and find it again in another run."""

    def compute(x: int) -> dict[str, Any]:
        """Note that it was called, and give what is to be cached."""
        with open(place / "calls", "a") as calls:
            calls.write(f"{x}\n")
        death.is_armed = True
        return {**WANTED, "of": x}

    opens: Any = connections
    plain = opens.connect

    def traced(*given: Any, **options: Any) -> Any:
        connection = plain(*given, **options)
        connection.set_trace_callback(death.trace)
        return connection

    opens.connect = traced
    workflow = td.workflow("work").add(td.step(compute, name="compute"))
    workflow = workflow.with_policies({"compute": td.Policy(cache=td.Cache())})
    with td.Runner(store=SqliteStore(place / "runs.db", Codec()), workflows=[workflow]) as runner:
        for run_id in ("a", "b"):
            runner.start(workflow, run_id, if_exists="resume")
            found = runner.run(run_id, 3, key="k").result(PATIENCE_S)
            assert found == {"compute": WANTED}, found


def in_a_process(place: Path, do: Callable[[], None]) -> bool:
    """Do it in a child; whether it was killed."""
    pid = os.fork()
    if not pid:
        try:
            do()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    assert os.WIFSIGNALED(status) or os.waitstatus_to_exitcode(status) == 0, place
    return os.WIFSIGNALED(status)


def examine(place: Path) -> tuple[bool, bool]:
    """Whether the result is cached, and whether it is in the log of its run; what is there has to be whole."""
    codec, is_kept = Codec(), False
    with below(place / "runs.db") as connection:
        keys = [key for (key,) in connection.execute("SELECT key FROM cache")]
    with closing(SqliteStore(place / "runs.db", codec)) as store:
        assert store.verify() == []
        for key in keys:
            body = store.cached(key)
            assert body is not None, key
            if not key.startswith("newest"):
                kept = codec.decode(body)
                assert (kept["value"], kept["run"]) == (WANTED, "a"), kept
                is_kept = True
        assert len(keys) == 2 * is_kept, keys
        log = store.load("a").events
    return is_kept, any(isinstance(each, Applied) and each.value == WANTED for each in log)


def deaths(place: Path, most_late: int) -> dict[str, int]:
    """One death before each statement; what was there after it, and how often the step was called in the end."""
    seen: Counter[str] = Counter()
    calm = place / "calm"
    calm.mkdir()
    live(calm, Death(None))  # what is imported late need not be by each child
    assert active_count() == 1, "a process that forks has no other threads"
    for at in range(1, 1_000):
        folder = place / str(at)
        folder.mkdir()
        is_dead = in_a_process(folder, lambda at=at, to=folder: live(to, Death(at)))  # type: ignore[misc]
        if not is_dead:
            break
        is_kept, is_stored = examine(folder)
        assert not is_stored or is_kept, at
        in_a_process(folder, lambda to=folder: live(to, Death(None)))  # type: ignore[misc]
        assert examine(folder) == (True, True)
        calls = len((folder / "calls").read_text().splitlines())
        assert calls == (1 if is_kept else 2), (at, calls)
        seen["deaths"] += 1
        seen["stored" if is_stored else "kept only" if is_kept else "nothing"] += 1
        if seen["stored"] == most_late:
            break
    return dict(seen)


if __name__ == "__main__":
    with quick_place() as made:
        sys.stdout.write(json.dumps(deaths(Path(made), int(sys.argv[1]))))
