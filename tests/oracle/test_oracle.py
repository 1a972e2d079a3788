"""The oracle checked on graphs worked by hand, and for confluence.

The expected facts were written down from the contract (`DESIGN.md`, the rule named in each
docstring), not taken from a run.
"""

import random
from typing import Any

import pytest

from tests.oracle.graph import Graph, Node
from tests.oracle.interpreter import Result, run
from tests.oracle.orders import Diverged, Follow, Order
from tests.oracle.shorthand import node, step


def in_every_order(*nodes: Node, inputs: list[Any]) -> Result:
    """Give the one result of these nodes: in some random orders, and with each node late in turn."""
    graph = Graph(nodes)
    result = run(graph, inputs)
    late = [Order((0,), each.name) for each in nodes] + [Order((99,), each.name) for each in nodes]
    for order in (*late, *(random.Random(seed) for seed in range(5))):
        assert run(graph, inputs, order) == result
    return result


def in_turn(*nodes: Node, inputs: list[Any]) -> Result:
    """The result when one input is done before the next is accepted."""
    return run(Graph(nodes), inputs, Order((0,)))


def test_values_flow_and_none_is_one():
    """S4: each input is a scope, None is a value, and equal inputs are two inputs."""
    result = in_every_order(
        step("a"), step("n", "a", give="none"), step("b", "n"), inputs=[None, 7, 7]
    )
    assert result.facts == {
        ("a", (0,)): ("a", None),
        ("a", (1,)): ("a", 7),
        ("a", (2,)): ("a", 7),
        **{("n", (i,)): None for i in range(3)},
        **{("b", (i,)): ("b", None) for i in range(3)},
    }
    assert (result.failures, result.starved, result.states) == (set(), set(), {})


def test_a_join_pairs_one_lineage():
    """S16: inputs in flight together never mix."""
    result = in_every_order(step("a"), step("b"), step("j", "b", "a", "INPUT"), inputs=[1, 2])
    joined = {scope: value for (name, scope), value in result.facts.items() if name == "j"}
    assert joined == {(0,): ("j", ("b", 1), ("a", 1), 1), (1,): ("j", ("b", 2), ("a", 2), 2)}


def test_a_failure_blocks_its_own_lineage():
    """S25, S20: what needs the value does not fire, the partial join is left over, others go on."""
    result = in_every_order(
        step("a", raises=((1,),)), step("b"), step("j", "a", "b"), inputs=[1, 2]
    )
    assert result.facts == {
        ("a", (1,)): ("a", 2),
        ("b", (0,)): ("b", 1),
        ("b", (1,)): ("b", 2),
        ("j", (1,)): ("j", ("a", 2), ("b", 2)),
    }
    assert {(name, scope) for name, scope, _ in result.failures} == {("a", (0,))}
    assert result.starved == {("j", (0,))}


def test_skip_gives_absent_and_cascades():
    """S25: ABSENT is passed to a join with other values; where all is ABSENT, nothing is called."""
    result = in_every_order(
        step("a", raises="always", on_failure="skip"),
        step("b"),
        step("j", "a", "b"),
        step("c", "a"),
        step("d", "c", "a"),
        node("condition", "if", "a"),
        step("e", "if"),
        step("f", "if", "b"),
        inputs=[1],
    )
    assert result.facts == {("b", (0,)): ("b", 1), ("j", (0,)): ("j", "ABSENT", ("b", 1))}
    assert [name for name, *_ in result.failures] == ["a"]
    assert result.starved == {("f", (0,))}


def test_a_step_may_return_absent():
    """Outcome "skip": a step that gives ABSENT has no fact and no failure."""
    result = in_every_order(step("a", skips=((1,),)), step("b", "a"), inputs=[1, 2])
    assert result.facts == {("a", (1,)): ("a", 2), ("b", (1,)): ("b", ("a", 2))}
    assert result.failures == set()


