"""Where the cluster's programs, images and states lie: outside the tree, for all checkouts."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final


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


UNUSED = 14 * 24 * 3600
"""Seconds after which what nobody has used is not kept."""


def used(path: Path) -> None:
    """Note that something is used now; without the right to, it is as if it were not."""
    with contextlib.suppress(OSError):
        os.utime(path)


KEPT: Final = 3
"""Images of one name that are kept, of those that were made from what there is no more."""
LATELY: Final = 3600
"""Seconds for which an image that was used is kept whatever else there is."""


def prune() -> None:
    """Remove programs and images that no checkout has used for long, and images of old code."""
    _prune_old_images()
    # The last are of builds that were killed.
    for pattern in ("bin/*", "images/*", ".build-*"):
        for path in root().glob(pattern):
            if time.time() - path.stat().st_mtime > UNUSED:
                if path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink(missing_ok=True)


def _prune_old_images() -> None:
    """Every change of the platform's code makes its images anew, of half a gigabyte each."""
    by_name: dict[str, list[Path]] = {}
    for path in (root() / "images").glob("*.tar"):
        by_name.setdefault(path.name.rpartition("-")[0], []).append(path)
    for paths in by_name.values():
        for path in sorted(paths, key=_used_at, reverse=True)[KEPT:]:
            if time.time() - _used_at(path) > LATELY:
                path.unlink(missing_ok=True)


def _used_at(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


@contextlib.contextmanager
def lock(path: Path) -> Iterator[None]:
    """Hold a file's lock; others wait, and a holder that is killed lets go."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
