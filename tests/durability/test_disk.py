"""The disk fails: it is full, may only be read, or reports errors."""

import os
import random
import shutil
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path

import pytest

from tests.durability.disk import PLAYED
from tests.durability.places import quick_place
from tests.stores.sqlite.places import accepted, clocked, filled
from treadle.interfaces import Append

ROOT = Path(__file__).parents[2]
NOBODY = 65534
CALM = 3
"""So many connections are opened where nothing fails: to write, to read, and to keep others from writing."""


def disk(*given, before=(), module="tests.durability.disk"):
    """Run `disk.py`, or another such file; its lines."""
    done = subprocess.run(
        [*before, sys.executable, "-m", module, *map(str, given)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr[-4000:]
    return done.stdout.splitlines()


def can(*words):
    """Whether this machine lets us do that."""
    if shutil.which(words[0]) is None:
        return False
    return subprocess.run([*words, "true"], capture_output=True, check=False).returncode == 0


@pytest.mark.slow
def test_a_runner_on_a_full_disk_waits_for_room(tmp_path):
    """New inputs are refused with the reason; what was on its way is stored when there is room."""
    if not can("unshare", "-m"):
        pytest.skip("no private mounts here")
    told = disk("full", tmp_path, before=("unshare", "-m", "--propagation", "private"))
    if told == ["no mount"]:
        pytest.skip("nothing can be mounted here")

    assert told[0].startswith("refused nothing can be stored now, so the input was not taken")
    assert "make room on the disk" in told[0]
    assert told[1:] == ["waits True", "stored 200000", "goes on 200000"]


@pytest.mark.slow
@pytest.mark.parametrize("what", ["file", "folder"])
def test_what_may_only_be_read_is_read_and_not_written(what):
    """The error says so, and nothing is tried for ever."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made, "store")
        folder.mkdir()
        path = folder / "runs.db"
        with closing(clocked(path)) as store:
            filled(store, "a")
            Path(made).chmod(0o755)
            for each in folder.iterdir():
                each.chmod(0o444)
            folder.chmod(0o555 if what == "folder" else 0o777)
            (line,) = disk("read_only", path, NOBODY)
        folder.chmod(0o755)

    read, written = line.split("|")
    assert read == "3"
    assert written.startswith("ReadOnly: ")
    assert "must be" in written


@pytest.mark.slow
def test_out_of_files_nothing_is_written_by_halves():
    """What is open goes on; what has to be opened is refused until it can be."""
    with quick_place() as place:
        path = Path(place, "runs.db")
        told = disk("out_of_files", path)
        with closing(clocked(path)) as store:
            assert store.verify() == []

    assert told[0] == "[None]"
    assert told[1].startswith("refused ")
    assert told[-1] == "then 1 1"


FAULTS = [
    *[("fdatasync", "EIO", str(n)) for n in (1, 2, 5, 9)],
    *[("pwrite64", "EIO", str(n)) for n in (3, 20, 41, 60)],
    ("pwrite64", "ENOSPC", "30..35"),
    ("fdatasync", "EIO", "6+"),
    ("pwrite64", "EIO", "40+"),
    ("pwrite64", "ENOSPC", "40+"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("call", "error", "when"), FAULTS)
def test_an_error_of_the_disk_loses_nothing_that_counts(call, error, when, tmp_path):
    """A single one is got over; one that stays is reported. What is told to count is there, and nothing else."""
    trace = ("strace", "-f", "-qq", "-o", str(tmp_path / "trace"))
    if not can(*trace):
        pytest.skip("no strace here, or it may not look at processes")
    path = tmp_path / "runs.db"
    inject = ("-e", f"trace={call}", "-e", f"inject={call}:error={error}:when={when}")

    told = disk("appending", path, 15, before=(*trace, *inject))

    assert "(INJECTED)" in (tmp_path / "trace").read_text()
    counted = sum(line.startswith("counts") for line in told)
    with closing(clocked(path)) as store:
        assert store.verify() == []
        run = None if store.info("a") is None else store.load("a")
        found = 0 if run is None else run.info.position
        assert counted <= found <= counted + 1
        if run is not None:
            assert [event.value for event in run.events] == [*range(found)]
            more = [Append(run_id="a", expected=found, events=(accepted(found),))]
            assert store.append(more) == [None]
    if not when.endswith("+") and error == "EIO" and told[0] == "counts 1":
        assert counted == 15, told
    if when.endswith("+"):
        assert told[-1].startswith("refused "), told


@pytest.mark.slow
@pytest.mark.parametrize(
    ("call", "most", "step"),
    [("fdatasync", 60, 3), ("pwrite64", 260, 13), ("ftruncate", 16, 1), ("fsync", 7, 1)],
)
def test_whichever_call_the_disk_fails_in_all_is_stored(call, most, step, tmp_path):
    """Writes, syncs and cuts of the file, its log and its folder, also while the log is moved and begun anew.

    One of `step` is tried each time, and all of them with `TREADLE_EVERY_CALL=1` in the environment.
    """
    if os.environ.get("TREADLE_EVERY_CALL"):
        step = 1
    numbers = [*range(random.randint(1, step), most, step), most]
    trace = ("strace", "-f", "--seccomp-bpf", "-qq", "-o", str(tmp_path / "trace"))
    if not can(*trace):
        pytest.skip("no strace here, or it may not look at processes")
    inject = ("-e", f"trace={call}", "-e", f"inject={call}:error=EIO:when={most}")
    with quick_place() as place:
        told = disk("every", place, call, most, *numbers, before=(*trace, *inject))
        hit = (tmp_path / "trace").read_text().count("(INJECTED)")

        assert told == []
        anew = 0
        assert 1 <= hit < len(numbers), "there are more such calls than are tried"
        for number in numbers:
            *counted, opened = Path(place, f"{number}.told").read_text().split()
            assert counted == [str(position) for position in range(PLAYED)], number
            anew += int(opened) > CALM
            with closing(clocked(Path(place, f"{number}.db"))) as store:
                assert store.verify() == [], number
                assert [store.load_all(id).info.position for id in "ab"] == [PLAYED, PLAYED], number
    if call in {"fdatasync", "pwrite64"}:
        assert anew > hit / 2, "the connection that met the error was kept"
