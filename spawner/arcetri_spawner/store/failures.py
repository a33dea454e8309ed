"""What a database's error means to a person."""

from __future__ import annotations

import errno
import sqlite3
from typing import Final

from sqlalchemy.exc import DBAPIError, IntegrityError

from arcetri_spawner.errors import Conflict, StorageFull, StoreError

_FULL: Final = StorageFull(
    "The disk that holds the database is full, so nothing new can be started.",
    remedy="Free space on the disk of the state folder; sessions that run go on meanwhile.",
)

_SQLITE: Final = {
    sqlite3.SQLITE_BUSY: (
        "store_locked",
        "The database is locked by another process.",
        "Try again in a moment. If it stays so, see with lsof who holds arcetri.sqlite open.",
    ),
    sqlite3.SQLITE_LOCKED: (
        "store_locked",
        "The database is locked by another process.",
        "Try again in a moment. If it stays so, see with lsof who holds arcetri.sqlite open.",
    ),
    sqlite3.SQLITE_READONLY: (
        "store_readonly",
        "The database cannot be written to.",
        "Give the account that runs the hub write access to the state folder and its files.",
    ),
    sqlite3.SQLITE_CANTOPEN: (
        "store_unavailable",
        "The database file cannot be opened.",
        "Check that the state folder exists and that the account of the hub may write to it.",
    ),
    sqlite3.SQLITE_CORRUPT: (
        "store_damaged",
        "The database file is damaged.",
        "Stop the hub and restore arcetri.sqlite from a backup, or start with --fresh.",
    ),
    sqlite3.SQLITE_NOTADB: (
        "store_damaged",
        "The database file is no SQLite database.",
        "Stop the hub and restore arcetri.sqlite from a backup, or start with --fresh.",
    ),
    sqlite3.SQLITE_IOERR: (
        "store_unavailable",
        "The disk of the database reports an error.",
        "Check the disk of the state folder; sessions that run go on meanwhile.",
    ),
}

_UNREACHABLE: Final = (
    "store_unavailable",
    "The database does not answer, so nothing new can be started.",
    "Try again in a minute. An operator checks that PostgreSQL runs and is reachable from the hub;"
    " sessions that run go on meanwhile.",
)


def store_error(error: DBAPIError) -> StoreError:
    """Return what to raise instead; its sentence holds nothing of the statement or its values."""
    origin = error.orig
    if isinstance(error, IntegrityError):
        return Conflict(
            "Somebody else was faster: what was asked for is taken.",
            remedy="Reload the page and choose again.",
        )
    if isinstance(origin, sqlite3.Error):
        return sqlite_error(origin)
    state = getattr(origin, "sqlstate", None)
    if state == "53100":
        return _copy(_FULL)
    if state in ("55P03", "40P01", "57014"):
        return StoreError(
            "The database is locked by another process.",
            code="store_locked",
            remedy="Try again in a moment. If it stays so, an operator finds who holds the lock in"
            " pg_stat_activity.",
        )
    if state is None or error.connection_invalidated or state[:2] in ("08", "28", "3D", "53", "57"):
        code, message, remedy = _UNREACHABLE
        return StoreError(message, code=code, remedy=remedy)
    return StoreError(
        f"The database refused the statement (SQLSTATE {state}).",
        remedy="Restart the hub: it brings the tables up to its version. If it stays so, the hub's"
        " log has the database's own words.",
    )


def sqlite_error(origin: sqlite3.Error) -> StoreError:
    """Return what to raise instead of SQLite's own error."""
    extended = getattr(origin, "sqlite_errorcode", 0)
    primary = extended & 0xFF
    if primary == sqlite3.SQLITE_FULL or getattr(origin, "errno", None) == errno.ENOSPC:
        return _copy(_FULL)
    code, message, remedy = _SQLITE.get(
        primary,
        (
            "store_unavailable",
            f"The database refused the statement (SQLite error {primary}).",
            "Restart the hub: it brings the tables up to its version. If it stays so, the hub's"
            " log has the database's own words.",
        ),
    )
    return StoreError(message, code=code, remedy=remedy)


def _copy(error: StorageFull) -> StorageFull:
    # A raised exception collects a traceback: each raise needs an object of its own.
    return StorageFull(error.message, code=error.code, remedy=error.remedy)
