"""The hub is restarted while a session starts or stops, and while the API server is away.

None is lost: a start goes on or its user is told why not; every running session is still there. And
none is left over: what was stopped ends, and is told as stopped.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import time
from collections.abc import Iterator

import httpx
import pytest

from tests.cluster.accounting import container_ids
from tests.cluster.cluster import Cluster
from tests.cluster.hub import Hub
from tests.cluster.test_sessions import (
    NAMESPACE,
    SAVES,
    STOP,
    alone,
    answers,
    configured,
    site,
)
from tests.cluster.test_troubles import counted, plain
from tests.support.platform import until, xsrf

__all__ = ["alone", "site"]

pytestmark = pytest.mark.cluster

AWAY = float(os.environ.get("ARCETRI_AWAY", "45"))
"""Seconds: longer than three of the hub's own time limits for an answer, and than the copy's doubt.
``make soak`` sets three minutes."""
CPU = {"flavor": "cpu", "environment": "python"}
SILENCE = "The cluster does not answer just now"


def test_a_session_outlives_an_api_server_that_is_away_while_the_hub_restarts(alone: Hub) -> None:
    session = alone.platform.start_session("alice", flavor="t4", environment="python")
    (before,) = alone.pods()
    other = alone.platform.start_session("alice", "other", flavor="cpu", environment="python")
    (ends,) = [pod for pod in alone.pods() if pod["metadata"]["name"] == f"session-{other}"]
    cluster = alone.cluster

    def states() -> dict[str, str]:
        query = "select server_name, state from arcetri_request where username = ?"
        return dict(alone.platform.rows(f"{query} and state != 'ended'", "alice"))

    cluster.stop("kube-apiserver")
    try:
        began = time.monotonic()
        assert answers(alone)
        with alone.platform.api("bruno") as api:
            # So soon nobody knows that it is away; this one has six seconds.
            assert api.post("/users/bruno/servers/late", json=CPU).is_success
            steps_until(alone, SILENCE, "bruno", "late")
            until(lambda: not alone.platform.server(api, "bruno", "late"), "it is given up", 30)
        with alone.platform.login("bruno") as client:
            assert (
                "The session did not start in time."
                in client.get("/hub/spawn-pending/bruno/late").text
            )
        assert counted(alone) == 0
        alone.kill("hub")
        alone.start("hub")
        assert answers(alone)
        it_is_said_that_it_is_away(alone)
        (container,) = container_ids(ends).values()
        cluster.run(["ctr", "--namespace=k8s.io", "tasks", "kill", "--signal=KILL", container])
        while time.monotonic() - began < AWAY:
            assert answers(alone)
            # What was last heard of them is neither doubted nor news, and nobody knows of the end.
            assert states() == {"": "running", "other": "running"}
            time.sleep(5)
    finally:
        back(cluster)
    (after,) = [pod for pod in alone.pods() if pod["metadata"]["name"] == f"session-{session}"]
    assert after["metadata"]["uid"] == before["metadata"]["uid"]

    def known() -> bool:
        with alone.platform.api("alice") as api:
            server = alone.platform.server(api, "alice")
        return bool(server.get("ready")) and not server.get("pending")

    until(known, "the hub knows the session again", 60)
    assert answers(alone)
    until(lambda: states() == {"": "running"}, "the end meanwhile is known", 90)
    # What happens from now on is news again.
    cluster.run(["kubectl", "delete", "pod", f"session-{session}", f"--namespace={NAMESPACE}"])
    with alone.platform.api("alice") as api:
        until(lambda: not alone.platform.server(api, "alice"), "its end is noticed", 60)


def test_an_api_server_that_hangs_is_not_believed(alone: Hub) -> None:
    session = alone.platform.start_session("alice", flavor="cpu", environment="python")
    (before,) = alone.pods()

    def unwell() -> list[str]:
        found = httpx.get(f"{alone.platform.url}/hub/arcetri/health", timeout=30, trust_env=False)
        told: list[str] = found.json()["unwell"]
        assert found.status_code == (503 if told else 200)
        return told

    with alone.platform.login("chiara") as client:
        assert unwell() == []
        with alone.cluster.hanging("kube-apiserver"):
            until(unwell, "it is known", 30)
            assert unwell() == ["The API server does not answer."]
            assert 'data-notice="away"' in client.get("/hub/home").text
            page = plain(client.get("/hub/spawn").text)
            assert "It is not known now whether No accelerator is free" in page
            assert answers(alone)
        until(lambda: not unwell(), "it is known to be back", 60)
        assert 'data-notice="away"' not in client.get("/hub/home").text
        until(
            lambda: "It is not known now" not in plain(client.get("/hub/spawn").text),
            "what is free is known again",
            30,
        )
    (after,) = alone.pods()
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert after["metadata"]["name"] == f"session-{session}"
    # What happens from now on is news again.
    with alone.platform.api("alice") as api:
        assert api.delete("/users/alice/server").status_code in (202, 204)
        until(lambda: not alone.pods(), "the pod is gone", 60)


def back(cluster: Cluster) -> None:
    """Start the API server again, and have those ask it at once by whom pods come and go.

    By themselves they ask again after up to a minute, for which only ``make soak`` waits.
    """
    cluster.start("kube-apiserver")
    cluster.settle()
    if "ARCETRI_AWAY" in os.environ:
        return
    for name in ("kube-controller-manager", "kube-scheduler", "kubelet"):
        if cluster.runs(name):
            cluster.stop(name)
            cluster.start(name)


def it_is_said_that_it_is_away(site: Hub) -> None:
    """See that chiara's pages, and her start, say so in words and with nothing raw."""
    with site.platform.login("chiara") as client:

        def read(answer: httpx.Response) -> str:
            assert answer.is_success, answer.text
            return plain(answer.text)

        until(lambda: 'data-notice="away"' in client.get("/hub/home").text, "it is said", 30)
        assert "What runs the sessions does not answer just now" in read(client.get("/hub/home"))
        page = read(client.get("/hub/spawn"))
        for title in ("NVIDIA T4", "No accelerator"):
            assert f"It is not known now whether {title} is free" in page, page
        asked = client.post("/hub/spawn", data=CPU, headers=xsrf(client), follow_redirects=True)
        assert asked.url.path == "/hub/waiting/chiara"
        assert "It is not known now whether No accelerator is free" in read(asked)
        assert "See your place" in read(client.get("/hub/home"))
        left = client.post("/hub/arcetri/stop/chiara", headers=xsrf(client), follow_redirects=True)
        assert "Nothing of yours is running" in read(left)


