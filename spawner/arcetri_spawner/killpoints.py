"""Named points inside the write paths, where a test can have the process killed.

In a real run neither variable is set and ``reach`` compares two strings. A test sets
``ARCETRI_KILLPOINT`` to a point, or ``ARCETRI_KILLPOINT_FILE`` to a file that may come to hold one:
the file is removed before the process dies, so that who is started in its place lives on. Then the
test looks at what the next start makes of what is left.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

VARIABLE = "ARCETRI_KILLPOINT"
FILE_VARIABLE = "ARCETRI_KILLPOINT_FILE"

POINTS = (
    "queue.leased",
    "start.prepared",
    "start.spawned",
    "start.recorded",
    "journal.half_written",
    "start.journaled",
    "start.released",
    "start.answered",
    "stop.asked",
    "end.process_gone",
    "end.cleared",
    "end.journaled",
    "queue.freed",
    "journal.compacted",
    "journal.replaced",
    "recover.cleared",
    "recover.journaled",
    "recover.freed",
    "recover.marked",
)
"""Those of the local backend, in the order of a session's life; the last ones lie in recovery."""

POD_POINTS = (
    "pod.prepared",
    "pod.created",
    "pod.secret_created",
    "pod.waiting",
    "pod.start_told",
    "pod.up",
    "pod.stop_asked",
    "pod.stop_told",
    "pod.end_told",
    "pod.taken_up",
    "pod.undoing",
)
"""Those of the Kubernetes backend, in the order of a session's life; the last two lie in what a
restarted hub does with a start, and in the undoing of one."""

HUB_POINTS = (
    "spawner.called",
    "request.opened",
    "request.waiting",
    "request.admitted",
    "request.moved",
    "request.left",
    "request.starting",
    "request.running",
    "spawner.started",
    "end.told",
    "request.returned",
    "request.back_in_line",
    "request.ended",
    "spawner.stopped",
)
"""Those above the backend: in the service, and where JupyterHub has written or is about to."""

WRITE_POINTS = (
    "account.writing",
    "account.written",
    "login.writing",
    "login.written",
    "refresh.writing",
    "refresh.written",
    "numbers.writing",
    "numbers.written",
    "catalog.writing",
    "catalog.written",
)
"""Those of what is written besides sessions, one before each write and one after it: people's
accounts, what JupyterHub keeps of a login and a refresh of it, numeric ids, and the copy of the
last good catalog."""

FOLDER_POINTS = ("folder.made", "folder.given")
"""Those of a folder's making: it is there, and it is its owner's but not yet with its mode."""

_armed = ""
_file = Path(os.environ[FILE_VARIABLE]) if os.environ.get(FILE_VARIABLE) else None


def arm(name: str) -> None:
    """Die when ``name`` is reached; an empty name lives on.

    Raises:
        ValueError: There is no such point.
    """
    global _armed
    if name and name not in POINTS + POD_POINTS + HUB_POINTS + WRITE_POINTS + FOLDER_POINTS:
        raise ValueError(f"there is no kill point {name}")
    _armed = name


arm(os.environ.get(VARIABLE, ""))


def armed(name: str) -> bool:
    """Whether the process is to die at ``name``."""
    return _armed == name or (_file is not None and _told(_file) == name)


def reach(name: str) -> None:
    """Die here, as by ``kill -9``, if a test asked for it."""
    if armed(name):
        if _file is not None:
            _file.unlink(missing_ok=True)
        os.kill(os.getpid(), signal.SIGKILL)


def _told(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        return ""
