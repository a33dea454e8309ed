"""Each of the reasons that Kueue gives is told in words, and none is lost."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from kueue_client import (
    Cause,
    ClusterQueue,
    Explanation,
    LocalQueue,
    PendingWorkload,
    Quantity,
    Shortage,
    Workload,
    explanation,
)
from tests.kueue_client.workloads import (
    ADMISSION,
    ADMITTED,
    PREEMPTED,
    RESERVED,
    condition,
    pending,
    workload,
)

NOW = datetime(2026, 11, 27, 10, 0, 30, tzinfo=UTC)
GPU = "nvidia.com/gpu"
# Sentences of Kueue 0.19.2.
POD_SET = "couldn't assign flavors to pod set main: "
UNUSED = (
    f"{POD_SET}insufficient unused quota for nvidia.com/gpu in flavor t4, 1 more needed, flavor"
    " a100 doesn't match node affinity"
)
BEYOND = (
    f"{POD_SET}insufficient quota for nvidia.com/gpu in flavor t4, previously considered podsets"
    " requests (0) + current podset request (9) > maximum capacity (2)"
)
NO_ROOM = (
    f'{POD_SET}topology "nodes" doesn\'t allow to fit any of 1 pod(s). Total nodes: 2; excluded:'
    ' resource "cpu": 2'
)


def why(found: Workload, **known: Any) -> Explanation:
    return explanation(found, now=NOW, **known)


@pytest.mark.parametrize(
    ("message", "cause", "sentence"),
    [
        (UNUSED, Cause.QUOTA, "It waits for 1 more nvidia.com/gpu of t4 to become free."),
        (
            BEYOND,
            Cause.TOO_LARGE,
            "It asks for more than its queue can ever have: 2 nvidia.com/gpu of t4.",
        ),
        (NO_ROOM, Cause.PLACEMENT, f"No node has the room: {NO_ROOM}."),
        (
            f"{POD_SET}no topology domains at level: kubernetes.io/hostname",
            Cause.PLACEMENT,
            f"No node has the room: {POD_SET}no topology domains at level: kubernetes.io/hostname.",
        ),
        (
            "couldn't assign flavors to pod set main: flavor t4 doesn't match node affinity",
            Cause.NO_FLAVOR,
            "No flavor of its queue fits what it asks for: couldn't assign flavors to pod set main:"
            " flavor t4 doesn't match node affinity.",
        ),
        (
            f"{UNUSED}. Pending the preemption of 1 workload(s)",
            Cause.PREEMPTION,
            "It waits for others to give back what was borrowed: "
            f"{UNUSED}. Pending the preemption of 1 workload(s).",
        ),
        (
            "LocalQueue cms doesn't exist",
            Cause.LOCAL_QUEUE_MISSING,
            "LocalQueue cms doesn't exist.",
        ),
        ("LocalQueue cms is stopped", Cause.LOCAL_QUEUE_STOPPED, "LocalQueue cms is stopped."),
        ("ClusterQueue c is inactive", Cause.CLUSTER_QUEUE_INACTIVE, "ClusterQueue c is inactive."),
        (
            "waiting for all admitted workloads to be in PodsReady condition",
            Cause.OTHERS_START,
            "It waits for others that were admitted before it to start:"
            " waiting for all admitted workloads to be in PodsReady condition.",
        ),
        ("Something that is new", Cause.OTHER, "Something that is new."),
        ("", Cause.OTHER, "Kueue does not say why."),
    ],
)
def test_what_kueue_says_is_told(message: str, cause: Cause, sentence: str) -> None:
    found = why(pending(message))
    assert (found.cause, found.sentence, found.said) == (cause, sentence, message)


@pytest.mark.parametrize(
    ("reason", "cause"),
    [
        ("WaitingForQuota", Cause.QUOTA),
        ("ExceedsMaxQuota", Cause.TOO_LARGE),
        ("NoMatchingFlavor", Cause.NO_FLAVOR),
        ("TopologyPlacementFailed", Cause.PLACEMENT),
        ("WaitingForPreemptedWorkloads", Cause.PREEMPTION),
        ("WaitingForPodsReady", Cause.OTHERS_START),
        ("PendingEvaluation", Cause.NOT_CONSIDERED),
    ],
)
def test_reasons_that_say_more_are_used(reason: str, cause: Cause) -> None:
    assert why(pending("said otherwise", reason)).cause is cause


def test_what_is_missing_is_counted() -> None:
    assert why(pending(UNUSED)).shortages == (Shortage(GPU, "t4", missing=Quantity("1")),)
    assert why(pending(BEYOND)).shortages == (Shortage(GPU, "t4", most=Quantity("2")),)


@pytest.mark.parametrize(
    ("found", "cause"),
    [
        (workload(RESERVED, ADMITTED, admission=ADMISSION), Cause.ADMITTED),
        (workload(RESERVED, admission=ADMISSION), Cause.CHECKS),
        (workload(RESERVED, ADMITTED, *PREEMPTED, admission=ADMISSION), Cause.RELEASE),
        (workload(condition("Finished", holds=True, reason="Succeeded")), Cause.FINISHED),
        (workload(spec={"active": False}), Cause.DEACTIVATED),
        (workload(requeueState={"requeueAt": "2026-11-27T10:05:00Z"}), Cause.BACKOFF),
        (workload(), Cause.KUEUE_SILENT),
    ],
)
def test_where_it_is_not_waiting_for_quota_that_is_said(found: Workload, cause: Cause) -> None:
    assert why(found).cause is cause


def test_when_it_is_considered_again_is_told() -> None:
    found = why(workload(requeueState={"requeueAt": "2026-11-27T10:05:00Z"}))
    assert found.again == datetime(2026, 11, 27, 10, 5, tzinfo=UTC)
    assert why(workload(spec={"active": False})).again is None


def test_a_workload_of_a_moment_ago_has_not_been_considered() -> None:
    now = datetime(2026, 11, 27, 10, 0, 5, tzinfo=UTC)
    assert explanation(workload(), now=now).cause is Cause.NOT_CONSIDERED


def queues(
    *, local: dict[str, Any] | None = None, cluster: dict[str, Any] | None = None, **active: str
) -> dict[str, Any]:
    said = [condition("Active", holds=False, **active)] if active else []
    return {
        "local": LocalQueue.from_wire(
            {"metadata": {"name": "cms"}, "spec": {"clusterQueue": "c", **(local or {})}}
        ),
        "cluster": ClusterQueue.from_wire(
            {"metadata": {"name": "c"}, "spec": cluster or {}, "status": {"conditions": said}}
        ),
    }


@pytest.mark.parametrize(
    ("known", "cause"),
    [
        ({"missing": True}, Cause.LOCAL_QUEUE_MISSING),
        (queues(local={"stopPolicy": "Hold"}), Cause.LOCAL_QUEUE_STOPPED),
        (queues(cluster={"stopPolicy": "HoldAndDrain"}), Cause.CLUSTER_QUEUE_STOPPED),
        (
            queues(reason="FlavorNotFound", message="references missing ResourceFlavor(s): t4."),
            Cause.CLUSTER_QUEUE_INACTIVE,
        ),
        (queues(local={"stopPolicy": "None"}), Cause.QUOTA),
    ],
)
def test_what_is_wrong_with_its_queues_comes_before_what_was_said_last(
    known: dict[str, Any], cause: Cause
) -> None:
    assert why(pending(UNUSED), **known).cause is cause


def test_a_local_queue_that_leads_nowhere_is_said_to() -> None:
    active = condition("Active", holds=False, reason="ClusterQueueDoesNotExist")
    local = LocalQueue.from_wire(
        {
            "metadata": {"name": "cms"},
            "spec": {"clusterQueue": "gone"},
            "status": {"conditions": [active]},
        }
    )
    found = why(workload(), local=local)
    assert found.cause is Cause.CLUSTER_QUEUE_MISSING
    assert "gone, which is not there" in found.sentence


def test_its_place_in_line_is_told_too() -> None:
    place = {
        "priority": 0,
        "localQueueName": "cms",
        "positionInClusterQueue": 3,
        "positionInLocalQueue": 1,
    }
    found = why(pending(UNUSED), position=PendingWorkload.from_wire(place))
    assert str(found).endswith("to become free. 3 in line before it.")
    first = PendingWorkload.from_wire({**place, "positionInClusterQueue": 0})
    assert str(why(pending(UNUSED), position=first)).endswith("It is first in line.")
