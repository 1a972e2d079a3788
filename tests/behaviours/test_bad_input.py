# What is wrong here is wrong on purpose.
# mypy: disable-error-code="arg-type, call-overload, dict-item, list-item, misc, operator"
"""What is wrong gives a clear error or a recorded failure, and leaves the workflow as it was.

A clear error is a `TreadleError` that names what was given. `intact` asks that nothing else has changed.
"""

import asyncio
import functools
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from msgspec import structs

import treadle as td
from treadle import errors


def increment(x: Any) -> Any:
    """One more."""
    return x + 1


def double(x: Any) -> Any:
    """Twice the value."""
    return x * 2


def pair(a: Any, b: Any) -> Any:
    """Both."""
    return (a, b)


def plus(state: Any, value: Any) -> Any:
    """Add up."""
    return state + value


def gives_text(x: Any) -> str:
    """Text."""
    return str(x)


def takes_number(x: int) -> int:
    """A number."""
    return x


def generator(x: Any) -> Iterator[Any]:
    """A generator function."""
    yield x


async def async_generator(x: Any) -> Any:
    """An async generator function."""
    yield x


async def coroutine(x: Any) -> Any:
    """An async function."""
    return x


def pipeline() -> td.Workflow:
    """Increment, then double."""
    return td.workflow("pipeline", steps=[(increment, [double])])


def under_way() -> td.Workflow:
    """A pipeline with a done input and one in the middle."""
    return pipeline().react_until_satisfied(1).react(10)


def faults(error: BaseException) -> list[BaseException]:
    """An error, or those of its group."""
    if isinstance(error, ExceptionGroup):
        return [each for inner in error.exceptions for each in faults(inner)]
    return [error]


def refused(work: Callable[[], Any], *words: str, kind: Any = errors.UsageError) -> None:
    """Check that an operation is refused by an error of ours whose text has these words."""
    with pytest.raises((errors.TreadleError, ExceptionGroup)) as caught:
        work()
    told = faults(caught.value)
    text = " ".join(map(str, told))

    assert all(isinstance(error, kind) for error in told)
    assert [word for word in words if word not in text] == [], text


def intact(
    w: td.Workflow, work: Callable[[td.Workflow], Any], *words: str, kind: Any = errors.UsageError
) -> None:
    """Check that an operation on a workflow is refused and changes nothing."""
    names, log, facts, flight = w.components(), w.log(), w.facts(), w.in_flight()
    refused(lambda: work(w), *words, kind=kind)

    assert (w.components(), w.log(), w.facts(), w.in_flight()) == (names, log, facts, flight)
    assert w.react_until_satisfied(5).results() == {"double": 12}


# ---------------------------------------------------------------------------------------- wiring

WIRING = {
    "unknown parent": (
        lambda w: w.add(abs, to="icnrement"),
        ("'abs'", "'icnrement'", "Did you mean 'increment'", "Hint"),
    ),
    "unknown error port": (
        lambda w: w.add(abs, to=td.error_of("icnrement")),
        ("'abs'", "'icnrement'", "Did you mean 'increment'", "Hint"),
    ),
    "duplicate name": (lambda w: w.add(increment), ("'increment'", "already", "name=", "Hint")),
    "its own parent": (
        lambda w: w.add(td.step(abs, name="x"), to="x"),
        ("'x'", "own parent", "Hint"),
    ),
    "too many parents": (
        lambda w: w.add(abs, to=["increment", "double"]),
        ("'abs'", "1 port", "2 parents", "Hint"),
    ),
    "too few parents": (
        lambda w: w.add(lambda a, b, c: a, to=["increment", "double"]),
        ("3 ports", "a, b, c", "2 parents", "Hint"),
    ),
    "the same parent twice": (
        lambda w: w.add(pair, to=["increment", "increment"]),
        ("'pair'", "'increment'", "twice", "Hint"),
    ),
    "types that do not fit": (
        lambda w: w.add(gives_text).add(takes_number, to="gives_text"),
        ("'gives_text'", "str", "'takes_number'", "int", "Hint"),
    ),
    "places that cannot be joined": (
        lambda w: (
            w.add(td.map(abs, name="m1")).add(td.map(abs, name="m2")).add(pair, to=["m1", "m2"])
        ),
        ("'pair'", "'m1'", "'m2'", "reduce or collect", "Hint"),
    ),
    "no parent": (lambda w: w.add(abs, to=[]), ("'abs'", "no parent", "Hint")),
    "a number as a parent": (lambda w: w.add(abs, to=5), ("'abs'", "5", "parent", "Hint")),
    "a function as a parent": (
        lambda w: w.add(abs, to=increment),
        ("'abs'", "increment", "parent", "Hint"),
    ),
    "None among the parents": (lambda w: w.add(abs, to=["increment", None]), ("None", "Hint")),
    "td.ALL as a parent": (lambda w: w.add(abs, to=td.ALL), ("ALL", "parent", "Hint")),
    "error_of the raw input": (lambda w: w.add(abs, to=td.error_of("INPUT")), ("INPUT",)),
    "join='some'": (
        lambda w: w.add(pair, to=["increment", "double"], join="some"),
        ("'pair'", "'some'", "'all'", "'any'", "'settled'"),
    ),
    "join=0": (lambda w: w.add(pair, to=["increment", "double"], join=0), ("join=0", "1")),
    "join=3 of 2": (lambda w: w.add(pair, to=["increment", "double"], join=3), ("join=3", "2")),
    "join=True": (lambda w: w.add(pair, to=["increment", "double"], join=True), ("True",)),
    "join=None": (lambda w: w.add(pair, to=["increment", "double"], join=None), ("None",)),
    "correlate='x'": (
        lambda w: w.add(pair, to=["increment", "double"], correlate="x"),
        ("'x'", "'latest'", "'arrival'"),
    ),
    "correlate=5": (lambda w: w.add(pair, to=["increment", "double"], correlate=5), ("5",)),
    "correlate of one": (lambda w: w.add(abs, to="increment", correlate="latest"), ("several",)),
    "correlate with any": (
        lambda w: w.add(pair, to=["increment", "double"], correlate="latest", join="any"),
        ("join='all'", "'any'"),
    ),
    "collect of two": (
        lambda w: w.add(td.collect(), to=["increment", "double"]),
        ("'collect'", "one parent", "2", "Hint"),
    ),
    "over nothing": (lambda w: w.add(td.collect(over="m"), to="increment"), ("'m'", "Hint")),
    "an unknown condition": (
        lambda w: w.add(td.rule(abs, name="r", condition="large")),
        ("'r'", "'large'", "Hint"),
    ),
    "an unknown state": (
        lambda w: w.add(td.step(lambda x, s=td.state_of("sum"): s, name="r")),
        ("'r'", "state_of('sum')", "Hint"),
    ),
    "state of a step": (
        lambda w: w.add(td.step(lambda x, s=td.state_of("double"): s, name="r")),
        ("'r'", "'double'", "no state", "Hint"),
    ),
    "no component": (lambda w: w.add(5), ("5", "int", "Hint")),
    "None as a component": (lambda w: w.add(None), ("None", "Hint")),
    "a name as a component": (lambda w: w.add("increment"), ("'increment'", "Hint")),
    "a decorator without its function": (
        lambda w: w.add(td.rule(name="r", condition=lambda x: True)),
        ("r",),
    ),
    "a workflow with a history": (lambda w: w.add(under_way()), ("'pipeline'", "history", "Hint")),
    "removing nobody": (lambda w: w.remove("icnrement"), ("'icnrement'", "Did you mean")),
    "removing 5": (lambda w: w.remove(5), ("5",)),
    "removing a list": (lambda w: w.remove(["increment"]), ("increment",)),
    "replacing nobody": (lambda w: w.replace("icnrement", abs), ("'icnrement'", "Did you mean")),
    "replacing by 5": (lambda w: w.replace("increment", 5), ("5", "Hint")),
    "replacing by nothing": (lambda w: w.replace("increment"), ("'increment'",)),
    "merging what is no workflow": (lambda w: w.merge("other"), ("'other'",)),
    "merging a history": (lambda w: w.merge(under_way()), ("'pipeline'", "history", "Hint")),
    "merging a clash": (lambda w: w.merge(pipeline()), ("'increment'", "'double'", "Hint")),
}


