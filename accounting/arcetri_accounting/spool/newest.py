"""What is new of the state of a spool's writer, beside the database, where it is written over.

Some of the state changes all the time, and a transaction of SQLite costs more than twice what it
costs to write some kilobytes where others stood. What has to be on the disk at once goes into two
places by turns, so that one is whole at every moment, also while the other is being written. A
third is for what only has to outlive the process, which costs a tenth. Each says which state of the
database it belongs to: what belongs to another than is there counts no more.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import struct
import zlib
from pathlib import Path
from typing import BinaryIO, Final

from arcetri_accounting.spool import files

PLACE: Final = 1024 * 1024
"""Bytes from one place to the other; what is not written takes no room."""
_HEAD: Final = struct.Struct("<4sIQ16s")
"""Format, length, number, and the digest of the state that this belongs to."""
_FORMAT: Final = b"new2"
_PLACES: Final = (0, PLACE, 2 * PLACE)
_IN_PASSING: Final = _PLACES[2]
_SUM: Final = struct.Struct("<I")
LARGEST: Final = PLACE - _HEAD.size - _SUM.size


class Newest:
    """The file; one thread at a time uses it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = -1
        self._number = 0
        """Of what was written last."""
        self._place = 0
        """Which of the first two has what was put on the disk last."""
        self._follows = b""
        self.text: bytes | None = None
        """What was written last of the state that is followed; None where nothing was."""

    def begin(self, follows: str) -> None:
        """Read what there is; it counts if it belongs to that state of the database.

        Raises:
            OSError: It cannot be read.
        """
        self._follows = _digest(follows)
        try:
            file = self._path.open("rb")
        except FileNotFoundError:
            return
        with file:
            places = [_whole(file, at) for at in _PLACES]
        whole = [one for one in places if one is not None]
        self._number = max((number for number, _, _ in whole), default=0)
        first, second = (-1 if one is None else one[0] for one in places[:2])
        self._place = int(second > first)
        ours = [(number, text) for number, of, text in whole if of == self._follows]
        if ours:
            self.text = max(ours)[1]

    def follow(self, state: str) -> None:
        """The database has another state: what was written before is of no use any more."""
        self._follows, self.text = _digest(state), None

    def write(self, text: bytes, *, durable: bool) -> None:
        """Write at most ``LARGEST`` bytes.

        Args:
            text: Replaces what was written before.
            durable: It is on the disk when this returns; else it outlives the process, and where
                the machine loses its power what was last put on the disk counts.

        Raises:
            OSError: It could not be written; what was written before still is.
        """
        if self._file < 0 or not os.fstat(self._file).st_nlink:
            self._open()
        number = self._number + 1
        head = _HEAD.pack(_FORMAT, len(text), number, self._follows)
        parts = (head, text, _sum(head, text))
        place = 1 - self._place
        at, flags = (_PLACES[place], os.RWF_DSYNC) if durable else (_IN_PASSING, 0)
        if os.pwritev(self._file, parts, at, flags) < sum(map(len, parts)):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if durable:
            self._place = place
        self._number, self.text = number, text

    def close(self) -> None:
        """Close the file."""
        if self._file >= 0:
            with contextlib.suppress(OSError):
                os.close(self._file)
        self._file = -1

    def _open(self) -> None:
        self.close()
        self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        # A file that grows has its length written too, with each write.
        os.ftruncate(self._file, len(_PLACES) * PLACE)
        files.sync_folder(self._path.parent)


def _whole(file: BinaryIO, at: int) -> tuple[int, bytes, bytes] | None:
    """A place's number, what its text belongs to, and that; None where it is not all there."""
    file.seek(at)
    head = file.read(_HEAD.size)
    if len(head) < _HEAD.size:
        return None
    form, length, number, follows = _HEAD.unpack(head)
    if form != _FORMAT or length > LARGEST:
        return None
    text, told = file.read(length), file.read(_SUM.size)
    if told != _sum(head, text):
        return None
    return number, follows, text


def _sum(head: bytes, text: bytes) -> bytes:
    return _SUM.pack(zlib.crc32(text, zlib.crc32(head)))


def _digest(state: str) -> bytes:
    return hashlib.blake2b(state.encode(), digest_size=16).digest()
