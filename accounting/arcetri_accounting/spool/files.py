"""Moving a spool's files, and having the move survive."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

STATE = "-state"
"""Of the file that has the newest state."""
SUFFIXES = ("", "-wal", "-shm", STATE)
"""Of the files of one spool: SQLite's, and that one."""


def sync_folder(folder: Path) -> None:
    """Have what was made or renamed in the folder on the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def set_aside(path: Path) -> Path:
    """Rename a spool's files, as ``NAME.corrupt-TIME``, and return the first one's new place."""
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    target = path.with_name(f"{path.name}.corrupt-{stamp}")
    for suffix in reversed(SUFFIXES):
        source = path.with_name(path.name + suffix)
        if source.exists():
            source.rename(target.with_name(target.name + suffix))
    sync_folder(path.parent)
    return target
