"""Let all runs of a workflow go on that have something to do, side by side; each is one line in the end."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from typing import Any, Final

import msgspec

from treadle.cli.driving import Plugs
from treadle.cli.ending import FAILED, complain
from treadle.cli.interrupts import Interrupts, code_of
from treadle.cli.loading import Loaded, codec_for
from treadle.cli.places import opened
from treadle.cli.running import stdout_for_us
from treadle.cli.screen import unlogged
from treadle.cli.terminal import clean
from treadle.errors import TreadleError
from treadle.interfaces import RunInfo
from treadle.runner.record import WAITING
from treadle.runner.runner import AsyncRunner
from treadle.runner.stimuli import RUNNING

BAD: Final = frozenset({"failed", "halted", "cancelled"})


def resume_all(
    loaded: Loaded, plugs: Plugs, url: str, drain_s: float, *, is_json: bool, is_strict: bool
) -> int:
    """Go on with the runs of a workflow; the exit code."""
    with opened(url) as store:
        listed = store.list(workflow=loaded.workflow.name)
    infos = [info for info in listed if info.status in {RUNNING, WAITING}]
    with stdout_for_us() as stream, unlogged():

        def tell(row: dict[str, Any]) -> None:
            line = msgspec.json.encode(row) if is_json else line_of(row).encode()
            stream.write(line + b"\n")
            stream.flush()

        going_on = GoingOn(loaded, plugs, url, drain_s, tell)
        code = asyncio.run(going_on.run(infos))
    if not is_json:
        print(f"{len(infos)} run{'s' * (len(infos) != 1)} of {clean(loaded.workflow.name)} went on")
    return code or (FAILED if is_strict and going_on.has_bad else 0)


class GoingOn:
    """Runs that go on side by side."""

    def __init__(self, loaded: Loaded, plugs: Plugs, url: str, drain_s: float, tell: Any) -> None:
        self.loaded = loaded
        self.plugs = plugs
        self.url = url
        self.drain_s = drain_s
        self.tell = tell
        self.has_bad = False

    async def run(self, infos: list[RunInfo]) -> int:
        """All of them, until nothing is left to do, or a signal comes; the exit code."""
        loop, signalled = asyncio.get_running_loop(), asyncio.Event()
        came: list[int] = []

        def hear(number: int) -> None:
            came.append(number)
            loop.call_soon_threadsafe(signalled.set)

        runner = AsyncRunner(
            store=self.url,
            codec=codec_for(self.loaded),
            recover=False,
            executor=self.plugs.executor,
            executors=self.plugs.executors,
            policies=self.plugs.policies,
            scheduler=self.plugs.scheduler,
            on_code_change=self.plugs.on_code_change,
        )
        try:
            with Interrupts(hear):
                each = [asyncio.create_task(self._one(runner, info.id)) for info in infos]
                everything = asyncio.ensure_future(asyncio.gather(*each))
                stopping = asyncio.create_task(signalled.wait())
                both: list[asyncio.Future[Any]] = [everything, stopping]
                await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
                stopping.cancel()
                if came:
                    print("treadle: what is under way is finished.", file=sys.stderr, flush=True)
                    everything.cancel()
                    return code_of(came[0])
                return FAILED if not all(everything.result()) else 0
        finally:
            await runner.close(self.drain_s)

    async def _one(self, runner: AsyncRunner, run_id: str) -> bool:
        """One run; whether it came to where nothing is left to do."""
        try:
            await runner.start(
                self.loaded.workflow,
                run_id,
                if_exists="resume",
                max_concurrency=self.plugs.max_concurrency,
            )
            status = await runner.wait(run_id)
            workflow = await runner.get_workflow(run_id)
        except TreadleError as error:
            complain(str(error))
            return False
        counts = Counter(entry["status"] for entry in workflow.inputs())
        self.has_bad |= bool(BAD & set(counts))
        self.tell({"type": "run", "id": run_id, "status": status, "inputs": dict(counts)})
        return status == "idle"


def line_of(row: dict[str, Any]) -> str:
    """One run for people."""
    counts = ", ".join(f"{count} {status}" for status, count in sorted(row["inputs"].items()))
    return f"{clean(row['id'])}: {row['status']}, inputs: {counts or 'none'}"
