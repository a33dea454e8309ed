"""Pods for trials."""

from __future__ import annotations

from typing import Any

from tests.cluster import images
from tests.cluster.components import SIMULATED

RESTRICTED: dict[str, Any] = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "runAsUser": 1000,
    "seccompProfile": {"type": "RuntimeDefault"},
}
"""What the Pod Security level "restricted" asks of a container."""


def pod(
    name: str,
    namespace: str,
    *,
    image: str = images.PAUSE.reference,
    devices: dict[str, int] | None = None,
    container: dict[str, Any] | None = None,
    spec: dict[str, Any] | None = None,
    labels: dict[str, str] | None = None,
) -> dict[str, Any]:
    """A pod of one restricted container.

    Args:
        name: The pod's name.
        namespace: Where it is.
        image: What it runs; by default nothing, for ever.
        devices: How many of each extended resource.
        container: Added to the container.
        spec: Added to the pod's ``spec``.
        labels: The pod's labels.
    """
    quantities = {resource: str(count) for resource, count in (devices or {}).items()}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": labels or {}},
        "spec": {
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": 1,
            "containers": [
                {
                    "name": "main",
                    "image": image,
                    "imagePullPolicy": "IfNotPresent",
                    "securityContext": RESTRICTED,
                    "resources": {"limits": quantities, "requests": quantities},
                    **(container or {}),
                }
            ],
            **(spec or {}),
        },
    }


def running(found: dict[str, Any]) -> bool:
    """Whether a pod runs, and all its containers are ready."""
    states = found.get("status", {}).get("containerStatuses", [])
    return bool(states) and all(state["ready"] for state in states)


def pending(found: dict[str, Any]) -> bool:
    """Whether a pod waits for a node that has room for it."""
    conditions = found.get("status", {}).get("conditions", [])
    return any(one.get("reason") == "Unschedulable" for one in conditions)


def simulated_node(
    name: str, resources: dict[str, int], labels: dict[str, str] | None = None
) -> dict[str, Any]:
    """A node that kwok plays.

    Args:
        name: The node's name.
        resources: What it has of each extended resource, besides 64 cores and 512 GiB.
        labels: The node's labels.
    """
    capacity = {"cpu": "64", "memory": "512Gi", "pods": "250", "ephemeral-storage": "1Ti"}
    capacity |= {resource: str(count) for resource, count in resources.items()}
    key, _, value = SIMULATED.partition("=")
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "annotations": {key: value},
            "labels": {"kubernetes.io/hostname": name, "type": "simulated", **(labels or {})},
        },
        # What is to stay on the real node needs no word of its own.
        "spec": {"taints": [{"key": key, "value": value, "effect": "NoSchedule"}]},
        "status": {"capacity": capacity, "allocatable": capacity},
    }


def simulated_pod(name: str, namespace: str, **options: Any) -> dict[str, Any]:
    """A pod that is put on simulated nodes only; the arguments are those of ``pod``."""
    key, _, value = SIMULATED.partition("=")
    made = pod(name, namespace, **options)
    toleration = {"key": key, "operator": "Equal", "value": value, "effect": "NoSchedule"}
    made["spec"] |= {"nodeSelector": {"type": "simulated"}, "tolerations": [toleration]}
    return made
