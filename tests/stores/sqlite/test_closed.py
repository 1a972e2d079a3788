"""A store that was closed, while a thread still asks something of it."""

from contextlib import closing
from pathlib import Path

import pytest

from treadle.codec import Codec
from treadle.errors import StoreUnavailable
from treadle.stores.sqlite import SqliteStore


def test_a_closed_store_does_not_take_the_file_again(tmp_path: Path):
    """Else the next one that wants to run its workflows would be refused, for the sake of nobody."""
    store = SqliteStore(tmp_path / "runs.db", Codec())
    store.claim("early", 30.0, workflows=["w"])
    store.close()
    with pytest.raises(StoreUnavailable, match="was closed"):
        store.claim("late", 30.0, workflows=["w"])

    with closing(SqliteStore(tmp_path / "runs.db", Codec())) as other:
        assert list(other.claim("next", 30.0, workflows=["w"])) == []
