"""Whose a volume's folder is, by the catalog and the numeric ids of people and groups. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from arcetri_spawner.catalog.models import Catalog, Volume
from arcetri_spawner.folders import acl
from arcetri_spawner.folders.making import Owner, VolumeUnsafeError, segments
from arcetri_spawner.groups import GroupPath
from arcetri_spawner.policy.model import Grant, MountedVolume


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


def _beside(catalog: Catalog, name: str) -> list[str]:
    """Every volume that shows the same folder, those that may be written first."""
    folder = _folder(catalog.volumes[name])
    kept = ((other, one) for other, one in catalog.volumes.items() if one.claim is not None)
    return sorted(
        (other for other, volume in kept if _folder(volume) == folder),
        key=lambda other: (catalog.volumes[other].mode == "ro", other),
    )


def _folder(volume: Volume) -> tuple[str | None, tuple[str, ...]]:
    return volume.claim, segments(volume.path)


@dataclass(frozen=True, slots=True)
class Groups:
    """Whose ids a session needs."""

    own: frozenset[GroupPath]
    """The person's, and those of the shared volumes they are granted."""
    folders: frozenset[GroupPath]
    """Those of other volumes that show the same folders."""


def groups_needed(catalog: Catalog, grant: Grant, private: Collection[str]) -> Groups:
    """The groups whose ids a session needs.

    Raises:
        VolumeUnsafeError: The catalog has changed since the grant, and lacks one of its volumes.
    """
    kept = [volume for volume in grant.volumes if volume.scratch is None]
    for volume in kept:
        if volume.name not in catalog.volumes:
            # Without it nobody can say whether the folder is one person's or a group's.
            raise VolumeUnsafeError(
                f"The volume {volume.title} was taken out of the catalog a moment ago.",
                code="volume_removed",
                remedy="Start again: you get what is on offer now.",
            )
    shared = [volume.name for volume in kept if volume.name not in private]
    own = frozenset(grant.groups) | {group_of_volume(catalog, name) for name in shared}
    folders = {
        group_of_volume(catalog, other) for name in shared for other in _beside(catalog, name)
    }
    return Groups(own, frozenset(folders) - own)


def owners(
    catalog: Catalog,
    volumes: Iterable[MountedVolume],
    *,
    person: tuple[int, int],
    gids: Mapping[GroupPath, int],
    private: Collection[str],
    platform: int,
) -> dict[str, Owner]:
    """To whom each volume's folder belongs, whoever comes first and makes it.

    A private one is its user's alone. A shared one is the platform's, and its group may write in it
    where the volume is ``rw``; what is made there stays the group's. Where several volumes show one
    folder, each one's group has what its mode says.

    Args:
        catalog: Where the volumes are declared.
        volumes: Those that a session sees.
        person: Its user's uid and primary gid.
        gids: Those of the groups that ``groups_needed`` names.
        private: The volumes that belong to one person.
        platform: As whom the platform makes folders.
    """
    found: dict[str, Owner] = {}
    for volume in volumes:
        if volume.scratch is not None:
            continue
        if volume.name in private:
            found[volume.name] = Owner(*person, 0o700)
            continue
        may: dict[int, int] = {}
        for name in _beside(catalog, volume.name):
            gid = gids[group_of_volume(catalog, name)]
            allowed = acl.READ if catalog.volumes[name].mode == "ro" else acl.WRITE
            may[gid] = max(allowed, may.get(gid, 0))
        (gid, allowed), *others = may.items()
        found[volume.name] = Owner(platform, gid, 0o2700 | allowed << 3, tuple(others))
    return found
