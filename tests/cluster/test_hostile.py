"""A hostile user inside a session, on a real cluster: everything they try fails.

What keeps them out here is what each part checks by itself: Pod Security, numeric ids, tokens. No
NetworkPolicy is enforced where this runs, so a session can *connect* to what a policy would
close to it, and is turned away there. Those places are listed in ``ONLY_A_POLICY``; whether the
installed policies close them is looked at elsewhere, by their rules and with them enforced.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from arcetri_hub.up import ports
from arcetri_spawner.provisioner.contract import AUDIENCE
from tests.accounting.client.apiserver import token
from tests.cluster import addresses
from tests.cluster.storage import SESSIONS, Site
from tests.support.platform import until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

HERE = Path(__file__).parent
SECRET = "the witness's own secret, of fifty characters or so"
ONLY_A_POLICY = ("another's server", "the API server", "the kubelet", "the provisioner", "ledger")
"""What only a NetworkPolicy would keep a session from connecting to."""


@pytest.fixture(scope="module")
def ledger(stored: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A ledger on the node, with one writer; its address."""
    folder = tmp_path_factory.mktemp("ledger")
    credentials = folder / "credentials.json"
    digest = hashlib.sha256(SECRET.encode()).hexdigest()
    one = {"role": "witness", "writer": "hub", "sha256": digest}
    credentials.write_text(json.dumps([one]))
    credentials.chmod(0o600)
    port = ports.choose()
    entering = [word for word in stored.hub.cluster.entering() if word != "--pid"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                *entering, "setpriv", "--pdeathsig=KILL", sys.executable, "-m",
                "arcetri_accounting.ledger", "serve", "--host", addresses.NODE,
                "--port", str(port), "--credentials", str(credentials),
                "--database", f"sqlite:///{folder}/ledger.sqlite",
            ],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        )  # fmt: skip
    try:
        with stored.hub.cluster.http(addresses.NODE, port) as client:
            until(lambda: _answers(client), "the ledger answers", 60)
        yield f"http://{addresses.NODE}:{port}/services/usage"
    finally:
        process.kill()
        process.wait()


def _answers(client: httpx.Client) -> bool:
    with contextlib.suppress(httpx.TransportError):
        return client.get("/services/usage/health").status_code < 500
    return False


@pytest.fixture(scope="module")
def found(stored: Site, ledger: str) -> dict[str, Any]:
    """What became of everything that alice tried."""
    cluster = stored.hub.cluster
    pods = {one["metadata"]["name"]: one for one in stored.hub.pods()}
    other = pods[stored.pods["bruno"]]["status"]["podIP"]
    stored.sh("bruno", "echo private > ~/letters; chmod 644 ~/letters; chmod 755 ~")
    hub = stored.hub.settings
    bruno = f"http://{other}:8888/user/bruno"
    api, kubelet = f"https://{addresses.API_SERVICE}", f"https://{addresses.NODE}:10250"
    provisioner = stored.provisioner.url
    folders = {
        "person": {"username": "bruno", "uid": 200000, "gid": 200000},
        "folders": [{"volume": "home", "claim": "homes", "path": ["bruno"]}],
    }
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "mine"}, "spec": {}}
    about = {
        "me": "alice",
        "other": "bruno",
        "own": f"http://{hub.hub_ip}:{hub.hub_port}/hub/api/user",
        "secret": "bruno/letters",
        "other_uid": int(stored.sh("bruno", "id -u")),
        "foreign_gid": int(stored.node(f"stat -c %g {stored.folder}/groups/virgo")),
        "made_up": token(AUDIENCE, sub="system:serviceaccount:arcetri:arcetri-hub"),
        "asked": [
            ("GET", f"{bruno}/api/contents", None),
            ("GET", f"{bruno}/api/kernels", None),
            ("POST", f"{bruno}/api/terminals", {}),
            ("GET", f"{bruno}/lab", None),
            ("GET", f"{api}/api/v1/namespaces", None),
            ("GET", f"{api}/api/v1/namespaces/{SESSIONS}/pods", None),
            ("GET", f"{api}/api/v1/namespaces/{SESSIONS}/secrets", None),
            ("POST", f"{api}/api/v1/namespaces/{SESSIONS}/pods", pod),
            ("GET", f"{kubelet}/pods", None),
            ("POST", f"{kubelet}/run/{SESSIONS}/{stored.pods['bruno']}/notebook?cmd=id", {}),
            ("POST", f"{provisioner}/api/v1/folders", folders),
            ("POST", f"{provisioner}/api/v1/space", {"folders": folders["folders"]}),
            ("POST", f"{ledger}/api/v1/batches", {}),
            ("POST", f"{ledger}/api/v1/witness", {}),
            ("GET", f"http://{hub.hub_ip}:{hub.hub_port}/hub/api/users", None),
            ("GET", f"http://{hub.hub_ip}:{hub.hub_port}/hub/api/users/bruno", None),
            ("POST", f"http://{hub.hub_ip}:{hub.hub_port}/hub/api/users/bruno/server", {}),
            ("POST", f"http://{hub.hub_ip}:{hub.hub_port}/hub/api/users/alice/tokens", {}),
            ("GET", "http://169.254.169.254/latest/meta-data/", None),
        ],
        "addresses": {
            "another's server": (other, 8888),
            "the API server": (addresses.API_SERVICE, 443),
            "the kubelet": (addresses.NODE, 10250),
            "the provisioner": (provisioner[7:].split(":")[0], 8020),
            "ledger": (addresses.NODE, int(ledger.split(":")[2].split("/")[0])),
            "the metadata address": ("169.254.169.254", 80),
            "the kubelet's read-only port": (addresses.NODE, 10255),
            "etcd": (addresses.NODE, 2379),
            "the proxy's API": (addresses.NODE, int(hub.proxy.api_url.rpartition(":")[2])),
        },
    }
    program = (HERE / "hostile.py").read_text(encoding="utf-8")
    command = ["kubectl", "exec", "--stdin", f"--namespace={SESSIONS}", stored.pods["alice"]]
    said = cluster.run(
        [*command, "--", "python3", "-", json.dumps(about)], stdin=program, timeout=180
    )
    return dict(json.loads(said))


