"""The chart on a real cluster: installed, used as people do, changed, and removed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cluster import addresses, chart, images
from tests.cluster.chart import Release
from tests.cluster.cluster import Cluster
from tests.cluster.test_sessions import UID, catalog
from tests.support.platform import until

pytestmark = pytest.mark.cluster

NAME = "charted"


@pytest.fixture(scope="module")
def site(cluster: Cluster) -> Iterator[Release]:
    """The platform, from its chart alone."""
    product = "nvidia.com/gpu.product=Tesla-T4"
    cluster.run(["kubectl", "label", "--overwrite", "node", addresses.NODE_NAME, product])
    with chart.installed(cluster, NAME, catalog(cluster.load(images.MINIMAL))) as release:
        home = release.state / "shared" / "home" / "alice"
        home.mkdir(parents=True)
        cluster.run(["chown", f"{UID}:{UID}", str(home)])
        yield release


def test_a_person_logs_in_and_computes(site: Release) -> None:
    session = site.platform.start_session("alice", flavor="cpu", environment="python")
    (pod,) = site.pods()
    assert pod["metadata"]["labels"]["arcetri.dev/session"] == str(session)
    assert site.sh(pod["metadata"]["name"], "id -un").strip() == "alice"
    with site.platform.login("alice") as client:
        answer = client.get("/user/alice/api/status", follow_redirects=True)
        assert "kernels" in answer.json(), answer.text
    with site.platform.api("alice") as api:
        api.delete("/users/alice/server")
        until(lambda: not site.pods(), "the pod is gone")


def test_its_images_are_on_the_node_before_they_are_asked_for(site: Release) -> None:
    where = f"--namespace={NAME}"
    ask = ["kubectl", "exec", where, f"deployment/{NAME}-prepuller", "--"]
    ask += ["sh", "-c", f"arcetri prepull status {where} --release={NAME} || true"]
    image = images.MINIMAL.reference
    until(lambda: f"{image}: on 1 of 1 nodes" in site.cluster.run(ask), "it is there", 60)
    assert "there-is-no/such:1: on 0 of 1 nodes" in site.cluster.run(ask)
