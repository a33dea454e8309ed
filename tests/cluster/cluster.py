"""A running cluster, for tests and for a person's commands."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml

from tests.cluster import addresses, cache, images
from tests.cluster.cache import ClusterError
from tests.cluster.devices import Layout
from tests.cluster.state import State

Manifest = Mapping[str, Any]
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True)
class Cluster:
    """One cluster. Its commands run in its namespaces, with the administrator's rights."""

    state: State

    @property
    def kubeconfig(self) -> Path:
        """The administrator's; its server's address is one inside."""
        return self.state.kubeconfig

    def environment(self) -> dict[str, str]:
        """What a command inside is told."""
        own = {"KUBECONFIG": str(self.kubeconfig), "PATH": f"{self.state.bin}:{_PATH}"}
        return {**os.environ, **own, "ARCETRI_CLUSTER": self.state.name}

    def entering(self) -> list[str]:
        """The words before a command that is to run inside, in the folder one is in.

        Raises:
            ClusterError: The cluster has ended.
        """
        try:
            first = json.loads(self.state.record.read_text(encoding="utf-8"))["first"]
        except OSError:
            raise ClusterError(f"The cluster {self.state.name} has ended.") from None
        return ["nsenter", f"--target={first}", "--net", "--mount", "--pid", f"--wdns={Path.cwd()}"]

    def run(
        self,
        command: Sequence[str | Path],
        *,
        stdin: str = "",
        timeout: float = 120,
    ) -> str:
        """Run a command inside and return its standard output.

        Raises:
            AssertionError: It failed; the message has what it said.
        """
        result = subprocess.run(
            [*self.entering(), *map(str, command)],
            env=self.environment(),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        assert result.returncode == 0, (
            f"{' '.join(map(str, command))} ended with {result.returncode}:"
            f"\n{result.stdout}{result.stderr}"
        )
        return result.stdout

    def kubectl(self, *arguments: str) -> Any:
        """What ``kubectl ARGUMENTS -o json`` answers."""
        return json.loads(self.run(["kubectl", *arguments, "--output=json"]))

    def apply(self, *manifests: Manifest) -> None:
        """Create or change objects; the API server checks them strictly."""
        text = yaml.safe_dump_all([dict(one) for one in manifests])
        self.run(["kubectl", "apply", "--validate=strict", "--filename=-"], stdin=text)

    def until(
        self,
        kind: str,
        name: str,
        condition: Callable[[Any], object],
        *,
        namespace: str = "default",
        patience: float = 60,
    ) -> Any:
        """Wait until an object is as it should be, and return it.

        Raises:
            AssertionError: It is not within ``patience`` seconds; the message has it as it is.
        """
        deadline = time.monotonic() + patience
        while True:
            found = self._get(kind, name, namespace)
            if condition(found):
                return found
            assert time.monotonic() < deadline, (
                f"not within {patience:.0f} seconds: {kind} {name} is\n"
                f"{yaml.safe_dump(found.get('status'))}\n{self.events(namespace)}"
            )
            time.sleep(0.2)

    def _get(self, kind: str, name: str, namespace: str) -> Any:
        command = ["kubectl", "get", kind, name, f"--namespace={namespace}", "--output=json"]
        text = self.run([*command, "--ignore-not-found"])
        return json.loads(text) if text.strip() else {}

    def events(self, namespace: str = "default") -> str:
        """What the cluster says has happened in a namespace."""
        return self.run(["kubectl", "events", f"--namespace={namespace}"])

    def devices(self) -> dict[tuple[str, str, str], list[str]]:
        """The device ids that containers hold, as the kubelet's PodResources says.

        The keys are (namespace, pod, resource).
        """
        held: dict[tuple[str, str, str], list[str]] = {}
        for pod in json.loads(self.run(["podresources"])).get("podResources", []):
            for container in pod.get("containers", []):
                for one in container.get("devices", []):
                    key = (pod["namespace"], pod["name"], one["resourceName"])
                    held.setdefault(key, []).extend(one["deviceIds"])
        return held

    def offer(self, layout: Layout) -> None:
        """Let the node's device plugin offer other devices, from now on."""
        fresh = self.state.layout.with_suffix(".new")
        fresh.write_text(json.dumps(layout, indent=1), encoding="utf-8")
        fresh.replace(self.state.layout)

    def free(self, resource: str, patience: float = 60) -> None:
        """Wait until no pod holds a resource, such as those that another test has left."""
        deadline = time.monotonic() + patience
        while held := [key for key in self.devices() if key[2] == resource]:
            assert time.monotonic() < deadline, f"still held: {held}"
            time.sleep(0.2)

    def settle(self, patience: float = 60) -> None:
        """Wait until the API server answers and the node is ready."""
        deadline = time.monotonic() + patience
        wait = ["kubectl", "wait", "--for=condition=Ready", "node", addresses.NODE_NAME]
        while True:
            try:
                self.run([*wait, "--timeout=20s"])
                return
            except AssertionError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)

    def ask(self, command: Sequence[str], patience: float = 120) -> str:
        """What a command prints, given again while a test beside this one has the server away."""
        deadline = time.monotonic() + patience
        while True:
            try:
                return self.run(command)
            except AssertionError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.5)

    def remove(self, *namespaces: str) -> None:
        """Delete namespaces and all that is in them.

        What runs there is ended first: else a namespace is looked at again only after the half of
        its pods' grace, each time.
        """
        makers = "deployments,replicasets,daemonsets,statefulsets,jobs"
        for namespace in namespaces:
            # Else whoever made a pod would end it too, with its whole grace.
            for kinds in ([makers, "--cascade=orphan"], ["pods"]):
                ended = ["kubectl", "delete", *kinds, "--all", f"--namespace={namespace}"]
                self.run([*ended, "--now", "--ignore-not-found", "--timeout=60s"])
        gone = ["--now", "--ignore-not-found", "--timeout=90s"]
        self.run(["kubectl", "delete", "namespace", *namespaces, *gone])

    def simulate(self, *nodes: Manifest) -> None:
        """Add simulated nodes; a server answers at the addresses of all their pods.

        Args:
            *nodes: As ``tests.cluster.pods.simulated_node`` makes them.
        """
        for component in ("kwok", "responder"):
            if not self.runs(component):
                self.start(component)
        self.apply(*nodes)
        names = [f"node/{node['metadata']['name']}" for node in nodes]
        self.run(["kubectl", "wait", "--for=condition=Ready", "--timeout=60s", *names])

    def load(self, image: images.Image) -> str:
        """Build an image unless it is cached, give it to the node, and return its reference."""
        archive = images.build(image)
        there = self.state.images / archive.name
        with cache.lock(self.state.folder / ".load"):
            if not there.exists():
                command = ["ctr", "--namespace=k8s.io", "images", "import", str(archive)]
                self.run(command, timeout=280)
                there.symlink_to(archive)
        return image.reference

    def stop(self, component: str) -> None:
        """Kill one of the cluster's components."""
        self._control("stop", component)

    def start(self, component: str) -> None:
        """Start a component that was stopped."""
        self._control("start", component)

    @contextlib.contextmanager
    def hanging(self, component: str) -> Iterator[None]:
        """Have a component do nothing meanwhile, for which the kernel goes on to answer."""
        self._control("hang", component)
        try:
            yield
        finally:
            self._control("wake", component)

    def runs(self, component: str) -> bool:
        """Whether a component runs now."""
        return component in self._ask("list").split()

    def _control(self, verb: str, component: str) -> None:
        answer = self._ask(f"{verb} {component}")
        assert answer == "ok", answer

    def _ask(self, line: str) -> str:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as control:
            control.settimeout(30)
            control.connect(str(self.state.control))
            control.sendall(line.encode())
            return control.recv(1000).decode()

    @contextlib.contextmanager
    def forwarded(self, host: str, port: int, *, listen: int = 0) -> Iterator[int]:
        """A port of this machine's loopback that leads to an address or a name inside."""
        with socket.create_server(("127.0.0.1", listen)) as listener:
            relay = subprocess.Popen(
                [
                    *self.entering(), sys.executable, "-m", "tests.cluster.relay",
                    str(listener.fileno()), host, str(port),
                ],
                env=self.environment(),
                stdin=subprocess.PIPE,
                pass_fds=[listener.fileno()],
                start_new_session=True,  # a Ctrl-C is not for it
            )  # fmt: skip
            try:
                yield int(listener.getsockname()[1])
            finally:
                relay.communicate()

    @contextlib.contextmanager
    def port_forwarded(
        self, namespace: str, target: str, there: int, *, listen: int = 0
    ) -> Iterator[int]:
        """A port of this machine's loopback that leads to one of a pod, as ``kubectl`` finds it.

        It also reaches what listens on the pod's own loopback alone, and begins again when the pod
        has been replaced. Connections are taken once this yields.

        Args:
            namespace: The pod's.
            target: The pod, or who has it, such as ``deployment/hub``.
            there: The pod's port, or the service's where the target is one.
            listen: This machine's port; a free one by default.

        Raises:
            ClusterError: Nothing there takes connections.
        """
        # Without its pid namespace it needs no process between, and can be killed.
        entering = [word for word in self.entering() if word != "--pid"]
        forward = ["kubectl", "port-forward", f"--namespace={namespace}", target]
        port = listen or _free_port()
        forward.append(f"{port}:{there}")
        keeper = _Kept([*entering, "setpriv", "--pdeathsig=KILL", *forward], self.environment())
        try:
            with self.forwarded("127.0.0.1", port, listen=port) as local:
                _until_open(local, target)
                yield local
        finally:
            keeper.end()

    @contextlib.contextmanager
    def http(self, host: str, port: int) -> Iterator[httpx.Client]:
        """A client of an HTTP server at an address or a name inside."""
        with (
            self.forwarded(host, port) as local,
            httpx.Client(
                base_url=f"http://127.0.0.1:{local}", trust_env=False, timeout=30
            ) as client,
        ):
            yield client


class _Kept:
    """A command that is run again whenever it ends."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self._command, self._environment = command, environment
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._keep, daemon=True)
        self._thread.start()

    def _keep(self) -> None:
        while not self._over.is_set():
            process = subprocess.Popen(
                self._command,
                env=dict(self._environment),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            while process.poll() is None and not self._over.wait(0.2):
                pass
            process.kill()
            process.wait()
            self._over.wait(0.3)

    def end(self) -> None:
        """End it for good."""
        self._over.set()
        self._thread.join(10)


def _until_open(port: int, target: str, patience: float = 60.0) -> None:
    """Wait until what is behind a relay's port takes connections: else it closes each at once."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        with socket.create_connection(("127.0.0.1", port), timeout=10) as tried:
            tried.settimeout(0.5)
            with contextlib.suppress(ConnectionError):
                try:
                    if tried.recv(1):
                        return
                except TimeoutError:
                    return
        time.sleep(0.2)
    raise ClusterError(f"{target} takes no connections; see whether its pod runs.")


def _free_port() -> int:
    """A port that nobody listens on here; the cluster's loopback is another, with few listeners."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
