"""One node as it is counted: what it has, who is on it, what is left."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from arcetri_spawner.backends.kubernetes.demand import (
    PODS,
    TERMINAL,
    Amounts,
    amounts_of,
    demand_of,
)
from arcetri_spawner.backends.kubernetes.marks import read_marks
from arcetri_spawner.backends.kubernetes.placement import HOSTNAME


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """What the API server says of a node, as far as it matters here."""

    name: str
    hostname: str
    """Its label ``kubernetes.io/hostname``, which pods are tied to; else its name."""
    labels: Mapping[str, str]
    taints: tuple[Mapping[str, Any], ...]
    usable: bool
    """Whether it is ready, not cordoned and not on its way out."""
    allocatable: Amounts

    @classmethod
    def of(cls, node: Mapping[str, Any]) -> NodeFacts:
        """Read a node."""
        metadata: Mapping[str, Any] = node.get("metadata") or {}
        spec: Mapping[str, Any] = node.get("spec") or {}
        status: Mapping[str, Any] = node.get("status") or {}
        ready = any(
            condition.get("type") == "Ready" and condition.get("status") == "True"
            for condition in status.get("conditions") or ()
        )
        labels = dict(metadata.get("labels") or {})
        name = str(metadata.get("name", ""))
        return cls(
            name=name,
            hostname=labels.get(HOSTNAME, name),
            labels=labels,
            taints=tuple(spec.get("taints") or ()),
            usable=ready
            and not spec.get("unschedulable")
            and not metadata.get("deletionTimestamp"),
            allocatable=amounts_of(status.get("allocatable")),
        )


@dataclass(frozen=True, slots=True)
class PodFacts:
    """What a pod takes, and where."""

    uid: str
    node: str
    demand: Amounts
    flavor: str | None
    """The flavour of a session of this platform; None for every other pod."""
    session: UUID | None = None
    """Which session of this platform it is; None for every other pod."""

    @classmethod
    def of(cls, pod: Mapping[str, Any], instance: str, namespace: str) -> PodFacts | None:
        """Read a pod; None when it takes nothing of any node: not placed yet, or over.

        Args:
            pod: The pod.
            instance: The platform whose sessions are told apart.
            namespace: Where they run: what pods elsewhere say of themselves is not believed.
        """
        metadata: Mapping[str, Any] = pod.get("metadata") or {}
        node = (pod.get("spec") or {}).get("nodeName")
        if not node or (pod.get("status") or {}).get("phase") in TERMINAL:
            return None
        marks = read_marks(pod) if metadata.get("namespace") == namespace else None
        if marks is not None and marks.instance != instance:
            marks = None
        return cls(
            uid=str(metadata.get("uid", "")),
            node=str(node),
            demand=demand_of(pod),
            flavor=marks.flavor if marks else None,
            session=marks.session if marks else None,
        )


@dataclass(slots=True)
class NodeBook:
    """A node's running sum: what its pods take, kept up to date pod by pod."""

    facts: NodeFacts | None = None
    """None while pods are known on a node that itself is not."""
    pods: dict[str, PodFacts] = field(default_factory=dict)
    used: Amounts = field(default_factory=dict)

    def put(self, pod: PodFacts) -> bool:
        """Count a pod; False when nothing of it has changed."""
        before = self.pods.get(pod.uid)
        if before == pod:
            return False
        if before is not None:
            self._count(before, -1)
        self.pods[pod.uid] = pod
        self._count(pod, 1)
        return True

    def drop(self, uid: str) -> bool:
        """Count a pod no longer; False when it never was."""
        before = self.pods.pop(uid, None)
        if before is None:
            return False
        self._count(before, -1)
        return True

    def left(self, resource: str) -> int:
        """How much of a resource nobody has; never negative."""
        if self.facts is None:
            return 0
        used = len(self.pods) if resource == PODS else self.used.get(resource, 0)
        return max(0, self.facts.allocatable.get(resource, 0) - used)

    def sessions(self, flavors: Iterable[str]) -> int:
        """How many sessions of these flavours are on it."""
        wanted = frozenset(flavors)
        return sum(pod.flavor in wanted for pod in self.pods.values())

    def _count(self, pod: PodFacts, sign: int) -> None:
        for name, amount in pod.demand.items():
            now = self.used.get(name, 0) + sign * amount
            if now:
                self.used[name] = now
            else:
                self.used.pop(name, None)
