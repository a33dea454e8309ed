"""Folders: where the catalog says, made safely, and nobody led astray by what users leave there."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from arcetri_spawner.backends.local.volumes import (
    Owner,
    VolumeUnsafeError,
    lay_out,
    make_folder,
    segments,
)
from arcetri_spawner.policy.model import MountedVolume
from tests.spawner.local.world import CMS, HOME, World, facts

DATA = MountedVolume("data", "Data", "/data/cms", "shared", "groups/cms", read_only=True)


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    path = tmp_path / "storage"
    path.mkdir()
    return path


@pytest.fixture
def session(tmp_path: Path) -> Path:
    path = tmp_path / "session"
    path.mkdir()
    return path


def show(session: Path, storage: Path, *volumes: MountedVolume) -> tuple[str, ...]:
    view = lay_out(
        session,
        storage,
        volumes,
        username="alice",
        owners={},
        private={"home"},
        shared_way=False,
    )
    return view.left_out


def test_volumes_appear_where_they_are_mounted(session: Path, storage: Path) -> None:
    assert show(session, storage, HOME, DATA) == ()

    home = session / "view/home/alice"
    assert home.resolve() == storage / "shared/home/alice"
    assert (session / "view/data/cms").resolve() == storage / "shared/groups/cms"
    assert (storage / "shared/home/alice").stat().st_mode & 0o777 == 0o700


def test_a_second_session_finds_what_the_first_left(session: Path, storage: Path) -> None:
    show(session, storage, HOME)
    (session / "view/home/alice/paper.tex").write_text("E = mc²")
    other = session.with_name("other")
    other.mkdir()

    show(other, storage, HOME)

    assert (other / "view/home/alice/paper.tex").read_text() == "E = mc²"


def test_the_home_is_the_same_path_in_every_session(session: Path, storage: Path) -> None:
    view = lay_out(
        session, storage, [DATA, HOME], username="alice", owners={}, private=(), shared_way=False
    )

    assert (view.home, view.start) == (storage / "shared/home/alice", "home/alice")


def test_without_a_home_there_is_one_for_the_session(session: Path, storage: Path) -> None:
    view = lay_out(
        session, storage, [DATA], username="alice", owners={}, private=(), shared_way=False
    )

    assert (view.home, view.start) == (session / "home", "")


def test_a_volume_inside_another_is_left_out(session: Path, storage: Path) -> None:
    outer = MountedVolume("all", "All", "/data", "shared", "groups", read_only=True)

    assert show(session, storage, DATA, outer) == ("/data/cms",)
    assert not (storage / "shared/groups/cms/cms").exists()


@pytest.mark.parametrize("path", ["../x", "a/../../x", "..", "a/\0"])
def test_a_path_that_leaves_its_claim_is_refused(path: str) -> None:
    with pytest.raises(VolumeUnsafeError):
        segments(path)


@pytest.mark.parametrize("planted", ["shared/groups", "shared/groups/cms"])
def test_a_link_that_a_user_planted_is_not_followed(
    session: Path, storage: Path, tmp_path: Path, planted: str
) -> None:
    target = tmp_path / "secrets"
    target.mkdir()
    link = storage / planted
    link.parent.mkdir(parents=True)
    link.symlink_to(target)

    with pytest.raises(VolumeUnsafeError, match="is no folder"):
        show(session, storage, DATA)

    assert list(target.iterdir()) == []


def test_a_file_in_the_way_is_told(session: Path, storage: Path) -> None:
    (storage / "shared").write_text("not a folder")

    with pytest.raises(VolumeUnsafeError, match="shared is no folder"):
        show(session, storage, HOME)


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
    assert said["cwd"] == said["env"]["HOME"] == str(home)
    assert same(root / "home/alice", home)
    assert same(root / "data/cms", world.config.storage_dir / "shared/groups/cms")
    assert said["env"]["PATH"].startswith(f"{home}/.local/bin:")
    (home / "result").write_text("42")

    await world.backend.stop(session, timedelta(seconds=5))

    assert (home / "result").read_text() == "42"
    folder = world.config.sessions_dir / str(session.id)
    assert {path.name for path in folder.iterdir()} == {"log"}


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
