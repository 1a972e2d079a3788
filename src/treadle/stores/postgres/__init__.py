"""A PostgreSQL database as a store that many runners share."""

from treadle.stores.postgres.store import PostgresStore

__all__ = ["PostgresStore"]
