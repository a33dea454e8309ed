"""Where a ticket is: read from the Workload that it is. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from kueue_client.enums import ConditionType, OpenEnum, Reason
from kueue_client.flavors import HOSTNAME
from kueue_client.workloads import Workload


class TicketState(OpenEnum):
    """Where a ticket is.

    ``RESERVED`` has its quota, and waits for admission checks; ``EVICTED`` still holds it, and is
    to give it back; ``INACTIVE`` holds nothing and stands in no line.
    """

    WAITING = "waiting"
    RESERVED = "reserved"
    ADMITTED = "admitted"
    EVICTED = "evicted"
    INACTIVE = "inactive"
    FINISHED = "finished"


@dataclass(frozen=True, slots=True)
class Admitted:
    """What a ticket was given.

    Attributes:
        cluster_queue: By which ClusterQueue.
        flavors: The flavor of each resource.
        node_selector: The labels of the nodes where the pod belongs: with a topology of hostnames,
            of the one node. Empty where the queue knows no nodes.
        since: When.
    """

    cluster_queue: str
    flavors: Mapping[str, str]
    node_selector: Mapping[str, str]
    since: datetime

    @property
    def node(self) -> str | None:
        """The one node where the pod belongs, where the queue says so."""
        return self.node_selector.get(HOSTNAME)


@dataclass(frozen=True, slots=True)
class Evicted:
    """That the quota is wanted back.

    Attributes:
        reason: Why, without what is behind it.
        cause: What is behind it, where Kueue says so: of a preemption, whose quota it was for.
        message: Kueue's sentence.
        since: When.
    """

    reason: Reason
    cause: Reason | None
    message: str
    since: datetime


@dataclass(frozen=True, slots=True)
class TicketStatus:
    """A ticket as it was when it was looked at.

    Attributes:
        state: Where it is.
        workload: The Workload that it is.
        admitted: What it holds; None where it holds nothing.
        evicted: Why what it holds is wanted back; None where it is not.
        ready: Whether its holder has said that it runs.
    """

    state: TicketState
    workload: Workload
    admitted: Admitted | None = None
    evicted: Evicted | None = None
    ready: bool = False

    @classmethod
    def of(cls, workload: Workload) -> TicketStatus:
        """What a Workload says."""
        admitted, evicted = _admitted(workload), _evicted(workload)
        return cls(
            _state(workload, admitted, evicted),
            workload,
            admitted,
            evicted,
            workload.holds(ConditionType.PODS_READY),
        )


def is_aside(workload: Workload) -> bool:
    """Whether its holder has it pass others by, at its place: see ``Ticket.stand_aside``."""
    found = workload.condition(ConditionType.REQUEUED)
    return found is not None and not found.holds and found.reason == Reason.STANDS_ASIDE


def _state(workload: Workload, admitted: Admitted | None, evicted: Evicted | None) -> TicketState:
    if workload.holds(ConditionType.FINISHED):
        return TicketState.FINISHED
    if admitted and evicted:
        return TicketState.EVICTED
    if admitted is None:
        return TicketState.INACTIVE if workload.spec.active is False else TicketState.WAITING
    reserved = not workload.holds(ConditionType.ADMITTED)
    return TicketState.RESERVED if reserved else TicketState.ADMITTED


def _admitted(workload: Workload) -> Admitted | None:
    given = workload.status.admission
    if given is None or not workload.holds(ConditionType.QUOTA_RESERVED):
        return None
    since = workload.condition(ConditionType.ADMITTED)
    if since is None or not since.holds:
        since = workload.condition(ConditionType.QUOTA_RESERVED)
    assert since is not None  # noqa: S101  # it holds, as was just seen
    flavors: dict[str, str] = {}
    selector: dict[str, str] = {}
    for one in given.pod_set_assignments:
        flavors |= one.flavors
        if one.topology_assignment is not None:
            domain = next(one.topology_assignment.domains(), None)
            selector |= domain.selector if domain else {}
    return Admitted(given.cluster_queue, flavors, selector, since.last_transition_time)


def _evicted(workload: Workload) -> Evicted | None:
    found = workload.condition(ConditionType.EVICTED)
    if found is None or not found.holds:
        return None
    cause = found.reason.cause
    preempted = workload.condition(ConditionType.PREEMPTED)
    if cause is None and found.reason == Reason.PREEMPTED and preempted and preempted.holds:
        cause = preempted.reason
    return Evicted(found.reason.base, cause, found.message, found.last_transition_time)
