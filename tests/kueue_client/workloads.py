"""Workloads as Kueue 0.19 leaves them, for tests that read them."""

from __future__ import annotations

from typing import Any

from kueue_client import Workload

AT = "2026-11-27T10:00:00Z"


def condition(kind: str, *, holds: bool, reason: str, message: str = "") -> dict[str, Any]:
    return {
        "type": kind,
        "status": "True" if holds else "False",
        "reason": reason,
        "message": message,
        "lastTransitionTime": AT,
    }


def workload(*conditions: dict[str, Any], **status: Any) -> Workload:
    return Workload.from_wire(
        {
            "metadata": {"name": "one", "namespace": "n", "creationTimestamp": AT},
            "spec": {"queueName": "cms", **status.pop("spec", {})},
            "status": {"conditions": list(conditions), **status},
        }
    )


RESERVED = condition("QuotaReserved", holds=True, reason="QuotaReserved")
ADMITTED = condition("Admitted", holds=True, reason="Admitted")
PREEMPTED = (
    condition("Evicted", holds=True, reason="Preempted", message="Preempted to accommodate two"),
    condition("Preempted", holds=True, reason="InCohortReclamation", message="the same"),
)
ADMISSION: dict[str, Any] = {
    "clusterQueue": "farm-cms",
    "podSetAssignments": [
        {
            "name": "main",
            "flavors": {"cpu": "t4", "nvidia.com/gpu": "t4"},
            "topologyAssignment": {
                "levels": ["kubernetes.io/hostname"],
                "slices": [
                    {
                        "domainCount": 1,
                        "valuesPerLevel": [{"universal": "node-7"}],
                        "podCounts": {"universal": 1},
                    }
                ],
            },
        }
    ],
}


def pending(message: str, reason: str = "Pending") -> Workload:
    return workload(condition("QuotaReserved", holds=False, reason=reason, message=message))
