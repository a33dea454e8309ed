"""What goes wrong on a cluster is said in plain words, from what clusters really say."""

from __future__ import annotations

import ast
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arcetri_hub.pages.wording import ENDS
from arcetri_spawner.backends import kubernetes
from arcetri_spawner.backends.base import Exited
from arcetri_spawner.backends.kubernetes import (
    ClusterTrouble,
    Trouble,
    cluster_away,
    exit_of,
    pod_trouble,
    refusal,
    steps_of,
)
from arcetri_spawner.backends.kubernetes.ends import REASONS
from arcetri_spawner.backends.kubernetes.manifest import JsonObject
from arcetri_spawner.backends.kubernetes.scheduling import no_room, read_obstacles
from arcetri_spawner.backends.kubernetes.trouble import vanished
from arcetri_spawner.backends.kubernetes.words import ClusterFault
from arcetri_spawner.details import LIMIT, kept

IMAGE = "registry.example/arcetri/torch:2026.11"


def pod(
    *,
    state: JsonObject | None = None,
    node: str | None = "gpu-7",
    phase: str = "Pending",
    conditions: list[JsonObject] | None = None,
    name: str = "notebook",
    last: JsonObject | None = None,
    **status: Any,
) -> JsonObject:
    """A pod whose container ``name`` is in this state."""
    statuses = []
    if state is not None:
        statuses = [{"name": name, "image": IMAGE, "state": state, "lastState": last or {}}]
    return {
        "metadata": {"uid": "u1", "name": "session-x", "creationTimestamp": "2026-11-23T10:00:00Z"},
        "spec": {
            **({"nodeName": node} if node else {}),
            "containers": [{"name": "notebook", "resources": {"limits": {"memory": "8Gi"}}}],
        },
        "status": {
            "phase": phase,
            "conditions": conditions or [],
            "containerStatuses": statuses,
            **status,
        },
    }


def event(reason: str, message: str, at: int = 5, *, uid: str = "u1", **more: Any) -> JsonObject:
    return {
        "reason": reason,
        "message": message,
        "involvedObject": {"uid": uid, **more},
        "firstTimestamp": f"2026-11-23T10:00:{at:02}Z",
        "lastTimestamp": f"2026-11-23T10:00:{at:02}Z",
    }


def waiting(reason: str, message: str = "") -> JsonObject:
    return {"waiting": {"reason": reason, "message": message}}


def terminated(code: int, reason: str = "Error", message: str = "") -> JsonObject:
    return {"terminated": {"exitCode": code, "reason": reason, "message": message}}


def said(found: Trouble | None) -> Trouble:
    """A trouble that is fit to be shown."""
    assert found is not None
    assert found.sentence.endswith(".")
    assert found.remedy.endswith(".")
    assert found.sentence[0].isupper() or found.sentence[0] == '"'
    for raw in ("0/", "node(s)", "rpc error", "ErrImagePull", "kubelet", "Insufficient", "{"):
        assert raw not in found.sentence, found.sentence
    return found


# Images ------------------------------------------------------------------------------------------

PULLS = [
    (
        f'rpc error: code = NotFound desc = failed to pull and unpack image "{IMAGE}": failed to'
        f' resolve reference "{IMAGE}": {IMAGE}: not found',
        "image_missing",
    ),
    (f"manifest for {IMAGE} not found: manifest unknown: manifest unknown", "image_missing"),
    (
        "failed to resolve reference: pull access denied, repository does not exist or may require"
        " authorization: server message: insufficient_scope: authorization failed",
        "image_denied",
    ),
    ("unexpected status from HEAD request: 401 Unauthorized", "image_denied"),
    ("failed to authorize: failed to fetch oauth token: 403 Forbidden", "image_denied"),
    ("no basic auth credentials", "image_denied"),
    (
        'failed to do request: Head "https://r/v2": dial tcp: lookup r: no such host',
        "registry_away",
    ),
    ("failed to authorize: dial tcp 10.0.0.1:443: i/o timeout", "registry_away"),
    ("http: server gave HTTP response to HTTPS client", "registry_away"),
    ("tls: failed to verify certificate: x509: signed by unknown authority", "registry_away"),
    ("toomanyrequests: You have reached your pull rate limit", "registry_away"),
    ("unexpected status: 503 Service Unavailable", "registry_away"),
    ("failed to extract layer: write /var/lib: no space left on device", "node_disk_full"),
    ("failed to extract layer: bad checksum", "image_failed"),
]


