"""Power cuts: what a store writes and syncs is recorded, and disks are made of it as a cut might leave them.

What was synced is there. Of what was written after that, any part may be: none, all, some in another order, and the
last of it torn. Run it by itself: `python -m tests.durability.power --images 2000 --seed 1`.
"""

from __future__ import annotations

import argparse
import json
import logging
import random
import sys
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import apsw  # type: ignore[import-not-found, unused-ignore]

from tests.durability.places import quick_place
from treadle.codec import Codec
from treadle.interfaces import Append, Message, RunInfo
from treadle.model.events import InputAccepted
from treadle.stores.sqlite import SqliteStore, connections
from treadle.testing.store_upkeep import baseline_at

SECTOR = 512
RUNS = ("a", "b")

Act = tuple[Any, ...]
"""("write", file, offset, data), ("truncate", file, size), ("sync", file), ("delete", file) or ("told", facts)."""


class Recorder(apsw.VFS):  # type: ignore[misc, unused-ignore]
    """Passes everything on to the system, and takes notes."""

    def __init__(self, acts: list[Act]) -> None:
        self.acts = acts
        super().__init__("recorder", base="")

    def xOpen(self, name, flags):  # noqa: N802 - SQLite's name
        return RecordedFile(self.acts, name, flags)

    def xDelete(self, name, sync):  # noqa: N802
        self.acts.append(("delete", Path(name).name))
        return super().xDelete(name, sync)


class RecordedFile(apsw.VFSFile):  # type: ignore[misc, unused-ignore]
    """One file."""

    def __init__(self, acts: list[Act], name: Any, flags: list[int]) -> None:
        self.acts = acts
        path = name if isinstance(name, str) else name.filename()
        self.name = Path(path).name
        super().__init__("", name, flags)

    def xWrite(self, data, offset):  # noqa: N802
        self.acts.append(("write", self.name, offset, bytes(data)))
        return super().xWrite(data, offset)

    def xTruncate(self, size):  # noqa: N802
        self.acts.append(("truncate", self.name, size))
        return super().xTruncate(size)

    def xSync(self, flags):  # noqa: N802
        super().xSync(flags)
        self.acts.append(("sync", self.name))
        return True


class Cursor:
    """What a statement gave."""

    def __init__(self, cursor: Any, rowcount: int) -> None:
        self._cursor = cursor
        self.rowcount = rowcount

    def fetchone(self):
        return self._cursor.fetchone()

    def fetchall(self):
        return self._cursor.fetchall()


class Adapter:
    """A connection of this library that looks like one of the standard library."""

    def __init__(self, path: Path, kind: str) -> None:
        self._is_unsafe = kind == "off"
        self._connection = apsw.Connection(str(path), vfs="recorder")
        self.execute("PRAGMA locking_mode = EXCLUSIVE")  # memory that is shared cannot be recorded

    @property
    def in_transaction(self):
        return self._connection.in_transaction

    def execute(self, statement, given=()):
        if self._is_unsafe and statement.startswith("PRAGMA synchronous"):
            statement = "PRAGMA synchronous = OFF"
        cursor = self._connection.execute(statement, given)
        return Cursor(cursor, self._connection.changes())

    def executemany(self, statement, rows):
        return Cursor(self._connection.executemany(statement, rows), -1)

    def close(self) -> None:
        """Nothing: a cut comes without a word."""


class Nobody:
    """In the place of the connection that keeps others from writing: there are none."""

    def execute(self, statement: str) -> None:
        """Nothing."""


def record(place: Path, draw: random.Random, kind: str) -> list[Act]:
    """What a store does to its files while runs are appended to, and what it tells meanwhile."""
    acts: list[Act] = []
    recorder = Recorder(acts)
    settings: Any = connections
    was = settings.connect, settings.CHECKPOINT_AT, settings.LOOK_EVERY
    adapters: list[Adapter] = []

    def connect(path: Path, *, is_reader: bool = False) -> Any:
        if not adapters:
            adapters.append(Adapter(path, kind))
            from treadle.stores.sqlite import file

            file._set_up(adapters[0], is_reader=False)  # type: ignore[arg-type]
        return adapters[0]

    settings.connect, settings.CHECKPOINT_AT, settings.LOOK_EVERY = connect, 30_000, 5
    try:
        store = SqliteStore(place / "runs.db", Codec())
        store._connections._guard = Nobody()  # type: ignore[assignment]
        write(store, acts, draw, is_synced=kind != "normal")
    finally:
        settings.connect, settings.CHECKPOINT_AT, settings.LOOK_EVERY = was
        for adapter in adapters:
            adapter._connection.close()
        recorder.unregister()
    return acts


