"""One SQLite file as a store."""

from treadle.stores.sqlite.store import SqliteStore

__all__ = ["SqliteStore"]
