"""The site's storage on a cluster: claims in two namespaces over one folder, and the provisioner.

The provisioner's pod is what the documentation says, but for its image: it runs the working tree's
own code with this machine's Python, from a read-only claim.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import yaml

from arcetri_hub.settings import ProvisionerSettings
from arcetri_spawner.provisioner.contract import AUDIENCE
from tests.cluster import hub, images
from tests.cluster.cluster import Cluster

MANIFESTS = hub.ROOT / "docs" / "reference" / "provisioner.yaml"
NAMESPACE = "arcetri-storage"
NAME = "arcetri-provisioner"
PORT = 8020


def claim(
    namespace: str, name: str, folder: Path, *, storage_class: str = "", bound: bool = True
) -> list[dict[str, Any]]:
    """A claim over a folder of the node, and its volume.

    Args:
        namespace: Where the claim is.
        name: What it is called.
        folder: What it shows.
        storage_class: Of the volume.
        bound: Whether the claim is made too, or the volume waits for another one.
    """
    size = {"storage": "1Gi"}
    access = ["ReadWriteMany", "ReadWriteOnce"]
    volume: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": f"{namespace}-{name}", "labels": {"test": namespace}},
        "spec": {
            "capacity": size,
            "accessModes": access,
            "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": storage_class,
            "hostPath": {"path": str(folder)},
        },
    }
    if not bound:
        return [volume]
    volume["spec"]["claimRef"] = {"namespace": namespace, "name": name}
    return [
        volume,
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {
                "accessModes": access[:1],
                "storageClassName": storage_class,
                "volumeName": f"{namespace}-{name}",
                "resources": {"requests": size},
            },
        },
    ]


def _machine() -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """What shows a container this machine's Python and the working tree, to read only."""
    places = {"/usr": "usr", "/lib": "usr/lib", "/lib64": "usr/lib64"}
    for path in (hub.ROOT, Path(sys.prefix), Path(sys.base_prefix)):
        if not path.is_relative_to("/usr"):
            places[str(path)] = str(path).lstrip("/")
    mounts = [
        {"name": "machine", "mountPath": place, "subPath": source, "readOnly": True}
        for place, source in places.items()
    ]
    return [{"name": "machine", "persistentVolumeClaim": {"claimName": "machine"}}], mounts


def manifests(claims: dict[str, Path]) -> list[dict[str, Any]]:
    """The provisioner as the documentation has it, over these claims."""
    documents = list(yaml.safe_load_all(MANIFESTS.read_text(encoding="utf-8")))
    (deployment,) = [one for one in documents if one["kind"] == "Deployment"]
    spec = deployment["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    container["image"] = images.PAUSE.reference
    container["command"][:1] = [sys.executable, "-m", "arcetri_spawner.provisioner"]
    volumes, mounts = _machine()
    container["volumeMounts"] = [
        *mounts,
        *({"name": name, "mountPath": f"/claims/{name}"} for name in claims),
    ]
    spec["volumes"] = [
        *volumes,
        *({"name": name, "persistentVolumeClaim": {"claimName": name}} for name in claims),
    ]
    needed = claim(NAMESPACE, "machine", Path("/"))
    for name, folder in claims.items():
        needed += claim(NAMESPACE, name, folder)
    # Its namespace comes first of all.
    return [documents[0], *needed, *documents[1:]]


def provide(cluster: Cluster, state: Path, claims: dict[str, Path]) -> ProvisionerSettings:
    """Run the provisioner over folders of the node; return how the hub reaches it.

    Args:
        cluster: Where.
        state: A folder for the hub's token.
        claims: By the claim's name, the folder that it shows.
    """
    home = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": hub.HOME}}
    account = {"apiVersion": "v1", "kind": "ServiceAccount"}
    account["metadata"] = {"name": hub.ACCOUNT, "namespace": hub.HOME}  # type: ignore[assignment]
    cluster.apply(home, account, *manifests(claims))
    cluster.run(
        [
            "kubectl", "rollout", "status", f"deployment/{NAME}", f"--namespace={NAMESPACE}",
            "--timeout=100s",
        ]
    )  # fmt: skip
    service = cluster.kubectl("get", "service", NAME, f"--namespace={NAMESPACE}")
    token = state / "provisioner-token"
    token.write_text(hub_token(cluster, AUDIENCE), encoding="ascii")
    return ProvisionerSettings(
        url=f"http://{service['spec']['clusterIP']}:{PORT}", token_file=token
    )


def hub_token(cluster: Cluster, audience: str) -> str:
    """A token of the hub's account, as a projected volume would have it."""
    create = ["kubectl", "create", "token", hub.ACCOUNT, f"--namespace={hub.HOME}"]
    return cluster.run([*create, f"--audience={audience}", "--duration=6h"]).strip()


def remove(cluster: Cluster, *namespaces: str) -> None:
    """Take namespaces away, and their volumes."""
    for namespace in namespaces:
        delete = ["kubectl", "delete", "--ignore-not-found", "--now", "--timeout=90s"]
        cluster.run([*delete, "namespace", namespace])
        cluster.run([*delete, "pv", f"--selector=test={namespace}"])
