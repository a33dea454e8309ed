"""The plan of a session's own file system: volumes mounted at the catalog's places.

The session sees the machine as it is, but for three things: every folder on the way to a mount is
made anew, with what the machine has in it, so that nothing of the machine's is written to; the
state folder holds only what is the session's; and single files, such as ``/etc/passwd``, have
others of the session's in their place. Carried out by ``room.py``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

ROOM = Path(__file__).with_name("room.py")

_PATIENCE = 10.0
_ENTRIES = 512
_WAY_MODE = 0o755
_STATE_MODE = 0o711

Step = tuple[str, str, object, bool]
"""What to do, at which path, with what, and whether the session cannot do without."""


@dataclass(frozen=True, slots=True)
class Mount:
    """A folder of the machine that a session sees at a place of its own."""

    place: str
    source: Path
    read_only: bool


def plan(
    at: Path,
    state_dir: Path,
    mounts: Sequence[Mount],
    *,
    kept: Collection[Path] = (),
    shown: Sequence[Mount] = (),
    links: Mapping[Path, str] | None = None,
    files: Mapping[str, Path] | None = None,
) -> dict[str, Any]:
    """Plan a session's file system.

    Args:
        at: An existing folder, which stays as it is.
        state_dir: The platform's state folder; of what is in it only what follows is seen.
        mounts: Volumes at places outside the state folder, none inside another.
        kept: Files and folders below ``state_dir`` that are seen as they are.
        shown: Volumes that are seen below ``state_dir``, at their own places.
        links: Symbolic links below ``state_dir``, and where they lead.
        files: By their places, files that stand for the machine's.

    Raises:
        OSError: A folder of the machine cannot be listed.
    """
    steps = list(_machine(mounts))
    steps += [("bind", place, str(file), True) for place, file in (files or {}).items()]
    inside = _Folders()
    inside.made.update({"/", *_parents(str(state_dir)), str(state_dir)})
    steps.append(("cover", str(state_dir), _STATE_MODE, True))
    for path in sorted(path for path in set(kept) if set(kept).isdisjoint(path.parents)):
        steps += inside.to(str(path), leaf=path.is_dir())
        steps.append(("bind", str(path), str(path), True))
    for mount in shown:
        steps += inside.to(mount.place)
        steps += _mounted(mount)
    for link, target in (links or {}).items():
        steps += inside.to(str(link.parent))
        steps.append(("link", str(link), target, True))
    steps.append(("protect", str(state_dir), False, True))
    return {"user": os.geteuid() != 0, "at": str(at), "steps": steps}


def _machine(mounts: Sequence[Mount]) -> Iterator[Step]:
    """The machine's root with the mounts in it."""
    ways = {"/"}
    for mount in mounts:
        ways.update(_parents(mount.place))
    places = {mount.place for mount in mounts}
    made = _Folders()
    made.made.update({"/"})
    for way in sorted(ways):
        yield from made.to(way)
        try:
            entries = sorted(os.scandir(way), key=lambda entry: entry.name)
        except FileNotFoundError:
            continue
        for entry in entries:
            path = os.path.join(way, entry.name)  # noqa: PTH118 - a Path would drop nothing we need
            if path not in ways and path not in places:
                yield from _entry(entry, path)
    for mount in mounts:
        yield from made.to(mount.place)
        yield from _mounted(mount)


def _entry(entry: os.DirEntry[str], path: str) -> Iterator[Step]:
    # What cannot be shown, because it has gone or is closed to this account, is not there.
    if entry.is_symlink():
        yield ("link", path, os.readlink(path), False)  # noqa: PTH115 - as it is written
        return
    yield ("folder", path, _WAY_MODE, False) if entry.is_dir() else ("file", path, None, False)
    yield ("bind", path, path, False)


def _mounted(mount: Mount) -> Iterator[Step]:
    yield ("bind", mount.place, str(mount.source), True)
    if mount.read_only:
        yield ("protect", mount.place, True, True)


class _Folders:
    """Remembers which folders there are, so that each is made once."""

    def __init__(self) -> None:
        self.made: set[str] = set()

    def to(self, path: str, *, leaf: bool = True) -> Iterator[Step]:
        """Make the folders down to ``path``; where that is no folder, a file to mount it on."""
        for folder in (*_parents(path), path):
            if folder in self.made:
                continue
            self.made.add(folder)
            if folder == path and not leaf:
                yield ("file", folder, None, True)
            else:
                yield ("folder", folder, _WAY_MODE, True)


def _parents(path: str) -> list[str]:
    """Every folder above ``path``, the outermost first."""
    return [str(parent) for parent in reversed(Path(path).parents)]


def can_hold(folder: Path) -> bool:
    """Whether a folder on the way to a mount can be made anew with what the machine has in it.

    Not one that others write in, that is closed to others, that makes its entries only when they
    are asked for, or that has very many.
    """
    try:
        status = folder.stat()
        if not folder.is_dir():
            return False
        if status.st_mode & 0o002 or status.st_mode & 0o005 != 0o005:
            return False
        if os.geteuid() != 0 and os.access(folder, os.W_OK):
            return False
        with os.scandir(folder) as entries:
            if sum(1 for _ in zip(entries, range(_ENTRIES + 1), strict=False)) > _ENTRIES:
                return False
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return str(folder.resolve()) not in _automounted()


def _automounted() -> set[str]:
    """Folders whose entries appear when they are asked for."""
    try:
        lines = Path("/proc/self/mounts").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return set()
    fields = (line.split() for line in lines)
    return {field[1] for field in fields if len(field) > 2 and field[2] == "autofs"}


def why_not() -> str:
    """Try it on this machine; why sessions cannot have mounts of their own, empty when they can."""
    with TemporaryDirectory(prefix="arcetri-try-") as name:
        folder = Path(name)
        (folder / "data").mkdir()
        tried = Mount("/arcetri-try/data", folder / "data", read_only=True)
        wanted = {**plan(folder, folder, [tried]), "protected": tried.place}
        try:
            done = subprocess.run(  # noqa: S603 - this file's neighbour
                [sys.executable, "-I", "-S", str(ROOM)],
                input=json.dumps(wanted),
                capture_output=True,
                text=True,
                timeout=_PATIENCE,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return str(error)
    if done.returncode == 0:
        return ""
    return (done.stderr.strip().splitlines() or ["it failed"])[-1]
