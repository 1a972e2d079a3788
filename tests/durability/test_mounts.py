"""A runner on a disk that is full for a while, or that may only be read from one moment to the next."""

import pytest

from tests.durability.test_disk import can, disk

PRIVATE = ("unshare", "-m", "--propagation", "private")


def mounts(*given):
    """Run `mounts.py` where what it mounts is seen by nobody else; its lines."""
    if not can(*PRIVATE):
        pytest.skip("no private mounts here")
    told = disk(*given, before=PRIVATE, module="tests.durability.mounts")
    if "no mount" in told:
        pytest.skip("nothing can be mounted here")
    return told


@pytest.mark.slow
def test_large_values_wait_for_room_and_leave_nothing_behind(tmp_path):
    """The store refers to none before it is whole; no part of one stays; no other disk helps."""
    assert mounts("values", tmp_path) == [
        "waits True [] 2",
        "stored 200001",
        "read only True",
        "waits True 1",
        "read and written True",
        "goes on 200002",
        "sound True",
    ]


@pytest.mark.slow
def test_a_snapshot_that_found_no_room_is_saved_a_little_later(tmp_path):
    """The run goes on, nothing of the snapshot is there, and loading begins at the one that was saved then."""
    assert mounts("snapshots", tmp_path) == [
        "given True",
        "StoreFull StoreFull True",
        "apart True True",
        "the first that is kept True",
        "sound True True",
    ]


@pytest.mark.slow
def test_a_disk_that_may_only_be_read_for_a_while_is_waited_for(tmp_path):
    """It is told, tried less and less often, and read meanwhile; then all goes on in the same process."""
    assert mounts("locked", tmp_path) == [
        "patient True",
        "trouble ReadOnly",
        "waits True nothing can be stored now, so the input was not taken",
        "read running running",
        "back True",
        "stored 200001",
        "goes on 200002",
        "sound True",
    ]


@pytest.mark.slow
def test_a_file_system_that_the_system_made_read_only_loses_nothing(tmp_path):
    """It has to be unmounted and mended; what was accepted is done by the next runner."""
    assert mounts("failing", tmp_path) == [
        "patient True",
        "trouble ReadOnly",
        "waits True nothing can be stored now, so the input was not taken",
        "read running running",
        "closed 0",
        "mounted True",
        "stored 200001",
        "sound True",
    ]


@pytest.mark.slow
def test_a_file_system_that_is_mounted_as_a_networks_is_refused(tmp_path):
    """Before anything is made there."""
    (told,) = mounts("far", tmp_path)
    assert "lies on a network file system (fuse.sshfs)" in told
