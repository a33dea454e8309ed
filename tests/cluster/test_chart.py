"""The chart on a real cluster: installed, upgraded, used as people do, changed, and taken back.

A session is started on the chart's first version and runs through all of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import json
import re
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import psycopg
import pytest
import yaml
from playwright.sync_api import Page, sync_playwright

from tests.cluster import addresses, chart, enforcement, images, postgres, sharedfs
from tests.cluster.chart import Release
from tests.cluster.cluster import Cluster
from tests.cluster.devices import DEFAULT_LAYOUT, nvml
from tests.cluster.test_sessions import UID, catalog
from tests.support.kernels import compute, hang_up
from tests.support.nvml import FakeMachine
from tests.support.platform import until
from tests.support.postgres import PostgresServer, postgres_server
from tests.support.tiers import find_chromium
from tests.system.test_notebooks import in_a_cell, log_in, start

__all__ = ["postgres_server"]

pytestmark = pytest.mark.cluster

NAME = "charted"
ROOT = Path(__file__).parents[2]
COUNTING = """
import time
for number in range(100_000):
    with open("ticks", "a") as file:
        file.write(f"{number}\\n")
    time.sleep(0.2)
"""


@dataclass(slots=True)
class Site:
    """A platform that was upgraded from the first version, with a session that ran meanwhile."""

    release: Release
    session: UUID
    pod: dict[str, Any]
    """The session's, as it was before the upgrade."""
    secrets: dict[str, str]
    """What the platform's parts proved themselves by before it."""
    token: str
    """Of the session's user, made before it too."""

    def running(self) -> dict[str, Any]:
        """The session's pod as it is now."""
        name = self.pod["metadata"]["name"]
        return next(one for one in self.release.pods() if one["metadata"]["name"] == name)

    def ticks(self) -> int:
        """How far the session's kernel has counted."""
        text = self.release.sh(self.pod["metadata"]["name"], "tail -n 1 /home/alice/ticks")
        return int(text or -1)

    def api(self) -> httpx.Client:
        """A client of the hub with the token that its user has had since before the upgrade."""
        headers = {"Authorization": f"token {self.token}"}
        return httpx.Client(base_url=self.release.platform.url, headers=headers, timeout=60)

    def is_served(self) -> bool:
        """Whether the session answers through the proxy."""
        with self.api() as api:
            try:
                return "kernels" in api.get("/user/alice/api/status").text
            except httpx.TransportError:
                return False

    def is_known(self) -> bool:
        """Whether the hub says that the session is ready."""
        with self.api() as api:
            answer = api.get("/hub/api/users/alice")
            return answer.is_success and answer.json()["servers"][""]["ready"]

    def goes_on(self) -> None:
        """See that it is the same pod, known to the hub, served, and still computing."""
        until(self.is_known, "it is known", 60)
        until(self.is_served, "it is served", 60)
        self.computes()

    def computes(self) -> None:
        """See that it is the same pod, and its kernel goes on."""
        assert self.running()["metadata"]["uid"] == self.pod["metadata"]["uid"]
        assert self.running()["status"]["containerStatuses"][0]["restartCount"] == 0
        before = self.ticks()
        until(lambda: self.ticks() > before, "its kernel goes on", 30)


def _secrets(release: Release) -> dict[str, str]:
    where = f"--namespace={release.name}"
    found = release.cluster.kubectl("get", "secret", f"{release.name}-secrets", where)
    return dict(found["data"])


@pytest.fixture(scope="module")
def site(cluster: Cluster) -> Iterator[Site]:
    """The platform, from its charts alone."""
    product = "nvidia.com/gpu.product=Tesla-T4"
    cluster.run(["kubectl", "label", "--overwrite", "node", addresses.NODE_NAME, product])
    homes = sharedfs.mounted(cluster).mount / NAME
    home = homes / "home" / "alice"
    cluster.run(["install", "-d", "-m", "711", str(homes), str(homes / "home")])
    cluster.run(["install", "-d", "-m", "700", f"--owner={UID}", f"--group={UID}", str(home)])
    devices = cluster.state.folder / f"devices-{NAME}"
    devices.mkdir(exist_ok=True)
    machine = FakeMachine(devices / "nvml")
    machine.has(nvml(DEFAULT_LAYOUT))
    entry = catalog(cluster.load(images.MINIMAL))
    with (
        # Nothing that the platform does may need a connection that its policies do not name.
        enforcement.enforcing(cluster),
        chart.installed(cluster, NAME, entry, homes, chart=chart.FIRST) as release,
    ):
        session = release.platform.start_session("alice", flavor="cpu", environment="python")
        (pod,) = release.pods()
        asyncio.run(_begin(release))
        secrets, token = _secrets(release), release.platform.token("alice")
        chart.as_the_first_left_it(release)
        assert chart.tables(release) == chart.FIRST_TABLES
        release.values |= {
            "agents": chart.agents_of(machine, devices),
            "provisioner": {"resources": chart.TINY},
            "prepuller": {"resources": chart.TINY},
            "culler": {"interval": 1},
        }
        release.install()
        until(release.answers, "the platform answers", 60)
        yield Site(release, session, pod, secrets, token)
    cluster.run(["rm", "-rf", str(homes), str(devices)])


