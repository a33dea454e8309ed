"""The state file: read once, written whole after every change, for one process at a time."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
from pathlib import Path

from pydantic import ValidationError

from arcetri_hub.devidp.directory import restore_demo
from arcetri_hub.devidp.keys import make_key
from arcetri_hub.devidp.models import State

log = logging.getLogger(__name__)


class StateFileError(Exception):
    """The state file cannot be used; the message is one sentence with what to do."""


class StateFile:
    """Reads and writes one state file, readable by this account only."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: int | None = None

    def load(self, now: int) -> State:
        """Return what the file holds, or the demonstration when there is no file.

        Raises:
            StateFileError: Another process has it, or it cannot be read or understood.
        """
        self._acquire()
        try:
            text = self.path.read_text(encoding="utf-8")
        except FileNotFoundError:
            state = State(key=make_key("rsa1"))
            restore_demo(state, now)
            return state
        except (OSError, UnicodeDecodeError) as error:
            raise StateFileError(f"{self.path} cannot be read: {error}.") from error
        try:
            state = State.model_validate_json(text)
        except ValidationError as error:
            raise StateFileError(
                f"{self.path} is not a state file of this version of the development IAM; "
                "delete it to start from the demonstration's users again."
            ) from error
        state.prune(now)
        return state

    def save(self, state: State) -> None:
        """Write the state, all or nothing.

        A full disk does not stop the provider: it goes on from memory and says so in its log.
        """
        temporary = self.path.with_name(self.path.name + ".new")
        try:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(state.model_dump_json())
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(self.path)
        except OSError as error:
            log.warning("the state is kept in memory only: %s", error)
            with contextlib.suppress(OSError):
                temporary.unlink()

    def _acquire(self) -> None:
        if self._lock is not None:
            return
        lock_path = self.path.with_name(self.path.name + ".lock")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StateFileError(f"{self.path.parent} cannot be written: {error}.") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(descriptor)
            raise StateFileError(
                f"another development IAM uses {self.path}; stop it, or name another file."
            ) from error
        self._lock = descriptor
