"""Why a Workload is not admitted, in words: from what Kueue says of it, its queues and the line.

Kueue says why as text. What is known of that text is read (``_SENTENCES``); of the rest, the text
itself is the answer, so nothing is ever left unsaid. With Kueue's feature gate
UnadmittedWorkloadsObservability its reasons say more, and are used.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from kueue_client import calls
from kueue_client.base import Condition
from kueue_client.enums import ConditionType, OpenEnum, Reason
from kueue_client.errors import KueueError
from kueue_client.quantity import Quantity
from kueue_client.queues import ClusterQueue, LocalQueue
from kueue_client.standing import is_aside
from kueue_client.steps import Steps
from kueue_client.visibility import PendingWorkload
from kueue_client.workloads import Workload

QUIET_SECONDS: Final = 10.0
"""After which it is remarkable that Kueue has said nothing of a Workload."""


class Cause(OpenEnum):
    """What a Workload waits for."""

    ADMITTED = "admitted"
    FINISHED = "finished"
    QUOTA = "quota"
    TOO_LARGE = "too_large"
    NO_FLAVOR = "no_flavor"
    PLACEMENT = "placement"
    PREEMPTION = "preemption"
    CHECKS = "checks"
    OTHERS_START = "others_start"
    NOT_CONSIDERED = "not_considered"
    KUEUE_SILENT = "kueue_silent"
    LOCAL_QUEUE_MISSING = "local_queue_missing"
    LOCAL_QUEUE_STOPPED = "local_queue_stopped"
    CLUSTER_QUEUE_MISSING = "cluster_queue_missing"
    CLUSTER_QUEUE_STOPPED = "cluster_queue_stopped"
    CLUSTER_QUEUE_INACTIVE = "cluster_queue_inactive"
    DEACTIVATED = "deactivated"
    BACKOFF = "backoff"
    ASIDE = "aside"
    RELEASE = "release"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Shortage:
    """What is missing.

    Attributes:
        resource: Of which resource.
        flavor: In which flavor.
        missing: How much more would have to be free; None where no amount would do.
        most: The most that could ever be had, where that is the trouble.
    """

    resource: str
    flavor: str
    missing: Quantity | None = None
    most: Quantity | None = None


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a Workload is not admitted.

    Attributes:
        cause: What it waits for, for programs.
        sentence: The same for people.
        said: Kueue's own sentence; empty where it said none.
        shortages: What is missing, where it is quota.
        position: Its places in line, where they are known.
        again: When it is considered again, where that is what it waits for.
    """

    cause: Cause
    sentence: str
    said: str = ""
    shortages: tuple[Shortage, ...] = ()
    position: PendingWorkload | None = None
    again: datetime | None = None

    def __str__(self) -> str:
        if self.position is None:
            return self.sentence
        ahead = self.position.position_in_cluster_queue
        place = "It is first in line" if not ahead else f"{ahead} in line before it"
        return f"{self.sentence} {place}."


def explain(found: Workload) -> Steps[Explanation]:
    """Look at the queues and the line of a Workload, and say why it is not admitted."""
    position, local, cluster = None, None, None
    if not found.holds(ConditionType.QUOTA_RESERVED) and found.spec.queue_name:
        where = (found.spec.queue_name, found.namespace)
        local = yield from calls.find(LocalQueue, *where)
        if local is not None:
            try:
                cluster = yield from calls.find(ClusterQueue, local.spec.cluster_queue, None)
                line = yield from calls.pending(*where)
                position = next((one for one in line if one.metadata.name == found.name), None)
            except KueueError:
                pass  # who may not look there, or finds nobody, is told what the Workload says
    return explanation(found, local, cluster, position, missing=local is None)


def explanation(
    found: Workload,
    local: LocalQueue | None = None,
    cluster: ClusterQueue | None = None,
    position: PendingWorkload | None = None,
    *,
    missing: bool = False,
    now: datetime | None = None,
) -> Explanation:
    """Say why a Workload is not admitted. Pure.

    Args:
        found: The Workload.
        local: Its LocalQueue, where it was looked at.
        cluster: Its ClusterQueue, where it was looked at.
        position: Its places in line, where they were asked for.
        missing: Whether its LocalQueue was looked for and is not there.
        now: What time it is.
    """
    said = found.condition(ConditionType.QUOTA_RESERVED)
    text = said.message if said and not said.holds else ""

    def because(cause: Cause, sentence: str, *shortages: Shortage) -> Explanation:
        state = found.status.requeue_state if cause is Cause.BACKOFF else None
        again = state.requeue_at if state else None
        return Explanation(cause, sentence, text, shortages, position, again)

    for one in (_over, _held, _inactive):
        if (answer := one(found, now or datetime.now(UTC))) is not None:
            return because(*answer)
    where = found.spec.queue_name, found.namespace
    if (answer := closed(*where, local, cluster, missing=missing)) is not None:
        return because(*answer)
    if said is None:
        return because(*_unsaid(found, position, now or datetime.now(UTC)))
    return _told(said, because)


