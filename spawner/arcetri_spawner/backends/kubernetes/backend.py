"""The backend of a cluster: sessions are pods, what is free is what nodes and pods say.

A session's pod is named for its request and never another's. A hub that starts again finds it by
that, runs on with it or goes on starting it; one that ends leaves it to the next.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final
from uuid import UUID

import structlog

from arcetri_spawner import killpoints
from arcetri_spawner.backends.base import (
    Away,
    Event,
    Exited,
    Folder,
    Launch,
    Running,
    Session,
    Starting,
    Ticket,
    Unknown,
)
from arcetri_spawner.backends.kubernetes.api import Api
from arcetri_spawner.backends.kubernetes.availability import Availability
from arcetri_spawner.backends.kubernetes.cluster import Cluster
from arcetri_spawner.backends.kubernetes.config import KubernetesConfig
from arcetri_spawner.backends.kubernetes.folders import Folders, Provisioner
from arcetri_spawner.backends.kubernetes.following import Following
from arcetri_spawner.backends.kubernetes.live import Live, age_of, base_url_of, session_of, url_of
from arcetri_spawner.backends.kubernetes.names import pod_name
from arcetri_spawner.backends.kubernetes.sample import Sample, site_of
from arcetri_spawner.backends.kubernetes.scheduling import no_room
from arcetri_spawner.backends.kubernetes.starting import Starter, gone
from arcetri_spawner.backends.kubernetes.words import ClusterTrouble
from arcetri_spawner.backends.progress import Progress, ProgressRegistry
from arcetri_spawner.errors import ArcetriError, BackendError
from arcetri_spawner.identity import NumberSource
from arcetri_spawner.policy.model import Grant, Inventory, MountedVolume
from arcetri_spawner.usage import ToldOf, tell_nobody_of

if TYPE_CHECKING:
    from arcetri_spawner.catalog import CatalogHolder
    from arcetri_spawner.store import Store

log = structlog.get_logger(__name__)

SWEEP: Final = 60.0
"""Seconds between two looks for pods that belong to no request."""
ROOM: Final = 1.0
"""Seconds between two looks for a node by a start whose own was lost."""


@dataclass(slots=True)
class _Connected:
    """What there is once the cluster can be asked."""

    api: Api
    cluster: Cluster
    starter: Starter
    pods: Following
    watches: list[asyncio.Task[None]]


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
        sample: Makes a pod as the site's settings would; without one they add nothing that counts.
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
        sample: Sample | None = None,
    ) -> None:
        self._config = config
        self._told = told
        self._store = store
        self._catalogs = catalogs
        self._connect = connect
        self._numbers = numbers
        self._folders = Folders(provisioner)
        self._sample = sample
        self.availability = Availability(config, catalogs)
        """What is free, in more detail than an inventory."""
        self.claims = self.availability.claims
        """Who has room on which node."""
        self._connected: _Connected | None = None
        self._progress = ProgressRegistry()
        self._closed_with: list[Callable[[], Awaitable[None]]] = []

    # What there is

    def current_inventory(self) -> Inventory:
        """What there is now, from memory; stale while the API server cannot be asked."""
        return self.availability.inventory()

    async def unwell(self) -> Sequence[str]:
        """Whether the API server and the provisioner answer."""
        away = [] if self.availability.fresh else ["The API server does not answer."]
        if not await self._folders.answers():
            away.append("The provisioner does not answer: no session's folders can be made ready.")
        return away

    def inventory(self) -> AsyncIterator[Inventory]:
        """What there is, at once and then at every change, for ever."""
        return self.availability.watch()

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
        starter, pods = self._now.starter, self._now.pods
        begin = time.monotonic()
        progress = self._progress.begin(grant.request_id)
        live: Live | None = None
        try:
            progress.tell(5, "Preparing your session.")
            nodes = [await self._node_for(grant, ticket, progress)]
            shaped = await starter.shape(grant, launch, nodes, progress)
            killpoints.reach("pod.prepared")
            # Shielded: a start that is cancelled here must know whether there is a pod.
            age = time.monotonic() - begin
            creating = asyncio.ensure_future(starter.create(shaped, progress, age=age))
            try:
                pod = await asyncio.shield(creating)
            except asyncio.CancelledError:
                creating.cancel()
                await asyncio.gather(creating, return_exceptions=True)
                raise
            live = pods.follow(grant.request_id, pod)
            age = time.monotonic() - begin
            live.session = await starter.bring_up(live, launch.base_url, progress, age=age)
            return live.session
        except BaseException as error:
            await self._give_up(grant.request_id, live, progress, error)
            raise
        finally:
            self._progress.over(grant.request_id)

    async def resume(self, session_id: UUID) -> Session:
        """Go on with a start that ``restore`` found, until its server answers.

        Raises:
            ClusterTrouble: It cannot be started; nothing of it remains.
        """
        starter, live = self._now.starter, self._now.pods.live(session_id)
        pod = self._now.cluster.pod(session_id)
        progress = self._progress.begin(session_id)
        try:
            if live is None or pod is None:
                raise ClusterTrouble(gone())
            progress.tell(8, "The platform was restarted meanwhile. Your start goes on.")
            killpoints.reach("pod.taken_up")
            await starter.check_secret(pod, progress)
            age = age_of(pod, datetime.now(UTC))
            live.session = await starter.bring_up(live, base_url_of(pod), progress, age=age)
            return live.session
        except BaseException as error:
            await self._give_up(session_id, live, progress, error)
            raise
        finally:
            self._progress.over(session_id)

    async def _give_up(
        self, session_id: UUID, live: Live | None, progress: Progress, error: BaseException
    ) -> None:
        """Undo a start that failed or was cancelled; one that the hub's end cuts short is left."""
        if self.closing and isinstance(error, asyncio.CancelledError):
            log.info("a start is left to the next hub", session=str(session_id))
            return
        # A cancelled start must be undone all the same: JupyterHub gave up waiting.
        undone = asyncio.ensure_future(self._undo(session_id, live))
        await asyncio.shield(undone)
        if isinstance(error, BackendError):
            progress.tell(100, str(error), error.details, last=True)

    async def _node_for(self, grant: Grant, ticket: Ticket, progress: Progress) -> str:
        """The only node that will do: the one that was admitted, where the queue chose it.

        Else the one where its place is held, or, where that can start nothing any more, another
        with room, for which it waits.

        Raises:
            ClusterTrouble: For too long no node has room.
        """
        if ticket.placement is not None and ticket.placement.node is not None:
            return ticket.placement.node
        claims, session = self.claims, grant.request_id
        deadline = time.monotonic() + self._config.patience
        while True:
            node = claims.node(session)
            node = node or claims.take(session, grant.flavor, claims.need_of(grant))
            if node is not None:
                return node
            if time.monotonic() > deadline:
                raise ClusterTrouble(no_room("No node has room for it that nothing else needs."))
            progress.tell(5, "No node has room for your session just now. It waits for one.")
            await asyncio.sleep(ROOM)

    async def _undo(self, session_id: UUID, live: Live | None) -> None:
        if live is not None:
            live.reason = live.reason or "start_failed"
        killpoints.reach("pod.undoing")
        await self._now.pods.remove(session_id, live.uid if live else "", 0)
        if live is not None:
            await asyncio.shield(live.exited)

    async def poll(self, session: Session) -> Running | Exited | Unknown:
        """Whether the session still runs; until its pod is gone, it does."""
        if self._now.pods.live(session.id) is not None:
            return Running()
        return self._now.pods.ended(session.id) or Unknown("this hub has never seen the session")

    async def wait(self, session: Session) -> Exited:
        """Return when the session's pod is gone, or given up with its node."""
        live = self._now.pods.live(session.id)
        if live is None:
            return self._now.pods.ended(session.id) or Exited(0, "lost")
        return await asyncio.shield(live.exited)

    async def stop(self, session: Session, grace: timedelta, *, reason: str = "stopped") -> None:
        """End the session: ask, and after ``grace`` kill. Returns when its pod is gone.

        Where the pod's node gives no answer, it returns once the pod cannot but end.
        """
        live = self._now.pods.live(session.id)
        if live is None:
            return
        live.reason = live.reason or reason
        killpoints.reach("pod.stop_asked")
        await self._now.pods.remove(session.id, live.uid, math.ceil(grace.total_seconds()))
        killpoints.reach("pod.stop_told")
        await asyncio.shield(live.exited)

    def away(self, session: Session) -> Away | None:
        """What to say of the session's node, while that gives no answer."""
        pod = self._now.cluster.pod(session.id) if self._now.pods.live(session.id) else None
        return None if pod is None else self._now.pods.away(pod)

    def progress(self, session_id: UUID) -> AsyncIterator[Event]:
        """The steps of a start, from its first one, until it is over."""
        return self._progress.watch(session_id)

    async def restore(
        self, session_id: UUID, *, answered: bool = True, reason: str = ""
    ) -> Session | Starting | Exited | Unknown:
        """Find a session again after the hub was restarted."""
        if not self.availability.fresh:
            return Unknown("the API server gives no answer")
        pods, pod = self._now.pods, self._now.cluster.pod(session_id)
        if ended := pods.ended(session_id):
            return ended
        live = pods.live(session_id)
        if live is not None and live.session is not None:
            return live.session
        if pod is None:
            await pods.tell_end(session_id, None, reason or "lost")
            if reason:
                return Exited(0, reason)
            said = await self._now.cluster.remembered(pod_name(session_id))
            return Exited(1, "lost" if answered else "interrupted", said)
        live = live or pods.follow(session_id, pod)
        live.reason = live.reason or reason
        if not answered:
            self._progress.begin(session_id)
            return Starting()
        url = url_of(pod)
        if url is None:
            return Unknown("its pod has no address")
        live.session = session_of(pod, url)
        return live.session

    # The process

    @property
    def closing(self) -> bool:
        """Whether the hub ends: who cancels what watches the cluster for ever ends everything."""
        watches = self._connected.watches if self._connected else []
        return any(task.cancelling() or task.done() for task in watches)

    @property
    def _now(self) -> _Connected:
        if self._connected is None:
            raise RuntimeError("recover() must come first")
        return self._connected

    async def recover(self) -> None:
        """Begin to watch the cluster; once, before anything is started.

        A hub starts also while the API server is away: sessions are then found when it is back.
        """
        if self._connected is None:
            api = await self._connect()
            self.availability.count(await site_of(self._sample))
            self._connected = self._watch(api)
        try:
            async with asyncio.timeout(self._config.list_timeout):
                await self._connected.cluster.listed()
        except TimeoutError:
            log.error("the API server gives no answer: starts wait, what runs is left alone")

    def _watch(self, api: Api) -> _Connected:
        cluster = self.availability.follow(api)
        starter = Starter(
            self._config,
            self._store,
            self._catalogs,
            api,
            cluster,
            self._numbers,
            self._folders,
        )
        pods = Following(api, cluster, self._config.namespace, self._told)
        watches = [asyncio.create_task(work) for work in cluster.watches()]
        return _Connected(api, cluster, starter, pods, watches)

    async def run(self) -> None:
        """Remove pods of ours that belong to no live request; for ever."""
        while True:
            try:
                if self.availability.fresh:
                    await self._now.pods.sweep(self._requests)
            except ArcetriError as error:
                log.warning("a pod without a request could not be removed", why=str(error))
            await asyncio.sleep(SWEEP)

    async def _requests(self) -> set[UUID]:
        return {row.id for row in await self._store.live_requests()}

    def closes(self, close: Callable[[], Awaitable[None]]) -> None:
        """Have something closed with this, such as the queue's own connection."""
        self._closed_with.append(close)

    async def close(self) -> None:
        """Stop watching; sessions run on."""
        for close in self._closed_with:
            await close()
        if self._connected is not None:
            tasks = [*self._connected.watches, *self._connected.pods.tasks()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        await self._folders.close()
        if self._connected is not None:
            await self._connected.api.close()