def test_nothing_that_is_tried_succeeds(found: dict[str, Any]) -> None:
    tried = found["tried"]
    succeeded = {name for name, how in tried.items() if how.startswith("SUCCEEDED")}
    controls = {name for name in tried if name.startswith("control: ")}
    assert len(controls) == 4
    assert succeeded == controls, {name: tried[name] for name in succeeded ^ controls}
    assert len(tried) > 120


def test_a_session_is_told_and_shown_nothing_but_its_own(found: dict[str, Any]) -> None:
    state = found["state"]
    assert set(state["CapEff"] + state["CapPrm"] + state["CapBnd"] + state["CapAmb"]) == {"0"}
    assert (state["NoNewPrivs"], state["Seccomp"]) == ("1", "2")
    assert state["secrets"].split() == ["JPY_API_TOKEN", "JUPYTERHUB_API_TOKEN"]
    assert state["accounts"] == ""
    assert "0" not in state["Uid"].split()


def test_what_only_a_policy_would_close_is_known(found: dict[str, Any]) -> None:
    reached = {name for name, how in found["reached"].items() if how == "connected"}
    assert reached == set(ONLY_A_POLICY)


def test_who_may_is_served_where_a_session_is_not(stored: Site, ledger: str) -> None:
    """Else the refusals above would mean nothing."""
    cluster, hub = stored.hub.cluster, stored.hub
    with cluster.http(stored.provisioner.url[7:].split(":")[0], 8020) as client:
        body = {"folders": [{"volume": "home", "claim": "homes", "path": ["bruno"]}]}
        own = stored.provisioner.token_file.read_text(encoding="ascii")
        answer = client.post("/api/v1/space", json=body, headers={"Authorization": f"Bearer {own}"})
        assert answer.json()["folders"][0]["room"]["size"] == 16 << 20
    port = int(ledger.split(":")[2].split("/")[0])
    with cluster.http(addresses.NODE, port) as client:
        headers = {"Authorization": f"Bearer {SECRET}"}
        answer = client.post("/services/usage/api/v1/witness", json={}, headers=headers)
        assert answer.status_code in (200, 400, 422), answer.text
    with hub.platform.api("bruno") as api:
        assert api.get(f"{hub.platform.url}/user/bruno/api/contents").status_code == 200
    assert stored.sh("bruno", "cat ~/letters").strip() == "private"
