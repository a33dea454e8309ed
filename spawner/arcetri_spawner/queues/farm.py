"""What the nodes have of each flavour, as far as quotas can be promised from it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from arcetri_spawner.backends.kubernetes.demand import CPU, MEMORY, PODS
from arcetri_spawner.backends.kubernetes.node import NodeFacts
from arcetri_spawner.backends.kubernetes.offering import Offering


@dataclass(frozen=True, slots=True)
class Pool:
    """Nodes whose devices of one kind the same flavours may have; without a device, their room.

    Attributes:
        rooms: By flavour, how many sessions there is room for where it has all of it.
        size: How many there is room for, whoever they are of.
    """

    rooms: Mapping[str, int]
    size: int


@dataclass(frozen=True, slots=True)
class Farm:
    """What there is, in sessions: of accelerators, one device each.

    Attributes:
        capacity: By flavour, where it has all that it may have.
        pools: Who shares what with whom. Each device is in one of them.
    """

    capacity: Mapping[str, int]
    pools: tuple[Pool, ...]

    @classmethod
    def of(cls, nodes: Iterable[Mapping[str, Any]], offering: Offering) -> Farm:
        """Count the nodes' devices; without one, the sessions of the smallest size.

        Nodes count that are there, whether they can be used at this moment or not: a quota does not
        shrink because a node is restarted.
        """
        capacity = dict.fromkeys(offering.flavors, 0)
        rooms: dict[tuple[str, ...], dict[str, int]] = {}
        sizes: dict[tuple[str, ...], int] = {}
        for node in map(NodeFacts.of, nodes):
            by_kind: dict[str | None, dict[str, int]] = {}
            for name, flavor in offering.flavors.items():
                if room := _room(name, offering, node):
                    by_kind.setdefault(flavor.resource, {})[name] = room
                    capacity[name] += room
            for found in by_kind.values():
                who = tuple(found)
                there = rooms.setdefault(who, dict.fromkeys(who, 0))
                for name, room in found.items():
                    there[name] += room
                sizes[who] = sizes.get(who, 0) + max(found.values())
        return cls(capacity, tuple(Pool(one, sizes[who]) for who, one in rooms.items()))


def _room(name: str, offering: Offering, node: NodeFacts) -> int:
    flavor, placement = offering.flavors[name], offering.placements[name]
    if not placement.fits(node.labels, _lasting(node.taints)):
        return 0
    if flavor.resource is not None:
        return node.allocatable.get(flavor.resource, 0)
    if not offering.sizes[name]:
        return 0
    need = offering.needs[offering.sizes[name][0]]
    cpu, memory = node.allocatable.get(CPU, 0), node.allocatable.get(MEMORY, 0)
    return min(cpu // need.cpu, memory // need.memory, node.allocatable.get(PODS, 0))


def _lasting(taints: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The taints of a node that are not of the moment: in trouble, cordoned, restarting."""
    return [one for one in taints if not str(one.get("key")).startswith("node.kubernetes.io/")]
