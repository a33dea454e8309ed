"""A hub killed with -9 while a session starts, stops or is found again: none is lost or left over.

A hub without JupyterHub dies in a process of its own at each point; the next one is here.
"""

from __future__ import annotations

import json
import multiprocessing
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from arcetri_accounting.contract import podmarks
from arcetri_spawner.backends.answering import answers
from arcetri_spawner.backends.base import Session
from arcetri_spawner.errors import BackendError
from arcetri_spawner.killpoints import POD_POINTS
from tests.cluster import podworld
from tests.cluster.cluster import Cluster
from tests.cluster.podworld import PodWorld

pytestmark = pytest.mark.cluster

NAMESPACE = "killed"
NOT_BEGUN = ("pod.prepared", "pod.created")
"""Killed there, the pod is not there or can never run."""
BEGUN = ("pod.secret_created", "pod.waiting", "pod.start_told", "pod.up", "request.running")
"""Killed there, the start goes on."""
STOPPING = ("pod.stop_asked", "pod.stop_told", "pod.end_told")
"""The first lies before the cluster was asked: the next hub asks; after the last it has ended."""
FAILING = "pod.undoing"
RECOVERING = "pod.taken_up"


def test_every_point_is_tried() -> None:
    tried = {*NOT_BEGUN, *BEGUN, *STOPPING, FAILING, RECOVERING} - {"request.running"}

    assert tried == set(POD_POINTS)


@dataclass
class Hubs:
    """One hub after another over the same folder."""

    cluster: Cluster
    folder: Path
    kubeconfig: Path
    instance: str

    def dies(self, point: str, environment: str = "python") -> None:
        """Let a hub die at a point of its work."""
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([podworld.__name__])
        told = (self.folder, NAMESPACE, self.instance, self.kubeconfig, point, environment)
        process = context.Process(target=podworld.live, args=told)
        process.start()
        process.join(60)
        said = (self.folder / "log").read_text(encoding="utf-8")
        code = process.exitcode
        process.kill()
        process.join()
        assert code == -signal.SIGKILL, said

    def left(self) -> list[str]:
        """Pods and Secrets that there still are."""
        selector = f"--selector={podmarks.INSTANCE}={self.instance}"
        found: list[dict[str, Any]] = json.loads(
            self.cluster.run(
                ["kubectl", "get", "pods,secrets", f"--namespace={NAMESPACE}", selector, "-ojson"]
            )
        )["items"]
        return [f"{one['kind']} {one['metadata']['name']}" for one in found]


