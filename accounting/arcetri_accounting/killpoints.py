"""Named points inside the write paths, where a test can have the process killed.

In a real run the variable is not set and ``reach`` compares two strings. A test sets
``ARCETRI_KILLPOINT`` to a point, or to ``POINT:N`` for the N-th time that it is reached, and looks
at what the next start makes of what is left.
"""

from __future__ import annotations

import os
import signal

VARIABLE = "ARCETRI_KILLPOINT"

AGENT_POINTS = (
    "journal.read",
    "cycle.sampled",
    "spool.written",
    "spool.committed",
    "spool.noted",
    "journal.ack_written",
    "journal.acknowledged",
    "ship.read",
    "ship.sent",
    "ship.acknowledged",
)
"""Those of the agent, in the order of a cycle."""

LEDGER_POINTS = (
    "ingest.appended",
    "ingest.watermarked",
    "ingest.rolled_up",
    "ingest.committed",
    "witness.appended",
    "witness.stored",
    "witness.committed",
    "reconcile.settled",
    "reconcile.rolled_up",
    "prune.compacted",
    "prune.deleted",
    "import.appended",
    "import.rolled_up",
    "import.committed",
    "correct.appended",
    "restore.filled",
)
"""Those of the ledger's writing transactions: inside each, and after its commit."""

_name, _, _count = os.environ.get(VARIABLE, "").partition(":")
_left = int(_count or 1)


def reach(name: str) -> None:
    """Die here, as by ``kill -9``, if a test asked for it."""
    global _left
    if name != _name:
        return
    _left -= 1
    if _left <= 0:
        os.kill(os.getpid(), signal.SIGKILL)
