"""The connections of one store: as many as threads use it at once, each found anew when it breaks."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from functools import partial
from threading import BoundedSemaphore, Lock, local
from typing import Any, Final, Protocol, TypeVar

from treadle.errors import OutcomeUnknown, StoreError, StoreUnavailable, UsageError
from treadle.stores.postgres.driver import (
    BEGIN,
    PIN,
    READ,
    SILENCE_S,
    Connection,
    connect,
    execute,
    place,
    psycopg,
)
from treadle.stores.postgres.faults import as_ours, is_lost, is_passing
from treadle.stores.postgres.schema import look_into, prepare

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

MOST: Final = 8
"""So many connections a store has at most; who needs one more waits."""

TRIES: Final = 4
"""So often something is tried that another transaction, or a connection that broke, was in the way of."""


class Lost(Exception):
    """A connection broke, and whatever was under way on it may or may not count."""


class Resolving(Protocol[T_co]):
    """Something to do on a connection that may have been done already."""

    def __call__(self, connection: Connection, doubt: Lost | None) -> T_co:
        """Do it. `doubt`: how an earlier try was lost, if one was."""
        ...


class Connections:
    """Connects when first needed. Any thread may ask; each has a connection of its own while it works.

    `read_only`: the tables have to be there, and nothing is written.
    """

    def __init__(
        self,
        settings: dict[str, Any],
        schema: str,
        *,
        silence_s: float = SILENCE_S,
        read_only: bool = False,
    ) -> None:
        self.place = place(settings)
        self.schema = schema
        self._settings = settings
        self._silence_s = silence_s
        self._process = os.getpid()
        self._lock = Lock()
        self._room = BoundedSemaphore(MOST)
        self._idle: list[Connection] = []
        self._is_read_only = read_only
        self._is_prepared = False
        self.is_lax = False
        """By the server's own setting a commit may be lost in its crash: whoever needs more has to say so."""
        self._moment = local()
        self._is_closed = False

    # ------------------------------------------------------------------------------ one connection

    @contextmanager
    def _use(self) -> Generator[Connection]:
        self._check()
        with self._room:
            connection = self._take() or self._connect()
            try:
                yield connection
            except StoreError:  # an answer, and no fault of the connection
                self._roll_back(connection)
                raise
            except BaseException:
                # Whatever it was: nothing is known for certain of this connection, and a new one costs little.
                self._drop(connection)
                raise
            self._put_back(connection)

    def _check(self) -> None:
        if os.getpid() != self._process:
            raise UsageError(
                f"the store {self.place} was opened in another process, which this one was forked from.",
                hint="open a store of its own in each process.",
            )
        if self._is_closed:
            raise StoreUnavailable(f"the store {self.place} was closed.")

    def _take(self) -> Connection | None:
        with self._lock:
            while self._idle:
                connection = self._idle.pop()
                if not connection.closed:
                    return connection
        return None

    def _connect(self) -> Connection:
        try:
            connection = connect(
                self._settings, silence_s=self._silence_s, read_only=self._is_read_only
            )
        except psycopg.Error as error:
            told = as_ours(error, self.place, "connecting to")
            if not isinstance(told, StoreUnavailable):
                told = StoreUnavailable(told.message, hint=told.hint)
            raise told from error
        try:
            if not self._is_prepared:
                ready = look_into if self._is_read_only else prepare
                ready(connection, self.schema, self.place)
                self._is_prepared = True
            ((setting, _),) = execute(connection, PIN)
        except BaseException as error:
            connection.close()
            if isinstance(error, psycopg.Error):
                raise as_ours(error, self.place, "preparing") from error
            raise
        self.is_lax = self.is_lax or setting == "off"
        return connection

    def _roll_back(self, connection: Connection) -> None:
        with suppress(psycopg.Error):
            connection.rollback()
        self._put_back(connection)

    def _put_back(self, connection: Connection) -> None:
        with self._lock:
            is_good = connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
            if is_good and not self._is_closed:
                self._idle.append(connection)
                return
        self._drop(connection)

    def _drop(self, connection: Connection) -> None:
        with suppress(psycopg.Error):
            connection.close()

    def _drop_idle(self) -> None:
        """When one connection broke, the others of its time are likely broken too."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            self._drop(connection)

    # ------------------------------------------------------------------------------------- calls

    def once(self, doing: str, work: Callable[[Connection], T]) -> T:
        """Do it with a connection. Errors: `Lost`; `StoreUnavailable` where there is none; others as psycopg has them.

        For who wants to know how it failed; all others take `call`.
        """
        kept: Connection | None = getattr(self._moment, "connection", None)
        if kept is not None:  # what this thread reads belongs together, and cannot go on elsewhere
            try:
                return work(kept)
            except psycopg.Error as error:
                raise as_ours(error, self.place, doing) from error
        with self._use() as connection:
            try:
                return work(connection)
            except psycopg.Error as error:
                if not is_lost(error) and not connection.closed:
                    raise
                self._drop_idle()
                raise Lost(as_ours(error, self.place, doing).message) from error

    def call(self, doing: str, work: Callable[[Connection], T]) -> T:
        """Do it, and do it again where a connection broke: for work that may be done twice. Errors: `StoreError`."""

        def again(connection: Connection, doubt: Lost | None) -> T:
            del doubt  # it counts as often as it is done
            return work(connection)

        try:
            return self.resolved(doing, again)
        except OutcomeUnknown as error:
            raise StoreUnavailable(error.message, hint=error.hint) from error

    def resolved(self, doing: str, work: Resolving[T]) -> T:
        """Do it; `work` is told of the connection that broke after it was sent, if one did: it may count already.

        Errors: `OutcomeUnknown` where that could not be found out; `StoreError`.
        """
        in_doubt: Lost | None = None
        for number in range(TRIES):
            try:
                return self.once(doing, partial(work, doubt=in_doubt))
            except Lost as lost:
                in_doubt = lost
            except StoreUnavailable as error:
                if in_doubt is None:
                    raise
                raise OutcomeUnknown(str(in_doubt), hint=error.hint) from error
            except psycopg.Error as error:
                if not is_passing(error) or number == TRIES - 1:
                    raise as_ours(error, self.place, doing) from error
        raise OutcomeUnknown(
            str(in_doubt), hint="the connection breaks again and again: look at the network."
        )

    @contextmanager
    def at_one_moment(self) -> Generator[None]:
        """Whatever this thread reads meanwhile belongs together; it writes nothing. Errors: `StoreError`."""
        with self._use() as connection:
            try:
                with transaction(connection, READ):
                    self._moment.connection = connection
                    yield
            except psycopg.Error as error:
                raise as_ours(error, self.place, "reading") from error
            finally:
                self._moment.connection = None

    @contextmanager
    def borrowed(self, doing: str) -> Generator[Connection]:
        """A connection for somebody else's statements, whose errors are theirs. Errors: `StoreUnavailable`."""
        with self._use() as connection:
            try:
                yield connection
            except Lost as lost:
                raise OutcomeUnknown(f"{doing} {self.place}: {lost}.") from lost

    def close(self) -> None:
        """Let go of the connections; one that is in use goes when it is not any more."""
        if self._is_closed or os.getpid() != self._process:
            return
        self._is_closed = True
        self._drop_idle()


@contextmanager
def transaction(connection: Connection, begin: str = BEGIN) -> Generator[None]:
    """Several statements that count together. Where something is raised, the connection is dropped, and with it all.

    Within another transaction they are a part of that.
    """
    if connection.info.transaction_status == psycopg.pq.TransactionStatus.INTRANS:
        yield
        return
    execute(connection, begin)
    yield
    execute(connection, "COMMIT")