@pytest.mark.parametrize(("message", "code"), PULLS)
def test_why_an_image_cannot_be_had(message: str, code: str) -> None:
    found = said(pod_trouble(pod(state=waiting("ErrImagePull", message))))
    assert found.code == code
    assert message in found.details


def test_while_the_node_waits_an_event_says_why() -> None:
    back_off = pod(state=waiting("ImagePullBackOff", f'Back-off pulling image "{IMAGE}"'))
    events = [
        event("Failed", f'Failed to pull image "{IMAGE}": not found', 7),
        event("Failed", "Error: ErrImagePull", 7),
        event("Failed", f'Failed to pull image "{IMAGE}": 401 Unauthorized', 9, uid="another"),
    ]
    assert said(pod_trouble(back_off, events)).code == "image_missing"
    assert said(pod_trouble(back_off)).code == "image_failed"


def test_an_images_name_is_no_cause() -> None:
    # The registry's or the image's own name could say anything.
    state = waiting("ErrImagePull", 'failed to pull image "r/not found/denied:503": broken')
    made = pod(state=state)
    made["status"]["containerStatuses"][0]["image"] = "r/not found/denied:503"
    assert said(pod_trouble(made)).code == "image_failed"


def test_a_name_that_is_none() -> None:
    state = waiting("InvalidImageName", 'Failed to apply default image tag "A:B:C": bad reference')
    assert said(pod_trouble(pod(state=state))).code == "image_name_invalid"
    never = waiting(
        "ErrImageNeverPull", f'Container image "{IMAGE}" is not present with pull policy'
    )
    assert said(pod_trouble(pod(state=never))).code == "image_missing"


# Nodes -------------------------------------------------------------------------------------------


def test_the_schedulers_line_in_words() -> None:
    message = (
        "0/9 nodes are available: 1 Insufficient memory, 1 node(s) had untolerated taint"
        " {node.kubernetes.io/unreachable: }, 1 node(s) were unschedulable, 2 Insufficient"
        " nvidia.com/gpu, 3 node(s) didn't match Pod's node affinity/selector, 1 node(s) had"
        " untolerated taint {nvidia.com/gpu: present}. preemption: 0/9 nodes are available: 2 No"
        " preemption victims found for incoming pod, 7 Preemption is not helpful for scheduling."
    )
    unschedulable = {
        "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message,
    }  # fmt: skip
    found = said(pod_trouble(pod(node=None, conditions=[unschedulable])))
    assert found.code == "no_room"
    assert not found.final
    assert found.sentence == (
        "No node has room for this session now: 1 has too little free memory; 1 does"
        " not answer; 1 is closed for new sessions; 2 have no free device (nvidia.com/gpu); 3 are"
        " of another kind; 1 is kept for other work."
    )
    assert found.details == message
    by_event = pod_trouble(pod(node=None), [event("FailedScheduling", message)])
    assert by_event == found
    # Once it has a place, what was in the way before is no news.
    assert pod_trouble(pod(conditions=[]), [event("FailedScheduling", message)]) is None


