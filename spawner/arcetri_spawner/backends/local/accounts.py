"""An account of the machine for each user, by number alone: nothing is written to /etc/passwd."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from arcetri_spawner.backends.local.volumes import Owner
from arcetri_spawner.catalog.models import Catalog
from arcetri_spawner.groups import GroupPath
from arcetri_spawner.policy.model import Grant, MountedVolume


@dataclass(frozen=True, slots=True)
class Account:
    """As whom a session's processes run."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    """Supplementary groups, sorted."""


_PASSED_THROUGH = frozenset({"python", "sessions", "storage"})


def open_state_folder(state_dir: Path) -> None:
    """Let other accounts pass through the state folder to their homes, and to nothing else."""
    for entry in state_dir.iterdir():
        if entry.name not in _PASSED_THROUGH and not entry.is_symlink():
            entry.chmod(entry.stat().st_mode & 0o700)
    state_dir.chmod(0o711)


def id_range(text: str | range) -> range:
    """The numbers of a range such as ``200000-299999``, both ends included."""
    if isinstance(text, range):
        return text
    first, last = text.split("-")
    return range(int(first), int(last) + 1)


def private_volumes(catalog: Catalog) -> frozenset[str]:
    """Names of the volumes that are a different folder for each user."""
    return frozenset(
        name for name, volume in catalog.volumes.items() if "{username}" in volume.path
    )


def group_of_volume(catalog: Catalog, name: str) -> GroupPath:
    """Whose group id a shared volume's folder has.

    The one group that is granted it; where several are, or everyone, a group of its own, which no
    IAM group can be called because its name has no slash in front.
    """
    granted = [path for path, group in catalog.groups.items() if name in group.volumes]
    if len(granted) == 1 and name not in catalog.everyone.volumes:
        return granted[0]
    return GroupPath(f"volume:{name}")


def groups_needed(catalog: Catalog, grant: Grant, private: Collection[str]) -> frozenset[GroupPath]:
    """The groups whose ids a session needs: the person's own, and those of the shared volumes."""
    shared = (volume.name for volume in grant.volumes if volume.name not in private)
    return frozenset(grant.groups) | {group_of_volume(catalog, name) for name in shared}


def owners(
    catalog: Catalog,
    volumes: Iterable[MountedVolume],
    *,
    account: Account,
    gids: Mapping[GroupPath, int],
    private: Collection[str],
) -> dict[str, Owner]:
    """To whom each volume's folder belongs.

    A private one is its user's alone. A shared one is the platform's, and its group may write in it
    where the volume is ``rw``; what is made there stays the group's.
    """
    found: dict[str, Owner] = {}
    for volume in volumes:
        if volume.name in private:
            found[volume.name] = Owner(account.uid, account.gid, 0o700)
        else:
            gid = gids[group_of_volume(catalog, volume.name)]
            mode = 0o2750 if volume.read_only else 0o2770
            found[volume.name] = Owner(os.geteuid(), gid, mode)
    return found
