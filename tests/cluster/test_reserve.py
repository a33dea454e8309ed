"""CPU-only sessions asked for all at once leave every free GPU what a session on it needs.

Simulated nodes; the scheduler, the API server and Kueue are real. Both queues are tried.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
import yaml
from click.testing import CliRunner
from kubernetes.aio import client, config

from arcetri_accounting.contract import podmarks
from arcetri_hub.cli import main
from arcetri_spawner.backends.base import Queue, Session, Ticket, TicketState
from arcetri_spawner.backends.kubernetes.kueue.asking import ticket_name
from arcetri_spawner.backends.kubernetes.kueue.queue import KueueQueue
from arcetri_spawner.policy.model import Grant
from arcetri_spawner.queues.names import Names
from kueue_client import Kueue, is_aside
from tests.cluster import images, podworld
from tests.cluster.cluster import Cluster
from tests.cluster.components import SIMULATED
from tests.cluster.installation import clear
from tests.cluster.pods import simulated_node
from tests.cluster.podworld import PodWorld
from tests.support import builders
from tests.support.builders import EVERYONE, GIB

pytestmark = pytest.mark.cluster

NAMESPACE = f"reserved-{uuid4().hex[:6]}"
GPU = "nvidia.com/gpu"
LABEL = "reserve.arcetri.test/node"
GPUS = {"one": 4, "two": 2}
"""By node, each with 16 cores: 8 and 12 of them are left beside what its GPUs need."""
ROOM = 4 + 6
ASKED = 20
PATIENCE = 90.0


@pytest.fixture(scope="module")
def kubeconfig(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with podworld.account(cluster, tmp_path_factory.mktemp("account"), NAMESPACE) as made:
        yield made


@pytest.fixture
def farm(cluster: Cluster) -> Iterator[str]:
    """Two nodes with free GPUs; their name."""
    name = f"r{uuid4().hex[:6]}"
    for node, gpus in GPUS.items():
        made = simulated_node(f"{name}-{node}", {GPU: gpus}, {LABEL: name})
        made["status"]["capacity"] |= {"cpu": "16", "memory": "64Gi"}
        cluster.simulate(made)
    yield name
    cluster.run(["kubectl", "delete", "node", f"--selector={LABEL}={name}", "--wait=false"])


def profiles(farm: str) -> str:
    """CPU-only sessions and sessions with a GPU, on the same nodes."""
    where = {"nodes": {LABEL: farm}, "tolerations": [SIMULATED.partition("=")[0]]}
    text = yaml.safe_load(podworld.CATALOG)
    text["flavors"] = {
        "t4": {"title": "T4", "resource": GPU, **where},
        "cpu": {"title": "No accelerator", **where},
    }
    text["sizes"] = {"small": {"cpu": 2, "memory": "4Gi", "shm": "1Mi"}}
    text["groups"] = {"/lab/all": {"flavors": {"t4": {}}}}
    return yaml.safe_dump(text)


@dataclass(slots=True)
class Site:
    """A hub's backend and queue; what is admitted is started, as a hub would."""

    world: PodWorld
    queue: Queue
    starts: bool = True
    told: dict[UUID, Ticket] = field(default_factory=dict)
    sessions: dict[UUID, Session] = field(default_factory=dict)
    failed: dict[UUID, BaseException] = field(default_factory=dict)
    _grants: dict[UUID, Grant] = field(default_factory=dict)
    _starts: dict[UUID, asyncio.Task[None]] = field(default_factory=dict)

    async def ask(self, name: str, flavor: str) -> Grant:
        """Ask for a session; the answer is what the queue tells."""
        account = await self.world.store.account_for("https://iam.example/", name, name)
        made = builders.grant(
            account_id=account.id,
            username=name,
            flavor=flavor,
            flavor_type="cpu" if flavor == "cpu" else "gpu",
            group=EVERYONE if flavor == "cpu" else "/lab/all",
            cpu=2,
            memory=4 * GIB,
            shm=1 << 20,
            image=images.MINIMAL.reference,
        )
        await self.world.store.open_request(made)
        self._grants[made.request_id] = made
        self._note(await self.queue.submit(made))
        return made

    async def listen(self) -> None:
        """Start whatever is admitted."""
        async for ticket in self.queue.watch():
            self._note(ticket)

    def _note(self, ticket: Ticket) -> None:
        request = ticket.request_id
        self.told[request] = ticket
        begins = self.starts and ticket.state is TicketState.ADMITTED
        if begins and request not in self._starts:
            self._starts[request] = asyncio.create_task(self._start(ticket))

    async def _start(self, ticket: Ticket) -> None:
        grant = self._grants[ticket.request_id]
        try:
            started = await self.world.backend.start(grant, ticket, self.world.launch())
            self.sessions[grant.request_id] = started
        except Exception as error:  # noqa: BLE001 - told by the test
            self.failed[grant.request_id] = error

    async def end(self, request: UUID) -> None:
        """End a session, and free its place."""
        session = self.sessions.pop(request)
        await self.world.backend.stop(session, builders.grant().stop)
        await self.queue.finish(self.told[request])

    async def close(self) -> None:
        """End everything."""
        for start in self._starts.values():
            start.cancel()
        await asyncio.gather(*self._starts.values(), return_exceptions=True)
        await asyncio.gather(*map(self.end, list(self.sessions)))
        for request in self._grants:
            await self.queue.finish(Ticket(request, TicketState.GONE))