async def _begin(release: Release) -> None:
    await hang_up(await compute(release.platform, "alice", COUNTING))


def test_a_session_outlives_an_upgrade(site: Site) -> None:
    site.goes_on()
    assert chart.tables(site.release) > chart.FIRST_TABLES
    kept = _secrets(site.release)
    assert kept, "there are none"
    assert all(site.secrets[name] == kept[name] for name in kept if name != "writers.json")


def test_every_part_answers_helms_own_test(site: Site) -> None:
    said = site.release.helm("test", NAME, "--logs", "--timeout=120s")
    assert "the ledger, through the proxy" in said, said
    assert "all that a session needs" in said, said
    assert "FAIL" not in said


def test_the_hub_says_which_part_no_session_can_do_without(site: Site) -> None:
    release = site.release
    scale = ["kubectl", "scale", f"--namespace={NAME}-storage", f"deployment/{NAME}-provisioner"]
    url = f"{release.platform.url}/hub/arcetri/health"
    assert httpx.get(url, trust_env=False).json() == {"unwell": [], "doubts": []}
    try:
        release.cluster.run([*scale, "--replicas=0"])
        until(lambda: httpx.get(url, trust_env=False).status_code == 503, "it is missed", 60)
        (said,) = httpx.get(url, trust_env=False).json()["unwell"]
        assert said.startswith("The provisioner does not answer")
    finally:
        release.cluster.run([*scale, "--replicas=1"])
    until(lambda: httpx.get(url, trust_env=False).status_code == 200, "it is back", 60)


def test_a_changed_catalog_counts_without_a_restart(site: Site) -> None:
    release = site.release
    before = [one["metadata"]["uid"] for one in release.pods("hub")]
    release.values["profiles"]["flavors"]["cpu"]["title"] = "Cores alone"
    release.install()

    def page() -> str:
        with release.platform.login("bruno") as client:
            return client.get("/hub/spawn").text

    # The kubelet looks at a pod's volumes every 10 seconds here, and each minute elsewhere.
    until(lambda: "Cores alone" in page(), "the hub has taken it", 90)
    assert [one["metadata"]["uid"] for one in release.pods("hub")] == before


def test_a_catalog_of_the_sites_own_configmap_counts_without_a_restart(site: Site) -> None:
    release, name = site.release, "our-catalog"
    given = release.values["profiles"]

    def apply(title: str, **defaults: str) -> None:
        ours = copy.deepcopy(given)
        ours["flavors"]["cpu"]["title"] = title
        ours["defaults"] |= defaults
        release.cluster.apply(
            {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": name, "namespace": NAME},
                "data": {"profiles.yaml": yaml.safe_dump(ours)},
            }
        )

    def shows(title: str) -> bool:
        with release.platform.login("bruno") as client:
            return title in client.get("/hub/spawn").text

    apply("Cores of ours")
    release.values["profiles"] = {"existingConfigMap": name}
    try:
        release.install()
    finally:
        release.values["profiles"] = given
    until(release.answers, "the platform answers", 60)
    where = f"--namespace={NAME}"
    names = release.cluster.run(["kubectl", "get", "configmaps", where, "--output=name"])
    assert f"configmap/{NAME}-profiles" not in names.split()
    assert shows("Cores of ours")
    site.goes_on()
    before = [one["metadata"]["uid"] for one in release.pods("hub")]
    apply("Cores changed", idle="8s", grace="4s")
    until(lambda: shows("Cores changed"), "the hub has taken it", 90)
    assert [one["metadata"]["uid"] for one in release.pods("hub")] == before
    is_ended_when_nobody_uses_it(release, "bruno")
    # Hers was granted with another time, and computes.
    site.goes_on()


def is_ended_when_nobody_uses_it(release: Release, name: str) -> None:
    """See that somebody's session is ended for idling, after a warning, and that they are told."""
    session = release.platform.start_session(name, flavor="cpu", environment="python")
    with release.platform.login(name) as client:
        until(lambda: "does nothing" in client.get("/hub/home").text, "the end is announced", 60)
        query = "select state, reason from arcetri_request where id = ?"
        until(
            lambda: release.platform.rows(query, session.hex) == [("ended", "idle")],
            "it is ended",
            60,
        )
        assert "nothing had happened in it for 8 seconds" in client.get("/hub/home").text
    until(lambda: len(release.pods()) == 1, "its pod is gone", 60)


