"""The API server goes away, also across a hub's restart: every running session is still there."""

from __future__ import annotations

import time

import pytest

from tests.cluster.hub import Hub
from tests.cluster.test_sessions import NAMESPACE, alone, answers, site
from tests.support.platform import until

__all__ = ["alone", "site"]

pytestmark = pytest.mark.cluster

AWAY = 45.0
"""Longer than three of the hub's own time limits for an answer, and than the copy's doubt."""


def test_a_session_outlives_an_api_server_that_is_away_while_the_hub_restarts(alone: Hub) -> None:
    session = alone.platform.start_session("alice", flavor="t4", environment="python")
    (before,) = alone.pods()
    cluster = alone.cluster
    cluster.stop("kube-apiserver")
    try:
        began = time.monotonic()
        assert answers(alone)
        alone.kill("hub")
        alone.start("hub")
        assert answers(alone)
        with alone.platform.api("bruno") as api:
            refused = api.post("/users/bruno/server", json={"flavor": "cpu"})
        assert refused.status_code in (202, 409), refused.text
        time.sleep(max(0.0, AWAY - (time.monotonic() - began)))
        assert answers(alone)
    finally:
        cluster.start("kube-apiserver")
        cluster.settle()
    (after,) = [pod for pod in alone.pods() if pod["metadata"]["name"] == f"session-{session}"]
    assert after["metadata"]["uid"] == before["metadata"]["uid"]

    def known() -> bool:
        with alone.platform.api("alice") as api:
            server = alone.platform.server(api, "alice")
        return bool(server.get("ready")) and not server.get("pending")

    until(known, "the hub knows the session again", 60)
    assert answers(alone)
    # What happens from now on is news again.
    cluster.run(["kubectl", "delete", "pod", f"session-{session}", f"--namespace={NAMESPACE}"])
    with alone.platform.api("alice") as api:
        until(lambda: not alone.platform.server(api, "alice"), "its end is noticed", 60)