def test_one_parent_fills_several_ports():
    """S16: a list of n is unpacked; another value is a failure; no ports, no argument."""
    result = in_every_order(
        step("two", ports=2), step("none", ports=0), step("all", ports="*"), inputs=[[1, 2], 3]
    )
    assert result.facts == {
        ("two", (0,)): ("two", 1, 2),
        ("none", (0,)): ("none",),
        ("none", (1,)): ("none",),
        ("all", (0,)): ("all", [1, 2]),
        ("all", (1,)): ("all", 3),
    }
    assert result.failures == {("two", (1,), "engine")}


def test_rules_and_conditions():
    """S12, S13: a condition passes the same fact on; a false one gives nothing; a raising one fails."""
    result = in_every_order(
        node("condition", "if", holds=((1,),), check_raises=((3,),)),
        step("a", "if"),
        node("rule", "r", holds=((2,),)),
        step("j", "INPUT", "r"),
        step("told", "!if"),
        inputs=[1, 2, 3],
    )
    assert result.facts == {
        ("a", (0,)): ("a", 1),
        ("r", (1,)): ("r", 2),
        ("j", (1,)): ("j", 2, ("r", 2)),
        ("told", (2,)): ("told", ("FAILURE", "if", (2,), "Boom")),
    }
    assert result.failures == {("if", (2,), "Boom")}
    assert result.starved == {("j", (0,)), ("j", (2,))}


def test_map_and_collect():
    """S21: a scope for each element, one group, element order; a dict gives its keys; empty is []."""
    result = in_every_order(
        node("map", "m"), node("collect", "c", "m"), inputs=[[5, 5], [], {"x": 1}, "no", None]
    )
    assert result.facts == {
        ("m", (0, 0)): ("m", 5),
        ("m", (0, 1)): ("m", 5),
        ("c", (0,)): [("m", 5), ("m", 5)],
        ("c", (1,)): [],
        ("m", (2, 0)): ("m", "x"),
        ("c", (2,)): [("m", "x")],
    }
    assert result.failures == {("m", (3,), "engine"), ("m", (4,), "engine")}


def test_items_filtered_out():
    """S21: a reduce goes over what arrived; an empty group gives `initial`, or fails without one."""
    result = in_every_order(
        node("map", "m"),
        node("rule", "r", "m", holds=((("m", 1),), (("m", 3),))),
        node("reduce", "f", "r"),
        node("reduce", "g", "r", initial=0),
        inputs=[[1, 2, 3], [2], [1]],
    )
    facts = {key: value for key, value in result.facts.items() if key[0] in "fg"}
    one, three = ("r", ("m", 1)), ("r", ("m", 3))
    assert facts == {
        ("f", (0,)): ("f", one, three),
        ("g", (0,)): ("g", ("g", 0, one), three),
        ("g", (1,)): 0,
        ("f", (2,)): one,
        ("g", (2,)): ("g", 0, one),
    }
    assert result.failures == {("f", (1,), "engine")}


def test_outside_a_fan_out_the_elements_are_folded():
    """S21: outside any fan-out a reduce folds the single value's own elements; a string fails it."""
    result = in_every_order(node("reduce", "f", initial=0), inputs=[[1, 2], [], "ab", 3])
    assert result.facts == {("f", (0,)): ("f", ("f", 0, 1), 2), ("f", (1,)): 0}
    assert result.failures == {("f", (2,), "engine"), ("f", (3,), "engine")}


def test_maps_nest():
    """S21: a reduce closes the innermost fan-out, or the one `over=` names."""
    result = in_every_order(
        node("map", "m", give="list", size=2),
        node("map", "n", "m"),
        node("collect", "in", "n"),
        node("collect", "out", "n", over="m"),
        node("collect", "both", "in"),
        inputs=[[7, 8]],
    )
    n = {(i, k): ("n", ("m", k, 7 + i)) for i in (0, 1) for k in (0, 1)}
    assert {scope: value for (name, scope), value in result.facts.items() if name == "n"} == {
        (0, i, k): value for (i, k), value in n.items()
    }
    assert result.facts["in", (0, 0)] == [n[0, 0], n[0, 1]]
    assert result.facts["in", (0, 1)] == [n[1, 0], n[1, 1]]
    assert result.facts["out", (0,)] == [n[0, 0], n[0, 1], n[1, 0], n[1, 1]]
    assert result.facts["both", (0,)] == [[n[0, 0], n[0, 1]], [n[1, 0], n[1, 1]]]


