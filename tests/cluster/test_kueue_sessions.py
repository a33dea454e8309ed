"""A hub whose requests stand in the queues of the real Kueue: sessions run by a real kubelet."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from arcetri_hub.cli import main
from kueue_client import Kueue, TicketState, Workload
from tests.cluster import addresses, hub, images, volumes
from tests.cluster import kueue as real
from tests.cluster.cluster import Cluster
from tests.cluster.hub import Hub
from tests.cluster.installation import clear
from tests.cluster.test_sessions import UID, catalog
from tests.support.platform import until

pytestmark = pytest.mark.cluster

NAMESPACE = "queued-sessions"
NAME = "queued"


@pytest.fixture(scope="module")
def kueue(with_kueue: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kueue]:
    """Kueue, as an admin sees it."""
    folder = tmp_path_factory.mktemp("reach")
    with real.reachable(with_kueue, folder) as path, Kueue.from_kubeconfig(path) as client:
        yield client


@pytest.fixture(scope="module")
def site(
    kueue: Kueue, with_kueue: Cluster, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Hub]:
    """A platform whose group CMS may have the one FPGA."""
    label = {"pod-security.kubernetes.io/enforce": "restricted"}
    metadata = {"name": NAMESPACE, "labels": label}
    with_kueue.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
    folder = with_kueue.state.folder / "queued"
    for number, name in enumerate(("alice", "bruno"), start=UID):
        home = folder / "home" / name
        home.mkdir(parents=True, exist_ok=True)
        with_kueue.run(["chown", f"{number}:{number}", str(home)])
    with_kueue.apply(*volumes.on_the_node(NAMESPACE, "shared", NAMESPACE, path=str(folder)))
    made = catalog(with_kueue.load(images.MINIMAL))
    # Of the node's devices the one that other tests want least.
    made["groups"]["/arcetri/cms"]["flavors"] = {"v70": {"quota": 1, "limit": 1}}
    state = tmp_path_factory.mktemp("hub") / "state"
    profiles = state.with_name("profiles.yaml")
    profiles.write_text(yaml.safe_dump(made), encoding="utf-8")
    _sync(profiles, state.parent, with_kueue)
    try:
        with hub.running(with_kueue, state, NAMESPACE, made, queues=NAME) as started:
            yield started
    finally:
        for kind in ("namespace", "pv"):
            with_kueue.run(["kubectl", "delete", kind, NAMESPACE, "--now", "--timeout=60s"])
        clear(kueue, f"app.kubernetes.io/instance={NAME}")


def _sync(profiles: Path, folder: Path, cluster: Cluster) -> None:
    command = ["queues", "sync", f"--profiles={profiles}", f"--instance={NAME}"]
    command += [f"--namespace={NAMESPACE}", "--overcommit"]
    with real.reachable(cluster, folder) as path:
        result = CliRunner().invoke(main, command, env={"KUBECONFIG": str(path)})
    assert result.exit_code == 0, (result.output, result.exception)


def _held(kueue: Kueue) -> dict[str, Workload]:
    return {one.name: one for one in kueue.workloads.list(NAMESPACE).items}


def test_one_runs_where_it_was_admitted_and_the_next_follows(site: Hub, kueue: Kueue) -> None:
    session = site.platform.start_session("alice", flavor="v70", environment="python")
    (pod,) = site.pods()
    name = f"request-{session}"
    ticket = kueue.ticket(name, NAMESPACE)
    assert list(_held(kueue)) == [name]
    until(lambda: ticket.look().ready, "Kueue is told that it runs", 30)
    status = ticket.look()
    assert status.state is TicketState.ADMITTED
    assert status.admitted is not None
    selector = pod["spec"]["nodeSelector"]
    assert selector["kubernetes.io/hostname"] == status.admitted.node == addresses.NODE_NAME
    # Out of Kueue's sight, and not counted a second time.
    assert "schedulingGates" not in pod["spec"]
    assert not [one for one in pod["metadata"]["labels"] if "kueue" in one]
    mark = "kueue.x-k8s.io/podset-required-topology"
    assert pod["metadata"]["annotations"][mark] == "kubernetes.io/hostname"
    choice = {"flavor": "v70", "group": "/arcetri/cms", "environment": "python"}
    with site.platform.api("bruno") as api:
        answer = api.post("/users/bruno/server", json=choice)
    assert answer.is_success, answer.text
    until(lambda: len(_held(kueue)) == 2, "the next one is in line", 30)
    (other,) = set(_held(kueue)) - {name}
    site.kill("hub")
    site.start("hub")
    states = dict(site.platform.rows("select username, state from arcetri_request"))
    assert states == {"alice": "running", "bruno": "waiting"}
    with site.platform.api("alice") as api:
        api.delete("/users/alice/server")
    # It is bruno's turn, and the platform starts his server by itself.
    with site.platform.api("bruno") as api:
        until(lambda: site.platform.server(api, "bruno").get("ready"), "the next one runs", 90)
        assert list(_held(kueue)) == [other]
        api.delete("/users/bruno/server")
    until(lambda: not _held(kueue), "every place is free", 60)
