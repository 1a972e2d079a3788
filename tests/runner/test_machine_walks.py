"""Laws of the machine: whatever comes, in whatever order, nothing is lost, done twice, or left behind.

Each walk is drawn from a number, so that a failure is found again by it. `shell.py` checks after every step.
"""

import itertools
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import treadle as td
from tests.oracle.compare import read
from tests.oracle.graph import INPUT, build
from tests.oracle.strategies import CONFLUENT, cases
from tests.runner.shell import Mishaps, Shell
from tests.value.test_random_walks import KINDS, component
from tests.value.test_random_walks import Walk as Growth
from treadle.engine import baseline
from treadle.model.bundles import Bundle
from treadle.policies.matching import policies_from
from treadle.runner import stimuli as say
from treadle.schedulers import BatchScheduler, ChainScheduler, PriorityScheduler

OPEN = (say.RUNNING, say.IDLE)
pytestmark = pytest.mark.slow

SEEDS = st.integers(0, 2**32 - 1)


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Failures are what these walks are about: nobody needs to hear of each."""
    logging.getLogger("treadle").setLevel(logging.CRITICAL)
    yield
    logging.getLogger("treadle").setLevel(logging.NOTSET)


# ------------------------------------------------------------------------------ who is in the way


class AnyBundles:
    """A scheduler that bundles whatever may be bundled, as it is drawn."""

    def __init__(self, choose: Random) -> None:
        self.choose = choose

    def plan(self, ready: Sequence[Any], view: Any) -> list[Bundle]:
        """Each in exactly one bundle."""
        bundles = []
        left = list(ready)
        self.choose.shuffle(left)
        while left:
            first = left.pop()
            if not view.may_bundle(first) or self.choose.random() < 0.3:
                bundles.append(Bundle(runnables=(first,)))
            elif self.choose.random() < 0.5:
                links = view.chain_after(first)
                cut = self.choose.randrange(len(links) + 1)
                bundles.append(Bundle(runnables=(first,), links=links[:cut]))
            else:
                fits = [each for each in left if view.may_bundle(each)]
                mates = fits[: self.choose.randrange(4)]
                left = [each for each in left if each not in mates]
                bundles.append(Bundle(runnables=(first, *mates)))
        return bundles

    def observe(self, outcome: Any) -> None:
        """Learns nothing."""


class Faulty(AnyBundles):
    """A scheduler that now and then loses work, doubles it, raises, or gives something else."""

    def plan(self, ready: Sequence[Any], view: Any) -> list[Bundle]:
        """Nearly always wrong."""
        bundles = super().plan(ready, view)
        fault = self.choose.randrange(5)
        if fault == 0:
            raise RuntimeError("no plan")
        if fault == 1:
            return bundles[:-1]
        if fault == 2:
            return bundles + bundles[:1]
        return [None] if fault == 3 else bundles  # type: ignore[list-item]

    def observe(self, outcome: Any) -> None:
        """Raises, now and then."""
        if self.choose.random() < 0.2:
            raise RuntimeError("nothing learned")


class Whims:
    """A hook that keeps work back for a while, puts it in another order, and raises now and then."""

    def __init__(self, choose: Random) -> None:
        self.choose = choose

    def __call__(self, ready: list[Any]) -> list[Any]:
        """Some of it, in some order."""
        if self.choose.random() < 0.1:
            raise RuntimeError("no idea")
        self.choose.shuffle(ready)
        return [each for each in ready if self.choose.random() < 0.7]


def wish_again(_: Any) -> Any:
    """A fallback that wants another attempt, with a value that nobody asks for."""
    return td.RetryWith(nothing=1)


FALLBACKS: list[dict[str, Any]] = [
    *({} for _ in range(4)),
    {"fallback": [7]},
    {"fallback": lambda _: [8]},
    {"fallback": wish_again},
    {"fallback": lambda _: td.RetryWith()},
    {"fallback": td.RetryWith()},
    {"fallback": td.step(lambda *_: [9], name="other")},
]


def any_policy(choose: Random) -> td.Policy:
    """A policy of any fields."""
    pick = choose.choice
    return td.Policy(
        max_retries=pick([0, 1, 2]),
        backoff=pick(["none", "linear", "exponential", "jitter"]),
        timeout_s=pick([None, None, 5.0]),
        deadline_s=pick([None, None, 0.4, 30.0]),
        retry_on=pick([None, None, ConnectionError]),
        executor=pick([None, None, "inline", "threads"]),
        priority=pick(["normal", "normal", "low", "high"]),
        on_failure=pick([None, None, "skip", "halt", "block"]),
        max_concurrency=pick([None, None, 2]),
        **pick(FALLBACKS),
    )


def mild_policy(choose: Random) -> td.Policy:
    """A policy that tries often enough, and changes no result."""
    pick = choose.choice
    return td.Policy(
        max_retries=12,
        backoff=pick(["none", "linear", "exponential", "jitter"]),
        timeout_s=pick([None, None, 5.0]),
        retry_on=(ConnectionError, td.errors.TimedOut),
        executor=pick([None, None, "inline", "threads"]),
        priority=pick(["normal", "normal", "low", "high"]),
    )


def policies_for(choose: Random, names: Sequence[str], make: Callable[[Random], Any]) -> Any:
    """Policies for some components."""
    return {name: make(choose) for name in names if choose.random() < 0.6}


def any_shell(choose: Random, template: Any, policies: Any, mishaps: Mishaps) -> Shell:
    """A shell of any configuration."""
    schedulers: list[Callable[[], Any]] = [
        *(lambda: None for _ in range(3)),
        lambda: AnyBundles(choose),
        lambda: Faulty(choose),
        ChainScheduler,
        lambda: BatchScheduler(2, 4),
        lambda: PriorityScheduler(ChainScheduler()),
    ]
    return Shell(
        template,
        choose,
        policies=policies,
        mishaps=mishaps,
        default=choose.choice(["threads", "inline"]),
        is_instant=choose.random() < 0.5,
        is_stored=choose.random() < 0.8,
        max_concurrency=choose.choice([None, None, 1, 3]),
        window=choose.choice([10_000, 10_000, 1, 3]),
        make_scheduler=choose.choice(schedulers),
        make_transform=choose.choice([lambda: None, lambda: None, lambda: Whims(choose)]),
    )


def any_mishaps(choose: Random) -> Mishaps:
    """Sometimes nothing goes wrong, sometimes much."""
    pick = choose.choice
    return Mishaps(
        crash=pick([0.0, 0.0, 0.03, 0.2]),
        lost=pick([0.0, 0.2]),
        twice=pick([0.0, 0.2]),
        slow=pick([0.0, 0.1]),
    )


# ------------------------------------------------------------------------------------- the walks


class Walk:
    """A run that is asked for this and that while its work goes on."""

    def __init__(self, seed: int, retain: Any = "all") -> None:
        self.choose = choose = Random(seed)
        template = Growth(seed, retain).template
        self.made = itertools.count(100)
        policies = policies_for(choose, template.components(), any_policy)
        self.shell = any_shell(choose, template, policies, any_mishaps(choose))

    def go(self, requests: int) -> Shell:
        """Make so many requests, with some work between them, and then let it come to rest."""
        acts = [self.submit, self.cancel, self.edit, self.stop, self.submit_again]
        for _ in range(requests):
            self.choose.choices(acts, [8, 2, 3, 1, 1])[0]()
            for _ in range(self.choose.randrange(10)):
                actions = self.shell.actions()
                if actions:
                    self.choose.choice(actions)()
        self.shell.settle()
        return self.shell

    def submit(self) -> None:
        """An input, perhaps with wishes of its own."""
        shell, choose = self.shell, self.choose
        value = [choose.randrange(5) for _ in range(choose.randrange(4))]
        more: dict[str, Any] = {}
        if choose.random() < 0.2:
            names = shell.machine.workflow.components()
            more["policies"] = policies_from(policies_for(choose, names, any_policy))
        if choose.random() < 0.2:
            more["context"] = {"_global": {"who": value}}
        if choose.random() < 0.2:
            more["deadline_at"] = shell.now + choose.choice([0.2, 50.0])
        if choose.random() < 0.2:
            more["key"] = choose.choice("abc")
        shell.ask(lambda request: say.Submit(request=request, value=value, at=shell.now, **more))

    def submit_again(self) -> None:
        """Two inputs of one key, one right after the other: they are one input."""
        shell, key = self.shell, f"key {next(self.made)}"
        asked = [
            shell.ask(lambda number: say.Submit(request=number, value=[1], at=shell.now, key=key))
            for _ in range(2)
        ]
        shell.settle()
        first, second = (shell.answered[request] for request in asked)
        assert first is not None
        assert second is not None
        if first.error is None and second.error is None and not shell.forgets:
            assert first.value == second.value

    def cancel(self) -> None:
        """Withdraw an input; there may be none."""
        shell, choose = self.shell, self.choose
        last = shell.machine.workflow.last_input
        number = -1 if last is None or choose.random() < 0.1 else choose.randint(0, last)
        shell.ask(lambda request: say.CancelInput(request=request, input=number, at=shell.now))

    def edit(self) -> None:
        """Add, replace or remove a component; what is refused is refused."""
        shell, choose = self.shell, self.choose
        names = shell.machine.workflow.components()
        name, kind, how = f"c{next(self.made)}", choose.choice(KINDS[:-1]), choose.randrange(3)
        made = component(choose, name, kind)
        above, backfill = choose.choice([td.INPUT, *names]), choose.random() < 0.5
        shell.is_exact = shell.is_exact and how < 2  # what is wired anew is done anew

        def change(workflow: Any) -> Any:
            if how == 0:
                return workflow.add(made, to=above, backfill=backfill and workflow.position > 0)
            if how == 1 and above is not td.INPUT:
                other = choose.choice([workflow[above], made])
                return workflow.replace(above, other, reset=choose.random() < 0.3)
            return workflow.remove(above)

        with suppress(td.errors.DefinitionError):
            shell.ask(lambda request: say.Change(request=request, change=change, at=shell.now))

    def stop(self) -> None:
        """End it in order or for good; what was stopped goes on from its log."""
        shell, choose = self.shell, self.choose
        how = choose.randrange(4)

        def make(request: int) -> Any:
            if how == 0:
                return say.CancelRun(request=request, at=shell.now)
            return say.Stop(request=request, at=shell.now, now=how == 1)

        for _ in range(1000):
            actions = shell.actions()
            if shell.machine.status in say.FINAL:
                break
            if (
                shell.machine.status in OPEN or not actions
            ):  # not asked yet, or that was lost in a crash
                shell.ask(make)
            else:
                choose.choice(actions)()
        assert shell.machine.status in say.FINAL
        assert not shell.is_stored or shell.length == shell.machine.workflow.position
        shell.resume()


@settings(max_examples=500)
@given(SEEDS)
def test_nothing_is_lost_done_twice_or_left_behind(seed: int):
    """Whatever is asked, edited, answered late, lost or stopped: at rest a machine holds only what happened."""
    choose = Random(seed)
    shell = Walk(seed).go(choose.choice([2, 5, 8]))

    shell.check_at_rest()


@settings(max_examples=250)
@given(SEEDS)
def test_walks_hold_where_the_past_is_folded(seed: int):
    """The same, of runs that forget: what is stored begins with a baseline then."""
    trim_after, baseline.TRIM_AFTER = baseline.TRIM_AFTER, 0
    try:
        choose = Random(seed)
        shell = Walk(seed, choose.choice([0, 1, "results"])).go(choose.choice([5, 8]))
        shell.check_at_rest()
    finally:
        baseline.TRIM_AFTER = trim_after


@settings(max_examples=300)
@given(case=cases(max_nodes=6, **CONFLUENT), seed=SEEDS)
def test_a_run_gives_what_the_react_loop_gives(case: Any, seed: int):
    """Bodies that succeed in the end give the same facts, failures and starved joins as without all that."""
    graph, inputs, _ = case
    choose = Random(seed)
    template = build(graph, td)
    policies = policies_for(choose, [node.name for node in graph.nodes], mild_policy)
    shell = any_shell(choose, template, policies, any_mishaps(choose))
    asked = []
    for value in inputs:
        asked.append(submit_until_taken(shell, value))
        for _ in range(choose.randrange(8)):
            for act in shell.actions()[:1]:
                act()
    shell.settle()
    shell.check_at_rest()
    alone = template
    for value in inputs:
        alone = alone.react_until_satisfied(value)
    leave_out = {INPUT, td.INPUT, None}

    assert read(shell.machine.workflow, td.ABSENT, leave_out) == read(alone, td.ABSENT, leave_out)
    assert asked == list(range(len(inputs)))
    if not shell.crashes:
        assert shell.finished == dict.fromkeys(asked, 1)


def submit_until_taken(shell: Shell, value: Any) -> int:
    """Submit an input under a key, again if the machine was lost over it; its number."""
    key = f"key {next(shell.requests)}"
    while True:
        request = shell.ask(
            lambda number: say.Submit(request=number, value=value, at=shell.now, key=key)
        )
        while shell.answered[request] is None:
            shell.choose.choice(shell.actions())()
        reply = shell.answered[request]
        assert reply is not None
        if reply.error is None:
            return int(reply.value)
