"""The folders a session sees: made in the state folder, and laid out as the catalog mounts them.

Every step goes through descriptors and follows no symbolic link, because users write in folders on
the way: a link they leave there must not lead the platform anywhere else.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from arcetri_spawner.backends.local import acl
from arcetri_spawner.errors import BackendError
from arcetri_spawner.policy.model import MountedVolume

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class VolumeUnsafeError(BackendError):
    """A volume's folder is not where it should be."""

    default_code = "volume_unsafe"


@dataclass(frozen=True, slots=True)
class Owner:
    """To whom a folder belongs, and how it may be used."""

    uid: int
    gid: int
    mode: int
    others: tuple[tuple[int, int], ...] = ()
    """Further groups, as (gid, permissions), where several volumes show one folder."""


@dataclass(frozen=True, slots=True)
class View:
    """A session's view of its volumes."""

    root: Path
    """The server's root: below it, every volume at its mount path."""
    home: Path
    """The home's real path, the same in every session."""
    start: str
    """The home below ``root``, such as ``home/alice``; empty when there is none."""
    left_out: tuple[str, ...] = ()
    """Mount paths that could not be shown, because they lie inside another volume."""


def segments(path: str) -> tuple[str, ...]:
    """The names along a path.

    Raises:
        VolumeUnsafeError: One of them would leave the folder it starts from.
    """
    parts = tuple(part for part in path.split("/") if part not in ("", "."))
    if any(part == ".." or "\0" in part for part in parts):
        raise VolumeUnsafeError(
            f"The path {path!r} of a volume leaves its folder.",
            remedy="The admins correct it in profiles.yaml.",
        )
    return parts


def make_folder(base: Path, parts: Sequence[str], *, way: int, owner: Owner | None) -> Path:
    """Make the folder below ``base`` if it is missing, and return its path.

    Args:
        base: An existing folder that users cannot write.
        parts: Names along the way; the last one is the folder itself.
        way: Mode of the folders made on the way.
        owner: For the last folder; None makes it the platform's own, closed to others.

    Raises:
        VolumeUnsafeError: Something on the way is no folder, or is a symbolic link.
    """
    current = os.open(base, _FOLDER)
    try:
        for index, name in enumerate(parts):
            last = index == len(parts) - 1
            made = _mkdir(name, current)
            try:
                below = os.open(name, _FOLDER, dir_fd=current)
            except OSError as error:
                raise VolumeUnsafeError(
                    f"The volume's folder {'/'.join(parts)} cannot be used: {name} is no folder.",
                    remedy=f"The operator looks at it in {base}.",
                ) from error
            os.close(current)
            current = below
            if made and not last:
                os.fchmod(current, way)
            if last:
                _settle(current, made, owner, "/".join(parts))
    finally:
        os.close(current)
    return base.joinpath(*parts)


def _mkdir(name: str, folder: int) -> bool:
    try:
        os.mkdir(name, 0o700, dir_fd=folder)
    except FileExistsError:
        return False
    return True


def _settle(folder: int, made: bool, owner: Owner | None, name: str) -> None:
    if owner is None:
        return
    found = os.fstat(folder)
    # One made by a start that was cut short still belongs to the platform.
    if made or (found.st_uid == os.geteuid() and owner.uid != found.st_uid and _empty(folder)):
        os.fchown(folder, owner.uid, owner.gid)
        os.fchmod(folder, owner.mode)
        if owner.others:
            acl.apply(folder, owner.mode >> 3 & 0o7, dict(owner.others))
    elif found.st_uid != owner.uid or found.st_gid != owner.gid:
        raise VolumeUnsafeError(
            f"The folder {name} belongs to another account.",
            code="volume_owner",
            remedy=(
                "The operator gives it to its owner:"
                f" `chown -R {owner.uid}:{owner.gid}` on it in the state folder's storage."
            ),
        )


def _empty(folder: int) -> bool:
    with os.scandir(folder) as entries:
        return next(entries, None) is None


def is_home(volume: MountedVolume, username: str) -> bool:
    """Whether a volume is the person's home, by where it is mounted."""
    return PurePosixPath(volume.mount) == PurePosixPath("/home") / username


def lay_out(
    session_dir: Path,
    storage: Path,
    volumes: Iterable[MountedVolume],
    *,
    username: str,
    owners: Mapping[str, Owner],
    private: Collection[str],
    shared_way: bool,
) -> View:
    """Make every volume's folder, and the session's view of them.

    Args:
        session_dir: The session's own folder, which exists.
        storage: Where the claims lie.
        volumes: What was granted.
        username: Whose session it is.
        owners: By volume name; empty where all sessions run as one account.
        private: Names of volumes that belong to one person; where no volume is mounted at
            ``/home/{username}``, the first of them is the home.
        shared_way: Whether other accounts must pass through the folders on the way.

    Raises:
        VolumeUnsafeError: A folder is not where it should be.
    """
    way = 0o711 if shared_way else 0o700
    root = session_dir / "view"
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(mode=0o755 if shared_way else 0o700)
    granted = list(volumes)
    folders: dict[str, Path] = {}
    for volume in granted:
        parts = (*segments(volume.claim), *segments(volume.path))
        if not segments(volume.claim):
            raise VolumeUnsafeError(f"The volume {volume.name} names no claim.")
        folders[volume.name] = make_folder(storage, parts, way=way, owner=owners.get(volume.name))
    left_out = tuple(
        volume.mount
        # Outer mounts come first, so that it is always the inner one that is left out.
        for volume in sorted(granted, key=lambda volume: len(segments(volume.mount)))
        if not _link(root, segments(volume.mount), folders[volume.name], shared_way)
    )
    home = next((volume for volume in granted if is_home(volume, username)), None) or next(
        (volume for volume in granted if volume.name in private and not volume.read_only), None
    )
    if home is None:
        return View(root, session_dir / "home", "", left_out)
    return View(root, folders[home.name], "/".join(segments(home.mount)), left_out)


def _link(root: Path, mount: Sequence[str], target: Path, shared_way: bool) -> bool:
    current = root
    for name in mount[:-1]:
        current = current / name
        if current.is_symlink():
            return False
        current.mkdir(mode=0o755 if shared_way else 0o700, exist_ok=True)
    if not mount or (current / mount[-1]).exists():
        return False
    (current / mount[-1]).symlink_to(target)
    return True
