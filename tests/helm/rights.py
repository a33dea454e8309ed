"""What each component may do on a cluster, listed once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

Rule = tuple[str, str, str]
"""A verb, an API group's resource, and the one name it is for, if it is for one."""

RIGHTS: Mapping[str, Mapping[str, frozenset[Rule]]] = {
    "hub": {
        "cluster": frozenset(
            (verb, resource, "")
            for resource in ("nodes", "pods", "kueue.x-k8s.io/clusterqueues")
            for verb in ("list", "watch")
        ),
        "sessions": frozenset(
            {
                *((verb, "pods", "") for verb in ("get", "create", "delete")),
                ("create", "secrets", ""),
                ("list", "events", ""),
                ("watch", "events", ""),
                *(
                    (verb, "kueue.x-k8s.io/workloads", "")
                    for verb in ("get", "list", "watch", "create", "patch", "delete")
                ),
                ("patch", "kueue.x-k8s.io/workloads/status", ""),
                ("list", "kueue.x-k8s.io/localqueues", ""),
                ("watch", "kueue.x-k8s.io/localqueues", ""),
                ("get", "visibility.kueue.x-k8s.io/localqueues/pendingworkloads", ""),
            }
        ),
    },
    "ledger": {"cluster": frozenset({("create", "authentication.k8s.io/tokenreviews", "")})},
    "provisioner": {"cluster": frozenset({("create", "authentication.k8s.io/tokenreviews", "")})},
    "agent": {"cluster": frozenset({("list", "pods", ""), ("watch", "pods", "")})},
    "prepuller": {
        "images": frozenset(
            {
                *(
                    (verb, "apps/daemonsets", "")
                    for verb in ("get", "list", "watch", "create", "patch", "delete")
                ),
                ("list", "pods", ""),
                ("watch", "pods", ""),
                ("get", "configmaps", "RELEASE-prepuller"),
            }
        )
    },
    "queues": {
        "cluster": frozenset(
            {
                ("list", "nodes", ""),
                *(
                    (verb, f"kueue.x-k8s.io/{resource}", "")
                    for resource in (
                        "topologies",
                        "resourceflavors",
                        "workloadpriorityclasses",
                        "cohorts",
                        "clusterqueues",
                    )
                    for verb in ("list", "create", "patch", "delete")
                ),
            }
        ),
        "sessions": frozenset(
            (verb, "kueue.x-k8s.io/localqueues", "")
            for verb in ("list", "create", "patch", "delete")
        ),
    },
    "proxy": {},
    "session": {},
}
"""Rights in the whole cluster, in one's own namespace, and in those of sessions and of images."""

DISCOVERY: frozenset[Rule] = frozenset(
    {
        ("create", "authorization.k8s.io/selfsubjectaccessreviews", ""),
        ("create", "authorization.k8s.io/selfsubjectrulesreviews", ""),
        ("create", "authentication.k8s.io/selfsubjectreviews", ""),
    }
)
"""What Kubernetes lets everybody do who is somebody."""


def rules_of(rules: Iterable[Mapping[str, Any]], release: str = "") -> set[Rule]:
    """Rules taken apart, with ``RELEASE`` for the release's name."""
    return {
        (verb, f"{group}/{resource}" if group else resource, _general(name, release))
        for rule in rules
        for verb in rule["verbs"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for name in rule.get("resourceNames") or [""]
    }


def _general(name: str, release: str) -> str:
    return f"RELEASE{name[len(release) :]}" if release and name.startswith(release) else name
