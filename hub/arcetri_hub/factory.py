"""Wires the platform: the one place that knows which implementation serves which contract.

JupyterHub makes its own spawners and handlers, so the platform is one object of the process:
``build_platform`` makes it while the configuration is read, ``get_platform`` finds it later.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any, Final
from zoneinfo import ZoneInfo

import structlog

from arcetri_hub.auth import HubIdentities
from arcetri_hub.metrics import Metrics
from arcetri_hub.reaper import Notice, Reaper, build_reaper
from arcetri_hub.settings import Settings
from arcetri_spawner.backends.local import LocalBackend, LocalConfig, LocalQueue
from arcetri_spawner.catalog import CatalogHolder
from arcetri_spawner.errors import StoreError
from arcetri_spawner.jupyterhub import use_service
from arcetri_spawner.service import SessionService
from arcetri_spawner.store import Store

log = structlog.get_logger(__name__)

RECOVERY_PAUSE: Final = 5.0
"""Seconds between two tries while the database is away."""

_platform: Platform | None = None


@dataclass(slots=True)
class Platform:
    """Everything that serves for as long as the hub's process lives."""

    settings: Settings
    catalogs: CatalogHolder
    store: Store
    backend: LocalBackend
    queue: LocalQueue
    identities: HubIdentities
    service: SessionService
    metrics: Metrics
    reaper: Reaper | None = None
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def start(self, app: Any) -> None:
        """Begin the work in the background; called once, on JupyterHub's event loop.

        Args:
            app: The JupyterHub application, before it looks for the servers it left running:
                each spawner it asks waits until ``recover`` has found its session again.
        """
        self.identities.attach(app)
        self.reaper = build_reaper(
            app,
            self.service.running,
            self.service.end,
            lambda: ZoneInfo(self.catalogs.current.catalog.site.timezone),
        )
        self._spawn(self._recover())
        self._spawn(self.catalogs.watch())
        self._spawn(self.metrics.watch(self))
        self._spawn(self.reaper.run())

    def notices(self, username: str) -> list[Notice]:
        """The announced ends of a user's sessions."""
        return self.reaper.notices(username) if self.reaper else []

    async def close(self) -> None:
        """End the background work; sessions run on."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self.reaper is not None:
            await self.reaper.close()
        await self.service.close(end_sessions=False)
        await self.backend.close()
        self.store.close()

    async def _recover(self) -> None:
        while True:
            try:
                await self.backend.recover()
                await self.service.recover()
                break
            except StoreError as error:
                # Starts wait meanwhile; a database that comes back must find us still trying.
                log.warning("cannot recover yet", code=error.code, why=str(error))
                await asyncio.sleep(RECOVERY_PAUSE)
        await self.backend.run()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._report)

    def _report(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("background work ended", exc_info=task.exception())


def build_platform(settings: Settings) -> Platform:
    """Make the process's platform.

    Raises:
        ArcetriError: The catalog or the database cannot be used; nothing is left open.
    """
    global _platform
    catalogs = CatalogHolder(settings.profiles)
    store = Store.open(settings.database_url)
    backend = LocalBackend(
        LocalConfig(
            state_dir=settings.state_dir,
            instance_id=settings.instance_id,
            accounts=settings.accounts,
            simulate=settings.loopback,
            start_timeout=settings.start_timeout - 10,
        ),
        store,
        catalogs,
    )
    queue = LocalQueue(backend, store, catalogs)
    identities = HubIdentities(store)
    metrics = Metrics()
    service = SessionService(
        catalogs=catalogs,
        store=store,
        queue=queue,
        backend=backend,
        identities=identities,
        observer=metrics,
    )
    _platform = Platform(settings, catalogs, store, backend, queue, identities, service, metrics)
    use_service(lambda: get_platform().service)
    return _platform


def get_platform() -> Platform:
    """The process's platform.

    Raises:
        RuntimeError: ``build_platform`` was not called.
    """
    if _platform is None:
        raise RuntimeError("the platform is not built: call build_platform first")
    return _platform
