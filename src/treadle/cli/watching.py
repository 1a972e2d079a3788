"""Watch a run from inside the runner's thread: count what its work comes to, and read what became of each input."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from msgspec import Struct

from treadle.cli import account as ends
from treadle.cli.account import Account, Record, Work, starving
from treadle.cli.feed import Given, line_in
from treadle.errors import Forgotten
from treadle.interfaces import Observer
from treadle.model.bundles import Bundle
from treadle.model.events import AttemptFailed
from treadle.model.runnables import OK, SKIPPED, Outcome, Runnable
from treadle.value import Workflow
from treadle.views import status
from treadle.views.graph import graph


class Slot(Struct):
    """A bundle that is out: how many of its runnables have not come back."""

    left: int


class Watcher(Observer):
    """Told by the runner what it does; keeps the account's counts of work, and the inputs that are under way."""

    def __init__(self, account: Account, workflow: Workflow) -> None:
        self.account = account
        listed = graph(workflow)["components"]
        self.gates = [entry["name"] for entry in listed if entry["kind"] == "condition"]
        self.open: dict[int, list[Given]] = {}
        """What was given, by the input it became: two of one key are one input."""
        self.waited_for: set[int] = set()
        """The inputs that nobody has a ticket of: they were open when this began."""
        self.tell_of: Callable[[int], None] = lambda _: None
        """Told of these when they are finished."""
        self.asked: set[int] = set()
        """The inputs whose conditions were counted."""
        self.out: dict[int, dict[str, tuple[Slot, Runnable]]] = {}
        """What runs, by input and id, with the slots that it takes."""
        self.ended: str | None = None
        """How the run came to its end before its time: it was parked, or cancelled by somebody."""
        self.has_ended: Callable[[], None] = lambda: None

    # ------------------------------------------------------------------- told by the runner

    def on_dispatch(self, run_id: str, bundle: Bundle) -> None:  # noqa: ARG002 - there is one run
        """A bundle goes to an executor."""
        slot = Slot(len(bundle.runnables))
        for runnable in bundle.runnables:
            self.out.setdefault(runnable.input, {})[runnable.id] = (slot, runnable)
            self.account.work[runnable.component].running += 1
        effort = self.account.effort
        effort.running += 1
        effort.most_at_once = max(effort.most_at_once, effort.running)

    def on_complete(self, run_id: str, runnable: Runnable, outcome: Outcome) -> None:  # noqa: ARG002
        """Count what an attempt gave. Of a component with inner parts, only its own result is its work done.

        Failures are counted when their input is finished: some, such as a condition's, are no outcomes.
        """
        self._came_back(outcome)
        work = self.account.work[outcome.component]
        if outcome.node == outcome.component:
            work.done += outcome.status == OK
            work.skipped += outcome.status == SKIPPED

    def on_failed(self, run_id: str, runnable: Runnable, outcome: Outcome, then: str) -> None:  # noqa: ARG002
        """Count a failed attempt by what follows it."""
        self._came_back(outcome)
        work = self.account.work[outcome.component]
        work.retried += then == "retry"
        work.fell_back += then == "fallback"
        givens = self.open.get(outcome.scope[0])
        if then in ends.ON_THE_WAY and outcome.error is not None and givens:
            group = self.account.group(outcome.component, outcome.error, ends.ON_THE_WAY[then])
            group.add(outcome.error, outcome.scope[0], givens[0])

    def on_input(self, run_id: str, input: int, status: str) -> None:  # noqa: ARG002
        """Hear that an input is finished which nobody has a ticket of."""
        if input in self.waited_for:
            self.waited_for.discard(input)
            self.tell_of(input)

    def on_end(self, run_id: str, status: str) -> None:  # noqa: ARG002
        """Nothing goes on after the runner has given the run up."""
        if status in {"parked", "cancelled"}:
            self.ended = status
            self.has_ended()

    def _came_back(self, outcome: Outcome) -> None:
        effort = self.account.effort
        effort.attempts += 1
        effort.work_s += outcome.seconds or 0.0
        running = self.out.get(outcome.scope[0], {})
        found = running.pop(outcome.id, None)
        if found is not None:  # what followed in a chain had no slot of its own
            self._is_back(*found)

    def _is_back(self, slot: Slot, runnable: Runnable) -> None:
        self.account.work[runnable.component].running -= 1
        slot.left -= 1
        self.account.effort.running -= slot.left == 0

    # ------------------------------------------------------------------------ told by the driver

    def takes_up(self, past: Workflow) -> None:
        """Count what was done before this began."""
        for entry in graph(past, state=True)["components"]:
            work = self.account.work.get(entry["name"])
            if work is not None:  # else it was removed since then
                counts = entry.get("counts", {})
                work.skipped = counts.get("skipped", 0)
                if entry["name"] not in self.gates:
                    work.done = counts.get("done", 0)
        lines = {entry["number"]: line_in(entry["key"]) for entry in past.inputs()}
        with past.inspect() as (memory, _):
            nodes = dict(memory.program.by_key)
        for event in past.log():
            node = nodes.get(event.node) if isinstance(event, AttemptFailed) else None
            if node is None or not isinstance(event, AttemptFailed):
                continue
            work = self.account.work.setdefault(node.component, Work())
            number = event.scope[0]
            work.fell_back += event.fallback
            work.retried += not event.fallback
            then = ends.ON_THE_WAY["fallback" if event.fallback else "retry"]
            group = self.account.group(node.component, event.error, then)
            group.add(event.error, number, Given(number, lines.get(number)))

    def accepted(self, number: int, given: Given) -> None:
        """This is under way as the input of that number."""
        self.open.setdefault(number, []).append(given)

    def moved(self, number: int, to: int) -> None:
        """What was taken for one input is another: somebody else feeds the run, too."""
        self.accepted(to, self.withdrawn(number))

    def withdrawn(self, number: int) -> Given:
        """What was last taken for this input is none of it after all."""
        given = self.open[number].pop()
        if not self.open[number]:
            del self.open[number]
        return given

    def finished(self, workflow: Workflow, number: int) -> list[Record]:
        """Read what became of an input, before the next one is accepted; what it left behind runs for nobody."""
        for slot, runnable in self.out.pop(number, {}).values():
            self._is_back(slot, runnable)
        if self.gates and number not in self.asked:
            self.asked.add(number)
            self._count_conditions(workflow, number)
        return [read(workflow, given, number) for given in self.open.pop(number, ())]

    def _count_conditions(self, workflow: Workflow, number: int) -> None:
        for name in self.gates:  # they are asked in planning, so no outcome tells of them
            with suppress(Forgotten):
                productions = workflow.raw_productions(name, input=number)
                self.account.work[name].done += len(productions)

    def unfinished(self, workflow: Workflow | None) -> list[Record]:
        """Read what there is of the inputs that are under way; without the workflow, only that they are."""
        numbers = list(self.open)
        records: list[Record] = []
        last = None if workflow is None else workflow.last_input
        for number in numbers:
            if workflow is not None and (last is None or number > last):
                del self.open[number]  # it was never taken
                continue
            if workflow is not None and workflow.is_satisfied(input=number):
                records += self.finished(workflow, number)
                continue
            for given in self.open.pop(number):
                if workflow is None:
                    records.append(Record(given, ends.UNFINISHED, number))
                else:
                    records.append(read(workflow, given, number, ends.UNFINISHED))
        return records

    def count_waiting(self, workflow: Workflow) -> None:
        """Ask the workflow what each component has before it, beside what runs."""
        for name, pending in status.work(workflow).items():
            work = self.account.work[name]
            work.waiting = max(0, sum(pending.values()) - work.running)


def read(workflow: Workflow, given: Given, number: int, ending: str | None = None) -> Record:
    """What became of an input."""
    try:
        return _read(workflow, given, number, ending)
    except Forgotten:
        return Record(given, ends.LET_GO, number)


def _read(workflow: Workflow, given: Given, number: int, ending: str | None) -> Record:
    failures = tuple(workflow.failures(input=number))
    results = workflow.results(input=number)
    reason = workflow.cancelled_because(number)
    if ending is None:
        ending = ends.RESULT if results else ends.NO_RESULT
        if any(not failure.handled and failure.on_failure != "skip" for failure in failures):
            ending = ends.FAILED_INPUT
        if reason is not None:
            ending = ends.CANCELLED
    starved: tuple[str, ...] = ()
    if ending == ends.NO_RESULT:
        starved = tuple(starving(each) for each in workflow.starved(input=number))
    return Record(given, ending, number, results, failures, starved, reason or "")