@pytest.fixture(scope="module")
def kubeconfig(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with podworld.account(cluster, tmp_path_factory.mktemp("account"), NAMESPACE) as made:
        yield made


@pytest.fixture
def hubs(cluster: Cluster, kubeconfig: Path, tmp_path: Path) -> Iterator[Hubs]:
    with podworld.network(cluster):
        yield Hubs(cluster, tmp_path, kubeconfig, uuid4().hex)


async def settled(world: PodWorld) -> Session | None:
    """Recover, and return what came of alice's session."""
    await world.service.recover()
    try:
        await world.service.outcome("alice", "")
    except BackendError:
        return None
    found = await world.service.find("alice", "")
    assert found is None or isinstance(found, Session)
    return found


async def why(world: PodWorld) -> tuple[str, str]:
    """Reason and message of alice's last end."""
    account = (await world.known("alice")).account_id
    ended = await world.store.last_ended(account, "")
    assert ended is not None
    return ended.reason, ended.message


async def runs(world: PodWorld, session: Session) -> None:
    """It runs, is served, and is one; and nothing is left when it is stopped."""
    [row] = await world.store.live_requests()
    assert (row.id, row.state) == (session.id, "running")
    assert await world.remains() == [f"session-{session.id}"]
    host, _, port = session.url.removeprefix("http://").rpartition(":")
    assert await answers(host, int(port), "/user/alice/")
    await world.service.end_server("alice", "", "stopped")
    assert await why(world) == ("stopped", "")


async def gone(world: PodWorld, hubs: Hubs) -> None:
    """Nothing is left anywhere."""
    assert await world.store.live_requests() == []
    assert await world.store.leases() == {}
    assert await world.remains() == []
    # The Secret goes with its pod, when the cluster's garbage collector comes.
    for _ in range(150):
        if not hubs.left():
            return
    assert hubs.left() == []


@pytest.mark.parametrize("point", BEGUN)
async def test_a_start_that_had_begun_goes_on(hubs: Hubs, point: str) -> None:
    hubs.dies(point)

    async with podworld.opened(hubs.folder, NAMESPACE, hubs.instance, hubs.kubeconfig) as world:
        session = await settled(world)
        assert session is not None
        await runs(world, session)
        await gone(world, hubs)


@pytest.mark.parametrize("point", NOT_BEGUN)
async def test_a_start_that_can_never_come_up_ends_at_once(hubs: Hubs, point: str) -> None:
    hubs.dies(point)

    async with podworld.opened(hubs.folder, NAMESPACE, hubs.instance, hubs.kubeconfig) as world:
        assert await settled(world) is None
        reason, message = await why(world)
        assert reason == "interrupted"
        assert ("The platform was restarted" in message) == (point == "pod.created")
        await gone(world, hubs)


async def test_a_recovery_that_is_killed_is_taken_up(hubs: Hubs) -> None:
    hubs.dies("pod.waiting")
    hubs.dies(f"recover:{RECOVERING}")

    async with podworld.opened(hubs.folder, NAMESPACE, hubs.instance, hubs.kubeconfig) as world:
        session = await settled(world)
        assert session is not None
        await runs(world, session)
        await gone(world, hubs)


@pytest.mark.parametrize("point", STOPPING)
async def test_a_stop_is_asked_for_again_or_was_heeded(hubs: Hubs, point: str) -> None:
    hubs.dies(point)

    async with podworld.opened(hubs.folder, NAMESPACE, hubs.instance, hubs.kubeconfig) as world:
        session = await settled(world)
        if point != "pod.stop_told":
            # That one may have ended while no hub was there to see it.
            assert (session is not None) == (point == "pod.stop_asked")
        if session is not None:
            await world.service.ended(session.id)
        assert (await why(world))[0] == "stopped"
        await gone(world, hubs)


@pytest.mark.parametrize("point", ["pod.waiting", FAILING])
async def test_an_image_that_cannot_be_pulled_ends_the_start_all_the_same(
    hubs: Hubs, point: str
) -> None:
    hubs.dies(point, environment="missing")

    async with podworld.opened(hubs.folder, NAMESPACE, hubs.instance, hubs.kubeconfig) as world:
        assert await settled(world) is None
        reason, message = await why(world)
        assert reason == "registry_away"
        assert "The registry of the image" in message
        await gone(world, hubs)


async def test_a_start_in_doubt_is_undone_by_who_stops_it(hubs: Hubs) -> None:
    hubs.dies("pod.waiting", environment="missing")

    async with podworld.opened(hubs.folder, NAMESPACE, hubs.instance, hubs.kubeconfig) as world:
        await world.service.recover()
        [row] = await world.store.live_requests()
        assert world.service.holds(row.id)
        await world.service.end(row.id, "admin", "The room is too hot.")
        assert await why(world) == ("admin", "The room is too hot.")
        await gone(world, hubs)


async def test_a_start_that_its_user_cancelled_is_undone_by_the_next_hub(hubs: Hubs) -> None:
    hubs.dies("pod.waiting", environment="missing")
    told = (hubs.folder, NAMESPACE, hubs.instance, hubs.kubeconfig)
    async with podworld.opened(*told) as world:
        await world.service.recover()
        # The hub ends before its start is cancelled.
        await world.service.cancelling("alice", "", "By dario.")

    async with podworld.opened(*told) as world:
        assert await settled(world) is None
        assert await why(world) == ("cancelled", "By dario.")
        await gone(world, hubs)


async def test_a_start_that_its_user_cancels_after_a_restart_is_told_as_cancelled(
    hubs: Hubs,
) -> None:
    hubs.dies("pod.waiting", environment="missing")

    async with podworld.opened(hubs.folder, NAMESPACE, hubs.instance, hubs.kubeconfig) as world:
        await world.service.recover()
        await world.service.cancelling("alice", "")
        await world.service.end_server("alice", "", "stopped")
        assert await why(world) == ("cancelled", "")
        await gone(world, hubs)
