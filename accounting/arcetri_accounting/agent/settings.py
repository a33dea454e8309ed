"""The agent's settings."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

KUBELET_SOCKET: Final = Path("/var/lib/kubelet/pod-resources/kubelet.sock")
DEFAULT_RESOURCES: Final = (
    "amd.com/",
    "gpu.intel.com/",
    "habana.ai/",
    "intel.com/fpga",
    "nvidia.com/",
    "xilinx.com/",
)
"""What the names of accelerators begin with; device plugins hand out other things too."""


@dataclass(frozen=True, slots=True)
class PodSettings:
    """What an agent has to know on a cluster's node."""

    namespaces: frozenset[str]
    """Where sessions run: what pods elsewhere say of themselves is not believed."""
    instance: str = ""
    """The one platform whose sessions count as such; empty for each that runs some there."""
    resources: tuple[str, ...] = DEFAULT_RESOURCES
    socket: Path = KUBELET_SOCKET
    """The kubelet's PodResources."""
    service_account: Path | None = None
    """The folder with the agent's own token for the API server; None for a pod's usual one."""


@dataclass(frozen=True, slots=True)
class AgentSettings:
    """What an agent has to know."""

    spool: Path
    ledger: str
    """The ledger's address, without ``/api/v1``."""
    token_file: Path
    node: str
    journal: Path | None = None
    """On one machine: the lease journal, or the folder that holds it."""
    pods: PodSettings | None = None
    """On a cluster's node: whose pods; one of the two is there."""
    interval: float = 10.0
    """Seconds between samples."""
    metrics_port: int | None = None
    """Port for Prometheus; None for no metrics, 0 for any free port."""
    metrics_host: str = "127.0.0.1"
    """Address that the port is of."""


def read_config(path: Path) -> dict[str, Any]:
    """Settings from a TOML file: the names of the options, with ``-`` or ``_``.

    Raises:
        ValueError: It is no TOML, with the place.
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        try:
            found = tomllib.load(file)
        except tomllib.TOMLDecodeError as error:
            raise ValueError(f"{path}: {error}") from None
    return {name.replace("-", "_"): value for name, value in found.items()}
