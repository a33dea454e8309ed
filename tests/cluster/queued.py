"""A platform whose requests stand in the queues of the real Kueue, on a real kubelet."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from click.testing import CliRunner

from arcetri_hub.cli import main
from arcetri_spawner.queues.names import Names
from kueue_client import Kueue
from tests.cluster import hub, volumes
from tests.cluster import kueue as real
from tests.cluster.cluster import Cluster
from tests.cluster.hub import Hub
from tests.cluster.installation import clear
from tests.cluster.test_sessions import UID


@dataclass(frozen=True, slots=True)
class Place:
    """Where such a platform is, and what its queues are called."""

    cluster: Cluster
    kueue: Kueue
    names: Names

    @contextlib.contextmanager
    def running(self, state: Path, catalog: dict[str, Any], people: Sequence[str]) -> Iterator[Hub]:
        """Sync the queues and run a hub, in a namespace that insists on "restricted".

        Args:
            state: The hub's folder; the catalog is written beside it.
            catalog: What profiles.yaml says.
            people: Who have a home, in the order in which they first log in.
        """
        cluster, namespace = self.cluster, self.names.namespace
        label = {"pod-security.kubernetes.io/enforce": "restricted"}
        metadata = {"name": namespace, "labels": label}
        cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
        folder = cluster.state.folder / self.names.instance
        for number, name in enumerate(people, start=UID):
            home = folder / "home" / name
            home.mkdir(parents=True, exist_ok=True)
            cluster.run(["chown", f"{number}:{number}", str(home)])
        cluster.apply(*volumes.on_the_node(namespace, "shared", namespace, path=str(folder)))
        profiles = state.with_name("profiles.yaml")
        profiles.write_text(yaml.safe_dump(catalog), encoding="utf-8")
        self.command(["sync", "--overcommit"], profiles, state.parent)
        try:
            with hub.running(
                cluster, state, namespace, catalog, queues=self.names.instance
            ) as started:
                yield started
        finally:
            cluster.remove(namespace)
            cluster.run(["kubectl", "delete", "pv", namespace, "--now", "--timeout=60s"])
            clear(self.kueue, self.names.selector)

    def command(self, told: Sequence[str], profiles: Path, folder: Path, status: int = 0) -> str:
        """What ``arcetri queues`` prints, as an admin runs it from outside."""
        where = [f"--profiles={profiles}", f"--instance={self.names.instance}"]
        where.append(f"--namespace={self.names.namespace}")
        with real.reachable(self.cluster, folder) as path:
            variables = {"KUBECONFIG": str(path)}
            result = CliRunner().invoke(main, ["queues", *told, *where], env=variables)
        assert result.exit_code == status, (result.output, result.exception)
        return result.output
