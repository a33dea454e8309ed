"""Faults of the supervisor itself: written down with all their insides, told in one sentence.

A traceback helps whoever mends the platform, and frightens everybody else: it goes into the log of
the state folder, never to the terminal.
"""

from __future__ import annotations

import logging
import os
import tempfile
import traceback
from datetime import UTC, datetime
from pathlib import Path

from arcetri_hub.up.logs import BoundedLog
from arcetri_hub.up.statefolder import MARKER

NAME = "supervisor.log"


class _ToLog(logging.Handler):
    """Appends records to a bounded log."""

    def __init__(self, log: BoundedLog) -> None:
        super().__init__(logging.WARNING)
        self._log = log
        self.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record, its traceback included."""
        self._log.write(f"{self.format(record)}\n".encode(errors="replace"))


def keep_log(logs: Path) -> None:
    """Lead what libraries log, such as asyncio's unexpected ends of tasks, away from the terminal.

    The file is made when there is something to write.
    """
    logging.getLogger().addHandler(_ToLog(BoundedLog(logs / NAME)))
    logging.captureWarnings(capture=True)


def told(error: BaseException, state: Path) -> str:
    """Write a fault down, and say in a sentence what happened and where the rest is.

    Args:
        error: What nobody had thought of.
        state: The state folder; where it is none yet, the system's folder for temporary files
            has the log.
    """
    log = _write_down(error, state)
    where = (
        f"what happened is written in {log}"
        if log
        else "what happened could not be written down, because no disk has room for it"
    )
    return (
        f"The platform stopped because of a fault of its own ({type(error).__name__}), not of "
        f"yours; {where}."
    )


def _write_down(error: BaseException, state: Path) -> Path | None:
    lines = [f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC: a fault of the supervisor\n"]
    text = "".join([*lines, *traceback.format_exception(error)]).encode(errors="replace")
    if (state / MARKER).is_file():
        path = state.absolute() / "logs" / NAME
        try:
            path.parent.mkdir(exist_ok=True, mode=0o700)
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            return _written(descriptor, text, path)
        except OSError:
            pass  # perhaps another disk has room
    try:
        descriptor, name = tempfile.mkstemp(prefix="arcetri-", suffix=".log")
        return _written(descriptor, text, Path(name))
    except OSError:
        return None


def _written(descriptor: int, text: bytes, path: Path) -> Path:
    with os.fdopen(descriptor, "wb") as file:
        file.write(text)
    return path
