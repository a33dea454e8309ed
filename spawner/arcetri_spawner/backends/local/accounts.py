"""An account of the machine for each user, by number alone: nothing is written to /etc/passwd.

Where a session has a file system of its own, ``usernames`` gives the numbers names in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from arcetri_spawner.groups import GroupPath


@dataclass(frozen=True, slots=True)
class Account:
    """As whom a session's processes run."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    """Supplementary groups, sorted."""
    name: str = ""
    """The person's."""
    names: Mapping[GroupPath, int] = field(default_factory=dict)
    """The groups by their paths."""


_PASSED_THROUGH = frozenset({"python", "sessions", "storage", "view"})


def open_state_folder(state_dir: Path) -> None:
    """Let other accounts pass through the state folder to their homes, and to nothing else."""
    for entry in state_dir.iterdir():
        if entry.name not in _PASSED_THROUGH and not entry.is_symlink():
            entry.chmod(entry.stat().st_mode & 0o700)
    state_dir.chmod(0o711)
