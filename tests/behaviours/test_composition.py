"""Building and editing graphs: behaviours H, rules S27 and S28."""

from typing import Any

import pytest

import treadle as td
from treadle import errors


def increment(x: Any) -> Any:
    """One more."""
    return x + 1


def double(x: Any) -> Any:
    """Twice the value."""
    return x * 2


def plus(state: Any, value: Any) -> Any:
    """Add up."""
    return state + value


def pair(name: str = "pair") -> Any:
    """A step of two ports."""
    return td.step(lambda a, b: (a, b), name=name)


def pipeline() -> td.Workflow:
    """Increment, then double."""
    return td.workflow("pipeline", steps=[(increment, [double])])


def texts(group: ExceptionGroup[Any]) -> list[str]:
    """What a group of errors says."""
    return [str(error) for error in group.exceptions]


# --------------------------------------------------------------------------------------------- add


def test_parents_are_named_in_all_ways():
    """H123: by name, by component, by td.INPUT; alone or in a list."""
    first = td.step(increment)
    w = td.workflow("w").add(first)
    w = w.add(td.step(double, name="by name"), to="increment")
    w = w.add(td.step(double, name="by component"), to=first)
    w = w.add(td.step(double, name="listed"), to=["increment"])
    w = w.add(td.step(double, name="input"), to=td.INPUT)
    w = w.add(td.step(double, name="nothing"))
    w = w.add(pair("tuple"), to=(first, td.INPUT))

    assert w.react_until_satisfied(1).results() == {
        "by name": 4,
        "by component": 4,
        "listed": 4,
        "input": 2,
        "nothing": 2,
        "tuple": (2, 1),
    }


def test_an_unknown_parent_is_refused_with_the_nearest_name():
    """H123: nothing is changed."""
    w = pipeline()
    with pytest.raises(errors.UnknownComponent) as caught:
        w.add(abs, to="incremnet")

    assert "'abs'" in str(caught.value)
    assert "'incremnet'" in str(caught.value)
    assert "Did you mean 'increment'?" in str(caught.value)
    assert w.components() == ["increment", "double"]


def test_names_are_unique():
    """S28: an error, not a silent overwrite."""
    with pytest.raises(errors.DuplicateName, match="'increment'") as caught:
        pipeline().add(lambda x: x).add(increment)

    assert "replace" in str(caught.value)


def test_no_component_is_its_own_parent():
    """H123: cycles are refused, before and after the first input."""
    for w in (pipeline(), pipeline().react_until_satisfied(1)):
        for component in (td.step(abs, name="x"), td.map(abs, name="x"), pair("x")):
            with pytest.raises(errors.CycleError, match="own parent"):
                w.add(component, to=["x"] if component.name != "pair" else ["x", "double"])


def test_components_are_found_by_name():
    """Section 4: workflow["name"], `in`, components() in the order of adding."""
    first = td.step(increment)
    w = td.workflow("w").add(first).add(double)

    assert w["increment"] is first
    assert w["double"](4) == 8
    assert "double" in w
    assert "triple" not in w
    assert w.components() == ["increment", "double"]
    with pytest.raises(errors.UnknownComponent, match="Did you mean 'double'"):
        w["duoble"]


def test_repr_is_one_line():
    """Section 4: it names the workflow and how it stands."""
    for w in (td.workflow("w"), pipeline().plan_eagerly(1), pipeline().react_until_satisfied(1)):
        assert "\n" not in repr(w)
        assert w.name in repr(w)


def test_steps_nest():
    """Section 4: (parent, [children]), to any depth."""
    w = td.workflow(
        "w",
        steps=[
            (increment, [(double, [td.step(str, name="text"), td.step(float, name="number")])]),
            td.step(abs),
        ],
    )

    assert w.react_until_satisfied(1).results() == {"text": "4", "number": 4.0, "abs": 1}


def test_any_callable_is_a_component():
    """H135: functions, classes and workflows are added as they are."""
    w = td.workflow("w").add(increment).add(str, to="increment").add(len, to="str")

    assert w.react_until_satisfied(98).results() == {"len": 2}


def test_adding_in_one_go_or_one_by_one_is_the_same():
    """Section 4: workflow(...) is a chain of add."""
    assert pipeline() == td.workflow("pipeline").add(increment).add(double, to="increment")


