"""What is free, what is borrowed, and what is asked back: told, saved, ended, back in line.

On the real Kueue: a hub, a real kubelet and two T4, one of which is at stake: CMS may borrow what
is Virgo's.
"""

from __future__ import annotations

import html
import json
import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

import httpx
import pytest
import yaml

from arcetri_spawner import lab as lab_extension
from arcetri_spawner.queues.names import Names
from kueue_client import HOSTNAME, Asked, Cause, Kueue, Quantity, Ticket, TicketState
from tests.cluster import addresses, images
from tests.cluster.cluster import Cluster
from tests.cluster.hub import Hub
from tests.cluster.queued import Place
from tests.cluster.test_sessions import catalog
from tests.support.platform import until, xsrf

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

NAMESPACE = "lent-sessions"
NAMES = Names("lent", NAMESPACE)
GRACE = 15
PRODUCT = "nvidia.com/gpu.product"
CMS = {"flavor": "t4", "group": "/arcetri/cms", "environment": "python"}
VIRGO = {**CMS, "group": "/arcetri/virgo"}
SLICE = {**CMS, "flavor": "a100-1g"}
SMALL, LARGE = {"size": "small"}, {"size": "large"}


@pytest.fixture(scope="module")
def site(
    kueue: Kueue, with_kueue: Cluster, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Hub]:
    """A platform on a node of two T4, one of which is each group's."""
    node = ["kubectl", "label", "--overwrite", "node", addresses.NODE_NAME]
    with_kueue.run([*node, f"{PRODUCT}=Tesla-T4"])
    made = catalog(with_kueue.load(images.MINIMAL))
    made["defaults"] |= {"grace": f"{GRACE}s", "stop": "5s"}
    groups = made["groups"]
    groups["/arcetri/cms"]["flavors"] = {
        "t4": {"quota": 1, "borrow": 1},
        "a100-1g": {"quota": 1},
    }
    groups["/arcetri/virgo"]["flavors"] = {"t4": {"quota": 1}}
    groups.pop("/arcetri/students")
    # Of the large size the node has the cores for one.
    (found,) = with_kueue.kubectl("get", "nodes")["items"]
    cores = round(0.6 * cpus(found["status"]["allocatable"]["cpu"]), 1)
    made["sizes"]["large"] = {"title": "Large", "cpu": cores, "memory": "1Gi", "shm": "64Mi"}
    state = tmp_path_factory.mktemp("hub") / "state"
    place = Place(with_kueue, kueue, NAMES)
    with place.running(state, made, ("alice", "bruno", "chiara")) as started:
        yield started


def cpus(text: str) -> float:
    """Cores as Kubernetes writes them."""
    return float(Quantity(text).amount)


def holds(kueue: Kueue, group: str) -> Ticket:
    """A ticket that holds a T4 of a group's, with no session behind it."""
    ticket = kueue.ticket("holds", NAMESPACE)
    priority = kueue.priority_classes.get(NAMES.priority("notebook"))
    ticket.submit(
        Asked(
            NAMES.local_queue(group),
            {"cpu": "100m", "memory": "64Mi", "nvidia.com/gpu": 1},
            node_selector={PRODUCT: "Tesla-T4"},
            priority_class=priority.name,
            priority=priority.value,
            topology=HOSTNAME,
        )
    )
    until(lambda: ticket.look().state is TicketState.ADMITTED, "it is held", 60)
    return ticket


def asks(site: Hub, name: str, choice: dict[str, str]) -> dict[str, Any]:
    """What somebody is answered who asks for a session and has to wait."""
    with site.platform.api(name) as api:
        answer = api.post(f"/users/{name}/server", json=choice)
    assert answer.status_code == 202, answer.text
    found: dict[str, Any] = answer.json()
    return found


def announced(client: httpx.Client) -> dict[str, Any] | None:
    """What somebody's JupyterLab is told will happen."""
    notices = client.get("/hub/arcetri/notices").raise_for_status().json()["notices"]
    return notices[0] if notices else None


def ready(site: Hub, name: str) -> bool:
    with site.platform.api(name) as api:
        return bool(site.platform.server(api, name).get("ready"))


def pods(site: Hub) -> set[str]:
    return {one["metadata"]["name"] for one in site.pods()}


def returns(client: httpx.Client, wanted: bool) -> bool:
    """Whether what is announced says so of the request's going back in line."""
    said = announced(client)
    return said is not None and said["returns"] is wanted


def live(site: Hub, name: str) -> tuple[UUID, str]:
    """Somebody's live request, and its state."""
    query = "select id, state from arcetri_request where username = ? and state != 'ended'"
    ((request, state),) = site.platform.rows(query, name)
    return UUID(request), state


