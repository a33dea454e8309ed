"""Wires the platform: the one place that knows which implementation serves which contract.

JupyterHub makes its own spawners and handlers, so the platform is one object of the process:
``build_platform`` makes it while the configuration is read, ``get_platform`` finds it later.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
from collections.abc import Coroutine
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final
from zoneinfo import ZoneInfo

import structlog
from jupyterhub.app import JupyterHub

from arcetri_accounting.client import PastLengths, Witness
from arcetri_accounting.spool import SpoolError
from arcetri_hub.auth import HubIdentities
from arcetri_hub.away import away_notice
from arcetri_hub.metrics import Metrics
from arcetri_hub.reaper import Notice, Reaper, build_reaper
from arcetri_hub.settings import KubernetesSettings, Settings, UsageSettings
from arcetri_hub.usage import PREFIX, WITNESS
from arcetri_hub.waiting import HubStarter, opened
from arcetri_hub.waitmetrics import WaitMetrics
from arcetri_spawner.backends.base import Queue
from arcetri_spawner.backends.local import LocalBackend, LocalConfig, LocalQueue
from arcetri_spawner.catalog import CatalogHolder, ReloadResult
from arcetri_spawner.errors import AnotherHub, StoreError
from arcetri_spawner.estimates import Order
from arcetri_spawner.expectations import Expectations
from arcetri_spawner.jupyterhub import use_service
from arcetri_spawner.service import SessionService
from arcetri_spawner.store import PRUNE_BATCH, Store
from arcetri_spawner.usage import snapshot, tell_nobody, tell_nobody_of

if TYPE_CHECKING:
    from arcetri_spawner.backends.kubernetes.backend import KubernetesBackend

log = structlog.get_logger(__name__)

RECOVERY_PAUSE: Final = 5.0
"""Seconds between two tries while the database is away."""

ALONE_PAUSE: Final = 5.0
"""Seconds between two looks whether this is still the one hub."""
ALONE_LOOKS: Final = 6
"""So many looks in a row must say that it is not."""
ROOM_PAUSE: Final = 30.0
"""Seconds between two looks at the room that is kept in the database."""

LAST_GOOD: Final = "profiles.last-good.yaml"
"""In the state folder: the catalog that serves when the hub starts again over a broken one."""

PRUNE_PAUSE: Final = 3600.0
"""Seconds between two looks for requests that ended long ago."""

_platform: Platform | None = None


@dataclass(slots=True)
class Platform:
    """Everything that serves for as long as the hub's process lives."""

    settings: Settings
    catalogs: CatalogHolder
    store: Store
    backend: LocalBackend | KubernetesBackend
    queue: Queue
    identities: HubIdentities
    service: SessionService
    metrics: Metrics
    witness: Witness | None = None
    """Tells the ledger; None where usage is not recorded."""
    lengths: PastLengths | None = None
    """Asks the ledger how long sessions last; None where usage is not recorded."""
    expectations: Expectations | None = None
    """How long requests will wait; None where usage is not recorded."""
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
            self.service.ends,
            self.service.end,
            self.service.demands,
            lambda: ZoneInfo(self.catalogs.current.catalog.site.timezone),
            interval=self.settings.culling_interval,
        )
        reaper = self.reaper
        self.catalogs.subscribe(lambda _: reaper.wake())
        self._spawn(self._recover())
        self._spawn(self._wait(HubStarter(app)))
        self._spawn(self.service.unopened.run(opened(app), self.service.holds))
        self._spawn(self._keep_room())
        self._spawn(self._prune())
        self._spawn(self._stay_alone())
        self._spawn(self.catalogs.watch())
        self._spawn(self.metrics.watch(self))
        self._spawn(self.reaper.run())
        if self.witness is not None:
            self._spawn(self.witness.run())
        if self.lengths is not None:
            self._spawn(self.lengths.run())
        if self.expectations is not None:
            self._spawn(self.expectations.run())

    def notices(self, username: str) -> list[Notice]:
        """What a user must know of their sessions: nodes that do not answer, announced ends."""
        zone, now = self.catalogs.current.catalog.site.timezone, datetime.now(UTC)
        away = self.service.away(username)
        announced = self.reaper.notices(username) if self.reaper else []
        return [
            *(away_notice(server, what, zone, now) for server, what in away.items()),
            *announced,
        ]

    async def close(self) -> None:
        """End the background work; sessions run on."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self.reaper is not None:
            await self.reaper.close()
        await self.service.close(end_sessions=False)
        await self.backend.close()
        if self.witness is not None:
            self.witness.close()
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
        # What lives as long as the hub is looked through no more: most of a start's time on the
        # processor would go to that.
        gc.collect()
        gc.freeze()
        await self.backend.run()

    async def _wait(self, starter: HubStarter) -> None:
        """Have started whoever's turn comes, once it is known who waits."""
        await self.service.recovered()
        await self.service.reconciler.run(starter)

    async def _stay_alone(self) -> None:
        """End this hub when another one has the database, so that it can be started to wait."""
        lost = 0
        while lost < ALONE_LOOKS:
            await asyncio.sleep(ALONE_PAUSE)
            try:
                await self.store.ping()
                lost = 0
            except AnotherHub:
                # Perhaps it is this hub's own broken connection, which the server has yet to miss.
                lost += 1
            except StoreError:
                continue
        log.critical("another hub has taken the database over: this one ends; sessions run on")
        os.kill(os.getpid(), signal.SIGTERM)

    async def _keep_room(self) -> None:
        """Let the hub go on when the disk is full, and say in its log that it is."""
        told = ""
        while True:
            try:
                await self.store.keep_room()
                told = ""
            except StoreError as error:
                if error.code != told:
                    log.warning("no room is kept in the database", code=error.code, why=str(error))
                told = error.code
            await asyncio.sleep(ROOM_PAUSE)

    async def _prune(self) -> None:
        """Forget what ended long ago, a little at a time."""
        keep = timedelta(days=self.settings.keep_requests)
        while True:
            pruned = 0
            try:
                pruned = await self.store.prune_ended(keep)
            except StoreError as error:
                log.warning("ended requests are not pruned", code=error.code, why=str(error))
            if pruned:
                log.info("ended requests pruned", count=pruned, days=self.settings.keep_requests)
            await asyncio.sleep(1 if pruned == PRUNE_BATCH else PRUNE_PAUSE)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._report)

    def _report(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("background work ended", exc_info=task.exception())


def log_reload(result: ReloadResult) -> None:
    """Say in the hub's log what became of a changed catalog, finding by finding."""
    path, digest = result.catalog.path, result.catalog.digest[:12]
    if result.refused:
        log.error("catalog refused: the last good one serves", path=path, digest=digest)
    else:
        log.info("catalog taken", path=path, digest=digest)
    for finding in result.findings:
        (log.error if finding.severity == "error" else log.warning)(finding.render())


def build_platform(settings: Settings) -> Platform:
    """Make the process's platform.

    Raises:
        ArcetriError: The catalog or the database cannot be used; nothing is left open.
    """
    global _platform
    catalogs = CatalogHolder(settings.profiles, keep=settings.state_dir / LAST_GOOD)
    if catalogs.findings:
        log_reload(ReloadResult(False, True, catalogs.current, catalogs.findings))
    catalogs.subscribe(log_reload)
    # Waits for another hub to end: nothing is served meanwhile.
    store = Store.open(settings.database_url, alone=True)
    identities = HubIdentities(store)
    witness = _witness(settings.usage, catalogs) if settings.usage else None
    backend: LocalBackend | KubernetesBackend
    queue: Queue
    if settings.kubernetes is not None:
        backend, queue = _cluster(
            settings, settings.kubernetes, store, catalogs, identities, witness
        )
    else:
        backend, queue = _machine(settings, store, catalogs, identities, witness)
    metrics = Metrics()
    service = SessionService(
        catalogs=catalogs,
        store=store,
        queue=queue,
        backend=backend,
        identities=identities,
        observer=metrics,
    )
    lengths = expectations = None
    if settings.usage is not None:
        lengths = _lengths(settings.usage)
        expectations = _expectations(settings, service, catalogs, backend, lengths)
        service.waiting.estimator = expectations
    _platform = Platform(
        settings,
        catalogs,
        store,
        backend,
        queue,
        identities,
        service,
        metrics,
        witness=witness,
        lengths=lengths,
        expectations=expectations,
    )
    use_service(lambda: get_platform().service)
    return _platform


def _machine(
    settings: Settings,
    store: Store,
    catalogs: CatalogHolder,
    identities: HubIdentities,
    witness: Witness | None,
) -> tuple[LocalBackend, Queue]:
    """Sessions as processes of this machine."""
    backend = LocalBackend(
        LocalConfig(
            state_dir=settings.state_dir,
            instance_id=settings.instance_id,
            accounts=settings.accounts,
            mounts=settings.mounts,
            simulate=settings.loopback,
            start_timeout=settings.start_timeout - 10,
        ),
        store,
        catalogs,
        numbers=identities,
        told=witness.tell if witness else tell_nobody,
    )
    return backend, LocalQueue(backend, store, catalogs)


def _cluster(
    settings: Settings,
    kubernetes: KubernetesSettings,
    store: Store,
    catalogs: CatalogHolder,
    identities: HubIdentities,
    witness: Witness | None,
) -> tuple[KubernetesBackend, Queue]:
    """Sessions as pods of a cluster."""
    # Imported here: one machine needs no Kubernetes client, and does not install it.
    from arcetri_spawner.backends.kubernetes.backend import KubernetesBackend
    from arcetri_spawner.backends.kubernetes.config import KubernetesConfig
    from arcetri_spawner.backends.kubernetes.connecting import connect
    from arcetri_spawner.backends.kubernetes.queue import SlotQueue
    from arcetri_spawner.kubespawner import sample_pod
    from arcetri_spawner.provisioner.client import ProvisionerClient

    told = kubernetes.provisioner
    backend = KubernetesBackend(
        KubernetesConfig(
            namespace=kubernetes.namespace,
            instance_id=settings.instance_id,
            start_timeout=settings.start_timeout - 10,
            patience=kubernetes.patience,
            strict_groups=kubernetes.strict_groups,
            lends=kubernetes.queue == "kueue",
        ),
        store,
        catalogs,
        connect,
        numbers=identities,
        told=witness.saw if witness else tell_nobody_of,
        provisioner=ProvisionerClient(told.url, told.token_file) if told else None,
        # The site's own configuration is read after the platform's: it is asked for later.
        sample=lambda: sample_pod(JupyterHub.instance().config),
    )
    if kubernetes.queue == "slots":
        return backend, SlotQueue(backend, store, catalogs)
    return backend, _kueue(settings.instance_id, kubernetes, backend, catalogs)


def _kueue(
    instance: str,
    kubernetes: KubernetesSettings,
    backend: KubernetesBackend,
    catalogs: CatalogHolder,
) -> Queue:
    """The queues of Kueue, over a connection of their own, which goes with the backend."""
    # Imported here: who does without Kueue needs no client of it.
    from arcetri_spawner.backends.kubernetes.kueue.queue import KueueQueue
    from arcetri_spawner.queues.connecting import connect
    from arcetri_spawner.queues.names import Names

    queue = KueueQueue(
        connect,
        Names(kubernetes.queues_name, kubernetes.namespace),
        instance,
        catalogs,
        backend.current_inventory,
        claims=backend.claims,
        changes=backend.inventory,
    )
    backend.closes(queue.close)
    return queue


def _witness(usage: UsageSettings, catalogs: CatalogHolder) -> Witness | None:
    """The spawner's own word to the ledger: it begins with the catalog that holds now.

    None where its spool cannot be used: sessions matter more than a second witness of them.
    """
    try:
        witness = Witness(
            usage.spool,
            f"{usage.url}{PREFIX}",
            usage.witness_token_file,
            writer=WITNESS,
            node=usage.node,
        )
    except SpoolError as error:
        log.error("the ledger has no second witness until the hub starts again", why=str(error))
        return None
    witness.tell_catalog(snapshot(catalogs.current, datetime.now(UTC)))

    def changed(result: ReloadResult) -> None:
        if result.changed:
            witness.tell_catalog(snapshot(result.catalog, datetime.now(UTC)))

    catalogs.subscribe(changed)
    return witness


def _lengths(usage: UsageSettings) -> PastLengths:
    """Asks the ledger, with the token by which it is told."""
    return PastLengths(f"{usage.url}{PREFIX}", usage.witness_token_file)


def _expectations(
    settings: Settings,
    service: SessionService,
    catalogs: CatalogHolder,
    backend: LocalBackend | KubernetesBackend,
    lengths: PastLengths,
) -> Expectations:
    """How long requests wait, by the order of the queue that the sessions' place has."""
    return Expectations(
        live=service.live,
        catalogs=catalogs,
        inventory=backend.current_inventory,
        heard=lambda: lengths.heard,
        order=order_of(settings.kubernetes),
        observer=WaitMetrics(lambda: lengths.heard.at.timestamp() if lengths.heard else 0),
    )


def order_of(kubernetes: KubernetesSettings | None) -> Order:
    """In which order the queue lets requests start.

    Only Kueue weighs groups against each other; every other queue takes who asked first.
    """
    kueue = kubernetes is not None and kubernetes.queue == "kueue"
    return Order.FAIR_SHARE if kueue else Order.FIRST_COME


def get_platform() -> Platform:
    """The process's platform.

    Raises:
        RuntimeError: ``build_platform`` was not called.
    """
    if _platform is None:
        raise RuntimeError("the platform is not built: call build_platform first")
    return _platform