@pytest.mark.parametrize("started", [False, True], ids=["template", "under way"])
@pytest.mark.parametrize("fault", WIRING)
def test_wiring_that_cannot_be(fault: str, started: bool):
    """S28: add, remove, replace and merge refuse at once, and nothing is changed."""
    work, words = WIRING[fault]

    intact(under_way() if started else pipeline(), work, *words)


def test_kinds_of_wiring_errors():
    """errors.py: each kind of fault has its class."""
    w = pipeline()
    joined = {"to": ["increment", "double"]}
    refused(lambda: w.add(abs, to="nobody"), kind=errors.UnknownComponent)
    refused(lambda: w.add(increment), kind=errors.DuplicateName)
    refused(lambda: w.add(abs, to="abs"), kind=errors.CycleError)
    refused(lambda: w.add(abs, **joined), kind=errors.ArityMismatch)
    refused(lambda: w.add(td.collect(), **joined), kind=errors.ArityMismatch)
    refused(lambda: td.match(), kind=errors.PatternError)
    refused(lambda: w.add(pair, **joined, join="x"), kind=errors.DefinitionError)


# ------------------------------------------------------------------------------------- components

NAMES = ["", " a", "a ", "a/b", "a\nb", "a\0b", "\ud800", "x" * 201, "INPUT", "_global", "\u202e"]


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_names_that_cannot_be(name: str):
    """S28: hostile names are refused, for components and workflows."""
    refused(lambda: td.step(abs, name=name), "name")
    refused(lambda: td.map(abs, name=name), "name")
    refused(lambda: td.workflow(name), "name")


@pytest.mark.parametrize("name", [5, ["a"], {"a": 1}, b"a", ("a",), object()], ids=repr)
def test_names_of_another_type(name: Any):
    """S28: unhashable ones too; the error says what was given and its type."""
    refused(lambda: td.step(abs, name=name), "str", type(name).__name__)
    refused(lambda: td.rule(abs, name=name, condition=abs), "str", type(name).__name__)
    refused(lambda: td.workflow(name), "str", type(name).__name__)


def test_names_that_look_hostile_and_are_fine():
    """S28: any printable text is a name; it is escaped where it is drawn."""
    names = ['"]; click a "x', "<b>bold", "a`b`", "ü 漢字 🎉", "a.b", "-->", "end", "{}", "%s"]
    w = td.workflow("w", steps=[td.step(double, name=name) for name in names])
    done = w.react_until_satisfied(2)

    assert done.results() == dict.fromkeys(names, 4)
    assert td.Workflow.from_log(w, done.log()) == done
    assert "<b>" not in w.to_mermaid()


