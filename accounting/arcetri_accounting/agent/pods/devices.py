"""What the kubelet says of devices: which container holds which, and in how many parts. Pure.

Ids are ``GPU-...`` and ``MIG-...`` as NVML has them, or of another maker's own sort, such as a PCI
address, which names a device on one node alone. A time-sliced device is handed out as replicas,
``ID::0``, ``ID::1`` and so on.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Final

from arcetri_accounting.contract.share import SHARE_UNITS
from arcetri_accounting.contract.usage import FlavorType

_REPLICA: Final = "::"
_GLOBAL: Final = ("GPU-", "MIG-", "SIM-")
_MIG: Final = re.compile(r"/mig-(\d)g\.")


@dataclass(frozen=True, slots=True)
class Assigned:
    """Devices of one resource that a container holds."""

    resource: str
    ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PodEntry:
    """One pod in the kubelet's list. It has no uid there."""

    namespace: str
    name: str
    containers: Mapping[str, tuple[Assigned, ...]]


@dataclass(frozen=True, slots=True)
class Listing:
    """What the kubelet said at a moment."""

    at: int
    """CLOCK_BOOTTIME in milliseconds, just before it was asked."""
    entries: tuple[PodEntry, ...] = ()
    replicas: Mapping[str, int] = field(default_factory=dict)
    """By the device's own id, how many replicas of it there are; not of devices without."""


@dataclass(frozen=True, slots=True)
class Device:
    """A device that a container holds, or a part of one."""

    id: str
    """As the ledger knows it: the same for all replicas of a device."""
    resource: str
    held: int
    """How many replicas of it; 0 where it is not divided."""
    replicas: int
    """How many there are; 0 where that is not known, or it is not divided."""

    @property
    def shared(self) -> bool:
        """Whether others may have the rest of it."""
        return self.held > 0

    @property
    def replica_share(self) -> Fraction | None:
        """The part of it that the replicas are; None where it is not divided, or not known."""
        if not self.held or not self.replicas:
            return None
        # Where the unit cannot hold a replica, what is lost is less than 1/10080 of the device.
        units = min(self.held, self.replicas) * SHARE_UNITS // self.replicas
        return Fraction(max(units, 1), SHARE_UNITS)


def own_id(device: str, node: str) -> str:
    """A device's id without the number of its replica, made one that no other node has."""
    plain = device.partition(_REPLICA)[0]
    return plain if plain.startswith(_GLOBAL) else f"{node}/{plain}"


def replicas_of(devices: Iterable[str], node: str) -> dict[str, int]:
    """How many replicas each device has, from the ids of all that can be handed out."""
    return dict(Counter(own_id(one, node) for one in devices if _REPLICA in one))


def uncounted(entries: Iterable[PodEntry], replicas: Mapping[str, int], node: str) -> bool:
    """Whether a container holds a replica of a device whose replicas were not counted."""
    return any(
        _REPLICA in device and own_id(device, node) not in replicas
        for entry in entries
        for assigned in entry.containers.values()
        for one in assigned
        for device in one.ids
    )


def accelerators(
    assigned: Iterable[Assigned], resources: tuple[str, ...], replicas: Mapping[str, int], node: str
) -> tuple[Device, ...]:
    """The accelerators among what a container was given, one each, in the order of their ids."""
    found: dict[str, tuple[str, int]] = {}
    for one in assigned:
        if not one.resource.startswith(resources):
            continue
        for device in one.ids:
            name = own_id(device, node)
            held = found.get(name, ("", 0))[1]
            found[name] = one.resource, held + (_REPLICA in device)
    return tuple(
        Device(name, resource, held, replicas.get(name, 0))
        for name, (resource, held) in sorted(found.items())
    )


def type_of(resource: str) -> FlavorType:
    """What sort of accelerator a resource is, where no flavour says it."""
    return "gpu" if resource.startswith("nvidia.com/") or "gpu" in resource else "fpga"


def slice_share(resource: str) -> Fraction:
    """The share of a resource where no grant says it: of a MIG slice its compute in sevenths."""
    found = _MIG.search(resource)
    return Fraction(min(max(int(found[1]), 1), 7), 7) if found else Fraction(1)
