"""What is wrong with a session's pod, in words; and how a pod's end is told.

Pure: it reads a pod and its events as the API server has them, and says the same of the same. What
was refused when the pod was to be created is in ``refusals``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from arcetri_accounting.contract.podmarks import NOTEBOOK_CONTAINER
from arcetri_spawner.backends.base import Exited
from arcetri_spawner.backends.kubernetes import ends
from arcetri_spawner.backends.kubernetes.demand import TERMINAL
from arcetri_spawner.backends.kubernetes.images import PULL_FAILURES, image_trouble
from arcetri_spawner.backends.kubernetes.podevents import PodEvent, events_of
from arcetri_spawner.backends.kubernetes.scheduling import (
    claim_missing,
    no_room,
    volume_not_ready,
)
from arcetri_spawner.backends.kubernetes.words import Trouble

_JsonObject = Mapping[str, Any]
_SIGKILL: Final = 9
_MOUNT_EVENTS: Final = frozenset({"FailedMount", "FailedAttachVolume", "FailedMapVolume"})
_AFTER_MOUNTS: Final = frozenset({"Pulling", "Pulled", "Created", "Started"})
"""What a node does once all volumes of a pod are mounted."""
_REFUSED: Final = frozenset(
    {"CreateContainerError", "RunContainerError", "CreateContainerConfigError"}
)
_OWN_SECRET = re.compile(r'secret "session-[0-9a-f-]{36}" not found')
_CLAIM = re.compile(r'persistentvolumeclaims? "([^"]+)" not found')


def pod_trouble(pod: _JsonObject, events: Iterable[_JsonObject] = ()) -> Trouble | None:
    """Return what keeps a pod's session from starting, or ended it; None when nothing does.

    A session that ended by itself, with exit status 0, is no trouble.

    Args:
        pod: The pod as it is now.
        events: What is known of it, in any order; others' events do no harm.
    """
    said = events_of(pod, events)
    return (
        ends.of_pod(pod, said)
        or _of_containers(pod, said)
        or _of_placing(pod, said)
        or _of_volumes(pod, said)
        or _of_node(pod, said)
    )


def exit_of(pod: _JsonObject) -> Exited | None:
    """Return how a pod's session ended; None while it starts or runs.

    The notebook's end is the session's, even where other containers go on.
    """
    status: _JsonObject = pod.get("status") or {}
    notebook = next((entry for entry in _statuses(pod) if _is_notebook(entry)), {})
    terminated = (notebook.get("state") or {}).get("terminated")
    if terminated is None and status.get("phase") not in TERMINAL:
        return None
    raw = (terminated or _failed_first(pod)).get("exitCode")
    if raw is None:
        code = 0 if status.get("phase") == "Succeeded" else -_SIGKILL
    else:
        # The runtime says 128 and the signal for a process that was killed.
        code = 128 - raw if 128 < raw < 160 else raw
    # What becomes of other containers is nothing to a notebook that ended in order.
    found = ends.of_pod(pod, ()) or (_of_containers(pod, ()) if code else None)
    if found is not None and found.code in ends.REASONS:
        return Exited(code, found.code, message=_told(found))
    if code < 0:
        return Exited(code, "killed")
    return Exited(code, "exited", message=_told(found) if found is not None else "")


def vanished(pod: _JsonObject) -> Exited:
    """Return how a session ended whose pod is gone, and of whose end nobody heard.

    What the cluster was about to do with it is known from its last status; otherwise nothing is.
    """
    found = ends.of_pod(pod, ())
    if found is None or found.code not in ends.REASONS:
        return Exited(1, "lost")
    return Exited(1, found.code, message=_told(found))


def _told(found: Trouble) -> str:
    """What the user of an ended session is told: how it ended, and what to do."""
    return f"{found.sentence} {found.remedy}".strip()


def _failed_first(pod: _JsonObject) -> _JsonObject:
    """How the container ended because of which the notebook never ran."""
    ended = ((entry.get("state") or {}).get("terminated") or {} for entry in _statuses(pod))
    return next((each for each in ended if each.get("exitCode")), {})


def _of_containers(pod: _JsonObject, said: Sequence[PodEvent]) -> Trouble | None:
    for entry in _statuses(pod):
        state: _JsonObject = entry.get("state") or {}
        if terminated := state.get("terminated"):
            if _is_notebook(entry) or terminated.get("exitCode"):
                found = ends.of_container(pod, str(entry.get("name")), terminated)
                if found is not None:
                    return found
        elif waiting := state.get("waiting"):
            found = _of_waiting(entry, waiting, said)
            if found is not None:
                return found
    return None


def _of_waiting(
    entry: _JsonObject, waiting: _JsonObject, said: Sequence[PodEvent]
) -> Trouble | None:
    reason, message = str(waiting.get("reason", "")), str(waiting.get("message", ""))
    image = str(entry.get("image", ""))
    if reason in PULL_FAILURES:
        # While the node waits before it tries again, only an event says what went wrong.
        causes = [event.message for event in said if event.reason == "Failed"]
        causes = [cause for cause in causes if image in cause]
        return image_trouble(reason, "\n".join([message, *causes[-1:]]), image)
    if reason in _REFUSED:
        if _OWN_SECRET.search(message):
            return None  # It is created right after the pod.
        return ends.container_refused(message).saying(f"{reason}: {message}")
    if reason == "CrashLoopBackOff":
        last = (entry.get("lastState") or {}).get("terminated") or {}
        return ends.server_crashed(last.get("exitCode")).saying(message)
    return None


def _of_placing(pod: _JsonObject, said: Sequence[PodEvent]) -> Trouble | None:
    if (pod.get("spec") or {}).get("nodeName"):
        return None
    for condition in _conditions(pod):
        if condition.get("type") == "PodScheduled" and condition.get("reason") == "Unschedulable":
            return no_room(str(condition.get("message", "")))
    messages = [event.message for event in said if event.reason == "FailedScheduling"]
    return no_room(messages[-1]) if messages else None


def _of_volumes(pod: _JsonObject, said: Sequence[PodEvent]) -> Trouble | None:
    if _has_begun(pod):
        return None
    failed = [event for event in said if event.reason in _MOUNT_EVENTS]
    if not failed:
        return None
    last = max(failed, key=lambda event: event.last)
    if any(event.reason in _AFTER_MOUNTS and event.last >= last.last for event in said):
        return None
    message = last.message
    claim = _CLAIM.search(message)
    found = claim_missing(claim[1]) if claim else volume_not_ready()
    return found.saying(message)


def _of_node(pod: _JsonObject, said: Sequence[PodEvent]) -> Trouble | None:
    ready = next((entry for entry in _conditions(pod) if entry.get("type") == "Ready"), {})
    if ready.get("status") != "True":
        for event in reversed(said):
            if event.reason == "NodeNotReady":
                return ends.node_away(_node(pod)).saying(event.message)
    return None


def _has_begun(pod: _JsonObject) -> bool:
    """Whether a container runs or ran, so that the volumes are mounted."""
    return any(
        {"running", "terminated"} & set(entry.get("state") or {}) for entry in _statuses(pod)
    )


def _statuses(pod: _JsonObject) -> Iterator[_JsonObject]:
    status: _JsonObject = pod.get("status") or {}
    containers = list(status.get("containerStatuses") or ())
    yield from sorted(containers, key=lambda entry: not _is_notebook(entry))
    yield from status.get("initContainerStatuses") or ()


def _is_notebook(entry: _JsonObject) -> bool:
    return entry.get("name") == NOTEBOOK_CONTAINER


def _conditions(pod: _JsonObject) -> list[_JsonObject]:
    return list((pod.get("status") or {}).get("conditions") or ())


def _node(pod: _JsonObject) -> str:
    return str((pod.get("spec") or {}).get("nodeName") or "")
