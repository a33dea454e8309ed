"""Which devices each flavour has on this machine. Pure: catalog and one look in, devices out."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime

from arcetri_spawner.backends.base import Device
from arcetri_spawner.backends.local.nvml import Gpu, Look
from arcetri_spawner.catalog.models import Catalog, Flavor
from arcetri_spawner.policy.model import FlavorInventory, Inventory

PRODUCT_LABEL = "nvidia.com/gpu.product"
WHOLE_RESOURCE = "nvidia.com/gpu"
MIG_PREFIX = "nvidia.com/mig-"


@dataclass(frozen=True, slots=True)
class Offered:
    """What one flavour has."""

    devices: tuple[Device, ...]
    """For a CPU-only flavour these are places, not devices: nothing is handed to a session."""
    simulated: bool


def label_of(name: str) -> str:
    """NVML's product name as GPU feature discovery writes it in the node's label."""
    return name.strip().replace(" ", "-")


def offered(catalog: Catalog, seen: Look, *, simulate: bool) -> dict[str, Offered]:
    """Devices by flavour.

    Where NVML finds any real GPU, or cannot say that there is none, no GPU is simulated: a person
    must never take one for the other.

    Args:
        catalog: What is on offer.
        seen: What NVML found.
        simulate: Whether simulated devices may be offered at all.
    """
    real = bool(seen.gpus) or not seen.complete
    found: dict[str, Offered] = {}
    for name, flavor in catalog.flavors.items():
        if flavor.type == "cpu":
            found[name] = Offered(_places(name, catalog.local.cpu_sessions), simulated=False)
        elif flavor.type == "gpu" and real:
            found[name] = Offered(_matching(name, flavor, seen.gpus), simulated=False)
        else:
            count = catalog.local.simulate.get(name, 0) if simulate else 0
            found[name] = Offered(_simulated(name, flavor, count), simulated=count > 0)
    return found


def _places(flavor: str, count: int) -> tuple[Device, ...]:
    # One set of places for all CPU-only flavours: cpu_sessions bounds them together.
    return tuple(Device(f"CPU-{n}", flavor, "", simulated=False) for n in range(1, count + 1))


def _simulated(name: str, flavor: Flavor, count: int) -> tuple[Device, ...]:
    return tuple(
        Device(f"SIM-{name}-{n}", name, flavor.title, simulated=True) for n in range(1, count + 1)
    )


def _matching(name: str, flavor: Flavor, gpus: tuple[Gpu, ...]) -> tuple[Device, ...]:
    product = flavor.nodes.get(PRODUCT_LABEL)
    resource = flavor.resource or WHOLE_RESOURCE
    matching: list[Device] = []
    for gpu in gpus:
        if product is not None and label_of(gpu.name) != label_of(product):
            continue
        if resource == WHOLE_RESOURCE and not gpu.mig_enabled:
            matching.append(Device(gpu.uuid, name, gpu.name, simulated=False))
        elif resource.startswith(MIG_PREFIX):
            profile = resource.removeprefix(MIG_PREFIX)
            matching += [
                Device(instance.uuid, name, f"{gpu.name} MIG {profile}", simulated=False)
                for instance in gpu.instances
                if instance.profile == profile
            ]
    return tuple(matching)


def inventory(
    catalog: Catalog,
    flavors: Mapping[str, Offered],
    leased: Collection[str],
    *,
    as_of: datetime,
    stale: bool,
) -> Inventory:
    """Count what is there and what nobody holds."""
    return Inventory(
        environments=catalog.local_environments(),
        flavors={
            name: FlavorInventory(
                total=len(offer.devices),
                free=sum(device.uuid not in leased for device in offer.devices),
                simulated=offer.simulated,
            )
            for name, offer in flavors.items()
        },
        as_of=as_of,
        stale=stale,
    )
