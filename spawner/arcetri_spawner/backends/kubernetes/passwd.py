"""/etc/passwd and /etc/group for a person whom the image does not know.

Both travel as annotations of the pod, from which the kubelet writes files: no Secret or ConfigMap
has to be made, nothing has to be writable, and the "restricted" level allows it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

_LONGEST = 32
_SHELL: Final = "/bin/bash"
_TAKEN: Final = frozenset({"root", "nobody", "nogroup"})
_PLAIN = re.compile(r"[^:\x00-\x1f\x7f]+")
_UNSAFE = re.compile(r"[^a-z0-9_]+")


def passwd_text(username: str, uid: int, gid: int, *, home: str, shell: str = _SHELL) -> str:
    """Return a whole /etc/passwd: the person, and the two names that every system has.

    Raises:
        ValueError: A field has a colon or a control character, or the name is the system's.
    """
    for text in (username, home, shell):
        if not _PLAIN.fullmatch(text):
            raise ValueError(f"{text!r} cannot stand in /etc/passwd")
    if username in _TAKEN:
        raise ValueError(f"{username!r} is a name of the system's")
    return (
        "root:x:0:0:root:/root:/bin/sh\n"
        f"{username}:x:{uid}:{gid}::{home}:{shell}\n"
        "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
    )


def group_text(username: str, gid: int, gids: Mapping[str, int]) -> str:
    """Return a whole /etc/group: the person's primary group and every further one.

    Args:
        username: The person, already checked by ``passwd_text``.
        gid: The primary group.
        gids: The further groups, by whatever they are called; names are made readable and unique.
    """
    taken = {*_TAKEN, username}
    lines = ["root:x:0:"]
    if gid not in gids.values():
        lines.append(f"{username}:x:{gid}:")
    for path, number in sorted(gids.items(), key=lambda item: (item[1], item[0])):
        name = _group_name(path, number, taken)
        taken.add(name)
        lines.append(f"{name}:x:{number}:{username}")
    return "\n".join([*lines, "nogroup:x:65534:", ""])


def _group_name(path: str, gid: int, taken: set[str]) -> str:
    readable = _UNSAFE.sub("-", path.lower()).strip("-")[:_LONGEST].strip("-")
    if readable and readable[0].isalpha() and readable not in taken:
        return readable
    name = f"{readable[: _LONGEST - 12].strip('-') or 'group'}-{gid}"
    while name in taken:
        name += "_"
    return name