CONSTRUCTORS = {
    "step(5)": (lambda: td.step(5), ("step", "5", "Hint")),
    "step('f')": (lambda: td.step("f"), ("step", "'f'", "Hint")),
    "map(5)": (lambda: td.map(5), ("map", "5", "Hint")),
    "reduce(5)": (lambda: td.reduce(5), ("reduce", "5", "Hint")),
    "collect(5)": (lambda: td.collect(5), ("collect", "5", "Hint")),
    "accumulator(5)": (lambda: td.accumulator(5, initial=0), ("accumulator", "5", "Hint")),
    "condition(5)": (lambda: td.condition(5), ("condition", "5", "Hint")),
    "rule(5)": (lambda: td.rule(5), ("rule", "5", "Hint")),
    "rule(condition=5)": (lambda: td.rule(abs, condition=5), ("'abs'", "5", "match", "Hint")),
    "rule twice": (lambda: td.rule(abs, reaction=abs), ("twice", "Hint")),
    "rule dispatch alone": (lambda: td.rule(abs, dispatch=True), ("dispatch", "condition")),
    "rule dispatch by name": (
        lambda: td.rule(abs, dispatch=True, condition="c"),
        ("'abs'", "dispatch", "Hint"),
    ),
    "all_of()": (td.all_of, ("all_of",)),
    "any_of()": (td.any_of, ("any_of",)),
    "all_of(5)": (lambda: td.all_of(5), ("all_of", "5")),
    "not_(5)": (lambda: td.not_(5), ("not_", "5")),
    "accumulator without initial": (lambda: td.accumulator(plus), ("initial", "Hint")),
    "accumulator of one port": (lambda: td.accumulator(abs, initial=0), ("abs", "state, value")),
    "accumulator key=5": (lambda: td.accumulator(plus, initial=0, key=5), ("key", "5")),
    "accumulator merge=5": (lambda: td.accumulator(plus, initial=0, merge=5), ("merge", "5")),
    "reduce of one port": (lambda: td.reduce(abs), ("abs", "state, value")),
    "async reduce": (
        lambda: td.reduce(initial=0)(async_plus),
        ("'async_plus'", "async", "Hint"),
    ),
    "collect over=5": (lambda: td.collect(over=5), ("over", "5")),
    "on_item_failure='x'": (lambda: td.collect(on_item_failure="x"), ("'x'", "'skip'")),
    "on_failure='x'": (lambda: td.step(abs, on_failure="x"), ("'abs'", "'x'", "'skip'")),
    "on_failure=None": (lambda: td.step(abs, on_failure=None), ("'abs'", "None", "'block'")),
    "a required keyword": (lambda: td.step(keyword), ("keyword", "'needed'", "Hint")),
    "a generator function": (lambda: td.step(generator), ("'generator'", "generator", "Hint")),
    "an async generator": (lambda: td.step(async_generator), ("'async_generator'", "Hint")),
    "a generator in a map": (lambda: td.map(generator), ("'generator'", "Hint")),
    "an async condition": (lambda: td.condition(coroutine), ("'coroutine'", "async", "dispatch")),
    "an async rule": (lambda: td.rule(abs, condition=coroutine), ("'abs'", "async", "dispatch")),
    "a generator condition": (lambda: td.condition(generator), ("'generator'", "generator")),
    "error_of(5)": (lambda: td.error_of(5), ("5",)),
    "error_of(None)": (lambda: td.error_of(None), ("None",)),
    "retain=-1": (lambda: td.workflow("w", retain=-1), ("'w'", "-1", "'all'", "'results'")),
    "retain='x'": (lambda: td.workflow("w", retain="x"), ("'w'", "'x'", "'all'")),
    "retain=True": (lambda: td.workflow("w", retain=True), ("'w'", "True")),
    "retain=1.5": (lambda: td.workflow("w", retain=1.5), ("'w'", "1.5")),
    "steps=5": (lambda: td.workflow("w", steps=5), ("steps", "5")),
    "steps=function": (lambda: td.workflow("w", steps=increment), ("steps", "increment")),
    "a step that is no pair": (lambda: td.workflow("w", steps=[(abs,)]), ("abs",)),
    "a step of three": (lambda: td.workflow("w", steps=[(abs, [len], [str])]), ("abs",)),
    "a child that is no list": (lambda: td.workflow("w", steps=[(abs, increment)]), ("increment",)),
    "rules=5": (lambda: td.workflow("w", rules=5), ("rules", "5")),
    "rules of numbers": (lambda: td.workflow("w", rules=[1, 2]), ("1", "2", "Hint")),
    "components=None": (lambda: td.workflow("w", components=None), ("components", "None")),
    "a nested rule": (lambda: td.workflow("w", rules=[(abs, [len])]), ("abs", "Hint")),
}


async def async_plus(state: Any, value: Any) -> Any:
    """Add up, in vain."""
    return state + value


def keyword(x: Any, *, needed: Any) -> Any:
    """Wants what nobody gives."""
    return needed


@pytest.mark.parametrize("fault", CONSTRUCTORS)
def test_components_that_cannot_be(fault: str):
    """S28: constructors refuse at once, and say what is wrong."""
    work, words = CONSTRUCTORS[fault]

    refused(work, *words, kind=errors.DefinitionError)


