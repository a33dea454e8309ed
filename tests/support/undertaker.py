"""Ends a platform and its sessions when the tests that started it are gone, however they went.

Run as ``python -m tests.support.undertaker STATE SUPERVISOR``; waits until its standard input,
which only the tests hold open, is closed.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

from arcetri_hub.up.statefolder import MARKER
from arcetri_spawner.backends.local.procs import end_instance


def main(state: Path, supervisor: int) -> None:
    """Wait, and then end what is left."""
    while os.read(0, 4096):
        pass
    # Its other processes are on its leash.
    if b"arcetri" in _command(supervisor):
        os.kill(supervisor, signal.SIGKILL)
        deadline = time.monotonic() + 10
        while b"arcetri" in _command(supervisor) and time.monotonic() < deadline:
            time.sleep(0.05)
    try:
        instance = json.loads((state / MARKER).read_text(encoding="utf-8"))["instance"]
    except OSError:
        return
    end_instance(instance, grace=0.0)


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


if __name__ == "__main__":
    # What the tests' own terminal or group is told is not for this process.
    os.setsid()
    main(Path(sys.argv[1]), int(sys.argv[2]))
