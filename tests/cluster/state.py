"""A cluster's state folder: what lies where."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tests.cluster import cache


@dataclass(frozen=True, slots=True)
class State:
    """The places in one cluster's folder, which is its alone and goes with it."""

    folder: Path

    @property
    def name(self) -> str:
        """What the cluster is called."""
        return self.folder.name

    @property
    def word(self) -> str:
        """What no other cluster on this machine is called, also one of this name elsewhere."""
        return f"{self.name}-{cache.digest([str(self.folder)])[:6]}"

    @property
    def pki(self) -> Path:
        """Certificates and keys."""
        return self.folder / "pki"

    @property
    def bin(self) -> Path:
        """Links to the cluster's programs."""
        return self.folder / "bin"

    @property
    def images(self) -> Path:
        """Links to the images that its containerd has."""
        return self.folder / "images"

    @property
    def etc(self) -> Path:
        """The components' configuration files."""
        return self.folder / "etc"

    @property
    def logs(self) -> Path:
        """One log a component."""
        return self.folder / "logs"

    @property
    def audit(self) -> Path:
        """What service accounts have asked of the API server, one JSON object a line."""
        return self.folder / "audit.log"

    @property
    def kubeconfig(self) -> Path:
        """The administrator's."""
        return self.etc / "admin.kubeconfig"

    @property
    def layout(self) -> Path:
        """Which devices the node's device plugin offers."""
        return self.folder / "devices.json"

    @property
    def record(self) -> Path:
        """Which processes the cluster is, as JSON, from its start on."""
        return self.folder / "cluster.json"

    @property
    def ready(self) -> Path:
        """There once the cluster is ready."""
        return self.folder / "ready"

    @property
    def control(self) -> Path:
        """The socket where components are stopped and started."""
        return self.folder / "control.sock"

    @property
    def shared(self) -> Path:
        """The site's shared file system, as a folder of the node's, inside only."""
        return self.folder / "shared"
