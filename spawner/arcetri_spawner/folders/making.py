"""Makes folders, and gives them to whom they belong.

Every step goes through descriptors and follows no symbolic link, because users write in folders on
the way: a link they leave there must not lead the platform anywhere else. A second call changes
nothing, and finishes what one that was cut short has begun. What belongs to somebody else is never
taken from them.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from arcetri_spawner import killpoints
from arcetri_spawner.errors import BackendError
from arcetri_spawner.folders import acl

_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FRESH: Final = 0o700
_NO_LISTS: Final = (errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)


class VolumeUnsafeError(BackendError):
    """A volume's folder is not where it should be."""

    default_code = "volume_unsafe"
    codes = ("volume_owner", "volume_removed")


@dataclass(frozen=True, slots=True)
class Owner:
    """To whom a folder belongs, and how it may be used."""

    uid: int
    gid: int
    mode: int
    others: tuple[tuple[int, int], ...] = ()
    """Further groups, as (gid, permissions), where several volumes show one folder."""
    inherit: bool = False
    """Where the file system has access lists: what is made inside is its group's to use as the
    folder is, whatever the umask of the program that makes it."""
    strict: bool = True
    """Whether a folder of somebody else's will not do."""


@dataclass(frozen=True, slots=True)
class Space:
    """How much a file system has, as it tells for one of its folders."""

    size: int
    """Bytes."""
    free: int
    """Bytes that remain for people who are not root."""
    own: bool = False
    """Whether the folder has a bound of its own, by a quota that the file system tells."""


FULL: Final = 1024 * 1024
"""A folder with less than these bytes free is full: a notebook could not be saved in it."""


def is_full(space: Space | None) -> bool:
    """Whether nothing can be saved in a folder, as far as it is known."""
    return space is not None and space.size > 0 and space.free < FULL


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a folder."""

    made: bool
    space: Space | None = None


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
    make(base, parts, way=way, owner=owner)
    return base.joinpath(*parts)


def make(base: Path, parts: Sequence[str], *, way: int, owner: Owner | None) -> Outcome:
    """As ``make_folder``, and say what became of it, and how much room there is.

    Raises:
        VolumeUnsafeError: Something on the way is no folder, or is a symbolic link; or the folder
            is somebody else's.
        OSError: The file system refuses.
    """
    if not parts:
        raise ValueError("a folder needs a name")
    with contextlib.ExitStack() as stack:
        root = current = _open(base, None, stack)
        made = False
        for index, name in enumerate(parts):
            made = _mkdir(name, current)
            current = _below(base, parts, index, current, stack)
            if made:
                killpoints.reach("folder.made")
                _check_maker(current, owner if index == len(parts) - 1 else None)
                if index < len(parts) - 1:
                    os.fchmod(current, way)
        if owner is not None:
            _settle(current, owner, "/".join(parts))
        return Outcome(made, _space(current, root))


def room(base: Path, parts: Sequence[str]) -> Space | None:
    """How much room a folder has; None where it is not there.

    Raises:
        VolumeUnsafeError: Something on the way is no folder, or is a symbolic link.
        OSError: The file system refuses.
    """
    with contextlib.ExitStack() as stack:
        root = current = _open(base, None, stack)
        for index in range(len(parts)):
            try:
                current = _below(base, parts, index, current, stack)
            except VolumeUnsafeError as error:
                if isinstance(error.__cause__, FileNotFoundError):
                    return None
                raise
        return _space(current, root)


def _open(name: Path | str, folder: int | None, stack: contextlib.ExitStack) -> int:
    found = os.open(name, _FOLDER, dir_fd=folder)
    stack.callback(os.close, found)
    return found


def _below(
    base: Path, parts: Sequence[str], index: int, folder: int, stack: contextlib.ExitStack
) -> int:
    name = parts[index]
    try:
        return _open(name, folder, stack)
    except OSError as error:
        if error.errno not in (errno.ENOTDIR, errno.ELOOP, errno.ENOENT):
            raise
        raise VolumeUnsafeError(
            f"The volume's folder {'/'.join(parts)} cannot be used: {name} is no folder.",
            remedy=f"The operator looks at it in {base}.",
        ) from error


def _mkdir(name: str, folder: int) -> bool:
    try:
        os.mkdir(name, _FRESH, dir_fd=folder)
    except FileExistsError:
        return False
    except OSError as error:
        # Some file systems say first that they are read-only or full, and then that it is there.
        if error.errno in (errno.EROFS, errno.ENOSPC, errno.EDQUOT) and _is_there(name, folder):
            return False
        raise
    return True


def _check_maker(folder: int, owner: Owner | None) -> None:
    """Refuse a file system that makes folders as somebody else (NFS calls it root squash)."""
    # Another call may have given it away already.
    right = {os.geteuid(), owner.uid if owner else os.geteuid()}
    if os.fstat(folder).st_uid not in right:
        raise PermissionError(errno.EPERM, "the storage made the folder as another account's")


def _is_there(name: str, folder: int) -> bool:
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _settle(folder: int, owner: Owner, name: str) -> None:
    found = os.fstat(folder)
    right = (found.st_uid, found.st_gid) == (owner.uid, owner.gid)
    # Judged by what it is, not by who made it: one made by a call that was cut short still belongs
    # to the platform, and one that somebody put in its place a moment ago does not.
    ours = found.st_uid == os.geteuid() and _empty(folder)
    if ours and (not right or found.st_mode & 0o7777 == _FRESH):
        os.fchown(folder, owner.uid, owner.gid)
        killpoints.reach("folder.given")
        os.fchmod(folder, owner.mode)
    elif not right:
        if not owner.strict:
            return
        raise VolumeUnsafeError(
            f"The folder {name} belongs to another account.",
            code="volume_owner",
            remedy=(
                "The operator gives it to its owner:"
                f" `chown -R {owner.uid}:{owner.gid}` on it, where the storage is."
            ),
        )
    if owner.others or owner.inherit:
        _list(folder, owner)


def _list(folder: int, owner: Owner) -> None:
    """Set the access list, unless it is as it should be."""
    try:
        acl.settle(folder, owner.mode >> 3 & 0o7, dict(owner.others), inherit=True)
    except OSError as error:
        # Without lists its one group has what the mode says; further groups would have nothing.
        if owner.others or error.errno not in _NO_LISTS:
            raise


def _empty(folder: int) -> bool:
    with os.scandir(folder) as entries:
        return next(entries, None) is None


def _space(folder: int, root: int) -> Space:
    told, whole = os.fstatvfs(folder), os.fstatvfs(root)
    own = (told.f_blocks, told.f_frsize) != (whole.f_blocks, whole.f_frsize)
    return Space(told.f_blocks * told.f_frsize, told.f_bavail * told.f_frsize, own)