PATTERNS = {
    "nothing": (td.match, ("match()", "Hint")),
    "a list and keys": (lambda: td.match([1], a=2), ("[1]", "Hint")),
    "no class": (lambda: td.instance(5), ("5", "class", "Hint")),
    "an open bracket": (lambda: td.regex("("), ("'('", "Hint")),
    "no text": (lambda: td.regex(5), ("5", "Hint")),
    "ends swapped": (lambda: td.between(3, 1), ("between(3, 1)", "between(1, 3)", "Hint")),
    "ends that do not compare": (lambda: td.between(1, "x"), ("'x'", "Hint")),
    "no order": (lambda: td.gt(None), ("None", "Hint")),
    "not a number": (lambda: td.gt(float("nan")), ("nan", "Hint")),
    "none to choose from": (td.one_of, ("one_of", "Hint")),
    "a function as a value": (lambda: td.match(a=lambda x: True), ("'a'", "function", "Hint")),
    "only dots": (lambda: td.match(...), ("...", "Hint")),
    "dots in the middle": (lambda: td.match([..., 1]), ("...", "Hint")),
    "an annotation": (lambda: td.match(a=list[int]), ("list[int]", "Hint")),
}


@pytest.mark.parametrize("fault", PATTERNS)
def test_patterns_that_cannot_be(fault: str):
    """C38: a pattern that can never be meant is refused with what to write instead."""
    work, words = PATTERNS[fault]

    refused(work, *words, kind=errors.PatternError)


# ---------------------------------------------------------------------------------- running steps


def recurse(x: Any) -> Any:
    """Never end."""
    return recurse(x)


def raise_group(x: Any) -> Any:
    """Raise several."""
    message = "several"
    raise ExceptionGroup(message, [ValueError("a")])


def raise_stop(x: Any) -> Any:
    """Raise what loops take for their end."""
    raise StopIteration(x)


def raise_deep(x: Any) -> Any:
    """Raise something with a cycle of causes."""
    error = ValueError("cause of itself")
    error.__cause__ = error
    raise error


class Hostile:
    """All its own methods fail."""

    def _no(self, *_: object) -> Any:
        message = "hostile"
        raise RuntimeError(message)

    __repr__ = __str__ = __eq__ = __hash__ = __bool__ = __len__ = __deepcopy__ = __reduce__ = _no


class HostileError(Exception):
    """Neither can be shown, nor compared."""

    def _no(self, *_: object) -> Any:
        message = "hostile"
        raise RuntimeError(message)

    __repr__ = __str__ = __eq__ = _no
    __hash__ = Exception.__hash__


def raise_hostile(x: Any) -> Any:
    """Raise it."""
    raise HostileError


STEPS = {
    "raises": (lambda x: 1 / 0, "ZeroDivisionError", ("division",)),
    "recurses": (recurse, "RecursionError", ("recursion",)),
    "raises several": (raise_group, "ExceptionGroup", ("several",)),
    "raises StopIteration": (raise_stop, "StopIteration", ()),
    "raises in a circle": (raise_deep, "ValueError", ("cause of itself",)),
    "raises what cannot be shown": (raise_hostile, "HostileError", ()),
    "exits": (lambda x: sys.exit(1), "SystemExit", ()),
    "gives a generator": (lambda x: (y for y in "ab"), "BadValue", ("generator", "list")),
    "gives a coroutine": (lambda x: coroutine(x), "BadValue", ("coroutine", "async def")),
    "gives an async generator": (lambda x: async_generator(x), "BadValue", ("generator",)),
    "is async": (coroutine, "UsageError", ("async", "areact_until_satisfied")),
    "wants more": (lambda a, b: a, "BadValue", ("list or tuple of 2",)),
}


@pytest.mark.parametrize("how", ["inline", "threads", "by hand"])
@pytest.mark.parametrize("fault", STEPS)
def test_steps_that_fail(fault: str, how: str):
    """S25: whatever a step does is a recorded failure that says so; others go on."""
    function, kind, words = STEPS[fault]
    w = pipeline().add(td.step(function, name="bad"), to="increment").add(len, to="bad")
    if how == "inline":
        w = w.react_until_satisfied(1)
    elif how == "threads":
        w = w.react_until_satisfied(1, executor="threads")
    else:
        w = w.plan_eagerly(1)
        while w.is_runnable():
            w, runnables = w.prepare_for_dispatch()
            for runnable in runnables:
                w = w.apply_runnable(td.execute_runnable(runnable))
    [failure] = w.failures()

    assert (failure.component, failure.error.name) == ("bad", kind)
    assert [word for word in words if word not in failure.error.text] == []
    assert w.results() == {"double": 4}
    assert w.is_satisfied()
    with pytest.raises(errors.StepFailed, match="bad"):
        w.results(raise_on_failure=True)


def test_an_async_step_that_gives_odd_things():
    """S25: awaited results are looked at too."""

    async def gives_generator(x: Any) -> Any:
        return (y for y in "ab")

    async def gives_coroutine(x: Any) -> Any:
        return coroutine(x)

    w = td.workflow("w", steps=[gives_generator, gives_coroutine])
    w = asyncio.run(w.areact_until_satisfied(1))

    assert [failure.error.name for failure in w.failures()] == ["BadValue", "BadValue"]


def test_values_that_are_hostile_in_every_way_pass_through():
    """S1, S25: values are never compared, shown, hashed or copied on their way."""
    hostile = Hostile()
    w = td.workflow("w", steps=[td.step(lambda x: x, name="a")])
    w = w.add(td.step(lambda x: x, name="b"), to="a").add(td.step(pair, name="p"), to=["a", "b"])
    w = w.add(td.rule(lambda x: x, name="r", condition=td.match(a=1)), to="a")
    w = w.add(td.rule(lambda x: "fired", name="t", condition=lambda x: True), to="a")
    w = w.add(td.accumulator(lambda s, v: v, initial=None, name="acc"), to="b")
    w = w.react_until_satisfied(hostile)

    assert w.failures() == []
    assert w.results("a")["a"] is hostile
    assert w.results("r", "t")["t"] == "fired"
    assert w.results("p")["p"][0] is hostile
    assert w.states()["acc"][None] is hostile
    assert w.facts("b")[0].value is hostile


