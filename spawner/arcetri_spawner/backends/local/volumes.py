"""The folders a session sees: made in the state folder, and linked as the catalog mounts them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from arcetri_spawner.backends.base import Folder
from arcetri_spawner.folders.making import Owner, VolumeUnsafeError, make_folder, segments
from arcetri_spawner.policy.model import MountedVolume


@dataclass(frozen=True, slots=True)
class View:
    """A session's view of its volumes."""

    root: Path
    """The server's root: below it, every volume at its mount path."""
    home: Path
    """The home's path, the same in every session of the person."""
    start: str
    """The home below ``root``, such as ``home/alice``; empty when there is none."""
    folders: tuple[Folder, ...] = ()
    """Where the session finds each volume."""
    room: Mapping[str, Any] | None = None
    """The plan of the session's own file system; None where it has none."""


def is_home(volume: MountedVolume, username: str) -> bool:
    """Whether a volume is the person's home, by where it is mounted."""
    return PurePosixPath(volume.mount) == PurePosixPath("/home") / username


def make_folders(
    storage: Path,
    volumes: Iterable[MountedVolume],
    *,
    owners: Mapping[str, Owner],
    shared_way: bool,
) -> dict[str, Path]:
    """Make every volume's folder where it is missing; where each is, by the volume's name.

    Args:
        storage: Where the claims lie.
        volumes: What was granted.
        owners: By volume name; empty where all sessions run as one account.
        shared_way: Whether other accounts must pass through the folders on the way.

    Raises:
        VolumeUnsafeError: A folder is not where it should be.
    """
    way = 0o711 if shared_way else 0o700
    folders: dict[str, Path] = {}
    for volume in volumes:
        if volume.scratch is not None:
            continue
        parts = (*segments(volume.claim), *segments(volume.path))
        if not segments(volume.claim):
            raise VolumeUnsafeError(f"The volume {volume.name} names no claim.")
        folders[volume.name] = make_folder(storage, parts, way=way, owner=owners.get(volume.name))
    return folders


def make_scratch(
    folder: Path, volumes: Iterable[MountedVolume], *, owner: Owner | None
) -> dict[str, Path]:
    """Make a session's scratch space inside its own folder, with which it goes.

    Args:
        folder: The session's own.
        volumes: What was granted.
        owner: Whose it is; None where all sessions run as one account.
    """
    way = 0o700 if owner is None else 0o711
    return {
        volume.name: make_folder(folder, ("scratch", volume.name), way=way, owner=owner)
        for volume in volumes
        if volume.scratch is not None
    }


def home_of(
    volumes: Sequence[MountedVolume], username: str, private: Collection[str]
) -> MountedVolume | None:
    """The volume that is the person's home; None when there is none.

    Args:
        volumes: What was granted.
        username: Whose session it is.
        private: Names of volumes that belong to one person; where no volume is mounted at
            ``/home/{username}``, the first of them is the home.
    """
    return next((volume for volume in volumes if is_home(volume, username)), None) or next(
        (volume for volume in volumes if volume.name in private and not volume.read_only), None
    )


def link(root: Path, wanted: Mapping[str, Path], *, group: int | None, alone: bool) -> None:
    """Make a person's view: below ``root``, a link at every mount path to the volume's folder.

    Args:
        root: The person's own folder; only the platform writes in it where sessions run as
            accounts of their own.
        wanted: By mount path, where the folder is.
        group: Who besides the platform may look into it, by numeric id; None for nobody.
        alone: Whether links of what is not granted any more can go, because no other session of
            the person uses them.
    """
    root.parent.mkdir(exist_ok=True)
    root.parent.chmod(0o700 if group is None else 0o711)
    links = {root.joinpath(*segments(mount)): target for mount, target in wanted.items()}
    if alone and root.exists():
        _clear_links(root, set(links))
    for path, target in links.items():
        for folder in (root, *reversed(path.relative_to(root).parents[:-1])):
            _own_folder(root / folder, group)
        _point(path, target)
    _own_folder(root, group)


def _clear_links(folder: Path, kept: Collection[Path]) -> None:
    for entry in list(folder.iterdir()):
        if entry.is_symlink():
            if entry not in kept:
                entry.unlink()
        elif entry.is_dir():
            _clear_links(entry, kept)
            with contextlib.suppress(OSError):
                entry.rmdir()


def _own_folder(folder: Path, group: int | None) -> None:
    if folder.is_symlink():
        # A volume was mounted here before; now one is mounted below.
        folder.unlink()
    folder.mkdir(mode=0o700, exist_ok=True)
    if group is not None:
        os.chown(folder, -1, group)
        folder.chmod(0o750)


def _point(path: Path, target: Path) -> None:
    """Make the link, or turn it to another folder, at no moment without one."""
    if path.is_symlink() and path.readlink() == target:
        return
    if path.is_dir() and not path.is_symlink():
        path.rmdir()
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(target)
    temporary.replace(path)
