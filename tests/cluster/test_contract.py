"""The Kubernetes backend keeps what every backend promises, on a real cluster."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from arcetri_spawner.backends.base import Starting
from arcetri_spawner.backends.kubernetes import ClusterTrouble, following
from tests.cluster import podworld
from tests.cluster.cluster import Cluster
from tests.cluster.podworld import PodWorld, launch
from tests.spawner.contract import BackendContract

pytestmark = pytest.mark.cluster

NAMESPACE = "contract"


@pytest.fixture(scope="module")
def kubeconfig(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with podworld.account(cluster, tmp_path_factory.mktemp("account"), NAMESPACE) as made:
        yield made


class TestKubernetes(BackendContract):
    @pytest.fixture
    async def site(
        self, cluster: Cluster, kubeconfig: Path, tmp_path: Path
    ) -> AsyncIterator[PodWorld]:
        with podworld.network(cluster):
            async with podworld.opened(tmp_path, NAMESPACE, uuid4().hex, kubeconfig) as made:
                yield made

    async def test_a_pod_that_came_and_went_unseen_is_known_to_be_gone(
        self, site: PodWorld, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(following, "UNSEEN", 0.2)
        session = uuid4()
        live = site.backend._now.pods.follow(session, {"metadata": {"uid": str(uuid4())}})

        ended = await asyncio.wait_for(live.exited, 20)

        assert ended.reason == "lost"
        assert site.backend._now.pods.live(session) is None

    async def test_a_hub_that_ends_leaves_a_start_to_the_next_with_what_is_left_of_its_time(
        self, site: PodWorld
    ) -> None:
        grant = await site.grant()
        ticket = await site.queue.submit(grant)
        start = asyncio.create_task(site.backend.start(grant, ticket, launch(FAKE_SILENT="1")))
        async with asyncio.timeout(30):
            while not await site.remains():
                await asyncio.sleep(0.1)
        assert not site.backend.closing

        async with site.again(start_timeout=2) as after:
            assert site.backend.closing
            start.cancel()
            with pytest.raises(asyncio.CancelledError):
                await start
            assert await after.remains() == [f"session-{grant.request_id}"]

            assert await after.backend.restore(grant.request_id, answered=False) == Starting()
            await asyncio.sleep(2)
            with pytest.raises(ClusterTrouble) as caught:
                await asyncio.wait_for(after.backend.resume(grant.request_id), 2)
            assert caught.value.code == "server_silent"
            assert await after.remains() == []
