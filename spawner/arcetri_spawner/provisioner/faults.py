"""What keeps a folder from being made, in words."""

from __future__ import annotations

import errno
from typing import ClassVar, Final

from arcetri_spawner.errors import StartFailed

TELL: Final = "Nothing that you chose is wrong: tell the operator of the platform"


class FolderTrouble(StartFailed):
    """A session's folders could not be made ready.

    Attributes:
        details: What the system said, for the operator.
        passing: Whether it may go by itself soon.
    """

    default_code = "folders_failed"
    codes: ClassVar[tuple[str, ...]] = (
        "claim_not_served",
        "provisioner_away",
        "provisioner_refused",
        "storage_away",
        "claim_full",
        "storage_no_lists",
        "storage_read_only",
        "storage_squashed",
    )

    def __init__(self, message: str, *, code: str, remedy: str, details: str = "") -> None:
        super().__init__(message, code=code, remedy=remedy)
        self.details = details
        self.passing = code in ("provisioner_away", "storage_away")
        if code in ("provisioner_away", "storage_away", "claim_full"):
            self.status = 503


_FULL: Final = (errno.ENOSPC, errno.EDQUOT)
_AWAY: Final = (
    errno.EIO, errno.ENOTCONN, errno.ESTALE, errno.ETIMEDOUT, errno.EHOSTDOWN, errno.ECONNREFUSED,
    errno.EHOSTUNREACH, errno.ENXIO, errno.ENODEV,
)  # fmt: skip
_NO_LISTS: Final = (errno.ENOTSUP, errno.ENOSYS)


def of_error(error: OSError, folder: str, claim: str) -> FolderTrouble:
    """Say what an operation's failure means.

    Args:
        error: What the system said.
        folder: Which folder was to be made, with its claim.
        claim: The claim.
    """
    said = f"{folder}: {error.strerror or error}"
    number = error.errno
    if number in _FULL:
        return FolderTrouble(
            f'The storage "{claim}" is full, so your folder {folder} cannot be made.',
            code="claim_full",
            remedy="The operator frees space on it. Sessions whose folders are there can start.",
            details=said,
        )
    if number == errno.EROFS:
        return FolderTrouble(
            f'The storage "{claim}" can only be read at the moment, so your folder {folder} cannot'
            " be made.",
            code="storage_read_only",
            remedy=f"{TELL}, who mounts it for writing in the provisioner.",
            details=said,
        )
    if number in (errno.EPERM, errno.EACCES):
        return squashed(folder, claim, said)
    if number in _NO_LISTS:
        return FolderTrouble(
            f"Several groups share the folder {folder}, and its storage keeps no access lists.",
            code="storage_no_lists",
            remedy=f"{TELL}, who mounts the storage with access lists (GlusterFS: option acl), or"
            " gives each group a volume of its own in profiles.yaml.",
            details=said,
        )
    if number in _AWAY:
        return away(claim, said)
    return FolderTrouble(
        f"Your folder {folder} could not be made ready.",
        code="folders_failed",
        remedy=f"{TELL}, with the details.",
        details=said,
    )


def squashed(folder: str, claim: str, details: str) -> FolderTrouble:
    """The file system lets the provisioner give folders to nobody."""
    return FolderTrouble(
        f'The storage "{claim}" does not let the platform give your folder {folder} to you.',
        code="storage_squashed",
        remedy=f"{TELL}, who exports the storage to the provisioner without root squash"
        " (no_root_squash), or makes the folder and its owner by hand.",
        details=details,
    )


def away(claim: str, details: str) -> FolderTrouble:
    """The file system gives no answer."""
    return FolderTrouble(
        f'The storage "{claim}" does not answer at the moment.',
        code="storage_away",
        remedy="Start again in a few minutes. If it lasts, tell the operator of the platform.",
        details=details,
    )


def not_served(claim: str) -> FolderTrouble:
    """The provisioner has no such claim."""
    return FolderTrouble(
        f'The storage "{claim}", on which a folder of your session lies, is not connected to the'
        " provisioner.",
        code="claim_not_served",
        remedy=f"{TELL}, who names the claim under storage in the chart's values, or corrects the"
        " volume's claim in profiles.yaml.",
    )