@asynccontextmanager
async def opened(world: PodWorld, queue: Queue) -> AsyncIterator[Site]:
    """The queue, followed."""
    made = Site(world, queue)
    listening = asyncio.create_task(made.listen())
    try:
        yield made
        await made.close()
    finally:
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)


@pytest.fixture
async def world(
    cluster: Cluster, kubeconfig: Path, tmp_path: Path, farm: str
) -> AsyncIterator[PodWorld]:
    with podworld.network(cluster):
        place = (tmp_path, NAMESPACE, uuid4().hex, kubeconfig)
        async with podworld.opened(*place, catalog=profiles(farm)) as made:
            yield made


@asynccontextmanager
async def kueue(cluster: Cluster, world: PodWorld, farm: str) -> AsyncIterator[KueueQueue]:
    """Queues in the real Kueue, made from the same catalog."""
    names = Names(farm, NAMESPACE)
    command = ["queues", "sync", f"--profiles={world.folder / 'profiles.yaml'}"]
    command += [f"--instance={farm}", f"--namespace={NAMESPACE}"]
    variables = {"KUBECONFIG": str(cluster.kubeconfig)}
    result = await asyncio.to_thread(CliRunner().invoke, main, command, env=variables)
    assert result.exit_code == 0, (result.output, result.exception)

    async def connect() -> client.ApiClient:
        found = client.Configuration()
        await config.load_kube_config(str(cluster.kubeconfig), client_configuration=found)
        return client.ApiClient(found)

    backend = world.backend
    queue = KueueQueue(
        connect,
        names,
        world.instance,
        world.catalogs,
        backend.current_inventory,
        claims=backend.claims,
        changes=backend.inventory,
    )
    try:
        yield queue
    finally:
        await queue.close()
        with Kueue.from_kubeconfig(cluster.kubeconfig) as admin:
            for one in admin.workloads.list(NAMESPACE).items:
                admin.workloads.delete(one.name, NAMESPACE)
            for local in admin.local_queues.list(NAMESPACE).items:
                admin.local_queues.delete(local.name, NAMESPACE)
            clear(admin, names.selector)


async def strands_nothing(site: Site, cluster: Cluster, farm: str) -> None:
    """Ask for 20 CPU-only sessions at once beside free GPUs, and then for every GPU."""
    cpus = await asyncio.gather(*(site.ask(f"user{n}", "cpu") for n in range(ASKED)))
    await until(lambda: len(site.sessions) == ROOM, site)
    await asyncio.sleep(1)  # no more come
    assert len(site.sessions) == ROOM
    waiting = [one for one in cpus if one.request_id not in site.sessions]
    assert {site.told[one.request_id].state for one in waiting} == {TicketState.WAITING}
    assert await on(cluster, farm) == {("one", "cpu"): 4, ("two", "cpu"): 6}

    gpus = await asyncio.gather(*(site.ask(f"gpu{n}", "t4") for n in range(sum(GPUS.values()))))
    await until(lambda: len(site.sessions) == ROOM + len(gpus), site)
    expected = {("one", "cpu"): 4, ("two", "cpu"): 6, ("one", "t4"): 4, ("two", "t4"): 2}
    assert await on(cluster, farm) == expected
    assert not site.failed

    # What a CPU-only session leaves is another's, who waited longest.
    await site.end(next(one.request_id for one in cpus if one.request_id in site.sessions))
    await until(lambda: len(site.sessions) == ROOM + len(gpus), site)


async def until(condition: Any, site: Site) -> None:
    try:
        async with asyncio.timeout(PATIENCE):
            while not condition() and not site.failed:
                await asyncio.sleep(0.1)
    except TimeoutError:
        raise AssertionError((len(site.sessions), list(site.told.values()))) from None
    assert not site.failed, site.failed


