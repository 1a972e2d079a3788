"""How a worker of a cluster decides what stays, and what comes of it on arrival."""

import pickle
import threading

import pytest
from msgspec import structs

from tests.executors.clusters import increment, large, link, raise_locked, size, work
from tests.executors.driving import shown
from treadle.executors.cluster import (
    Kept,
    Parcel,
    do_job,
    first_problem,
    outcomes_with_kept,
    pickled_size,
)
from treadle.executors.portable import dump_job
from treadle.model.bundles import Bundle
from treadle.model.remote import Remote, Slot


class Cellar:
    """A cluster that keeps things in a list."""

    def __init__(self):
        self.parcels = []

    def keep(self, parcel):
        """Put it on the list."""
        self.parcels.append(parcel)
        return Kept(key=len(self.parcels) - 1, where="the cellar", size=parcel.size)


class Jar:
    """What holds a value in the cellar."""

    def fetch(self):
        """Nobody does."""
        raise AssertionError


def refuse(_):
    """Keep nothing."""
    raise MemoryError("the cellar is full")


def outcomes_of(bundle, data):
    """The outcomes of a bundle, with what stands for results that stayed."""

    def remote_for(kept):
        return Remote(f"jar {kept.key}", Jar(), where=kept.where, size=kept.size)

    return outcomes_with_kept(bundle, data, remote_for)


def test_large_results_stay_and_small_ones_come_back():
    """Each result is judged alone; failures come back whatever they hold."""
    cellar = Cellar()
    bundle = Bundle(runnables=(work(large, "x"), work(increment, 1), work(raise_locked, "no")))

    outcomes = outcomes_of(bundle, do_job(dump_job(bundle), (), cellar.keep))

    assert [parcel.value for parcel in cellar.parcels] == [large("x")]
    assert isinstance(outcomes[0].value, Remote)
    assert outcomes[0].value.key == "jar 0"
    assert outcomes[0].value.size == cellar.parcels[0].size
    assert shown(outcomes[1:]) == [2, "Locked"]


@pytest.mark.parametrize(("most", "kept"), [(9, 1), (10_000_000, 0)])
def test_limit_decides(most, kept):
    """A result stays if it is larger than the limit."""
    cellar = Cellar()

    do_job(dump_job(Bundle(runnables=(work(large, "x"),))), (), cellar.keep, most)

    assert len(cellar.parcels) == kept


def test_result_that_cannot_be_kept_comes_back():
    """A cluster that is full costs nobody a result."""
    bundle = Bundle(runnables=(work(large, "x"),), links=(link(size),))

    outcomes = outcomes_of(bundle, do_job(dump_job(bundle), (), refuse))

    assert shown(outcomes) == [large("x"), len(large("x"))]


def test_parcels_are_opened_for_the_body():
    """What was kept is put where its slot is."""
    bundle = Bundle(runnables=(work(increment, Slot(1)), work(increment, Slot(0))))

    data = do_job(dump_job(bundle), (Parcel(1, 1), Parcel(2, 1)))

    assert shown(outcomes_of(bundle, data)) == [3, 2]


def test_job_that_cannot_be_loaded_fails():
    """Also where values were kept for it."""
    bundle = Bundle(runnables=(work(increment, Slot(0)),))

    assert shown(outcomes_of(bundle, do_job(b"rubbish", (Parcel(1, 1),)))) == ["UnpicklingError"]


def test_size_is_that_of_the_pickle():
    """Also of what lies in buffers; what cannot be pickled has none."""
    assert pickled_size(b"x" * 1000) == len(pickle.dumps(b"x" * 1000, 5))
    assert 1000 <= (pickled_size(pickle.PickleBuffer(bytearray(1000))) or 0) < 1100
    assert pickled_size([threading.Lock()]) is None


def test_parcel_travels_with_its_size():
    """A cluster that asks for its size is told that of the value."""
    parcel = pickle.loads(pickle.dumps(Parcel([1, 2], 70_000)))

    assert (parcel.value, parcel.size) == ([1, 2], 70_000)
    assert parcel.__sizeof__() == 70_000


def test_first_problem_is_found():
    """A bundle with work whose values are not there must not be run."""
    good, bad = work(increment, 1), work(increment, 2)
    problem = ValueError("no value")
    bad = structs.replace(bad, problem=problem)

    assert first_problem(Bundle(runnables=(good,))) is None
    assert first_problem(Bundle(runnables=(good, bad))) is problem
