"""What goes wrong with a session on a real cluster, and what its user is told of it."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

import httpx
import pytest
import yaml

from tests.cluster import addresses, registry, volumes
from tests.cluster.components import SIMULATED
from tests.cluster.hub import Hub
from tests.cluster.pods import simulated_node
from tests.cluster.test_sessions import NAMESPACE, alone, configured, site
from tests.support.platform import until

__all__ = ["alone", "site"]

pytestmark = pytest.mark.cluster

CPU = {"flavor": "cpu", "environment": "python"}
RAW = (
    *("Traceback", "Failed", "BackOff", "ErrImage", "kubelet", "OOMKilled", "exceeded quota"),
    *("rpc error", "Unschedulable", "nodes are available", "Errno", "HTTP 5"),
)
"""What the cluster, or a library, says: none of it stands before the details."""
ONCE = """
import os, time
name = os.environ["JUPYTERHUB_SERVER_NAME"]
if name == "late":
    time.sleep(1000)

def answered(_handler):
    if name == "silent":
        time.sleep(1000)
    os._exit(1)

c.ServerApp.tornado_settings = {"log_function": answered}
"""
"""A user's own configuration of their servers: one never answers, and the others do so once.

Called after the first answer, to log it.
"""
Change = Callable[[dict[str, Any]], None]


@pytest.fixture
def offers(alone: Hub) -> Iterator[Callable[[Change], None]]:
    """Changes the catalog for one test, and waits until the platform has taken it."""
    path = alone.state / "profiles.yaml"
    before = path.read_text(encoding="utf-8")

    def change(edit: Change) -> None:
        catalog = yaml.safe_load(before)
        edit(catalog)
        fresh = path.with_suffix(".new")
        fresh.write_text(yaml.safe_dump(catalog), encoding="utf-8")
        taken = alone.log().count("catalog taken")
        fresh.replace(path)
        until(lambda: alone.log().count("catalog taken") > taken, "the catalog is taken", 30)

    yield change
    change(lambda _catalog: None)


def given_up(site: Hub, **options: str) -> tuple[str, str]:
    """Ask for a session that cannot start: the reason that is kept, and what the page says."""
    with site.platform.api("alice") as api:
        answer = api.post("/users/alice/server", json=options)
        # What is known at once is the answer.
        assert answer.is_success or not [raw for raw in RAW if raw in answer.text], answer.text
        until(lambda: not site.platform.server(api, "alice").get("pending"), "it is given up", 120)
    ((state, reason),) = site.platform.rows(
        "select state, reason from arcetri_request order by asked_at desc limit 1"
    )
    assert state == "ended", site.log()
    assert site.pods() == []
    assert site.platform.leases() == []
    assert counted(site) == 0
    return str(reason), page(site)


def counted(site: Hub) -> int:
    """The failures in a row that JupyterHub has counted; after two it ends itself."""
    return int(httpx.get(f"{site.platform.url}/hub/failures", trust_env=False).text)


def page(site: Hub) -> str:
    """What alice sees when she comes back to the page, without what lies behind "details"."""
    with site.platform.login("alice") as client:
        return plain(client.get("/hub/spawn").text)


def plain(text: str) -> str:
    """A page without what lies behind "details"; nothing raw is in it."""
    shown = html.unescape(re.sub(r"<details>.*?</details>", "", text, flags=re.DOTALL))
    body = shown.partition("<body")[2].partition("<script")[0]
    assert not [raw for raw in RAW if raw in body], body
    return body


def behind_details(site: Hub) -> str:
    """What alice finds behind the details of how her last session ended."""
    with site.platform.login("alice") as client:
        text = client.get("/hub/spawn").text
    (raw,) = re.findall(
        r"<details>\s*<summary>Details</summary>\s*<pre>(.*?)</pre>", text, re.DOTALL
    )
    return html.unescape(str(raw))


def ended(site: Hub, session: UUID) -> str:
    """Wait until a session has ended, and return why."""

    def reason() -> str:
        ((state, why),) = site.platform.rows(
            "select state, reason from arcetri_request where id = ?", session.hex
        )
        return str(why) if state == "ended" else ""

    until(reason, "the session has ended", 120)
    return reason()


def test_more_than_the_namespaces_quota(alone: Hub) -> None:
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "small", "namespace": NAMESPACE},
        "spec": {"hard": {"pods": "0"}},
    }
    alone.cluster.apply(quota)
    try:
        alone.cluster.until(
            "resourcequota", "small", lambda q: q.get("status", {}).get("hard"), namespace=NAMESPACE
        )
        reason, text = given_up(alone, **CPU)
    finally:
        alone.cluster.run(
            ["kubectl", "delete", "resourcequota", "small", f"--namespace={NAMESPACE}"]
        )
    assert reason == "quota_exceeded"
    assert "have as much as the cluster allows them: pods" in text


def test_an_image_that_may_not_be_pulled_and_one_that_is_not_there(
    alone: Hub, offers: Callable[[Change], None]
) -> None:
    found = registry.started(alone.cluster)
    image = f"{addresses.REGISTRY}/{registry.repository()}:1"

    def edit(catalog: dict[str, Any]) -> None:
        catalog["environments"]["python"]["image"] = image

    offers(edit)
    reason, text = given_up(alone, **CPU)
    assert reason == "image_denied"
    assert f'The registry does not let the cluster have the image "{image}"' in text
    alone.cluster.apply(found.secret(NAMESPACE))
    reason, text = given_up(alone, **CPU)
    assert reason == "image_missing"
    assert f'There is no image "{image}"' in text
    assert "Failed: " in behind_details(alone)


def test_a_registry_that_does_not_answer(alone: Hub) -> None:
    reason, text = given_up(alone, flavor="cpu", environment="missing")
    assert reason == "registry_away"
    assert "The registry of the image" in text


def test_servers_that_end_or_are_silent_once_they_have_answered_and_one_that_never_does(
    alone: Hub, offers: Callable[[Change], None]
) -> None:
    def edit(catalog: dict[str, Any]) -> None:
        catalog["limits"] = {"sessions": 5, "requests": 5}
        catalog["defaults"]["stop"] = "2s"

    offers(edit)
    said = {
        "": "Your session ended just after it had started.",
        "silent": "Your session started, and then answered no more.",
        "late": "The session did not start in time.",
    }
    with configured(alone, ONCE), alone.platform.api("alice") as api:
        for name in said:
            path = f"/users/alice/servers/{name}" if name else "/users/alice/server"
            assert api.post(path, json=CPU).status_code in (201, 202)

        def pending() -> list[str]:
            servers = {name: alone.platform.server(api, "alice", name) for name in said}
            return [name for name, server in servers.items() if server.get("pending")]

        until(lambda: not pending(), "all are given up", 60)
    with alone.platform.login("alice") as client:
        for name, sentence in said.items():
            text = client.get(f"/hub/spawn-pending/alice/{name}".rstrip("/")).text
            assert sentence in plain(text), text
        assert said["silent"] in plain(client.get("/hub/home").text)
    assert counted(alone) == 0
    until(lambda: not alone.pods(), "the pods are gone", 30)
    assert alone.platform.leases() == []
    with alone.platform.api("alice") as api:
        gone = api.request("DELETE", "/users/alice/servers/late", json={"remove": True})
        assert gone.status_code == httpx.codes.NO_CONTENT
    assert "Error cleaning up" not in alone.log()


def test_what_the_hub_itself_does_wrong_is_counted(alone: Hub) -> None:
    with alone.platform.api("alice") as api:
        answer = api.post("/users/alice/servers/broken", json=CPU)
        assert answer.status_code == httpx.codes.INTERNAL_SERVER_ERROR
        assert "mistake" not in answer.text
        assert counted(alone) == 1
        answer = api.post("/users/alice/servers/other", json={**CPU, "flavor": "none-such"})
        assert answer.status_code == httpx.codes.FORBIDDEN
    assert counted(alone) == 1
    alone.platform.start_session("alice", **CPU)
    assert counted(alone) == 0


def test_a_claim_that_is_not_there(alone: Hub, offers: Callable[[Change], None]) -> None:
    def edit(catalog: dict[str, Any]) -> None:
        catalog["volumes"]["lost"] = {"mount": "/lost", "claim": "nowhere", "path": "lost"}
        catalog["everyone"]["volumes"].append("lost")

    offers(edit)
    reason, text = given_up(alone, flavor="cpu", environment="python")
    assert reason == "claim_missing"
    assert 'The storage claim "nowhere"' in text.replace("&#34;", '"'), text


def test_storage_that_cannot_be_mounted(alone: Hub, offers: Callable[[Change], None]) -> None:
    there_is_none = {"path": "/there/is/no/such/folder", "type": "Directory"}
    broken = volumes.on_the_node(NAMESPACE, "broken", "broken", **there_is_none)
    alone.cluster.apply(*broken)

    def edit(catalog: dict[str, Any]) -> None:
        catalog["volumes"]["broken"] = {"mount": "/broken", "claim": "broken", "path": "some"}
        catalog["everyone"]["volumes"].append("broken")

    try:
        offers(edit)
        reason, text = given_up(alone, flavor="cpu", environment="python")
    finally:
        alone.cluster.run(
            ["kubectl", "delete", "pvc", "broken", f"--namespace={NAMESPACE}", "--now"]
        )
        alone.cluster.run(["kubectl", "delete", "pv", "broken", "--now"])
    assert reason == "volume_not_ready"
    assert "storage cannot be mounted" in text, text


def test_too_little_memory(alone: Hub, offers: Callable[[Change], None]) -> None:
    def edit(catalog: dict[str, Any]) -> None:
        catalog["sizes"]["tiny"] = {"cpu": 0.2, "memory": "24Mi", "shm": "1Mi"}

    offers(edit)
    reason, text = given_up(alone, flavor="cpu", environment="python", size="tiny")
    assert reason == "out_of_memory"
    assert "more memory than" in text, text
    # The pod is gone, and so is the hub that has seen it.
    alone.kill("hub")
    alone.start("hub")
    raw = behind_details(alone)
    assert "container notebook now: terminated with 137 OOMKilled" in raw, raw
    assert " Started: " in raw, raw


def test_a_node_that_closes_before_the_pod_is_placed(alone: Hub) -> None:
    cluster = alone.cluster
    cluster.stop("kube-scheduler")
    try:
        with alone.platform.api("alice") as api:
            asked = {"flavor": "t4", "environment": "python"}
            assert api.post("/users/alice/server", json=asked).is_success
            until(alone.pods, "its pod is made", 30)
            cluster.run(["kubectl", "cordon", addresses.NODE_NAME])
            cluster.start("kube-scheduler")
            until(lambda: not alone.platform.server(api, "alice").get("pending"), "it ends", 120)
    finally:
        cluster.run(["kubectl", "uncordon", addresses.NODE_NAME])
        if not cluster.runs("kube-scheduler"):
            cluster.start("kube-scheduler")
    ((reason,),) = alone.platform.rows(
        "select reason from arcetri_request order by asked_at desc limit 1"
    )
    assert reason == "no_room"
    assert counted(alone) == 0
    assert "is closed for new sessions" in page(alone)
    assert alone.pods() == []


def send_away(site: Hub) -> None:
    """Evict the only pod there is."""
    (pod,) = site.pods()
    name = pod["metadata"]["name"]
    eviction = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": name, "namespace": NAMESPACE},
    }
    path = f"/api/v1/namespaces/{NAMESPACE}/pods/{name}/eviction"
    site.cluster.run(
        ["kubectl", "create", "--raw", path, "--filename=-"], stdin=json.dumps(eviction)
    )


def test_a_session_sent_away_from_its_node(alone: Hub) -> None:
    session = alone.platform.start_session("alice", flavor="cpu", environment="python")
    send_away(alone)
    assert ended(alone, session) == "evicted"
    assert "sent away from its node" in page(alone)
    assert "Start again: another node may be chosen." in page(alone)
    assert "condition DisruptionTarget=True EvictionByEvictionAPI" in behind_details(alone)


def test_a_session_whose_node_is_lost(alone: Hub, offers: Callable[[Change], None]) -> None:
    node = "lost-node"
    alone.cluster.simulate(simulated_node(node, {"nvidia.com/gpu": 1}))

    def edit(catalog: dict[str, Any]) -> None:
        catalog["flavors"]["t4"] |= {
            "nodes": {"kubernetes.io/hostname": node},
            "tolerations": [SIMULATED.partition("=")[0]],
        }

    try:
        offers(edit)
        session = alone.platform.start_session("alice", flavor="t4", environment="python")
        alone.cluster.run(["kubectl", "delete", "node", node])
        reason = ended(alone, session)
    finally:
        alone.cluster.run(["kubectl", "delete", "node", node, "--ignore-not-found"])
    assert reason == "node_lost"
    assert f"The node {node} was lost, and the session with it. Start again" in page(alone)
    assert f" on {node}: " in behind_details(alone)


def test_sessions_whose_node_falls_silent(alone: Hub, offers: Callable[[Change], None]) -> None:
    """One is given up, one is stopped, and one goes on when the node is back."""
    node, cluster, platform = "silent-node", alone.cluster, alone.platform
    cluster.simulate(simulated_node(node, {}))

    def edit(catalog: dict[str, Any]) -> None:
        catalog["flavors"]["cpu"] |= {
            "nodes": {"kubernetes.io/hostname": node},
            "tolerations": [SIMULATED.partition("=")[0]],
        }

    choice = {"flavor": "cpu", "environment": "python"}
    try:
        offers(edit)
        lost = platform.start_session("bruno", **choice)
        stopped = platform.start_session("alice", "stopped", **choice)
        stays = platform.start_session("alice", **choice)
        gives_up(alone, lost, 2)

        cluster.stop("kwok")
        with platform.api("alice") as api, platform.login("alice") as alice:
            assert api.delete("/users/alice/servers/stopped").is_success
            assert ended(alone, lost) == "node_lost"
            assert ended(alone, stopped) == "stopped"
            assert len(platform.leases()) == 1
            until(lambda: not platform.server(api, "alice", "stopped").get("ready"), "it is over")
            assert NOT_ANSWERED in home(alice)
            assert "its node does not answer" in home(alice)
            assert LEFT in home(alice), "of the one that was stopped"
            (told,) = alice.get("/hub/arcetri/notices").json()["notices"]
            assert told["code"] == "node_away"
            assert 200 < told["seconds"] <= 300, "what the cluster bears by itself"
            now = api.get(f"/arcetri/requests/{stays}").json()
            assert (now["state"], now["away"]["node"]) == ("running", node)
            assert now["away"]["until"] == told["at"]
            with platform.login("bruno") as bruno:
                assert LEFT in home(bruno)
                found = bruno.get("/hub/arcetri/offers", params={"user": "bruno"}).json()["offers"]
                assert not next(one for one in found if one["flavor"] == "cpu")["startable"]
            # Nothing says that they do not run: they are the node's to end.
            left = {pod["metadata"]["name"]: pod["metadata"] for pod in alone.pods()}
            marked = {name for name in left if "deletionTimestamp" in left[name]}
            assert marked == {f"session-{lost}", f"session-{stopped}"}
            assert len(left) == 3

            cluster.start("kwok")
            until(lambda: len(alone.pods()) == 1, "what was left over is ended", 30)
            until(lambda: NOT_ANSWERED not in home(alice), "the words are gone", 30)
            assert alice.get("/hub/arcetri/notices").json() == {"notices": [], "ended": None}
            assert platform.server(api, "alice")["ready"]
            assert api.get(f"/arcetri/requests/{stays}").json()["away"] is None
    finally:
        if not cluster.runs("kwok"):
            cluster.start("kwok")
        with platform.api("alice") as api:
            api.delete("/users/alice/server")
        until(lambda: not alone.pods(), "every pod is gone")
        cluster.run(["kubectl", "delete", "node", node, "--ignore-not-found"])


NOT_ANSWERED = "silent-node) has not answered since"
LEFT = "may go on, and write in your folders"


def home(client: httpx.Client) -> str:
    """What somebody sees at home, without what lies behind "details"."""
    return client.get("/hub/home").raise_for_status().text.split("<details")[0]


def gives_up(site: Hub, session: UUID, seconds: int) -> None:
    """Let the cluster give a session up sooner, once its node gives no answer."""
    name = f"session-{session}"
    (found,) = [one for one in site.pods() if one["metadata"]["name"] == name]
    borne = found["spec"]["tolerations"]
    for toleration in borne:
        if toleration.get("key") == "node.kubernetes.io/unreachable":
            toleration["tolerationSeconds"] = seconds
    patch = json.dumps({"spec": {"tolerations": borne}})
    where = [f"--namespace={NAMESPACE}", "--type=merge", f"--patch={patch}"]
    site.cluster.run(["kubectl", "patch", "pod", name, *where])
