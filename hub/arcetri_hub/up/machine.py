"""What is true of this machine now: what would be simulated, and what still runs."""

from __future__ import annotations

from arcetri_spawner.catalog.models import Catalog


def running_sessions(instance_id: str) -> int:
    """How many sessions of this state folder run."""
    from arcetri_spawner.backends.local.procs import sessions_of

    return len(sessions_of(instance_id))


def why_no_mounts() -> str:
    """Why sessions here cannot have volumes mounted for them alone; empty when they can."""
    from arcetri_spawner.backends.local.mounts import why_not

    return why_not()


def simulated(catalog: Catalog) -> list[str]:
    """What local mode simulates here, each as ``2 x NVIDIA T4``; nothing where NVML finds any."""
    if _has_devices():
        return []
    return [
        f"{count} x {catalog.flavors[flavor].title}"
        for flavor, count in catalog.local.simulate.items()
        if count and flavor in catalog.flavors
    ]


def _has_devices() -> bool:
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return False
    try:
        return int(pynvml.nvmlDeviceGetCount()) > 0
    except pynvml.NVMLError:
        return False
    finally:
        pynvml.nvmlShutdown()