def test_broadcast_into_a_fan_out():
    """S16: a parent outside is given to each item inside, as a port of the map or of a later join."""
    result = in_every_order(
        step("x"), node("map", "m", "INPUT", "x"), step("j", "x", "m"), inputs=[(4, 5)]
    )
    x = ("x", (4, 5))
    assert result.facts == {
        ("x", (0,)): x,
        ("m", (0, 0)): ("m", 4, x),
        ("m", (0, 1)): ("m", 5, x),
        ("j", (0, 0)): ("j", x, ("m", 4, x)),
        ("j", (0, 1)): ("j", x, ("m", 5, x)),
    }


def test_an_element_is_unpacked():
    """Choice (d): a map with one parent and a function of two ports unpacks each element."""
    result = in_every_order(node("map", "m", ports=2), inputs=[[(1, 2), 3]])
    assert result.facts == {("m", (0, 0)): ("m", 1, 2)}
    assert result.failures == {("m", (0, 1), "engine")}


@pytest.mark.parametrize("policy", ["fail", "skip", "collect"])
def test_failed_items(policy: str):
    """S21: a failed item fails the reduce, is left out, or is shown; a skipped one is passed over."""
    result = in_every_order(
        node("map", "m", raises=((2,),), skips=((1,),)),
        node("collect", "c", "m", on_item_failure=policy),
        step("told", "!c"),
        inputs=[[1, 2, 3]],
    )
    error = next(kind for name, _, kind in result.failures if name == "m")
    collected = {"skip": [("m", 3)], "collect": [("FAILURE", "m", (0, 1), error), ("m", 3)]}
    assert result.facts.get(("c", (0,))) == collected.get(policy)
    failed = {("m", (0, 1), error)} | ({("c", (0,), "engine")} if policy == "fail" else set())
    assert result.failures == failed
    told = {"fail": ("told", ("FAILURE", "c", (0,), "engine"))}
    assert result.facts.get(("told", (0,))) == told.get(policy)


@pytest.mark.parametrize("policy", ["fail", "skip", "collect"])
def test_a_failure_in_a_nested_fan_out_counts_in_the_item(policy: str):
    """S21: an element failed if something failed inside it and nothing of it arrived."""
    result = in_every_order(
        node("map", "m", give="list", size=2),
        node("map", "n", "m", raises=((("m", 0, 1),), (("m", 1, 1),), (("m", 0, 2),))),
        node("collect", "c", "n", over="m", on_item_failure=policy),
        inputs=[[1, 2]],
    )
    errors = {scope: kind for name, scope, kind in result.failures if name == "n"}
    assert errors.keys() == {(0, 0, 0), (0, 0, 1), (0, 1, 0)}
    rest = [("n", ("m", 1, 2))]
    first = ("FAILURE", "n", (0, 0, 0), errors[0, 0, 0])
    collected = {"skip": rest, "collect": [first, *rest]}
    assert result.facts.get(("c", (0,))) == collected.get(policy)
    assert (("c", (0,), "engine") in result.failures) == (policy == "fail")


def test_nothing_could_arrive():
    """S21: a failure in an enclosing scope fails the reduce under every policy; not an empty one."""
    result = in_every_order(
        step("x", raises="always"),
        node("map", "m"),
        step("j", "m", "x"),
        node("collect", "c", "j", on_item_failure="skip"),
        inputs=[[1], []],
    )
    assert result.facts == {("m", (0, 0)): ("m", 1), ("c", (1,)): []}
    assert {(name, scope) for name, scope, _ in result.failures} == {
        ("x", (0,)),
        ("x", (1,)),
        ("c", (0,)),
    }
    assert result.starved == {("j", (0, 0))}


def test_a_handled_failure_before_the_fan_out_did_no_harm():
    """S21: the fan-out fired, so the failure behind it is not why nothing arrived."""
    result = in_every_order(
        step("x", raises="always"),
        step("h", "!x", give="list", size=1),
        node("map", "m", "h"),
        node("rule", "r", "m", holds="never"),
        node("collect", "c", "r"),
        inputs=[1],
    )
    assert result.facts["c", (0,)] == []


