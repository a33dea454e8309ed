"""Gives the calling process a file system of its own making: what the session's plan names.

Loaded by the keeper's forked child, before it turns into the server, with the standard library
alone. What is mounted here is seen by that process and its children only, and is gone with the last
of them; the machine's own file system is never written to.

Run by path (``python -I -S room.py``, the plan on standard input) it only tries, and says by its
exit status whether this machine lets it.
"""

# ruff: noqa: PTH102, PTH106, PTH123, PTH211 - pathlib would double the time to start
from __future__ import annotations

import contextlib
import ctypes
import json
import os
import sys
from collections.abc import Callable
from typing import Any

_CLONE_NEWNS = 0x00020000
_CLONE_NEWUSER = 0x10000000
_MS_NOSUID = 0x2
_MS_NODEV = 0x4
_MS_BIND = 0x1000
_MS_REC = 0x4000
_MS_SLAVE = 0x80000
_MNT_DETACH = 2
_MOUNT_SETATTR = 442
_AT_FDCWD = -100
_AT_RECURSIVE = 0x8000
_RDONLY = 1
_PR_CAPBSET_DROP = 24
_CAP_SYS_ADMIN = 21

_OLD = "/.machine"
"""Where the machine's own root is while the new one is made."""

_libc = ctypes.CDLL(None, use_errno=True)


def _checked(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def _mount(source: str, target: str, kind: str, flags: int, data: str = "") -> None:
    result = _libc.mount(
        os.fsencode(source),
        os.fsencode(target),
        kind.encode(),
        ctypes.c_ulong(flags),
        data.encode(),
    )
    _checked(result, f"mounting {target}")


def _protect(path: str, *, below: bool) -> None:
    """Make the mount at ``path`` read only, with every mount below it where ``below`` says so."""
    attributes = (ctypes.c_uint64 * 4)(_RDONLY, 0, 0, 0)
    result = _libc.syscall(
        ctypes.c_long(_MOUNT_SETATTR),
        ctypes.c_long(_AT_FDCWD),
        ctypes.c_char_p(os.fsencode(path)),
        ctypes.c_long(_AT_RECURSIVE if below else 0),
        ctypes.byref(attributes),
        ctypes.c_size_t(ctypes.sizeof(attributes)),
    )
    _checked(result, f"making {path} read only")


def _bind(path: str, source: str) -> None:
    _mount(_OLD + source, path, "", _MS_BIND | _MS_REC)


def _cover(path: str, mode: int) -> None:
    _mount("arcetri", path, "tmpfs", _MS_NOSUID | _MS_NODEV, f"mode={mode:o},size=1m")


def _file(path: str, _: object) -> None:
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600))


_STEPS: dict[str, Callable[[str, Any], None]] = {
    "folder": lambda path, mode: os.mkdir(path, mode),
    "file": _file,
    "link": lambda path, to: os.symlink(to, path),
    "bind": _bind,
    "cover": _cover,
    "protect": lambda path, below: _protect(path, below=below),
}


def enter(plan: dict[str, Any]) -> None:
    """Leave the machine's file system for the one that ``plan`` describes.

    Args:
        plan: ``user``: do it in a user namespace, without privilege; ``at``: any folder, which
            stays as it is; ``steps``: as ``arcetri_spawner.backends.local.mounts`` makes them.

    Raises:
        OSError: The kernel does not let this process, or a folder that must be shown is not there.
    """
    uid, gid = os.geteuid(), os.getegid()
    user = _CLONE_NEWUSER if plan["user"] else 0
    _checked(_libc.unshare(_CLONE_NEWNS | user), "making a namespace")
    if user:
        for name, text in (
            ("setgroups", "deny"),
            ("uid_map", f"{uid} {uid} 1"),
            ("gid_map", f"{gid} {gid} 1"),
        ):
            with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
                file.write(text)
    # What the machine mounts later is still seen; what is mounted here never leaves.
    _mount("", "/", "", _MS_REC | _MS_SLAVE)
    mask = os.umask(0)
    _cover(plan["at"], 0o755)
    os.mkdir(plan["at"] + _OLD, 0o700)
    _checked(
        _libc.pivot_root(os.fsencode(plan["at"]), os.fsencode(plan["at"] + _OLD)), "changing root"
    )
    os.chdir("/")
    for step, path, argument, needed in plan["steps"]:
        with contextlib.nullcontext() if needed else contextlib.suppress(OSError):
            _STEPS[step](path, argument)
    _checked(_libc.umount2(os.fsencode(_OLD), _MNT_DETACH), "leaving the machine's root")
    os.rmdir(_OLD)
    _protect("/", below=False)
    os.umask(mask)
    # From the next program on, not even root undoes what was mounted; others lose the right anyway.
    _libc.prctl(_PR_CAPBSET_DROP, _CAP_SYS_ADMIN, 0, 0, 0)


def main() -> int:
    """Try; the reason why not is one line on standard error."""
    plan = json.load(sys.stdin)
    try:
        enter(plan)
        if not os.statvfs(plan["protected"]).f_flag & os.ST_RDONLY:
            raise OSError("what was made read only is not")
    except OSError as error:
        sys.stderr.write(f"{error.strerror or error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
