"""The outbox: numbered records in SQLite, kept until they are acknowledged.

Plain ``sqlite3``, with no mapper over it: an agent has 50 MB, and three tables need none.

A transaction is on the disk (WAL, ``synchronous=FULL``) when its block ends, whole or not at all.
So is the writer's state, with a transaction or, where nothing else changes, without one.
Numbers begin with 1 in each epoch, grow by one and are never given twice, whatever was deleted.
All methods may be called from any thread.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from arcetri_accounting import killpoints
from arcetri_accounting.spool import files
from arcetri_accounting.spool.errors import (
    SpoolBusy,
    SpoolCorrupt,
    SpoolError,
    SpoolLost,
    translated,
    unwritten,
)
from arcetri_accounting.spool.newest import LARGEST, Newest

_VERSION = 1
_SCHEMA = f"""
BEGIN IMMEDIATE;
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE record (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    stream TEXT NOT NULL,
    attachment TEXT,
    body TEXT NOT NULL
);
CREATE TABLE attachment (key TEXT PRIMARY KEY, body TEXT NOT NULL) WITHOUT ROWID;
PRAGMA user_version = {_VERSION};
COMMIT;
"""
_STATE = "state"
_MARK = "state-mark"
"""Another one with each state that a transaction keeps, so that no two are the same."""


@dataclass(frozen=True, slots=True)
class Epoch:
    """One life of a spool's file."""

    id: str
    born: dict[str, str | int]
    """What the writer noted when it began; such as the moment."""
    fresh: bool
    """It has just begun."""
    set_aside: Path | None = None
    """Where the damaged file is now that this epoch replaces."""


@dataclass(frozen=True, slots=True)
class Item:
    """A record as it is kept."""

    seq: int
    stream: str
    """Records of different streams are never in one batch: an agent's are those of one boot."""
    attachment: str | None
    body: str

    def numbered(self) -> str:
        """The record's JSON, with its number as ``seq``."""
        return f'{{"seq":{self.seq},{self.body[1:]}'


class Transaction:
    """What may be done between the beginning and the commit."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database
        self.appended = False
        """There are more records than before."""
        self.kept = False
        """There is another state."""

    def append(self, body: str, *, stream: str = "", attachment: str | None = None) -> int:
        """Add a record, a JSON object that is not empty and has no ``seq``; return its number."""
        self.appended = True
        cursor = self._database.execute(
            "INSERT INTO record (stream, attachment, body) VALUES (?, ?, ?)",
            (stream, attachment, body),
        )
        assert cursor.lastrowid is not None  # noqa: S101 - an insert always has one
        return cursor.lastrowid

    def attach(self, key: str, body: str) -> None:
        """Keep what records refer to by ``key``, until none does."""
        self._database.execute(
            "INSERT INTO attachment (key, body) VALUES (?, ?) ON CONFLICT DO NOTHING", (key, body)
        )

    def set(self, name: str, value: str) -> None:
        """Note a value under a name."""
        self._database.execute(
            "INSERT INTO meta (name, value) VALUES (?, ?)"
            " ON CONFLICT (name) DO UPDATE SET value = excluded.value",
            (name, value),
        )

    def keep(self, state: str) -> None:
        """Replace the writer's state; what was noted since the last one counts no more."""
        self.kept = True
        self.set(_STATE, state)
        self.set(_MARK, uuid4().hex)

    def unset(self, name: str) -> None:
        """Forget a name."""
        self._database.execute("DELETE FROM meta WHERE name = ?", (name,))


