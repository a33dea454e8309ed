"""A session's folders on a cluster: made before its pod, and how much room they have.

Without a provisioner the folders must be there, and nothing is known of their room.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, Protocol

import structlog

from arcetri_spawner.catalog.models import Catalog
from arcetri_spawner.folders import acl, ownership
from arcetri_spawner.folders.making import Owner, Space, is_full, segments
from arcetri_spawner.groups import GroupPath
from arcetri_spawner.policy.model import Grant, MountedVolume
from arcetri_spawner.provisioner.contract import (
    FolderReport,
    FoldersRequest,
    Members,
    Person,
    Place,
    Report,
    Room,
    SpaceRequest,
    Wanted,
)
from arcetri_spawner.provisioner.faults import FolderTrouble

log = structlog.get_logger(__name__)

REMEMBERED: Final = 30.0
"""Seconds for which a folder's room is not asked for again."""
KEPT: Final = 10_000
"""Folders whose room is remembered."""
_PLATFORM: Final = 0
"""As whom the provisioner makes folders."""


class Provisioner(Protocol):
    """Makes folders, and tells how much room they have."""

    async def make(self, request: FoldersRequest) -> Report:
        """Raises ``FolderTrouble`` where one cannot be made ready."""
        ...

    async def space(self, request: SpaceRequest) -> Report:
        """Raises ``FolderTrouble`` where it does not say."""
        ...

    async def answers(self) -> bool:
        """Whether it answers at all."""
        ...

    async def close(self) -> None:
        """Close its connections."""
        ...


def wanted_of(
    grant: Grant,
    catalog: Catalog,
    *,
    person: tuple[int, int],
    gids: Mapping[GroupPath, int],
    private: frozenset[str],
) -> FoldersRequest:
    """Return what the provisioner is asked for.

    Args:
        grant: Whose session, and which volumes.
        catalog: Where the volumes are declared.
        person: Uid and primary gid.
        gids: Those of the groups that ``ownership.groups_needed`` names.
        private: The volumes that belong to one person.
    """
    owners = ownership.owners(
        catalog, grant.volumes, person=person, gids=gids, private=private, platform=_PLATFORM
    )
    uid, gid = person
    return FoldersRequest(
        person=Person(username=grant.username, uid=uid, gid=gid),
        folders=tuple(
            Wanted(
                volume=volume.name,
                claim=volume.claim,
                path=segments(volume.path),
                groups=() if volume.name in private else _members(owners[volume.name]),
            )
            for volume in grant.volumes
            if volume.scratch is None
        ),
    )


def _members(owner: Owner) -> tuple[Members, ...]:
    listed = ((owner.gid, owner.mode >> 3 & 0o7), *owner.others)
    return tuple(Members(gid=gid, write=may == acl.WRITE) for gid, may in listed)


class Folders:
    """The folders of every session."""

    def __init__(
        self, provisioner: Provisioner | None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._provisioner = provisioner
        self._clock = clock
        self._rooms: dict[tuple[str, str], tuple[float, Space | None]] = {}

    @property
    def made_for_us(self) -> bool:
        """Whether somebody makes folders."""
        return self._provisioner is not None

    async def close(self) -> None:
        """Close connections."""
        if self._provisioner is not None:
            await self._provisioner.close()

    async def answers(self) -> bool:
        """Whether the provisioner answers, where there is one."""
        return self._provisioner is None or await self._provisioner.answers()

    async def make(self, request: FoldersRequest, volumes: Sequence[MountedVolume]) -> list[str]:
        """Have folders made; return what their user is to be told, in sentences.

        Raises:
            FolderTrouble: One cannot be made ready.
        """
        if self._provisioner is None or not request.folders:
            return []
        report = await self._provisioner.make(request)
        found = {one.volume: one for one in report.folders}
        said = []
        for volume in volumes:
            one = found.get(volume.name)
            if one is None:
                continue
            self._remember(volume, one.room)
            said += _steps(volume, one, request.person.username)
        return said

    async def rooms(self, volumes: Iterable[MountedVolume]) -> dict[str, Space]:
        """How much room folders have, by the volume's name, as far as it is known soon."""
        now = self._clock()
        listed = [volume for volume in volumes if volume.scratch is None]
        ask = [one for one in listed if now >= self._rooms.get(_key(one), (now, None))[0]]
        if self._provisioner is not None and ask:
            places = tuple(
                Place(volume=one.name, claim=one.claim, path=segments(one.path)) for one in ask
            )
            try:
                report = await self._provisioner.space(SpaceRequest(folders=places))
            except FolderTrouble as error:
                log.info("room of folders is not known", why=error.details or error.message)
                # A page must not wait for it again and again.
                for volume in ask:
                    self._remember(volume, None)
            else:
                found = {one.volume: one.room for one in report.folders}
                for volume in ask:
                    self._remember(volume, found.get(volume.name))
        known = {one.name: self._rooms.get(_key(one), (now, None))[1] for one in listed}
        return {name: room for name, room in known.items() if room is not None}

    def _remember(self, volume: MountedVolume, room: Room | None) -> None:
        while len(self._rooms) >= KEPT:
            del self._rooms[next(iter(self._rooms))]
        space = None if room is None else Space(room.size, room.free, room.own)
        self._rooms[_key(volume)] = (self._clock() + REMEMBERED, space)


def _key(volume: MountedVolume) -> tuple[str, str]:
    return volume.claim, volume.path


def _steps(volume: MountedVolume, report: FolderReport, username: str) -> list[str]:
    said = []
    is_home = volume.mount == f"/home/{username}"
    if report.made and volume.read_only:
        said.append(f"The folder {volume.mount} was not there: it was made, and is empty.")
    elif report.made and is_home:
        said.append("Your home was made.")
    room = report.room
    if not volume.read_only and room is not None:
        space = Space(room.size, room.free, room.own)
        if is_full(space) and is_home:
            said.append(
                "Your home is full: the notebook starts, but it can save nothing there. Delete"
                " files in it to make room."
            )
        elif is_full(space):
            said.append(f"The folder {volume.mount} is full: nothing can be saved there.")
    return said