def test_a_hostile_value_that_is_no_collection():
    """F87: the failure is the map's own, though the value cannot be shown."""
    w = td.workflow("w", components=[td.map(lambda x: x, name="m")]).react_until_satisfied(
        Hostile()
    )
    [failure] = w.failures()

    assert (failure.component, failure.error.name) == ("m", "BadValue")


@pytest.mark.parametrize("value", [5, None, "text", b"x", object()], ids=repr)
def test_what_is_no_collection(value: Any):
    """F87: a non-iterable for a map is a failure that says what it takes and what came."""
    w = td.workflow("w", components=[td.map(double, name="m")]).add(td.collect(), to="m")
    [failure, *_] = w.react_until_satisfied(value).failures()

    assert failure.component == "m"
    assert "map takes a collection" in failure.error.text
    assert type(value).__name__ in failure.error.text or repr(value)[:20] in failure.error.text


def test_conditions_that_fail():
    """C33: raising or recursing, in planning: a recorded failure, others fire."""
    w = td.workflow(
        "w",
        rules=[
            td.rule(double, name="raises", condition=lambda x: 1 / 0),
            td.rule(double, name="recurses", condition=recurse),
            td.rule(double, name="hostile", condition=raise_hostile),
            td.rule(double, name="gives", condition=lambda x: Hostile()),
            td.rule(double, name="fine", condition=lambda x: True),
        ],
    ).react_until_satisfied(1)

    assert w.results() == {"fine": 2}
    assert {failure.component: failure.error.name for failure in w.failures()} == {
        "raises": "ZeroDivisionError",
        "recurses": "RecursionError",
        "hostile": "HostileError",
        "gives": "RuntimeError",
    }


@pytest.mark.filterwarnings("ignore:coroutine:RuntimeWarning")
@pytest.mark.parametrize("dispatch", [False, True])
def test_a_condition_that_gives_a_coroutine(dispatch: bool):
    """S13: what gives a coroutine is async in disguise: a failure that says so, not always true."""

    async def no(x: Any) -> bool:
        return False

    rule = td.rule(double, name="r", condition=lambda x: no(x), dispatch=dispatch)
    w = td.workflow("w", rules=[rule]).react_until_satisfied(1)

    assert w.results() == {}
    assert [(failure.component, failure.error.name) for failure in w.failures()] == [
        ("r", "BadValue")
    ]


@pytest.mark.filterwarnings("ignore:coroutine:RuntimeWarning")
def test_async_in_disguise_is_refused():
    """S13: partials, methods and callable objects are looked through."""

    class Asks:
        async def __call__(self, x: Any) -> bool:
            return True

        async def ask(self, x: Any) -> bool:
            return True

    for predicate in (functools.partial(coroutine), Asks(), Asks().ask):
        refused(lambda p=predicate: td.rule(abs, condition=p), "'abs'", "async", "dispatch=True")


def test_an_initial_that_raises():
    """S22: a factory that fails is a failure of the fold, and the next one tries again."""
    answers = iter([1])

    def factory() -> int:
        if next(answers, None) is not None:
            message = "no state yet"
            raise OSError(message)
        return 100

    w = td.workflow("w", components=[td.accumulator(plus, initial=factory, name="acc")])
    w = w.react_until_satisfied(1).react_until_satisfied(2)

    assert [failure.error.name for failure in w.failures()] == ["OSError"]
    assert w.states() == {"acc": {None: 102}}


def test_a_context_default_that_raises():
    """I142: a failure of the step."""

    def ask(x: Any, *, v: Any = td.context("v", default=lambda: 1 / 0)) -> Any:
        return v

    [failure] = td.workflow("w", steps=[ask]).react_until_satisfied(1).failures()

    assert (failure.component, failure.error.name) == ("ask", "ZeroDivisionError")


def test_a_state_key_function_that_raises():
    """D54: a failure of the step that asks."""
    w = td.workflow(
        "w", components=[td.accumulator(plus, initial=0, name="acc", key=lambda x: x % 2)]
    )
    marker = td.state_of("acc", key=lambda x: 1 / 0)
    w = w.add(td.step(lambda x, s=marker: s, name="ask")).react_until_satisfied(1)

    assert [(f.component, f.error.name) for f in w.failures()] == [("ask", "ZeroDivisionError")]


# ----------------------------------------------------------------------------------- wrong arguments

