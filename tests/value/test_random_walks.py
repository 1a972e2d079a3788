"""Random walks over everything a workflow can be put through, edits and folds included.

After every step the log must rebuild the very same workflow, and at the end what is left can be finished and looked
at. The walk is drawn from a seed, so that a failure is found again by its number.
"""

import random
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import pytest

import treadle as td
from treadle.engine import baseline

SEEDS = range(120)
LOST: list[Any] = ["fail", "skip", "collect"]
FAILURES: list[Any] = ["block", "block", "skip", "halt"]


def function(choose: random.Random) -> Any:
    """A function of any ports that fails, skips or gives a list, by what it is given."""
    behaviour = choose.randrange(6)

    def call(*values: Any) -> Any:
        size = len(repr(values))
        if behaviour == 0 and size % 3 == 0:
            raise ValueError(size)
        if behaviour == 1 and size % 4 == 0:
            return td.ABSENT
        return [values[0] if values else 0, len(values), 3][: size % 3 + 1]

    return call


def component(choose: random.Random, name: str, kind: str) -> Any:
    """A component of a kind."""
    call, lost = function(choose), choose.choice(LOST)
    if kind == "map":
        return td.map(lambda x: x if isinstance(x, list) else [x, x], name=name)
    if kind == "collect":
        return td.collect(lambda v: [str(x)[:20] for x in v], name=name, on_item_failure=lost)
    if kind == "reduce":
        return td.reduce(lambda a, _: a + 1, initial=0, name=name, on_item_failure=lost)
    if kind == "accumulator":
        return td.accumulator(lambda s, _: s + 1, initial=0, name=name)
    if kind == "keyed":
        return td.accumulator(lambda s, _: s + 1, initial=0, name=name, key=parity)
    if kind == "merging":
        return td.accumulator(lambda s, _: s + 1, initial=0, name=name, merge=lambda a, b: a + b)
    if kind == "wait_for":
        return waits(choose, name)
    if kind == "sleep":
        seconds: Any = choose.choice([0, 5, lambda v: len(repr(v))])
        return td.sleep(seconds, name=name)
    if kind == "rule":
        return td.rule(lambda v: v, name=name, condition=lambda v: len(repr(v)) % 3 != 0)
    return td.step(call, name=name, on_failure=choose.choice(FAILURES))


def parity(value: Any) -> int:
    """A key of few values."""
    return len(repr(value)) % 2


def waits(choose: random.Random, name: str) -> Any:
    """A wait for one of a few keys, or for where it stands; some end by themselves, some fail to begin."""
    keys = [None, "a", lambda v: "ab"[parity(v)], lambda v: v if parity(v) else "a"]
    times = [None, 3, 20, lambda v: len(repr(v)) - 2]
    time = choose.choice(times)
    default = choose.choice([td.ABSENT, ["by default"]]) if time else td.ABSENT
    on_failure = choose.choice(FAILURES)
    return td.wait_for(
        name, key=choose.choice(keys), timeout_s=time, default=default, on_failure=on_failure
    )


JOINS: dict[str, dict[str, Any]] = {
    "all": {},
    "settled": {"join": "settled"},
    "any": {"join": "any"},
    "two": {"join": 2},
    "latest": {"correlate": "latest"},
    "arrival": {"correlate": "arrival"},
    "by key": {"correlate": parity},
}
KINDS = ["step", "map", "collect", "reduce", "accumulator", "keyed", "merging", "rule", "handler"]
WAITS = ["wait_for", "wait_for", "sleep", "late"]


