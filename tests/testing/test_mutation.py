"""`check_mutation` finds who changed a value."""

import pickle

import pytest

import treadle as td
from treadle.testing import MutatedValue, check_mutation


def test_the_culprit_is_named():
    """S1: a step that changes its input in place is found, with its port."""
    careless = td.step(lambda a, b: b.sort(), name="careless")
    workflow = td.workflow("w").add(td.step(lambda _: [1], name="one"))
    workflow = workflow.add(td.step(lambda _: [3, 2], name="two"))
    workflow = workflow.add(careless, to=["one", "two"])

    with pytest.raises(MutatedValue, match="'careless' changed the value of its port 1") as caught:
        workflow.react_until_satisfied(0, executor=check_mutation())

    assert (caught.value.component, caught.value.port) == ("careless", 1)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_a_careful_workflow_runs_as_ever():
    """What changes nothing gives what it gives without the check."""
    workflow = td.workflow("w").add(td.step(sorted, name="sort"))

    done = workflow.react_until_satisfied([3, 1, 2], executor=check_mutation())

    assert done.results() == {"sort": [1, 2, 3]}
