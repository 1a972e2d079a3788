"""A process that leaves messages in a store as fast as it can, for tests in which several do."""

from __future__ import annotations

import os
import sys
from contextlib import closing
from typing import Any

from treadle.codec import Codec
from treadle.interfaces import Message
from treadle.stores.sqlite import SqliteStore, connections


def eager() -> None:
    """Have the write-ahead log moved whenever that may be done."""
    settings: Any = connections
    settings.CHECKPOINT_AT, settings.LOOK_EVERY = 0, 1


def post(path: str, name: str, count: str) -> None:
    """Leave so many messages of different lengths."""
    eager()
    with closing(SqliteStore(path, Codec())) as store:
        for number in range(int(count)):
            body = os.urandom(1 + number * 37 % 3_000)
            store.post(Message(id=f"{name} {number}", run_id="a", kind="signal", body=body))
    sys.stdout.write("posted\n")


if __name__ == "__main__":
    post(*sys.argv[1:])