@pytest.mark.parametrize(
    ("message", "code", "words"),
    [
        ("no nodes available to schedule pods", "no_room", "no node"),
        (
            "0/2 nodes are available: 2 node(s) didn't match Pod's node affinity/selector.",
            "no_room",
            "of the kind",
        ),
        (
            '0/1 nodes are available: persistentvolumeclaim "shared" not found. preemption: x',
            "claim_missing",
            '"shared"',
        ),
        (
            "0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims.",
            "volume_not_ready",
            "storage",
        ),
        (
            "0/1 nodes are available: 1 node(s) had taint {a: b}, that the pod didn't tolerate.",
            "no_room",
            "1 is kept for other work",
        ),
        (
            "0/2 nodes are available: 2 node(s) had untolerated taint(s). no new claims to"
            " deallocate, preemption: 0/2 nodes are available: 2 Preemption is not helpful.",
            "no_room",
            "2 are kept for other work or in trouble",
        ),
        (
            "0/2 nodes are available: 1 node(s) didn't match PersistentVolume's node affinity, 1"
            " node(s) had no available volume zone.",
            "no_room",
            "2 cannot have the session's storage",
        ),
        ("0/3 nodes are available: 3 Too many pods.", "no_room", "3 run as many pods"),
        ("0/1 nodes are available: 1 something new and strange.", "no_room", "another reason"),
        ("", "no_room", "no node"),
    ],
)
def test_other_lines_of_the_scheduler(message: str, code: str, words: str) -> None:
    found = said(no_room(message))
    assert found.code == code
    assert words in found.sentence


@given(st.text(max_size=300))
def test_no_line_of_the_scheduler_is_a_stumbling_block(text: str) -> None:
    assert no_room(text).sentence.endswith(".")
    assert no_room(f"0/3 nodes are available: {text}").code
    assert all(count >= 0 for count in read_obstacles(text).values())


@pytest.mark.parametrize(
    ("status", "code"),
    [
        ({"reason": "Evicted", "message": "The node was low on resource: memory."}, "evicted"),
        (
            {"reason": "Evicted", "message": "The node was low on resource: ephemeral-storage."},
            "evicted",
        ),
        (
            {"reason": "Evicted", "message": "Pod ephemeral local storage usage exceeds the total"},
            "evicted",
        ),
        ({"reason": "NodeLost", "message": "Node gpu-7 is unresponsive"}, "node_lost"),
        ({"reason": "Terminated", "message": "Pod was terminated: node shutdown"}, "node_shutdown"),
        ({"reason": "Preempting", "message": "Preempted in order to admit"}, "preempted"),
        ({"reason": "DeadlineExceeded", "message": "Pod was active too long"}, "deadline"),
        ({"reason": "UnexpectedAdmissionError", "message": "Allocate failed"}, "node_refused"),
        ({"reason": "OutOfnvidia.com/gpu", "message": "Node didn't have enough"}, "node_refused"),
    ],
)
def test_a_pod_that_was_ended(status: JsonObject, code: str) -> None:
    made = pod(phase="Failed", **status)
    found = said(pod_trouble(made))
    assert found.code == code
    assert found.final
    assert status["message"] in found.details
    ended = exit_of(made)
    assert ended == Exited(-9, code if code in REASONS else "killed")


def test_evictions_are_told_apart() -> None:
    def sentence(message: str) -> str:
        return said(pod_trouble(pod(phase="Failed", reason="Evicted", message=message))).sentence

    assert "ran out of memory" in sentence("The node was low on resource: memory. Threshold")
    assert "ran out of disk" in sentence("The node had condition: [DiskPressure].")
    assert "wrote more" in sentence(
        'Usage of EmptyDir volume "arcetri-home" exceeds the limit "1Gi".'
    )
    assert "than its scratch space holds" in sentence(
        'Usage of EmptyDir volume "arcetri-scratch-fast" exceeds the limit "50Gi".'
    )


