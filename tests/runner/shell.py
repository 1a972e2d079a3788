"""A tiny runner in one thread without a clock: it performs what a machine asks for, in any order it likes.

What it does next is drawn: it answers late, twice or with a lost worker, lets time pass, and loses the machine, which
is then made anew of what is stored. After each step it checks what must hold at any time.
"""

import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import treadle as td
from tests.runner.machines import machine_of
from treadle.engine.jobs import cancelled_bundle, execute_bundle, failed_bundle
from treadle.model.bundles import Bundle
from treadle.model.events import Applied, Baseline, Expanded, Failed, Skipped
from treadle.model.runnables import Outcome, Runnable
from treadle.policies.matching import policies_from
from treadle.runner import stimuli as say
from treadle.runner.machine import Machine
from treadle.runner.out import DELAYED
from treadle.runner.stimuli import ANSWERS

LOST = ConnectionError("the worker is lost")
STEPS_MAX = 3000
"""A walk that takes longer has come into a circle."""


class Mishaps:
    """How often what goes wrong: each a share of the steps, or of the bundles."""

    def __init__(
        self, *, crash: float = 0.0, lost: float = 0.0, twice: float = 0.0, slow: float = 0.0
    ) -> None:
        self.crash, self.lost, self.twice, self.slow = crash, lost, twice, slow


