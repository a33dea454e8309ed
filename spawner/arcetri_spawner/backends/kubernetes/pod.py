"""From the pod that KubeSpawner would make to the pod that policy allows.

A site's configuration of KubeSpawner is obeyed; what policy demands is laid over it last, in one
place that nothing passes by, and what had to be overruled is returned for the log. Pure: the same
manifest and plan give the same pod.

How to create what is returned:

1. create ``manifest``. A 409 means that an earlier try arrived: the name is this session's alone,
   so read the pod and go on with it, never delete it;
2. with the ``uid`` that the answer holds, create ``secret(uid)``, if there is one. The kubelet
   waits with the container until it is there, and the API server takes it away with its pod. This
   way round no Secret can be left over, wherever the hub dies in between, and the token never
   stands in the pod's own manifest.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from arcetri_accounting.contract.podmarks import NOTEBOOK_CONTAINER
from arcetri_spawner.backends.kubernetes.environment import demand_environment
from arcetri_spawner.backends.kubernetes.manifest import Draft, JsonObject, Overruled
from arcetri_spawner.backends.kubernetes.marks import demand_marks, labels_of
from arcetri_spawner.backends.kubernetes.placement import demand_placement
from arcetri_spawner.backends.kubernetes.plan import PodPlan
from arcetri_spawner.backends.kubernetes.resources import demand_resources
from arcetri_spawner.backends.kubernetes.security import demand_security
from arcetri_spawner.backends.kubernetes.storage import demand_storage

_STOCK_RESTART: Final = "OnFailure"
"""What KubeSpawner says for every pod: no wish of the site's."""


@dataclass(frozen=True, slots=True)
class ShapedPod:
    """A pod to create, and what belongs to it."""

    manifest: JsonObject
    """The pod, as the API server takes it."""
    overruled: tuple[Overruled, ...]
    """What the site's configuration asked for and did not get."""
    plan: PodPlan
    values: Mapping[str, str] = field(default_factory=dict, repr=False)
    """The session's secrets, by key."""

    def secret(self, pod_uid: str) -> JsonObject | None:
        """Return the Secret to create after the pod; None when there is nothing to keep.

        Args:
            pod_uid: The created pod's ``metadata.uid``: the Secret goes when that pod goes.
        """
        if not self.values:
            return None
        owner = {
            "apiVersion": "v1",
            "kind": "Pod",
            "name": self.plan.name,
            "uid": pod_uid,
            "controller": True,
            "blockOwnerDeletion": False,
        }
        return {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {
                "name": self.plan.secret_name,
                "namespace": self.plan.rules.namespace,
                "labels": labels_of(self.plan),
                "ownerReferences": [owner],
            },
            "type": "Opaque",
            "immutable": True,
            "stringData": dict(self.values),
        }


def shape_pod(manifest: Mapping[str, Any], plan: PodPlan) -> ShapedPod:
    """Return the pod for a plan.

    Args:
        manifest: What KubeSpawner would create, as the API's JSON (its ``get_pod_manifest``,
            sanitized for serialization): the first container is the notebook. It is not changed.
        plan: What was decided.

    Raises:
        BadManifest: The site's configuration makes something that is no pod.
        ValueError: The plan's person cannot stand in /etc/passwd.
    """
    draft = Draft(manifest)
    _demand_life(draft, plan)
    _demand_image(draft, plan)
    demand_marks(draft, plan)
    demand_placement(draft, plan)
    demand_resources(draft, plan)
    demand_storage(draft, plan)
    values = demand_environment(draft, plan)
    demand_security(draft, plan)
    return ShapedPod(draft.pod, tuple(draft.overruled), plan, values)


def _demand_life(draft: Draft, plan: PodPlan) -> None:
    """How the pod starts, ends, and what it gets unasked."""
    draft.pod |= {"apiVersion": "v1", "kind": "Pod"}
    draft.pod.pop("status", None)
    spec = draft.spec
    if spec.get("restartPolicy") == _STOCK_RESTART:
        del spec["restartPolicy"]
    draft.force(
        spec,
        "restartPolicy",
        "Never",
        "spec",
        "What ended is told to its user; a server begun again would hold nothing of its work.",
    )
    draft.force(
        spec,
        "terminationGracePeriodSeconds",
        math.ceil(plan.grant.stop.total_seconds()),
        "spec",
        "The catalog says how long a session may take to exit.",
    )
    draft.force(
        spec,
        "automountServiceAccountToken",
        False,
        "spec",
        "A session has no account at the API server.",
    )
    # Of the namespace's other services a session need not know, and thousands make a start slow.
    spec["enableServiceLinks"] = False


def _demand_image(draft: Draft, plan: PodPlan) -> None:
    notebook = draft.notebook.body
    notebook["name"] = NOTEBOOK_CONTAINER
    if plan.grant.image is not None:
        # KubeSpawner has an image whether the site names one or not: no news.
        notebook["image"] = plan.grant.image
    notebook.setdefault("workingDir", plan.home)
