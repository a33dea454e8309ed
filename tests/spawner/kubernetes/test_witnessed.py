"""What a session's pod says of its start and its end: the same whoever asks, and when."""

from __future__ import annotations

from datetime import UTC, datetime
from fractions import Fraction
from typing import Any
from uuid import uuid4

import pytest

from arcetri_accounting.contract import podmarks
from arcetri_accounting.contract.units import to_ms
from arcetri_spawner.backends.kubernetes import witnessed

SESSION = str(uuid4())
NOW = datetime(2026, 11, 27, 12, 0, tzinfo=UTC)
BEGAN, ENDED = "2026-11-27T10:00:03Z", "2026-11-27T11:30:09Z"


def pod(state: dict[str, Any] | None, **annotations: str) -> dict[str, Any]:
    statuses = [{"name": "helper", "state": {"running": {"startedAt": "2026-11-27T09:00:00Z"}}}]
    if state is not None:
        statuses.append({"name": podmarks.NOTEBOOK_CONTAINER, "state": state})
    return {
        "metadata": {
            "labels": {
                podmarks.SESSION: SESSION,
                podmarks.FLAVOR: "a100-1g",
                podmarks.KIND: "notebook",
            },
            "annotations": {
                podmarks.ACCOUNT: "6470c6b8",
                podmarks.USERNAME: "alice",
                podmarks.GROUP: "/ai_infn/cms",
                podmarks.FLAVOR_TYPE: "gpu",
                podmarks.SHARE: "1/7",
                podmarks.CATALOG: "c" * 64,
                podmarks.CPU: "2.0",
                podmarks.MEMORY: str(2**33),
                **annotations,
            },
        },
        "spec": {"nodeName": "gpu-7"},
        "status": {"containerStatuses": statuses},
    }


RUNS = {"running": {"startedAt": BEGAN}}
OVER = {"terminated": {"startedAt": BEGAN, "finishedAt": ENDED, "exitCode": 0}}


@pytest.mark.parametrize("state", [RUNS, OVER])
def test_the_start_is_the_notebooks(state: dict[str, Any]) -> None:
    start = witnessed.start_of(pod(state))
    assert start is not None
    assert start.at == datetime(2026, 11, 27, 10, 0, 3, tzinfo=UTC)
    assert (start.boot_id, start.boottime_ms) == ("wall", to_ms(start.at))
    assert (start.session, start.account, start.username) == (SESSION, "6470c6b8", "alice")
    assert (start.group, start.flavor, start.share) == ("/ai_infn/cms", "a100-1g", Fraction(1, 7))
    assert (start.cpu, start.memory, start.devices) == (2.0, 2**33, ())
    assert witnessed.node_of(pod(state)) == "gpu-7"


@pytest.mark.parametrize("state", [None, {"waiting": {"reason": "ContainerCreating"}}])
def test_before_the_notebook_runs_nothing_has_begun(state: dict[str, Any] | None) -> None:
    assert witnessed.start_of(pod(state)) is None


def test_a_pod_with_bad_marks_is_no_witness() -> None:
    assert witnessed.start_of(pod(RUNS, **{podmarks.SHARE: "2"})) is None


def test_the_end_is_when_the_container_ended_whenever_it_is_asked() -> None:
    end = witnessed.end_of(pod(OVER), SESSION, "idle", NOW)
    assert (end.at, end.at_is_estimate) == (datetime(2026, 11, 27, 11, 30, 9, tzinfo=UTC), False)
    assert (end.session, end.reason, end.boot_id) == (SESSION, "idle", "wall")


@pytest.mark.parametrize(
    "found",
    [
        {},
        pod(RUNS),
        pod({"terminated": {"startedAt": BEGAN, "finishedAt": None}}),
        pod({"terminated": {"startedAt": BEGAN, "finishedAt": "0001-01-01T00:00:00Z"}}),
    ],
)
def test_an_end_that_no_pod_says_is_found_now(found: dict[str, Any]) -> None:
    end = witnessed.end_of(found, SESSION, "lost", NOW)
    assert (end.at, end.at_is_estimate) == (NOW, True)
