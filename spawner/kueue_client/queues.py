"""Queues and cohorts: who may have how much at the same time."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from kueue_client.base import Condition, JsonObject, Model, Object, Time, find
from kueue_client.enums import (
    AdmissionMode,
    ConcurrentAdmissionMigrationMode,
    ConditionType,
    FlavorFungibilityPolicy,
    FlavorFungibilityPreference,
    PreemptionPolicy,
    QueueingStrategy,
    StopPolicy,
)
from kueue_client.quantity import Quantity


class ResourceQuota(Model):
    """How much of a resource."""

    name: str
    nominal_quota: Quantity
    borrowing_limit: Quantity | None = None
    lending_limit: Quantity | None = None


class FlavorQuotas(Model):
    """How much of a flavor's resources."""

    name: str
    resources: list[ResourceQuota]


class ResourceGroup(Model):
    """Resources that are had from the same flavor."""

    covered_resources: list[str]
    flavors: list[FlavorQuotas]


class FairSharing(Model):
    """How much weight a queue or cohort has when what is idle is shared."""

    weight: Quantity | None = None


class FairSharingStatus(Model):
    """The share of what is borrowed."""

    weighted_share: int


class BorrowWithinCohort(Model):
    """Whether one pushes others out also to borrow."""

    policy: PreemptionPolicy | None = None
    max_priority_threshold: int | None = None


class ClusterQueuePreemption(Model):
    """Whom a queue's Workloads may push out."""

    reclaim_within_cohort: PreemptionPolicy | None = None
    borrow_within_cohort: BorrowWithinCohort | None = None
    within_cluster_queue: PreemptionPolicy | None = None


class FlavorFungibility(Model):
    """Whether another flavor is tried before one borrows or pushes out."""

    when_can_borrow: FlavorFungibilityPolicy | None = None
    when_can_preempt: FlavorFungibilityPolicy | None = None
    preference: FlavorFungibilityPreference | None = None


class AdmissionCheckStrategyRule(Model):
    """A check that a Workload must pass."""

    name: str
    on_flavors: list[str] = Field(default_factory=list)


class AdmissionChecksStrategy(Model):
    """The checks that a Workload must pass."""

    admission_checks: list[AdmissionCheckStrategyRule]


class AdmissionScope(Model):
    """Whether what was used before counts."""

    admission_mode: AdmissionMode


class ConcurrentAdmissionConstraints(Model):
    """How far a Workload may move."""

    last_acceptable_flavor_name: str | None = None


class ConcurrentAdmissionMigration(Model):
    """Whether an admitted Workload moves."""

    mode: ConcurrentAdmissionMigrationMode
    constraints: ConcurrentAdmissionConstraints | None = None


class ConcurrentAdmissionPolicy(Model):
    """Whether several flavors are tried at the same time."""

    migration: ConcurrentAdmissionMigration


class ClusterQueueSpec(Model):
    """A ClusterQueue as it is wanted."""

    resource_groups: list[ResourceGroup] = Field(default_factory=list)
    cohort_name: str = ""
    queueing_strategy: QueueingStrategy | None = None
    namespace_selector: JsonObject | None = None
    flavor_fungibility: FlavorFungibility | None = None
    preemption: ClusterQueuePreemption | None = None
    admission_checks_strategy: AdmissionChecksStrategy | None = None
    stop_policy: StopPolicy | None = None
    fair_sharing: FairSharing | None = None
    admission_scope: AdmissionScope | None = None
    concurrent_admission_policy: ConcurrentAdmissionPolicy | None = None


class ResourceUsage(Model):
    """How much of a resource is in use, and how much of that is borrowed."""

    name: str
    total: Quantity | None = None
    borrowed: Quantity | None = None


class FlavorUsage(Model):
    """How much of a flavor is in use."""

    name: str
    resources: list[ResourceUsage]


class ClusterQueueStatus(Model):
    """A ClusterQueue as it is."""

    conditions: list[Condition] = Field(default_factory=list)
    flavors_reservation: list[FlavorUsage] = Field(default_factory=list)
    flavors_usage: list[FlavorUsage] = Field(default_factory=list)
    pending_workloads: int | None = None
    reserving_workloads: int | None = None
    admitted_workloads: int | None = None
    fair_sharing: FairSharingStatus | None = None


class ClusterQueue(Object):
    """A pool of quotas with one line in front of it."""

    plural: ClassVar[str] = "clusterqueues"
    spec: ClusterQueueSpec = Field(default_factory=ClusterQueueSpec)
    status: ClusterQueueStatus = Field(default_factory=ClusterQueueStatus)

    @property
    def active(self) -> Condition | None:
        """Whether it admits; None where Kueue has not said so yet."""
        return find(self.status.conditions, ConditionType.ACTIVE)


class CohortSpec(Model):
    """A cohort as it is wanted."""

    parent_name: str = ""
    resource_groups: list[ResourceGroup] = Field(default_factory=list)
    fair_sharing: FairSharing | None = None


class CohortStatus(Model):
    """A cohort as it is."""

    fair_sharing: FairSharingStatus | None = None


class Cohort(Object):
    """ClusterQueues that lend each other what is idle, and quotas of all of them."""

    plural: ClassVar[str] = "cohorts"
    spec: CohortSpec = Field(default_factory=CohortSpec)
    status: CohortStatus = Field(default_factory=CohortStatus)


class LocalQueueSpec(Model):
    """A LocalQueue as it is wanted."""

    cluster_queue: str = ""
    stop_policy: StopPolicy | None = None
    fair_sharing: FairSharing | None = None


class LocalQueueResourceUsage(Model):
    """How much of a resource is in use."""

    name: str
    total: Quantity | None = None


class LocalQueueFlavorUsage(Model):
    """How much of a flavor is in use."""

    name: str
    resources: list[LocalQueueResourceUsage]


class LocalQueueAdmissionFairSharingStatus(Model):
    """What was used before, with less weight the longer ago."""

    consumed_resources: dict[str, Quantity]
    last_update: Time


class LocalQueueFairSharingStatus(Model):
    """The share of what is borrowed, and of what was used before."""

    weighted_share: int
    admission_fair_sharing_status: LocalQueueAdmissionFairSharingStatus | None = None


class LocalQueueStatus(Model):
    """A LocalQueue as it is."""

    conditions: list[Condition] = Field(default_factory=list)
    pending_workloads: int | None = None
    reserving_workloads: int | None = None
    admitted_workloads: int | None = None
    flavors_reservation: list[LocalQueueFlavorUsage] = Field(default_factory=list)
    flavors_usage: list[LocalQueueFlavorUsage] = Field(default_factory=list)
    fair_sharing: LocalQueueFairSharingStatus | None = None


class LocalQueue(Object):
    """A namespace's way into a ClusterQueue."""

    plural: ClassVar[str] = "localqueues"
    namespaced: ClassVar[bool] = True
    spec: LocalQueueSpec = Field(default_factory=LocalQueueSpec)
    status: LocalQueueStatus = Field(default_factory=LocalQueueStatus)

    @property
    def active(self) -> Condition | None:
        """Whether it admits; None where Kueue has not said so yet."""
        return find(self.status.conditions, ConditionType.ACTIVE)
