"""The state folder: whose it is, what must be in it, and who holds it."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from arcetri_hub.up.errors import UpError

MARKER = "arcetri-state.json"
_LOCK = "lock"
_PROFILES = "profiles.yaml"


@dataclass(frozen=True, slots=True)
class Holder:
    """The supervisor that holds a state folder."""

    pid: int
    url: str


class StateFolder:
    """A folder that belongs to one running platform at a time.

    Use ``open`` to get one: it is then locked until ``close`` or the end of the process.
    """

    def __init__(self, path: Path, lock: int, marker: dict[str, Any]) -> None:
        self.path = path
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
            return cls(path, lock, _read_marker(path))
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
        return self._folder("logs")

    def announce(self, url: str) -> None:
        """Leave in the lock who holds the folder, for a second supervisor to say so."""
        text = json.dumps({"pid": os.getpid(), "url": url}).encode()
        try:
            os.ftruncate(self._lock, 0)
            os.pwrite(self._lock, text, 0)
        except OSError as error:
            raise _unusable(self.path, error) from error

    def kept_port(self, name: str, choose: Callable[[], int]) -> tuple[int, bool]:
        """The port used as ``name`` since the folder was made, and whether it was just chosen.

        Running sessions and the development IAM's logins know these, so they must not change.
        """
        ports = self._marker.setdefault("ports", {})
        if name in ports:
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

    def empty(self) -> Path | None:
        """Remove everything but the lock, and begin a new life with a new instance id.

        A catalog that lies in the folder may be somebody's work: it is kept beside the new one.

        Returns:
            Where the old catalog is now, if there was one.
        """
        kept: Path | None = None
        try:
            for entry in self.path.iterdir():
                if entry.name in (_LOCK, MARKER, f"{_PROFILES}.before-fresh"):
                    continue
                if entry.name == _PROFILES:
                    kept = entry.replace(entry.with_name(f"{_PROFILES}.before-fresh"))
                elif entry.is_dir() and not entry.is_symlink():
                    shutil.rmtree(entry)
                else:
                    entry.unlink()
            (self.path / MARKER).unlink(missing_ok=True)
            self._marker = _read_marker(self.path)
        except OSError as error:
            raise _unusable(self.path, error) from error
        return kept

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
