"""Each pod of ours, followed from its creation until it is gone, and how it ended.

A pod is deleted only when its session ends: not by a hub that starts again, and never because the
API server said nothing. Nor is one removed from a node that gives no answer: only that node can say
that nothing of it runs any more. Its session ends without it, once the pod cannot but end.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection
from dataclasses import replace
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Final
from uuid import UUID

import structlog

from arcetri_spawner import killpoints
from arcetri_spawner.backends.base import Away, Exited
from arcetri_spawner.backends.kubernetes import silence, witnessed
from arcetri_spawner.backends.kubernetes.api import Api, ApiAway, ApiRefused, Object
from arcetri_spawner.backends.kubernetes.cluster import Cluster
from arcetri_spawner.backends.kubernetes.ends import REASONS, left_behind
from arcetri_spawner.backends.kubernetes.live import Live
from arcetri_spawner.backends.kubernetes.names import pod_name
from arcetri_spawner.backends.kubernetes.tale import tale
from arcetri_spawner.backends.kubernetes.trouble import exit_of, vanished
from arcetri_spawner.backends.kubernetes.words import ClusterFault
from arcetri_spawner.chores import Chores
from arcetri_spawner.usage import ToldOf

log = structlog.get_logger(__name__)

RETRY: Final = 2.0
"""Seconds between two tries to delete a pod while the API server gives no answer."""
UNSEEN: Final = 10.0
"""Seconds after which a pod that was created, and is not in the copy of the cluster, is asked for:
it may have gone before the copy had it."""
LOOK: Final = 1.0
"""Seconds between two looks whether the node of a pod that is to end still answers."""
ASKED: Final = 1
"""Seconds of grace, the fewest that leave it to the node to say that a pod has ended; with none the
API server forgets it at once."""
REMEMBERED: Final = 1000
"""Ends that are remembered for whoever asks late."""


class Following:
    """The pods that are there, and the last ends.

    Args:
        api: The API server.
        cluster: What it says of pods.
        namespace: Where sessions run.
        told: Told of each start and end as it is seen, the second witness of both.
    """

    def __init__(self, api: Api, cluster: Cluster, namespace: str, told: ToldOf) -> None:
        self._api = api
        self._cluster = cluster
        self._pods = f"/api/v1/namespaces/{namespace}/pods"
        self._told = told
        self._chores = Chores()
        self._live: dict[UUID, Live] = {}
        self._ended: dict[UUID, Exited] = {}

    def live(self, session_id: UUID) -> Live | None:
        """A session whose pod is followed."""
        return self._live.get(session_id)

    def ended(self, session_id: UUID) -> Exited | None:
        """How a session ended that was followed; None where that is not known, or not any more."""
        return self._ended.get(session_id)

    def follow(self, session_id: UUID, pod: Object) -> Live:
        """Follow a session's pod until it is gone."""
        live = Live(session_id, pod["metadata"]["uid"])
        self._live[session_id] = live
        live.watcher = asyncio.create_task(self._see_off(live, pod), name=f"end of {session_id}")
        return live

    async def _see_off(self, live: Live, known: Object) -> None:
        """Follow a pod until it is gone or given up, and remember how it ended."""
        seen = False
        marked: float | None = None
        ended: Exited | None = None
        left = False
        while True:
            moved = self._cluster.moved(live.id)
            pod = self._cluster.pod(live.id)
            if pod is None and seen:
                break
            if pod is not None:
                # Not kept beside it: what the API server answered is as large as all else that a
                # session takes here.
                known, seen = pod, True
            await self._witness(live, pod)
            if pod is not None and ended is None and (ended := exit_of(pod)) is not None:
                # Its notebook is over: what else is in the pod goes with it.
                self._chores.start(self.remove(live.id, live.uid, 0))
            if pod is not None and silence.is_marked(pod):
                marked = time.monotonic() if marked is None else marked
                if self._is_left(pod, time.monotonic() - marked):
                    left = ended is None
                    ended = ended or left_behind(pod, stopped=bool(live.reason))
                    break
            try:
                async with asyncio.timeout(_pause(marked, seen=seen)):
                    await moved.wait()
            except TimeoutError:
                if not seen and await self._is_gone(live):
                    break
        last = self._cluster.last(known)
        found = ended or exit_of(last) or vanished(last)
        exited = replace(found, reason=live.reason or found.reason)
        if live.reason and not left:
            # Who asked for the end knows why; how the server took it is no news.
            exited = replace(exited, message="")
        if not live.reason and (found.code or found.reason in REASONS):
            # Events expire, and the pod is gone: nobody could be asked later.
            exited = replace(exited, details=tale(last, self._cluster.told(last)))
        await self._witness(live, known)
        await self.tell_end(live.id, known, exited.reason)
        self._live.pop(live.id, None)
        self._ended[live.id] = exited
        while len(self._ended) > REMEMBERED:
            del self._ended[next(iter(self._ended))]
        live.exited.set_result(exited)
        log.info("session over", session=str(live.id), code=exited.code, reason=exited.reason)

    def away(self, pod: Object) -> Away | None:
        """What there is to say of a pod's node; None where it answers, or nobody can say."""
        return self._silence(pod) if self._cluster.fresh else None

    def _silence(self, pod: Object) -> Away | None:
        """The same by what is known, however old."""
        return silence.away_of(pod, self._cluster.node_of(pod))

    def _is_left(self, pod: Object, since: float) -> bool:
        """Whether a pod that is to end, and had ``since`` seconds for it, is left to its node."""
        return self.away(pod) is not None and since >= silence.grace_of(pod)

    async def _is_gone(self, live: Live) -> bool:
        """Whether the API server says that a pod is no more."""
        try:
            found = await self._api.get(f"{self._pods}/{pod_name(live.id)}")
        except ApiRefused as error:
            return error.status == HTTPStatus.NOT_FOUND
        except ApiAway:
            return False
        return bool(found["metadata"]["uid"] != live.uid)

    async def _witness(self, live: Live, pod: Object | None) -> None:
        """Tell of a session's start, once its notebook runs."""
        if pod is None or live.told:
            return
        start = witnessed.start_of(pod)
        if start is not None:
            live.told = True
            await asyncio.to_thread(self._told, start, witnessed.node_of(pod))
            killpoints.reach("pod.start_told")

    async def tell_end(self, session_id: UUID, pod: Object | None, reason: str) -> None:
        """Tell of a session's end; where its pod says no more when, it is found now."""
        now = datetime.now(UTC)
        end = witnessed.end_of(pod or {}, str(session_id), reason, now)
        await asyncio.to_thread(self._told, end, witnessed.node_of(pod or {}))
        killpoints.reach("pod.end_told")

    async def remove(self, session_id: UUID, uid: str, grace: int) -> None:
        """Have a pod deleted, and with it its Secret; again and again while the server is away.

        One that is gone already is no error; one whose node gives no answer stays, to end when the
        node is back.

        Args:
            session_id: Whose pod.
            uid: The pod's own; empty for whichever has the session's name.
            grace: Seconds that it has to end.

        Raises:
            ClusterFault: It may not be deleted.
        """
        path = f"{self._pods}/{pod_name(session_id)}"
        while True:
            pod = self._cluster.pod(session_id)
            left = max(grace, ASKED) if pod is not None and self._silence(pod) else grace
            try:
                await self._api.delete(path, uid=uid, grace=left)
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

    async def sweep(self, live: Callable[[], Awaitable[Collection[UUID]]]) -> None:
        """Remove pods of ours that belong to no live request.

        A request is written before its pod is made, and ended after its pod is gone. A pod that is
        to end already is its node's to end, now or when the node is back.

        Args:
            live: Reads which requests are live.
        """
        there = self._cluster.sessions()
        known = await live() if there else ()
        for session in there:
            pod = self._cluster.pod(session)
            if session in known or pod is None or silence.is_marked(pod):
                continue
            log.warning("a pod belongs to no request: removed", session=str(session))
            await self.remove(session, pod["metadata"]["uid"], 0)
            if session not in self._live:
                await self.tell_end(session, pod, "lost")

    def tasks(self) -> list[asyncio.Task[None]]:
        """What goes on in the background, for who ends it; sessions run on."""
        ends = (live.watcher for live in self._live.values() if live.watcher)
        return [*self._chores.running(), *ends]


def _pause(marked: float | None, *, seen: bool) -> float | None:
    """Seconds until a pod is looked at again though nothing was heard; None for never."""
    if not seen:
        return UNSEEN
    return None if marked is None else LOOK
