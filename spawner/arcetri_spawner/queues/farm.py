"""What the nodes have of each flavour, as far as quotas can be promised from it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from arcetri_spawner.backends.kubernetes.demand import CPU, MEMORY, PODS
from arcetri_spawner.backends.kubernetes.node import NodeFacts
from arcetri_spawner.backends.kubernetes.offering import Offering


@dataclass(frozen=True, slots=True)
class Farm:
    """The capacity of each flavour, in sessions: of accelerators, one device each."""

    capacity: Mapping[str, int]

    @classmethod
    def of(cls, nodes: Iterable[Mapping[str, Any]], offering: Offering) -> Farm:
        """Count the nodes' devices; without one, the sessions of the smallest size.

        Nodes count that are there, whether they can be used at this moment or not: a quota does not
        shrink because a node is restarted.
        """
        facts = [NodeFacts.of(node) for node in nodes]
        return cls({name: _capacity(name, offering, facts) for name in offering.flavors})


def _capacity(name: str, offering: Offering, nodes: Iterable[NodeFacts]) -> int:
    flavor, placement = offering.flavors[name], offering.placements[name]
    total = 0
    for node in nodes:
        if not placement.fits(node.labels, _lasting(node.taints)):
            continue
        if flavor.resource is not None:
            total += node.allocatable.get(flavor.resource, 0)
        elif offering.sizes[name]:
            need = offering.needs[offering.sizes[name][0]]
            cpu, memory = node.allocatable.get(CPU, 0), node.allocatable.get(MEMORY, 0)
            room = min(cpu // need.cpu, memory // need.memory)
            total += min(room, node.allocatable.get(PODS, 0))
    return total


def _lasting(taints: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The taints of a node that are not of the moment: in trouble, cordoned, restarting."""
    return [one for one in taints if not str(one.get("key")).startswith("node.kubernetes.io/")]
