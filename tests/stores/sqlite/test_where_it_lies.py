"""Where a SQLite store may lie, and under which names."""

from contextlib import closing

import pytest

import treadle as td
from tests.stores.sqlite.places import clocked, filled
from treadle.errors import StoreTaken, UsageError
from treadle.stores.sqlite import file

MOUNTS = """\
server:/homes {place} nfs4 rw,vers=4.2 0 0
/dev/sdb1 {place}/local\\040disk xfs rw 0 0
tmpfs {place}s tmpfs rw 0 0
/dev/sda1 / ext4 rw,relatime 0 0
"""


@pytest.fixture
def mounts(tmp_path, monkeypatch):
    """A machine on which a folder comes from a network; within it, a disk is mounted."""
    place, table = tmp_path / "home", tmp_path / "mounts"
    for each in (place, place / "local disk", tmp_path / "homes"):
        each.mkdir()
    table.write_text(MOUNTS.format(place=place.resolve()))
    asked = file.file_system_of
    monkeypatch.setattr(file, "file_system_of", lambda folder: asked(folder, str(table)))
    return place


def test_a_network_file_system_is_refused(mounts, tmp_path):
    """At once, also by a link to a file there; with its name, and what to take instead; nothing is made there."""
    (tmp_path / "link.db").symlink_to(mounts / "runs.db")
    for path in (mounts / "runs.db", tmp_path / "link.db"):
        with pytest.raises(
            UsageError, match=r"network file system \(nfs4\).* local disk"
        ) as refused:
            clocked(path)
        assert "postgresql://" in str(refused.value)
    assert sorted(each.name for each in mounts.iterdir()) == ["local disk"]


@pytest.mark.parametrize(
    ("name", "said"), [("", "is a folder"), ("gone/runs.db", r"the folder .*gone is not there")]
)
def test_a_place_that_is_none_is_refused_before_a_runner_begins(tmp_path, caplog, name, said):
    """By whoever opens it, and not by a thread that can only log it."""
    with pytest.raises(UsageError, match=said):
        td.Runner(store=tmp_path / name)
    assert caplog.records == []
    assert list(tmp_path.iterdir()) == []


def test_a_disk_below_or_beside_one_is_taken(mounts, tmp_path):
    """The mount that is nearest says what it is."""
    for folder in (mounts / "local disk", tmp_path / "homes", tmp_path):
        with closing(clocked(folder / "runs.db")) as store:
            filled(store, "a")
            assert store.verify() == []


def test_where_nobody_tells_nothing_is_refused(tmp_path):
    """As where there is no such list of mounts."""
    assert file.file_system_of(tmp_path, str(tmp_path / "none")) is None


def test_one_process_runs_the_file_under_whatever_name(tmp_path):
    """Its lock is that of the file, not of the name it was opened by."""
    (tmp_path / "link.db").symlink_to(tmp_path / "runs.db")
    with (
        closing(clocked(tmp_path / "link.db")) as one,
        closing(clocked(tmp_path / "runs.db")) as other,
    ):
        filled(one, "a")
        assert [info.id for info in other.list()] == ["a"]
        with pytest.raises(StoreTaken):
            other.claim("x", 10.0, run_id="a")