async def on(cluster: Cluster, farm: str) -> Mapping[tuple[str, str], int]:
    """How many sessions of each flavour are on each node, as the API server says."""
    found = await asyncio.to_thread(cluster.kubectl, "get", "pods", f"--namespace={NAMESPACE}")
    return Counter(
        (
            pod["spec"].get("nodeName", "none").removeprefix(f"{farm}-"),
            pod["metadata"]["labels"][podmarks.FLAVOR],
        )
        for pod in found["items"]
        if pod["spec"].get("nodeName", farm).startswith(farm)  # those before may still end
    )


async def test_with_slots(world: PodWorld, cluster: Cluster, farm: str) -> None:
    async with opened(world, world.queue) as site:
        await strands_nothing(site, cluster, farm)


async def test_with_kueue(world: PodWorld, with_kueue: Cluster, farm: str) -> None:
    async with kueue(with_kueue, world, farm) as queue, opened(world, queue) as site:
        await strands_nothing(site, with_kueue, farm)


async def test_a_request_that_stands_aside_says_so_and_is_next(
    world: PodWorld, with_kueue: Cluster, farm: str
) -> None:
    with Kueue.from_kubeconfig(with_kueue.kubeconfig) as admin:
        async with kueue(with_kueue, world, farm) as queue, opened(world, queue) as site:
            grants = [await site.ask(f"user{n}", "cpu") for n in range(ROOM + 1)]
            await until(lambda: len(site.sessions) == ROOM, site)
            (waits,) = (one for one in grants if one.request_id not in site.sessions)

            def said() -> str:
                reason = site.told[waits.request_id].reason
                return reason.code if reason else ""

            await until(lambda: said() == "queue_reserved", site)
            name = ticket_name(waits.request_id)
            await until(lambda: is_aside(admin.workloads.get(name, NAMESPACE)), site)
            why = admin.why(name, NAMESPACE)
            assert why.cause == "aside"
            assert "kept for free devices" in why.sentence
            position = await queue.position(site.told[waits.request_id])
            assert position is not None
            assert position.ahead == 0
            # What it may not have, somebody who wants a GPU may.
            await site.ask("gpu", "t4")
            await until(lambda: len(site.sessions) == ROOM + 1, site)
            ended = next(one for one in grants if one.request_id in site.sessions)
            await site.end(ended.request_id)
            await until(lambda: waits.request_id in site.sessions, site)
            placement = site.told[waits.request_id].placement
            pod = with_kueue.kubectl(
                "get", "pod", f"session-{waits.request_id}", f"--namespace={NAMESPACE}"
            )
            assert placement is not None
            assert pod["spec"]["nodeName"] == placement.node


async def sidecar() -> Mapping[str, Any]:
    """The pod of a site that puts a container of three cores beside every notebook."""
    beside = {"name": "proxy", "resources": {"requests": {"cpu": "3", "memory": "1Gi"}}}
    before = {"name": "init", "resources": {"requests": {"memory": "7Gi"}}}
    containers = [{"name": "notebook"}, beside]
    return {"metadata": {}, "spec": {"containers": containers, "initContainers": [before]}}


async def test_what_a_site_adds_to_pods_is_asked_of_kueue(
    with_kueue: Cluster, kubeconfig: Path, tmp_path: Path, farm: str
) -> None:
    place = (tmp_path, NAMESPACE, uuid4().hex, kubeconfig)
    tickets: list[Ticket] = []
    with podworld.network(with_kueue):
        async with (
            podworld.opened(*place, catalog=profiles(farm), sample=sidecar) as world,
            kueue(with_kueue, world, farm) as queue,
        ):
            site = Site(world, queue, starts=False)
            for number in range(sum(GPUS.values())):
                grant = await site.ask(f"gpu{number}", "t4")
                tickets.append(site.told[grant.request_id])
            with Kueue.from_kubeconfig(with_kueue.kubeconfig) as admin:
                one = admin.workloads.get(ticket_name(grant.request_id), NAMESPACE)
            (asks,) = one.spec.pod_sets[0].template["spec"]["containers"]
            assert asks["resources"]["requests"] == {"cpu": "5", "memory": "7Gi", GPU: "1"}
            # Three of five cores each fit a node of 16, whose fourth GPU stays free.
            nodes = Counter(ticket.placement.node for ticket in tickets if ticket.placement)
            assert nodes == {f"{farm}-one": 3, f"{farm}-two": 2}
            (waits,) = (ticket for ticket in tickets if ticket.state is TicketState.WAITING)
            assert waits.reason is not None
            assert waits.reason.code == "queue_size"
            await site.close()
