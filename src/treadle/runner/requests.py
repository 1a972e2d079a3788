"""What is asked of a run: inputs, edits, cancellations, its end. The middle of the machine (`machine.py`).

It holds what the machine knows, and says yes or no; what follows is the machine's to do. Pure.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from treadle.engine.prepare import Contexts
from treadle.errors import Overloaded, RunEnded, UsageError
from treadle.model.bundles import Bundle
from treadle.model.events import InputAccepted
from treadle.model.runnables import Outcome
from treadle.policies.matching import Policies
from treadle.runner import stimuli as say
from treadle.runner.bundling import explained_all
from treadle.runner.cohorts import CohortBook
from treadle.runner.dispatch import Dispatch
from treadle.runner.ends import end_of
from treadle.runner.out import DISPATCHED, Config, Out
from treadle.runner.stimuli import FINAL, Wish
from treadle.runner.story import Row, StepRow
from treadle.runner.wishes import Wishes
from treadle.value import Workflow

STORY_LENGTH: Final = 256
"""How many stimuli are remembered with what they led to."""

OPEN: Final = frozenset({say.RUNNING, say.IDLE})


class Requests(Dispatch):
    """What a machine knows, and what is asked of it."""

    def __init__(
        self,
        workflow: Workflow,
        wishes: Wishes,
        config: Config,
        numbers: Iterator[int],
        *,
        wishes_for: Callable[[Workflow, Policies | None], Wishes],
        adopted: Mapping[int, Bundle] | None = None,
        stored: int = 0,
    ) -> None:
        self.contexts = Contexts(workflow.run_context)
        super().__init__(workflow.with_contexts(self.contexts), wishes, config, numbers)
        self.status = say.NEW
        self.note: str | None = None
        self.wishes_for = wishes_for
        """Makes the wishes of an edited graph, or of an input's own policies."""
        self.reasons: dict[int, str] = {}
        """Why inputs were cancelled."""
        place = workflow.place
        self.place = place if stored == workflow.position else None
        """Where on the workflow's tape the log is stored up to; None: the positions of its events tell."""
        self.head = None if place is None else place[0].head
        """What the log began with, as it was stored: another one is a fold of it."""
        self.stored = stored
        self.position = workflow.position
        self.storing_to: int | None = None
        """How long the stored log is to be when the store has answered."""
        self.consumed: tuple[str, ...] = ()
        """Messages that were taken, and of which the store does not know that yet."""
        self.senders: dict[int, tuple[str, ...]] = {}
        """The open inputs that came by messages, whose senders wait for what comes of them."""
        self.replies: dict[str, say.Told] = {}
        """What senders are to be told, by message, with what is stored next."""
        self.beginning: tuple[say.Execute, ...] = ()
        """The orders that are given when the store has answered."""
        self.is_resting = False
        """That nothing can be done now was told."""
        self.is_driving = False
        self.has_more = True
        """Something may be ready, or finished, that was not looked at yet."""
        self.woken_at: float | None = None
        self.count = 0
        self.came: list[tuple[int, Out, Sequence[Outcome]]] = []
        """What came back last: should that make the machine crash, it is to come again."""
        self.late = 0
        """How many outcomes came of work that nobody waits for any more."""
        self.rows: deque[Row | StepRow] = deque(maxlen=STORY_LENGTH)
        self.may_step = self._may_step()
        """Whether successes may go the short way."""
        self.adopt(adopted or {})

    def take_over(self, old: Requests) -> None:
        """Know what the machine before this one knew, and what stands in no log."""
        self.count = old.count
        self.rows.extend(old.rows)
        for number, context in old.contexts.by_input.items():
            if self._goes_on(number):
                self.contexts.by_input[number] = context
        for number, wishes in old.own_wishes.items():
            if self._goes_on(number):
                self.own_wishes[number] = self.wishes_for(self.workflow, wishes.policies)
        for number, messages in old.senders.items():
            if self._goes_on(number):
                self.senders[number] = messages
        for told in old.replies.values():
            if told.end is not None and told.input is not None and self._is_over_with(told.input):
                self.replies[told.message] = told
        known_work = {number: out for number, out, _ in old.came} | old.out
        for number, out in self.out.items():
            if number in known_work:
                out.ends_at, out.why = known_work[number].ends_at, known_work[number].why

    def _goes_on(self, number: int) -> bool:
        """Whether an input is known, and something is left to do for it."""
        last = self.workflow.last_input
        return last is not None and number <= last and not self.workflow.is_satisfied(input=number)

    def _is_over_with(self, number: int) -> bool:
        """Whether an input is known, and nothing is left to do for it."""
        last = self.workflow.last_input
        return last is not None and number <= last and not self._goes_on(number)

    def _begin(self, stimulus: say.Begin) -> None:
        if self.config.deadline_at is not None:
            self.note_moment(self.config.deadline_at, 0, "run")
        self._find_open()
        for message, number in self.config.owing.items():
            self._note_sender(message, number, is_known=True)
        self.watch_adopted(stimulus.at)
        self.status = say.RUNNING if self.open else say.IDLE

    def _find_open(self, after: float = 0.0) -> None:
        """Note which inputs are open, by what the workflow itself says, and their deadlines after some moment."""
        if not self.position:
            return
        with self.workflow.inspect() as (memory, _):
            for number, root in memory.roots.items():
                if root.done or number in self.open:
                    continue
                self.open[number] = None
                first = root.events[0] if root.events else None
                due = first.deadline_at if isinstance(first, InputAccepted) else None
                if due is not None and due > after:
                    self.note_moment(due, number, "input")

    def _submit(self, stimulus: say.Submit) -> None:
        self._heard(stimulus)
        known = None
        if stimulus.key is not None and self.position:
            known = self.workflow.input_of_key(stimulus.key)
        refusal = self._refusal(is_known=known is not None)
        if refusal is not None:
            self._refuse(stimulus, refusal)
            return
        if known is not None:
            self._note_sender(stimulus.message, known)
            self.emit(say.Reply(stimulus.request, known))
            return
        last = self.workflow.last_input
        number = 0 if last is None else last + 1
        try:
            self._accept(number, stimulus)
        except Exception as error:  # noqa: BLE001 - a key, context or policy that cannot be
            self.contexts.drop(number)
            self.own_wishes.pop(number, None)
            self._refuse(stimulus, error)
            return
        self.open[number] = None
        self._note_sender(stimulus.message, number)
        self.status = say.RUNNING
        if stimulus.deadline_at is not None:
            self.note_moment(stimulus.deadline_at, number, "input")
        if self.config.is_observed:
            self.told.append(say.Accepted(number))
        self.emit(say.Reply(stimulus.request, number))

    def _note_sender(self, message: str | None, number: int, *, is_known: bool = False) -> None:
        """Whoever left this message waits for what comes of this input; `is_known`: the store has its number."""
        if message is None:
            return
        if number not in self.open:
            self.replies[message] = say.Told(message, number, end_of(self.workflow, number))
            return
        senders = self.senders.get(number, ())
        self.senders[number] = senders if message in senders else (*senders, message)
        if not is_known:
            self.replies[message] = say.Told(message, number)

    def tell_senders(self, number: int) -> None:
        """An input is over: whoever left it is told with what is stored next."""
        senders = self.senders.pop(number, ())
        if senders:
            end = end_of(self.workflow, number, self.reasons.get(number))
            self.replies |= {message: say.Told(message, number, end) for message in senders}

    def _accept(self, number: int, stimulus: say.Submit) -> None:
        if stimulus.context:
            self.contexts.add(number, stimulus.context)
        if stimulus.policies is not None:
            own = self.own_wishes[number] = self.wishes_for(self.workflow, stimulus.policies)
            own.held()  # asks all matchers, of which one may raise
        self._set_workflow(
            self.workflow.plan_eagerly(
                stimulus.value,
                key=stimulus.key,
                at=stimulus.at,
                deadline_at=stimulus.deadline_at,
            )
        )

    def _refusal(self, *, is_known: bool) -> Exception | None:
        if self.status not in OPEN:
            return RunEnded(
                f"the run is {self.status}, and takes no input.",
                hint="resume it, or start another.",
            )
        most = self.config.max_open
        if most is not None and len(self.open) >= most and not is_known:
            return Overloaded(
                f"{len(self.open)} inputs are open, and no more than {most} may be.",
                hint="wait for a ticket, or give the run a larger max_open.",
            )
        return None

    def _change(self, stimulus: say.Change) -> None:
        if self._is_over(stimulus):
            return
        try:
            changed = stimulus.change(self.workflow)
        except Exception as error:  # noqa: BLE001 - whatever the edit was refused with
            self._refuse(stimulus, error)
            return
        self._set_workflow(changed)
        self.wishes = self.wishes_for(changed, None)
        self.may_step = self._may_step()
        self.own_wishes = {
            number: self.wishes_for(changed, wishes.policies)
            for number, wishes in self.own_wishes.items()
        }
        self.drop_withdrawn()
        self.unchain_planned()
        self._find_open(after=stimulus.at)  # what an edit opens again was finished in time
        self.emit(say.Reply(stimulus.request))

    def explain(self) -> list[dict[str, Any]]:
        """What would be dispatched of what is ready now, together with what, where, and why; changes nothing."""
        told, self.told = self.told, []
        try:
            ready = [each for each in self.workflow.next_runnables() if each.retry_at is None]
            bundles = self.bundles_of(ready)
            warnings = [each.text for each in self.told if isinstance(each, say.Warn)]
        finally:
            self.told = told
        waiting = [bundle for _, _, bundle in sorted(self.planned, key=lambda entry: entry[:2])]
        return explained_all([*waiting, *bundles], self.delayed, self.wishes_of, warnings)

    def _signal(self, stimulus: say.Signal) -> None:
        self._heard(stimulus)
        if self._is_over(stimulus):
            return
        try:
            signalled = self.workflow.signal(
                stimulus.name, stimulus.payload, stimulus.key, at=stimulus.at
            )
        except Exception as error:  # noqa: BLE001 - whatever it was refused with
            self._refuse(stimulus, error)
            return
        self._set_workflow(signalled)
        self.emit(say.Reply(stimulus.request))

    def _heard(self, wish: Wish) -> None:
        """Whatever comes of it: what is stored next says that this message was taken."""
        if wish.message is not None:
            self.consumed += (wish.message,)

    def _refuse(self, wish: Wish | say.Change, error: Exception) -> None:
        """Nothing comes of it: whoever asked is told why, also one who left a message."""
        self.told.append(say.Reply(wish.request, error=error))
        if not isinstance(wish, say.Change) and wish.message is not None:
            self.replies[wish.message] = say.Told(wish.message, error=error)

    def _cancel_input(self, stimulus: say.CancelInput) -> None:
        self._heard(stimulus)
        if self._is_over(stimulus):
            return
        try:
            wanted = self._number_of(stimulus)
            is_open = not self.workflow.is_satisfied(input=wanted)
        except UsageError as error:
            self._refuse(stimulus, error)
            return
        if is_open:
            last = self.workflow.last_input or 0
            number = wanted if wanted >= 0 else last + 1 + wanted
            self._withdraw_inputs([number], stimulus.reason or "asked for", stimulus.at)
        self.emit(say.Reply(stimulus.request, is_open))

    def _number_of(self, stimulus: say.CancelInput) -> int:
        """Which input is meant. Errors: `UsageError` where no input of that key is remembered."""
        if stimulus.input is not None:
            return stimulus.input
        found = self.workflow.input_of_key(stimulus.key or "") if self.position else None
        if found is None:
            raise UsageError(f"no input of the key {stimulus.key!r} is remembered.")
        return found

    def _cancel_run(self, stimulus: say.CancelRun) -> None:
        self._heard(stimulus)
        if self._is_over(stimulus):
            return
        self._withdraw_run(stimulus.reason or "asked for", stimulus.at)
        self.emit(say.Reply(stimulus.request))

    def _is_over(self, wish: Wish | say.Change) -> bool:
        """Whether the run has come to its end, and refuses the request."""
        if self.status not in FINAL and self.status != say.CANCELLING:
            return False
        self._refuse(wish, RunEnded(f"the run is {self.status}."))
        return True

    def _stop(self, stimulus: say.Stop) -> None:
        self.told.append(say.Reply(stimulus.request))
        if self.status in FINAL or self.status == say.CANCELLING:
            return
        self.status = say.STOPPING
        self.forget_waiting()
        self._take_back(stimulus.queued)
        if stimulus.now:
            for number in list(self.out):
                self.withdraw(number)
            self.out.clear()
            self.where.clear()
            self.cohorts = CohortBook()
            self.is_driving = False

    def _take_back(self, queued: tuple[int, ...]) -> None:
        """Forget bundles that never began, and those whose turn comes when something is stored."""
        waiting = self.waiting_for_store
        held = [*[told for _, told in waiting], *self.intended, *self.beginning]
        unsaid = {told.number for told in held if isinstance(told, say.Execute)}
        self.intended = self.beginning = ()
        self.waiting_for_store = [
            entry
            for entry in waiting
            if not (isinstance(entry[1], (say.Execute, say.Withdraw)) and entry[1].number in unsaid)
        ]
        for number in (*queued, *unsaid):
            self.out.pop(number, None)
        self.cohorts.spread(self.where)
        self.where = {key: number for key, number in self.where.items() if number in self.out}

    def _withdraw_inputs(self, numbers: list[int], reason: str, at: float) -> None:
        """Cancel inputs in the log, and what is out for them, where nothing else shares its bundle."""
        self._apply(at)
        gone: set[int] = set()
        for number in numbers:
            if not self.workflow.is_satisfied(input=number):
                self.workflow = self.workflow.cancel(number, reason=reason, at=at)
                self.reasons[number] = reason
                gone.add(number)
        if not gone:
            return
        self._set_workflow(self.workflow)
        for number in self.drop_inputs(gone):
            out = self.out[number]
            if out.status == DISPATCHED and all(
                each.scope[0] in self.reasons or each.scope[0] not in self.open
                for each in out.bundle.runnables
            ):
                self.withdraw(number)

    def _withdraw_run(self, reason: str, at: float) -> None:
        self.status = say.CANCELLING
        self.note = reason
        self._withdraw_inputs(list(self.open), reason, at)

    def _may_step(self) -> bool:
        """Whether nobody but the graph has a say in what follows the successes of this run."""
        config, wishes = self.config, self.wishes
        is_seen = config.is_observed or config.scheduler is not None or config.transform is not None
        is_ordered = config.max_concurrency is not None or wishes.has_ranks
        is_counted = config.purse is not None  # each first attempt
        is_driven = wishes.drives and not config.is_slow
        return not (is_seen or is_ordered or is_counted or is_driven or wishes.places.keepers)

    def _set_workflow(self, workflow: Workflow) -> None:
        self.workflow = workflow
        self.position = workflow.position
        self.has_more = True

    @abstractmethod
    def _apply(self, at: float) -> None:
        """Have what came back applied."""
