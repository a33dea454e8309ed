"""What a ticket asks for, and the Workload that says so. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

from kueue_client.base import ObjectMeta
from kueue_client.quantity import Quantity
from kueue_client.workloads import (
    PodSet,
    PodSetTopologyRequest,
    PriorityClassRef,
    Workload,
    WorkloadSpec,
)

_MAIN: Final = "main"
"""What the one set of pods is called, and the one container."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a ticket asks for.

    Attributes:
        queue: The LocalQueue, of the ticket's namespace.
        requests: How much of each resource, as a pod's requests.
        node_selector: Labels of the nodes that will do; one that is in a flavor's ``node_labels``
            pins the flavor.
        node_terms: Of a node affinity that is required, as a pod's ``nodeSelectorTerms``; one must
            match.
        tolerations: Taints that will do, as a pod's tolerations.
        priority_class: A WorkloadPriorityClass; ``priority`` must be its value.
        priority: The higher, the sooner.
        topology: The label of the place that must hold the pod, such as ``kubernetes.io/hostname``;
            the flavor's topology must have it. Empty where quota alone decides.
        seconds: The longest time it may be admitted; None for any.
        labels: The Workload's labels.
        annotations: The Workload's annotations.
    """

    queue: str
    requests: Mapping[str, str | int | Decimal]
    node_selector: Mapping[str, str] = field(default_factory=dict)
    node_terms: Sequence[Mapping[str, Any]] = ()
    tolerations: Sequence[Mapping[str, Any]] = ()
    priority_class: str = ""
    priority: int | None = None
    topology: str = ""
    seconds: int | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)

    def workload(self, name: str, namespace: str) -> Workload:
        """The Workload that asks for it.

        Raises:
            ValueError: An amount is none, or a priority class comes without its value.
        """
        if self.priority_class and self.priority is None:
            raise ValueError("a priority class comes with its value: Kueue does not look it up")
        amounts = {name: str(Quantity(value)) for name, value in self.requests.items()}
        pod: dict[str, Any] = {
            "containers": [{"name": _MAIN, "resources": {"requests": amounts}}],
            "restartPolicy": "Never",
        }
        if self.node_selector:
            pod["nodeSelector"] = dict(self.node_selector)
        if self.node_terms:
            pod |= affinity(self.node_terms)
        if self.tolerations:
            pod["tolerations"] = [dict(one) for one in self.tolerations]
        pods = PodSet(name=_MAIN, count=1, template={"spec": pod})
        if self.topology:
            pods.topology_request = PodSetTopologyRequest(required=self.topology)
        spec = WorkloadSpec(queue_name=self.queue, pod_sets=[pods])
        if self.priority is not None:
            spec.priority = self.priority
        if self.priority_class:
            spec.priority_class_ref = PriorityClassRef(name=self.priority_class)
        if self.seconds is not None:
            spec.maximum_execution_time_seconds = self.seconds
        metadata = ObjectMeta(name=name, namespace=namespace)
        if self.labels:
            metadata.labels = dict(self.labels)
        if self.annotations:
            metadata.annotations = dict(self.annotations)
        return Workload(metadata=metadata, spec=spec)


def affinity(terms: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The node affinity of a pod that requires one of these terms."""
    required = {"nodeSelectorTerms": [dict(one) for one in terms]}
    found = {"requiredDuringSchedulingIgnoredDuringExecution": required}
    return {"affinity": {"nodeAffinity": found}}


def same(asked: Workload, found: Workload) -> bool:
    """Whether a Workload is what one asked for, as far as one asked.

    Node terms are not compared: ``Ticket.stand_in_line`` changes them.
    """
    spec, there = asked.spec, found.spec
    before, now = (one.pod_sets[0] if one.pod_sets else None for one in (spec, there))
    if before is None or now is None or spec.queue_name != there.queue_name:
        return False
    first, second = (one.template.get("spec", {}) for one in (before, now))
    amounts = [
        {
            name: Quantity(value)
            for one in pod.get("containers", [])
            for name, value in one.get("resources", {}).get("requests", {}).items()
        }
        for pod in (first, second)
    ]
    return (
        amounts[0] == amounts[1]
        and first.get("nodeSelector") == second.get("nodeSelector")
        and (first.get("tolerations") or []) == (second.get("tolerations") or [])
    )
