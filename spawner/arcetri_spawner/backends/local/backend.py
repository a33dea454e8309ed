"""The backend of one machine: sessions are processes, devices are leased in the store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from uuid import UUID
from weakref import WeakValueDictionary

import structlog

from arcetri_spawner import killpoints
from arcetri_spawner.backends.base import (
    Away,
    Device,
    Event,
    Exited,
    Folder,
    Launch,
    Running,
    Session,
    Ticket,
    Unknown,
)
from arcetri_spawner.backends.local import places, preparation
from arcetri_spawner.backends.local.accounts import open_state_folder
from arcetri_spawner.backends.local.config import LocalConfig
from arcetri_spawner.backends.local.devices import Offered, inventory, offered
from arcetri_spawner.backends.local.ending import Endings
from arcetri_spawner.backends.local.journal import Journal
from arcetri_spawner.backends.local.leases import Leases
from arcetri_spawner.backends.local.live import Live
from arcetri_spawner.backends.local.nvml import Watcher
from arcetri_spawner.backends.local.recovery import Recovery
from arcetri_spawner.backends.local.starting import Starter
from arcetri_spawner.backends.news import InventoryNews
from arcetri_spawner.backends.progress import ProgressRegistry
from arcetri_spawner.errors import BackendError, StartFailed, StoreError
from arcetri_spawner.identity import NumberSource
from arcetri_spawner.policy.model import Grant, Inventory, MountedVolume
from arcetri_spawner.usage import Told, tell_nobody

if TYPE_CHECKING:
    from arcetri_spawner.catalog import CatalogHolder
    from arcetri_spawner.store import Store

log = structlog.get_logger(__name__)

_REMEMBERED_ENDS = 1000


class LocalBackend:
    """Implements ``backends.base.Backend``; make it once a process, inside or outside the loop.

    ``recover`` must have returned before anything is started; ``run`` is the background work.

    Args:
        config: Where and how.
        store: Leases, sessions and numeric ids.
        catalogs: The catalog of the moment.
        numbers: Who knows the numeric ids that IAM claims; without one all are allocated.
        told: Told of every start and end that is in the journal.

    Raises:
        Conflict: Another hub uses the state folder.
        StoreError: The lease journal cannot be used.
    """

    def __init__(
        self,
        config: LocalConfig,
        store: Store,
        catalogs: CatalogHolder,
        numbers: NumberSource | None = None,
        told: Told = tell_nobody,
    ) -> None:
        self._config = config
        self._catalogs = catalogs
        if config.accounts:
            open_state_folder(config.state_dir)
        self._journal = Journal(config.journal_path, told=told)
        self._watcher = Watcher(config.device_timeout)
        self._endings = Endings(config, self._journal)
        self._starter = Starter(config, store, catalogs, self._journal, self._endings, numbers)
        self._news = InventoryNews(self.current_inventory)
        self.leases = Leases(store, self._news.changed)
        self._recovery = Recovery(config, store, self._journal, self._endings, self.leases)
        self._live: dict[UUID, Live] = {}
        self._ended: dict[UUID, Exited] = {}
        self._progress = ProgressRegistry()
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._as_of = datetime.now(UTC)
        catalogs.subscribe(self._news.changed)

    # Inventory

    def offered(self) -> dict[str, Offered]:
        """What each flavour has, from the last look and the catalog of the moment."""
        return offered(
            self._catalogs.current.catalog, self._watcher.last, simulate=self._config.simulate
        )

    def devices_of(self, flavor: str) -> tuple[Device, ...]:
        """The devices, or places, of one flavour; none for one the catalog no longer has."""
        found = self.offered().get(flavor)
        return found.devices if found else ()

    async def unwell(self) -> Sequence[str]:
        """Nothing: what runs sessions is this machine."""
        return ()

    def current_inventory(self) -> Inventory:
        """What there is now, from memory."""
        return inventory(
            self._catalogs.current.catalog,
            self.offered(),
            self.leases.held,
            as_of=self._as_of,
            stale=self._watcher.stale,
        )

    def inventory(self) -> AsyncIterator[Inventory]:
        """What there is, at once and then at every change, for ever."""
        return self._news.watch()

    async def run(self) -> None:
        """Look at the devices again and again, and write what a full disk kept back; for ever."""
        while True:
            await asyncio.sleep(self._config.device_interval)
            try:
                await self._look()
                await self._endings.write_unwritten()
            except StoreError as error:
                log.warning("the lease journal cannot be written", why=error.code)

    async def _look(self) -> None:
        changed = await self._watcher.refresh()
        if not self._watcher.stale:
            self._as_of = datetime.now(UTC)
        if changed:
            self._news.changed()

    # Folders

    async def folders(self, username: str, volumes: Sequence[MountedVolume]) -> tuple[Folder, ...]:
        """Where a session started now would find each of these volumes, in their order."""
        catalog = self._catalogs.current.catalog
        return await asyncio.to_thread(places.place, username, volumes, self._config, catalog)

    # Sessions

    async def start(self, grant: Grant, ticket: Ticket, launch: Launch) -> Session:
        """Start what was granted on the devices the ticket holds; return once it answers.

        Raises:
            StorageFull: The start could not be recorded; nothing was started.
            DeviceUnavailable: A granted device is gone.
            StartFailed: The server ended or never answered; nothing of it remains.
        """
        progress = self._progress.begin(grant.request_id)
        devices = ticket.placement.devices if ticket.placement else ()
        live: Live | None = None
        try:
            self._starter.check_devices(devices, self.devices_of(grant.flavor))
            async with self._turn_of(grant.username):
                others = (other.session.username for other in self._live.values())
                prepared = await self._starter.prepare(
                    grant, devices, launch, progress, alone=grant.username not in others
                )
                live = await self._starter.spawn(prepared)
                self._watch(live)
            return await self._starter.bring_up(prepared, live, progress)
        except BaseException as error:
            # A cancelled start must be undone all the same: the hub is closing, or gave up waiting.
            undone = asyncio.ensure_future(self._undo(grant.request_id, live))
            await asyncio.shield(undone)
            if isinstance(error, BackendError):
                progress.tell(100, str(error), error.details, last=True)
            raise
        finally:
            self._progress.over(grant.request_id)

    def _turn_of(self, username: str) -> asyncio.Lock:
        """Two starts of one person would make, and clear away, the same links at the same time."""
        turn = self._turns.get(username)
        if turn is None:
            turn = self._turns[username] = asyncio.Lock()
        return turn

    async def _undo(self, session_id: UUID, live: Live | None) -> None:
        if live is None:
            folder = self._config.sessions_dir / str(session_id)
            await asyncio.to_thread(preparation.clear_folder, folder)
            return
        live.reason = live.reason or "start_failed"
        await self._endings.clear(session_id)
        await asyncio.shield(live.exited)

    def _watch(self, live: Live) -> None:
        self._live[live.session.id] = live
        live.watcher = asyncio.create_task(self._see_off(live), name=f"end of {live.session.id}")

    async def _see_off(self, live: Live) -> None:
        exited = await self._endings.see_off(live)
        self._live.pop(live.session.id, None)
        self._ended[live.session.id] = exited
        while len(self._ended) > _REMEMBERED_ENDS:
            del self._ended[next(iter(self._ended))]
        live.exited.set_result(exited)
        await asyncio.to_thread(
            preparation.prune, self._config.sessions_dir, list(self._live), self._config.keep_logs
        )

    async def poll(self, session: Session) -> Running | Exited | Unknown:
        """Whether the session still runs; until everything of it is gone, it does."""
        if session.id in self._live:
            return Running()
        return self._ended.get(session.id) or Unknown("this hub has never seen the session")

    def away(self, session: Session) -> Away | None:
        """Never: what does not answer here does not ask either."""
        del session
        return None

    async def wait(self, session: Session) -> Exited:
        """Return when every process of the session is gone and the journal knows."""
        live = self._live.get(session.id)
        if live is None:
            return self._ended.get(session.id, Exited(0, "lost"))
        return await asyncio.shield(live.exited)

    async def stop(self, session: Session, grace: timedelta, *, reason: str = "stopped") -> None:
        """End the session: ask, wait at most ``grace``, then kill. Returns when it is gone."""
        live = self._live.get(session.id)
        if live is None:
            if session.id not in self._ended:
                await self._endings.clear(session.id)
            return
        live.reason = live.reason or reason
        live.keeper.ask_to_end()
        killpoints.reach("stop.asked")
        await asyncio.wait({live.exited}, timeout=grace.total_seconds())
        if not live.exited.done():
            await self._endings.clear(session.id)
        await asyncio.shield(live.exited)

    def progress(self, session_id: UUID) -> AsyncIterator[Event]:
        """The steps of a start, from its first one, until it is over."""
        return self._progress.watch(session_id)

    @property
    def closing(self) -> bool:
        """Never: a start that the hub's end cuts short is undone before it ends."""
        return False

    async def restore(
        self,
        session_id: UUID,
        *,
        answered: bool = True,  # noqa: ARG002 - a process that was let go goes on by itself
        reason: str = "",
    ) -> Session | Exited | Unknown:
        """Find a session again after the hub was restarted."""
        live = self._live.get(session_id)
        if live is not None:
            return live.session
        if session_id in self._ended:
            return self._ended[session_id]
        found = await self._recovery.restore(session_id, reason)
        if isinstance(found, Live):
            self._watch(found)
            return found.session
        return found

    async def resume(self, session_id: UUID) -> Session:
        """Return a session that ``restore`` found: its start needs nobody to go on.

        Raises:
            StartFailed: It was not found, or has ended.
        """
        live = self._live.get(session_id)
        if live is None:
            raise StartFailed("The session ended while it started.", remedy="Start again.")
        return live.session

    async def recover(self) -> None:
        """Make leases, records and processes agree, once, before anything is started.

        Sessions that run are adopted; those that do not are ended; processes that nobody knows are
        killed. A second call changes nothing.

        Raises:
            StoreError: The database cannot be read or written.
        """
        await self._look()
        for live in await self._recovery.recover(set(self._live)):
            self._watch(live)
        await self.leases.refresh()

    async def close(self) -> None:
        """Stop watching and let another hub use the state folder; sessions run on."""
        for live in list(self._live.values()):
            if live.watcher is not None:
                live.watcher.cancel()
                await asyncio.gather(live.watcher, return_exceptions=True)
            live.keeper.close()
        self._live.clear()
        await asyncio.to_thread(self._journal.close)
