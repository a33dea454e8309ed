"""How sessions end on a cluster without being asked, in words."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from arcetri_spawner.backends import crashed
from arcetri_spawner.backends.base import Exited
from arcetri_spawner.backends.kubernetes.names import SCRATCH
from arcetri_spawner.backends.kubernetes.podevents import PodEvent
from arcetri_spawner.backends.kubernetes.quantities import bytes_text, whole
from arcetri_spawner.backends.kubernetes.words import OPERATOR, Trouble
from arcetri_spawner.policy.names import shown

REASONS: Final = frozenset(
    {"deadline", "evicted", "node_lost", "node_shutdown", "out_of_memory", "preempted"}
)
"""Codes that say how a session ended, besides those of every backend: they may stand as the reason
of ``Exited``, and so in the ledger."""

_SIGKILL: Final = 9
_SHUT_DOWN: Final = frozenset({"NodeShutdown", "Shutdown", "Terminated"})
_ONCE_MORE = "Start again: another node may be chosen. What was not saved is lost."
_VOLUME_FULL = re.compile(r'EmptyDir volume "([^"]*)" exceeds')


def of_pod(pod: Mapping[str, Any], said: Sequence[PodEvent]) -> Trouble | None:
    """Return how the whole pod ended, by what its status says; None when it says nothing of it."""
    status: Mapping[str, Any] = pod.get("status") or {}
    reason, message = str(status.get("reason") or ""), str(status.get("message") or "")
    node = str((pod.get("spec") or {}).get("nodeName") or "")
    found = _of_reason(reason, message, node)
    if found is not None:
        return found.saying(f"{reason}: {message}")
    for condition in status.get("conditions") or ():
        if condition.get("type") == "DisruptionTarget" and condition.get("status") == "True":
            why = str(condition.get("reason") or "")
            found = _of_disruption(why, node)
            return found.saying(f"{why}: {condition.get('message') or ''}")
    if any(
        event.reason == "TaintManagerEviction" and "Cancel" not in event.message for event in said
    ):
        return _node_lost(node).saying(said[-1].message)
    return None


def of_container(
    pod: Mapping[str, Any], name: str, terminated: Mapping[str, Any]
) -> Trouble | None:
    """Return how a container ended; None when it ended by itself and in order."""
    reason, code = str(terminated.get("reason") or ""), terminated.get("exitCode")
    details = f"{name}: {reason} ({code}) {terminated.get('message') or ''}"
    if reason == "OOMKilled":
        return _out_of_memory(pod, name).saying(details)
    if reason in ("StartError", "ContainerCannotRun"):
        return container_refused(str(terminated.get("message") or "")).saying(details)
    if code:
        return server_crashed(code).saying(details)
    return None


def container_refused(message: str) -> Trouble:
    """The node could not make a container of the image and the configuration."""
    if re.search(r"executable file not found|no such file or directory", message):
        return Trouble(
            "The image of this environment has no notebook server that the platform could start.",
            code="command_missing",
            remedy="Choose another environment. An admin installs jupyterhub's single-user server"
            " in the image.",
        )
    return Trouble(
        "The node could not set up the session's container.",
        code="container_refused",
        remedy=f"Start again. If it ends the same way: {OPERATOR}",
        final=False,
    )


def server_crashed(code: object) -> Trouble:
    """The notebook server, or what prepares it, ended with an error."""
    return Trouble(crashed.sentence(code), code="server_crashed", remedy=crashed.REMEDY)


def node_away(node: str) -> Trouble:
    """The session's node gives no answer; the session may still run there."""
    return Trouble(
        f"{_called(node)} does not answer, so nobody can say whether the session still runs.",
        code="node_away",
        remedy="Wait some minutes: the node may come back, and the session with it.",
        final=False,
    )


def left_behind(pod: Mapping[str, Any], *, stopped: bool) -> Exited:
    """Return the end of a session whose pod is to end, on a node that gives no answer.

    Args:
        pod: As it was seen last.
        stopped: Whether somebody has asked for the end.
    """
    node = _called(str((pod.get("spec") or {}).get("nodeName") or ""))
    how = "Your last session was stopped" if stopped else "Your last session was lost"
    return Exited(
        -_SIGKILL,
        "node_lost",
        message=f"{how} while its node gave no answer. {node} ends what runs there when it comes"
        " back; until then it may go on, and write in your folders.",
    )


