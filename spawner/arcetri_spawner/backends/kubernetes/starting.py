"""The way from a grant to a pod that answers; each step leaves something a restart can read."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import structlog

from arcetri_spawner import killpoints
from arcetri_spawner.backends.answering import answers
from arcetri_spawner.backends.base import Launch, Session
from arcetri_spawner.backends.kubernetes.api import Api, ApiAway, ApiRefused, Object
from arcetri_spawner.backends.kubernetes.cluster import Cluster
from arcetri_spawner.backends.kubernetes.config import KubernetesConfig
from arcetri_spawner.backends.kubernetes.folders import Folders, wanted_of
from arcetri_spawner.backends.kubernetes.late import too_late
from arcetri_spawner.backends.kubernetes.live import (
    Live,
    own_secret,
    port_of,
    session_of,
    url_of,
)
from arcetri_spawner.backends.kubernetes.manifest import BadManifest, Overruled
from arcetri_spawner.backends.kubernetes.plan import Person, PodPlan, Rules
from arcetri_spawner.backends.kubernetes.pod import ShapedPod, shape_pod
from arcetri_spawner.backends.kubernetes.refusals import cluster_away, refusal
from arcetri_spawner.backends.kubernetes.steps import steps_of
from arcetri_spawner.backends.kubernetes.tale import tale
from arcetri_spawner.backends.kubernetes.trouble import pod_trouble
from arcetri_spawner.backends.kubernetes.words import ClusterTrouble, Trouble
from arcetri_spawner.backends.progress import Progress
from arcetri_spawner.folders import ownership
from arcetri_spawner.groups import EVERYONE
from arcetri_spawner.identity import Numbers, NumberSource
from arcetri_spawner.policy.model import Grant
from arcetri_spawner.provisioner.faults import FolderTrouble

if TYPE_CHECKING:
    from arcetri_spawner.catalog import CatalogHolder
    from arcetri_spawner.catalog.models import Catalog
    from arcetri_spawner.store import Store
    from arcetri_spawner.store.records import PosixIds

log = structlog.get_logger(__name__)

RETRY: Final = 1.0
"""Seconds between two tries while the API server gives no answer."""
FIRST_PAUSE: Final = 0.1
LONGEST_PAUSE: Final = 1.0
PATIENCE_SHARE: Final = 0.08
"""Pauses grow with the time waited: an answer is noticed at most this share of it too late."""
_AWAY: Final = "The cluster does not answer just now; trying again."


class Starter:
    """Starts pods; who watches them afterwards is the backend's."""

    def __init__(
        self,
        config: KubernetesConfig,
        store: Store,
        catalogs: CatalogHolder,
        api: Api,
        cluster: Cluster,
        numbers: NumberSource | None,
        folders: Folders,
    ) -> None:
        self._config = config
        self._store = store
        self._catalogs = catalogs
        self._api = api
        self._cluster = cluster
        self._numbers = numbers
        self._folders = folders
        self._told: set[Overruled] = set()
        self._pods = f"/api/v1/namespaces/{config.namespace}/pods"
        self._secrets = f"/api/v1/namespaces/{config.namespace}/secrets"

    async def shape(
        self, grant: Grant, launch: Launch, nodes: Sequence[str], progress: Progress
    ) -> ShapedPod:
        """Decide everything, and have the folders made; there is no pod yet.

        Raises:
            StoreError: The numeric ids could not be read or written.
            FolderTrouble: The folders cannot be made ready.
            ClusterTrouble: The site's settings make no pod.
        """
        if launch.pod is None:
            raise TypeError("a start on Kubernetes needs KubeSpawner's pod")
        catalog = self._catalogs.current.catalog
        private = ownership.private_volumes(catalog)
        needed = ownership.groups_needed(catalog, grant, private)
        ids = await self._numbers_of(grant, needed)
        await self._make_folders(grant, catalog, ids, private, progress)
        own = {str(group): ids.gids[group] for group in sorted(needed.own - {EVERYONE})}
        plan = PodPlan(
            grant=grant,
            flavor=catalog.flavors[grant.flavor],
            person=Person(ids.uid, ids.gid, own),
            rules=Rules.of(
                catalog,
                namespace=self._config.namespace,
                instance=self._config.instance_id,
                strict_groups=self._config.strict_groups,
            ),
            nodes=tuple(nodes),
        )
        try:
            shaped = shape_pod(await launch.pod(), plan)
        except BadManifest as error:
            raise ClusterTrouble(
                Trouble(
                    "The site's settings of KubeSpawner make something that is no pod.",
                    code="pod_invalid",
                    remedy="Nothing that you chose is wrong: tell the operator of the platform.",
                    details=str(error),
                )
            ) from error
        self._say(shaped.overruled)
        return shaped

    async def _make_folders(
        self,
        grant: Grant,
        catalog: Catalog,
        ids: PosixIds,
        private: frozenset[str],
        progress: Progress,
    ) -> None:
        if not self._folders.made_for_us:
            return
        progress.tell(6, "Making your folders ready.")
        request = wanted_of(
            grant, catalog, person=(ids.uid, ids.gid), gids=ids.gids, private=private
        )
        deadline = time.monotonic() + self._config.patience
        while True:
            try:
                sentences = await self._folders.make(request, grant.volumes)
                break
            except FolderTrouble as error:
                if not error.passing or time.monotonic() > deadline:
                    raise
                progress.tell(6, f"{error.message} Trying again.", error.details)
                await asyncio.sleep(RETRY)
        for sentence in sentences:
            progress.tell(8, sentence)

    async def _numbers_of(self, grant: Grant, needed: ownership.Groups) -> PosixIds:
        claimed = await self._numbers.numbers(grant.username) if self._numbers else Numbers()
        ids = self._catalogs.current.catalog.ids
        return await self._store.posix_ids(
            grant.account_id,
            grant.username,
            (needed.own | needed.folders) - {EVERYONE},
            users=ids.users,
            groups_range=ids.groups,
            uid=claimed.uid,
            gids=claimed.gids,
        )

    def _say(self, overruled: Sequence[Overruled]) -> None:
        """Log what the site asked for and did not get, once for each until the hub ends."""
        for one in overruled:
            if one not in self._told:
                self._told.add(one)
                log.warning("a setting of KubeSpawner is overruled", at=one.path, why=one.reason)

    async def create(self, shaped: ShapedPod, progress: Progress, *, age: float) -> Object:
        """Create the pod and what belongs to it; again and again while the server is away.

        Args:
            shaped: The pod.
            progress: Told each step.
            age: Seconds since the start began.

        Raises:
            ClusterTrouble: The API server refuses it, or gives no answer for too long.
        """
        deadline = time.monotonic() + self._config.start_timeout - age
        pod = await self._insist(self._pods, shaped.manifest, progress, deadline)
        while pod is None:
            # An earlier try arrived, and its answer did not.
            with contextlib.suppress(ApiAway, ApiRefused):
                pod = await self._api.get(f"{self._pods}/{shaped.plan.name}")
                break
            await asyncio.sleep(RETRY)
        killpoints.reach("pod.created")
        secret = shaped.secret(pod["metadata"]["uid"])
        if secret is not None:
            await self._insist(self._secrets, secret, progress, deadline)
        killpoints.reach("pod.secret_created")
        return pod

    async def _insist(
        self, path: str, body: Object, progress: Progress, deadline: float
    ) -> Object | None:
        """Create an object whose name is this session's alone; None where it is there already."""
        while True:
            try:
                return await self._api.create(path, body)
            except ApiRefused as error:
                if error.reason == "AlreadyExists":
                    return None
                raise ClusterTrouble(refusal(error.status, error.message)) from error
            except ApiAway as error:
                if time.monotonic() > deadline:
                    raise ClusterTrouble(cluster_away(str(error))) from error
                progress.tell(10, _AWAY, str(error))
                await asyncio.sleep(RETRY)

    async def bring_up(
        self, live: Live, base_url: str, progress: Progress, *, age: float
    ) -> Session:
        """Wait until the pod's server answers, telling each step.

        Args:
            live: The session.
            base_url: Its server's path.
            progress: Told each step.
            age: Seconds since the start began, perhaps by another hub.

        Raises:
            ClusterTrouble: It never will, as its conditions and events say; or it took too long.
        """
        begin = time.monotonic() - age
        told: set[str] = set()
        troubled: float | None = None
        trouble: Trouble | None = None
        read: asyncio.Event | None = None
        away = False
        while True:
            if away is self._cluster.fresh:
                away, troubled = not away, None
                progress.tell(10, _AWAY if away else "The cluster answers again.")
            moved = self._cluster.moved(live.id)
            pod = self._cluster.pod(live.id)
            now = time.monotonic()
            if moved is not read:
                # Read again only where something has: this is asked many times a second.
                read, trouble = moved, self._read(pod, told, progress)
            if pod is not None and await self._answers(pod, base_url):
                killpoints.reach("pod.up")
                progress.tell(100, "Your notebook server is ready.", last=True)
                return session_of(pod, str(url_of(pod)))
            troubled = None if trouble is None else troubled or now
            late = now - begin > self._config.start_timeout
            if trouble is not None and troubled is not None:
                # While nobody can say how it is, it may have gone by itself.
                passing = away or now - troubled < self._config.patience
                if trouble.final or late or not passing:
                    raise ClusterTrouble(self._in_full(trouble, pod))
            if live.exited.done():
                raise ClusterTrouble(gone().saying(live.exited.result().details))
            if late:
                said = self._cluster.told(pod) if pod is not None else ()
                late_for = cluster_away() if away else too_late(pod, said, now - begin)
                raise ClusterTrouble(self._in_full(late_for, pod))
            running = pod is not None and url_of(pod) is not None
            pause = min(max((now - begin) * PATIENCE_SHARE, FIRST_PAUSE), LONGEST_PAUSE)
            killpoints.reach("pod.waiting")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause if running else LONGEST_PAUSE):
                    await moved.wait()

    def _read(self, pod: Object | None, told: set[str], progress: Progress) -> Trouble | None:
        """Tell the steps that were not told yet; the trouble that a pod is in."""
        if pod is None:
            return None
        events = self._cluster.told(pod)
        for step in steps_of(pod, events):
            if step.message not in told:
                told.add(step.message)
                progress.tell(step.percent, step.message, step.details)
        return pod_trouble(pod, events)

    def _in_full(self, trouble: Trouble, pod: Object | None) -> Trouble:
        """A trouble with all that the cluster says of the pod: it is about to be removed."""
        if pod is None:
            return trouble
        said = tale(pod, self._cluster.told(pod))
        return trouble.saying(f"{trouble.details}\n\n{said}" if trouble.details else said)

    @staticmethod
    async def _answers(pod: Object, base_url: str) -> bool:
        address, port = pod.get("status", {}).get("podIP"), port_of(pod)
        if pod.get("status", {}).get("phase") != "Running" or not address or port is None:
            return False
        return await answers(address, port, base_url)

    async def check_secret(self, pod: Object, progress: Progress) -> None:
        """Make sure that what a pod's container waits for was created, by a hub that may have died.

        Raises:
            ClusterTrouble: It was not, and never will be.
        """
        name = own_secret(pod)
        if name is None:
            return
        body = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}}
        while True:
            try:
                # The hub may read no Secret, but it hears whether there is one of the name.
                await self._api.create(self._secrets, body, dry_run=True)
            except ApiAway as error:
                progress.tell(10, _AWAY, str(error))
                await asyncio.sleep(RETRY)
            except ApiRefused as error:
                if error.reason != "AlreadyExists":
                    log.warning("not known whether a Secret is there", why=str(error))
                return
            else:
                raise ClusterTrouble(_cut_short().saying(f'there is no Secret "{name}"'))


def gone() -> Trouble:
    """The session's pod went away while it started."""
    return Trouble(
        "The session was ended while it started.",
        code="server_crashed",
        remedy="Start again.",
    )


def _cut_short() -> Trouble:
    return Trouble(
        "The platform was restarted while it set your session up, so it cannot start any more.",
        code="interrupted",
        remedy="Start again.",
    )
