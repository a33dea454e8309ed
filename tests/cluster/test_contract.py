"""The Kubernetes backend keeps what every backend promises, on a real cluster."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from tests.cluster import hub, images, podworld
from tests.cluster.cluster import Cluster
from tests.spawner import contract
from tests.spawner.contract import BackendContract

pytestmark = pytest.mark.cluster

NAMESPACE = "contract"


@pytest.fixture(scope="module")
def kubeconfig(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The rights of a hub, for sessions in a namespace that insists on the level "restricted"."""
    label = {"pod-security.kubernetes.io/enforce": "restricted"}
    metadata = {"name": NAMESPACE, "labels": label}
    cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
    cluster.load(images.MINIMAL)
    yield hub.account(cluster, tmp_path_factory.mktemp("account"), NAMESPACE)
    cluster.run(["kubectl", "delete", "namespace", NAMESPACE, "--now", "--wait=false"])


class TestKubernetes(BackendContract):
    @pytest.fixture
    async def site(
        self, cluster: Cluster, kubeconfig: Path, tmp_path: Path
    ) -> AsyncIterator[contract.Site]:
        with podworld.network(cluster):
            async with podworld.opened(tmp_path, NAMESPACE, uuid4().hex, kubeconfig) as made:
                yield made
