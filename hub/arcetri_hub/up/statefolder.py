"""The state folder: whose it is, what must be in it, and who holds it."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum, auto
from pathlib import Path
from typing import Any

from arcetri_hub.up.errors import UpError

MARKER = "arcetri-state.json"
_LOCK = "lock"
_LOGS = "logs"
_PROFILES = "profiles.yaml"
_ASIDE = "before-fresh"
_PASSING = ("sessions", "view", "python", "secrets", "logs", "run", "settings.json", "iam.json")
"""What a new life makes anew."""


@dataclass(frozen=True, slots=True)
class Holder:
    """The supervisor that holds a state folder."""

    pid: int
    url: str


class _Found(Enum):
    """What there was where the folder was to be."""

    NOTHING = auto()
    EMPTY = auto()
    IN_USE = auto()


class StateFolder:
    """A folder that belongs to one running platform at a time.

    Use ``open`` to get one: it is then locked until ``close`` or the end of the process.
    """

    def __init__(self, path: Path, lock: int, marker: dict[str, Any], found: _Found) -> None:
        self.path = path
        self._found = found
        self._lock = lock
        self._marker = marker

    @classmethod
    def open(cls, path: Path, *, others_pass: bool = False) -> StateFolder:
        """Make the folder where there is none, check that it can be used, and lock it.

        Args:
            path: The folder; its parent must exist.
            others_pass: Let other accounts walk through it (not list it), for sessions that run
                as accounts of their own.

        Raises:
            UpError: It cannot be used, or another supervisor holds it.
        """
        path = path.absolute()
        try:
            found = _look(path)
            path.mkdir(exist_ok=True, mode=0o700)
            owner = path.stat().st_uid
            if owner != os.geteuid():
                raise UpError(
                    f"The state folder {path} belongs to another account (uid {owner}): run as "
                    "that account, or choose a folder of your own with --state."
                )
            entries = {entry.name for entry in path.iterdir()}
            if entries and MARKER not in entries:
                raise UpError(
                    f"{path} is not empty and is no Arcetri state folder (it has no {MARKER}): "
                    "choose an empty or new folder with --state."
                )
            path.chmod(0o711 if others_pass else 0o700)
            lock = os.open(path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            _take(lock, path)
            return cls(path, lock, _read_marker(path), found)
        except OSError as error:
            raise _unusable(path, error) from error

    @property
    def instance_id(self) -> str:
        """Tells this folder's processes and leases from those of another."""
        return str(self._marker["instance"])

    @property
    def profiles(self) -> Path:
        """The folder's own catalog, for who names none."""
        return self.path / _PROFILES

    @property
    def settings_file(self) -> Path:
        """What the hub was or will be told."""
        return self.path / "settings.json"

    @property
    def logs(self) -> Path:
        """Where the parts of the platform log."""
        return self._folder(_LOGS)

    @property
    def pids(self) -> Path:
        """A file per part of the platform, with its process id."""
        return self._folder("run")

    def announce(self, url: str) -> None:
        """Leave in the lock who holds the folder, for a second supervisor to say so."""
        text = json.dumps({"pid": os.getpid(), "url": url}).encode()
        try:
            os.ftruncate(self._lock, 0)
            os.pwrite(self._lock, text, 0)
        except OSError as error:
            raise _unusable(self.path, error) from error

    def kept_port(
        self, name: str, choose: Callable[[], int], *, anew: bool = False
    ) -> tuple[int, bool]:
        """The port used as ``name`` since the folder was made, and whether it was just chosen.

        Running sessions and the development IAM's logins know these, so they must not change.

        Args:
            name: Whose port.
            choose: Finds a free one.
            anew: Choose another one all the same.
        """
        ports = self._marker.setdefault("ports", {})
        if name in ports and not anew:
            return int(ports[name]), False
        ports[name] = choose()
        self._write_marker()
        return int(ports[name]), True

    def secret(self, name: str) -> Path:
        """A file with 64 random hexadecimal digits, made once, readable by this account only."""
        path = self._folder("secrets") / name
        if not path.exists():
            self.write(path, secrets.token_hex(32))
        return path

    def write(self, path: Path, text: str) -> None:
        """Write a file of this folder, all or nothing, readable by this account only."""
        try:
            descriptor, temporary = tempfile.mkstemp(dir=path.parent)
            try:
                with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                    file.write(text)
                Path(temporary).replace(path)
            except BaseException:
                Path(temporary).unlink(missing_ok=True)
                raise
        except OSError as error:
            raise _unusable(self.path, error) from error

    def seed(self, name: str) -> None:
        """Make an empty private file where there is none, so that what fills it keeps its mode."""
        try:
            (self.path / name).touch(mode=0o600, exist_ok=True)
        except OSError as error:
            raise _unusable(self.path, error) from error

    def is_used(self) -> bool:
        """Whether a platform ran in this folder before."""
        return self.settings_file.exists()

    def begin_again(self) -> Path | None:
        """Take away what belongs to sessions and logins, and begin a new life.

        Nothing that people made is removed: homes and group folders, the catalog and the database,
        which says whose they were, are moved aside together. They cannot stay: in the new life
        names and numeric ids are given out anew, perhaps to others. What accounting has yet to
        fetch stays where it is.

        Returns:
            Where they are now; None when there was nothing of the kind.
        """
        stamp = f"{datetime.now(UTC):%Y-%m-%dT%H%M%SZ}"
        try:
            aside = [entry for entry in self.path.iterdir() if _is_peoples(entry)]
            kept = _unused(self._folder(_ASIDE) / stamp) if aside else None
            for entry in aside:
                entry.replace((kept or entry.parent) / entry.name)
            for name in _PASSING:
                entry = self.path / name
                if entry.is_dir() and not entry.is_symlink():
                    shutil.rmtree(entry)
                else:
                    entry.unlink(missing_ok=True)
            (self.path / MARKER).unlink(missing_ok=True)
            self._marker = _read_marker(self.path)
        except OSError as error:
            raise _unusable(self.path, error) from error
        return kept

    def forget(self) -> None:
        """Take back what was made here for a platform that never began."""
        made = {MARKER, _LOCK, _LOGS, _PROFILES}
        if (
            self._found is _Found.IN_USE
            or not {entry.name for entry in self.path.iterdir()} <= made
        ):
            return
        shutil.rmtree(self.path / _LOGS, ignore_errors=True)
        for name in made - {_LOGS}:
            (self.path / name).unlink(missing_ok=True)
        if self._found is _Found.NOTHING:
            with contextlib.suppress(OSError):
                self.path.rmdir()

    def close(self) -> None:
        """Let go of the folder."""
        try:
            os.ftruncate(self._lock, 0)
        finally:
            os.close(self._lock)

    def _folder(self, name: str) -> Path:
        folder = self.path / name
        try:
            folder.mkdir(exist_ok=True, mode=0o700)
        except OSError as error:
            raise _unusable(self.path, error) from error
        return folder

    def _write_marker(self) -> None:
        self.write(self.path / MARKER, json.dumps(self._marker, indent=2) + "\n")


