"""The shared file system is a real one, and stays when half of it has gone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.cluster import images, sharedfs
from tests.cluster.cluster import Cluster
from tests.cluster.pods import RESTRICTED, pod
from tests.cluster.sharedfs import SharedFileSystem

pytestmark = pytest.mark.cluster


@pytest.fixture
def shared(cluster: Cluster) -> Iterator[SharedFileSystem]:
    """The volume, whole again after the test."""
    there = sharedfs.mounted(cluster)
    yield there
    there.heal()


def _does(cluster: Cluster, namespace: str, name: str, user: int, script: str) -> str:
    """What a pod of a person prints that runs ``script`` where the volume is at /shared."""
    volume = {"name": "shared", "hostPath": {"path": str(cluster.state.shared)}}
    container = {
        "command": ["sh", "-ec", script],
        "securityContext": {**RESTRICTED, "runAsUser": user, "runAsGroup": user},
        "volumeMounts": [{"name": "shared", "mountPath": "/shared"}],
    }
    spec = {"volumes": [volume], "restartPolicy": "Never"}
    base = cluster.load(images.BASE)
    cluster.apply(pod(name, namespace, image=base, container=container, spec=spec))
    cluster.until("pod", name, _over, namespace=namespace)
    return cluster.run(["kubectl", "logs", f"--namespace={namespace}", name])


def _over(found: dict[str, Any]) -> bool:
    return found.get("status", {}).get("phase") in ("Succeeded", "Failed")


def test_a_file_of_one_pod_is_read_by_another_after_a_brick_was_killed(
    cluster: Cluster, shared: SharedFileSystem, namespace: str
) -> None:
    cluster.run(["install", "-d", "-o", "5001", "-g", "6001", str(shared.mount / "home")])
    _does(cluster, namespace, "writes", 5001, "echo 42 > /shared/home/result")
    for number in (0, 1):
        assert sharedfs.owner(shared.brick(number) / "home" / "result") == (5001, 5001)

    shared.kill(0)
    assert _does(cluster, namespace, "reads", 5002, "cat /shared/home/result").strip() == "42"
    refused = _does(
        cluster, namespace, "writes-too", 5002, "echo 1 >> /shared/home/result || id -u"
    )
    assert "Permission denied" in refused
    assert refused.splitlines()[-1] == "5002"
