"""Access lists of a folder that some groups may write and others only read.

Written as the extended attribute that Linux keeps them in, because the tools that would do it
(setfacl) are often not installed.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping

READ = 0o5
WRITE = 0o7

_VERSION = struct.pack("<I", 2)
_ENTRY = struct.Struct("<HHI")
_OWNER, _OWNING_GROUP, _GROUP, _MASK, _OTHER = 0x01, 0x04, 0x08, 0x10, 0x20
_NOBODY = 0xFFFFFFFF


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


def apply(folder: int, owning_group: int, groups: Mapping[int, int]) -> None:
    """Set the access list of an open folder, and hand it on to what is made in it.

    Raises:
        OSError: The file system has no access lists.
    """
    value = encode(owning_group, groups)
    for name in ("system.posix_acl_access", "system.posix_acl_default"):
        os.setxattr(folder, name, value)
