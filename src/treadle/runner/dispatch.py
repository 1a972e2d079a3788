"""The work of one run between prepared and answered: what is out, what waits for its moment, what an outcome leads to.

The lower half of the machine (`machine.py`): it knows nothing of stimuli and statuses. Pure, like all of it.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from msgspec import structs

from treadle.engine.execute import failed_outcome
from treadle.engine.jobs import follow
from treadle.engine.loop import Answered
from treadle.errors import Cancelled, PlugError
from treadle.model.bundles import Bundle
from treadle.model.cohorts import Cohort, CohortOutcomes
from treadle.model.runnables import FAILED, OK, Again, Outcome, Runnable
from treadle.policies.policy import AT_MOST_ONCE, NO_FALLBACK, Policy, RetryWith
from treadle.policies.retry import FALLBACK, GIVE_UP, RETRY, Verdict, decide
from treadle.runner import stimuli as say
from treadle.runner.budget import not_retried
from treadle.runner.bundling import (
    RunView,
    are_in_order,
    misplaced,
    sifted,
    transformed,
)
from treadle.runner.cohorts import CohortBook, keys_of, ways_of
from treadle.runner.fallback import (
    Reconcile,
    decided,
    fall_back,
    reconciling,
    retry_with,
    wants_retry,
)
from treadle.runner.out import (
    CANCELLING,
    DELAYED,
    DISPATCHED,
    Config,
    Out,
    WorkKey,
    due_at,
    ends_by,
    in_time,
    is_plain,
)
from treadle.runner.stimuli import Instruction, Terms
from treadle.runner.wishes import INLINE, Wishes
from treadle.value import Workflow

MISSING: Final = object()


class Dispatch:
    """What a machine knows of its work, and how work comes and goes."""

    __slots__ = (  # with those of a machine these are more than Python keeps well in one dict
        "answers",
        "cohorts",
        "config",
        "delayed",
        "halting",
        "intended",
        "intents",
        "is_learning",
        "kept_back",
        "looked_at",
        "moments",
        "numbers",
        "open",
        "ordinal",
        "out",
        "own_wishes",
        "planned",
        "position",
        "stored",
        "takes_cohorts",
        "told",
        "wait_due",
        "waiting_for_store",
        "where",
        "wishes",
        "workflow",
    )

    def __init__(
        self, workflow: Workflow, wishes: Wishes, config: Config, numbers: Iterator[int]
    ) -> None:
        self.workflow = workflow
        self.wishes = wishes
        self.config = config
        self.numbers = numbers
        """Numbers for bundles, shared with all machines of a runner."""
        self.own_wishes: dict[int, Wishes] = {}
        """By input: wishes under the policies it brought along."""
        self.out: dict[int, Out] = {}
        self.where: dict[WorkKey, int] = {}
        """By piece of work that was prepared and not answered: the number of its bundle, or `DELAYED`."""
        self.cohorts = CohortBook()  # beside it, for those that are handled as one
        self.takes_cohorts, self.is_learning = ways_of(config)
        self.planned: list[tuple[int, int, Bundle]] = []
        """Bundles that wait for a slot of this run, as a heap: priority, then order."""
        self.delayed: list[tuple[float, int, Runnable]] = []
        self.looked_at = float("-inf")
        """What time it was when that was last looked at."""
        self.kept_back: list[Runnable] = []
        """What `transform` left out; it is offered again."""
        self.moments: list[tuple[float, int, str]] = []
        """When something is to be looked at: a bundle's timeout or deadline, an input's deadline, the end of a wait."""
        self.wait_due: float | None = None  # when the first wait ends, as was noted
        self.open: dict[int, None] = {}
        """Inputs that are not finished, as far as was told."""
        self.answers: list[Answered | Outcome | CohortOutcomes] = []
        """What is to be applied; bare where no policy has a say in it."""
        self.halting: set[int] = set()
        """Inputs that an answer is about to halt."""
        self.told: list[Instruction] = []
        self.waiting_for_store: list[tuple[int, Instruction]] = []
        self.intents: tuple[bytes, ...] = ()
        """The marks of attempts that must not begin twice, and that the store does not know of yet."""
        self.intended: tuple[say.Execute, ...] = ()
        """Their orders, which are given when it does."""
        self.stored = 0
        self.position = 0
        self.ordinal = 0

    @property
    def has_ranks(self) -> bool:
        """Whether some work goes before other work."""
        return bool(self.own_wishes) or self.wishes.has_ranks

    # --------------------------------------------------------------------------- from the workflow

    def room(self) -> int:
        """How much more may be prepared."""
        return max(0, self.config.window - len(self.where) - self.cohorts.size)

    def take_in(self, handed: Sequence[Runnable], at: float) -> None:
        """Sort what was prepared: what is out already, what has to wait, what may go."""
        ready: list[Runnable] = []
        where = self.where
        if isinstance(handed, Cohort) and (not where or where.keys().isdisjoint(keys_of(handed))):
            self._take_cohort(handed)
            return
        for runnable in handed:
            key = (runnable.node, runnable.scope, runnable.generation)
            if key in where and self._is_out(where[key], runnable):
                continue
            where[key] = DELAYED
            if runnable.retry_at is not None and runnable.retry_at > at:
                self._delay(runnable, at)
            else:
                ready.append(runnable)
        if ready:
            self.plan(ready, at)

    def _delay(self, runnable: Runnable, at: float) -> None:
        """Let work wait until it is to be tried again."""
        self.ordinal, self.looked_at = self.ordinal + 1, max(self.looked_at, at)
        due = due_at(runnable, self.wishes_of(runnable).policy(runnable.node), at)
        heapq.heappush(self.delayed, (due, self.ordinal, runnable))

    def _take_cohort(self, cohort: Cohort) -> None:
        """Put a cohort, of which nothing is out already, into bundles."""
        for bundle in self.bundles_of(cohort):
            if isinstance(runnables := bundle.runnables, Cohort):
                self.cohorts.add(runnables, DELAYED)
            else:
                self.where |= {
                    (each.node, each.scope, each.generation): DELAYED for each in runnables
                }
            self._enqueue(bundle)

    def send(self, runnable: Runnable, at: float) -> None:
        """Dispatch a runnable alone: the short way of `take_in`, for first attempts of which nothing is to be noted."""
        key = (runnable.node, runnable.scope, runnable.generation)
        where = self.where
        policy, terms, is_noted = self.wishes.answers(runnable.node)
        is_first = runnable.attempt == 1 and runnable.problem is None and runnable.call is not None
        if is_noted or not is_first or key in where:
            self.take_in([runnable], at)
            return
        number = where[key] = next(self.numbers)
        bundle = Bundle(runnables=(runnable,))
        self.out[number] = Out(bundle, policy, is_plain=True)
        self.emit(say.Execute(number, bundle, terms))

    def _is_out(self, number: int, runnable: Runnable) -> bool:
        """Whether this attempt was out before a restart, and is still; one before it may be, and comes too late."""
        out = self.out.get(number)
        return out is not None and any(
            each.id == runnable.id and each.attempt >= runnable.attempt
            for each in out.bundle.runnables
        )

    def next_due(self) -> float | None:
        """When there is next something to do without anybody asking for it."""
        while self.moments and not self._counts(self.moments[0]):
            heapq.heappop(self.moments)
        return min((heap[0][0] for heap in (self.delayed, self.moments) if heap), default=None)

    def come_due(self, at: float) -> None:
        """Go on with work whose moment has come."""
        if at < self.looked_at:  # the clock was put back: these would wait for too long
            again, self.delayed = self.delayed, []
            for entry in again:
                self._delay(entry[2], at)
        self.looked_at = at
        due: list[Runnable] = []
        while self.delayed and self.delayed[0][0] <= at:
            due.append(heapq.heappop(self.delayed)[2])
        if due:
            self.plan(due, at)

    def offer_again(self, at: float) -> None:
        """Offer what the hook kept back once more."""
        kept, self.kept_back = self.kept_back, []
        self.plan(kept, at)

    def plan(self, ready: list[Runnable], at: float) -> None:
        """Put ready work into bundles, in the order in which they are to go."""
        if self.config.transform is not None:
            ready = self._transformed(ready)
        plain = [each for each in ready if not each.is_fallback]
        if len(plain) < len(ready):
            self._fall_back([each for each in ready if each.is_fallback], at)
        if self.config.scheduler is None:
            if self.config.max_concurrency is None and not self.has_ranks and not self.planned:
                for runnable in plain:  # nothing to wait for, and nothing to put in order
                    self._execute(Bundle(runnables=(runnable,)), at)
                return
            for runnable in plain:
                self._enqueue(Bundle(runnables=(runnable,)))
        else:
            for bundle in self.bundles_of(plain):
                self._enqueue(bundle)

    def _fall_back(self, failed: list[Runnable], at: float) -> None:
        """Have the fallback of each executed in its place."""
        for runnable in failed:
            node = self.wishes.program.by_key[runnable.node]
            policy = self.wishes_of(runnable).policy(runnable.node)
            self._execute_instead(runnable, fall_back(runnable, policy, node.kind), at)

    def _transformed(self, ready: list[Runnable]) -> list[Runnable]:
        """What the hook makes of ready work; what it leaves out is kept back."""
        hook = self.config.transform
        try:
            chosen, left_out = (ready, []) if hook is None else transformed(ready, hook)
        except Exception as error:  # noqa: BLE001 - a hook must not harm the run
            text = "transform_runnables failed; the work goes on as it was"
            self.told.append(say.Warn(text, error))
            return ready
        self.kept_back += left_out
        return chosen

    def bundles_of(self, ready: Sequence[Runnable]) -> list[Bundle]:
        """What the scheduler makes of ready work; a scheduler that fails is done without."""
        scheduler = self.config.scheduler
        if scheduler is None or not ready:
            return [Bundle(runnables=(each,)) for each in ready]
        try:
            view = RunView(self)
            given = ready if isinstance(ready, Cohort) else tuple(ready)
            bundles = list(scheduler.plan(given, view))
            fault = misplaced(ready, bundles, view)
        except Exception as error:  # noqa: BLE001 - a plug must not harm the run
            self.told.append(
                say.Warn(f"{type(scheduler).__name__} failed; work is dispatched one by one", error)
            )
        else:
            if fault is None:
                return bundles
            self.told.append(
                say.Warn(f"{type(scheduler).__name__} {fault}; work is dispatched one by one")
            )
        return [Bundle(runnables=(each,), reason="the scheduler failed") for each in ready]

    # ------------------------------------------------------------------------------- to executors

    def _enqueue(self, bundle: Bundle) -> None:
        self.ordinal += 1
        first = bundle.runnables[0]
        rank = self.wishes_of(first).policy(first.node).rank
        heapq.heappush(self.planned, (-rank, self.ordinal, bundle))

    def _execute_instead(self, runnable: Runnable, instead: Runnable | Outcome, at: float) -> None:
        """Execute a fallback in place of the work's own function, or take what it gives."""
        key = (runnable.node, runnable.scope, runnable.generation)
        if isinstance(instead, Outcome):
            self.where.pop(key, None)
            self.judge(runnable, instead, None, at)
            return
        self.where[key] = DELAYED
        self._enqueue(Bundle(runnables=(instead,), reason="the fallback of its policy"))

    def dispatch(self, at: float) -> None:
        """Give what is planned to executors, as far as this run has slots."""
        most = self.config.max_concurrency
        while self.planned and (most is None or len(self.out) < most):
            self._execute(heapq.heappop(self.planned)[2], at)

    def _execute(self, bundle: Bundle, at: float) -> None:
        first = bundle.runnables[0]
        wishes = self.wishes_of(first)
        policy, terms, _ = wishes.answers(first.node)
        if first.problem is not None or first.call is None:
            bundle = structs.replace(bundle, executor=INLINE)
        elif (wishes.places.keepers and self.config.may_keep) or bundle.keep:
            keep = self.config.may_keep and bundle.kind == "single" and wishes.keeps(first.node)
            if keep != bundle.keep:
                bundle = structs.replace(bundle, keep=keep)
        if bundle.executor is not None and bundle.executor != terms.executor:
            terms = structs.replace(terms, executor=bundle.executor)
        elif first.is_fallback:
            # It is no attempt at the same service: its limits and breaker do not hold it up.
            executor = wishes.executor_for(is_async=first.is_async, wanted=policy.executor)
            terms = Terms(executor, terms.rank)
        is_once = policy.effects == AT_MOST_ONCE and self.config.is_stored and not first.is_fallback
        if is_once and not self._may_begin(first, policy, at):
            return
        number = next(self.numbers)
        out = self.out[number] = Out(
            bundle,
            policy,
            ends_at=ends_by(first, policy, at),
            is_plain=is_plain(bundle, policy),
        )
        runnables, where = bundle.runnables, self.where
        if not (isinstance(runnables, Cohort) and self.cohorts.move(runnables, number)):
            for runnable in runnables:
                where[runnable.node, runnable.scope, runnable.generation] = number
        if out.ends_at is not None:
            self.note_moment(out.ends_at, number, "deadline")
        order = say.Execute(number, bundle, terms, policy.timeout_s is not None)
        if is_once and self.config.is_slow:
            self.intended += (order,)
        else:
            self.emit(order)

    def _may_begin(self, runnable: Runnable, policy: Policy, at: float) -> bool:
        """Note that an attempt begins which must not begin twice; or find out what became of it, if it began before."""
        mark = runnable.mark
        decision = self.config.decisions.get(runnable.component, MISSING)
        is_new = mark not in self.config.interrupted
        if is_new or isinstance(decision, RetryWith):
            self.intents += (mark,)
            return True
        self.config.interrupted -= {mark}
        kind = self.wishes.program.by_key[runnable.node].kind
        if decision is not MISSING:
            self._execute_instead(runnable, decided(runnable, decision, kind), at)
        elif policy.reconcile is not None:
            self._execute_instead(runnable, reconciling(runnable, policy.reconcile, kind), at)
        else:
            self.told.append(say.Ambiguous(runnable))
        return False

    def adopt(self, bundles: Mapping[int, Bundle]) -> None:
        """Work that was out when the run crashed is out still; of two bundles of it, one led to the later one."""
        for number, bundle in sorted(bundles.items()):
            runnables = tuple(bundle.runnables)
            self.out[number] = Out(structs.replace(bundle, runnables=runnables), Policy())
            for runnable in runnables:
                key = (runnable.node, runnable.scope, runnable.generation)
                later = structs.replace(runnable, attempt=runnable.attempt + 1)
                if key not in self.where or not self._is_out(self.where[key], later):
                    self.where[key] = number

    def watch_adopted(self, at: float) -> None:
        """Ask the policies of adopted work; where the log does not say how long it may take, its time begins anew."""
        for number, out in self.out.items():
            first = out.bundle.runnables[0]
            if first.node in self.wishes.program.by_key:
                out.policy = self.wishes_of(first).policy(first.node)
            if out.why:  # that may not have been heard
                self.withdraw(number, out.why)
            if out.ends_at is None:
                out.ends_at = ends_by(first, out.policy, at)
            if out.ends_at is not None:
                self.note_moment(out.ends_at, number, "deadline")

    def withdraw(self, number: int, why: str = "") -> None:
        """Have a bundle cancelled, once; its `Execute` may wait for the store, and then this waits behind it."""
        out = self.out.get(number)
        if out is not None and out.status == DISPATCHED:
            out.status, out.why = CANCELLING, why
            self.emit(say.Withdraw(number, why))

    def forget_waiting(self) -> None:
        """Let go of what waits for its moment or its slot: it stays to be done by whoever resumes the run."""
        self.planned, self.delayed, self.kept_back = [], [], []
        self.cohorts.spread(self.where)
        self.where = {key: number for key, number in self.where.items() if number != DELAYED}

    def take_back(self) -> None:
        """Put what waits for its moment or its slot back, for inputs that halt: that withdraws what has not begun."""
        halting, self.halting = self.halting, set()
        for runnable in self.waiting():
            if runnable.scope[0] in halting:
                self.workflow = self.workflow.release(runnable)
        self.drop_withdrawn()

    def waiting(self) -> list[Runnable]:
        """What was prepared and waits: for its moment, for a slot, or since a hook kept it back."""
        return [
            *[entry[2] for entry in self.delayed],
            *self.kept_back,
            *[each for entry in self.planned for each in entry[2].runnables],
        ]

    def unchain_planned(self) -> None:
        """Dispatch what waits for its slot without what would follow it: that may have been replaced."""
        self.planned = [
            (rank, ordinal, structs.replace(bundle, links=()) if bundle.links else bundle)
            for rank, ordinal, bundle in self.planned
        ]

    def drop_inputs(self, gone: set[int]) -> list[int]:
        """Forget what of cancelled inputs waits for its moment or its slot; the bundles in which some of it is out."""
        self.cohorts.spread(self.where)
        self.delayed = [entry for entry in self.delayed if entry[2].scope[0] not in gone]
        heapq.heapify(self.delayed)
        self.kept_back = [each for each in self.kept_back if each.scope[0] not in gone]
        self.planned = sifted(self.planned, lambda each: each.scope[0] not in gone)
        theirs = [(key, number) for key, number in self.where.items() if key[1][0] in gone]
        for key, number in theirs:
            if number == DELAYED:
                del self.where[key]
        return sorted({number for _, number in theirs if number in self.out})

    def drop_withdrawn(self) -> None:
        """Forget what waits for its moment or its slot, and is not pending any more."""
        self.cohorts.spread(self.where)
        pending = set(self.workflow.in_flight())
        self.delayed = [entry for entry in self.delayed if entry[2].id in pending]
        heapq.heapify(self.delayed)
        self.kept_back = [each for each in self.kept_back if each.id in pending]
        self.planned = sifted(self.planned, lambda each: each.id in pending)
        waiting = {(each.node, each.scope, each.generation) for each in self.waiting()}
        self.where = {
            key: number for key, number in self.where.items() if number != DELAYED or key in waiting
        }

    # ----------------------------------------------------------------------------- what came back

    def came_back(self, number: int, out: Out, outcomes: Sequence[Outcome], at: float) -> None:
        """Decide what each outcome of a bundle leads to."""
        prepared, where = out.bundle.runnables, self.where
        if not (isinstance(prepared, Cohort) and self.cohorts.drop(prepared)):
            for key in [(each.node, each.scope, each.generation) for each in prepared]:
                if where.get(key) == number:
                    del where[key]
        if len(prepared) == len(outcomes) == 1:
            self.judge(prepared[0], in_time(out, prepared[0], outcomes[0]), out, at)
            return
        is_timed = out.why or out.policy.timeout_s is not None
        if not is_timed and are_in_order(prepared, outcomes):
            self._judge_batch(prepared, outcomes, out, at)
            return
        waited = {(each.node, each.scope, each.generation): each for each in prepared}
        links = iter(out.bundle.links)
        last, value = prepared[0], None
        for outcome in outcomes:
            known = waited.pop((outcome.node, outcome.scope, outcome.generation), None)
            runnable = follow(next(links), last, value) if known is None else known
            value = outcome.value
            self.judge(runnable, in_time(out, runnable, outcome), out, at)
        for runnable in waited.values():
            silent = PlugError(f"its executor gave no outcome for {runnable.id}.")
            self.judge(runnable, failed_outcome(runnable, silent), out, at)

    def _judge_batch(
        self, prepared: Sequence[Runnable], outcomes: Sequence[Outcome], out: Out, at: float
    ) -> None:
        """`judge` for each outcome of a batch that no clock was set for: values need no more than to be applied."""
        if self.config.is_observed:
            for runnable, outcome in zip(prepared, outcomes, strict=True):
                self.judge(runnable, outcome, out, at)
            return
        purse, answers, is_learning = self.config.purse, self.answers, self.is_learning
        if not is_learning and isinstance(outcomes, CohortOutcomes) and outcomes.are_all_values:
            if purse is not None:
                purse.earn(len(outcomes))
            answers.append(outcomes)
            return
        for runnable, outcome in zip(prepared, outcomes, strict=True):
            if outcome.status != OK:
                self.judge(runnable, outcome, out, at)
                continue
            if is_learning:
                self._observe(outcome)
            if purse is not None and outcome.attempt == 1:
                purse.earn()
            answers.append(outcome)

    def judge(self, runnable: Runnable, outcome: Outcome, out: Out | None, at: float) -> None:
        """Decide what an outcome leads to, and have it applied."""
        if isinstance(runnable.call, Reconcile) and outcome.status == FAILED:
            self.told.append(say.Ambiguous(runnable, f"; reconcile failed: {outcome.error}"))
            return
        if runnable.is_fallback:
            wish = wants_retry(runnable, outcome)
            if wish is not None:
                self._retry_as_wished(runnable, wish, at)
                return
        if self.is_learning:
            self._observe(outcome)
        purse = self.config.purse
        if purse is not None and outcome.attempt == 1:
            purse.earn()
        if outcome.status != FAILED:
            if self.config.is_observed:
                self.told.append(say.Tell(runnable, outcome))
            self.answers.append(Answered(outcome))
            return
        gone = outcome.node not in self.wishes.program.by_key  # its component was removed meanwhile
        if gone or (out is not None and out.status == CANCELLING and not out.why):
            self.answers.append(Answered(outcome))  # of an input that was cancelled: orphaned
            return
        policy = self.wishes_of(runnable).policy(outcome.node)
        ends_at = runnable.deadline_at if out is None else out.ends_at
        verdict = decide(
            policy,
            outcome,
            key=outcome.idempotency_key if policy.backoff == "jitter" else "",
            now=at,
            deadline_at=ends_at,
            was_fallback=runnable.is_fallback,
        )
        if purse is not None and verdict.then == RETRY and not purse.spend(at):
            outcome = not_retried(runnable, outcome)
            verdict = Verdict(GIVE_UP if policy.fallback is NO_FALLBACK else FALLBACK)
        self.told.append(say.Tell(runnable, outcome, verdict.then))
        if verdict.then == GIVE_UP:
            node = self.wishes.program.by_key[outcome.node]
            if (policy.on_failure or node.shape.on_failure) == "halt":
                self.halting.add(outcome.scope[0])
            self.answers.append(Answered(outcome, None, policy.on_failure))
            return
        again = Again(
            retry_at=at + verdict.delay_s if verdict.then == RETRY and verdict.delay_s else None,
            deadline_at=ends_at,
            fallback=verdict.then == FALLBACK,
        )
        self.answers.append(Answered(outcome, again))

    def _retry_as_wished(self, runnable: Runnable, wish: RetryWith, at: float) -> None:
        """Try a node's own function once more, since the fallback gave no value, but a wish."""
        if (runnable.node, runnable.scope, runnable.generation) in self.where:
            return  # that was done already, before a restart
        if runnable.id in self.workflow.in_flight():
            node = self.wishes.program.by_key[runnable.node]
            own = structs.replace(runnable, call=node.call, is_async=node.is_async)
            self._execute_instead(own, retry_with(own, wish), at)
            return
        early = Cancelled(f"{runnable.id} was withdrawn, or is to be prepared again.")
        self.answers.append(Answered(failed_outcome(runnable, early), Again(fallback=True)))

    def _observe(self, outcome: Outcome) -> None:
        scheduler: Any = self.config.scheduler
        try:
            scheduler.observe(outcome)
        except Exception as error:  # noqa: BLE001 - a plug must not harm the run
            self.told.append(say.Warn("the scheduler's observe failed", error))

    # ------------------------------------------------------------------------------- small things

    def wishes_of(self, runnable: Runnable) -> Wishes:
        """What is wished of a runnable: by its input's own policies, else by the run's."""
        if self.own_wishes:
            return self.own_wishes.get(runnable.scope[0], self.wishes)
        return self.wishes

    def emit(self, instruction: Instruction) -> None:
        """Give an instruction that others will see the effect of: not before what led to it is stored."""
        if self.position > self.stored and self.config.is_slow:
            self.waiting_for_store.append((self.position, instruction))
        else:
            self.told.append(instruction)

    def note_moment(self, at: float, number: int, kind: str) -> None:
        """Have something looked at then. What is long finished is let go of: most work ends before its time is over."""
        heapq.heappush(self.moments, (at, number, kind))
        if len(self.moments) > 64 + 2 * (len(self.out) + len(self.open)):
            self.moments = list(set(filter(self._counts, self.moments)))
            heapq.heapify(self.moments)

    def _counts(self, moment: tuple[float, int, str]) -> bool:
        """Whether somebody still waits for a moment."""
        at, number, kind = moment
        if kind == "wait":
            return at == self.wait_due
        return kind == "run" or number in (self.open if kind == "input" else self.out)