# ------------------------------------------------------------------------------------------- faults


def test_all_faults_are_reported_together():
    """S28: workflow(...) gives one ExceptionGroup, in the order of the faults."""
    steps: list[Any] = [increment, increment, 5, (td.step(lambda a, b: a, name="ab"), [abs])]
    with pytest.raises(ExceptionGroup) as caught:
        td.workflow(
            "faulty",
            steps=steps,
            rules=[td.rule(lambda x: x, name="r", condition="nowhere")],
            components=[td.step(lambda x, s=td.state_of("gone"): s, name="reads")],
        )
    told = " ".join(texts(caught.value))

    assert "faulty" in str(caught.value)
    assert len(caught.value.exceptions) == 4
    assert all(isinstance(error, errors.DefinitionError) for error in caught.value.exceptions)
    for word in ("'increment'", "5", "'nowhere'", "'gone'"):
        assert word in told


def test_what_hangs_on_a_fault_is_not_reported_again():
    """S28: one fault, one report, however much stands below it."""
    with pytest.raises(ExceptionGroup) as caught:
        td.workflow("w", steps=[increment, (td.step(abs, name="increment"), [(abs, [double])])])

    assert len(caught.value.exceptions) == 1


def test_faults_of_several_kinds():
    """S28: types, places and arity are found by workflow(...) too."""

    def text(x: Any) -> str:
        return str(x)

    def number(x: int) -> int:
        return x

    with pytest.raises(ExceptionGroup) as caught:
        td.workflow(
            "w",
            steps=[
                (text, [number]),
                (td.collect(over="nothing", name="c"), []),
                (abs, [abs]),
            ],
        )

    assert [type(error).__name__ for error in caught.value.exceptions] == [
        "IncompatibleTypes",
        "DefinitionError",
        "DuplicateName",
    ]


# ----------------------------------------------------------------------------------------- types


def gives_str(x: Any) -> str:
    """Text."""
    return str(x)


def gives_int(x: Any) -> int:
    """A number."""
    return int(x)


def gives_ints(x: Any) -> list[int]:
    """Numbers."""
    return [int(x)]


def gives_strs(x: Any) -> list[str]:
    """Texts."""
    return [str(x)]


def gives_optional(x: Any) -> int | None:
    """A number, or none."""
    return x


def takes_int(x: int) -> int:
    """A number."""
    return x


def takes_float(x: float) -> float:
    """A number."""
    return x


def takes_either(x: int | str) -> Any:
    """One or the other."""
    return x


def takes_strs(x: list[str]) -> Any:
    """Texts."""
    return x


def takes_ints(x: list[int]) -> Any:
    """Numbers."""
    return x


def takes_anything(x: Any) -> Any:
    """Whatever."""
    return x


def takes_unknown(x: Any) -> Any:
    """No promise."""
    return x


class Base:
    """A class."""


class Derived(Base):
    """One below it."""


def gives_derived(x: Any) -> Derived:
    """The lower."""
    return Derived()


def takes_base(x: Base) -> Any:
    """The upper."""
    return x


@pytest.mark.parametrize(
    ("gives", "takes", "fits"),
    [
        (gives_str, takes_int, False),
        (gives_int, takes_int, True),
        (gives_int, takes_float, True),
        (gives_int, takes_either, True),
        (gives_str, takes_either, True),
        (gives_ints, takes_either, False),
        (gives_ints, takes_ints, True),
        (gives_ints, takes_strs, False),
        (gives_optional, takes_int, False),
        (gives_str, takes_anything, True),
        (takes_anything, takes_int, True),
        (gives_derived, takes_base, True),
        (gives_str, takes_base, False),
    ],
)
def test_annotations_are_contracts(gives: Any, takes: Any, fits: bool):
    """H130: any side any is fine; element types and unions are compared; both ends are named."""
    w = td.workflow("w").add(gives)
    if fits:
        w = w.add(takes, to=gives.__name__)
        return
    with pytest.raises(errors.IncompatibleTypes) as caught:
        w.add(takes, to=gives.__name__)

    assert gives.__name__ in str(caught.value)
    assert takes.__name__ in str(caught.value)