def write(store: SqliteStore, acts: list[Act], draw: random.Random, *, is_synced: bool) -> None:
    """Append to two runs, in batches; tell of each when it counts."""
    heads = dict.fromkeys(RUNS, 0)
    for run_id in RUNS:
        create = RunInfo(id=run_id, workflow="w", run_key=f"key of {run_id}")
        assert store.append(
            [Append(run_id=run_id, expected=0, create=create, is_synced=is_synced)]
        ) == [None]
        acts.append(("told", run_id, 0))
    for number in range(40):
        batch = []
        for run_id in draw.sample(RUNS, draw.randint(1, 2)):
            size, head = draw.randint(1, 3), heads[run_id]
            events = tuple(accepted(run_id, head + more) for more in range(size))
            heads[run_id] += size
            consumed = (f"{number - 1}",)
            batch.append(
                Append(
                    run_id=run_id,
                    expected=head,
                    events=events,
                    consumed=consumed,
                    is_synced=is_synced,
                )
            )
        assert store.append(batch) == [None] * len(batch)
        acts.extend(("told", each.run_id, heads[each.run_id]) for each in batch)
        if number % 10 == 3:
            message = Message(id=str(number), run_id="a", kind="signal", body=b"x" * 50)
            store.post(message)
        if number % 13 == 5:
            store.save_snapshot("b", 0, baseline_at(heads["b"]))
            store.compact("b")


def accepted(run_id: str, position: int) -> InputAccepted:
    """An event that says which it is; some are large."""
    text = f"{run_id} {position} " * (1 if position % 5 else 300)
    return InputAccepted(position, (position,), text)


def image(acts: list[Act], draw: random.Random, *, may_reorder: bool) -> dict[str, bytearray]:
    """The files after a cut: what was synced, and some of what was not."""
    files: dict[str, bytearray] = {}
    for name in {act[1] for act in acts if act[0] not in {"told", "delete"}}:
        begin = max([at for at, act in enumerate(acts) if act[:2] == ("delete", name)], default=-1)
        mine = [act for act in acts[begin + 1 :] if act[1] == name and act[0] != "told"]
        if not mine:
            continue
        synced = max([at for at, act in enumerate(mine) if act[0] == "sync"], default=-1) + 1
        loose = [act for act in mine[synced:] if act[0] != "sync"]
        if may_reorder:
            loose = [act for act in loose if draw.random() < 0.5]
            draw.shuffle(loose)
        else:
            loose = loose[: draw.randint(0, len(loose))]
        data = bytearray()
        for act in mine[:synced]:
            put(data, act)
        for act in loose[:-1]:
            put(data, act)
        if loose:
            put(data, torn(loose[-1], draw))
        files[name] = data
    return files


def torn(act: Act, draw: random.Random) -> Act:
    """Some sectors of a write."""
    if act[0] != "write" or draw.random() < 0.5:
        return act
    return (*act[:3], act[3][: SECTOR * draw.randint(0, len(act[3]) // SECTOR)])


def put(data: bytearray, act: Act) -> None:
    """Do to a file what was done."""
    if act[0] == "truncate":
        del data[act[2] :]
        data.extend(bytes(act[2] - len(data)))
    elif act[0] == "write":
        _, _, offset, new = act
        data.extend(bytes(max(0, offset - len(data))))
        data[offset : offset + len(new)] = new


def look(place: Path, told: dict[str, int], written: dict[str, int], *, is_synced: bool) -> str:
    """Open what is left. Errors: `AssertionError` if anything in it is wrong, or what was told is not there."""
    with closing(SqliteStore(place / "runs.db", Codec())) as store:
        assert store.verify() == [], store.verify()
        lost = 0
        for run_id in RUNS:
            info = store.info(run_id)
            found = -1 if info is None else info.position
            if info is not None:
                events = [each for each in store.load(run_id).events if each.position >= 0]
                plain = [each for each in events if isinstance(each, InputAccepted)]
                assert plain == [accepted(run_id, each.position) for each in plain]
                assert found <= written.get(run_id, 0), f"{run_id} is longer than it ever was"
            lost += max(0, told.get(run_id, -1) - found)
        assert not (is_synced and lost), f"{lost} events that were told to count are lost"
        head = -1 if store.info("a") is None else store.load("a").info.position
        if head >= 0:
            more = [Append(run_id="a", expected=head, events=(accepted("a", head),))]
            assert store.append(more) == [None]
    return "some lost" if lost else "all there"


def cuts(images: int, seed: int, place: Path, kind: str) -> dict[str, int]:
    """Cut the power so many times; what came of it. Errors: `AssertionError`.

    `kind`: "full"; "normal", where the last moments may be lost; or "off", where nothing is synced at all: then images
    are broken, which shows that those of the others could be.
    """
    draw = random.Random(seed)
    acts = record(place, draw, kind)
    seen: Counter[str] = Counter(acts=len(acts))
    for number in range(images):
        at = draw.randint(1, len(acts))
        told = {act[1]: act[2] for act in acts[:at] if act[0] == "told"}
        written = {act[1]: act[2] for act in acts if act[0] == "told"}
        folder = place / f"image-{number}"
        folder.mkdir()
        for name, data in image(acts[:at], draw, may_reorder=number % 2 == 1).items():
            (folder / name).write_bytes(data)
        try:
            seen[look(folder, told, written, is_synced=kind != "normal")] += 1
        except Exception as error:
            seen["broken"] += 1
            if kind == "off":
                continue
            raise AssertionError(f"seed {seed}, image {number}, cut at {at}: {error}") from error
        for each in folder.iterdir():
            each.unlink()
        folder.rmdir()
    return dict(seen)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    logging.disable()
    found = {}
    for kind in ("full", "normal", "off"):
        with quick_place() as made:
            found[kind] = cuts(given.images, given.seed, Path(made), kind)
    sys.stdout.write(json.dumps(found) + "\n")
