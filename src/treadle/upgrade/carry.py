"""The workflow to go on with, where code changed under a run: as it was, with today's code, or a fork."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from treadle.engine.edit import form
from treadle.engine.rerun import below, parents_in, shapes_in, without_components
from treadle.errors import CodeChanged, DefinitionError
from treadle.model.definition import shape_of
from treadle.model.events import Baseline, Defined, Event
from treadle.model.lowering import relower
from treadle.model.nodes import Lowered
from treadle.model.sentinels import INPUT_KEY
from treadle.policies.matching import Subject
from treadle.upgrade.differences import Difference, compare_run, recorded_run
from treadle.upgrade.rules import ADOPT, KEEP, RECOMPUTE, REFUSE, on_change_from
from treadle.value import Workflow

DECIDED = {
    REFUSE: "on_code_change is 'refuse'",
    KEEP: "its code is to be kept, and no definition that has it is given",
}


def upgraded(
    definition: Workflow,
    events: Iterable[Event],
    on_code_change: Any = REFUSE,
    *,
    earlier: Iterable[Workflow] = (),
    components: Mapping[str, Any] | None = None,
    run_key: str | None = None,
) -> Workflow:
    """The workflow that a stored run goes on with, under the definition of today.

    `on_code_change`: `"refuse"`, `"keep"`, `"adopt"` or `"recompute"`, for all or by component. `earlier`:
    definitions as they once were, for what is kept. `components`: what was given to this run alone. Under adopt
    the log grows by what was replaced, added and removed. Where something is computed again the result is a fork:
    it has a log of its own, and a run key of its own (`run_key`, or one made from the old).

    Errors: `CodeChanged` naming each difference that stands in the way; `LogError` if the log is damaged.
    """
    rules = on_change_from(on_code_change)  # a wrong word is told before anything is looked at
    logged = list(events)
    if not logged:
        return definition
    run = recorded_run(definition, logged, earlier, components)
    differences = compare_run(definition, logged, run, components)
    words = decided(differences, rules, run, definition)
    return carried(definition, logged, run, differences, words, run_key=run_key)


def carried(
    definition: Workflow,
    events: list[Event],
    run: Workflow,
    differences: Iterable[Difference],
    words: Mapping[str, str],
    *,
    run_key: str | None = None,
) -> Workflow:
    """`upgraded`, where the log is folded and compared, and it is decided what is to be done. Errors: `CodeChanged`."""
    changed = {each.component: each for each in differences if not each.is_same}
    _check(run.name, changed, words)
    carrying = Carrying(definition, events, run, changed, words)
    if not any(word in (ADOPT, RECOMPUTE) for word in carrying.words.values()):
        return run
    return carrying.fork(run_key) if carrying.is_fork() else carrying.adopted()


def decided(
    differences: Iterable[Difference], on_code_change: Any, run: Workflow, definition: Workflow
) -> dict[str, str]:
    """The word for each component; today's component is what a matcher sees, where there is one."""
    rules = on_change_from(on_code_change)
    components = {lowered.name: lowered.component for lowered in run.lowered()}
    components.update((lowered.name, lowered.component) for lowered in definition.lowered())
    subjects = [
        Subject(each.component, each.kind, None, components[each.component]) for each in differences
    ]
    return {subject.name: rules.find(subject) for subject in subjects}


def _check(workflow: str, changed: Mapping[str, Difference], words: Mapping[str, str]) -> None:
    """Raise for all that is refused, and for what is kept and not at hand."""
    stopped = [
        each
        for name, each in changed.items()
        if words[name] == REFUSE
        or (words[name] == KEEP and each.change != "new" and not each.has_code)
    ]
    if stopped:
        raise code_changed(workflow, [(each, DECIDED[words[each.component]]) for each in stopped])


def code_changed(
    workflow: str, stopped: list[tuple[Difference, str]], *, was_asked: str = REFUSE
) -> CodeChanged:
    """The error that names each difference, why it stops the run, and what would help: not what `was_asked` for."""
    lines = "".join(f"\n  {difference}; {why}" for difference, why in stopped)
    named = stopped[0][0].component
    ways = ["give the definition that it was begun with, too, and on_code_change='keep'"]
    if was_asked != ADOPT:
        word = repr(ADOPT) if len(stopped) > 1 else f"{{{named!r}: {ADOPT!r}}}"
        asked = ADOPT if len(stopped) > 1 else f"{named}={ADOPT}"
        ways.append(
            f"say that today's is to go on: on_code_change={word}, or --on-code-change {asked}"
        )
    if was_asked != RECOMPUTE:
        ways.append(f"have it computed again: {RECOMPUTE!r}")
    missing = [each.component for each, _ in stopped if each.change == "missing"]
    if missing:
        ways.append(f"where {missing[0]!r} only got another name, give it name={missing[0]!r}")
    return CodeChanged(
        f"the code of {workflow!r} is not the code that this run was begun with:{lines}\n",
        differences=tuple([difference for difference, _ in stopped]),
        hint="; or ".join(ways) + ".",
    )