def test_scopes_of_sibling_fan_outs_are_not_one():
    """Reading 25: item 0 of one fan-out failed, which says nothing of item 0 of another."""
    result = in_every_order(
        node("map", "a", raises=((1,),)),
        node("collect", "all", "a", on_item_failure="skip"),
        node("map", "b"),
        node("rule", "r", "b", "all", holds="never"),
        node("collect", "c", "r"),
        inputs=[[1, 2]],
    )
    assert result.facts["all", (0,)] == [("a", 2)]
    assert result.facts["c", (0,)] == []


def test_settled_join():
    """S17, S19: what is missing is ABSENT; it waits for all that is live above; unarmed, it is silent."""
    result = in_every_order(
        step("a", raises="always"),
        node("rule", "r", holds="never"),
        step("b"),
        step("late", "b"),
        step("s", "a", "late", "r", join="settled"),
        step("none", "a", join="settled"),
        step("not armed", "r", join="settled"),
        step("after", "none", "b"),
        inputs=[1],
    )
    b, late = ("b", 1), ("late", ("b", 1))
    assert result.facts == {
        ("b", (0,)): b,
        ("late", (0,)): late,
        ("s", (0,)): ("s", "ABSENT", late, "ABSENT"),
        ("after", (0,)): ("after", "ABSENT", b),
    }
    assert result.starved == set()


def test_a_settled_join_inside_items():
    """S19: a broadcast parent ran in every item, also where the item's own parent gave nothing."""
    result = in_every_order(
        node("map", "m"),
        node("rule", "r", "m", holds=((("m", 1),),)),
        step("x"),
        step("s", "r", "x", join="settled"),
        node("collect", "c", "s"),
        inputs=[[1, 2]],
    )
    x = ("x", [1, 2])
    assert result.facts["c", (0,)] == [("s", ("r", ("m", 1)), x), ("s", "ABSENT", x)]


def test_barriers_wait_for_barriers():
    """S19: an armed barrier upstream is live work; the inner one fires first."""
    result = in_every_order(
        step("a"),
        step("fails", "a", raises="always"),
        step("s1", "a", "fails", join="settled"),
        step("s2", "fails", "s1", join="settled"),
        inputs=[1],
    )
    s1 = ("s1", ("a", 1), "ABSENT")
    assert result.facts["s2", (0,)] == ("s2", "ABSENT", s1)


def test_error_ports():
    """S24: a handler gets the failure in the same scope; a failed expansion is only in `failures()`."""
    result = in_every_order(
        node("map", "m", raises=((2,),)),
        step("h", "!m"),
        step("s", "m", "h", join="settled"),
        node("collect", "c", "s"),
        inputs=[[1, 2], None],
    )
    error = next(kind for _, scope, kind in result.failures if scope == (0, 1))
    handled = ("h", ("FAILURE", "m", (0, 1), error))
    assert result.facts == {
        ("m", (0, 0)): ("m", 1),
        ("h", (0, 1)): handled,
        ("s", (0, 0)): ("s", ("m", 1), "ABSENT"),
        ("s", (0, 1)): ("s", "ABSENT", handled),
        ("c", (0,)): [("s", ("m", 1), "ABSENT"), ("s", "ABSENT", handled)],
    }
    assert result.failures == {("m", (0, 1), error), ("m", (1,), "engine")}


def test_skip_still_feeds_the_error_port():
    """S24: the handler runs, and the value port gives ABSENT."""
    result = in_every_order(
        step("a", raises="always", on_failure="skip"),
        step("h", "!a"),
        step("j", "a", "h"),
        inputs=[1],
    )
    error = next(iter(result.failures))[2]
    handled = ("h", ("FAILURE", "a", (0,), error))
    assert result.facts == {("h", (0,)): handled, ("j", (0,)): ("j", "ABSENT", handled)}


