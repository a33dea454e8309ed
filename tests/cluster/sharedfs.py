"""The site's shared file system: GlusterFS, each file on two bricks, mounted on the node.

The bricks are folders, their servers and the mount are real: a brick can be killed.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from pathlib import Path

from tests.cluster import addresses
from tests.cluster.cluster import Cluster

VOLUME = "shared"


@dataclass(frozen=True, slots=True)
class SharedFileSystem:
    """A mounted volume."""

    cluster: Cluster

    @property
    def mount(self) -> Path:
        """Where the node has it, for pods' ``hostPath`` and local volumes."""
        return self.cluster.state.shared

    def brick(self, number: int) -> Path:
        """One of the two folders, 0 or 1, that have what is on the volume."""
        return self.cluster.state.folder / f"brick-{number}"

    def kill(self, number: int) -> None:
        """Kill a brick's server."""
        status = self.cluster.run(["gluster", "--mode=script", "volume", "status", VOLUME])
        # A long name is broken over several lines.
        whole = re.sub(r"\n(?!Brick|Self-heal|Task|-|\n)", "", status)
        found = re.search(rf"^Brick .*{self.brick(number)}\s.*?(\d+)\s*$", whole, re.MULTILINE)
        assert found, status
        self.cluster.run(["kill", "-9", found[1]])

    def heal(self) -> None:
        """Start the servers that were killed."""
        self._gluster("volume", "start", VOLUME, "force")

    def start(self) -> None:
        """Start the servers, make the volume, and mount it."""
        self.cluster.start("glusterd")
        deadline = time.monotonic() + 30
        while True:
            try:
                self._gluster("pool", "list")
                break
            except AssertionError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)
        bricks = []
        for number in (0, 1):
            self.brick(number).mkdir()
            bricks.append(f"{addresses.NODE}:{self.brick(number)}")
        self._gluster("volume", "create", VOLUME, "replica", "2", *bricks, "force")
        # A dead brick is noticed at once, not after 42 seconds.
        self._gluster("volume", "set", VOLUME, "network.ping-timeout", "2")
        self._gluster("volume", "start", VOLUME)
        source = f"{addresses.NODE}:/{VOLUME}"
        self.cluster.run(["mount", "-t", "glusterfs", source, str(self.mount)])

    def _gluster(self, *arguments: str) -> str:
        return self.cluster.run(["gluster", "--mode=script", *arguments])


def mounted(cluster: Cluster) -> SharedFileSystem:
    """The cluster's shared file system, started when it is not there yet."""
    shared = SharedFileSystem(cluster)
    if not cluster.runs("glusterd"):
        shared.start()
    return shared


def owner(path: Path) -> tuple[int, int]:
    """A file's numeric owner and group."""
    found = path.stat()
    return found.st_uid, found.st_gid