@contextlib.contextmanager
def unplaced(site: Hub) -> Iterator[str]:
    """Have a session of alice's start while no pod finds a node; its pod's uid."""
    site.cluster.stop("kube-scheduler")
    try:
        ask(site)
        until(site.pods, "its pod is made", 30)
        (pod,) = site.pods()
        yield str(pod["metadata"]["uid"])
    finally:
        site.cluster.start("kube-scheduler")


def last(site: Hub) -> tuple[str, str]:
    """State and reason of the newest request."""
    ((state, reason),) = site.platform.rows(
        "select state, reason from arcetri_request order by asked_at desc limit 1"
    )
    return str(state), str(reason)


def pending_page(client: httpx.Client) -> str:
    """What alice sees of a session that starts or stops."""
    return client.get("/hub/spawn-pending/alice").text


def steps(site: Hub, name: str = "alice", server: str = "") -> Iterator[str]:
    """The steps that the page is told, until the start is over."""
    path = f"/users/{name}/servers/{server}" if server else f"/users/{name}/server"
    with site.platform.api(name) as api, api.stream("GET", f"{path}/progress") as stream:
        yield from (line for line in stream.iter_lines() if line.startswith("data:"))


def steps_until(site: Hub, words: str, name: str = "alice", server: str = "") -> str:
    """The first step that says this, for which it waits."""
    with contextlib.closing(steps(site, name, server)) as told:
        return next(step for step in told if words in step)


def first_steps(site: Hub, count: int) -> str:
    """The first steps that the page is told."""
    with contextlib.closing(steps(site)) as told:
        return "\n".join(itertools.islice(told, count))


def test_a_start_goes_on_when_hub_and_api_server_are_restarted(alone: Hub) -> None:
    with unplaced(alone) as uid:
        alone.terminate("hub")
        alone.start("hub")
        with alone.platform.api("alice") as api:
            until(
                lambda: alone.platform.server(api, "alice").get("pending") == "spawn",
                "its start is under way again",
                30,
            )
        assert "The platform was restarted meanwhile" in first_steps(alone, 2)
        with alone.platform.login("alice") as client:
            assert "Starting your session" in pending_page(client)
        (pod,) = alone.pods()
        assert pod["metadata"]["uid"] == uid
        assert last(alone)[0] == "starting"
        alone.cluster.stop("kube-apiserver")
        try:
            steps_until(alone, SILENCE)
        finally:
            back(alone.cluster)
        steps_until(alone, "The cluster answers again.")
    with alone.platform.api("alice") as api:
        until(lambda: alone.platform.server(api, "alice").get("ready"), "it is ready", 60)
    (pod,) = alone.pods()
    assert pod["metadata"]["uid"] == uid
    assert last(alone) == ("running", "")
    assert answers(alone)