def told(client: httpx.Client, where: str, flavor: str, size: str) -> dict[str, Any]:
    """What the spawn page says of a flavour in a size, as it comes and as it is kept up to date.

    Args:
        client: Somebody who has logged in.
        where: Whose page, and of which server: ``alice``, ``alice/second``.
        flavor: Which.
        size: Likewise.
    """
    user, _, server = where.partition("/")
    answer = client.get(f"/hub/spawn/{where}", params={"flavor": flavor, "size": size})
    card = html.unescape(answer.raise_for_status().text.split(f'data-flavor="{flavor}"')[1])
    card = card.split('data-flavor="')[0]
    now = client.get("/hub/arcetri/offers", params={"user": user, "server": server})
    offers = {one["flavor"]: one for one in now.raise_for_status().json()["offers"]}
    said: dict[str, Any] = offers[flavor]["sizes"].get(size, offers[flavor])
    for name, mark in (("free", "data-free"), ("others", "data-others")):
        assert f"{mark}>{said[name]}</span>" in card
    assert f"data-borrowed-text>{said['borrowed']}</p>" in card
    assert re.findall(r'class="reason" data-code="(\w+)"', card) == codes(said)
    return said


def codes(said: dict[str, Any]) -> list[str]:
    """Why something waits."""
    return [one["code"] for one in said["reasons"]]


def lent(kueue: Kueue) -> int:
    """How many T4 Kueue counts as borrowed by CMS."""
    queue = kueue.cluster_queues.get(NAMES.cluster_queue("/arcetri/cms"))
    flavors = {one.name: one.resources for one in queue.status.flavors_usage}
    found = {one.name: one.borrowed for one in flavors[NAMES.flavor("t4")]}
    return int((found["nvidia.com/gpu"] or Quantity(0)).amount)


def shows_notices(site: Hub) -> None:
    """Alice's JupyterLab has the extension that tells her, in an image that knows nothing of it."""
    with site.platform.api("alice") as api:
        lab = api.get(f"{site.platform.url}/user/alice/lab")
        data = re.search(r'id="jupyter-config-data"[^>]*>(.*?)</script>', lab.text, re.DOTALL)
        assert data is not None, lab.text
        loaded = json.loads(data[1])["federated_extensions"]
        (ours,) = [one for one in loaded if one["name"] == "arcetri-notices"]
        path = f"/user/alice/lab/extensions/arcetri-notices/{ours['load']}"
        script = api.get(f"{site.platform.url}{path}")
    assert script.text == lab_extension.text(lab_extension.SCRIPT)


def test_what_the_page_calls_free_is_what_starts(site: Hub, kueue: Kueue) -> None:
    """In the size that is chosen, placement included, with what would be borrowed."""
    platform = site.platform
    platform.start_session("alice", **SLICE, **LARGE)
    with (
        platform.login("alice") as alice,
        platform.login("bruno") as bruno,
        platform.login("chiara") as chiara,
    ):
        # T4s are free, and cores for a large session are on no node.
        small, large = (told(chiara, "chiara", "t4", size) for size in ("small", "large"))
        assert (small["free"], small["borrowed"]) == ("2 of 2 free for you now", "")
        assert (large["free"], codes(large)) == ("0 of 2 free for you now", ["queue_size"])
        assert large["reasons"][0]["sentence"].endswith("In the size Small 2 would start.")
        waits = asks(site, "chiara", {**CMS, **LARGE})
        assert codes(waits) == ["queue_size"]
        # A slice is free too; but CMS has what is its own of those, and may not borrow any.
        slices = told(bruno, "bruno", "a100-1g", "small")
        assert (slices["free"], slices["others"]) == (
            "0 of 2 free for you now",
            "1 free for others",
        )
        assert codes(slices) == ["busy_quota"]
        other = asks(site, "bruno", {**SLICE, **SMALL})
        assert codes(other) == ["busy_quota"]
        ticket = kueue.ticket(f"request-{other['request']}", NAMESPACE)
        until(lambda: ticket.why().cause is Cause.QUOTA, "Kueue has refused it for now", 30)
        with platform.api("bruno") as api:
            api.delete("/users/bruno/server")
        # Who asks for the small one is passed by nobody who waits for a large one.
        assert told(bruno, "bruno", "t4", "small")["free"] == "2 of 2 free for you now"
        platform.start_session("bruno", **CMS, **SMALL)
        assert lent(kueue) == 0
        offered = told(alice, "alice/second", "t4", "small")
        assert offered["free"] == "1 of 2 free for you now"
        assert [one["use"] for one in offered["groups"]] == [
            "1 of 1 in use, the next would be borrowed"
        ]
        assert offered["borrowed"].startswith("Beyond the quota of CMS it is borrowed: when the")
        assert "to save your work" in offered["borrowed"]
        platform.start_session("alice", "second", **CMS, **SMALL)
        assert lent(kueue) == 1
        assert told(bruno, "bruno/second", "t4", "small")["free"] == "0 of 2 free for you now"
        assert live(site, "chiara") == (UUID(waits["request"]), "waiting")
    for name, server in (("chiara", "server"), ("alice", "servers/second"), ("bruno", "server")):
        with platform.api(name) as api:
            api.delete(f"/users/{name}/{server}")
    with platform.api("alice") as api:
        api.delete("/users/alice/server")
    until(lambda: not kueue.workloads.list(NAMESPACE).items, "every place is free", 60)


