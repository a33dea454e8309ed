"""What is said of requests, from answers as an API server gives them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

from aiohttp import web
from aiohttp.test_utils import TestServer
from kubernetes.aio import client

from arcetri_accounting.contract import podmarks
from arcetri_spawner.queues.doctor import Doctor
from arcetri_spawner.queues.findings import Finding
from arcetri_spawner.queues.names import Names
from tests.kueue_client.workloads import ADMISSION, ADMITTED, RESERVED
from tests.spawner.queues.catalogs import catalog
from tests.spawner.queues.test_unheld import SESSION, place, pod

NAMES = Names("farm", "n")
LOCAL_QUEUE = {
    "metadata": {"name": "cms", "namespace": "n"},
    "spec": {"clusterQueue": "farm-cms"},
}


@asynccontextmanager
async def doctor(
    configuration: str | None = None, **there: list[dict[str, Any]]
) -> AsyncIterator[Doctor]:
    """One that is answered with these objects, by what their collection is called.

    Args:
        configuration: Kueue's own; without one it may not be read.
        there: The objects.
    """

    async def answer(request: web.Request) -> web.Response:
        if request.path == "/api/v1/namespaces/kueue-system/configmaps/kueue-manager-config":
            if configuration is None:
                return web.json_response({"message": "configmaps is forbidden"}, status=403)
            return web.json_response({"data": {"controller_manager_config.yaml": configuration}})
        if request.path == "/api/v1/namespaces/n":
            return web.json_response({"metadata": {"labels": {"of": "sessions"}}})
        if request.method == "POST":
            # A place asked for on trial, which is given.
            return web.json_response(await request.json())
        items = there.get(request.path.rpartition("/")[2], [])
        return web.json_response({"metadata": {"resourceVersion": "1"}, "items": items})

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    async with TestServer(app) as server:
        host = str(server.make_url("/")).rstrip("/")
        async with client.ApiClient(client.Configuration(host=host)) as api:
            yield Doctor(api, NAMES)


def of(found: list[Finding], request: UUID = SESSION) -> Finding:
    (one,) = [one for one in found if one.about == f"request {request}"]
    return one


HELD = place(RESERVED, ADMITTED, admission=ADMISSION).to_wire()


async def test_who_is_admitted_and_not_started_is_no_fine_thing() -> None:
    async with doctor(localqueues=[LOCAL_QUEUE], workloads=[HELD]) as asked:
        found = of(await asked.examine(None, str(SESSION)))
    assert (found.code, found.wrong) == ("not_started", True)
    assert "the hub has not started it" in found.sentence
    assert "hub's log" in found.render()


async def test_who_is_admitted_and_started_is() -> None:
    async with doctor(localqueues=[LOCAL_QUEUE], workloads=[HELD], pods=[pod()]) as asked:
        found = of(await asked.examine(None, str(SESSION)))
    assert (found.code, found.wrong, found.remedy) == ("admitted", False, "")


async def test_one_that_stands_in_no_queue_may_be_known_to_the_hub_alone() -> None:
    async with doctor(localqueues=[LOCAL_QUEUE]) as asked:
        found = of(await asked.examine(None, str(SESSION)))
    assert (found.code, found.wrong) == ("not_there", True)
    assert found.remedy.endswith("Or the hub could not tell Kueue of it: its page says why.")


async def test_a_session_without_a_workload_is_told_and_not_missed() -> None:
    other = pod()
    other["metadata"] = {"name": "session", "labels": {podmarks.SESSION: str(SESSION)}}
    async with doctor(localqueues=[LOCAL_QUEUE], pods=[other]) as asked:
        found = of(await asked.examine(None, str(SESSION)))
    assert found.code == "no_place"


async def test_kueues_own_configuration_is_looked_at_where_it_may_be(tmp_path: Path) -> None:
    made = catalog(tmp_path)
    text = """
        apiVersion: config.kueue.x-k8s.io/v1beta2
        integrations: {frameworks: [batch/job, pod]}
        managedJobsNamespaceSelector: {matchLabels: {of: sessions}}
        waitForPodsReady: {timeout: 12m}
    """
    async with doctor(configuration=text) as asked:
        found = {one.code: one for one in await asked.examine(made)}
    assert {"pods_managed", "jobs_managed", "fair_sharing_idle", "ready_too_soon"} <= set(found)
    assert found["pods_managed"].render().startswith("wrong: Kueue's configuration: It looks at")
    async with doctor() as asked:
        (said,) = [one for one in await asked.examine(made) if "configuration" in one.about]
    assert (said.code, said.wrong) == ("configuration_unread", False)
    assert said.sentence.startswith(
        "Not looked at, since the ConfigMap kueue-manager-config of kueue-system cannot be read:"
    )
    assert "forbidden" in said.sentence
    async with doctor(configuration="") as asked:
        assert "configuration_unread" in {one.code for one in await asked.examine(made)}
