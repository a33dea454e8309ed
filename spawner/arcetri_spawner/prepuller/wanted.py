"""From a catalog to the DaemonSets that have its images pulled. Pure.

One for each image and set of tolerated taints: an image that cannot be pulled keeps no other back,
and no image goes to nodes where its sessions may not.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from arcetri_accounting.contract.podmarks import DOMAIN
from arcetri_spawner.catalog.models import Catalog, Environment, Flavor

MANAGER: Final = "arcetri-prepuller"
"""Who these objects say manages them, also to the API server (its field manager)."""
COMPONENT: Final = "prepull-image"
"""The component of the pods; the prepuller's own pod is none of them."""
IMAGE: Final = f"{DOMAIN}/image"
"""Annotation of DaemonSet and pods: the image, which may be longer than a label."""
ENVIRONMENTS: Final = f"{DOMAIN}/environments"
"""Annotation of the DaemonSet: the environments that have the image, in the catalog's words."""
KEY: Final = f"{DOMAIN}/prepull"
"""Label: which image and tolerations, as a digest."""
CONTAINER: Final = "image"
NOBODY: Final = 65534

_READABLE: Final = 17
_RELEASE: Final = 20


@dataclass(frozen=True, slots=True)
class Prepulling:
    """What a site decides about it, besides the catalog."""

    namespace: str
    """Where the pods run: not among the sessions, whose places and quotas they would take."""
    release: str
    """Tells these objects from those of another installation."""
    pull_secrets: tuple[str, ...] = ()
    """Secrets of the namespace by which private images are pulled."""
    nodes: Mapping[str, str] = field(default_factory=dict)
    """Labels that a node needs besides, as in ``c.KubeSpawner.node_selector``."""
    tolerations: tuple[str, ...] = ()
    """Keys of taints that are tolerated besides, as in ``c.KubeSpawner.tolerations``."""
    owner: Mapping[str, Any] | None = None
    """An ``ownerReference``: when that object goes, so do these."""


@dataclass(slots=True)
class _Use:
    """Who uses an image on nodes with certain taints."""

    environments: list[str] = field(default_factory=list)
    labels: list[Mapping[str, str]] = field(default_factory=list)


def wanted(catalog: Catalog, settings: Prepulling) -> dict[str, dict[str, Any]]:
    """Return the DaemonSets of a catalog, by name.

    A flavour that names no nodes may run anywhere, and so its images go everywhere.
    """
    uses: dict[tuple[str, tuple[str, ...]], _Use] = {}
    for name, environment in catalog.environments.items():
        for flavor in _flavors(catalog, environment):
            tolerations = tuple(sorted({*flavor.tolerations, *settings.tolerations}))
            use = uses.setdefault((environment.image or "", tolerations), _Use())
            if name not in use.environments:
                use.environments.append(name)
            use.labels.append({**settings.nodes, **flavor.nodes})
    made = [
        _daemonset(settings, image, tolerations, use) for (image, tolerations), use in uses.items()
    ]
    return {each["metadata"]["name"]: each for each in made}


def labels_of(release: str) -> dict[str, str]:
    """The labels by which a release's DaemonSets are known, and nobody else's."""
    return {
        "app.kubernetes.io/name": "arcetri",
        "app.kubernetes.io/instance": release,
        "app.kubernetes.io/component": COMPONENT,
        "app.kubernetes.io/managed-by": MANAGER,
    }


def _flavors(catalog: Catalog, environment: Environment) -> Iterable[Flavor]:
    if environment.image is None:
        return ()
    names = environment.flavors
    return [entry for name, entry in catalog.flavors.items() if names is None or name in names]


def _daemonset(
    settings: Prepulling, image: str, tolerations: tuple[str, ...], use: _Use
) -> dict[str, Any]:
    key = hashlib.sha256("\n".join((image, *tolerations)).encode()).hexdigest()[:16]
    labels = {**labels_of(settings.release), KEY: key}
    metadata: dict[str, Any] = {
        "name": _name(settings.release, image, key),
        "namespace": settings.namespace,
        "labels": labels,
        "annotations": {IMAGE: image, ENVIRONMENTS: ", ".join(use.environments)},
    }
    if settings.owner is not None:
        metadata["ownerReferences"] = [dict(settings.owner)]
    return {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": metadata,
        "spec": {
            "selector": {"matchLabels": labels},
            # Nothing is served by these pods: all of them may change at once.
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": _ALL_AT_ONCE},
            "template": {
                "metadata": {"labels": labels, "annotations": {IMAGE: image}},
                "spec": _pod(settings, image, tolerations, use),
            },
        },
    }


_ALL_AT_ONCE: Final = {"maxUnavailable": "100%", "maxSurge": 0}


def _pod(
    settings: Prepulling, image: str, tolerations: tuple[str, ...], use: _Use
) -> dict[str, Any]:
    container: dict[str, Any] = {
        "name": CONTAINER,
        "image": image,
        # Its own image is all it needs, and one in use is never cleared away.
        "command": ["sleep", "2147483647"],
        # Images for GPUs may ask for all of the node's, which these pods have no use for.
        "env": [{"name": "NVIDIA_VISIBLE_DEVICES", "value": "void"}],
        "imagePullPolicy": "IfNotPresent",
        "resources": {
            "requests": {"cpu": "1m", "memory": "8Mi"},
            "limits": {"cpu": "100m", "memory": "32Mi"},
        },
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
    }
    spec: dict[str, Any] = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 1,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": NOBODY,
            "runAsGroup": NOBODY,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
    }
    if settings.pull_secrets:
        spec["imagePullSecrets"] = [{"name": name} for name in settings.pull_secrets]
    if tolerations:
        spec["tolerations"] = [{"key": key, "operator": "Exists"} for key in tolerations]
    terms = _terms(use.labels)
    if terms:
        required = {"nodeSelectorTerms": terms}
        spec["affinity"] = {
            "nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}
        }
    return spec


def _terms(choices: Iterable[Mapping[str, str]]) -> list[dict[str, Any]]:
    """Selector terms for nodes with the labels of one choice at least; none for every node."""
    sets = {frozenset(labels.items()) for labels in choices}
    # What asks for more labels than another finds no node that the other does not.
    fewest = sorted(sorted(one) for one in sets if not any(other < one for other in sets))
    if [] in fewest:
        return []
    return [
        {
            "matchExpressions": [
                {"key": key, "operator": "In", "values": [value]} for key, value in labels
            ]
        }
        for labels in fewest
    ]


def _name(release: str, image: str, key: str) -> str:
    """A name that says which image it is, as far as there is room."""
    last = image.partition("@")[0].rpartition("/")[2]
    readable = re.sub(r"[^a-z0-9]+", "-", last.lower())[:_READABLE].strip("-")
    words = (release[:_RELEASE].rstrip("-"), "prepull", readable, key)
    return "-".join(word for word in words if word)
