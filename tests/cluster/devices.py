"""The devices that the cluster's node offers, and the same machine for the fake NVML library."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

Layout = Mapping[str, Sequence[Mapping[str, str]]]
"""A resource's devices: each an ``id`` and what NVML says of it (``model``; of a MIG slice the
``gpu`` it is cut from and its ``profile``)."""

_A100 = "NVIDIA A100-PCIE-40GB"
DEFAULT_LAYOUT: Layout = {
    "nvidia.com/gpu": [
        {"id": "GPU-0", "model": "Tesla T4"},
        {"id": "GPU-1", "model": "Tesla T4"},
    ],
    "nvidia.com/mig-1g.5gb": [
        {"id": "MIG-0", "gpu": "GPU-2", "model": _A100, "profile": "1g.5gb"},
        {"id": "MIG-1", "gpu": "GPU-2", "model": _A100, "profile": "1g.5gb"},
    ],
    "amd.com/v70": [{"id": "0000:c1:00.1", "model": "Alveo V70"}],
}
"""Two T4, an A100 of which two slices are cut, and an FPGA."""


def nvml(layout: Layout) -> str:
    """The script for ``tests.support.nvml.FakeMachine`` whose devices have the same ids."""
    lines: list[str] = []
    cut: dict[str, list[Mapping[str, str]]] = {}
    for resource, devices in layout.items():
        if not resource.startswith("nvidia.com/"):
            continue
        for one in devices:
            if "gpu" in one:
                cut.setdefault(one["gpu"], []).append(one)
            elif "::" not in one["id"]:  # replicas are no devices
                lines.append(f"gpu {one['id']} nomig {one['model']}")
    for gpu, slices in cut.items():
        lines.append(f"gpu {gpu} mig {slices[0]['model']}")
        lines += [f"mig {one['id']} {one['profile']}" for one in slices]
    return "\n".join(lines)


def ids(layout: Layout, resource: str) -> list[str]:
    """A resource's device ids, sorted."""
    return sorted(one["id"] for one in layout[resource])
