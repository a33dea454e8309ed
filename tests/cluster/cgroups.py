"""The control groups of a cluster's pods: below one group of its own in each hierarchy."""

from __future__ import annotations

import contextlib
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
PREFIX = "arcetri-test-"


def group(word: str) -> str:
    """A cluster's group, by its word, as a path from a hierarchy's root."""
    return f"/{PREFIX}{word}"


def make(word: str) -> None:
    """Make a cluster's group wherever the kubelet looks for it."""
    for hierarchy in _hierarchies():
        folder = hierarchy / group(word).lstrip("/")
        folder.mkdir(exist_ok=True)
        # The first version of cpuset starts a group with nothing, and then runs nothing in it.
        for setting in ("cpuset.cpus", "cpuset.mems"):
            with contextlib.suppress(FileNotFoundError):
                if not (folder / setting).read_text(encoding="ascii").strip():
                    everything = (hierarchy / setting).read_text(encoding="ascii")
                    (folder / setting).write_text(everything, encoding="ascii")


def remove(word: str) -> None:
    """Remove a cluster's groups; those in which something still runs stay."""
    for hierarchy in _hierarchies():
        top = hierarchy / group(word).lstrip("/")
        if not top.is_dir():
            continue
        below = sorted((path for path in top.rglob("*") if path.is_dir()), reverse=True)
        for folder in (*below, top):
            with contextlib.suppress(OSError):
                folder.rmdir()


def left(word: str) -> list[Path]:
    """The cluster's groups that are there."""
    tops = (hierarchy / group(word).lstrip("/") for hierarchy in _hierarchies())
    return [top for top in tops if top.is_dir()]


def _hierarchies() -> list[Path]:
    """One of the second version, or one a controller; links stand for the same hierarchy."""
    if (ROOT / "cgroup.controllers").exists():
        return [ROOT]
    return [path for path in sorted(ROOT.iterdir()) if path.is_dir() and not path.is_symlink()]
