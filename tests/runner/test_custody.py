"""Which runs are a runner's: what the keeper tells late counts no more."""

from pathlib import Path
from typing import Any

from treadle.codec import Codec
from treadle.interfaces import Append, RunInfo
from treadle.runner.custody import LEFT_MAX, Custody
from treadle.stores.sqlite import SqliteStore


def custody_of(path: Path) -> tuple[Custody, Any]:
    """Custody of the runs of a new file, with one running run that nobody has."""
    store: Any = SqliteStore(path, Codec())
    store.create(RunInfo(id="a", workflow="w", run_key="k"))
    store.append([Append(run_id="a", expected=0, status="running")])
    keeps: Any = None
    made = Custody(
        store, keeps, names=list, room=lambda: 9, now=lambda: 0.0, lease_s=60.0, poll_s=60.0
    )
    return made, store


def test_a_run_that_was_taken_and_left_meanwhile_is_not_begun(tmp_path: Path) -> None:
    """The keeper took it, and before it could say so the run was asked for by its id, stopped and let go of."""
    custody, store = custody_of(tmp_path / "runs.db")
    (found,) = store.claim(custody.owner, 60.0, workflows=["w"])
    taken = custody.take("a")
    assert taken is not None
    custody.leave("a")
    assert not custody.note(found)
    (again,) = store.claim(custody.owner, 60.0, run_id="a")
    assert custody.note(again)
    store.close()


def test_not_all_that_was_left_is_remembered(tmp_path: Path) -> None:
    """Only the latest, however many runs come and go."""
    custody, store = custody_of(tmp_path / "runs.db")
    for number in range(LEFT_MAX + 10):
        assert custody.note(RunInfo(id=f"{number}", workflow="w", run_key="k", epoch=1))
        custody.leave(f"{number}")
    old = RunInfo(id="0", workflow="w", run_key="k", epoch=1)
    new = RunInfo(id=f"{LEFT_MAX}", workflow="w", run_key="k", epoch=1)
    assert custody.note(old)
    assert not custody.note(new)
    store.close()
