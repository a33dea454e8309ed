"""The store's face to the rest: asynchronous, with one thread that does all the work.

One thread, because SQLite has one writer anyway and because the hub's event loop must never wait
for a disk. A call that is cancelled while its transaction runs still finishes it: every write is
named by the ids it writes, so that doing it again changes nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeVar
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from arcetri_spawner import killpoints
from arcetri_spawner.backends.base import Device
from arcetri_spawner.errors import StoreError
from arcetri_spawner.groups import GroupPath
from arcetri_spawner.policy.model import Grant, LiveSession
from arcetri_spawner.store import accounts, leases, requests, waiting
from arcetri_spawner.store.alone import when_alone
from arcetri_spawner.store.database import Database
from arcetri_spawner.store.migrate import migrate
from arcetri_spawner.store.records import (
    Account,
    Ended,
    InLine,
    PosixIds,
    PosixNumber,
    RequestRow,
    RequestState,
    SessionRecord,
    Standing,
)

T = TypeVar("T")

PRUNE_BATCH: Final = 500
LIVE_KEPT: Final = 1.0
"""Seconds for which the live sessions are not read again, where nothing was written."""


@dataclass(frozen=True, slots=True)
class _Live:
    """The live sessions as they were read."""

    written: int
    at: float
    sessions: tuple[LiveSession, ...]


def _utc_now() -> datetime:
    return datetime.now(UTC)


class Store:
    """Accounts, requests, leases and sessions, on SQLite or PostgreSQL.

    Every method may raise ``StoreError``: the database could not be asked, and nothing changed.
    """

    def __init__(self, database: Database, clock: Callable[[], datetime] = _utc_now) -> None:
        self._database = database
        self._clock = clock
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="arcetri-store")
        self._written = 0
        """How many writes were tried; the worker alone counts."""
        self._live: _Live | None = None

    @classmethod
    def open(
        cls, url: str, *, alone: bool = False, clock: Callable[[], datetime] = _utc_now
    ) -> Store:
        """Connect, and bring the tables up to this version.

        Args:
            url: ``sqlite:////path/to/file`` or ``postgresql://user@host/database``.
            alone: For a hub: wait, for ever if need be, until no other one works with a
                PostgreSQL. A store that was opened so may raise ``AnotherHub`` from then on.
            clock: Gives the moments that are written, aware.

        Raises:
            StoreError: The database cannot be reached or used; the remedy says what to do.
        """
        store = cls(Database(url, alone=alone), clock)
        try:
            when_alone(lambda: store._worker.submit(migrate, store._database).result())
        except BaseException:
            store.close()
            raise
        return store

    def close(self) -> None:
        """Finish what is under way, and close the connections; a second call does nothing."""
        self._worker.shutdown(wait=True)
        self._database.close()

    async def ping(self) -> None:
        """Ask the database for nothing, to learn whether it answers.

        Raises:
            AnotherHub: This hub lost the database to another one.
            StoreError: It does not.
        """
        await self._read(lambda db: db.execute(text("SELECT 1")))

    async def keep_room(self) -> None:
        """Make sure that small writes go on where the disk is full; cheap when there is room.

        Raises:
            StorageFull: It is full already.
        """
        await self._run(self._database.keep_room)

    # Accounts

    async def account_for(
        self, issuer: str, sub: str, preferred_username: str, display_name: str = ""
    ) -> Account:
        """Return the person's account, making it when they come for the first time.

        The name is made once, from the first preferred user name, and never changed or given to
        anybody else. Label and display name are kept as they came last.
        """
        now = self._clock()
        killpoints.reach("account.writing")
        account = await self._write(
            lambda db: accounts.account_for(db, issuer, sub, preferred_username, display_name, now)
        )
        killpoints.reach("account.written")
        return account

    async def account(self, account_id: str) -> Account | None:
        """Return an account by its opaque id."""
        return await self._read(lambda db: accounts.account(db, account_id))

    async def account_by_name(self, name: str) -> Account | None:
        """Return an account by its name."""
        return await self._read(lambda db: accounts.account_by_name(db, name))

    async def posix_ids(
        self,
        account_id: str,
        username: str,
        groups: Iterable[GroupPath],
        *,
        users: range,
        groups_range: range,
        uid: int | None = None,
        gids: Mapping[GroupPath, int] | None = None,
    ) -> PosixIds:
        """Return the person's numeric ids; each is given once and stays.

        Args:
            account_id: The account.
            username: Its name, for the export.
            groups: The person's groups in the catalog.
            users: Numbers to allocate uids and private groups from.
            groups_range: Numbers to allocate gids from.
            uid: What IAM claims; None allocates one.
            gids: What IAM claims for groups; those absent are allocated.

        Raises:
            Conflict: A claim names a system id, or one that is another's.
        """
        now = self._clock()
        wanted = tuple(groups)
        claimed = dict(gids or {})
        killpoints.reach("numbers.writing")
        ids = await self._write(
            lambda db: accounts.posix_ids(
                db,
                account_id,
                username,
                wanted,
                users=users,
                groups_range=groups_range,
                uid=uid,
                gids=claimed,
                now=now,
            )
        )
        killpoints.reach("numbers.written")
        return ids

    async def posix_numbers(self) -> list[PosixNumber]:
        """Return every numeric id ever given, for export to the storage's servers."""
        return await self._read(accounts.posix_numbers)

    # Requests and sessions

    async def open_request(self, grant: Grant) -> None:
        """Write a request in the state ``asked``; a second call with its id changes nothing.

        Raises:
            Denied: A limit of the person is reached, counted in the transaction that writes.
            Conflict: The account does not exist.
        """
        now = self._clock()
        await self._write(lambda db: requests.open_request(db, grant, now))

    async def mark(
        self,
        request_id: UUID,
        state: RequestState,
        *,
        reason: str = "",
        message: str = "",
        details: str = "",
    ) -> bool:
        """Move a request on. An ended one stays as it ended; empty words keep the ones written.

        Of ``details`` is kept what ``arcetri_spawner.details`` lets through.

        Returns:
            False when it had ended already or does not exist.
        """
        now = self._clock()
        return await self._write(
            lambda db: requests.mark(db, request_id, state, reason, message, now, details)
        )

    async def standing(self, request_id: UUID) -> Standing | None:
        """Return where a request is, live or ended; None where there is none."""
        return await self._read(lambda db: waiting.standing(db, request_id))

    async def in_line(self, request_id: UUID) -> InLine:
        """Return where a request stands.

        Raises:
            Conflict: It has ended or does not exist.
        """
        return await self._read(lambda db: waiting.in_line(db, request_id))

    async def admitted(self, request_id: UUID, hold_until: datetime) -> None:
        """Write that a request's turn has come, and until when it is kept for its start."""
        now = self._clock()
        await self._write(lambda db: waiting.admitted(db, request_id, hold_until, now))

    async def back_in_line(self, request_id: UUID) -> None:
        """Have an admitted request wait again, at its old place and with nothing in its hands."""
        now = self._clock()
        await self._write(lambda db: waiting.back_in_line(db, request_id, now))

    async def begin(self, grant: Grant, *, by_itself: bool = False) -> None:
        """Write that an admitted request starts, with what it was granted now.

        Args:
            grant: What it was granted.
            by_itself: Whether the platform starts it, and not its user who looks on.

        Raises:
            Conflict: It has ended meanwhile.
        """
        now = self._clock()
        await self._write(lambda db: waiting.begin(db, grant, by_itself, now))

    async def hold(self, request_id: UUID, until: datetime | None) -> None:
        """Write until when a session is kept for somebody to open it; None when somebody has."""
        await self._write(lambda db: waiting.hold(db, request_id, until))

    async def exchange(self, old: UUID, grant: Grant) -> None:
        """End a request that waits, and write another of the same person, in one transaction.

        Raises:
            Denied: A limit of the person is reached, the old request not counted.
            Conflict: The old one waits no more.
        """
        now = self._clock()
        await self._write(lambda db: waiting.exchange(db, old, grant, now))

    async def take_back(self, request_id: UUID, instead: UUID) -> None:
        """Undo an ``exchange``: the old request waits again at its place, the new one is gone."""
        now = self._clock()
        await self._write(lambda db: waiting.take_back(db, request_id, instead, now))

    async def announce(
        self, request_id: UUID, reason: str, message: str, *, returns: bool | None = None
    ) -> None:
        """Write beforehand how a live request is about to end; empty words take that back.

        With ``returns``, it goes back in line then.
        """
        await self._write(lambda db: requests.announce(db, request_id, reason, message, returns))

    async def wish(self, request_id: UUID, *, returns: bool) -> None:
        """Write whether a live request's user wants it to go back in line, should it come to it."""
        await self._write(lambda db: waiting.wish(db, request_id, returns))

    async def go_back(
        self, request_id: UUID, grant: Grant, reason: str, message: str
    ) -> datetime | None:
        """End a session's request, and write its successor at its place, in one transaction.

        A second call with the same successor changes nothing. What the first one held is free.

        Returns:
            When it was first asked for; None when it had ended already, without a successor.
        """
        now = self._clock()
        return await self._write(
            lambda db: waiting.go_back(db, request_id, grant, reason, message, now)
        )

    async def started(
        self,
        request_id: UUID,
        account_id: str,
        choice: Mapping[str, Any],
        hold_until: datetime | None = None,
    ) -> bool:
        """Move a request on to ``running`` and keep its choice for the next time, in one write.

        With ``hold_until``, it is kept until then for somebody to open it.

        Returns:
            False when it had ended already or does not exist; the choice is kept all the same.
        """
        now = self._clock()

        def work(db: Session) -> bool:
            requests.remember_choice(db, account_id, choice, now)
            if hold_until is not None:
                waiting.hold(db, request_id, hold_until)
            return requests.mark(db, request_id, "running", "", "", now)

        return await self._write(work)

    async def save_session(self, record: SessionRecord) -> None:
        """Write what is known of a session's process, or replace it."""
        await self._write(lambda db: requests.save_session(db, record))

    async def session(self, session_id: UUID) -> SessionRecord | None:
        """Return a session, live or ended."""
        return await self._read(lambda db: requests.session(db, session_id))

    async def live_requests(self) -> list[RequestRow]:
        """Return every request that has not ended, with its session if any, oldest first."""
        return await self._read(requests.live_requests)

    async def live_sessions(self) -> list[LiveSession]:
        """Return what counts against limits and quota.

        Read once for all who ask within a second, unless something was written since.
        """
        live = self._live
        if live is None or live.written != self._written or time.monotonic() - live.at > LIVE_KEPT:
            live = self._live = await self._run(self._read_live)
        return list(live.sessions)

    def _read_live(self) -> _Live:
        at = time.monotonic()
        return _Live(self._written, at, tuple(self._database.read(requests.live_sessions)))

    async def last_ended(self, account_id: str, server_name: str) -> Ended | None:
        """Return how the last session of a server ended, or None when it never had one."""
        return await self._read(lambda db: requests.last_ended(db, account_id, server_name))

    async def recent_ends(self, account_id: str) -> list[tuple[str, Ended]]:
        """Return what ended last on any of a person's servers, by server name, the newest first.

        Ends before a later start of the same server, or before a later session that has ended as
        well, are left out.
        """
        return await self._read(lambda db: requests.recent_ends(db, account_id))

    async def prune_ended(self, keep: timedelta, *, limit: int = PRUNE_BATCH) -> int:
        """Forget requests that ended longer ago than ``keep``, and their sessions.

        What was used is the ledger's to remember, and who has which numeric id stays for ever.

        Args:
            keep: How long an ended request is kept.
            limit: How many are forgotten in one transaction: a start must not wait for long.

        Returns:
            How many were forgotten; ``limit`` when there may be more.
        """
        before = self._clock() - keep
        return await self._write(lambda db: requests.prune_ended(db, before, limit))

    async def last_choice(self, account_id: str) -> dict[str, Any]:
        """Return what a person chose last; empty when nothing yet."""
        return await self._read(lambda db: requests.last_choice(db, account_id))

    # Leases

    async def lease(
        self,
        request_id: UUID,
        flavor: str,
        devices: Sequence[Device],
        *,
        quota: tuple[GroupPath, int] | None,
    ) -> Device | None:
        """Take the first free one of ``devices`` for a request, atomically, and so admit it.

        Args:
            request_id: Who takes it; one that holds a device already gets that one.
            flavor: What it is counted as.
            devices: Candidates, best first.
            quota: The charged group and how many leases of the flavour it may hold.

        Returns:
            None when none is free, or the group's quota is used up.

        Raises:
            Conflict: The request has ended or does not exist.
        """
        now = self._clock()
        candidates = tuple(devices)
        return await self._write(
            lambda db: leases.lease(db, request_id, flavor, candidates, quota, now)
        )

    async def leases(self) -> dict[str, UUID]:
        """Return who holds which device: request ids by device uuid."""
        return await self._read(leases.leases)

    async def free(self, request_id: UUID) -> None:
        """Give back what a request holds, if anything."""
        await self._write(lambda db: leases.free(db, request_id))

    async def _read(self, work: Callable[[Session], T]) -> T:
        return await self._run(lambda: self._database.read(work))

    async def _write(self, work: Callable[[Session], T]) -> T:
        def written() -> T:
            try:
                return self._database.write(work)
            finally:
                self._written += 1

        return await self._run(written)

    async def _run(self, work: Callable[[], T]) -> T:
        try:
            future = asyncio.get_running_loop().run_in_executor(self._worker, work)
        except RuntimeError:
            raise StoreError(
                "The store is closed: the hub is stopping.",
                code="store_closed",
                remedy="Start again when the hub is back.",
            ) from None
        return await future
