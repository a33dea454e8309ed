"""The ends that somebody brings: of a start, a session, a request, or whatever a server has."""

from __future__ import annotations

import asyncio
from uuid import UUID

import structlog

from arcetri_spawner.chores import Chores
from arcetri_spawner.errors import InDoubt, StoreError
from arcetri_spawner.lookups import Lookups
from arcetri_spawner.starting import Server
from arcetri_spawner.waiting.wanted import Demands

log = structlog.get_logger(__name__)


class Stopping(Lookups):
    """Ends what there is, over the parts that ``SessionService`` wires."""

    demands: Demands
    _chores: Chores

    async def cancelling(self, username: str, server_name: str, message: str = "") -> None:
        """Note that somebody wants a start undone, just before its task is cancelled.

        Without this a cancelled task is one that JupyterHub gave up or a closing hub interrupted:
        a failure. Where nothing starts, nothing is noted. It is written, too: a hub that is
        restarted before the start is undone undoes it then.

        Args:
            username: Whose start.
            server_name: Of which server.
            message: What its user reads, where it was not the user who cancelled it.
        """
        key = (username, server_name)
        if self._starts.starts(key) or self.in_doubt(*key):
            self._starts.cancelling(key, message)
            await self._promise(key, "cancelled", message)

    async def _promise(self, key: Server, reason: str, message: str) -> None:
        """Write what a server has an end, though it cannot be brought yet."""
        session_id = self._recovery.of(*key) or self._starts.of(key)
        if session_id is None:
            return
        self._recovery.promise(session_id, reason, message)
        try:
            await self._store.announce(session_id, reason, message)
        except StoreError as error:
            log.warning("a stop is not written", session=str(session_id), why=error.code)

    async def end_server(self, username: str, server_name: str, reason: str) -> None:
        """End whatever a server has; wait where it cannot be told whether it has anything.

        A start that goes on after a restart, and that somebody cancels, ends as any cancelled one.

        Raises:
            BackendError: It could not be ended, and runs on as if nobody had asked.
        """
        await self._recovered.wait()
        key = (username, server_name)
        cancelled = self._starts.cancelled(key)
        why = (reason, "") if cancelled is None else ("cancelled", cancelled)
        while (session_id := self._recovery.of(*key) or self._of(key)) is not None:
            try:
                await self.end(session_id, *why)
                break
            except InDoubt:
                changed = self._changes.coming()
                await self._promise(key, *why)
                await changed.wait()
        self._starts.forget_cancel(key)

    def stop_unattended(self, username: str, server_name: str) -> asyncio.Event | None:
        """Have ended, in the background, what a server has of which JupyterHub knows nothing.

        Returns:
            Set when that is over, whatever came of it; None where the server has nothing.
        """
        key = (username, server_name)
        known = self._recovered.is_set()
        if known and (self._recovery.of(*key) or self._of(key)) is None:
            return None
        over = asyncio.Event()
        self._chores.start(self._stop_unattended(key, over))
        return over

    async def _stop_unattended(self, key: Server, over: asyncio.Event) -> None:
        log.info("stopping what JupyterHub has no server for", user=key[0], server=key[1])
        try:
            await self.end_server(*key, "stopped")
        finally:
            over.set()

    async def end(self, session_id: UUID, reason: str, message: str = "") -> None:
        """End a session or a request; return when everything it held is free.

        Args:
            session_id: Which one. One that has ended already is left as it is; one that waits
                leaves the queue; one that still starts is ended when that is over, and at once
                where the hub was restarted meanwhile.
            reason: A stable code, as in the lease journal.
            message: Shown to the user on their next page.

        Raises:
            StoreError: The message could not be written; the session runs on.
            InDoubt: It is not known whether it runs; nothing was done.
            BackendError: It could not be ended, and runs on as if nobody had asked.
        """
        if waits := self.waiting.get(session_id):
            await self.waiting.leave(waits, reason, message)
            return
        await self._recovery.end(session_id, reason, message)
        await self._starts.settled(session_id)
        await self._running.end(session_id, reason, message)

    async def wish(self, session_id: UUID, *, returns: bool) -> None:
        """Say whether a session's user wants it back in line, should it be ended for others.

        Raises:
            StoreError: It could not be written; what held before holds.
        """
        if session_id in self._running:
            await self._store.wish(session_id, returns=returns)
            self.demands.wish(session_id, returns=returns)