CALLS = {
    "input=99": (lambda w: w.results(input=99), ("99", "2")),
    "input='x'": (lambda w: w.results(input="x"), ("'x'", "Hint")),
    "input=True": (lambda w: w.results(input=True), ("True",)),
    "results('nope')": (lambda w: w.results("nope"), ("'nope'", "'increment'")),
    "results(5)": (lambda w: w.results(5), ("5", "'increment'")),
    "results of a list": (lambda w: w.results(["increment"]), ("increment",)),
    "facts of a list": (lambda w: w.facts(["increment"]), ("increment",)),
    "facts(input=99)": (lambda w: w.facts(input=99), ("99",)),
    "failures(input='x')": (lambda w: w.failures(input="x"), ("'x'",)),
    "starved(input=99)": (lambda w: w.starved(input=99), ("99",)),
    "touched(99)": (lambda w: w.touched(99), ("99",)),
    "touched('x')": (lambda w: w.touched("x"), ("'x'",)),
    "is_satisfied(input=99)": (lambda w: w.is_satisfied(input=99), ("99",)),
    "is_satisfied(input='x')": (lambda w: w.is_satisfied(input="x"), ("'x'",)),
    "why('x')": (lambda w: w.why("x"), ("'x'",)),
    "why(None)": (lambda w: w.why(None), ("None",)),
    "raw_productions('nope')": (lambda w: w.raw_productions("nope"), ("'nope'",)),
    "w['nope']": (lambda w: w["nope"], ("'nope'", "'increment'")),
    "w[5]": (lambda w: w[5], ("5",)),
    "w[[]]": (lambda w: w[[]], ("[]",)),
    "limit=-1": (lambda w: w.prepare_for_dispatch(-1), ("-1", "Hint")),
    "limit='x'": (lambda w: w.prepare_for_dispatch("x"), ("'x'", "Hint")),
    "limit=True": (lambda w: w.prepare_for_dispatch(True), ("True",)),
    "limit=1.5": (lambda w: w.prepare_for_dispatch(1.5), ("1.5",)),
    "max_concurrency=0": (
        lambda w: w.react_until_satisfied(1, executor="threads", max_concurrency=0),
        ("max_concurrency=0", "1"),
    ),
    "max_concurrency=0 inline": (
        lambda w: w.react_until_satisfied(1, max_concurrency=0),
        ("max_concurrency=0", "1"),
    ),
    "max_concurrency='x'": (
        lambda w: w.react_until_satisfied(1, executor="threads", max_concurrency="x"),
        ("'x'",),
    ),
    "max_concurrency=0 async": (
        lambda w: asyncio.run(w.areact_until_satisfied(1, max_concurrency=0)),
        ("max_concurrency=0",),
    ),
    "executor='proceses'": (
        lambda w: w.react_until_satisfied(1, executor="proceses"),
        ("'proceses'", "Did you mean 'processes'"),
    ),
    "executor=5": (lambda w: w.react_until_satisfied(1, executor=5), ("5", "Hint")),
    "an executor's class": (
        lambda w: w.react_until_satisfied(1, executor=ThreadPoolExecutor),
        ("ThreadPoolExecutor", "Hint"),
    ),
    "run_context={'a': 1}": (
        lambda w: w.react_until_satisfied(1, run_context={"a": 1}),
        ("'a'", "1", "dict", "Hint"),
    ),
    "run_context=[1]": (lambda w: w.react_until_satisfied(1, run_context=[1]), ("[1]", "Hint")),
    "run_context='x'": (lambda w: w.plan_eagerly(1, run_context="x"), ("'x'", "Hint")),
    "run_context of react": (lambda w: w.react(1, run_context=5), ("5", "Hint")),
    "key=['a']": (lambda w: w.plan_eagerly(1, key=["a"]), ("['a']", "str")),
    "key=5": (lambda w: w.plan_eagerly(1, key=5), ("5", "str")),
    "at('x')": (lambda w: w.at("x"), ("'x'",)),
    "at(-1)": (lambda w: w.at(-1), ("-1",)),
    "at(99)": (lambda w: w.at(99), ("99",)),
    "applying a runnable": (
        lambda w: w.apply_runnable(w.next_runnables()[0]),
        ("Outcome", "Runnable", "Hint"),
    ),
    "applying None": (lambda w: w.apply_runnable(None), ("Outcome", "None", "Hint")),
    "applying a value": (lambda w: w.apply_runnable(5), ("Outcome", "int", "Hint")),
    "releasing 'x'": (lambda w: w.release("x"), ("Runnable", "str")),
    "releasing an outcome": (
        lambda w: w.release(td.execute_runnable(w.next_runnables()[0])),
        ("Runnable", "Outcome"),
    ),
    "executing 'x'": (lambda w: td.execute_runnable("x"), ("Runnable", "str")),
    "executing a list": (
        lambda w: td.execute_runnable(w.next_runnables()),
        ("Runnable", "list"),
    ),
    "awaiting 'x'": (lambda w: asyncio.run(td.aexecute_runnable("x")), ("Runnable", "str")),
    "a run key under way": (lambda w: w.with_run_key("x"), ("'pipeline'", "under way")),
    "a run key of 5": (lambda w: pipeline().with_run_key(5), ("5", "str")),
    "mermaid of a kind": (lambda w: w.to_mermaid(kind="x"), ("'x'", "Hint")),
    "mermaid in a direction": (lambda w: w.to_mermaid(direction="x"), ("'x'", "Hint")),
    "dot in a direction": (lambda w: w.to_dot(direction="x"), ("'x'", "Hint")),
    "a log of text": (lambda w: td.Workflow.from_log(pipeline(), "abc"), ("log",)),
    "a log of 5": (lambda w: td.Workflow.from_log(pipeline(), 5), ("log", "5")),
    "a log for a name": (lambda w: td.Workflow.from_log("pipeline", w.log()), ("'pipeline'",)),
    "components=5": (
        lambda w: td.Workflow.from_log(pipeline(), w.log(), components=5),
        ("components", "5"),
    ),
    "components={'a': 5}": (
        lambda w: td.Workflow.from_log(pipeline(), w.log(), components={"a": 5}),
        ("5",),
    ),
}


@pytest.mark.parametrize("call", CALLS)
def test_wrong_arguments(call: str):
    """errors.py: a wrong argument is the caller's fault, is named, and changes nothing."""
    work, words = CALLS[call]

    intact(under_way(), work, *words)


def test_why_of_a_fact_that_is_not_of_this_workflow():
    """J148: a fact of another run, or of later on, is told apart and not answered for another."""
    w, other = pipeline().react_until_satisfied(1), pipeline().react_until_satisfied(2)
    [foreign] = other.facts("double")
    [later] = w.facts("double")

    refused(lambda: w.why(foreign), "'double'")
    refused(lambda: w.at(2).why(later), "'double'")


