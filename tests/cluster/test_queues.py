"""``arcetri queues sync`` on the real Kueue: what the catalog says is what is admitted."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from arcetri_spawner.queues.names import Names
from kueue_client import (
    HOSTNAME,
    ClusterQueue,
    ClusterQueueSpec,
    ObjectMeta,
    Quantity,
    Reason,
    StopPolicy,
    Ticket,
    TicketState,
    TicketStatus,
)
from tests.cluster import images
from tests.cluster.cluster import Cluster
from tests.cluster.components import SIMULATED
from tests.cluster.installation import LABEL, Installation, installation, simulate
from tests.cluster.kueue import MANAGED
from tests.spawner.queues.catalogs import GPU
from tests.support import helm
from tests.support.platform import until

pytestmark = pytest.mark.cluster
RIGHTS = Path(__file__).parents[2] / "docs" / "reference" / "queues-rights.yaml"


def reach(ticket: Ticket, state: TicketState) -> TicketStatus:
    """Follow a ticket until it is in a state."""
    for status in ticket.watch(seconds=60):
        if status.state is state:
            return status
    raise AssertionError(f"{ticket.name} is {ticket.look().state}: {ticket.why()}")


def active(site: Installation, group: str) -> bool:
    """Whether Kueue has taken a group's queue."""
    found = site.queue(group)
    return found is not None and found.active is not None and found.active.holds


@pytest.fixture
def site(with_kueue: Cluster, namespace: str, tmp_path: Path) -> Iterator[Installation]:
    """A node of four T4, and an installation that shares them out."""
    with installation(with_kueue, namespace, tmp_path) as made:
        yield made


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
    until(lambda: active(site, "cms"), "Kueue takes it", 60)
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


def test_more_than_there_is_is_not_given_and_all_else_is_done(site: Installation) -> None:
    site.catalog(cms={"quota": 5})
    said = site.sync("--dry-run", status=3)
    assert "t4: quotas of 5 in all, and the farm has 4. Not raised: /cms has 0 t4, not 5." in said
    assert "Lower groups./cms.flavors.t4.quota (5): 1 fewer in all." in said
    assert site.versions() == {}
    site.sync(status=3)
    assert site.nominal("cms") == Quantity(0)
    assert site.doctor(status=1)["findings"][1]["code"] == "overcommitted"
    assert "over-commitment: t4" in site.sync("--overcommit")
    assert site.nominal("cms") == Quantity(5)
    until(lambda: active(site, "cms"), "Kueue takes it", 60)
    # Who allows it is not told for ever that something is wrong.
    (_, allowed, *_) = site.doctor("--overcommit")["findings"]
    assert (allowed["code"], allowed["wrong"]) == ("overcommitted_allowed", False)
    assert allowed["sentence"].endswith("the farm has 4. That is allowed: --overcommit.")


def test_a_farm_that_shrinks_is_looked_after(site: Installation) -> None:
    site.catalog(cms={"quota": 3}, atlas={"quota": 1})
    site.sync()
    node = ["kubectl", "delete", "node", site.names.instance, "--timeout=60s"]
    site.cluster.run(node)
    said = site.sync(status=3)
    assert "t4: quotas of 4 in all, and the farm has 0. It has shrunk since" in said
    assert said.endswith("Nothing to change.\n")
    pool = site.names.cluster_queue("/atlas")
    site.kueue.cluster_queues.patch(pool, change={"spec": {"queueingStrategy": "StrictFIFO"}})
    local = site.names.local_queue("/atlas")
    site.kueue.local_queues.delete(local, site.names.namespace)
    site.catalog(atlas={"quota": 1})
    said = site.sync(status=3)
    assert "queueingStrategy: StrictFIFO -> BestEffortFIFO" in said
    assert f"create LocalQueue {local}" in said
    assert f"drain ClusterQueue {site.names.cluster_queue('/cms')}" in said
    assert site.nominal("atlas") == Quantity(1)
    simulate(site.cluster, site.names.instance)
    site.catalog(cms={"quota": 3}, atlas={"quota": 1})
    site.sync()
    assert site.nominal("cms") == Quantity(3)


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


def test_of_what_is_borrowed_who_has_more_gives_to_who_has_less(site: Installation) -> None:
    site.catalog(atlas={"quota": 1, "borrow": 2}, cms={"quota": 1, "borrow": 2}, lhcb={"quota": 2})
    site.sync()
    held = []
    for name in ("own", "borrowed", "borrowed-too"):
        held.append(site.ask(name, "atlas"))
        reach(held[-1], TicketState.ADMITTED)
        time.sleep(1.1)  # who came last goes first, and Kueue tells ages to the second
    reach(site.ask("first", "cms"), TicketState.ADMITTED)
    second = site.ask("second", "cms")
    evicted = reach(held[-1], TicketState.EVICTED).evicted
    assert evicted is not None
    assert evicted.cause is Reason.IN_COHORT_FAIR_SHARING
    held[-1].release()
    reach(second, TicketState.ADMITTED)
    # Both have borrowed one now: nobody gives way any more.
    third = site.ask("third", "cms")
    until(lambda: third.why().said != "", "it is considered", 60)
    assert [one.look().state for one in held[:2]] == [TicketState.ADMITTED] * 2


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