class Walk:
    """A workflow on its way, with what is in hand and every component there ever was."""

    def __init__(self, seed: int, retain: Any, waits: Sequence[str] = ()) -> None:
        self.choose = random.Random(seed)
        self.hand: list[td.Runnable] = []
        self.made = 0
        self.waits = waits
        self.now = 0
        self.w = td.workflow("walk", retain=retain)
        for _ in range(self.choose.randrange(2, 8)):
            self.add()
        self.template = self.w

    def add(self) -> None:
        """Add something below something, if it fits."""
        names = self.w.components()
        kind = self.choose.choice([*KINDS, *self.waits, *JOINS])
        to: Any
        name, options, to = (
            f"c{self.made}",
            JOINS.get(kind, {}),
            self.choose.choice([td.INPUT, *names]),
        )
        if kind in JOINS:
            to = self.choose.sample([td.INPUT, *names], min(len(names) + 1, 2))
        elif kind == "handler" and names:
            to = td.error_of(self.choose.choice(names))
        elif kind == "late" and names:
            to = td.timeout_of(self.choose.choice(names))
        backfill = bool(self.w.position) and self.choose.random() < 0.5
        made = component(self.choose, name, kind)
        try:
            self.w = self.w.add(made, to=to, backfill=backfill, **options)
            self.made += 1
        except td.errors.DefinitionError:
            pass

    def step(self) -> None:
        """Do one thing."""
        acts = [
            self.accept,
            self.prepare,
            self.apply,
            self.add,
            self.remove,
            self.replace,
            self.fork,
            self.signal,
            self.tick,
            self.cancel,
        ]
        self.choose.choices(acts, [4, 5, 10, 2, 1, 2, 0.5, 4, 2, 0.3])[0]()

    def accept(self) -> None:
        """A further input."""
        items = [self.choose.randrange(5) for _ in range(self.choose.randrange(4))]
        self.w = self.w.plan_eagerly(items, at=self.choose.choice([None, self.now]))

    def prepare(self) -> None:
        """Take work out."""
        self.w, runnables = self.w.prepare_for_dispatch(self.choose.choice([None, 1, 2]))
        self.hand += runnables

    def apply(self) -> None:
        """Give an outcome (or the work itself) back."""
        if not self.hand:
            return
        runnable = self.hand.pop(self.choose.randrange(len(self.hand)))
        try:
            if self.choose.random() < 0.1:
                self.w = self.w.release(runnable)
            else:
                retry = self.choose.random() < 0.1
                self.w = self.w.apply_runnable(td.execute_runnable(runnable), retry=retry)
        except td.errors.ForeignOutcome:
            pass  # made before this walk went back in time

    def signal(self) -> None:
        """Somebody says something, to somebody or not."""
        names = [name for name in self.w.components() if self.w[name].kind == "wait_for"]
        if not names:
            return
        key = self.choose.choice([None, "a", "b", str(self.choose.randrange(3))])
        before = self.w.log()
        try:
            said = self.choose.randrange(9)
            self.w = self.w.signal(self.choose.choice(names), [said], key, at=self.now)
        except td.errors.AmbiguousSignal:
            assert self.w.log() == before

    def tick(self) -> None:
        """Time passes."""
        self.now += self.choose.randrange(8)
        self.w = self.w.tick(self.now)
        due = self.w.next_due()
        assert due is None or due > self.now

    def cancel(self) -> None:
        """An input is given up."""
        if self.w.last_input is not None:
            self.w = self.w.cancel(-1)

    def remove(self) -> None:
        """Take a component out, if it can go."""
        with suppress(td.errors.DefinitionError, IndexError):
            self.w = self.w.remove(self.choose.choice(self.w.components()))

    def replace(self) -> None:
        """Replace a component by itself or by another, with or without its state."""
        try:
            name = self.choose.choice(self.w.components())
            other = component(self.choose, name, self.choose.choice([*KINDS, *self.waits]))
            made = self.choose.choice([self.w[name], other])
            self.w = self.w.replace(name, made, reset=self.choose.random() < 0.3)
        except (td.errors.DefinitionError, IndexError):
            pass

    def fork(self) -> None:
        """Go on from here, or from a little earlier."""
        with suppress(td.errors.Forgotten):
            self.w = self.w.at(max(0, self.w.position - self.choose.randrange(4)))


@pytest.mark.parametrize("folds", [False, True], ids=["all is kept", "folded at once"])
def test_the_log_rebuilds_the_workflow_after_every_step(
    folds: bool, monkeypatch: pytest.MonkeyPatch
):
    """S1 to S3, S8, S27: whatever happened, in whatever order, the log tells it."""
    if folds:
        monkeypatch.setattr(baseline, "TRIM_AFTER", 0)
    for seed in SEEDS:
        retain = random.Random(seed).choice([0, 1, "results"]) if folds else "all"
        walk = Walk(seed, retain, WAITS)
        for _ in range(30):
            walk.step()
            w = walk.w
            if not w.position:
                continue
            again = td.Workflow.from_log(w, w.log())
            assert again == w, seed
            pending = sorted([r.id for r in w.next_runnables()] + w.in_flight())
            assert pending == sorted(r.id for r in again.next_runnables()), seed
            assert w.waiting() == again.waiting(), seed
            assert w.next_due() == again.next_due(), seed
        finish(walk.w, seed)


def finish(w: td.Workflow, seed: int) -> None:
    """What is left can be run, and all can be looked at."""
    done = td.Workflow.from_log(w, w.log()).react_until_satisfied()
    for now in range(1000, 100_000, 1000):
        if not done.waiting():
            break
        first = done.waiting()[0]
        done = done.tick(now).react_until_satisfied()
        if first in done.waiting() and first["kind"] == "wait_for":
            done = done.signal(first["name"], "in the end", first["key"]).react_until_satisfied()

    assert done.is_satisfied(), seed
    assert done.results(input=td.ALL) is not None
    for fact in done.facts()[-3:]:
        assert done.why(fact)["node"] == fact.id[0]
    assert len(done.to_mermaid(state=True)) > 0
