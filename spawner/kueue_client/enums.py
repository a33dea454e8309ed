"""Kueue's own words, as enumerations that take words nobody knows yet.

A newer Kueue says new things. ``Reason("Whatever")`` is a member too: it compares equal to its
text, ``known`` is False, and it is written back as it came.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Self


class OpenEnum(StrEnum):
    """Texts of which some are known."""

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        if not isinstance(value, str):
            return None
        member = str.__new__(cls, value)
        member._name_ = member._value_ = value
        return member

    def __reduce_ex__(self, _protocol: object) -> tuple[type[Self], tuple[str]]:
        return type(self), (self._value_,)  # an enumeration's own looks for the name

    @property
    def known(self) -> bool:
        """Whether this version of the client knows the word."""
        return self._value_ in type(self)._value2member_map_


class ConditionStatus(OpenEnum):
    """Whether a condition holds."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


class ConditionType(OpenEnum):
    """What a condition is about."""

    # Of a Workload
    ADMITTED = "Admitted"
    BLOCKED_ON_PREEMPTION_GATES = "BlockedOnPreemptionGates"
    DEACTIVATION_TARGET = "DeactivationTarget"
    EVICTED = "Evicted"
    FINISHED = "Finished"
    PODS_READY = "PodsReady"
    PREEMPTED = "Preempted"
    QUOTA_RESERVED = "QuotaReserved"
    REQUEUED = "Requeued"
    WAITING_FOR_REPLACEMENT_PODS = "WaitingForReplacementPods"
    # Of a queue
    ACTIVE = "Active"
    MULTI_KUEUE_MANAGER_QUOTA_AUTOMATION = "MultiKueueManagerQuotaAutomation"


class Reason(OpenEnum):
    """Why a condition is as it is; the same word can stand in several conditions.

    An eviction's reason may have a cause in it, as
    ``DeactivatedDueToMaximumExecutionTimeExceeded``: see ``base`` and ``cause``.
    """

    # QuotaReserved=False
    PENDING = "Pending"
    INADMISSIBLE = "Inadmissible"
    WAITING = "Waiting"
    ON_HOLD = "OnHold"
    ADMISSION_GATED = "AdmissionGated"
    # ... and with Kueue's feature gate UnadmittedWorkloadsObservability, in place of these
    NO_MATCHING_FLAVOR = "NoMatchingFlavor"
    WAITING_FOR_QUOTA = "WaitingForQuota"
    EXCEEDS_MAX_QUOTA = "ExceedsMaxQuota"
    TOPOLOGY_PLACEMENT_FAILED = "TopologyPlacementFailed"
    WAITING_FOR_PREEMPTED_WORKLOADS = "WaitingForPreemptedWorkloads"
    MISCONFIGURED = "Misconfigured"
    SUSPENDED = "Suspended"
    PENDING_EVALUATION = "PendingEvaluation"
    WAITING_FOR_PODS_READY = "WaitingForPodsReady"
    # QuotaReserved=True
    QUOTA_RESERVED = "QuotaReserved"
    # Admitted
    ADMITTED = "Admitted"
    NO_RESERVATION = "NoReservation"
    UNSATISFIED_CHECKS = "UnsatisfiedChecks"
    UNSATISFIED_ADMISSION_CHECKS = "UnsatisfiedAdmissionChecks"
    PENDING_DELAYED_TOPOLOGY_REQUESTS = "PendingDelayedTopologyRequests"
    # Evicted
    PREEMPTED = "Preempted"
    FLAVOR_MIGRATION = "FlavorMigration"
    PODS_READY_TIMEOUT = "PodsReadyTimeout"
    ADMISSION_CHECK = "AdmissionCheck"
    CLUSTER_QUEUE_STOPPED = "ClusterQueueStopped"
    LOCAL_QUEUE_STOPPED = "LocalQueueStopped"
    NODE_FAILURES = "NodeFailures"
    EVICTED_ON_MANAGER_CLUSTER = "EvictedOnManagerCluster"
    WORKLOAD_SLICE_REPLACED = "WorkloadSliceReplaced"
    DEACTIVATED = "Deactivated"
    # What stands behind a deactivation
    REQUEUING_LIMIT_EXCEEDED = "RequeuingLimitExceeded"
    MAXIMUM_EXECUTION_TIME_EXCEEDED = "MaximumExecutionTimeExceeded"
    # Preempted
    IN_CLUSTER_QUEUE = "InClusterQueue"
    IN_COHORT_RECLAMATION = "InCohortReclamation"
    IN_COHORT_FAIR_SHARING = "InCohortFairSharing"
    IN_COHORT_RECLAIM_WHILE_BORROWING = "InCohortReclaimWhileBorrowing"
    # BlockedOnPreemptionGates
    PREEMPTION_GATED = "PreemptionGated"
    # Requeued
    REACTIVATED = "Reactivated"
    BACKOFF_FINISHED = "BackoffFinished"
    # Requeued, by the holder of a ticket: no word of Kueue's
    STANDS_ASIDE = "StandsAside"
    STANDS_IN_LINE = "StandsInLine"
    CLUSTER_QUEUE_RESTARTED = "ClusterQueueRestarted"
    LOCAL_QUEUE_RESTARTED = "LocalQueueRestarted"
    # PodsReady
    WAIT_FOR_START = "WaitForStart"
    WAIT_FOR_RECOVERY = "WaitForRecovery"
    STARTED = "Started"
    RECOVERED = "Recovered"
    # Finished
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    OUT_OF_SYNC = "OutOfSync"
    OWNER_NOT_FOUND = "OwnerNotFound"
    # Active, of a ClusterQueue
    READY = "Ready"
    TERMINATING = "Terminating"
    STOPPED = "Stopped"
    FLAVOR_NOT_FOUND = "FlavorNotFound"
    TOPOLOGY_NOT_FOUND = "TopologyNotFound"
    ADMISSION_CHECK_NOT_FOUND = "AdmissionCheckNotFound"
    ADMISSION_CHECK_INACTIVE = "AdmissionCheckInactive"
    MULTIPLE_MULTI_KUEUE_ADMISSION_CHECKS = "MultipleMultiKueueAdmissionChecks"
    MULTI_KUEUE_ADMISSION_CHECK_APPLIED_PER_FLAVOR = "MultiKueueAdmissionCheckAppliedPerFlavor"
    MULTI_KUEUE_WITH_PROVISIONING_REQUEST = "MultiKueueWithProvisioningRequest"
    UNKNOWN = "Unknown"
    # Active, of a LocalQueue
    CLUSTER_QUEUE_IS_INACTIVE = "ClusterQueueIsInactive"
    CLUSTER_QUEUE_DOES_NOT_EXIST = "ClusterQueueDoesNotExist"

    @property
    def base(self) -> Reason:
        """The reason without its cause."""
        return Reason(self.value.partition("DueTo")[0])

    @property
    def cause(self) -> Reason | None:
        """What stands behind it, where Kueue says so."""
        behind = self.value.partition("DueTo")[2]
        return Reason(behind) if behind else None


