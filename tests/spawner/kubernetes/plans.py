"""Plans and manifests for the tests of this package."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import UUID

from arcetri_spawner.backends.kubernetes.manifest import JsonObject
from arcetri_spawner.backends.kubernetes.plan import Person, PodPlan, Rules
from arcetri_spawner.catalog.models import Catalog
from arcetri_spawner.policy.model import MountedVolume
from tests.support.builders import catalog, grant, section

SESSION = UUID("8c2f6d1e-0b7a-4f0e-9a55-0d2d6a3f1c77")
TOKEN = "e4b5f8a97d7c4a5c8a1e0e2f7c9b6d3a"

HOME = MountedVolume("home", "Home", "/home/alice", "shared", "home/alice", read_only=False)
DATA = MountedVolume("cms-data", "CMS", "/data/cms", "shared", "groups/cms", read_only=True)
SCRATCH = MountedVolume("scratch", "Scratch", "/scratch", "fast.local", "", read_only=False)


def cluster_catalog() -> Catalog:
    """The small catalog, with nodes that are labelled and tainted."""
    return catalog(
        flavors=section(
            "flavors",
            t4={
                "title": "NVIDIA T4",
                "resource": "nvidia.com/gpu",
                "nodes": {"nvidia.com/gpu.product": "Tesla-T4"},
                "tolerations": ("nvidia.com/gpu",),
            },
            rtx={
                "title": "RTX 5000",
                "resource": "nvidia.com/gpu",
                "nodes": {"nvidia.com/gpu.product": "Quadro-RTX-5000"},
                "tolerations": ("nvidia.com/gpu",),
            },
            v70={"title": "Alveo V70", "type": "fpga", "resource": "amd.com/v70"},
        )
    )


def plan(flavor: str = "t4", **changes: Any) -> PodPlan:
    """Alice's session; ``grant`` takes changes of the grant, the rest are the plan's own."""
    made = cluster_catalog()
    entry = made.flavors[flavor]
    granted: dict[str, Any] = {
        "request_id": SESSION,
        "flavor": flavor,
        "flavor_type": entry.type,
        "share": entry.share,
        "image": "registry.example/torch@sha256:" + "0" * 64,
        "volumes": (HOME, DATA),
        **changes.pop("grant", {}),
    }
    built = PodPlan(
        grant=grant(**granted),
        flavor=entry,
        person=Person(200001, 200001, {"/lab/cms": 300001, "/lab/astro": 300002}),
        rules=Rules.of(made, namespace="sessions", instance="arcetri"),
    )
    return replace(built, **changes)


def manifest(**spec: Any) -> JsonObject:
    """What stock KubeSpawner makes; ``spec`` replaces parts of the pod's spec."""
    notebook = {
        "name": "notebook",
        "image": "registry.example/stock:1",
        "args": ["jupyterhub-singleuser"],
        "env": [
            {"name": "JUPYTERHUB_API_TOKEN", "value": TOKEN},
            {"name": "JUPYTERHUB_USER", "value": "alice"},
            {"name": "JPY_API_TOKEN", "value": TOKEN},
        ],
        "ports": [{"name": "notebook-port", "containerPort": 8888}],
        "resources": {"limits": {}, "requests": {}},
        "securityContext": {"allowPrivilegeEscalation": False},
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": "jupyter-alice",
            "labels": {"hub.jupyter.org/username": "alice", "component": "singleuser-server"},
            "annotations": {"hub.jupyter.org/username": "alice"},
        },
        "spec": {
            "automountServiceAccountToken": False,
            "containers": [notebook],
            "restartPolicy": "OnFailure",
            "volumes": [],
            **spec,
        },
    }
