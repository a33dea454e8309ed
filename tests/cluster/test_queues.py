"""``arcetri queues sync`` on the real Kueue: what the catalog says is what is admitted."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import yaml
from click.testing import CliRunner

from arcetri_hub.cli import main
from arcetri_spawner.queues.names import Names
from kueue_client import (
    HOSTNAME,
    Asked,
    ClusterQueue,
    ClusterQueueSpec,
    Kueue,
    ObjectMeta,
    Quantity,
    Reason,
    StopPolicy,
    Ticket,
    TicketState,
    TicketStatus,
)
from tests.cluster import kueue as real
from tests.cluster.cluster import Cluster
from tests.cluster.components import SIMULATED
from tests.cluster.pods import simulated_node
from tests.spawner.queues.catalogs import GPU, TEXT
from tests.support.platform import until

pytestmark = pytest.mark.cluster
LABEL = "nvidia.com/gpu.product"
RIGHTS = Path(__file__).parents[2] / "docs" / "reference" / "queues-rights.yaml"


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


def reach(ticket: Ticket, state: TicketState) -> TicketStatus:
    """Follow a ticket until it is in a state."""
    for status in ticket.watch(seconds=60):
        if status.state is state:
            return status
    raise AssertionError(f"{ticket.name} is {ticket.look().state}: {ticket.why()}")


@pytest.fixture
def site(with_kueue: Cluster, namespace: str, tmp_path: Path) -> Iterator[Installation]:
    """A node of four T4, and an installation that shares them out."""
    names = Names(f"q{uuid4().hex[:6]}", namespace)
    with_kueue.simulate(simulated_node(names.instance, {GPU: 4}, {LABEL: names.instance}))
    with (
        real.reachable(with_kueue, tmp_path) as kubeconfig,
        Kueue.from_kubeconfig(kubeconfig) as kueue,
    ):
        made = Installation(kueue, with_kueue, tmp_path, kubeconfig, names)
        yield made
        for one in kueue.workloads.list(namespace).items:
            kueue.workloads.delete(one.name, namespace)
        for objects in (
            kueue.cluster_queues,
            kueue.cohorts,
            kueue.resource_flavors,
            kueue.priority_classes,
            kueue.topologies,
        ):
            for found in objects.list(labels=names.selector).items:
                objects.delete(found.name)
    with_kueue.run(["kubectl", "delete", "node", names.instance, "--wait=false"])


def test_a_catalog_becomes_queues_once_and_drift_is_repaired(site: Installation) -> None:
    site.catalog(cms={"quota": 2}, atlas={"quota": 1, "borrow": 1})
    shown = site.sync("--dry-run")
    assert f"create ClusterQueue {site.names.cluster_queue('/cms')}\n" in shown
    assert f"    {site.names.instance}-t4: 2 {GPU}, borrows up to 0\n" in shown
    assert site.versions() == {}
    assert "create Topology" in site.sync()
    before = site.versions()
    assert len(before) == 1 + 2 + 2 + 1 + 3 + 3
    assert site.sync() == "Nothing to change.\n"
    assert site.versions() == before

    def active() -> bool:
        found = site.queue("cms")
        return found is not None and found.active is not None and found.active.holds

    until(active, "Kueue takes it", 60)
    name = site.names.cluster_queue("/cms")
    found = site.kueue.cluster_queues.get(name).to_wire()
    amounts = found["spec"]["resourceGroups"][0]["flavors"][0]["resources"]
    (gpu,) = [one for one in amounts if one["name"] == GPU]
    gpu |= {"nominalQuota": 9, "borrowingLimit": 5, "lendingLimit": 3}
    change = {"spec": {"resourceGroups": found["spec"]["resourceGroups"]}}
    site.kueue.cluster_queues.patch(name, change=change)
    drift = site.sync("--dry-run")
    assert f"[{GPU}].nominalQuota: 9 -> 2" in drift
    assert f"[{GPU}].lendingLimit: 3 -> nothing" in drift
    site.sync()
    assert site.nominal("cms") == Quantity(2)
    assert site.sync() == "Nothing to change.\n"
    changed = {one for one, version in site.versions().items() if before[one] != version}
    assert changed == {f"ClusterQueue {name}"}


def test_nothing_is_written_while_something_stands_against_it(site: Installation) -> None:
    site.catalog(cms={"quota": 5})
    refused = site.sync(status=1)
    assert "t4: quotas of 5 in all, and the farm has 4." in refused
    assert site.versions() == {}
    assert "over-commitment: t4" in site.sync("--overcommit")
    site.sync("--overcommit")
    theirs = ClusterQueue(
        metadata=ObjectMeta(name=site.names.cluster_queue("/atlas")), spec=ClusterQueueSpec()
    )
    uid = site.kueue.cluster_queues.create(theirs).metadata.uid
    site.catalog(cms={"quota": 1}, atlas={"quota": 1})
    assert f"ClusterQueue {theirs.name}" in site.sync(status=1)
    assert site.nominal("cms") == Quantity(5)
    found = site.kueue.cluster_queues.get(theirs.name)
    assert (found.metadata.uid, found.metadata.labels) == (uid, {})
    site.kueue.cluster_queues.delete(theirs.name)
    (site.folder / "profiles.yaml").write_text("version: 1\n", encoding="utf-8")
    assert "profiles.yaml:1:1: error: " in site.sync(status=1)


def test_a_group_that_is_gone_is_drained_first(site: Installation) -> None:
    site.catalog(cms={"quota": 2}, atlas={"quota": 2})
    site.sync()
    held = site.ask("held", "atlas")
    reach(held, TicketState.ADMITTED)
    site.catalog(cms={"quota": 2})
    gone = site.names.cluster_queue("/atlas")
    assert f"drain ClusterQueue {gone}" in site.sync()
    found = site.queue("atlas")
    assert found is not None
    assert found.spec.stop_policy is StopPolicy.HOLD
    assert f"wait ClusterQueue {gone}\n    1 still hold something of it\n" in site.sync()
    assert held.look().state is TicketState.ADMITTED
    site.catalog(cms={"quota": 2}, atlas={"quota": 2})
    site.sync()
    reach(site.ask("again", "atlas"), TicketState.ADMITTED).workload  # noqa: B018  # it is open
    site.catalog(cms={"quota": 2})
    site.sync()
    for name in ("held", "again"):
        site.kueue.ticket(name, site.names.namespace).leave()

    def empty() -> bool:
        found = site.queue("atlas")
        return found is not None and not found.status.reserving_workloads

    until(empty, "nobody holds anything of it", 60)
    assert f"remove ClusterQueue {gone}" in site.sync()
    until(lambda: site.queue("atlas") is None, "it is gone", 60)
    assert site.sync() == "Nothing to change.\n"


def test_a_group_has_its_quota_and_what_it_borrowed_is_asked_back(site: Installation) -> None:
    site.catalog(cms={"quota": 2}, atlas={"quota": 2, "borrow": 1})
    site.sync()
    first = site.ask("first", "atlas", gpus=2)
    reach(first, TicketState.ADMITTED)
    time.sleep(1.1)  # who came last goes first, and Kueue tells ages to the second
    borrowed = site.ask("borrowed", "atlas")
    beyond = site.ask("beyond", "atlas")
    status = reach(borrowed, TicketState.ADMITTED).admitted
    assert status is not None
    assert status.node == site.names.instance
    until(lambda: beyond.why().said != "", "it is considered", 60)
    assert beyond.look().state is TicketState.WAITING
    own = site.ask("own", "cms", gpus=2)
    evicted = reach(borrowed, TicketState.EVICTED).evicted
    assert evicted is not None
    assert evicted.reason is Reason.PREEMPTED
    assert first.look().state is TicketState.ADMITTED
    borrowed.release()
    reach(own, TicketState.ADMITTED)


def test_notebooks_come_before_batch_and_push_it_out(site: Installation) -> None:
    site.catalog(cms={"quota": 2}, atlas={"quota": 2})
    site.sync()
    batch = site.ask("batch", "cms", kind="batch", gpus=2)
    reach(batch, TicketState.ADMITTED)
    notebook = site.ask("notebook", "cms")
    evicted = reach(batch, TicketState.EVICTED).evicted
    assert evicted is not None
    assert evicted.cause is Reason.IN_CLUSTER_QUEUE
    batch.release()
    reach(notebook, TicketState.ADMITTED)
    second = site.ask("second", "cms", gpus=2)
    until(lambda: second.why().said != "", "it is considered", 60)
    assert notebook.look().state is TicketState.ADMITTED  # a notebook pushes out none


def test_the_documented_rights_are_enough(site: Installation) -> None:
    text = RIGHTS.read_text(encoding="utf-8")
    account = f"{site.names.instance}-queues"
    text = text.replace("namespace: sessions", f"namespace: {site.names.namespace}")
    text = text.replace("namespace: arcetri}", f"namespace: {site.names.namespace}}}")
    text = text.replace("name: arcetri-queues", f"name: {account}")
    objects = list(yaml.safe_load_all(text))
    site.cluster.apply(*objects)
    try:
        where = f"--namespace={site.names.namespace}"
        token = site.cluster.run(["kubectl", "create", "token", account, where]).strip()
        found = yaml.safe_load(site.kubeconfig.read_text(encoding="utf-8"))
        found["users"][0]["user"] = {"token": token}
        site.kubeconfig.write_text(yaml.safe_dump(found), encoding="utf-8")
        site.catalog(cms={"quota": 2}, atlas={"quota": 1})
        site.sync()
        site.catalog(cms={"quota": 1})
        site.sync()
        site.sync()
        until(lambda: site.queue("atlas") is None, "it is gone", 60)
    finally:
        for kind in ("clusterrole", "clusterrolebinding"):
            site.cluster.run(["kubectl", "delete", kind, account])