def _of_reason(reason: str, message: str, node: str) -> Trouble | None:
    if reason == "Evicted":
        return _evicted(message, node)
    if reason == "NodeLost":
        return _node_lost(node)
    if reason in _SHUT_DOWN:
        return _node_shutdown(node)
    if reason == "Preempting":
        return _preempted()
    if reason == "DeadlineExceeded":
        return _deadline()
    if reason.startswith(("OutOf", "UnexpectedAdmissionError", "NodeAffinity", "NodePorts")) or (
        reason in ("TopologyAffinityError", "SupplementalGroupsPolicyNotSupported")
    ):
        return _node_refused(node)
    return None


def _of_disruption(reason: str, node: str) -> Trouble:
    if reason == "PreemptionByScheduler":
        return _preempted()
    if reason in ("DeletionByTaintManager", "DeletionByPodGC"):
        return _node_lost(node)
    if reason == "TerminationByKubelet":
        return _node_shutdown(node)
    return _evicted("", node)


def _out_of_memory(pod: Mapping[str, Any], name: str) -> Trouble:
    limit = _memory_limit(pod, name)
    much = f"the {limit} of its size" if limit else "it may have"
    return Trouble(
        f"The session needed more memory than {much}, and was ended for it.",
        code="out_of_memory",
        remedy="Choose a larger size, or work on less data at a time; what lies in /dev/shm counts"
        " too. What was not saved is lost.",
    )


def _evicted(message: str, node: str) -> Trouble:
    lowered = message.lower()
    full = _VOLUME_FULL.search(message)
    if full and full[1].startswith(SCRATCH):
        why = "wrote more than its scratch space holds"
        help_ = "Keep less there at a time, or large files in your home or in a group's folder."
    elif full or "ephemeral local storage" in lowered or "ephemeral-storage usage" in lowered:
        why = "wrote more than it may outside its volumes"
        help_ = "Keep large files in your home or in a group's folder."
    elif "memory" in lowered:
        why = "had to make room: its node ran out of memory"
        help_ = "Start again: another node may be chosen."
    elif "storage" in lowered or "inodes" in lowered or "disk" in lowered:
        why = "had to make room: its node ran out of disk"
        help_ = "Start again: another node may be chosen."
    else:
        why = "was sent away from its node, which somebody is emptying or which is in trouble"
        help_ = "Start again: another node may be chosen."
    return Trouble(
        f"The session {why}{_on(node)}.",
        code="evicted",
        remedy=f"{help_} What was not saved is lost.",
    )


def _node_lost(node: str) -> Trouble:
    return Trouble(
        f"{_called(node)} was lost, and the session with it.",
        code="node_lost",
        remedy=_ONCE_MORE,
    )


def _node_shutdown(node: str) -> Trouble:
    return Trouble(
        f"{_called(node)} was shut down, and ended the session.",
        code="node_shutdown",
        remedy=_ONCE_MORE,
    )


def _node_refused(node: str) -> Trouble:
    return Trouble(
        f"{_called(node)} could not give what it had promised the session, such as its device.",
        code="node_refused",
        remedy=f"Start again. If it is refused again: {OPERATOR}",
    )


def _preempted() -> Trouble:
    return Trouble(
        "The session had to make room for something with a higher priority.",
        code="preempted",
        remedy="Start again when there is room. What was not saved is lost.",
    )


def _deadline() -> Trouble:
    return Trouble(
        "The session reached the longest time that the cluster lets it run.",
        code="deadline",
        remedy="Start again. What was not saved is lost.",
    )


def _memory_limit(pod: Mapping[str, Any], name: str) -> str:
    for container in (pod.get("spec") or {}).get("containers") or ():
        limits = (container.get("resources") or {}).get("limits") or {}
        if container.get("name") == name and "memory" in limits:
            return bytes_text(whole(limits["memory"])).replace("i", "iB")
    return ""


def _called(node: str) -> str:
    return f"The node {shown(node)}" if node else "The session's node"


def _on(node: str) -> str:
    return f" ({shown(node)})" if node else ""
