"""Graphs drawn at random, and all that a user sees of what came of them."""

from typing import Any

import treadle as td

INPUTS: list[Any] = [1, [1, 22, 333], "text", [[1], []]]
KINDS = [*["step"] * 3, "join", "settled", "map", "collect", "rule", "keyed", "handler", "gate"]
LOST: list[Any] = ["fail", "skip", "collect"]


def parity(value):
    """A key of few values."""
    return len(repr(value)) % 2


def grown(choose, changed="", *, skips=True):
    """A graph without races and halts: joins, barriers, fan-outs, rules, a state, failures, skips.

    One state at most: below a state, the order in which several inputs arrive at another one is a race. The
    component named `changed` has other code than it has otherwise.
    """
    w = td.workflow("w")
    for number in range(choose.randrange(3, 10)):
        w = another(w, choose, f"c{number}", version=changed == f"c{number}", skips=skips)
    return w


def another(w, choose, name, *, version, skips):
    """The graph with one more component, if it fits."""
    kind, behaviour, failure = (
        choose.choice(KINDS),
        choose.randrange(6),
        choose.choice(["block", "skip"]),
    )

    def call(*values, behaviour=behaviour, version=version):
        size = len(repr(values)) + 2 * version
        if behaviour == 0 and size % 3 == 0:
            raise ValueError(size)
        if behaviour == 1 and size % 4 == 0 and skips:
            return td.ABSENT
        return [repr(values)[:9], size]

    def holds(value, behaviour=behaviour, version=version):
        return len(repr(value)) % 3 != behaviour % 3 - version

    def spread(value, version=version):
        return [*value, version] if isinstance(value, list) else [value]

    def told(values, version=version):
        return (version, str(values))

    above = w.components()
    to, options = choose.choice([td.INPUT, *above]), {}
    lost = choose.choice(LOST if skips else ["fail", "collect"])
    made: Any = td.step(call, name=name, on_failure=failure if skips else "block")
    if kind in {"join", "settled"}:
        to = choose.sample([td.INPUT, *above], min(len(above) + 1, 2))
        options["join"] = "all" if kind == "join" else "settled"
    elif kind == "map":
        made = td.map(spread, name=name)
    elif kind == "collect":
        made = td.collect(told, name=name, on_item_failure=lost)
    elif kind == "rule":
        made = td.rule(call, name=name, condition=holds)
    elif kind == "gate":
        made = td.condition(holds, name=name)
    elif kind == "keyed" and not any(each.kind == "accumulator" for each in w.lowered()):
        made = td.accumulator(lambda s, _, n=version: s + n + 1, initial=0, name=name, key=parity)
    elif kind == "handler" and above:
        to = td.error_of(choose.choice(above))
    try:
        return w.add(made, to=to, **options)
    except td.errors.DefinitionError:
        return w


def inputs_for(w, choose):
    """Some inputs; a single one where a state lies beside barriers.

    What works again does so for all inputs side by side, and how long a barrier waits differs between them.
    """
    is_stateful = any(each.kind == "accumulator" for each in w.lowered())
    waits = any(each.kind == "collect" or each.wiring.join == "settled" for each in w.lowered())
    count = 1 if is_stateful and waits else choose.randrange(1, 4)
    return [choose.choice(INPUTS) for _ in range(count)]


def seen(w):
    """All that a user sees of what came of the inputs, the order of the log aside."""
    facts = sorted(
        [(fact.id, repr(fact.value), sorted(fact.sources)) for fact in w.facts()], key=repr
    )
    failed = sorted(
        [(f.component, f.part, f.scope, str(f.error.text), f.handled) for f in w.failures()],
        key=repr,
    )
    return facts, failed, [w.results(input=n) for n in range(len(w.inputs()))]
