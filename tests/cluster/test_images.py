"""A notebook's image, run on the cluster as a session runs it."""

from __future__ import annotations

import httpx
import pytest

from tests.cluster import images
from tests.cluster.cluster import Cluster
from tests.cluster.pods import pod, running
from tests.support.platform import until

PORT = 8888
LAB = ["jupyter", "lab", "--no-browser", "--ip=0.0.0.0", f"--port={PORT}"]


@pytest.mark.cluster
def test_the_minimal_notebook_runs_restricted_and_answers(cluster: Cluster, namespace: str) -> None:
    label = "pod-security.kubernetes.io/enforce=restricted"
    cluster.run(["kubectl", "label", "namespace", namespace, label])
    minimal = cluster.load(images.MINIMAL)
    command = {"args": [*LAB, "--IdentityProvider.token=secret"]}
    cluster.apply(pod("notebook", namespace, image=minimal, container=command))
    found = cluster.until("pod", "notebook", running, namespace=namespace)
    with cluster.http(found["status"]["podIP"], PORT) as client:

        def answers() -> bool:
            try:
                return client.get("/api").is_success
            except httpx.TransportError:
                return False

        until(answers, "JupyterLab answers", 90)
        assert client.get("/api/kernelspecs").status_code == httpx.codes.FORBIDDEN
        headers = {"Authorization": "token secret"}
        assert "python3" in client.get("/api/kernelspecs", headers=headers).json()["kernelspecs"]
        assert client.get("/lab", headers=headers).is_success
    inside = ["kubectl", "exec", f"--namespace={namespace}", "notebook", "--"]
    assert cluster.run([*inside, "id", "-u"]).strip() == "1000"
    version = cluster.run([*inside, "jupyterhub-singleuser", "--version"])
    assert version.startswith("6.")