def test_a_proxy_that_is_started_again_has_all_routes(site: Site) -> None:
    release = site.release
    (old,) = release.pods("proxy")
    where = f"--namespace={NAME}"
    release.cluster.run(["kubectl", "delete", "pod", old["metadata"]["name"], where, "--now"])
    until(release.answers, "there is a proxy", 60)
    # Sooner than the hub would look by itself, which is every minute.
    until(site.is_served, "its routes are back", 45)


def test_usage_is_counted_and_shown(site: Site) -> None:
    release = site.release

    def counted() -> list[tuple[str, str]]:
        path = release.state / "ledger" / "ledger.sqlite"
        with contextlib.closing(sqlite3.connect(path)) as database:
            return database.execute(
                "select node, device from usage_allocation where session = ?", (str(site.session),)
            ).fetchall()

    until(counted, "the agent has told of the session", 60)
    assert counted() == [(addresses.NODE_NAME, "")]
    with release.platform.login("alice") as client:
        page = client.get("/services/usage/", follow_redirects=True)
        assert page.status_code == httpx.codes.OK, page.text
        assert "alice" in page.text


def test_folders_are_made_for_who_comes_first(site: Site) -> None:
    release = site.release
    release.platform.start_session("bruno", flavor="cpu", environment="python")
    pod = next(
        one["metadata"]["name"]
        for one in release.pods()
        if one["metadata"]["annotations"]["arcetri.dev/username"] == "bruno"
    )
    assert release.sh(pod, "pwd; id -un; echo mine > ~/file; stat -c %a ~").split() == [
        "/home/bruno",
        "bruno",
        "700",
    ]
    with release.platform.api("bruno") as api:
        api.delete("/users/bruno/server")
        until(lambda: not release.platform.server(api, "bruno"), "it has ended")


def test_images_are_on_the_node_before_they_are_asked_for(site: Site) -> None:
    where = f"--namespace={NAME}"
    ask = ["kubectl", "exec", where, f"deployment/{NAME}-prepuller", "--"]
    status = f"arcetri prepull status --namespace={NAME}-images --release={NAME}"
    ask += ["sh", "-c", f"{status} || true"]
    there = f"{images.MINIMAL.reference}: on 1 of 1 nodes"
    until(lambda: there in site.release.cluster.run(ask), "it is there", 60)
    assert "there-is-no/such:1: on 0 of 1 nodes" in site.release.cluster.run(ask)
    # Where the platform's Secrets are, nobody makes pods but the operator.
    everywhere = site.release.cluster.kubectl("get", "daemonsets", "--all-namespaces")["items"]
    selected = {"app.kubernetes.io/instance": NAME, "app.kubernetes.io/component": "prepull-image"}
    homes = {
        one["metadata"]["namespace"]
        for one in everywhere
        if selected.items() <= one["metadata"].get("labels", {}).items()
    }
    assert homes == {f"{NAME}-images"}


@pytest.fixture
def page(site: Site) -> Iterator[Page]:
    """A browser of bruno's, logged in."""
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=str(find_chromium()))
        yield log_in(chromium, site.release.platform, "bruno")
        chromium.close()


def _stop(page: Page, release: Release) -> None:
    page.goto("/hub/home")
    page.get_by_role("button", name=re.compile("Stop")).first.click()
    with release.platform.api("bruno") as api:
        until(lambda: not release.platform.server(api, "bruno"), "it has stopped")


@pytest.mark.browser
@pytest.mark.timeout(900)
def test_a_file_outlives_its_session_and_a_brick_and_both_are_charged(
    site: Site, page: Page
) -> None:
    release = site.release
    start(page, "t4", "/arcetri/cms")
    write = "open('kept', 'w').write('42'); print('held', open('kept').read())"
    assert in_a_cell(page, write) == "held 42"
    _stop(page, release)

    shared = sharedfs.mounted(release.cluster)
    shared.kill(0)
    try:
        start(page, "a100-1g", "/arcetri/cms")
        # JupyterLab's own memory of what was open lies in the home too.
        page.wait_for_url("**/user/**/lab**")
        page.goto("/user/bruno/lab?reset")
        assert in_a_cell(page, "print('held', open('kept').read())") == "held 42"
        _stop(page, release)
    finally:
        shared.heal()

    token = release.platform.token("bruno")

    def rows() -> dict[str, Any]:
        report = httpx.get(
            f"{release.platform.url}/services/usage/api/v1/report",
            params={"by": "flavor", "view": "own"},
            headers={"Authorization": f"Bearer {token}"},
            timeout=30,
        )
        assert report.is_success, report.text
        return {row["key"]: row for row in report.json()["rows"]}

    until(lambda: {"t4", "a100-1g"} <= rows().keys(), "the report shows both", 60)
    hours = {key: Decimal(row["allocated_gpu_hours"]) for key, row in rows().items()}
    assert 0 < hours["a100-1g"] < 1, hours
    assert 0 < hours["t4"] < 1, hours


