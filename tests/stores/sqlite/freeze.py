"""Writes the store that later versions of the schema are held to: `python -m tests.stores.sqlite.freeze`.

Made anew as often as you like until the schema's version is released, and never after that.
"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from tests.durability.places import quick_place
from tests.stores.sqlite.places import accepted, add, below, clocked, filled
from treadle.interfaces import Message
from treadle.stores.sqlite.schema import APPLICATION_ID, VERSION
from treadle.testing.store_upkeep import baseline_at

FROZEN = Path(__file__).with_name(f"frozen-{VERSION}.sql")


def fill(path: Path) -> None:
    """A bit of everything that a store can hold."""
    with closing(clocked(path)) as store:
        filled(store, "whole", "compacted", count=0)
        filled(store, "it's \N{SNOWMAN}", count=1)
        values = [0, {"a": [1, None, 2.5]}, "large " * 1000]
        add(store, "whole", 0, *map(accepted, range(3), values), status="idle")
        add(store, "compacted", 0, *map(accepted, range(3)))
        store.save_snapshot("compacted", 0, baseline_at(3))
        store.compact("compacted")
        add(store, "compacted", 3, accepted(3), status="running")
        letter = Message(id="letter", run_id="compacted", kind="signal", body=b"\x00body")
        store.post(letter)
        store.claim("gone", -1.0, run_id="compacted")
        add(store, "it's \N{SNOWMAN}", 1, status="parked", note="why", wake_at=7.5)
        with store.transaction("key of a step", "key of whole") as step:
            step.keep({"paid": 1})
        store.put_cached({"key": b"cached"})
        store.put_looks("whole", {"step": b"look"})


def dumped(path: Path) -> str:
    """A store as statements."""
    with below(path) as connection:
        lines = [each for each in connection.iterdump() if not each.startswith(("BEGIN", "COMMIT"))]
    return "\n".join(
        [
            f"-- A store as version {VERSION} of the schema wrote it. Later versions must open it.",
            f"PRAGMA application_id = {APPLICATION_ID};",
            f"PRAGMA user_version = {VERSION};",
            *lines,
            "",
        ]
    )


if __name__ == "__main__":
    with quick_place() as made:
        fill(Path(made, "runs.db"))
        FROZEN.write_text(dumped(Path(made, "runs.db")))
