"""A site with settings of its own: what they add to sessions is obeyed, and counted."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster import addresses, hub, images
from tests.cluster.cluster import Cluster
from tests.cluster.hub import Hub
from tests.cluster.test_sessions import catalog
from tests.support.platform import until

pytestmark = pytest.mark.cluster

NAMESPACE = "sessions-of-a-site"
POOL = "arcetri.test/pool"
LICENCE = "example.org/licence"


def settings(image: str) -> str:
    """The site's own configuration of JupyterHub."""
    container = {
        "name": "beside",
        "image": image,
        "command": ["sleep", "2147483647"],
        "resources": {"limits": {LICENCE: "1"}},
    }
    return (
        f"c.KubeSpawner.node_selector = { ({POOL: 'users'})!r}\n"
        f"c.KubeSpawner.extra_containers = [{container!r}]\n"
    )


def on_the_node(cluster: Cluster, licences: int | None, pool: str | None) -> None:
    """Give the node so many licences, and a pool, or take them away."""
    amounts = {LICENCE: None if licences is None else str(licences)}
    status = json.dumps({"status": {"capacity": amounts, "allocatable": amounts}})
    patch = ["kubectl", "patch", "node", addresses.NODE_NAME, "--type=merge"]
    cluster.run([*patch, "--subresource=status", f"--patch={status}"])
    cluster.run([*patch, f"--patch={json.dumps({'metadata': {'labels': {POOL: pool}}})}"])


@pytest.fixture
def site(cluster: Cluster, tmp_path: Path) -> Iterator[Hub]:
    """A platform whose sessions go to one pool, each with a container that takes a licence."""
    metadata = {
        "name": NAMESPACE,
        "labels": {"pod-security.kubernetes.io/enforce": "restricted"},
    }
    cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
    image = cluster.load(images.MINIMAL)
    entry = catalog(image)
    # No file outlives these sessions.
    entry["volumes"], entry["everyone"]["volumes"] = {}, []
    try:
        with hub.running(
            cluster, tmp_path / "hub", NAMESPACE, entry, site=settings(image)
        ) as started:
            yield started
    finally:
        on_the_node(cluster, None, None)
        cluster.run(["kubectl", "delete", "namespace", NAMESPACE, "--now", "--timeout=60s"])


def test_what_a_site_adds_to_sessions_is_obeyed_and_counted(site: Hub) -> None:
    def offered(key: str) -> Any:
        with site.platform.login("alice") as client:
            offers = client.get("/hub/arcetri/offers").json()["offers"]
        return next(one[key] for one in offers if one["flavor"] == "a100-1g")

    # The node has two such devices, and is none of the site's.
    assert offered("total") == 0
    on_the_node(site.cluster, 1, "users")
    until(lambda: offered("total") == 2, "the node is one of the site's", 30)
    # Both are free; for one session only there is a licence too.
    until(lambda: offered("startable") == 1, "licences count", 30)
    session = site.platform.start_session("alice", flavor="a100-1g", environment="python")
    (pod,) = site.pods()
    assert pod["metadata"]["name"] == f"session-{session}"
    assert pod["spec"]["nodeSelector"][POOL] == "users"
    assert [one["name"] for one in pod["spec"]["containers"]] == ["notebook", "beside"]
    until(lambda: offered("startable") == 0, "the licence is taken", 30)
    assert offered("total") == 2
