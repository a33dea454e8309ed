"""A hub whose requests stand in the queues of the real Kueue: sessions run by a real kubelet."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest

from arcetri_spawner.queues.names import Names
from kueue_client import HOSTNAME, Kueue, TicketState, TicketStatus, Workload
from tests.cluster import addresses, images
from tests.cluster.cluster import Cluster
from tests.cluster.components import SIMULATED
from tests.cluster.hub import Hub
from tests.cluster.kueue import stopped
from tests.cluster.pods import simulated_node
from tests.cluster.queued import Place
from tests.cluster.test_sessions import catalog
from tests.cluster.test_troubles import ended, page
from tests.support.platform import until

pytestmark = pytest.mark.cluster

NAMESPACE = "queued-sessions"
NAMES = Names("queued", NAMESPACE)
FAR = "far-node"


@pytest.fixture(scope="module")
def place(kueue: Kueue, with_kueue: Cluster) -> Place:
    return Place(with_kueue, kueue, NAMES)


@pytest.fixture(scope="module")
def site(place: Place, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """A platform whose group CMS may have the one FPGA."""
    made = catalog(place.cluster.load(images.MINIMAL))
    # Of the node's devices the one that other tests want least.
    one = {"quota": 1, "limit": 1}
    made["groups"]["/arcetri/cms"]["flavors"] = {"v70": one, "far": one}
    made["flavors"]["far"] = {
        "title": "A GPU far away",
        "resource": "nvidia.com/gpu",
        "nodes": {HOSTNAME: FAR},
        "tolerations": [SIMULATED.partition("=")[0]],
    }
    state = tmp_path_factory.mktemp("hub") / "state"
    with place.running(state, made, ("alice", "bruno")) as started:
        yield started


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


def test_who_waits_is_told_what_only_the_queue_knows(
    site: Hub, kueue: Kueue, place: Place, tmp_path: Path
) -> None:
    """By page and API, while the device itself is in use all the time."""
    platform = site.platform
    choice = {"flavor": "v70", "group": "/arcetri/cms", "environment": "python"}
    queue = NAMES.local_queue("/arcetri/cms")

    def told(word: str, code: str) -> None:
        until(lambda: code in _codes(site), code, 30)
        with platform.login("bruno") as browser:
            page = browser.get("/hub/waiting/bruno").text
        assert word in page
        stuck = "Your request cannot start as it is" in page
        assert stuck == (code == "queue_set_aside"), page

    # What is asked for beforehand, while the device is free.
    assert _offered(site, "v70") == (1, [])
    for stop, found in (("Hold", (0, ["queue_closed"])), ("None", (1, []))):
        kueue.local_queues.patch(queue, NAMESPACE, change={"spec": {"stopPolicy": stop}})
        until(lambda: _offered(site, "v70") == found, f"it is offered as {stop} has it", 30)  # noqa: B023 - at once
    session = platform.start_session("alice", flavor="v70", environment="python")
    with platform.api("alice") as hers, platform.api("bruno") as api:
        with stopped(site.cluster):
            # Nobody has asked for anything: the hub sees for itself that it is silent.
            until(lambda: _offered(site, "cpu") == (0, ["queue_silent"]), "nothing is free", 60)
            assert api.post("/users/bruno/server", json=choice).is_success
            told("The queue does not answer just now.", "queue_silent")
        told("The only AMD Alveo V70 is in use", "busy_quota")
        until(lambda: _offered(site, "cpu")[0] > 0, "what nobody uses is free again", 30)
        for stop, code in (("Hold", "queue_closed"), ("None", "busy_quota")):
            change = {"spec": {"stopPolicy": stop}}
            kueue.local_queues.patch(queue, NAMESPACE, change=change)
            told("is closed for now" if stop == "Hold" else "is in use", code)
        (name,) = set(_held(kueue)) - {f"request-{session}"}
        for active, code in ((False, "queue_set_aside"), (True, "busy_quota")):
            kueue.workloads.patch(name, NAMESPACE, change={"spec": {"active": active}})
            told("is in use" if active else "An operator has set your request aside", code)
        kueue.local_queues.delete(queue, NAMESPACE)
        told("is not ready on the cluster", "queue_unready")
        assert "queue_unready" in _offered(site, "v70")[1]
        place.command(["sync", "--overcommit"], site.state.with_name("profiles.yaml"), tmp_path)
        told("is in use", "busy_quota")
        api.delete("/users/bruno/server")
        hers.delete("/users/alice/server")
    until(lambda: not _held(kueue), "every place is free", 60)


def _offered(site: Hub, flavor: str) -> tuple[int, list[str]]:
    """How many of a flavour would start for Bruno now, charged to CMS, and why none would."""
    with site.platform.login("bruno") as browser:
        found = browser.get("/hub/arcetri/offers?server=other").json()["offers"]
    one = next(offer for offer in found if offer["flavor"] == flavor)
    one |= one["charged"].get("/arcetri/cms", {})
    return one["startable"], [reason["code"] for reason in one["reasons"]]


def _codes(site: Hub) -> list[str]:
    """The reasons for which Bruno waits, as the API tells them."""
    with site.platform.api("bruno") as api:
        ((request,),) = site.platform.rows(
            "select id from arcetri_request where username = 'bruno' order by asked_at desc limit 1"
        )
        answer = api.get(f"/arcetri/requests/{UUID(str(request))}")
        return [reason["code"] for reason in answer.json()["reasons"]]


def test_a_session_whose_workload_is_deleted_by_hand_holds_its_place_again(
    site: Hub, kueue: Kueue, place: Place, tmp_path: Path
) -> None:
    platform, profiles = site.platform, site.state.with_name("profiles.yaml")
    choice = {"flavor": "v70", "group": "/arcetri/cms", "environment": "python"}
    session = platform.start_session("alice", flavor="v70", environment="python")
    ticket = kueue.ticket(f"request-{session}", NAMESPACE)
    until(lambda: ticket.look().ready, "Kueue is told that it runs", 30)

    def holds_again() -> bool:
        now = _held(kueue).get(ticket.name)
        if now is None or now.metadata.uid == before.metadata.uid:
            return False
        found = TicketStatus.of(now)
        return found.admitted is not None and found.ready

    # With nobody else in line it is admitted again at once, and known to run.
    before = kueue.workloads.get(ticket.name, NAMESPACE)
    kueue.workloads.delete(ticket.name, NAMESPACE)
    until(holds_again, "it holds its place again", 60)
    with platform.api("bruno") as api:
        answer = api.post("/users/bruno/server", json=choice)
    assert answer.status_code == 202, answer.text
    bruno = answer.json()["request"]
    site.kill("hub")
    before = kueue.workloads.get(ticket.name, NAMESPACE)
    kueue.workloads.delete(ticket.name, NAMESPACE)
    # Kueue gives the next in line what it takes for free, and an admin is told what is so.
    other = kueue.ticket(f"request-{bruno}", NAMESPACE)
    until(lambda: other.look().admitted, "Kueue gives it away", 30)
    said = place.command(["doctor", str(session)], profiles, tmp_path, status=1)
    assert f"wrong: request {session}: Its session runs (pod session-{session}" in said
    assert "has no Workload: somebody deleted it" in said
    site.start("hub")
    until(holds_again, "it holds its place again", 90)
    said = place.command(["doctor", bruno], profiles, tmp_path, status=1)
    assert f"request {bruno}: It stands aside: Every device of the node it was given is" in said
    states = dict(platform.rows("select id, state from arcetri_request where state != 'ended'"))
    assert {str(UUID(key)): state for key, state in states.items()} == {
        str(session): "running",
        bruno: "waiting",
    }
    assert [one["metadata"]["name"] for one in site.pods()] == [f"session-{session}"]
    with platform.api("alice") as api:
        api.delete("/users/alice/server")
    # His place was his all the time: it is his turn, and his first request is what starts.
    with platform.api("bruno") as api:
        until(lambda: platform.server(api, "bruno").get("ready"), "the next one runs", 90)
        running = platform.rows("select id from arcetri_request where state = 'running'")
        assert [str(UUID(key)) for (key,) in running] == [bruno]
        api.delete("/users/bruno/server")
    until(lambda: not _held(kueue), "every place is free", 60)


def test_a_node_lost_under_a_session_ends_it_and_who_comes_next_is_told(
    site: Hub, kueue: Kueue, place: Place, tmp_path: Path
) -> None:
    cluster, platform = site.cluster, site.platform
    choice = {"flavor": "far", "group": "/arcetri/cms", "environment": "python"}
    cluster.simulate(simulated_node(FAR, {"nvidia.com/gpu": 1}))
    try:
        session = platform.start_session("alice", **choice)
        ticket = kueue.ticket(f"request-{session}", NAMESPACE)
        until(lambda: ticket.look().ready, "Kueue is told that it runs", 30)
        with platform.api("bruno") as api:
            assert api.post("/users/bruno/server", json=choice).is_success
            until(lambda: len(_held(kueue)) == 2, "the next one is in line", 30)
            (name,) = set(_held(kueue)) - {ticket.name}
            cluster.run(["kubectl", "delete", "node", FAR])
            assert ended(site, session) == "node_lost"
            assert "and the session with it" in page(site)
            until(lambda: list(_held(kueue)) == [name], "the place is free", 30)
            # What it ran on is gone, so that it is nobody's turn; who waits keeps their place.
            profiles = site.state.with_name("profiles.yaml")
            said = place.command(["doctor", name], profiles, tmp_path, status=1)
            assert f"request {name.removeprefix('request-')}" in said
            assert "flavour far: No node has it now." in said
            assert platform.rows(
                "select state from arcetri_request where username = 'bruno'"
                " order by asked_at desc limit 1"
            ) == [("waiting",)]
            cluster.simulate(simulated_node(FAR, {"nvidia.com/gpu": 1}))
            until(lambda: platform.server(api, "bruno").get("ready"), "it runs", 60)
            api.delete("/users/bruno/server")
        until(lambda: not _held(kueue), "every place is free", 60)
    finally:
        cluster.run(["kubectl", "delete", "node", FAR, "--ignore-not-found", "--wait=false"])
