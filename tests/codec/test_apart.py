"""Large values outside of the store: written first, found again, verified, and swept away when nobody needs them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import treadle as td
from treadle.codec import Apart, Codec
from treadle.errors import Corrupt, StoreUnavailable
from treadle.stores.portable import export_run, import_run
from treadle.wiring import make_store

PATIENCE_S = 30


def grow(size: int) -> str:
    """A value as large as asked."""
    return "x" * size


def filled(place: Path, codec: Any, *sizes: int) -> Any:
    """A store with a run that has given values of these sizes."""
    store: Any = make_store(f"sqlite:///{place / 'runs.db'}", codec)
    workflow = td.workflow("growing", steps=[grow])
    runner = td.Runner(store=store, workflows=[workflow])
    runner.start(workflow, "a", if_exists="resume")
    for size in sizes:
        assert runner.run("a", size).result(PATIENCE_S) == {"grow": "x" * size}
    runner.close()
    return make_store(f"sqlite:///{place / 'runs.db'}", codec)


def values(store: Any) -> list[int]:
    """How large the values are that come back."""
    events = store.load_all("a").events
    return [len(event.value) for event in events if isinstance(getattr(event, "value", None), str)]


def apart(where: Any) -> Apart:
    """A codec that keeps what has more than 10 KB elsewhere."""
    return Apart(Codec(compress_over=None), where, over=10_000)


def test_large_values_lie_in_the_folder(tmp_path: Path):
    """Once for each value; what is small stays in the store."""
    codec = apart(tmp_path / "values")
    store = filled(tmp_path, codec, 5, 5_000, 50_000, 50_000, 60_000)
    assert values(store) == [5, 5_000, 50_000, 50_000, 60_000]
    assert len(list(codec.place.names())) == 2
    assert (tmp_path / "runs.db").stat().st_size < 150_000
    assert store.verify() == []
    store.close()


def test_a_value_that_is_gone_or_damaged_is_told_of(tmp_path: Path):
    """Never another one in its place."""
    codec = apart(tmp_path / "values")
    store = filled(tmp_path, codec, 50_000)
    ((name, _),) = codec.place.names()
    path = tmp_path / "values" / name
    kept = path.read_bytes()
    path.write_bytes(b"y" + kept[1:])
    with pytest.raises(Corrupt):
        store.load("a")
    path.unlink()
    with pytest.raises(Corrupt, match="where it was written"):
        store.load("a")
    path.write_bytes(kept)
    assert values(store) == [50_000]
    store.close()


def test_who_reads_without_the_folder_is_told_that_the_value_lies_elsewhere(tmp_path: Path):
    """It is not called damaged, which it is not."""
    filled(tmp_path, Apart(Codec(compress_over=None), tmp_path / "values", over=100), 5000).close()
    store: Any = make_store(f"sqlite:///{tmp_path / 'runs.db'}")
    with pytest.raises(Corrupt, match=r"does not lie in the store.*Apart"):
        store.load_all("a")
    store.close()


def test_an_exported_run_brings_along_what_lies_elsewhere(tmp_path: Path):
    """It is read where nobody knows of the folder."""
    codec = Apart(Codec(compress_over=None), tmp_path / "values", over=100)
    store = filled(tmp_path, codec, 5000)
    exported = export_run(store, codec, "a")
    store.close()
    other: Any = make_store(f"sqlite:///{tmp_path / 'other.db'}")
    import_run(other, other.codec, exported)
    assert values(other) == [5000]
    other.close()


def test_what_nobody_needs_is_swept_away(tmp_path: Path):
    """Not what is young: somebody may be about to refer to it."""
    codec = apart(tmp_path / "values")
    store = filled(tmp_path, codec, 50_000, 60_000)
    codec.place.put("ab" * 32, b"left behind by a crash")
    assert codec.sweep(store.blobs(), unused_for_s=3600) == 0
    assert codec.sweep(store.blobs(), unused_for_s=-1) == 1
    assert values(store) == [50_000, 60_000]
    store.delete("a")
    store.sweep(unused_for_s=-1)
    assert codec.sweep(store.blobs(), unused_for_s=-1) == 2
    store.close()


def test_half_written_values_are_swept_away_and_strange_files_are_not(tmp_path: Path):
    """A process that was killed leaves the one; the other is somebody else's."""
    folder = tmp_path / "values"
    codec = apart(folder)
    half, strange = folder / f".{'0f' * 16}", [folder / "README.txt", folder / ".gitkeep"]
    for each in (half, *strange):
        each.write_bytes(b"x")
    assert codec.sweep([], unused_for_s=3600) == 0
    assert codec.sweep([], unused_for_s=-1) == 1
    assert sorted(folder.iterdir()) == sorted(strange)


def test_a_folder_that_cannot_be_written_to_is_an_outage(tmp_path: Path):
    """The writer waits for it as for any store; nothing half is left."""
    codec = apart(tmp_path / "values")
    (tmp_path / "values").rmdir()
    with pytest.raises(StoreUnavailable):
        codec.place.put("ab" * 32, b"x")
    (tmp_path / "values").mkdir()
    codec.place.put("ab" * 32, b"x")
    assert codec.place.get("ab" * 32) == b"x"


def test_urls_lead_to_wherever_fsspec_reaches(tmp_path: Path):
    """Here: a memory file system, which behaves as an object store does."""
    pytest.importorskip("fsspec")
    codec = apart("memory://values")
    store = filled(tmp_path, codec, 50_000)
    assert values(store) == [50_000]
    assert len(list(codec.place.names())) == 1
    store.delete("a")
    store.sweep(unused_for_s=-1)
    assert codec.sweep(store.blobs(), unused_for_s=-1) == 1
    store.close()