@pytest.mark.parametrize(
    ("reason", "code"),
    [
        ("PreemptionByScheduler", "preempted"),
        ("DeletionByTaintManager", "node_lost"),
        ("DeletionByPodGC", "node_lost"),
        ("TerminationByKubelet", "node_shutdown"),
        ("EvictionByEvictionAPI", "evicted"),
    ],
)
def test_a_pod_that_is_being_taken_away(reason: str, code: str) -> None:
    target = {"type": "DisruptionTarget", "status": "True", "reason": reason, "message": "m"}
    made = pod(phase="Running", state={"running": {}}, conditions=[target])
    assert said(pod_trouble(made)).code == code
    assert exit_of(made) is None
    assert pod_trouble(pod(conditions=[target | {"status": "False"}])) is None


def test_a_node_that_is_silent_may_come_back() -> None:
    silent = [event("NodeNotReady", "Node is not ready")]
    not_ready = [{"type": "Ready", "status": "False"}]
    found = said(pod_trouble(pod(phase="Running", conditions=not_ready), silent))
    assert found.code == "node_away"
    assert not found.final
    back = [{"type": "Ready", "status": "True"}]
    assert pod_trouble(pod(phase="Running", conditions=back), silent) is None


# Volumes and containers --------------------------------------------------------------------------


def test_storage_that_does_not_come() -> None:
    creating = pod(state=waiting("ContainerCreating"))
    mount = event("FailedMount", 'MountVolume.SetUp failed for volume "pv": mount: exit status 32')
    found = said(pod_trouble(creating, [mount]))
    assert found.code == "volume_not_ready"
    assert not found.final
    missing = event("FailedMount", 'persistentvolumeclaim "shared" not found', 9)
    assert said(pod_trouble(creating, [missing, mount])).code == "claim_missing"
    assert pod_trouble(pod(phase="Running", state={"running": {}}), [mount]) is None
    # It came at the second try: what goes on since says so.
    assert pod_trouble(creating, [mount, event("Pulling", 'Pulling image "x"')]) is None
    earlier = event("Pulling", 'Pulling image "x"', 4)
    assert said(pod_trouble(creating, [earlier, mount])).code == "volume_not_ready"


def test_out_of_memory_says_how_much_there_was() -> None:
    made = pod(phase="Failed", state=terminated(137, "OOMKilled"))
    found = said(pod_trouble(made))
    assert found.code == "out_of_memory"
    assert "8GiB" in found.sentence
    end = exit_of(made)
    assert end == Exited(-9, "out_of_memory")
    assert end.message == f"{found.sentence} {found.remedy}"
    assert "Choose a larger size" in end.message


def test_of_a_pod_that_vanished_only_what_was_announced_is_said() -> None:
    left = pod(phase="Running")
    assert vanished(left) == Exited(1, "lost")
    assert vanished({}) == Exited(1, "lost")
    left["status"]["conditions"] = [
        {"type": "DisruptionTarget", "status": "True", "reason": "DeletionByTaintManager"}
    ]
    assert vanished(left) == Exited(1, "node_lost")
    assert vanished(left).message.endswith("What was not saved is lost.")


def test_a_server_that_crashes_and_one_that_ends() -> None:
    made = pod(phase="Failed", state=terminated(1, message="ModuleNotFoundError"))
    found = said(pod_trouble(made))
    assert found.code == "server_crashed"
    assert "exit status 1" in found.sentence
    assert "ModuleNotFoundError" in found.details
    end = exit_of(made)
    assert end == Exited(1, "exited")
    assert end.message.startswith("The notebook server ended with an error (exit status 1). Start")
    killed = exit_of(pod(phase="Failed", state=terminated(137)))
    assert killed == Exited(-9, "killed")
    assert killed.message == ""
    ended = pod(phase="Succeeded", state=terminated(0, "Completed"))
    assert pod_trouble(ended) is None
    over = exit_of(ended)
    assert over == Exited(0, "exited")
    assert over.message == ""
    loop = pod(
        state=waiting("CrashLoopBackOff", "back-off 10s"), last=terminated(2), name="init-data"
    )
    assert "exit status 2" in said(pod_trouble(loop)).sentence


def test_of_a_long_log_the_end_is_kept_too() -> None:
    made = pod(phase="Failed", state=terminated(1, message="x" * 3 * LIMIT + "ImportError"))
    assert kept(said(pod_trouble(made)).details).endswith("ImportError")


