"""The real Kueue in a cluster: its own chart, configured as the platform wants it.

Tickets are Workloads that the platform owns, so pods stay out of Kueue's sight: neither a pod nor a
namespace without the label below depends on Kueue's webhooks.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from tests.cluster import addresses, builds, cache, images
from tests.cluster.cluster import Cluster

NAMESPACE = "kueue-system"
MANAGER = "kueue-controller-manager"
MANAGED = "kueue.arcetri.test/managed"
"""The label of namespaces whose batch jobs Kueue manages."""
RELEASE = "kueue"
_VISIBILITY = "apiservice/v1beta2.visibility.kueue.x-k8s.io"

CONFIGURATION: dict[str, Any] = {
    "apiVersion": "config.kueue.x-k8s.io/v1beta2",
    "kind": "Configuration",
    "health": {"healthProbeBindAddress": ":8081"},
    "metrics": {"bindAddress": ":8443"},
    "webhook": {"port": 9443},
    # One replica: nobody waits for a dead one's lease after a restart.
    "leaderElection": {"leaderElect": False},
    "clientConnection": {"qps": 300, "burst": 500},
    "managedJobsNamespaceSelector": {"matchLabels": {MANAGED: "true"}},
    "integrations": {"frameworks": ["batch/job"]},
    "fairSharing": {
        "preemptionStrategies": ["LessThanOrEqualToFinalShare", "LessThanInitialShare"]
    },
}


def values(frameworks: Sequence[str] = ()) -> dict[str, Any]:
    """What the chart is told.

    Args:
        frameworks: Of what else than batch jobs Kueue itself manages the pods.
    """
    repository, _, tag = images.KUEUE.reference.rpartition(":")
    probe = {"initialDelaySeconds": 1, "periodSeconds": 1}
    configuration = {
        **CONFIGURATION,
        "integrations": {"frameworks": [*CONFIGURATION["integrations"]["frameworks"], *frameworks]},
    }
    return {
        "controllerManager": {
            "manager": {
                "image": {"repository": repository, "tag": tag, "pullPolicy": "Never"},
                # The node is small, and what it has belongs to the tests.
                "resources": {
                    "limits": {"cpu": "2", "memory": "1Gi"},
                    "requests": {"cpu": "10m", "memory": "64Mi"},
                },
            },
            "readinessProbe": probe,
        },
        "managerConfig": {"controllerManagerConfigYaml": yaml.safe_dump(configuration)},
    }


def install(cluster: Cluster, frameworks: Sequence[str] = ()) -> None:
    """Install Kueue unless it is there, and wait until it can be used.

    Args:
        cluster: Where.
        frameworks: Of what else than batch jobs Kueue itself manages the pods.
    """
    with cache.lock(cluster.state.folder / ".kueue"):
        if not _installed(cluster):
            cluster.load(images.KUEUE)
            chart = builds.find("kueue-chart")
            command = ["helm", "upgrade", "--install", RELEASE, chart]
            command += [f"--namespace={NAMESPACE}", "--create-namespace", "--values=-"]
            cluster.run(
                [*command, "--wait", "--timeout=150s"], stdin=yaml.safe_dump(values(frameworks))
            )
        settle(cluster)


def _installed(cluster: Cluster) -> bool:
    command = ["helm", "list", f"--namespace={NAMESPACE}", "--deployed", "--output=json"]
    return any(one["name"] == RELEASE for one in json.loads(cluster.run(command)))


def settle(cluster: Cluster) -> None:
    """Wait until Kueue answers: its manager, its webhooks and its visibility API."""
    scale(cluster, 1)
    wait = ["kubectl", "wait", "--for=condition=Available", "--timeout=90s", _VISIBILITY]
    cluster.run(wait)


def scale(cluster: Cluster, replicas: int) -> None:
    """Stop Kueue, or start it again; returns when its manager is gone, or ready.

    Args:
        cluster: Where it is.
        replicas: 0 or 1.
    """
    here = f"--namespace={NAMESPACE}"
    cluster.run(["kubectl", "scale", here, f"--replicas={replicas}", f"deployment/{MANAGER}"])
    if replicas:
        status = ["kubectl", "rollout", "status", here, f"deployment/{MANAGER}", "--timeout=90s"]
        cluster.run(status)
        return
    pods = ["kubectl", "delete", "pod", here, "--selector=control-plane=controller-manager"]
    cluster.run([*pods, "--grace-period=1", "--wait=true", "--timeout=60s"])


@contextlib.contextmanager
def stopped(cluster: Cluster) -> Iterator[None]:
    """A while without Kueue: nobody queues, admits, or answers its webhooks."""
    scale(cluster, 0)
    try:
        yield
    finally:
        settle(cluster)


@contextlib.contextmanager
def configured(cluster: Cluster, **changes: Any) -> Iterator[None]:
    """A while in which Kueue is set up otherwise; it is restarted before and after.

    Args:
        cluster: Where it is.
        changes: Sections of its configuration.
    """
    told = ["configmap", f"{RELEASE}-manager-config", f"--namespace={NAMESPACE}"]
    key = "controller_manager_config.yaml"
    before = cluster.kubectl("get", *told)["data"][key]
    try:
        _configure(cluster, told, key, yaml.safe_dump(yaml.safe_load(before) | changes))
        yield
    finally:
        _configure(cluster, told, key, before)


def _configure(cluster: Cluster, told: list[str], key: str, text: str) -> None:
    change = json.dumps({"data": {key: text}})
    cluster.run(["kubectl", "patch", *told, "--type=merge", f"--patch={change}"])
    scale(cluster, 0)
    settle(cluster)


@contextlib.contextmanager
def reachable(cluster: Cluster, folder: Path) -> Iterator[Path]:
    """A kubeconfig by which a client on this machine reaches the cluster's API server.

    Args:
        cluster: The cluster.
        folder: Where it is written.
    """
    with cluster.forwarded(addresses.NODE, addresses.API_PORT) as port:
        found = yaml.safe_load(cluster.kubeconfig.read_text(encoding="utf-8"))
        found["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{port}"
        path = folder / "kubeconfig"
        path.write_text(yaml.safe_dump(found), encoding="utf-8")
        path.chmod(0o600)
        yield path