def job(site: Installation, name: str, group: str, gpus: int) -> None:
    """Submit a batch/v1 Job as anybody may, in a queue of a group's."""
    amounts = {"cpu": "2", "memory": "4Gi", GPU: str(gpus)}
    key, _, value = SIMULATED.partition("=")
    pod = {
        "restartPolicy": "Never",
        "containers": [
            {
                "name": "train",
                "image": "registry.example/train:1",
                "resources": {"requests": amounts, "limits": {GPU: str(gpus)}},
            }
        ],
        "nodeSelector": {LABEL: site.names.instance},
        "tolerations": [{"key": key, "operator": "Equal", "value": value}],
    }
    topology = {"kueue.x-k8s.io/podset-required-topology": HOSTNAME}
    labels = {
        "kueue.x-k8s.io/queue-name": site.names.local_queue(f"/{group}"),
        "kueue.x-k8s.io/priority-class": site.names.priority("batch"),
    }
    site.cluster.apply(
        {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": name, "namespace": site.names.namespace, "labels": labels},
            "spec": {
                "suspend": True,
                "template": {"metadata": {"annotations": topology}, "spec": pod},
            },
        }
    )


def test_a_job_behind_a_queue_runs_on_what_is_idle_and_yields_to_a_notebook(
    site: Installation,
) -> None:
    where = f"--namespace={site.names.namespace}"
    label = ["kubectl", "label", "namespace", site.names.namespace, f"{MANAGED}=true"]
    site.cluster.run(label)
    site.catalog(cms={"quota": 2}, atlas={"quota": 2, "borrow": 2})
    site.sync()

    def active() -> int:
        found = site.cluster.kubectl("get", "job", "train", where)
        return 0 if found["spec"].get("suspend") else found["status"].get("active", 0)

    # It has all four: the two of its own group, and the two that lie idle.
    job(site, "train", "atlas", gpus=4)
    until(lambda: active() == 1, "the job runs", 60)
    notebook = site.ask("notebook", "cms")
    reach(notebook, TicketState.ADMITTED)
    until(lambda: active() == 0, "the job has given way, and waits", 60)
    (waits,) = [one for one in site.kueue.workloads.list(site.names.namespace).items
                if one.name.startswith("job-train")]  # fmt: skip
    assert TicketStatus.of(waits).state is TicketState.WAITING
    notebook.leave()
    until(lambda: active() == 1, "the job runs again", 60)


def test_the_documented_rights_are_enough(site: Installation) -> None:
    text = RIGHTS.read_text(encoding="utf-8")
    account = f"{site.names.instance}-queues"
    text = text.replace("namespace: arcetri-sessions", f"namespace: {site.names.namespace}")
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


def _deleted(site: Installation) -> bool:
    found = site.queue("cms")
    return found is None or found.metadata.deletion_timestamp is not None


def test_the_charts_sync_keeps_the_queues(site: Installation) -> None:
    """The real image, with the account and the rights that the chart gives it."""
    site.catalog(cms={"quota": 2})
    home = f"{site.names.namespace}-home"
    registry, _, tag = site.cluster.load(images.HUB).rpartition("/")
    values = {
        "profiles": (site.folder / "profiles.yaml").read_text(encoding="utf-8"),
        "images": {"registry": registry, "tag": tag.rpartition(":")[2], "pullPolicy": "Never"},
        "sessions": {"namespace": site.names.namespace},
        "queues": {"enabled": True, "interval": 2, "resources": {}},
    }
    made = helm.render(helm.merged(helm.LEAST, values), release=site.names.instance, namespace=home)
    part = "app.kubernetes.io/component"
    ours = [
        one
        for one in made
        if one["kind"] != "NetworkPolicy"
        and (
            one["metadata"]["labels"].get(part) == "queues"
            or (one["kind"], one["metadata"]["name"])
            == ("ConfigMap", f"{site.names.instance}-profiles")
        )
    ]
    site.cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": home}})
    site.cluster.apply(*ours)
    site.names = Names(f"{home}-{site.names.instance}", site.names.namespace)
    try:
        until(lambda: site.queue("cms"), "the queue is there", 60)
        # It says nothing twice, and ends when it is told to.
        pods = ["kubectl", f"--namespace={home}", f"--selector={part}=queues"]
        site.kueue.cluster_queues.delete(site.names.cluster_queue("/cms"))
        until(lambda: not _deleted(site), "it is there again", 60)
        said = site.cluster.run([*pods[:1], "logs", *pods[1:], "--tail=-1"])
        assert said.count("create ClusterQueue") == 3
        assert said.count("Nothing to change.") <= 2
        began = time.monotonic()
        site.cluster.run([*pods[:1], "delete", "deployment", *pods[1:], "--cascade=foreground"])
        assert time.monotonic() - began < 8  # not killed after its ten seconds
    finally:
        for one in ours:
            if one["kind"].startswith("Cluster"):
                site.cluster.run(["kubectl", "delete", one["kind"], one["metadata"]["name"]])
        site.cluster.run(["kubectl", "delete", "namespace", home, "--wait=false", "--now"])
