"""Agent and ledger on the cluster's node, as processes with the tokens of pods of their own.

A pod stands for each, under its own service account: the kubelet mounts and replaces its tokens,
and the process reads them where the kubelet put them. What a chart will put into containers is here
the working tree's own code; the kubelet, the API server and what they say are real.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import yaml

from arcetri_accounting.contract import podmarks
from arcetri_hub.up import ports
from tests.cluster import addresses
from tests.cluster.cluster import Cluster
from tests.cluster.devices import DEFAULT_LAYOUT, nvml
from tests.cluster.pods import pod, running
from tests.support.nvml import FakeMachine

ROOT = Path(__file__).parents[2]
RIGHTS = ROOT / "docs" / "reference" / "accounting-rights.yaml"
AGENTS, HOME = "arcetri-agents", "arcetri"
INTERVAL = 1.0
_UNTIL_TOLD = "until [ -e /tmp/stop ]; do sleep 0.1; done"
PATIENCE = 60.0


@dataclass
class Site:
    """An agent and a ledger, and what the ledger has."""

    cluster: Cluster
    folder: Path
    sessions: str
    """The namespace where sessions run."""
    node: FakeMachine
    port: int
    tokens: dict[str, Path] = field(default_factory=dict)
    """Where the kubelet keeps the tokens of each part's pod."""
    service: dict[str, str] = field(default_factory=dict)
    """What tells the ledger that it is JupyterHub's service."""
    parts: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """The ledger's address, inside."""
        return f"http://{addresses.NODE}:{self.port}/services/usage"

    def start(self, name: str) -> None:
        """Start the agent or the ledger."""
        environment = {
            **self.cluster.environment(),
            "KUBERNETES_SERVICE_HOST": addresses.API_SERVICE,
            "KUBERNETES_SERVICE_PORT": "443",
        }
        environment |= self.node.environment() if name == "agent" else self.service
        # Not in the cluster's pid namespace: it is killed from out here.
        entering = [word for word in self.cluster.entering() if word != "--pid"]
        with (self.folder / f"{name}.log").open("ab") as log:
            self.parts[name] = subprocess.Popen(
                [*entering, "setpriv", "--pdeathsig=KILL", sys.executable, "-m", *self._told(name)],
                env=environment,
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def _told(self, name: str) -> list[str]:
        tokens = self.tokens[name]
        if name == "ledger":
            return [
                "arcetri_accounting.ledger",
                *("serve", "--database", f"sqlite:///{self.folder}/ledger.sqlite"),
                *("--host", addresses.NODE, "--port", str(self.port)),
                *("--agent-account", f"{AGENTS}:arcetri-agent"),
                *("--witness-account", f"{HOME}:arcetri-hub=hub"),
                *("--service-account", str(tokens / "api"), "--reconcile-after", "3600"),
            ]
        return [
            "arcetri_accounting.agent",
            *("run", "--sessions-namespace", self.sessions, "--node", addresses.NODE_NAME),
            *("--spool", str(self.folder / "agent.db"), "--ledger", self.url),
            *("--service-account", str(tokens / "api")),
            *("--token-file", str(tokens / "ledger" / "token"), "--interval", str(INTERVAL)),
        ]

    def kill(self, name: str) -> None:
        """Kill a part at once."""
        part = self.parts.pop(name)
        part.kill()
        part.wait(10)

    def end(self) -> None:
        """End every part."""
        for name in list(self.parts):
            part = self.parts[name]
            part.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                part.wait(10)
            self.kill(name)

    def log(self, name: str = "agent") -> str:
        """What a part has said."""
        return (self.folder / f"{name}.log").read_text(encoding="utf-8", errors="replace")

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """What the ledger's database has."""
        with contextlib.closing(sqlite3.connect(self.folder / "ledger.sqlite")) as database:
            return database.execute(query, values).fetchall()

    def counted(self, session: str) -> dict[str, float]:
        """Seconds that are final, by device."""
        rows = self.rows(
            "select a.device, sum(s.dur_ms) from usage_allocation a"
            " join usage_segment s on s.allocation_id = a.id where a.session = ? group by a.device",
            session,
        )
        return {device: ms / 1000 for device, ms in rows}

    def terms(self, session: str) -> list[tuple[Any, ...]]:
        """Device, flavour, group, share in 1/10080, shared, millicores of each allocation."""
        return self.rows(
            'select a.device, d.flavor, d."group", a.share_u, a.shared, a.millicores'
            " from usage_allocation a join usage_dimensions d on d.id = a.dimensions_id"
            " where a.session = ? order by a.device",
            session,
        )

    def stop(self, session: str) -> None:
        """Let a session that waits for it end by itself."""
        inside = ["kubectl", "exec", f"--namespace={self.sessions}", f"session-{session}"]
        inside += ["--", "touch", "/tmp/stop"]  # noqa: S108 - the container's

        def told() -> bool:
            try:
                self.cluster.run(inside)
            except AssertionError as error:
                # A kubelet that was started again does not know its pods at once.
                if "pod does not exist" in str(error):
                    return False
                # What ends at once takes along what told it to.
                if "exit code 137" not in str(error):
                    raise
            return True

        self.until(told, "it is told to end")

    def runs(self, session: str) -> bool:
        """Whether the ledger shows it as running."""
        query = (
            "select count(*) from usage_open o join usage_allocation a on a.id = o.allocation_id"
            " where a.session = ?"
        )
        return self.rows(query, session)[0][0] > 0

    def until(self, condition: Callable[[], object], what: str, patience: float = PATIENCE) -> None:
        """Wait for something.

        Raises:
            AssertionError: It does not come.
        """
        deadline = time.monotonic() + patience
        while True:
            with contextlib.suppress(sqlite3.OperationalError):
                if condition():
                    return
            for name, part in self.parts.items():
                assert part.poll() is None, f"{name} ended:\n{self.log(name)}"
            assert time.monotonic() < deadline, (
                f"not within {patience:.0f} seconds: {what}\n{self.log()}\n{self.log('ledger')}"
            )
            time.sleep(0.2)

    def final(self, session: str) -> dict[str, float]:
        """Seconds by device, once nothing of the session runs any more."""
        self.until(lambda: self.counted(session) and not self.runs(session), f"{session} is final")
        return self.counted(session)


def session(
    namespace: str,
    *,
    name: str = "",
    image: str = "",
    seconds: float | None = None,
    devices: dict[str, int] | None = None,
    flavor: str = "t4",
    kind: str = "gpu",
    share: str = "1",
    more: dict[str, Any] | None = None,
) -> tuple[str, dict[str, Any]]:
    """A session's id and its pod, marked as the spawner marks it.

    Args:
        namespace: Where.
        name: The pod's name; made of the session where it is not given.
        image: What it runs; nothing, for ever, where it is not given.
        seconds: How long it then runs; until ``Site.stop`` where it is not given.
        devices: What its notebook holds.
        flavor: As it was granted.
        kind: The flavour's type.
        share: As it was granted.
        more: Added to the pod's ``spec``.
    """
    found = str(uuid4())
    options: dict[str, Any] = {"image": image} if image else {}
    wait = ["sleep", str(seconds)] if seconds is not None else ["sh", "-c", _UNTIL_TOLD]
    command = {"command": wait} if image else {}
    made = pod(
        name or f"session-{found}",
        namespace,
        devices=devices,
        container={"name": podmarks.NOTEBOOK_CONTAINER, **command},
        spec={"restartPolicy": "Never", **(more or {})},
        labels={
            podmarks.SESSION: found,
            podmarks.INSTANCE: "here",
            podmarks.FLAVOR: flavor,
            podmarks.KIND: "notebook",
        },
        **options,
    )
    made["metadata"]["annotations"] = {
        podmarks.ACCOUNT: "6470c6b8",
        podmarks.USERNAME: "alice",
        podmarks.GROUP: "/ai_infn/cms",
        podmarks.FLAVOR_TYPE: kind,
        podmarks.SHARE: share,
        podmarks.CATALOG: "c" * 64,
        podmarks.CPU: "0.5",
        podmarks.MEMORY: str(2**29),
    }
    return found, made


def _stand_in(name: str, namespace: str, audience: str = "arcetri-ledger") -> dict[str, Any]:
    """A pod that stands for a part: what it is for is its tokens."""
    api = [
        {"serviceAccountToken": {"path": "token", "expirationSeconds": 3600}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
    ]
    ledger = [
        {"serviceAccountToken": {"path": "token", "audience": audience, "expirationSeconds": 3600}}
    ]
    volumes = [
        {"name": volume, "projected": {"sources": sources}}
        for volume, sources in (("api", api), ("ledger", ledger))
    ]
    mounts = [{"name": one["name"], "mountPath": f"/tokens/{one['name']}"} for one in volumes]
    return pod(
        name,
        namespace,
        container={"volumeMounts": mounts},
        spec={"serviceAccountName": name, "volumes": volumes},
    )


def stand_in(cluster: Cluster, name: str, namespace: str) -> Path:
    """Run a pod under a service account of its own name; return where its tokens are."""
    cluster.apply(_stand_in(name, namespace))
    found = cluster.until("pod", name, running, namespace=namespace)
    uid = found["metadata"]["uid"]
    return Path(f"/var/lib/kubelet/pods/{uid}/volumes/kubernetes.io~projected")


def begin(cluster: Cluster, folder: Path, sessions: str) -> Site:
    """Start an agent and a ledger on a cluster; ``Site.end`` ends them.

    Args:
        cluster: Where.
        folder: For what they keep.
        sessions: The namespace where sessions run; made where it is not there.
    """
    there = {one["metadata"]["name"] for one in cluster.kubectl("get", "namespaces")["items"]}
    for name in (AGENTS, HOME, sessions):
        # To apply one again would take the labels from it that it has.
        if name not in there:
            cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    account = {"name": "arcetri-hub", "namespace": HOME}
    cluster.apply(
        *yaml.safe_load_all(RIGHTS.read_text(encoding="utf-8")),
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": account},
    )
    machine = FakeMachine(folder / "nvml")
    machine.has(nvml(DEFAULT_LAYOUT))
    site = Site(cluster, folder, sessions, machine, ports.choose())
    try:
        site.tokens["agent"] = stand_in(cluster, "arcetri-agent", AGENTS)
        site.tokens["ledger"] = stand_in(cluster, "arcetri-ledger", HOME)
        for name in ("ledger", "agent"):
            site.start(name)
        site.until(lambda: site.rows("select node from usage_node"), "the agent is heard of")
    except BaseException:
        site.end()
        raise
    return site


@contextlib.contextmanager
def on(cluster: Cluster, folder: Path, sessions: str) -> Iterator[Site]:
    """Run an agent and a ledger on a cluster, and take everything away again.

    Args:
        cluster: Where.
        folder: For what they keep.
        sessions: The namespace where sessions run.
    """
    site = begin(cluster, folder, sessions)
    try:
        yield site
    finally:
        site.end()
        for namespace, name in ((AGENTS, "arcetri-agent"), (HOME, "arcetri-ledger")):
            stand = ["kubectl", "delete", "pod", name, f"--namespace={namespace}", "--now"]
            cluster.run([*stand, "--wait=false", "--ignore-not-found"])
        cluster.remove(sessions)


def container_ids(found: dict[str, Any]) -> dict[str, str]:
    """The runtime's ids of a pod's containers, by name."""
    statuses = [
        *found["status"].get("containerStatuses", ()),
        *found["status"].get("initContainerStatuses", ()),
    ]
    return {one["name"]: one["containerID"].partition("://")[2] for one in statuses}


def jwt_claims(token: str) -> dict[str, Any]:
    """What a token says of itself."""
    import base64

    part = token.split(".")[1]
    claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return claims
