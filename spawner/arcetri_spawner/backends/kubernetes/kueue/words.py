"""Kueue's reasons, in the words of the platform. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from zoneinfo import ZoneInfo

from arcetri_spawner.groups import GroupPath
from arcetri_spawner.policy import queueing, reasons
from arcetri_spawner.policy.model import Reason
from kueue_client import Cause, Evicted, Explanation
from kueue_client import Reason as Kueues


@dataclass(frozen=True, slots=True)
class Situation:
    """What is known around a request, for the sentence that says why it waits."""

    group: GroupPath
    flavor: str
    title: str
    """The flavour's title in the catalog; its name where the catalog has it no longer."""
    offered: bool
    """Whether the catalog still grants it to the group."""
    quota: int | None
    """The group's quota of the flavour; None bounds nothing."""
    borrow: int
    """How much more it may have where others leave it idle."""
    held: int
    """How much of the flavour the group's requests hold."""
    total: int | None
    """How much there is; None while nobody can say."""
    free: int | None
    """How much of it nobody holds; None while nobody can say."""
    device: bool = True
    """Whether the flavour has a device."""
    nowhere: bool = False
    """Whether no node where its sessions may run can start one."""
    behind: bool = False
    """Whether others of the group wait for the same before it, in the same size."""
    aside: Reason | None = None
    """Why it stands aside, where it does; None: for what is kept for free devices."""
    maintenance: Reason | None = None
    """That the flavour is under maintenance; None where it is not."""
    timezone: str = "UTC"
    """The site's, in which moments are told."""

    @property
    def beyond(self) -> bool:
        """Whether the group holds all that it may have."""
        return self.quota is not None and self.held >= self.quota + self.borrow


def waiting(why: Explanation, here: Situation) -> Reason:
    """Why a request waits."""
    if not here.offered:
        return queueing.no_flavor(here.group, here.title)
    if here.maintenance is not None:
        return here.maintenance
    match why.cause:
        case Cause.QUOTA | Cause.TOO_LARGE | Cause.PLACEMENT | Cause.PREEMPTION:
            return _taken(why, here)
        case Cause.NO_FLAVOR:
            return queueing.no_flavor(here.group, here.title)
        case Cause.OTHERS_START:
            return queueing.starting()
        case Cause.CHECKS:
            return queueing.checks("a check of the cluster's")
        case Cause.ASIDE:
            return here.aside or queueing.reserved(here.title)
        case Cause.BACKOFF:
            return queueing.backoff(
                why.again.astimezone(ZoneInfo(here.timezone)) if why.again else None
            )
        case Cause.KUEUE_SILENT:
            return queueing.silent()
        case Cause.DEACTIVATED:
            return queueing.set_aside()
        case Cause.NOT_CONSIDERED | Cause.ADMITTED:
            return _unsaid(here)
        case _:
            return shut(why.cause, here.group) or queueing.other(why.sentence)


def shut(cause: Cause, group: GroupPath) -> Reason | None:
    """Why a group's queue admits nothing, whatever is asked of it; None where that is not why."""
    match cause:
        case Cause.LOCAL_QUEUE_STOPPED | Cause.CLUSTER_QUEUE_STOPPED:
            return queueing.closed(group)
        case Cause.LOCAL_QUEUE_MISSING | Cause.CLUSTER_QUEUE_MISSING | Cause.CLUSTER_QUEUE_INACTIVE:
            return queueing.unready(group)
        case _:
            return None


def _unsaid(here: Situation) -> Reason:
    """Kueue says nothing of who is behind others that ask for the same: then it need not."""
    if here.beyond and here.quota is not None:
        return _all_of(here, here.quota)
    if not here.behind:
        return queueing.new(here.title)
    if here.device and here.total and not here.free:
        return reasons.busy_capacity(here.title, here.total, alternative=None)
    return queueing.behind(here.group, here.title)


def _all_of(here: Situation, quota: int) -> Reason:
    return reasons.busy_quota(
        here.flavor,
        here.title,
        here.group,
        here.held,
        quota,
        alternative=None,
        borrow=here.borrow,
    )


def _taken(why: Explanation, here: Situation) -> Reason:
    """What is wanted is in use; by whom, is told from the platform's own numbers."""
    if why.cause is Cause.PREEMPTION:
        return queueing.lent(here.title)
    if here.beyond and here.quota is not None:
        return _all_of(here, here.quota)
    if here.total == 0 and here.device:
        return reasons.no_node(here.flavor, here.title, alternative=None)
    if here.nowhere and not here.device:
        return reasons.no_node_at_all(here.flavor, here.title, alternative=None)
    if why.cause is Cause.TOO_LARGE:
        return queueing.too_large(here.group, here.title)
    if not here.device and here.free == 0:
        return reasons.no_room(here.title, alternative=None)
    if here.total and not here.free:
        return reasons.busy_capacity(here.title, here.total, alternative=None)
    if why.cause is Cause.PLACEMENT:
        return queueing.size(here.title)
    if here.free:
        return queueing.kept(here.title, here.free)
    return queueing.busy(here.title)


def evicted(found: Evicted, here: Situation, node: str | None, seconds: int | None) -> Reason:
    """Why what a request holds is wanted back.

    Args:
        found: What Kueue says.
        here: What is known around the request.
        node: The node that it was admitted to.
        seconds: The longest time it may hold it.
    """
    match found.reason:
        case Kueues.PREEMPTED if found.cause is Kueues.IN_CLUSTER_QUEUE:
            return queueing.priority(here.title)
        case Kueues.PREEMPTED if found.cause is Kueues.IN_COHORT_FAIR_SHARING:
            return queueing.fair(here.title)
        case Kueues.PREEMPTED:
            return queueing.returned(here.title)
        case Kueues.CLUSTER_QUEUE_STOPPED | Kueues.LOCAL_QUEUE_STOPPED:
            return queueing.drained(here.group)
        case Kueues.PODS_READY_TIMEOUT:
            return queueing.unstarted()
        case Kueues.NODE_FAILURES:
            return queueing.node_failed(node or "")
        case Kueues.DEACTIVATED if found.cause is Kueues.MAXIMUM_EXECUTION_TIME_EXCEEDED:
            return queueing.lifetime(seconds)
        case Kueues.DEACTIVATED:
            return queueing.deactivated()
        case _:
            return queueing.wanted_back(found.message)
