"""Simulated nodes take pods, and a server answers at those pods' addresses."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cluster import responder
from tests.cluster.cluster import Cluster
from tests.cluster.pods import pending, running, simulated_node, simulated_pod

pytestmark = pytest.mark.cluster
GPU = "nvidia.com/gpu"


@pytest.fixture
def nodes(cluster: Cluster) -> Iterator[list[str]]:
    """Two simulated nodes of two GPUs each."""
    names = ["simulated-1", "simulated-2"]
    cluster.simulate(*(simulated_node(name, {GPU: 2}) for name in names))
    yield names
    cluster.run(["kubectl", "delete", "node", "--wait=false", *names])


def test_pods_fill_simulated_nodes_and_answer(
    cluster: Cluster, namespace: str, nodes: list[str]
) -> None:
    names = [f"session-{number}" for number in range(4)]
    cluster.apply(*(simulated_pod(name, namespace, devices={GPU: 1}) for name in names))
    found = [cluster.until("pod", name, running, namespace=namespace) for name in names]
    assert {one["spec"]["nodeName"] for one in found} == set(nodes)
    for address in {one["status"]["podIP"] for one in found}:
        with cluster.http(address, responder.PORT) as client:
            assert client.get("/user/somebody/api").json()["address"] == address
    cluster.apply(simulated_pod("session-4", namespace, devices={GPU: 1}))
    cluster.until("pod", "session-4", pending, namespace=namespace)