def test_what_was_borrowed_is_given_back_with_the_work_saved(site: Hub, kueue: Kueue) -> None:
    own = holds(kueue, "/arcetri/cms")
    time.sleep(1.1)  # who came last goes first, and Kueue tells ages to the second
    alice = site.platform.start_session("alice", **CMS)
    ticket = kueue.ticket(f"request-{alice}", NAMESPACE)
    until(lambda: ticket.look().ready, "Kueue is told that it runs", 30)
    with site.platform.login("alice") as client:
        assert announced(client) is None
        shows_notices(site)
        bruno = asks(site, "bruno", VIRGO)
        assert bruno["state"] == "queued"
        until(lambda: announced(client), "she is told", 30)
        said = announced(client)
        assert said is not None
        assert said["code"] == "preempted"
        assert said["sentence"].startswith("Your group had borrowed this NVIDIA T4")
        assert (said["saves"], said["returns"]) == (True, True)
        assert GRACE - 8 < said["seconds"] <= GRACE
        # She changes her mind, and changes it again.
        for wish in ("no", "yes"):
            button = "Do not go back in line" if wish == "no" else ">Go back in line"
            assert button in client.get("/hub/home").text
            wished = client.post(
                "/hub/arcetri/return/alice", data={"returns": wish}, headers=xsrf(client)
            )
            assert wished.is_redirect or wished.is_success, wished.text
            until(partial(returns, client, wish == "yes"), "her wish is told", 20)
        # In the grace everything is as it was: what she saves is there afterwards.
        assert pods(site) == {f"session-{alice}"}
        assert ticket.look().state is TicketState.EVICTED
        site.sh(f"session-{alice}", "echo 42 > ~/saved")
        chiara = asks(site, "chiara", CMS)
        until(lambda: live(site, "alice")[0] != alice, "her session has ended", GRACE + 40)
        # Only then the owner has it.
        until(lambda: ready(site, "bruno"), "its owner's session runs", 90)
        home = client.get("/hub/home").text
        assert "Your request is back in line." in home
        page = client.get("/hub/waiting/alice").text
        assert "Your session was ended: your group had borrowed this NVIDIA T4" in page
        told = client.get(f"/hub/api/arcetri/requests/{alice}").json()
    rows = site.platform.rows("select id, reason, ended_at, admitted_at from arcetri_request")
    ends = {UUID(one): (reason, ended, admitted) for one, reason, ended, admitted in rows}
    assert ends[alice][0] == "preempted"
    assert ends[UUID(bruno["request"])][2] >= ends[alice][1]
    again, state = live(site, "alice")
    assert (state, told["state"], told["code"]) == ("waiting", "ended", "preempted")
    assert told["again"].endswith(str(again))
    # It has the Workload that it had, and is before who asked later.
    names = {
        one.metadata.name for one in kueue.pending(NAMES.local_queue("/arcetri/cms"), NAMESPACE)
    }
    assert names == {f"request-{alice}", f"request-{chiara['request']}"}
    with site.platform.login("alice") as client:
        mine = client.get(f"/hub/api/arcetri/requests/{again}").json()
    assert (mine["state"], mine["place"]) == ("queued", 1)
    with site.platform.api("chiara") as api:
        theirs = api.get(f"/arcetri/requests/{chiara['request']}").json()
        assert (theirs["state"], theirs["place"]) == ("queued", 2)
    # Room comes back: it starts by itself, with what was saved.
    with site.platform.api("bruno") as api:
        api.delete("/users/bruno/server")
    until(lambda: ready(site, "alice"), "her session runs again", 90)
    assert live(site, "alice") == (again, "running")
    assert site.sh(f"session-{again}", "cat ~/saved").strip() == "42"
    assert live(site, "chiara")[1] == "waiting"
    with site.platform.api("chiara") as api:
        api.delete("/users/chiara/server")
    own.leave()


