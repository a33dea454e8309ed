"""A cluster's node by hand: a kubelet's list and an API server's pods, as they would be said."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from arcetri_accounting.agent.allocations import Ended, Started
from arcetri_accounting.agent.clock import Instant
from arcetri_accounting.agent.pods.devices import Assigned, Listing, PodEntry, replicas_of
from arcetri_accounting.agent.pods.facts import Gone, Pod, Snapshot, read_pod
from arcetri_accounting.agent.pods.joining import Joiner, Terms
from arcetri_accounting.agent.settings import DEFAULT_RESOURCES
from arcetri_accounting.contract import podmarks

WALL = 1_790_000_000_000
"""Boot time 0 of the node, by the wall clock: a whole second."""
SESSIONS = "sessions"
T4, SLICE, FPGA = "nvidia.com/gpu", "nvidia.com/mig-1g.5gb", "amd.com/v70"


def stamp(boot: int) -> str:
    """As Kubernetes writes a moment: whole seconds."""
    return datetime.fromtimestamp((WALL + boot) // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def marks(
    session: str, flavor: str = "t4", kind: str = "gpu", share: str = "1", instance: str = "here"
) -> dict[str, dict[str, str]]:
    """A session's labels and annotations, as the spawner writes them."""
    return {
        "labels": {
            podmarks.SESSION: session,
            podmarks.INSTANCE: instance,
            podmarks.FLAVOR: flavor,
            podmarks.KIND: "notebook",
        },
        "annotations": {
            podmarks.ACCOUNT: "6470c6b8",
            podmarks.USERNAME: "alice",
            podmarks.GROUP: "/ai_infn/cms",
            podmarks.FLAVOR_TYPE: kind,
            podmarks.SHARE: share,
            podmarks.CATALOG: "c" * 64,
            podmarks.CPU: "2.0",
            podmarks.MEMORY: str(2**33),
        },
    }


@dataclass
class Container:
    """What a container's status says; moments by the boot's clock."""

    name: str = podmarks.NOTEBOOK_CONTAINER
    began: int | None = None
    ended: int | None = None
    exit_code: int = 0
    before: tuple[int, int] | None = None
    """Its life before it was started again."""
    init: bool = False

    def status(self) -> dict[str, Any]:
        state: dict[str, Any] = {"waiting": {"reason": "ContainerCreating"}}
        if self.ended is not None:
            state = {
                "terminated": {
                    "startedAt": stamp(self.began or 0),
                    "finishedAt": stamp(self.ended),
                    "exitCode": self.exit_code,
                }
            }
        elif self.began is not None:
            state = {"running": {"startedAt": stamp(self.began)}}
        last = {}
        if self.before is not None:
            last = {
                "terminated": {
                    "startedAt": stamp(self.before[0]),
                    "finishedAt": stamp(self.before[1]),
                }
            }
        return {"name": self.name, "state": state, "lastState": last}


@dataclass
class HandPod:
    """A pod."""

    name: str = "session-1"
    namespace: str = SESSIONS
    uid: str = field(default_factory=lambda: str(uuid4()))
    metadata: dict[str, Any] = field(default_factory=dict)
    containers: list[Container] = field(default_factory=lambda: [Container()])
    phase: str = "Running"
    policy: str = "Never"

    def read(self) -> Pod:
        """As the agent reads it."""
        statuses = [one.status() for one in self.containers if not one.init]
        inits = [one for one in self.containers if one.init]
        return read_pod(
            {
                "metadata": {
                    "uid": self.uid,
                    "namespace": self.namespace,
                    "name": self.name,
                    **self.metadata,
                },
                "spec": {
                    "restartPolicy": self.policy,
                    "initContainers": [
                        {"name": one.name, "restartPolicy": "Always"} for one in inits
                    ],
                },
                "status": {
                    "phase": self.phase,
                    "containerStatuses": statuses,
                    "initContainerStatuses": [one.status() for one in inits],
                },
            }
        )


@dataclass
class Node:
    """What is said, and what the agent makes of it."""

    now: int = 100_000
    pods: list[HandPod] = field(default_factory=list)
    held: dict[tuple[str, str, str], list[tuple[str, str]]] = field(default_factory=dict)
    """Resource and device of each container, by namespace, pod and container."""
    devices: list[str] = field(default_factory=list)
    """All that can be handed out."""
    events: list[Started | Ended] = field(default_factory=list)
    boot_id: str = "boot1"
    instance: str = ""
    born: int = WALL

    def __post_init__(self) -> None:
        self.joiner = self.fresh()

    def fresh(self) -> Joiner:
        """A joiner that knows nothing."""
        terms = Terms("n1", frozenset({SESSIONS}), DEFAULT_RESOURCES, self.instance)
        return Joiner(terms, self.boot_id, self.born)

    def hold(self, pod: HandPod, container: str, resource: str, *devices: str) -> None:
        """The kubelet gives a container devices."""
        key = pod.namespace, pod.name, container
        self.held.setdefault(key, []).extend((resource, one) for one in devices)

    def listing(self) -> Listing:
        """What the kubelet says now: every pod that it has, by name."""
        found: dict[tuple[str, str], dict[str, tuple[Assigned, ...]]] = {}
        for pod in self.pods:
            if pod.phase == "Running":
                containers = found.setdefault((pod.namespace, pod.name), {})
                for one in pod.containers:
                    held = self.held.get((pod.namespace, pod.name, one.name), [])
                    containers[one.name] = tuple(Assigned(r, (d,)) for r, d in held)
        entries = tuple(PodEntry(*name, containers) for name, containers in found.items())
        return Listing(self.now, entries, replicas_of(self.devices, "n1"))

    def look(
        self,
        *gone: HandPod,
        told: bool = True,
        listing: Listing | None = None,
        kubelet: bool = True,
    ) -> list[Started | Ended]:
        """Let the agent look once; returns what it found."""
        before = self.joiner.seq
        if kubelet:
            self.joiner.hear(listing or self.listing())
        left = tuple(Gone(pod.read(), self.now, told) for pod in gone)
        snapshot = Snapshot({pod.uid: pod.read() for pod in self.pods}, left)
        self.joiner.join(snapshot, Instant(WALL + self.now, self.now, self.now))
        every = [
            event
            for track in self.joiner.tracks
            for event in (track.started, track.ended)
            if event is not None and event.seq > before
        ]
        return sorted(every, key=lambda one: one.seq)
