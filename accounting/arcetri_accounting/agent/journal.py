"""The lease journal as a source of allocations; the format is in ``contract.journal``."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path

import structlog
from pydantic import ValidationError

from arcetri_accounting import killpoints
from arcetri_accounting.agent.allocations import (
    Damaged,
    Ended,
    Event,
    SourceError,
    Started,
)
from arcetri_accounting.contract.journal import (
    ACK_SUFFIX,
    JOURNAL_NAME,
    JOURNAL_VERSION,
    JournalAck,
    LeasedDevice,
    LeaseEnded,
    LeaseStarted,
    parse_journal_line,
)
from arcetri_accounting.contract.units import to_ms
from arcetri_accounting.contract.usage import Allocation

log = structlog.get_logger(__name__)

_CHUNK = 1024 * 1024


class LeaseJournal:
    """Follows a journal: appended to, shortened under another inode, or not there yet."""

    def __init__(self, path: Path, observer: str) -> None:
        """Follow the journal at ``path``, a file or the folder that holds it, as ``observer``."""
        self._path = path / JOURNAL_NAME if path.is_dir() or not path.suffix else path
        self._ack = self._path.with_name(self._path.name + ACK_SUFFIX)
        self._observer = observer
        self._file = -1
        self._inode = -1
        self._offset = 0
        self._rest = b""
        self._last = 0

    def poll(self, after: int) -> list[Event]:
        """Read what was appended since the last call; see ``AllocationSource``."""
        events: list[Event] = []
        later: SourceError | None = None
        try:
            if self._unchanged():
                killpoints.reach("journal.read")
                return events
            while True:
                if self._file < 0 and not self._open():
                    break
                self._read(events)
                if not self._replaced():
                    break
                # What was appended between reading and replacing is in the file that is open.
                self._read(events)
                self._close()
        except SourceError as error:
            # What stands before it counts; from there on it is refused at every call.
            self._close()
            later = error
        except OSError as error:
            self._close()
            raise SourceError(f"{self._path}: {error.strerror}") from error
        fresh: list[Event] = []
        for event in events:
            if event.seq <= after:
                continue
            fresh.append(event)
            if not isinstance(event, Damaged):
                after = event.seq
        if later is not None and not fresh:
            raise later
        killpoints.reach("journal.read")
        return fresh

    def acknowledge(self, seq: int) -> None:
        """Write the acknowledgement, whole or not at all."""
        ack = JournalAck(observer=self._observer, seq=seq)
        temporary = self._ack.with_name(self._ack.name + ".new")
        try:
            with temporary.open("wb") as file:
                file.write(ack.model_dump_json().encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
            killpoints.reach("journal.ack_written")
            temporary.replace(self._ack)
        except OSError as error:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise SourceError(f"{self._ack}: {error.strerror}") from error
        killpoints.reach("journal.acknowledged")

    def known_before(self) -> int:
        """The number in the acknowledgement that is there."""
        try:
            return JournalAck.model_validate_json(self._ack.read_bytes()).seq
        except (OSError, ValidationError):
            return 0

    def alive(self) -> dict[tuple[str, str], int]:
        """Nothing: ends are in the journal at once, and processes are looked at."""
        return {}

    def _open(self) -> bool:
        try:
            self._file = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        self._inode = os.fstat(self._file).st_ino
        self._offset = 0
        self._rest = b""
        self._last = 0
        return True

    def _close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
        self._file = -1

    def _unchanged(self) -> bool:
        """Whether all that is there was read: nearly always, so this asks only once."""
        if self._file < 0 or self._rest:
            return False
        try:
            there = self._path.stat()
        except FileNotFoundError:
            return False
        return there.st_ino == self._inode and there.st_size == self._offset

    def _replaced(self) -> bool:
        try:
            there = self._path.stat()
        except FileNotFoundError:
            return False
        return there.st_ino != self._inode

    def _read(self, events: list[Event]) -> None:
        size = os.fstat(self._file).st_size
        if size < self._offset - len(self._rest):
            # Shorter than its whole lines were: something was put back from a copy.
            self._offset, self._rest = 0, b""
        elif self._rest:
            # A torn last line may have been taken back and written over: read it again.
            self._offset -= len(self._rest)
            self._rest = b""
        while chunk := os.pread(self._file, _CHUNK, self._offset):
            self._offset += len(chunk)
            *lines, self._rest = (self._rest + chunk).split(b"\n")
            for line in lines:
                self._take(line, events)

    def _take(self, line: bytes, events: list[Event]) -> None:
        try:
            record = parse_journal_line(line)
            event = _started(record) if isinstance(record, LeaseStarted) else _ended(record)
        except ValidationError as error:
            version = _version(line)
            if version is not None and version > JOURNAL_VERSION:
                raise SourceError(
                    f"{self._path}: has records of version {version}, and this agent knows"
                    f" {JOURNAL_VERSION}: upgrade the agent"
                ) from None
            # What a person or a disk wrote there: quoted nowhere, since it may hold anything.
            detail = f"a line of {len(line)} bytes is no record: {error.errors()[0]['type']}"
            log.error("damaged line in the lease journal", path=str(self._path), detail=detail)
            # It stands where the next number should: seen again, it is known by that.
            events.append(Damaged(self._last + 1, detail))
            return
        self._last = record.seq
        events.append(event)


def _version(line: bytes) -> int | None:
    try:
        version = json.loads(line)["v"]
    except (ValueError, KeyError, TypeError):
        return None
    return version if isinstance(version, int) else None


def _ended(record: LeaseEnded) -> Ended:
    return Ended(
        record.seq,
        record.session,
        to_ms(record.at),
        record.boottime_ms,
        record.boot_id,
        record.at_is_estimate,
    )


def _started(record: LeaseStarted) -> Started:
    devices = record.devices or (LeasedDevice(uuid="", model=""),)
    return Started(
        record.seq,
        record.session,
        tuple(
            _allocation(record, device, first=not number) for number, device in enumerate(devices)
        ),
        record.username,
        to_ms(record.at),
        record.boottime_ms,
        record.boot_id,
        record.pid,
        record.pid_start_ticks,
    )


def _allocation(record: LeaseStarted, device: LeasedDevice, *, first: bool) -> Allocation:
    return Allocation(
        session=record.session,
        device=device.uuid,
        account=record.account,
        group=record.group,
        kind=record.kind,
        flavor=record.flavor,
        flavor_type=record.flavor_type,
        share=record.share,
        catalog=record.catalog,
        model=device.model,
        simulated=device.simulated,
        millicores=round(record.cpu * 1000) if first else 0,
        memory=record.memory if first else 0,
    )
