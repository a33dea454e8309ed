"""What was told of pods, in a file beside the spool: after a crash nothing is told twice or lost.

The file is small, one entry for each allocation whose pod is still there or whose end was not yet
acknowledged, and is written whole at each change, which is when a session begins or ends.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Literal

import structlog
from pydantic import BaseModel, ConfigDict, ValidationError

from arcetri_accounting.agent.allocations import Ended, SourceError, Started
from arcetri_accounting.agent.pods.joining import Track
from arcetri_accounting.contract.usage import Allocation

log = structlog.get_logger(__name__)


class _Row(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _Start(_Row):
    seq: int
    allocation: Allocation
    username: str
    wall: int
    boot: int


class _End(_Row):
    seq: int
    wall: int
    boot: int
    boot_id: str
    estimated: bool


class _Track(_Row):
    uid: str
    namespace: str
    name: str
    container: str
    boot_id: str
    started: _Start
    ended: _End | None


class _File(_Row):
    v: Literal[1] = 1
    born: int
    seq: int
    acknowledged: int
    tracks: list[_Track]


class Record:
    """The file, and what it said."""

    def __init__(self, path: Path, now: int) -> None:
        """Read the file at ``path``; where there is none, make one and count from now on.

        Raises:
            OSError: It cannot be read, or made.
        """
        self._path = path
        self.born = now
        self.seq = 0
        self.acknowledged = 0
        self.tracks: list[Track] = []
        self.damaged = ""
        """Why what was there could not be used."""
        try:
            kept = _File.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            self._put([], 0, 0)
            return
        except ValidationError as error:
            self.damaged = f"{path.name} cannot be read: {error.errors()[0]['type']}"
            aside = path.with_name(f"{path.name}.damaged-{now}")
            log.error("the record of pods is damaged; a new one begins", kept=str(aside))
            path.replace(aside)
            self._put([], 0, 0)
            return
        self.born, self.seq, self.acknowledged = kept.born, kept.seq, kept.acknowledged
        self.tracks = [_load(one) for one in kept.tracks]

    def write(self, tracks: list[Track], seq: int, acknowledged: int) -> None:
        """Write it whole, or not at all.

        Raises:
            SourceError: It cannot be written.
        """
        try:
            self._put(tracks, seq, acknowledged)
        except OSError as error:
            raise SourceError(f"{self._path}: {error.strerror}") from error

    def _put(self, tracks: list[Track], seq: int, acknowledged: int) -> None:
        kept = _File(
            born=self.born,
            seq=seq,
            acknowledged=acknowledged,
            tracks=[_dump(one) for one in tracks],
        )
        temporary = self._path.with_name(self._path.name + ".new")
        try:
            with temporary.open("wb") as file:
                file.write(kept.model_dump_json().encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(self._path)
            folder = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise
        self.seq, self.acknowledged = seq, acknowledged


def _dump(track: Track) -> _Track:
    started, ended = track.started, track.ended
    return _Track(
        uid=track.uid,
        namespace=track.namespace,
        name=track.name,
        container=track.container,
        boot_id=track.boot_id,
        started=_Start(
            seq=started.seq,
            allocation=started.allocations[0],
            username=started.username,
            wall=started.wall,
            boot=started.boot,
        ),
        ended=None
        if ended is None
        else _End(
            seq=ended.seq,
            wall=ended.wall,
            boot=ended.boot,
            boot_id=ended.boot_id,
            estimated=ended.estimated,
        ),
    )


def _load(row: _Track) -> Track:
    one, end = row.started, row.ended
    session = one.allocation.session
    started = Started(
        one.seq, session, (one.allocation,), one.username, one.wall, one.boot, row.boot_id
    )
    ended = None
    if end is not None:
        devices = (one.allocation.device,)
        ended = Ended(end.seq, session, end.wall, end.boot, end.boot_id, end.estimated, devices)
    return Track(row.uid, row.namespace, row.name, row.container, row.boot_id, started, ended)
