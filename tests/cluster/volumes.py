"""Volumes: folders of the node, as a local disk is one.

A cluster has some in a storage class of its own, the default one, so that a chart installs as on
any other; a test makes its own, bound to the claims that it will make.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.cluster import addresses
from tests.cluster.state import State

CLASS = "local"
READY = 8
"""So many claims find a volume; who needs more starts another cluster."""
_HERE = {"key": "kubernetes.io/hostname", "operator": "In", "values": [addresses.NODE_NAME]}


def made(state: State) -> Iterator[dict[str, Any]]:
    """The default storage class, and its volumes, whose folders are made."""
    yield {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {
            "name": CLASS,
            "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
        },
        "provisioner": "kubernetes.io/no-provisioner",
        "volumeBindingMode": "WaitForFirstConsumer",
    }
    for number in range(READY):
        name = f"{CLASS}-{number}"
        folder = state.folder / "volumes" / name
        folder.mkdir(parents=True, exist_ok=True)
        yield volume(name, folder, storage_class=CLASS)


def volume(
    name: str, folder: Path, *, storage_class: str = "", claim: tuple[str, str] | None = None
) -> dict[str, Any]:
    """A volume that is a folder of the node.

    Args:
        name: The volume's.
        folder: It must be there.
        storage_class: None by default.
        claim: Namespace and name of the one claim that it is for; any by default.
    """
    spec: dict[str, Any] = {
        "capacity": {"storage": "20Gi"},
        "accessModes": ["ReadWriteOnce"],
        "storageClassName": storage_class,
        "local": {"path": str(folder)},
        "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [_HERE]}]}},
    }
    if claim:
        spec["claimRef"] = dict(zip(("namespace", "name"), claim, strict=True))
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name},
        "spec": spec,
    }


def on_the_node(namespace: str, claim: str, volume: str, **host: str) -> list[dict[str, Any]]:
    """A claim that many may use at once, over a folder of the node, and its volume.

    Args:
        namespace: Where the claim is.
        claim: Its name.
        volume: The volume's.
        host: What the volume's ``hostPath`` says.
    """
    size = {"storage": "1Gi"}
    access = ["ReadWriteMany"]
    return [
        {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": volume},
            "spec": {
                "capacity": size,
                "accessModes": access,
                "storageClassName": "",
                "hostPath": host,
                "claimRef": {"namespace": namespace, "name": claim},
            },
        },
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": claim, "namespace": namespace},
            "spec": {
                "accessModes": access,
                "storageClassName": "",
                "volumeName": volume,
                "resources": {"requests": size},
            },
        },
    ]
