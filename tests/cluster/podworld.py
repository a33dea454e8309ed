"""The Kubernetes backend with its store, queue and service, as tests of its parts want it.

It runs in the test's own process, or in one that is to be killed.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import json
import os
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from kubernetes_asyncio import config
from kubernetes_asyncio.client import ApiClient, Configuration

from arcetri_accounting.contract import podmarks
from arcetri_spawner import killpoints
from arcetri_spawner.backends.base import Launch
from arcetri_spawner.backends.kubernetes.api import Api
from arcetri_spawner.backends.kubernetes.backend import KubernetesBackend
from arcetri_spawner.backends.kubernetes.config import KubernetesConfig
from arcetri_spawner.backends.kubernetes.queue import SlotQueue
from arcetri_spawner.backends.kubernetes.sample import Sample
from arcetri_spawner.catalog import CatalogHolder
from arcetri_spawner.groups import EVERYONE, GroupPath
from arcetri_spawner.policy.model import Grant, Identity
from arcetri_spawner.service import SessionService
from arcetri_spawner.store import Store
from tests.cluster import addresses, hub, images
from tests.cluster.cluster import Cluster
from tests.support import builders

PORT = 8888
FAKE_SERVER = Path(__file__).parents[1] / "spawner" / "local" / "fake_server.py"
MISSING = f"{addresses.NODE}:5000/there-is-no/such:1"
ALL = GroupPath("/lab/all")
_NEWNET = 0x40000000
_MIB = 1 << 20

CATALOG = f"""
version: 1
site: {{name: Lab}}
defaults: {{idle: 1h, lifetime: 3d, hold: 10m, grace: 5m, stop: 2s}}
ids: {{users: 200000-299999, groups: 300000-309999}}
limits: {{sessions: 2, requests: 3}}
everyone: {{flavors: [cpu]}}
flavors: {{cpu: {{title: No accelerator}}}}
sizes: {{small: {{cpu: 0.05, memory: 64Mi, shm: 1Mi}}}}
environments:
  python: {{title: Python, image: "{images.MINIMAL.reference}"}}
  missing: {{title: Missing, image: "{MISSING}"}}
groups: {{/lab/all: {{}}}}
"""


@contextlib.contextmanager
def account(cluster: Cluster, folder: Path, namespace: str) -> Iterator[Path]:
    """The rights of a hub, for sessions in a namespace that insists on the level "restricted"."""
    label = {"pod-security.kubernetes.io/enforce": "restricted"}
    metadata = {"name": namespace, "labels": label}
    cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
    cluster.load(images.MINIMAL)
    yield hub.account(cluster, folder, namespace)
    cluster.run(["kubectl", "delete", "namespace", namespace, "--now", "--wait=false"])


@contextlib.contextmanager
def network(cluster: Cluster) -> Iterator[None]:
    """Have what this thread connects to in the cluster's own network."""
    first = json.loads(cluster.state.record.read_text(encoding="utf-8"))["first"]
    with (
        Path("/proc/thread-self/ns/net").open() as home,
        Path(f"/proc/{first}/ns/net").open() as it,
    ):
        _enter(it.fileno())
        try:
            yield
        finally:
            _enter(home.fileno())


