"""Chains: what follows in sequence goes along."""

import pytest

import treadle as td
from tests.schedulers.ready import Ready, awaited, fan, same, steps
from treadle.errors import UsageError
from treadle.policies.policy import Policy
from treadle.schedulers import ChainScheduler
from treadle.testing.schedulers import check_scheduler


def test_it_keeps_its_promises():
    """The kit finds nothing, and sees chains."""
    report = check_scheduler(ChainScheduler)

    assert report.chains > 100
    assert report.batches == 0


def test_what_follows_a_runnable_is_bundled_with_it():
    """A line becomes one bundle for each input, and says why."""
    ready = Ready(steps("a", "b", "c"), 1, 2)

    assert ready.ids(ChainScheduler()) == [["a@0", "b", "c"], ["a@1", "b", "c"]]
    assert ready.plan(ChainScheduler())[0].kind == "chain"
    assert ready.plan(ChainScheduler())[0].reason == "a chain of 3: 'a', then 'b', 'c'"


def test_many_facts_of_one_node_have_a_chain_each():
    """No runnable is lost because another one of its node has a chain already."""
    workflow = steps("tidy", "rate", above="score", start=fan())
    ready = Ready(workflow, ["x", "y"], ["z"], generations=1)

    assert ready.ids(ChainScheduler()) == [
        ["score@0.0", "tidy", "rate"],
        ["score@0.1", "tidy", "rate"],
        ["score@1.0", "tidy", "rate"],
    ]


def test_a_chain_that_is_too_short_is_none():
    """`min_length` counts the head; the reason says what was there."""
    ready = Ready(steps("a", "b"), 1)
    alone = Ready(steps("a"), 1)

    assert ready.ids(ChainScheduler(min_length=3)) == [["a@0"]]
    assert ready.plan(ChainScheduler(min_length=3))[0].reason == "alone: 1 plain step follows 'a'"
    assert alone.plan(ChainScheduler())[0].reason == "alone: no plain step follows 'a'"


def test_a_policy_ends_a_chain_before_and_behind():
    """What has a timeout is neither a head nor a link, and what goes elsewhere is no link."""
    workflow = steps("a", "b", "c")
    head = Ready(workflow, 1, policies={"a": Policy(timeout_s=1)})
    link = Ready(workflow, 1, policies={"c": Policy(timeout_s=1)})
    elsewhere = Ready(workflow, 1, policies={"b": Policy(executor="processes")})

    assert head.ids(ChainScheduler()) == [["a@0"]]
    assert head.plan(ChainScheduler())[0].reason == "alone: the policy of 'a' keeps it apart"
    assert link.ids(ChainScheduler()) == [["a@0", "b"]]
    assert elsewhere.ids(ChainScheduler()) == [["a@0"]]


def test_async_steps_form_chains_of_their_own():
    """Awaiting one after the other is what a chain needs; plain steps go to another executor."""
    workflow = td.workflow("waiting").add(td.step(awaited, name="a"))
    workflow = workflow.add(td.step(awaited, name="b"), to="a").add(td.step(same, name="c"), to="b")

    assert Ready(workflow, 1).ids(ChainScheduler()) == [["a@0", "b"]]


@pytest.mark.parametrize("length", [1, 0, -2, 2.5, "2", None, True])
def test_a_length_that_cannot_be_is_refused(length):
    """The message says what a chain is."""
    with pytest.raises(UsageError, match=r"min_length=.* is not a whole number of at least 2"):
        ChainScheduler(length)