def test_a_queue_is_drained_and_the_hub_killed_in_the_grace(site: Hub, kueue: Kueue) -> None:
    first, state = live(site, "alice")
    assert state == "running"
    queue = NAMES.local_queue("/arcetri/cms")
    drain = {"spec": {"stopPolicy": "HoldAndDrain"}}
    with site.platform.login("alice") as client:
        kueue.local_queues.patch(queue, NAMESPACE, change=drain)
        until(lambda: announced(client), "she is told", 30)
        site.kill("hub")
        site.start("hub")
        until(lambda: announced(client), "she is told again", 60)
        said = announced(client)
        assert said is not None
        assert said["code"] == "drained"
        assert said["sentence"].startswith("The queue of /arcetri/cms is being emptied.")
    until(lambda: live(site, "alice")[0] != first, "her session has ended", GRACE + 60)
    again, state = live(site, "alice")
    assert state == "waiting"
    query = "select reason from arcetri_request where id = ?"
    assert site.platform.rows(query, first.hex) == [("drained",)]
    with site.platform.api("alice") as api:
        found = api.get(f"/arcetri/requests/{again}").json()
    assert [one["code"] for one in found["reasons"]] == ["queue_closed"]
    until(lambda: pods(site) == set(), "nothing runs", 60)
    # Whatever was wanted back before is not any more: it starts when the queue is open.
    kueue.local_queues.patch(queue, NAMESPACE, change={"spec": {"stopPolicy": "None"}})
    until(lambda: ready(site, "alice"), "her session runs again", 90)
    assert live(site, "alice") == (again, "running")
    with site.platform.api("alice") as api:
        api.delete("/users/alice/server")
    until(lambda: not kueue.workloads.list(NAMESPACE).items, "every place is free", 60)


def test_maintenance_ends_a_session_that_waits_at_its_place_until_it_is_over(
    site: Hub, kueue: Kueue
) -> None:
    own = holds(kueue, "/arcetri/cms")
    alice = site.platform.start_session("alice", **CMS, **SMALL)
    chiara = UUID(asks(site, "chiara", {**CMS, **SMALL})["request"])
    profiles = site.settings.profiles
    before = profiles.read_text(encoding="utf-8")
    begins = datetime.now(UTC) + timedelta(seconds=GRACE + 1)
    made = yaml.safe_load(before)
    made["flavors"]["t4"]["maintenance"] = {"from": begins.isoformat(), "message": "new fans"}
    try:
        profiles.write_text(yaml.safe_dump(made), encoding="utf-8")
        with site.platform.login("alice") as client:
            until(lambda: announced(client), "she is told", 30)
            said = announced(client)
            assert said is not None
            assert (said["code"], said["saves"], said["returns"]) == ("maintenance", True, True)
            assert said["sentence"].startswith("NVIDIA T4 goes into maintenance: new fans.")
            assert GRACE - 8 < said["seconds"] <= GRACE
            # Beforehand: all is as it was, and what she saves is there afterwards.
            assert live(site, "alice") == (alice, "running")
            site.sh(f"session-{alice}", "echo 43 > ~/saved")
            until(lambda: live(site, "alice")[0] != alice, "her session has ended", GRACE + 40)
            again, state = live(site, "alice")
            assert state == "waiting"
            assert datetime.now(UTC) >= begins
            over = client.get(f"/hub/api/arcetri/requests/{alice}").json()
            assert (over["state"], over["code"]) == ("ended", "maintenance")
            assert "maintenance" in client.get("/hub/waiting/alice").text
            until(lambda: pods(site) == set(), "nothing runs", 60)
            # The device is free, and stays so: nobody is given what is under maintenance.
            for name, request, place in (("alice", again, 1), ("chiara", chiara, 2)):
                with site.platform.api(name) as api:
                    waits = api.get(f"/arcetri/requests/{request}").json()
                assert (waits["state"], waits["place"], codes(waits)) == (
                    "queued",
                    place,
                    ["maintenance"],
                )
            second = told(client, "alice/second", "t4", "small")
            assert (second["free"], codes(second)) == ("0 of 2 free for you now", ["maintenance"])
            time.sleep(2)
            assert live(site, "alice") == (again, "waiting")
            assert live(site, "chiara") == (chiara, "waiting")
            assert pods(site) == set()
    finally:
        profiles.write_text(before, encoding="utf-8")
    until(lambda: ready(site, "alice"), "her session runs again", 90)
    assert live(site, "alice") == (again, "running")
    assert site.sh(f"session-{again}", "cat ~/saved").strip() == "43"
    assert live(site, "chiara") == (chiara, "waiting")
    for name in ("chiara", "alice"):
        with site.platform.api(name) as api:
            api.delete(f"/users/{name}/server")
    own.leave()
    until(lambda: not kueue.workloads.list(NAMESPACE).items, "every place is free", 60)