class Carrying:
    """One run on its way to today's code."""

    def __init__(
        self,
        definition: Workflow,
        events: list[Event],
        run: Workflow,
        changed: Mapping[str, Difference],
        words: Mapping[str, str],
    ) -> None:
        self.definition = definition
        self.events = events
        self.run = run
        self.changed = changed
        self.words = {name: words[name] for name in changed}
        self.today = {lowered.name: lowered for lowered in definition.lowered()}
        self.recorded = {lowered.name: lowered for lowered in run.lowered()}

    def of(self, change: str, *words: str) -> list[str]:
        """The components that changed in this way and are decided so."""
        return [
            name
            for name, each in self.changed.items()
            if each.change == change and self.words[name] in (words or (ADOPT, RECOMPUTE))
        ]

    def stop(self, name: str, why: str) -> CodeChanged:
        """It cannot be done as it was asked."""
        return code_changed(self.run.name, [(self.changed[name], why)], was_asked=self.words[name])

    # --- in the same log ---------------------------------------------------------------------

    def adopted(self) -> Workflow:
        """Today's code for what is to be done, as edits of the run."""
        run = self.run
        for name in [*self.of("code_changed"), *self.of("shape_changed")]:
            run = self._with_code(run, name)
        for name in self.of("new"):
            fed = self.words[name] == RECOMPUTE
            run = self._try(
                name,
                lambda run=run, name=name, fed=fed: run.add_lowered(self.today[name], backfill=fed),
            )
        for name in reversed(self.of("missing")):
            run = self._try(name, lambda run=run, name=name: run.remove(name))
        for name in self.of("shape_changed"):
            run = self._with_wiring(run, name)
        return run

    def _try(self, name: str, edit: Any) -> Workflow:
        try:
            done: Workflow = edit()
        except DefinitionError as error:
            raise self.stop(name, f"it cannot be adopted: {error.message}") from error
        return done

    def _with_code(self, run: Workflow, name: str) -> Workflow:
        """New code under the wiring that there is, where it fits; else it waits for the new wiring."""
        now = next(lowered for lowered in run.lowered() if lowered.name == name)
        today = self.today[name]
        recorded = shape_of(now).fingerprint
        if shape_of(today, recorded).fingerprint == recorded:
            return run
        if self.changed[name].change == "code_changed":
            return self._try(name, lambda: run.replace_lowered(today))
        try:
            fitted = relower(today, now.wiring)
        except DefinitionError:
            return run
        return run.replace_lowered(fitted) if form(fitted) == form(now) else run

    def _with_wiring(self, run: Workflow, name: str) -> Workflow:
        """The wiring of today; what a removal above it did already is not done twice."""
        order = [lowered.name for lowered in run.lowered()]
        now = run.lowered()[order.index(name)]
        today = self.today[name]
        if shape_of(now) == shape_of(today, shape_of(now).fingerprint):
            return run
        above = parents_in([], [today])[name] - {INPUT_KEY, *order[: order.index(name)]}
        if above:
            raise self.stop(
                name,
                f"it cannot be adopted: it would take from {listed(above)}, which came after it",
            )
        return self._try(name, lambda: run.replace_lowered(today))

    # --- in a log of its own -----------------------------------------------------------------

    def is_fork(self) -> bool:
        """Whether something that was used is to be computed again."""
        return any(
            each.used and self.words[name] == RECOMPUTE for name, each in self.changed.items()
        )

    def _parents(self) -> Mapping[str, set[str]]:
        lowered = [*self.recorded.values(), *self.today.values()]
        return parents_in(shapes_in(self.events), lowered)

    def fork(self, run_key: str | None) -> Workflow:
        """A run that never had what is computed again, and then was given it, with all facts that there are."""
        parents = self._parents()
        again = [name for name in self.changed if self.words[name] == RECOMPUTE]
        gone = below(parents, again)
        self._check_fork(again[0])
        head: Any = self.events[0]
        key = run_key or f"{head.run_key or head.name}~upgrade@{self.run.position}"
        kept, cancelled = without_components(self.events, gone, key)
        rest = {name: each for name, each in self.changed.items() if name not in gone}
        base = Workflow.from_log(self.run, kept, exact=True)
        moved = Carrying(self.definition, kept, base, rest, self.words).adopted()
        for lowered in self._returning(gone):
            moved = self._added(moved, lowered)
        for event in cancelled:
            moved = moved.cancel(event.scope[0], reason=event.reason, at=event.at)
        return moved

    def _check_fork(self, name: str) -> None:
        head = self.events[0]
        if isinstance(head, Baseline) or not isinstance(head, Defined):
            raise self.stop(
                name,
                f"it cannot be computed again: what was before event {head.position} is folded "
                '(a workflow with retain="all" keeps it)',
            )

    def _returning(self, gone: set[str]) -> list[Lowered]:
        """What is put back, parents first: today's component, or the run's own where that is kept."""
        found: dict[str, Lowered] = {}
        for name, lowered in {**self.recorded, **self.today}.items():
            word = self.words.get(name, KEEP)
            if name in gone and name in self.recorded and word == KEEP:
                found[name] = self.recorded[name]
            elif name in gone and name in self.today and word in (ADOPT, RECOMPUTE):
                found[name] = lowered
        ordered: list[Lowered] = []
        while found:
            ready = [
                name
                for name, lowered in found.items()
                if not parents_in([], [lowered])[name] & (found.keys() - {name})
            ]
            ordered.extend([found.pop(name) for name in ready or list(found)])
        return ordered

    def _added(self, run: Workflow, lowered: Lowered) -> Workflow:
        try:
            return run.add_lowered(lowered, backfill=True)
        except DefinitionError as error:
            name = lowered.name if lowered.name in self.changed else next(iter(self.changed))
            why = f"{lowered.name!r} cannot be computed again: {error.message}"
            raise self.stop(name, why) from error


def listed(names: Iterable[str]) -> str:
    """Names in a sentence."""
    return ", ".join(map(repr, sorted(names)))
