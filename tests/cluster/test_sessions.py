"""Sessions on a real cluster: asked for as people do, run by a real kubelet."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

import arcetri_hub
from tests.cluster import addresses, hub, images, volumes
from tests.cluster.cluster import Cluster
from tests.cluster.devices import DEFAULT_LAYOUT, Layout
from tests.cluster.hub import Hub
from tests.cluster.pods import pod
from tests.support.platform import until

pytestmark = pytest.mark.cluster

DEMO = Path(arcetri_hub.__file__).parent / "catalogs" / "demo.yaml"
NAMESPACE = "sessions"
UID = 200000
SLICE = "nvidia.com/mig-1g.5gb"
FOLLOWED = 10.0
"""Seconds within which the page follows what the API server says of nodes and pods."""
COUNTS = """
from jupyterhub.handlers import BaseHandler

class Failures(BaseHandler):
    def get(self):
        self.finish(str(self.settings.get("failure_count", 0)))

def prepare(spawner):
    if spawner.name == "late":
        spawner.start_timeout = 6
    if spawner.name == "silent":
        spawner.http_timeout = 6
    if spawner.name == "broken":
        raise RuntimeError("a mistake in the site's own configuration")

c.JupyterHub.extra_handlers = [("/failures", Failures)]
c.Spawner.consecutive_failure_limit = 2
c.Spawner.pre_spawn_hook = prepare
c.KubeSpawner.image_pull_secrets = ["registry"]
"""
"""The site's own configuration: a hub that ends after two failures in a row, and says its count.

By its name, a server has less time, or comes into a hook that is broken. Pods may pull with a
Secret, where a test makes it.
"""
STOP = 10
"""Seconds that the demonstration's catalog gives a session to exit."""
SAVES = """
import atexit, sys, time

def save():
    with open("saved", "w") as file:
        for part in range({seconds}):
            print(part, file=file, flush=True)
            time.sleep(1)
        print("whole", file=file)

if not hasattr(sys, "saves"):
    sys.saves = atexit.register(save)
"""
"""A user's own configuration of their server: when it is told to end, it saves something first."""


def catalog(image: str) -> dict[str, Any]:
    """The demonstration's, on one node that has every model, with homes alone."""
    entry = yaml.safe_load(DEMO.read_text(encoding="utf-8"))
    for flavor in entry["flavors"].values():
        flavor.pop("nodes", None)
    entry["flavors"]["t4"]["nodes"] = {"nvidia.com/gpu.product": "Tesla-T4"}
    entry["environments"] = {
        "python": {"title": "Python", "image": image},
        "missing": {"title": "Missing", "image": f"{addresses.NODE}:5000/there-is-no/such:1"},
    }
    entry["sizes"] = {"small": {"cpu": 0.2, "memory": "1Gi", "shm": "64Mi"}}
    home = {"mount": "/home/{username}", "claim": "shared", "path": "home/{username}"}
    entry["volumes"] = {"home": home}
    entry["everyone"]["volumes"] = ["home"]
    for group in entry["groups"].values():
        group.pop("volumes", None)
    return dict(entry)


def storage(folder: Path) -> list[dict[str, Any]]:
    """The claim that volumes lie on, over a folder of the node."""
    return volumes.on_the_node(NAMESPACE, "shared", NAMESPACE, path=str(folder))


