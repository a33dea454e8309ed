"""The end of a session: nothing of it runs, the journal knows, its folder is cleared."""

from __future__ import annotations

import asyncio
from functools import partial
from uuid import UUID

import structlog

from arcetri_accounting.contract.journal import LeaseEnded
from arcetri_spawner import killpoints
from arcetri_spawner.backends import crashed
from arcetri_spawner.backends.base import Exited
from arcetri_spawner.backends.local import preparation, procs
from arcetri_spawner.backends.local.config import LocalConfig
from arcetri_spawner.backends.local.journal import Journal
from arcetri_spawner.backends.local.live import Live, end_record
from arcetri_spawner.errors import StoreError

log = structlog.get_logger(__name__)

_PATIENCE = 2.0


class Endings:
    """Sees sessions to their end, whoever or whatever ended them."""

    def __init__(self, config: LocalConfig, journal: Journal) -> None:
        self._config = config
        self._journal = journal
        self._unwritten: dict[str, LeaseEnded] = {}

    async def see_off(self, live: Live) -> Exited:
        """Wait for the keeper's end, take away what is left, and record it."""
        status = await asyncio.shield(live.keeper.gone)
        killpoints.reach("end.process_gone")
        await self.clear(live.session.id)
        exited = await asyncio.to_thread(_exit_of, live, status)
        killpoints.reach("end.cleared")
        await self.write(end_record(str(live.session.id), exited.reason))
        killpoints.reach("end.journaled")
        await asyncio.to_thread(preparation.clear_folder, live.folder)
        return exited

    async def clear(self, session_id: UUID) -> None:
        """Kill every process of the session; return when none is left, however long it takes.

        A process that the kernel cannot take away (it hangs in a driver) still holds its device,
        and so must the lease.
        """
        kill = partial(procs.kill_session, self._config.instance_id, session_id, patience=_PATIENCE)
        while not await asyncio.to_thread(kill):
            log.warning("a killed process is still there", session=str(session_id))

    async def write(self, record: LeaseEnded) -> None:
        """Write the journal's end; where the disk is full, later."""
        self._unwritten[record.session] = record
        try:
            await self.write_unwritten()
        except StoreError as error:
            log.warning("session end not in the journal yet", why=error.code)

    async def write_unwritten(self) -> None:
        """Write the ends that could not be written before.

        Raises:
            StoreError: They still cannot be.
        """
        for session, record in list(self._unwritten.items()):
            await asyncio.to_thread(self._journal.append_end, record)
            self._unwritten.pop(session, None)


def _exit_of(live: Live, status: int | None) -> Exited:
    said = preparation.read_exit(live.folder)
    if said is not None:
        code = int(said["code"])
    elif status is not None:
        # The keeper's own status, which says 128 and the signal for a server that was killed.
        code = 128 - status if status > 128 else status
    else:
        # Only a keeper that was killed leaves no word, and an adopted one has no status to ask for.
        code = -9
    if live.reason:
        return Exited(code, live.reason)
    # The folder is cleared soon, and its log is kept for some while only.
    details = preparation.log_tail(live.folder) if code else ""
    if code < 0:
        return Exited(code, "killed", details)
    message = f"{crashed.sentence(code)} {crashed.REMEDY}" if code else ""
    return Exited(code, "exited", details, message)
