"""The backend of a cluster: sessions are pods, what is free is what nodes and pods say.

A session's pod is named for its request and never another's. It is deleted only when its session
ends: not by a hub that starts again, and never because the API server said nothing.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final
from uuid import UUID

import structlog

from arcetri_spawner import killpoints
from arcetri_spawner.backends.base import (
    Event,
    Exited,
    Folder,
    Launch,
    Running,
    Session,
    Ticket,
    Unknown,
)
from arcetri_spawner.backends.kubernetes import witnessed
from arcetri_spawner.backends.kubernetes.api import Api, ApiAway, ApiRefused, Object
from arcetri_spawner.backends.kubernetes.cluster import Cluster
from arcetri_spawner.backends.kubernetes.config import KubernetesConfig
from arcetri_spawner.backends.kubernetes.folders import Folders, Provisioner
from arcetri_spawner.backends.kubernetes.inventory import Stock
from arcetri_spawner.backends.kubernetes.live import Live, session_of, url_of
from arcetri_spawner.backends.kubernetes.offering import Offering
from arcetri_spawner.backends.kubernetes.starting import Starter
from arcetri_spawner.backends.kubernetes.trouble import exit_of
from arcetri_spawner.backends.kubernetes.words import ClusterFault, ClusterTrouble
from arcetri_spawner.backends.news import InventoryNews
from arcetri_spawner.backends.progress import Progress
from arcetri_spawner.chores import Chores
from arcetri_spawner.errors import BackendError
from arcetri_spawner.identity import NumberSource
from arcetri_spawner.policy.model import Grant, Inventory, MountedVolume
from arcetri_spawner.provisioner.faults import FolderTrouble
from arcetri_spawner.usage import ToldOf, tell_nobody_of

if TYPE_CHECKING:
    from arcetri_spawner.catalog import CatalogHolder
    from arcetri_spawner.store import Store

log = structlog.get_logger(__name__)

RETRY: Final = 2.0
"""Seconds between two tries to delete a pod while the API server gives no answer."""
SWEEP: Final = 60.0
"""Seconds between two looks for pods that belong to no request."""
REMEMBERED: Final = 1000
"""Ends that are remembered for whoever asks late."""
PROGRESS_KEPT: Final = 60.0
"""Seconds for which the steps of a start that is over can still be read."""


class KubernetesBackend:
    """Implements ``backends.base.Backend``; make it once a process, inside or outside the loop.

    ``recover`` must have returned before anything is started; ``run`` is the background work.

    Args:
        config: Where and how.
        store: Requests and numeric ids.
        catalogs: The catalog of the moment.
        connect: Makes the connection to the API server; called once, inside the loop.
        numbers: Who knows the numeric ids that IAM claims; without one all are allocated.
        told: Told of each start and end as it is seen, the second witness of both.
        provisioner: Who makes homes and group folders; without one they must be there.
    """

    def __init__(
        self,
        config: KubernetesConfig,
        store: Store,
        catalogs: CatalogHolder,
        connect: Callable[[], Awaitable[Api]],
        numbers: NumberSource | None = None,
        told: ToldOf = tell_nobody_of,
        provisioner: Provisioner | None = None,
    ) -> None:
        self._config = config
        self._told = told
        self._store = store
        self._catalogs = catalogs
        self._connect = connect
        self._numbers = numbers
        self._folders = Folders(provisioner)
        self._stock = Stock(
            Offering.of(catalogs.current.catalog),
            instance=config.instance_id,
            namespace=config.namespace,
        )
        self._api: Api | None = None
        self._cluster: Cluster | None = None
        self._starter: Starter | None = None
        self._watches: list[asyncio.Task[None]] = []
        self._chores = Chores()
        self._live: dict[UUID, Live] = {}
        self._ended: dict[UUID, Exited] = {}
        self._progress: dict[UUID, Progress] = {}
        self._as_of = datetime.now(UTC)
        self._news = InventoryNews(self.current_inventory)
        self._closed_with: list[Callable[[], Awaitable[None]]] = []
        catalogs.subscribe(self._catalog_changed)

    # Inventory

    def current_inventory(self) -> Inventory:
        """What there is now, from memory; stale while the API server cannot be asked."""
        fresh = self._cluster is not None and self._cluster.fresh
        if fresh:
            self._as_of = datetime.now(UTC)
        return self._stock.inventory(self._as_of, stale=not fresh)

    def inventory(self) -> AsyncIterator[Inventory]:
        """What there is, at once and then at every change, for ever."""
        return self._news.watch()

    def startable(self, flavor: str, size: str) -> int:
        """How many more sessions of a flavour and size the nodes have room for now.

        One that the catalog has no longer, or that no answer of the API server vouches for: none.
        """
        if self._cluster is None or not self._cluster.fresh:
            return 0
        try:
            return self._stock.startable(flavor, size)
        except KeyError:
            return 0

    def is_placed(self, session: UUID) -> bool:
        """Whether a session's pod is on a node, and so in the numbers of what is free."""
        pod = self._cluster.pod(session) if self._cluster else None
        return pod is not None and bool(pod["spec"].get("nodeName"))

    def _catalog_changed(self, *_: object) -> None:
        self._stock.offer(Offering.of(self._catalogs.current.catalog))
        self._news.changed()

    async def folders(
        self,
        username: str,  # noqa: ARG002 - a pod's folders are where the catalog says
        volumes: Sequence[MountedVolume],
    ) -> tuple[Folder, ...]:
        """Where a session finds each of these volumes: at the catalog's own places."""
        rooms = await self._folders.rooms(volumes)
        return tuple(
            Folder(volume, volume.mount, protected=True, room=rooms.get(volume.name))
            for volume in volumes
        )

    # Sessions

    async def start(self, grant: Grant, ticket: Ticket, launch: Launch) -> Session:
        """Start what was granted, on the node it was admitted to; return once it answers.

        Raises:
            StoreError: The person's numeric ids cannot be had.
            FolderTrouble: Its folders cannot be made ready; there is no pod.
            ClusterTrouble: It cannot be started; nothing of it remains.
        """
        progress = Progress()
        self._progress[grant.request_id] = progress
        live: Live | None = None
        try:
            progress.tell(5, "Preparing your session.")
            nodes = self._nodes_for(grant, ticket)
            shaped = await self._starter_now.shape(grant, launch, nodes, progress)
            killpoints.reach("pod.prepared")
            # Shielded: a start that is cancelled here must know whether there is a pod.
            creating = asyncio.ensure_future(self._starter_now.create(shaped, progress))
            try:
                pod = await asyncio.shield(creating)
            except asyncio.CancelledError:
                creating.cancel()
                await asyncio.gather(creating, return_exceptions=True)
                raise
            live = self._watch(grant.request_id, pod)
            live.session = await self._starter_now.bring_up(live, launch.base_url, progress)
            return live.session
        except BaseException as error:
            # A cancelled start must be undone all the same: the hub is closing, or gave up waiting.
            undone = asyncio.ensure_future(self._undo(grant.request_id, live))
            await asyncio.shield(undone)
            if isinstance(error, BackendError):
                details = ""
                if isinstance(error, ClusterTrouble | FolderTrouble):
                    details = error.details
                progress.tell(100, str(error), details, last=True)
            raise
        finally:
            progress.finish()
            asyncio.get_running_loop().call_later(
                PROGRESS_KEPT, self._progress.pop, grant.request_id, None
            )

    def _nodes_for(self, grant: Grant, ticket: Ticket) -> list[str]:
        """The only nodes that will do: the one that was admitted, where the queue knows nodes.

        Else, for a session without device, those with room to spare.
        """
        if ticket.placement is not None and ticket.placement.node is not None:
            return [ticket.placement.node]
        if grant.flavor_type != "cpu":
            return []
        return [room.hostname for room in self._stock.rooms(grant.flavor, grant.size)]

    async def _undo(self, session_id: UUID, live: Live | None) -> None:
        if live is not None:
            live.reason = live.reason or "start_failed"
        await self._delete(session_id, live.uid if live else "", 0)
        if live is not None:
            await asyncio.shield(live.exited)

    def _watch(self, session_id: UUID, pod: Object) -> Live:
        live = Live(session_id, pod["metadata"]["uid"])
        self._live[session_id] = live
        live.watcher = asyncio.create_task(self._see_off(live), name=f"end of {session_id}")
        return live

    async def _see_off(self, live: Live) -> None:
        """Follow a pod until it is gone, and remember how it ended."""
        seen: Object | None = None
        ended: Exited | None = None
        while True:
            moved = self._cluster_now.moved(live.id)
            pod = self._cluster_now.pod(live.id)
            if pod is None and seen is not None:
                break
            seen = pod or seen
            await self._witness(live, pod)
            if pod is not None and ended is None and (ended := exit_of(pod)) is not None:
                # Its notebook is over: what else is in the pod goes with it.
                self._chores.start(self._delete(live.id, live.uid, 0))
            await moved.wait()
        found = ended or exit_of(self._cluster_now.last(seen)) or Exited(1, "killed")
        exited = replace(found, reason=live.reason or found.reason)
        await self._witness(live, seen)
        await self._tell_end(live.id, seen, exited.reason)
        self._live.pop(live.id, None)
        self._ended[live.id] = exited
        while len(self._ended) > REMEMBERED:
            del self._ended[next(iter(self._ended))]
        live.exited.set_result(exited)
        log.info("pod gone", session=str(live.id), code=exited.code, reason=exited.reason)

    async def _witness(self, live: Live, pod: Object | None) -> None:
        """Tell of a session's start, once its notebook runs."""
        if pod is None or live.told:
            return
        start = witnessed.start_of(pod)
        if start is not None:
            live.told = True
            await asyncio.to_thread(self._told, start, witnessed.node_of(pod))
            killpoints.reach("pod.start_told")

    async def _tell_end(self, session_id: UUID, pod: Object | None, reason: str) -> None:
        """Tell of a session's end; where its pod says no more when, it is found now."""
        now = datetime.now(UTC)
        end = witnessed.end_of(pod or {}, str(session_id), reason, now)
        await asyncio.to_thread(self._told, end, witnessed.node_of(pod or {}))
        killpoints.reach("pod.end_told")

    async def poll(self, session: Session) -> Running | Exited | Unknown:
        """Whether the session still runs; until its pod is gone, it does."""
        if session.id in self._live:
            return Running()
        return self._ended.get(session.id) or Unknown("this hub has never seen the session")

    async def wait(self, session: Session) -> Exited:
        """Return when the session's pod is gone."""
        live = self._live.get(session.id)
        if live is None:
            return self._ended.get(session.id, Exited(0, "lost"))
        return await asyncio.shield(live.exited)

    async def stop(self, session: Session, grace: timedelta, *, reason: str = "stopped") -> None:
        """End the session: ask, and after ``grace`` kill. Returns when its pod is gone."""
        live = self._live.get(session.id)
        if live is None:
            return
        live.reason = live.reason or reason
        killpoints.reach("pod.stop_asked")
        await self._delete(session.id, live.uid, math.ceil(grace.total_seconds()))
        await asyncio.shield(live.exited)

    async def _delete(self, session_id: UUID, uid: str, grace: int) -> None:
        """Have a pod deleted; again and again while the API server gives no answer.

        Raises:
            ClusterFault: It may not be deleted.
        """
        while True:
            try:
                await self._starter_now.remove(session_id, uid, grace)
                return
            except ApiAway as error:
                log.warning("pod not deleted yet", session=str(session_id), why=str(error))
                await asyncio.sleep(RETRY)
            except ApiRefused as error:
                raise ClusterFault(
                    "The cluster does not let the platform end this session.",
                    code="stop_refused",
                    remedy="The operator looks at the rights of the hub's service account.",
                ) from error

    async def progress(self, session_id: UUID) -> AsyncIterator[Event]:
        """The steps of a start, from its first one, until it is over."""
        progress = self._progress.get(session_id)
        if progress is not None:
            async for event in progress.watch():
                yield event

    async def restore(self, session_id: UUID) -> Session | Exited | Unknown:
        """Find a session again after the hub was restarted.

        One whose pod is there and has not answered yet is not known to run, nor to be gone: it is
        asked for again, and goes on starting meanwhile.
        """
        live = self._live.get(session_id)
        if live is not None and live.session is not None:
            return live.session
        if session_id in self._ended:
            return self._ended[session_id]
        if self._cluster is None or not self._cluster.fresh:
            return Unknown("the API server gives no answer")
        pod = self._cluster.pod(session_id)
        if pod is None:
            await self._tell_end(session_id, None, "lost")
            return Exited(1, "interrupted")
        if live is None:
            live = self._watch(session_id, pod)
        url = url_of(pod)
        if pod.get("status", {}).get("phase") != "Running" or url is None:
            return Unknown("its pod is still starting")
        live.session = session_of(pod, url)
        return live.session

    # The process

    @property
    def _cluster_now(self) -> Cluster:
        if self._cluster is None:
            raise RuntimeError("recover() must come first")
        return self._cluster

    @property
    def _starter_now(self) -> Starter:
        if self._starter is None:
            raise RuntimeError("recover() must come first")
        return self._starter

    async def recover(self) -> None:
        """Begin to watch the cluster; once, before anything is started.

        A hub starts also while the API server is away: sessions are then found when it is back.
        """
        if self._cluster is None:
            self._api = await self._connect()
            self._cluster = Cluster(
                self._api,
                namespace=self._config.namespace,
                instance=self._config.instance_id,
                stock=self._stock,
                changed=self._news.changed,
            )
            self._starter = Starter(
                self._config,
                self._store,
                self._catalogs,
                self._api,
                self._cluster,
                self._numbers,
                self._folders,
            )
            self._watches = [asyncio.create_task(work) for work in self._cluster.watches()]
        try:
            async with asyncio.timeout(self._config.list_timeout):
                await self._cluster.listed()
        except TimeoutError:
            log.error("the API server gives no answer: starts wait, what runs is left alone")

    async def run(self) -> None:
        """Remove pods of ours that belong to no live request; for ever."""
        while True:
            try:
                await self._sweep()
            except BackendError as error:
                log.warning("a pod without a request could not be removed", why=str(error))
            await asyncio.sleep(SWEEP)

    async def _sweep(self) -> None:
        """A request is written before its pod is made: a pod without one is nobody's."""
        if not self._cluster_now.fresh:
            return
        there = [key for key in self._cluster_now.sessions() if key not in self._live]
        known = {row.id for row in await self._store.live_requests()} if there else set()
        for session in there:
            if session not in known and (pod := self._cluster_now.pod(session)) is not None:
                log.warning("a pod belongs to no request: removed", session=str(session))
                await self._delete(session, pod["metadata"]["uid"], 0)
                await self._tell_end(session, pod, "lost")

    def closes(self, close: Callable[[], Awaitable[None]]) -> None:
        """Have something closed with this, such as the queue's own connection."""
        self._closed_with.append(close)

    async def close(self) -> None:
        """Stop watching; sessions run on."""
        for close in self._closed_with:
            await close()
        ends = (live.watcher for live in self._live.values() if live.watcher)
        tasks = [*self._watches, *self._chores.running(), *ends]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._live.clear()
        await self._folders.close()
        if self._api is not None:
            await self._api.close()
