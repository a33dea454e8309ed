"""Nodes and pods as the API server sends them, and a farm of them that changes at random."""

from __future__ import annotations

from random import Random
from typing import Any

from arcetri_accounting.contract import podmarks
from arcetri_spawner.backends.kubernetes.manifest import JsonObject

T4 = {"nvidia.com/gpu.product": "Tesla-T4"}
RTX = {"nvidia.com/gpu.product": "Quadro-RTX-5000"}
GPU_TAINT = {"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"}


def node(
    name: str = "n1",
    *,
    labels: dict[str, str] | None = None,
    taints: list[JsonObject] | None = None,
    ready: str = "True",
    cordoned: bool = False,
    leaving: bool = False,
    cpu: str = "16",
    memory: str = "64Gi",
    pods: str = "110",
    **devices: Any,
) -> JsonObject:
    """A node; devices by resource, such as ``**{"nvidia.com/gpu": "4"}``."""
    metadata: JsonObject = {
        "name": name,
        "labels": {"kubernetes.io/hostname": f"{name}.farm", **(labels or {})},
    }
    if leaving:
        metadata["deletionTimestamp"] = "2026-11-23T10:00:00Z"
    return {
        "metadata": metadata,
        "spec": {"taints": taints or [], **({"unschedulable": True} if cordoned else {})},
        "status": {
            "conditions": [
                {"type": "MemoryPressure", "status": "False"},
                {"type": "Ready", "status": ready},
            ],
            "capacity": {"cpu": "999", "memory": "999Gi", "nvidia.com/gpu": "99"},
            "allocatable": {"cpu": cpu, "memory": memory, "pods": pods, **devices},
        },
    }


def container(name: str = "c", *, always: bool = False, **requests: Any) -> JsonObject:
    """A container that requests; ``nvidia_gpu`` stands for a resource with a slash."""
    made: JsonObject = {"name": name, "resources": {"requests": requests}}
    if always:
        made["restartPolicy"] = "Always"
    return made


def pod(
    uid: str,
    on: str | None,
    *containers: JsonObject,
    init: list[JsonObject] | None = None,
    phase: str = "Running",
    flavor: str | None = None,
    namespace: str = "sessions",
    **spec: Any,
) -> JsonObject:
    """A pod; with ``flavor`` it says that it is a session of the platform ``arcetri``."""
    labels = {}
    if flavor is not None:
        labels = {
            podmarks.SESSION: "8c2f6d1e-0b7a-4f0e-9a55-0d2d6a3f1c77",
            podmarks.INSTANCE: "arcetri",
            podmarks.FLAVOR: flavor,
        }
    return {
        "metadata": {"uid": uid, "name": f"pod-{uid}", "namespace": namespace, "labels": labels},
        "spec": {
            **({"nodeName": on} if on else {}),
            "containers": list(containers),
            "initContainers": init or [],
            **spec,
        },
        "status": {"phase": phase},
    }


class Farm:
    """Some nodes and pods, and one random change after the other."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)  # noqa: S311 - nothing secret
        self.nodes: dict[str, JsonObject] = {}
        self.pods: dict[str, JsonObject] = {}
        self._made = 0

    def change(self) -> tuple[str, Any]:
        """Do one thing to the farm; what a watch would say of it."""
        what = self.random.choice(
            ["node", "node", "pod", "pod", "pod", "pod", "pod", "over", "gone", "lost", "same"]
        )
        if what == "node":
            made = self._node(f"n{self.random.randrange(4)}")
            self.nodes[made["metadata"]["name"]] = made
            return "put_node", made
        if what == "lost" and self.nodes:
            name = self.random.choice(sorted(self.nodes))
            del self.nodes[name]
            return "drop_node", name
        if what in ("over", "gone", "same") and self.pods:
            uid = self.random.choice(sorted(self.pods))
            if what == "gone":
                del self.pods[uid]
                return "drop_pod", uid
            if what == "over":
                phase = self.random.choice(["Succeeded", "Failed", "Running"])
                self.pods[uid] = self.pods[uid] | {"status": {"phase": phase}}
            return "put_pod", self.pods[uid]
        made = self._pod()
        self.pods[made["metadata"]["uid"]] = made
        return "put_pod", made

    def _node(self, name: str) -> JsonObject:
        random = self.random
        devices: dict[str, str] = {}
        labels = random.choice([T4, RTX, {}, {}])
        if labels:
            layouts = [{"nvidia.com/gpu": "4"}, {"nvidia.com/mig-1g.5gb": "7"}, {}]
            layouts.append({"nvidia.com/gpu": "1", "nvidia.com/mig-1g.5gb": "2"})
            devices = random.choice(layouts)
        if random.random() < 0.2:
            devices["amd.com/v70"] = "2"
        return node(
            name,
            labels=labels,
            taints=random.choice(
                [
                    [],
                    [],
                    [GPU_TAINT],
                    [{"key": "nvidia.com/gpu", "effect": "PreferNoSchedule"}],
                    [{"key": "node.kubernetes.io/disk-pressure", "effect": "NoSchedule"}],
                    [{"key": "other", "effect": "NoExecute"}],
                ]
            ),
            ready=random.choice(["True", "True", "True", "True", "False", "Unknown"]),
            cordoned=random.random() < 0.1,
            leaving=random.random() < 0.05,
            cpu=random.choice(["16", "64", "7500m"]),
            memory=random.choice(["64Gi", "256Gi", "67000000Ki"]),
            pods=random.choice(["110", "110", "4"]),
            **devices,
        )

    def _pod(self) -> JsonObject:
        random = self.random
        self._made += 1

        def some(name: str, *, always: bool = False) -> JsonObject:
            asks: dict[str, str] = {}
            if random.random() < 0.8:
                asks["cpu"] = random.choice(["1", "500m", "2", "250m", "0.5"])
                asks["memory"] = random.choice(["1Gi", "8Gi", "512Mi", "1G"])
            if random.random() < 0.4:
                asks[random.choice(["nvidia.com/gpu", "nvidia.com/mig-1g.5gb"])] = "1"
            return container(name, always=always, **asks)

        init = [some(f"i{n}", always=random.random() < 0.4) for n in range(random.randrange(3))]
        spec: dict[str, Any] = {}
        if random.random() < 0.1:
            spec["overhead"] = {"cpu": "250m", "memory": "120Mi"}
        if random.random() < 0.1:
            spec["resources"] = {"requests": {"cpu": "3"}}
        return pod(
            f"u{self._made}",
            random.choice([*(f"n{n}" for n in range(4)), None]),
            *(some(f"c{n}") for n in range(random.randrange(1, 3))),
            init=init,
            phase=random.choice(["Running", "Running", "Pending", "Succeeded"]),
            flavor=random.choice([None, "cpu", "t4"]),
            namespace=random.choice(["sessions", "kube-system"]),
            **spec,
        )