def test_types_go_through_maps_gates_and_rules():
    """H130: a map takes elements; a gate gives what came to it."""
    w = td.workflow("w").add(gives_ints).add(gives_str)
    w = w.add(td.condition(lambda x: True, name="gate"), to="gives_str")
    w.add(td.map(takes_int, name="m"), to="gives_ints")
    with pytest.raises(errors.IncompatibleTypes):
        w.add(td.map(lambda x: x, name="m"), to="gives_str")
    with pytest.raises(errors.IncompatibleTypes):
        w.add(takes_int, to="gate")

    def takes_str(x: str) -> str:
        return x

    with pytest.raises(errors.IncompatibleTypes):
        w.add(td.map(takes_str, name="m"), to="gives_ints")


def test_types_are_compared_port_by_port():
    """H130: in a join, each parent with its port."""

    def both(a: int, b: str) -> Any:
        return a, b

    w = td.workflow("w").add(gives_int).add(gives_str)
    w.add(both, to=["gives_int", "gives_str"])
    with pytest.raises(errors.IncompatibleTypes, match="gives_str"):
        w.add(both, to=["gives_str", "gives_int"])

    assert "both" not in w


def fold_numbers(state: int, value: int) -> int:
    """Add up numbers."""
    return state + value


def nothing(x: Any) -> None:
    """Give None."""


@pytest.mark.parametrize(
    ("parent", "child"),
    [
        (gives_str, td.accumulator(fold_numbers, initial=0)),
        (td.collect(gives_strs, name="gives_strs"), td.reduce(fold_numbers, initial=0)),
        (gives_str, td.rule(takes_int, condition=lambda x: True)),
        (gives_str, td.rule(takes_int, condition=lambda x: True, dispatch=True)),
        (nothing, td.step(takes_int)),
    ],
    ids=["accumulator", "reduce", "rule", "dispatched rule", "None"],
)
def test_all_components_have_typed_ports(parent: Any, child: Any):
    """H130: annotations are ports in every kind of component, and `-> None` is an annotation."""
    w = td.workflow("w").add(parent)
    with pytest.raises(errors.IncompatibleTypes):
        w.add(child, to=w.components())


def test_string_annotations_are_resolved():
    """H130: annotations as text are contracts too."""

    def number(x: "int") -> "int":
        return x

    with pytest.raises(errors.IncompatibleTypes):
        td.workflow("w").add(gives_str).add(number, to="gives_str")


# ------------------------------------------------------------------------------------ sub-workflows


def counting() -> td.Workflow:
    """A workflow with a state, a condition, a rule that refers to it, and a step that reads the state."""
    w = td.workflow("counting", components=[td.condition(lambda x: x > 0, name="positive")])
    w = w.add(td.accumulator(plus, initial=0, name="sum"))
    w = w.add(td.rule(lambda x: x, name="kept", condition="positive"))
    return w.add(td.step(lambda x, s=td.state_of("sum"): (x, s), name="told"), to="kept")


def test_a_workflow_is_a_component():
    """H135: its components are named sub.x, and its input is what it hangs on."""
    w = td.workflow("w", steps=[increment]).add(pipeline(), to="increment")

    assert w.components() == ["increment", "pipeline.increment", "pipeline.double"]
    assert w["pipeline.double"](2) == 4
    assert w.react_until_satisfied(1).results() == {"pipeline.double": 6}


def test_a_sub_workflow_is_a_parent_through_its_one_output():
    """Section 4: its name stands for its output; with several the error names them."""
    w = td.workflow("w").add(pipeline()).add(str, to="pipeline")
    two = td.workflow("two", steps=[increment, double])

    assert w.react_until_satisfied(1).results() == {"str": "4"}
    with pytest.raises(errors.DefinitionError, match=r"two\.increment.*two\.double"):
        td.workflow("w").add(two).add(str, to="two")
    assert td.workflow("w").add(two).add(str, to="two.double").react_until_satisfied(
        2
    ).results() == {
        "two.increment": 3,
        "str": "4",
    }


def test_references_inside_mean_what_is_inside():
    """H135: conditions, states and maps named inside are those of the sub-workflow."""
    w = td.workflow("w", components=[td.condition(lambda x: x < 0, name="positive")])
    w = w.add(td.accumulator(plus, initial=1000, name="sum")).add(counting())
    w = w.react_until_satisfied(5).react_until_satisfied(-1)

    assert w.states() == {"sum": {None: 1004}, "counting.sum": {None: 4}}
    assert w.raw_productions("counting.kept") == [5]
    assert w.raw_productions("counting.told") == [(5, 5)]


