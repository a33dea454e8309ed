"""The overlay for zero-to-jupyterhub: a hub made as that chart makes one starts a real session."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from arcetri_hub.devidp.demo import DEMO_USERS
from tests.cluster import addresses, chart, images, volumes, z2jh
from tests.cluster.cluster import Cluster
from tests.cluster.test_sessions import catalog
from tests.support.platform import Platform, until

pytestmark = pytest.mark.cluster

NAMESPACE = "z2jh"
SESSIONS = "z2jh-sessions"
RELEASE = "arcetri"
"""The overlay's names begin with it."""
ISSUER = "https://iam.example.org/"
OVERLAY = chart.CHART.parent / "z2jh-overlay" / "values.yaml"


@dataclass(slots=True)
class Site:
    """Both releases, and a person's way to them."""

    cluster: Cluster
    platform: Platform

    def pods(self) -> list[dict[str, Any]]:
        """Those of the sessions."""
        return list(self.cluster.kubectl("get", "pods", f"--namespace={SESSIONS}")["items"])

    def logs(self) -> str:
        """What hub and proxy say."""
        where = f"--namespace={NAMESPACE}"
        selector = ["--selector=app=jupyterhub", "--all-containers", "--prefix", "--tail=80"]
        said = [["describe", "pods", where], ["logs", where, *selector]]
        return "\n".join(self.cluster.run(["kubectl", *words]) for words in said)


def _install(cluster: Cluster, state: Path, port: int, iam_port: int) -> None:
    """This chart without a hub, and with nothing that the overlay's own test does not need."""
    entry = catalog(cluster.load(images.MINIMAL))
    # No file outlives these sessions.
    entry["volumes"], entry["everyone"]["volumes"] = {}, []
    registry, _, _ = images.HUB.reference.rpartition("/")
    values = {
        "profiles": entry,
        "images": {"registry": registry, "tag": "1"},
        "hub": {
            "enabled": False,
            "publicUrl": f"http://127.0.0.1:{port}",
            "volume": {"storageClassName": "-"},
        },
        "iam": {
            "issuer": ISSUER,
            "clientId": "arcetri-hub",
            "existingSecret": "iam-client",
        },
        "sessions": {"namespace": SESSIONS},
        **{part: {"enabled": False} for part in ("ledger", "agents", "provisioner", "prepuller")},
    }
    client = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "iam-client", "namespace": NAMESPACE},
        "stringData": {"iam-client": z2jh.SECRET},
    }
    claim = (NAMESPACE, f"{RELEASE}-hub")
    cluster.apply(client, volumes.volume(f"{NAMESPACE}-hub", state, claim=claim))
    cluster.run(
        ["helm", "install", RELEASE, chart.CHART, f"--namespace={NAMESPACE}", "--values=-"],
        stdin=yaml.safe_dump(values),
    )
    # The IAM of a test has no TLS, which the chart rightly insists on.
    settings = cluster.kubectl("get", "configmap", f"{RELEASE}-hub", f"--namespace={NAMESPACE}")
    text = settings["data"]["settings.json"]
    assert ISSUER in text
    settings["data"]["settings.json"] = text.replace(ISSUER, f"http://127.0.0.1:{iam_port}/")
    cluster.run(["kubectl", "replace", "--filename=-"], stdin=json.dumps(settings))


@pytest.fixture(scope="module")
def site(cluster: Cluster) -> Iterator[Site]:
    for image in (images.HUB, images.PROXY):
        cluster.load(image)
    overlay = yaml.safe_load(OVERLAY.read_text(encoding="utf-8"))["hub"]
    name, _, tag = images.HUB.reference.rpartition(":")
    # As the page says: name your registry.
    overlay["image"] = {"name": name, "tag": tag}
    port, iam_port = z2jh.free_ports()
    state = cluster.state.folder / f"volumes-{NAMESPACE}"
    state.mkdir()
    platform = Platform(
        url=f"http://127.0.0.1:{port}",
        users=[{"name": user.name, "password": user.password} for user in DEMO_USERS],
        simulated=False,
        pid=0,
        state=state,
        process=None,  # type: ignore[arg-type]  # its parts are pods
        stderr=state / "none",
    )
    made = Site(cluster, platform)
    try:
        cluster.run(["kubectl", "create", "namespace", NAMESPACE])
        _install(cluster, state, port, iam_port)
        cluster.apply(*z2jh.objects(overlay, NAMESPACE, platform.url, iam_port))
        ready = ["kubectl", "rollout", "status", f"--namespace={NAMESPACE}", "--timeout=100s"]
        try:
            for part in ("hub", "proxy"):
                cluster.run([*ready, f"deployment/{part}"])
        except AssertionError as error:
            raise AssertionError(f"{error}\n{made.logs()}") from error
        host = f"proxy-public.{NAMESPACE}.svc.{addresses.DOMAIN}"
        with (
            cluster.forwarded(host, 8000, listen=port),
            cluster.port_forwarded(NAMESPACE, "deployment/hub", iam_port, listen=iam_port),
        ):
            until(lambda: _answers(platform), "the platform answers", 60)
            yield made
    finally:
        _remove(cluster, state)


def _answers(platform: Platform) -> bool:
    try:
        return httpx.get(f"{platform.url}/hub/login", trust_env=False, timeout=10).is_success
    except httpx.TransportError:
        return False


def _remove(cluster: Cluster, state: Path) -> None:
    gone = ["--now", "--ignore-not-found", "--timeout=90s"]
    with contextlib.suppress(AssertionError):
        cluster.run(["helm", "uninstall", RELEASE, f"--namespace={NAMESPACE}"])
    cluster.remove(NAMESPACE, SESSIONS)
    cluster.run(["kubectl", "delete", "pv", f"{NAMESPACE}-hub", *gone])
    cluster.run(["rm", "-rf", str(state)])


def test_its_hub_starts_a_session_that_policy_has_shaped(site: Site) -> None:
    with site.platform.api("alice") as api:
        asked = {"flavor": "cpu", "environment": "python"}
        answer = api.post("/users/alice/server", json=asked)
        assert answer.status_code in (201, 202), answer.text + site.logs()
        until(lambda: not site.platform.server(api, "alice").get("pending"), "it has started", 90)
        assert site.platform.server(api, "alice").get("ready"), site.logs()
        (pod,) = site.pods()
        assert pod["metadata"]["annotations"]["arcetri.dev/username"] == "alice"
        (notebook,) = pod["spec"]["containers"]
        # Not the image that zero-to-jupyterhub's own values name.
        assert notebook["image"] == images.MINIMAL.reference
        assert pod["spec"]["automountServiceAccountToken"] is False
        page = api.get(f"{site.platform.url}/user/alice/api/kernelspecs")
        assert "python3" in page.json()["kernelspecs"]
        denied = api.post("/users/alice/servers/more", json={"flavor": "none-such"})
        assert denied.status_code == httpx.codes.FORBIDDEN
        # What zero-to-jupyterhub had said before stays beside it.
        headers = {"Authorization": f"token {z2jh.SECRET}"}
        assert httpx.get(f"{site.platform.url}/hub/api/", headers=headers).is_success
        assert api.delete("/users/alice/server").status_code in (202, 204)
        until(lambda: not site.pods(), "the pod is gone", 60)


def test_its_page_is_the_platforms_and_counts_the_real_node(site: Site) -> None:
    with site.platform.login("bruno") as client:
        page = client.get("/hub/spawn").text
        assert "Choose what your notebook runs on" in page
        offers = client.get("/hub/arcetri/offers").json()["offers"]
    assert {one["flavor"]: one["total"] for one in offers}["a100-1g"] == 2
