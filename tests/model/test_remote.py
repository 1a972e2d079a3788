"""What stands for a kept value, and how work that takes one is taken apart and put together."""

import copy
import pickle

import pytest

from treadle.engine.jobs import job_of
from treadle.errors import NotPortable
from treadle.model.bundles import Bundle
from treadle.model.remote import Remote, Slot, put_back, take_out
from treadle.model.runnables import Runnable


class Shelf:
    """Holds a value in this process."""

    def __init__(self, value):
        self.value = value

    def fetch(self):
        """Give it."""
        return self.value


def remote(key, value=None):
    """What stands for a value on a shelf."""
    return Remote(key, Shelf(value), where="the shelf", size=3)


def work(*args):
    """A runnable that takes these."""
    return Runnable(component="join", node="join/step", scope=(0,), call=print, args=args)


def test_remote_is_equal_by_key():
    """Two that stand for one value are one value, also in sets and as keys."""
    assert remote("a", 1) == remote("a", 1)
    assert remote("a") != remote("b")
    assert remote("a") != "a"
    assert {remote("a"): 1}[remote("a")] == 1


def test_remote_shows_and_fetches():
    """It says what it stands for, and brings it."""
    assert repr(remote("a")) == "<Remote a: 3 bytes in the shelf>"
    assert remote("a", "value").fetch() == "value"


@pytest.mark.parametrize("carry", [pickle.dumps, copy.copy, copy.deepcopy])
def test_remote_does_not_travel(carry):
    """Wherever else it would arrive it would mean nothing; the error says what does."""
    with pytest.raises(NotPortable, match=r"Remote a.*fetch\(\)"):
        carry([remote("a")] if carry is copy.deepcopy else remote("a"))


def test_bundle_without_remotes_stays_as_it_is():
    """What needs nothing costs nothing."""
    bundle = Bundle(runnables=(work(1, [2]),))

    assert take_out(bundle) == (bundle, [])
    assert take_out(bundle)[0] is bundle


def test_each_remote_is_taken_out_once_and_put_back_everywhere():
    """Slots are numbered over the whole bundle; other values are not touched."""
    first, second = remote("a"), remote("b")
    bundle = Bundle(runnables=(work(first, 1), work(second, first, second)), keep=True)

    bare, remotes = take_out(bundle)
    job = put_back(job_of(bare), ("A", "B"))

    assert remotes == [first, second]
    assert [each.args for each in bare.runnables] == [(Slot(0), 1), (Slot(1), Slot(0), Slot(1))]
    assert bare.keep
    assert [args for _, args, _ in job.tasks] == [("A", 1), ("B", "A", "B")]
    assert bundle.runnables[0].args == (first, 1)