_Answer = tuple[Cause, str]


def _over(found: Workload, _now: datetime) -> _Answer | None:
    if found.holds(ConditionType.FINISHED):
        return Cause.FINISHED, "It has finished."
    return None


def _held(found: Workload, _now: datetime) -> _Answer | None:
    if not found.holds(ConditionType.QUOTA_RESERVED):
        return None
    evicted = found.condition(ConditionType.EVICTED)
    if evicted is not None and evicted.holds:
        return Cause.RELEASE, f"It is to give back what it holds: {_plain(evicted.message)}."
    if found.holds(ConditionType.ADMITTED):
        return Cause.ADMITTED, "It is admitted."
    waiting = [one for one in found.status.admission_checks if one.state != "Ready"]
    names = ", ".join(one.name for one in waiting) or "its checks"
    return Cause.CHECKS, f"It has its quota and waits for {names}."


def _inactive(found: Workload, now: datetime) -> _Answer | None:
    if found.spec.active is False:
        evicted = found.condition(ConditionType.EVICTED)
        why = f": {_plain(evicted.message)}" if evicted is not None and evicted.holds else ""
        return Cause.DEACTIVATED, f"It was deactivated{why}."
    if is_aside(found):
        aside = found.condition(ConditionType.REQUEUED)
        return Cause.ASIDE, f"It stands aside: {_plain(aside.message if aside else '')}."
    state = found.status.requeue_state
    if state and state.requeue_at and state.requeue_at > now:
        return (
            Cause.BACKOFF,
            f"After an eviction it is considered again at {state.requeue_at:%H:%M:%S} UTC.",
        )
    return None


def closed(
    name: str,
    namespace: str,
    local: LocalQueue | None,
    cluster: ClusterQueue | None,
    *,
    missing: bool,
) -> tuple[Cause, str] | None:
    """Say why a LocalQueue admits nothing at all, whatever is asked of it; None where it may. Pure.

    Args:
        name: Which.
        namespace: Where.
        local: It, where it was looked at.
        cluster: Its ClusterQueue, where it was looked at.
        missing: Whether it was looked for and is not there.

    Returns:
        The cause, and a sentence for people.
    """
    if missing:
        return Cause.LOCAL_QUEUE_MISSING, f"There is no LocalQueue {name} in {namespace}."
    if local is not None and local.spec.stop_policy not in (None, "None"):
        return (
            Cause.LOCAL_QUEUE_STOPPED,
            f"The LocalQueue {name} is stopped: it admits nothing now.",
        )
    if cluster is not None:
        if cluster.spec.stop_policy not in (None, "None"):
            return (
                Cause.CLUSTER_QUEUE_STOPPED,
                f"The ClusterQueue {cluster.name} is stopped: it admits nothing now.",
            )
        active = cluster.active
        if active is not None and not active.holds:
            return (
                Cause.CLUSTER_QUEUE_INACTIVE,
                f"The ClusterQueue {cluster.name} admits nothing: {_plain(active.message)}.",
            )
    elif local is not None and (active := local.active) is not None and not active.holds:
        if active.reason == Reason.CLUSTER_QUEUE_DOES_NOT_EXIST:
            return (
                Cause.CLUSTER_QUEUE_MISSING,
                f"The LocalQueue {name} leads to the ClusterQueue {local.spec.cluster_queue}, which"
                " is not there.",
            )
        return (
            Cause.CLUSTER_QUEUE_INACTIVE,
            f"The LocalQueue {name} admits nothing: {_plain(active.message)}.",
        )
    return None


def _unsaid(found: Workload, position: PendingWorkload | None, now: datetime) -> _Answer:
    created = found.metadata.creation_timestamp
    if position is None and created and (now - created).total_seconds() > QUIET_SECONDS:
        return (
            Cause.KUEUE_SILENT,
            "Kueue has said nothing of it: see whether Kueue's manager runs.",
        )
    return Cause.NOT_CONSIDERED, "Kueue has not considered it yet."


