"""Workloads: what asks for quota."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from kueue_client.base import Condition, JsonObject, Model, Object, Time, find
from kueue_client.enums import (
    CheckState,
    ConditionType,
    DelayedTopologyRequestState,
    PreemptionGatePosition,
    PriorityClassGroup,
    PriorityClassKind,
    Reason,
)
from kueue_client.placement import TopologyAssignment
from kueue_client.quantity import Quantity


class PodsetSliceRequiredTopologyConstraint(Model):
    """Pods that belong together, and how closely."""

    topology: str
    size: int


class PodSetTopologyRequest(Model):
    """Where a set's pods are to be; Kueue counts nodes' room only for those that ask."""

    required: str | None = None
    preferred: str | None = None
    unconstrained: bool | None = None
    pod_index_label: str | None = None
    sub_group_index_label: str | None = None
    sub_group_count: int | None = None
    pod_set_group_name: str | None = None
    pod_set_slice_required_topology: str | None = None
    pod_set_slice_size: int | None = None
    podset_slice_required_topology_constraints: list[PodsetSliceRequiredTopologyConstraint] = Field(
        default_factory=list
    )


class PodSet(Model):
    """So many pods of one template, which is Kubernetes' and handed on as it is."""

    template: JsonObject
    name: str = ""
    count: int | None = None
    min_count: int | None = None
    topology_request: PodSetTopologyRequest | None = None


class PriorityClassRef(Model):
    """A priority class by its name."""

    name: str
    group: PriorityClassGroup = PriorityClassGroup.KUEUE
    kind: PriorityClassKind = PriorityClassKind.WORKLOAD_PRIORITY_CLASS


class PreemptionGate(Model):
    """Something that must happen before others are pushed out."""

    name: str


class WorkloadSpec(Model):
    """What is asked for."""

    pod_sets: list[PodSet] = Field(default_factory=list)
    queue_name: str = ""
    priority_class_ref: PriorityClassRef | None = None
    priority: int | None = None
    active: bool | None = None
    maximum_execution_time_seconds: int | None = None
    preemption_gates: list[PreemptionGate] = Field(default_factory=list)


class PodSetAssignment(Model):
    """What a set of pods was given."""

    name: str = ""
    flavors: dict[str, str] = Field(default_factory=dict)
    resource_usage: dict[str, Quantity] = Field(default_factory=dict)
    count: int | None = None
    topology_assignment: TopologyAssignment | None = None
    delayed_topology_request: DelayedTopologyRequestState | None = None


class Admission(Model):
    """What a Workload was given, and by which ClusterQueue."""

    cluster_queue: str = ""
    pod_set_assignments: list[PodSetAssignment] = Field(default_factory=list)


class RequeueState(Model):
    """When an evicted Workload is considered again."""

    count: int | None = None
    requeue_at: Time | None = None


class ReclaimablePod(Model):
    """Pods that need their quota no more."""

    name: str
    count: int


class PodSetUpdate(Model):
    """What an admission check changes about the pods."""

    name: str
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)
    node_selector: dict[str, str] = Field(default_factory=dict)
    tolerations: list[JsonObject] = Field(default_factory=list)


class AdmissionCheckState(Model):
    """What an admission check says."""

    name: str
    state: CheckState
    last_transition_time: Time
    message: str
    requeue_after_seconds: int | None = None
    retry_count: int | None = None
    pod_set_updates: list[PodSetUpdate] = Field(default_factory=list)


class PodSetRequest(Model):
    """What a set of pods asks for in all, as Kueue counts it."""

    name: str
    resources: dict[str, Quantity] = Field(default_factory=dict)


class WorkloadSchedulingStatsEviction(Model):
    """How often a Workload was evicted for a reason."""

    reason: Reason
    underlying_cause: str
    count: int


class SchedulingStats(Model):
    """How often a Workload was evicted."""

    evictions: list[WorkloadSchedulingStatsEviction] = Field(default_factory=list)


class UnhealthyNode(Model):
    """A node that has failed under a Workload."""

    name: str


class PreemptionGateState(Model):
    """Whether others may be pushed out."""

    name: str
    position: PreemptionGatePosition
    last_transition_time: Time


class WorkloadStatus(Model):
    """What has become of it."""

    conditions: list[Condition] = Field(default_factory=list)
    admission: Admission | None = None
    requeue_state: RequeueState | None = None
    reclaimable_pods: list[ReclaimablePod] = Field(default_factory=list)
    admission_checks: list[AdmissionCheckState] = Field(default_factory=list)
    resource_requests: list[PodSetRequest] = Field(default_factory=list)
    accumulated_past_execution_time_seconds: int | None = None
    scheduling_stats: SchedulingStats | None = None
    nominated_cluster_names: list[str] = Field(default_factory=list)
    cluster_name: str | None = None
    unhealthy_nodes: list[UnhealthyNode] = Field(default_factory=list)
    preemption_gates: list[PreemptionGateState] = Field(default_factory=list)


class Workload(Object):
    """Something that waits for quota, holds it, or did."""

    plural: ClassVar[str] = "workloads"
    namespaced: ClassVar[bool] = True
    spec: WorkloadSpec = Field(default_factory=WorkloadSpec)
    status: WorkloadStatus = Field(default_factory=WorkloadStatus)

    def condition(self, kind: ConditionType) -> Condition | None:
        """What is said of something, or None where nothing is yet."""
        return find(self.status.conditions, kind)

    def holds(self, kind: ConditionType) -> bool:
        """Whether a condition is true."""
        found = self.condition(kind)
        return found is not None and found.holds
