"""Where the cluster's programs, images and states lie: outside the tree, for all checkouts."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path


class ClusterError(Exception):
    """The cluster cannot be had; the message says why and what to do."""


def root() -> Path:
    """The harness's folder in the user's cache, made when it is not there."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    folder = Path(base) / "arcetri" / "cluster"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def digest(parts: Iterable[bytes | str | Path]) -> str:
    """One short word for what something is made from: texts, and files by their content."""
    whole = hashlib.sha256()
    for part in parts:
        data = part.read_bytes() if isinstance(part, Path) else part
        data = data.encode() if isinstance(data, str) else data
        whole.update(hashlib.sha256(data).digest())
    return whole.hexdigest()[:16]


@contextlib.contextmanager
def lock(path: Path) -> Iterator[None]:
    """Hold a file's lock; others wait, and a holder that is killed lets go."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
