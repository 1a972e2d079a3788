"""What a scheduler may ask, and which plans are carried out."""

import copy
from typing import Any

import pytest
from msgspec import structs

import treadle as td
from tests.runner.machines import line_of, same, side_by_side, wishes
from treadle.interfaces import View
from treadle.model.bundles import Bundle
from treadle.policies.policy import Policy
from treadle.runner.bundling import RunView, explained, explained_delay, misplaced
from treadle.runner.wishes import INLINE, Wishes


class Asker:
    """Who a view asks: a run whose inputs may have wishes of their own."""

    def __init__(self, of_run: Wishes, own: dict[int, Wishes] | None = None) -> None:
        self.wishes = of_run
        self.own_wishes = own or {}

    def wishes_of(self, runnable: Any) -> Wishes:
        """What is wished of a runnable."""
        return self.own_wishes.get(runnable.input, self.wishes)


def ready_of(workflow: td.Workflow, *inputs: Any) -> list[td.Runnable]:
    """What is ready after some inputs."""
    for value in inputs:
        workflow = workflow.plan_eagerly(value)
    return workflow.prepare_for_dispatch()[1]


THREE = line_of("a", "b", "c")


def view_of(workflow: td.Workflow, policies: Any = None, own: Any = None) -> RunView:
    """A view on a run of a workflow; `own` are the policies of its input 0."""
    of_input = {} if own is None else {0: wishes(workflow, own)}
    return RunView(Asker(wishes(workflow, policies), of_input))


def test_a_view_answers_for_the_run():
    """Chains, slots, policies, executors and their room."""
    (first,) = ready_of(THREE, 1)
    policy = Policy(executor="cluster", max_concurrency=2)
    view = view_of(THREE, {"a": policy})

    assert isinstance(view, RunView)
    answering: View = view
    assert answering.chain_after(first) == ()
    assert not answering.may_bundle(first)
    assert answering.policy_of(first) == policy
    assert answering.executor_of(first) == "cluster"
    assert answering.capacity_of("cluster") == 8


def test_a_view_answers_for_an_input_of_its_own_wishes():
    """Its policies count for its work; and chains are not told, since they are the same for all inputs."""
    one, two = ready_of(THREE, 1, 2)
    assert [link.node for link in view_of(THREE).chain_after(one)] == ["b", "c"]
    view = view_of(THREE, own={"a": Policy(timeout_s=1.0, executor="cluster")})

    assert (view.may_bundle(one), view.may_bundle(two)) == (False, True)
    assert (view.executor_of(one), view.executor_of(two)) == ("cluster", "threads")
    assert (view.chain_after(one), view.chain_after(two)) == ((), ())


def test_nothing_is_bundled_behind_a_later_attempt():
    """It may go another way: a fallback, or another failure."""
    workflow = THREE.plan_eagerly(1)
    workflow, (first,) = workflow.prepare_for_dispatch()
    workflow = workflow.apply_runnable(td.failed_outcome(first, OSError()), retry=True)
    _, (second,) = workflow.prepare_for_dispatch()

    assert view_of(THREE).chain_after(second) == ()


def test_work_with_a_problem_is_bundled_with_nothing():
    """It fails alone, where it is."""
    needy = td.workflow("needy").add(td.step(lambda v, name=td.context("name"): name, name="a"))
    (first,) = ready_of(needy, 1)

    assert not view_of(needy).may_bundle(first)


def bundle(*runnables: Any, links: Any = ()) -> Bundle:
    """A bundle of these."""
    return Bundle(runnables=runnables, links=tuple(links))


A, B = ready_of(THREE, 1, 2)
LINKS = view_of(THREE).chain_after(A)


@pytest.mark.parametrize(
    "bundles",
    [
        [bundle(A), bundle(B)],
        [bundle(B), bundle(A)],
        [bundle(A, B)],
        [bundle(A, links=LINKS), bundle(B, links=LINKS[:1])],
    ],
)
def test_plans_that_are_carried_out(bundles: Any):
    """Each runnable is in one bundle; a chain is as long as the graph says, or shorter."""
    assert misplaced([A, B], bundles, view_of(THREE)) is None