def test_one_workflow_added_under_two_names():
    """H135: each has its own state."""

    def named(name: str) -> td.Workflow:
        return td.workflow(name).merge(counting())

    w = td.workflow("w").add(named("a")).add(named("b"), to="a.kept").react_until_satisfied(5)
    w = w.react_until_satisfied(-5)

    assert w.states() == {"a.sum": {None: 0}, "b.sum": {None: 5}}


def test_sub_workflows_nest():
    """H135: outer.inner.x, with states and conditions inside."""
    outer = td.workflow("outer", steps=[double]).add(counting(), to="double")
    w = td.workflow("w", steps=[increment]).add(outer, to="increment").react_until_satisfied(1)

    assert w.components() == [
        "increment",
        "outer.double",
        "outer.counting.positive",
        "outer.counting.sum",
        "outer.counting.kept",
        "outer.counting.told",
    ]
    assert w.states() == {"outer.counting.sum": {None: 4}}
    assert w.results("outer.counting.told") == {"outer.counting.told": (4, 4)}


def test_a_nested_sub_workflow_is_a_parent():
    """Section 4: also the name of a sub-workflow in a sub-workflow."""
    outer = td.workflow("outer", steps=[double]).add(pipeline(), to="double")
    w = td.workflow("w").add(outer)

    assert w.add(str, to="outer.pipeline").react_until_satisfied(1).results() == {"str": "6"}
    assert w.add(str, to="outer").react_until_satisfied(1).results() == {"str": "6"}


def test_a_sub_workflow_inside_a_fan_out():
    """H135: it runs per item; its own fan-outs nest."""
    inner = td.workflow("inner", components=[td.map(lambda x: x, name="m")])
    inner = inner.add(td.reduce(plus, initial=0, name="sum"), to="m")
    w = td.workflow("w", components=[td.map(lambda x: list(range(x)), name="each")])
    w = w.add(inner, to="each").add(td.collect(name="all"), to="inner")

    assert w.react_until_satisfied([0, 2, 4]).results() == {"all": [0, 1, 6]}


def test_over_inside_a_sub_workflow():
    """H135: `over=` names the map inside."""
    inner = td.workflow("inner", components=[td.map(lambda x: x, name="m")])
    inner = inner.add(td.map(lambda x: x, name="n"), to="m")
    inner = inner.add(td.collect(over="m", name="all"), to="n")
    w = td.workflow("w", components=[td.map(lambda x: x, name="m")]).add(inner, to="m")

    assert w.react_until_satisfied([[[1], [2, 3]], []]).results() == {"inner.all": [[1, 2, 3], []]}


def test_a_sub_workflow_of_several_parents():
    """Section 4: its input is what the join gives."""
    inner = td.workflow("inner", steps=[td.step(lambda a, b: a - b, name="minus")])
    w = td.workflow("w", steps=[increment, double])
    every = w.add(inner, to=["double", "increment"])
    first = w.add(pipeline(), to=["double", "increment"], join="any")

    assert every.react_until_satisfied(5).results() == {"inner.minus": 4}
    assert first.react_until_satisfied(5).results("pipeline.double")["pipeline.double"] in (14, 22)


def test_a_sub_workflow_on_an_error_port():
    """S24: it can handle failures."""
    inner = td.workflow("inner", steps=[td.step(lambda f: f.component, name="who")])
    w = td.workflow("w", steps=[td.step(lambda x: 1 / 0, name="bad")])
    w = w.add(inner, to=td.error_of("bad")).react_until_satisfied(1)

    assert w.results() == {"inner.who": "bad"}
    assert w.failures()[0].handled


def test_handlers_inside_a_sub_workflow():
    """S24: error_of inside means the component inside."""
    inner = td.workflow("inner", steps=[td.step(lambda x: 1 / 0, name="bad")])
    inner = inner.add(td.step(lambda f: f.component, name="h"), to=td.error_of("bad"))
    w = td.workflow("w", steps=[td.step(abs, name="bad")]).add(inner).react_until_satisfied(1)

    assert w.results() == {"bad": 1, "inner.h": "inner.bad"}


