"""Access lists of a folder that some groups may write and others only read.

Written as the extended attribute that Linux keeps them in, because the tools that would do it
(setfacl) are often not installed.
"""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Mapping

READ = 0o5
WRITE = 0o7

_VERSION = struct.pack("<I", 2)
_ENTRY = struct.Struct("<HHI")
_OWNER, _OWNING_GROUP, _GROUP, _MASK, _OTHER = 0x01, 0x04, 0x08, 0x10, 0x20
_NOBODY = 0xFFFFFFFF
_OWN = "system.posix_acl_access"
_HANDED_ON = "system.posix_acl_default"


def encode(owning_group: int, groups: Mapping[int, int]) -> bytes:
    """The attribute's value.

    Args:
        owning_group: What the folder's own group may do (``READ`` or ``WRITE``).
        groups: What other groups may do, by gid.
    """
    entries = [(_OWNER, WRITE, _NOBODY), (_OWNING_GROUP, owning_group, _NOBODY)]
    entries += [(_GROUP, groups[gid], gid) for gid in sorted(groups)]
    entries += [(_MASK, WRITE, _NOBODY), (_OTHER, 0, _NOBODY)]
    return _VERSION + b"".join(_ENTRY.pack(*entry) for entry in entries)


def settle(
    folder: int, owning_group: int, groups: Mapping[int, int], *, inherit: bool = True
) -> bool:
    """Set the access list of an open folder, and hand it on to what is made in it.

    Args:
        folder: Its descriptor.
        owning_group: What the folder's own group may do.
        groups: What other groups may do, by gid.
        inherit: Whether what is made inside gets the same list.

    Returns:
        Whether anything had to be changed.

    Raises:
        OSError: The file system has no access lists.
    """
    value = encode(owning_group, groups)
    changed = False
    # With nobody else in it, the list says no more than the mode does.
    names = [_OWN] if groups else []
    for name in [*names, *([_HANDED_ON] if inherit else [])]:
        if _read(folder, name) != value:
            os.setxattr(folder, name, value)
            changed = True
    return changed


def _read(folder: int, name: str) -> bytes:
    try:
        return os.getxattr(folder, name)
    except OSError as error:
        if error.errno == errno.ENODATA:
            return b""
        raise
