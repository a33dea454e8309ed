"""The lease journal's writer; the format is in ``arcetri_accounting.contract.journal``.

One writer at a time (an advisory lock on a file beside it). A record counts once ``append`` has
returned: it is then on the disk. All methods block and may be called from any thread.
"""

from __future__ import annotations

import errno
import fcntl
import os
import threading
from collections.abc import Iterable
from pathlib import Path

import structlog
from pydantic import ValidationError

from arcetri_accounting.contract.journal import (
    ACK_SUFFIX,
    JournalAck,
    LeaseEnded,
    LeaseStarted,
    parse_journal_line,
)
from arcetri_spawner import killpoints
from arcetri_spawner.errors import Conflict, StorageFull, StoreError
from arcetri_spawner.usage import Told, tell_nobody

log = structlog.get_logger(__name__)

Record = LeaseStarted | LeaseEnded

_RESERVE_BYTES = 64 * 1024
_COMPACT_BYTES = 1024 * 1024


class Journal:
    """An open journal.

    A reserve file keeps room on the disk for the ends of sessions that run: where a full disk
    refuses an end, the reserve is given up for it, and no session starts until it is there again.
    """

    def __init__(
        self, path: Path, *, compact_bytes: int = _COMPACT_BYTES, told: Told = tell_nobody
    ) -> None:
        """Open the journal at ``path``, mending a torn last line; it is made if it is missing.

        Args:
            path: The file.
            compact_bytes: From which size on it is shortened.
            told: Called with every record once it is on the disk, and with all that are there now:
                its last call may have been lost with the process.

        Raises:
            Conflict: Another process writes it.
            StorageFull: The disk is full.
            StoreError: It cannot be read or written.
        """
        self._path = path
        self._reserve = path.with_suffix(".reserve")
        self._compact_bytes = compact_bytes
        self._told = told
        self._lock = threading.RLock()
        self._seq = 0
        self._open: dict[str, LeaseStarted] = {}
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._guard = os.open(
                path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
            )
            self._take_guard()
            self._file = self._open_file()
            self._read_back()
        except OSError as error:
            raise _as_store_error(error, path) from error

    @property
    def open_sessions(self) -> dict[str, LeaseStarted]:
        """Sessions that have started and not ended, by id."""
        with self._lock:
            return dict(self._open)

    def prepare(self) -> None:
        """Make sure that a start and its end can be written; call it before starting anything.

        Raises:
            StorageFull: There is no room.
        """
        with self._lock:
            try:
                self._make_reserve()
            except OSError as error:
                raise _as_store_error(error, self._path) from error

    def append_start(self, record: LeaseStarted) -> LeaseStarted:
        """Write the record under the next number, and return it so.

        Raises:
            StorageFull: The disk is full; nothing was written.
            StoreError: It cannot be written.
        """
        with self._lock:
            record = record.model_copy(update={"seq": self._seq + 1})
            try:
                self._write(record)
            except OSError as error:
                raise _as_store_error(error, self._path) from error
            self._open[record.session] = record
            self._told(record)
            return record

    def append_end(self, record: LeaseEnded) -> LeaseEnded | None:
        """Write the end under the next number; None when it never started or has its end already.

        Raises:
            StorageFull: The disk is full and the reserve is used up; nothing was written.
            StoreError: It cannot be written.
        """
        with self._lock:
            if record.session not in self._open:
                return None
            record = record.model_copy(update={"seq": self._seq + 1})
            try:
                try:
                    self._write(record)
                except OSError as error:
                    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                        raise
                    self._reserve.unlink(missing_ok=True)
                    self._write(record)
            except OSError as error:
                raise _as_store_error(error, self._path) from error
            del self._open[record.session]
            self._told(record)
            self._compact_if_large()
            return record

    def compact(self) -> int:
        """Drop acknowledged records of ended leases; return how many.

        Called when an end makes the file large. The newest record always stays, so that numbers go
        on from it.
        """
        with self._lock:
            try:
                acknowledged = self._acknowledged(limit=self._seq)
                lines = self._path.read_bytes().splitlines(keepends=True)
                kept = [line for line in lines if self._must_stay(line, acknowledged)]
                if len(kept) < len(lines):
                    self._replace(kept)
                return len(lines) - len(kept)
            except OSError as error:
                raise _as_store_error(error, self._path) from error

    def close(self) -> None:
        """Let another process write it."""
        with self._lock:
            os.close(self._file)
            os.close(self._guard)

    def _take_guard(self) -> None:
        try:
            fcntl.flock(self._guard, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._guard)
            raise Conflict(
                f"Another process writes {self._path}.",
                remedy="One hub at a time can use a state folder: stop the other one first.",
            ) from None

    def _open_file(self) -> int:
        return os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def _read_back(self) -> None:
        data = self._path.read_bytes()
        whole = data.rfind(b"\n") + 1
        if whole != len(data):
            log.warning("torn last line of the lease journal removed", bytes=len(data) - whole)
            os.ftruncate(self._file, whole)
            os.fsync(self._file)
        for record in _records(data[:whole].splitlines()):
            self._seq = max(self._seq, record.seq)
            if isinstance(record, LeaseStarted):
                self._open[record.session] = record
            else:
                self._open.pop(record.session, None)
            self._told(record)
        # The observer may be ahead of a journal that was put back from a copy.
        self._seq = max(self._seq, self._acknowledged(limit=None))

    def _write(self, record: Record) -> None:
        line = record.model_dump_json().encode() + b"\n"
        size = os.fstat(self._file).st_size
        try:
            if killpoints.armed("journal.half_written"):
                os.write(self._file, line[: len(line) // 2])
                killpoints.reach("journal.half_written")
            written = os.write(self._file, line)
            if written != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(self._file)
        except OSError:
            # Half a record would swallow the next one.
            os.ftruncate(self._file, size)
            raise
        self._seq = record.seq

    def _make_reserve(self) -> None:
        if self._reserve.exists() and self._reserve.stat().st_size == _RESERVE_BYTES:
            return
        descriptor = os.open(self._reserve, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, _RESERVE_BYTES)
        except OSError:
            self._reserve.unlink(missing_ok=True)
            raise
        finally:
            os.close(descriptor)

    def _acknowledged(self, limit: int | None) -> int:
        path = self._path.with_name(self._path.name + ACK_SUFFIX)
        try:
            ack = JournalAck.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            return 0
        except (ValidationError, OSError) as error:
            log.warning("the observer's acknowledgement cannot be read", error=type(error).__name__)
            return 0
        if limit is not None and ack.seq > limit:
            log.warning("the observer acknowledges what was never written", seq=ack.seq)
            return 0
        return ack.seq

    def _compact_if_large(self) -> None:
        if os.fstat(self._file).st_size < self._compact_bytes:
            return
        try:
            self.compact()
        except StoreError as error:
            # The record itself is safe; there is another chance at the next end.
            log.warning("the lease journal could not be shortened", why=str(error))

    def _replace(self, lines: list[bytes]) -> None:
        temporary = self._path.with_suffix(".new")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.writelines(lines)
            file.flush()
            os.fsync(file.fileno())
        killpoints.reach("journal.compacted")
        temporary.replace(self._path)
        killpoints.reach("journal.replaced")
        _sync_folder(self._path.parent)
        os.close(self._file)
        self._file = self._open_file()

    def _must_stay(self, line: bytes, acknowledged: int) -> bool:
        try:
            record = parse_journal_line(line)
        except ValidationError:
            # Not ours to judge: a later version's record, or one damaged on the disk.
            return True
        return record.seq > acknowledged or record.seq == self._seq or record.session in self._open


def _records(lines: Iterable[bytes]) -> Iterable[Record]:
    for number, line in enumerate(lines, start=1):
        try:
            yield parse_journal_line(line)
        except ValidationError:
            log.warning("a line of the lease journal is no record", line=number)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _as_store_error(error: OSError, path: Path) -> StoreError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StorageFull(
            "The disk of the platform's state folder is full, so nothing new can be started.",
            remedy=f"Running sessions go on. The operator frees space on {path.parent}'s disk.",
        )
    return StoreError(
        f"The lease journal {path} cannot be used: {error.strerror or error}.",
        remedy="The operator checks that the platform's account may write the state folder.",
    )