def test_sub_workflows_survive_the_log():
    """S27: from_log finds their functions."""
    template = td.workflow("w", steps=[increment]).add(counting(), to="increment")
    w = template.react_until_satisfied(5)
    again = td.Workflow.from_log(template, w.log())

    assert again == w
    assert again.react_until_satisfied(6).states() == {"counting.sum": {None: 13}}


def test_a_sub_workflow_added_under_way():
    """S27: it sees what comes from now on."""
    template = td.workflow("w", steps=[increment])
    w = template.react_until_satisfied(1).add(pipeline(), to="increment").react_until_satisfied(2)

    assert w.results() == {"pipeline.double": 8}
    assert w.results(input=0) == {}


def test_a_workflow_with_a_history_is_no_component():
    """S27: only a template is; the hint says how to get it."""
    done = pipeline().react_until_satisfied(1)
    with pytest.raises(errors.DefinitionError, match=r"at\(0\)"):
        td.workflow("w").add(done)

    assert td.workflow("w").add(done.at(0)).components() == [
        "pipeline.increment",
        "pipeline.double",
    ]


# ------------------------------------------------------------------------------------------ merge


def test_merged_workflows_react_to_the_same_input():
    """H125: both hang on the raw input; the name and the history are the first's."""
    w = td.workflow("first", steps=[td.step(abs)]).react_until_satisfied(-1)
    merged = w.merge(pipeline()).react_until_satisfied(-5)

    assert merged.name == "first"
    assert merged.results() == {"abs": 5, "double": -8}
    assert merged.results(input=0) == {"abs": 1}


def test_merging_reports_all_clashes():
    """S28: one ExceptionGroup, and nothing is changed."""
    w = td.workflow("first", steps=[increment, double, abs])
    with pytest.raises(ExceptionGroup) as caught:
        w.merge(pipeline())

    assert len(caught.value.exceptions) == 2
    assert all("is already in" in text for text in texts(caught.value))
    assert w.components() == ["increment", "double", "abs"]


def test_only_templates_are_merged():
    """S27: other must have no history."""
    with pytest.raises(errors.DefinitionError, match="history"):
        td.workflow("first").merge(pipeline().plan_eagerly(1))


def test_merging_brings_states_and_conditions():
    """H125: what the other refers to comes along."""
    w = td.workflow("first").merge(counting()).react_until_satisfied(3)

    assert w.states() == {"sum": {None: 3}}
    assert w.results("told") == {"told": (3, 3)}


# ------------------------------------------------------------------------------------------ remove


def chain() -> td.Workflow:
    """A -> b -> c."""
    w = td.workflow("chain").add(td.step(increment, name="a"))
    return w.add(td.step(double, name="b"), to="a").add(td.step(increment, name="c"), to="b")


@pytest.mark.parametrize("started", [False, True])
def test_removing_a_middle_component_rewires(started: bool):
    """H126: its children take from its parents."""
    w = chain().react_until_satisfied(1) if started else chain()
    w = w.remove("b")

    assert w.components() == ["a", "c"]
    assert w.react_until_satisfied(1).results() == {"c": 3}


@pytest.mark.parametrize("started", [False, True])
def test_removing_ends_and_beginnings(started: bool):
    """H126: a leaf, a root; by the component too."""
    w = chain().react_until_satisfied(1) if started else chain()

    assert w.remove("c").react_until_satisfied(1).results() == {"b": 4}
    assert w.remove(w["a"]).react_until_satisfied(1).results() == {"c": 3}
    assert w.remove("a").remove("b").remove("c").react_until_satisfied(1).results() == {}


def test_removing_a_root_of_several():
    """H126: all its children hang on the input then."""
    w = td.workflow("w", steps=[(increment, [td.step(double, name="x"), td.step(abs)])])

    assert w.remove("increment").react_until_satisfied(-3).results() == {"x": -6, "abs": 3}


def test_removing_what_children_need_is_refused():
    """S27: where arity, place or types no longer fit; the children are named."""
    join = td.workflow("w", steps=[increment, double]).add(pair(), to=["increment", "double"])
    w = join.add(str, to="pair").add(pair("again"), to=["pair", "increment"])
    mapped = td.workflow("w", components=[td.map(increment, name="m")]).add(td.collect(), to="m")

    with pytest.raises(errors.DefinitionError, match="'again'"):
        w.remove("pair")
    typed = td.workflow("w", steps=[gives_str]).add(int, to="gives_str").add(takes_int, to="int")
    with pytest.raises(errors.DefinitionError, match="takes_int"):
        typed.remove("int")
    assert w.components() == ["increment", "double", "pair", "str", "again"]
    assert mapped.remove("m").react_until_satisfied([1]).results() == {"collect": [1]}