def test_what_prepares_the_server_may_fail_first() -> None:
    made = pod(phase="Failed", state=waiting("PodInitializing"))
    made["status"]["initContainerStatuses"] = [{"name": "prepare", "state": terminated(3)}]
    assert said(pod_trouble(made)).code == "server_crashed"
    assert exit_of(made) == Exited(3, "exited")


def test_a_sidecar_that_ends_is_not_the_sessions_end() -> None:
    made = pod(phase="Running", state={"running": {}})
    made["status"]["containerStatuses"].append({"name": "side", "state": terminated(0)})
    assert pod_trouble(made) is None
    assert exit_of(made) is None


@pytest.mark.parametrize(
    "state",
    [terminated(1), terminated(137, "OOMKilled"), waiting("ImagePullBackOff", "denied")],
    ids=["failed", "out of memory", "never there"],
)
def test_of_a_notebook_that_ended_in_order_a_sidecar_says_nothing(state: dict[str, Any]) -> None:
    made = pod(phase="Succeeded", state=terminated(0, "Completed"))
    made["status"]["containerStatuses"].append({"name": "side", "image": "x", "state": state})
    over = exit_of(made)
    assert over == Exited(0, "exited")
    assert over.message == ""


def test_an_image_without_the_server() -> None:
    why = 'exec: "jupyterhub-singleuser": executable file not found in $PATH'
    for state in (terminated(128, "StartError", why), waiting("RunContainerError", why)):
        assert said(pod_trouble(pod(state=state))).code == "command_missing"
    other = waiting("CreateContainerConfigError", 'configmap "site" not found')
    assert said(pod_trouble(pod(state=other))).code == "container_refused"
    ours = 'secret "session-8c2f6d1e-0b7a-4f0e-9a55-0d2d6a3f1c77" not found'
    assert pod_trouble(pod(state=waiting("CreateContainerConfigError", ours))) is None


# Refusals ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "message", "code", "words"),
    [
        (
            403,
            'pods "session-x" is forbidden: exceeded quota: all, requested:'
            " limits.memory=8Gi,pods=1, used: limits.memory=64Gi,pods=9, limited:"
            " limits.memory=64Gi,pods=9",
            "quota_exceeded",
            "memory and pods",
        ),
        (
            403,
            'pods "x" is forbidden: exceeded quota: gpus, requested: requests.nvidia.com/gpu=1,'
            " used: requests.nvidia.com/gpu=4, limited: requests.nvidia.com/gpu=4",
            "quota_exceeded",
            "nvidia.com/gpu",
        ),
        (403, 'pods "x" is forbidden: failed quota: all: must specify limits.cpu for: side',
         "limits_exceeded", "size"),
        (403, 'pods "x" is forbidden: maximum memory usage per Container is 4Gi, but limit is 8Gi',
         "limits_exceeded", "size"),
        (
            403,
            'pods "x" is forbidden: violates PodSecurity "restricted:latest": privileged'
            ' (container "side" must not set securityContext.privileged=true)',
            "pod_security",
            "restricted:latest",
        ),
        (403, 'pods is forbidden: User "system:serviceaccount:a:hub" cannot create resource "pods"',
         "hub_not_allowed", "permission"),
        (401, "Unauthorized", "hub_not_allowed", "permission"),
        (400, 'admission webhook "policy.site" denied the request: no latest tags',
         "webhook_refused", "policy.site"),
        (500, 'Internal error occurred: failed calling webhook "vworkload.kb.io": EOF',
         "cluster_away", "checks"),
        (422, 'Pod "x" is invalid: spec.containers[0].image: Required value', "pod_invalid",
         "configuration"),
        (429, "too many requests", "cluster_away", "does not answer"),
        (503, "apiserver not ready", "cluster_away", "does not answer"),
        (403, 'pods "x" is forbidden: no PriorityClass with name users was found',
         "cluster_refused", "refused"),
    ],
)  # fmt: skip
def test_what_the_api_server_refuses(status: int, message: str, code: str, words: str) -> None:
    found = said(refusal(status, {"kind": "Status", "message": message}))
    assert found.code == code
    assert words in found.sentence
    assert message in found.details
    assert refusal(status, message).code == code