def test_any_and_k():
    """S17: any takes the first arrival; ABSENT is none; k fills the ports of the first k."""
    nodes = (
        step("a", skips=((1,), (3,))),
        step("b", skips=((1,),)),
        step("c", raises=((1,), (3,))),
    )
    joins = (step("one", "a", "b", "c", join="any"), step("two", "a", "b", "c", join=2))
    after = step("after", "one", "two", "INPUT")
    result = in_turn(*nodes, *joins, after, inputs=[1, 3])
    facts = {key: value for key, value in result.facts.items() if key[0] in ("one", "two", "after")}
    one = ("one", ("b", 3))
    assert facts == {
        ("after", (0,)): ("after", "ABSENT", "ABSENT", 1),
        ("one", (1,)): one,
        ("after", (1,)): ("after", one, "ABSENT", 3),
    }
    assert result.starved == set()


def test_a_k_join_short_of_arrivals_is_left_over():
    """S17, S20: with no ABSENT there is no barrier, and what came is dropped and listed."""
    result = in_every_order(
        step("a"), step("b", raises="always"), step("two", "a", "b", join=2), inputs=[1]
    )
    assert result.facts == {("a", (0,)): ("a", 1)}
    assert result.starved == {("two", (0,))}


def traced(*nodes: Node, inputs: list[Any], trace: list[tuple[Any, ...]]) -> Result:
    """The result in one exact order, each step finished as soon as it is started."""
    actions: list[tuple[Any, ...]] = []
    for action in trace:
        does = action[0] != "accept"
        actions += [("start", *action), ("finish", *action)] if does else [action]
    return run(Graph(nodes), inputs, Follow(tuple(actions)))


def test_a_k_join_has_the_first_k():
    """S17: the ports of later arrivals are ABSENT, also if they came before it was called."""
    branches = [step(name) for name in "abc"]
    came = [("c", (0,)), ("a", (0,)), ("b", (0,))]
    for k, ports in ((1, ("ABSENT", "ABSENT", "c")), (2, ("a", "ABSENT", "c")), (3, tuple("abc"))):
        result = traced(
            *branches,
            step("k", "a", "b", "c", join=k),
            inputs=[1],
            trace=[("accept", 0), *came, ("k", (0,))],
        )
        expected = tuple(port if port == "ABSENT" else (port, 1) for port in ports)
        assert result.facts["k", (0,)] == ("k", *expected)


def test_a_barrier_waits_for_nothing_else():
    """S19: neither another input, nor a sibling item, nor a side branch delays a settled join."""
    traced(
        node("map", "m"),
        step("side", "m"),
        step("s", "m", "INPUT", join="settled"),
        inputs=[[1, 2], []],
        trace=[
            *[("accept", 0), ("accept", 1)],
            *[("m", (0,)), ("m", (0, 0)), ("s", (0, 0))],
            *[("m", (0, 1)), ("m", (1,)), ("side", (0, 0)), ("s", (0, 1)), ("side", (0, 1))],
        ],
    )


def test_a_barrier_waits_for_what_is_live_around_it():
    """S19: a broadcast parent that is still to come keeps the settled join of an item waiting."""
    begun = [("accept", 0), ("m", (0,)), ("m", (0, 0))]
    nodes = (node("map", "m"), step("x"), step("s", "m", "x", join="settled"))
    with pytest.raises(Diverged):
        traced(*nodes, inputs=[[1]], trace=[*begun, ("s", (0, 0)), ("x", (0,))])
    result = traced(*nodes, inputs=[[1]], trace=[*begun, ("x", (0,)), ("s", (0, 0))])
    assert result.facts["s", (0, 0)] == ("s", ("m", 1), ("x", [1]))


def test_latest():
    """S18: once per fact of the first parent with the newest of the other, under what came last."""
    result = traced(
        step("a"),
        step("b"),
        step("j", "a", "b", correlate="latest"),
        step("k", "j", "a"),
        inputs=[1, 2, 3],
        trace=[
            *[("accept", i) for i in range(3)],
            *[("a", (0,)), ("a", (1,)), ("b", (1,)), ("b", (0,)), ("a", (2,)), ("b", (2,))],
            *[("j", (1, 0)), ("j", (1, 1)), ("j", (2, 0))],
            *[("k", (1, 0)), ("k", (1, 1)), ("k", (2, 0))],
        ],
    )
    joined = {scope: value for (name, scope), value in result.facts.items() if name == "j"}
    assert joined == {
        (1, 0): ("j", ("a", 1), ("b", 2)),  # both waited for the first fact of b
        (1, 1): ("j", ("a", 2), ("b", 2)),
        (2, 0): ("j", ("a", 3), ("b", 1)),  # b of input 0 is the newest in the log
    }
    assert result.facts["k", (1, 0)] == (
        "k",
        joined[1, 0],
        ("a", 2),
    )  # broadcast from its own scope


