"""The hub is restarted while a session starts: it goes on, or its user is told, and can stop it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import httpx
import pytest

from tests.cluster.hub import Hub
from tests.cluster.test_sessions import alone, answers, site
from tests.support.platform import until

__all__ = ["alone", "site"]

pytestmark = pytest.mark.cluster


@contextlib.contextmanager
def unplaced(site: Hub) -> Iterator[str]:
    """Have a session of alice's start while no pod finds a node; its pod's uid."""
    site.cluster.stop("kube-scheduler")
    try:
        with site.platform.api("alice") as api:
            asked = {"flavor": "cpu", "environment": "python"}
            assert api.post("/users/alice/server", json=asked).is_success
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


def first_steps(site: Hub, count: int) -> str:
    """The first steps that the page is told."""
    with (
        site.platform.api("alice") as api,
        api.stream("GET", "/users/alice/server/progress") as stream,
    ):
        told = (line for line in stream.iter_lines() if line.startswith("data:"))
        return "\n".join(next(told) for _ in range(count))


def test_a_start_goes_on_when_the_hub_is_restarted_and_when_it_is_killed(alone: Hub) -> None:
    with unplaced(alone) as uid:
        for end in (alone.terminate, alone.kill):
            end("hub")
            alone.start("hub")
            with alone.platform.api("alice") as api:
                until(
                    lambda api=api: alone.platform.server(api, "alice").get("pending") == "spawn",
                    "its start is under way again",
                    30,
                )
            assert "The platform was restarted meanwhile" in first_steps(alone, 2)
            with alone.platform.login("alice") as client:
                assert "Starting your session" in pending_page(client)
        (pod,) = alone.pods()
        assert pod["metadata"]["uid"] == uid
        assert last(alone)[0] == "starting"
    with alone.platform.api("alice") as api:
        until(lambda: alone.platform.server(api, "alice").get("ready"), "it is ready", 60)
    (pod,) = alone.pods()
    assert pod["metadata"]["uid"] == uid
    assert last(alone) == ("running", "")
    assert answers(alone)


def test_an_image_that_is_not_there_is_said_after_a_restart_too(alone: Hub) -> None:
    with alone.platform.api("alice") as api:
        asked = {"flavor": "cpu", "environment": "missing"}
        assert api.post("/users/alice/server", json=asked).is_success
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
                assert api.delete("/users/alice/server").status_code == 202
                with alone.platform.login("alice") as client:
                    page = pending_page(client)
                assert "cannot tell just now whether your session runs" in page, page
            finally:
                cluster.start("kube-apiserver")
                cluster.settle()
            until(lambda: not alone.platform.server(api, "alice"), "it is stopped", 60)
        assert alone.pods() == []
    assert last(alone) == ("ended", "stopped")
    assert alone.platform.leases() == []
