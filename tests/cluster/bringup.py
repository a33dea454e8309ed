"""Bringing the components up, in order, and knowing when the cluster can be used."""

from __future__ import annotations

import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import yaml

from tests.cluster import addresses, images, volumes
from tests.cluster.components import components
from tests.cluster.configuration import CONTAINERD_SOCKET
from tests.cluster.processes import Processes
from tests.cluster.state import State

PATIENCE = 180.0
"""Seconds for one step, on a machine that has much else to do."""
ADDONS = Path(__file__).parent / "addons"


@dataclass(frozen=True, slots=True)
class Bringup:
    """A start, from the first component to the cluster that can be used."""

    state: State
    processes: Processes

    def steps(self) -> Iterator[str]:
        """Start everything; yields a line after each step.

        Raises:
            TimeoutError: A step took too long; the message says which.
            Died: A component ended.
        """
        begin = time.monotonic()

        def line(what: str) -> str:
            return f"{what} ({time.monotonic() - begin:.1f} s)"

        parts = [part for part in components(self.state) if not part.optional]
        for component in parts:
            if not component.needs_api:
                self.processes.start(component)
        self._until(Path(CONTAINERD_SOCKET).exists, "containerd has its socket")
        for archive in sorted(self.state.images.iterdir()):
            images.load(archive)
        yield line("containerd has its images")
        with self._api() as api:
            self._until(lambda: _ok(api, "/readyz"), "the API server is ready")
            yield line("the API server answers")
            for component in parts:
                if component.needs_api:
                    self.processes.start(component)
            self._until(lambda: _ok(api, _ACCOUNT), "the default service account is there")
            self._apply()
            self._until(lambda: _node_ready(api), "the node is ready")
            yield line("the node is ready")
            self._until(lambda: _dns_ready(api), "CoreDNS is ready")
            yield line("CoreDNS answers")

    def _api(self) -> httpx.Client:
        trust = ssl.create_default_context(cafile=str(self.state.pki / "ca.crt"))
        trust.load_cert_chain(self.state.pki / "admin.crt", self.state.pki / "admin.key")
        return httpx.Client(base_url=addresses.API_URL, verify=trust, timeout=10, trust_env=False)

    def _until(self, condition: Callable[[], object], what: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition():
            self.processes.reap()
            if time.monotonic() > deadline:
                raise TimeoutError(f"not within {PATIENCE:.0f} seconds: {what}")
            time.sleep(0.1)

    def _apply(self) -> None:
        kubectl = [str(self.state.bin / "kubectl"), f"--kubeconfig={self.state.kubeconfig}"]
        for source, text in (
            (str(ADDONS), ""),
            ("-", yaml.safe_dump_all(volumes.made(self.state))),
        ):
            subprocess.run(
                [*kubectl, "apply", "-f", source],
                input=text,
                text=True,
                stdout=subprocess.DEVNULL,
                check=True,
            )


_ACCOUNT = "/api/v1/namespaces/default/serviceaccounts/default"


def _ok(api: httpx.Client, path: str) -> bool:
    try:
        return api.get(path).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


def _node_ready(api: httpx.Client) -> bool:
    answer = api.get(f"/api/v1/nodes/{addresses.NODE_NAME}")
    if answer.status_code != httpx.codes.OK:
        return False
    conditions = answer.json()["status"].get("conditions", [])
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


def _dns_ready(api: httpx.Client) -> bool:
    answer = api.get("/apis/apps/v1/namespaces/kube-system/deployments/coredns")
    return answer.is_success and bool(answer.json()["status"].get("readyReplicas"))
