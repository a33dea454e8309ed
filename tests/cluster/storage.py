"""A site with storage: claims in two namespaces over one file system, the provisioner, a hub.

The provisioner's pod is what the documentation says, but for its image: it runs the working tree's
own code with this machine's Python, from a read-only claim.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import yaml

import arcetri_hub
from arcetri_hub.settings import ProvisionerSettings
from arcetri_spawner.provisioner.contract import AUDIENCE
from tests.cluster import hub, images, sharedfs
from tests.cluster.cluster import Cluster
from tests.cluster.hub import Hub

DEMO = Path(arcetri_hub.__file__).parent / "catalogs" / "demo.yaml"
SESSIONS = "storage-sessions"
SCRATCH_CLASS = "arcetri-test-nvme"
PEOPLE = ("alice", "bruno", "fabio")
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
    cluster.remove(*namespaces)
    for namespace in namespaces:
        delete = ["kubectl", "delete", "--ignore-not-found", "--now", "--timeout=90s"]
        cluster.run([*delete, "pv", f"--selector=test={namespace}"])


def catalog(image: str) -> dict[str, Any]:
    """The demonstration's people and groups, without accelerators.

    Homes lie on a disk of the node that is soon full, what groups share on the shared file system.
    """
    entry = yaml.safe_load(DEMO.read_text(encoding="utf-8"))
    entry["flavors"] = {"cpu": {"title": "No accelerator"}}
    entry["environments"] = {"python": {"title": "Python", "image": image}}
    entry["sizes"] = {"small": {"cpu": 0.1, "memory": "512Mi", "shm": "64Mi"}}
    nvme = {"size": "100Mi", "storage_class": SCRATCH_CLASS}
    entry["volumes"] = {
        "home": {"mount": "/home/{username}", "claim": "homes", "path": "{username}"},
        "papers": {"mount": "/papers", "claim": "shared", "path": "papers/{username}"},
        "open": {"mount": "/data/open", "claim": "shared", "path": "data/open", "mode": "ro"},
        "cms": {"mount": "/data/cms", "claim": "shared", "path": "groups/cms"},
        "virgo": {"mount": "/data/virgo", "claim": "shared", "path": "groups/virgo"},
        "scratch": {"mount": "/scratch", "scratch": {"size": "64Mi"}},
        "nvme": {"mount": "/nvme", "scratch": nvme},
    }
    entry["everyone"] = {"flavors": ["cpu"], "volumes": ["home", "papers", "open", "scratch"]}
    entry["groups"] = {
        "/arcetri/cms": {"volumes": ["cms"]},
        "/arcetri/virgo": {"volumes": ["virgo", "nvme"]},
    }
    entry["site"]["members"] = ["/arcetri"]
    del entry["local"]
    return dict(entry)


@dataclass(slots=True)
class Site:
    """A platform with storage, on which three people have a session."""

    hub: Hub
    shared: sharedfs.SharedFileSystem
    folder: Path
    """On the shared file system, as the cluster's node sees it."""
    homes: Path
    provisioner: ProvisionerSettings
    pods: dict[str, str] = field(default_factory=dict)
    """By the person's name."""

    def node(self, script: str) -> str:
        """What a shell on the cluster's node prints."""
        return self.hub.cluster.run(["sh", "-ec", script])

    def sh(self, name: str, script: str) -> str:
        """What a shell prints in somebody's session."""
        return self.hub.sh(self.pods[name], script)

    def fails(self, name: str, script: str) -> str:
        """What a shell in somebody's session says that does not succeed."""
        return self.sh(name, f"if ( {script} ) 2>&1; then echo It succeeded; exit 1; fi")

    def begin(self, name: str) -> None:
        """Start somebody's session."""
        session = self.hub.platform.start_session(name, flavor="cpu", environment="python")
        self.pods[name] = f"session-{session}"

    def end(self, name: str) -> None:
        """Ask for its end, and wait until it is gone."""
        with self.hub.platform.api(name) as api:
            api.delete(f"/users/{name}/server")
        gone = ["kubectl", "wait", "--for=delete", f"pod/{self.pods.pop(name)}"]
        self.hub.cluster.run([*gone, f"--namespace={SESSIONS}", "--timeout=60s"])


@contextlib.contextmanager
def site(cluster: Cluster, state: Path) -> Iterator[Site]:
    """Run a platform with storage.

    Args:
        cluster: Where.
        state: A folder of its own.
    """
    shared = sharedfs.mounted(cluster)
    name = f"site-{uuid4().hex[:8]}"
    folder = shared.mount / name
    homes, nvme = (cluster.state.folder / f"{name}-{part}" for part in ("homes", "nvme"))
    claims = {"shared": folder, "homes": homes}
    try:
        cluster.run(["mkdir", folder, homes, nvme])
        cluster.run(["mount", "-t", "tmpfs", "-o", "size=16m,mode=755", "tmpfs", homes])
        cluster.run(["chmod", "777", nvme])
        label = {"pod-security.kubernetes.io/enforce": "restricted"}
        cluster.apply(
            {
                "apiVersion": "v1",
                "kind": "Namespace",
                "metadata": {"name": SESSIONS, "labels": label},
            },
            *(one for each in claims for one in claim(SESSIONS, each, claims[each])),
            *claim(SESSIONS, "nvme", nvme, storage_class=SCRATCH_CLASS, bound=False),
        )
        provisioner = provide(cluster, state, claims)
        made = catalog(cluster.load(images.MINIMAL))
        with hub.running(
            cluster, state / "hub", SESSIONS, made, provisioner=provisioner
        ) as started:
            there = Site(started, shared, folder, homes, provisioner)
            with ThreadPoolExecutor(len(PEOPLE)) as pool:
                list(pool.map(there.begin, PEOPLE))
            yield there
    finally:
        remove(cluster, SESSIONS, NAMESPACE)
        cluster.run(["sh", "-c", f"umount -l {homes}; rm -rf {folder} {homes} {nvme}"])