_BY_REASON: dict[Reason, Cause] = {
    Reason.WAITING_FOR_QUOTA: Cause.QUOTA,
    Reason.EXCEEDS_MAX_QUOTA: Cause.TOO_LARGE,
    Reason.NO_MATCHING_FLAVOR: Cause.NO_FLAVOR,
    Reason.TOPOLOGY_PLACEMENT_FAILED: Cause.PLACEMENT,
    Reason.WAITING_FOR_PREEMPTED_WORKLOADS: Cause.PREEMPTION,
    Reason.WAITING_FOR_PODS_READY: Cause.OTHERS_START,
    Reason.WAITING: Cause.OTHERS_START,
    Reason.PENDING_EVALUATION: Cause.NOT_CONSIDERED,
}
_UNUSED = re.compile(r"insufficient unused quota for (\S+) in flavor (\S+), (\S+) more needed")
_BEYOND = re.compile(
    r"insufficient quota for (\S+) in flavor (\S+),.*? > maximum capacity \(([^)]*)\)"
)
_SENTENCES: tuple[tuple[re.Pattern[str], Cause], ...] = (
    (
        re.compile(r"Pending the preemption of|waiting for .*preempt", re.IGNORECASE),
        Cause.PREEMPTION,
    ),
    (_UNUSED, Cause.QUOTA),
    (re.compile(r'topology "[^"]*" (doesn\'t allow|allows) to fit'), Cause.PLACEMENT),
    (re.compile(r"no topology domains at level"), Cause.PLACEMENT),
    (_BEYOND, Cause.TOO_LARGE),
    (
        re.compile(r"unavailable in ClusterQueue|doesn't match node affinity|untolerated taint"),
        Cause.NO_FLAVOR,
    ),
    (
        re.compile(r"LocalQueue \S+ (doesn't exist|is terminating or missing)"),
        Cause.LOCAL_QUEUE_MISSING,
    ),
    (re.compile(r"LocalQueue \S+ is (stopped|inactive)"), Cause.LOCAL_QUEUE_STOPPED),
    (
        re.compile(r"ClusterQueue \S+ (doesn't exist|not found|is terminating or missing)"),
        Cause.CLUSTER_QUEUE_MISSING,
    ),
    (re.compile(r"ClusterQueue \S+ is stopped"), Cause.CLUSTER_QUEUE_STOPPED),
    (re.compile(r"ClusterQueue \S+ is inactive"), Cause.CLUSTER_QUEUE_INACTIVE),
    (re.compile(r"waiting for all admitted workloads to be in PodsReady"), Cause.OTHERS_START),
    (re.compile(r"pending evaluation"), Cause.NOT_CONSIDERED),
    # Released since, and not looked at again yet: that is what it was told then.
    (
        re.compile(r"^Preempted to accommodate a workload|^It was released by its holder"),
        Cause.NOT_CONSIDERED,
    ),
)


def _told(said: Condition, because: Callable[..., Explanation]) -> Explanation:
    text = said.message
    cause = _BY_REASON.get(said.reason)
    if cause is None:
        cause = next((one for form, one in _SENTENCES if form.search(text)), Cause.OTHER)
    shortages = [Shortage(*_named(one), missing=Quantity(one[3])) for one in _UNUSED.finditer(text)]
    shortages += [Shortage(*_named(one), most=Quantity(one[3])) for one in _BEYOND.finditer(text)]
    return because(cause, _sentence(cause, text, shortages), *shortages)


def _named(one: re.Match[str]) -> tuple[str, str]:
    return one[1], one[2].rstrip(",")


def _sentence(cause: Cause, text: str, shortages: list[Shortage]) -> str:
    if cause is Cause.QUOTA and (lacks := [one for one in shortages if one.missing is not None]):
        parts = [f"{one.missing} more {one.resource} of {one.flavor}" for one in lacks]
        return f"It waits for {' or '.join(dict.fromkeys(parts))} to become free."
    if cause is Cause.TOO_LARGE and (lacks := [one for one in shortages if one.most is not None]):
        parts = [f"{one.most} {one.resource} of {one.flavor}" for one in lacks]
        return f"It asks for more than its queue can ever have: {', '.join(dict.fromkeys(parts))}."
    plain = {
        Cause.QUOTA: "It waits for quota to become free",
        Cause.TOO_LARGE: "It asks for more than its queue can ever have",
        Cause.NO_FLAVOR: "No flavor of its queue fits what it asks for",
        Cause.PLACEMENT: "No node has the room",
        Cause.PREEMPTION: "It waits for others to give back what was borrowed",
        Cause.OTHERS_START: "It waits for others that were admitted before it to start",
        Cause.NOT_CONSIDERED: "Kueue has not considered it yet",
    }.get(cause)
    if plain is None:
        return f"{_plain(text) or 'Kueue does not say why'}."
    return f"{plain}: {_plain(text)}." if text else f"{plain}."


def _plain(text: str) -> str:
    return text.strip().rstrip(".")