def test_arrival():
    """S18: the k-th with the k-th, whatever inputs they are of; what waits keeps nothing open."""
    result = traced(
        step("a"),
        node("rule", "r", holds=((2,), (3,))),
        step("j", "a", "r", correlate="arrival"),
        inputs=[1, 2, 3],
        trace=[
            *[("accept", i) for i in range(3)],
            *[("r", (2,)), ("a", (0,)), ("r", (1,)), ("a", (2,)), ("a", (1,))],
            *[("j", (0, 0)), ("j", (2, 0))],
        ],
    )
    joined = {scope: value for (name, scope), value in result.facts.items() if name == "j"}
    assert joined == {
        (0, 0): ("j", ("a", 1), ("r", 3)),
        (2, 0): ("j", ("a", 3), ("r", 2)),
    }
    assert result.starved == set()


def test_accumulator():
    """S22: every value is folded, first come first served; the fact is in the scope of the value."""
    nodes = (node("map", "m"), node("accumulator", "s", "m", initial=0, raises=((0, ("m", 1)),)))
    for seed in range(8):
        result = run(Graph(nodes), [[1, 2], [3]], random.Random(seed))
        folded = [value for (name, _), value in result.facts.items() if name == "s"]
        tries = len(folded) + sum(name == "s" for name, *_ in result.failures)
        assert tries == 3
        assert result.states["s"][None] == max(folded, key=lambda value: len(repr(value)))
    result = in_turn(*nodes, inputs=[[1, 2], [3]])
    two = ("s", 0, ("m", 2))
    assert result.facts["s", (0, 1)] == two
    assert result.states == {"s": {None: ("s", two, ("m", 3))}}


def test_accumulator_takes_one_at_a_time():
    """S22: the second fold starts from what the first gave, though both values were there before."""
    nodes = (node("accumulator", "s", initial=0),)
    begun = (("accept", 0), ("accept", 1), ("start", "s", (0,)))
    with pytest.raises(Diverged):
        run(Graph(nodes), [1, 2], Follow((*begun, ("start", "s", (1,)))))
    then = (("finish", "s", (0,)), ("start", "s", (1,)), ("finish", "s", (1,)))
    assert run(Graph(nodes), [1, 2], Follow((*begun, *then))).states == {
        "s": {None: ("s", ("s", 0, 1), 2)}
    }


def test_halt():
    """S25: ready work of that input is withdrawn and no barrier fires; other inputs go on."""
    nodes = (
        step("a", raises=((1,),), on_failure="halt"),
        step("h", "!a"),
        step("b"),
        step("s", "a", "b", join="settled"),
    )
    result = in_turn(*nodes, inputs=[1, 2])
    assert result.facts == {
        ("a", (1,)): ("a", 2),
        ("b", (1,)): ("b", 2),
        ("s", (1,)): ("s", ("a", 2), ("b", 2)),
    }
    flying = (("accept", 0), ("start", "a", (0,)), ("start", "b", (0,)), ("finish", "a", (0,)))
    kept = run(Graph(nodes), [1], Follow((*flying, ("finish", "b", (0,)))))
    assert kept.facts == {("b", (0,)): ("b", 1)}


def test_follow_says_where_another_run_went_astray():
    """A trace with something impossible, or without something that must be done, diverges."""
    graph, done = Graph((step("a"),)), (("accept", 0), ("start", "a", (0,)), ("finish", "a", (0,)))
    assert run(graph, [1], Follow(done)) == run(graph, [1])
    for wrong in (done[:2], (*done, ("start", "a", (0,))), done[1:]):
        with pytest.raises(Diverged):
            run(graph, [1], Follow(wrong))