def test_removing_what_is_referred_to_is_refused():
    """S27: conditions, states, maps and handled components; the error names who refers."""
    w = counting()
    with pytest.raises(errors.DefinitionError, match="'kept' refers"):
        w.remove("positive")
    with pytest.raises(errors.DefinitionError, match="'told' refers"):
        w.remove("sum")
    handled = chain().add(td.step(str, name="h"), to=td.error_of("b"))
    with pytest.raises(errors.DefinitionError, match="'h' handles"):
        handled.remove("b")

    assert w.remove("told").remove("sum").components() == ["positive", "kept"]


def test_removing_an_unknown_name():
    """H126: an error with the nearest name."""
    with pytest.raises(errors.UnknownComponent, match="'a'"):
        chain().remove("x")


def test_removing_with_work_in_flight():
    """S27: its work is withdrawn; the first outcome is recorded as orphaned, a second is not."""
    w, [a] = chain().plan_eagerly(1).prepare_for_dispatch()
    outcome = td.execute_runnable(a)
    w = w.remove("a")
    once = w.apply_runnable(outcome)

    assert w.in_flight() == []
    assert type(once.log()[-1]).__name__ == "Orphaned"
    assert once.apply_runnable(outcome).log() == once.log()
    assert once.is_satisfied()
    assert once.react_until_satisfied(1).results() == {"c": 3}


# ------------------------------------------------------------------------------------------ replace


@pytest.mark.parametrize("started", [False, True])
def test_replacing_changes_the_code_only(started: bool):
    """S27: the wiring stays, the name too."""
    w = chain().react_until_satisfied(1) if started else chain()
    w = w.replace("b", lambda x: x * 100)

    assert w.components() == ["a", "b", "c"]
    assert w.react_until_satisfied(1).results() == {"c": 201}


def test_replacing_by_its_own_name():
    """S27: a component of the same name goes into its place."""
    w = pipeline().replace(td.step(lambda x: x * 100, name="double"))

    assert w.react_until_satisfied(1).results() == {"double": 200}


def test_pending_work_runs_under_the_new_code():
    """S27: withdrawn and ready again, as a new generation with a new key."""
    w, [old] = chain().plan_eagerly(1).prepare_for_dispatch()
    w = w.replace("a", lambda x: x + 100)
    w, [new] = w.prepare_for_dispatch()
    late = w.apply_runnable(td.execute_runnable(old))
    done = late.apply_runnable(td.execute_runnable(new)).react_until_satisfied()

    assert (new.component, new.generation) == ("a", old.generation + 1)
    assert new.idempotency_key != old.idempotency_key
    assert type(late.log()[-1]).__name__ == "Orphaned"
    assert late.in_flight() == [new.id]
    assert done.results("a", "c") == {"a": 101, "c": 203}
    assert done.facts("a")[0].generation == 1


def test_orphaned_failures_are_recorded_too():
    """S27: an orphan may be a failure; it fails nothing."""
    template = td.workflow("w", steps=[td.step(lambda x: 1 / 0, name="a")])
    w, [old] = template.plan_eagerly(1).prepare_for_dispatch()
    w = w.replace("a", increment).apply_runnable(td.execute_runnable(old)).react_until_satisfied()
    [orphan] = [event for event in w.log() if type(event).__name__ == "Orphaned"]

    assert orphan.error.name == "ZeroDivisionError"
    assert w.failures() == []
    assert w.results() == {"a": 2}


def test_replacing_twice_with_work_out():
    """S27: each generation's outcome is an orphan once."""
    w, [first] = chain().plan_eagerly(1).prepare_for_dispatch()
    w, [second] = w.replace("a", lambda x: x + 10).prepare_for_dispatch()
    w, [third] = w.replace("a", lambda x: x + 100).prepare_for_dispatch()
    for runnable in (second, first, second, first):
        w = w.apply_runnable(td.execute_runnable(runnable))
    w = w.apply_runnable(td.execute_runnable(third)).react_until_satisfied()

    assert [type(event).__name__ for event in w.log()].count("Orphaned") == 2
    assert w.results("a") == {"a": 101}


