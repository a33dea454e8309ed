"""Which folders a session sees."""

from __future__ import annotations

from collections.abc import Iterable

from arcetri_spawner.catalog.models import Catalog, Volume
from arcetri_spawner.groups import GroupPath
from arcetri_spawner.policy.model import MountedVolume, ScratchSpace


def volumes_of(
    catalog: Catalog, groups: Iterable[GroupPath], charged: GroupPath, username: str
) -> tuple[MountedVolume, ...]:
    """Return everyone's volumes, the charged group's, then those of the person's other groups.

    Each appears once. Where two would be mounted at one place the first stays: two folders cannot
    be seen at one path, and the charged group's is the one the session is about.

    Args:
        catalog: Where the volumes are declared.
        groups: The person's groups in the catalog.
        charged: The group that is charged.
        username: The account's name, already known to be safe in a path.
    """
    ordered = sorted(groups, key=lambda group: group != charged)
    names = dict.fromkeys(
        [
            *catalog.everyone.volumes,
            *(name for group in ordered for name in catalog.groups[group].volumes),
        ]
    )
    mounted: dict[str, MountedVolume] = {}
    for name in names:
        volume = catalog.volumes[name]
        mount = _fill(volume.mount, username)
        mounted.setdefault(
            mount,
            MountedVolume(
                name=name,
                title=volume.title or name,
                mount=mount,
                claim=volume.claim or "",
                path=_fill(volume.path, username),
                read_only=volume.mode == "ro",
                quota=volume.quota,
                scratch=_scratch(volume),
            ),
        )
    return tuple(mounted.values())


def _scratch(volume: Volume) -> ScratchSpace | None:
    asked = volume.scratch
    return ScratchSpace(asked.size, asked.storage_class, asked.fsgroup) if asked else None


def _fill(template: str, username: str) -> str:
    return template.replace("{username}", username)
