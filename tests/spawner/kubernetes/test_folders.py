"""What the provisioner is asked for, what a start tells of folders, and what pages know of room."""

from __future__ import annotations

from dataclasses import replace

import pytest

from arcetri_spawner.backends.kubernetes.folders import Folders, wanted_of
from arcetri_spawner.catalog.models import Catalog
from arcetri_spawner.folders import ownership
from arcetri_spawner.folders.making import Space, VolumeUnsafeError
from arcetri_spawner.groups import EVERYONE, GroupPath
from arcetri_spawner.policy.model import Grant, MountedVolume, ScratchSpace
from arcetri_spawner.policy.volumes import volumes_of
from arcetri_spawner.provisioner.contract import (
    FolderReport,
    FoldersRequest,
    Members,
    Report,
    Room,
    SpaceRequest,
    Wanted,
)
from arcetri_spawner.provisioner.faults import FolderTrouble
from tests.support.builders import catalog, grant

CMS, ASTRO = GroupPath("/lab/cms"), GroupPath("/lab/astro")
SCRATCH = MountedVolume("s", "", "/scratch", "", "", read_only=False, scratch=ScratchSpace(1))
HOME = MountedVolume("home", "", "/home/alice", "shared", "home/alice", read_only=False)
DATA = MountedVolume("data", "", "/data", "shared", "data", read_only=True)


def site() -> Catalog:
    volumes = {
        "home": {"mount": "/home/{username}", "claim": "shared", "path": "home/{username}"},
        "open": {"mount": "/open", "claim": "shared", "path": "open", "mode": "ro"},
        "cms": {"mount": "/cms", "claim": "shared", "path": "groups/cms"},
        "both": {"mount": "/both", "claim": "shared", "path": "both"},
        "reads": {"mount": "/reads", "claim": "shared", "path": "curated", "mode": "ro"},
        "writes": {"mount": "/writes", "claim": "shared", "path": "curated"},
        "scratch": {"mount": "/scratch", "scratch": {"size": 2**30}},
    }
    return catalog(
        volumes=volumes,
        everyone={"flavors": ("cpu",), "volumes": ("home", "open", "scratch")},
        groups={
            CMS: {"volumes": ("cms", "both", "reads"), "flavors": {"t4": {}}},
            ASTRO: {"volumes": ("both", "writes"), "flavors": {"t4": {}}},
        },
    )


def asked(*groups: GroupPath) -> tuple[dict[str, Wanted], ownership.Groups]:
    """What alice's session needs who is in these groups; gids are in the order of their names."""
    known = site()
    volumes = volumes_of(known, groups, groups[0] if groups else EVERYONE, "alice")
    held = grant(username="alice", groups=groups, volumes=volumes)
    private = ownership.private_volumes(known)
    needed = ownership.groups_needed(known, held, private)
    request = wanted_of(held, known, person=(2000, 2001), gids=GIDS, private=private)
    assert (request.person.username, request.person.uid, request.person.gid) == (
        "alice",
        2000,
        2001,
    )
    return {one.volume: one for one in request.folders}, needed


GIDS = {
    GroupPath(name): 3000 + number
    for number, name in enumerate((CMS, ASTRO, "volume:open", "volume:both"))
}


def test_homes_are_ones_own_and_folders_their_groups() -> None:
    wanted, needed = asked(CMS)
    assert set(wanted) == {"home", "open", "cms", "both", "reads"}
    assert wanted["home"] == Wanted(volume="home", claim="shared", path=("home", "alice"))
    assert wanted["cms"].groups == (Members(gid=3000, write=True),)
    # What several groups are granted, or everybody, has a group of its own.
    assert wanted["open"].groups == (Members(gid=3002, write=False),)
    assert wanted["both"].groups == (Members(gid=3003, write=True),)
    assert needed.own == {CMS, "volume:open", "volume:both"}
    # One folder by two names: each name's group has what its mode says, whoever comes first.
    both = (Members(gid=3001, write=True), Members(gid=3000, write=False))
    assert wanted["reads"].groups == both
    assert asked(ASTRO)[0]["writes"].groups == both
    assert needed.folders == {ASTRO}


def test_a_volume_that_the_catalog_lost_meanwhile_is_said() -> None:
    held = grant(volumes=(replace(HOME, name="gone"),))
    with pytest.raises(VolumeUnsafeError) as error:
        ownership.groups_needed(site(), held, frozenset())
    assert error.value.code == "volume_removed"


class Provisioner:
    """Says what it is told to; the real one is tried over HTTP and on a cluster."""

    def __init__(self, **rooms: Room) -> None:
        self.rooms = rooms
        self.made: set[str] = set()
        self.asked: list[list[str]] = []
        self.away = False

    async def make(self, request: FoldersRequest) -> Report:
        return self._said([one.volume for one in request.folders])

    async def space(self, request: SpaceRequest) -> Report:
        self.asked.append([one.volume for one in request.folders])
        if self.away:
            raise FolderTrouble("It is away.", code="provisioner_away", remedy="")
        return self._said(self.asked[-1])

    async def answers(self) -> bool:
        return not self.away

    async def close(self) -> None:
        pass

    def _said(self, names: list[str]) -> Report:
        return Report(
            folders=tuple(
                FolderReport(volume=name, made=name in self.made, room=self.rooms.get(name))
                for name in names
            )
        )


def request_of(held: Grant) -> FoldersRequest:
    return wanted_of(
        held,
        catalog(volumes={
            "home": {"mount": "/home/{username}", "claim": "shared", "path": "home/{username}"},
            "data": {"mount": "/data", "claim": "shared", "path": "data", "mode": "ro"},
        }, everyone={"volumes": ("home", "data")}, groups={}),
        person=(2000, 2001),
        gids={GroupPath("volume:data"): 3000},
        private=frozenset({"home"}),
    )  # fmt: skip


async def test_a_start_tells_what_was_made_and_what_is_full() -> None:
    held = grant(username="alice", volumes=(HOME, DATA, SCRATCH))
    provisioner = Provisioner(
        home=Room(size=10 << 30, free=1000, own=True), data=Room(size=1 << 40, free=0, own=False)
    )
    provisioner.made = {"data"}
    said = await Folders(provisioner).make(request_of(held), held.volumes)
    assert said == [
        "Your home is full: the notebook starts, but it can save nothing there. Delete files in it"
        " to make room.",
        "The folder /data was not there: it was made, and is empty.",
    ]
    provisioner = Provisioner(home=Room(size=10 << 30, free=1 << 30, own=True))
    assert await Folders(provisioner).make(request_of(held), held.volumes) == []
    assert await Folders(None).make(request_of(held), held.volumes) == []


async def test_room_is_asked_for_seldom_and_its_lack_keeps_no_page_waiting() -> None:
    now = [100.0]
    provisioner = Provisioner(home=Room(size=10, free=4, own=True))
    folders = Folders(provisioner, clock=lambda: now[0])
    for _ in range(3):
        assert await folders.rooms([HOME, DATA, SCRATCH]) == {"home": Space(10, 4, own=True)}
    assert provisioner.asked == [["home", "data"]]
    now[0] += 31
    provisioner.away = True
    for _ in range(3):
        assert await folders.rooms([HOME, DATA]) == {}
    assert len(provisioner.asked) == 2
    assert await Folders(None).rooms([HOME]) == {}