def _look(path: Path) -> _Found:
    try:
        return _Found.IN_USE if any(path.iterdir()) else _Found.EMPTY
    except FileNotFoundError:
        return _Found.NOTHING


def _is_peoples(entry: Path) -> bool:
    """Whether an entry of the state folder is somebody's work, or says whose it is."""
    if entry.name == "storage" and entry.is_dir() and not any(entry.iterdir()):
        return False
    return entry.name in ("storage", _PROFILES) or entry.name.startswith("arcetri.sqlite")


def _unused(folder: Path) -> Path:
    """Make a folder of this name, or with a number where there is one."""
    number = 1
    while True:
        try:
            folder.mkdir(mode=0o700)
        except FileExistsError:
            number += 1
            folder = folder.with_name(f"{folder.name.partition('_')[0]}_{number}")
        else:
            return folder


def _take(lock: int, path: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = _holder(lock)
        os.close(lock)
        if holder is None:
            raise UpError(f"A platform already runs, or starts, in {path}.") from None
        raise UpError(
            f"A platform already runs in {path}: it is at {holder.url} (process {holder.pid}); "
            "stop it with Ctrl-C there, or choose another folder with --state and another --port."
        ) from None


def _holder(lock: int) -> Holder | None:
    try:
        data = json.loads(os.pread(lock, 4096, 0))
        return Holder(int(data["pid"]), str(data["url"]))
    except (ValueError, KeyError, TypeError):
        return None


def _read_marker(path: Path) -> dict[str, Any]:
    marker = path / MARKER
    try:
        data = json.loads(marker.read_text(encoding="utf-8"))
    except FileNotFoundError:
        data = {"version": 1, "instance": secrets.token_hex(8)}
        marker.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")
    except ValueError as error:
        raise UpError(f"{marker} is damaged: remove {path}, or choose another --state.") from error
    if not isinstance(data, dict) or data.get("version") != 1 or "instance" not in data:
        raise UpError(
            f"{path} was made by another version of Arcetri: choose another folder with --state."
        )
    return data


def _unusable(path: Path, error: OSError) -> UpError:
    name = errno.errorcode.get(error.errno or 0, "")
    if name in ("ENOTDIR", "EEXIST"):
        return UpError(f"{path} is no folder: choose one with --state.")
    if name == "ENOENT":
        if path.parent.is_dir():  # such as /proc, whose folders the kernel makes
            return UpError(f"No folder can be made in {path.parent}: choose another --state.")
        return UpError(f"{path.parent} does not exist: make it, or choose another --state.")
    if name in ("ENOSPC", "EDQUOT"):
        return UpError(
            f"The disk of the state folder {path} is full: make room, or choose another --state."
        )
    if name in ("EACCES", "EPERM", "EROFS"):
        return UpError(
            f"This account may not write to the state folder {path}: choose another --state."
        )
    return UpError(f"The state folder {path} cannot be used: {error.strerror or error}.")
