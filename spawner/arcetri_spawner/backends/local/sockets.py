"""Whose a listening port is."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

_LISTEN = "0A"


def _inodes(port: int) -> set[str]:
    found: set[str] = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            with Path(table).open() as lines:
                next(lines)
                for line in lines:
                    fields = line.split()
                    if fields[3] != _LISTEN:
                        # Listening sockets come first; the kernel looks long for the others.
                        break
                    if int(fields[1].rsplit(":", 1)[1], 16) == port:
                        found.add(f"socket:[{fields[9]}]")
        except OSError:
            continue
    return found


def listens_on(port: int, pids: Iterable[int]) -> bool:
    """Whether one of these processes listens on ``port``.

    Without this a stranger's server that was faster on the port would be taken for the session's.
    """
    wanted = _inodes(port)
    if not wanted:
        return False
    for pid in pids:
        try:
            links = list(Path(f"/proc/{pid}/fd").iterdir())
        except OSError:
            continue
        for link in links:
            try:
                if str(link.readlink()) in wanted:
                    return True
            except OSError:
                continue
    return False