@pytest.mark.parametrize(
    ("bundles", "fault"),
    [
        ([bundle(A)], "left out a@1"),
        ([bundle(A), bundle(B), bundle(A)], "dispatched a@0 twice"),
        ([bundle(A, A), bundle(B)], "dispatched a@0 twice"),
        ([bundle(A), bundle(B), bundle()], "made a bundle of no work, or a chain of several"),
        ([bundle(A, B, links=LINKS)], "made a bundle of no work, or a chain of several"),
        ([bundle(A, links=LINKS[1:]), bundle(B)], "chained what does not follow a@0"),
        ([bundle(A, links=[*LINKS, LINKS[0]]), bundle(B)], "chained what does not follow a@0"),
    ],
)
def test_plans_that_are_not(bundles: Any, fault: str):
    """The fault is named."""
    assert misplaced([A, B], bundles, view_of(THREE)) == fault


def test_work_of_another_run_is_not_dispatched():
    """A scheduler may not keep what it was given."""
    assert misplaced([A], [bundle(A), bundle(B)], view_of(THREE)) == (
        "dispatched a@1, which it was not given"
    )


def test_what_must_not_share_a_slot_is_not_bundled():
    """Alone it may go."""
    view = view_of(THREE, {"a": Policy(timeout_s=1.0)})

    assert misplaced([A, B], [bundle(A), bundle(B)], view) is None
    assert misplaced([A, B], [bundle(A, B)], view) == (
        "bundled a@0 and others, which may not share a slot"
    )


def test_an_explanation_says_where_work_goes_and_why():
    """In the scheduler's words, or why there are none."""
    w = wishes(THREE, {"a": Policy(executor="cluster", priority="high")})
    chained = Bundle(runnables=(A,), links=LINKS, reason="a chain of 3")

    assert explained(chained, w, []) == {
        "kind": "chain",
        "work": ["a@0"],
        "then": ["b", "c"],
        "executor": "cluster",
        "priority": 10,
        "reason": "a chain of 3",
    }
    moved = Bundle(runnables=(A,), executor=INLINE)
    assert explained(moved, w, [])["executor"] == INLINE
    assert explained(moved, w, ["it failed"])["reason"] == "it failed"
    assert explained(bundle(A), w, [])["reason"] == "ready, and dispatched alone"


def test_an_explanation_says_what_is_not_dispatched_at_all():
    """What is done in line, and what waits for its next attempt."""
    from tests.runner.machines import places

    in_line = wishes(line_of("a", function=same), at=places(INLINE))

    assert explained(bundle(A), in_line, [])["reason"].endswith("in line, without a dispatch")
    assert explained_delay(A, 12.5)["reason"] == "waits until 12.500 for attempt 1"


def test_copies_of_what_was_given_will_do():
    """A plug may have made its runnables anew: which piece of work they are is what counts."""
    ready = ready_of(side_by_side("a", "b", "c"), 1)
    copies = [copy.copy(each) for each in ready]
    view = view_of(side_by_side("a", "b", "c"))

    assert misplaced(ready, [Bundle(runnables=tuple(copies))], view) is None
    assert misplaced(ready, [Bundle(runnables=tuple(copies[:2]))], view) == "left out c@0"
    twice = Bundle(runnables=(*copies[:2], copies[0]))
    assert misplaced(ready, [twice], view) == "dispatched a@0 twice"


@pytest.mark.parametrize("own", [None, {}])
def test_what_could_not_be_prepared_shares_no_slot(own: Any):
    """A bundle is refused for one member whose preparation failed, under the run's policies and an input's own."""
    ready = ready_of(side_by_side("a", "b"), 1)
    ready[1] = structs.replace(ready[1], problem=ValueError("no key"))
    view = view_of(side_by_side("a", "b"), own=own)

    fault = misplaced(ready, [Bundle(runnables=tuple(ready))], view)

    assert fault == "bundled a@0 and others, which may not share a slot"
    assert misplaced(ready, [Bundle(runnables=(each,)) for each in ready], view) is None
