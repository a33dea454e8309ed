"""The ledger's database, and its transactions.

SQLite has one writer: a writing transaction begins with BEGIN IMMEDIATE, and within a process they
queue at a lock, so that nobody starves. On PostgreSQL writers run side by side: each holds a shared
advisory lock until it commits, which only work that must be alone (a migration, a change of the
site's zone) takes for itself, and what must not overlap takes a named lock with ``hold``. A reading
transaction sees one state of the database from its first to its last statement, on both.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, Final, Self, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.orm import Session

from arcetri_accounting.ledger.errors import DatabaseError, Refused
from arcetri_accounting.ledger.failures import database_error, is_transient

T = TypeVar("T")

_BUSY_SECONDS: Final = 20
_ATTEMPTS: Final = 5
_COURTESY: Final = 0.25
"""Seconds that a delivery waits in all for those who read."""
_WRITERS_LOCK: Final = 0x41726365745573
"""Any number that nobody else uses as an advisory lock in this database."""
_MODE: Final = "arcetri_ledger_mode"


class _Turn(threading.local):
    """What the delivery that this thread stores has left of its courtesy, in seconds."""

    courtesy = 0.0


class Database:
    """An engine, and transactions that read one state or write all or nothing."""

    def __init__(self, url: str, *, patient: bool = False) -> None:
        """Make the engine; nothing is connected yet.

        Args:
            url: ``sqlite:////path/to/ledger.sqlite`` or ``postgresql://user@host/database``.
            patient: Let a statement take as long as it takes, as a command's may; a service's
                ends after a minute.

        Raises:
            Refused: The URL is none, or names a database that is not supported.
        """
        self.url = _parse(url)
        self.engine = _engine(self.url, patient=patient)
        self._writing = threading.Lock() if self.is_sqlite else nullcontext()
        self._reading = 0
        self._read = threading.Condition()
        self._turn = _Turn()
        event.listen(self.engine, "before_cursor_execute", self._give_way)
        # The other half of the processors is the readers', and the database's for them.
        self._turns = threading.BoundedSemaphore(max(1, (os.cpu_count() or 1) // 2))

    @classmethod
    def open(cls, url: str, *, patient: bool = False) -> Self:
        """Make the engine and bring the tables up to this version.

        Raises:
            Refused: The URL will not do.
            DatabaseError: The database cannot be asked, or was written by a later version.
        """
        from arcetri_accounting.ledger.migrate import migrate

        database = cls(url, patient=patient)
        try:
            migrate(database)
        except BaseException:
            database.close()
            raise
        return database

    @property
    def is_sqlite(self) -> bool:
        """Whether there is one writer, in one file."""
        return self.url.get_backend_name() == "sqlite"

    def read(self, work: Callable[[Session], T]) -> T:
        """Run ``work`` on one state of the database, and return what it returns.

        Raises:
            DatabaseError: The database could not be asked.
        """
        with self._read:
            self._reading += 1
        try:
            return self._run(work, "read")
        finally:
            with self._read:
                self._reading -= 1
                self._read.notify_all()

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Store a delivery within this: some wait for others, and all for those who read.

        A backlog comes in thousands of deliveries, each of which may well wait. People wait for
        reports, and nobody for a backlog.
        """
        with self._turns:
            self._turn.courtesy = _COURTESY
            try:
                self._give_way()
                yield
            finally:
                self._turn.courtesy = 0.0

    def _give_way(self, *_statement: object) -> None:
        """Wait for those who read, in a delivery's turn: before it, and before each statement.

        A report that is asked for in the middle of a delivery so has the database to itself after
        one statement. What the transaction has locked meanwhile, no reader waits for.
        """
        if self._turn.courtesy <= 0 or not self._reading:
            return
        begun = time.monotonic()
        with self._read:
            self._read.wait_for(lambda: not self._reading, self._turn.courtesy)
        self._turn.courtesy -= time.monotonic() - begun

    def write(self, work: Callable[[Session], T], *, alone: bool = False, once: bool = False) -> T:
        """Run ``work`` in a transaction of its own, and return what it returns.

        It is run again when the connection was lost or another transaction was in its way, so it
        must be harmless twice: what the ledger writes is named by what it is about.

        Args:
            work: What to do.
            alone: With no other writer beside it, on PostgreSQL too.
            once: It is not harmless twice: where the connection was lost, it is not run again.

        Raises:
            DatabaseError: The database could not be asked; nothing was written, or, where the
                connection was lost at the commit, all of it.
        """
        with self._writing:
            return self._run(work, "alone" if alone else "write", once=once)

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()

    def _run(self, work: Callable[[Session], T], mode: str, *, once: bool = False) -> T:
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                with Session(self.engine, expire_on_commit=False) as session, session.begin():
                    session.connection(execution_options=_options(self.url, mode))
                    return work(session)
            except DBAPIError as error:
                unsure = once and error.connection_invalidated
                if attempt == _ATTEMPTS or unsure or not is_transient(error):
                    raise database_error(error) from error
                time.sleep(0.01 * attempt)
        raise AssertionError("unreachable")


