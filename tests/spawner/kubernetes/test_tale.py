"""What is kept of a pod, word for word, once it and its events are gone."""

from __future__ import annotations

from arcetri_spawner.backends.kubernetes.tale import tale
from tests.spawner.kubernetes.test_trouble import event, pod, terminated, waiting


def test_status_conditions_containers_and_events_are_told_in_their_order() -> None:
    made = pod(
        phase="Failed",
        state=terminated(137, "OOMKilled"),
        last=terminated(1, "Error", "no module"),
        reason="Evicted",
        message="The node was low on resource: memory.",
        conditions=[
            {"type": "PodScheduled", "status": "True"},
            {"type": "Ready", "status": "False", "reason": "PodFailed"},
            {"type": "DisruptionTarget", "status": "True", "reason": "TerminationByKubelet"},
        ],
    )
    events = [
        event("Killing", "Stopping container notebook", 9),
        event("Started", "Started container notebook", 3),
        event("Started", "Another pod's", uid="u2"),
    ]
    assert tale(made, events).splitlines() == [
        "pod session-x on gpu-7: Failed Evicted: The node was low on resource: memory.",
        "condition Ready=False PodFailed",
        "condition DisruptionTarget=True TerminationByKubelet",
        "container notebook before: terminated with 1 Error: no module",
        "container notebook now: terminated with 137 OOMKilled",
        "2026-11-23T10:00:03Z Started: Started container notebook",
        "2026-11-23T10:00:09Z Killing: Stopping container notebook",
    ]


def test_what_waits_says_for_what() -> None:
    made = pod(node=None, state=waiting("ErrImagePull", "not found"))
    assert tale(made) == (
        "pod session-x: Pending\ncontainer notebook now: waiting ErrImagePull: not found"
    )


def test_nothing_of_the_specification_is_told() -> None:
    made = pod(state=terminated(1))
    made["spec"]["containers"][0] |= {
        "env": [{"name": "SITE_TOKEN", "value": "site-secret"}],
        "args": ["--secret-arg"],
    }
    made["metadata"]["annotations"] = {"note": "secret-note"}
    assert "secret" not in tale(made, [event("Started", "Started container notebook")])


def test_of_a_pod_without_status_is_said_that_there_is_none() -> None:
    assert tale({"metadata": {"name": "session-x"}}) == "pod session-x: Unknown"
