"""Who may write: tokens, known by their digests alone, each bound to a node or a writer's name."""

from __future__ import annotations

import hashlib
import os
import stat
import threading
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from arcetri_accounting.ledger.errors import Refused, Unauthorized

_Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Credential(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    sha256: _Digest
    """Of the token, in hexadecimal."""


class AgentCredential(_Credential):
    """Writes usage of one node."""

    role: Literal["agent"]
    node: Annotated[str, Field(min_length=1, max_length=253)]


class WitnessCredential(_Credential):
    """Writes starts and ends of sessions, and catalogs."""

    role: Literal["witness"]
    writer: Annotated[str, Field(min_length=1, max_length=255)]


class MetricsCredential(_Credential):
    """Reads the metrics, and nothing else."""

    role: Literal["metrics"]


Credential = AgentCredential | WitnessCredential | MetricsCredential
_file: TypeAdapter[list[Credential]] = TypeAdapter(
    list[Annotated[Credential, Field(discriminator="role")]]
)


class Credentials:
    """The credentials of a file, read again when it changes."""

    def __init__(self, path: Path | None) -> None:
        """Read the file.

        Raises:
            Refused: It cannot be read, is open to others, or is not what it should be.
        """
        self._path = path
        self._lock = threading.Lock()
        self._seen: tuple[int, ...] = ()
        self._known: dict[str, Credential] = {}
        if path is not None:
            self._read(path)

    def knows(self, token: str) -> bool:
        """Whether it is anybody's."""
        return self._find(token) is not None

    def _find(self, token: str) -> Credential | None:
        with self._lock:
            self._refresh()
            # A digest tells nothing of the token by how long a look-up takes.
            return self._known.get(hashlib.sha256(token.encode()).hexdigest())

    def find(self, token: str) -> Credential:
        """Whose token it is.

        Raises:
            Unauthorized: Nobody's.
        """
        found = self._find(token)
        if found is None:
            raise Unauthorized(
                "The token is none of a writer's.",
                remedy="Take the node's own token, and see that the ledger's credentials file"
                " has its SHA-256.",
            )
        return found

    def _refresh(self) -> None:
        if self._path is None:
            return
        try:
            if _state(self._path) != self._seen:
                self._read(self._path)
        except (OSError, Refused):
            # A file that is being replaced, or was spoilt: what it said last holds.
            return

    def _read(self, path: Path) -> None:
        try:
            seen = _state(path)
            if _is_open(path.stat()):
                raise Refused(
                    f"The credentials file {path} is open to other accounts.",
                    code="credentials_open",
                    remedy=f"Run chmod 600 {path}.",
                )
            known = _file.validate_json(path.read_bytes())
        except OSError as error:
            raise Refused(
                f"The credentials file {path} cannot be read: {error.strerror}.",
                code="credentials_unreadable",
                remedy="Name one that the ledger's account can read with --credentials.",
            ) from None
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]
            where = ".".join(map(str, first["loc"])) or "the file"
            raise Refused(
                f"The credentials file {path} is wrong at {where}: {first['msg']}.",
                code="credentials_malformed",
                remedy='Write a list such as [{"sha256": "...", "role": "agent", "node": "n1"}].',
            ) from None
        self._known = {one.sha256: one for one in known}
        self._seen = seen


def _is_open(found: os.stat_result) -> bool:
    """Whether other accounts can read or write a file.

    A cluster mounts a Secret as root's, to be read by the group of the one pod: that is closed.
    """
    ours = found.st_uid == 0 and found.st_gid == os.getegid() != 0
    closed = stat.S_IRWXO | stat.S_IWGRP | stat.S_IXGRP | (0 if ours else stat.S_IRGRP)
    return bool(found.st_mode & closed)


def _state(path: Path) -> tuple[int, ...]:
    found = path.stat()
    return (found.st_ino, found.st_mtime_ns, found.st_size)