def test_a_trouble_becomes_an_error_with_its_code() -> None:
    found = said(cluster_away("Cannot connect to host 10.96.0.1:443"))
    error = ClusterTrouble(found)
    assert (error.code, error.remedy, error.status) == ("cluster_away", found.remedy, 503)
    assert error.details == "Cannot connect to host 10.96.0.1:443"


def test_every_code_is_declared_and_every_end_has_its_sentence() -> None:
    used: set[str] = set()
    for source in Path(kubernetes.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
            match node:
                case ast.keyword(arg="code", value=ast.Constant(value=str(code))):
                    used.add(code)
    assert used == {*ClusterTrouble.codes, *ClusterFault.codes}
    assert set(ENDS) & used >= REASONS


# Steps -------------------------------------------------------------------------------------------


def test_a_start_in_words() -> None:
    placed = {
        "type": "PodScheduled", "status": "True", "lastTransitionTime": "2026-11-23T10:00:03Z",
    }  # fmt: skip
    events = [
        event("Started", "Started container notebook", 40),
        event(
            "Pulled", f'Successfully pulled image "{IMAGE}" in 31.2s (31.2s including waiting)', 38
        ),
        event("Pulling", f'Pulling image "{IMAGE}"', 6),
        event("Scheduled", "Successfully assigned sessions/session-x to gpu-7", 3),
        event("FailedScheduling", "0/1 nodes are available: 1 Insufficient nvidia.com/gpu.", 1),
        event("FailedScheduling", "0/1 nodes are available: 1 Insufficient nvidia.com/gpu.", 2),
        event("Pulled", "of another pod", 4, uid="u0"),
    ]
    running = pod(phase="Running", state={"running": {}}, conditions=[placed])
    steps = steps_of(running, events)
    assert [(step.percent, step.message.split(";")[0]) for step in steps] == [
        (10, "The cluster was asked for the session"),
        (
            10,
            "No node has room for this session now: 1 has no free device (nvidia.com/gpu).",
        ),
        (25, "The session has a place on the node gpu-7."),
        (
            40,
            f'The node fetches the image "{IMAGE}". The first time on a node this can take some'
            " minutes.",
        ),
        (60, "The image is on the node after 31.2s."),
        (80, "The notebook server was started"),
    ]
    assert all(before.at <= after.at for before, after in pairwise(steps))
    # More events tell the same steps, and more.
    assert steps_of(running, events[1:]) == steps[:-1]


def test_a_start_in_trouble_says_so_with_the_raw_text_beside() -> None:
    stuck = pod(state=waiting("ErrImagePull", f"{IMAGE}: not found"))
    last = steps_of(stuck, [event("Pulling", f'Pulling image "{IMAGE}"', 6)])[-1]
    assert last.message == f'There is no image "{IMAGE}".'
    assert "not found" in last.details
    assert last.percent == 40


def test_only_the_notebooks_own_start_counts() -> None:
    by_field = event("Started", "Container started", 9, fieldPath="spec.containers{notebook}")
    other = event("Started", "Container started", 8, fieldPath="spec.initContainers{prepare}")
    assert steps_of(pod(), [other])[-1].percent == 10
    assert steps_of(pod(), [other, by_field])[-1].percent == 80


def test_events_of_the_newer_kind_are_read_too() -> None:
    newer = {
        "reason": "Pulling",
        "note": f'Pulling image "{IMAGE}"',
        "regarding": {"uid": "u1"},
        "eventTime": "2026-11-23T10:00:06.123456Z",
    }
    assert steps_of(pod(), [newer])[-1].percent == 40
