"""Named points inside the write paths, where a test can have the process killed.

In a real run ``ARCETRI_KILLPOINT`` is not set and ``reach`` compares two strings. A test sets it to
one of ``POINTS`` and looks at what the next start makes of what is left.
"""

from __future__ import annotations

import os
import signal

VARIABLE = "ARCETRI_KILLPOINT"

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
"""Every point, in the order of a session's life; the last ones lie in the recovery itself."""

_armed = ""


def arm(name: str) -> None:
    """Die when ``name`` is reached; an empty name lives on.

    Raises:
        ValueError: There is no such point.
    """
    global _armed
    if name and name not in POINTS:
        raise ValueError(f"there is no kill point {name}")
    _armed = name


arm(os.environ.get(VARIABLE, ""))


def armed(name: str) -> bool:
    """Whether the process is to die at ``name``."""
    return _armed == name


def reach(name: str) -> None:
    """Die here, as by ``kill -9``, if a test asked for it."""
    if _armed == name:
        os.kill(os.getpid(), signal.SIGKILL)