def hold(session: Session, name: str) -> None:
    """Keep others who ask for the same name waiting until this transaction ends."""
    if session.get_bind().dialect.name == "postgresql":
        number = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big", signed=True)
        session.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": number})


def _options(url: URL, mode: str) -> dict[str, Any]:
    if url.get_backend_name() == "postgresql" and mode == "read":
        return {_MODE: mode, "isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
    return {_MODE: mode}


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise _bad_url() from None
    if parsed.drivername in ("postgres", "postgresql"):
        parsed = parsed.set(drivername="postgresql+psycopg")
    if parsed.drivername not in ("sqlite", "sqlite+pysqlite", "postgresql+psycopg"):
        raise _bad_url()
    if parsed.get_backend_name() == "sqlite" and parsed.database in (None, "", ":memory:"):
        # Each connection would have a database of its own.
        raise _bad_url()
    return parsed


def _bad_url() -> Refused:
    return Refused(
        "The database URL is not one of an SQLite file or of PostgreSQL.",
        code="database_url_invalid",
        remedy="Write it like sqlite:////path/to/ledger.sqlite or postgresql://user@host/database.",
    )


def _engine(url: URL, *, patient: bool) -> Engine:
    if url.get_backend_name() == "sqlite":
        engine = create_engine(url, hide_parameters=True, connect_args={"timeout": _BUSY_SECONDS})
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine
    timeout = 0 if patient else 60
    try:
        engine = create_engine(
            url,
            hide_parameters=True,
            pool_pre_ping=True,
            pool_size=8,
            max_overflow=8,
            connect_args={
                "connect_timeout": 5,
                "tcp_user_timeout": 15_000,
                "options": f"-c lock_timeout={_BUSY_SECONDS}s -c statement_timeout={timeout}s"
                " -c timezone=UTC",
            },
        )
    except ModuleNotFoundError:
        raise DatabaseError(
            "The driver for PostgreSQL is not installed.",
            code="database_url_invalid",
            remedy="Install arcetri with the extra postgresql.",
        ) from None
    event.listen(engine, "begin", _begin_postgresql)
    return engine


def _prepare_sqlite(connection: Any, record: object) -> None:
    del record
    # The driver's own way of beginning transactions would begin one too late, at the first write.
    connection.isolation_level = None
    cursor: sqlite3.Cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.execute("PRAGMA cache_size = -65536")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    read_only = connection.get_execution_options().get(_MODE) == "read"
    connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")


def _begin_postgresql(connection: Connection) -> None:
    mode = connection.get_execution_options().get(_MODE)
    if mode in ("write", "alone"):
        kind = "_shared" if mode == "write" else ""
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock{kind}({_WRITERS_LOCK})")
