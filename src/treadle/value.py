"""The value: a `Workflow` is a dataflow graph together with all that has happened in it.

Here is what a user does with one: build and edit it, drive it, ask it. How it stands on a tape, and the three
phases, are in `handle.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from msgspec import structs

from treadle.components import fitting
from treadle.components.component import Component
from treadle.components.fitting import ErrorOf, TimeoutOf
from treadle.components.step import Step, as_component
from treadle.engine.edit import Edit
from treadle.engine.memory import Memory
from treadle.engine.replay import Functions, definition_from, entries_from, rebuild
from treadle.engine.tape import Entry, Log, Tape
from treadle.engine.waits import waits_in_order
from treadle.errors import DefinitionError, LogError, UnknownComponent, UsageError, nearest
from treadle.handle import NOTHING, RUNS, Inspection, is_a
from treadle.model import calls
from treadle.model import nodes as kinds
from treadle.model.definition import Definition, shape_of
from treadle.model.events import Baseline, ComponentRemoved, Defined, Event
from treadle.model.lowering import prefixed
from treadle.model.nodes import Context, Lowered, Source
from treadle.model.sentinels import INPUT, INPUT_KEY, Sentinel
from treadle.timed import Timed

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from treadle.model.facts import Fact, Failure
    from treadle.policies.matching import Rules

Parent: TypeAlias = "str | Component[Any, Any] | ErrorOf | TimeoutOf | Sentinel | Workflow"


class Workflow(Timed):
    """A dataflow graph together with all that has happened in it: an immutable value.

    Every operation returns a new workflow; the old one stays valid. Make one with `treadle.workflow(name)`,
    feed it inputs, and drive it: by `react_until_satisfied`, or by hand in three phases (`plan_eagerly`,
    `prepare_for_dispatch`, `execute_runnable`, `apply_runnable`).
    """

    __slots__ = ()

    def react(
        self,
        input: Any = NOTHING,
        *,
        run_context: Context | None = None,
        policies: Rules | None = None,
        at: float | None = None,
    ) -> Workflow:
        """One generation: accept the input, plan, and execute and apply all that is ready now.

        What failed and is to be tried again by its policy is ready for the next.
        """
        from treadle import drive

        given = self if policies is None else self.with_policies(policies)
        done = drive.react(given.plan_eagerly(input, run_context=run_context, at=at), at)
        return done if policies is None else done.with_policies_of(self)

    def react_until_satisfied(
        self,
        input: Any = NOTHING,
        *,
        key: str | None = None,
        executor: Executor | str | None = None,
        max_concurrency: int | None = None,
        run_context: Context | None = None,
        policies: Rules | None = None,
        at: float | None = None,
    ) -> Workflow:
        """Accept the input, if one is given, and go on until nothing is ready.

        `executor`: None runs inline, one after the other; `"threads"` or any `concurrent.futures.Executor`
        runs up to `max_concurrency` at once. A failed step does not raise: see `failures()`. `policies` hold for this
        call, before those attached by `with_policies`. `at` is the time, in seconds, for the clocks of waits that
        begin; it returns with waits open (see `waiting`).
        """
        given = self if run_context is None else self.with_context(run_context)
        if policies is not None:
            given = given.with_policies(policies)
        if executor is None and max_concurrency is None and not given.has_policies:
            return given.run_inline(input, key, at)
        from treadle import drive

        planned = given.plan_eagerly(input, key=key, at=at)
        done = drive.react_on(planned, executor, max_concurrency, at)
        return done if policies is None else done.with_policies_of(self)

    async def areact_until_satisfied(
        self,
        input: Any = NOTHING,
        *,
        key: str | None = None,
        max_concurrency: int | None = None,
        run_context: Context | None = None,
        policies: Rules | None = None,
        at: float | None = None,
    ) -> Workflow:
        """As `react_until_satisfied`, on the running event loop: async steps are awaited side by side.

        Plain functions run in the loop itself; give slow ones to threads with `asyncio.to_thread`.
        """
        from treadle import drive

        given = self if policies is None else self.with_policies(policies)
        planned = given.plan_eagerly(input, key=key, run_context=run_context, at=at)
        done = await drive.areact(planned, max_concurrency, at)
        return done if policies is None else done.with_policies_of(self)

    def run_or_raise(self, input: Any, *, key: str | None = None, **options: Any) -> Workflow:
        """`react_until_satisfied(input)`, raising `StepFailed` if a step of this input failed for good.

        Errors: `StillWaiting` if the input cannot be finished without a signal, or before some moment.
        """
        done = self.react_until_satisfied(input, key=key, **options)
        number = done.last_input if key is None else done.input_of_key(key)
        done.results(input=number, raise_on_failure=True)
        done.refuse_waiting(number)
        return done

    def add(
        self,
        component: Component[Any, Any] | Callable[..., Any] | Workflow,
        *,
        to: Parent | Iterable[Parent] | None = None,
        join: str | int = "all",
        correlate: str | Callable[[Any], Any] | None = None,
        backfill: bool = False,
    ) -> Workflow:
        """Add a component below its parents (without any: below the raw input).

        `to`: names, components, `td.INPUT`, `td.error_of(name)`, `td.timeout_of(name)`. `join`: `"all"`, `"any"`, a
        number k, or `"settled"`. `correlate` joins across inputs: `"latest"`, `"arrival"`, or a key function.
        `backfill` feeds it the facts that exist; without it, it sees what is applied from now on. A workflow is added
        as its components, named `name.component`.

        Errors: `DefinitionError` and its kinds, at once; nothing is changed.
        """
        if isinstance(component, Workflow):
            sources = self._sources(component.name, to)
            wiring = fitting.make_wiring(component.name, sources, join, correlate)
            return self._add_workflow(component, wiring, backfill=backfill)
        made = as_component(component)
        wiring = fitting.make_wiring(made.name, self._sources(made.name, to), join, correlate)
        return self.add_lowered(made.lower(made.name, wiring), backfill=backfill)

    def _sources(self, name: str, to: Parent | Iterable[Parent] | None) -> tuple[Source, ...]:
        if to is None:
            return ((INPUT_KEY, kinds.VALUE),)
        single = isinstance(to, (str, Component, ErrorOf, TimeoutOf, Sentinel, Workflow))
        listed: list[Any] = [to] if single or not isinstance(to, Iterable) else list(to)
        if not listed:
            raise DefinitionError(
                f"{name!r} was given no parent.", hint="leave `to=` out for the raw input."
            )
        return tuple(self._source(name, parent) for parent in listed)

    def _source(self, name: str, parent: Any) -> Source:
        if parent is INPUT:
            return (INPUT_KEY, kinds.VALUE)
        if isinstance(parent, ErrorOf):
            return (self._output_name(name, parent.name), kinds.ERROR)
        if isinstance(parent, TimeoutOf):
            return (self._output_name(name, parent.name), kinds.TIMEOUT)
        if isinstance(parent, (Component, Workflow)):
            parent = parent.name
        if not isinstance(parent, str):
            raise DefinitionError(
                f"{name!r} names {parent!r:.80} as a parent, which is no component's name.",
                hint="a parent is a name, a component, td.INPUT, td.error_of(name) or td.timeout_of(name).",
            )
        return (self._output_name(name, parent), kinds.VALUE)

    def _output_name(self, name: str, parent: str) -> str:
        """A component's own name; for a sub-workflow, its one output."""
        with self._program() as program:
            if parent in program.components or parent == name:
                return parent
            inside = [known for known in program.components if known.startswith(f"{parent}.")]
            outputs = [known for known in inside if program.is_output(known)]
            if len(outputs) == 1:
                return outputs[0]
            if not inside:
                raise UnknownComponent(
                    f"{name!r} cannot be added: its parent {parent!r} is not in this workflow."
                    f"{nearest(parent, program.components)}",
                    hint="add the parent first, or correct the name in `to=`.",
                )
        raise DefinitionError(
            f"the sub-workflow {parent!r} has {len(outputs)} outputs, so {name!r} cannot tell which to take.",
            hint=f"name one of them: {', '.join(map(repr, outputs or inside))}.",
        )

    def _add_workflow(self, other: Workflow, wiring: kinds.Wiring, *, backfill: bool) -> Workflow:
        """Add a workflow's components under its name; what hung on its input hangs on the parents."""
        refuse_history(other, "added")
        added, prefix = self, other.name
        entry = wiring.sources[0]
        if not wiring.is_plain:
            one = wiring.join == "any" or len(wiring.sources) == 1
            call: Any = calls.PassOn() if one else calls.Pack()
            entry = (f"{prefix}.(input)", kinds.VALUE)
            passing = Step(call, name=entry[0]).lower(entry[0], wiring)
            added = added.add_lowered(structs.replace(passing, prefix=prefix), backfill=backfill)
        for lowered in other._definition.components():
            added = added.add_lowered(prefixed(lowered, prefix, entry), backfill=backfill)
        return added

    def merge(self, other: Workflow) -> Workflow:
        """This workflow with all components of another, which must have no history; names must not clash.

        Errors: one `ExceptionGroup` of all that does not fit; nothing is changed.
        """
        if not is_a(other, Workflow):
            raise UsageError(f"merge takes a workflow, and was given {other!r:.80}.")
        refuse_history(other, "merged")
        faults: list[Exception] = []
        merged = self
        for lowered in other._definition.components():
            try:
                merged = merged.add_lowered(lowered, backfill=False)
            except DefinitionError as error:
                faults.append(error)
        if faults:
            raise ExceptionGroup(f"{other.name!r} cannot be merged into {self.name!r}", faults)
        return merged

    def replace(
        self,
        name: str | Component[Any, Any] | Callable[..., Any],
        component: Component[Any, Any] | Callable[..., Any] | None = None,
        *,
        reset: bool = False,
    ) -> Workflow:
        """Put a component in the place of the one of a name (by default, of its own name).

        Pending work is withdrawn and ready again under the new code. State is kept; `reset=True` drops it.
        """
        made = as_component(name if component is None else component)
        old = self._component_of(made.name if component is None else name)
        return self.replace_lowered(made.lower(old.name, old.wiring), reset=reset)

    def remove(self, name: str | Component[Any, Any]) -> Workflow:
        """Take a component out and wire its children to its parents, where they still fit.

        Errors: `DefinitionError` naming the children that would not fit, or what refers to it.
        """
        old = self._component_of(name)
        with self._program() as program:
            fitting.check_unreferenced(program, old)
            rewired = fitting.rewire_children(program, old)
            components = list(program.components.values())
        if self._at is None:
            swapped = {lowered.name: lowered for lowered in rewired}
            kept = [swapped.get(each.name, each) for each in components if each.name != old.name]
            return self._like(self._definition.with_components(kept))
        with self._reading() as memory:
            shapes = tuple([shape_of(lowered) for lowered in rewired])
            event = ComponentRemoved(memory.position, old.name, shapes)
        return self._edit(event, rewired)

    def _component_of(self, name: Any) -> Lowered:
        wanted = name.name if isinstance(name, Component) else name
        with self._program() as program:
            found = program.components.get(wanted) if isinstance(wanted, str) else None
            if found is not None:
                return found
            raise UnknownComponent(
                f"{self.name!r} has no component named {wanted!r}.{nearest(wanted, program.components)}"
            )

    def rerun(
        self,
        component: str | Component[Any, Any],
        *,
        input: int | None = None,
        run_key: str | None = None,
    ) -> Workflow:
        """A fork in which a component, and all below it, has its work to do again: for one input, or for all.

        What others gave stays, and what conditions said above it; states below are folded anew, in the order of
        the log. Cancelled inputs stay so. Drive what is returned. Its run key, and so the idempotency keys, are
        its own: those given, or made from this one's, so that the same rerun of the same value has the same.

        Errors: `Forgotten` if `retain` let the events go; `UsageError` where the rest of the history depends on
        what would be left out.
        """
        from treadle.engine import rerun as again  # few programs ever do

        name = self._component_of(component).name
        if input is not None:
            with self._reading() as memory:
                input = self._number(memory, input)
        events = list(self.log())
        if not events:
            return self
        names = again.checked(self.name, events, self.lowered(), name, input)
        what = name if input is None else f"{name}[{input}]"
        key = run_key or f"{self.run_key or self.name}~{what}@{self.position}"
        return self._replayed(again.without_work(events, names, input, key), self._functions({}))

    @classmethod
    def from_log(
        cls,
        definition: Workflow,
        log: Iterable[Event],
        *,
        components: Mapping[str, Component[Any, Any] | Callable[..., Any]] | None = None,
        earlier: Iterable[Workflow] = (),
        exact: bool = False,
    ) -> Workflow:
        """The workflow that a log tells of: its graph's shape from the log, its functions from `definition`.

        `components` adds functions for components that were added under way, and `earlier` those of definitions
        as they once were. With `exact`, code of another fingerprint than the log's is not taken: its functions
        are missing. No user code runs. Work that was in flight is ready again.

        Errors: `LogError` if the log is damaged or of another definition.
        """
        if not isinstance(definition, Workflow):
            raise UsageError(
                f"from_log takes the workflow that made the log, and was given {definition!r:.80}."
            )
        if not is_a(log, Iterable) or not is_a(components, Mapping, type(None)):
            raise UsageError(
                f"from_log takes events and a dict of components, not {log!r:.80} and {components!r:.80}."
            )
        functions = definition._functions(components or {}, earlier)
        is_alone = not components and not earlier and definition._at is None
        return definition._replayed(log, functions, exact=exact, more=not is_alone)

    def _replayed(
        self, log: Iterable[Event], functions: Functions, *, exact: bool = False, more: bool = True
    ) -> Workflow:
        """This template with a log folded into it, on a branch of its own."""
        events = list(log)
        if not events:
            return self._like(self._definition)
        head = events[0]
        if not isinstance(head, (Defined, Baseline)):
            raise LogError(
                f"a log begins with Defined or Baseline, and this one with {type(head).__name__}.",
                hint="give the whole log.",
            )
        baseline = head if isinstance(head, Baseline) else None
        defined = head.defined if isinstance(head, Baseline) else head
        shaped = definition_from(head, self._definition, functions, exact=exact, more=more)
        handle = self._like(shaped)
        handle._run_key = defined.run_key
        entries = entries_from(events[1:], functions, defined, exact=exact)
        memory = rebuild_checked(shaped, baseline, entries)
        branch = (*getattr(log, "branch", ()), (memory.position, next(RUNS)))
        tape = Tape(shaped, branch, defined.run_key, baseline, entries)
        tape.slot[len(entries)] = memory
        handle._at = (tape, len(entries))
        return handle

    def _functions(
        self, components: Mapping[str, Any], earlier: Iterable[Workflow] = ()
    ) -> dict[str, list[Lowered]]:
        """Where a log's functions are found: components given by name, all that this one ever had, then others'."""
        found: dict[str, list[Lowered]] = {}
        for name, component in components.items():
            lowered = Lowered(name, "", (), kinds.Wiring(()), as_component(component))
            found.setdefault(name, []).append(lowered)
        for workflow in (self, *earlier):
            for lowered in workflow._all_components():
                found.setdefault(lowered.name, []).append(lowered)
        return found

    def _all_components(self) -> list[Lowered]:
        """The components as they are now, then those they were or replaced."""
        with self._program() as program:
            components = list(program.components.values())
        if self._at is not None:
            tape, version = self._at
            for entry in tape.journal[:version]:
                if isinstance(entry, Edit):
                    components.extend(entry.lowered)
            components.extend(tape.definition.components())
        unique = {id(lowered): lowered for lowered in components}
        return list(unique.values())

    def __reduce__(self) -> Any:
        with self._program() as program:
            components = tuple(program.components.values())
        if self._at is None:
            return (_load, (self.name, self._definition.retain, components, self._run_key, None))
        log = self.log()
        history = (tuple(log), log.branch, tuple(self._all_components()))
        return (_load, (self.name, self._definition.retain, components, self._run_key, history))

    def __repr__(self) -> str:
        with self._program() as program:
            count = len(program.components)
        if self._at is None:
            return f"<Workflow {self.name!r}: {count} components, no input yet>"
        with self._reading() as memory:
            open_inputs = sum(1 for root in memory.roots.values() if root.live)
            ready = len(memory.ready) + len(memory.released)
            waits = len(waits_in_order(memory))
            return (
                f"<Workflow {self.name!r}: {count} components, {memory.next_number} inputs "
                f"({open_inputs} open), {ready} ready, {len(memory.out)} in flight, "
                f"{f'{waits} waiting, ' if waits else ''}"
                f"{memory.position} events>"
            )

    def __getitem__(self, name: str) -> Component[Any, Any]:
        """The component of a name."""
        component: Component[Any, Any] = self._component_of(name).component
        return component

    def __contains__(self, name: object) -> bool:
        with self._program() as program:
            return isinstance(name, str) and name in program.components

    def components(self) -> list[str]:
        """The names of the components, in the order of adding."""
        with self._program() as program:
            return list(program.components)

    def results(
        self,
        *names: str | Component[Any, Any],
        input: Any = -1,
        raise_on_failure: bool = False,
    ) -> dict[str, Any]:
        """The output components' values (or those named) for one input, by default the last accepted.

        `input=td.ALL`: the latest over all inputs. A component inside a fan-out gives a list in item order. An
        output that was not produced is left out; a name asked for and not produced gives ABSENT.
        """
        from treadle.views import results

        return results.results(
            self, [name_of(name) for name in names], input, raise_on_failure=raise_on_failure
        )

    def raw_productions(
        self, name: str | Component[Any, Any] | None = None, *, input: Any = None
    ) -> list[Any]:
        """The values of the outputs (or of one component), in log order, over all inputs or for one."""
        from treadle.views import results

        return results.raw_productions(self, name_of(name), input)

    def productions_by_component(self, *, input: Any = None) -> dict[str, list[Fact]]:
        """The facts of every component, by name, in log order."""
        from treadle.views import results

        return results.productions_by_component(self, input)

    def facts(
        self, name: str | Component[Any, Any] | None = None, *, input: Any = None
    ) -> list[Fact]:
        """All facts (or those of one component), inner ones included, in log order."""
        from treadle.views import results

        return results.facts(self, name_of(name), input)

    def inputs(self) -> list[dict[str, Any]]:
        """Each remembered input: number, value, key, and how it stands."""
        from treadle.views import status

        return status.inputs(self)

    def failures(self, *, input: Any = None) -> list[Failure]:
        """What failed for good, in log order; `handled` says whether a handler succeeded."""
        from treadle.views import failures

        return failures.failures(self, input)

    def starved(self, *, input: Any = None) -> list[dict[str, Any]]:
        """Joins of finished inputs that were dropped half full: which, where, and what never came."""
        from treadle.views import status

        return status.starved(self, input)

    def states(self) -> dict[str, dict[Any, Any]]:
        """The current states of the accumulators, by component and key (None where there is no key)."""
        from treadle.views import status

        return status.states(self)

    def why(self, fact: Fact | Failure) -> dict[str, Any]:
        """The tree of facts that a fact was made from, down to the inputs, JSON-ready."""
        from treadle.views import lineage

        return lineage.why(self, fact)

    def touched(self, input: int = -1) -> dict[str, Any]:
        """All that one input caused, as a tree from the input down, JSON-ready."""
        from treadle.views import lineage

        return lineage.touched(self, input)

    def required_context(self) -> dict[str, dict[str, list[str]]]:
        """The run-time values that components ask for: `{"required": {name: [keys]}, "optional": ...}`."""
        from treadle.views import status

        return status.required_context(self)

    def to_mermaid(
        self,
        *,
        kind: str = "flowchart",
        direction: str = "TD",
        state: bool = False,
        input: Any = None,
    ) -> str:
        """A Mermaid picture: of the graph (`"flowchart"`), or of what happened (`"sequence"`)."""
        from treadle.render import mermaid

        return mermaid.to_mermaid(self, kind=kind, direction=direction, state=state, input=input)

    def to_dot(self, *, direction: str = "TB", state: bool = False, input: Any = None) -> str:
        """A Graphviz picture of the graph."""
        from treadle.render import dot

        return dot.to_dot(self, direction=direction, state=state, input=input)

    def to_cytoscape(self, *, state: bool = False, input: Any = None) -> list[dict[str, Any]]:
        """The graph as Cytoscape elements, JSON-ready."""
        from treadle.render import cytoscape

        return cytoscape.to_cytoscape(self, state=state, input=input)

    def to_edgelist(self) -> list[tuple[str, str, str]]:
        """The graph as (parent, child, kind of edge)."""
        from treadle.render import edgelist

        return edgelist.to_edgelist(self)

    def inspect(self) -> Inspection:
        """For the views: the memory, to look at only, and the live exceptions by position."""
        return Inspection(self)