def test_an_image_that_is_not_there_is_said_by_the_next_hub_too(alone: Hub) -> None:
    with alone.platform.api("alice") as api:
        ask(alone, "missing")
        until(alone.pods, "its pod is made", 30)
        alone.kill("hub")
        alone.start("hub")
        until(lambda: not alone.platform.server(api, "alice"), "it is given up", 60)
    assert last(alone) == ("ended", "registry_away")
    assert alone.pods() == []
    assert alone.platform.leases() == []
    with alone.platform.login("alice") as client:
        page = client.get("/hub/spawn").text
        assert "The registry of the image" in page.split("<details")[0], page
        page = client.get("/user/alice/lab", follow_redirects=True).text
        assert "The registry of the image" in page.split("<details")[0], page


def test_a_start_can_be_stopped_though_nobody_knows_how_far_it_is(alone: Hub) -> None:
    cluster = alone.cluster
    with unplaced(alone):
        with alone.platform.api("alice") as api:
            cluster.stop("kube-apiserver")
            try:
                alone.kill("hub")
                alone.start("hub")
                until(
                    lambda: alone.platform.server(api, "alice").get("pending") == "spawn",
                    "it may be starting",
                    30,
                )
                with alone.platform.login("alice") as client:
                    client.post("/hub/arcetri/stop/alice", headers=xsrf(client))
                    page = pending_page(client)
                assert "cannot tell just now whether your session runs" in page, page
            finally:
                back(cluster)
            until(lambda: not alone.platform.server(api, "alice"), "it is stopped", 60)
        assert alone.pods() == []
    assert last(alone) == ("ended", "cancelled")
    assert alone.platform.leases() == []


def ask(site: Hub, environment: str = "python") -> None:
    """Have a session of alice's start, as soon as the node is ready that had no API server."""

    def accepted() -> bool:
        with site.platform.api("alice") as api:
            asked = {"flavor": "cpu", "environment": environment}
            answer = api.post("/users/alice/server", json=asked)
        assert answer.status_code in (201, 202, 409), answer.text
        return answer.is_success

    until(accepted, "she may start one", 90)


def ready(site: Hub) -> None:
    """Have a session of alice's started."""
    ask(site)
    with site.platform.api("alice") as api:
        until(lambda: site.platform.server(api, "alice").get("ready"), "it is ready")


def stop(site: Hub) -> None:
    """Stop alice's session by REST, and wait for nothing but that this is written."""
    with site.platform.api("alice") as api, contextlib.suppress(httpx.ReadTimeout):
        api.delete("/users/alice/server", timeout=1)
    until(lambda: last(site) == ("running", "stopped"), "it is written", 10)


def restart(site: Hub, how: str) -> None:
    """End the hub as an upgrade of the chart does, or by ``kill -9``, and start it again."""
    getattr(site, how)("hub")
    site.start("hub")


def stopped_for_good(site: Hub) -> None:
    """Nothing is left of alice's session, it is told as stopped, and she may start the next."""
    until(lambda: not site.pods(), "the pod is gone")
    until(lambda: last(site)[0] == "ended", "its request has ended", 20)
    assert last(site) == ("ended", "stopped")
    assert site.platform.leases() == []
    with site.platform.login("alice") as client:
        assert "Your last session" not in client.get("/hub/home").text
    with site.platform.api("alice") as api:
        # On its own JupyterHub waits for an answer, in vain, for as long as a start may take.
        until(lambda: not site.platform.server(api, "alice"), "JupyterHub knows", 20)
    ask(site)


@pytest.mark.parametrize("how", ["terminate", "kill"])
def test_a_stop_is_seen_through_by_the_next_hub(alone: Hub, how: str) -> None:
    with configured(alone, SAVES.format(seconds=STOP - 2)) as home:
        saved = home / "saved"
        saved.unlink(missing_ok=True)
        ready(alone)
        stop(alone)
        until(saved.exists, "it was told to end", 10)
        restart(alone, how)
        stopped_for_good(alone)
        # The time that the catalog gives it holds for both hubs together.
        assert saved.read_text(encoding="utf-8").split()[-1] == "whole"


@pytest.mark.parametrize("how", ["terminate", "kill"])
def test_a_stop_that_the_api_server_never_heard_of_is_asked_for_again(alone: Hub, how: str) -> None:
    ready(alone)
    alone.cluster.stop("kube-apiserver")
    try:
        stop(alone)
        restart(alone, how)
        with alone.platform.login("alice") as client:
            assert ">stopping</span>" in client.get("/hub/home").text
    finally:
        back(alone.cluster)
    stopped_for_good(alone)
