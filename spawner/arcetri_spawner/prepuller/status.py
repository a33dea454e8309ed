"""Which node has which image, from the pods that pull them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from arcetri_spawner.backends.kubernetes.images import PULL_FAILURES, image_trouble
from arcetri_spawner.backends.kubernetes.words import Trouble
from arcetri_spawner.prepuller.wanted import IMAGE, labels_of

State = Literal["present", "pulling", "failed"]
STATES: Final[tuple[State, ...]] = ("present", "pulling", "failed")
_NOT_YET: Final = frozenset({"ContainerCreating", "PodInitializing", ""})


@dataclass(frozen=True, slots=True, order=True)
class OnNode:
    """One image on one node."""

    image: str
    node: str
    state: State
    code: str = ""
    """Why it cannot be pulled, as in the table of codes."""
    sentence: str = ""
    """The same in words."""
    said: str = ""
    """What the cluster said, for operators."""


def selector_of(release: str) -> str:
    """The selector of a release's pods."""
    return ",".join(f"{key}={value}" for key, value in labels_of(release).items())


def on_nodes(pods: Iterable[Mapping[str, Any]]) -> tuple[OnNode, ...]:
    """Return what is known of each image on each node, by image and node.

    Args:
        pods: The pods of the DaemonSets; those on their way out tell nothing.
    """
    found: dict[tuple[str, str], OnNode] = {}
    for pod in pods:
        image = (pod["metadata"].get("annotations") or {}).get(IMAGE)
        if not image or pod["metadata"].get("deletionTimestamp"):
            continue
        one = _read(pod, image)
        before = found.get((image, one.node))
        # Two sets of taints may fit one node; what one of the pods has, the node has.
        if before is None or STATES.index(one.state) < STATES.index(before.state):
            found[image, one.node] = one
    return tuple(sorted(found.values()))


def _read(pod: Mapping[str, Any], image: str) -> OnNode:
    node = _node(pod)
    status: Mapping[str, Any] = pod.get("status") or {}
    container: Mapping[str, Any] = next(iter(status.get("containerStatuses") or ()), {})
    state: Mapping[str, Any] = container.get("state") or {}
    waiting = state.get("waiting") or {}
    reason = str(waiting.get("reason") or "")
    if reason in PULL_FAILURES:
        trouble = _trouble(reason, str(waiting.get("message") or ""), image)
        return OnNode(image, node, "failed", trouble.code, trouble.sentence, trouble.details)
    # A command that fails is the image's own trouble: it is there.
    has = bool(container.get("imageID")) or "running" in state or "terminated" in state
    present = has or reason not in _NOT_YET
    return OnNode(image, node, "present" if present else "pulling")


def _trouble(reason: str, message: str, image: str) -> Trouble:
    return image_trouble(reason, f"{reason}: {message}", image)


def _node(pod: Mapping[str, Any]) -> str:
    """The node it is on, or is meant for: a DaemonSet makes each pod for one."""
    spec: Mapping[str, Any] = pod.get("spec") or {}
    if node := spec.get("nodeName"):
        return str(node)
    affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or {}
    for term in required.get("nodeSelectorTerms") or ():
        for choice in term.get("matchFields") or ():
            if choice.get("key") == "metadata.name":
                return str(choice["values"][0])
    return ""