def test_replacing_keeps_the_state():
    """S27: reset=True drops it."""
    w = td.workflow("w", components=[td.accumulator(plus, initial=0, name="sum")])
    w = w.react_until_satisfied(5)
    doubled = td.accumulator(lambda s, v: s + 2 * v, initial=100, name="sum")

    assert w.replace(doubled).react_until_satisfied(1).states() == {"sum": {None: 7}}
    assert w.replace(doubled, reset=True).react_until_satisfied(1).states() == {"sum": {None: 102}}


def test_replacing_with_folds_queued():
    """S22, S27: no update is lost, none doubled, in order."""
    w = td.workflow("w", components=[td.accumulator(plus, initial=0, name="sum")])
    for value in (1, 2, 3):
        w = w.plan_eagerly(value)
    w, [out] = w.prepare_for_dispatch()
    w = w.replace(td.accumulator(lambda s, v: s + 10 * v, initial=0, name="sum"))
    w = w.apply_runnable(td.execute_runnable(out)).react_until_satisfied()

    assert w.raw_productions("sum") == [10, 30, 60]


def test_replacing_one_kind_by_another():
    """S27: a step may become a rule, and back, where its children stay in place."""
    w = chain().react_until_satisfied(1)
    w = w.replace("b", td.rule(double, name="b", condition=lambda x: x > 10))
    small, large = w.react_until_satisfied(1), w.react_until_satisfied(100)
    back = large.replace("b", double).react_until_satisfied(1)

    assert small.results("b", "c") == {"b": td.ABSENT, "c": td.ABSENT}
    assert large.results() == {"c": 203}
    assert back.results() == {"c": 5}


def test_replacements_that_do_not_fit_are_refused():
    """S27: arity, types and place are checked as in add; nothing is changed."""
    w = td.workflow("w", steps=[(gives_int, [takes_int])]).react_until_satisfied(1)
    with pytest.raises(errors.IncompatibleTypes):
        w.replace("gives_int", gives_str)
    with pytest.raises(errors.ArityMismatch):
        chain().add(pair(), to=["a", "b"]).replace("pair", lambda a, b, c: a)
    with pytest.raises(errors.PlacesDiffer):
        w.replace("gives_int", td.map(gives_int))
    with pytest.raises(errors.UnknownComponent):
        w.replace("nobody", gives_int)

    assert w.react_until_satisfied(2).results() == {"takes_int": 2}


def test_replacing_does_not_ask_old_conditions_again():
    """S12, S27: what was planned stays planned."""
    asked: list[int] = []

    def predicate(x: int) -> bool:
        asked.append(x)
        return True

    w = td.workflow("w", rules=[td.rule(double, name="r", condition=predicate)]).plan_eagerly(1)
    w = w.replace("r", td.rule(lambda x: -x, name="r", condition=predicate)).react_until_satisfied()

    assert w.results() == {"r": -1}
    assert asked == [1]


def test_edits_under_way_survive_the_log():
    """S27: shapes come from the log, functions from the definition and `components=`."""
    late = td.step(lambda x: -x, name="late")
    more = td.step(lambda x: x + 10, name="a")
    w = chain().react_until_satisfied(1).add(late, to="b").replace(more)
    w = w.react_until_satisfied(1).remove("c").react_until_satisfied(2)
    again = td.Workflow.from_log(chain(), w.log(), components={"late": late, "a": more})

    assert again.components() == ["a", "b", "late"]
    assert again.results() == w.results() == {"late": -24}
    assert again.failures() == []
    assert again == w


def test_edits_name_no_code():
    """S27: the event of an edit carries names, wiring and fingerprints."""
    w = chain().plan_eagerly(1).add(td.step(abs, name="late"), to="b")
    event = w.log()[-1]

    assert type(event).__name__ == "ComponentAdded"
    assert event.component.name == "late"
    assert event.component.fingerprint
    assert "<function" not in repr(event)
    assert "<built-in" not in repr(event)