def name_of(name: Any) -> Any:
    """A component's name, where the component itself was given."""
    return name.name if isinstance(name, Component) else name


def rebuild_checked(
    definition: Definition, baseline: Baseline | None, journal: list[Entry]
) -> Memory:
    """Fold a log from elsewhere: whatever is wrong with it is said as a `LogError`."""
    try:
        return rebuild(definition, baseline, journal)
    except LogError:
        raise
    except Exception as error:
        raise LogError(
            f"the log cannot be folded: {type(error).__name__}: {error}.",
            hint="it is damaged, or belongs to another definition.",
        ) from error


def refuse_history(other: Workflow, what: str) -> None:
    """Only templates can be put into another workflow."""
    if other.position:
        raise DefinitionError(
            f"{other.name!r} has a history, and cannot be {what}.",
            hint="give the template that it was run from: what at(0) gives, while that is remembered.",
        )


def _load(
    name: str,
    retain: str | int,
    components: tuple[Lowered, ...],
    run_key: str | None,
    history: tuple[tuple[Event, ...], Any, tuple[Lowered, ...]] | None,
) -> Workflow:
    """Unpickle a workflow: the definition, then its log."""
    empty = Definition(name, retain, [], 0)
    template = Workflow(empty.with_components(components))
    template._run_key = run_key
    if history is None:
        return template
    log = Log(history[0])
    log.branch = history[1]
    functions: dict[str, list[Lowered]] = {}
    for lowered in history[2]:
        functions.setdefault(lowered.name, []).append(lowered)
    return template._replayed(log, functions)
