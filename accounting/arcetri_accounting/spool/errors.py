"""What can go wrong with a spool; each says where, and what to do."""

from __future__ import annotations

import errno
import sqlite3
from pathlib import Path


class SpoolError(Exception):
    """The spool cannot be read or written; what was committed before still is."""

    remedy = "Check that the folder exists, and that this account may write in it."

    def __init__(self, path: Path, what: str) -> None:
        super().__init__(f"{path}: {what} {self.remedy}")
        self.path = path


class SpoolFull(SpoolError):
    """There is no room; nothing of the transaction was written."""

    remedy = "Free some room on its disk: it is tried again, and nothing is dropped meanwhile."


class SpoolCorrupt(SpoolError):
    """The file is damaged; it has to be set aside."""

    remedy = "It is set aside, never deleted, and a new epoch begins."


class SpoolLost(SpoolError):
    """The file was removed or replaced while it was open."""

    remedy = "A new epoch begins; leave the file alone while its writer runs."


class SpoolBusy(SpoolError):
    """Another process has it open."""

    remedy = "One writer at a time can use a spool: stop the other one first."


_CORRUPT = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_FULL = {sqlite3.SQLITE_FULL}


def translated(path: Path, error: sqlite3.Error) -> SpoolError:
    """The error of ours that one of SQLite's means."""
    # A limit on the size of files, or a quota, comes as an error of writing.
    code = getattr(error, "sqlite_errorcode", 0)
    if code & 0xFF in _CORRUPT:
        return SpoolCorrupt(path, f"the spool is damaged ({error}).")
    if code & 0xFF in _FULL or code == sqlite3.SQLITE_IOERR_WRITE:
        return SpoolFull(path, f"there is no room for the spool ({error}).")
    return SpoolError(path, f"the spool cannot be used ({error}).")


_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def unwritten(path: Path, error: OSError) -> SpoolError:
    """The error of ours that one of writing beside the database means."""
    if error.errno in _NO_ROOM:
        return SpoolFull(path, f"there is no room for the spool ({error.strerror}).")
    return SpoolError(path, f"the spool's state cannot be used ({error.strerror}).")
