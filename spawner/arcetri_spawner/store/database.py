"""A database, and transactions that are alone while they write.

Who may have the last device is decided inside one transaction. Both databases are made to run
writing transactions one after the other: SQLite by BEGIN IMMEDIATE, PostgreSQL by an advisory lock
that the transaction holds. What is read first in such a transaction is therefore still true when it
commits, whoever else, in whichever process, tries the same. They are short: a few rows each.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any, Final, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.orm import Session

from arcetri_spawner.errors import StoreError
from arcetri_spawner.store.alone import KEEPALIVE, hold_lock
from arcetri_spawner.store.failures import sqlite_error, store_error
from arcetri_spawner.store.room import keep_room

T = TypeVar("T")

_BUSY_SECONDS: Final = 10
_WRITERS_LOCK: Final = 0x41726365747269
"""Any number that nobody else uses as an advisory lock in this database."""

_READ_ONLY: Final = "arcetri_read_only"


class Database:
    """An engine whose transactions are either reading or alone in writing."""

    def __init__(self, url: str, *, alone: bool = False) -> None:
        """Make the engine; nothing is connected yet.

        Args:
            url: As for ``Store.open``.
            alone: Work with a PostgreSQL only while no other such engine does; see ``alone``.

        Raises:
            StoreError: The URL is none, or names a database that is not supported.
        """
        self.engine = _engine(_parse(url), alone)

    def read(self, work: Callable[[Session], T]) -> T:
        """Run ``work`` in a transaction that writes nothing, and return what it returns."""
        return self._run(work, read_only=True)

    def write(self, work: Callable[[Session], T]) -> T:
        """Run ``work`` in a transaction of its own, with no other writer beside it.

        It is run again once when the connection was lost, so it must be harmless twice: all the
        store's writes are named by the ids they write.

        Raises:
            StoreError: The database could not be asked; nothing was written.
        """
        return self._run(work, read_only=False)

    def keep_room(self) -> None:
        """Make sure that small writes go on where the disk is full; see ``room``.

        Raises:
            StorageFull: It is full already.
            StoreError: The database cannot be used.
        """
        try:
            keep_room(self.engine)
        except sqlite3.Error as error:
            raise sqlite_error(error) from error
        except DBAPIError as error:
            raise store_error(error) from error

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()

    def _run(self, work: Callable[[Session], T], *, read_only: bool) -> T:
        try:
            try:
                return self._attempt(work, read_only=read_only)
            except DBAPIError as error:
                if not error.connection_invalidated:
                    raise
                return self._attempt(work, read_only=read_only)
        except DBAPIError as error:
            raise store_error(error) from error

    def _attempt(self, work: Callable[[Session], T], *, read_only: bool) -> T:
        with Session(self.engine, expire_on_commit=False) as session, session.begin():
            connection = session.connection(execution_options={_READ_ONLY: read_only})
            if not read_only and connection.dialect.name == "postgresql":
                connection.execute(text(f"SELECT pg_advisory_xact_lock({_WRITERS_LOCK})"))
            return work(session)


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise _bad_url() from None
    if parsed.drivername in ("postgres", "postgresql"):
        parsed = parsed.set(drivername="postgresql+psycopg")
    if parsed.drivername not in ("sqlite", "sqlite+pysqlite", "postgresql+psycopg"):
        raise _bad_url()
    return parsed


def _bad_url() -> StoreError:
    return StoreError(
        "The database URL is not one of SQLite or PostgreSQL.",
        code="store_url_invalid",
        remedy="Write it like sqlite:////path/to/arcetri.sqlite or"
        " postgresql://user@host/database.",
    )


def _engine(url: URL, alone: bool) -> Engine:
    if url.get_backend_name() == "sqlite":
        engine = create_engine(url, hide_parameters=True, connect_args={"timeout": _BUSY_SECONDS})
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine
    try:
        engine = create_engine(
            url,
            hide_parameters=True,
            pool_pre_ping=True,
            pool_size=1,
            max_overflow=0 if alone else 1,
            connect_args={
                "connect_timeout": 5,
                "tcp_user_timeout": 15_000,
                "options": f"-c lock_timeout={_BUSY_SECONDS}s -c statement_timeout=30s {KEEPALIVE}",
            },
        )
    except ModuleNotFoundError:
        raise StoreError(
            "The driver for PostgreSQL is not installed.",
            code="store_url_invalid",
            remedy="Install arcetri with the extra postgresql.",
        ) from None
    if alone:
        hold_lock(engine)
    return engine


def _prepare_sqlite(connection: Any, record: object) -> None:
    del record
    # The driver's own way of beginning transactions would begin one too late, at the first write.
    connection.isolation_level = None
    cursor: sqlite3.Cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    read_only = connection.get_execution_options().get(_READ_ONLY, False)
    connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")
