"""Room inside the SQLite files, so that a full disk does not keep the hub from small writes.

JupyterHub keeps its tables in the same file, and writes at every login and every request with a
token: a disk that somebody fills would lock people out of sessions that run. So the files are made
larger than they need to be while there is space. SQLite then writes into free pages of the database
and over the old contents of its log, without asking the file system for more.
"""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Engine, PoolProxiedConnection

PAGES: Final = 1100
"""Free pages to make: more than the 1000 after which SQLite begins its log again."""

_FILLER: Final = "arcetri_filler"


def keep_room(engine: Engine) -> bool:
    """Make the files larger where they have not enough room; True when something was done.

    Other databases look after themselves.

    Raises:
        sqlite3.Error: The disk is full, or the database cannot be used.
    """
    if engine.dialect.name != "sqlite" or not engine.url.database:
        return False
    connection = engine.raw_connection()
    try:
        if _has_room(connection, Path(engine.url.database)):
            return False
        _make_room(connection)
    finally:
        connection.close()
    return True


def _has_room(connection: PoolProxiedConnection, path: Path) -> bool:
    log = Path(f"{path}-wal")
    return (
        _pragma(connection, "freelist_count") >= PAGES // 2
        and log.exists()
        and log.stat().st_size >= PAGES * _pragma(connection, "page_size")
    )


def _make_room(connection: PoolProxiedConnection) -> None:
    size = PAGES * _pragma(connection, "page_size")
    # One transaction each: pages used and freed again in the same one would never be written.
    _run(
        connection,
        # An earlier hub may have been killed between the two.
        f"DROP TABLE IF EXISTS {_FILLER}",
        f"CREATE TABLE {_FILLER} (filler BLOB)",
        f"INSERT INTO {_FILLER} VALUES (zeroblob({size}))",  # noqa: S608 - two constants
    )
    try:
        # What is in the log is written into the database, which grows by it.
        connection.cursor().execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
    finally:
        _run(connection, f"DROP TABLE {_FILLER}")


def _pragma(connection: PoolProxiedConnection, name: str) -> int:
    found: Any = connection.cursor().execute(f"PRAGMA {name}").fetchone()
    return int(found[0])


def _run(connection: PoolProxiedConnection, *statements: str) -> None:
    cursor = connection.cursor()
    cursor.execute("BEGIN IMMEDIATE")
    try:
        for statement in statements:
            cursor.execute(statement)
        cursor.execute("COMMIT")
    except sqlite3.Error:
        # A full disk rolls back by itself.
        with contextlib.suppress(sqlite3.Error):
            cursor.execute("ROLLBACK")
        raise
