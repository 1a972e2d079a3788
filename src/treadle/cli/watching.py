"""Watch a run from inside the runner's thread: count what its work comes to, and read what became of each input."""

from __future__ import annotations

from msgspec import Struct

from treadle.cli import account as ends
from treadle.cli.account import Account, Record, starving
from treadle.cli.feed import Given
from treadle.interfaces import Observer
from treadle.model.bundles import Bundle
from treadle.model.runnables import OK, SKIPPED, Outcome, Runnable
from treadle.value import Workflow
from treadle.views import status


class Slot(Struct):
    """A bundle that is out: how many of its runnables have not come back."""

    left: int


class Watcher(Observer):
    """Told by the runner what it does; keeps the account's counts of work, and the inputs that are under way."""

    def __init__(self, account: Account, workflow: Workflow) -> None:
        self.account = account
        self.gates = [name for name in workflow.components() if workflow[name].kind == "condition"]
        self.open: dict[int, Given] = {}
        self.next = 0
        """The number of the next input: there is nobody else who feeds the run."""
        self.out: dict[int, dict[str, tuple[Slot, Runnable]]] = {}
        """What runs, by input and id, with the slots that it takes."""
        self.given_up = False
        """The run was parked."""

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
        given = self.open.get(outcome.scope[0])
        if then in ends.ON_THE_WAY and outcome.error is not None and given is not None:
            group = self.account.group(outcome.component, outcome.error, ends.ON_THE_WAY[then])
            group.add(outcome.error, outcome.scope[0], given)

    def on_end(self, run_id: str, status: str) -> None:  # noqa: ARG002
        """Nothing goes on after the runner has given the run up."""
        self.given_up = status == "parked"

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

    def accepted(self, given: Given) -> None:
        """The next input is under way."""
        self.open[self.next] = given
        self.next += 1

    def finished(self, workflow: Workflow, number: int) -> Record:
        """Read what became of an input, before the next one is accepted; what it left behind runs for nobody."""
        for slot, runnable in self.out.pop(number, {}).values():
            self._is_back(slot, runnable)
        for name in self.gates:  # they are asked in planning, so no outcome tells of them
            productions = workflow.raw_productions(name, input=number)
            self.account.work[name].done += len(productions)
        return read(workflow, self.open.pop(number), number)

    def unfinished(self, workflow: Workflow | None) -> list[Record]:
        """Read what there is of the inputs that are under way; without the workflow, only that they are."""
        if workflow is None:
            left, self.open = self.open, {}
            return [Record(given, ends.UNFINISHED, number) for number, given in left.items()]
        return [
            self.finished(workflow, number)
            if workflow.is_satisfied(input=number)
            else read(workflow, self.open.pop(number), number, ends.UNFINISHED)
            for number in list(self.open)
        ]

    def count_waiting(self, workflow: Workflow) -> None:
        """Ask the workflow what each component has before it, beside what runs."""
        for name, pending in status.work(workflow).items():
            work = self.account.work[name]
            work.waiting = max(0, sum(pending.values()) - work.running)


def read(workflow: Workflow, given: Given, number: int, ending: str | None = None) -> Record:
    """What became of an input."""
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
