"""What a ticket asks for, and where it is, as its Workload says."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from kueue_client import (
    HOSTNAME,
    Asked,
    ConditionType,
    Domain,
    Reason,
    TicketState,
    TicketStatus,
    TopologyAssignment,
    Workload,
)
from kueue_client.asked import same
from kueue_client.conditions import changed
from tests.kueue_client.workloads import (
    ADMISSION,
    ADMITTED,
    AT,
    PREEMPTED,
    RESERVED,
    condition,
    pending,
    workload,
)

INACTIVE = {"active": False}
WAITING = condition("QuotaReserved", holds=False, reason="Pending", message="busy")
FINISHED = condition("Finished", holds=True, reason="Succeeded")
TIME_UP = condition(
    "Evicted", holds=True, reason="DeactivatedDueToMaximumExecutionTimeExceeded", message="over"
)


@pytest.mark.parametrize(
    ("found", "state"),
    [
        (workload(), TicketState.WAITING),
        (pending("busy"), TicketState.WAITING),
        (workload(RESERVED, admission=ADMISSION), TicketState.RESERVED),
        (workload(RESERVED, ADMITTED, admission=ADMISSION), TicketState.ADMITTED),
        (workload(RESERVED, ADMITTED, *PREEMPTED, admission=ADMISSION), TicketState.EVICTED),
        (
            workload(RESERVED, ADMITTED, TIME_UP, admission=ADMISSION, spec=INACTIVE),
            TicketState.EVICTED,
        ),
        # For the moment until Kueue says why.
        (workload(RESERVED, ADMITTED, admission=ADMISSION, spec=INACTIVE), TicketState.ADMITTED),
        (workload(WAITING, *PREEMPTED), TicketState.WAITING),
        (workload(WAITING, TIME_UP, spec=INACTIVE), TicketState.INACTIVE),
        (workload(RESERVED, ADMITTED, FINISHED, admission=ADMISSION), TicketState.FINISHED),
    ],
)
def test_where_a_ticket_is(found: Workload, state: TicketState) -> None:
    assert TicketStatus.of(found).state is state


def test_what_an_admitted_ticket_was_given() -> None:
    status = TicketStatus.of(workload(RESERVED, ADMITTED, admission=ADMISSION))
    assert status.admitted is not None
    assert status.admitted.cluster_queue == "farm-cms"
    assert status.admitted.flavors == {"cpu": "t4", "nvidia.com/gpu": "t4"}
    assert status.admitted.node == "node-7"
    assert status.admitted.node_selector == {HOSTNAME: "node-7"}
    assert status.admitted.since.isoformat() == "2026-11-27T10:00:00+00:00"
    assert not status.ready


def test_why_a_ticket_was_evicted() -> None:
    found = TicketStatus.of(workload(RESERVED, ADMITTED, *PREEMPTED, admission=ADMISSION)).evicted
    assert found is not None
    assert (found.reason, found.cause) == (Reason.PREEMPTED, Reason.IN_COHORT_RECLAMATION)
    assert found.message == "Preempted to accommodate two"
    over = TicketStatus.of(workload(RESERVED, TIME_UP, admission=ADMISSION)).evicted
    assert over is not None
    assert over.reason is Reason.DEACTIVATED
    assert over.cause is Reason.MAXIMUM_EXECUTION_TIME_EXCEEDED


def test_where_pods_belong_is_read_in_all_the_ways_kueue_writes_it() -> None:
    wire: dict[str, Any] = {
        "levels": ["rack", HOSTNAME],
        "slices": [
            {
                "domainCount": 2,
                "valuesPerLevel": [
                    {"universal": "r1"},
                    {"individual": {"prefix": "node-", "suffix": ".x", "roots": ["1", "2"]}},
                ],
                "podCounts": {"individual": [3, 4]},
            },
            {
                "domainCount": 1,
                "valuesPerLevel": [{"individual": {"roots": ["r2"]}}, {"universal": "last"}],
                "podCounts": {"universal": 1},
            },
        ],
    }
    assert list(TopologyAssignment.from_wire(wire).domains()) == [
        Domain({"rack": "r1", HOSTNAME: "node-1.x"}, 3),
        Domain({"rack": "r1", HOSTNAME: "node-2.x"}, 4),
        Domain({"rack": "r2", HOSTNAME: "last"}, 1),
    ]


def test_a_ticket_asks_for_one_pod_that_holds_requests_only() -> None:
    asked = Asked(
        "cms",
        {"cpu": Decimal("0.5"), "memory": "1Gi", "nvidia.com/gpu": 1},
        node_selector={"gpu": "t4"},
        tolerations=[{"key": "gpu", "operator": "Exists"}],
        priority_class="notebooks",
        priority=100,
        topology=HOSTNAME,
        seconds=3600,
        labels={"request": "r1"},
    )
    amounts = {"cpu": "0.5", "memory": "1Gi", "nvidia.com/gpu": "1"}
    pod = {
        "containers": [{"name": "main", "resources": {"requests": amounts}}],
        "restartPolicy": "Never",
        "nodeSelector": {"gpu": "t4"},
        "tolerations": [{"key": "gpu", "operator": "Exists"}],
    }
    assert asked.workload("one", "n").to_wire() == {
        "apiVersion": "kueue.x-k8s.io/v1beta2",
        "kind": "Workload",
        "metadata": {"name": "one", "namespace": "n", "labels": {"request": "r1"}},
        "spec": {
            "queueName": "cms",
            "podSets": [
                {
                    "name": "main",
                    "count": 1,
                    "template": {"spec": pod},
                    "topologyRequest": {"required": HOSTNAME},
                }
            ],
            "priority": 100,
            "priorityClassRef": {
                "name": "notebooks",
                "group": "kueue.x-k8s.io",
                "kind": "WorkloadPriorityClass",
            },
            "maximumExecutionTimeSeconds": 3600,
        },
    }
    with pytest.raises(ValueError, match="comes with its value"):
        Asked("cms", {}, priority_class="notebooks").workload("one", "n")
    with pytest.raises(ValueError, match="is no quantity"):
        Asked("cms", {"cpu": "two"}).workload("one", "n")


def test_the_same_is_the_same_however_the_api_writes_it() -> None:
    def made(queue: str = "cms", **requests: str) -> Workload:
        return Asked(queue, {"cpu": "1", **requests}).workload("one", "n")

    assert same(made(), made(cpu="1000m"))
    assert not same(made(), made(cpu="2"))
    assert not same(made(), made("atlas"))
    assert not same(made(), made(memory="1Gi"))
    assert not same(made(), Workload())


def test_conditions_are_changed_in_their_list_and_keep_their_time_unless_they_turn() -> None:
    found = workload(RESERVED, ADMITTED, admission=ADMISSION)
    change = changed(
        found,
        (ConditionType.QUOTA_RESERVED, False, Reason.PENDING, "given back"),
        (ConditionType.ADMITTED, True, Reason.ADMITTED, "said anew"),
        (ConditionType.PODS_READY, True, Reason.STARTED, "runs"),
    )
    reserved, admitted, ready = change["conditions"]
    assert (reserved["status"], reserved["reason"]) == ("False", "Pending")
    assert reserved["lastTransitionTime"] != AT
    assert (admitted["message"], admitted["lastTransitionTime"]) == ("said anew", AT)
    assert ready["type"] == "PodsReady"
    without = changed(found, without={ConditionType.ADMITTED})["conditions"]
    assert [one["type"] for one in without] == ["QuotaReserved"]