class Shell:
    """A run: its machine, what is stored of it, what is out, and who waits for what."""

    def __init__(
        self,
        template: Any,
        choose: Random,
        *,
        policies: Any = None,
        mishaps: Mishaps | None = None,
        make_scheduler: Callable[[], Any] = lambda: None,
        make_transform: Callable[[], Any] = lambda: None,
        default: str = "threads",
        **config: Any,
    ) -> None:
        self.template = template.with_run_key("walk")
        self.choose = choose
        self.policies = policies_from(policies)
        self.mishaps = mishaps or Mishaps()
        self.make_scheduler, self.make_transform = make_scheduler, make_transform
        self.default, self.config = default, config
        self.is_instant: bool = config.get("is_instant", True)
        self.is_stored: bool = config.get("is_stored", True)
        self.forgets = template.definition.retain != "all"
        self.is_exact = self.is_instant
        """No work was given up under way, so none may be done a second time."""
        self.now = 1000.0
        self.numbers = itertools.count(1)
        self.requests = itertools.count(1)
        self.answered: dict[int, say.Reply | None] = {}
        """By request: its reply, None as long as there is none."""
        self.told: list[Any] = []
        self.events: list[Any] = []
        self.length = 0
        self.storing: say.Store | None = None
        self.is_driving = False
        self.wake_at: float | None = None
        self.live: dict[int, Bundle] = {}
        self.given: set[int] = set()
        """The numbers of all bundles that were ever given out."""
        self.begun: set[int] = set()
        self.withdrawn: set[int] = set()
        self.ready_answers: dict[int, Sequence[Outcome]] = {}
        """What had come back when the machine was lost, and comes again."""
        self.old_answers: list[tuple[int, Sequence[Outcome]]] = []
        self.executed: Counter[tuple[str, int]] = Counter()
        self.finished: Counter[int] = Counter()
        self.crashes = 0
        self.functions: dict[str, list[Any]] = {}
        """Every component there ever was: an edit that was lost with its machine must not take code along."""
        self.machine = self.make(self.template)
        self.tell(say.Begin(self.now))

    def make(self, workflow: Any, adopted: dict[int, Bundle] | None = None) -> Machine:
        """A machine for a workflow."""
        scheduler, transform = self.make_scheduler(), self.make_transform()
        return machine_of(
            workflow,
            self.policies,
            default=self.default,
            are_seen=scheduler is not None or transform is not None,
            numbers=self.numbers,
            stored=self.length,
            adopted=adopted,
            scheduler=scheduler,
            transform=transform,
            is_observed=True,
            **self.config,
        )

    # ------------------------------------------------------------------------------ performing

    def tell(self, stimulus: Any) -> None:
        """Give the machine a stimulus and perform what it says, unless it is lost in the middle of that."""
        told = self.machine.handle(stimulus)
        if isinstance(stimulus, say.Begin | say.Change):
            self.note_functions()
        whole = self.choose.random() >= self.mishaps.crash
        for instruction in told if whole else told[: self.choose.randrange(len(told) + 1)]:
            self.told.append(instruction)
            _PERFORM[type(instruction)](self, instruction)
        if not whole:
            self.lose_machine(stimulus)
        self.check()

    def note_functions(self) -> None:
        """Keep the components that there are now."""
        for lowered in self.machine.workflow._all_components():
            known = self.functions.setdefault(lowered.name, [])
            if all(lowered is not each for each in known):
                known.append(lowered)

    def ask(self, make: Callable[[int], Any]) -> int:
        """Make a request; its number."""
        request = next(self.requests)
        self.answered[request] = None
        self.tell(make(request))
        return request

    def execute(self, order: say.Execute) -> None:
        """Take a bundle."""
        assert order.number not in self.given
        self.given.add(order.number)
        for runnable in order.bundle.runnables:
            is_stored = runnable.position <= self.length or not self.is_stored
            assert is_stored, "executed before what led to it is stored"
            if not runnable.is_fallback:
                self.executed[runnable.id, runnable.attempt] += 1
        self.live[order.number] = order.bundle

    def withdraw(self, order: say.Withdraw) -> None:
        """Note that a bundle is to be answered soon."""
        assert order.number in self.given, "withdrawn before it was given out"
        if order.number in self.live:
            self.withdrawn.add(order.number)

    def drive_on(self, _: say.DriveOn) -> None:
        """Note that work is to be done in line."""
        assert not self.is_driving
        self.is_driving = True

    def store(self, order: say.Store) -> None:
        """Store events, at once or later."""
        assert self.storing is None
        assert order.expected == self.length
        if self.is_instant:
            self.keep(order)
        else:
            self.storing = order

    def keep(self, order: say.Store) -> None:
        """The events are stored."""
        if isinstance(order.events[0], Baseline):
            self.events = []
            first = order.events[0].position
        else:
            first = self.length
        assert first + len(order.events) - isinstance(order.events[0], Baseline) == order.position
        self.events += order.events
        self.length = order.position

    def wake_me(self, order: say.WakeAt) -> None:
        """Note when to wake it."""
        assert order.at >= self.now
        self.wake_at = order.at

    def reply(self, order: say.Reply) -> None:
        """A request is answered, once."""
        assert self.answered[order.request] is None
        self.answered[order.request] = order

    def input_finished(self, order: say.InputFinished) -> None:
        """An input is finished."""
        self.finished[order.input] += 1

    def became(self, order: say.Became) -> None:
        """The run says how it is."""

    # -------------------------------------------------------------------------------- answering

    def actions(self) -> list[Callable[[], None]]:
        """What can be done to let the machine go on."""
        found: list[Callable[[], None]] = []
        found += [self.answer_one] * 4 if self.live else []
        found += [self.answer_some] if len(self.live) > 1 else []
        found += [self.begin_one] if self.live.keys() - self.begun else []
        found += [self.drive] * 3 if self.is_driving else []
        found += [self.store_now] * 2 if self.storing is not None else []
        found += [self.wake] if self.wake_at is not None else []
        return found

    def answer_one(self) -> None:
        """A bundle comes back, or came back before and comes again."""
        if self.old_answers and self.choose.random() < self.mishaps.twice:
            self.tell(say.Finished((self.choose.choice(self.old_answers),), self.now))
            return
        self.answer([self.choose.choice(list(self.live))])

    def answer_some(self) -> None:
        """Several come back together."""
        numbers = list(self.live)
        self.answer(self.choose.sample(numbers, self.choose.randint(2, len(numbers))))

    def answer(self, numbers: list[int]) -> None:
        """Bundles come back."""
        bundles = [(number, self.outcomes_of(number)) for number in numbers]
        self.old_answers = (self.old_answers + bundles)[-5:]
        for number in numbers:
            del self.live[number]
            self.begun.discard(number)
            self.withdrawn.discard(number)
        self.tell(say.Finished(tuple(bundles), self.now))

    def outcomes_of(self, number: int) -> Sequence[Outcome]:
        """What comes of a bundle."""
        if number in self.ready_answers:
            return self.ready_answers.pop(number)
        bundle = self.live[number]
        if number in self.withdrawn and self.choose.random() < 0.7:
            return cancelled_bundle(bundle, self.choose.choice(["withdrawn", "stopped"]))
        if self.choose.random() < self.mishaps.lost and all(
            map(self.may_be_lost, bundle.runnables)
        ):
            return failed_bundle(bundle, LOST)
        took = 9.0 if self.choose.random() < self.mishaps.slow else 0.01
        times = itertools.count(0.0, took)
        return execute_bundle(bundle, lambda: next(times))

    def may_be_lost(self, runnable: Runnable) -> bool:
        """Whether another attempt would follow."""
        wishes = self.machine.wishes_of(runnable)
        if runnable.node not in wishes.program.by_key:
            return True
        policy = wishes.policy(runnable.node)
        return runnable.attempt <= policy.max_retries and not runnable.is_fallback

    def begin_one(self) -> None:
        """A bundle begins."""
        number = self.choose.choice(sorted(self.live.keys() - self.begun))
        self.begun.add(number)
        self.tell(say.Began(number, self.now))

    def drive(self) -> None:
        """Work is done in line."""
        self.is_driving = False
        if not self.machine.is_driving:
            return
        held, tries, limit = self.machine.in_line()
        workflow, drive = self.machine.workflow.advance(
            held=held, tries=tries, budget=self.choose.randint(1, 6), limit=limit
        )
        self.tell(say.Drove(workflow, drive, self.now))

    def store_now(self) -> None:
        """The store has done what it was given last."""
        order, self.storing = self.storing, None
        assert order is not None
        self.keep(order)
        self.tell(say.Stored(order.position, self.now))

    def wake(self) -> None:
        """Time passes."""
        assert self.wake_at is not None
        self.now, self.wake_at = max(self.now, self.wake_at) + self.choose.choice([0, 0, 0.5]), None
        self.tell(say.Woke(self.now))

    def settle(self) -> None:
        """Answer until there is nothing to answer."""
        for _ in range(STEPS_MAX):
            actions = self.actions()
            if not actions:
                if not self.machine.kept_back:
                    return
                actions = [self.poke]
            self.choose.choice(actions)()
        raise AssertionError("it never comes to an end")

    def poke(self) -> None:
        """Let something happen that changes nothing."""
        self.ask(lambda request: say.Change(request=request, change=lambda w: w, at=self.now))

    # ---------------------------------------------------------------------------------- crashing

    def lose_machine(self, stimulus: Any) -> None:
        """The machine is lost, and made anew of what is stored; what is out is out still."""
        self.crashes += 1
        old = self.machine
        if isinstance(stimulus, say.Finished):
            for number, bundle, outcomes in old.handled:
                self.live[number] = bundle
                self.ready_answers[number] = outcomes
        request = getattr(stimulus, "request", None)
        if request is not None and self.answered[request] is None:
            self.answered[request] = say.Reply(request, error=RuntimeError("it crashed over this"))
        for lost in [each for each, reply in self.answered.items() if reply is None]:
            self.answered[lost] = say.Reply(lost, error=RuntimeError("it crashed meanwhile"))
        self.begin_anew(old, self.live, crashed=True)

    def resume(self) -> None:
        """Let a run go on that has come to its end; what is out still is nobody's any more."""
        self.old_answers += [(number, self.outcomes_of(number)) for number in self.live]
        self.is_exact = self.is_exact and not self.live
        self.live = {}
        self.begin_anew(self.machine, {})

    def begin_anew(self, old: Machine, out: dict[int, Bundle], *, crashed: bool = False) -> None:
        """Make a machine in the place of one that is no more."""
        if self.storing is not None and self.choose.random() < 0.5:
            self.keep(self.storing)
        self.storing, self.is_driving, self.wake_at = None, False, None
        self.withdrawn.clear()
        mishaps, self.mishaps = self.mishaps, Mishaps()
        if (
            crashed and self.choose.random() < 0.2
        ):  # the whole program was lost, and what was out with it
            self.is_exact = self.is_exact and not out
            self.live, self.ready_answers, out, crashed = {}, {}, {}, False
        self.machine = self.make(self.rebuilt(old), dict(out))
        if crashed:
            self.machine.take_over(old)
        self.tell(say.Begin(self.now))
        self.begun &= out.keys()
        for number in self.begun:
            self.tell(say.Began(number, self.now))
        self.mishaps = mishaps

    def rebuilt(self, old: Machine) -> Any:
        """The workflow that the store tells of."""
        if not self.is_stored:
            return old.workflow.detached()
        if not self.events:
            return self.template
        return self.template._replayed(self.events, self.functions)

    # ---------------------------------------------------------------------------------- checking

    def check(self) -> None:
        """What must hold after every step."""
        machine = self.machine
        given = [each[1] for each in machine.waiting_for_store if isinstance(each[1], say.Execute)]
        waiting = {each.number for each in given}
        assert machine.out.keys() <= self.live.keys() | waiting, "something out that nobody has"
        most = machine.config.max_concurrency
        assert most is None or len(machine.out) <= most or self.crashes
        self.check_once([*self.live.items(), *[(each.number, each.bundle) for each in given]])
        self.check_places(machine)
        if self.is_instant and self.is_stored:
            assert self.length == machine.workflow.position, "something is not stored"

    def check_once(self, bundles: list[tuple[int, Bundle]]) -> None:
        """No piece of work is out twice, except what had come back before a crash and comes again."""
        ids = [
            each.id
            for number, bundle in bundles
            if number not in self.ready_answers
            for each in bundle.runnables
        ]
        assert len(ids) == len(set(ids)), f"out twice: {ids}"

    def check_places(self, machine: Machine) -> None:
        """Each piece of work that was prepared is where the machine thinks it is."""
        waiting = [each for _, _, each in machine.delayed] + machine.kept_back
        waiting += [each for _, _, bundle in machine.planned for each in bundle.runnables]
        keys = [(each.node, each.scope, each.generation) for each in waiting]
        assert len(keys) == len(set(keys))
        assert {key for key, number in machine.where.items() if number == DELAYED} == set(keys)
        assert {
            number for number in machine.where.values() if number != DELAYED
        } <= machine.out.keys()
        assert not machine.answers

    def check_at_rest(self) -> None:
        """When all was answered, nothing is left but what happened."""
        machine = self.machine
        left = {
            "out": machine.out,
            "where": machine.where,
            "planned": machine.planned,
            "delayed": machine.delayed,
            "kept back": machine.kept_back,
            "moments": machine.moments,
            "open": machine.open,
            "reasons": machine.reasons,
            "own wishes": machine.own_wishes,
            "contexts": machine.contexts.by_input,
            "waiting for the store": machine.waiting_for_store,
        }
        assert {name: each for name, each in left.items() if each} == {}
        assert all(reply is not None for reply in self.answered.values())
        assert machine.workflow.is_satisfied()
        assert not machine.workflow.in_flight()
        assert not self.is_exact or max(self.executed.values(), default=1) == 1
        if self.is_stored:
            assert self.length == machine.workflow.position
        if self.length:
            assert td.Workflow.from_log(machine.workflow, self.events) == machine.workflow
        settled = Counter(
            (event.node, event.scope, event.generation)
            for event in self.events
            if isinstance(event, (Applied, Expanded, Failed, Skipped))
        )
        assert max(settled.values(), default=1) == 1


_PERFORM: dict[type, Callable[[Shell, Any], None]] = {
    say.Execute: Shell.execute,
    say.Withdraw: Shell.withdraw,
    say.DriveOn: Shell.drive_on,
    say.Store: Shell.store,
    say.WakeAt: Shell.wake_me,
    say.Reply: Shell.reply,
    say.Accepted: lambda _shell, _told: None,
    say.InputFinished: Shell.input_finished,
    say.Became: Shell.became,
    say.Rests: lambda _shell, _told: None,
    say.Ambiguous: lambda _shell, _told: None,
    say.Tell: lambda _shell, _told: None,
    say.Warn: lambda _shell, _told: None,
}
assert _PERFORM.keys() == ANSWERS.keys()