def test_edits_before_the_first_input_are_part_of_the_definition():
    """S3: they are in Defined, the first event."""
    w = chain().remove("c").add(abs, to="b").plan_eagerly(1)

    assert [type(event).__name__ for event in w.log()] == ["Defined", "InputAccepted"]
    assert w.at(0).components() == ["a", "b", "abs"]


# ------------------------------------------------------------------------------------------ backfill


def test_without_backfill_a_component_sees_what_is_applied_after_its_add():
    """S27: old facts are not fed; what is ready is still to be applied."""
    w = chain().react_until_satisfied(1).plan_eagerly(10)
    w = w.add(td.step(lambda x: -x, name="late"), to="a").react_until_satisfied()

    assert w.raw_productions("late") == [-11]


def test_backfill_feeds_the_facts_that_exist():
    """S27: in their scopes and order."""
    w = chain().react_until_satisfied(1).react_until_satisfied(10)
    w = w.add(td.step(lambda x: -x, name="late"), to="a", backfill=True)
    ready = w.is_runnable()
    w = w.react_until_satisfied().react_until_satisfied(20)

    assert ready
    assert w.raw_productions("late") == [-2, -11, -21]
    assert [fact.scope for fact in w.facts("late")] == [(0,), (1,), (2,)]


def test_backfill_of_an_accumulator():
    """S27: states are folded over the past, in order."""
    w = chain()
    for value in (1, 2, 3):
        w = w.react_until_satisfied(value)
    w = w.add(
        td.accumulator(lambda s, v: [*s, v], initial=[], name="all"), to="a", backfill=True
    ).react_until_satisfied()

    assert w.states() == {"all": {None: [2, 3, 4]}}


def test_backfill_of_a_join_of_old_and_new():
    """S27: a join of two parents is fed from both, per input."""
    w = chain().react_until_satisfied(1).react_until_satisfied(2)
    w = w.add(pair(), to=["a", "c"], backfill=True).react_until_satisfied()

    assert w.raw_productions("pair") == [(2, 5), (3, 7)]


def test_backfill_in_fan_outs():
    """S27: items in their scopes, groups as groups, empty ones too."""
    w = td.workflow("w", components=[td.map(lambda x: x, name="m")])
    w = w.react_until_satisfied([1, 2]).react_until_satisfied([])
    w = w.add(td.step(lambda x: -x, name="each"), to="m", backfill=True)
    w = w.add(td.collect(name="all"), to="m", backfill=True).react_until_satisfied()

    assert w.results("each", "all", input=0) == {"each": [-1, -2], "all": [1, 2]}
    assert w.results("each", "all", input=1) == {"each": [], "all": []}


def test_backfill_of_rules_asks_each_fact_once():
    """S12, S27: the new rule's condition is asked about the old facts, others are not asked again."""
    asked: dict[str, Any] = {"old": [], "new": []}

    def predicate(name: str) -> Any:
        return lambda x: asked[name].append(x) or x > 1

    w = td.workflow("w", rules=[td.rule(lambda x: x, name="old", condition=predicate("old"))])
    w = w.react_until_satisfied(1).react_until_satisfied(2)
    rule = td.rule(lambda x: -x, name="new", condition=predicate("new"))
    w = w.add(rule, backfill=True).react_until_satisfied()

    assert w.raw_productions("new") == [-2]
    assert asked == {"old": [1, 2], "new": [1, 2]}


def test_backfill_of_a_handler():
    """S24, S27: old failures come to a new handler, with what they were called with."""
    w = td.workflow("w", steps=[td.step(lambda x: 1 / x, name="bad")])
    w = w.react_until_satisfied(0).react_until_satisfied(1)
    w = w.add(
        td.step(lambda f: (f.component, f.error.name, f.inputs), name="h"),
        to=td.error_of("bad"),
        backfill=True,
    ).react_until_satisfied()

    assert w.raw_productions("h") == [("bad", "ZeroDivisionError", (0,))]
    assert w.failures()[0].handled


def test_backfill_survives_the_log():
    """S2, S27: the same work is ready on replay."""
    late = td.step(lambda x: -x, name="late")
    w = chain().react_until_satisfied(1).add(late, to="a", backfill=True)
    again = td.Workflow.from_log(chain(), w.log(), components={"late": late})

    assert [runnable.id for runnable in again.next_runnables()] == ["late@0"]
    assert again.react_until_satisfied().results("late") == {"late": -2}