def test_a_session_reaches_on_the_network_what_the_documentation_says(site: Site) -> None:
    """The page's own script, run where a hostile user would run theirs."""
    cluster, name = site.release.cluster, site.release.name
    script = (ROOT / "docs" / "explanation" / "reach.py").read_text(encoding="utf-8")
    pods = cluster.kubectl("get", "pods", "--all-namespaces")["items"]
    others = [
        f"{pod['status']['podIP']}:{port}"
        for pod in pods
        for port in (8000, 8001, 8010, 8011, 8012, 8020, 8888)
        if pod["metadata"]["labels"].get("app.kubernetes.io/instance") == name
    ]
    closed = [*others, *(f"{addresses.NODE}:{port}" for port in (addresses.API_PORT, 10250))]
    inside = ["kubectl", "exec", "--stdin", f"--namespace={site.release.sessions}"]
    command = [*inside, site.pod["metadata"]["name"], "--", "python3", "-", name, name]
    said = cluster.run([*command, *closed], stdin=script)
    assert said.count("ok ") == len(said.splitlines()) > 40
    assert f"ok    {name}-hub.{name}.svc:8081 open" in said
    hub = next(pod["status"]["podIP"] for pod in site.release.pods("hub"))
    with pytest.raises(AssertionError, match=f"WRONG {hub}:8081 open"):
        cluster.run([*command, f"{hub}:8081"], stdin=script)


def test_it_goes_back_to_the_first_version(site: Site) -> None:
    release = site.release
    site.goes_on()
    release.values["database"] = {"backTo": chart.FIRST_RELEASE}
    said = release.install()
    release.values.pop("database")
    assert "the hub is off, and its tables are those of 0.1.0" in said
    # What the first version's own hub would find, and here today's does, which knows them too.
    assert chart.tables(release) == chart.FIRST_TABLES
    assert site.is_served(), "a session does not need the hub"
    site.computes()
    release.helm("rollback", NAME, "1", "--wait", "--timeout=240s")
    listed = json.loads(release.helm("list", "--output=json"))
    assert listed[0]["chart"] == f"arcetri-{chart.FIRST_RELEASE}"
    until(release.answers, "the platform answers", 60)
    site.goes_on()
    assert chart.tables(release) > chart.FIRST_TABLES
    with site.api() as api:
        api.delete("/hub/api/users/alice/server")
        until(lambda: not site.release.pods(), "the pod is gone")


def test_people_and_usage_can_be_in_postgresql(site: Site, postgres_server: PostgresServer) -> None:
    """The same release again, this time with databases that are elsewhere."""
    release = site.release
    hub, ledger = (postgres_server.new_database() for _ in range(2))
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "databases", "namespace": NAME},
        "stringData": {"hub": postgres.url(hub), "ledger": postgres.url(ledger)},
    }
    release.cluster.apply(secret)
    # Those that the first version knows nothing of went with the others, and come back.
    going = [f"namespace/{NAME}-{part}" for part in ("agents", "storage", "images")]
    release.cluster.run(["kubectl", "wait", "--for=delete", *going, "--timeout=120s"])
    release.values["database"] = {"existingSecret": "databases"}
    with postgres.reached(release.cluster, postgres_server):
        release.install()
        until(release.answers, "the platform answers", 60)
        with release.platform.api("alice") as api:
            asked = {"flavor": "cpu", "environment": "python"}
            assert api.post("/users/alice/server", json=asked).status_code in (201, 202)
            until(lambda: release.platform.server(api, "alice").get("ready"), "it is ready")
        with psycopg.connect(hub) as rows:
            found = rows.execute("select id, state from arcetri_request").fetchall()
            ((session, state),) = found
            assert state == "running"
            names = rows.execute("select name from users").fetchall()
            assert ("alice",) in names, "JupyterHub's own tables are elsewhere"

        def counted() -> list[Any]:
            with psycopg.connect(ledger) as rows:
                asked = "select session from usage_allocation where session = %s"
                return rows.execute(asked, (str(session),)).fetchall()

        until(counted, "the ledger has it", 60)
        with release.platform.api("alice") as api:
            api.delete("/users/alice/server")
            until(lambda: not release.pods(), "the pod is gone")
