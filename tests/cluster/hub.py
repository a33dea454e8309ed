"""The platform on a cluster, from its parts: hub, proxy and development IAM, run as processes.

They live in the cluster's network, as a hub's pod would; a browser outside reaches them at the same
addresses. What the chart does with containers is done here with the working tree's own code.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import yaml

from arcetri_hub.devidp.demo import DEMO_USERS
from arcetri_hub.settings import (
    SETTINGS_VARIABLE,
    IamSettings,
    KubernetesSettings,
    ProvisionerSettings,
    ProxySettings,
    Settings,
    UsageSettings,
)
from arcetri_hub.up import ports
from tests.cluster import addresses
from tests.cluster.cluster import Cluster
from tests.support.platform import Platform

PATIENCE = 120.0
ROOT = Path(__file__).parents[2]
SECRET = "0123456789abcdef" * 4
RIGHTS = ROOT / "docs" / "reference" / "hub-rights.yaml"
QUEUES_RIGHTS = RIGHTS.with_name("hub-queues-rights.yaml")
ACCOUNT = "arcetri-hub"
HOME = "arcetri"
"""The hub's own account, and the namespace where it is."""


@dataclass(slots=True)
class Hub:
    """A hub on a cluster, and what it needs beside it."""

    cluster: Cluster
    namespace: str
    state: Path
    settings: Settings
    platform: Platform
    """What tests ask of any platform: people who log in, the REST API, the database."""
    environment: dict[str, str] = field(default_factory=dict)
    """Further variables of its processes."""
    _parts: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def pods(self) -> list[dict[str, Any]]:
        """The pods of its namespace."""
        items = self.cluster.kubectl("get", "pods", f"--namespace={self.namespace}")["items"]
        return list(items)

    def sh(self, pod: str, script: str) -> str:
        """What a shell prints in a session."""
        inside = ["kubectl", "exec", f"--namespace={self.namespace}", pod, "--"]
        return self.cluster.run([*inside, "sh", "-ec", script])

    def kill(self, name: str) -> None:
        """Kill a part at once."""
        part = self._parts.pop(name)
        part.kill()
        part.wait(10)

    def terminate(self, name: str) -> None:
        """Tell a part to end, and wait until it has."""
        part = self._parts.pop(name)
        part.terminate()
        try:
            part.wait(20)
        except subprocess.TimeoutExpired:
            part.kill()
            raise

    def start(self, name: str) -> None:
        """Start a part, and wait until it answers."""
        part = self._parts[name] = inside(
            self.cluster, self._command(name), self.state / f"{name}.log", self._told(name)
        )
        deadline = time.monotonic() + PATIENCE
        while not self._answers(name):
            assert part.poll() is None, f"{name} ended:\n{self.log(name)}"
            assert time.monotonic() < deadline, f"{name} does not answer:\n{self.log(name)}"
            time.sleep(0.2)

    def log(self, name: str = "hub") -> str:
        """What a part has said."""
        return (self.state / f"{name}.log").read_text(encoding="utf-8", errors="replace")

    def end(self) -> None:
        """End every part."""
        for part in self._parts.values():
            part.terminate()
        for part in self._parts.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                part.wait(20)
            part.kill()
            part.wait()

    def pid(self, name: str) -> int:
        """The process of a part."""
        return self._parts[name].pid

    def _told(self, name: str) -> dict[str, str]:
        told = {
            "iam": {},
            "proxy": {"CONFIGPROXY_AUTH_TOKEN": SECRET},
            "hub": {SETTINGS_VARIABLE: str(self.state / "settings.json")},
        }[name]
        return {**told, **self.environment}

    def _command(self, name: str) -> list[str]:
        settings = self.settings
        hub = f"http://{settings.hub_ip}:{settings.hub_port}"
        return {
            "iam": [
                "arcetri_hub.devidp",
                *("--port", settings.iam.issuer.rstrip("/").rpartition(":")[2]),
                *("--state", str(self.state / "iam.json")),
                *("--client-id", settings.iam.client_id),
                *("--client-secret-file", str(settings.iam.client_secret_file)),
                *("--hub-callback", settings.callback_url, "--end-session"),
            ],
            "proxy": [
                "arcetri_hub.proxy",
                *("--ip", settings.ip, "--port", str(settings.port)),
                *("--api-ip", "127.0.0.1", "--api-port", settings.proxy.api_url.rpartition(":")[2]),
                *("--default-target", hub, "--error-target", f"{hub}/hub/error"),
            ],
            "hub": ["jupyterhub", "-f", str(ROOT / "hub/arcetri_hub/jupyterhub_config.py")],
        }[name]

    def _answers(self, name: str) -> bool:
        url = {
            "iam": f"{self.settings.iam.issuer}.well-known/openid-configuration",
            "proxy": f"{self.settings.public_url}/",
            "hub": f"{self.settings.public_url}/hub/login",
        }[name]
        try:
            status = httpx.get(url, trust_env=False, timeout=10).status_code
        except httpx.TransportError:
            return False
        return name == "proxy" or status < 500