def test_contains_is_false_for_what_can_be_no_name():
    """Section 4: asking does not raise."""
    w = pipeline()

    assert 5 not in w
    assert None not in w
    assert [] not in w


# ------------------------------------------------------------------------------- foreign outcomes


def test_an_outcome_of_another_workflow():
    """S9: refused, naming the runnable; nothing is changed."""
    _, [theirs] = td.workflow("other", steps=[increment]).plan_eagerly(10).prepare_for_dispatch()
    w, [ours] = pipeline().plan_eagerly(1).prepare_for_dispatch()
    outcome = td.execute_runnable(theirs)
    for work in (lambda: w.apply_runnable(outcome), lambda: w.release(theirs)):
        refused(work, "increment@0", "Hint", kind=errors.ForeignOutcome)

    assert w.in_flight() == [ours.id]
    assert w.apply_runnable(td.execute_runnable(ours)).react_until_satisfied().results() == {
        "double": 4
    }


def test_an_outcome_of_another_run():
    """S9: of the same template."""
    template = pipeline()
    _, [theirs] = template.plan_eagerly(10).prepare_for_dispatch()
    w = template.plan_eagerly(1)
    refused(
        lambda: w.apply_runnable(td.execute_runnable(theirs)),
        "increment@0",
        kind=errors.ForeignOutcome,
    )

    assert w.react_until_satisfied().results() == {"double": 4}


def test_outcomes_made_up():
    """S9: an outcome of a node, scope or input that is not there is none of ours, or changes nothing."""
    w, [runnable] = pipeline().plan_eagerly(1).prepare_for_dispatch()
    outcome = td.execute_runnable(runnable)
    for changes in (
        {"node": "nobody"},
        {"scope": (5,)},
        {"scope": (0, 3)},
        {"generation": 7},
        {"scope": (-1,)},
    ):
        made_up = structs.replace(outcome, **changes)
        assert w.apply_runnable(made_up).log() == w.log()

    assert w.apply_runnable(outcome).react_until_satisfied().results() == {"double": 4}


# ------------------------------------------------------------------------------------ damaged logs


def told() -> td.Workflow:
    """A workflow with all kinds of work, for its log."""
    w = td.workflow("told", components=[td.condition(lambda x: x > 0, name="positive")])
    w = w.add(increment).add(td.rule(double, name="r", condition="positive"), to="increment")
    w = w.add(td.step(lambda x: list(range(x)), name="upto"), to="increment")
    w = w.add(td.map(lambda x: 1 / x, name="m"), to="upto")
    w = w.add(td.collect(name="all", on_item_failure="skip"), to="m")
    w = w.add(td.accumulator(plus, initial=0, name="sum"), to="m")
    w = w.add(pair, to=["r", "all"])
    return w.add(td.step(lambda f: "handled", name="h"), to=td.error_of("m"))


def renumbered(events: list[Any]) -> list[Any]:
    """Positions without gaps, whatever was done to the log."""
    return [structs.replace(event, position=number) for number, event in enumerate(events)]


@pytest.fixture(scope="module")
def log() -> list[Any]:
    """A whole log."""
    return list(told().react_until_satisfied(2).react_until_satisfied(3).log())


def damaged(events: list[Any]) -> None:
    """Check that a log is refused as damaged."""
    with pytest.raises(errors.LogError) as caught:
        td.Workflow.from_log(told(), events)

    assert caught.value.hint
    assert "log" in str(caught.value)


def test_a_truncated_log_is_fine(log: list[Any]):
    """S2: every prefix is a log, and can be gone on from."""
    whole = td.Workflow.from_log(told(), log).results()
    for length in range(len(log) + 1):
        w = td.Workflow.from_log(told(), log[:length])
        assert w.position == length
    nearly = td.Workflow.from_log(told(), log[:-3]).react_until_satisfied()

    assert nearly.results() == whole


def test_a_log_that_lacks_an_event(log: list[Any]):
    """S2: wherever it is missing, in the beginning too."""
    for number in range(len(log) - 1):
        damaged(log[:number] + log[number + 1 :])


def test_a_log_that_has_an_event_twice(log: list[Any]):
    """S2: wherever it stands; also if it was renumbered, unless that is another input."""
    for number in range(len(log)):
        twice = log[: number + 1] + log[number:]
        damaged(twice)
        if type(log[number]).__name__ != "InputAccepted":
            damaged(renumbered(twice))


def test_a_log_with_events_swapped(log: list[Any]):
    """S2: events follow one another."""
    for number in range(len(log) - 1):
        damaged([*log[:number], log[number + 1], log[number], *log[number + 2 :]])


def test_an_effect_before_its_cause(log: list[Any]):
    """S2: renumbered too, an effect cannot stand before its cause."""
    for number, event in enumerate(log):
        for source in getattr(event, "sources", ()):
            moved = [*log[:source], event, *log[source:number], *log[number + 1 :]]
            damaged(renumbered(moved))


@pytest.mark.parametrize("node", ["nobody", "increment/part", "", 5, None, ("a",)], ids=repr)
def test_a_log_with_a_wrong_node(log: list[Any], node: Any):
    """S2: an event of a node that is not there."""
    for number, event in enumerate(log):
        if hasattr(event, "node"):
            damaged([*log[:number], structs.replace(event, node=node), *log[number + 1 :]])


