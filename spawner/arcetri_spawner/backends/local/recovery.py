"""After a restart: what runs is adopted, what does not is ended, what nobody knows is taken away.

Every step can be cut short and done again. Nothing is ended on doubt: where /proc gives no answer,
the session and its lease stay as they are.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

import structlog

from arcetri_accounting.contract.journal import LeaseEnded, LeaseStarted
from arcetri_spawner import killpoints
from arcetri_spawner.backends.base import Exited, Unknown
from arcetri_spawner.backends.local import preparation, procs
from arcetri_spawner.backends.local.config import LocalConfig
from arcetri_spawner.backends.local.ending import Endings
from arcetri_spawner.backends.local.journal import Journal
from arcetri_spawner.backends.local.leases import Leases
from arcetri_spawner.backends.local.live import Live, end_record, key_of_record, session_of
from arcetri_spawner.backends.local.process import adopt
from arcetri_spawner.backends.local.procs import Fate
from arcetri_spawner.backends.local.sockets import listens_on
from arcetri_spawner.returning import successor
from arcetri_spawner.store.records import BEFORE_START, RequestRow, SessionRecord

if TYPE_CHECKING:
    from arcetri_spawner.store import Store

log = structlog.get_logger(__name__)

_SETTLING = 0.5


class Recovery:
    """Makes requests, leases, journal and processes agree."""

    def __init__(
        self,
        config: LocalConfig,
        store: Store,
        journal: Journal,
        endings: Endings,
        leases: Leases,
    ) -> None:
        self._config = config
        self._store = store
        self._journal = journal
        self._endings = endings
        self._leases = leases

    async def recover(self, known: Collection[UUID]) -> list[Live]:
        """Adopt what runs and end the rest; return what was adopted.

        Args:
            known: Sessions that this hub watches already.
        """
        adopted: list[Live] = []
        kept = set(known)
        for row in await self._store.live_requests():
            if row.id in kept:
                continue
            if row.state in BEFORE_START:
                # It waits, or its turn has come: it keeps its place, and what it was admitted to.
                kept.add(row.id)
                continue
            found = await self._find(row.session)
            if isinstance(found, Live):
                found.reason = row.reason
                adopted.append(found)
                kept.add(row.id)
            elif isinstance(found, Unknown):
                log.warning("a session could not be asked for", session=str(row.id), why=found.why)
                kept.add(row.id)
            else:
                await self._end(row)
        await self._take_away_strangers(kept)
        await self._leases.refresh()
        return adopted

    async def restore(self, session_id: UUID, reason: str) -> Live | Exited | Unknown:
        """Look for one session again, which was about to be ended where there is a reason."""
        record = await self._store.session(session_id)
        found = await self._find(record)
        if isinstance(found, Live):
            found.reason = reason
        if found is not None:
            return found
        await self._endings.clear(session_id)
        details = "" if reason else await self._last_words(session_id)
        if str(session_id) in self._journal.open_sessions:
            return Exited(0, await self._close_journal(session_id, reason), details)
        return Exited(0, reason or ("lost" if record else "interrupted"), details)

    async def _find(self, record: SessionRecord | None) -> Live | Unknown | None:
        if record is None or str(record.id) not in self._journal.open_sessions:
            # Until the journal has its start, a keeper has no orders and goes away by itself.
            return None
        key = key_of_record(record)
        fate = await asyncio.to_thread(procs.fate, key)
        if fate is Fate.UNKNOWN:
            return Unknown("/proc gave no answer")
        if fate is Fate.DEAD or not await self._has_server(record.id):
            return None
        try:
            keeper = adopt(key)
        except OSError as error:
            return Unknown(f"its process cannot be watched: {error.strerror}")
        if keeper is None:
            return None
        port = await asyncio.to_thread(self._port, record)
        folder = self._config.sessions_dir / str(record.id)
        return Live(session_of(record, port), keeper, folder)

    async def _has_server(self, session_id: UUID) -> bool:
        """Whether the keeper has started anything; one cut off before that is about to leave."""
        deadline = asyncio.get_running_loop().time() + _SETTLING
        while True:
            found = await asyncio.to_thread(procs.sessions_of, self._config.instance_id)
            count = len(found.get(session_id, []))
            if count != 1 or asyncio.get_running_loop().time() > deadline:
                return count > 1
            await asyncio.sleep(0.02)

    def _port(self, record: SessionRecord) -> int:
        members = procs.sessions_of(self._config.instance_id).get(record.id, [])
        pids = [stat.pid for stat in members]
        for port in record.state.get("ports", ()):
            if listens_on(port, pids):
                return int(port)
        return record.port

    async def _end(self, row: RequestRow) -> None:
        await self._endings.clear(row.id)
        killpoints.reach("recover.cleared")
        details = "" if row.reason else await self._last_words(row.id)
        reason = row.reason or await self._close_journal(row.id)
        if row.reason:
            await self._close_journal(row.id, row.reason)
        killpoints.reach("recover.journaled")
        await self._leases.free(row.id)
        killpoints.reach("recover.freed")
        if row.returns and row.reason:
            # It was about to be ended for others, and to go back in line.
            await self._store.go_back(row.id, successor(row.grant), reason, "")
        else:
            await self._store.mark(row.id, "ended", reason=reason, details=details)
        killpoints.reach("recover.marked")
        await asyncio.to_thread(preparation.clear_folder, self._config.sessions_dir / str(row.id))
        log.info("session ended while the hub was away", session=str(row.id), reason=reason)

    async def _last_words(self, session_id: UUID) -> str:
        """What a session's server printed last; nothing where it ended in order."""
        folder = self._config.sessions_dir / str(session_id)
        said = await asyncio.to_thread(preparation.read_exit, folder)
        if said is not None and said["code"] == 0:
            return ""
        return await asyncio.to_thread(preparation.log_tail, folder)

    async def _close_journal(self, session_id: UUID, reason: str = "") -> str:
        """Write the end of a session the journal believes running; return the reason."""
        start = self._journal.open_sessions.get(str(session_id))
        if start is None:
            return reason or "interrupted"
        folder = self._config.sessions_dir / str(session_id)
        said = await asyncio.to_thread(preparation.read_exit, folder)
        record = _late_end(start, said, reason)
        await self._endings.write(record)
        return record.reason

    async def _take_away_strangers(self, kept: Collection[UUID]) -> None:
        running = await asyncio.to_thread(procs.sessions_of, self._config.instance_id)
        for session_id in running.keys() - set(kept):
            log.warning("processes of no known session ended", session=str(session_id))
            await self._endings.clear(session_id)
        for session in self._journal.open_sessions:
            if UUID(session) not in kept:
                await self._close_journal(UUID(session))
        for holder in set((await self._store.leases()).values()) - set(kept):
            await self._leases.free(holder)
        await asyncio.to_thread(preparation.clear_ended, self._config.sessions_dir, kept)


def _late_end(start: LeaseStarted, said: dict[str, Any] | None, reason: str) -> LeaseEnded:
    """The end of a session found dead: exact where its keeper could say, else when it was found."""
    try:
        if said is not None:
            code, gone = int(said["code"]), said["all"]
            return LeaseEnded(
                seq=1,
                session=start.session,
                reason=reason or ("exited" if code >= 0 else "killed"),
                boot_id=start.boot_id,
                at=max(datetime.fromtimestamp(float(gone["at"]), UTC), start.at),
                boottime_ms=int(gone["boottime_ms"]),
            )
    except (KeyError, TypeError, ValueError, OverflowError):
        log.warning("the keeper's word on the end cannot be read", session=start.session)
    found = end_record(start.session, reason or "lost")
    return found.model_copy(update={"at_is_estimate": True})