def inside(
    cluster: Cluster, module: Sequence[str], log: Path, told: dict[str, str]
) -> subprocess.Popen[bytes]:
    """Run a module in the cluster's network, as a process of its own that can be killed."""
    entering = [word for word in cluster.entering() if word != "--pid"]
    # When the cluster ends, so does what it ran.
    leash = ["setpriv", "--pdeathsig=KILL"]
    with log.open("ab") as sink:
        return subprocess.Popen(
            [*entering, *leash, sys.executable, "-m", *module],
            env={**cluster.environment(), **told},
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
        )


def rights(namespace: str, page: Path = RIGHTS) -> list[dict[str, Any]]:
    """What the documentation gives a hub whose sessions run in ``namespace``."""
    text = page.read_text(encoding="utf-8").replace(
        "namespace: arcetri-sessions", f"namespace: {namespace}"
    )
    return list(yaml.safe_load_all(text))


def account(cluster: Cluster, state: Path, namespace: str, *, queues: bool = False) -> Path:
    """A kubeconfig with the hub's own rights, and no more."""
    there = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": HOME}}
    more = rights(namespace, QUEUES_RIGHTS) if queues else []
    cluster.apply(there, *rights(namespace), *more)
    token = cluster.run(
        ["kubectl", "create", "token", ACCOUNT, f"--namespace={HOME}", "--duration=6h"]
    )
    config = yaml.safe_load(cluster.kubeconfig.read_text(encoding="utf-8"))
    config["users"][0]["user"] = {"token": token.strip()}
    own = state / "kubeconfig"
    own.write_text(yaml.safe_dump(config), encoding="utf-8")
    return own


@contextlib.contextmanager
def running(
    cluster: Cluster,
    state: Path,
    namespace: str,
    catalog: dict[str, Any],
    environment: dict[str, str] | None = None,
    usage: UsageSettings | None = None,
    provisioner: ProvisionerSettings | None = None,
    site: str = "",
    queues: str = "",
) -> Iterator[Hub]:
    """Run the platform on a cluster.

    Args:
        cluster: Where.
        state: A folder of its own.
        namespace: Where its sessions run.
        catalog: Its profiles.yaml.
        environment: Further variables of its processes.
        usage: The ledger, where there is one.
        provisioner: Who makes folders; without one they must be there.
        queues: What its queues in Kueue are called; without a name it does without Kueue.
        site: The site's own JupyterHub configuration.
    """
    state.mkdir()
    kubeconfig = account(cluster, state, namespace, queues=bool(queues))
    told = {"KUBECONFIG": str(kubeconfig), **(environment or {})}
    (state / "profiles.yaml").write_text(yaml.safe_dump(catalog), encoding="utf-8")
    for name in ("client", "proxy", "cookie", "crypt"):
        (state / name).write_text(SECRET, encoding="ascii")
        (state / name).chmod(0o600)
    (state / "site").mkdir()
    (state / "site" / "site.py").write_text(site, encoding="utf-8")
    port, iam_port, hub_port, api_port = (ports.choose() for _ in range(4))
    settings = Settings(
        state_dir=state,
        instance_id="0123456789abcdef",
        profiles=state / "profiles.yaml",
        port=port,
        hub_ip=addresses.NODE,
        hub_port=hub_port,
        iam=IamSettings(
            issuer=f"http://127.0.0.1:{iam_port}/",
            client_id="arcetri-hub",
            client_secret_file=state / "client",
            development=True,
        ),
        proxy=ProxySettings(api_url=f"http://127.0.0.1:{api_port}", token_file=state / "proxy"),
        kubernetes=KubernetesSettings(
            namespace=namespace,
            patience=5,
            provisioner=provisioner,
            queue="kueue" if queues else "slots",
            queues_name=queues or "arcetri",
        ),
        site_config=state / "site",
        usage=usage,
        cookie_secret_file=state / "cookie",
        crypt_key_file=state / "crypt",
    )
    (state / "settings.json").write_text(settings.model_dump_json(), encoding="utf-8")
    users = [{"name": u.name, "password": u.password} for u in DEMO_USERS]
    with (
        cluster.forwarded("127.0.0.1", port, listen=port),
        cluster.forwarded("127.0.0.1", iam_port, listen=iam_port),
    ):
        platform = Platform(
            url=settings.public_url,
            users=users,
            simulated=False,
            pid=0,
            state=state,
            process=None,  # type: ignore[arg-type]  # its parts are this module's
            stderr=state / "hub.log",
        )
        hub = Hub(cluster, namespace, state, settings, platform, told)
        try:
            for name in ("iam", "proxy", "hub"):
                hub.start(name)
            yield hub
        finally:
            hub.end()
