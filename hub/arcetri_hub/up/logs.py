"""Log files that never grow beyond a bound."""

from __future__ import annotations

import os
from collections import deque
from pathlib import Path


class BoundedLog:
    """Appends bytes to a file; when it is full, keeps it as ``NAME.1`` and begins again.

    Never raises: a full disk costs log lines, not the platform.
    """

    def __init__(self, path: Path, limit: int = 5_000_000) -> None:
        self.path = path
        self._limit = limit
        self._descriptor: int | None = None
        self._size = 0
        self._tail: deque[bytes] = deque(maxlen=40)
        self._partial = b""

    def write(self, data: bytes) -> None:
        """Append ``data``."""
        lines = (self._partial + data).split(b"\n")
        self._partial = lines.pop()[-10_000:]
        self._tail.extend(lines)
        try:
            self._write(data)
        except OSError:
            self.close()

    def tail(self) -> list[str]:
        """The last lines that were written, since this object was made."""
        lines = [*self._tail, self._partial] if self._partial else [*self._tail]
        return [line.decode(errors="replace") for line in lines]

    def close(self) -> None:
        """Close the file; writing opens it again."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _write(self, data: bytes) -> None:
        if self._descriptor is not None and self._size + len(data) > self._limit:
            self.close()
            self.path.replace(self.path.with_name(f"{self.path.name}.1"))
        if self._descriptor is None:
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
            self._descriptor = os.open(self.path, flags, 0o600)
            self._size = os.fstat(self._descriptor).st_size
        self._size += os.write(self._descriptor, data)