@pytest.fixture(scope="module")
def site(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """A platform on the cluster, whose namespace insists on the level "restricted"."""
    label = {"pod-security.kubernetes.io/enforce": "restricted"}
    metadata = {"name": NAMESPACE, "labels": label}
    cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
    product = "nvidia.com/gpu.product=Tesla-T4"
    cluster.run(["kubectl", "label", "--overwrite", "node", addresses.NODE_NAME, product])
    folder = cluster.state.folder / "homes"
    home = folder / "home" / "alice"
    home.mkdir(parents=True, exist_ok=True)
    # Here is no provisioner: the platform gives the first person the first number.
    cluster.run(["chown", f"{UID}:{UID}", str(home)])
    cluster.apply(*storage(folder))
    state = tmp_path_factory.mktemp("hub") / "state"
    image = cluster.load(images.MINIMAL)
    try:
        with hub.running(cluster, state, NAMESPACE, catalog(image), site=COUNTS) as started:
            yield started
    finally:
        cluster.remove(NAMESPACE)
        cluster.run(["kubectl", "delete", "pv", NAMESPACE, "--now", "--timeout=60s"])


@pytest.fixture
def alone(site: Hub) -> Iterator[Hub]:
    """The platform, on which nothing runs before and after the test."""
    yield site
    with site.platform.api("alice") as api:
        listed = api.get("/users/alice", params={"include_stopped_servers": True}).json()
        for name in listed["servers"]:
            path = f"/users/alice/servers/{name}" if name else "/users/alice/server"
            api.request("DELETE", path, json={"remove": bool(name)})
        until(lambda: not site.pods(), "every pod is gone", 60)


def answers(site: Hub) -> bool:
    """Whether alice's server answers her at the platform's address."""
    with site.platform.api("alice") as api:
        found = api.get(f"{site.platform.url}/user/alice/api/kernelspecs")
    return found.is_success and "python3" in found.json()["kernelspecs"]


def test_a_session_is_a_restricted_pod_with_the_granted_device(alone: Hub) -> None:
    session = alone.platform.start_session("alice", flavor="t4", environment="python")
    (pod,) = alone.pods()
    name = pod["metadata"]["name"]
    devices = alone.cluster.devices()
    assert name == f"session-{session}"
    held = devices[NAMESPACE, name, "nvidia.com/gpu"]
    assert len(held) == 1
    assert alone.sh(name, "echo $NVIDIA_VISIBLE_DEVICES").split() == held
    assert alone.sh(name, "id -u; whoami; pwd").split() == [str(UID), "alice", "/home/alice"]
    assert alone.sh(name, "df --output=size -B1 /dev/shm | tail -1").split() == [str(64 << 20)]
    told = pod["spec"]["containers"][0]["env"]
    assert not [one for one in told if "TOKEN" in one["name"] and "value" in one]
    assert answers(alone)


def test_what_is_written_at_home_is_there_in_the_next_session(alone: Hub) -> None:
    first = alone.platform.start_session("alice", flavor="cpu", environment="python")
    alone.sh(f"session-{first}", "echo 42 > ~/result")
    with alone.platform.api("alice") as api:
        assert api.delete("/users/alice/server").status_code in (202, 204)
        until(lambda: not alone.pods(), "the pod is gone")
    second = alone.platform.start_session("alice", flavor="a100-1g", environment="python")
    assert second != first
    assert alone.sh(f"session-{second}", "cat ~/result").strip() == "42"
    held = alone.cluster.devices()[NAMESPACE, f"session-{second}", "nvidia.com/mig-1g.5gb"]
    assert held[0].startswith("MIG-")


@contextlib.contextmanager
def configured(site: Hub, text: str) -> Iterator[Path]:
    """Have alice's servers read a configuration of her own; her home, as the node sees it."""
    home = site.cluster.state.folder / "homes" / "home" / "alice"
    own = home / ".jupyter" / "jupyter_server_config.py"
    own.parent.mkdir(exist_ok=True)
    own.write_text(text, encoding="utf-8")
    site.cluster.run(["chown", "-R", f"{UID}:{UID}", str(own.parent)])
    try:
        yield home
    finally:
        own.unlink()


def stopped(site: Hub, seconds: int) -> tuple[list[str], float]:
    """Stop a server of alice's that saves for so many seconds when it is told to.

    Returns:
        What it has saved, and how many seconds it lived from being told.
    """
    with configured(site, SAVES.format(seconds=seconds)) as home:
        session = site.platform.start_session("alice", flavor="cpu", environment="python")
        with site.platform.api("alice") as api:
            told = time.monotonic()
            assert api.delete("/users/alice/server").status_code in (202, 204)
            until(lambda: not site.pods(), "the pod is gone", 60)
            lived = time.monotonic() - told
            until(lambda: not site.platform.server(api, "alice"), "the hub knows", 30)
    rows = site.platform.rows("select state, reason from arcetri_request where id = ?", session.hex)
    assert rows == [("ended", "stopped")]
    return (home / "saved").read_text(encoding="utf-8").split(), lived


def test_a_session_that_is_stopped_may_save_for_as_long_as_the_catalog_says(alone: Hub) -> None:
    wrote, _ = stopped(alone, STOP - 4)
    assert wrote == [*map(str, range(STOP - 4)), "whole"]


def test_a_session_that_does_not_end_is_killed_after_that_time(alone: Hub) -> None:
    wrote, lived = stopped(alone, 1000)
    # It was told, and only later killed.
    assert "whole" not in wrote
    assert len(wrote) >= STOP // 2
    assert lived >= STOP - 1


def test_a_killed_hub_finds_its_session_again(alone: Hub) -> None:
    session = alone.platform.start_session("alice", flavor="t4", environment="python")
    (before,) = alone.pods()
    alone.kill("hub")
    alone.start("hub")
    (after,) = alone.pods()
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    with alone.platform.api("alice") as api:
        server = alone.platform.server(api, "alice")
    assert server.get("ready"), alone.log()
    states = alone.platform.rows("select state from arcetri_request where id = ?", session.hex)
    assert states == [("running",)]
    assert answers(alone)


def test_the_page_counts_what_the_nodes_have(alone: Hub) -> None:
    def startable(client: httpx.Client) -> dict[str, tuple[int, int]]:
        offers = client.get("/hub/arcetri/offers").json()["offers"]
        # How many fit without a device depends on what else runs on this small node.
        gpus = [one for one in offers if one["flavor"] != "cpu"]
        return {one["flavor"]: (one["startable"], one["total"]) for one in gpus}

    with alone.platform.login("alice") as client:

        def shows(flavor: str, counts: tuple[int, int], what: str) -> None:
            until(lambda: startable(client)[flavor] == counts, what, FOLLOWED)

        cluster = alone.cluster
        assert startable(client) == {"a100-1g": (2, 2), "t4": (1, 2)}
        cluster.apply(pod("somebody-elses", "default", devices={SLICE: 1}))
        # It counts from when it has a node, whatever its image does.
        cluster.until("pod", "somebody-elses", lambda found: found["spec"].get("nodeName"))
        shows("a100-1g", (1, 2), "another's pod counts")
        cluster.run(["kubectl", "cordon", addresses.NODE_NAME])
        shows("t4", (0, 0), "a cordoned node counts for none")
        said = {
            one["flavor"]: [reason["sentence"] for reason in one["reasons"]]
            for one in client.get("/hub/arcetri/offers").json()["offers"]
        }
        assert said["t4"] == ["No node that has NVIDIA T4 can start a session now."]
        assert said["cpu"] == ['No node can start a session with "No accelerator" now.']
        cluster.run(["kubectl", "uncordon", addresses.NODE_NAME])
        cluster.run(["kubectl", "delete", "pod", "somebody-elses", "--now"])
        shows("a100-1g", (2, 2), "all is as before")
        try:
            cut(cluster, {**DEFAULT_LAYOUT, SLICE: DEFAULT_LAYOUT[SLICE][:1]})
            shows("a100-1g", (1, 1), "a GPU that is cut otherwise counts as it is now")
        finally:
            cut(cluster, DEFAULT_LAYOUT)
        shows("a100-1g", (2, 2), "and as before")


def cut(cluster: Cluster, layout: Layout) -> None:
    """Have the node offer these devices; return once it says so."""
    cluster.offer(layout)
    slices = str(len(layout[SLICE]))

    def offered(node: dict[str, Any]) -> bool:
        return bool(node["status"]["allocatable"].get(SLICE) == slices)

    cluster.until("node", addresses.NODE_NAME, offered)
