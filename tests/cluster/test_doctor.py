"""``arcetri queues doctor`` on the real Kueue: what is wrong, and why each request waits."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from arcetri_spawner.backends.kubernetes.kueue.asking import asked, ticket_name
from arcetri_spawner.backends.kubernetes.offering import Offering
from arcetri_spawner.catalog import check
from arcetri_spawner.policy.model import Grant
from arcetri_spawner.queues import unstarted
from kueue_client import Cause, Ticket
from tests.cluster.cluster import Cluster
from tests.cluster.installation import Installation, installation
from tests.cluster.kueue import MANAGED
from tests.support.builders import grant
from tests.support.platform import until

pytestmark = pytest.mark.cluster


@pytest.fixture
def site(with_kueue: Cluster, namespace: str, tmp_path: Path) -> Iterator[Installation]:
    """A node of four T4, and queues to them."""
    with installation(with_kueue, namespace, tmp_path) as made:
        made.catalog(cms={"quota": 1}, atlas={"quota": 1})
        made.sync()
        yield made


def ask(site: Installation, group: str) -> tuple[Grant, Ticket]:
    """A request for a T4, as the hub makes it."""
    catalog = check(site.folder / "profiles.yaml").catalog
    assert catalog is not None
    one = grant(group=f"/{group}")
    ticket = site.kueue.ticket(ticket_name(one.request_id), site.names.namespace)
    ticket.submit(asked(one, Offering.of(catalog.catalog), site.names, "hub"))
    return one, ticket


@contextlib.contextmanager
def restricted(site: Installation) -> Iterator[None]:
    """A while in which the doctor asks as an account that may read all but Kueue's configuration.

    Its rights are of the whole cluster, and go with its role.
    """
    name, where = f"doctor-{site.names.instance}", site.names.namespace
    read = ["get", "list"]
    rules = [
        {"apiGroups": [""], "resources": ["nodes", "pods", "namespaces"], "verbs": read},
        {"apiGroups": ["kueue.x-k8s.io"], "resources": ["*"], "verbs": [*read, "create"]},
        {"apiGroups": ["visibility.kueue.x-k8s.io"], "resources": ["*"], "verbs": read},
    ]
    rbac = "rbac.authorization.k8s.io"
    role = {"apiGroup": rbac, "kind": "ClusterRole", "name": name}
    who = {"kind": "ServiceAccount", "name": name, "namespace": where}
    kind, own = {"apiVersion": f"{rbac}/v1"}, {"metadata": {"name": name}}
    account = {"apiVersion": "v1", "kind": "ServiceAccount"}
    site.cluster.apply(
        {**account, "metadata": {"name": name, "namespace": where}},
        {**kind, **own, "kind": "ClusterRole", "rules": rules},
        {**kind, **own, "kind": "ClusterRoleBinding", "roleRef": role, "subjects": [who]},
    )
    token = site.cluster.run(["kubectl", "create", "token", name, f"--namespace={where}"])
    before = site.kubeconfig.read_text(encoding="utf-8")
    config = yaml.safe_load(before)
    config["users"][0]["user"] = {"token": token.strip()}
    site.kubeconfig.write_text(yaml.safe_dump(config), encoding="utf-8")
    try:
        yield
    finally:
        site.kubeconfig.write_text(before, encoding="utf-8")
        for one in ("clusterrole", "clusterrolebinding"):
            site.cluster.run(["kubectl", "delete", one, name])


def wrong(site: Installation, *request: str) -> dict[str, dict[str, Any]]:
    """What is wrong, by what it is about."""
    said = site.doctor(*request, status=1)
    assert not said["well"]
    return {one["about"]: one for one in said["findings"] if one["wrong"]}


def test_a_healthy_farm_is_said_to_be_so_and_who_waits_is_told_why(site: Installation) -> None:
    first, ticket = ask(site, "cms")
    until(lambda: ticket.look().admitted, "it is admitted", 60)
    ticket.ready()
    second, waits = ask(site, "cms")
    until(lambda: waits.why().cause is Cause.QUOTA, "it is considered", 60)
    said = site.doctor()
    assert said["well"]
    found = {one["about"]: one for one in said["findings"]}
    assert found["kueue"]["code"] == "answers"
    assert found["catalog"]["code"] == "in_sync"
    assert found[f"request {first.request_id}"]["code"] == "admitted"
    other = found[f"request {second.request_id}"]
    assert other["code"] == "quota"
    assert "1 more nvidia.com/gpu" in other["sentence"]
    assert other["sentence"].endswith("It is first in line.")
    (alone,) = site.doctor(str(second.request_id))["findings"]
    assert alone == other
    assert site.doctor(ticket_name(second.request_id))["findings"] == [other]
    gone = wrong(site, "8c2f6d1e-0b7a-4f0e-9a55-0d2d6a3f1c77")
    assert [one["code"] for one in gone.values()] == ["not_there"]


def test_kueues_own_configuration_is_told_to_who_may_read_it(site: Installation) -> None:
    def told() -> list[dict[str, Any]]:
        return [one for one in site.doctor()["findings"] if "configuration" in one["about"]]

    # As tests/cluster/kueue.py has it: the namespaces that it looks at have a label, this has not.
    assert {one["code"] for one in told()} == {
        "pods_left_alone",
        "jobs_left_alone",
        "fair_sharing",
        "ready_in_time",
    }
    label = ["kubectl", "label", "namespace", site.names.namespace, f"{MANAGED}=true"]
    site.cluster.run(label)
    assert "jobs_managed" in {one["code"] for one in told()}
    # Somebody who may read all but that.
    with restricted(site):
        (one,) = told()
    assert (one["code"], one["wrong"]) == ("configuration_unread", False)
    assert "kueue-manager-config" in one["sentence"]
    assert "forbidden" in one["sentence"]


def test_whose_turn_has_come_and_whom_no_hub_starts_is_told(
    site: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, ticket = ask(site, "cms")
    until(lambda: ticket.look().admitted, "it is admitted", 60)
    monkeypatch.setattr(unstarted, "SOON", timedelta(seconds=-5))
    (found,) = wrong(site, str(one.request_id)).values()
    assert found["code"] == "not_started"
    assert f"It is admitted to {site.names.instance} since" in found["sentence"]
    ticket.ready()
    assert site.doctor(str(one.request_id))["findings"][0]["code"] == "admitted"


def test_what_is_wrong_is_found_with_what_to_do(site: Installation) -> None:
    kueue, names = site.kueue, site.names
    where = names.namespace
    held, ticket = ask(site, "atlas")
    until(lambda: ticket.look().admitted, "it is admitted", 60)
    ticket.ready()
    aside, other = ask(site, "atlas")
    until(lambda: other.why().cause is Cause.QUOTA, "it is considered", 60)
    kueue.workloads.patch(other.name, where, change={"spec": {"active": False}})
    stopped, stuck = ask(site, "cms")
    until(lambda: stuck.look().admitted, "it is admitted", 60)
    kueue.local_queues.patch(
        names.local_queue("/cms"), where, change={"spec": {"stopPolicy": "HoldAndDrain"}}
    )
    stuck.release()
    pool = names.cluster_queue("/atlas")
    kueue.cluster_queues.patch(pool, change={"spec": {"queueingStrategy": "StrictFIFO"}})
    kueue.resource_flavors.patch(
        names.flavor("cpu"), change={"metadata": {"labels": {"app.kubernetes.io/name": "theirs"}}}
    )
    until(lambda: stuck.look().admitted is None, "it gave back what it held", 60)
    found = wrong(site)
    assert found[f"request {aside.request_id}"]["code"] == "deactivated"
    assert "spec.active" in found[f"request {aside.request_id}"]["remedy"]
    assert found[f"request {stopped.request_id}"]["code"] == "local_queue_stopped"
    assert f"request {held.request_id}" not in found
    assert found[f"LocalQueue {names.local_queue('/cms')}"]["code"] == "local_queue_stopped"
    drift = found[f"ClusterQueue {pool}"]
    assert drift["code"] == "drift_change"
    assert "queueingStrategy: StrictFIFO -> BestEffortFIFO" in drift["sentence"]
    assert "arcetri queues sync" in drift["remedy"]
    assert found[f"ResourceFlavor {names.flavor('cpu')}"]["code"] == "not_ours"
    text = site.doctor(as_json=False, status=1)
    assert f"wrong: ClusterQueue {pool}: It is not as the catalog says" in text
    kueue.resource_flavors.patch(
        names.flavor("cpu"), change={"metadata": {"labels": {"app.kubernetes.io/name": "arcetri"}}}
    )
    there = kueue.cluster_queues.get(pool).to_wire()["spec"]["resourceGroups"]
    there[0]["flavors"][0]["name"] = "gone"
    kueue.cluster_queues.patch(pool, change={"spec": {"resourceGroups": there}})

    def noticed() -> bool:
        return "cluster_queue_inactive" in {
            one["code"] for one in site.doctor(status=1)["findings"]
        }

    until(noticed, "Kueue has noticed", 60)
