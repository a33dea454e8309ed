"""A small farm with queues in front of it, for tests of what waits: real Kueue, simulated nodes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from kueue_client import (
    HOSTNAME,
    Asked,
    ClusterQueue,
    ClusterQueuePreemption,
    ClusterQueueSpec,
    FlavorQuotas,
    Kueue,
    LocalQueue,
    LocalQueueSpec,
    ObjectMeta,
    PreemptionPolicy,
    Quantity,
    ResourceFlavor,
    ResourceFlavorSpec,
    ResourceGroup,
    ResourceQuota,
    StopPolicy,
    Topology,
    TopologyLevel,
    TopologySpec,
)
from kueue_client.queues import FairSharing
from tests.cluster.cluster import Cluster
from tests.cluster.components import SIMULATED
from tests.cluster.pods import simulated_node

GPU = "nvidia.com/gpu"
LABEL = "farm.arcetri.test/gpu"
_SIMULATED = {"key": SIMULATED.partition("=")[0], "operator": "Exists"}


@dataclass(slots=True)
class Farm:
    """Nodes of one flavor, and queues to them; all of one test, and gone with it."""

    kueue: Kueue
    cluster: Cluster
    namespace: str
    name: str = field(default_factory=lambda: f"farm-{uuid4().hex[:8]}")
    _made: list[tuple[Any, str]] = field(default_factory=list)

    def node(self, number: int, gpus: int, **more: str) -> str:
        """Add a simulated node with so many GPUs; its name."""
        name = f"{self.name}-{number}"
        node = simulated_node(name, {GPU: gpus}, {LABEL: self.name})
        node["status"]["capacity"] |= more
        node["status"]["allocatable"] |= more
        self.cluster.simulate(node)
        return name

    def flavor(self) -> None:
        """Make the flavor of the nodes, which knows them by their names."""
        meta = ObjectMeta(name=self.name)
        levels = TopologySpec(levels=[TopologyLevel(node_label=HOSTNAME)])
        self.kueue.topologies.create(Topology(metadata=meta, spec=levels))
        self._made.append((self.kueue.topologies, self.name))
        spec = ResourceFlavorSpec(
            node_labels={LABEL: self.name}, tolerations=[_SIMULATED], topology_name=self.name
        )
        self.kueue.resource_flavors.create(ResourceFlavor(metadata=meta, spec=spec))
        self._made.append((self.kueue.resource_flavors, self.name))

    def queue(
        self,
        name: str,
        gpus: int,
        *,
        borrow: int | None = None,
        preemption: ClusterQueuePreemption | None = None,
    ) -> str:
        """Make a ClusterQueue and a LocalQueue that leads to it; the ClusterQueue's name."""
        gpu = ResourceQuota(name=GPU, nominal_quota=Quantity(gpus))
        if borrow is not None:
            gpu.borrowing_limit = Quantity(borrow)
        amounts = [
            gpu,
            ResourceQuota(name="cpu", nominal_quota=Quantity("100")),
            ResourceQuota(name="memory", nominal_quota=Quantity("100Gi")),
        ]
        group = ResourceGroup(
            covered_resources=[one.name for one in amounts],
            flavors=[FlavorQuotas(name=self.name, resources=amounts)],
        )
        spec = ClusterQueueSpec(
            resource_groups=[group],
            cohort_name=self.name,
            namespace_selector={},
            fair_sharing=FairSharing(weight=Quantity(1)),
            preemption=preemption
            or ClusterQueuePreemption(
                reclaim_within_cohort=PreemptionPolicy.ANY,
                within_cluster_queue=PreemptionPolicy.LOWER_PRIORITY,
            ),
        )
        whole = f"{self.name}-{name}"
        meta = ObjectMeta(name=whole)
        self.kueue.cluster_queues.create(ClusterQueue(metadata=meta, spec=spec))
        self._made.append((self.kueue.cluster_queues, whole))
        local = LocalQueue(
            metadata=ObjectMeta(name=name, namespace=self.namespace),
            spec=LocalQueueSpec(cluster_queue=whole),
        )
        self.kueue.local_queues.create(local)
        return whole

    def stop(self, name: str, policy: StopPolicy) -> None:
        """Stop a LocalQueue, or let it go on."""
        change = {"spec": {"stopPolicy": policy.value}}
        self.kueue.local_queues.patch(name, self.namespace, change=change)

    def asked(self, queue: str, gpus: int = 1, *, cpu: str = "1", priority: int = 0) -> Asked:
        """A request for GPUs of one node."""
        requests = {"cpu": cpu, "memory": "1Gi", GPU: gpus}
        return Asked(queue, requests, priority=priority, topology=HOSTNAME)

    def clear(self) -> None:
        """Remove everything."""
        for one in self.kueue.workloads.list(self.namespace).items:
            self.kueue.workloads.delete(one.name, self.namespace)
        for one in self.kueue.local_queues.list(self.namespace).items:
            self.kueue.local_queues.delete(one.name, self.namespace)
        for objects, name in reversed(self._made):
            objects.delete(name)
        selector = f"--selector={LABEL}={self.name}"
        self.cluster.run(["kubectl", "delete", "node", selector, "--wait=false"])


@contextlib.contextmanager
def farm(kueue: Kueue, cluster: Cluster, namespace: str) -> Iterator[Farm]:
    """A farm without nodes and queues."""
    made = Farm(kueue, cluster, namespace)
    try:
        made.flavor()
        yield made
    finally:
        made.clear()
