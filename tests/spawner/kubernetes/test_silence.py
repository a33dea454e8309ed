"""What is to be known of a session whose node gives no answer."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from arcetri_spawner.backends.base import Away
from arcetri_spawner.backends.kubernetes.ends import left_behind
from arcetri_spawner.backends.kubernetes.manifest import JsonObject
from arcetri_spawner.backends.kubernetes.silence import away_of, grace_of, is_marked

SILENT = datetime(2026, 11, 28, 7, 0, tzinfo=UTC)
UNREACHABLE = "node.kubernetes.io/unreachable"
NOT_READY = "node.kubernetes.io/not-ready"


def node(ready: str = "Unknown", *taints: JsonObject) -> JsonObject:
    condition = {"type": "Ready", "status": ready, "lastTransitionTime": "2026-11-28T07:00:00Z"}
    return {"spec": {"taints": list(taints)}, "status": {"conditions": [condition]}}


def taint(key: str = UNREACHABLE, effect: str = "NoExecute", at: str = "07:00:05") -> JsonObject:
    return {"key": key, "effect": effect, "timeAdded": f"2026-11-28T{at}Z"}


def bears(key: str, seconds: int | None) -> JsonObject:
    made: JsonObject = {"key": key, "operator": "Exists", "effect": "NoExecute"}
    return made if seconds is None else made | {"tolerationSeconds": seconds}


def pod(*tolerations: JsonObject, **metadata: Any) -> JsonObject:
    return {
        "metadata": metadata,
        "spec": {"nodeName": "gpu-7", "tolerations": list(tolerations)},
        "status": {"phase": "Running"},
    }


def test_a_node_that_answers_is_no_news() -> None:
    assert away_of(pod(), node("True")) is None


def test_a_pod_on_no_node_has_none_that_could_be_silent() -> None:
    assert away_of({"metadata": {}, "spec": {}}, None) is None


def test_it_is_given_up_when_its_toleration_is_over() -> None:
    usual = pod(bears(NOT_READY, 300), bears(UNREACHABLE, 300))
    found = away_of(usual, node("Unknown", taint(effect="NoSchedule", at="06:00:00"), taint()))
    assert found == Away("gpu-7", SILENT, SILENT + timedelta(seconds=305))


def test_before_the_taint_is_there_it_counts_from_the_silence() -> None:
    found = away_of(pod(bears(NOT_READY, 20), bears(UNREACHABLE, 60)), node("Unknown"))
    assert found is not None
    assert found.until == SILENT + timedelta(seconds=60)


def test_a_node_that_says_itself_that_it_is_in_trouble() -> None:
    found = away_of(pod(bears(NOT_READY, 20), bears(UNREACHABLE, 60)), node("False"))
    assert found == Away("gpu-7", SILENT, SILENT + timedelta(seconds=20), refuses=True)


def test_the_shortest_time_that_it_bears_counts() -> None:
    other = taint("maintenance", at="07:01:00")
    found = away_of(pod(bears(UNREACHABLE, 300)), node("Unknown", taint(), other))
    assert found is not None
    assert found.until == SILENT + timedelta(minutes=1), "it does not bear the other at all"


def test_what_bears_it_for_ever_is_never_given_up() -> None:
    found = away_of(pod(bears(UNREACHABLE, None)), node("Unknown", taint()))
    assert found == Away("gpu-7", SILENT, None)


def test_a_node_that_is_not_there_any_more() -> None:
    assert away_of(pod(bears(UNREACHABLE, 300)), None) == Away("gpu-7", None, None)


@pytest.mark.parametrize("target", [True, False])
def test_what_the_cluster_gave_up_has_no_time_left(target: bool) -> None:
    made = pod(deletionTimestamp="2026-11-28T07:05:10Z", deletionGracePeriodSeconds=10)
    condition = {"type": "DisruptionTarget", "status": str(target), "reason": "x"}
    made["status"]["conditions"] = [condition]
    assert is_marked(made)
    assert grace_of(made) == (0 if target else 10)
    assert not is_marked(pod())


@pytest.mark.parametrize(("stopped", "how"), [(True, "was stopped"), (False, "was lost")])
def test_what_is_left_on_a_silent_node_is_told(stopped: bool, how: str) -> None:
    found = left_behind(pod(), stopped=stopped)
    assert found.reason == "node_lost"
    assert found.message.startswith(f"Your last session {how} while its node gave no answer.")
    assert "gpu-7" in found.message
