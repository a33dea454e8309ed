"""Folders: where the catalog says, made safely, and nobody led astray by what users leave there."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from arcetri_spawner.backends.local.volumes import home_of, link, make_folders
from arcetri_spawner.folders.making import Owner, VolumeUnsafeError, make_folder, segments
from arcetri_spawner.policy.model import MountedVolume, ScratchSpace
from tests.spawner.local.world import CMS, HOME, World, facts

SCRATCH = MountedVolume(
    "scratch", "", "/scratch", "", "", read_only=False, scratch=ScratchSpace(1 << 30)
)
DATA = MountedVolume("data", "Data", "/data/cms", "shared", "groups/cms", read_only=True)


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    path = tmp_path / "storage"
    path.mkdir()
    return path


@pytest.fixture
def view(tmp_path: Path) -> Path:
    return tmp_path / "view" / "alice"


def show(view: Path, storage: Path, *volumes: MountedVolume, alone: bool = True) -> None:
    sources = make_folders(storage, volumes, owners={}, shared_way=False)
    wanted = {volume.mount: sources[volume.name] for volume in volumes}
    link(view, wanted, group=None, alone=alone)


def test_volumes_appear_where_they_are_mounted(view: Path, storage: Path) -> None:
    show(view, storage, HOME, DATA)

    assert (view / "home/alice").resolve() == storage / "shared/home/alice"
    assert (view / "data/cms").resolve() == storage / "shared/groups/cms"
    assert (storage / "shared/home/alice").stat().st_mode & 0o777 == 0o700


def test_a_second_session_finds_what_the_first_left(view: Path, storage: Path) -> None:
    show(view, storage, HOME)
    (view / "home/alice/paper.tex").write_text("E = mc²")

    show(view, storage, HOME)

    assert (view / "home/alice/paper.tex").read_text() == "E = mc²"


def test_what_is_not_granted_any_more_stays_while_another_session_has_it(
    view: Path, storage: Path
) -> None:
    show(view, storage, HOME, DATA)

    show(view, storage, HOME, alone=False)
    assert (view / "data/cms").is_dir()

    show(view, storage, HOME)
    assert not (view / "data").exists()
    assert (storage / "shared/groups/cms").is_dir()


def test_what_somebody_left_in_the_view_is_not_taken_away(view: Path, storage: Path) -> None:
    show(view, storage, HOME, DATA)
    (view / "data/notes.txt").write_text("mine")

    show(view, storage, HOME)

    assert (view / "data/notes.txt").read_text() == "mine"
    assert not (view / "data/cms").exists()


def test_a_mount_that_moves_into_or_out_of_another_folder_is_followed(
    view: Path, storage: Path
) -> None:
    outer = MountedVolume("all", "All", "/data", "shared", "groups", read_only=True)
    for volume in (DATA, outer, DATA):
        show(view, storage, volume)
        target = storage / volume.claim / volume.path
        assert (view / volume.mount.lstrip("/")).resolve() == target
    assert list((storage / "shared/groups/cms").iterdir()) == []


def test_the_home_is_the_one_mounted_there_else_the_first_private_one() -> None:
    scratch = MountedVolume("scratch", "S", "/scratch/alice", "local", "alice", read_only=False)

    assert home_of([DATA, scratch, HOME], "alice", {"scratch"}) == HOME
    assert home_of([DATA, scratch], "alice", {"scratch"}) == scratch
    assert home_of([DATA], "alice", {"data"}) is None


@pytest.mark.parametrize("path", ["../x", "a/../../x", "..", "a/\0"])
def test_a_path_that_leaves_its_claim_is_refused(path: str) -> None:
    with pytest.raises(VolumeUnsafeError):
        segments(path)


@pytest.mark.parametrize("planted", ["shared/groups", "shared/groups/cms"])
def test_a_link_that_a_user_planted_is_not_followed(
    view: Path, storage: Path, tmp_path: Path, planted: str
) -> None:
    target = tmp_path / "secrets"
    target.mkdir()
    link = storage / planted
    link.parent.mkdir(parents=True)
    link.symlink_to(target)

    with pytest.raises(VolumeUnsafeError, match="is no folder"):
        show(view, storage, DATA)

    assert list(target.iterdir()) == []


def test_a_file_in_the_way_is_told(view: Path, storage: Path) -> None:
    (storage / "shared").write_text("not a folder")

    with pytest.raises(VolumeUnsafeError, match="shared is no folder"):
        show(view, storage, HOME)


def test_an_existing_folder_of_another_account_is_not_taken_over(storage: Path) -> None:
    folder = storage / "home"
    folder.mkdir()
    (folder / "file").write_text("mine")
    before = folder.stat()

    with pytest.raises(VolumeUnsafeError) as caught:
        make_folder(storage, ("home",), way=0o711, owner=Owner(1 << 20, 1 << 20, 0o700))

    assert caught.value.code == "volume_owner"
    assert "chown" in caught.value.remedy
    assert folder.stat() == before


def same(one: Path, other: Path) -> bool:
    return one.samefile(other)


async def test_a_session_begins_at_home_and_leaves_its_files(world: World) -> None:
    session = await world.start(await world.grant(volumes=(HOME, DATA), group=CMS))

    said = facts(session)
    home = world.config.storage_dir / "shared/home/alice"
    root = Path(said["env"]["JUPYTERHUB_ROOT_DIR"])
    assert root == world.config.views_dir / "alice"
    assert said["env"]["ARCETRI_FOLDER_DATA"] == str(root / "data/cms")
    assert said["env"]["ARCETRI_FOLDER_HOME"] == str(root / "home/alice")
    assert said["cwd"] == said["env"]["HOME"] == str(home)
    assert same(root / "home/alice", home)
    assert same(root / "data/cms", world.config.storage_dir / "shared/groups/cms")
    assert said["env"]["PATH"].startswith(f"{home}/.local/bin:")
    (home / "result").write_text("42")

    await world.backend.stop(session, timedelta(seconds=5))

    assert (home / "result").read_text() == "42"
    folder = world.config.sessions_dir / str(session.id)
    assert {path.name for path in folder.iterdir()} == {"log"}


async def test_scratch_is_the_sessions_own_and_goes_with_it(world: World) -> None:
    volumes = (HOME, SCRATCH)
    one = await world.start(await world.grant(volumes=volumes, flavor="cpu"))
    other = await world.start(await world.grant(volumes=volumes, server_name="b", flavor="cpu"))
    places = [Path(facts(each)["env"]["ARCETRI_FOLDER_SCRATCH"]) for each in (one, other)]
    assert places[0] != places[1]
    for place in places:
        (place / "data").write_text("42")
    # What is the same for all sessions of a person cannot lead to what is one session's own.
    assert not (world.config.views_dir / "alice/scratch").exists()
    (told,) = await world.backend.folders("alice", [SCRATCH])
    assert told.path == ""

    await world.backend.stop(one, timedelta(seconds=5))

    assert [place.exists() for place in places] == [False, True]


async def test_a_planted_link_refuses_the_start_and_leaves_nothing(
    world: World, tmp_path: Path
) -> None:
    claim = world.config.storage_dir / "shared"
    claim.mkdir(parents=True)
    (claim / "home").symlink_to(tmp_path)

    with pytest.raises(VolumeUnsafeError):
        await world.start(await world.grant())

    assert world.journal() == []
    assert not (tmp_path / "alice").exists()