class Outbox:
    """An open spool; one process at a time has it."""

    def __init__(
        self, path: Path, born: Callable[[], dict[str, str | int]], *, max_pages: int | None = None
    ) -> None:
        """Open the spool at ``path``; a missing or damaged one begins a new epoch.

        Args:
            path: The file; its folder is made if it is missing.
            born: What to note of the moment a new epoch begins.
            max_pages: The most pages of 4 KiB that the file may have; None for no limit.

        Raises:
            SpoolBusy: Another process has it open.
            SpoolFull: There is no room to make it.
            SpoolError: It cannot be used, or is of a later version.
        """
        self.path = path
        self._lock = threading.RLock()
        self._max_pages = max_pages
        self._counted: tuple[int, int] | None = None
        self._newest = Newest(path.with_name(path.name + files.STATE))
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._guard = os.open(
                path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
            )
        except OSError as error:
            raise SpoolError(path, f"the spool cannot be made ({error.strerror}).") from error
        try:
            fcntl.flock(self._guard, fcntl.LOCK_EX | fcntl.LOCK_NB)
            aside = None
            try:
                self._database, fresh = self._open(born)
            except SpoolCorrupt:
                aside = files.set_aside(path)
                self._database, fresh = self._open(born)
        except BlockingIOError:
            os.close(self._guard)
            raise SpoolBusy(path, "another process has this spool open.") from None
        except BaseException:
            os.close(self._guard)
            raise
        self._inode = path.stat().st_ino
        noted = json.loads(self.get("epoch") or "{}")
        self.epoch = Epoch(noted["id"], noted["born"], fresh, aside)
        try:
            self._newest.begin(self._named())
        except OSError as error:
            self.close()
            raise unwritten(path, error) from error

    def _open(self, born: Callable[[], dict[str, str | int]]) -> tuple[sqlite3.Connection, bool]:
        database = None
        try:
            database = sqlite3.connect(
                self.path, timeout=5, isolation_level=None, check_same_thread=False
            )
            self.path.chmod(0o600)
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("PRAGMA synchronous = FULL")
            # It is read from one end and written at the other: a small cache is enough.
            database.execute("PRAGMA cache_size = -512")
            if self._max_pages is not None:
                database.execute(f"PRAGMA max_page_count = {self._max_pages:d}")
            fresh = self._prepare(database, born)
        except sqlite3.Error as error:
            if database is not None:
                database.close()
            raise translated(self.path, error) from error
        except SpoolError:
            if database is not None:
                database.close()
            raise
        return database, fresh

    def _prepare(
        self, database: sqlite3.Connection, born: Callable[[], dict[str, str | int]]
    ) -> bool:
        version = database.execute("PRAGMA user_version").fetchone()[0]
        if version > _VERSION:
            raise SpoolError(self.path, f"the spool is of version {version}, later than this one.")
        if version == 0:
            database.executescript(_SCHEMA)
        else:
            found = database.execute("PRAGMA quick_check(1)").fetchone()[0]
            if found != "ok":
                raise SpoolCorrupt(self.path, f"the spool is damaged ({found}).")
        if database.execute("SELECT 1 FROM meta WHERE name = 'epoch'").fetchone():
            return False
        note = json.dumps({"id": str(uuid4()), "born": born()})
        database.execute("INSERT INTO meta (name, value) VALUES ('epoch', ?)", (note,))
        files.sync_folder(self.path.parent)
        return True

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """Do what the block does, whole or not at all; it is on the disk when the block ends.

        Raises:
            SpoolFull: There is no room; nothing was written.
            SpoolCorrupt: The file is damaged.
            SpoolLost: The file is no longer there.
            SpoolError: It cannot be written for another reason.
        """
        with self._lock, self._translating():
            self._check_inode()
            self._database.execute("BEGIN IMMEDIATE")
            transaction = Transaction(self._database)
            try:
                yield transaction
                named = self._named() if transaction.kept else None
                killpoints.reach("spool.written")
                self._database.execute("COMMIT")
            except BaseException:
                # SQLite has rolled back itself where the disk was full.
                if self._database.in_transaction:
                    self._database.execute("ROLLBACK")
                raise
            finally:
                if transaction.appended:
                    self._counted = None
            if named is not None:
                self._newest.follow(named)
        killpoints.reach("spool.committed")

    def note(self, news: bytes, *, durable: bool = True) -> None:
        """Note what is new of the writer's state, where nothing else changes with it.

        It costs less than half of a transaction, and counts until the state is kept again.

        Args:
            news: A text in UTF-8, of at most ``LARGEST`` bytes; replaces what was noted before.
            durable: It is on the disk when this returns; else it outlives the process, and a
                machine that loses its power falls back to what was put on the disk before.

        Raises:
            ValueError: It is too long.
            SpoolFull: There is no room; the state is as it was.
            SpoolLost: The file is no longer there.
            SpoolError: It cannot be written for another reason.
        """
        if len(news) > LARGEST:
            raise ValueError(f"at most {LARGEST} bytes can be noted, not {len(news)}")
        with self._lock:
            self._check_inode()
            try:
                self._newest.write(news, durable=durable)
            except OSError as error:
                raise unwritten(self.path, error) from error
        killpoints.reach("spool.noted")

    def kept(self) -> str | None:
        """The writer's state; None where it never kept one in this epoch."""
        return self.get(_STATE)

    def noted(self) -> str | None:
        """What was noted since the state was kept; None where nothing was."""
        with self._lock:
            news = self._newest.text
        return None if news is None else news.decode()

    def get(self, name: str) -> str | None:
        """The value noted under a name."""
        with self._lock, self._translating():
            row = self._database.execute(
                "SELECT value FROM meta WHERE name = ?", (name,)
            ).fetchone()
        return None if row is None else str(row[0])

    def batch(self, limit: int, max_bytes: int) -> list[Item]:
        """The oldest records of one stream: at most so many, so large, but always one if any."""
        items: list[Item] = []
        size = 0
        with self._lock, self._translating():
            if not self.depth():
                return items
            rows = self._database.execute(
                "SELECT seq, stream, attachment, body FROM record ORDER BY seq LIMIT ?", (limit,)
            )
            for row in rows:
                item = Item(*row)
                size += len(item.body)
                if items and (item.stream != items[0].stream or size > max_bytes):
                    break
                items.append(item)
        return items

    def attachments(self, keys: Iterable[str]) -> dict[str, str]:
        """What was attached under these keys."""
        found = {}
        with self._lock, self._translating():
            for key in set(keys):
                row = self._database.execute(
                    "SELECT body FROM attachment WHERE key = ?", (key,)
                ).fetchone()
                if row is not None:
                    found[key] = str(row[0])
        return found

    def acknowledge(self, seq: int) -> int:
        """Forget records up to and including this number; return how many.

        Raises:
            ValueError: No record has been given this number yet: nothing is forgotten.
        """
        with self._lock:
            if seq > self.last_seq():
                raise ValueError(f"{seq} is acknowledged, but {self.last_seq()} is the last record")
            with self.transaction():
                self._counted = None
                gone = self._database.execute("DELETE FROM record WHERE seq <= ?", (seq,)).rowcount
                if gone:
                    self._database.execute(
                        "DELETE FROM attachment WHERE key NOT IN"
                        " (SELECT attachment FROM record WHERE attachment IS NOT NULL)"
                    )
        return gone

    def last_seq(self) -> int:
        """The highest number given to a record of this epoch; 0 before the first."""
        return self._count()[1]

    def depth(self) -> int:
        """How many records wait."""
        return self._count()[0]

    def _count(self) -> tuple[int, int]:
        """How many records wait, and the highest number given."""
        # Asked several times in each cycle, and most often nothing was added or taken since.
        counted = self._counted
        if counted is not None:
            return counted
        with self._lock, self._translating():
            # Only the oldest are ever deleted, so what is between the ends is all there.
            low, high, last = self._database.execute(
                "SELECT (SELECT min(seq) FROM record), (SELECT max(seq) FROM record),"
                " (SELECT seq FROM sqlite_sequence WHERE name = 'record')"
            ).fetchone()
            self._counted = counted = (0 if low is None else high - low + 1, last or 0)
        return counted

    def close(self) -> None:
        """Let another process have it."""
        with self._lock:
            with contextlib.suppress(sqlite3.Error):
                self._database.close()
            self._newest.close()
            os.close(self._guard)

    def set_aside(self) -> Path:
        """Close a damaged spool and move it out of the way; open another one in its place."""
        self.close()
        return files.set_aside(self.path)

    def _named(self) -> str:
        """Names the state of the database; its text too, since an earlier release has no mark."""
        return f"{self.epoch.id} {self.get(_MARK)} {self.get(_STATE)}"

    def _check_inode(self) -> None:
        try:
            inode = self.path.stat().st_ino
        except OSError:
            inode = -1
        if inode != self._inode:
            raise SpoolLost(self.path, "the spool was removed or replaced while in use.")

    @contextlib.contextmanager
    def _translating(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise translated(self.path, error) from error