@pytest.mark.parametrize(
    "scope", [(9,), (0, 0, 0), (), (-1,), (0, -1), (0, 99), "x", None, 5, ("a",)], ids=repr
)
def test_a_log_with_a_wrong_scope(log: list[Any], scope: Any):
    """S2: an event of a scope that is not there."""
    for number, event in enumerate(log):
        if hasattr(event, "scope"):
            damaged([*log[:number], structs.replace(event, scope=scope), *log[number + 1 :]])


@pytest.mark.parametrize("junk", [None, 5, "x", {}, object()], ids=repr)
def test_a_log_with_something_else_in_it(log: list[Any], junk: Any):
    """S2: what is no event."""
    for number in range(len(log)):
        damaged([*log[:number], junk, *log[number + 1 :]])


def test_a_log_that_begins_anew(log: list[Any]):
    """S3: Defined is the first event and only that."""
    damaged([log[0], *log])
    damaged(renumbered([log[0], *log]))
    damaged(log[1:])
    damaged([*log, log[0]])


def test_a_log_of_another_definition(log: list[Any]):
    """S27: the names differ, and both are given."""
    refused(
        lambda: td.Workflow.from_log(pipeline(), log),
        "'told'",
        "'pipeline'",
        "Hint",
        kind=errors.LogError,
    )


def test_a_log_of_another_graph(log: list[Any]):
    """S27: a graph that cannot be is damage."""
    head = log[0]
    for components in ((), head.components[1:], head.components[::-1], head.components * 2):
        damaged([structs.replace(head, components=components), *log[1:]])


def test_a_damaged_log_leaves_the_definition_as_it_was(log: list[Any]):
    """S1: the template is not touched."""
    template = told()
    with pytest.raises(errors.LogError):
        td.Workflow.from_log(template, log[:5] + log[6:])

    assert template.position == 0
    assert template == told()
    assert (
        td.Workflow.from_log(template, log).results() == td.Workflow.from_log(told(), log).results()
    )


# --------------------------------------------------------------------------- in the middle of things


def test_an_interrupt_in_a_step_of_the_inline_loop():
    """Section 6: what was applied in the operation is gone with it; the old workflow is intact."""
    tries: list[int] = []

    def interrupted(x: Any) -> Any:
        tries.append(x)
        if len(tries) == 1:
            raise KeyboardInterrupt
        return x

    w = pipeline().add(td.step(interrupted), to="double")
    w = w.add(td.accumulator(plus, initial=0, name="sum"), to="increment")
    w = w.plan_eagerly(5)
    log = w.log()
    with pytest.raises(KeyboardInterrupt):
        w.react_until_satisfied()

    assert w.log() == log
    assert w.react_until_satisfied().results() == {"interrupted": 12, "sum": 6}
    assert w.react_until_satisfied().states() == {"sum": {None: 6}}


def test_an_interrupt_in_a_key_function():
    """Section 6: while an input is being accepted: it is not there afterwards."""
    tries: list[int] = []

    def key(x: int) -> int:
        tries.append(x)
        if len(tries) == 2:
            raise KeyboardInterrupt
        return x % 2

    w = td.workflow("w", components=[td.accumulator(plus, initial=0, key=key, name="sum")])
    w = w.react_until_satisfied(1)
    with pytest.raises(KeyboardInterrupt):
        w.plan_eagerly(3)

    assert len(w.inputs()) == 1
    assert w.react_until_satisfied(3).states() == {"sum": {1: 4}}


def test_an_interrupt_in_a_factory_or_default():
    """Section 6: while work is being prepared: it is still ready afterwards."""
    tries: list[int] = []

    def default() -> str:
        tries.append(1)
        if len(tries) == 1:
            raise KeyboardInterrupt
        return "made"

    def ask(x: Any, *, v: Any = td.context("v", default=default)) -> Any:
        return v

    w = td.workflow("w", steps=[ask, increment]).plan_eagerly(1)
    with pytest.raises(KeyboardInterrupt):
        w.prepare_for_dispatch()

    assert w.in_flight() == []
    assert w.react_until_satisfied().results() == {"ask": "made", "increment": 2}


def test_a_refused_edit_in_the_middle_of_work():
    """Section 6: with work in flight, it is still in flight, and comes back."""
    w, [out] = pipeline().plan_eagerly(1).prepare_for_dispatch()
    for work in (
        lambda: w.add(pair, to=["increment", "nobody"]),
        lambda: w.add(abs, to="abs"),
        lambda: w.replace("increment", td.map(increment)),
        lambda: w.replace("increment", 5, reset=True),
        lambda: w.remove("nobody"),
        lambda: w.merge(pipeline()),
    ):
        refused(work)

    assert w.in_flight() == [out.id]
    assert w.apply_runnable(td.execute_runnable(out)).react_until_satisfied().results() == {
        "double": 4
    }


def test_two_threads_on_one_handle():
    """S1: both get what they asked for, and the handle is as it was."""
    w = pipeline().plan_eagerly(1)
    log = w.log()
    start = threading.Barrier(2)

    def run(k: int) -> td.Workflow:
        start.wait(30)
        return w.plan_eagerly(10 * k).react_until_satisfied()

    for _ in range(20):
        with ThreadPoolExecutor(2) as pool:
            done = list(pool.map(run, [1, 2]))
        assert [d.raw_productions() for d in done] == [[4, 22], [4, 42]]

    assert w.log() == log


def test_an_iterator_as_input_is_read_once():
    """S1: values pass by reference: an iterator is the user's own, and a map reads it once."""
    w = td.workflow("w", components=[td.map(double, name="m")]).react_until_satisfied(iter([1, 2]))

    assert w.results() == {"m": [2, 4]}
    assert td.Workflow.from_log(w.at(0), w.log()).results() == {"m": [2, 4]}
