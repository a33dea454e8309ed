"""A catalog of queues on the real Kueue, with simulated nodes: all of one test, gone with it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import yaml
from click.testing import CliRunner

from arcetri_hub.cli import main
from arcetri_spawner.queues.names import Names
from kueue_client import HOSTNAME, Asked, ClusterQueue, Kueue, Quantity, Ticket
from tests.cluster import kueue as real
from tests.cluster.cluster import Cluster
from tests.cluster.components import SIMULATED
from tests.cluster.pods import simulated_node
from tests.spawner.queues.catalogs import GPU, TEXT

LABEL = "nvidia.com/gpu.product"
DEVICES = 4


@dataclass(slots=True)
class Installation:
    """A catalog, and the queues made from it."""

    kueue: Kueue
    cluster: Cluster
    folder: Path
    kubeconfig: Path
    names: Names

    def catalog(self, **groups: dict[str, Any]) -> None:
        """Write a catalog that gives T4 to groups."""
        t4 = {
            "title": "T4",
            "resource": GPU,
            "nodes": {LABEL: self.names.instance},
            "tolerations": [SIMULATED.partition("=")[0]],
        }
        text = {
            **TEXT,
            "flavors": {"t4": t4, "cpu": {"title": "No accelerator"}},
            "everyone": {"flavors": ["cpu"]},
            "groups": {f"/{name}": {"flavors": {"t4": one}} for name, one in groups.items()},
        }
        (self.folder / "profiles.yaml").write_text(yaml.safe_dump(text), encoding="utf-8")

    def sync(self, *options: str, status: int = 0) -> str:
        """What ``arcetri queues sync`` prints."""
        command = ["queues", "sync", f"--profiles={self.folder / 'profiles.yaml'}"]
        command += [f"--instance={self.names.instance}", f"--namespace={self.names.namespace}"]
        variables = {"KUBECONFIG": str(self.kubeconfig)}
        result = CliRunner().invoke(main, [*command, *options], env=variables)
        assert result.exit_code == status, (result.output, result.exception)
        return result.output

    def doctor(self, *request: str, status: int = 0, as_json: bool = True) -> Any:
        """What ``arcetri queues doctor`` says."""
        command = ["queues", "doctor", f"--profiles={self.folder / 'profiles.yaml'}"]
        command += [f"--instance={self.names.instance}", f"--namespace={self.names.namespace}"]
        command += ["--json"] if as_json else []
        variables = {"KUBECONFIG": str(self.kubeconfig)}
        result = CliRunner().invoke(main, [*command, *request], env=variables)
        assert result.exit_code == status, (result.output, result.exception)
        return json.loads(result.output) if as_json else result.output

    def versions(self) -> dict[str, str]:
        """The version of every object that is ours."""
        kueue, namespace = self.kueue, self.names.namespace
        kinds = (
            *kueue.topologies.list(labels=self.names.selector).items,
            *kueue.resource_flavors.list(labels=self.names.selector).items,
            *kueue.priority_classes.list(labels=self.names.selector).items,
            *kueue.cohorts.list(labels=self.names.selector).items,
            *kueue.cluster_queues.list(labels=self.names.selector).items,
            *kueue.local_queues.list(namespace, labels=self.names.selector).items,
        )
        return {f"{type(one).__name__} {one.name}": str(one.metadata.generation) for one in kinds}

    def queue(self, group: str) -> ClusterQueue | None:
        """A group's ClusterQueue."""
        return self.kueue.cluster_queues.find(self.names.cluster_queue(f"/{group}"))

    def nominal(self, group: str) -> Quantity:
        """A group's quota of T4."""
        found = self.queue(group)
        assert found is not None
        (flavor,) = found.spec.resource_groups[0].flavors
        return next(one.nominal_quota for one in flavor.resources if one.name == GPU)

    def ask(self, name: str, group: str, *, kind: str = "notebook", gpus: int = 1) -> Ticket:
        """Ask for a T4, as a request of the group."""
        ticket = self.kueue.ticket(name, self.names.namespace)
        queue = self.names.local_queue(f"/{group}")
        requests = {"cpu": "2", "memory": "4Gi", GPU: gpus}
        priority = self.kueue.priority_classes.get(self.names.priority(kind))
        ticket.submit(
            Asked(
                queue,
                requests,
                node_selector={LABEL: self.names.instance},
                priority_class=priority.name,
                priority=priority.value,
                topology=HOSTNAME,
            )
        )
        return ticket


def clear(kueue: Kueue, selector: str) -> None:
    """Remove the queues that bear an installation's labels, and what they are made of."""
    for objects in (
        kueue.cluster_queues,
        kueue.cohorts,
        kueue.resource_flavors,
        kueue.priority_classes,
        kueue.topologies,
    ):
        for found in objects.list(labels=selector).items:
            objects.delete(found.name)


def simulate(cluster: Cluster, node: str) -> None:
    """Add the node of an installation: four T4."""
    cluster.simulate(simulated_node(node, {GPU: DEVICES}, {LABEL: node}))


@contextlib.contextmanager
def installation(cluster: Cluster, namespace: str, folder: Path) -> Iterator[Installation]:
    """A node of four T4, and an installation that shares them out."""
    node = f"q{uuid4().hex[:6]}"
    names = Names(node, namespace)
    simulate(cluster, node)
    with (
        real.reachable(cluster, folder) as kubeconfig,
        Kueue.from_kubeconfig(kubeconfig) as kueue,
    ):
        made = Installation(kueue, cluster, folder, kubeconfig, names)
        yield made
        names = made.names  # a test may give it other ones
        for one in kueue.workloads.list(namespace).items:
            kueue.workloads.delete(one.name, namespace)
        clear(kueue, names.selector)
    cluster.run(["kubectl", "delete", "node", node, "--wait=false", "--ignore-not-found"])
