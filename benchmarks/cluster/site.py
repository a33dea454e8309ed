"""A cluster for measuring: where sessions run, what they mount, and who asked its API server."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.cluster import launch, volumes
from tests.cluster.cluster import Cluster
from tests.cluster.pods import simulated_node

OURS = "sessions"
STOCK = "stock"
"""The namespaces of the two hubs' sessions."""
DEVICES_A_NODE = 8


@contextlib.contextmanager
def started(name: str) -> Iterator[Cluster]:
    """A cluster of the measurement's own, that ends with it."""
    state = launch.place(f"bench-{name}-{os.getpid()}")
    cluster = launch.start(state, owner=os.getpid())
    try:
        yield cluster
    finally:
        launch.stop(state)


def homes(cluster: Cluster, name: str) -> Path:
    """The folder behind a namespace's claim for homes."""
    return cluster.state.folder / f"homes-{name}"


def namespace(cluster: Cluster, name: str) -> None:
    """Make a namespace that insists on the level "restricted", with a claim for homes in it."""
    folder = homes(cluster, name)
    folder.mkdir()
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    cluster.apply(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}},
        *volumes.on_the_node(name, "shared", name, path=str(folder)),
    )


def home(cluster: Cluster, name: str, path: str, number: int) -> None:
    """Make a folder on a namespace's claim, for one numeric id."""
    folder = homes(cluster, name) / path
    folder.mkdir(parents=True)
    os.chown(folder, number, number)


def simulate(cluster: Cluster, count: int, devices: int = DEVICES_A_NODE) -> list[str]:
    """Add simulated nodes with so many simulated devices each; their names."""
    names = [f"simulated-{number:03}" for number in range(count)]
    for begin in range(0, count, 50):
        nodes = [
            simulated_node(name, {"nvidia.com/gpu": devices}) for name in names[begin : begin + 50]
        ]
        cluster.simulate(*nodes)
    return names


@dataclass(slots=True)
class Audit:
    """Who has asked what of the API server, with the moment of the answer, from its log."""

    cluster: Cluster
    _read: int = 0

    def since_last(self) -> list[dict[str, Any]]:
        """The finished requests since the last call."""
        # The log is written in batches of a second at most.
        time.sleep(1.5)
        found = []
        with self.cluster.state.audit.open("rb") as log:
            log.seek(self._read)
            for line in log:
                if not line.endswith(b"\n"):
                    break
                self._read += len(line)
                found.append(json.loads(line))
        return found


class Asked:
    """Counts what an account asked of the API server.

    Args:
        cluster: Whose.
        account: A service account, as ``namespace:name``.
    """

    def __init__(self, cluster: Cluster, account: str) -> None:
        self._audit = Audit(cluster)
        self._user = f"system:serviceaccount:{account}"

    def since_last(self) -> Counter[str]:
        """The finished requests since the last call, by verb and resource."""
        return Counter(
            f"{event['verb']} {event.get('objectRef', {}).get('resource', '')}"
            for event in self._audit.since_last()
            if event["user"]["username"] == self._user
        )


def people(count: int) -> Sequence[str]:
    """That many user names."""
    return [f"user{number:03}" for number in range(count)]