def _enter(namespace: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(namespace, _NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


def launch(**env: str) -> Launch:
    """A pod that runs the fake server, which listens to FAKE_* variables."""
    told = {
        "JUPYTERHUB_SERVICE_PREFIX": "/user/alice/",
        "JUPYTERHUB_SERVICE_URL": f"http://0.0.0.0:{PORT}/user/alice/",
        "JUPYTERHUB_API_TOKEN": "session-token",
        **env,
    }

    async def pod() -> Mapping[str, Any]:
        return {
            "metadata": {"name": "jupyter-alice"},
            "spec": {
                "containers": [
                    {
                        "name": "notebook",
                        "command": ["python3", "-c", FAKE_SERVER.read_text(encoding="utf-8")],
                        "imagePullPolicy": "IfNotPresent",
                        "env": [{"name": name, "value": value} for name, value in told.items()],
                        "ports": [{"name": "notebook-port", "containerPort": PORT}],
                    }
                ]
            },
        }

    return Launch(args=(), env=told, base_url="/user/alice/", pod=pod)


class PodWorld:
    """Everything that one hub would hold."""

    def __init__(
        self,
        folder: Path,
        namespace: str,
        instance: str,
        kubeconfig: Path,
        start_timeout: float = 40,
        catalog: str = CATALOG,
        sample: Sample | None = None,
    ) -> None:
        self.catalog, self.sample = catalog, sample
        self.folder, self.namespace, self.instance = folder, namespace, instance
        self.kubeconfig = kubeconfig
        self.store = Store.open(f"sqlite:///{folder / 'arcetri.sqlite'}")
        profiles = folder / "profiles.yaml"
        profiles.write_text(catalog, encoding="utf-8")
        self.catalogs = CatalogHolder(profiles)
        self.backend = KubernetesBackend(
            KubernetesConfig(namespace, instance, start_timeout=start_timeout, patience=2),
            self.store,
            self.catalogs,
            self._connect,
            sample=sample,
        )
        self.queue = SlotQueue(self.backend, self.store, self.catalogs)
        self.service = SessionService(
            catalogs=self.catalogs,
            store=self.store,
            queue=self.queue,
            backend=self.backend,
            identities=self,
        )

    async def _connect(self) -> Api:
        configuration = Configuration()
        await config.load_kube_config(
            config_file=str(self.kubeconfig), client_configuration=configuration
        )
        return Api(ApiClient(configuration))

    async def fresh(self, username: str, *, reuse: float = 0.0) -> Identity:  # noqa: ARG002
        account = await self.store.account_for("https://iam.example/", username, username)
        return Identity(account.id, username, frozenset({ALL}))

    async def known(self, username: str) -> Identity:
        return await self.fresh(username)

    async def grant(self, name: str = "alice", flavor: str = "cpu") -> Grant:
        """A grant to an account that exists, its request open."""
        account = await self.store.account_for("https://iam.example/", name, name)
        made = builders.grant(
            account_id=account.id,
            username=name,
            flavor=flavor,
            flavor_type="cpu",
            group=EVERYONE,
            cpu=0.05,
            memory=64 * _MIB,
            shm=_MIB,
            image=images.MINIMAL.reference,
            sessions_limit=100,
            requests_limit=100,
        )
        await self.store.open_request(made)
        return made

    def launch(self, **env: str) -> Launch:
        return launch(**env)

    async def close(self) -> None:
        await self.service.close(end_sessions=False)
        await self.backend.close()
        self.store.close()

    @asynccontextmanager
    async def again(self, start_timeout: float = 40) -> AsyncIterator[PodWorld]:
        """The next hub over the same; its service has not recovered yet."""
        await self.close()
        place = (self.folder, self.namespace, self.instance, self.kubeconfig)
        more = (start_timeout, self.catalog, self.sample)
        async with opened(*place, *more) as after:
            yield after

    async def remains(self) -> list[str]:
        """Pods of this platform's sessions that the API server has."""
        api = await self._connect()
        try:
            selector = f"{podmarks.INSTANCE}={self.instance}"
            path = f"/api/v1/namespaces/{self.namespace}/pods"
            found = await api.get(path, labelSelector=selector)
            return [pod["metadata"]["name"] for pod in found["items"]]
        finally:
            await api.close()


@asynccontextmanager
async def opened(
    folder: Path,
    namespace: str,
    instance: str,
    kubeconfig: Path,
    start_timeout: float = 40,
    catalog: str = CATALOG,
    sample: Sample | None = None,
) -> AsyncIterator[PodWorld]:
    """A hub that has recovered, but for its service."""
    world = PodWorld(folder, namespace, instance, kubeconfig, start_timeout, catalog, sample)
    try:
        await world.backend.recover()
        yield world
    finally:
        await world.close()


def live(
    folder: Path, namespace: str, instance: str, kubeconfig: Path, point: str, environment: str
) -> None:
    """Take alice's session through its whole life, in a process that dies at a kill point.

    With ``recover:`` before the point it only recovers.
    """
    log = os.open(folder / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for number in (1, 2):
        os.dup2(log, number)
    asyncio.run(_live(PodWorld(folder, namespace, instance, kubeconfig), point, environment))


async def _live(world: PodWorld, point: str, environment: str) -> None:
    recovering, _, name = point.rpartition(":")
    await world.backend.recover()
    killpoints.arm(name)
    await world.service.recover()
    if recovering:
        await world.service.outcome("alice", "")
        return
    raw = {"flavor": "cpu", "environment": environment}
    await world.service.start("alice", "", raw, launch())
    await world.service.end_server("alice", "", "stopped")