class StopPolicy(OpenEnum):
    """Whether a queue admits: ``HOLD`` admits nothing more, ``HOLD_AND_DRAIN`` also evicts."""

    NONE = "None"
    HOLD = "Hold"
    HOLD_AND_DRAIN = "HoldAndDrain"


class QueueingStrategy(OpenEnum):
    """Whether a request that does not fit holds up those behind it."""

    STRICT_FIFO = "StrictFIFO"
    BEST_EFFORT_FIFO = "BestEffortFIFO"


class PreemptionPolicy(OpenEnum):
    """Whom a Workload may push out."""

    NEVER = "Never"
    ANY = "Any"
    LOWER_PRIORITY = "LowerPriority"
    LOWER_OR_NEWER_EQUAL_PRIORITY = "LowerOrNewerEqualPriority"


class FlavorFungibilityPolicy(OpenEnum):
    """Whether the next flavor is tried before one borrows, or pushes out."""

    MAY_STOP_SEARCH = "MayStopSearch"
    TRY_NEXT_FLAVOR = "TryNextFlavor"


class FlavorFungibilityPreference(OpenEnum):
    """Which is the lesser evil."""

    BORROWING_OVER_PREEMPTION = "BorrowingOverPreemption"
    PREEMPTION_OVER_BORROWING = "PreemptionOverBorrowing"


class AdmissionMode(OpenEnum):
    """Whether what was used before counts when the next one is chosen."""

    USAGE_BASED_ADMISSION_FAIR_SHARING = "UsageBasedAdmissionFairSharing"
    NO_ADMISSION_FAIR_SHARING = "NoAdmissionFairSharing"


class ConcurrentAdmissionMigrationMode(OpenEnum):
    """Whether an admitted Workload moves to a flavor that comes earlier."""

    TRY_PREFERRED_FLAVORS = "TryPreferredFlavors"
    RETAIN_FIRST_ADMISSION = "RetainFirstAdmission"


class CheckState(OpenEnum):
    """What an admission check says."""

    PENDING = "Pending"
    READY = "Ready"
    RETRY = "Retry"
    REJECTED = "Rejected"


class DelayedTopologyRequestState(OpenEnum):
    """Whether a node is still to be found."""

    PENDING = "Pending"
    READY = "Ready"


class PreemptionGatePosition(OpenEnum):
    """Whether a Workload may push others out."""

    CLOSED = "Closed"
    OPEN = "Open"


class PriorityClassGroup(OpenEnum):
    """Whose priority class it is."""

    KUEUE = "kueue.x-k8s.io"
    PODS = "scheduling.k8s.io"


class PriorityClassKind(OpenEnum):
    """The kind of priority class."""

    WORKLOAD_PRIORITY_CLASS = "WorkloadPriorityClass"
    PRIORITY_CLASS = "PriorityClass"
