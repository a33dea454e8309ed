"""Requests that are admitted, and that nobody starts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from arcetri_spawner.queues.unstarted import SOON, unstarted
from kueue_client import Workload
from tests.kueue_client.workloads import ADMISSION, ADMITTED, PREEMPTED, RESERVED, condition
from tests.spawner.queues.test_unheld import SESSION, place, pod

ADMITTED_AT = datetime(2026, 11, 27, 10, 0, tzinfo=UTC)
LATE = ADMITTED_AT + SOON + timedelta(seconds=1)
READY = condition("PodsReady", holds=True, reason="Started")


def held(*more: dict[str, Any]) -> Workload:
    return place(RESERVED, ADMITTED, *more, admission=ADMISSION)


def test_one_that_nobody_starts_is_told_with_what_to_do() -> None:
    (found,) = unstarted([], [held()], LATE)
    assert (found.request, found.code) == (SESSION, "not_started")
    assert found.sentence == (
        "It is admitted to node-7 since 2026-11-27 10:00:00 UTC, and the hub has not started it:"
        " it has no pod."
    )
    for cause in ("hub's log", "IAM may be silent", "login over", "defaults.hold"):
        assert cause in found.remedy


def test_where_the_queue_names_no_node_none_is_told() -> None:
    given = {**ADMISSION, "podSetAssignments": [{"name": "main", "flavors": {"cpu": "cpu"}}]}
    (found,) = unstarted([], [place(RESERVED, ADMITTED, admission=given)], LATE)
    assert found.sentence.startswith("It is admitted since 2026-11-27 10:00:00 UTC, and")


@pytest.mark.parametrize(
    ("pods", "workload", "after"),
    [
        ([], held(), SOON),
        ([pod(phase="Pending")], held(), 2 * SOON),
        ([], held(READY), 2 * SOON),
        ([], held(*PREEMPTED), 2 * SOON),
        ([], place(RESERVED, admission=ADMISSION), 2 * SOON),
        ([], place(), 2 * SOON),
    ],
    ids=["just admitted", "starts", "ran", "asked back", "has checks to pass", "waits"],
)
def test_others_are_nothing_to_tell(
    pods: list[dict[str, Any]], workload: Workload, after: timedelta
) -> None:
    assert list(unstarted(pods, [workload], ADMITTED_AT + after)) == []


def test_what_is_nobodys_request_is_started_by_others() -> None:
    job = Workload.from_wire({**held().to_wire(), "metadata": {"name": "job-train"}})
    assert list(unstarted([], [job], LATE)) == []
