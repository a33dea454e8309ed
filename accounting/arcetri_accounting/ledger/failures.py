"""What a database's error means to a person."""

from __future__ import annotations

import errno
import sqlite3
from typing import Final

from sqlalchemy.exc import DBAPIError

from arcetri_accounting.ledger.errors import Busy, DatabaseError, StorageFull

TRANSIENT: Final = frozenset({"40001", "40P01"})
"""Of PostgreSQL: one of two transactions was chosen to begin again."""

_LOG: Final = "The ledger's log has the database's own words."


def is_transient(error: DBAPIError) -> bool:
    """Whether the same work may succeed at once when it is run again."""
    return error.connection_invalidated or getattr(error.orig, "sqlstate", None) in TRANSIENT


def database_error(error: DBAPIError) -> DatabaseError:
    """Return what to raise instead; its sentence holds nothing of the statement or its values."""
    if isinstance(error.orig, sqlite3.Error):
        return _sqlite_error(error.orig)
    state = getattr(error.orig, "sqlstate", None)
    if state == "53100":
        return _full()
    if state in ("55P03", "57014") or state in TRANSIENT:
        return _busy("An operator finds who holds the lock in pg_stat_activity.")
    unreachable = state is None or state[:2] in ("08", "28", "3D", "53", "57")
    if unreachable or error.connection_invalidated:
        return DatabaseError(
            "The ledger's database does not answer.",
            remedy="Check that PostgreSQL runs, and that its URL, user and password are right;"
            " agents keep their records meanwhile.",
        )
    return DatabaseError(
        f"The database refused the statement (SQLSTATE {state}).",
        code="database_refused",
        remedy=_LOG,
    )


def _sqlite_error(origin: sqlite3.Error) -> DatabaseError:
    primary = getattr(origin, "sqlite_errorcode", 0) & 0xFF
    if primary == sqlite3.SQLITE_FULL or getattr(origin, "errno", None) == errno.ENOSPC:
        return _full()
    if primary in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return _busy("lsof shows who has its file open.")
    if primary == sqlite3.SQLITE_READONLY:
        return DatabaseError(
            "The ledger's database file cannot be written to.",
            code="database_readonly",
            remedy="Give the account of the ledger write access to the file and its folder.",
        )
    if primary == sqlite3.SQLITE_CANTOPEN:
        return DatabaseError(
            "The ledger's database file cannot be opened.",
            remedy="Check that its folder exists, and that the account of the ledger may use it.",
        )
    if primary in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return DatabaseError(
            "The ledger's database file is damaged, or no SQLite database.",
            code="database_damaged",
            remedy="Stop the ledger, set the file aside, and restore a backup with"
            " arcetri-ledger restore.",
        )
    return DatabaseError(
        f"The database refused the statement (SQLite error {primary}).",
        code="database_refused",
        remedy=_LOG,
    )


def _full() -> StorageFull:
    return StorageFull(
        "The disk of the ledger's database is full.",
        remedy="Free space on it; agents keep their records meanwhile.",
    )


def _busy(how: str) -> Busy:
    return Busy(
        "The ledger's database is locked by another process.",
        remedy=f"Try again in a moment. {how}",
    )
